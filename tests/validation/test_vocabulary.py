"""The declaration: what is refused, what is derived, how a script runs by itself."""

import math
import re

import numpy as np
import pytest
from scipy.special import stdtrit

from theorylab.validation import (
    AtLeast,
    AtMost,
    Better,
    Claim,
    Exact,
    FollowsLaw,
    Holds,
    Rate,
    Verdict,
    Within,
    grid,
)
from theorylab.validation._intervals import STATISTICS, clopper_pearson, ks_distance


def make(criterion, samples, *, predict=None, cells=None, **options):
    claim = Claim("demo.x", "A sentence.", "a source", criterion, cells or grid(), **options)
    if predict is not None:
        claim.predict(predict)
    claim.measure(lambda rng, **cell: samples)
    return claim


# Criteria, against results of other programs -----------------------------------------------------


def test_mean_interval_equals_scipy():
    from scipy import stats

    x = np.random.default_rng(0).normal(3, 2, 17)
    ours = STATISTICS["mean"].estimate(x, 0.01)
    theirs = stats.t.interval(0.99, 16, loc=x.mean(), scale=stats.sem(x))
    assert (ours.low, ours.high) == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10)])
def test_clopper_pearson_equals_scipy(k, n):
    from scipy import stats

    low, high = clopper_pearson(k, n, 0.02)
    exact = stats.binomtest(k, n).proportion_ci(0.96, method="exact")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_ks_distance_equals_scipy_and_brute_force_for_atoms():
    from scipy import stats

    x = np.random.default_rng(0).normal(size=200)
    assert ks_distance(x, stats.norm) == pytest.approx(stats.kstest(x, "norm").statistic, abs=1e-14)
    law = stats.binom(6, 0.4)
    ranks = np.random.default_rng(1).integers(0, 7, 50)
    support = np.arange(7)
    brute = np.abs(np.array([(ranks <= s).mean() for s in support]) - law.cdf(support)).max()
    assert ks_distance(ranks, law) == pytest.approx(brute, abs=1e-14)


def test_rate_equals_weighted_least_squares_of_numpy():
    rng = np.random.default_rng(0)
    x = np.array([1.0, 2.0, 4.0, 8.0])
    samples = [v**-0.5 * np.exp(0.1 * rng.standard_normal(50)) for v in x]
    logs = [STATISTICS["geomean"].log_estimate(s) for s in samples]
    y, variance = np.array([a for a, _, _ in logs]), np.array([b**2 for _, b, _ in logs])
    slope = np.polyfit(np.log(x), y, 1, w=1 / np.sqrt(variance + variance.mean()))[0]
    claim = Claim("demo.x", "s", "s", Rate("m", slope=-0.5, abs=0.1, statistic="geomean"), grid(m=x))
    claim.measure(lambda m, rng: samples[list(x).index(m)])
    result = claim.run()
    assert result.judgement.rows[0].estimate == pytest.approx(slope, rel=1e-12)
    assert result.verdict is Verdict.CONFIRMED


def test_rate_uses_the_last_points_and_one_slope_for_each_other_axis():
    claim = Claim(
        "demo.x", "s", "s", Rate("m", slope=2.0, abs=0.1, last=2), grid(c=[1, 2], m=[1, 2, 4], replicates=4)
    )
    claim.measure(lambda c, m, rng: c * (m**2.0 if m > 1 else 77.0) * rng.uniform(0.999, 1.001))
    rows = claim.run().judgement.rows
    assert [row.cell for row in rows] == [{"c": 1}, {"c": 2}]
    assert all(row.verdict is Verdict.CONFIRMED for row in rows)


@pytest.mark.parametrize(
    ("criterion", "samples", "predict", "verdict"),
    [
        (Within(abs=1.0), [1.5, 1.6, 1.4] * 3, lambda: (1.5, 2.0), Verdict.CONFIRMED),
        (Within(abs=0.1, target=1.0), [1.0, 1.0], None, Verdict.CONFIRMED),
        (Within(rel=0.1), [1.0], lambda: 1.0, Verdict.INCONCLUSIVE),
        (Within(rel=0.1, statistic="rms"), [3.0, -3.0, 3.0], lambda: 3.0, Verdict.CONFIRMED),
        (AtMost(), [1.0, 1.0], lambda: 1.0, Verdict.CONFIRMED),
        (AtMost(2.0), [3.0, 3.0], None, Verdict.REFUTED),
        (AtMost(2.0, rel=0.6), [3.0, 3.0], None, Verdict.CONFIRMED),
        (AtLeast(2.0), [3.0, 3.0], None, Verdict.CONFIRMED),
        (AtLeast(-1.0), [-0.5, -0.5], None, Verdict.CONFIRMED),
        (Exact(rel=1e-3), [100.05], lambda: 100.0, Verdict.CONFIRMED),
        (Exact(rel=1e-3), [100.2], lambda: 100.0, Verdict.REFUTED),
        (Holds(0.9), [True] * 100, None, Verdict.CONFIRMED),
        (Holds(0.9), np.linspace(0, 1, 100), lambda: 1.0, Verdict.CONFIRMED),
        (Holds(0.9), [False] * 20, None, Verdict.REFUTED),
        (Better(), [[1.0, 2.0], [1.0, 2.1], [1.0, 1.9]] * 9, None, Verdict.CONFIRMED),
        (Better(larger=True), [[1.0, 2.0], [1.0, 2.1], [1.0, 1.9]] * 9, None, Verdict.REFUTED),
        (FollowsLaw(0.2, law="uniform"), np.linspace(0, 1, 999), None, Verdict.CONFIRMED),
        (FollowsLaw(0.2), np.linspace(0, 1, 999), lambda: lambda x: np.clip(x, 0, 1), Verdict.CONFIRMED),
    ],
)
def test_verdicts(criterion, samples, predict, verdict):
    result = make(criterion, samples, predict=predict).run()
    assert result.verdict is verdict, result.table()
    assert result.table()
    assert (result.margin <= 1) == (verdict is Verdict.CONFIRMED)


@pytest.mark.parametrize(
    ("criterion", "value", "margin"),
    [
        (AtMost(-4.0), -5.0, 0.8),
        (AtMost(-4.0), -3.0, 4 / 3),
        (AtMost(-4.0), 1.0, math.inf),
        (AtMost(0.0), -1.0, 0.0),
        (AtMost(0.0), 1.0, math.inf),
        (AtLeast(-1.0), -5.0, 5.0),
        (AtLeast(-1.0), -0.5, 0.5),
        (AtLeast(2.0), 4.0, 0.5),
        (AtLeast(2.0), -1.0, math.inf),
        (AtLeast(0.0), -1.0, math.inf),
    ],
)
def test_the_margin_of_a_bound_of_either_sign(criterion, value, margin):
    result = make(criterion, [value, value]).run()
    assert result.margin == pytest.approx(margin)
    assert (result.verdict is Verdict.CONFIRMED) == (margin <= 1)


@pytest.mark.parametrize(
    ("criterion", "prediction", "message"),
    [
        (Within(abs=1), math.nan, "the prediction is nan"),
        (AtMost(), np.float64("nan"), "the prediction is"),
        (Within(abs=1), math.inf, "expected a finite number"),
        (Within(abs=1), (2.0, 1.0), r"the prediction is \(2.0, 1.0\), expected"),
        (Within(abs=1), 1 + 0j, "expected a number, an interval"),
        (Within(abs=1), np.ones(3), "expected a number, an interval"),
        (Within(abs=1), "uniform", "expected a number or an interval"),
        (AtMost(), math.inf, "the prediction must lie in"),
        (AtLeast(), (0.0, 1.0), "the prediction must be a real number"),
        (Exact(), -math.inf, "the prediction must lie in"),
        (Holds(0.5), (0.0, 1.0), "the prediction must be a real number"),
        (FollowsLaw(0.1), lambda: lambda x: 0.5, "distribution function of arrays"),
        (FollowsLaw(0.1), 0.5, "a law is a distribution function"),
    ],
)
def test_a_prediction_that_says_nothing_is_an_error(criterion, prediction, message):
    predict = prediction if callable(prediction) else lambda: prediction
    result = make(criterion, [1.0, 1.0], predict=predict).run()
    assert result.verdict is Verdict.ERROR
    assert re.search(message, result.errors[0].text), result.errors


@pytest.mark.parametrize(("prediction", "interval"), [(np.array([1.0]), False), ([0.9, 1.1], True)])
def test_predictions_may_be_arrays(prediction, interval):
    result = make(Within(abs=0.1), [1.0, 1.0], predict=lambda: prediction).run()
    assert result.verdict is Verdict.CONFIRMED
    assert isinstance(result.judgement.rows[0].predicted, tuple) == interval


def test_complex_samples_are_refused():
    assert "returned complex numbers" in make(Exact(), [1j]).run().errors[0].text


def test_a_rate_needs_a_positive_axis():
    claim = make(Rate("m", slope=1.0), [1.0, 2.0], cells=grid(m=[0, 1, 2]))
    assert "a rate needs positive values on the axis 'm', got 0" in claim.run().errors[0].text


def test_axes_of_names_and_tuples():
    cells = grid(shape=[(2, 2), (3, 3)], kind=["a", "b"], flag=[None, True], n=5)
    result = make(Exact(), [0.0], cells=cells).run()
    assert list(result.axis("shape")) == [(2, 2), (3, 3)]
    assert list(result.axis("kind")) == ["a", "b"]
    assert result.samples(shape=(3, 3), kind="b", flag=None).tolist() == [0.0]
    assert grid(a=np.eye(2)).cells == grid(a=[(1.0, 0.0), (0.0, 1.0)]).cells


def test_tightness_of_a_vacuous_bound_is_told():
    result = make(AtMost(1000.0), [1.0, 1.0]).run()
    assert result.judgement.tightness == (0.001, 0.001)
    assert "tightness" in result.table()


def test_inconclusive_says_how_many_more_replicates():
    result = make(Within(abs=0.5, target=0.0), [0.2, -0.9, 0.8, -0.1]).run()
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "times the replicates" in result.table()


def test_how_many_more_replicates_counts_the_degrees_of_freedom():
    # Three samples of spread 1 about 0: half-width t / sqrt(n), t = 31.6 for 2 degrees of freedom.
    result = make(Within(abs=1.6, target=0.0), [-1.0, 0.0, 1.0]).run()
    (row,) = result.judgement.rows
    n = 3 * row.replicates_needed
    assert stdtrit(n - 1, 1 - 5e-4) / math.sqrt(n) == pytest.approx(1.6, rel=1e-6)
    assert 3 < row.replicates_needed < 5  # (31.6 / sqrt(3) / 1.6)^2 = 130 without


def test_expected_refutation_is_marked_with_its_reason():
    claim = make(AtMost(1.0), [2.0, 2.0], expected="refuted", reason="the bound misses a factor 2")
    result = claim.run()
    assert result.verdict is Verdict.REFUTED
    assert result.as_expected
    assert "REFUTED (as recorded)" in result.table()
    assert "the bound misses a factor 2" in result.table()


def test_a_prediction_that_raises_is_an_error():
    def predict():
        raise ZeroDivisionError("no theory here")

    result = make(Within(abs=1), [1.0, 1.0], predict=predict).run()
    assert result.verdict is Verdict.ERROR
    assert "ZeroDivisionError: no theory here" in result.table()


def test_missing_target_is_an_error_that_says_what_to_add():
    assert "add @claim.predict or a target" in make(AtMost(), [1.0, 1.0]).run().table()


# Bad declarations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: grid(a=[]), ValueError, "the axis 'a' is empty"),
        (lambda: grid(a=[1, 1]), ValueError, "repeats a value"),
        (lambda: grid(a=[1, True]), ValueError, "repeats a value"),
        (lambda: grid(a=[len]), TypeError, "may be numbers, strings"),
        (lambda: grid(a=[{"b": 1}]), TypeError, "may be numbers, strings"),
        (lambda: grid(replicates=0), ValueError, "replicates must lie in"),
        (lambda: grid(a=[1], joint=dict(a=[2])), ValueError, "cannot be the name of an axis"),
        (lambda: grid(rng=[1]), ValueError, "cannot be the name of an axis"),
        (lambda: grid(joint=dict(branch=[1])), ValueError, "cannot be the name of an axis"),
        (lambda: Within(), ValueError, "needs a tolerance"),
        (lambda: Within(rel=-1), ValueError, "rel must lie in"),
        (lambda: Within(rel=1, statistic="mode"), ValueError, "statistic must be one of"),
        (lambda: Within(abs=1, target=math.nan), ValueError, "the prediction is nan"),
        (lambda: AtMost(target=math.nan), ValueError, "target must lie in"),
        (lambda: AtLeast(target="3"), TypeError, "target must be a real number"),
        (lambda: Exact(target=math.inf), ValueError, "target must lie in"),
        (lambda: Rate("m", slope=math.nan), ValueError, "slope must lie in"),
        (lambda: FollowsLaw(0.1, law="normal"), TypeError, "a law is a distribution function"),
        (lambda: Holds(1.0), ValueError, "probability must lie in"),
        (lambda: FollowsLaw(0.0), ValueError, "distance must lie in"),
        (lambda: Better(by=0), ValueError, "by must lie in"),
        (lambda: Rate("m", slope=1, abs=0), ValueError, "abs must lie in"),
        (lambda: Rate("m", slope=1, last=0), ValueError, "last must lie in"),
        (lambda: Claim("a/b", "s", "s", Exact(), grid()), ValueError, "id must look like"),
        (lambda: Claim(3, "s", "s", Exact(), grid()), ValueError, "id must look like"),
        (lambda: Claim("a.b", "s", "s", "Exact", grid()), TypeError, "criterion must be a Criterion"),
        (lambda: Claim("a.b", "s", "s", Exact(), [1]), TypeError, "quick must be made by grid"),
        (lambda: Claim("a.b", "s", "s", Exact(), grid(), level=0), ValueError, "level must lie in"),
        (lambda: Claim("a.b", "s", "s", Exact(), grid(), expected="refuted"), ValueError, "needs a reason"),
        (lambda: Claim("a.b", "s", "s", Exact(), grid()).control(len), TypeError, "needs its reason"),
    ],
)
def test_bad_declarations(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_run_checks_its_arguments():
    claim = make(Exact(), [0.0])
    with pytest.raises(ValueError, match="scale must be one of"):
        claim.run(scale="medium")
    with pytest.raises(ValueError, match="workers must lie in"):
        claim.run(workers=0)
    with pytest.raises(ValueError, match="seed must lie in"):
        claim.run(seed=-1)


def test_results_explain_wrong_names():
    result = make(Exact(), [0.0], cells=grid(a=[1, 2])).run()
    with pytest.raises(KeyError, match="the axes are"):
        result.samples(a=3)
    with pytest.raises(KeyError, match="no axis 'b'"):
        result.axis("b")
    with pytest.raises(KeyError, match="no a=3; the axis holds"):
        make(Exact(), [0.0], cells=grid(a=[1, 2], b=[1])).run().curve(a=3)
    with pytest.raises(KeyError, match="no axis 'z'"):
        result.curve(z=3)
    with pytest.raises(KeyError, match="no branch 'other'"):
        result.branch("other")
