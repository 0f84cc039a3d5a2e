"""The vocabulary keeps its word: simulated rates of wrong verdicts against what the docstrings say.

Each case puts the truth exactly at the edge of the tolerance, where wrong
verdicts are likeliest. With `RUNS` simulations and true rate `LEVEL` the
observed rate exceeds `LEVEL + 4 sd` with probability 3e-5.
"""

import math

import numpy as np
import pytest
from scipy import stats

from theorylab.validation import AtLeast, AtMost, Better, Exact, FollowsLaw, Holds, Rate, Verdict, Within
from theorylab.validation._criterion import Points

LEVEL = 0.05
RUNS = 2000
CEILING = LEVEL + 4 * math.sqrt(LEVEL * (1 - LEVEL) / RUNS)


def rates(criterion, draw, predictions, cells=None, joint=()):
    """Return the simulated probabilities of (CONFIRMED, REFUTED)."""
    cells = cells or [{"k": k} for k in range(len(predictions))]
    counts = dict.fromkeys(Verdict, 0)
    rng = np.random.default_rng(20260101)
    for _ in range(RUNS):
        points = Points(cells, draw(rng), predictions, range(len(cells)), joint)
        counts[criterion.judge(points, LEVEL).verdict] += 1
    return counts[Verdict.CONFIRMED] / RUNS, counts[Verdict.REFUTED] / RUNS


def normal(means, n, sd=1.0):
    return lambda rng: [rng.normal(m, sd, n) for m in means]


@pytest.mark.parametrize("n", [5, 40])
def test_within_at_the_edge(n):
    # One cell at the edge decides the false confirmation, all cells at the edge the false refutation.
    confirmed, _ = rates(Within(abs=1.0), normal([10, 10, 11], n), [10.0] * 3)
    _, refuted = rates(Within(abs=1.0), normal([9, 11, 11], n), [10.0] * 3)
    assert confirmed <= CEILING
    assert refuted <= CEILING


def test_within_uses_its_level_and_has_power():
    # A cell at one edge alone: the interval lies inside with probability close to level / 2.
    confirmed, _ = rates(Within(abs=1.0), normal([11], 400), [10.0])
    assert 0.3 * LEVEL < confirmed < CEILING
    assert rates(Within(abs=1.0), normal([10.1] * 3, 100), [10.0] * 3)[0] > 0.99
    assert rates(Within(abs=1.0), normal([10, 12, 10], 100), [10.0] * 3)[1] > 0.99


@pytest.mark.parametrize("n", [20, 100])
def test_root_mean_square_of_normal_samples(n):
    # Skewed squares: nearly the promised rate from n = 20 on, thanks to the logarithmic interval.
    confirmed, _ = rates(AtMost(1.0, statistic="rms"), normal([0.0], n), [None])
    assert confirmed <= 1.6 * LEVEL


@pytest.mark.parametrize(("criterion", "truth"), [(AtMost(), 5.0), (AtLeast(), 5.0)])
def test_bounds_at_the_edge(criterion, truth):
    inside = truth - 5 if isinstance(criterion, AtMost) else truth + 5
    confirmed, _ = rates(criterion, normal([inside, inside, truth], 20), [truth] * 3)
    _, refuted = rates(criterion, normal([truth] * 3, 20), [truth] * 3)
    assert 0.2 * LEVEL < confirmed <= CEILING
    assert 0.2 * LEVEL < refuted <= CEILING


@pytest.mark.parametrize("n", [10, 60])
def test_rate_with_unequal_noise(n):
    x = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    spread = np.array([0.02, 0.05, 0.1, 0.05, 0.2])

    def draw(slope):
        return lambda rng: [v**slope * np.exp(s * rng.standard_normal(n)) for v, s in zip(x, spread)]

    cells = [{"m": v} for v in x]
    criterion = Rate("m", slope=-0.5, abs=0.03, statistic="geomean")
    confirmed, refuted = rates(criterion, draw(-0.53), [None] * 5, cells)
    assert confirmed <= CEILING
    assert refuted <= CEILING
    assert rates(criterion, draw(-0.5), [None] * 5, cells)[0] > (0.9 if n == 60 else 0.0)
    assert rates(criterion, draw(-0.8), [None] * 5, cells)[1] > 0.99


def test_rate_from_single_samples_uses_the_scatter():
    x = 2.0 ** np.arange(8)
    cells = [{"m": v} for v in x]

    def draw(rng):
        return [np.array([v**1.1 * math.exp(0.1 * rng.standard_normal())]) for v in x]

    confirmed, refuted = rates(Rate("m", slope=1.0, abs=0.1), draw, [None] * 8, cells)
    assert confirmed <= CEILING
    assert refuted <= CEILING


def test_rate_over_a_joint_axis_is_fitted_to_each_simulation():
    x = 2.0 ** np.arange(5)
    cells = [{"t": v} for v in x]

    def draw(rng):
        # A common factor per simulation: the points are dependent, the slopes are not.
        factor = np.exp(rng.standard_normal(12))
        walk = np.cumsum(0.1 * rng.standard_normal((12, 5)), axis=1)
        return list((factor[:, None] * x**1.05 * np.exp(walk)).T)

    confirmed, refuted = rates(Rate("t", slope=1.0, abs=0.05), draw, [None] * 5, cells, joint=["t"])
    assert confirmed <= CEILING
    assert refuted <= CEILING


@pytest.mark.parametrize("n", [30, 300])
def test_holds_at_the_edge(n):
    def draw(ps):
        return lambda rng: [(rng.random(n) < p).astype(float) for p in ps]

    confirmed, _ = rates(Holds(0.9), draw([1.0, 1.0, 0.9]), [None] * 3)
    _, refuted = rates(Holds(0.9), draw([0.9] * 3), [None] * 3)
    assert confirmed <= CEILING
    assert refuted <= CEILING


def test_zero_violations_prove_95_percent_at_one_in_a_thousand_from_135():
    # 0.95 ** 135 < 1e-3 <= 0.95 ** 134
    for n, verdict in ((135, Verdict.CONFIRMED), (134, Verdict.INCONCLUSIVE)):
        assert Holds(0.95).judge(Points([{}], [np.ones(n)], [None], [0]), 1e-3).verdict is verdict


def test_follows_law_at_the_edge():
    # Half the mass of a uniform law shifted by 2 d has Kolmogorov distance d.
    def draw(shift, n):
        return lambda rng: [np.where(u < 0.5, u + shift, u) for u in [rng.random(n)]]

    criterion = FollowsLaw(distance=0.1, law="uniform")
    confirmed, refuted = rates(criterion, draw(0.1, 2000), [None])
    assert confirmed <= CEILING
    assert refuted <= CEILING
    assert rates(criterion, draw(0.0, 2000), [None])[0] > 0.99
    assert rates(criterion, draw(0.3, 2000), [None])[1] > 0.99


def test_follows_law_of_ranks():
    law = stats.randint(0, 20)
    draw = lambda top: lambda rng: [rng.integers(0, top, 4000).astype(float)]  # noqa: E731
    assert rates(FollowsLaw(0.05), draw(20), [law])[0] > 0.99
    assert rates(FollowsLaw(0.05), draw(16), [law])[1] > 0.99


def test_follows_law_with_atoms():
    # Half the mass at zero, given as a distribution function alone.
    mixed = lambda x: np.where(x < 0, 0.0, stats.norm.cdf(x))  # noqa: E731
    draw = lambda shift: lambda rng: [np.maximum(rng.standard_normal(4000) + shift, 0.0)]  # noqa: E731
    assert rates(FollowsLaw(0.05), draw(0.0), [mixed])[0] > 0.99
    assert rates(FollowsLaw(0.05), draw(0.3), [mixed])[1] > 0.99


def test_better_at_the_edge():
    def draw(ratios, n=8):
        def once(rng):
            ours = [np.exp(rng.standard_normal(n)) for _ in ratios]
            return [
                np.stack([o, o * r * np.exp(0.3 * rng.standard_normal(n))], axis=1)
                for o, r in zip(ours, ratios)
            ]

        return once

    confirmed, _ = rates(Better(by=2.0), draw([9.0, 9.0, 2.0]), [None] * 3)
    _, refuted = rates(Better(by=2.0), draw([2.0] * 3), [None] * 3)
    assert 0.2 * LEVEL < confirmed <= CEILING
    assert 0.2 * LEVEL < refuted <= CEILING


@pytest.mark.parametrize(("value", "verdict"), [(1e-12, Verdict.CONFIRMED), (1.01e-12, Verdict.REFUTED)])
def test_exact_looks_at_every_sample(value, verdict):
    samples = np.zeros(1000)
    samples[617] = -value
    assert Exact(abs=1e-12).judge(Points([{}], [samples], [None], [0]), 1e-3).verdict is verdict


def test_a_prediction_inside_the_interval_is_no_evidence():
    # Twenty samples whose interval is far wider than the tolerance: true or 3 % off, nothing is known.
    rng = np.random.default_rng(1)
    for truth in (1.0, 1.03):
        samples = rng.normal(truth, 0.1, 20)
        judged = Within(rel=0.02).judge(Points([{}], [samples], [1.0], [0]), 1e-3)
        assert judged.verdict is Verdict.INCONCLUSIVE
        assert judged.replicates_needed > 1
