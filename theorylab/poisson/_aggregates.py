"""Aggregates of a coarse level: the connected parts of its blocks.

Mostly all couplings inside a block are open, and the block is its own aggregate. Where they are not, the
cells of a block are joined along its inner faces; where a split-off aggregate of the level above lies in the
block ("marked"), by union-find over faces and links. The first part of a block is the cell of the next grid,
the others are appended ("extras"), each with a home, the block in which it lies.
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
def _join(A: Array, at: int, base: int, m: int, s: int, root: Array) -> None:
    """Write the smallest cell to which each cell of the block at `base` is connected inside it, or -1."""
    cells = 4 if s == 0 else 8
    side = m if s == 0 else s
    for c in range(cells):
        k = at + base + (c & 1) + (c >> 1 & 1) * side + (c >> 2) * m
        root[c] = c if A[COUPLING, k] > 0 else -1
    second = FACE0 if s == 0 else FACE2
    changed = True
    while changed:
        changed = False
        for c in range(cells):
            k = at + base + (c & 1) + (c >> 1 & 1) * side + (c >> 2) * m
            for axis in range(3):
                bit = 1 << axis
                field = FACE1 if axis == 0 else second if axis == 1 else FACE0
                if bit >= cells or c & bit or not A[field, k] > 0:
                    continue
                u, v = root[c], root[c | bit]
                if u < v:
                    root[c | bit] = u
                    changed = True
                elif v < u:
                    root[c] = v
                    changed = True


@jit
def _whole(f: Array, g: Array, h: Array, z: int, m: int, s: int) -> bool:
    """Tell whether all couplings inside the block at `z` are open, as they mostly are."""
    if not (g[z] > 0 and g[z + m] > 0 and f[z] > 0 and f[z + 1] > 0):
        return False
    if s == 0:
        return True
    u = z + s
    if not (g[u] > 0 and g[u + m] > 0 and f[u] > 0 and f[u + 1] > 0):
        return False
    return bool(h[z] > 0 and h[z + 1] > 0 and h[z + m] > 0 and h[z + m + 1] > 0)


@jit
def aggregate(A: Array, level: Array, coarse: Array, home: Array, li: Array, lj: Array, agg: Array,
              parent: Array, mark: Array, next_home: Array, cell: Array,
              target: Array) -> tuple[int, int]:  # fmt: skip
    """Write the aggregate of each unknown into `agg`, -1 where it is coupled to none.

    The first component of a block is the coarse cell itself, the others are appended. Return the numbers of
    the appended and of the (cell, target) pairs whose aggregate is not the cell over them.
    """
    at, size, cells, m, s = level[START], level[SIZE], level[CELLS], level[ROW], level[LINE]
    mc, sc, extra = coarse[ROW], coarse[LINE], coarse[CELLS]
    f, g, h = A[FACE0], A[FACE1], A[FACE2]
    agg[:size] = -1
    mark[: coarse[CELLS]] = 0
    for e in range(cells, size):
        parent[e] = e
        if A[COUPLING, at + e] > 0:
            mark[_block_of(home[e - cells], m, s, mc, sc)] = 1
    side = m if s == 0 else s
    corners = 4 if s == 0 else 8
    root, name = np.empty(8, np.int64), np.empty(8, np.int64)
    added = pairs = 0
    lines = 1 if s == 0 else m // s // 2 - 1
    width = (m if s == 0 else s) // 2 - 1
    for row in range(1, level[ROWS] // 2):
        for line in range(1, lines + 1):
            for x in range(1, width + 1):
                base = (2 * row - 1) * m + 2 * x - 1 + (0 if s == 0 else (2 * line - 1) * s)
                block = row * mc + x + (0 if s == 0 else line * sc)
                z = at + base
                if mark[block] == 0 and _whole(f, g, h, z, m, s):
                    agg[base] = agg[base + 1] = agg[base + m] = agg[base + m + 1] = block
                    if s > 0:
                        k = base + s
                        agg[k] = agg[k + 1] = agg[k + m] = agg[k + m + 1] = block
                    continue
                _join(A, at, base, m, s, root)
                seen = False
                for c in range(corners):
                    k = base + (c & 1) + (c >> 1 & 1) * side + (c >> 2) * m
                    if root[c] < 0:
                        continue
                    if mark[block]:
                        r = root[c]
                        parent[k] = base + (r & 1) + (r >> 1 & 1) * side + (r >> 2) * m
                    elif root[c] < c:
                        agg[k] = name[root[c]]
                    elif not seen:
                        seen = True
                        agg[k] = block
                    else:
                        agg[k] = extra + added
                        if added < next_home.size:
                            next_home[added] = block
                        added += 1
                    name[c] = agg[k]
                    if agg[k] >= extra:
                        if pairs < cell.size:
                            cell[pairs], target[pairs] = k, agg[k]
                        pairs += 1
    if size == cells:
        return added, pairs
    for e in range(level[LINK0], level[LINK1]):
        i, j = li[e], lj[e]
        bi = _block_of(home[i - cells] if i >= cells else i, m, s, mc, sc)
        bj = _block_of(home[j - cells] if j >= cells else j, m, s, mc, sc)
        if bi == bj:
            i, j = find(parent, i), find(parent, j)
            if i < j:
                parent[j] = i
            else:
                parent[i] = j
    # Marked blocks: 1 untouched, 2 cells named without a first component, 3 with one.
    for stage in range(2):
        for e in range(cells, size):
            if not A[COUPLING, at + e] > 0:
                continue
            block = _block_of(home[e - cells], m, s, mc, sc)
            if stage == 0 and mark[block] == 1:
                mark[block] = 2
                brow = block // mc
                rest = block - brow * mc
                bline = 0 if s == 0 else rest // sc
                x = rest - bline * sc
                base = (2 * brow - 1) * m + 2 * x - 1 + (0 if s == 0 else (2 * bline - 1) * s)
                for c in range(corners):
                    k = base + (c & 1) + (c >> 1 & 1) * side + (c >> 2) * m
                    if not A[COUPLING, at + k] > 0:
                        continue
                    r = find(parent, k)
                    if r != k:
                        agg[k] = agg[r]
                    elif mark[block] == 2:
                        mark[block] = 3
                        agg[k] = block
                    else:
                        agg[k] = extra + added
                        if added < next_home.size:
                            next_home[added] = block
                        added += 1
                    if agg[k] != block:
                        if pairs < cell.size:
                            cell[pairs], target[pairs] = k, agg[k]
                        pairs += 1
            elif stage == 1:
                r = find(parent, e)
                if r != e:
                    agg[e] = agg[r]
                elif mark[block] == 2:
                    mark[block] = 3
                    agg[e] = block
                else:
                    agg[e] = extra + added
                    if added < next_home.size:
                        next_home[added] = block
                    added += 1
                if pairs < cell.size:
                    cell[pairs], target[pairs] = e, agg[e]
                pairs += 1
    return added, pairs
