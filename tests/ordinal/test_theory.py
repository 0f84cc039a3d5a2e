"""Proportional odds, Fisher information, the planner, the metrics and the data sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from theorylab.ordinal import (
    ProportionalOddsClassifier,
    calibration_error,
    po_fisher_information,
    rare_class_scores,
    rare_event_variance,
)
from theorylab.ordinal.datasets import load_diabetes_severity, load_soup

from .reference import loss, simulate, toy


def test_golden():
    X, y = toy()
    model = ProportionalOddsClassifier().fit(X, y)
    # Thirteen printed digits.
    np.testing.assert_allclose(model.intercept_, [1.2862224144811, 3.5768427796407], atol=2e-12)
    np.testing.assert_allclose(model.coef_, [[-0.51485703191183, -0.74025560396029]] * 2, atol=1e-12)
    assert 24 * model.objective_ == pytest.approx(20.8976259136974, abs=1e-12)
    observed = [0.854093872163, 1.13200181922, 0.380405607011, 0.282364012108]
    np.testing.assert_allclose(np.sqrt(np.diag(model.cov_params_)), observed, atol=5e-12)
    expected = [0.849657051921, 1.1529052226, 0.381105211959, 0.282880194681]
    other = ProportionalOddsClassifier(information="expected").fit(X, y)
    np.testing.assert_allclose(np.sqrt(np.diag(other.cov_params_)), expected, atol=5e-12)
    assert model.converged_
    assert model.kkt_ <= 1e-12
    assert model.dual_gap_ <= 1e-9


def test_observed_information_is_the_curvature():
    X, y = simulate(80, 2, 4, 0)
    model = ProportionalOddsClassifier().fit(X, y)
    w = np.ones(80)
    point = np.concatenate((model.intercept_, model.coef_[0]))

    def value(t):
        return loss(X, y, w, t[:3], np.vstack((t[3:], np.zeros((2, 2)))))

    h = 1e-4
    H = np.empty((5, 5))
    for i in range(5):
        for j in range(5):
            a, b = np.eye(5)[i] * h, np.eye(5)[j] * h
            H[i, j] = (
                value(point + a + b) - value(point + a - b) - value(point - a + b) + value(point - a - b)
            ) / (4 * h * h)
    # Central differences: truncation about h^2 times fourth derivatives of size 100, relative 1e-5.
    np.testing.assert_allclose(np.linalg.inv(model.cov_params_), H, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_optimum_and_ridge(alpha):
    X, y = simulate(60, 2, 3, 4)
    w = np.full(60, 1 / 60)
    model = ProportionalOddsClassifier(alpha=alpha).fit(X, y)

    def value(t):
        penalty = 0.5 * alpha * np.sum(t[2:] ** 2)
        return loss(X, y, w, t[:2], np.vstack((t[2:], np.zeros((1, 2))))) + penalty

    point = np.concatenate((model.intercept_, model.coef_[0]))
    assert model.objective_ == pytest.approx(value(point), abs=1e-14)
    best = minimize(
        value, point + 0.05, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-13, "maxiter": 4000}
    )
    assert model.objective_ <= best.fun + 1e-13
    np.testing.assert_allclose(best.x, point, atol=1e-5)
    assert model.dual_gap_ <= 1e-9


def test_collinear_and_constant_columns():
    X, y = simulate(100, 2, 3, 0)
    plain = ProportionalOddsClassifier().fit(X, y)
    more = ProportionalOddsClassifier().fit(np.column_stack((X, X[:, 0] + X[:, 1], np.full(100, 0.1))), y)
    assert more.converged_
    assert more.objective_ == pytest.approx(plain.objective_, abs=1e-12)
    assert not more.coef_[:, 3].any()


def test_standard_errors_with_dependent_columns():
    """A full set of dummies has the standard errors of the set without the last one."""
    X, y = simulate(150, 2, 4, 0)
    dummies = np.eye(3)[np.random.default_rng(0).integers(0, 3, 150)]
    for extra, kept in ((dummies, dummies[:, :2]), (X[:, :1], X[:, :0]), (X @ [[1.0], [2.0]], X[:, :0])):
        for information in ("observed", "expected"):
            model = ProportionalOddsClassifier(information=information)
            more = model.fit(np.column_stack((X, extra)), y).cov_params_
            plain = model.fit(np.column_stack((X, kept)), y).cov_params_
            n = len(plain)
            np.testing.assert_allclose(more[:n, :n], plain, rtol=1e-9, atol=1e-12)
            assert not more[n:].any()


def test_summary():
    X, y = toy()
    model = ProportionalOddsClassifier(class_order=[0, 1, 2]).fit(X, y)
    table = model.summary(0.9)
    assert table.names == ["0|1", "1|2", "x0", "x1"]
    np.testing.assert_allclose(table.z, table.estimate / table.std_error)
    np.testing.assert_allclose(table.upper - table.estimate, 1.6448536269514722 * table.std_error)
    assert "90 % interval" in str(table)
    assert len(str(table).splitlines()) == 5
    with pytest.raises(ValueError, match="level"):
        model.summary(1.0)
    with pytest.warns(UserWarning, match="no sample"):
        merged = ProportionalOddsClassifier(class_order=[0, 1, 5, 2]).fit(X, y)
    assert merged.summary().names == table.names
    with pytest.warns(UserWarning, match="no sample"):
        edges = ProportionalOddsClassifier(class_order=[-2, -1, 0, 1, 2, 7, 8]).fit(X, y)
    assert edges.summary().names == table.names
    np.testing.assert_array_equal(edges.summary(0.9).upper, table.upper)


def test_information_golden():
    X = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    alpha, beta = [-0.5, 1.0], [1.0, -0.5]
    total = po_fisher_information(X, alpha, beta) / 4
    want = [
        [0.294971985854, -0.118579832265, 0.102846050517, 0.0816941378801],
        [0.0, 0.220679078959, 0.028553143622, 0.0615936764625],
        [0.0, 0.0, 0.131399194139, 0.0697417112709],
        [0.0, 0.0, 0.0, 0.143287814343],
    ]
    np.testing.assert_allclose(np.triu(total), want, atol=1e-12)
    np.testing.assert_array_equal(total, total.T)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 8))
def test_information_is_the_variance_of_the_score(seed, K):
    rng = np.random.default_rng(seed)
    p = 3
    x, beta = rng.normal(size=p), rng.normal(size=p)
    alpha = np.sort(rng.normal(size=K - 1)) + 0.3 * np.arange(K - 1)
    F = np.concatenate(([0.0], expit(alpha + x @ beta), [1.0]))
    f = F * (1 - F)
    info = np.zeros((K - 1 + p,) * 2)
    for k in range(1, K + 1):
        pi = F[k] - F[k - 1]
        score = np.zeros(K - 1 + p)
        if k < K:
            score[k - 1] += f[k] / pi
        if k > 1:
            score[k - 2] -= f[k - 1] / pi
        score[K - 1 :] = x * (f[k] - f[k - 1]) / pi
        info += pi * np.outer(score, score)
    np.testing.assert_allclose(
        po_fisher_information(x[None], alpha, beta), info, atol=1e-12 * (1 + info.max())
    )


def test_information_is_a_weighted_sum():
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(20, 2)), rng.integers(0, 4, 20)
    a = po_fisher_information(X, [0.0, 1.0], [1.0, -1.0], w)
    np.testing.assert_allclose(
        a, po_fisher_information(np.repeat(X, w, axis=0), [0.0, 1.0], [1.0, -1.0]), rtol=1e-12
    )
    eta = X @ [1.0, -1.0] + 1.0
    Z = np.column_stack((np.ones(20), X))
    logistic = (Z * (expit(eta) * expit(-eta))[:, None]).T @ Z
    np.testing.assert_allclose(po_fisher_information(X, [1.0], [1.0, -1.0]), logistic, rtol=1e-13)
    assert not po_fisher_information(np.empty((0, 2)), [0.0], [1.0, 1.0]).any()
    for arguments, message in [
        (([[0.0]], [1.0, 0.0], [1.0]), "increase"),
        (([[0.0]], [0.0], [1.0, 2.0]), "beta has shape"),
        (([0.0], [0.0], [1.0]), "X has shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            po_fisher_information(*arguments)


def test_planner():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (200_000, 3))
    beta = [1.0, -0.5, 0.25]
    plan = rare_event_variance(X, [0.0, 4.0], beta, n=1.0, at=[[0.5, 0.5, -0.5]])
    # Reference values, themselves a simulation of 2e5 draws: half a per cent.
    np.testing.assert_allclose(plan.slope_se**2, [13.79, 13.02, 12.89], rtol=8e-3)
    np.testing.assert_allclose(plan.slope_se_logistic**2, [168.6, 147.3, 143.1], rtol=8e-3)
    assert plan.expected_events == pytest.approx(0.02193, rel=5e-3)
    assert plan.probability[0] == pytest.approx(expit(-(4.0 + 0.5 - 0.25 - 0.125)))
    assert plan.probability_variance_ratio[0] > 1
    larger = rare_event_variance(X, [0.0, 4.0], beta, n=400.0)
    np.testing.assert_allclose(larger.slope_se * 20, plan.slope_se)
    ours, logistic = larger.size_for_slope(0.1)
    assert ours == pytest.approx(plan.slope_se[0] ** 2 / 0.01)
    assert logistic > 10 * ours
    with pytest.raises(np.linalg.LinAlgError):
        rare_event_variance(np.ones((5, 1)), [0.0, 1.0], [1.0])
    for n in (0.0, -3.0, np.nan):
        with pytest.raises(ValueError, match="n must"):
            rare_event_variance(X[:100], [0.0, 4.0], beta, n=n)
    with pytest.raises(ValueError, match="standard_error must"):
        plan.size_for_slope(0.0)


def naive_calibration(event, p, bins):
    order = np.argsort(p, kind="stable")
    total = 0.0
    for part in np.array_split(order, bins):
        total += np.sum((p[part] - event[part].mean()) ** 2)
    return total / len(p)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 300))
def test_calibration(seed, n):
    rng = np.random.default_rng(seed)
    p = rng.uniform(size=n)
    event = (rng.uniform(size=n) < p).astype(int)
    bins = min(max(round(n / 100), 10), n)
    assert calibration_error(event, p) == pytest.approx(naive_calibration(event, p, bins), abs=1e-14)
    order = rng.permutation(n)
    assert calibration_error(event[order], p[order]) == pytest.approx(calibration_error(event, p), abs=1e-14)


def test_published_pairing_depends_on_row_order():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=2000)
    event = (rng.uniform(size=2000) < p).astype(int)
    mixed = calibration_error(event, p, pairing="as-published")
    assert mixed > 10 * calibration_error(event, p)
    order = np.argsort(p)
    assert calibration_error(event[order], p[order], pairing="as-published") == calibration_error(event, p)


def test_rare_scores():
    event, p = np.array([0, 0, 1, 0]), np.array([0.1, 0.4, 0.3, 0.0])
    s = rare_class_scores(event, p)
    assert s.brier == pytest.approx(np.mean((p - event) ** 2))
    assert s.log_loss == pytest.approx(-np.mean(np.log([0.9, 0.6, 0.3, 1 - 1e-15])))
    assert s.auc == pytest.approx(2 / 3)
    assert s.average_precision == pytest.approx(0.5)
    assert s.calibration_in_the_large == pytest.approx(-0.05)
    assert np.isnan(rare_class_scores([0, 0], [0.1, 0.2]).auc)
    for arguments, message in [
        (([0, 2], [0.1, 0.2]), "0 and 1"),
        (([0, 1], [0.1, 1.2]), r"\[0, 1\]"),
        (([0], [0.1, 0.2]), "event has shape"),
        (([], []), "empty"),
    ]:
        with pytest.raises(ValueError, match=message):
            rare_class_scores(*arguments)
    with pytest.raises(ValueError, match="pairing"):
        calibration_error(event, p, pairing="none")


def test_diabetes_severity():
    X, y = load_diabetes_severity()
    assert X.shape == (442, 10)
    assert np.bincount(y).tolist() == [148, 173, 107, 14]
    assert np.unique(load_diabetes_severity((150.0,))[1]).size == 2


def test_soup_loader(tmp_path, monkeypatch):
    monkeypatch.delenv("THEORYLAB_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="THEORYLAB_DATA"):
        load_soup()
    header = "RESP,PROD,PRODID,SURENESS,DAY,SOUPTYPE,SOUPFREQ,COLD,EASY,GENDER,AGEGROUP,LOCATION"
    row = '"1","Test","2","5","1","Canned",">1/week","Yes","7","Female","51-65","Region 1"'
    for folder in (tmp_path / "theorylab", tmp_path / "other"):
        folder.mkdir()
        (folder / "soup.csv").write_text(f"{header}\n{row}\n", encoding="utf-8")
    X, y = load_soup()
    assert y.tolist() == [1]
    assert np.flatnonzero(X[0]).tolist() == [0, 2, 6, 12, 16, 19]
    assert X.shape == (1, 22)
    np.testing.assert_array_equal(load_soup(tmp_path / "other" / "soup.csv")[0], X)
    monkeypatch.setenv("THEORYLAB_DATA", str(tmp_path / "other"))
    np.testing.assert_array_equal(load_soup()[0], X)
