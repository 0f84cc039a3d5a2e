"""Influence of training points on a fitted model, and what their removal needs.

The model minimises ``J(theta) = (1/n) sum_i l_i(theta) + (lam/2) |theta|^2``. Its
curvature is ``A = lam I + (1/n) sum_i h_i h_i^T`` with one row `h_i` for each
point, and `g_i` is the gradient of `l_i`. Removing points keeps the divisor n.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from .._lib.checks import as_float_array, check_choice, check_shape
from ._exchange import from_torch, like
from ._inputs import accept_damping
from ._inverse import FisherInverse
from ._parallel import times

__all__ = ["common_factors", "glm_rows", "influence", "penalty", "same_model"]

Float = NDArray[np.float64]


def glm_rows(
    X: ArrayLike, y: ArrayLike, theta: ArrayLike, family: Literal["gaussian", "binomial"]
) -> tuple[Any, Any]:
    """Compute curvature rows and gradients of a generalised linear model with its natural link.

    Parameters
    ----------
    X : array_like, shape (n, p)
        Features; add a column of ones for an intercept (it is then penalised too).
    y : array_like, shape (n,)
        Targets; for "binomial" classes 0 and 1, or fractions in between.
    theta : array_like, shape (p,)
        Coefficients.
    family : {"gaussian", "binomial"}
        Losses ``(y - eta)^2 / 2`` and ``log(1 + e^eta) - y eta`` with ``eta = X theta``.

    Returns
    -------
    rows : ndarray, shape (n, p)
        ``sqrt(l''_i) x_i``; ``fisher_inverse(rows, lam)`` inverts the exact Hessian.
    grads : ndarray, shape (n, p)
        ``l'_i x_i``, the gradient of each loss.

    Raises
    ------
    ValueError
        For an unknown family, shapes that do not match, NaN or infinity, and
        binomial targets outside [0, 1].

    Notes
    -----
    Cost: 2 n p flops and the two results.

    Examples
    --------
    >>> from theorylab import curvature as cv
    >>> rows, grads = cv.glm_rows([[1.0, 2.0]], [3.0], [1.0, 0.5], "gaussian")
    >>> rows, grads
    (array([[1., 2.]]), array([[-1., -2.]]))
    """
    check_choice(family, "family", ("gaussian", "binomial"))
    features = as_float_array(from_torch(X), "X", ndim=2, dtype=np.float64)
    n, p = features.shape
    target = as_float_array(from_torch(y), "y", ndim=1, dtype=np.float64)
    check_shape(target, (n,), "y", f"to match X of shape {features.shape}")
    coefficients = as_float_array(from_torch(theta), "theta", ndim=1, dtype=np.float64)
    check_shape(coefficients, (p,), "theta", f"to match X of shape {features.shape}")
    eta = times(features, coefficients)
    if family == "gaussian":
        return like(features.copy(), X), like((eta - target)[:, None] * features, X)
    outside = (target < 0) | (target > 1)
    if outside.any():
        i = int(np.argmax(outside))
        raise ValueError(
            f"y[{i}] is {target[i]:g}, expected binomial targets in [0, 1]; code the classes as 0 and 1"
        )
    # p (1 - p) as the product of two logistic functions keeps its relative accuracy in both tails.
    root = np.sqrt(expit(eta) * expit(-eta))
    return like(root[:, None] * features, X), like((expit(eta) - target)[:, None] * features, X)


def influence(inv: FisherInverse, g_test: ArrayLike, G_train: ArrayLike) -> Any:
    """Estimate how much removing each training point changes a test function.

    Parameters
    ----------
    inv : FisherInverse, shape (d, d)
        Inverse of the curvature A at the fitted parameters.
    g_test : array_like, shape (d,) or (d, k)
        Gradient of one test function, or of k, at the fitted parameters.
    G_train : array_like, shape (n, d)
        Gradient of the loss at each training point.

    Returns
    -------
    ndarray, shape (n,) or (n, k)
        First-order change of the test function when the point is *removed*;
        positive: without the point the test function grows.

    Raises
    ------
    ValueError
        For shapes that do not match, NaN or infinity.

    Notes
    -----
    ``g_i^T A^-1 g_test / N`` with the divisor N = ``inv.norm``. One refined solve and
    one pass over `G_train`: 8 d m + 2 d n flops for each test function. For all
    influences of training points on each other see
    :meth:`FisherInverse.influence_matrix`.

    References
    ----------
    .. [1] R. Grosse et al., "Studying large language model generalization with
       influence functions", 2023, eq. 8.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab import curvature as cv
    >>> G = np.array([[1.0, 0.0], [0.0, 2.0]])
    >>> inv = cv.fisher_inverse(G, damping=0.5)      # A = diag(1, 2.5)
    >>> cv.influence(inv, [1.0, 5.0], G)
    array([0.5, 2. ])
    """
    test = as_float_array(from_torch(g_test), "g_test", ndim=(1, 2), dtype=np.float64)
    check_shape(test, (inv.d, *test.shape[1:]), "g_test", f"to match the inverse of shape ({inv.d}, {inv.d})")
    train = as_float_array(from_torch(G_train), "G_train", ndim=2)
    check_shape(train, (len(train), inv.d), "G_train", f"to match the inverse of shape ({inv.d}, {inv.d})")
    # Training gradients lie in the span of the rows as a rule: the refinement removes the error there.
    return like(times(train, inv.solve(test, refine=1)) / inv.norm, g_test)


def same_model(theta: ArrayLike, rows: ArrayLike, grads: ArrayLike) -> tuple[Float, Float, Float, float]:
    """Check parameters, rows and gradients against each other; the last is the precision they came in."""
    arrays = [as_float_array(from_torch(x), name, ndim=2) for x, name in ((rows, "rows"), (grads, "grads"))]
    eps = max(float(np.finfo(x.dtype).eps) for x in arrays)
    H, G = (x.astype(np.float64, copy=False) for x in arrays)
    start = as_float_array(from_torch(theta), "theta", ndim=1, dtype=np.float64)
    if 0 in H.shape:
        raise ValueError(f"rows has shape {H.shape}, expected at least one point and one parameter")
    check_shape(G, H.shape, "grads", "to match rows")
    check_shape(start, H.shape[1:], "theta", f"to match rows of shape {H.shape}")
    return start, H, G, eps


def penalty(damping: float | tuple[str, float], rows: Float) -> float:
    """Return the penalty lam; a relative one is a multiple of the mean square of all entries of `rows`."""
    value, relative = accept_damping(damping)
    if not relative:
        return value
    mean = float(np.einsum("ij,ij->", rows, rows)) / rows.size
    if not 0 < mean < np.inf:
        raise ValueError(
            f"damping is relative to the mean square {mean} of the entries of rows; pass a number"
        )
    return value * mean


def common_factors(rows: Float, grads: Float, eps: float) -> Float | None:
    """Return c with ``grads[i] = c[i] rows[i]``, or None where they are not parallel up to `eps`."""
    largest = np.abs(rows).max(axis=1, initial=0.0)
    largest[largest == 0] = 1.0
    unit = rows / largest[:, None]  # of which squares neither overflow nor vanish
    size = np.einsum("ij,ij->i", unit, unit)
    c = np.divide(np.einsum("ij,ij->i", unit, grads), size, out=np.zeros_like(size), where=size > 0)
    c /= largest
    off = np.abs(grads - c[:, None] * rows).max(axis=1, initial=0.0)
    # Rows and gradients are each x_i times a scalar, rounded once; the second term is the rounding of c.
    slack = 8 * eps + 16 * rows.shape[1] * np.finfo(np.float64).eps
    return c if np.all(off <= slack * np.abs(grads).max(axis=1, initial=0.0)) else None
