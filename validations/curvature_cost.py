"""What it costs: operations and bytes of rows to the last one, how they grow, and memory.

How the times grow is in extra/curvature_scaling.py, for a quiet machine.
"""

import tracemalloc

import numpy as np

from theorylab import curvature as cv
from theorylab.validation import Claim, Exact, Samples, grid, main

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


FACTORS = np.array([1, 2, 4, 8])
EXPONENTS = {"product in d": 1, "product in m": 1, "build in d": 1, "build in m": 2, "slide in m": 2}

growth = Claim(
    id="curvature.growth",
    statement="The operations of a product grow like d and like m, those of a build like d and m^2, those of "
    "a slide of the window beside its reads like m^2.",
    source="M-FAC section 3: O(d m), O(d m^2), and O(m^3) for the last",
    criterion=Exact(abs=0.05),  # lower powers of m, at m = 32 and d = 10 000
    quick=grid(work=list(EXPONENTS)),
    full=grid(work=list(EXPONENTS)),
)


@growth.predict
def exponent(work):
    return EXPONENTS[work]


def slope_of(flops):
    """Return the exponent over the sizes, with the operations for the figure."""
    return Samples([np.polyfit(np.log(FACTORS), np.log(flops), 1)[0]], flops=flops)


@growth.measure
def counted_operations(work, rng):
    flops = []
    for factor in FACTORS.tolist():
        m, d = (32, 10_000 * factor) if work.endswith("in d") else (32 * factor, 10_000)
        G = rng.standard_normal((m, d), dtype=np.float32)
        if work == "slide in m":
            inv = cv.SlidingFisherInverse(d, m, 1e-3)
            inv.extend(G)
        else:
            inv = cv.fisher_inverse(G, 1e-3)
        if not work.startswith("build"):
            inv.cost.reset()
            _ = inv.update(G[0]) if work == "slide in m" else inv @ G[0]
        reads = inv.cost["dots"].flops if work == "slide in m" else 0
        flops.append(inv.cost.flops - reads)
    return slope_of(flops)


@growth.control(
    "a d x d factor in place of the m x m one, and a factorisation for each slide",
    grid=grid(work=["product in d", "slide in m"]),
)
def dense_or_refactored(work, rng):
    flops = []
    for factor in FACTORS.tolist():
        m, d = (8, 100 * factor) if work == "product in d" else (32 * factor, 1000)
        G = rng.standard_normal((m, d))
        inv = cv.fisher_inverse(G, 1e-3, side="primal" if work == "product in d" else "dual")
        inv.cost.reset()
        _ = inv @ G[0] if work == "product in d" else inv.with_damping(1e-3)
        flops.append(inv.cost.flops)
    return slope_of(flops)


@growth.figure
def draw(ax, result):
    for k, work in enumerate(EXPONENTS):
        flops = np.array(result.extras("flops", work=work)[0])
        ax.plot(FACTORS, flops[0] * FACTORS ** float(EXPONENTS[work]), "--", color=f"C{k}", lw=1)
        ax.plot(FACTORS, flops, "osd^v"[k], color=f"C{k}", ms=9 - k, label=f"{work}: power {EXPONENTS[work]}")
    for work, label in (("product in d", "d x d factor"), ("slide in m", "new factor for each slide")):
        flops = np.array(result.extras("flops", branch="dense_or_refactored", work=work)[0])
        ax.plot(FACTORS, flops, "s-", color="0.6", lw=1, label=f"control: {label}")
    ax.set(xscale="log", yscale="log", xlabel="size relative to the first", ylabel="operations",
           title="Dashed: the predicted power")  # fmt: skip
    ax.set_xticks(FACTORS, [f"{f:g}" for f in FACTORS])
    ax.minorticks_off()
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))


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
