"""What a criterion is: it judges samples against predictions, point by point.

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

from .._lib.checks import check_choice, check_real
from ._grid import Cell
from ._intervals import STATISTICS, Estimate, t_quantile
from ._verdict import Judgement, Row, Verdict

__all__ = ["Criterion", "Floats", "Points", "Pointwise", "check_statistic", "decide", "more", "over", "used"]

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

    def number_of(self, prediction: Any, *, finite: bool = True) -> float:
        """Return the prediction or the criterion's own target, which must be a number."""
        return check_real(self.target_of(prediction), "the prediction", finite=finite)

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


class Pointwise(Criterion):
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


def decide(confirmed: bool, refuted: bool) -> Verdict:
    if confirmed:
        return Verdict.CONFIRMED
    return Verdict.REFUTED if refuted else Verdict.INCONCLUSIVE


def more(half: float, room: float, level: float = 1.0, df: float = math.inf) -> float:
    """Return by what factor the sample must grow until the half-width fits into the room.

    With the degrees of freedom of Student's interval, its quantile shrinks as well.
    """
    if not math.isfinite(half) or room == 0:
        return math.inf
    enough = (half / abs(room)) ** 2
    if enough <= 1 or not math.isfinite(df):
        return max(1.0, enough)
    few, quantile = 1.0, t_quantile(level, df)
    for _ in range(30):
        factor = math.sqrt(few * enough)
        if t_quantile(level, factor * (df + 1) - 1) / quantile * half <= abs(room) * math.sqrt(factor):
            enough = factor
        else:
            few = factor
    return enough


def check_statistic(name: str) -> None:
    check_choice(name, "statistic", STATISTICS)


def over(a: float, b: float) -> float:
    """Divide, with 0/0 = 0 and x/0 = inf: how much of a tolerance that may be zero was used."""
    return 0.0 if a <= 0 else math.inf if b <= 0 else a / b


def used(end: float, limit: float) -> float:
    """Return how much of an upper limit was used: at most 1 exactly where ``end <= limit``."""
    return limit / end if limit < 0 and end < 0 else over(end if limit >= 0 else math.inf, limit)
