"""The generated blocks of ``paper_repro.md``, and the check that they still say what the results say.

Prose is written by hand around blocks between ``<!-- claims:SYSTEM -->`` and
``<!-- /claims:SYSTEM -->``. A block holds nothing volatile, so that a
difference in the file means that the science changed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ._claim import Claim
from ._criteria import Exact
from ._digest import source_digest
from ._present import format_cell, format_number, format_percent, format_predicted
from ._result import Result
from ._store import read_json, write_whole
from ._verdict import Row

__all__ = ["check_report", "summary", "write_report"]

_BLOCK = re.compile(
    r"<!-- claims:(?P<system>[a-z0-9_]+) -->\n(?P<body>.*?)<!-- /claims:(?P=system) -->", re.DOTALL
)
_NUMBER = re.compile(r"(?P<value>\S+) \[(?P<low>\S+), (?P<high>\S+)\](?: at (?P<cell>.+))?")
_DIGITS = re.compile(r"(\d+(?:\.\d*)?(?:e[+-]?\d+)?)")
_HEADER = "| claim | source | theirs | predicted | measured | controls | verdict | margin |"


def _finite(x: float | None) -> float | None:
    """JSON has no NaN and no infinity."""
    return None if x is None or not math.isfinite(x) else float(x)


def _row(row: Row, describe: str) -> dict[str, Any]:
    return {
        "cell": format_cell(row.cell),
        "predicted": f"{format_predicted(row.predicted)} ({describe})",
        "estimate": _finite(row.estimate),
        "low": _finite(row.low),
        "high": _finite(row.high),
        "verdict": row.verdict.name,
        "margin": _finite(row.margin),
    }


def summary(result: Result) -> dict[str, Any]:
    """Return what the store keeps of a result, ready for JSON."""
    claim = result.claim
    judgement = result.judgement
    describe = claim.criterion.describe()
    return {
        "id": claim.id,
        "verdict": result.verdict.name,
        "margin": _finite(result.margin),
        "tightness": [_finite(t) for t in judgement.tightness] if judgement and judgement.tightness else None,
        "level": claim.level,
        "scale": result.scale,
        "seed": result.seed,
        "seconds": round(result.seconds, 3),
        "samples": result.samples_digest,
        "source_digest": result.source_digest,
        "worst": format_cell(judgement.worst.cell) if judgement else None,
        "rows": [_row(row, describe) for row in judgement.rows] if judgement else [],
        "controls": [{"name": name, "verdict": verdict.name} for name, verdict in result.controls.items()],
        "errors": [str(error) for error in result.errors],
    }


# Writing ------------------------------------------------------------------------------------


def _load(claims: Sequence[Claim], store: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the newest stored verdicts, and a sentence for each claim that has none of the present code."""
    found, missing = {}, []
    for claim in claims:
        stored = read_json(store / claim.id / "latest.json")
        if stored is None:
            missing.append(f"no stored result for {claim.id}; run `theorylab run {claim.id}` first")
        elif stored.get("source_digest") != source_digest(claim.script):
            missing.append(
                f"the stored result of {claim.id} is of other code; run `theorylab run {claim.id}` again"
            )
        else:
            found[claim.id] = stored
    return found, missing


def _text(s: str) -> str:
    """Return a text that fits into a cell of a Markdown table."""
    return " ".join(s.split()).replace("|", "\\|")


def _measured(claim: Claim, stored: Mapping[str, Any]) -> tuple[str, str]:
    """Return the columns "predicted" and "measured", for the cell that used most of its tolerance."""
    if not stored["rows"]:
        return "-", "-"
    row = next(r for r in stored["rows"] if r["cell"] == stored["worst"])
    if claim.volatile:
        return row["predicted"], "depends on the machine"
    if isinstance(claim.criterion, Exact):
        # The digits of a rounding error differ between processors; that it is small does not.
        inside = row["verdict"] == "CONFIRMED"
        return row["predicted"], "all cells within the tolerance" if inside else "beyond the tolerance"
    numbers = [format_number(math.nan if row[k] is None else row[k]) for k in ("estimate", "low", "high")]
    where = f" at {row['cell']}" if row["cell"] else ""
    return row["predicted"], f"{numbers[0]} [{numbers[1]}, {numbers[2]}]{where}"


def _margin(claim: Claim, stored: Mapping[str, Any]) -> str:
    if claim.volatile or isinstance(claim.criterion, Exact):
        return "-"
    return format_percent(math.nan if stored["margin"] is None else stored["margin"])


def _columns(claim: Claim, stored: Mapping[str, Any]) -> list[str]:
    predicted, measured = _measured(claim, stored)
    controls = "<br>".join(
        f"{c['name'].replace('_', ' ')}: {claim.controls[c['name']].reason} ({c['verdict'].lower()})"
        for c in stored["controls"]
        if c["name"] in claim.controls
    )
    verdict = f"**{stored['verdict']}**"
    if claim.expected == "refuted":
        verdict += f" as recorded: {claim.reason}"
    name = claim.id.split(".", 1)[-1]
    return [
        f"**{name}** {_text(claim.statement)}",
        _text(claim.source),
        _text(claim.paper) or "-",
        _text(predicted),
        _text(measured),
        _text(controls) or "-",
        _text(verdict),
        _margin(claim, stored),
    ]


def block(system: str, claims: Sequence[Claim], stored: Mapping[str, Mapping[str, Any]], figures: str) -> str:
    """Return the generated block of one system."""
    lines = [_HEADER, "|" + " --- |" * 8]
    lines += ["| " + " | ".join(_columns(claim, stored[claim.id])) + " |" for claim in claims]
    runs = sorted({(stored[c.id]["scale"], stored[c.id]["seed"], stored[c.id]["level"]) for c in claims})
    sizes = "; ".join(f"{scale} size, seed {seed}, level {level:g}" for scale, seed, level in runs)
    lines += ["", f"Measured at {sizes}, by `theorylab run {system}`."]
    drawn = list(dict.fromkeys((c.figure_file, c.statement) for c in claims if c.draw is not None))
    for file, statement in drawn:
        lines += ["", f"![{_text(statement)}]({figures}/{file})"]
    return "\n".join(lines) + "\n"


def _by_system(claims: Sequence[Claim]) -> dict[str, list[Claim]]:
    groups: dict[str, list[Claim]] = {}
    for claim in claims:
        groups.setdefault(claim.system, []).append(claim)
    return groups


def write_report(claims: Sequence[Claim], store: Path, target: Path, figures: str = "figures") -> list[str]:
    """Rewrite the generated blocks of the report from the stored results.

    Hand-written prose is left as it is; a system without a block gets one at
    the end. Returns one sentence for each thing that is missing, and writes
    nothing in that case.
    """
    stored, missing = _load(claims, store)
    if missing:
        return missing
    text = target.read_text(encoding="utf-8") if target.exists() else "# What holds, paper by paper\n"
    for system, members in _by_system(claims).items():
        new = f"<!-- claims:{system} -->\n{block(system, members, stored, figures)}<!-- /claims:{system} -->"
        if not any(m["system"] == system for m in _BLOCK.finditer(text)):
            if f"<!-- claims:{system} -->" in text:
                return [f"{target} lacks the line <!-- /claims:{system} --> that ends the block of {system}"]
            text += f"\n## {system}\n\n{new}\n"
        else:
            text = _BLOCK.sub(lambda m, s=system, n=new: n if m["system"] == s else m[0], text)  # type: ignore[misc]
    with write_whole(target) as file:
        file.write(text.encode())
    return []


# Checking -----------------------------------------------------------------------------------


def _parse(body: str) -> dict[str, list[str]]:
    """Return the rows of a block by the name of their claim."""
    rows = {}
    for line in body.splitlines():
        match = re.match(r"\| \*\*(?P<name>[^*]+)\*\* ", line)
        if match:
            columns = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            rows[match["name"]] = columns
    return rows


def _row_of(cell: str | None, stored: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the stored row of a cell as the report prints it."""
    return next((row for row in stored["rows"] if _text(row["cell"]) == (cell or "")), None)


def _same_but_last_digits(old: str, new: str) -> bool:
    """Compare two texts whose numbers carry four digits, of which processors may round the last."""
    a, b = (_DIGITS.split(text) for text in (old, new))
    return len(a) == len(b) and all(
        x == y if k % 2 == 0 else math.isclose(float(x), float(y), rel_tol=1e-3)
        for k, (x, y) in enumerate(zip(a, b))
    )


def _prediction_drift(predicted: str, measured: str, claim: Claim, stored: Mapping[str, Any]) -> str:
    """Compare a printed prediction and tolerance with the stored one of the cell that the report shows."""
    match = _NUMBER.fullmatch(measured)
    # The cell of an exact claim is not printed: any of them will do.
    rows = [_row_of(match["cell"], stored)] if match else stored["rows"]
    new = [_text(row["predicted"]) for row in rows if row is not None]
    if claim.volatile or not new or any(_same_but_last_digits(predicted, text) for text in new):
        return ""
    return f"the prediction reads {predicted!r} in the report and {new[0]!r} in the results"


def _number_drift(old: str, claim: Claim, stored: Mapping[str, Any]) -> str:
    """Compare a printed measurement with the stored one: the intervals must overlap."""
    match = _NUMBER.fullmatch(old)
    if match is None:
        new = _text(_measured(claim, stored)[1])
        return "" if old == new else f"the report says {old!r}, the results say {new!r}"
    row = _row_of(match["cell"], stored)
    if row is None:
        return f"the cell {match['cell']!r} is no longer measured"
    low, high = float(match["low"]), float(match["high"])
    new_low, new_high = (math.nan if row[k] is None else row[k] for k in ("low", "high"))
    # Printed numbers carry four digits.
    slack = 1e-3 * max((abs(x) for x in (low, high) if math.isfinite(x)), default=0.0)
    if new_low > high + slack or new_high < low - slack:
        return f"the report says [{low:g}, {high:g}], the results say [{new_low:.4g}, {new_high:.4g}]"
    return ""


def check_report(claims: Sequence[Claim], store: Path, target: Path, figures: str = "figures") -> list[str]:
    """Compare the report with the stored results; one sentence for each drift.

    Claims, sources, predictions with their tolerances, controls, verdicts,
    scale and seed must be the same. Measured numbers must agree within their intervals, since last digits
    differ between processors.
    """
    stored, missing = _load(claims, store)
    drift = list(missing)
    if not target.exists():
        return [*drift, f"{target} does not exist; write it with `theorylab report`"]
    blocks = {m["system"]: m["body"] for m in _BLOCK.finditer(target.read_text(encoding="utf-8"))}
    systems = _by_system(claims)
    drift += [
        f"the report has a block for {s!r}, which has no claims" for s in blocks.keys() - systems.keys()
    ]
    for system, members in systems.items():
        if system not in blocks:
            drift.append(f"the report has no block for {system}; run `theorylab report`")
            continue
        rows = _parse(blocks[system])
        names = [claim.id.split(".", 1)[-1] for claim in members]
        drift += [
            f"{system}.{name} stands in the report but is no longer a claim"
            for name in rows
            if name not in names
        ]
        known = [claim for claim in members if claim.id in stored]
        for name, claim in zip(names, members):
            if name not in rows:
                drift.append(f"{claim.id} is missing from the report; run `theorylab report`")
            elif claim in known:
                drift += [f"{claim.id}: {d}" for d in _row_drift(rows[name], claim, stored[claim.id])]
        if len(known) == len(members):
            drift += _frame_drift(system, blocks[system], block(system, members, stored, figures))
    return drift


def _row_drift(old: list[str], claim: Claim, stored: Mapping[str, Any]) -> list[str]:
    if len(old) != _HEADER.count("|") - 1:
        return [f"its row has {len(old)} columns; run `theorylab report`"]
    new = [c.strip() for c in _columns(claim, stored)]
    labels = ("statement", "source", "paper's number", "", "", "controls", "verdict", "")
    drift = [
        f"the {label} reads {a!r} in the report and {b!r} in the results"
        for label, a, b in zip(labels, old, new)
        if label and a != b
    ]
    # The prediction belongs to the cell that the report shows, which need not be the worst one today.
    found = (_prediction_drift(old[3], old[4], claim, stored), _number_drift(old[4], claim, stored))
    return drift + [sentence for sentence in found if sentence]


def _frame_drift(system: str, old: str, new: str) -> list[str]:
    """Compare what stands under the table: size, seed, level and figures."""
    below = [[line for line in text.splitlines() if line and not line.startswith("|")] for text in (old, new)]
    return (
        []
        if below[0] == below[1]
        else [f"{system}: size, seed, level or figures differ; run `theorylab report`"]
    )
