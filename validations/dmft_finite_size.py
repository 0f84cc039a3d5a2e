"""Where features are learnt fast, networks lie far below the theory, and approach it as D grows."""

from functools import lru_cache

import numpy as np

from theorylab.dmft import PolynomialTask, QuadraticNetwork, dmft_solve, simulate_moments
from theorylab.validation import Claim, Rate, grid, main

RICH = QuadraticNetwork(np.inf, alpha=0.3, eps=0.3, center=True)
STEP = 20

claim = Claim(
    id="dmft.finite-size-trend",
    statement="In the rich regime networks undercut the theory's test loss by a fraction of order 1/D.",
    source="this package; alpha = 0.3, eps = 0.3, P/D = 8, step size 0.2, spike 0.3, step 20",
    # The corrections of a mean field theory are a series in 1/D, so the exponent is -1. The band tells this
    # from its neighbours, a gap that stays (0) and one of order 1/D^2: it ends half-way to both.
    criterion=Rate("dim", slope=-1.0, abs=0.5),
    quick=grid(dim=[32, 64, 128], replicates=1),
    full=grid(dim=[32, 64, 128, 256, 512], replicates=8),
)


@lru_cache
def theory(nu):
    runs = [dmft_solve(RICH, PolynomialTask(nu), 0.2, STEP + 1, 0.3, n_samples=2000, rng=k) for k in range(4)]
    return float(np.mean([r.test_loss[STEP] for r in runs]))


def shortfall(dim, rng, nu, n):
    """Relative distance below the theory; target projections run over quantiles, for less scatter."""
    count = 8 * dim
    u = np.sort(rng.standard_normal((200, count)), axis=1).mean(axis=0)
    u /= np.sqrt(np.mean(u**2))
    beta = np.zeros(dim)
    beta[0] = np.sqrt(dim)
    losses = np.empty(n)
    for k in range(losses.size):
        x = rng.standard_normal((count, dim)) / np.sqrt(dim)
        x[:, 0] = u / np.sqrt(dim)
        run = simulate_moments(
            RICH, PolynomialTask(8.0), 0.2, STEP + 1, dim, 0.3, inputs=x, beta=beta, dtype=np.float32
        )
        losses[k] = run.test_loss[0, STEP]
    return 1.0 - losses / theory(nu)


@claim.measure
def below_the_theory(dim, rng):
    return shortfall(dim, rng, 8.0, n=250 if dim <= 128 else 100)


@claim.control("below the theory of 5 samples per dimension they stay", grid=grid(dim=[32, 64, 128]))
def below_another_theory(dim, rng):
    return shortfall(dim, rng, 5.0, n=40)


@claim.figure
def draw(ax, result):
    result.errorbar(ax, label="networks, P/D = 8")
    result.errorbar(ax, branch="below_another_theory", color="0.6", label="against P/D = 5 (control)")
    dims = np.array(result.axis("dim"), dtype=float)
    ax.plot(dims, result.estimate[-1] * dims[-1] / dims, "--", label="proportional to 1/D")
    ax.set(
        xscale="log", yscale="log", xlabel="input dimension D", ylabel="test loss below the theory, relative"
    )
    ax.legend()


if __name__ == "__main__":
    main()
