"""The mean field theory predicts finite networks, and its error falls like one over the square root of D."""

from functools import lru_cache

import numpy as np

from theorylab.dmft import PolynomialTask, QuadraticNetwork, dmft_solve, simulate, simulate_moments
from theorylab.validation import Claim, Rate, Samples, Within, grid, main

PAIR, WIDE = QuadraticNetwork(2, alpha=1.0, eps=0.5), QuadraticNetwork(np.inf, alpha=1.0, eps=1.0)
START, KAPPA = (0.3, -0.4), 0.1
STEPS = [5, 10, 20, 40, 59]
SOURCE = "cavity equations re-derived after Bordelon and Pehlevan (2022); setting of Kumar et al. (ICLR 2024)"


@lru_cache
def theory(nu, infinite=False, n_steps=60):
    """Average three solutions, whose spread is then below half a percent."""
    spec, start = (WIDE, 0.5) if infinite else (PAIR, START)
    runs = [
        dmft_solve(spec, PolynomialTask(nu), KAPPA, n_steps, start, n_samples=1200, rng=k) for k in range(3)
    ]
    return np.mean([r.test_loss for r in runs], axis=0), np.mean([r.train_loss for r in runs], axis=0)


# Two neurons --------------------------------------------------------------------------------

pair = Claim(
    id="dmft.two-neurons",
    statement="Test losses of two-neuron networks in 400 dimensions follow the mean field theory within 8 %.",
    source=SOURCE,
    # 3 % for corrections of order 1/D, and 5 % so that the interval of 48 networks fits in.
    criterion=Within(rel=0.08),
    quick=grid(replicates=2, joint=dict(step=STEPS)),
    full=grid(replicates=16, joint=dict(step=STEPS)),
    headline=True,
)


@pair.predict
def mean_field(step):
    return theory(2.0)[0][step]


@pair.measure
def networks(rng, n=24):
    run = simulate(PAIR, PolynomialTask(2.0), KAPPA, 60, 400, START, n_seeds=n, rng=rng)
    return Samples(run.test_loss[:, STEPS], curve=run.test_loss.mean(axis=0))


@pair.control("fresh data in every step has no memory, hence none of the theory's response terms")
def one_pass(rng, n=3, dim=400):
    losses = np.empty((n, 60))
    for k in range(n):
        beta = rng.standard_normal(dim)
        beta *= np.sqrt(dim / (beta @ beta))
        weights = None
        for t in range(60):
            # Two reported steps are one update.
            run = simulate(
                PAIR, PolynomialTask(2.0), KAPPA, 2, dim, START, rng=rng, init_weights=weights, beta=beta
            )
            losses[k, t], weights = run.test_loss[0, 0], run.final_weights[0]
    return Samples(losses[:, STEPS], curve=losses.mean(axis=0))


@pair.figure
def draw_pair(ax, result):
    steps = np.arange(60)
    ax.plot(steps, theory(2.0)[0], "--", color="C0", label="mean field theory")
    result.errorbar(ax, label="networks, D = 400")
    control = np.mean(result.extras("curve", branch="one_pass"), axis=0)
    ax.plot(steps, control, color="0.6", label="fresh data every step (control)")
    ax.set(xlabel="gradient step", ylabel="test loss", title="Two neurons, two samples per dimension")
    ax.legend()


# Infinite width -----------------------------------------------------------------------------

LATE = [5, 10, 20, 39]

wide = Claim(
    id="dmft.infinite-width",
    statement="Test losses of infinitely wide networks, D = 200, follow the theory with bulk within 5 %.",
    source=SOURCE,
    criterion=Within(rel=0.05),
    quick=grid(replicates=2, joint=dict(step=LATE)),
    full=grid(replicates=8, joint=dict(step=LATE)),
)


@wide.predict
def bulk_theory(step):
    return theory(2.0, infinite=True, n_steps=40)[0][step]


@wide.measure
def wide_networks(rng, n=16):
    return simulate_moments(WIDE, PolynomialTask(2.0), KAPPA, 40, 200, 0.5, n_seeds=n, rng=rng).test_loss[
        :, LATE
    ]


@wide.control("two neurons with the same mean and spike have no bulk")
def two_mirrored_neurons(rng, n=12):
    net = QuadraticNetwork(2, alpha=1.0, eps=1.0)
    gram = np.eye(2) + 0.25 * np.array([[1, -1], [-1, 1]])
    run = simulate(net, PolynomialTask(2.0), KAPPA, 40, 200, [0.5, -0.5], n_seeds=n, rng=rng, init_gram=gram)
    return run.test_loss[:, LATE]


@wide.figure
def draw_wide(ax, result):
    ax.plot(np.arange(40), theory(2.0, infinite=True, n_steps=40)[0], "--", label="theory with bulk response")
    result.errorbar(ax, label="networks of infinite width, D = 200")
    result.errorbar(ax, branch="two_mirrored_neurons", color="0.6", label="two neurons (control)")
    ax.set(xlabel="gradient step", ylabel="test loss", title="Infinite width")
    ax.legend()


# The rate -----------------------------------------------------------------------------------

rate = Claim(
    id="dmft.finite-size-rate",
    statement="The root mean square scatter of networks about the theory falls like dimension to the -1/2.",
    source="central limit theorem for the order parameters; derived for this package",
    criterion=Rate("dim", slope=-0.5, abs=0.3, statistic="rms"),
    quick=grid(dim=[50, 100, 200, 400], replicates=2),
    full=grid(dim=[100, 200, 400, 800, 1600], replicates=8),
)


def deviations(dim, rng, nu):
    n = 24 * 400 // dim
    run = simulate(PAIR, PolynomialTask(2.0), KAPPA, 41, dim, START, n_seeds=n, rng=rng)
    return run.test_loss[:, 40] - theory(nu)[0][40]


@rate.measure
def against_the_theory(dim, rng):
    return deviations(dim, rng, 2.0)


@rate.control("against the theory of 1.5 times as many samples there is a gap that stays")
def against_another_theory(dim, rng):
    return deviations(dim, rng, 3.0)


@rate.figure
def draw_rate(ax, result):
    result.errorbar(ax, label="against the theory")
    result.errorbar(ax, branch="against_another_theory", color="0.6", label="against nu = 3 (control)")
    dims = np.array(result.axis("dim"), dtype=float)
    ax.plot(dims, result.estimate[0] * np.sqrt(dims[0] / dims), "--", label="slope -1/2")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="input dimension D",
        ylabel="rms deviation of the test loss at step 40",
    )
    ax.legend()


if __name__ == "__main__":
    main()
