"""Certificates where they are hardest to get: many classes in few rows, tiny weights, vanishing penalties."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from theorylab.ordinal import PrestoClassifier, ProportionalOddsClassifier, presto_path
from theorylab.ordinal import _dual as dual
from theorylab.ordinal import _own as own
from theorylab.ordinal import _polish as polish

from .reference import minimise, objective, separable, simulate, standardised, toy


@pytest.mark.parametrize("spread", [1.0, 4.0])
@pytest.mark.parametrize(("n", "p", "K"), [(15, 2, 6), (20, 3, 5), (30, 10, 5), (30, 2, 12), (60, 5, 12)])
def test_constrained_with_many_classes(n, p, K, spread):
    for seed in range(2):
        X, y = simulate(n, p, K, seed, spread)
        path = presto_path(X, y, crossing="train", n_alphas=8)
        assert np.max(path.kkt) <= 1e-9
        assert np.max(path.dual_gap) <= 1e-9
        assert not path.n_crossing.any()
        w = np.full(n, 1 / n)
        Z, _, scale = standardised(X, w)
        for i in (3, 7):
            psi = path.diff_coefs[i] * scale
            alpha = path.intercepts[i] + path.coefs[i] @ (w @ X)
            value = objective(Z, y, w, alpha, psi, path.alphas[i])
            assert path.objective[i] == pytest.approx(value, abs=1e-10)  # logits 1e-11 apart, log by log


def test_constrained_with_many_classes_against_general_optimiser():
    X, y = simulate(15, 2, 6, 1, 4.0)
    w = np.full(15, 1 / 15)
    Z, _, _ = standardised(X, w)
    model = PrestoClassifier(0.01, crossing="train").fit(X, y)
    value, _, _ = minimise(Z, y, w, 6, 0.01, ordered="train")
    # trust-constr stops some 1e-7 above the optimum; never may it be below ours by more than the gap.
    assert value - 2e-6 <= model.objective_ <= value + 1e-9


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("options", [{}, {"l1_ratio": 0.5}, {"l1_ratio": 0.0}, {"standardize": False}])
def test_constrained_without_primal_dual_steps(monkeypatch, kind, options):
    """The barrier alone, to 1e-8, comes near what the primal-dual steps certify."""
    X, y = simulate(40, 4, 5, 2, 3.0)
    exact = presto_path(kind(X), y, crossing="train", n_alphas=6, **options)
    assert max(np.max(exact.kkt), np.max(exact.dual_gap)) <= 1e-9
    monkeypatch.setattr(polish, "LARGEST", 0)
    barrier = presto_path(kind(X), y, crossing="train", n_alphas=6, **options)
    np.testing.assert_allclose(barrier.objective, exact.objective, atol=1e-8)
    assert (barrier.objective >= exact.objective - exact.dual_gap - 1e-15).all()
    assert (barrier.dual_gap >= barrier.objective - exact.objective - 1e-15).all()


def test_system_of_primal_dual_steps_stays_small(monkeypatch):
    """Of some hundred constraints only the few that hold with equality are unknowns beside the slopes."""
    monkeypatch.setattr(polish, "LARGEST", 60)
    X, y = simulate(150, 3, 5, 2, 3.0)
    path = presto_path(X, y, crossing="train", n_alphas=4)
    assert np.max(path.dual_gap) <= 2e-12  # complementarity adds up to 1e-12
    assert np.max(path.kkt) <= 1e-12


def test_newton_step_with_and_without_elimination(monkeypatch):
    rng = np.random.default_rng(0)
    B, A = rng.standard_normal((12, 6)), rng.standard_normal((9, 6))
    g, free = rng.standard_normal(6), np.array([0, 1, 3, 4])
    y, d = 10.0 ** rng.uniform(-6, 0, 9), 10.0 ** rng.uniform(-6, 0, 9)
    steps = []
    for stiff in (0.0, 1.0, 1e4, np.inf):
        monkeypatch.setattr(polish, "STIFF", stiff)
        move, y_new = polish._newton_step(B.T @ B, A, free, g, y, d, 1e-6)
        assert not np.delete(move, free).any()
        # Both lines of the linear system, with its regularisation of 1e-13 and roundings up to y / d = 1e6.
        assert np.abs((B.T @ B @ move + g - y_new @ A)[free]).max() <= 1e-9 * np.abs(y_new).max()
        assert np.abs(d * y_new + y * (A @ move) - 1e-6).max() <= 1e-9
        steps.append(move)
    for move in steps[1:]:
        np.testing.assert_allclose(move, steps[0], atol=1e-9)


def test_constrained_with_screening(monkeypatch):
    """Slopes that the support of the barrier lacks are found by the gradient over all features."""
    X, y = simulate(60, 90, 4, 2, 3.0)
    whole = presto_path(X, y, crossing="train", n_alphas=5)
    monkeypatch.setattr(own, "GRAM_FEATURES", 5)
    screened = presto_path(X, y, crossing="train", n_alphas=5)
    assert max(np.max(screened.kkt), np.max(screened.dual_gap)) <= 1e-9
    np.testing.assert_allclose(screened.objective, whole.objective, atol=1e-9)


def test_constrained_without_penalty():
    X, y = toy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = PrestoClassifier(0.0, crossing="train").fit(X, y)
    assert max(model.kkt_, model.dual_gap_) <= 1e-9
    X, y = separable()
    with pytest.warns(ConvergenceWarning, match="without bound"):
        PrestoClassifier(0.0, crossing="train").fit(X, y)


@pytest.mark.parametrize("crossing", ["own", "train"])
@pytest.mark.parametrize("share", [1e-6, 1e-8, 1e-9])
def test_middle_class_of_tiny_weight(share, crossing):
    """Its logits are `share` apart, so that only the other classes can balance the intercepts."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((300, 3)), rng.integers(0, 3, 300)
    w = np.where(y == 1, share, 1.0)
    model = PrestoClassifier(0.01, crossing=crossing).fit(X, y, sample_weight=w)
    assert max(model.kkt_, model.dual_gap_) <= 1e-9
    binary = PrestoClassifier(0.01).fit(X[y != 1], y[y != 1])
    # Deleting rows of total share s moves the objective by about s (1 + log 1/s).
    assert model.objective_ == pytest.approx(binary.objective_, abs=20 * share + 1e-9)
    odds = ProportionalOddsClassifier().fit(X, y, sample_weight=w)
    assert odds.converged_
    assert max(odds.kkt_, odds.dual_gap_) <= 1e-9


@pytest.mark.parametrize("share", [1e-10, 1e-12, 1e-15])
def test_no_silence_where_rounding_rules(share):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 3)), rng.integers(0, 3, 60)
    w = np.where(y == 1, share, 1.0)
    for model in (
        PrestoClassifier(0.01),
        PrestoClassifier(0.01, crossing="train"),
        ProportionalOddsClassifier(),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X, y, sample_weight=w)
        assert np.isfinite(model.coef_).all()
        told = any(issubclass(c.category, ConvergenceWarning) for c in caught)
        assert told == (max(model.kkt_, model.dual_gap_) > 1e-8)


@pytest.mark.parametrize("crossing", ["own", "train"])
@pytest.mark.parametrize("alpha", [1e-11, 1e-12, 1e-13, 1e-15, 1e-20, 1e-300])
def test_penalties_below_rounding(alpha, crossing):
    """On separable data the slopes grow like log(1/alpha); a residual above alpha / 1e9 spoils the gap."""
    X, y = separable()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = PrestoClassifier(alpha, crossing=crossing).fit(X, y)
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.intercept_).all()
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)
    told = [str(c.message) for c in caught if issubclass(c.category, ConvergenceWarning)]
    assert bool(told) == (max(model.kkt_, model.dual_gap_) > 1e-8)
    assert all("kkt" in text and "gap" in text for text in told)


@pytest.mark.parametrize("distance", [0.0, 0.1, 10.0])
@pytest.mark.parametrize("K", [2, 3, 6])
def test_dual_point_is_feasible(K, distance):
    """Intercepts balance, u and t are positive, and the multiplier of a constraint keeps u = t."""
    rng = np.random.default_rng(K)
    n = 40
    codes = np.sort(np.append(np.arange(K), rng.integers(0, K, n - K)))
    starts = np.searchsorted(codes, np.arange(K + 1))
    w = rng.uniform(0.5, 1.5, n) / n
    a, b = distance * rng.standard_normal((2, n))
    a = np.maximum(a, b + 1e-6)
    constraint = (codes > 0) & (codes < K - 1) & (rng.random(n) < 0.5)
    s_a, s_b = 1 / (1 + np.exp(a)), 1 / (1 + np.exp(-b))
    r = np.where((codes > 0) & (codes < K - 1), 1 / np.expm1(a - b), 0.0)
    u = np.where(codes < K - 1, np.where(constraint, r, s_a + r), 0.0)
    t = np.where(codes > 0, np.where(constraint, r, s_b + r), 0.0)
    rows, out = np.zeros((5, n)), np.empty((2, n))
    rows[0], rows[1], rows[4] = -w * u, w * t, w * r * (1 + r)
    dual.dual_point(rows, w, starts, out)
    assert (out >= 0).all()
    mass = (w * (u + t)).sum()
    for k in range(K - 1):
        above, below = out[0, codes == k].sum(), out[1, codes == k + 1].sum()
        # Scales in [0, 2] round at 2e-16, times the masses they apply to.
        assert above == pytest.approx(below, rel=1e-12, abs=1e-15 * mass)
    np.testing.assert_allclose(out[0, constraint], out[1, constraint], rtol=1e-9)
