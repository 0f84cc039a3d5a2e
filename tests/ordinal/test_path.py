"""Paths: golden values, independent optima, certificates on hard inputs, and all solver modes compared."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from theorylab.ordinal import PrestoClassifier, ProportionalOddsClassifier, presto_path
from theorylab.ordinal import _constrained as constrained
from theorylab.ordinal import _own as solver

from .reference import minimise, objective, separable, simulate, standardised, toy

LAM_MAX = 0.3062393170410669
GOLDEN = [  # fraction of lambda_max, objective, alpha, beta_1, beta_2
    (
        0.5,
        1.04937316541191,
        (-0.06245679790462, 1.714721885673),
        (-0.003940356906009, -0.3422715523601),
        None,
    ),
    (0.1, 0.922150377696433, (0.977791103003, 3.125587071922), (-0.3963559029818, -0.6435553105939), None),
    (
        0.02,
        0.875493061093448,
        (1.46689975263, 2.952501609042),
        (-0.5790965873219, -0.8441796294312),
        (-0.3845230792865, -0.6113282091433),
    ),
]


def certified(path):
    """Assert the acceptance bound on every point of a path."""
    assert np.max(path.kkt) <= 1e-9
    assert np.max(path.dual_gap) <= 1e-9


def test_golden():
    X, y = toy()
    path = presto_path(X, y, alphas=[f * LAM_MAX for f, *_ in GOLDEN])
    assert path.alpha_max == pytest.approx(LAM_MAX, rel=1e-14)
    certified(path)
    for i, (_, value, alpha, first, second) in enumerate(GOLDEN):
        assert path.objective[i] == pytest.approx(value, abs=2e-14)
        # A residual of 2e-11 over the smallest curvature, about 1e-2, and the 13 printed digits.
        np.testing.assert_allclose(path.intercepts[i], alpha, atol=2e-8)
        np.testing.assert_allclose(path.coefs[i, 0], first, atol=1e-8)
        np.testing.assert_allclose(path.coefs[i, 1], first if second is None else second, atol=1e-8)


def test_golden_separable():
    X, y = separable()
    model = PrestoClassifier(0.1 * 0.4258001920753778).fit(X, y)
    assert model.alpha_max_ == pytest.approx(0.4258001920753778, rel=1e-14)
    assert model.objective_ == pytest.approx(0.627244954463778, abs=1e-13)


@pytest.mark.parametrize("alpha", [1e-3, 1e-5, 1e-7, 1e-9])
def test_separable_at_small_penalties(alpha):
    """Saturated rows make the Hessian singular along directions in which the penalty still falls."""
    X, y = separable()
    for crossing in ("own", "train"):
        model = PrestoClassifier(alpha, crossing=crossing).fit(X, y)
        assert max(model.kkt_, model.dual_gap_) <= 1e-9
        assert np.isfinite(model.coef_).all()


def test_null_model():
    X, y = toy()
    path = presto_path(X, y, alphas=[LAM_MAX * 1.0000001, 5.0])
    assert not path.coefs.any()
    counts = np.array([8, 9, 7]) / 24
    np.testing.assert_allclose(path.objective, -counts @ np.log(counts), rtol=1e-14)
    np.testing.assert_allclose(path.intercepts[0], np.log([8 / 16, 17 / 7]), rtol=1e-14)


@pytest.mark.parametrize("ordered", ["own", "train"])
@pytest.mark.parametrize(("n", "p", "K", "share"), [(40, 3, 3, 0.1), (50, 2, 4, 0.02), (60, 4, 2, 0.05)])
def test_against_general_optimiser(n, p, K, share, ordered):
    X, y = simulate(n, p, K, n + p)
    w = np.full(n, 1 / n)
    Z, _, scale = standardised(X, w)
    lam = share * presto_path(X, y, n_alphas=1).alpha_max
    model = PrestoClassifier(lam, crossing=ordered).fit(X, y)
    value, _, _ = minimise(Z, y, w, K, lam, ordered=ordered)
    # trust-constr stops some 1e-7 above the optimum; never may it be below ours by more than the gap.
    assert model.objective_ <= value + 1e-9
    assert max(model.kkt_, model.dual_gap_) <= 1e-9
    assert model.objective_ >= value - 2e-6
    psi = model.diff_coef_ * scale
    alpha = model.intercept_ + model.coef_ @ (w @ X)
    assert model.objective_ == pytest.approx(objective(Z, y, w, alpha, psi, lam), abs=1e-13)
    if ordered == "train":
        assert model.n_crossing_ == 0


@pytest.mark.parametrize("ratio", [0.0, 0.3])
def test_elastic_net_optimum(ratio):
    X, y = simulate(60, 3, 3, 1)
    w = np.full(60, 1 / 60)
    Z, _, _ = standardised(X, w)
    factors = np.array([1.0, 2.0, 0.5])
    model = PrestoClassifier(0.03, l1_ratio=ratio, penalty_factors=factors).fit(X, y)
    value, _, _ = minimise(Z, y, w, 3, 0.03, ratio=ratio, factors=factors)
    assert value - 2e-6 <= model.objective_ <= value + 1e-9
    assert max(model.kkt_, model.dual_gap_) <= 1e-9


def test_free_feature_has_zero_gradient():
    X, y = simulate(200, 3, 3, 2)
    free = PrestoClassifier(0.05, penalty_factors=[0.0, 1.0, 1.0]).fit(X, y)
    assert max(free.kkt_, free.dual_gap_) <= 1e-9
    assert (
        presto_path(X, y, penalty_factors=[0.0, 1.0, 1.0], n_alphas=2).alpha_max < presto_path(X, y).alpha_max
    )
    nearly = PrestoClassifier(0.05, penalty_factors=[1e-7, 1.0, 1.0]).fit(X, y)
    # The objective moves by at most the tiny penalty itself, 0.05 * 1e-7 * |psi|.
    assert free.objective_ == pytest.approx(nearly.objective_, abs=5e-8)


def test_free_features_that_cross():
    """The fit of the free features alone, where the path starts, may violate the constraints of "train"."""
    X, y = simulate(150, 5, 5, 1)
    free = {"penalty_factors": [0.0, 0.0, 0.0, 1.0, 1.0]}
    assert presto_path(X, y, n_alphas=1, **free).n_crossing[0] > 0
    model = PrestoClassifier(0.01, crossing="train", **free).fit(X, y)
    assert model.n_crossing_ == 0
    assert max(model.kkt_, model.dual_gap_) <= 1e-9
    nearly = PrestoClassifier(0.01, crossing="train", penalty_factors=[1e-7, 1e-7, 1e-7, 1.0, 1.0]).fit(X, y)
    assert model.objective_ == pytest.approx(nearly.objective_, abs=1e-6)


def test_binary_is_penalised_logistic_regression():
    import sklearn
    from sklearn.linear_model import LogisticRegression

    # The way to ask for the l1 penalty changed with 1.8.
    old = tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 8)
    lasso = {"penalty": "l1"} if old else {"l1_ratio": 1.0}
    X, y = simulate(200, 3, 2, 5)
    Z, _, scale = standardised(X, np.full(200, 1 / 200))
    lam = 0.02
    ours = PrestoClassifier(lam).fit(X, y)
    peer = LogisticRegression(solver="saga", C=1 / (200 * lam), tol=1e-12, max_iter=20000, **lasso).fit(Z, y)
    np.testing.assert_allclose(ours.coef_[0] * scale, -peer.coef_[0], atol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X), peer.predict_proba(Z), atol=1e-6)


HARD = {
    "crossing": lambda: simulate(150, 12, 4, 7, 3.0),
    "duplicated": lambda: (np.repeat(simulate(120, 4, 4, 1)[0], 2, axis=1), simulate(120, 4, 4, 1)[1]),
    "collinear": lambda: (
        np.column_stack((simulate(120, 4, 3, 1)[0], simulate(120, 4, 3, 1)[0] @ [1.0, -1.0, 2.0, 0.5])),
        simulate(120, 4, 3, 1)[1],
    ),
    "badly scaled": lambda: (simulate(120, 4, 4, 1)[0] * [1e-8, 1e8, 1.0, 1e4], simulate(120, 4, 4, 1)[1]),
    "offset": lambda: (simulate(120, 4, 4, 1)[0] + 1e6, simulate(120, 4, 4, 1)[1]),
    "constant": lambda: (
        np.column_stack((simulate(120, 3, 4, 1)[0], np.full(120, 0.1))),
        simulate(120, 3, 4, 1)[1],
    ),
    "dummies": lambda: ((simulate(200, 15, 5, 3)[0] > 0.5).astype(float), simulate(200, 15, 5, 3)[1]),
    "more features": lambda: simulate(60, 90, 3, 2),
    "separable": separable,
    "one feature": lambda: simulate(50, 1, 3, 2),
    "two rows": lambda: (np.array([[0.0], [1.0]]), np.array([0, 1])),
    "rare": lambda: (
        simulate(2000, 4, 3, 4)[0],
        np.minimum(simulate(2000, 4, 3, 4)[1], 1) + (np.arange(2000) < 2),
    ),
}


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize(
    "settings_", [{}, {"eps": 1e-4, "n_alphas": 15}, {"l1_ratio": 0.5}, {"standardize": False}]
)
def test_certified(case, settings_):
    X, y = HARD[case]()
    if case in ("badly scaled", "offset"):
        settings_ = {**settings_, "standardize": True}  # raw columns of size 1e8 have no residual of 1e-9
    path = presto_path(X, y, **settings_)
    certified(path)
    assert np.isfinite(path.coefs).all()
    if case == "crossing" and not settings_:
        assert path.n_crossing[-1] > 0
    if case == "constant":
        assert not path.coefs[:, :, -1].any()


def test_scale_and_offset_invariance():
    X, y = simulate(120, 4, 4, 1)
    plain = PrestoClassifier(0.01).fit(X, y).predict_proba(X)
    S = np.array([1e-8, 1e8, 1.0, 1e4])
    np.testing.assert_allclose(PrestoClassifier(0.01).fit(X * S, y).predict_proba(X * S), plain, atol=1e-8)
    np.testing.assert_allclose(
        PrestoClassifier(0.01).fit(X + 1e6, y).predict_proba(X + 1e6), plain, atol=1e-7
    )
    far = np.array([1e-200, 1e200, 1e160, 1e-160])  # their squares leave the range of float64
    for Z in (X * far, sp.csr_array(X * far)):
        np.testing.assert_allclose(PrestoClassifier(0.01).fit(Z, y).predict_proba(Z), plain, atol=1e-8)
    odds = ProportionalOddsClassifier().fit(X, y).predict_proba(X)
    units = np.array([1e-120, 1e200, 1e160, 1e-110])  # beyond 1e-154 variances of slopes are infinite
    model = ProportionalOddsClassifier().fit(X * units, y)
    np.testing.assert_allclose(model.predict_proba(X * units), odds, atol=1e-8)


def test_standardize_is_a_flag():
    X, y = simulate(60, 2, 3, 1)
    with pytest.raises(ValueError, match="standardize must be True or False, got 'no'"):
        presto_path(X, y, standardize="no")


def test_duplicates_share_objective_and_predictions():
    X, y = simulate(120, 4, 4, 1)
    one, two = presto_path(X, y), presto_path(np.repeat(X, 2, axis=1), y)
    np.testing.assert_allclose(one.objective, two.objective, atol=1e-9)
    eta = X @ one.coefs[-1].T + one.intercepts[-1]
    np.testing.assert_allclose(np.repeat(X, 2, axis=1) @ two.coefs[-1].T + two.intercepts[-1], eta, atol=1e-6)


@pytest.mark.parametrize("crossing", ["own", "train"])
def test_modes_agree(monkeypatch, crossing):
    """Gram mode, screened working sets, residual mode and sparse input solve the same problem."""
    X, y = simulate(80, 25, 4, 9)
    X[np.abs(X) < 0.7] = 0.0
    few = {"n_alphas": 6, "eps": 0.05, "crossing": crossing}
    gram = presto_path(X, y, **few)
    others = [presto_path(kind(X), y, **few) for kind in (sp.csr_array, sp.csc_matrix)]
    monkeypatch.setattr(solver, "GRAM_FEATURES", 3)
    others.append(presto_path(X, y, **few))
    if crossing == "own":
        monkeypatch.setattr(solver, "GRAM_UNKNOWNS", 5)
        others.append(presto_path(X, y, **few))
        others.append(presto_path(X, y, l1_ratio=0.5, **few))
    for other in others[:4]:
        if crossing == "own":
            certified(other)
        np.testing.assert_allclose(other.objective, gram.objective, atol=1e-9 if crossing == "own" else 1e-8)
        np.testing.assert_array_equal(other.n_crossing, gram.n_crossing)
    if crossing == "own":
        certified(others[-1])


def test_many_features():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 3000))
    y = np.sum(rng.logistic(size=100)[:, None] > [-0.5, 1.0] + (X[:, :3] @ [1, -1, 0.8])[:, None], axis=1)
    path = presto_path(X, y, eps=0.1, n_alphas=10)
    certified(path)
    single = PrestoClassifier(path.alphas[-1]).fit(X, y)
    assert single.objective_ == pytest.approx(path.objective[-1], abs=1e-9)


def test_constrained_costs_something():
    X, y = HARD["crossing"]()
    own, train = presto_path(X, y), presto_path(X, y, crossing="train")
    assert not train.n_crossing.any()
    assert (train.objective >= own.objective - 1e-9).all()
    assert train.objective[-1] > own.objective[-1] + 1e-5
    same = own.n_crossing == 0
    np.testing.assert_allclose(train.objective[same], own.objective[same], atol=1e-8)
    assert max(np.max(train.kkt), np.max(train.dual_gap)) <= 1e-9


@pytest.mark.parametrize("case", ["crossing", "dummies", "more features", "badly scaled"])
def test_gap_under_constraints_bounds_the_excess(monkeypatch, case):
    """The gap belongs to the constrained problem: a path left at a heavy barrier knows how far it is."""
    X, y = HARD[case]()
    best = presto_path(X, y, crossing="train", n_alphas=8)
    monkeypatch.setattr(constrained, "BARRIERS", 10.0 ** -np.arange(1, 4))
    with pytest.warns(ConvergenceWarning, match="gap"):
        early = presto_path(X, y, crossing="train", n_alphas=8)
    excess = early.objective - best.objective
    assert excess.max() > 1e-8
    assert (early.dual_gap >= excess).all()
    assert (best.dual_gap <= 1e-9).all()  # the last barrier, 1e-8, and the way towards zero beyond it
    assert not best.n_crossing.any()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(1, 4))
def test_weights_are_repetitions(seed, K, p):
    X, y = simulate(30, p, K, seed)
    counts = np.random.default_rng(seed).integers(0, 4, 30)
    counts[:K] += 1
    alphas = [0.1, 0.01]
    a = presto_path(X, y, sample_weight=counts, alphas=alphas)
    b = presto_path(np.repeat(X, counts, axis=0), np.repeat(y, counts), alphas=alphas)
    np.testing.assert_allclose(a.objective, b.objective, atol=1e-10)
    scaled = presto_path(X, y, sample_weight=1e12 * counts, alphas=alphas)
    np.testing.assert_allclose(a.objective, scaled.objective, atol=1e-12)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6))
def test_row_order_and_reversal(seed):
    """Permuting rows changes nothing; reversing the classes mirrors the model of equal slopes."""
    X, y = simulate(40, 3, 3, seed)
    order = np.random.default_rng(seed).permutation(40)
    a, b = presto_path(X, y, n_alphas=5), presto_path(X[order], y[order], n_alphas=5)
    np.testing.assert_allclose(a.objective, b.objective, atol=1e-10)


def test_layouts_and_no_mutation():
    X, y = simulate(60, 4, 3, 0)
    reference = presto_path(X, y, n_alphas=5)
    wide = np.zeros((60, 8))
    wide[:, ::2] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    for other in (np.asfortranarray(X), wide[:, ::2], frozen, X.tolist()):
        np.testing.assert_array_equal(presto_path(other, y, n_alphas=5).coefs, reference.coefs)
    single = presto_path(X.astype(np.float32), y, n_alphas=5)
    assert single.coefs.dtype == np.float64
    np.testing.assert_allclose(single.objective, reference.objective, atol=1e-6)
    before = X.copy()
    presto_path(X, y, crossing="train", n_alphas=2)
    np.testing.assert_array_equal(X, before)


def test_same_bits_for_any_thread_count():
    from theorylab._lib.threads import limit_threads

    X, y = simulate(3000, 8, 4, 0)
    results = []
    for n in (1, 2):
        with limit_threads(n):
            results.append(presto_path(X, y, n_alphas=5).coefs)
    np.testing.assert_array_equal(*results)


def test_path_options():
    X, y = simulate(100, 3, 3, 0)
    path = presto_path(X, y, n_alphas=7, eps=0.1)
    assert path.alphas.shape == (7,)
    assert path.intercepts.shape == (7, 2)
    assert path.coefs.shape == path.diff_coefs.shape == (7, 2, 3)
    np.testing.assert_allclose(path.alphas[[0, -1]], path.alpha_max * np.array([1, 0.1]))
    shuffled = presto_path(X, y, alphas=path.alphas[[3, 0, 5]])
    np.testing.assert_allclose(shuffled.alphas, path.alphas[[0, 3, 5]])
    stopped = presto_path(X, y, n_alphas=7, callback=lambda index, value: index == 2)
    assert stopped.alphas.shape == (3,)


def test_reused_hessians_reach_the_same_optimum(monkeypatch):
    X, y = simulate(400, 6, 4, 0)
    exact = presto_path(X, y)
    monkeypatch.setattr(solver, "REUSE_FROM", 0.0)
    reused = presto_path(X, y)
    certified(reused)
    np.testing.assert_allclose(reused.objective, exact.objective, atol=1e-10)
