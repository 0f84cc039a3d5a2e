"""The model as functions of plain arrays: the loss of rows, and the duality gap of any coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theorylab._lib.checks import as_float_array, check_int, check_real, check_shape

from . import _dual, _kernels
from ._design import Design
from ._inputs import check_factors, check_weights
from ._labels import encode_labels

__all__ = ["ordinal_gram", "ordinal_loss_grad_hess", "presto_dual_gap"]

FloatArray = NDArray[np.float64]


def ordinal_loss_grad_hess(
    a: ArrayLike, b: ArrayLike, y: ArrayLike, n_classes: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the loss of each row and its derivatives in the logits of the row's own boundaries.

    Parameters
    ----------
    a : array_like, shape (n,)
        Logit of P(class <= y); ignored for the last class.
    b : array_like, shape (n,)
        Logit of P(class < y); ignored for the first class.
    y : array_like of int, shape (n,)
        Class, 0..n_classes - 1.
    n_classes : int

    Returns
    -------
    f, f_a, f_b, f_aa, f_bb, f_ab : ndarray, shape (n,)
        Derivatives of absent boundaries are 0. Outside the domain, where
        ``a <= b`` for a class between, f is infinite and the derivatives NaN.

    Notes
    -----
    ``f = softplus(-a) + softplus(b) - log(1 - exp(-(a - b)))``: convex, and accurate in both tails. O(n).

    Examples
    --------
    >>> f, f_a, f_b, f_aa, f_bb, f_ab = ordinal_loss_grad_hess([1.0], [-0.5], [1], 3)
    >>> print(f.round(6), f_a.round(6), f_ab.round(6))
    [1.039821] [-0.556158] [-0.36971]
    """
    n_classes = check_int(n_classes, "n_classes", low=2)
    scalar = np.ndim(a) == 0 and np.ndim(b) == 0 and np.ndim(y) == 0
    codes = np.atleast_1d(np.asarray(y))
    if codes.dtype.kind not in "iu" and not (codes.size == 0):
        raise TypeError(f"y has dtype {codes.dtype}, expected integers 0..n_classes - 1")
    codes = codes.astype(np.int64)
    if codes.ndim != 1:
        raise ValueError(f"y has shape {codes.shape}, expected a 1-D array")
    a = as_float_array(np.atleast_1d(np.asarray(a)), "a", ndim=1, dtype=np.float64, finite=False)
    b = as_float_array(np.atleast_1d(np.asarray(b)), "b", ndim=1, dtype=np.float64, finite=False)
    check_shape(a, codes.shape, "a", "to match y")
    check_shape(b, codes.shape, "b", "to match y")
    if codes.size and (codes.min() < 0 or codes.max() >= n_classes):
        raise ValueError(f"y must lie in [0, {n_classes - 1}], got {codes.min()}..{codes.max()}")
    out = np.empty((6, codes.size))
    _kernels.rows_terms(a, b, codes, n_classes, out)
    return tuple(out[:, 0]) if scalar else tuple(out)  # type: ignore[return-value]


def presto_dual_gap(
    X: Any,
    y: ArrayLike,
    intercept: ArrayLike,
    coef: ArrayLike,
    alpha: float,
    *,
    sample_weight: ArrayLike | None = None,
    l1_ratio: float = 1.0,
    penalty_factors: ArrayLike | None = None,
) -> float:
    """Return an upper bound of how far coefficients are from the minimum, in the input's own scale.

    Parameters
    ----------
    X : {array_like, SciPy sparse array}, shape (n, p)
        The penalty acts on the slopes of these columns as they are
        (``standardize=False``).
    y : array_like, shape (n,)
        Codes 0..K - 1, or K distinct labels: the categories of an ordered
        Categorical in their order, others sorted.
    intercept : array_like, shape (K - 1,)
    coef : array_like, shape (K - 1, p)
        Slopes beta_k of ``logit P(y <= k | x) = alpha_k + x' beta_k``.
    alpha : float
        Penalty.
    sample_weight, l1_ratio, penalty_factors
        As in `presto_path`.

    Returns
    -------
    float
        Objective minus a dual bound; non-negative. Infinite where the
        coefficients leave the domain of the likelihood.

    Notes
    -----
    The conjugate of the row loss has a closed form, so one pass over X suffices. For unpenalised coordinates
    (``alpha`` or a factor 0) the bound holds among coefficients no larger than the given ones. O(n p).

    Examples
    --------
    >>> from theorylab.ordinal import PrestoClassifier, presto_dual_gap
    >>> from theorylab.ordinal.datasets import load_diabetes_severity
    >>> X, y = load_diabetes_severity()
    >>> model = PrestoClassifier(0.002, standardize=False).fit(X, y)
    >>> presto_dual_gap(X, y, model.intercept_, model.coef_, 0.002) < 1e-9
    True
    """
    alpha = check_real(alpha, "alpha", low=0.0)
    ratio = check_real(l1_ratio, "l1_ratio", low=0.0, high=1.0)
    design, theta = _point(X, y, intercept, coef, sample_weight)
    p = design.n_features
    factors = check_factors(penalty_factors, p)
    return _gap(
        design, theta, np.append(0.0, alpha * ratio * factors), np.append(0.0, alpha * (1 - ratio) * factors)
    )


def ordinal_gram(
    X: Any, y: ArrayLike, intercept: ArrayLike, coef: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> FloatArray:
    """Return the Hessian of the mean loss in intercepts and slope differences.

    Parameters
    ----------
    X : {array_like, SciPy sparse array}, shape (n, p)
    y : array_like, shape (n,)
        Codes 0..K - 1, or K distinct labels: the categories of an ordered
        Categorical in their order, others sorted.
    intercept : array_like, shape (K - 1,)
    coef : array_like, shape (K - 1, p)
        Slopes beta_k; the logits must be ordered at each row's own class.
    sample_weight : array_like, shape (n,), optional

    Returns
    -------
    ndarray, shape ((K - 1) (p + 1), (K - 1) (p + 1))
        Order: intercepts, psi_1, psi_2, ...

    Notes
    -----
    Block tridiagonal in (alpha_k, beta_k), summed over both block indices for psi. Three weighted Grams of
    each class: O(n p^2) for any K.

    Examples
    --------
    >>> ordinal_gram([[0.0], [0.0]], [0, 1], [0.0], [[1.0]]).tolist()
    [[0.25, 0.0], [0.0, 0.0]]
    """
    design, theta = _point(X, y, intercept, coef, sample_weight)
    m, width = theta.shape
    blocks, steps, grad = np.empty_like(theta), np.empty_like(theta), np.empty_like(theta)
    rows, H = np.empty((5, design.w.size)), np.empty((m, width, m, width))
    XT = design.columns(np.arange(width - 1))
    XT[1:] += design.centre[:, None]
    theta[:, 0] -= np.cumsum(theta[:, 1:], axis=0) @ design.centre
    _kernels.to_blocks(theta, blocks, steps)
    if not np.isfinite(_kernels.evaluate(XT, design.w, design.starts, blocks, steps, rows, grad)):
        raise ValueError("the logits cross at a row's own class: intercept and coef are outside the domain")
    _kernels.gram(XT, design.starts, rows, H)
    order = np.argsort(np.arange(m * width) % width > 0, kind="stable")
    return np.asarray(H.reshape(m * width, -1)[np.ix_(order, order)])


def _point(X: Any, y: Any, intercept: Any, coef: Any, sample_weight: Any) -> tuple[Design, FloatArray]:
    """Return the centred design of validated input and theta on it."""
    from sklearn.utils import check_array, check_consistent_length

    X = check_array(X, accept_sparse=("csr", "csc"), dtype=np.float64, order="C", input_name="X")
    check_consistent_length(X, y)
    intercept = as_float_array(np.atleast_1d(np.asarray(intercept)), "intercept", ndim=1, dtype=np.float64)
    m, p = intercept.size, X.shape[1]
    coef = as_float_array(np.atleast_2d(np.asarray(coef)), "coef", ndim=2, dtype=np.float64)
    check_shape(coef, (m, p), "coef", "to match intercept and the columns of X")
    w = check_weights(sample_weight, X.shape[0])
    used = w > 0
    codes = _codes(y, m + 1, used)
    if np.unique(codes).size <= m:
        raise ValueError(
            f"y lacks a class: intercept has {m} entries, which needs samples of all {m + 1} classes"
        )
    design = Design(X if used.all() else X[used], codes, w[used], standardize=False)
    theta = np.zeros((m, p + 1))
    theta[:, 0] = intercept + coef @ design.centre
    theta[:, 1:] = np.diff(coef, axis=0, prepend=0.0)
    return design, theta


def _codes(y: Any, n_classes: int, used: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return class codes of the used labels, which are codes already, or K distinct values."""
    labels = np.unique(np.asarray(y)[used])
    if labels.size == n_classes:
        codes = encode_labels(y, None, used)[1][used]
        return np.unique(codes, return_inverse=True)[1].astype(np.int64)
    if labels.dtype.kind in "iu" and labels[0] >= 0 and labels[-1] < n_classes:
        return np.asarray(y)[used].astype(np.int64)
    raise ValueError(f"y has {labels.size} distinct labels, expected {n_classes} to match intercept")


def _gap(design: Design, theta: FloatArray, pen: FloatArray, ridge: FloatArray) -> float:
    """Return the duality gap of any theta."""
    features = (
        np.flatnonzero(np.any(theta[:, 1:] != 0.0, axis=0))
        if design.sparse
        else np.arange(theta.shape[1] - 1)
    )
    part = np.ascontiguousarray(theta[:, np.concatenate(([0], features + 1))])
    blocks, steps, grad = np.empty_like(part), np.empty_like(part), np.empty_like(part)
    rows, dual = np.empty((5, design.w.size)), np.empty((2, design.w.size))
    _kernels.to_blocks(part, blocks, steps)
    loss = _kernels.evaluate(design.columns(features), design.w, design.starts, blocks, steps, rows, grad)
    if not np.isfinite(loss):
        return float("inf")
    psi = theta[:, 1:]
    objective = loss + float(np.sum(pen[1:] * np.abs(psi) + 0.5 * ridge[1:] * psi**2))
    _dual.dual_point(rows, design.w, design.starts, dual)
    gradient = np.zeros_like(theta)
    gradient[:, 1:] = design.gradient(-dual[0], dual[1])
    return float(_dual.dual_gap(objective, design.w, dual, gradient, theta, pen, ridge))
