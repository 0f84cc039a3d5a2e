"""Numbers and tables as a reader sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ._grid import Cell
from ._result import Result
from ._verdict import Judgement, Row, Verdict

__all__ = ["format_cell", "format_number", "format_percent", "format_predicted", "headline", "table"]

_WORDS = {Verdict.CONFIRMED: "inside", Verdict.REFUTED: "outside", Verdict.INCONCLUSIVE: "open"}
_MOST_ROWS = 16


def format_number(x: float) -> str:
    """Return four significant digits, trailing zeros kept so that columns line up.

    >>> format_number(5.0), format_number(1.25e-7), format_number(float("inf"))
    ('5.000', '1.250e-07', 'inf')
    """
    if not math.isfinite(x) or x == 0:
        return f"{x:g}"
    return f"{x:#.4g}".rstrip(".")


def format_percent(x: float) -> str:
    """Return a fraction as a percentage."""
    return "-" if math.isnan(x) else f"{100 * x:.0f}%" if x < 100 else "> 9999%"


def format_predicted(prediction: Any) -> str:
    """Return a prediction: a number, an interval, or the name of a law."""
    if prediction is None:
        return "-"
    if isinstance(prediction, tuple):
        return f"[{', '.join(map(format_number, prediction))}]"
    try:
        return format_number(float(prediction))
    except (TypeError, ValueError):
        return getattr(getattr(prediction, "dist", None), "name", None) or "a law"


def format_value(value: Any) -> str:
    """Return the value of an axis."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def format_cell(cell: Cell) -> str:
    """Return a cell as ``width=8, depth=2``."""
    return ", ".join(f"{axis}={format_value(value)}" for axis, value in cell.items())


def _interval(low: float, high: float) -> str:
    return f"[{format_number(low)}, {format_number(high)}]"


def _verdict(row: Row, tolerance: str) -> str:
    word = f"{_WORDS[row.verdict]} {tolerance}"
    if row.verdict is Verdict.INCONCLUSIVE:
        word += f", needs {more_replicates(row.replicates_needed)}"
    return word


def more_replicates(factor: float) -> str:
    """Say how many more replicates would decide."""
    if not math.isfinite(factor):
        return "more samples (the interval has no finite width yet)"
    return f"about {max(2, math.ceil(factor))} times the replicates"


def _shown_rows(judgement: Judgement) -> Sequence[Row]:
    if len(judgement.rows) <= _MOST_ROWS:
        return judgement.rows
    worst = sorted(judgement.rows, key=lambda row: -row.margin)[:_MOST_ROWS]
    return [row for row in judgement.rows if any(row is w for w in worst)]


def _hull(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    a, b = format_number(low), format_number(high)
    return a if a == b else f"{a} to {b}"


def _range(judgement: Judgement, axis: str) -> str:
    values = list(dict.fromkeys(format_value(row.cell[axis]) for row in judgement.rows if axis in row.cell))
    return values[0] if len(values) == 1 else f"{values[0]}..{values[-1]}" if values else ""


def headline(result: Result) -> str:
    """Return the closing line: verdict, margin, time and digest."""
    parts = [result.verdict.name]
    if result.claim.expected == "refuted":
        parts[0] += " (as recorded)" if result.as_expected else " (expected: REFUTED)"
    if result.judgement:
        parts.append(f"margin used {format_percent(result.margin)}")
        if (tightness := result.judgement.tightness) is not None:
            parts.append(f"tightness {_hull(tightness)}")
        if result.verdict is Verdict.INCONCLUSIVE:
            parts.append("needs " + more_replicates(result.judgement.replicates_needed))
    parts += [f"level {result.level:g}", f"{result.seconds:.1f} s", f"samples {result.samples_digest}"]
    return "  ".join(parts)


def table(result: Result) -> str:
    """Return the whole story of a result as aligned text.

    One row for each cell, one for each control, the errors, and the closing line.
    """
    claim = result.claim
    axes = list(claim.grid(result.scale).points[0])
    lines: list[list[str]] = []
    notes: list[str] = []
    if (judgement := result.judgement) is not None:
        axes = list(judgement.rows[0].cell)
        confidence = f"{100 * (1 - claim.level):g}% interval"
        lines.append(["", *axes, "predicted", claim.criterion.measured, confidence, "verdict"])
        rows = _shown_rows(judgement)
        for k, row in enumerate(rows):
            name, tolerance = ("claim", claim.criterion.describe()) if k == 0 else ("", "")
            cell = [format_value(row.cell[axis]) for axis in axes]
            numbers = [
                format_predicted(row.predicted),
                format_number(row.estimate),
                _interval(row.low, row.high),
            ]
            lines.append([name, *cell, *numbers, _verdict(row, tolerance)])
        if len(rows) < len(judgement.rows):
            notes.append(f"  ({len(judgement.rows) - len(rows)} more cells used less of their tolerance)")
    for name, verdict in result.controls.items():
        branch = result.branches.get(name)
        if branch is None or branch.judgement is None:
            continue
        j = branch.judgement
        word = "refuted, as it must be" if verdict is Verdict.REFUTED else f"NOT refuted: {verdict.name}"
        numbers = [
            format_predicted(j.worst.predicted),
            _hull([row.estimate for row in j.rows]),
            _interval(min(row.low for row in j.rows), max(row.high for row in j.rows)),
        ]
        lines.append([f"control {name}", *(_range(j, axis) for axis in axes), *numbers, word])
    text = [f"{claim.id}  {claim.statement}", *_align(lines), *notes]
    text += [f"  error in {error}" for error in result.errors[:8]]
    if len(result.errors) > 8:
        text.append(f"  and {len(result.errors) - 8} more errors")
    text.append(f"  {headline(result)}")
    if result.verdict is not Verdict.CONFIRMED:
        text.append(f"  {result.verdict.name}: {claim.reason or result.verdict.value}")
    return "\n".join(line.rstrip() for line in text)


def _align(lines: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first and the last to the left, numbers to the right."""
    if not lines:
        return []
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    last = len(widths) - 1
    return [
        "  "
        + "  ".join(
            c.ljust(w) if k in (0, last) else c.rjust(w) for k, (c, w) in enumerate(zip(line, widths))
        )
        for line in lines
    ]
