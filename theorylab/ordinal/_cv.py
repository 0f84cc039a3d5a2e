"""PRESTO with the penalty chosen by cross-validation on correctly computed probabilities."""

from __future__ import annotations

import warnings
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theorylab._lib.checks import check_choice, check_int, check_real

from ._estimators import OrdinalClassifier, PrestoClassifier, class_probabilities
from ._inputs import check_alphas, check_settings, check_weights
from ._labels import ordered_logits, spread_boundaries
from ._metrics import multiclass_losses
from ._presto import Fitted, fit_path

__all__ = ["PrestoClassifierCV"]

FloatArray = NDArray[np.float64]


class PrestoClassifierCV(OrdinalClassifier):
    """PRESTO along a path of penalties, with the best one by cross-validation.

    Parameters
    ----------
    n_alphas : int
        Length of the path.
    eps : float
        Smallest penalty relative to the largest.
    alphas : array_like, optional
        Penalties to try instead.
    l1_ratio, penalty_factors, standardize, crossing, tol, max_iter, class_order
        As in `PrestoClassifier`.
    cv : int, splitter or iterable of (train, test)
        An integer means shuffled stratified folds of the rows of positive
        weight, so that a rare class is spread over all of them; None means 5.
        Splitters and index lists count all rows of `X`, as everywhere in
        scikit-learn; rows of zero weight then leave the parts they fell into.
    scoring : {"brier", "log_loss"} or scorer
        Mean over rows of ``sum_k (1[y = k] - p_k)^2`` or of ``-log p_y``
        (clipped at 1e-15); or the name of a scikit-learn scorer, or a callable
        ``scorer(estimator, X, y)``, larger being better. Scorers that take
        ``sample_weight`` get the case weights.
    rule : {"min", "1se"}
        The largest penalty that attains the largest mean loss, or the largest
        one within a standard error of it.
    n_jobs : int, optional
        Threads over folds.
    random_state : int, RandomState or None
        Of the shuffled folds.

    Attributes
    ----------
    alphas_ : ndarray, shape (n_alphas,)
        Largest first.
    cv_scores_ : ndarray, shape (n_alphas, n_folds)
        Losses: smaller is better.
    best_index_ : int
    best_score_ : float
        Mean loss at the chosen penalty.
    classes_, intercept_, coef_, diff_coef_, alpha_, alpha_max_
    objective_, kkt_, dual_gap_, n_iter_, n_crossing_
        As in `PrestoClassifier`, refitted on all rows.

    Notes
    -----
    The grid comes from all rows; each fold runs one warm-started path. The
    cost is that of ``n_folds + 1`` paths.

    Examples
    --------
    >>> from theorylab.ordinal import PrestoClassifierCV
    >>> from theorylab.ordinal.datasets import load_diabetes_severity
    >>> X, y = load_diabetes_severity()
    >>> model = PrestoClassifierCV(cv=3, n_alphas=10, random_state=0).fit(X, y)
    >>> model.cv_scores_.shape, bool(model.dual_gap_ < 1e-9)
    ((10, 3), True)
    """

    def __init__(
        self,
        *,
        n_alphas: int = 20,
        eps: float = 1e-2,
        alphas: ArrayLike | None = None,
        l1_ratio: float = 1.0,
        penalty_factors: ArrayLike | None = None,
        standardize: bool = True,
        crossing: str = "own",
        cv: Any = 5,
        scoring: Any = "brier",
        rule: str = "min",
        tol: float = 1e-8,
        max_iter: int = 100,
        n_jobs: int | None = None,
        random_state: Any = None,
        class_order: ArrayLike | None = None,
    ) -> None:
        self.n_alphas = n_alphas
        self.eps = eps
        self.alphas = alphas
        self.l1_ratio = l1_ratio
        self.penalty_factors = penalty_factors
        self.standardize = standardize
        self.crossing = crossing
        self.cv = cv
        self.scoring = scoring
        self.rule = rule
        self.tol = tol
        self.max_iter = max_iter
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.class_order = class_order

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> PrestoClassifierCV:
        """Choose the penalty and fit on all rows.

        Parameters
        ----------
        X : {array_like, SciPy CSR or CSC array}, shape (n, p)
        y : array_like, shape (n,)
        sample_weight : array_like, shape (n,), optional
            Case weights; folds are scored with them too. A weight of zero
            equals deletion of the row if `cv` is an integer; a splitter
            still counts the row when it cuts the folds.

        Returns
        -------
        self

        Warns
        -----
        UserWarning
            Where a training fold lacks a class; the fold is scored on all
            classes all the same.
        """
        check_choice(self.rule, "rule", ("min", "1se"))
        if not isinstance(self.scoring, str) and not callable(self.scoring):
            raise ValueError(
                f"scoring must be 'brier', 'log_loss', a scorer's name or a callable, got {self.scoring!r}"
            )
        rows, codes, w, present = self._validated(X, y, sample_weight)
        ratio, factors, tol, max_iter = check_settings(
            rows.shape[1],
            self.l1_ratio,
            self.penalty_factors,
            self.standardize,
            self.crossing,
            self.tol,
            self.max_iter,
        )
        options: dict[str, Any] = {
            "l1_ratio": ratio,
            "factors": factors,
            "standardize": bool(self.standardize),
            "crossing": self.crossing,
            "tol": tol,
            "max_iter": max_iter,
        }
        fit = fit_path(
            rows,
            codes,
            w,
            lams=check_alphas(self.alphas),
            n_alphas=check_int(self.n_alphas, "n_alphas", low=1),
            eps=check_real(self.eps, "eps", low=0.0, high=1.0, open_low=True, open_high=True),
            present=present,
            n_classes=self.classes_.size,
            **options,
        )
        self.alphas_ = fit.lams
        labels = present[codes]
        splits = list(self._splits(X, y, labels, sample_weight))
        self.cv_scores_ = self._scores(rows, labels, w, splits, options)
        self._choose(fit)
        return self

    def _splits(self, X: Any, y: Any, labels: NDArray[Any], sample_weight: Any) -> Any:
        """Yield (train, test) among the rows of positive weight; splitters of the caller count all rows."""
        from sklearn.model_selection import StratifiedKFold, check_cv

        cv = 5 if self.cv is None else self.cv
        if isinstance(cv, (int, np.integer)) and not isinstance(cv, bool):
            folds = check_int(cv, "cv", low=2)
            largest = int(np.bincount(labels).max())
            if folds > largest:
                raise ValueError(f"cv={folds} is greater than the number of members in each class, {largest}")
            splitter = StratifiedKFold(folds, shuffle=True, random_state=self.random_state)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
                yield from splitter.split(np.zeros((labels.size, 1)), labels)
            return
        n = X.shape[0] if hasattr(X, "shape") else len(X)
        used = check_weights(sample_weight, n) > 0
        place = np.cumsum(used) - 1
        for train, test in check_cv(cv, y, classifier=True).split(X, np.ravel(y)):
            train, test = (np.arange(n)[np.asarray(part)] for part in (train, test))
            yield place[train[used[train]]], place[test[used[test]]]

    def _scores(
        self, X: Any, labels: NDArray[Any], w: FloatArray, splits: list[Any], options: Any
    ) -> FloatArray:
        """Return the loss of each penalty on each fold."""
        empty = [f for f, (train, test) in enumerate(splits) if min(train.size, test.size) == 0]
        if empty:
            raise ValueError(f"cv: a part of fold {empty} has no row of positive weight")
        lost = [
            f for f, (train, _) in enumerate(splits) if np.unique(labels[train]).size < np.unique(labels).size
        ]
        if lost:
            warnings.warn(
                f"the training part of fold {lost} lacks a class, which gets probability 0 there (log-losses "
                "are clipped at 1e-15); use fewer folds or stratified ones",
                UserWarning,
                stacklevel=3,
            )
        from joblib import Parallel, delayed  # type: ignore[import-untyped]

        jobs = (delayed(self._fold)(X, labels, w, train, test, options) for train, test in splits)
        return np.column_stack(Parallel(n_jobs=self.n_jobs, prefer="threads")(jobs))

    def _fold(
        self, X: Any, labels: NDArray[Any], w: FloatArray, train: Any, test: Any, options: Any
    ) -> FloatArray:
        """Fit the path on one training part and score it on the other."""
        present, codes = np.unique(labels[train], return_inverse=True)
        K = self.classes_.size
        if present.size < 2:
            raise ValueError(
                "a training fold has samples of one class only; it needs samples of at least 2 classes"
            )
        fit = fit_path(X[train], codes, w[train], lams=self.alphas_, **options)
        alpha, beta = spread_boundaries(fit.intercepts, fit.coefs, present, K)
        if self.scoring in ("brier", "log_loss"):
            rows = X[test]
            logits = np.stack([ordered_logits(np.asarray(rows @ b.T) + a, a, b) for a, b in zip(alpha, beta)])
            losses = multiclass_losses(class_probabilities(logits), labels[test], self.scoring)
            return np.asarray(np.average(losses, axis=1, weights=w[test]))
        return np.array([self._external(X[test], labels[test], w[test], a, b) for a, b in zip(alpha, beta)])

    def _external(
        self, X: Any, labels: NDArray[Any], w: FloatArray, alpha: FloatArray, beta: FloatArray
    ) -> float:
        """Return minus the score of a scikit-learn scorer for one set of coefficients."""
        from sklearn.metrics import get_scorer

        model = PrestoClassifier()
        model.classes_, model.intercept_, model.coef_ = self.classes_, alpha, beta
        model.n_features_in_ = beta.shape[1]
        scorer = get_scorer(self.scoring)
        weights = {"sample_weight": w} if np.ptp(w) > 0 and _takes_weights(scorer) else {}
        return -float(scorer(model, X, self.classes_[labels], **weights))

    def _choose(self, fit: Fitted) -> None:
        """Set the chosen penalty and its fit."""
        mean = self.cv_scores_.mean(axis=1)
        best = int(np.argmin(mean))  # penalties decrease: the first minimum has the largest
        if self.rule == "1se":
            folds = self.cv_scores_.shape[1]
            error = self.cv_scores_[best].std(ddof=1) / np.sqrt(folds) if folds > 1 else 0.0
            best = int(np.argmax(mean <= mean[best] + error))
        s = fit.solution
        self.best_index_, self.best_score_ = best, float(mean[best])
        self.alpha_, self.alpha_max_ = float(self.alphas_[best]), fit.alpha_max
        self.intercept_, self.coef_ = fit.intercepts[best], fit.coefs[best]
        self.objective_, self.kkt_ = float(s.objective[best]), float(s.kkt[best])
        self.dual_gap_, self.n_crossing_ = float(s.dual_gap[best]), int(fit.n_crossing[best])
        self.n_iter_ = max(int(s.n_iter.sum()), 1)


def _takes_weights(scorer: Any) -> bool:
    """Tell whether a scorer, or the metric it wraps, accepts ``sample_weight``."""
    try:
        return "sample_weight" in signature(getattr(scorer, "_score_func", scorer)).parameters
    except (TypeError, ValueError):  # a callable without a signature
        return False
