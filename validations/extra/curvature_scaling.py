"""Time as a power of the size. Not part of the collection: timings need a quiet machine, so run it by path.

python validations/extra/curvature_scaling.py [--full]
"""

import functools
import time

import numpy as np

from theorylab import curvature as cv
from theorylab.validation import Claim, Rate, grid, main

FACTORS = [1, 2, 4]
SOURCE = "M-FAC section 3: O(d m) a product, O(d m^2) a build"
PRODUCTS, BUILDS = ["product in d", "product in m"], ["Gram in d"]
products = Claim(
    id="curvature.exponents",
    statement="The time of a product grows linearly in d and in m: exponents between 0.85 and 1.2.",
    source=SOURCE,
    criterion=Rate("factor", slope=1.025, abs=0.175),
    quick=grid(work=PRODUCTS, replicates=8, joint={"factor": FACTORS}),
    full=grid(work=PRODUCTS, replicates=20, joint={"factor": FACTORS}),
    volatile=True,
)
builds = Claim(
    id="curvature.gram-exponent",
    statement="The time of the Gram grows linearly in d: an exponent between 0.9 and 1.15.",
    source=SOURCE,
    criterion=Rate("factor", slope=1.025, abs=0.125),
    quick=grid(work=BUILDS, replicates=8, joint={"factor": FACTORS}),
    full=grid(work=BUILDS, replicates=20, joint={"factor": FACTORS}),
    volatile=True,
)


def milliseconds(calls, function, *arguments):
    """Return the least processor time of some calls."""
    times = []
    for _ in range(calls):
        start = time.thread_time()
        function(*arguments)
        times.append(time.thread_time() - start)
    return 1e3 * min(times)


@functools.cache
def noise():
    """256 MB of float32, a million normal numbers over and over."""
    return np.tile(np.random.default_rng(0).standard_normal(1_000_003, dtype=np.float32), 64)


def timing_rows(m, d):
    """Rows without a copy; 64 MB and more, beyond the caches."""
    return noise()[: m * d].reshape(m, d)


@functools.cache
def inverse_of(m, d):
    """Build once: only the products are timed."""
    return cv.fisher_inverse(timing_rows(m, d), 1.0)


@products.measure
@builds.measure
def timed(work, rng):
    times = []
    for factor in FACTORS:
        # From m = 128 on the vectors, read and written once, are small beside the rows.
        m, d = (128 * factor, 125_000) if work == "product in m" else (64, 250_000 * factor)
        G, x = timing_rows(m, d), np.ones(d, dtype=np.float32)
        inv = inverse_of(m, d)
        inv.solve(x)  # compile, load
        if work == "Gram in d":
            times.append(milliseconds(2, cv.fisher_inverse, G, 1.0))
        else:
            times.append(milliseconds(11, inv.solve, x))
    return np.array(times)


DENSE = grid(work=["dense"], replicates=8, joint={"factor": FACTORS})


@products.control("a dense product costs d^2", grid=DENSE)
@builds.control("a dense product costs d^2", grid=DENSE)
def dense_product(work, rng):
    times = []
    for factor in FACTORS:
        A, x = timing_rows(2000 * factor, 2000 * factor), np.ones(2000 * factor, dtype=np.float32)
        times.append(milliseconds(3, A.dot, x))
    return np.array(times)


@products.figure(file="curvature_scaling.png")
def draw(ax, result):
    factor = result.axis("factor").astype(float)
    for k, work in enumerate(result.axis("work")):
        result.errorbar(ax, work=work, fmt="o", color=f"C{k}", label=work)
        ax.plot(factor, result.samples(work=work, factor=1).mean() * factor, "--", color=f"C{k}", lw=1)
    result.errorbar(
        ax, branch="dense_product", work="dense", fmt="s", color="0.6", label="dense product, from d = 2000"
    )
    ax.set(xscale="log", yscale="log", xlabel="size relative to 64 MB of rows", ylabel="time [ms]",
           title="Dashed: linear growth")  # fmt: skip
    ax.set_xticks(factor, [f"{f:g}" for f in factor])
    ax.minorticks_off()
    ax.legend()


if __name__ == "__main__":
    main()
