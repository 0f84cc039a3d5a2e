"""Fisher information of proportional odds, and what it predicts for rare classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from theorylab._lib.checks import as_float_array, check_real, check_shape

from ._estimators import class_probabilities
from ._inputs import check_weights

__all__ = ["RareEventVariance", "po_fisher_information", "rare_event_variance"]

FloatArray = NDArray[np.float64]


def _checked(X: ArrayLike, alpha: ArrayLike, beta: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    X = as_float_array(X, "X", ndim=2, dtype=np.float64)
    alpha = as_float_array(np.atleast_1d(np.asarray(alpha)), "alpha", ndim=1, dtype=np.float64)
    beta = as_float_array(np.atleast_1d(np.asarray(beta)), "beta", ndim=1, dtype=np.float64)
    check_shape(beta, (X.shape[1],), "beta", "to match the columns of X")
    if alpha.size == 0 or (np.diff(alpha) <= 0).any():
        raise ValueError(f"alpha must hold at least one intercept and increase, got {alpha.tolist()}")
    return X, alpha, beta


def po_fisher_information(
    X: ArrayLike, alpha: ArrayLike, beta: ArrayLike, sample_weight: ArrayLike | None = None
) -> FloatArray:
    """Return the expected information of the proportional-odds model, summed over the rows of `X`.

    Parameters
    ----------
    X : array_like, shape (n, p)
    alpha : array_like, shape (K - 1,)
        Increasing intercepts; a single one gives the logistic model.
    beta : array_like, shape (p,)
        Shared slopes of ``logit P(y <= k | x) = alpha_k + x' beta``.
    sample_weight : array_like, shape (n,), optional
        Case weights of the sum.

    Returns
    -------
    ndarray, shape (K - 1 + p, K - 1 + p)
        Order: intercepts, then slopes.

    Notes
    -----
    With F_k the cumulative probabilities, f_k = F_k (1 - F_k) and class probabilities pi, a row contributes
    ``f_k^2 (1/pi_k + 1/pi_{k+1})`` and ``-f_k f_{k+1} / pi_{k+1}`` to the intercepts,
    ``x f_k (pi_k + pi_{k+1})`` between intercept k and the slopes, and
    ``x x' (1 - sum_k pi_k^3) / 3`` to the slopes. O(n (p^2 + p K)).

    References
    ----------
    P. McCullagh, "Regression Models for Ordinal Data", JRSS B 42 (1980).

    Examples
    --------
    >>> po_fisher_information([[0.0]], [0.0], [1.0]).round(4).tolist()
    [[0.25, 0.0], [0.0, 0.0]]
    """
    X, alpha, beta = _checked(X, alpha, beta)
    w = check_weights(sample_weight, X.shape[0]) if X.shape[0] else np.zeros(0)
    logits = (X @ beta)[:, None] + alpha
    pi = class_probabilities(logits)
    f = expit(logits) * expit(-logits)
    m, p = alpha.size, beta.size
    info = np.zeros((m + p, m + p))
    with np.errstate(divide="ignore", invalid="ignore"):
        curvature = np.where(f > 0.0, f**2 * (1.0 / pi[:, :-1] + 1.0 / pi[:, 1:]), 0.0)
        coupling = np.where(f[:, 1:] > 0.0, f[:, :-1] * f[:, 1:] / pi[:, 1:-1], 0.0)
    k = np.arange(m)
    info[k, k] = w @ curvature
    info[k[:-1], k[1:]] = info[k[1:], k[:-1]] = -(w @ coupling)
    info[:m, m:] = (w[:, None] * f * (pi[:, :-1] + pi[:, 1:])).T @ X
    info[m:, :m] = info[:m, m:].T
    info[m:, m:] = (X * (w * _slope_factor(pi))[:, None]).T @ X
    return info


def _slope_factor(pi: FloatArray) -> FloatArray:
    """Return (1 - sum pi^3) / 3 as e_2 - e_3, which does not cancel where one class is nearly certain."""
    e1, e2, e3 = np.zeros(pi.shape[0]), np.zeros(pi.shape[0]), np.zeros(pi.shape[0])
    for column in pi.T:
        e3 += column * e2
        e2 += column * e1
        e1 += column
    return e2 - e3


def _inverse(information: FloatArray) -> FloatArray:
    """Return the inverse, or raise LinAlgError where the information is singular to rounding."""
    scale = np.sqrt(np.diag(information))
    if (scale == 0).any() or np.linalg.eigvalsh(information / np.outer(scale, scale))[0] < 1e-12:
        raise np.linalg.LinAlgError(
            "the information is singular: columns of X are constant or collinear; drop them"
        )
    return np.asarray(np.linalg.inv(information))


@dataclass(frozen=True)
class RareEventVariance:
    """Predicted standard errors for a planned study; "logistic" fits the last class against the rest.

    Attributes
    ----------
    n : float
        Size of the study (total weight).
    expected_events : float
        Expected number of rows of the last class.
    slope_se, slope_se_logistic : ndarray, shape (p,)
    slope_variance_ratio : ndarray, shape (p,)
        Variance of the logistic slope divided by that of proportional odds.
    probability : ndarray, shape (q,)
        P(last class) at the rows `at`.
    probability_se, probability_se_logistic : ndarray, shape (q,)
    probability_variance_ratio : ndarray, shape (q,)
    """

    n: float
    expected_events: float
    slope_se: FloatArray
    slope_se_logistic: FloatArray
    slope_variance_ratio: FloatArray
    probability: FloatArray
    probability_se: FloatArray
    probability_se_logistic: FloatArray
    probability_variance_ratio: FloatArray

    def size_for_slope(self, standard_error: float, feature: int = 0) -> tuple[float, float]:
        """Return the sizes at which proportional odds and the logistic fit reach a standard error."""
        scale = self.n / check_real(standard_error, "standard_error", low=0.0, open_low=True) ** 2
        return float(scale * self.slope_se[feature] ** 2), float(scale * self.slope_se_logistic[feature] ** 2)


def rare_event_variance(
    X: ArrayLike,
    alpha: ArrayLike,
    beta: ArrayLike,
    *,
    at: ArrayLike | None = None,
    n: float | None = None,
    sample_weight: ArrayLike | None = None,
) -> RareEventVariance:
    """Predict the precision of slopes and rare probabilities before any outcome is seen.

    Parameters
    ----------
    X : array_like, shape (n, p)
        Covariates of the study, or a sample of their law.
    alpha : array_like, shape (K - 1,)
    beta : array_like, shape (p,)
        Presumed proportional-odds model.
    at : array_like, shape (q, p), optional
        Where to predict the rare probability. Default: the mean of `X`.
    n : float, optional
        Size of the study, if not the total weight of `X`.
    sample_weight : array_like, optional

    Returns
    -------
    RareEventVariance

    Raises
    ------
    numpy.linalg.LinAlgError
        Where the information is singular: collinear columns.

    Notes
    -----
    Covariances are inverse Fisher informations; the probability follows by the delta method,
    ``Var = [pi (1 - pi)]^2 (0..0, 1, x)' Cov (0..0, 1, x)``. As the last class gets rare, the slope's
    variance stays bounded for proportional odds and grows like 1/pi for the logistic fit, while the last
    intercept's grows like 1/pi for both: for probabilities the gain is a factor, for slopes a rate. O(n p^2).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> plan = rare_event_variance(rng.uniform(-1, 1, (2000, 3)), [0.0, 4.0], [1.0, -0.5, 0.25])
    >>> bool((plan.slope_variance_ratio > 10).all())
    True
    """
    X, alpha, beta = _checked(X, alpha, beta)
    w = check_weights(sample_weight, X.shape[0])
    size = float(w.sum()) if n is None else check_real(n, "n", low=0.0, open_low=True)
    points = (w @ X / w.sum())[None] if at is None else as_float_array(at, "at", ndim=2, dtype=np.float64)
    check_shape(points, (points.shape[0], X.shape[1]), "at", "to match the columns of X")
    w = w / w.sum()
    m = alpha.size
    covariance = _inverse(po_fisher_information(X, alpha, beta, w)) / size
    logistic = _inverse(po_fisher_information(X, alpha[-1:], beta, w)) / size
    rare = expit(-(points @ beta + alpha[-1]))
    direction = np.column_stack((np.ones(points.shape[0]), points))
    slope = rare * (1.0 - rare)
    index = np.arange(m - 1, m + beta.size)
    se = slope * np.sqrt(np.einsum("qi,ij,qj->q", direction, covariance[np.ix_(index, index)], direction))
    se_logistic = slope * np.sqrt(np.einsum("qi,ij,qj->q", direction, logistic, direction))
    slopes, slopes_logistic = np.diag(covariance)[m:], np.diag(logistic)[1:]
    return RareEventVariance(
        n=size,
        expected_events=float(size * (w @ expit(-(X @ beta + alpha[-1])))),
        slope_se=np.sqrt(slopes),
        slope_se_logistic=np.sqrt(slopes_logistic),
        slope_variance_ratio=slopes_logistic / slopes,
        probability=rare,
        probability_se=se,
        probability_se_logistic=se_logistic,
        probability_variance_ratio=(se_logistic / se) ** 2,
    )
