"""Four ways to the same inverse, and what float32 does to the published one.

The published recursion, its coefficient form, Woodbury's identity and a dense
solve are equal in exact arithmetic. In float32 the first two lose a stored row
completely once ``u |g|^2`` reaches ``N lam``, a law over nine decades of the
damping; the product by coefficients of the rows does not know it.
"""

import numpy as np
from _curvature import (
    U32,
    U64,
    digit_gradients,
    gaussian_rows,
    kappa,
    relative,
    row_products,
    solve_in_60_digits,
)

from theorylab import curvature as cv
from theorylab.validation import Claim, Exact, Within, grid, main

DAMPINGS = [10.0**e for e in (1, 0, -1, -2, -3, -4, -5, -6, -7, -8)]

equality = Claim(
    id="curvature.equality",
    statement="Recursion, coefficients, Woodbury and dense solve give the same product: within 1e-13 for a "
    "generic vector and within 50 u kappa for a stored row, against 60 digits.",
    source="M-FAC sections 3.1 and 3.2: Woodbury's identity applied row by row",
    criterion=Exact(abs=1.0),  # in units of the allowance
    quick=grid(method=["recursion", "coefficients", "Woodbury", "dense"], x=["generic", "row"], m=[7, 64],
               damping=[1e-5, 1e-3, 1e-1], replicates=1),
    full=grid(method=["recursion", "coefficients", "Woodbury", "dense"], x=["generic", "row"], m=[7, 64, 128],
              damping=[1e-5, 1e-3, 1e-1], replicates=20),
)  # fmt: skip
COLUMNS = {7: 19, 64: 400, 128: 2000}


def error_in_allowances(method, x, m, damping, rng, norm=None):
    """Return the relative error over what is allowed."""
    G = gaussian_rows(rng, m, COLUMNS[m])
    vector = G[0] if x == "row" else gaussian_rows(rng, 1, COLUMNS[m])[0]
    N = m if norm is None else norm
    if method == "dense":
        y = np.linalg.solve(damping * np.eye(len(vector)) + G.T @ G / N, vector)
    else:
        published = None if method == "Woodbury" else method
        y = cv.fisher_inverse(G, damping, norm=N, method=published) @ vector
    # A dense solve loses kappa for every vector.
    allowed = 1e-13 if x == "generic" and method != "dense" else 50 * U64 * kappa(G, damping)
    return relative(y, solve_in_60_digits(G, damping, vector)) / allowed


equality.measure(error_in_allowances)


@equality.control(
    "N + 1 for N is an error of 1/N for a stored row; a generic vector hardly shows it",
    grid=grid(method=["recursion", "Woodbury"], x=["generic", "row"], m=[64], damping=[1e-3]),
)
def one_row_too_many(method, x, m, damping, rng):
    return error_in_allowances(method, x, m, damping, rng, norm=m + 1)


breakdown = Claim(
    id="curvature.float32-breakdown",
    statement="In float32 the published recursion applied to a stored row g has a relative error of "
    "u (1 + |g|^2 / (N lam)), within a factor of 10, over nine decades of the damping.",
    source="rounding error of (x - G^T K^-1 G x) / lam; the published code has lam = 1e-5 by default",
    criterion=Within(abs=1.0),  # of log10(error / law)
    quick=grid(rows=["Gaussian", "digits"], damping=DAMPINGS, replicates=8),
    full=grid(rows=["Gaussian", "digits"], damping=DAMPINGS, replicates=50),
)
FIRST = 16  # rows of a replicate that are tried


def draw_rows(rows, rng):
    """Return 64 float32 rows: normal ones of length 2000, or gradients on the handwritten digits."""
    G = rng.standard_normal((64, 2000)) if rows == "Gaussian" else digit_gradients(rng, 64)
    return G.astype(np.float32)


@breakdown.predict
def on_the_law(rows, damping):
    return 0.0


def log_error_over_law(G, damping, X, truth):
    """Return the mean over some vectors of log10 of the error over the law."""
    law = U32 * (1 + np.sum(G[:FIRST].astype(np.float64) ** 2, axis=1) / (64 * damping))
    y = cv.fisher_inverse(G, damping, method="recursion", accumulate="storage") @ X
    return np.mean(np.log10([relative(a, b) for a, b in zip(y.T, truth.T)] / law))


@breakdown.measure
def published_in_float32(rows, damping, rng):
    G = draw_rows(rows, rng)
    return log_error_over_law(G, damping, G[:FIRST].T, row_products(G, damping, FIRST))


@breakdown.control("vectors outside the span of the rows lose nothing at any damping")
def generic_vectors(rows, damping, rng):
    G = draw_rows(rows, rng)
    X = rng.standard_normal((G.shape[1], FIRST)).astype(np.float32)
    return log_error_over_law(G, damping, X, cv.fisher_inverse(G, damping) @ X.astype(np.float64))


cure = Claim(
    id="curvature.rows-without-cancellation",
    statement="N G^T K^-1 e_i over float32 rows has a relative error of at most 1e-6 at every damping from "
    "10 to 1e-8.",
    source="push-through identity A^-1 G^T = N G^T K^-1, sums in float64",
    criterion=Exact(abs=1e-6),
    quick=grid(rows=["Gaussian", "digits"], damping=DAMPINGS, replicates=5),
    full=grid(rows=["Gaussian", "digits"], damping=DAMPINGS, replicates=50),
    headline=True,
)


@cure.measure
def push_through(rows, damping, rng):
    G = draw_rows(rows, rng)
    y = cv.fisher_inverse(G, damping).solve_rows(np.eye(64, dtype=np.float32)[0])
    return relative(y, row_products(G, damping)[:, 0])


@cure.control("Woodbury's form in float32 subtracts two vectors that are nearly equal")
def woodbury_in_float32(rows, damping, rng):
    G = draw_rows(rows, rng)
    y = cv.fisher_inverse(G, damping, accumulate="storage") @ G[0]
    return relative(y, row_products(G, damping)[:, 0])


@cure.figure(file="curvature_exactness.png")
def draw(ax, result):
    lam = result.axis("damping")
    for rows, color, marker, norm2 in (("Gaussian", "C0", "s", 2000), ("digits", "C1", "^", 12)):
        result.errorbar(ax, rows=rows, fmt=marker, color=color, label=f"by coefficients of the rows, {rows}")
        result.errorbar(ax, branch="woodbury_in_float32", rows=rows, color="0.6", fmt=marker,
                        label=f"Woodbury in float32, {rows}")  # fmt: skip
        law = U32 * (1 + norm2 / (64 * lam))
        ax.plot(lam, law, "--", color="0.4", lw=1, label=None if norm2 == 12 else r"$u\,(1+|g|^2/N\lambda)$")
    ax.axhline(1e-6, color="k", lw=0.8)
    ax.set(xscale="log", yscale="log", xlabel=r"damping $\lambda$", ylabel="relative error of $A^{-1}g$",
           title="float32 rows: grey loses every digit, colour none")  # fmt: skip
    ax.invert_xaxis()
    ax.legend()


if __name__ == "__main__":
    main()
