"""A direction function may be hostile: with the safeguards DCDM still solves, within a known factor of CG.

The race gives each window of iterations first to the direction function and then to plain CG, and
doubles the window. The error never grows, and the first window long enough for CG ends the solve.
"""

import warnings

import numpy as np

from theorylab.poisson import ConvergenceWarning, PoissonOperator, cg, dcdm, problems
from theorylab.validation import Claim, Exact, Samples, grid, main

BOUND = 4.5
HOSTILE = ["zero", "NaN", "constant", "noise", "negated", "random signs", "half-masked", "NaN now and then"]
RTOL = 1e-6

safeguards = Claim(
    id="poisson.safeguards",
    statement="Safeguarded DCDM converges whatever the direction function returns, in at most 4.5 times the "
    "iterations of CG.",
    source="doubling race: fewer than 7 k* iterations, k* the a-priori bound of CG",
    criterion=Exact(target=BOUND / 2, abs=BOUND / 2),  # every run lies in [0, 4.5]
    quick=grid(direction=HOSTILE, n=[32, 64], replicates=20),
    full=grid(direction=HOSTILE, n=[32, 64, 128], replicates=100),
)


def hostile(name, size, rng):
    """Return a direction function that misleads."""
    signs, mask = rng.choice([-1.0, 1.0], size), rng.random(size) < 0.5
    return {
        "zero": lambda r: 0 * r,
        "NaN": lambda r: np.nan * r,
        "constant": np.ones_like,
        "noise": lambda r: rng.standard_normal(size),
        "negated": lambda r: -r,
        "random signs": lambda r: signs * r,
        "half-masked": lambda r: mask * r,
        "NaN now and then": lambda r: signs * r * (np.nan if rng.random() < 0.3 else 1),
    }[name]


def iterations(direction, n, rng, **options):
    """Return iterations relative to those of CG (at most 10; 10 also for no convergence), and the history."""
    flags, b = problems.make("smoke", (n, n), seed=rng)
    A, b = PoissonOperator(flags), b[flags == 1]
    classic = cg(A, b, rtol=RTOL, return_info=True)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        x, info = dcdm(
            A, b, rtol=RTOL, maxiter=10 * classic.iterations, direction=hostile(direction, b.size, rng),
            return_info=True, **options,
        )  # fmt: skip
    solved = info.converged and np.linalg.norm(b - A @ x) <= 1.001 * RTOL * np.linalg.norm(b)
    ratio = info.iterations / classic.iterations if solved else 10.0
    return Samples(
        [ratio], residuals=info.residuals / info.residuals[0], cg=classic.residuals / classic.residuals[0]
    )


@safeguards.measure
def guarded(direction, n, rng):
    return iterations(direction, n, rng)


@safeguards.control("no safeguards: breakdown on zero, NaN and constants, stagnation on noise and masks",
                    grid=grid(direction=HOSTILE, n=[32], replicates=3))  # fmt: skip
def unguarded(direction, n, rng):
    return iterations(direction, n, rng, safeguard=False)


@safeguards.figure
def draw(ax, result):
    shown = ["constant", "noise", "random signs", "half-masked"]
    ax.semilogy(result.extras("cg", direction="zero", n=64)[0], "k--", label="CG")
    for k, name in enumerate(shown):
        ax.semilogy(result.extras("residuals", direction=name, n=64)[0], color=f"C{k}", label=name)
    ax.semilogy(
        result.extras("residuals", branch="unguarded", direction="half-masked", n=32)[0],
        color="0.6",
        label="half-masked, unguarded (32 x 32)",
    )
    ax.set(
        xlabel="iteration",
        ylabel="residual, relative",
        xlim=(0, 1000),
        title="Hostile directions cost a factor, not the solution",
    )
    ax.legend(fontsize="small")


if __name__ == "__main__":
    main()
