"""Expand claims into cells, have them computed, and gather the verdicts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._lib.checks import check_choice, check_int
from ._claim import Claim
from ._digest import source_digest
from ._discovery import loading, repeated
from ._executors import Outcome, Task, compute
from ._grid import Cell
from ._result import CellError, Result
from ._store import CellResult, Store

__all__ = ["run_claims", "stream_results"]

Address = tuple[str, int, int]  # branch, cell, replicate


@dataclass
class _Pending:
    """A claim whose cells are being computed."""

    claim: Claim
    scale: str
    seed: int
    digest: str
    store: Store | None
    done: dict[Address, CellResult] = field(default_factory=dict)
    errors: list[CellError] = field(default_factory=list)
    total: int = 0

    @property
    def complete(self) -> bool:
        return len(self.done) + len(self.errors) == self.total

    def cell(self, address: Address) -> Cell:
        branch, cell, _ = address
        return self.claim.grid(self.scale, branch).cells[cell]

    def addresses(self) -> Iterator[Address]:
        """Yield all cells, those of the claim first."""
        for branch in self.claim.branches:
            grid = self.claim.grid(self.scale, branch)
            for cell in range(len(grid.cells)):
                for replicate in range(grid.replicates):
                    yield branch, cell, replicate

    def tasks(self, resume: bool) -> list[Task]:
        """Return the work that is left; what is stored already goes to `done`."""
        tasks = []
        for address in self.addresses():
            self.total += 1
            branch, cell, replicate = address
            stored = self.store.load(branch, self.cell(address), replicate) if self.store and resume else None
            if stored is not None:
                self.done[address] = stored
            else:
                tasks.append(
                    Task(self.claim.script, self.claim.id, self.scale, self.seed, branch, cell, replicate)
                )
        return tasks

    def accept(self, outcome: Outcome) -> None:
        """Store a computed cell, or note its error."""
        task = outcome.task
        address = (task.branch, task.cell, task.replicate)
        cell = self.cell(address)
        if outcome.result is None:
            self.errors.append(CellError(task.branch, cell, task.replicate, outcome.error))
            return
        if self.store:
            self.store.save(task.branch, cell, task.replicate, outcome.result)
        self.done[address] = outcome.result

    def result(self) -> Result:
        """Judge the claim."""
        cells: dict[str, list[list[CellResult]]] = {}
        for branch in self.claim.branches:
            grid = self.claim.grid(self.scale, branch)
            cells[branch] = [
                [self.done[branch, c, r] for r in range(grid.replicates) if (branch, c, r) in self.done]
                for c in range(len(grid.cells))
            ]
        errors = sorted(self.errors, key=lambda e: (e.branch, repr(e.cell), e.replicate or 0))
        result = Result(self.claim, self.scale, self.seed, cells, errors, self.digest)
        if self.store:
            from ._report import summary

            self.store.write_summary(summary(result))
        return result


def stream_results(
    claims: Sequence[Claim],
    *,
    scale: str = "quick",
    seed: int = 0,
    workers: int = 1,
    dask: str | None = None,
    store: Path | str | None = None,
    resume: bool = False,
    on_progress: Callable[[Claim, int, int], Any] | None = None,
) -> Iterator[Result]:
    """Yield the result of each claim as soon as its last cell is there.

    Parameters
    ----------
    claims : sequence of Claim
    scale, seed, workers, store, resume
        As in :meth:`Claim.run`.
    dask : str, optional
        Address of a dask.distributed scheduler, instead of `workers`.
    on_progress : callable, optional
        Called with the claim, its finished cells and all of its cells.

    Raises
    ------
    StoreError
        Where `store` cannot be written.
    ValueError
        Where two claims share an id.
    RuntimeError
        Where a script runs its claims while it is imported for them.
    """
    if loading():
        raise RuntimeError(
            "a script simulates nothing while it is imported; run its claims under "
            '`if __name__ == "__main__":`'
        )
    for sentence in repeated(claims):
        raise ValueError(sentence)
    check_choice(scale, "scale", ("quick", "full"))
    check_int(seed, "seed", low=0)
    check_int(workers, "workers", low=1)
    pending: dict[str, _Pending] = {}
    tasks: list[Task] = []
    for claim in claims:
        digest = source_digest(claim.script)
        folder = Store(Path(store), claim.id, scale, seed, digest) if store is not None else None
        pending[claim.id] = _Pending(claim, scale, seed, digest, folder)
        # A claim declared at the prompt has no source to compare with what is stored.
        tasks.extend(pending[claim.id].tasks(resume and claim.script is not None))
    for claim_id in [key for key, p in pending.items() if p.complete]:
        yield pending.pop(claim_id).result()
    outcomes = compute(tasks, claims, workers, dask)
    with contextlib.closing(outcomes):  # type: ignore[type-var]
        for outcome in outcomes:
            state = pending[outcome.task.claim]
            state.accept(outcome)
            if on_progress is not None:
                on_progress(state.claim, len(state.done) + len(state.errors), state.total)
            if state.complete:
                yield pending.pop(state.claim.id).result()


def run_claims(claims: Sequence[Claim], **options: Any) -> list[Result]:
    """Run claims and return their results in the order of `claims`; options as in `stream_results`."""
    found = {result.claim.id: result for result in stream_results(claims, **options)}
    return [found[claim.id] for claim in claims]
