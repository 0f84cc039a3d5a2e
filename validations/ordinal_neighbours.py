"""Neighbouring classification theory: sample complexity, consistency bounds and calibrated losses."""

import numpy as np
from scipy.optimize import linprog, minimize
from scipy.special import logsumexp, softmax
from scipy.stats import norm

from theorylab.validation import Claim, Exact, Rate, Samples, grid, main

# N1: generative against discriminative ---------------------------------------------------------------------

DIMS = [8, 16, 32, 64]
DRAWS = 16


def draw_two_classes(d, m, rng, delta, tau):
    """DRAWS training sets of m rows: x = y delta + tau z + e with a shared z, classes balanced."""
    y = np.tile([1.0, -1.0], m // 2)
    x = y[:, None] * delta + tau * rng.standard_normal((DRAWS, m, 1)) + rng.standard_normal((DRAWS, m, d))
    return x, y


def excess_error(w, b, delta, tau):
    """Exact error of linear rules (DRAWS, d) minus the asymptotic one that both methods share."""
    d = w.shape[1]
    s, spread = delta * w.sum(axis=1), np.sqrt(np.sum(w**2, axis=1) + tau**2 * w.sum(axis=1) ** 2)
    error = 0.5 * (norm.cdf(-(s + b) / spread) + norm.cdf(-(s - b) / spread))
    return float(np.mean(error) - norm.cdf(-delta * np.sqrt(d) / np.sqrt(1 + tau**2 * d)))


def naive_bayes(x, y):
    above, below = x[:, y > 0].mean(axis=1), x[:, y < 0].mean(axis=1)
    variance = 0.5 * (x[:, y > 0].var(axis=1) + x[:, y < 0].var(axis=1)) + 1e-12
    w = (above - below) / variance
    return w, -0.5 * np.sum((above**2 - below**2) / variance, axis=1)


def logistic(x, y, ridge=1e-3):
    """Newton's method for all draws at once, ridge 1e-3 on the mean loss."""
    draws, m, d = x.shape
    X = np.concatenate((x, np.ones((draws, m, 1))), axis=2)
    penalty = ridge * np.append(np.ones(d), 0.0)
    theta = np.zeros((draws, d + 1))
    for _ in range(9):
        p = 0.5 * (1 - np.tanh(0.5 * y * np.einsum("rij,rj->ri", X, theta)))
        g = -np.einsum("rij,ri->rj", X, y * p) / m + penalty * theta
        H = np.matmul(np.swapaxes(X * (p * (1 - p))[..., None], 1, 2), X) / m + np.diag(penalty + 1e-10)
        theta -= np.linalg.solve(H, g[..., None])[..., 0]
    return theta[:, :d], theta[:, d]


def rows_needed(method, sizes, d, rng, delta=1.0, tau=1.0):
    """The smallest size beyond which the mean excess stays within .02, scanning from above."""
    needed = sizes[0]
    for m in sizes:
        if excess_error(*method(*draw_two_classes(d, m, rng, delta, tau)), delta, tau) > 0.02:
            break
        needed = m
    return float(needed)


def even(values):
    return [2 * int(np.ceil(v / 2)) for v in values]


SMALL = even(np.geomspace(400, 4, 24))

bayes = Claim(
    id="ordinal.naive-bayes-samples",
    statement="With a margin growing with d, O(log d) rows bring naive Bayes near its asymptotic error.",
    source="Zheng et al., ICML 2023, on discriminative against generative classifiers",
    criterion=Rate("d", slope=0.0, abs=0.35),
    level=1e-2,
    quick=grid(d=DIMS, replicates=8),
    full=grid(d=[*DIMS, 128, 256], replicates=40),
    paper="O(log d) for naive Bayes, O(d) for logistic regression",
)


@bayes.measure
def strong_margin(d, rng):
    return rows_needed(naive_bayes, SMALL, d, rng)


@bayes.control("with a margin that does not grow, O(log d) rows are too few")
def weak_margin(d, rng):
    return rows_needed(naive_bayes, SMALL, d, rng, delta=1 / np.sqrt(d), tau=0.0)


@bayes.figure
def draw_bayes(ax, result):
    result.errorbar(ax, label="margin grows with d")
    result.errorbar(ax, branch="weak_margin", color="0.6", label="constant margin")
    ax.set(xscale="log", yscale="log", xlabel="dimension d", ylabel="rows for excess error .02")


linear = Claim(
    id="ordinal.logistic-samples",
    statement="On the same data logistic regression needs a number of rows that grows linearly with d.",
    source="Zheng et al., ICML 2023, on discriminative against generative classifiers",
    criterion=Rate("d", slope=1.025, abs=0.225),
    level=1e-2,
    quick=grid(d=DIMS, replicates=8),
    full=grid(d=[*DIMS, 128], replicates=40),
)


@linear.measure
def logistic_rows(d, rng):
    return rows_needed(logistic, even(28 * d * 0.85 ** np.arange(14)), d, rng)


@linear.control("naive Bayes does not need them", grid=grid(d=DIMS, replicates=6))
def bayes_rows(d, rng):
    return rows_needed(naive_bayes, SMALL, d, rng)


@linear.figure
def draw_linear(ax, result):
    x, y, *_ = result.curve()
    ax.plot(x, y[0] * x / x[0], "--", label="slope 1")
    result.errorbar(ax, label="logistic regression")
    result.errorbar(ax, branch="bayes_rows", color="0.6", label="naive Bayes")
    ax.set(xscale="log", yscale="log", xlabel="dimension d", ylabel="rows for excess error .02")


# N2: comp-sum losses ---------------------------------------------------------------------------------------

TAUS = [0.0, 0.5, 1.0, 1.5, 2.0]

compsum = Claim(
    id="ordinal.comp-sum-bound",
    statement="The excess of a comp-sum loss is at least T_tau of the zero-one excess, at every point.",
    source="Mao, Mohri and Zhong, ICML 2023: H-consistency bounds of cross-entropy-like losses",
    # Shortfall below the bound; losses up to 1e3 in size round at 1e-13.
    criterion=Exact(abs=1e-9),
    quick=grid(tau=TAUS, classes=[2, 3, 5], replicates=1),
    full=grid(tau=TAUS, classes=[2, 3, 5, 10], replicates=20),
)


def excess_loss(tau, p, h):
    S = softmax(h, axis=1)
    if tau == 1:
        minimum = -np.sum(p * np.log(p), axis=1)
        return -np.sum(p * np.log(S), axis=1) - minimum
    loss = np.sum(p * (S ** (tau - 1) - 1), axis=1) / (1 - tau)
    if tau == 2:
        return loss - (1 - p.max(axis=1))
    return loss - (np.sum(p ** (1 / (2 - tau)), axis=1) ** (2 - tau) - 1) / (1 - tau)


def transform(tau, b, classes):
    if tau == 1:
        return ((1 + b) * np.log1p(b) + (1 - b) * np.log1p(-np.minimum(b, 1 - 1e-16))) / 2
    if tau >= 2:
        return b / ((tau - 1) * classes ** (tau - 1))
    m = (((1 + b) ** (1 / (2 - tau)) + (1 - b) ** (1 / (2 - tau))) / 2) ** (2 - tau)
    return 2 ** (1 - tau) * (1 - m) / (1 - tau) if tau < 1 else (m - 1) / ((tau - 1) * classes ** (tau - 1))


def shortfall(tau, classes, p, h, factor=1.0):
    zero_one = p.max(axis=1) - p[np.arange(len(p)), np.argmax(h, axis=1)]
    return float(max(0.0, np.max(factor * transform(tau, zero_one, classes) - excess_loss(tau, p, h))))


def tight_points():
    """Two classes, the wrong one barely ahead: the bound is attained."""
    b = np.linspace(0.05, 0.95, 19)
    return np.column_stack(((1 - b) / 2, (1 + b) / 2)), np.tile([1e-9, 0.0], (b.size, 1))


@compsum.measure
def random_points(tau, classes, rng, n=20_000):
    p = rng.dirichlet(np.ones(classes), n) * (1 - 1e-9) + 1e-9 / classes
    scale = np.exp(rng.uniform(-4, 2, (n, 1)))
    return shortfall(tau, classes, p, scale * rng.standard_normal((n, classes)))


@compsum.control(
    "a bound 5 % higher is violated where ours is attained", grid=grid(tau=TAUS[:3], classes=[2])
)
def raised_bound(tau, classes, rng):
    return shortfall(tau, classes, *tight_points(), factor=1.05)


tight = Claim(
    id="ordinal.comp-sum-tight",
    statement="With two classes the bound is attained where the wrong class is barely ahead.",
    source="Mao, Mohri and Zhong, ICML 2023",
    criterion=Exact(abs=1e-6, target=1.0),
    quick=grid(tau=TAUS[:3]),
    full=grid(tau=TAUS),
)


@tight.measure
def excess_over_bound(tau, rng):
    p, h = tight_points()
    return excess_loss(tau, p, h) / transform(tau, np.linspace(0.05, 0.95, 19), 2)


@tight.control("where the wrong class leads clearly the bound is loose")
def clear_lead(tau, rng):
    p, h = tight_points()
    return excess_loss(tau, p, 1e9 * h) / transform(tau, np.linspace(0.05, 0.95, 19), 2)


minimizability = Claim(
    id="ordinal.minimizability-gap",
    statement="Without limits on the hypotheses no risk is lost to the minimum at each point.",
    source="Mao, Mohri and Zhong, ICML 2023: the minimizability gap of the cross-entropy",
    # The optimiser stops at gradients of 1e-9, which leave a risk of 1e-16; 1e-9 is generous.
    criterion=Exact(abs=1e-9),
    quick=grid(points=[3, 6], replicates=3),
    full=grid(points=[3, 6, 12], replicates=30),
)


def lost_risk(scores, free, p):
    """Return inf_h E - E inf_h of the cross-entropy over the points, for scores of `free` parameters."""

    def risk(theta):
        S = softmax(scores(theta), axis=1)
        return -np.mean(np.sum(p * np.log(S), axis=1))

    best = minimize(risk, np.zeros(free), method="BFGS", options={"gtol": 1e-9}).fun
    return best + np.mean(np.sum(p * np.log(p), axis=1))


@minimizability.measure
def all_functions(points, rng):
    p = rng.dirichlet(np.full(3, 2.0), points)
    return lost_risk(lambda theta: theta.reshape(points, 3), 3 * points, p)


@minimizability.control("linear functions of one feature lose some")
def linear_functions(points, rng):
    p, x = rng.dirichlet(np.full(3, 2.0), points), np.linspace(-1, 1, points)
    return lost_risk(lambda theta: np.outer(np.ones(points), theta[:3]) + np.outer(x, theta[3:]), 6, p)


# N3: label-distributionally robust losses ------------------------------------------------------------------

robust = Claim(
    id="ordinal.robust-loss-closed-form",
    statement="The worst case over label weights with a KL penalty is a scaled log-mean-exp of the margins.",
    source="Zhu, Ying and Yang, ICML 2023: label-distributionally robust losses",
    criterion=Exact(abs=1e-6),
    quick=grid(lam=[0.3, 1.0, 5.0], replicates=4),
    full=grid(lam=[0.1, 0.3, 1.0, 5.0, 20.0], replicates=40),
)


def worst_case(margins, lam, prior):
    """Maximise over the simplex numerically, in softmax coordinates."""

    def value(theta):
        p = softmax(theta)
        return -(p @ margins - lam * np.sum(p * (np.log(p + 1e-300) - np.log(prior))))

    return -min(
        minimize(value, start, method="BFGS", options={"gtol": 1e-9}).fun
        for start in (margins / lam, 0 * margins)
    )


@robust.measure
def against_maximum(lam, rng):
    margins = rng.normal(size=5)
    closed = lam * (logsumexp(margins / lam) - np.log(5))
    return closed - worst_case(margins, lam, np.full(5, 0.2))


@robust.control("another prior over the labels has another worst case")
def skewed_prior(lam, rng):
    margins = rng.normal(size=5)
    closed = lam * (logsumexp(margins / lam) - np.log(5))
    return closed - worst_case(margins, lam, np.array([0.6, 0.1, 0.1, 0.1, 0.1]))


consistent = Claim(
    id="ordinal.robust-loss-consistent",
    statement="For positive temperature the minimiser of the robust risk orders the classes rightly.",
    source="Zhu, Ying and Yang, ICML 2023",
    # How much the smallest step of the minimiser falls short of 1e-4.
    criterion=Exact(abs=1e-6),
    quick=grid(lam=[0.05, 1.0]),
    full=grid(lam=[0.05, 0.2, 1.0, 5.0]),
)
P = np.array([0.4, 0.35, 0.25])
COST = 1.0 - np.eye(3)


def missing_order(f):
    return max(0.0, 1e-4 - float(np.min(-np.diff(f))))


@consistent.measure
def smooth_risk(lam, rng):
    def risk(free):
        f = np.append(free, -free.sum())
        margins = f[None, :] - f[:, None] + COST
        return P @ (lam * (logsumexp(margins / lam, axis=1) - np.log(3)))

    best = minimize(risk, np.zeros(2), method="BFGS", options={"gtol": 1e-10})
    return missing_order(np.append(best.x, -best.x.sum()))


@consistent.control(
    "at zero temperature, without a majority class, the minimiser is a tie", grid=grid(lam=[0.0])
)
def hinge_risk(lam, rng):
    # Minimise sum p_y t_y with t_y >= f_k - f_y + c_ky: a linear programme in (f, t), sum f = 0.
    rows = [np.concatenate((np.eye(3)[k] - np.eye(3)[y], -np.eye(3)[y])) for y in range(3) for k in range(3)]
    bounds = [-COST[y, k] for y in range(3) for k in range(3)]
    sum_zero = [[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]]
    best = linprog(np.append(np.zeros(3), P), rows, bounds, sum_zero, [0.0], bounds=[(None, None)] * 6)
    return missing_order(best.x[:3])


# N4: ensembles of calibrated losses -------------------------------------------------------------------------

ensloss = Claim(
    id="ordinal.random-calibrated-loss",
    statement="Any non-decreasing derivatives that are negative at zero belong to a convex calibrated loss.",
    source="Dai 2024: stochastic calibrated loss ensembles (EnsLoss)",
    # The number of violations.
    criterion=Exact(abs=0.0),
    quick=grid(replicates=100),
    full=grid(replicates=2000),
)


def violations(g, z):
    """Count failures of convexity and of calibration of the loss with derivative g at the margins z."""
    at_knots = np.concatenate(([0.0], np.cumsum(0.5 * (g[1:] + g[:-1]) * np.diff(z))))

    def phi(x):
        k = np.clip(np.searchsorted(z, x, side="right") - 1, 0, z.size - 2)
        step, bend = x - z[k], (g[k + 1] - g[k]) / (z[k + 1] - z[k])
        return at_knots[k] + g[k] * step + 0.5 * bend * step**2

    x = np.linspace(z[0], z[-1], 2001)
    convex = np.diff(phi(x), 2).min() >= -1e-12
    half = np.geomspace(1e-9, 3, 2000)
    grid_ = np.concatenate((-half[::-1], [0.0], half))
    left, right = phi(grid_), phi(-grid_)
    signs = [np.sign(grid_[np.argmin(e * left + (1 - e) * right)]) for e in (0.1, 0.3, 0.45, 0.55, 0.7, 0.9)]
    return Samples(float(not convex) + np.count_nonzero(signs != np.array([-1, -1, -1, 1, 1, 1])))


def margins_and_slopes(rng):
    z = np.sort(np.concatenate((rng.uniform(-3, 3, 37), [-3.0, 0.0, 3.0])))
    g = np.sort(rng.normal(size=40))
    return z, g - g[z <= 0].max() - 0.1 * rng.uniform(0.1, 1)


@ensloss.measure
def sorted_slopes(rng):
    z, g = margins_and_slopes(rng)
    return violations(g, z)


@ensloss.control("unsorted derivatives give no convex loss")
def shuffled_slopes(rng):
    z, g = margins_and_slopes(rng)
    return violations(rng.permutation(g), z)


@ensloss.control("a positive derivative at zero is not calibrated")
def shifted_slopes(rng):
    z, g = margins_and_slopes(rng)
    return violations(g - g.min() + 0.1, z)


if __name__ == "__main__":
    main()
