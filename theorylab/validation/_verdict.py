"""The endings of a validation, and the record of how one was reached."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Judgement", "Row", "Verdict"]


class Verdict(enum.Enum):
    """How a claim ended; the value is the sentence that the reader gets."""

    CONFIRMED = "in every cell the whole interval lies inside the tolerance, and every control was refuted"
    REFUTED = "in some cell the whole interval lies outside the tolerance"
    INCONCLUSIVE = "some interval is too wide to decide; run more replicates"
    VOID = "a control was not refuted: the check cannot fail, so its success means nothing"
    ERROR = "a prediction, a measurement or the drawing of a verdict raised an exception"


@dataclass(frozen=True)
class Row:
    """The judgement of one cell: an estimate with its interval against the prediction.

    Attributes
    ----------
    cell : dict
        The values of the axes.
    predicted : object
        A number, an interval ``(low, high)``, a law, or None.
    estimate, low, high : float
        In the units of the measurement; the interval has the claim's level.
    verdict : Verdict
    margin : float
        The fraction of the tolerance that was used, at most 1 where confirmed.
    tightness : float, optional
        For bounds: measured / bound.
    replicates_needed : float
        For an open cell, by what factor more samples are expected to decide it.
    """

    cell: dict[str, Any]
    predicted: Any
    estimate: float
    low: float
    high: float
    verdict: Verdict
    margin: float
    tightness: float | None = None
    replicates_needed: float = 1.0


@dataclass(frozen=True)
class Judgement:
    """What a criterion says of all cells of one branch."""

    rows: Sequence[Row]
    verdict: Verdict = field(init=False)
    margin: float = field(init=False)

    def __post_init__(self) -> None:
        verdicts = {row.verdict for row in self.rows}
        if Verdict.REFUTED in verdicts:
            verdict = Verdict.REFUTED
        elif verdicts == {Verdict.CONFIRMED}:
            verdict = Verdict.CONFIRMED
        else:
            verdict = Verdict.INCONCLUSIVE
        object.__setattr__(self, "verdict", verdict)
        object.__setattr__(self, "margin", max((row.margin for row in self.rows), default=math.nan))

    @property
    def tightness(self) -> tuple[float, float] | None:
        """The smallest and largest measured / bound over the cells, None where nothing was bounded."""
        values = [row.tightness for row in self.rows if row.tightness is not None]
        return (min(values), max(values)) if values else None

    @property
    def worst(self) -> Row:
        """The cell that used most of its tolerance."""
        return max(self.rows, key=lambda row: -math.inf if math.isnan(row.margin) else row.margin)

    @property
    def replicates_needed(self) -> float:
        """By what factor more replicates are expected to decide the open cells."""
        return max((row.replicates_needed for row in self.rows), default=1.0)
