"""Removal of training points from a fitted model, without training again."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve

from .._lib.checks import check_choice, check_shape
from ._dual import Dual
from ._exchange import from_torch, like
from ._factor import warn_if_singular
from ._fisher import fisher_inverse
from ._graded_qr import Triangle, graded_qr
from ._influence import common_factors, penalty, same_model
from ._parallel import serial_blas
from ._primal import Primal
from ._rows import Rows

__all__ = ["remove_points"]

Float = NDArray[np.float64]
Index = NDArray[np.intp]

#: Squares of larger entries may overflow.
_LARGEST = 1e140


def remove_points(
    theta: ArrayLike,
    rows: ArrayLike,
    grads: ArrayLike,
    idx: int | ArrayLike,
    damping: float,
    *,
    method: Literal["newton", "influence"] = "newton",
) -> Any:
    """Compute the parameters after training points are removed, without training again.

    Parameters
    ----------
    theta : array_like, shape (p,)
        Minimiser of ``(1/n) sum_i l_i + (lam/2) |theta|^2``.
    rows : array_like, shape (n, p)
        Curvature rows, as from :func:`glm_rows`.
    grads : array_like, shape (n, p)
        Gradients of the losses at `theta`.
    idx : int or array_like of int or bool
        The points to remove; negative indices count from the end.
    damping : float
        The penalty lam.
    method : {"newton", "influence"}
        "newton" takes a Newton step on the remaining data, exact for squared
        loss. "influence" keeps the curvature of all data; for one point its
        error relative to the true change is the leverage of that point.

    Returns
    -------
    ndarray, shape (p,)
        New parameters. The divisor stays ``n = len(rows)``.

    Raises
    ------
    ValueError
        For shapes that do not match, a point named twice, NaN or infinity.
    IndexError
        For an index beyond the n points.

    Warns
    -----
    LinAlgWarning
        Where the rows are dependent and rounding hides the damping.

    Notes
    -----
    Newton: ``theta + A_R^-1 (1/n) sum_S g_i`` with A_R from the rows that remain;
    influence: ``theta + A^-1 (1/n) sum_S g_i``. Where each gradient is a multiple
    of its row, as in every generalised linear model, both are computed as
    products with stored rows, which do not cancel at small damping:
    ``A_R^-1 H_S^T c = A^-1 H_S^T (I - H_S A^-1 H_S^T / n)^-1 c``.

    Where a Cholesky factor of the smaller side would lose more than four digits,
    QR factors of the rows take its place: nothing is squared, and the step is
    accurate at every damping as long as the remaining rows span the p parameters
    or are independent. Otherwise (equal columns, say) it carries u times the
    condition number of A.

    Cost: one factorisation of the smaller side of `rows`, O(n p min(n, p)) flops.

    References
    ----------
    .. [1] P. W. Koh, P. Liang, "Understanding black-box predictions via
       influence functions", ICML 2017.
    .. [2] J. Jia et al., "Model sparsity can simplify machine unlearning",
       NeurIPS 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab import curvature as cv
    >>> rng = np.random.default_rng(0)
    >>> X, y, lam = rng.standard_normal((50, 3)), rng.standard_normal(50), 0.1
    >>> fit = lambda X, y: np.linalg.solve(X.T @ X / 50 + lam * np.eye(3), X.T @ y / 50)
    >>> theta = fit(X, y)
    >>> rows, grads = cv.glm_rows(X, y, theta, "gaussian")
    >>> forgotten = cv.remove_points(theta, rows, grads, [4, 7], lam)
    >>> bool(np.allclose(forgotten, fit(np.delete(X, [4, 7], axis=0), np.delete(y, [4, 7]))))
    True
    """
    check_choice(method, "method", ("newton", "influence"))
    start, H, G, eps = same_model(theta, rows, grads)
    lam = penalty(damping, H)
    S = _points(idx, len(H))
    if S.size == 0:
        return like(start.copy(), theta)
    c = common_factors(H[S], G[S], eps)
    with serial_blas():
        step = (_step_few if H.shape[1] > len(H) else _step_many)(H, G, S, c, lam, method)
    return like(start + step, theta)


def _step_many(H: Float, G: Float, S: Index, c: Float | None, lam: float, method: str) -> Float:
    """Return the step where the points are at least as many as the parameters, through p x p factors."""
    n, p = H.shape
    kept, total = H, G[S].sum(axis=0)
    if method == "newton":
        kept = H.copy()
        kept[S] = 0.0
    fast = _step_by_moment(kept, total, lam)
    if fast is not None:
        return fast
    Q, R = graded_qr(np.concatenate([kept, np.sqrt(n * lam) * np.eye(p)]))
    _warn_if_dependent(R, int(kept.any(axis=1).sum()), lam)
    if c is None:
        x = R.left(total[None])
    elif method == "newton":
        x = c[None] @ R.left(H[S])
    else:
        x = c[None] @ Q[S]
    return np.asarray(R.right(x)[0])


def _step_by_moment(kept: Float, total: Float, lam: float) -> Float | None:
    """Return the step from the Cholesky factor of A, or None where that would lose many digits."""
    n, p = kept.shape
    if np.abs(kept).max() > _LARGEST:
        return None
    try:
        A = Primal(Rows(kept), np.full(n, float(n)), p).damped(lam)
    except np.linalg.LinAlgError:
        return None
    return None if A.ill_conditioned() else np.asarray(A.solve(total, 1, np.float64) / n)


def _warn_if_dependent(R: Triangle, rows: int, lam: float) -> None:
    """Warn if rounding hides the damping in a direction that the rows should determine."""
    pivots = np.abs(np.diagonal(R.R))[:rows]
    if pivots.size:
        kappa = float(pivots[0] / pivots[-1]) ** 2
        warn_if_singular(kappa, lambda: kappa, lam, stacklevel=5)


def _step_few(H: Float, G: Float, S: Index, c: Float | None, lam: float, method: str) -> Float:
    """Return the step where the points are fewer than the parameters, through n x n factors."""
    n = len(H)
    if c is None:
        kept = H.copy()
        if method == "newton":
            kept[S] = 0.0
        return np.asarray(fisher_inverse(kept, lam, norm=n).solve(G[S].sum(axis=0), refine=1) / n)
    fast = _step_by_gram(H, S, c, lam, method)
    return _step_by_qr(H, S, c, np.sqrt(n * lam), method) if fast is None else fast


def _step_by_gram(H: Float, S: Index, c: Float, lam: float, method: str) -> Float | None:
    """Return the step from the Cholesky factor of K, or None where that would lose many digits."""
    n = len(H)
    if np.abs(H).max() > _LARGEST:
        return None
    rows = Rows(H)
    try:
        A = Dual(rows, np.full(n, float(n)), rows.gram()).damped(lam)
    except np.linalg.LinAlgError:
        return None
    if A.ill_conditioned():
        return None
    if method == "newton":
        c = cho_solve(cho_factor(A.remainder()[np.ix_(S, S)]), c)
    weights = np.zeros(n)
    weights[S] = c
    return np.asarray(A.solve_rows(weights, np.float64) / n)


def _step_by_qr(H: Float, S: Index, c: Float, ridge: float, method: str) -> Float:
    """Return the step from QR factors of the columns over the ridge.

    ``[X^T; I] = Q T`` for ``X = H / ridge``, hence ``(I + X X^T)^-1 = W W^T`` with ``W = T^-1``, and
    ``A^-1 H^T = n Q W^T / ridge`` with the upper part of Q.
    """
    n, p = H.shape
    Q, T = graded_qr(np.concatenate([H.T / ridge, np.eye(n)]))
    W = T.left(np.eye(n))[S]
    if method == "newton":  # W^T (W W^T)^-1 c is the shortest solution z of W z = c
        P, L = graded_qr(W.T)
        z = P @ L.left(c[None])[0]
    else:
        z = c @ W
    top = Q[:p] @ z
    if np.linalg.norm(top) < 0.5 * np.linalg.norm(z):  # short rows are a small part of Q
        top = T.right(z[None])[0] @ H / ridge
    return np.asarray(top / ridge)


def _points(idx: int | ArrayLike, n: int) -> NDArray[np.intp]:
    """Normalise indices or a boolean mask to distinct positions."""
    picked = np.atleast_1d(np.asarray(from_torch(idx)))
    if picked.dtype == np.bool_:
        check_shape(picked, (n,), "idx", "as a boolean mask over the points")
        return np.flatnonzero(picked)
    if picked.ndim != 1 or (picked.size and picked.dtype.kind not in "iu"):
        raise TypeError(
            f"idx must hold integers or be a boolean mask, got {picked.dtype} of shape {picked.shape}"
        )
    points = picked.astype(np.intp)
    outside = (points < -n) | (points >= n)
    if outside.any():
        raise IndexError(f"idx contains {points[outside][0]}, but there are {n} points")
    points = points % n
    values, counts = np.unique(points, return_counts=True)
    if values.size < points.size:
        raise ValueError(f"idx names point {values[counts > 1][0]} more than once")
    return points
