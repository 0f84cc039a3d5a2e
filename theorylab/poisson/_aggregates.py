"""Aggregates of a coarse level: the connected parts of its blocks.

The corners of a block are the bits of a number, and its parts are flooded along its inner faces. Mostly there
is one, and the block is its own aggregate. Where a split-off aggregate of the level above lies in the block
("marked"), parts are joined further by union-find over links. The first part of a block is the cell of the
next grid, the others are appended ("extras"), each with a home, the block in which it lies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.jit import jit

from ._layout import CELLS, COUPLING, FACE0, FACE1, FACE2, LINE, LINK0, LINK1, ROW, ROWS, SIZE, START

__all__ = ["aggregate", "find"]

Array = NDArray[Any]


@jit
def find(parent: Array, i: int) -> int:
    """Return the root of `i`, and shorten the way to it."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@jit
def _block_of(k: int, m: int, s: int, mc: int, sc: int) -> int:
    """Return the coarse cell over cell `k` of the padded grid."""
    row = k // m
    rest = k - row * m
    if s == 0:
        return (row + 1) // 2 * mc + (rest + 1) // 2
    line = rest // s
    return (row + 1) // 2 * mc + (line + 1) // 2 * sc + (rest - line * s + 1) // 2


@jit
def _first_of(block: int, mc: int, sc: int, m: int, s: int) -> int:
    """Return the first of the cells under coarse cell `block`."""
    row = block // mc
    rest = block - row * mc
    line = 0 if s == 0 else rest // sc
    return (2 * row - 1) * m + 2 * (rest - line * sc) - 1 + (0 if s == 0 else (2 * line - 1) * s)


@jit
def _corner(base: int, c: int, m: int, s: int) -> int:
    """Return corner c of the block at `base`: bit 0 is the next cell, bit 1 the next line (2-D: row)."""
    return base + (c & 1) + (c >> 1 & 1) * (m if s == 0 else s) + (c >> 2) * m


@jit(inline=True)
def _open(z: int, f: Array, g: Array, h: Array, m: int, s: int) -> tuple[int, int, int]:
    """Return the corners whose couplings inside the block at `z` are open to the next cell, line and row.

    Corner c is bit c of each set; in 2-D the second axis are the rows, and the third set is empty.
    """
    along, second = int(g[z] > 0) | int(g[z + m] > 0) << 2, int(f[z] > 0) | int(f[z + 1] > 0) << 1
    if s == 0:
        return along, second, 0
    u = z + s
    along = int(g[z] > 0) | int(g[u] > 0) << 2 | int(g[z + m] > 0) << 4 | int(g[u + m] > 0) << 6
    third = second | int(f[u] > 0) << 2 | int(f[u + 1] > 0) << 3
    second = int(h[z] > 0) | int(h[z + 1] > 0) << 1 | int(h[z + m] > 0) << 4 | int(h[z + m + 1] > 0) << 5
    return along, second, third


@jit(inline=True)
def _live(z: int, total: Array, m: int, s: int) -> int:
    """Return the corners of the block at `z` that are coupled to any unknown."""
    row = z + m
    second = z + s if s > 0 else row
    live = int(total[z] > 0) | int(total[z + 1] > 0) << 1
    live |= int(total[second] > 0) << 2 | int(total[second + 1] > 0) << 3
    if s > 0:
        live |= int(total[row] > 0) << 4 | int(total[row + 1] > 0) << 5
        live |= int(total[row + s] > 0) << 6 | int(total[row + s + 1] > 0) << 7
    return live


@jit
def _flood(live: int, along: int, second: int, third: int) -> int:
    """Return the part of the first of the `live` corners: all that open couplings inside the block reach."""
    part, before = live & -live, 0
    while part != before:
        before = part
        part |= (part & along) << 1 | part >> 1 & along
        part |= (part & second) << 2 | part >> 2 & second
        part |= (part & third) << 4 | part >> 4 & third
    return part


@jit
def _found(k: int, block: int, first: bool, extra: int, agg: Array, next_home: Array, tally: Array) -> None:
    """Make the aggregate of a part at its first cell: that of the block, or a new one behind the others."""
    if first:
        agg[k] = block
        return
    new = tally[0]
    agg[k] = extra + new
    if new < next_home.size:
        next_home[new] = block
    tally[0] += 1


@jit
def _list(k: int, agg: Array, cell: Array, target: Array, tally: Array) -> None:
    """List an unknown whose aggregate is not the cell over it."""
    if tally[1] < cell.size:
        cell[tally[1]], target[tally[1]] = k, agg[k]
    tally[1] += 1


@jit(inline=True)
def _one(base: int, block: int, m: int, s: int, live: int, agg: Array) -> None:
    """Make a block its own aggregate."""
    for c in range(4 if s == 0 else 8):
        if live >> c & 1:
            agg[_corner(base, c, m, s)] = block


@jit
def _parts(base: int, block: int, m: int, s: int, live: int, faces: tuple[int, int, int], extra: int,
           agg: Array, next_home: Array, cell: Array, target: Array, tally: Array) -> None:  # fmt: skip
    """Name the parts of a block without extras."""
    first = True
    while live:
        part, name = _flood(live, *faces), -1
        for c in range(4 if s == 0 else 8):
            if not part >> c & 1:
                continue
            k = _corner(base, c, m, s)
            if name < 0:
                _found(k, block, first, extra, agg, next_home, tally)
                name = agg[k]
            agg[k] = name
            if not first:
                _list(k, agg, cell, target, tally)
        first = False
        live &= ~part


@jit
def _join(base: int, m: int, s: int, live: int, faces: tuple[int, int, int], parent: Array) -> None:
    """Make the first cell of each part of a block with extras the parent of the others."""
    while live:
        part, root = _flood(live, *faces), -1
        for c in range(4 if s == 0 else 8):
            if part >> c & 1:
                k = _corner(base, c, m, s)
                root = k if root < 0 else root
                parent[k] = root
        live &= ~part


@jit
def _tie(level: Array, mc: int, sc: int, home: Array, li: Array, lj: Array, parent: Array) -> None:
    """Join what links inside a block connect."""
    cells, m, s = level[CELLS], level[ROW], level[LINE]
    for e in range(level[LINK0], level[LINK1]):
        i, j = li[e], lj[e]
        bi = _block_of(home[i - cells] if i >= cells else i, m, s, mc, sc)
        bj = _block_of(home[j - cells] if j >= cells else j, m, s, mc, sc)
        if bi == bj:
            i, j = find(parent, i), find(parent, j)
            parent[max(i, j)] = min(i, j)


@jit
def _part_marked(A: Array, level: Array, mc: int, sc: int, extra: int, home: Array, agg: Array,
                 parent: Array, mark: Array, next_home: Array, cell: Array, target: Array,
                 tally: Array) -> None:  # fmt: skip
    """Name the parts of the blocks with extras: first those with cells of the grid, then those without.

    A mark is 1 before the block is seen, 2 while it has no part, and 3 afterwards.
    """
    at, cells, m, s = level[START], level[CELLS], level[ROW], level[LINE]
    for with_cells in (True, False):
        for e in range(cells, level[SIZE]):
            if not A[COUPLING, at + e] > 0:
                continue
            block = _block_of(home[e - cells], m, s, mc, sc)
            if with_cells and mark[block] > 1:
                continue
            corners = 1
            if with_cells:
                mark[block], corners = 2, 4 if s == 0 else 8
            base = _first_of(block, mc, sc, m, s)
            for c in range(corners):
                k = _corner(base, c, m, s) if with_cells else e
                if not A[COUPLING, at + k] > 0:
                    continue
                r = find(parent, k)
                if r != k:
                    agg[k] = agg[r]
                else:
                    _found(k, block, mark[block] == 2, extra, agg, next_home, tally)
                    mark[block] = 3
                if agg[k] != block or not with_cells:
                    _list(k, agg, cell, target, tally)


@jit
def aggregate(A: Array, level: Array, coarse: Array, home: Array, li: Array, lj: Array, agg: Array,
              parent: Array, mark: Array, next_home: Array, cell: Array,
              target: Array) -> tuple[int, int]:  # fmt: skip
    """Write the aggregate of each unknown into `agg`, -1 where it is coupled to none.

    Return the numbers of the appended aggregates and of the (cell, target) pairs whose aggregate is not the
    cell over them; where the lists are too short only the numbers are right.
    """
    at, size, cells, m, s = level[START], level[SIZE], level[CELLS], level[ROW], level[LINE]
    mc, sc, extra = coarse[ROW], coarse[LINE], coarse[CELLS]
    f, g, h = A[FACE0], A[FACE1], A[FACE2]
    agg[:size] = -1
    mark[:extra] = 0
    for e in range(cells, size):
        parent[e] = e
        if A[COUPLING, at + e] > 0:
            mark[_block_of(home[e - cells], m, s, mc, sc)] = 1
    tally = np.zeros(2, np.int64)
    lines, width = (1, m // 2 - 1) if s == 0 else (m // s // 2 - 1, s // 2 - 1)
    for row in range(1, level[ROWS] // 2):
        for line in range(1, lines + 1):
            for x in range(1, width + 1):
                block = row * mc + x + (0 if s == 0 else line * sc)
                base = (2 * row - 1) * m + 2 * x - 1 + (0 if s == 0 else (2 * line - 1) * s)
                live = _live(at + base, A[COUPLING], m, s)
                if live == 0:
                    continue
                faces = _open(at + base, f, g, h, m, s)
                if mark[block] > 0:
                    _join(base, m, s, live, faces, parent)
                elif _flood(live, *faces) == live:
                    _one(base, block, m, s, live, agg)
                else:
                    _parts(base, block, m, s, live, faces, extra, agg, next_home, cell, target, tally)
    if size > cells:
        _tie(level, mc, sc, home, li, lj, parent)
        _part_marked(A, level, mc, sc, extra, home, agg, parent, mark, next_home, cell, target, tally)
    return tally[0], tally[1]
