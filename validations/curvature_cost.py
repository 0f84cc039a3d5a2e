"""What it costs: operations and bytes of rows to the last one, and memory."""

import tracemalloc

import numpy as np

from theorylab import curvature as cv
from theorylab.validation import Claim, Exact, grid, main

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


memory = Claim(
    id="curvature.memory",
    statement="Beside the rows a build, a product and a product with rows need at most 3 m^2 + 4 d numbers "
    "and two tiles.",
    source="M-FAC section 3: O(d m) storage; the authors keep a second m x d matrix",
    criterion=Exact(abs=1.0),  # peak over allowance
    quick=grid(m=[64], d=[1_000_000], rows=["float32", "float64"]),
    full=grid(m=[16, 64, 256], d=[1_000_000], rows=["float32", "float64"]),
)


def repeated_noise(m, d):
    """Rows of a million normal numbers over and over: large, but soon made."""
    return np.resize(np.random.default_rng(0).standard_normal(1_000_003, dtype=np.float32), (m, d))


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
    G, x = repeated_noise(m, d).astype(rows), np.ones(d)
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
    G = repeated_noise(m, d).astype(rows)
    return peak_over_allowance(lambda: G.T @ G / m + np.eye(d, dtype=rows), m, d)


if __name__ == "__main__":
    main()
