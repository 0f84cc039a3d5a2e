"""Draw a stored result in the one style, to the same bytes each time on one machine."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from ._discovery import enter
from ._result import Result
from ._store import write_whole

__all__ = ["draw"]

_STYLE = Path(__file__).resolve().parents[1] / "figures.mplstyle"
# Dates would change the bytes.
_METADATA: dict[str, dict[str, Any]] = {
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
    ".png": {"Software": None},
}


def caption(result: Result) -> str:
    """Return the line under a figure: sample sizes, seed, level, verdict."""
    sizes = {len(samples) for samples in result.branch().pooled}
    n = f"n = {min(sizes)}" if len(sizes) == 1 else f"n = {min(sizes)} to {max(sizes)}"
    run = f"seed {result.seed}, level {result.level:g}, {result.scale} size"
    return f"{n} per cell, {run}: {result.verdict.name}"


def draw(result: Result, folder: Path) -> Path | None:
    """Draw the claim's figure into `folder`; None where it declares none or has no result.

    Raises
    ------
    ValueError
        For a file that is neither svg, png nor pdf.
    StoreError
        Where the folder cannot be written.
    """
    claim = result.claim
    if claim.draw is None or result.judgement is None:
        return None
    path = folder / claim.figure_file
    if path.suffix not in _METADATA:
        raise ValueError(f"{claim.id}: a figure is written as svg, png or pdf, not {path.suffix!r}")
    import matplotlib as mpl
    import matplotlib.style
    from matplotlib.figure import Figure

    enter(claim.script)
    with mpl.rc_context():
        mpl.style.use(str(_STYLE))
        figure = Figure(layout="constrained")
        ax = figure.add_subplot()
        claim.draw(ax, result)
        for axes in figure.axes:
            if axes.get_legend() is None and axes.get_legend_handles_labels()[0]:
                axes.legend()
        if not figure.get_suptitle():
            figure.suptitle(textwrap.fill(claim.statement, 84), fontsize=10, x=0.01, ha="left")
        figure.supxlabel(caption(result), fontsize=7, color="0.4", x=0.01, ha="left")
        with write_whole(path) as file:
            figure.savefig(file, format=path.suffix[1:], metadata=_METADATA[path.suffix])
    return path
