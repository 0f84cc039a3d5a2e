"""What the Fisher information says about rare classes, before any outcome is drawn."""

import numpy as np
from _ordinal import BETA, intercept_for
from scipy.special import expit

from theorylab.ordinal import po_fisher_information, rare_event_variance
from theorylab.validation import AtMost, Claim, Exact, Rate, grid, main

PIS = [0.02, 0.008, 0.003, 0.001, 0.0004]

# P1 -------------------------------------------------------------------------------------------------------

formulas = Claim(
    id="ordinal.fisher-formulas",
    statement="The closed Fisher information of proportional odds is the variance of the score, for any K.",
    source="classical (McCullagh 1980); used in Theorem 2.3 of Faletto and Bien 2023",
    # Each entry is a sum of K terms below 1; 1e-13 is some hundred roundings.
    criterion=Exact(abs=1e-13),
    quick=grid(classes=[3, 4, 5, 8], replicates=12),
    full=grid(classes=[3, 4, 5, 6, 7, 8], replicates=200),
)


def score_variance(x, alpha, beta):
    """Sum pi_k score score' over the classes, from the definition of the model."""
    F = np.concatenate(([0.0], expit(alpha + x @ beta), [1.0]))
    f, m = F * (1 - F), alpha.size
    total = np.zeros((m + x.size,) * 2)
    for k in range(1, m + 2):
        pi = F[k] - F[k - 1]
        slot = np.zeros(m + 2)
        slot[k], slot[k - 1] = f[k], -f[k - 1]
        gradient = np.concatenate((slot[1 : m + 1], x * (f[k] - f[k - 1])))
        total += np.outer(gradient, gradient) / pi
    return total


def random_model(classes, rng):
    x, beta = rng.uniform(-1, 1, 3), rng.normal(size=3)
    return x, np.cumsum(rng.uniform(0.3, 1.5, classes - 1)) - 1.0, beta


@formulas.measure
def largest_difference(classes, rng):
    x, alpha, beta = random_model(classes, rng)
    return np.abs(po_fisher_information(x[None], alpha, beta) - score_variance(x, alpha, beta)).max()


@formulas.control("the slope block is not x x' (1 - sum pi^2) / 2")
def wrong_power(classes, rng):
    x, alpha, beta = random_model(classes, rng)
    pi = np.diff(np.concatenate(([0.0], expit(alpha + x @ beta), [1.0])))
    wrong = np.outer(x, x) * (1 - np.sum(pi**2)) / 2
    return np.abs(wrong - score_variance(x, alpha, beta)[classes - 1 :, classes - 1 :]).max()


# P3, the rate ---------------------------------------------------------------------------------------------

slopes = Claim(
    id="ordinal.rare-slope-rate",
    statement="Rare-class logistic slopes lose to proportional odds by a variance ratio of order 1/pi.",
    source="our bounds T1 and T2, after Theorem 2.3 of Faletto and Bien 2023",
    criterion=Rate("pi", slope=-1.0, abs=0.03),
    quick=grid(pi=PIS, replicates=3),
    full=grid(pi=PIS, replicates=12),
    headline=True,
)


def plan(pi, rng, n=50_000):
    X = rng.uniform(-1, 1, (n, 3))
    return X, np.array([0.0, intercept_for(pi)])


@slopes.measure
def variance_ratio(pi, rng):
    X, alpha = plan(pi, rng)
    return rare_event_variance(X, alpha, BETA).slope_variance_ratio[:1]


@slopes.control("the common boundary y <= 1 has no rare events to lose")
def common_boundary(pi, rng):
    X, alpha = plan(pi, rng)
    odds = np.linalg.inv(po_fisher_information(X, alpha, BETA))
    return np.linalg.inv(po_fisher_information(X, alpha[:1], BETA))[1, 1] / odds[2, 2]


@slopes.figure
def draw_slopes(ax, result):
    x, y, *_ = result.curve()
    ax.plot(x, y[-1] * x[-1] / x, "--", label="slope -1")
    ax.plot(x, y, "o", label="rare class against the rest")
    ax.plot(*result.curve("common_boundary")[:2], "s", color="0.6", label="common boundary against the rest")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="share of the rare class",
        ylabel="slope variance, logistic / prop. odds",
    )


# P5 -------------------------------------------------------------------------------------------------------

intercept = Claim(
    id="ordinal.rare-intercept-rate",
    statement="The variance of the last intercept grows like 1/pi even under proportional odds.",
    source="our bound T3",
    criterion=Rate("pi", slope=-1.0, abs=0.05),
    quick=grid(pi=PIS, replicates=3),
    full=grid(pi=PIS, replicates=12),
)


@intercept.measure
def last_intercept(pi, rng):
    X, alpha = plan(pi, rng)
    return len(X) * np.linalg.inv(po_fisher_information(X, alpha, BETA))[1, 1]


@intercept.control("the slopes borrow from the common classes: their variance stays bounded")
def first_slope(pi, rng):
    X, alpha = plan(pi, rng)
    return len(X) * np.linalg.inv(po_fisher_information(X, alpha, BETA))[2, 2]


@intercept.figure
def draw_intercept(ax, result):
    x, y, *_ = result.curve()
    ax.plot(x, y[-1] * x[-1] / x, "--", label="slope -1")
    ax.plot(x, y, "o", label="last intercept")
    ax.plot(*result.curve("first_slope")[:2], "s", color="0.6", label="first slope")
    ax.set(xscale="log", yscale="log", xlabel="share of the rare class", ylabel="n x variance, prop. odds")


# P4 -------------------------------------------------------------------------------------------------------

order = Claim(
    id="ordinal.coarsening-order",
    statement="Proportional odds estimates slopes at least as well as logistic regression at any boundary.",
    source="our bound T2: merging classes is a coarsening",
    # Smallest eigenvalue of the difference over the trace, reported where negative; inverses round at 1e-12.
    criterion=Exact(abs=1e-10),
    quick=grid(c=[1.0, 2.0, 4.0, 6.0, 8.0], replicates=2),
    full=grid(c=[1.0, 2.0, 4.0, 6.0, 8.0], replicates=20),
)


def slope_covariances(c, rng, n=50_000):
    X = rng.uniform(-1, 1, (n, 3))
    odds = np.linalg.inv(po_fisher_information(X, [0.0, c], BETA))[2:, 2:]
    return odds, [np.linalg.inv(po_fisher_information(X, [a], BETA))[1:, 1:] for a in (0.0, c)], X


def violation(difference):
    return max(0.0, -np.linalg.eigvalsh(difference)[0] / np.abs(np.trace(difference)))


@order.measure
def logistic_minus_odds(c, rng):
    odds, logistic, _ = slope_covariances(c, rng)
    return max(violation(single - odds) for single in logistic)


@order.control("the order cannot hold both ways")
def odds_minus_logistic(c, rng):
    odds, logistic, _ = slope_covariances(c, rng)
    return violation(odds - logistic[-1])


bound = Claim(
    id="ordinal.rare-logistic-bound",
    statement="A rare-class logistic slope has variance at least 1 / (pi_max lambda_max(E xx')).",
    source="our bound T1",
    criterion=AtMost(1.0),
    quick=grid(c=[2.0, 4.0, 6.0, 8.0], replicates=3),
    full=grid(c=[2.0, 4.0, 6.0, 8.0], replicates=20),
)


def bound_over_variance(c, covariance, X):
    """The bound, with pi_max over the support of x, over the smallest variance of a unit combination."""
    pi_max = expit(-(c - np.abs(BETA).sum()))
    largest = np.linalg.eigvalsh(X.T @ X / len(X))[-1]
    return 1.0 / (pi_max * largest * len(X) * np.linalg.eigvalsh(covariance)[0])


@bound.measure
def rare_logistic(c, rng):
    _, logistic, X = slope_covariances(c, rng)
    return bound_over_variance(c, logistic[-1], X)


@bound.control("proportional odds escapes the bound")
def proportional_odds(c, rng):
    odds, _, X = slope_covariances(c, rng)
    return bound_over_variance(c, odds, X)


if __name__ == "__main__":
    main()
