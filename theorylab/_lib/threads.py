"""Limit BLAS, OpenMP and Numba together; limiting one alone oversubscribes the cores."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["ThreadLimit", "available_cores", "limit_threads", "one_blas_thread"]


def available_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


class ThreadLimit:
    """Hold every thread pool of this process at `n` threads until closed.

    Libraries that are loaded later start with their own default, so long-lived
    holders call :meth:`refresh` before each piece of work; it is free unless
    modules were imported in between.
    """

    def __init__(self, n: int) -> None:
        # SciPy brings a BLAS of its own, which must be loaded to be limited.
        import scipy.linalg  # noqa: F401

        self.n = n
        self._limits: list[object] = []
        self._numba_before: int | None = None
        self._modules = -1
        self.refresh()

    def refresh(self) -> None:
        """Apply the limit to libraries that were loaded since the last call."""
        if len(sys.modules) == self._modules:
            return
        from threadpoolctl import threadpool_limits

        # Numba first: asking it loads its own thread pool, which is then limited with the others.
        numba = sys.modules.get("numba")
        if numba is not None and hasattr(numba, "set_num_threads") and self._numba_before is None:
            self._numba_before = numba.get_num_threads()
            numba.set_num_threads(min(self.n, numba.config.NUMBA_NUM_THREADS))
        self._limits.append(threadpool_limits(self.n))
        self._modules = len(sys.modules)

    def close(self) -> None:
        """Give every pool its former size back."""
        while self._limits:
            self._limits.pop().restore_original_limits()  # type: ignore[attr-defined]
        if self._numba_before is not None:
            sys.modules["numba"].set_num_threads(self._numba_before)
            self._numba_before = None
        self._modules = -1


@contextlib.contextmanager
def limit_threads(n: int) -> Iterator[ThreadLimit]:
    """Run a block with at most `n` threads in BLAS, OpenMP and Numba."""
    limit = ThreadLimit(n)
    try:
        yield limit
    finally:
        limit.close()


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS at one thread, so that sums have the same bits on any machine load."""
    with _blas().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _blas() -> Any:
    """Return the control of NumPy's and SciPy's BLAS; to look for them takes longer than a small network."""
    import scipy.linalg  # noqa: F401  (brings a BLAS of its own, which must be loaded to be found)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
