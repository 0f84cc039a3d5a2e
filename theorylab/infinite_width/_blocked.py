"""Cholesky factors of matrices larger than memory, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import lapack, solve_triangular

from theorylab._lib.checks import as_float_array, check_int, check_real

__all__ = ["blocked_cholesky", "blocked_solve"]

Array = NDArray[Any]


def _check(A: Any, block: Any, name: str) -> int:
    if not isinstance(A, np.ndarray) or A.ndim != 2 or A.shape[0] != A.shape[1] or A.dtype.kind != "f":
        shape = getattr(A, "shape", None)
        raise ValueError(f"{name} must be a square array of floats, for instance a memmap, got shape {shape}")
    return check_int(block, "block", low=1)


def blocked_cholesky(A: Array, *, noise: float = 0.0, block: int = 2048) -> Array:
    """Overwrite a symmetric matrix by its lower Cholesky factor, with a few blocks in memory.

    Parameters
    ----------
    A : ndarray, shape (n, n)
        Positive definite, float32 or float64, writable; a `numpy.memmap` may exceed memory. Only the
        lower triangle is read, and the upper one is set to zero.
    noise : float
        Added to the diagonal first.
    block : int
        Side of a block; memory ``3 block^2`` float64 numbers, or 5 where blocks of float32 are widened.

    Returns
    -------
    ndarray
        `A` itself.

    Raises
    ------
    ValueError
        If `A` is no square writable array of floats, or holds NaN or infinity.
    numpy.linalg.LinAlgError
        If a pivot is not positive; names it. In both cases of bad entries `A` is partly overwritten.

    Notes
    -----
    Left-looking: block column J is updated by all columns before it, read once each, hence
    ``n^3 / (3 block)`` numbers of traffic and ``n^3 / 3`` multiply-adds in BLAS.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import blocked_cholesky, blocked_solve, kernels
    >>> X = np.random.default_rng(0).standard_normal((7, 3))
    >>> K = kernels.nngp(X, depth=2)
    >>> L = blocked_cholesky(K.copy(), noise=0.1, block=3)
    >>> x = blocked_solve(L, np.ones(7), block=3)
    >>> bool(np.allclose(K @ x + 0.1 * x, 1.0))
    True
    """
    block = _check(A, block, "A")
    noise = check_real(noise, "noise", low=0.0)
    if not A.flags.writeable:
        raise ValueError("A is read-only, expected a writable array: it is overwritten")
    n = A.shape[0]
    for j in range(0, n, block):
        cols = slice(j, min(j + block, n))
        top = np.zeros((0, 0))
        for i in range(j, n, block):
            rows = slice(i, min(i + block, n))
            C = np.array(A[rows, cols], dtype=np.float64)
            for k in range(0, j, block):
                before = slice(k, min(k + block, n))
                C -= np.asarray(A[rows, before], np.float64) @ np.asarray(A[cols, before], np.float64).T
            if i > j:
                A[rows, cols] = solve_triangular(top, C.T, lower=True).T
                A[cols, rows] = 0.0
                continue
            C[np.diag_indices_from(C)] += noise
            top, info = lapack.dpotrf(C, lower=1, clean=1)
            if not np.all(np.isfinite(np.diag(top))):
                raise ValueError(f"A holds NaN or infinity in its first {rows.stop} rows")
            if info > 0:
                raise np.linalg.LinAlgError(
                    f"the matrix is not positive definite: pivot {j + info} is not positive; raise noise"
                )
            A[rows, cols] = top
    return A


def blocked_solve(L: Array, b: ArrayLike, *, block: int = 2048) -> Array:
    """Solve ``L L' x = b`` from a factor by :func:`blocked_cholesky`, reading it twice.

    Parameters
    ----------
    L : ndarray, shape (n, n)
        Lower triangular, float32 or float64; a `numpy.memmap` may exceed memory.
    b : array_like, shape (n,) or (n, k)
    block : int
        Side of a block.

    Returns
    -------
    ndarray, float64, of the shape of `b`

    Raises
    ------
    ValueError
        If `L` is no square array of floats, or `b` has another number of rows.
    """
    block = _check(L, block, "L")
    x = as_float_array(b, "b", ndim=(1, 2), dtype=np.float64, copy=True)
    n = L.shape[0]
    if x.shape[0] != n:
        raise ValueError(f"b has shape {x.shape}, expected {n} rows to match L of shape {L.shape}")
    starts = range(0, n, block)
    for i in starts:
        rows = slice(i, min(i + block, n))
        for k in range(0, i, block):
            x[rows] -= np.asarray(L[rows, k : k + block], np.float64) @ x[k : k + block]
        x[rows] = solve_triangular(np.asarray(L[rows, rows], np.float64), x[rows], lower=True)
    for i in reversed(starts):
        rows = slice(i, min(i + block, n))
        for k in range(i + block, n, block):
            x[rows] -= np.asarray(L[k : k + block, rows], np.float64).T @ x[k : k + block]
        x[rows] = solve_triangular(np.asarray(L[rows, rows], np.float64), x[rows], lower=True, trans="T")
    return x
