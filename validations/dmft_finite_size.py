"""Where features are learnt fast, networks lie far below the theory, and approach it as D grows."""

from functools import lru_cache

import numpy as np

from theorylab.dmft import PolynomialTask, QuadraticNetwork, dmft_solve, simulate_moments
from theorylab.validation import Claim, Rate, grid, main

RICH = QuadraticNetwork(np.inf, alpha=0.3, eps=0.3, center=True)
STEP = 40

claim = Claim(
    id="dmft.finite-size-trend",
    statement="In the rich regime networks undercut the theory's test loss by a fraction that vanishes.",
    source="this package; alpha = 0.3, eps = 0.3, P/D = 8, step size 0.2, spike 0.3",
    # Corrections are a power series in 1/D that saturates, like 1/(D + D0): no steeper than -1, and no
    # flatter than -1/3 at the smallest dimension unless D0 is more than twice as large.
    criterion=Rate("dim", slope=-2 / 3, abs=1 / 3),
    quick=grid(dim=[30, 60, 120], replicates=1),
    full=grid(dim=[30, 60, 120, 240, 480], replicates=8),
)


@lru_cache
def theory(nu):
    runs = [dmft_solve(RICH, PolynomialTask(nu), 0.2, STEP + 1, 0.3, n_samples=1500, rng=k) for k in range(2)]
    return float(np.mean([r.test_loss[STEP] for r in runs]))


def shortfall(dim, rng, nu, work=6000):
    """Relative distance below the theory; target projections run over quantiles, for less scatter."""
    count = 8 * dim
    u = np.sort(rng.standard_normal((200, count)), axis=1).mean(axis=0)
    u /= np.sqrt(np.mean(u**2))
    beta = np.zeros(dim)
    beta[0] = np.sqrt(dim)
    losses = np.empty(work // dim)
    for k in range(losses.size):
        x = rng.standard_normal((count, dim)) / np.sqrt(dim)
        x[:, 0] = u / np.sqrt(dim)
        run = simulate_moments(RICH, PolynomialTask(8.0), 0.2, STEP + 1, dim, 0.3, inputs=x, beta=beta)
        losses[k] = run.test_loss[0, STEP]
    return 1.0 - losses / theory(nu)


@claim.measure
def below_the_theory(dim, rng):
    return shortfall(dim, rng, 8.0)


@claim.control("below the theory of 5 samples per dimension they stay")
def below_another_theory(dim, rng):
    return shortfall(dim, rng, 5.0, work=1200)


@claim.figure
def draw(ax, result):
    result.errorbar(ax, label="networks, P/D = 8")
    result.errorbar(ax, branch="below_another_theory", color="0.6", label="against P/D = 5 (control)")
    dims = np.array(result.axis("dim"), dtype=float)
    slope, offset = np.polyfit(dims, 1 / result.estimate, 1)
    ax.plot(
        dims, 1 / (offset + slope * dims), "--", label=f"fit, proportional to 1 / (D + {offset / slope:.0f})"
    )
    ax.set(
        xscale="log", yscale="log", xlabel="input dimension D", ylabel="test loss below the theory, relative"
    )
    ax.legend()


if __name__ == "__main__":
    main()
