"""Classifiers at infinite depth: nearest neighbour, singular kernel, majority vote.

On the sphere, without biases, with ``E phi^2 = 1``, a layer maps correlations by
``F(rho) = sum_k h_k^2 rho^k`` (h the Hermite coefficients of the activation). What the network
trained at depth infinity computes depends on ``A = h_0`` and ``A' = h_1`` only by case.

>>> from theorylab.infinite_width import deep_limit
>>> h = deep_limit.optimal_hermite(3)
>>> deep_limit.classify_limit(h)
'singular'
>>> round(deep_limit.singular_exponent(h), 12)
3.0
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from theorylab._lib.checks import as_float_array, check_int

__all__ = [
    "InfiniteDepthClassifier",
    "classify_limit",
    "deep_kernels",
    "koenigs_kernel",
    "log_koenigs",
    "optimal_hermite",
    "singular_exponent",
]

Array = NDArray[Any]


def _squares(hermite: ArrayLike) -> Array:
    """Return the squared coefficients, checked: ``sum h_k^2 = 1``."""
    h = as_float_array(hermite, "hermite", ndim=1, dtype=np.float64)
    if h.size < 2:
        raise ValueError(f"hermite has {h.size} coefficients, expected at least h_0 and h_1")
    square = h * h
    total = float(square.sum())
    if abs(total - 1.0) > 1e-9:
        raise ValueError(f"hermite has squared norm {total:.12g}, expected 1; divide it by its norm")
    return np.asarray(square / total)


def optimal_hermite(d: int) -> Array:
    """Return Hermite coefficients whose singular kernel has exponent d, optimal for data on the d-sphere.

    D >= 2.

    ``h_1^2 = h_3^2 = 2^(-d/2)``, ``h_2^2 = 1 - 2^(1-d/2)``; then ``F'(1) = 2``.
    """
    d = check_int(d, "d", low=2)
    a = 2.0 ** (-d / 2)
    return np.asarray(np.sqrt(np.array([0.0, a, 1.0 - 2.0 * a, a])))


def classify_limit(hermite: ArrayLike) -> str:
    """Return which classifier the trained network becomes: "nearest", "singular" or "majority".

    Parameters
    ----------
    hermite : array_like, shape (p,)
        Coefficients of the activation in normalised Hermite polynomials, of unit norm.

    Notes
    -----
    ``h_0 != 0``: majority vote; ``h_0 = h_1 = 0``: 1-nearest neighbour; ``h_0 = 0 < h_1^2 < 1``: singular
    kernel.

    References
    ----------
    .. [1] Radhakrishnan, Belkin, Uhler, "Wide and Deep Neural Networks Achieve Optimality for
       Classification", PNAS 2023.

    Examples
    --------
    >>> from theorylab.infinite_width import deep_limit
    >>> deep_limit.classify_limit([0.0, 0.0, 1.0])
    'nearest'
    """
    square = _squares(hermite)
    if square[0] > 1e-24:
        return "majority"
    if square[1] >= 1.0 - 1e-12:
        raise ValueError(
            "hermite is that of the identity (h_1^2 = 1); the limit is linear regression, none of the three"
        )
    return "nearest" if square[1] <= 1e-24 else "singular"


def singular_exponent(hermite: ArrayLike) -> float:
    """Return ``alpha = -4 ln A' / ln B'`` with ``psi(rho) ~ |x - x'|^(-alpha)``.

    ``A' = h_1`` and ``B' = E phi'^2 = sum k h_k^2``. Optimal classification in dimension d needs alpha = d.
    """
    square = _squares(hermite)
    if classify_limit(hermite) != "singular":
        raise ValueError("hermite does not belong to the singular case: expected h_0 = 0 and 0 < h_1^2 < 1")
    slope = float(np.arange(square.size) @ square)
    return -2.0 * math.log(square[1]) / math.log(slope)


def log_koenigs(delta: ArrayLike, hermite: ArrayLike) -> tuple[Array, Array]:
    """Return ``ln |psi|`` and its sign at ``rho = 1 - delta``, accurate for tiny `delta`.

    ``psi(F(rho)) = h_1^2 psi(rho)``, ``psi(rho) ~ rho`` at zero. Cost: O(log(1 / delta)) steps.
    """
    square = _squares(hermite)
    if classify_limit(hermite) != "singular":
        raise ValueError("hermite does not belong to the singular case: expected h_0 = 0 and 0 < h_1^2 < 1")
    gap = as_float_array(delta, "delta", dtype=np.float64)
    if np.any(gap < 0) or np.any(gap > 2):
        raise ValueError("delta = 1 - rho must lie in [0, 2]")
    shape = gap.shape
    gap = gap.ravel().copy()
    powers = np.arange(1, square.size)
    rate = math.log(square[1])
    out, sign = np.full(gap.size, math.inf), np.ones(gap.size)
    rho = 1.0 - gap
    log_rho = np.full(gap.size, math.nan)
    steps = np.zeros(gap.size)
    near = (gap < 0.5) & (gap > 0)
    for _ in range(100000):
        index = np.flatnonzero(near)
        if index.size == 0:
            break
        g = gap[index]
        g = -(np.expm1(powers[:, None] * np.log1p(-g)) * square[1:, None]).sum(axis=0)
        gap[index], steps[index] = g, steps[index] + 1
        near[index] = g < 0.5
        rho[index] = 1.0 - g
    alive = gap > 0
    zero = alive & (rho == 0.0)
    log_rho[alive & ~zero] = np.log(np.abs(rho[alive & ~zero]))
    sign[alive] = np.sign(rho[alive])
    ratios = square[2:] / square[1]
    for _ in range(100000):
        # below 1e-17 the next term of F no longer counts
        index = np.flatnonzero(alive & ~zero & (log_rho > -39.2))
        if index.size == 0:
            break
        r = sign[index] * np.exp(log_rho[index])
        bend = np.zeros(index.size)
        for q in ratios[::-1]:
            bend = r * (q + bend)
        factor = 1.0 + bend
        dead = factor == 0.0
        log_rho[index] += rate + np.log(np.abs(np.where(dead, 1.0, factor)))
        sign[index] *= np.sign(factor)
        steps[index] += 1
        zero[index[dead]] = True
    out[alive] = log_rho[alive] - steps[alive] * rate
    out[zero], sign[zero] = -math.inf, 0.0
    return out.reshape(shape), sign.reshape(shape)


def koenigs_kernel(rho: ArrayLike, hermite: ArrayLike) -> Array:
    """Return the singular kernel ``psi(rho) = lim T_L(rho) / (L h_1^(2 L))`` of the infinitely deep network.

    Parameters
    ----------
    rho : array_like
        Correlations in [-1, 1].
    hermite : array_like
        Of the singular case.

    Returns
    -------
    ndarray
        Like `rho`; infinity at 1, zero at 0.

    Examples
    --------
    >>> from theorylab.infinite_width import deep_limit
    >>> psi = deep_limit.koenigs_kernel([0.1, 0.5], deep_limit.optimal_hermite(3))
    >>> [round(float(p), 12) for p in psi]
    [0.115034598178, 1.352367846391]
    """
    r = as_float_array(rho, "rho", dtype=np.float64)
    if np.any(np.abs(r) > 1.0 + 1e-12):
        raise ValueError("rho must lie in [-1, 1]")
    value, sign = log_koenigs(np.clip(1.0 - r, 0.0, 2.0), hermite)
    with np.errstate(over="ignore"):
        return np.asarray(sign * np.exp(value))[()]


def deep_kernels(delta: ArrayLike, hermite: ArrayLike, depth: int) -> tuple[Array, Array]:
    """Return ``ln S_L`` and ``ln T_L`` at ``rho = 1 - delta > 0`` of the network of `depth` layers.

    Both in logarithms, for S underflows after thirty layers in the nearest-neighbour case and
    the ratio of diagonal to off-diagonal T overflows beyond 450.

    Notes
    -----
    ``S <- F(S)``, ``T <- F(S) + F'(S) T`` from ``S = T = rho``; cost O(depth) per entry.
    """
    square = _squares(hermite)
    depth = check_int(depth, "depth", low=0)
    gap = as_float_array(delta, "delta", dtype=np.float64)
    if np.any(gap < 0) or np.any(gap > 1):
        raise ValueError("delta = 1 - rho must lie in [0, 1]: logarithms need non-negative correlations")
    k = np.arange(square.size)
    slopes = k[1:] * square[1:]
    # 1 - F(1 - g) = g sum_i (1 - g)^i sum_{k > i} h_k^2: positive terms only
    tails = np.cumsum(square[::-1])[::-1][1:]
    low_f, low_d = int(np.argmax(square > 0)), int(np.argmax(slopes > 0))
    poly_f, poly_d = square[low_f:][::-1], slopes[low_d:][::-1]
    with np.errstate(divide="ignore"):
        log_s = np.log1p(-gap)
    log_t = log_s.copy()
    for _ in range(depth):
        s = np.exp(log_s)
        # the lowest power stands outside, for s itself underflows
        log_d = (low_d * log_s if low_d else 0.0) + np.log(np.polyval(poly_d, s))
        log_f = (low_f * log_s if low_f else 0.0) + np.log(np.polyval(poly_f, s))
        gap = gap * np.polyval(tails[::-1], 1.0 - gap)
        with np.errstate(divide="ignore"):
            log_s = np.where(gap < 0.5, np.log1p(-np.minimum(gap, 0.5)), log_f)
        log_t = np.logaddexp(log_s, log_d + log_t)
    return log_s, log_t


class InfiniteDepthClassifier(ClassifierMixin, BaseEstimator):
    """Classify as an infinitely wide and infinitely deep trained network does, without any depth.

    Parameters
    ----------
    hermite : array_like or None
        Hermite coefficients of the activation; None takes those optimal for the dimension of the sphere.

    Attributes
    ----------
    classes_ : ndarray
    limit_ : str
        "nearest", "singular" or "majority".
    n_features_in_ : int

    Notes
    -----
    Inputs are normalised to the sphere. Singular: class with the largest ``sum_i [y_i = c] psi(rho_i)``; a
    point that
    coincides with a training point takes its label. Cost: O(n d) per test point.

    References
    ----------
    .. [1] Radhakrishnan, Belkin, Uhler, PNAS 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width.deep_limit import InfiniteDepthClassifier
    >>> X = np.array([[1.0, 0.1, 0.1], [0.1, 1.0, 0.1], [0.1, 0.1, 1.0]])
    >>> InfiniteDepthClassifier().fit(X, [0, 1, 1]).predict(X)
    array([0, 1, 1])
    """

    def __init__(self, hermite: ArrayLike | None = None) -> None:
        self.hermite = hermite

    def fit(self, X: ArrayLike, y: ArrayLike) -> InfiniteDepthClassifier:
        """Store the training points on the sphere."""
        from sklearn.utils.multiclass import check_classification_targets

        x, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, self._index = np.unique(y, return_inverse=True)
        self._h = (
            optimal_hermite(max(2, x.shape[1] - 1))
            if self.hermite is None
            else np.asarray(self.hermite, float)
        )
        self.limit_ = classify_limit(self._h)
        self._X = _normalise(x)
        return self

    def decision_function(self, X: ArrayLike) -> Array:
        """Return log votes of each class, (m, k); for two classes their difference, (m,)."""
        check_is_fitted(self, "limit_")
        votes = self._votes(np.asarray(validate_data(self, X, reset=False, dtype=np.float64)))
        if self.classes_.size == 2:
            with np.errstate(invalid="ignore"):
                return np.asarray(
                    np.nan_to_num(votes[:, 1] - votes[:, 0], nan=0.0, posinf=1e308, neginf=-1e308)
                )
        return votes

    def _votes(self, X: Array) -> Array:
        Z = _normalise(X)
        k = self.classes_.size
        member = np.eye(k, dtype=bool)[self._index]
        if self.limit_ == "majority":
            return np.tile(np.log(member.sum(axis=0).astype(float)), (X.shape[0], 1))
        out = np.empty((X.shape[0], k))
        for start in range(0, len(Z), 64):
            rows = slice(start, start + 64)
            # 1 - rho as half a squared distance keeps near duplicates apart
            gaps = Z[rows, None] - self._X[None]
            out[rows] = self._share(np.minimum(0.5 * np.einsum("ijk,ijk->ij", gaps, gaps), 2.0), member)
        return out

    def _share(self, delta: Array, member: Array) -> Array:
        """Return log votes from ``1 - rho`` (rows, n) and the indicators of classes (n, k)."""
        k = member.shape[1]
        if self.limit_ == "nearest":
            return np.stack([-delta[:, member[:, c]].min(axis=1) for c in range(k)], axis=1)
        log_psi, sign = log_koenigs(np.where(delta < 1e-30, 0.0, delta), self._h)
        top = log_psi.max(axis=1, keepdims=True)
        # a point that coincides with training points counts those alone
        weight = np.where(
            np.isposinf(top),
            np.isposinf(log_psi),
            sign
            * np.exp(np.where(np.isposinf(log_psi), 0.0, log_psi - np.where(np.isposinf(top), 0.0, top))),
        )
        total = weight @ member
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(total - np.minimum(0.0, total.min(axis=1, keepdims=True))))

    def predict(self, X: ArrayLike) -> Array:
        """Return the class with the most votes."""
        check_is_fitted(self, "limit_")
        votes = self._votes(np.asarray(validate_data(self, X, reset=False, dtype=np.float64)))
        return np.asarray(self.classes_[np.argmax(votes, axis=1)])


def _normalise(X: Array) -> Array:
    norm = np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(X / np.where(norm > 0, norm, 1.0))
