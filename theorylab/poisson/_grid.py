"""Grids of cells: flags, connected components of the fluid, and vectors over the FLUID cells.

A grid is an array of flags, 2-D or 3-D. Everything outside the array is SOLID.
Unknowns live in the FLUID cells, numbered in C order.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theorylab._lib.backend import require_numpy
from theorylab._lib.checks import as_float_array
from theorylab._lib.jit import jit

__all__ = [
    "AIR",
    "FLUID",
    "SOLID",
    "Components",
    "any_closed",
    "check_field",
    "check_flags",
    "components",
    "fluid_index",
    "label_cells",
    "pack",
    "unpack",
]

SOLID, FLUID, AIR = 0, 1, 2

Array = NDArray[Any]


class Components(NamedTuple):
    """Connected components of the FLUID cells.

    Attributes
    ----------
    labels : ndarray of int32, the grid's shape
        -1 off FLUID. Components are numbered by their first cell in C order.
    n : int
    sizes : ndarray of int64, shape (n,)
        Cells of each component.
    closed : ndarray of bool, shape (n,)
        Touches no AIR: the operator is singular on it, with constants as null vectors.
    """

    labels: Array
    n: int
    sizes: Array
    closed: Array


def check_flags(flags: ArrayLike) -> Array:
    """Return `flags` as a C-contiguous uint8 array, 2-D or 3-D, or raise ValueError saying what is wrong."""
    if flags is None:
        raise ValueError("flags is None, expected a grid of integers 0 (SOLID), 1 (FLUID) or 2 (AIR)")
    require_numpy("flags", flags)
    if np.ma.is_masked(flags):
        raise ValueError("flags has masked entries, expected all of them; fill those with 0 (SOLID)")
    try:
        array = np.asarray(flags)
    except ValueError as error:
        raise ValueError(f"flags is no array of integers: {error}") from None
    if array.dtype.kind == "c":
        raise TypeError(f"flags is complex ({array.dtype}), expected integers 0, 1 or 2")
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"flags has dtype {array.dtype}, expected integers 0 (SOLID), 1 (FLUID) or 2 (AIR); "
            "pass flags.astype(numpy.uint8) if its values are these"
        )
    if array.ndim not in (2, 3):
        raise ValueError(f"flags has shape {array.shape}, expected a 2-D or 3-D grid")
    if array.size and (array.min() < 0 or array.max() > 2):
        raise ValueError(
            f"flags has values from {array.min()} to {array.max()}, expected 0 (SOLID), 1 (FLUID) or 2 (AIR)"
        )
    result = np.ascontiguousarray(array, dtype=np.uint8)
    if not (result == FLUID).any():
        raise ValueError("flags has no FLUID cell, expected at least one entry 1; there is nothing to solve")
    return result


def check_field(b: ArrayLike, flags: Array, name: str = "b", *, stack: bool = False) -> Array:
    """Return `b` as a finite C-contiguous float array of the grid's shape; `stack` allows a leading axis."""
    field = as_float_array(b, name)
    if field.shape == flags.shape:
        return field
    if stack and field.ndim == flags.ndim + 1 and field.shape[1:] == flags.shape:
        return field
    also = f" or (k, {', '.join(map(str, flags.shape))})" if stack else ""
    raise ValueError(f"{name} has shape {field.shape}, expected {flags.shape}{also} to match flags")


def fluid_index(flags: Array) -> Array:
    """Return the flat C-order indices of the FLUID cells, int64, ascending."""
    return np.flatnonzero(flags.ravel() == FLUID)


@jit
def _gather(grid: Array, flags: Array, x: Array) -> None:
    """Copy the values of the FLUID cells to `x`."""
    n = 0
    for k in range(flags.size):
        if flags[k] == FLUID:
            x[n] = grid[k]
            n += 1


@jit
def _scatter(x: Array, flags: Array, grid: Array) -> None:
    """Copy `x` to the FLUID cells, and write zero to the others."""
    zero, n = x.dtype.type(0), 0
    for k in range(flags.size):
        if flags[k] == FLUID:
            grid[k] = x[n]
            n += 1
        else:
            grid[k] = zero


def pack(p_grid: Array, flags: Array) -> Array:
    """Return the values in the FLUID cells as a vector in C order; leading axes are kept."""
    lead, flat = p_grid.shape[: p_grid.ndim - flags.ndim], flags.reshape(-1)
    x = np.empty((*lead, int(np.count_nonzero(flat == FLUID))), p_grid.dtype)
    rows = x.reshape(math.prod(lead), x.shape[-1])
    for row, grid in zip(rows, p_grid.reshape(len(rows), flags.size)):
        _gather(grid, flat, row)
    return x


def unpack(x: Array, flags: Array) -> Array:
    """Return the grid that holds `x` in its FLUID cells and zero elsewhere; leading axes are kept."""
    lead, flat = x.shape[:-1], flags.reshape(-1)
    grid = np.empty((*lead, *flags.shape), x.dtype)
    rows = grid.reshape(math.prod(lead), flags.size)
    for row, values in zip(rows, x.reshape(len(rows), x.shape[-1])):
        _scatter(values, flat, row)
    return grid


@jit
def _find(parent: Array, i: int) -> int:
    """Return the root of cell `i`, halving the path on the way."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@jit
def _unite(parent: Array, i: int, j: int) -> None:
    """Join two sets; the smaller index becomes the root, so that roots are first cells."""
    a, b = _find(parent, i), _find(parent, j)
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b


@jit
def _label(flags: Array, w0: Array, w1: Array, w2: Array) -> tuple[Array, Array, Array]:
    """Return labels (-1 off FLUID), sizes and whether AIR is touched, for a 3-D grid with face weights.

    Faces of weight zero do not connect; `w0`, `w1`, `w2` hold a face more than cells along their own
    axis, and for a grid of one layer `w0` is not read.
    """
    nx, ny, nz = flags.shape
    s0, s1 = ny * nz, nz
    parent = np.empty(flags.size, np.int32)
    open_ = np.zeros(flags.size, np.bool_)
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                c = i * s0 + j * s1 + k
                parent[c] = c
                if flags[i, j, k] != 1:
                    parent[c] = -1
                    continue
                if k > 0 and flags[i, j, k - 1] == 1 and w2[i, j, k] != 0:
                    _unite(parent, c, c - 1)
                if j > 0 and flags[i, j - 1, k] == 1 and w1[i, j, k] != 0:
                    _unite(parent, c, c - s1)
                if i > 0 and flags[i - 1, j, k] == 1 and w0[i, j, k] != 0:
                    _unite(parent, c, c - s0)
                air = i > 0 and flags[i - 1, j, k] == 2 and w0[i, j, k] != 0
                air |= i < nx - 1 and flags[i + 1, j, k] == 2 and w0[i + 1, j, k] != 0
                air |= j > 0 and flags[i, j - 1, k] == 2 and w1[i, j, k] != 0
                air |= j < ny - 1 and flags[i, j + 1, k] == 2 and w1[i, j + 1, k] != 0
                air |= k > 0 and flags[i, j, k - 1] == 2 and w2[i, j, k] != 0
                air |= k < nz - 1 and flags[i, j, k + 1] == 2 and w2[i, j, k + 1] != 0
                open_[c] = air
    labels = np.full(flags.size, -1, np.int32)
    n = 0
    for c in range(flags.size):
        if parent[c] == c:
            labels[c] = n
            n += 1
    sizes, touches = np.zeros(n, np.int64), np.zeros(n, np.bool_)
    for c in range(flags.size):
        if parent[c] >= 0:
            k = labels[_find(parent, c)]
            labels[c] = k
            sizes[k] += 1
            touches[k] |= open_[c]
    return labels, sizes, touches


@jit
def _join_lines(start: Array, stop: Array, parent: Array, a: int, a_end: int, b: int, b_end: int) -> None:
    """Unite the overlapping runs of two lines, given as ranges of runs."""
    while a < a_end and b < b_end:
        if start[a] < stop[b] and start[b] < stop[a]:
            _unite(parent, a, b)
        if stop[a] < stop[b]:
            a += 1
        else:
            b += 1


@jit
def _touches(flags: Array, i: int, j: int, low: int, high: int) -> bool:
    """Tell whether cells ``low`` to ``high - 1`` of a line of FLUID have a face with AIR."""
    nx, ny, nz = flags.shape
    if (low > 0 and flags[i, j, low - 1] == 2) or (high < nz and flags[i, j, high] == 2):
        return True
    for di, dj in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        if 0 <= i + di < nx and 0 <= j + dj < ny:
            line = flags[i + di, j + dj]
            air = 0
            for k in range(low, high):
                air |= line[k] & 2
            if air:
                return True
    return False


@jit
def _runs(flags: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Return first run of each line, starts, ends, set (a smallest run) and openness of all runs of FLUID.

    A run is a maximal piece of FLUID along the last axis: far fewer than cells.
    """
    nx, ny, nz = flags.shape
    most = nx * ny * ((nz + 1) // 2)
    first = np.zeros(nx * ny + 1, np.int64)
    start, stop = np.empty(most, np.int32), np.empty(most, np.int32)
    parent, open_ = np.empty(most, np.int32), np.zeros(most, np.bool_)
    n = 0
    for line in range(nx * ny):
        i, j = line // ny, line % ny
        row = flags[i, j]
        first[line] = n
        k = 0
        while k < nz:
            while k < nz and row[k] != 1:
                k += 1
            if k == nz:
                break
            start[n] = k
            while k < nz and row[k] == 1:
                k += 1
            stop[n], parent[n] = k, n
            open_[n] = _touches(flags, i, j, start[n], k)
            n += 1
        first[line + 1] = n
        if j > 0:
            _join_lines(start, stop, parent, first[line], n, first[line - 1], first[line])
        if i > 0:
            _join_lines(start, stop, parent, first[line], n, first[line - ny], first[line - ny + 1])
    for r in range(n):
        parent[r] = _find(parent, r)
        if open_[r]:
            open_[parent[r]] = True
    return first, start[:n], stop[:n], parent[:n], open_[:n]


@jit
def _fill(flags: Array, first: Array, start: Array, stop: Array, parent: Array) -> tuple[Array, Array]:
    """Return labels and sizes from runs."""
    nx, ny, _ = flags.shape
    labels = np.full(flags.shape, -1, np.int32)
    number = np.empty(parent.size, np.int32)
    n = 0
    for r in range(parent.size):
        if parent[r] == r:
            number[r] = n
            n += 1
    sizes = np.zeros(n, np.int64)
    for line in range(nx * ny):
        for r in range(first[line], first[line + 1]):
            label = number[parent[r]]
            sizes[label] += stop[r] - start[r]
            labels[line // ny, line % ny, start[r] : stop[r]] = label
    return labels, sizes


def _boxed(array: Array) -> Array:
    """See a grid or a face array as 3-D."""
    return array.reshape(array.shape if array.ndim == 3 else (1, *array.shape))


def any_closed(flags: Array) -> bool:
    """Tell whether a component of checked `flags` touches no AIR; cheaper than labels."""
    *_, parent, open_ = _runs(_boxed(flags))
    return not bool(open_[parent].all())


def label_cells(flags: Array, weights: tuple[Array, ...] | None = None) -> Components:
    """Return the components of checked `flags`; faces of weight zero do not connect."""
    grid = _boxed(flags)
    if weights is None:
        first, start, stop, parent, open_ = _runs(grid)
        labels, sizes = _fill(grid, first, start, stop, parent)
        touches = open_[parent == np.arange(parent.size)]
    else:
        faces = [np.zeros((1, 1, 1))] * (3 - flags.ndim) + [_boxed(w) for w in weights]
        labels, sizes, touches = _label(grid, faces[0], faces[1], faces[2])
    return Components(labels.reshape(flags.shape), int(sizes.size), sizes, ~touches)


def components(flags: ArrayLike) -> Components:
    """Label the connected components of the FLUID cells (faces connect, corners do not).

    Parameters
    ----------
    flags : array_like of int, 2-D or 3-D
        0 SOLID, 1 FLUID, 2 AIR; outside is SOLID.

    Returns
    -------
    Components
        ``(labels, n, sizes, closed)``. A component is closed where it touches no AIR.

    Examples
    --------
    >>> from theorylab.poisson import components
    >>> labels, n, sizes, closed = components([[1, 1, 0, 1, 2]])
    >>> labels.tolist(), sizes.tolist(), closed.tolist()
    ([[0, 0, -1, 1, -1]], [2, 1], [True, False])
    """
    return label_cells(check_flags(flags))
