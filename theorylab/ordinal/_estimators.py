"""Scikit-learn estimators: what all cumulative-logit classifiers share, and PRESTO at one penalty."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from theorylab._lib.backend import require_numpy
from theorylab._lib.checks import check_real

from ._inputs import check_settings, check_weights
from ._labels import encode_labels, ordered_logits, present_classes
from ._presto import fit_path

__all__ = ["OrdinalClassifier", "PrestoClassifier", "class_log_probabilities", "class_probabilities"]

FloatArray = NDArray[np.float64]


def _edges(logits: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return upper and lower logit of each class and their distance, from sorted logits."""
    ends = np.full((*logits.shape[:-1], 1), np.inf)
    upper, lower = np.concatenate((logits, ends), axis=-1), np.concatenate((-ends, logits), axis=-1)
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.where(upper == lower, 0.0, upper - lower)
    return upper, lower, distance


def class_probabilities(logits: FloatArray) -> FloatArray:
    """Return P(class), shape (..., K), from cumulative logits (..., K - 1) in any order.

    Crossing logits are sorted first (monotone rearrangement), so that every row is a distribution.
    """
    upper, lower, distance = _edges(np.sort(logits, axis=-1))
    return np.asarray(expit(upper) * expit(-lower) * -np.expm1(-distance))


def class_log_probabilities(logits: FloatArray) -> FloatArray:
    """Return the logarithm of `class_probabilities`, accurate where they underflow."""
    upper, lower, distance = _edges(np.sort(logits, axis=-1))
    with np.errstate(divide="ignore"):
        return np.asarray(log_expit(upper) + log_expit(-lower) + np.log(-np.expm1(-distance)))


class OrdinalClassifier(ClassifierMixin, BaseEstimator):
    """Methods of every fitted model with ``intercept_`` (K - 1,) and ``coef_`` (K - 1, p)."""

    classes_: NDArray[Any]
    intercept_: FloatArray
    coef_: FloatArray
    class_order: Any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.poor_score = True  # scikit-learn's accuracy check uses nominal classes
        return tags

    def _validated(
        self, X: Any, y: Any, sample_weight: ArrayLike | None
    ) -> tuple[Any, NDArray[Any], FloatArray, NDArray[Any]]:
        """Return X, recoded classes, positive weights and present classes; set ``classes_``."""
        if not hasattr(X, "tocsr") and not hasattr(X, "iloc"):
            require_numpy(type(self).__name__, X)
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y is None"
            )
        X = validate_data(self, X, accept_sparse=("csr", "csc"), dtype=np.float64, order="C")
        from sklearn.utils import check_consistent_length

        check_consistent_length(X, y)
        w = check_weights(sample_weight, X.shape[0])
        used = w > 0
        self.classes_, codes = encode_labels(y, self.class_order, used)
        present, recoded = present_classes(codes[used], self.classes_)
        return (X if used.all() else X[used]), recoded, w[used], present

    def cumulative_logits(self, X: Any) -> FloatArray:
        """Return the logits of P(y <= k | x) as fitted, in general unsorted.

        Parameters
        ----------
        X : {array_like, sparse array}, shape (n, p)

        Returns
        -------
        ndarray, shape (n, K - 1)
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse=("csr", "csc"), dtype=np.float64, reset=False)
        with np.errstate(over="ignore", invalid="ignore"):
            products = np.asarray(X @ self.coef_.T)
            far = ~np.isfinite(products).all(axis=1)
            if far.any():  # sums beyond the range of float64 keep their sign, and do not cancel to NaN
                largest = np.finfo(np.float64).max
                products[far] = np.clip(((X[far] * 1e-300) @ self.coef_.T) * 1e300, -largest, largest)
        return products + self.intercept_

    def _ordered(self, X: Any) -> FloatArray:
        """Return the cumulative logits sorted along each row."""
        return ordered_logits(self.cumulative_logits(X), self.intercept_, self.coef_)

    def predict_proba(self, X: Any) -> FloatArray:
        """Return the probability of each class; each row is a distribution, also where slopes cross.

        Parameters
        ----------
        X : {array_like, sparse array}, shape (n, p)

        Returns
        -------
        ndarray, shape (n, K)
        """
        return class_probabilities(self._ordered(X))

    def predict_cumulative_proba(self, X: Any) -> FloatArray:
        """Return P(y <= k | x) for all boundaries, sorted along each row, shape (n, K - 1)."""
        return np.asarray(expit(self._ordered(X)))

    def decision_function(self, X: Any) -> FloatArray:
        """Return log-probabilities, shape (n, K); for two classes the log-odds of the second, shape (n,)."""
        logits = self._ordered(X)
        return -logits[:, 0] if logits.shape[1] == 1 else class_log_probabilities(logits)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row."""
        best = np.argmax(self.predict_proba(X), axis=1)
        return np.asarray(self.classes_[best])

    def predict_median(self, X: Any) -> NDArray[Any]:
        """Return the first class whose cumulative probability reaches one half."""
        below_half = np.count_nonzero(self._ordered(X) < 0.0, axis=1)
        return np.asarray(self.classes_[below_half])

    @property
    def diff_coef_(self) -> FloatArray:
        """Slope differences psi_1 = beta_1, psi_k = beta_k - beta_{k-1}, shape (K - 1, p)."""
        return np.diff(self.coef_, axis=0, prepend=0.0)


class PrestoClassifier(OrdinalClassifier):
    """Cumulative logit model with slopes shrunk towards proportional odds, certified optimal.

    Parameters
    ----------
    alpha : float
        Penalty per unit of total weight, non-negative (the paper's lambda).
    l1_ratio : float
        Elastic-net mix in [0, 1]: 1 is the lasso, 0 the ridge.
    penalty_factors : array_like, shape (p,), optional
        Relative penalty of each feature; 0 leaves a feature free.
    standardize : bool
        Penalise the slopes of standardised features.
    crossing : {"own", "train"}
        Where the logits must be ordered: at each row's own class (the
        domain of the likelihood), or at all classes of all training rows.
    tol : float
        Largest accepted violation of the optimality conditions, and duality gap.
    max_iter : int
        Newton steps.
    warm_start : bool
        Start from the coefficients of the previous fit where they are legal.
    copy_X : bool
        Accepted for familiarity; the input is never changed.
    class_order : array_like, optional
        Labels from low to high. Default: the categories of an ordered
        Categorical, else the sorted labels.

    Attributes
    ----------
    classes_ : ndarray, shape (K,)
    intercept_ : ndarray, shape (K - 1,)
    coef_ : ndarray, shape (K - 1, p)
        Row k holds beta_k of ``logit P(y <= k | x) = alpha_k + x' beta_k``: **a
        positive slope makes lower classes more likely**.
    diff_coef_ : ndarray, shape (K - 1, p)
        psi_1 = beta_1 and psi_k = beta_k - beta_{k-1}.
    alpha_, alpha_max_ : float
        Penalty used, and the smallest one at which all slopes vanish.
    objective_, kkt_, dual_gap_ : float
        Objective, largest violation of the optimality conditions, and upper
        bound of the distance to the minimum, in standardised coordinates (see
        `PrestoPath` for slopes without penalty).
    n_iter_ : int
    n_crossing_ : int
        Training rows with a cumulative logit at or below the one before it.
    n_features_in_, feature_names_in_

    Notes
    -----
    Minimises ``sum_i w_i (-log P(y_i | x_i)) + alpha sum_kj c_j (a |psi_kj| + (1 - a)/2 psi_kj^2)`` with
    weights that sum to one ([1]_, section 3). The loss of a row is two logistic losses and a log barrier,
    hence convex with a closed-form conjugate, from which `dual_gap_` is computed. Integer `sample_weight`
    equals repetition of rows. A Newton step costs three Grams of the rows, n p^2 each, for any K. CPU only.

    References
    ----------
    .. [1] G. Faletto and J. Bien, "Predicting Rare Events by Shrinking Towards Proportional Odds", ICML 2023.

    Examples
    --------
    >>> from theorylab.ordinal import PrestoClassifier
    >>> from theorylab.ordinal.datasets import load_diabetes_severity
    >>> X, y = load_diabetes_severity()
    >>> model = PrestoClassifier(alpha=0.01).fit(X, y)
    >>> model.coef_.shape, bool(model.dual_gap_ < 1e-9)
    ((3, 10), True)
    >>> model.predict_proba(X).sum(axis=1).round(12).max()
    np.float64(1.0)
    """

    def __init__(
        self,
        alpha: float = 0.01,
        *,
        l1_ratio: float = 1.0,
        penalty_factors: ArrayLike | None = None,
        standardize: bool = True,
        crossing: str = "own",
        tol: float = 1e-8,
        max_iter: int = 100,
        warm_start: bool = False,
        copy_X: bool = True,
        class_order: ArrayLike | None = None,
    ) -> None:
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.penalty_factors = penalty_factors
        self.standardize = standardize
        self.crossing = crossing
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.copy_X = copy_X
        self.class_order = class_order

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> PrestoClassifier:
        """Fit the model.

        Parameters
        ----------
        X : {array_like, SciPy CSR or CSC array}, shape (n, p)
            float32 is converted to float64.
        y : array_like, shape (n,)
            Ordered classes.
        sample_weight : array_like, shape (n,), optional
            Case weights, non-negative.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad values or shapes, or fewer than two classes.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            Where kkt or gap stay above `tol`: too few steps, or rounding at a
            penalty below 1e-10, say.
        UserWarning
            For text labels without an order, and for declared classes that
            do not occur.
        """
        alpha = check_real(self.alpha, "alpha", low=0.0)
        before = getattr(self, "classes_", None)
        X, codes, w, present = self._validated(X, y, sample_weight)
        ratio, factors, tol, max_iter = check_settings(
            X.shape[1],
            self.l1_ratio,
            self.penalty_factors,
            self.standardize,
            self.crossing,
            self.tol,
            self.max_iter,
        )
        start = None
        if self.warm_start and before is not None and np.array_equal(before, self.classes_):
            shape = (present.size - 1, X.shape[1])
            if self.coef_.shape == shape and present.size == self.classes_.size:
                start = self.intercept_, self.coef_
        fit = fit_path(
            X,
            codes,
            w,
            lams=np.array([alpha]),
            l1_ratio=ratio,
            factors=factors,
            standardize=bool(self.standardize),
            crossing=self.crossing,
            tol=tol,
            max_iter=max_iter,
            present=present,
            n_classes=self.classes_.size,
            single=True,
            start=start,
        )
        s = fit.solution
        self.intercept_, self.coef_ = fit.intercepts[0], fit.coefs[0]
        self.alpha_, self.alpha_max_ = alpha, fit.alpha_max
        self.objective_, self.kkt_, self.dual_gap_ = (
            float(s.objective[0]),
            float(s.kkt[0]),
            float(s.dual_gap[0]),
        )
        self.n_iter_ = max(int(s.n_iter[0]), 1)
        self.n_crossing_ = int(fit.n_crossing[0])
        return self
