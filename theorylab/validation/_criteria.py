"""How samples judge a prediction.

All criteria follow one rule. A claim carries one level. CONFIRMED means that in
*every* cell the interval of confidence ``1 - level`` lies inside the tolerance:
a false claim has at least one cell where that happens with probability at most
`level`, so no correction is needed. REFUTED means that in *some* cell the
interval of confidence ``1 - level / cells`` lies entirely outside, so a true
claim is refuted with probability at most `level` in all. Anything else is
INCONCLUSIVE. `tests/validation/test_error_rates.py` simulates both rates.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lib.checks import check_choice, check_int, check_real
from ._grid import Cell
from ._intervals import STATISTICS, Estimate, Statistic, clopper_pearson, dkw_band, ks_distance, t_quantile
from ._verdict import Judgement, Row, Verdict

__all__ = [
    "AtLeast",
    "AtMost",
    "Better",
    "Criterion",
    "Exact",
    "FollowsLaw",
    "Holds",
    "Points",
    "Rate",
    "Within",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """What a criterion judges: for each point of the grid its samples and its prediction.

    `samples[k]` has shape (n,), or (n, 2) for pairs. Points that share
    `simulation[k]` were measured jointly, row by row.
    """

    cells: Sequence[Cell]
    samples: Sequence[Floats]
    predictions: Sequence[Any]
    simulation: Sequence[int]
    joint: Sequence[str] = ()


class Criterion(ABC):
    """The base of all criteria."""

    #: what the estimate is called in a table
    measured = "measured"
    #: samples may be infinite
    infinite = False
    #: samples are pairs
    paired = False

    def target_of(self, prediction: Any) -> Any:
        """Return the prediction, or the criterion's own target where the claim predicts nothing."""
        own = getattr(self, "target", None)
        if prediction is None and own is None:
            raise ValueError(f"{self} has nothing to compare with: add @claim.predict or a target")
        return own if prediction is None else prediction

    def summarise(self, samples: Floats, level: float) -> Estimate:
        """Return the estimate with its interval, as figures and tables show it."""
        name = getattr(self, "statistic", "mean")
        return STATISTICS[name].estimate(samples, level)

    def shown(self, samples: Floats, level: float) -> Estimate:
        """Return what a figure shows for one point."""
        return self.summarise(samples, level)

    @abstractmethod
    def describe(self) -> str:
        """Say in a few words what must hold."""

    @abstractmethod
    def judge(self, points: Points, level: float) -> Judgement:
        """Judge all points of a branch."""


class _Pointwise(Criterion):
    """A criterion that judges each point by itself."""

    @abstractmethod
    def row(self, cell: Cell, samples: Floats, prediction: Any, level: float, cells: int) -> Row:
        """Judge one point; `cells` shares the level of a refutation."""

    def judge(self, points: Points, level: float) -> Judgement:
        """Judge all points of a branch."""
        n = len(points.cells)
        rows = [
            self.row(cell, samples, prediction, level, n)
            for cell, samples, prediction in zip(points.cells, points.samples, points.predictions)
        ]
        return Judgement(rows)


def _decide(confirmed: bool, refuted: bool) -> Verdict:
    if confirmed:
        return Verdict.CONFIRMED
    return Verdict.REFUTED if refuted else Verdict.INCONCLUSIVE


def _more(half: float, room: float) -> float:
    """Return by what factor the sample must grow until the half-width fits into the room."""
    if not math.isfinite(half) or room == 0:
        return math.inf
    return max(1.0, (half / abs(room)) ** 2)


def _check_statistic(name: str) -> None:
    check_choice(name, "statistic", STATISTICS)


def _over(a: float, b: float) -> float:
    """Divide, with 0/0 = 0 and x/0 = inf: how much of a tolerance that may be zero was used."""
    return 0.0 if a <= 0 else math.inf if b <= 0 else a / b


def _used(end: float, limit: float) -> float:
    """Return how much of an upper limit was used: at most 1 exactly where ``end <= limit``."""
    return limit / end if limit < 0 and end < 0 else _over(end if limit >= 0 else math.inf, limit)


@dataclass(frozen=True)
class Within(_Pointwise):
    """The quantity lies within ``rel * |prediction| + abs`` of the prediction.

    Parameters
    ----------
    rel, abs : float
        The tolerance: the theory's own error term at that size, or a choice
        that the claim names.
    target : float, optional
        The prediction where the claim has no ``@predict``. A prediction may
        also be an interval ``(low, high)``, to which the tolerance is added.
    statistic : {"mean", "rms", "geomean"}
        What is estimated from the samples.

    Notes
    -----
    A test of equivalence: "the prediction lies in the interval" would be no
    evidence, since a wide interval contains anything. For normal samples (of
    the logarithms, for "geomean") a claim that is false in some cell is
    confirmed, and a claim that is true in all cells is refuted, each with
    probability at most ``level``. Skewed samples, such as the squares of "rms",
    reach these rates only as their number grows: take hundreds. Samples that
    are all equal look certain; judge rare events by :class:`Holds`.
    """

    rel: float = 0.0
    abs: float = 0.0
    target: float | None = None
    statistic: str = "mean"

    def __post_init__(self) -> None:
        check_real(self.rel, "rel", low=0)
        check_real(self.abs, "abs", low=0)
        _check_statistic(self.statistic)
        if self.rel == 0 and self.abs == 0:
            raise ValueError("Within needs a tolerance: give rel or abs; for exact quantities use Exact")

    def describe(self) -> str:
        """Say in a few words what must hold."""
        parts = [f"{100 * self.rel:g}%"] * (self.rel > 0) + [f"{self.abs:g}"] * (self.abs > 0)
        return "±" + " ±".join(parts)

    def allowed(self, prediction: Any) -> tuple[float, float]:
        """Return the ends of the region in which the estimate must lie."""
        low, high = prediction if isinstance(prediction, tuple) else (prediction, prediction)
        if not -math.inf < low <= high < math.inf:
            raise ValueError(f"the prediction is {prediction}, expected a finite number or (low, high)")
        return low - self.rel * abs(low) - self.abs, high + self.rel * abs(high) + self.abs

    def row(self, cell: Cell, samples: Floats, prediction: Any, level: float, cells: int) -> Row:
        """Judge one point."""
        prediction = self.target_of(prediction)
        bottom, top = self.allowed(prediction)
        shown, strict = self.summarise(samples, level), self.summarise(samples, level / cells)
        middle, tolerance = (bottom + top) / 2, (top - bottom) / 2
        room = tolerance - abs(shown.value - middle)
        return Row(
            cell, prediction, shown.value, shown.low, shown.high,
            _decide(bottom <= shown.low and shown.high <= top, strict.low > top or strict.high < bottom),
            max(_over(shown.high - middle, tolerance), _over(middle - shown.low, tolerance)),
            replicates_needed=_more((shown.high - shown.low) / 2, room),
        )  # fmt: skip


@dataclass(frozen=True)
class _Bound(_Pointwise):
    """The shared part of the two one-sided bounds."""

    target: float | None = None
    rel: float = 0.0
    abs: float = 0.0
    statistic: str = "mean"

    def __post_init__(self) -> None:
        check_real(self.rel, "rel", low=0)
        check_real(self.abs, "abs", low=0)
        _check_statistic(self.statistic)

    def _slack(self, sign: str) -> str:
        parts = [f" {sign} {100 * self.rel:g}%"] * (self.rel > 0) + [f" {sign} {self.abs:g}"] * (self.abs > 0)
        return "".join(parts)

    def _row(self, cell: Cell, samples: Floats, prediction: Any, level: float, cells: int, sign: int) -> Row:
        bound = float(self.target_of(prediction))
        limit = bound + sign * (self.rel * abs(bound) + self.abs)
        shown, strict = self.summarise(samples, level), self.summarise(samples, level / cells)
        if sign > 0:
            confirmed, refuted = shown.high <= limit, strict.low > limit
            margin = _used(shown.high, limit)
        else:
            confirmed, refuted = shown.low >= limit, strict.high < limit
            margin = _used(-shown.low, -limit)
        return Row(
            cell, bound, shown.value, shown.low, shown.high, _decide(confirmed, refuted), margin,
            tightness=shown.value / bound if bound else None,
            replicates_needed=_more((shown.high - shown.low) / 2, limit - shown.value),
        )  # fmt: skip


@dataclass(frozen=True)
class AtMost(_Bound):
    """The quantity is at most the bound, ``prediction * (1 + rel) + abs``.

    Parameters
    ----------
    target : float, optional
        The bound where the claim has no ``@predict``.
    rel, abs : float
        Slack beyond the bound, 0 by default.
    statistic : {"mean", "rms", "geomean"}

    Notes
    -----
    The tightness, measured / bound, is reported as well, since a vacuous bound
    is always confirmed. False confirmation and false refutation each have
    probability at most ``level / 2`` and ``level`` for normal samples.
    """

    def describe(self) -> str:
        """Say in a few words what must hold."""
        return "≤ bound" + self._slack("+")

    def row(self, cell: Cell, samples: Floats, prediction: Any, level: float, cells: int) -> Row:
        """Judge one point."""
        return self._row(cell, samples, prediction, level, cells, +1)


@dataclass(frozen=True)
class AtLeast(_Bound):
    """The quantity is at least the bound, ``prediction * (1 - rel) - abs``; see :class:`AtMost`."""

    def describe(self) -> str:
        """Say in a few words what must hold."""
        return "≥ bound" + self._slack("-")

    def row(self, cell: Cell, samples: Floats, prediction: Any, level: float, cells: int) -> Row:
        """Judge one point."""
        return self._row(cell, samples, prediction, level, cells, -1)


@dataclass(frozen=True)
class Exact(_Pointwise):
    """Every single sample equals the prediction to within ``abs + rel * |prediction|``.

    For deterministic identities, whose tolerance is derived from the analysis
    of rounding errors; nothing is estimated and the level plays no part. A
    tolerance that depends on the problem is best divided out in the
    measurement: return ``error / (u * kappa)`` and use ``Exact(abs=50)``.

    Parameters
    ----------
    abs, rel : float
    target : float, optional
        The value where the claim has no ``@predict``; 0 by default, for errors.
    """

    abs: float = 0.0
    rel: float = 0.0
    target: float = 0.0

    def __post_init__(self) -> None:
        check_real(self.abs, "abs", low=0)
        check_real(self.rel, "rel", low=0)

    def describe(self) -> str:
        """Say in a few words what must hold."""
        parts = [f"{self.abs:.3g}"] * (self.abs > 0) + [f"{self.rel:.3g} relative"] * (self.rel > 0)
        return "each ±" + (" ±".join(parts) or "0")

    def summarise(self, samples: Floats, level: float) -> Estimate:
        """Return the sample that is farthest from zero, and the range."""
        worst = float(samples[np.argmax(np.abs(samples))])
        return Estimate(worst, float(samples.min()), float(samples.max()))

    def row(self, cell: Cell, samples: Floats, prediction: Any, level: float, cells: int) -> Row:
        """Judge one point."""
        target = float(self.target_of(prediction))
        tolerance = self.abs + self.rel * abs(target)
        deviation = np.abs(samples - target)
        worst = int(np.argmax(deviation))
        margin = _over(float(deviation[worst]), tolerance)
        return Row(
            cell, target, float(samples[worst]), float(samples.min()), float(samples.max()),
            _decide(bool(deviation[worst] <= tolerance), bool(deviation[worst] > tolerance)), margin,
        )  # fmt: skip


@dataclass(frozen=True)
class Holds(_Pointwise):
    """The event happens with at least the given probability.

    Samples are booleans; or numbers, where the event is that the sample is at
    most the prediction.

    Parameters
    ----------
    probability : float
        In (0, 1).

    Notes
    -----
    Judged by one-sided Clopper-Pearson bounds, which are exact: a claim that is
    false in some cell is confirmed, and a true one is refuted, with probability
    at most ``level``. Zero violations prove 0.95 at level 1e-3 from n = 135.
    """

    probability: float
    measured = "fraction"
    infinite = True

    def __post_init__(self) -> None:
        check_real(self.probability, "probability", low=0, high=1, open_low=True, open_high=True)

    def describe(self) -> str:
        """Say in a few words what must hold."""
        return f"in ≥ {100 * self.probability:g}%"

    def shown(self, samples: Floats, level: float) -> Estimate:
        """Return the fraction of events, or the mean of the numbers that a prediction bounds."""
        if np.isin(samples, (0.0, 1.0)).all():
            return self.summarise(samples, level)
        return STATISTICS["mean"].estimate(samples, level)

    def summarise(self, samples: Floats, level: float) -> Estimate:
        """Return the fraction of successes with its two one-sided bounds."""
        k, n = int(np.count_nonzero(samples)), samples.size
        return Estimate(k / n, *clopper_pearson(k, n, level))

    def row(self, cell: Cell, samples: Floats, prediction: Any, level: float, cells: int) -> Row:
        """Judge one point."""
        tightness = None
        if prediction is not None:
            bound = float(prediction)
            tightness = float(np.median(samples)) / bound if bound else None
            samples = (samples <= bound).astype(np.float64)
        elif not np.isin(samples, (0.0, 1.0)).all():
            raise ValueError("Holds expects booleans, or numbers together with a prediction that bounds them")
        shown, strict = self.summarise(samples, level), self.summarise(samples, level / cells)
        p = self.probability
        spread = (shown.high - shown.low) / 2
        return Row(
            cell, p, shown.value, shown.low, shown.high, _decide(shown.low >= p, strict.high < p),
            (1 - shown.low) / (1 - p), tightness, _more(spread, shown.value - p),
        )  # fmt: skip


_UNIFORM = "uniform"


@dataclass(frozen=True)
class FollowsLaw(_Pointwise):
    """The samples follow the predicted law up to a Kolmogorov distance.

    Parameters
    ----------
    distance : float
        The largest Kolmogorov distance that still counts as following.
    law : {"uniform"}, callable or distribution, optional
        The law where the claim has no ``@predict``: a distribution function,
        an object with ``cdf``, or "uniform" on [0, 1] for p-values. The law
        may have atoms, such as ``scipy.stats.randint(0, L + 1)`` for rank
        uniformity.

    Notes
    -----
    The true distance lies within the Dvoretzky-Kiefer-Wolfowitz band around
    the measured one, for every law and sample size, so both error rates are at
    most ``level``. Confirming needs ``n >= log(2 / level) / (2 distance^2)``
    at the very least: 1521 samples for distance 0.05 at level 1e-3.
    """

    distance: float = 0.05
    law: Any = None
    measured = "distance"
    infinite = True

    def __post_init__(self) -> None:
        check_real(self.distance, "distance", low=0, high=1, open_low=True)

    @property
    def target(self) -> Any:
        """The law where the claim predicts none."""
        return self.law

    def describe(self) -> str:
        """Say in a few words what must hold."""
        return f"KS ≤ {self.distance:g}"

    def summarise(self, samples: Floats, level: float) -> Estimate:
        """Return the mean, which is what a figure of samples can show."""
        return STATISTICS["mean"].estimate(samples, level)

    def row(self, cell: Cell, samples: Floats, prediction: Any, level: float, cells: int) -> Row:
        """Judge one point."""
        law = self.target_of(prediction)
        cdf = (lambda x: np.clip(x, 0.0, 1.0)) if isinstance(law, str) and law == _UNIFORM else law
        d = ks_distance(samples, cdf)
        band, wide = dkw_band(samples.size, level), dkw_band(samples.size, level / cells)
        return Row(
            cell, self.distance, d, max(0.0, d - band), min(1.0, d + band),
            _decide(d + band <= self.distance, d - wide > self.distance), (d + band) / self.distance,
            replicates_needed=_more(band, self.distance - d),
        )  # fmt: skip


@dataclass(frozen=True)
class Better(_Pointwise):
    """In paired comparison, ours beats theirs by at least the factor `by`.

    Samples are pairs ``(ours, theirs)``, shape (n, 2), of positive numbers
    where smaller is better; the estimate is the geometric mean of
    ``theirs / ours``.

    Parameters
    ----------
    by : float
        Positive; 1 means "no worse".
    larger : bool
        Larger is better: the ratio is ``ours / theirs``.

    Notes
    -----
    Student's interval on the logarithms of the ratios; error rates as for
    :class:`AtMost`.
    """

    by: float = 1.0
    larger: bool = False
    measured = "ratio"
    paired = True

    def __post_init__(self) -> None:
        check_real(self.by, "by", low=0, open_low=True)

    def describe(self) -> str:
        """Say in a few words what must hold."""
        return f"ratio ≥ {self.by:g}"

    def summarise(self, samples: Floats, level: float) -> Estimate:
        """Return the geometric mean of the ratios with its interval."""
        if np.any(samples <= 0):
            raise ValueError(f"Better compares ratios of positive numbers, got {float(samples.min()):g}")
        ours, theirs = samples[:, 0], samples[:, 1]
        return STATISTICS["geomean"].estimate(ours / theirs if self.larger else theirs / ours, level)

    def row(self, cell: Cell, samples: Floats, prediction: Any, level: float, cells: int) -> Row:
        """Judge one point."""
        by = self.by if prediction is None else float(prediction)
        shown, strict = self.summarise(samples, level), self.summarise(samples, level / cells)
        half = (
            math.log(shown.high / shown.low) / 2 if shown.low > 0 and math.isfinite(shown.high) else math.inf
        )
        return Row(
            cell, by, shown.value, shown.low, shown.high, _decide(shown.low >= by, strict.high < by),
            _over(by, shown.low), replicates_needed=_more(half, math.log(shown.value / by)),
        )  # fmt: skip


@dataclass(frozen=True)
class Rate(Criterion):
    """The quantity scales as a power of an axis: its log-log slope is the predicted one.

    Parameters
    ----------
    axis : str
        The axis that grows. There is one slope for each combination of the others.
    slope : float, optional
        The predicted exponent; without it the claim's ``@predict`` gives it,
        called with the cell at the first point of `axis`.
    abs : float
        Tolerance of the slope.
    last : int, optional
        Use only the last so many points, where the law is asymptotic.
    statistic : {"mean", "rms", "geomean"}

    Notes
    -----
    Weighted least squares of the logarithm of the estimates. The weights are
    inverse variances, each shrunk halfway to their mean, since weights that
    follow small samples too closely make the interval too short; its degrees
    of freedom are Satterthwaite's. Where points have a single sample, the
    interval comes from the scatter about the line. Over a joint axis the
    points of one simulation are dependent, so that a slope is fitted to each
    simulation and Student's interval is taken over those. Error rates as for
    :class:`Within`.
    """

    axis: str
    slope: float | None = None
    abs: float = 0.05
    last: int | None = None
    statistic: str = "mean"
    measured = "slope"

    def __post_init__(self) -> None:
        check_real(self.abs, "abs", low=0, open_low=True)
        if self.last is not None:
            check_int(self.last, "last", low=2)
        _check_statistic(self.statistic)

    @property
    def target(self) -> float | None:
        """The slope where the claim predicts none."""
        return self.slope

    def describe(self) -> str:
        """Say in a few words what must hold."""
        return f"slope in {self.axis} ±{self.abs:g}"

    def judge(self, points: Points, level: float) -> Judgement:
        """Fit and judge one slope for each combination of the other axes."""
        groups: dict[str, list[int]] = {}
        for k, cell in enumerate(points.cells):
            if self.axis not in cell:
                raise ValueError(
                    f"the grid has no axis {self.axis!r} to take a rate over; it has {list(cell)}"
                )
            groups.setdefault(repr({a: v for a, v in cell.items() if a != self.axis}), []).append(k)
        rows = []
        for members in groups.values():
            chosen = members if self.last is None else members[-self.last :]
            if len(chosen) < 2:
                raise ValueError("a rate needs at least two points")
            along = np.array([float(points.cells[k][self.axis]) for k in chosen])
            if not np.all(along > 0):
                raise ValueError(
                    f"a rate needs positive values on the axis {self.axis!r}, got {along.min():g}"
                )
            x = np.log(along)
            samples = [points.samples[k] for k in chosen]
            fit = _joint_slope if self.axis in points.joint else _slope
            value, error, df = fit(x, samples, STATISTICS[self.statistic])
            rest = {a: v for a, v in points.cells[members[0]].items() if a != self.axis}
            rows.append(
                self._judge_slope(rest, value, error, df, points.predictions[members[0]], level, len(groups))
            )
        return Judgement(rows)

    def _judge_slope(
        self, cell: Cell, value: float, error: float, df: float, prediction: Any, level: float, cells: int
    ) -> Row:
        target = float(self.target_of(self.slope if self.slope is not None else prediction))
        half = t_quantile(level, df) * error if error > 0 else 0.0
        wide = t_quantile(level / cells, df) * error if error > 0 else 0.0
        off = abs(value - target)
        return Row(
            cell, target, value, value - half, value + half,
            _decide(off + half <= self.abs, off - wide > self.abs), (off + half) / self.abs,
            replicates_needed=_more(half, self.abs - off),
        )  # fmt: skip


def _least_squares(x: Floats, weights: Floats) -> Floats:
    """Return the coefficients c for which the weighted slope is ``c @ y``."""
    centred = x - np.average(x, weights=weights)
    return np.asarray(weights * centred / np.sum(weights * centred**2))


def _slope(x: Floats, samples: Sequence[Floats], statistic: Statistic) -> tuple[float, float, float]:
    """Return slope, standard error and degrees of freedom from independent points."""
    logs = [statistic.log_estimate(s) for s in samples]
    y = np.array([log for log, _, _ in logs])
    variance = np.array([error**2 for _, error, _ in logs])
    n = np.array([size for _, _, size in logs])
    if np.any(n < 2) or np.any(variance == 0):
        c = _least_squares(x, np.ones_like(x))
        slope = float(c @ y)
        residual = y - y.mean() - slope * (x - x.mean())
        df = x.size - 2
        scatter = math.sqrt(float(residual @ residual) / df) if df else math.inf
        return slope, scatter * float(np.linalg.norm(c)), float(df)
    c = _least_squares(x, 1 / (variance + variance.mean()))
    parts = c**2 * variance
    satterthwaite = float(parts.sum() ** 2 / np.sum(parts**2 / (n - 1)))
    return float(c @ y), math.sqrt(float(parts.sum())), satterthwaite


def _joint_slope(x: Floats, samples: Sequence[Floats], statistic: Statistic) -> tuple[float, float, float]:
    """Return slope, standard error and degrees of freedom, one slope per simulation."""
    curves = np.stack(samples, axis=1)
    if np.any(curves <= 0):
        raise ValueError(f"a rate needs positive samples to take logarithms of, got {float(curves.min()):g}")
    slopes = np.log(curves) @ _least_squares(x, np.ones_like(x))
    return (
        STATISTICS["mean"].moments(slopes)[0],
        STATISTICS["mean"].moments(slopes)[1],
        float(slopes.size - 1),
    )
