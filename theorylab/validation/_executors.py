"""Where cells are computed: in this process, in worker processes, or on a dask cluster.

All three take tasks and yield outcomes in any order. A task names its claim by
script and id, so that nothing needs to be pickled but a few words. Every cell
runs with one thread: the number of threads would change the last bits of BLAS
results, and parallelism over cells scales better anyway.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .._lib.rng import seed_of
from .._lib.threads import ThreadLimit
from ._claim import Claim
from ._discovery import claims_of, enter, load_script
from ._result import explain
from ._store import CellResult

__all__ = ["Outcome", "Task", "compute"]


@dataclass(frozen=True)
class Task:
    """One cell and replicate of one branch of a claim."""

    script: Path | None
    claim: str
    scale: str
    seed: int
    branch: str
    cell: int
    replicate: int


@dataclass(frozen=True)
class Outcome:
    """A result, or the text of the exception that came instead."""

    task: Task
    result: CellResult | None
    error: str = ""


def execute(claim: Claim, task: Task, limit: ThreadLimit) -> Outcome:
    """Compute one cell with its own random stream; an exception becomes the outcome's text."""
    grid = claim.grid(task.scale, task.branch)
    cell = grid.cells[task.cell]
    address = (claim.id, task.branch, repr(sorted(cell.items())), task.replicate)
    rng = np.random.default_rng(seed_of(task.seed, *address))
    enter(task.script)
    limit.refresh()
    start = time.perf_counter()
    try:
        samples = claim.simulate(task.branch, cell, grid.joint_size, rng)
    except (Exception, SystemExit) as error:
        return Outcome(task, None, explain(error, task.script))
    return Outcome(task, CellResult(samples.values, samples.extras, time.perf_counter() - start))


def in_process(tasks: Iterable[Task], claims: Iterable[Claim]) -> Iterator[Outcome]:
    """Compute the tasks here, one after the other."""
    by_id = {claim.id: claim for claim in claims}
    limit = ThreadLimit(1)
    try:
        for task in tasks:
            yield execute(by_id[task.claim], task, limit)
    finally:
        limit.close()


def compute(
    tasks: Sequence[Task], claims: Iterable[Claim], workers: int, dask: str | None
) -> Iterator[Outcome]:
    """Compute the tasks where they are wanted; those of claims that no file declares, always here."""
    away = [task for task in tasks if task.script is not None]
    if dask is not None:
        yield from on_dask(away, dask)
    elif workers > 1 and away:
        yield from in_processes(away, workers)
    else:
        away = []
    yield from in_process([task for task in tasks if not away or task.script is None], claims)


# Worker processes ---------------------------------------------------------------------------

_worker_limit: ThreadLimit | None = None


def _start_worker() -> None:
    # The parent alone answers Ctrl-C; it then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a measurement prints must not come between the results.
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """End this process with its parent, whose killing the idle workers of a pool would not notice."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def execute_elsewhere(task: Task) -> Outcome:
    """Compute one cell in a process that knows the claim only by its script and id."""
    global _worker_limit
    if _worker_limit is None:
        _worker_limit = ThreadLimit(1)
    try:
        assert task.script is not None  # see compute
        named = [claim for claim in claims_of(load_script(task.script)) if claim.id == task.claim]
        if not named:
            raise LookupError(
                f"{task.script} has no claim {task.claim!r} at its module level, where workers look for it"
            )
    except Exception as error:
        return Outcome(task, None, explain(error, task.script))
    return execute(named[0], task, _worker_limit)


def _context() -> BaseContext:
    # Never fork: a fork after a parallel region of OpenMP kills the child.
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not import the main script anew.

    They load scripts by themselves, and a script may lack the guard
    ``if __name__ == "__main__"``.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _alone_target(task: Task, pipe: Connection) -> None:
    _start_worker()
    pipe.send(execute_elsewhere(task))


def _alone(task: Task, context: BaseContext) -> Outcome:
    """Compute one task in a process of its own, so that its death is its own as well."""
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_alone_target, args=(task, send), daemon=True)  # type: ignore[attr-defined]
    with _without_main():
        process.start()
    send.close()
    try:
        outcome: Outcome = receive.recv()
    except EOFError:
        process.join()
        code = process.exitcode
        how = (
            f"was killed by {signal.Signals(-code).name}"
            if code and code < 0
            else f"ended with exit code {code}"
        )
        return Outcome(task, None, f"the worker process {how} while it computed this cell")
    process.join()
    return outcome


def in_processes(tasks: Iterable[Task], workers: int) -> Iterator[Outcome]:
    """Compute the tasks in `workers` processes.

    Where a worker dies, the cells that were in flight are tried once more,
    each in a process of its own; the one that kills its process again is
    reported with the reason, and the rest goes on.
    """
    context = _context()
    queue = iter(tasks)
    while True:
        suspects: list[Task] = []
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
        try:
            yield from _drain(queue, partial(_submit, pool), 2 * workers, suspects)
        except GeneratorExit:
            _kill(pool)
            raise
        except KeyboardInterrupt:
            _kill(pool)
            raise
        pool.shutdown(wait=not suspects, cancel_futures=True)
        if not suspects:
            return
        for task in suspects:
            yield _alone(task, context)


def _submit(pool: ProcessPoolExecutor, task: Task) -> Future[Outcome]:
    with _without_main():
        return pool.submit(execute_elsewhere, task)


def _kill(pool: ProcessPoolExecutor) -> None:
    children = multiprocessing.active_children()
    pool.shutdown(wait=False, cancel_futures=True)
    for child in children:
        child.terminate()


def _drain(
    queue: Iterator[Task], submit: Callable[[Task], Future[Outcome]], window: int, suspects: list[Task]
) -> Iterator[Outcome]:
    """Keep `window` tasks in flight; stop at a broken pool and leave the tasks in flight in `suspects`."""
    flying: dict[Future[Outcome], Task] = {}
    while True:
        try:
            for task in itertools.islice(queue, window - len(flying)):
                suspects.append(task)
                flying[submit(task)] = task
                suspects.pop()
        except BrokenProcessPool:
            suspects.extend(flying.values())
            return
        if not flying:
            return
        for future in wait(flying, return_when=FIRST_COMPLETED).done:
            task = flying.pop(future)
            try:
                outcome = future.result()
            except BrokenProcessPool:
                suspects.append(task)
            except Exception as error:  # the outcome could not be sent, say
                yield Outcome(task, None, explain(error, task.script))
            else:
                yield outcome
        if suspects:
            suspects.extend(flying.values())
            return


# Dask ---------------------------------------------------------------------------------------


def on_dask(tasks: Iterable[Task], address: str) -> Iterator[Outcome]:
    """Compute the tasks on the dask.distributed cluster whose scheduler listens at `address`.

    The workers must see the scripts under the same path and have theorylab
    installed.

    Raises
    ------
    ImportError
        Where the extra ``distributed`` is not installed.
    OSError
        Where no scheduler answers.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("--dask needs dask.distributed: pip install 'theorylab[distributed]'") from error
    _knock(address)
    with Client(address, timeout="20s", set_as_default=False) as client:
        suspects: list[Task] = []
        slots = max(1, sum(client.nthreads().values()))
        yield from _dask_window(client, iter(tasks), slots, suspects)
        # Dask blames the death of a worker on all tasks that it held: try each of them by itself.
        for task in suspects:
            culprits: list[Task] = []
            yield from _dask_window(client, iter([task]), 1, culprits)
            for culprit in culprits:
                yield Outcome(culprit, None, "the dask worker died each time it computed this cell")


def _knock(address: str) -> None:
    """Raise OSError at once where nobody listens; dask itself would wait long and complain at length."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise OSError(f"the address of a dask scheduler looks like tcp://host:8786, got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise OSError(f"no dask scheduler answers at {address}: {error}") from None


def _dask_window(client: Any, queue: Iterator[Task], window: int, suspects: list[Task]) -> Iterator[Outcome]:
    """Keep `window` tasks on the cluster; those on which workers died go to `suspects`."""
    from distributed import KilledWorker

    flying: dict[Any, Task] = {}
    while True:
        for task in itertools.islice(queue, window - len(flying)):
            flying[client.submit(execute_elsewhere, task, pure=False)] = task
        if not flying:
            return
        done = _finished(client, list(flying))
        if not done:
            for task in [*flying.values(), *queue]:
                yield Outcome(task, None, f"the dask cluster has had no worker for {_PATIENCE} seconds")
            return
        for future in done:
            task = flying.pop(future)
            try:
                outcome = future.result(timeout=_PATIENCE)
            except KilledWorker:
                suspects.append(task)
            except Exception as error:  # raised by the transport, not by the claim
                yield Outcome(task, None, explain(error, task.script))
            else:
                yield outcome


#: Seconds without any worker after which a cluster counts as gone.
_PATIENCE = 60
#: Seconds between two looks at the states of the futures, which are kept locally.
_POLL = 0.01


def _finished(client: Any, futures: list[Any]) -> list[Any]:
    """Wait for some future to end, and return those that have; none where all workers are gone for good."""
    last_worker = next_look = time.monotonic()
    while True:
        # A result whose worker died is "lost" until it is computed again: it is not done.
        done = [future for future in futures if future.status in ("finished", "error", "cancelled")]
        if done:
            return done
        time.sleep(_POLL)
        now = time.monotonic()
        if now > next_look:
            next_look = now + 1
            if client.nthreads():
                last_worker = now
        if now > last_worker + _PATIENCE:
            return []
