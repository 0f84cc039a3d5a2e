"""What a run gave, in the form in which figures and readers want it."""

from __future__ import annotations

import hashlib
import math
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._claim import CLAIM, Claim
from ._criterion import Criterion, Points
from ._discovery import enter
from ._grid import Cell, Grid
from ._store import CellResult
from ._verdict import Judgement, Verdict

__all__ = ["BranchResult", "CellError", "Result", "explain"]

Floats = NDArray[np.float64]


def explain(error: BaseException, script: Path | None) -> str:
    """Return the exception's text and the line of the script where it arose."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frames = [f for f in traceback.extract_tb(error.__traceback__) if script and Path(f.filename) == script]
    if frames:
        text += f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name})"
    return text


def check_prediction(prediction: Any) -> Any:
    """Return a prediction as None, a float, an interval ``(low, high)`` or a law; refuse NaN and the rest."""
    if prediction is None or isinstance(prediction, str) or callable(prediction):
        return prediction
    if hasattr(prediction, "cdf"):
        return prediction
    numbers = np.asarray(prediction)
    if numbers.dtype.kind not in "fiub" or (numbers.size != 1 and numbers.shape != (2,)):
        raise TypeError(f"expected a number, an interval (low, high) or a law, got {prediction!r}")
    if np.isnan(numbers).any():
        raise ValueError(f"the prediction is {prediction!r}")
    return tuple(map(float, numbers)) if numbers.shape == (2,) else float(numbers.item())


@dataclass(frozen=True)
class CellError:
    """An exception, and where it arose."""

    branch: str
    cell: Cell
    replicate: int | None
    text: str

    def __str__(self) -> str:
        where = ", ".join(f"{axis}={value}" for axis, value in self.cell.items())
        if self.replicate is not None:
            where = f"{where or 'the only cell'}, replicate {self.replicate}"
        return f"{self.branch}{' at ' * bool(where)}{where}: {self.text}"


class BranchResult:
    """The samples of one branch (the claim, or one control) and their judgement."""

    def __init__(
        self, name: str, grid: Grid, criterion: Criterion, level: float, cells: Sequence[Sequence[CellResult]]
    ) -> None:
        self.name = name
        self.grid = grid
        self.level = level
        self._criterion = criterion
        self._cells = cells
        self._predictions: list[Any] = []
        self.judgement: Judgement | None = None

    def predict(self, claim: Claim) -> Iterator[Cell]:
        """Predict cell after cell, each yielded before; exceptions are the caller's."""
        enter(claim.script)
        for cell in self.grid.points:
            yield cell
            self._predictions.append(check_prediction(claim.prediction(cell, self.name)))

    def judge(self) -> None:
        """Judge what was predicted; exceptions are the caller's."""
        points = self.grid.points
        self.judgement = self._criterion.judge(
            Points(
                points,
                self.pooled,
                self._predictions,
                [k // self.grid.joint_size for k in range(len(points))],
                [name for name, _ in self.grid.joint],
            ),
            self.level,
        )

    @cached_property
    def pooled(self) -> list[Floats]:
        """The samples of all replicates, one array for each point of the grid."""
        pooled: list[Floats] = []
        for replicates in self._cells:
            values = np.concatenate([cell.values for cell in replicates])
            pooled.extend(values[:, j] for j in range(self.grid.joint_size))
        return pooled

    def _find(self, cell: Cell, cells: Sequence[Cell]) -> int:
        matches = [
            k for k, c in enumerate(cells) if all(c.get(axis) == value for axis, value in cell.items())
        ]
        if len(matches) != 1:
            raise KeyError(
                f"{cell} names {len(matches)} cells of {self.name}, expected 1; the axes are {cells[0]}"
            )
        return matches[0]

    # For figures ----------------------------------------------------------------------------

    def axis(self, name: str) -> NDArray[Any]:
        """Return the values on one axis."""
        values = self.grid.axis(name)
        if all(isinstance(value, (bool, int, float, str)) for value in values):
            return np.array(values)
        out = np.empty(len(values), dtype=object)
        for k, value in enumerate(values):
            out[k] = value
        return out

    @cached_property
    def prediction(self) -> NDArray[Any]:
        """The predictions, one dimension for each axis; an object array for laws and intervals."""
        numeric = all(isinstance(p, (int, float, np.number)) for p in self._predictions)
        out = np.empty(len(self._predictions), dtype=np.float64 if numeric else object)
        for k, p in enumerate(self._predictions):
            out[k] = p
        return out.reshape(self.grid.shape)

    @cached_property
    def _shown(self) -> Floats:
        shown = [self._criterion.shown(samples, self.level) for samples in self.pooled]
        return np.array([(e.value, e.low, e.high) for e in shown]).reshape(*self.grid.shape, 3)

    @property
    def estimate(self) -> Floats:
        """The estimates, one dimension for each axis."""
        return self._shown[..., 0]

    @property
    def interval(self) -> Floats:
        """The ends of the intervals, shape ``(*axes, 2)``."""
        return self._shown[..., 1:]

    def samples(self, **cell: Any) -> Floats:
        """Return the pooled samples of one point of the grid."""
        return self.pooled[self._find(cell, self.grid.points)]

    def extras(self, name: str, /, **cell: Any) -> list[NDArray[Any]]:
        """Return an extra array of one simulated cell, one for each replicate."""
        return [c.extras[name] for c in self._cells[self._find(cell, self.grid.cells)]]

    def curve(self, **fixed: Any) -> tuple[NDArray[Any], Floats, Floats, Floats]:
        """Return ``(x, estimate, low, high)`` along the one axis that is not fixed."""
        axes = [name for name, _ in self.grid.axes + self.grid.joint]
        free = [name for name in axes if name not in fixed]
        if len(free) != 1:
            raise KeyError(f"fix all axes but one to get a curve; free are {free}")
        for name, value in fixed.items():
            if value not in self.grid.axis(name):
                raise KeyError(f"no {name}={value!r}; the axis holds {self.grid.axis(name)}")
        index = tuple(slice(None) if n == free[0] else self.grid.axis(n).index(fixed[n]) for n in axes)
        shown = self._shown[index]
        return self.axis(free[0]), shown[:, 0], shown[:, 1], shown[:, 2]

    def errorbar(self, ax: Any, *, x: Any = None, **style: Any) -> None:
        """Plot estimates as dots with intervals along the one axis that is not fixed.

        Keywords that name an axis fix it; the others go to ``ax.errorbar``.
        """
        axes = {name for name, _ in self.grid.axes + self.grid.joint}
        fixed = {name: style.pop(name) for name in list(style) if name in axes}
        values, estimate, low, high = self.curve(**fixed)
        below, above = np.maximum(estimate - low, 0), np.maximum(high - estimate, 0)
        finite = np.isfinite(below) & np.isfinite(above)
        bars = np.where(finite, [below, above], 0.0)
        label = "simulation" if self.name == CLAIM else f"control: {self.name.replace('_', ' ')}"
        ax.errorbar(values if x is None else x, estimate, bars, **{"fmt": "o", "label": label, **style})


class Result:
    """The verdict on a claim with everything that led to it."""

    def __init__(
        self,
        claim: Claim,
        scale: str,
        seed: int,
        cells: Mapping[str, Sequence[Sequence[CellResult]]],
        errors: Sequence[CellError],
        source_digest: str = "",
    ) -> None:
        self.claim = claim
        self.scale = scale
        self.seed = seed
        self.source_digest = source_digest
        self.errors = list(errors)
        self.seconds = sum(c.seconds for branch in cells.values() for cell in branch for c in cell)
        self.branches: dict[str, BranchResult] = {}
        failed = {error.branch for error in errors}
        for branch in claim.branches:
            if branch in failed:
                continue
            result = BranchResult(
                branch, claim.grid(scale, branch), claim.criterion_of(branch), claim.level, cells[branch]
            )
            cell: Cell = {}
            doing = "predicting"
            try:
                for cell in result.predict(claim):  # noqa: B007
                    pass
                cell, doing = {}, "judging"
                result.judge()
            except (Exception, SystemExit) as error:
                text = f"{explain(error, claim.script)} while {doing}"
                self.errors.append(CellError(branch, cell, None, text))
            else:
                self.branches[branch] = result
        self._cells = cells

    @cached_property
    def controls(self) -> dict[str, Verdict]:
        """The verdict on each control, which must be REFUTED."""
        found = {}
        for name in self.claim.controls:
            branch = self.branches.get(name)
            found[name] = branch.judgement.verdict if branch and branch.judgement else Verdict.ERROR
        return found

    @cached_property
    def verdict(self) -> Verdict:
        """The verdict; controls are looked at first."""
        if self.errors:
            return Verdict.ERROR
        if any(verdict is not Verdict.REFUTED for verdict in self.controls.values()):
            return Verdict.VOID
        judgement = self.judgement
        return judgement.verdict if judgement else Verdict.ERROR

    @property
    def as_expected(self) -> bool:
        """Whether the verdict is the one that the claim declares."""
        return self.verdict.name.lower() == self.claim.expected

    @property
    def judgement(self) -> Judgement | None:
        """The judgement of the claim's own branch."""
        branch = self.branches.get(CLAIM)
        return branch.judgement if branch else None

    @property
    def margin(self) -> float:
        """The largest fraction of the tolerance that a cell used; at most 1 where confirmed."""
        return self.judgement.margin if self.judgement else math.nan

    @property
    def level(self) -> float:
        """The probability of a wrong verdict."""
        return self.claim.level

    @cached_property
    def samples_digest(self) -> str:
        """Twelve hex digits of all samples, the same for every number of workers and after a resume."""
        hashed = hashlib.sha256()
        for branch in self.claim.branches:
            for cell in self._cells.get(branch, ()):
                for c in cell:
                    hashed.update(f"{branch}{c.values.shape}".encode())
                    hashed.update(np.ascontiguousarray(c.values, dtype="<f8").tobytes())
        return hashed.hexdigest()[:12]

    # For figures, the claim's own branch by default -------------------------------------------

    def branch(self, name: str | None = None) -> BranchResult:
        """Return the claim's own branch, or a control by its name."""
        try:
            return self.branches[name or CLAIM]
        except KeyError:
            raise KeyError(f"no branch {name!r}; there are {', '.join(self.branches)}") from None

    def axis(self, name: str) -> NDArray[Any]:
        """Return the values on one axis."""
        return self.branch().axis(name)

    @property
    def prediction(self) -> NDArray[Any]:
        """The predictions, one dimension for each axis."""
        return self.branch().prediction

    @property
    def estimate(self) -> Floats:
        """The estimates, one dimension for each axis."""
        return self.branch().estimate

    @property
    def interval(self) -> Floats:
        """The ends of the intervals, shape ``(*axes, 2)``."""
        return self.branch().interval

    def samples(self, branch: str | None = None, **cell: Any) -> Floats:
        """Return the pooled samples of one point of the grid."""
        return self.branch(branch).samples(**cell)

    def extras(self, name: str, /, branch: str | None = None, **cell: Any) -> list[NDArray[Any]]:
        """Return an extra array of one simulated cell, one for each replicate."""
        return self.branch(branch).extras(name, **cell)

    def curve(self, branch: str | None = None, **fixed: Any) -> tuple[NDArray[Any], Floats, Floats, Floats]:
        """Return ``(x, estimate, low, high)`` along the one axis that is not fixed."""
        return self.branch(branch).curve(**fixed)

    def errorbar(self, ax: Any, branch: str | None = None, **style: Any) -> None:
        """Plot estimates as dots with intervals; keywords that name an axis fix it."""
        self.branch(branch).errorbar(ax, **style)

    # For readers ----------------------------------------------------------------------------

    def table(self) -> str:
        """Return the table that a reader sees: each cell, each control, the verdict."""
        from ._present import table

        return table(self)

    def draw(self, folder: Path | str = "figures") -> Path | None:
        """Draw the claim's figure into `folder`; None where it declares none."""
        from ._figures import draw

        return draw(self, Path(folder))

    def __repr__(self) -> str:
        return f"<Result {self.claim.id}: {self.verdict.name}>"
