"""The path of PRESTO fits over the penalty, in the scale of the input."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theorylab._lib.checks import check_int, check_real

from ._design import Design
from ._inputs import check_alphas, check_settings, check_weights
from ._labels import encode_labels, present_classes, spread_boundaries
from ._own import Solution, is_legal, largest_penalty
from ._solve import solve

__all__ = ["PrestoPath", "fit_path", "presto_path"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PrestoPath:
    """Fits along decreasing penalties; all arrays have the penalty as first axis.

    Attributes
    ----------
    alphas : ndarray, shape (n_alphas,)
        Penalties, largest first.
    intercepts : ndarray, shape (n_alphas, K - 1)
    coefs : ndarray, shape (n_alphas, K - 1, p)
        Slopes beta_k of ``logit P(y <= k | x) = alpha_k + x' beta_k``.
    kkt : ndarray, shape (n_alphas,)
        Largest violation of the optimality conditions, in standardised
        coordinates; with ``crossing="train"`` those of the constrained problem.
    dual_gap : ndarray, shape (n_alphas,)
        Upper bound of objective minus its minimum, with ``crossing="train"`` under
        its constraints; where slopes are free of any penalty, among slopes no
        larger than the fitted ones.
    objective : ndarray, shape (n_alphas,)
    n_iter : ndarray of int, shape (n_alphas,)
        Newton steps.
    n_crossing : ndarray of int, shape (n_alphas,)
        Training rows with a cumulative logit at or below the one before it.
    alpha_max : float
        Smallest penalty at which all penalised slopes vanish.
    classes : ndarray, shape (K,)
    """

    alphas: FloatArray
    intercepts: FloatArray
    coefs: FloatArray
    kkt: FloatArray
    dual_gap: FloatArray
    objective: FloatArray
    n_iter: NDArray[np.int64]
    n_crossing: NDArray[np.int64]
    alpha_max: float
    classes: NDArray[Any]

    @property
    def diff_coefs(self) -> FloatArray:
        """Slope differences psi_1 = beta_1, psi_k = beta_k - beta_{k-1}, shape (n_alphas, K - 1, p)."""
        return np.diff(self.coefs, axis=1, prepend=0.0)


@dataclass
class Fitted:
    """A solution together with the maps back to the input's scale and to all declared classes."""

    solution: Solution
    design: Design
    lams: FloatArray
    alpha_max: float
    intercepts: FloatArray
    coefs: FloatArray
    n_crossing: NDArray[np.int64]


def fit_path(
    X: Any,
    codes: NDArray[Any],
    weights: FloatArray,
    *,
    lams: FloatArray | None,
    n_alphas: int = 20,
    eps: float = 1e-2,
    l1_ratio: float,
    factors: FloatArray,
    standardize: bool,
    crossing: str,
    tol: float,
    max_iter: int,
    present: NDArray[Any] | None = None,
    n_classes: int | None = None,
    single: bool = False,
    start: tuple[FloatArray, FloatArray] | None = None,
    callback: Callable[[int, float], bool] | None = None,
) -> Fitted:
    """Fit on validated input. With `single`, wide data get a short path towards the one penalty in `lams`."""
    design = Design(X, codes, weights, standardize=standardize)
    alpha_max, theta = largest_penalty(design, l1_ratio, factors, tol=tol, max_iter=max_iter)
    if theta is not None and not is_legal(design, theta, crossing):
        theta = None  # the fit of the free features may cross at other classes
    given = lams is not None
    if lams is None:
        lams = max(alpha_max, np.finfo(float).resolution) * np.geomspace(1.0, eps, n_alphas)
    if start is not None:
        warm = _standardised(design, *start)
        if is_legal(design, warm, crossing):
            theta = warm
        else:
            start = None
    lead = 0
    if single and (design.sparse or design.n_features > 600) and 0 < lams[0] < alpha_max and start is None:
        lead = max(int(np.ceil(np.log(alpha_max / lams[0]) / np.log(1.6))), 1)
        lams = np.geomspace(alpha_max, lams[0], lead + 1)
    elif single and lams[0] == 0.0 and design.n_features > 600 and alpha_max > 0:
        lead = 12
        lams = np.append(np.geomspace(alpha_max, 1e-3 * alpha_max, lead), 0.0)
    solution = solve(
        design,
        lams,
        l1_ratio,
        factors,
        tol=tol,
        max_iter=max_iter,
        crossing=crossing,
        start=theta,
        stop=callback,
    )
    solution, lams = _kept(solution, lams, lead, given, design)
    beta = np.cumsum(solution.theta[:, :, 1:], axis=1) * design.inverse
    alpha = solution.theta[:, :, 0] - beta @ design.centre
    n_crossing = design.crossings(solution.theta)
    if present is not None and n_classes is not None:
        alpha, beta = spread_boundaries(alpha, beta, present, n_classes)
    _warn(solution, tol)
    return Fitted(solution, design, lams, alpha_max, alpha, beta, n_crossing)


def _kept(
    s: Solution, lams: FloatArray, lead: int, given: bool, design: Design
) -> tuple[Solution, FloatArray]:
    """Drop the lead-in of a single fit, and the tail of an automatic path that explains nearly everything."""
    last = s.objective.size
    if not given:
        share = np.add.reduceat(design.w, design.starts[:-1])
        null = -float(np.sum(share * np.log(share)))
        enough = np.flatnonzero(s.objective < 1e-3 * null)
        last = int(enough[0]) + 1 if enough.size else last
    n_iter = s.n_iter.copy()
    if lead:
        n_iter[lead] = s.n_iter.sum()
    kept = slice(lead, last)
    return (
        Solution(
            s.theta[kept], s.objective[kept], s.kkt[kept], s.dual_gap[kept], n_iter[kept], s.diverging[kept]
        ),
        lams[kept],
    )


def _standardised(design: Design, intercept: FloatArray, coef: FloatArray) -> FloatArray:
    """Bring coefficients of the input's scale to theta."""
    beta = coef * design.scale
    alpha = intercept + coef @ design.centre
    return np.column_stack((alpha, np.diff(beta, axis=0, prepend=0.0)))


def _warn(s: Solution, tol: float) -> None:
    """Warn once if any penalty of the path was left before its certificate was reached."""
    bad = ~((s.kkt <= tol) & (s.dual_gap <= tol)) | s.diverging
    if not bad.any():
        return
    from sklearn.exceptions import ConvergenceWarning

    worst = int(np.argmax(np.where(bad, np.fmax(s.kkt, s.dual_gap), -1.0)))
    cause = "the unpenalised coefficients grow without bound" if s.diverging[worst] else f"tol is {tol:g}"
    warnings.warn(
        f"{int(bad.sum())} of {bad.size} fits did not converge: kkt residual {s.kkt[worst]:.3g}, duality gap "
        f"{s.dual_gap[worst]:.3g}, {cause}; raise max_iter, or use a larger alpha",
        ConvergenceWarning,
        stacklevel=4,
    )


def presto_path(
    X: Any,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    alphas: ArrayLike | None = None,
    n_alphas: int = 20,
    eps: float = 1e-2,
    l1_ratio: float = 1.0,
    penalty_factors: ArrayLike | None = None,
    standardize: bool = True,
    crossing: str = "own",
    tol: float = 1e-8,
    max_iter: int = 100,
    class_order: ArrayLike | None = None,
    callback: Callable[[int, float], bool] | None = None,
) -> PrestoPath:
    """Compute PRESTO fits for a sequence of penalties, warm-started and certified.

    Parameters
    ----------
    X : {array_like, SciPy CSR or CSC array}, shape (n, p)
        float32 is converted to float64. Never modified.
    y : array_like, shape (n,)
        Ordered classes, at least two.
    sample_weight : array_like, shape (n,), optional
        Case weights: an integer weight counts as so many rows.
    alphas : array_like, optional
        Penalties per unit of total weight; sorted to decrease. Default:
        `n_alphas` values from ``alpha_max`` down to ``eps * alpha_max``, cut
        short once 99.9 % of the deviance is explained.
    n_alphas : int
    eps : float
    l1_ratio : float
        Elastic-net mix in [0, 1]: 1 is the lasso, 0 the ridge.
    penalty_factors : array_like, shape (p,), optional
        Relative penalty of each feature, non-negative; 0 leaves it free.
    standardize : bool
        Penalise the slopes of centred features divided by their population
        standard deviation (default), or of centred features.
    crossing : {"own", "train"}
        "own" demands ordered logits at each row's own class, which is the
        domain of the likelihood. "train" demands it of all classes on all
        training rows.
    tol : float
        Largest accepted violation of the optimality conditions, and duality gap.
    max_iter : int
        Newton steps per penalty.
    class_order : array_like, optional
        Labels from low to high.
    callback : callable, optional
        ``callback(index, objective)`` after each penalty; true ends the path.

    Returns
    -------
    PrestoPath

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        Where a residual or a duality gap stays above `tol`, for instance at
        penalties that drown in rounding; the text holds kkt and gap.

    Notes
    -----
    Minimises ``sum_i w_i (-log P(y_i | x_i)) + alpha * sum_kj c_j (a |psi_kj| + (1 - a)/2 psi_kj^2)`` with
    normalised weights, ``logit P(y <= k | x) = alpha_k + x' beta_k`` and psi_k = beta_k - beta_{k-1} ([1]_,
    section 3). **A positive slope makes lower classes more likely.** With features fewer than about 600, each
    Newton step costs three Grams of the rows, n p^2 each, for any number of classes; wider data are
    screened by the sequential strong rule, and the final certificate covers all features. With "train"
    a log barrier falls to 1e-5 in steps of ten, and primal-dual Newton steps on the support finish the fit,
    with multipliers from which the gap is computed. Should they fail (more than 3000 unknowns, say), the
    barrier goes on to 1e-8, where rounding leaves a gap of some 1e-9.

    References
    ----------
    .. [1] G. Faletto and J. Bien, "Predicting Rare Events by Shrinking Towards Proportional Odds", ICML 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.ordinal import presto_path
    >>> i = np.arange(24)
    >>> X = np.column_stack((i % 4, i**2 % 5))
    >>> y = [0, 1, 2, 1, 0, 0, 1, 2, 1, 2, 0, 1, 2, 1, 1, 0, 0, 2, 1, 2, 0, 1, 0, 2]
    >>> path = presto_path(X, y, n_alphas=5)
    >>> print(path.coefs.shape, round(path.alpha_max, 6), path.dual_gap.max() < 1e-9)
    (5, 2, 2) 0.306239 True
    """
    from sklearn.utils import check_array, check_consistent_length

    X = check_array(X, accept_sparse=("csr", "csc"), dtype=np.float64, order="C", input_name="X")
    check_consistent_length(X, y)
    w = check_weights(sample_weight, X.shape[0])
    ratio, factors, tol, max_iter = check_settings(
        X.shape[1], l1_ratio, penalty_factors, standardize, crossing, tol, max_iter
    )
    lams = check_alphas(alphas)
    if lams is None:
        n_alphas = check_int(n_alphas, "n_alphas", low=1)
        eps = check_real(eps, "eps", low=0.0, high=1.0, open_low=True, open_high=True)
    used = w > 0
    classes, codes = encode_labels(y, class_order, used)
    present, recoded = present_classes(codes[used], classes)
    fit = fit_path(
        X if used.all() else X[used],
        recoded,
        w[used],
        lams=lams,
        n_alphas=n_alphas,
        eps=eps,
        l1_ratio=ratio,
        factors=factors,
        standardize=standardize,
        crossing=crossing,
        tol=tol,
        max_iter=max_iter,
        present=present,
        n_classes=classes.size,
        callback=callback,
    )
    s = fit.solution
    return PrestoPath(
        alphas=fit.lams,
        intercepts=fit.intercepts,
        coefs=fit.coefs,
        kkt=s.kkt,
        dual_gap=s.dual_gap,
        objective=s.objective,
        n_iter=s.n_iter,
        n_crossing=fit.n_crossing,
        alpha_max=fit.alpha_max,
        classes=classes,
    )
