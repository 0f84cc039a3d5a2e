"""Every point left out in turn, from QR factors of the rows: nothing is squared, and no leverage cancels.

Without point i the curvature is ``A - h_i h_i^T / n``, so its Newton step is ``A^-1 g_i / n`` plus a
multiple of ``A^-1 h_i`` with ``1 - h_i`` below the fraction, ``h_i`` the leverage. A point that nearly
fits itself, as all do where they are no more than the parameters and the damping is small, has a
leverage that rounds to 1. Let S be such points, and ``R^T R / n`` the curvature of all others. With
``X = H_S R^-1`` and the QR factors ``[X^T; I] = Q T``, what the leverages of S leave is
the diagonal of ``(I + X X^T)^-1 = T^-1 T^-T``, a sum of squares.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._exchange import like
from ._factor import warn_if_singular
from ._graded_qr import Triangle, graded_qr
from ._influence import common_factors, penalty, same_model
from ._parallel import serial_blas

__all__ = ["leave_one_out"]

Float = NDArray[np.float64]

#: A remainder ``1 - h_i`` above this keeps its digits as a difference; below it is a sum of squares.
_FITS_ITSELF = 1e-2


def leave_one_out(theta: ArrayLike, rows: ArrayLike, grads: ArrayLike, damping: float) -> Any:
    """Compute the parameters without each training point in turn, without training again.

    Parameters
    ----------
    theta : array_like, shape (p,)
        Minimiser of ``(1/n) sum_i l_i + (lam/2) |theta|^2``.
    rows : array_like, shape (n, p)
        Curvature rows, as from :func:`glm_rows`.
    grads : array_like, shape (n, p)
        Gradients of the losses at `theta`.
    damping : float
        The penalty lam.

    Returns
    -------
    ndarray, shape (n, p)
        Row i: the Newton step on all points but i; exact for squared loss.
        The divisor stays n.

    Raises
    ------
    ValueError
        For shapes that do not match, NaN or infinity.
    LinAlgError
        Where what a leverage leaves is below the smallest number.

    Warns
    -----
    LinAlgWarning
        Where the rows do not span the parameters and rounding hides the damping.

    Notes
    -----
    ``theta + z_i / (n (1 - h_i))`` with ``z_i = A^-1 g_i`` and the leverage
    ``h_i`` of row i, where gradient and row are parallel; otherwise
    ``theta + (z_i + y_i (y_i^T g_i) / (n (1 - h_i))) / n`` with ``y_i = A^-1 h_i``.
    For squared loss the left-out residual is the residual divided by ``1 - h_i``.

    ``1 - h_i`` is accurate at every damping and for any number of points. The
    steps are too, but for rows that neither span the p parameters nor are
    independent (equal columns or rows, say): there they carry u times the
    condition number of A.

    Cost: two QR factorisations at most, O(n p min(n, p)) flops; nothing n x n where p <= n.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab import curvature as cv
    >>> X, y = np.array([[1.0], [2.0]]), np.array([1.0, 1.0])
    >>> theta = np.array([3.0 / 7.0])                 # ridge with lam = 1
    >>> cv.leave_one_out(theta, *cv.glm_rows(X, y, theta, "gaussian"), 1.0)
    array([[0.33333333],
           [0.33333333]])
    """
    start, H, G, eps = same_model(theta, rows, grads)
    n, p = H.shape
    lam = penalty(damping, H)
    ridge = np.sqrt(n * lam)
    c = common_factors(H, G, eps)
    with serial_blas():
        if p <= n:
            Y, left, Z, kappa = _solve_points(H, G, ridge)
            warn_if_singular(kappa, lambda: kappa, lam, stacklevel=3)
            candidates = np.argsort(left, kind="stable")[:p]  # leverages sum to at most p
            fitted = candidates[left[candidates] < _FITS_ITSELF]
            if fitted.size:
                Y[fitted], left[fitted], _ = _solve_fitted(np.delete(H, fitted, axis=0), H[fitted], ridge)
        else:
            Y, left, basis = _solve_fitted(H[:0], H, ridge)
            Z = (G - (G @ basis) @ basis.T) / lam
    if not np.all(left > 0):
        i = int(np.argmin(left))
        raise np.linalg.LinAlgError(f"the leverage of point {i} rounds to 1; raise the damping (now {lam:g})")
    if c is not None:
        steps = (c / (n * left))[:, None] * Y
    else:
        steps = (Z + (np.einsum("ij,ij->i", G, Y) / (n * left))[:, None] * Y) / n
    return like(start + steps, theta)


def _solve_points(H: Float, G: Float, ridge: float) -> tuple[Float, Float, Float, float]:
    """Return ``A^-1 h_i``, ``1 - h_i`` as a difference, ``A^-1 g_i`` and the condition of A, where p <= n."""
    n, p = H.shape
    Q, R = graded_qr(np.concatenate([H, ridge * np.eye(p)]))
    X, pivots = Q[:n], np.abs(np.diagonal(R.R))
    kappa = float(pivots.max() / pivots.min()) ** 2
    return n * R.right(X), 1.0 - np.einsum("ij,ij->i", X, X), n * R.right(R.left(G)), kappa


def _solve_fitted(others: Float, rows: Float, ridge: float) -> tuple[Float, Float, Float]:
    """Return ``A^-1 h_i`` and ``1 - h_i`` of `rows` as a sum of squares, and a basis of their span."""
    k, p = rows.shape
    n = len(others) + k
    R = graded_qr(np.concatenate([others, ridge * np.eye(p)]))[1] if len(others) else Triangle(ridge)
    X = R.left(rows)
    Q, T = graded_qr(np.concatenate([X.T, np.eye(k)]))
    W = T.left(np.eye(k))
    left = np.einsum("ij,ij->i", W, W)
    V, loose = W @ Q[:p].T, left > 0.5
    V[loose] = T.right(W[loose]) @ X  # a short row is a small part of Q, but all of its own product
    return n * R.right(V), left, Q[:p]
