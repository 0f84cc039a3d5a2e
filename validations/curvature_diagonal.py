"""Small blocks: the diagonal of the inverse, which OBS pruning divides by, cancels in the published form.

With fewer columns than rows, 1 - |v_j|^2 is a small difference of numbers near 1.
The b x b matrix itself gives the same numbers as sums of squares.
"""

import numpy as np

from theorylab import curvature as cv
from theorylab.validation import AtLeast, Claim, Exact, grid, main


def block(rng, m, b):
    """Return float32 rows and the diagonal of the inverse of their block; cond(A) is about 4 for m >> b."""
    return rng.standard_normal((m, b)).astype(np.float32)


def dense_diagonal(G, lam):
    G = G.astype(np.float64)
    return np.linalg.inv(lam * np.eye(G.shape[1]) + G.T @ G / len(G)).diagonal()


def published_diagonal(G, lam):
    return cv.fisher_inverse(G, lam, method="recursion", accumulate="storage").diagonal()


def largest_error(diagonal, truth):
    return np.abs(np.asarray(diagonal, dtype=np.float64) / truth - 1).max()


cure = Claim(
    id="curvature.diagonal",
    statement="For blocks of 50 columns under 512 rows the diagonal of the inverse has a relative error of "
    "at most 1e-12 at every damping.",
    source="Cholesky factor of the 50 x 50 block in place of M-FAC section 3.1",
    criterion=Exact(abs=1e-12),
    quick=grid(damping=[1e-3, 1e-5, 1e-7], replicates=5),
    full=grid(damping=[1e-3, 1e-5, 1e-7], replicates=50),
)


@cure.measure
def through_the_block(damping, rng):
    G = block(rng, 512, 100)
    inv = cv.fisher_inverse(G, damping, blocks=[50, 50])
    truth = np.r_[dense_diagonal(G[:, :50], damping), dense_diagonal(G[:, 50:], damping)]
    return largest_error(inv.diagonal(), truth)


@cure.control("the published recursion in float32")
def recursion_in_float32(damping, rng):
    G = block(rng, 512, 50)
    return largest_error(published_diagonal(G, damping), dense_diagonal(G, damping))


loss = Claim(
    id="curvature.float32-diagonal",
    statement="At damping 1e-5 the published recursion in float32 is off by more than 1 % in the diagonal of "
    "a block of 50 columns under 512 rows.",
    source="cancellation in 1/lam - sum_i p_i^2 / q_i",
    criterion=AtLeast(1e-2),
    quick=grid(replicates=8),
    full=grid(replicates=50),
)


@loss.measure
def few_columns(rng):
    return recursion_in_float32(1e-5, rng)


@loss.control("128 columns under 64 rows: nothing cancels")
def many_columns(rng):
    G = block(rng, 64, 128)
    truth = cv.fisher_inverse(G.astype(np.float64), 1e-5).diagonal()
    return largest_error(published_diagonal(G, 1e-5), truth)


if __name__ == "__main__":
    main()
