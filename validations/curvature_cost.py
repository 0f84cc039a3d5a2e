"""What it costs: operations and bytes to the last one, time as a power of the size, memory to the byte."""

import functools
import time
import tracemalloc

import numpy as np

from theorylab import curvature as cv
from theorylab.validation import Claim, Exact, Rate, grid, main

counts = Claim(
    id="curvature.counts",
    statement="A build takes d m^2 flops and one read of G, a product 4 d m + 2 m^2 flops and two reads, a "
    "product with rows one read, update_solve two reads and O(m^2) flops beside them.",
    source="M-FAC sections 3.1 and 3.2 claim O(d m^2), O(d m) and O(m^3) for the last",
    criterion=Exact(),
    quick=grid(work=["build", "product", "rows", "update_solve"], m=[32, 128], d=[3000, 10_000]),
    full=grid(work=["build", "product", "rows", "update_solve"], m=[32, 64, 128, 256], d=[100_000, 800_000]),
)


def counted(work, m, d, rng):
    """Return flops and reads of G that the kernels report; for the window the flops beyond 5 m^2 of slide."""
    G = rng.standard_normal((m, d), dtype=np.float32)
    size = G.nbytes
    if work == "update_solve":
        inv = cv.SlidingFisherInverse(d, m, 1e-3)
        inv.extend(G)
        inv.cost.reset()
        inv.update_solve(G[0], np.ones(d))
        passes = inv.cost["dots"].flops + inv.cost["combine"].flops
        small = inv.cost.flops - passes
        return passes, max(0, small - 7 * m**2), inv.cost.bytes / size
    inv = cv.fisher_inverse(G, 1e-3)
    if work == "build":
        return inv.cost["gram"].flops, inv.cost["factor"].flops, inv.cost.bytes / size
    inv.cost.reset()
    _ = inv @ np.ones(d) if work == "product" else inv.solve_rows(np.ones(m))
    return inv.cost.flops, 0, inv.cost.bytes / size


def formula(work, m, d):
    """Return what `counted` should be."""
    return {
        "build": (d * m**2, m**3 // 3, 1),
        "product": (4 * d * m + 2 * m**2, 0, 2),
        "rows": (2 * d * m + 2 * m**2, 0, 1),
        "update_solve": (6 * d * m, 0, 2),  # G g and G x share a read
    }[work]


@counts.measure
def deviation(work, m, d, rng):
    return np.subtract(counted(work, m, d, rng), formula(work, m, d))


@counts.control("the formula of the published update, O(m^3), for the window")
def cubic_update(work, m, d, rng):
    ours = np.array(counted("update_solve", m, d, rng))
    return ours - [6 * d * m, m**3, 2]


FACTORS = [1, 2, 4]
exponents = Claim(
    id="curvature.exponents",
    statement="The time of a product grows linearly in d and in m, that of the Gram linearly in d.",
    source="M-FAC section 3: O(d m) a product, O(d m^2) a build",
    criterion=Rate("factor", slope=1.0, abs=0.2),
    quick=grid(work=["product in d", "product in m", "Gram in d"], replicates=8, joint={"factor": FACTORS}),
    full=grid(work=["product in d", "product in m", "Gram in d"], replicates=20, joint={"factor": FACTORS}),
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


@exponents.measure
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


@exponents.control(
    "a dense product costs d^2", grid=grid(work=["dense"], replicates=8, joint={"factor": FACTORS})
)
def dense_product(work, rng):
    times = []
    for factor in FACTORS:
        A, x = timing_rows(2000 * factor, 2000 * factor), np.ones(2000 * factor, dtype=np.float32)
        times.append(milliseconds(3, A.dot, x))
    return np.array(times)


@exponents.figure(file="curvature_scaling.png")
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


memory = Claim(
    id="curvature.memory",
    statement="Beside the rows a build, a product and a product with rows need at most 3 m^2 + 4 d numbers "
    "and two tiles.",
    source="M-FAC section 3: O(d m) storage; the authors keep a second m x d matrix",
    criterion=Exact(abs=1.0),  # peak over allowance
    quick=grid(m=[64], d=[1_000_000], rows=["float32", "float64"]),
    full=grid(m=[16, 64, 256], d=[1_000_000], rows=["float32", "float64"]),
)


def peak_over_allowance(function, m, d):
    """Return the peak of traced memory over ``8 (3 m^2 + 4 d)`` bytes and two tiles of 4096 columns."""
    tracemalloc.start()
    try:
        function()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return peak / (8 * (3 * m**2 + 4 * d) + 2 * 8 * m * 4096)


@memory.measure
def three_products(m, d, rows, rng):
    G, x = timing_rows(m, d).astype(rows), np.ones(d)
    cv.fisher_inverse(G[:, :5000].copy(), 1.0) @ x[:5000]  # compile first

    def work():
        inv = cv.fisher_inverse(G, 1.0)
        inv @ x
        inv.solve_rows(np.ones(m))

    return peak_over_allowance(work, m, d)


@memory.control(
    "the dense matrix: at d = 1e6 it would take 8 TB", grid=grid(m=[64], d=[4000], rows=["float32"])
)
def dense_matrix(m, d, rows, rng):
    G = timing_rows(m, d).astype(rows)
    return peak_over_allowance(lambda: G.T @ G / m + np.eye(d, dtype=rows), m, d)


if __name__ == "__main__":
    main()
