"""Means over closed components, removed from padded grids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.jit import jit

from ._grid import Components

__all__ = ["closed_means"]

Array = NDArray[Any]


@jit
def _remove(rows: Array, cells: Array, labels: Array, sums: Array, sizes: Array) -> None:
    """Subtract the mean of each component from its cells."""
    sums[:] = 0.0
    for k in range(cells.size):
        sums[labels[k]] += rows[cells[k]]
    for k in range(sums.size):
        sums[k] /= sizes[k]
    for k in range(cells.size):
        rows[cells[k]] -= sums[labels[k]]


def closed_means(flags: Array, parts: Components) -> Callable[[Array], None] | None:
    """Return a function that removes these means from a padded grid in place; None where all are open."""
    if not parts.closed.any():
        return None
    number = np.where(parts.closed, np.cumsum(parts.closed) - 1, -1).astype(np.int32)
    sizes = parts.sizes[parts.closed].astype(np.float64)
    padded = [2 * ((n + 1) // 2) + 2 for n in flags.shape]
    where = np.nonzero(parts.labels >= 0)
    labels = number[parts.labels[where]]
    cells = np.ravel_multi_index(tuple(w + 1 for w in where), padded)[labels >= 0]
    labels, sums = labels[labels >= 0], np.empty(sizes.size)

    def remove(rows: Array) -> None:
        _remove(rows.reshape(-1), cells, labels, sums, sizes)

    return remove
