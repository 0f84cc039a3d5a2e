"""The seven nouns of a validation, as one declaration."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._lib.checks import check_choice, check_real
from ._criterion import Criterion
from ._grid import Cell, Grid

if TYPE_CHECKING:
    from ._result import Result

__all__ = ["CLAIM", "Claim", "Control", "Samples"]

F = TypeVar("F", bound=Callable[..., Any])

#: The name of the branch that simulates the claim itself.
CLAIM = "claim"

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")


class Samples:
    """Samples to be judged, together with arrays that only the figure needs.

    Parameters
    ----------
    values : array_like
        What a measurement returns otherwise.
    **extras : array_like
        Kept with the cell; read them with ``result.extras(name, **cell)``.
    """

    def __init__(self, values: ArrayLike, /, **extras: ArrayLike) -> None:
        self.values = np.asarray(values)
        self.extras = {name: np.asarray(array) for name, array in extras.items()}


@dataclass(frozen=True)
class Control:
    """A measurement with the theory's assumption broken; it must be REFUTED.

    Attributes
    ----------
    name : str
        The name of the function.
    reason : str
        Why it must fail.
    measure : callable
    grid : Grid, optional
        Its own cells, at both scales; those of the claim by default.
    predict : callable, optional
    criterion : Criterion, optional
    """

    name: str
    reason: str
    measure: Callable[..., Any]
    grid: Grid | None = None
    predict: Callable[..., Any] | None = None
    criterion: Criterion | None = None


@dataclass
class _Parts:
    """What the decorators fill in."""

    predict: Callable[..., Any] | None = None
    measure: Callable[..., Any] | None = None
    draw: Callable[..., Any] | None = None
    controls: dict[str, Control] = field(default_factory=dict)


class Claim:
    """One falsifiable sentence of a paper, and all that is needed to judge it.

    Parameters
    ----------
    id : str
        Stable, ``"<system>.<name>"``, of ASCII letters, digits, ``_`` and ``-``.
    statement : str
        One sentence that can be false.
    source : str
        Theorem, equation or figure.
    criterion : Criterion
    quick, full : Grid
        The cells at the two scales; `full` defaults to `quick`. Quick takes
        less than a minute on two cores.
    level : float
        Probability of a wrong verdict, shared over the cells.
    headline : bool
        Belongs to the main job, ``theorylab run --headline``.
    paper : str
        The paper's own number, shown in a column of its own.
    expected : {"confirmed", "refuted"}
        "refuted" records honestly that the paper's claim does not hold here;
        it needs a `reason`.
    reason : str
    volatile : bool
        The numbers depend on the machine (timings): the report compares the
        verdict only.

    Examples
    --------
    >>> from theorylab.validation import Claim, Within, grid
    >>> claim = Claim(
    ...     id="demo.mean",
    ...     statement="A uniform variable has mean 1/2.",
    ...     source="calculus",
    ...     criterion=Within(abs=0.02),
    ...     quick=grid(replicates=4),
    ... )
    >>> @claim.predict
    ... def half():
    ...     return 0.5
    >>> @claim.measure
    ... def uniform(rng):
    ...     return rng.random(5000)
    >>> @claim.control("a triangular variable has mean 1/3")
    ... def triangular(rng):
    ...     return 1 - np.sqrt(rng.random(5000))
    >>> claim.run().verdict.name
    'CONFIRMED'
    """

    def __init__(
        self,
        id: str,
        statement: str,
        source: str,
        criterion: Criterion,
        quick: Grid,
        full: Grid | None = None,
        *,
        level: float = 1e-3,
        headline: bool = False,
        paper: str = "",
        expected: str = "confirmed",
        reason: str = "",
        volatile: bool = False,
    ) -> None:
        if not (isinstance(id, str) and _ID.fullmatch(id)):
            raise ValueError(f"id must look like 'system.name', of letters, digits, _ and -, got {id!r}")
        if not isinstance(criterion, Criterion):
            raise TypeError(f"criterion must be a Criterion such as Within(rel=0.1), got {criterion!r}")
        for name, value in (("quick", quick), ("full", full)):
            if value is not None and not isinstance(value, Grid):
                raise TypeError(f"{name} must be made by grid(...), got {value!r}")
        check_choice(expected, "expected", ("confirmed", "refuted"))
        if expected == "refuted" and not reason:
            raise ValueError(f"{id}: expected='refuted' needs a reason that the report can print")
        self.id = id
        self.statement = statement
        self.source = source
        self.criterion = criterion
        self.quick = quick
        self.full = full if full is not None else quick
        self.level = check_real(level, "level", low=0, high=0.5, open_low=True)
        self.headline = headline
        self.paper = paper
        self.expected = expected
        self.reason = reason
        self.volatile = volatile
        self.figure_file = f"{id}.svg"
        self._parts = _Parts()
        # Workers load the claim again from its file, which is where it was declared.
        declared_in = Path(sys._getframe(1).f_globals.get("__file__") or "")
        self.script = declared_in.resolve() if declared_in.is_file() else None

    def __repr__(self) -> str:
        return f"Claim({self.id!r})"

    @property
    def system(self) -> str:
        """The part of the id before the first dot."""
        return self.id.split(".", 1)[0]

    @property
    def controls(self) -> Mapping[str, Control]:
        """The controls by name, in order of declaration."""
        return self._parts.controls

    @property
    def branches(self) -> Sequence[str]:
        """The claim's own branch and those of its controls."""
        return [CLAIM, *self._parts.controls]

    def predict(self, function: F) -> F:
        """Declare the prediction: a pure function of the cell; decorator."""
        self._parts.predict = function
        return function

    def measure(self, function: F) -> F:
        """Declare the measurement: a pure function of the cell and `rng`; decorator."""
        self._parts.measure = function
        return function

    def control(
        self,
        reason: str,
        *,
        grid: Grid | None = None,
        predict: Callable[..., Any] | None = None,
        criterion: Criterion | None = None,
    ) -> Callable[[F], F]:
        """Declare a control and why it must fail; decorator with an argument."""
        if not isinstance(reason, str):
            raise TypeError('a control needs its reason: @claim.control("why this must fail")')

        def declare(function: F) -> F:
            name = function.__name__
            if name in self.branches:
                raise ValueError(f"{self.id} has a branch {name!r} already; rename the function")
            self._parts.controls[name] = Control(name, reason, function, grid, predict, criterion)
            return function

        return declare

    @overload
    def figure(self, function: F) -> F: ...
    @overload
    def figure(self, *, file: str) -> Callable[[F], F]: ...
    def figure(self, function: F | None = None, *, file: str = "") -> F | Callable[[F], F]:
        """Declare how the stored result is drawn: a function of `ax` and `result`; decorator.

        The picture is written to ``<id>.svg``, or to `file` (svg, png or pdf).
        """
        if file:
            self.figure_file = file

        def declare(f: F) -> F:
            self._parts.draw = f
            return f

        return declare if function is None else declare(function)

    @property
    def draw(self) -> Callable[..., Any] | None:
        """The function that draws the figure, None where there is none."""
        return self._parts.draw

    # What the runner and the criteria ask for -------------------------------------------------

    def grid(self, scale: str, branch: str = CLAIM) -> Grid:
        """Return the cells of a branch."""
        own = self._parts.controls[branch].grid if branch != CLAIM else None
        return own or (self.quick if scale == "quick" else self.full)

    def n_cells(self, scale: str) -> int:
        """Return how many cells and replicates all branches have together."""
        grids = [self.grid(scale, branch) for branch in self.branches]
        return sum(len(g.cells) * g.replicates for g in grids)

    def criterion_of(self, branch: str = CLAIM) -> Criterion:
        """Return the criterion by which a branch is judged."""
        own = self._parts.controls[branch].criterion if branch != CLAIM else None
        return own or self.criterion

    def prediction(self, cell: Cell, branch: str = CLAIM) -> Any:
        """Return the prediction for a cell, None where nothing is predicted."""
        own = self._parts.controls[branch].predict if branch != CLAIM else None
        function = own or self._parts.predict
        return None if function is None else function(**cell)

    def simulate(self, branch: str, cell: Cell, joint_size: int, rng: np.random.Generator) -> Samples:
        """Run one measurement and check what it returned.

        Returns
        -------
        Samples
            With values of shape (n, joint_size), or (n, joint_size, 2) for pairs.
        """
        function = self._parts.measure if branch == CLAIM else self._parts.controls[branch].measure
        if function is None:
            raise ValueError(f"{self.id} has no measurement; declare one with @claim.measure")
        returned = function(**cell, rng=rng)
        samples = returned if isinstance(returned, Samples) else Samples(returned)
        criterion = self.criterion_of(branch)
        pair = (2,) if criterion.paired else ()
        if np.iscomplexobj(samples.values):
            raise TypeError("the measurement returned complex numbers, expected real ones")
        values = np.asarray(samples.values, dtype=np.float64)
        row = joint_size * math.prod(pair)
        if values.size == 0 or values.size % row or (pair and values.shape[-1:] != pair):
            wanted = f"a multiple of {row} numbers" + (" in pairs (n, 2)" if pair else "")
            raise ValueError(f"the measurement returned shape {values.shape}, expected {wanted}")
        check_samples(values, criterion.infinite)
        return Samples(values.reshape(-1, joint_size, *pair), **samples.extras)

    # Running --------------------------------------------------------------------------------

    def run(
        self,
        scale: str = "quick",
        seed: int = 0,
        workers: int = 1,
        store: Any = None,
        *,
        resume: bool = False,
    ) -> Result:
        """Simulate all cells of the claim and its controls, and judge them.

        Parameters
        ----------
        scale : {"quick", "full"}
        seed : int
            All random streams derive from it and from the cell's address, so
            results are the same bits for every number of workers.
        workers : int
            Processes; 1 runs in this one, as does a claim that no file declares.
        store : path, optional
            Folder for the cells; nothing is written by default.
        resume : bool
            Do not redo cells that are stored under the same key.

        Returns
        -------
        Result
        """
        from ._runner import run_claims

        (result,) = run_claims([self], scale=scale, seed=seed, workers=workers, store=store, resume=resume)
        return result

    def main(self, argv: Sequence[str] | None = None) -> None:
        """Run this claim as a script: ``--full --seed 1 --workers 8 --resume``."""
        from ._discovery import loading
        from ._script import run_script

        if not loading():
            raise SystemExit(run_script([self], argv))


def check_samples(values: NDArray[np.float64], infinite: bool) -> None:
    """Raise ValueError for NaN, and for infinities unless the criterion can judge them."""
    bad = np.isnan(values) if infinite else ~np.isfinite(values)
    if bad.any():
        raise ValueError(
            f"the measurement returned {int(bad.sum())} of {values.size} samples that are not finite "
            f"(the first is {values[bad].flat[0]})"
        )
