"""Constants on closed components: what the operator cannot see."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.jit import jit

from ._grid import any_closed, label_cells, pack
from ._info import warn_incompatible

__all__ = ["COMPATIBLE", "NullSpace"]

Array = NDArray[Any]

#: Means of b with a 2-norm above this times ||b|| are worth a warning.
COMPATIBLE = 1e-6


@jit
def _means(v: Array, part: Array, sizes: Array) -> Array:
    """Return the mean over each closed component; `part` is -1 on open ones."""
    total = np.zeros(sizes.size)
    for i in range(v.size):
        if part[i] >= 0:
            total[part[i]] += v[i]
    return total / sizes


@jit
def _subtract(v: Array, part: Array, means: Array) -> None:
    """Subtract the mean of its component from each entry, in place."""
    for i in range(v.size):
        if part[i] >= 0:
            v[i] -= means[part[i]]


class NullSpace:
    """The closed components of a grid of checked flags, over vectors of FLUID cells."""

    def __init__(self, flags: Array) -> None:
        self.exists = any_closed(flags)
        self.sizes, self._part = np.empty(0, np.int64), np.empty(0, np.int64)
        if self.exists:
            labels, _, sizes, closed = label_cells(flags)
            number = np.where(closed, np.cumsum(closed) - 1, -1)
            self.sizes, self._part = sizes[closed], number[pack(labels, flags)]

    def project(self, v: Array) -> Array:
        """Remove the means over closed components from a float64 vector, in place; return it.

        Twice, for the first mean is rounded at the size of the entries and not of the result.
        """
        if self.exists:
            for _ in range(2):
                _subtract(v, self._part, _means(v, self._part, self.sizes))
        return v

    def compatible(self, b: Array, floor: float = 0.0) -> Array:
        """Return `b` without its means on closed components; warn where these are no rounding errors.

        `floor` is the rounding error of one entry of b.
        """
        if not self.exists:
            return b
        scale = float(np.abs(b).max(initial=0.0)) or 1.0
        means = _means(b / scale, self._part, self.sizes)
        excess = float(np.max(np.abs(means) * np.sqrt(self.sizes))) * scale
        size = float(np.linalg.norm(b / scale)) * scale
        if excess > max(COMPATIBLE * size, floor * math.sqrt(float(self.sizes.max()))):
            warn_incompatible(excess, size)
        return self.project(b.copy())
