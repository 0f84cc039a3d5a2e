"""Time against PyAMG. Not part of the collection: timings need a quiet machine, so run it by path.

python validations/extra/poisson_speed.py [--full]
"""

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _poisson_multigrid import SparseCycle, iterations

from theorylab.poisson import LearnedMultigrid, PoissonOperator, problems, solve_pressure
from theorylab.validation import Better, Claim, grid, main

SHAPES = {"512^2": (512, 512), "1024^2": (1024, 1024), "64^3": (64, 64, 64), "128^3": (128, 128, 128)}
speed = Claim(
    id="poisson.speed",
    statement="A pressure solve takes at most a fifth of the time of the faster of PyAMG's two solvers.",
    source="ours: set-up included, residual 1e-6",
    criterion=Better(by=5.0),
    quick=grid(problem=["512^2", "64^3"], replicates=6),
    full=grid(problem=list(SHAPES), replicates=10),
    volatile=True,
)


def seconds(function, *arguments, **options):
    """Return the processor time of one call."""
    start = time.thread_time()
    function(*arguments, **options)
    return time.thread_time() - start


def amg(build, A, b):
    build(A, max_coarse=200).solve(b, tol=1e-6, accel="cg", maxiter=100)


def peers(flags, b):
    """Seconds of PyAMG with Ruge-Stuben and with smoothed aggregation, the better of both."""
    import pyamg

    A, right = PoissonOperator(flags).to_csr(), b[flags == 1]
    return min(
        seconds(amg, s, A, right) for s in (pyamg.ruge_stuben_solver, pyamg.smoothed_aggregation_solver)
    )


@speed.measure
def learned(problem, rng):
    flags, b = problems.make("smoke", SHAPES[problem], rng)
    solve_pressure(flags, b)  # compile, load
    return np.array([[seconds(solve_pressure, flags, b), peers(flags, b)]])


@speed.control(
    "the same cycle with sparse matrices in double precision", grid=grid(problem=["512^2"], replicates=6)
)
def sparse_cycle(problem, rng):
    flags, b = problems.make("smoke", SHAPES[problem], rng)
    recipe = LearnedMultigrid(flags, recipe="learned").recipe
    ours = seconds(lambda: iterations(flags, b, SparseCycle(flags, recipe)))
    return np.array([[ours, peers(flags, b)]])


@speed.figure(file="poisson_speed.png")
def draw(ax, result):
    names = result.axis("problem")
    for k, name in enumerate(names):
        pairs = result.samples(problem=name)
        ax.plot(np.full(len(pairs), k), pairs[:, 1] / pairs[:, 0], "o", color="C0")
    control = result.samples(branch="sparse_cycle", problem="512^2")
    ax.plot(
        np.zeros(len(control)), control[:, 1] / control[:, 0], "s", color="0.6", label="with sparse matrices"
    )
    ax.axhline(5, ls="--", color="k", label="5")
    ax.set_xticks(range(len(names)), names)
    ax.set(ylabel="time of the best of PyAMG / ours", yscale="log")
    ax.legend()


# Learned against untrained numbers, equal kernels -----------------------------------------------------------

recipes = Claim(
    id="poisson.speed-untrained",
    statement="The learned recipe takes at most 1 / 1.2 of the time of the untrained multigrid.",
    source="ours: set-up included, residual 1e-6",
    criterion=Better(by=1.2),
    quick=grid(problem=["512^2", "64^3"], replicates=20),
    full=grid(problem=list(SHAPES), replicates=20),
    volatile=True,
)


def alternating(flags, b, ours, theirs, n=3):
    """Return the seconds of two methods, in turns, after one run of each."""
    for method in (ours, theirs):
        solve_pressure(flags, b, method=method)
    return np.array([[seconds(solve_pressure, flags, b, method=m) for m in (ours, theirs)] for _ in range(n)])


@recipes.measure
def learned_time(problem, rng):
    flags, b = problems.make("smoke", SHAPES[problem], rng)
    # The median of a few pairs on one problem is one sample.
    return np.median(alternating(flags, b, "learned-mg", "mg"), axis=0)[None]


@recipes.control("the untrained recipe against itself", grid=grid(problem=["512^2"], replicates=6))
def untrained_time(problem, rng):
    flags, b = problems.make("smoke", SHAPES[problem], rng)
    return np.median(alternating(flags, b, "mg", "mg"), axis=0)[None]


if __name__ == "__main__":
    main()
