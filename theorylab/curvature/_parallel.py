"""Fixed pieces of work on as many threads as Numba may use, with the same bits for any number."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
import scipy.linalg  # noqa: F401  (its BLAS must be loaded before the controller looks for libraries)
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

__all__ = ["ordered_sum", "run_pieces", "serial_blas", "times"]

Array = NDArray[Any]

_controller: ThreadpoolController | None = None


@contextlib.contextmanager
def serial_blas() -> Iterator[None]:
    """Hold BLAS at one thread: its sums depend on how many threads share them."""
    global _controller
    if _controller is None:
        _controller = ThreadpoolController()
    with _controller.limit(limits=1, user_api="blas"):
        yield


def times(a: Array, b: Array) -> Array:
    """Return ``a @ b`` by BLAS on one thread."""
    with serial_blas():
        return np.asarray(a @ b)


def run_pieces(work: Callable[[int], None], pieces: int, *, parallel: bool = True) -> None:
    """Call ``work(0), ..., work(pieces - 1)``; threads take the next piece in order, the caller works too.

    The pieces are fixed by the sizes of the problem, so that only *who* works
    on a piece depends on the number of threads. The first exception is raised.
    """
    threads = min(numba.get_num_threads(), pieces) if parallel else 1
    if threads <= 1:
        for piece in range(pieces):
            work(piece)
        return
    queue, lock = iter(range(pieces)), threading.Lock()
    failures: list[BaseException] = []

    def loop() -> None:
        try:
            while not failures:
                with lock:
                    piece = next(queue, None)
                if piece is None:
                    return
                work(piece)
        except BaseException as error:
            failures.append(error)

    helpers = [threading.Thread(target=loop) for _ in range(threads - 1)]
    for helper in helpers:
        helper.start()
    loop()
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[0]


def ordered_sum(
    add: Callable[[Array, int], None], pieces: int, shape: tuple[int, ...], *, parallel: bool = True
) -> Array:
    """Return the sum of the arrays that ``add(partial, piece)`` writes, added up in the order of the pieces.

    Each thread holds one partial array and waits for its turn to add it.
    """
    total, turn, done = np.zeros(shape), threading.Condition(), [0]

    def work(piece: int) -> None:
        partial = np.zeros(shape)
        try:
            add(partial, piece)
        finally:  # a failure lets the others pass too
            with turn:
                turn.wait_for(lambda: done[0] >= piece)
                np.add(total, partial, out=total)
                done[0] = piece + 1
                turn.notify_all()

    run_pieces(work, pieces, parallel=parallel)
    return total
