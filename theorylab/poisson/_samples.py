"""Residuals to train on: combinations of Ritz vectors, as the network meets them in a solve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import aslinearoperator

from .._lib.checks import as_float_array, check_int

__all__ = ["RitzBasis", "energy_loss", "lanczos", "ritz_basis", "scale_invariant_loss"]

Field = NDArray[Any]

#: Weight of the lower Ritz vectors in a sample, and by which share of their number the half is exceeded.
EMPHASIS, OVERLAP = 9.0, 0.05
SMALLEST_RITZ_VALUE = 1e-8


def matvec(A: Any, name: str = "A") -> tuple[Callable[[Field], Field], tuple[int, int]]:
    """Return the product with `A` (array, sparse matrix or LinearOperator) and its shape."""
    if not (sparse.issparse(A) or hasattr(A, "matvec")):
        A = as_float_array(A, name, ndim=2)
    try:
        operator = aslinearoperator(A)
    except (TypeError, ValueError):
        kind = f"{type(A).__module__}.{type(A).__name__}"
        raise TypeError(f"{name} must be a matrix, a sparse matrix or a LinearOperator, got {kind}") from None
    if operator.dtype is not None and np.dtype(operator.dtype).kind == "c":
        raise TypeError(f"{name} is complex, expected a real symmetric matrix; pass its real part")
    rows, columns = operator.shape
    if rows != columns:
        raise ValueError(f"{name} has shape {operator.shape}, expected a square matrix")
    return operator.matvec, (rows, columns)


def _vector(x: ArrayLike, name: str, n: int) -> NDArray[np.float64]:
    """Return `x` as a float64 vector of length `n`."""
    vector = as_float_array(x, name, ndim=1, dtype=np.float64)
    if len(vector) != n:
        raise ValueError(f"{name} has shape {vector.shape}, expected ({n},) to match A of shape ({n}, {n})")
    return vector


def scale_invariant_loss(A: Any, f: ArrayLike, r: ArrayLike) -> tuple[float, float, NDArray[np.float64]]:
    """Return the squared residual after the best step along `f`, the step, and the gradient.

    Parameters
    ----------
    A : {ndarray, sparse matrix, LinearOperator}, shape (n, n)
        Symmetric positive definite.
    f : array_like, shape (n,)
        Direction that a network proposes; its scale and sign do not matter.
    r : array_like, shape (n,)
        Residual; of unit norm in training, then 1 is the loss of no progress.

    Returns
    -------
    loss : float
        ``||s||^2`` with ``s = r - alpha A f``. May exceed ``||r||^2``, since
        alpha minimises the energy of the error and not this norm.
    alpha : float
        ``(r . f) / (f . A f)``.
    gradient : ndarray of float64, shape (n,)
        Derivative of the loss by `f`; orthogonal to `f`.

    Raises
    ------
    ValueError
        For shapes that do not match, and entries that are not finite.
    numpy.linalg.LinAlgError
        If ``f . A f`` is not positive.

    Notes
    -----
    With ``g = A f``: ``gradient = -2 alpha A s - 2 (s.g)/(f.g) (r - 2 alpha g)``.
    Costs two products with A.

    References
    ----------
    Kaneda, Akar, Chen, Trevino Kala, Hyde, Teran (2023). A deep conjugate
    direction method for iteratively solving linear systems. ICML.

    Examples
    --------
    >>> import numpy as np
    >>> loss, alpha, gradient = scale_invariant_loss(np.diag([1.0, 2.0]), [1.0, 1.0], [0.6, 0.8])
    >>> round(loss, 6), round(alpha, 6)
    (0.035556, 0.466667)
    """
    product, (n, _) = matvec(A)
    f, r = _vector(f, "f", n), _vector(r, "r", n)
    g = np.array(product(f), dtype=np.float64)  # a copy: an operator may hand out one buffer each time
    energy = float(f @ g)
    if not energy > 0:
        raise np.linalg.LinAlgError(
            f"f . A f is {energy:g}, expected a positive number; f is zero or A is not positive definite"
        )
    alpha = float(r @ f) / energy
    s = r - alpha * g
    gradient = -2 * alpha * np.asarray(product(s), dtype=np.float64)
    gradient -= 2 * float(s @ g) / energy * (r - 2 * alpha * g)
    return float(s @ s), alpha, gradient


def energy_loss(A: Any, f: ArrayLike, r: ArrayLike, x: ArrayLike) -> tuple[float, float, NDArray[np.float64]]:
    """Return the squared A-norm of the error after one line search along f, relative, its step and gradient.

    Parameters
    ----------
    A : {ndarray, sparse matrix, LinearOperator}, shape (n, n)
        Symmetric positive definite.
    f : array_like, shape (n,)
        Direction, not zero.
    r : array_like, shape (n,)
        Residual ``A x``.
    x : array_like, shape (n,)
        The error that the direction should point along.

    Returns
    -------
    loss : float
        ``1 - (r . f)^2 / ((f . A f) (r . x))``, in [0, 1]; 0 exactly for multiples of x.
    alpha : float
        ``(r . f) / (f . A f)``.
    gradient : ndarray of float64, shape (n,)
        With respect to f; orthogonal to f.

    Raises
    ------
    ValueError
        For wrong shapes, input that is not finite, and an x of which ``A x`` is not r.
    numpy.linalg.LinAlgError
        If ``f . A f`` or ``r . x`` is not positive.

    Notes
    -----
    Unlike :func:`scale_invariant_loss` it cannot exceed 1, for the step is the optimum of this
    very norm; but it needs x. The gradient is ``-2 alpha (r - alpha A f) / (r . x)``. Costs two
    products with A, one of which verifies r.

    Examples
    --------
    >>> import numpy as np
    >>> loss, alpha, gradient = energy_loss(np.diag([1.0, 2.0]), [1.0, 1.0], [0.6, 0.8], [0.6, 0.4])
    >>> round(loss, 6), round(alpha, 6), gradient.round(6).tolist()
    (0.039216, 0.466667, [-0.183007, 0.183007])
    """
    product, (n, _) = matvec(A)
    f, r, x = _vector(f, "f", n), _vector(r, "r", n), _vector(x, "x", n)
    defect = float(np.linalg.norm(np.asarray(product(x), dtype=np.float64) - r))
    if defect > 1e-6 * float(np.linalg.norm(r)):
        raise ValueError(f"x is not the solution of A x = r, expected a residual of zero, got {defect:.3g}")
    g = np.array(product(f), dtype=np.float64)
    energy, whole = float(f @ g), float(r @ x)
    if not (energy > 0 and whole > 0):
        raise np.linalg.LinAlgError(
            f"f . A f is {energy:g} and r . x is {whole:g}, expected positive numbers; "
            "f or r is zero, or A is not positive definite"
        )
    alpha = float(r @ f) / energy
    return max(0.0, 1.0 - alpha * float(r @ f) / whole), alpha, -2 * alpha / whole * (r - alpha * g)


def lanczos(
    A: Any, v0: ArrayLike, m: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Build an orthonormal basis of the Krylov space of a symmetric matrix, with full re-orthogonalisation.

    Parameters
    ----------
    A : {ndarray, sparse matrix, LinearOperator}, shape (n, n)
        Symmetric.
    v0 : array_like, shape (n,)
        Start vector, not zero.
    m : int
        Number of vectors wanted; fewer come back if the space is exhausted.

    Returns
    -------
    Q : ndarray of float64, shape (n, m)
        Orthonormal columns.
    alpha : ndarray of float64, shape (m,)
    beta : ndarray of float64, shape (m - 1,)
        ``Q.T @ A @ Q`` is tridiagonal with the diagonal alpha and the
        off-diagonals beta.

    Raises
    ------
    ValueError
        If v0 is zero, of wrong shape or not finite, or m < 1.

    Notes
    -----
    Every new vector is orthogonalised twice against all former ones, which
    keeps ``Q.T @ Q`` at the identity to rounding. Costs m products with A and
    ``4 n m^2`` flops; n m doubles of memory.

    Examples
    --------
    >>> import numpy as np
    >>> Q, alpha, beta = lanczos(np.diag([1.0, 2.0, 4.0]), np.ones(3), 3)
    >>> T = np.diag(alpha) + np.diag(beta, 1) + np.diag(beta, -1)
    >>> np.linalg.eigvalsh(T).round(12).tolist()
    [1.0, 2.0, 4.0]
    """
    product, (n, _) = matvec(A)
    v = _vector(v0, "v0", n)
    m = min(check_int(m, "m", low=1), n)
    norm = float(np.linalg.norm(v))
    if norm == 0:
        raise ValueError("v0 is zero, expected a start vector; pass for instance random normals")
    basis = np.empty((m, n))  # rows, so that each vector is contiguous
    alpha, beta = np.zeros(m), np.zeros(m)
    basis[0] = v / norm
    for k in range(m):
        w = np.array(product(basis[k]), dtype=np.float64)
        scale = float(np.linalg.norm(w))
        alpha[k] = basis[k] @ w
        known = basis[: k + 1]
        for _ in range(2):
            w -= known.T @ (known @ w)
        beta[k] = np.linalg.norm(w)
        # What is left is rounding: the space is invariant.
        if k + 1 == m or beta[k] <= 1e-13 * max(scale, abs(alpha[k])):
            break
        basis[k + 1] = w / beta[k]
    return basis[: k + 1].T, alpha[: k + 1], beta[:k]


class RitzBasis(NamedTuple):
    """Ritz values in ascending order, and their unit vectors as rows."""

    values: NDArray[np.float64]
    vectors: NDArray[np.float32]

    def sample(self, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw unit vectors with normal coefficients, nine times as large for the lower half."""
        m = len(self.values)
        c = rng.standard_normal((count, m))
        c[:, : int(m * (0.5 + OVERLAP))] *= EMPHASIS
        # The vectors are orthonormal: the norm of a combination is that of its coefficients.
        c /= np.linalg.norm(c, axis=1, keepdims=True)
        return c.astype(np.float32) @ self.vectors


def ritz_basis(A: Any, m: int, rng: np.random.Generator) -> RitzBasis:
    """Return the Ritz pairs of `A` on the Krylov space of ``A z``, z normal, without the null space."""
    product, (n, _) = matvec(A)
    Q, alpha, beta = lanczos(A, product(rng.standard_normal(n)), m)
    values, W = eigh_tridiagonal(alpha, beta)
    keep = values > SMALLEST_RITZ_VALUE
    vectors = np.ascontiguousarray((Q @ W[:, keep]).T, dtype=np.float32)
    return RitzBasis(values[keep], vectors)
