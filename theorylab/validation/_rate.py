"""The criterion on rates of growth: a weighted slope on logarithmic scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._lib.checks import check_int, check_real
from ._criterion import Criterion, Floats, Points, check_statistic, decide, more
from ._grid import Cell
from ._intervals import STATISTICS, Statistic, t_quantile
from ._verdict import Judgement, Row

__all__ = ["Rate"]


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
        check_statistic(self.statistic)
        if self.slope is not None:
            check_real(self.slope, "slope")

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
        target = self.number_of(self.slope if self.slope is not None else prediction)
        half = t_quantile(level, df) * error if error > 0 else 0.0
        wide = t_quantile(level / cells, df) * error if error > 0 else 0.0
        off = abs(value - target)
        return Row(
            cell, target, value, value - half, value + half,
            decide(off + half <= self.abs, off - wide > self.abs), (off + half) / self.abs,
            replicates_needed=more(half, self.abs - off, level, df),
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
