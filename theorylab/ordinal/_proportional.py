"""Proportional odds: one slope vector for all boundaries, with standard errors."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theorylab._lib.checks import check_choice, check_int, check_real

from . import _dual, _kernels, _newton
from ._design import Design
from ._estimators import OrdinalClassifier
from ._labels import spread_boundaries

__all__ = ["ProportionalOddsClassifier", "Summary"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """Coefficient table of a fitted model; `print` shows it.

    Attributes
    ----------
    names : list of str
    estimate, std_error, z, p_value, lower, upper : ndarray
        Wald statistics; the bounds belong to the chosen level.
    level : float
    """

    names: list[str]
    estimate: FloatArray
    std_error: FloatArray
    z: FloatArray
    p_value: FloatArray
    lower: FloatArray
    upper: FloatArray
    level: float

    def __str__(self) -> str:
        width = max(map(len, self.names))
        bounds = f"{100 * self.level:g} % interval"
        lines = [f"{'':{width}}  {'estimate':>10} {'std.err.':>10} {'z':>8} {'P(>|z|)':>9}  {bounds:>22}"]
        for i, name in enumerate(self.names):
            lines.append(
                f"{name:{width}}  {self.estimate[i]:10.4f} {self.std_error[i]:10.4f} {self.z[i]:8.3f} "
                f"{self.p_value[i]:9.2g}  [{self.lower[i]:9.4f}, {self.upper[i]:9.4f}]"
            )
        return "\n".join(lines)


class _Newton:
    """Damped Newton iterations for intercepts and one slope vector, on a standardised design."""

    def __init__(self, design: Design, ridge: FloatArray) -> None:
        self.design, self.ridge = design, ridge
        self.XT = design.columns(np.arange(design.n_features)) if design.sparse else design.full()
        m, width = design.n_boundaries, design.n_features + 1
        self.m, self.width = m, width
        self.theta = np.zeros((m, width))
        self.theta[:, 0] = design.null_intercepts()
        self.blocks, self.steps, self.grad = np.empty((m, width)), np.empty((m, width)), np.empty((m, width))
        self.rows = np.empty((5, design.w.size))
        self.objective = self.evaluate(self.theta)

    def evaluate(self, theta: FloatArray) -> float:
        """Return the objective and refresh row derivatives; infinity where intercepts are out of order."""
        _kernels.to_blocks(theta, self.blocks, self.steps)
        d = self.design
        loss = _kernels.evaluate(self.XT, d.w, d.starts, self.blocks, self.steps, self.rows, self.grad)
        return float(loss + 0.5 * np.sum(self.ridge * theta[0, 1:] ** 2))

    def gradient(self) -> FloatArray:
        """Return the gradient: intercepts, then slopes."""
        slopes = self.grad[:, 1:].sum(axis=0) + self.ridge * self.theta[0, 1:]
        return np.concatenate((self.grad[:, 0], slopes))

    def hessian(self) -> FloatArray:
        """Return the observed information per unit of weight."""
        m, starts = self.m, self.design.starts
        faa, fbb, q = self.rows[2], self.rows[3], self.rows[4]
        H = np.zeros((m + self.width - 1,) * 2)
        X = self.XT[1:]
        for k in range(m + 1):
            rows = slice(starts[k], starts[k + 1])
            if k < m:
                H[k, k] += faa[rows].sum()
                H[k, m:] += X[:, rows] @ (faa[rows] - q[rows] if k > 0 else faa[rows])
            if k > 0:
                H[k - 1, k - 1] += fbb[rows].sum()
                H[k - 1, m:] += X[:, rows] @ (fbb[rows] - q[rows] if k < m else fbb[rows])
            if 0 < k < m:
                H[k, k - 1] = H[k - 1, k] = -q[rows].sum()
        H[m:, :m] = H[:m, m:].T
        inner = starts[1], starts[m]
        h = faa + fbb
        h[inner[0] : inner[1]] -= 2.0 * q[inner[0] : inner[1]]
        H[m:, m:] = (X * h) @ X.T
        H[m:, m:] += np.diag(self.ridge)
        return H

    def step(self, H: FloatArray, g: FloatArray) -> FloatArray:
        """Return the Newton step as a change of theta; dependent columns keep their coefficient."""
        x = -g
        _newton.solve_support(H, np.arange(g.size), g.size, x, np.empty_like(H), np.zeros(g.size))
        change = np.zeros_like(self.theta)
        change[:, 0] = x[: self.m]
        change[0, 1:] = x[self.m :]
        return change

    def floor(self, H: FloatArray) -> float:
        """Return what rounding of the coefficients does to the gradient, 1e-8 at most."""
        x = np.append(self.theta[:, 0], self.theta[0, 1:])
        return min(4e-16 * float(np.max(np.diag(H) * np.maximum(np.abs(x), 1.0))), 1e-8)

    def own_logits(self, theta: FloatArray) -> float:
        """Return the largest absolute logit at a row's own boundaries."""
        return float(_newton.spread(self.XT, self.design.starts, theta))

    def run(self, tol: float, max_iter: int) -> tuple[int, float, str]:
        """Iterate; return the steps, the gradient's largest entry and "", "separation" or "max_iter"."""
        growing, norm = 0, 0.0
        for iteration in range(max_iter):
            g, H = self.gradient(), self.hessian()
            change = self.step(H, g)
            moving = self.own_logits(change) > 1e-3
            if np.max(np.abs(g)) <= max(tol, self.floor(H)) and not moving:
                before, kkt = self.theta.copy(), float(np.max(np.abs(g)))
                self.theta += change  # one step more: quadratic convergence takes it to rounding
                objective = self.evaluate(self.theta)
                if not np.isfinite(objective) or np.max(np.abs(self.gradient())) > max(kkt, 1e-13):
                    self.theta = before
                    objective = self.evaluate(before)
                self.objective = objective
                return iteration + 1, float(np.max(np.abs(self.gradient()))), ""
            size = float(np.abs(self.theta).max())
            growing = growing + 1 if size > norm else 0
            norm = size
            if moving and (growing >= 25 or (self.own_logits(self.theta) > 30.0 and _ill(H))):
                return iteration, float(np.max(np.abs(g))), "separation"
            self._search(change, float(np.sum(g[: self.m] * change[:, 0]) + g[self.m :] @ change[0, 1:]))
        kkt = float(np.max(np.abs(self.gradient())))
        return max_iter, kkt, "" if kkt <= tol else "max_iter"

    def _search(self, change: FloatArray, slope: float) -> None:
        """Halve the step until the objective falls; below the precision floor take it as it is."""
        t = 1.0
        for _ in range(60):
            new = self.evaluate(self.theta + t * change)
            floor = -slope < 1e-11 * abs(self.objective)
            if new <= self.objective + 1e-4 * t * slope or (floor and np.isfinite(new)):
                self.theta = self.theta + t * change
                self.objective = new
                return
            t *= 0.5
        self.evaluate(self.theta)

    def gap(self) -> float:
        """Return the duality gap; without a ridge the slopes count as in `_dual.dual_gap`."""
        d = self.design
        dual, gradient = np.empty((2, d.w.size)), np.empty_like(self.theta)
        _dual.dual_point(self.rows, d.w, d.starts, dual)
        _dual.dual_gradient(self.XT, d.starts, dual, gradient)
        ridge = np.concatenate(([0.0], self.ridge))
        return float(
            _dual.dual_gap(
                self.objective,
                d.w,
                dual,
                gradient[:1].copy(),
                self.theta[:1].copy(),
                np.zeros(self.width),
                ridge,
            )
        )


def _ill(H: FloatArray) -> bool:
    """Tell whether the Hessian, scaled to a unit diagonal, has a condition number above 1e12."""
    diagonal = np.diag(H)
    if (diagonal <= 0).any():
        return True
    scale = 1.0 / np.sqrt(diagonal)
    values = np.linalg.eigvalsh(H * scale[:, None] * scale)
    return bool(values[0] <= 1e-12 * values[-1])


class ProportionalOddsClassifier(OrdinalClassifier):
    """Proportional-odds (cumulative logit) model with standard errors.

    Parameters
    ----------
    alpha : float
        Ridge penalty ``alpha/2 ||beta||^2`` per unit of total weight, on the
        slopes in the input's scale. Default: none, the maximum likelihood fit.
    tol : float
        Largest accepted gradient entry, in standardised coordinates, or, up to
        1e-8, what rounding of the intercepts around a tiny class leaves.
    max_iter : int
        Newton steps; four or five are usual.
    warm_start : bool
        Accepted for familiarity; Newton's method starts at the null model.
    class_order : array_like, optional
        Labels from low to high.
    information : {"observed", "expected"}
        Which information `cov_params_` inverts.

    Attributes
    ----------
    classes_ : ndarray, shape (K,)
    intercept_ : ndarray, shape (K - 1,)
    coef_ : ndarray, shape (K - 1, p)
        Equal rows: the slopes beta of ``logit P(y <= k | x) = alpha_k + x' beta``.
        Other programs report -beta.
    cov_params_ : ndarray, shape (K - 1 + p, K - 1 + p)
        Covariance of intercepts, then slopes (of the classes that occur). A
        constant column, or one that depends on earlier ones, has coefficient 0
        and zeros here.
    converged_ : bool
    objective_, kkt_, dual_gap_ : float
        Mean negative log-likelihood plus penalty, largest gradient entry, and
        upper bound of the distance to the minimum (without a ridge: to that
        among slopes no larger than the fitted ones).
    n_iter_ : int
    n_features_in_, feature_names_in_

    Notes
    -----
    Damped Newton on the observed information; n p^2 multiply-adds a step. If
    the classes are separated, the likelihood has no maximum: the fit stops at
    a finite iterate with a ConvergenceWarning and ``converged_ = False``.

    Examples
    --------
    >>> from theorylab.ordinal import ProportionalOddsClassifier
    >>> from theorylab.ordinal.datasets import load_diabetes_severity
    >>> X, y = load_diabetes_severity()
    >>> model = ProportionalOddsClassifier().fit(X[:, [2, 8]], y)
    >>> model.intercept_.round(3).tolist(), model.coef_[0].round(2).tolist()
    ([-1.109, 1.432, 4.692], [-20.92, -20.67])
    """

    def __init__(
        self,
        alpha: float = 0.0,
        *,
        tol: float = 1e-10,
        max_iter: int = 100,
        warm_start: bool = False,
        class_order: ArrayLike | None = None,
        information: str = "observed",
    ) -> None:
        self.alpha = alpha
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.class_order = class_order
        self.information = information

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> ProportionalOddsClassifier:
        """Fit the model.

        Parameters
        ----------
        X : {array_like, SciPy CSR or CSC array}, shape (n, p)
        y : array_like, shape (n,)
        sample_weight : array_like, shape (n,), optional
            Case weights: an integer weight counts as so many rows.

        Returns
        -------
        self

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            Where the classes are separated or `max_iter` is reached.
        """
        alpha = check_real(self.alpha, "alpha", low=0.0)
        tol = check_real(self.tol, "tol", low=0.0, open_low=True)
        max_iter = check_int(self.max_iter, "max_iter", low=1)
        check_choice(self.information, "information", ("observed", "expected"))
        X, codes, w, present = self._validated(X, y, sample_weight)
        design = Design(X, codes, w)
        ridge = alpha * design.inverse**2 if alpha > 0.0 else np.zeros(X.shape[1])  # no 0 times infinity
        newton = _Newton(design, ridge)
        steps, self.kkt_, trouble = newton.run(tol, max_iter)
        self.n_iter_, self.converged_ = max(steps, 1), not trouble
        self.objective_, self.dual_gap_ = newton.objective, newton.gap()
        slopes = newton.theta[0, 1:] * design.inverse
        intercepts = newton.theta[:, 0] - slopes @ design.centre
        self.cov_params_ = self._covariance(newton, X, w, intercepts, slopes)
        self.intercept_, self.coef_ = spread_boundaries(
            intercepts, np.tile(slopes, (present.size - 1, 1)), present, self.classes_.size
        )
        if trouble:
            self._warn(trouble)
        return self

    def _warn(self, trouble: str) -> None:
        from sklearn.exceptions import ConvergenceWarning

        if trouble == "separation":
            text = (
                "the classes are (quasi-)separated, so the likelihood has no maximum and the slopes diverge; "
                "the last iterate is kept. Use alpha > 0, or PrestoClassifier"
            )
        else:
            text = "proportional odds did not converge; raise max_iter"
        warnings.warn(
            f"{text} (kkt {self.kkt_:.3g}, gap {self.dual_gap_:.3g})", ConvergenceWarning, stacklevel=3
        )

    def _covariance(
        self, newton: _Newton, X: Any, w: FloatArray, alpha: FloatArray, beta: FloatArray
    ) -> FloatArray:
        """Return the inverse information in the input's scale."""
        m, design = newton.m, newton.design
        H = newton.hessian() * w.sum()
        if self.information == "expected":
            from ._information import po_fisher_information

            centred = np.ascontiguousarray(newton.XT[1:].T)
            H = po_fisher_information(
                centred, newton.theta[:, 0], newton.theta[0, 1:], newton.design.w * w.sum()
            )
            H[m:, m:] += np.diag(newton.ridge) * w.sum()
        if self.converged_:
            L, none = np.empty_like(H), np.zeros(H.shape[0])
            _newton.solve_support(H, np.arange(H.shape[0]), H.shape[0], none.copy(), L, none)
            free = np.flatnonzero(np.diag(L))  # the others are constant or depend on earlier columns
            covariance = np.zeros_like(H)
            covariance[np.ix_(free, free)] = np.linalg.inv(H[np.ix_(free, free)])
        else:
            covariance = np.linalg.pinv(H, hermitian=True)
        J = np.eye(H.shape[0])
        J[m:, m:] = np.diag(design.inverse)
        J[:m, m:] = -(design.centre * design.inverse)
        with np.errstate(over="ignore"):  # variances of slopes per unit below 1e-154 are infinite
            return np.asarray(J @ covariance @ J.T)

    def summary(self, level: float = 0.95) -> Summary:
        """Return estimates, standard errors, z, p-values and Wald intervals.

        Parameters
        ----------
        level : float
            Coverage of the intervals.
        """
        from scipy.special import ndtri
        from scipy.stats import norm
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        level = check_real(level, "level", low=0.0, high=1.0, open_low=True, open_high=True)
        p = self.coef_.shape[1]
        m = self.cov_params_.shape[0] - p
        edges = np.concatenate(([-np.inf], self.intercept_, [np.inf]))
        present = np.flatnonzero(edges[1:] > edges[:-1])
        cuts = present[:m]
        labels = self.classes_.tolist()
        features = list(getattr(self, "feature_names_in_", [f"x{j}" for j in range(p)]))
        names = [f"{labels[k]}|{labels[l]}" for k, l in pairwise(present)] + [str(name) for name in features]
        estimate = np.concatenate((self.intercept_[cuts], self.coef_[0]))
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.sqrt(np.maximum(np.diag(self.cov_params_), 0.0))
            z = estimate / error
        half = ndtri(0.5 + level / 2) * error
        return Summary(
            names, estimate, error, z, 2 * norm.sf(np.abs(z)), estimate - half, estimate + half, level
        )
