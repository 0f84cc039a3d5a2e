"""The scikit-learn contract, labels and weights, every situation of bad input, and cross-validation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from theorylab.ordinal import PrestoClassifier, PrestoClassifierCV, ProportionalOddsClassifier, presto_path

from .reference import separable, simulate, toy

ALL = [
    PrestoClassifier(),
    ProportionalOddsClassifier(),
    PrestoClassifierCV(cv=3, n_alphas=5),
]


@pytest.mark.filterwarnings("ignore:text labels are ordered:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore:the training part:UserWarning")
@parametrize_with_checks(ALL)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ALL)
def test_not_fitted(estimator):
    for method in ("predict", "predict_proba", "cumulative_logits", "decision_function", "predict_median"):
        with pytest.raises(NotFittedError):
            getattr(estimator, method)([[0.0]])


def test_probabilities_where_slopes_cross():
    model = PrestoClassifier()
    model.classes_, model.n_features_in_ = np.arange(4), 1
    model.intercept_, model.coef_ = np.array([0.0, 1.0, 2.0]), np.array([[3.0], [-1.0], [0.5]])
    X = np.linspace(-40, 40, 201)[:, None]
    p = model.predict_proba(X)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=4e-16 * 4)
    logits = model.cumulative_logits(X)
    assert (np.diff(logits, axis=1) < 0).any()
    assert (np.diff(model.predict_cumulative_proba(X), axis=1) >= 0).all()
    np.testing.assert_array_equal(np.argmax(model.decision_function(X), axis=1), np.argmax(p, axis=1))
    first = np.argmax(np.cumsum(p, axis=1) >= 0.5 - 1e-15, axis=1)
    np.testing.assert_array_equal(model.predict_median(X), first)
    with np.errstate(divide="ignore"):
        tail = p > 1e-290
        np.testing.assert_allclose(model.decision_function(X)[tail], np.log(p)[tail], rtol=1e-12, atol=1e-15)


def test_labels_of_all_kinds():
    X, y = simulate(90, 2, 3, 0)
    codes = PrestoClassifier(0.01).fit(X, y)
    names = np.array(["low", "mid", "high"])
    with pytest.warns(UserWarning, match="class_order"):
        PrestoClassifier(0.01).fit(X, names[y])
    named = PrestoClassifier(0.01, class_order=["low", "mid", "high"]).fit(X, names[y])
    np.testing.assert_array_equal(named.coef_, codes.coef_)
    np.testing.assert_array_equal(named.predict(X), names[codes.predict(X)])
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=["age", "dose"])
    target = pd.Series(pd.Categorical(names[y], categories=list(names), ordered=True))
    ordered = PrestoClassifier(0.01).fit(frame, target)
    np.testing.assert_array_equal(ordered.classes_, names)
    np.testing.assert_array_equal(ordered.coef_, codes.coef_)
    assert list(ordered.feature_names_in_) == ["age", "dose"]
    np.testing.assert_array_equal(ordered.predict(frame), named.predict(X))
    backwards = PrestoClassifier(0.01, class_order=[2, 1, 0]).fit(X, y)
    np.testing.assert_array_equal(backwards.classes_, [2, 1, 0])
    path = presto_path(frame, target, n_alphas=3)
    np.testing.assert_array_equal(path.classes, names)
    with pytest.warns(UserWarning, match="column-vector"):  # scikit-learn's own advice
        column = PrestoClassifier(0.01).fit(frame, target.to_frame())
    np.testing.assert_array_equal(column.coef_, codes.coef_)


@pytest.mark.parametrize("absent", [0, 1, 3])
@pytest.mark.parametrize("estimator", [PrestoClassifier(0.01), ProportionalOddsClassifier()])
def test_declared_class_that_does_not_occur(estimator, absent):
    X, y = simulate(100, 2, 3, 0)
    present = [k for k in range(4) if k != absent]
    plain = type(estimator)(**estimator.get_params()).fit(X, y)
    model = type(estimator)(**{**estimator.get_params(), "class_order": [0, 1, 2, 3]})
    with pytest.warns(UserWarning, match="no sample of the declared classes"):
        model.fit(X, np.array(present)[y])
    p = model.predict_proba(X)
    assert p.shape == (100, 4)
    assert not p[:, absent].any()
    np.testing.assert_array_equal(p[:, present], plain.predict_proba(X))
    assert model.coef_.shape == (3, 2)
    if absent == 1:
        assert model.intercept_[0] == model.intercept_[1]
    assert np.isfinite(model.decision_function(X)[:, present]).all()


def test_logits_beyond_the_range_of_floats():
    """Finite rows get probabilities even where their logits overflow, next to an infinite boundary too."""
    X, y = simulate(100, 3, 3, 0)
    Z = np.random.default_rng(1).choice([-1.0, 1.0, 0.0], (10, 3)) * 5e306
    with pytest.warns(UserWarning, match="no sample of the declared classes"):
        model = PrestoClassifier(0.001, class_order=[0, 1, 2, 3, 4]).fit(X, y + 1)
    model.coef_ = 1e3 * model.coef_
    for rows in (Z, sp.csr_array(Z)):
        p = model.predict_proba(rows)
        np.testing.assert_allclose(p.sum(axis=1), 1.0)
        assert not p[:, [0, 4]].any()
    np.testing.assert_array_equal(p, model.predict_proba(Z * 1e-10))  # all of them are certain


def test_absent_middle_class_where_slopes_cross():
    """The two equal boundaries of an absent class must not be parted when crossing logits are sorted."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((200, 2))
    y = np.where(X[:, 0] > 0.3, 2, np.where(X[:, 1] > 0, 1, 0)) + (rng.random(200) < 0.3)
    y[y == 3] = 0
    plain = PrestoClassifier(1e-3).fit(X, y)
    assert plain.n_crossing_ > 0
    with pytest.warns(UserWarning, match="no sample"):
        model = PrestoClassifier(1e-3, class_order=[0, 1, 9, 2, 8]).fit(X, y)
    p = model.predict_proba(X)
    assert not p[:, [2, 4]].any()
    np.testing.assert_array_equal(p[:, [0, 1, 3]], plain.predict_proba(X))
    np.testing.assert_array_equal(model.predict_median(X), plain.predict_median(X))
    np.testing.assert_allclose(model.predict_cumulative_proba(X), np.cumsum(p, axis=1)[:, :4], atol=1e-15)
    assert np.isneginf(model.decision_function(X)[:, [2, 4]]).all()
    train = np.flatnonzero(y != 1)
    with pytest.warns(UserWarning, match="lacks a class"):
        cv = PrestoClassifierCV(cv=[(train, np.arange(200))], alphas=[1e-3], scoring="log_loss").fit(X, y)
    with pytest.warns(UserWarning, match="no sample"):
        fold = PrestoClassifier(1e-3, class_order=[0, 1, 2]).fit(X[train], y[train])
    own = np.clip(fold.predict_proba(X)[np.arange(200), y], 1e-15, 1)
    assert cv.cv_scores_[0, 0] == pytest.approx(-np.mean(np.log(own)), abs=1e-9)


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan")])
def test_missing_label_among_objects(missing):
    X, y = simulate(30, 2, 3, 0)
    labels = np.array(["low", "mid", "high"], object)[y]
    labels[4] = missing
    for order in (None, ["low", "mid", "high"]):
        with pytest.raises(ValueError, match="Input y contains NaN"):
            PrestoClassifier(class_order=order).fit(X, labels)


def test_unused_categories_of_pandas():
    pd = pytest.importorskip("pandas")
    X, y = simulate(60, 2, 3, 0)
    target = pd.Categorical.from_codes(y, categories=["a", "b", "c", "d"], ordered=True)
    with pytest.warns(UserWarning, match="'d'"):
        model = PrestoClassifier(0.02).fit(X, target)
    assert model.predict_proba(X)[:, 3].max() == 0.0


@pytest.mark.parametrize("estimator", [PrestoClassifier(0.01), ProportionalOddsClassifier()])
def test_weights(estimator):
    X, y = simulate(80, 3, 3, 1)
    counts = np.random.default_rng(0).integers(0, 3, 80)
    a = type(estimator)(**estimator.get_params()).fit(X, y, sample_weight=counts)
    b = type(estimator)(**estimator.get_params()).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    keep = counts > 0
    c = type(estimator)(**estimator.get_params()).fit(X[keep], y[keep], sample_weight=counts[keep])
    for other in (b, c):
        np.testing.assert_allclose(a.coef_, other.coef_, atol=1e-10)
        np.testing.assert_allclose(a.predict_proba(X), other.predict_proba(X), atol=1e-10)
    if hasattr(a, "cov_params_"):
        np.testing.assert_allclose(a.cov_params_, b.cov_params_, rtol=1e-9)


def test_class_without_weight_equals_deletion():
    X, y = simulate(60, 2, 4, 0)
    model = PrestoClassifier(0.01).fit(X, y, sample_weight=(y != 3).astype(float))
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    with pytest.warns(UserWarning, match="no sample"):
        declared = PrestoClassifier(0.01, class_order=[0, 1, 2, 3]).fit(
            X, y, sample_weight=(y != 3).astype(float)
        )
    assert declared.predict_proba(X)[:, 3].max() == 0.0


BAD = [
    ({"X": [[np.nan], [1.0]]}, ValueError, "NaN"),
    ({"X": [[np.inf], [1.0]]}, ValueError, "infinity"),
    ({"X": [1.0, 2.0]}, ValueError, "2D array"),
    ({"y": [0.0, np.nan]}, ValueError, "NaN"),
    ({"y": [0, 1, 2]}, ValueError, "inconsistent numbers of samples"),
    ({"y": [0.1, 0.7]}, ValueError, "Unknown label type"),
    ({"y": [1, 1]}, ValueError, "needs samples of at least 2 classes"),
    ({"sample_weight": [1.0, -1.0]}, ValueError, "Negative values"),
    ({"sample_weight": [0.0, 0.0]}, ValueError, "zero for every row"),
    ({"sample_weight": [np.nan, 1.0]}, ValueError, "NaN"),
    ({"sample_weight": [1.0]}, ValueError, "sample_weight.shape"),
    ({"sample_weight": [1.0, 0.0]}, ValueError, "at least 2 classes"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
@pytest.mark.parametrize("fit", [PrestoClassifier().fit, ProportionalOddsClassifier().fit, presto_path])
def test_bad_data(fit, change, error, message):
    good = {"X": [[0.0], [1.0]], "y": [0, 1], "sample_weight": None}
    with pytest.raises(error, match=message):
        fit(**{**good, **change})


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"alpha": -1.0}, ValueError, "alpha"),
        ({"alpha": "a"}, TypeError, "alpha"),
        ({"l1_ratio": 1.5}, ValueError, "l1_ratio"),
        ({"penalty_factors": [1.0]}, ValueError, "penalty_factors"),
        ({"penalty_factors": [1.0, -1.0]}, ValueError, "penalty_factors"),
        ({"crossing": "never"}, ValueError, "crossing"),
        ({"tol": 0.0}, ValueError, "tol"),
        ({"max_iter": 0}, ValueError, "max_iter"),
        ({"class_order": [0, 1]}, ValueError, "class_order"),
        ({"class_order": [0, 0, 1]}, ValueError, "class_order"),
    ],
)
def test_bad_parameters(parameters, error, message):
    X, y = simulate(30, 2, 3, 0)
    with pytest.raises(error, match=message):
        PrestoClassifier(**parameters).fit(X, y)


def test_bad_path_arguments():
    X, y = simulate(30, 2, 3, 0)
    for arguments, message in [
        ({"alphas": [-1.0]}, "alphas"),
        ({"alphas": []}, "alphas"),
        ({"n_alphas": 0}, "n_alphas"),
        ({"eps": 1.0}, "eps"),
    ]:
        with pytest.raises(ValueError, match=message):
            presto_path(X, y, **arguments)


@pytest.mark.parametrize("values", [["a", "b"], [1.0, 2j], [[1.0], [2.0, 3.0]], {1.0}])
def test_arguments_that_are_no_numbers_are_named(values):
    X, y = simulate(30, 2, 3, 0)
    w = np.full(30, "heavy") if values == ["a", "b"] else values
    for fit, name in [
        (lambda: presto_path(X, y, alphas=values), "alphas"),
        (lambda: presto_path(X, y, penalty_factors=values), "penalty_factors"),
        (lambda: presto_path(X, y, sample_weight=w), "sample_weight"),
        (lambda: PrestoClassifier(penalty_factors=values).fit(X, y), "penalty_factors"),
        (lambda: PrestoClassifier().fit(X, y, sample_weight=w), "sample_weight"),
        (lambda: ProportionalOddsClassifier().fit(X, y, sample_weight=w), "sample_weight"),
        (lambda: PrestoClassifierCV(alphas=values).fit(X, y), "alphas"),
    ]:
        with pytest.raises((TypeError, ValueError), match=f"^{name} must hold real numbers"):
            fit()


def test_torch_tensor_is_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="detach"):
        PrestoClassifier().fit(torch.zeros((4, 1)), [0, 1, 0, 1])


def test_max_iter_warns_with_certificate():
    X, y = simulate(100, 3, 4, 0)
    with pytest.warns(ConvergenceWarning, match=r"kkt .* gap"):
        model = PrestoClassifier(1e-3, max_iter=1).fit(X, y)
    assert model.kkt_ > 1e-8
    with pytest.warns(ConvergenceWarning, match=r"kkt .* gap"):
        presto_path(X, y, max_iter=1)
    with pytest.warns(ConvergenceWarning, match=r"kkt .* gap"):
        ProportionalOddsClassifier(max_iter=1).fit(X, y)


def test_separable_data():
    X, y = separable()
    with pytest.warns(ConvergenceWarning, match="separat"):
        model = ProportionalOddsClassifier().fit(X, y)
    assert not model.converged_
    assert np.isfinite(model.coef_).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ProportionalOddsClassifier(alpha=0.01).fit(X, y).converged_
        penalised = PrestoClassifier(1e-3).fit(X, y)
    assert max(penalised.kkt_, penalised.dual_gap_) <= 1e-9
    with pytest.warns(ConvergenceWarning, match="without bound"):
        PrestoClassifier(0.0).fit(X, y)


def test_no_penalty_with_a_finite_optimum():
    X, y = toy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = PrestoClassifier(0.0).fit(X, y)
    assert max(model.kkt_, model.dual_gap_) <= 1e-9
    assert model.objective_ < PrestoClassifier(1e-3).fit(X, y).objective_


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csc_array])
def test_no_penalty_on_sparse_input(kind):
    X, y = toy()
    dense, sparse = PrestoClassifier(0.0).fit(X, y), PrestoClassifier(0.0).fit(kind(X), y)
    assert max(sparse.kkt_, sparse.dual_gap_) <= 1e-9
    assert sparse.objective_ == pytest.approx(dense.objective_, abs=1e-12)
    path = presto_path(kind(X), y, alphas=[0.1, 0.01, 0.0])
    np.testing.assert_allclose(path.coefs[-1], dense.coef_, atol=1e-7)


def test_no_penalty_on_wide_input():
    X, y = simulate(40, 610, 3, 0)
    with pytest.warns(ConvergenceWarning, match="kkt.*gap"):
        PrestoClassifier(0.0).fit(X, y)


def test_complete_separation_of_every_class():
    x = np.arange(30.0)[:, None]
    with pytest.warns(ConvergenceWarning, match="separat"):
        assert not ProportionalOddsClassifier().fit(x, np.repeat([0, 1, 2], 10)).converged_


def test_tiny_middle_class():
    """Intercepts around a class of one row in 10^5 are nearly equal; curvatures reach 1e9."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20000, 2))
    y = np.where(X[:, 0] + rng.logistic(size=20000) > 0, 2, 0)
    y[7] = 1
    for model in (PrestoClassifier(1e-3).fit(X, y), ProportionalOddsClassifier().fit(X, y)):
        assert model.kkt_ <= 1e-9
        assert model.dual_gap_ <= 1e-9
    assert 0 < np.diff(model.intercept_)[0] < 1e-3


def test_warm_start_and_clone():
    X, y = simulate(200, 5, 4, 0)
    model = PrestoClassifier(0.01, warm_start=True).fit(X, y)
    cold, coef = model.n_iter_, model.coef_.copy()
    model.fit(X, y)
    assert model.n_iter_ <= cold
    np.testing.assert_allclose(model.coef_, coef, atol=1e-8)
    model.set_params(alpha=0.005).fit(X, y)
    assert model.kkt_ <= 1e-9
    for crossing in ("own", "train"):  # coefficients that are no legal start for other rows
        model.set_params(crossing=crossing).fit(3 * X[::-1] + 1, y)
        cold_start = PrestoClassifier(0.005, crossing=crossing).fit(3 * X[::-1] + 1, y)
        assert model.objective_ == pytest.approx(cold_start.objective_, abs=1e-8)
    model.fit(X[:, :2], y)


def test_sparse_and_pipeline():
    X, y = simulate(100, 4, 3, 0)
    X[X < 0.5] = 0.0
    dense = PrestoClassifier(0.01).fit(X, y)
    for kind in (sp.csr_array, sp.csc_array, sp.csr_matrix):
        model = PrestoClassifier(0.01).fit(kind(X), y)
        np.testing.assert_allclose(model.coef_, dense.coef_, atol=1e-8)
        np.testing.assert_allclose(model.predict_proba(kind(X)), dense.predict_proba(X), atol=1e-8)
        po = ProportionalOddsClassifier().fit(kind(X), y)
        np.testing.assert_allclose(po.coef_, ProportionalOddsClassifier().fit(X, y).coef_, atol=1e-9)
    piped = make_pipeline(StandardScaler(), PrestoClassifier(0.01)).fit(X, y)
    np.testing.assert_allclose(piped.predict_proba(X), dense.predict_proba(X), atol=1e-9)


def test_sparse_entries_stored_twice():
    X, y = simulate(100, 3, 3, 0)
    once = sp.csr_array(X)
    data, columns = np.repeat(once.data, 2) * np.tile([0.3, 0.7], once.nnz), np.repeat(once.indices, 2)
    twice = sp.csr_array((data, columns, 2 * once.indptr), shape=X.shape)
    model = PrestoClassifier(0.01).fit(twice, y)
    np.testing.assert_allclose(model.coef_, PrestoClassifier(0.01).fit(X, y).coef_, atol=1e-8)
    assert twice.nnz == 2 * once.nnz


def test_cv_scores_are_the_naive_ones():
    X, y = simulate(150, 3, 3, 0)
    folds = list(StratifiedKFold(3, shuffle=True, random_state=1).split(X, y))
    for scoring in ("brier", "log_loss", "neg_log_loss"):
        model = PrestoClassifierCV(cv=folds, n_alphas=4, scoring=scoring).fit(X, y)
        assert model.cv_scores_.shape == (4, 3)
        for i, alpha in enumerate(model.alphas_):
            for f, (train, test) in enumerate(folds):
                p = PrestoClassifier(alpha).fit(X[train], y[train]).predict_proba(X[test])
                own = p[np.arange(len(test)), y[test]]
                brier = np.mean(((np.eye(3)[y[test]] - p) ** 2).sum(axis=1))
                want = brier if scoring == "brier" else -np.mean(np.log(own))
                assert model.cv_scores_[i, f] == pytest.approx(want, abs=1e-7)
        mean = model.cv_scores_.mean(axis=1)
        assert model.best_index_ == np.flatnonzero(mean == mean.min())[0]
        assert model.alpha_ == model.alphas_[model.best_index_]
        np.testing.assert_allclose(model.coef_, PrestoClassifier(model.alpha_).fit(X, y).coef_, atol=1e-7)
    by_number = PrestoClassifierCV(cv=3, n_alphas=4, random_state=1).fit(X, y)
    by_list = PrestoClassifierCV(cv=folds, n_alphas=4).fit(X, y)
    np.testing.assert_array_equal(by_number.cv_scores_, by_list.cv_scores_)
    threads = PrestoClassifierCV(cv=folds, n_alphas=4, n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(threads.cv_scores_, by_list.cv_scores_)


def test_cv_rules():
    X, y = simulate(150, 3, 3, 0)
    plain = PrestoClassifierCV(n_alphas=8, random_state=0).fit(X, y)
    careful = PrestoClassifierCV(n_alphas=8, random_state=0, rule="1se").fit(X, y)
    assert careful.alpha_ >= plain.alpha_
    scores = plain.cv_scores_
    limit = scores.mean(axis=1).min() + scores[plain.best_index_].std(ddof=1) / np.sqrt(5)
    assert careful.best_index_ == np.argmax(scores.mean(axis=1) <= limit)
    with pytest.raises(ValueError, match="rule"):
        PrestoClassifierCV(rule="2se").fit(X, y)


def test_cv_with_weights_and_zero_weights():
    X, y = simulate(120, 2, 3, 0)
    w = np.random.default_rng(0).integers(0, 3, 120)
    folds = list(KFold(3).split(X))
    a = PrestoClassifierCV(cv=folds, n_alphas=4).fit(X, y, sample_weight=w)
    keep = w > 0
    place = np.cumsum(keep) - 1
    inner = [(place[tr[keep[tr]]], place[te[keep[te]]]) for tr, te in folds]
    b = PrestoClassifierCV(cv=inner, n_alphas=4).fit(X[keep], y[keep], sample_weight=w[keep])
    np.testing.assert_allclose(a.cv_scores_, b.cv_scores_, atol=1e-12)


def test_cv_zero_weight_equals_deletion():
    X, y = simulate(120, 2, 3, 0)
    w = np.random.default_rng(0).integers(0, 3, 120)
    keep = w > 0
    for cv in (3, None):
        a = PrestoClassifierCV(cv=cv, n_alphas=4, random_state=0).fit(X, y, sample_weight=w)
        b = PrestoClassifierCV(cv=cv, n_alphas=4, random_state=0).fit(X[keep], y[keep], sample_weight=w[keep])
        np.testing.assert_allclose(a.cv_scores_, b.cv_scores_, atol=1e-12)
    # A splitter sees all rows with their own labels, as it would in cross_validate.
    splitter = StratifiedKFold(3)
    c = PrestoClassifierCV(cv=splitter, n_alphas=4).fit(X, y, sample_weight=w)
    d = PrestoClassifierCV(cv=list(splitter.split(X, y)), n_alphas=4).fit(X, y, sample_weight=w)
    np.testing.assert_array_equal(c.cv_scores_, d.cv_scores_)


def test_cv_weights_reach_the_scorers():
    X, y = simulate(120, 2, 3, 0)
    w = np.random.default_rng(0).integers(0, 3, 120)
    folds = list(StratifiedKFold(3).split(X, y))
    ours = PrestoClassifierCV(cv=folds, n_alphas=4, scoring="log_loss").fit(X, y, sample_weight=w)
    theirs = PrestoClassifierCV(cv=folds, n_alphas=4, scoring="neg_log_loss").fit(X, y, sample_weight=w)
    np.testing.assert_allclose(theirs.cv_scores_, ours.cv_scores_, rtol=1e-12)
    plain = PrestoClassifierCV(cv=folds, n_alphas=4, scoring=lambda e, X, y: e.score(X, y)).fit(X, y, w)
    assert (plain.cv_scores_ <= 0).all()


def test_cv_bad_arguments():
    X, y = simulate(60, 2, 3, 0)
    with pytest.raises(ValueError, match="scoring"):
        PrestoClassifierCV(scoring=None).fit(X, y)
    with pytest.raises(ValueError, match="cv: a part of fold"):
        PrestoClassifierCV(cv=[(np.arange(60), np.arange(0))]).fit(X, y)


@pytest.mark.parametrize("scoring", ["brier", "log_loss"])
def test_fold_that_lacks_a_class(scoring):
    X, y = simulate(60, 2, 3, 0)
    y = np.minimum(y, 1)
    y[:3] = 2
    with pytest.warns(UserWarning, match="lacks a class"):
        model = PrestoClassifierCV(cv=KFold(5), n_alphas=4, scoring=scoring).fit(X, y)
    assert np.isfinite(model.cv_scores_).all()
    if scoring == "log_loss":
        assert model.cv_scores_[0, 0] > 3 / 12 * 30  # three rows at -log 1e-15
