"""Rows of padded grids: sums over neighbours, and sums over blocks of cells.

A grid is seen as rows along its first axis: lines of a 2-D grid, planes of a 3-D one. The kernels serve both:
`s` is the step to the next line in a plane, and None in 2-D, where Numba drops what hangs on it at compile
time. Loops run from 0 over slices, for an index that may be negative keeps them from vectorising.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from theorylab._lib.jit import REASSOC, jit

__all__ = ["around", "around_double", "dot", "fold", "inside", "near", "shifted", "spread"]

Array = NDArray[Any]


def inside(m: int, s: int | None) -> tuple[int, int]:
    """Return the first and the last but one cell of a row of `m` that has all its neighbours in the row."""
    return (1, m - 1) if s is None else (1 + s, m - 1 - s)


@overload(inside)
def _inside(m, s):  # type: ignore[no-untyped-def]
    if isinstance(s, types.NoneType):
        return lambda m, s: (1, m - 1)
    return lambda m, s: (1 + s, m - 1 - s)


def shifted(row: Array, lo: int, hi: int, s: int | None, sign: int) -> Array | None:
    """Return the cells from `lo` to `hi` in the next line (`sign` 1) or the one before (-1); None in 2-D."""
    return None if s is None else row[lo + sign * s : hi + sign * s]


@overload(shifted)
def _shifted(row, lo, hi, s, sign):  # type: ignore[no-untyped-def]
    """Decide by the type of `s`, so that kernels see an array or None and never a choice of both."""
    if isinstance(s, types.NoneType):
        return lambda row, lo, hi, s, sign: None
    return lambda row, lo, hi, s, sign: row[lo + sign * s : hi + sign * s]


@jit
def near(before: Array, row: Array, after: Array, lo: int, hi: int, s: int | None) -> Any:
    """Return the neighbours of the cells from `lo` to `hi` of a row: rows, cells, lines."""
    return (
        before[lo:hi], after[lo:hi], row[lo - 1 : hi - 1], row[lo + 1 : hi + 1],
        shifted(row, lo, hi, s, -1), shifted(row, lo, hi, s, 1),
    )  # fmt: skip


@jit(fastmath=REASSOC)
def _plus(v: Any, below: Array | None, above: Any, k: int) -> Any:
    """Add the neighbours in other lines, if there are lines."""
    if below is None:
        return v
    return v + (below[k] + above[k])


@jit(fastmath=REASSOC)
def around(before: Array, after: Array, left: Array, right: Array, below: Array | None, above: Any,
           k: int) -> Any:  # fmt: skip
    """Return the sum over the neighbours of cell k."""
    return _plus((before[k] + after[k]) + (left[k] + right[k]), below, above, k)


@jit(fastmath=REASSOC)
def _plus_double(v: Any, below: Array | None, above: Any, k: int) -> Any:
    if below is None:
        return v
    return v + (np.float64(below[k]) + np.float64(above[k]))


@jit(fastmath=REASSOC)
def around_double(before: Array, after: Array, left: Array, right: Array, below: Array | None,
                  above: Any, k: int) -> Any:  # fmt: skip
    """Return the sum over the neighbours of cell k in double precision."""
    rows = np.float64(before[k]) + np.float64(after[k])
    return _plus_double(rows + (np.float64(left[k]) + np.float64(right[k])), below, above, k)


@jit(fastmath=REASSOC)
def _fold_line(c: Array, v: Array, w: Array) -> None:
    """Add the sums over blocks of 2 x 2 of two lines."""
    for k in range(c.size):
        c[k] += (v[2 * k] + v[2 * k + 1]) + (w[2 * k] + w[2 * k + 1])


@jit(fastmath=REASSOC)
def _fold_plane(c: Array, v: Array, vu: Array, w: Array, wu: Array) -> None:
    """Add the sums over blocks of 2 x 2 x 2 of four lines."""
    for k in range(c.size):
        front = (v[2 * k] + v[2 * k + 1]) + (vu[2 * k] + vu[2 * k + 1])
        c[k] += front + ((w[2 * k] + w[2 * k + 1]) + (wu[2 * k] + wu[2 * k + 1]))


@jit
def fold(coarse: Array, row: int, mc: int, sc: int, v: Array, w: Array, s: int | None) -> None:
    """Add the sums over blocks of the rows `v` and `w` to a row of blocks; mc, sc are its steps."""
    at = row * mc
    if s is None:
        _fold_line(coarse[at + 1 : at + v.size // 2], v[1:], w[1:])
    else:
        for line in range(1, v.size // s // 2):
            c, p = at + line * sc + 1, (2 * line - 1) * s + 1
            _fold_plane(coarse[c : c + s // 2 - 1], v[p:], v[p + s :], w[p:], w[p + s :])


@jit
def _spread_line(e: Array, c: Array) -> None:
    """Write each coarse value twice."""
    for k in range(c.size):
        e[2 * k] = c[k]
        e[2 * k + 1] = c[k]


@jit
def spread(e: Array, coarse: Array, row: int, mc: int, sc: int, s: int | None) -> None:
    """Write the values of a row of blocks into one of its rows of cells."""
    at = row * mc
    if s is None:
        _spread_line(e[1:], coarse[at + 1 : at + e.size // 2])
    else:
        for line in range(1, e.size // s // 2):
            c, p = at + line * sc + 1, (2 * line - 1) * s + 1
            _spread_line(e[p:], coarse[c : c + s // 2 - 1])
            e[p + s : p + s + s - 2] = e[p : p + s - 2]


@jit(fastmath=REASSOC)
def dot(x: Array, y: Array) -> float:
    """Return the scalar product, summed in double precision."""
    total = 0.0
    for k in range(x.size):
        total += np.float64(x[k]) * np.float64(y[k])
    return total
