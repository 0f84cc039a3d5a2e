"""The kept directions of DCDM: A-orthogonalisation against a window of conjugate directions."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._vectors import coefficients, norm2, subtract

__all__ = ["Candidate", "Kept"]

Array = NDArray[Any]

#: A direction that keeps less than this of its length lies in the span of the others.
DEPENDENT = 1e-13
#: One that keeps less than this is orthogonalised twice: rounding has left components.
TWICE = 0.1


class Candidate(NamedTuple):
    """A direction d with ``q = A d``, ``d.q`` and ``d.r``."""

    d: Array
    q: Array
    dq: float
    dr: float

    @property
    def gain(self) -> float:
        """Fall of the squared A-norm of the error by an exact line search: ``(d.r)^2 / d.Ad``."""
        return self.dr * self.dr / self.dq


class Kept:
    """The last m directions, mutually conjugate, with their products by A.

    Parameters
    ----------
    n : int
        Length of a vector.
    m : int or None
        How many are kept; None keeps all.
    """

    def __init__(self, n: int, m: int | None) -> None:
        self.m = m
        rows = 0 if m == 0 else min(m or 16, 16)
        self._p, self._q = np.empty((rows, n)), np.empty((rows, n))
        self._dq = np.empty(rows)
        self._count = 0  # since the last clearing

    def clear(self) -> None:
        """Forget all directions."""
        self._count = 0

    def add(self, c: Candidate) -> None:
        """Keep a direction; drop the oldest if there are more than m."""
        if self.m == 0:
            return
        capacity = self._dq.size
        if self._count == capacity and (self.m is None or capacity < self.m):
            capacity = 2 * capacity if self.m is None else min(2 * capacity, self.m)
            self._p, self._q = (np.concatenate((a, np.empty((capacity - len(a), a.shape[1]))))
                                for a in (self._p, self._q))  # fmt: skip
            self._dq = np.concatenate((self._dq, np.empty(capacity - self._dq.size)))
        row = self._count % capacity
        self._p[row], self._q[row], self._dq[row] = c.d, c.q, c.dq
        self._count += 1

    def _rows(self, last: int | None) -> Array:
        """Return where the newest `last` directions lie (all by default), newest first."""
        held = min(self._count, self._dq.size)
        wanted = held if last is None else min(last, held)
        return (self._count - 1 - np.arange(wanted)) % max(self._dq.size, 1)

    def orthogonalise(self, f: Array, Af: Array | None = None, last: int | None = None) -> Array | None:
        """Make f, in place, A-orthogonal to the kept directions (and Af with it); None where nothing is left.

        All coefficients come from the unmodified f, as in the authors' code: the kept directions
        are mutually conjugate, so that one after another would give the same.
        """
        rows = self._rows(last)
        if rows.size == 0:
            return f
        before = left = norm2(f)
        for _ in range(2):
            size = left
            c = coefficients(self._q, rows, f) / self._dq[rows]
            subtract(self._p, rows, c, f)
            if Af is not None:
                subtract(self._q, rows, c, Af)
            left = norm2(f)
            if left >= TWICE * size:
                break
        if not math.isfinite(left):
            return f
        return f if left > DEPENDENT * before else None
