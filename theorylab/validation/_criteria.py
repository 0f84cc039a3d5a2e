"""Criteria on quantities: within a tolerance, on one side of a bound, exact, better than a peer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._lib.checks import check_real
from ._criterion import Floats, Pointwise, check_statistic, decide, more, over, used
from ._grid import Cell
from ._intervals import STATISTICS, Estimate
from ._verdict import Row

__all__ = ["AtLeast", "AtMost", "Better", "Exact", "Within"]


@dataclass(frozen=True)
class Within(Pointwise):
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
    reach these rates only as their number grows: at level 1e-3 a thousand
    samples of an exponential law do, three hundred err twice as often. Samples
    that are all equal look certain; judge rare events by :class:`Holds`.
    """

    rel: float = 0.0
    abs: float = 0.0
    target: float | None = None
    statistic: str = "mean"

    def __post_init__(self) -> None:
        check_real(self.rel, "rel", low=0)
        check_real(self.abs, "abs", low=0)
        check_statistic(self.statistic)
        if self.rel == 0 and self.abs == 0:
            raise ValueError("Within needs a tolerance: give rel or abs; for exact quantities use Exact")
        if self.target is not None:
            self.allowed(self.target)

    def describe(self) -> str:
        """Say in a few words what must hold."""
        parts = [f"{100 * self.rel:g}%"] * (self.rel > 0) + [f"{self.abs:g}"] * (self.abs > 0)
        return "±" + " ±".join(parts)

    def allowed(self, prediction: Any) -> tuple[float, float]:
        """Return the ends of the region in which the estimate must lie."""
        low, high = prediction if isinstance(prediction, tuple) else (prediction, prediction)
        if isinstance(low, str) or callable(low):
            raise TypeError(f"expected a number or an interval (low, high), got {prediction!r}")
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
            decide(bottom <= shown.low and shown.high <= top, strict.low > top or strict.high < bottom),
            max(over(shown.high - middle, tolerance), over(middle - shown.low, tolerance)),
            replicates_needed=more((shown.high - shown.low) / 2, room, level, samples.size - 1),
        )  # fmt: skip


@dataclass(frozen=True)
class _Bound(Pointwise):
    """The shared part of the two one-sided bounds."""

    target: float | None = None
    rel: float = 0.0
    abs: float = 0.0
    statistic: str = "mean"

    def __post_init__(self) -> None:
        check_real(self.rel, "rel", low=0)
        check_real(self.abs, "abs", low=0)
        check_statistic(self.statistic)
        if self.target is not None:
            check_real(self.target, "target")

    def _slack(self, sign: str) -> str:
        parts = [f" {sign} {100 * self.rel:g}%"] * (self.rel > 0) + [f" {sign} {self.abs:g}"] * (self.abs > 0)
        return "".join(parts)

    def _row(self, cell: Cell, samples: Floats, prediction: Any, level: float, cells: int, sign: int) -> Row:
        bound = self.number_of(prediction)
        limit = bound + sign * (self.rel * abs(bound) + self.abs)
        shown, strict = self.summarise(samples, level), self.summarise(samples, level / cells)
        half = (shown.high - shown.low) / 2
        if sign > 0:
            confirmed, refuted = shown.high <= limit, strict.low > limit
            margin = used(shown.high, limit)
        else:
            confirmed, refuted = shown.low >= limit, strict.high < limit
            margin = used(-shown.low, -limit)
        return Row(
            cell, bound, shown.value, shown.low, shown.high, decide(confirmed, refuted), margin,
            tightness=shown.value / bound if bound else None,
            replicates_needed=more(half, limit - shown.value, level, samples.size - 1),
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
class Exact(Pointwise):
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
        check_real(self.target, "target")

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
        target = self.number_of(prediction)
        tolerance = self.abs + self.rel * abs(target)
        deviation = np.abs(samples - target)
        worst = int(np.argmax(deviation))
        margin = over(float(deviation[worst]), tolerance)
        return Row(
            cell, target, float(samples[worst]), float(samples.min()), float(samples.max()),
            decide(bool(deviation[worst] <= tolerance), bool(deviation[worst] > tolerance)), margin,
        )  # fmt: skip


@dataclass(frozen=True)
class Better(Pointwise):
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
        by = self.by if prediction is None else check_real(prediction, "the prediction", low=0, open_low=True)
        shown, strict = self.summarise(samples, level), self.summarise(samples, level / cells)
        half = (
            math.log(shown.high / shown.low) / 2 if shown.low > 0 and math.isfinite(shown.high) else math.inf
        )
        return Row(
            cell, by, shown.value, shown.low, shown.high, decide(shown.low >= by, strict.high < by),
            over(by, shown.low),
            replicates_needed=more(half, math.log(shown.value / by), level, len(samples) - 1),
        )  # fmt: skip
