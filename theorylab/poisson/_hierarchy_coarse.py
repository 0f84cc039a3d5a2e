"""Set-up of the coarse levels: aggregates that are connected inside their block, couplings, transfer weights.

Unknowns of a level are the cells of a padded grid, then the aggregates that were split off ("extras"), each
with a home, the block in which it lies. Couplings are faces of the grid, or links where an extra takes part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.jit import jit

from ._layout import (
    AIR_COUPLING,
    ALPHA,
    CELLS,
    COUPLING,
    DIAGONAL,
    FACE0,
    FACE1,
    FACE2,
    FLOOR,
    HALF,
    HIGH,
    INVERSE,
    LINE,
    LINK0,
    LINK1,
    LOW,
    ONE,
    OWN,
    ROW,
    ROWS,
    SIZE,
    START,
    TD,
    TF,
)  # fmt: skip

__all__ = ["aggregate", "couple", "dense_matrix", "diagonals", "own_weights"]

Array = NDArray[Any]


@jit
def diagonals(A: Array, level: Array, li: Array, lj: Array, lw: Array, q: Array) -> int:
    """Sum the couplings of each unknown, the diagonal and its inverse; return how many are coupled."""
    at, size, m, s, lo, hi = level[START], level[SIZE], level[ROW], level[LINE], level[LOW], level[HIGH]
    cells = level[CELLS]
    f, g, h = A[FACE0, at : at + cells], A[FACE1, at : at + cells], A[FACE2, at : at + cells]
    total, d, inv = A[COUPLING, at : at + size], A[DIAGONAL, at : at + size], A[INVERSE, at : at + size]
    c = A[AIR_COUPLING, at : at + size]
    total[:] = 0
    if s == 0:
        _sum2(total[lo:hi], f[lo:hi], f[lo - m : hi - m], g[lo:hi], g[lo - 1 : hi - 1])
    else:
        _sum3(total[lo:hi], f[lo:hi], f[lo - m : hi - m], g[lo:hi], g[lo - 1 : hi - 1], h[lo:hi],
              h[lo - s : hi - s])  # fmt: skip
    for e in range(level[LINK0], level[LINK1]):
        total[li[e]] += lw[e]
        total[lj[e]] += lw[e]
    return _invert(d, inv, total, c, q[ONE])


@jit
def _sum2(o: Array, f: Array, fm: Array, g: Array, gl: Array) -> None:
    for k in range(o.size):
        o[k] = (f[k] + fm[k]) + (g[k] + gl[k])


@jit
def _sum3(o: Array, f: Array, fm: Array, g: Array, gl: Array, h: Array, hd: Array) -> None:
    for k in range(o.size):
        o[k] = (f[k] + fm[k]) + (g[k] + gl[k]) + (h[k] + hd[k])


@jit
def _invert(d: Array, inv: Array, total: Array, c: Array, one: Any) -> int:
    """Write the diagonal and its inverse, 0 where there is none."""
    live = 0
    zero = one - one
    for k in range(d.size):
        v = total[k] + c[k]
        d[k] = v
        inv[k] = one / v if v > zero else zero
        live += total[k] > zero
    return live


@jit
def _find(parent: Array, i: int) -> int:
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
            i, j = _find(parent, i), _find(parent, j)
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
                    r = _find(parent, k)
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
                r = _find(parent, e)
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


@jit
def _inner(o: Array, forward: Array, side: Array, up: Array, flat: bool) -> None:
    """Sum the couplings inside the blocks of two-cell lines; the first cell of `o` opens a block."""
    for k in range(o.size // 2):
        w = side[2 * k]
        o[2 * k] = w + forward[2 * k] + (0 if flat else up[2 * k])
        o[2 * k + 1] = w + forward[2 * k + 1] + (0 if flat else up[2 * k + 1])


@jit
def _own(own: Array, inner: Array, total: Array, c: Array, inv: Array, q: Array) -> None:
    """Write g of the transfer (7.2), see `_cycle`; zero for unknowns that are coupled to none."""
    tf, td, floor, one = q[TF], q[TD], q[FLOOR], q[ONE]
    zero = one - one
    for k in range(own.size):
        i = inv[k]
        w = one - i * (tf * (total[k] - inner[k]) + td * c[k])
        w = w if w > floor else floor
        own[k] = w - tf * i * inner[k] if total[k] > zero else zero


@jit
def own_weights(A: Array, level: Array, agg: Array, li: Array, lj: Array, lw: Array, inner: Array,
                q: Array) -> None:  # fmt: skip
    """Write the weights of the transfer to the next level."""
    at, size, cells, m, s = level[START], level[SIZE], level[CELLS], level[ROW], level[LINE]
    f, g, h = A[FACE0, at : at + cells], A[FACE1, at : at + cells], A[FACE2, at : at + cells]
    inner[:size] = 0
    width = (m if s == 0 else s) - 2
    lines = 1 if s == 0 else m // s - 2
    for row in range(1, level[ROWS] - 1):
        for line in range(1, lines + 1):
            k = row * m + 1 + (0 if s == 0 else line * s)
            # The face to the inner neighbour belongs to the lower of both cells.
            ahead = k if row & 1 else k - m
            up = k if line & 1 else k - s
            _inner(inner[k : k + width], f[ahead:], g[k:], h[up:], s == 0)
    for e in range(level[LINK0], level[LINK1]):
        if agg[li[e]] == agg[lj[e]]:
            inner[li[e]] += lw[e]
            inner[lj[e]] += lw[e]
    _own(A[OWN, at : at + size], inner[:size], A[COUPLING, at : at + size], A[AIR_COUPLING, at : at + size],
         A[INVERSE, at : at + size], q)  # fmt: skip


@jit
def couple(A: Array, level: Array, coarse: Array, agg: Array, li: Array, lj: Array, lw: Array,
           new: int, q: Array) -> int:  # fmt: skip
    """Write the couplings (7.1) of the next level; links from place `new` on. Return where they end."""
    at, size, cells, m, s = level[START], level[SIZE], level[CELLS], level[ROW], level[LINE]
    to, mc, sc = coarse[START], coarse[ROW], coarse[LINE]
    f, g, h, c = A[FACE0], A[FACE1], A[FACE2], A[AIR_COUPLING]
    half, air = q[HALF], q[HALF] * q[ALPHA]
    links = new
    lines = 1 if s == 0 else m // s // 2 - 1
    width = (m if s == 0 else s) // 2 - 1
    side = m if s == 0 else s
    corners = 4 if s == 0 else 8
    for row in range(1, level[ROWS] // 2):
        for line in range(1, lines + 1):
            for x in range(1, width + 1):
                base = (2 * row - 1) * m + 2 * x - 1 + (0 if s == 0 else (2 * line - 1) * s)
                block = row * mc + x + (0 if s == 0 else line * sc)
                for corner in range(corners):
                    k = base + (corner & 1) + (corner >> 1 & 1) * side + (corner >> 2) * m
                    i = agg[k]
                    if i < 0:
                        continue
                    c[to + i] += air * c[at + k]
                    for axis in range(3):
                        bit = 1 << axis
                        if bit >= corners or not corner & bit:
                            continue
                        if axis == 0:
                            w, j, step = g[at + k], agg[k + 1], 1
                        elif axis == 1 and s > 0:
                            w, j, step = h[at + k], agg[k + s], sc
                        else:
                            w, j, step = f[at + k], agg[k + m], mc
                        if not w > 0:
                            continue
                        if i == block and j == block + step:
                            field = g if axis == 0 else h if step == sc and s > 0 else f
                            field[to + i] += half * w
                        else:
                            if links < li.size:
                                li[links], lj[links], lw[links] = i, j, half * w
                            links += 1
    for e in range(cells, size):
        if agg[e] >= 0:
            c[to + agg[e]] += air * c[at + e]
    for e in range(level[LINK0], level[LINK1]):
        i, j = agg[li[e]], agg[lj[e]]
        if i == j:
            continue
        if j < i:
            i, j = j, i
        w = half * lw[e]
        if j >= coarse[CELLS]:
            if links < li.size:
                li[links], lj[links], lw[links] = i, j, w
            links += 1
        elif j == i + 1:
            g[to + i] += w
        elif j == i + mc:
            f[to + i] += w
        else:
            h[to + i] += w
    return links


@jit
def dense_matrix(
    A: Array, level: Array, li: Array, lj: Array, lw: Array, number: Array
) -> tuple[Array, Array]:
    """Return the coupled unknowns of the coarsest level and the inverse of its matrix, in double precision.

    Components without AIR have the sum over their unknowns made regular and taken out again: the result is
    the pseudo-inverse on them.
    """
    at, size, cells, m, s = level[START], level[SIZE], level[CELLS], level[ROW], level[LINE]
    count = 0
    for k in range(size):
        number[k] = -1
        if A[COUPLING, at + k] > 0:
            number[k] = count
            count += 1
    M, unknowns = np.zeros((count, count)), np.empty(count, np.int32)
    for k in range(size):
        i = number[k]
        if i < 0:
            continue
        unknowns[i] = k
        M[i, i] += A[AIR_COUPLING, at + k]
        if k >= cells:
            continue
        for axis in range(3):
            if axis == 2 and s == 0:
                continue
            w = A[FACE0 + axis, at + k]
            if w > 0:
                j = number[k + (m if axis == 0 else 1 if axis == 1 else s)]
                M[i, j] -= w
                M[j, i] -= w
                M[i, i] += w
                M[j, j] += w
    for e in range(level[LINK0], level[LINK1]):
        i, j, w = number[li[e]], number[lj[e]], np.float64(lw[e])
        M[i, j] -= w
        M[j, i] -= w
        M[i, i] += w
        M[j, j] += w
    return unknowns, _invert_dense(M, A[AIR_COUPLING, at : at + size], unknowns)


@jit
def _invert_dense(M: Array, air: Array, unknowns: Array) -> Array:
    """Return the pseudo-inverse of a graph Laplacian with couplings to AIR, by Gauss-Jordan elimination."""
    n = len(M)
    part = np.arange(n)
    for i in range(n):
        for j in range(i):
            if M[i, j] < 0:
                a, b = _find(part, i), _find(part, j)
                part[max(a, b)] = min(a, b)
    open_, sizes, scale = np.zeros(n), np.zeros(n), np.zeros(n)
    for i in range(n):
        r = _find(part, i)
        part[i] = r
        open_[r] += air[unknowns[i]]
        sizes[r] += 1
        scale[r] = max(scale[r], M[i, i])
    shift = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            r = part[i]
            if r == part[j] and open_[r] == 0:
                # The constant vector becomes an eigenvector of value scale, and later of value 0.
                M[i, j] += scale[r] / sizes[r]
                shift[i, j] = 1.0 / (sizes[r] * scale[r])
    for k in range(n):
        pivot = 1.0 / M[k, k]
        M[k, k] = 1.0
        for j in range(n):
            M[k, j] *= pivot
        for i in range(n):
            if i != k:
                factor = M[i, k]
                M[i, k] = 0.0
                for j in range(n):
                    M[i, j] -= factor * M[k, j]
    for i in range(n):
        for j in range(i + 1):
            M[i, j] = M[j, i] = 0.5 * (M[i, j] + M[j, i]) - shift[i, j]
    return M
