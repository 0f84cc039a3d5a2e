"""Couplings, diagonals and transfer weights of the coarse levels."""

from __future__ import annotations

from typing import Any

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

__all__ = ["couple", "diagonals", "own_weights"]

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
    _sum(total[lo:hi], f[lo:hi], f[lo - m : hi - m], g[lo:hi], g[lo - 1 : hi - 1])
    if s > 0:
        _add(total[lo:hi], h[lo:hi], h[lo - s : hi - s])
    for e in range(level[LINK0], level[LINK1]):
        total[li[e]] += lw[e]
        total[lj[e]] += lw[e]
    return _invert(d, inv, total, c, q[ONE])


@jit
def _sum(o: Array, f: Array, fm: Array, g: Array, gl: Array) -> None:
    for k in range(o.size):
        o[k] = (f[k] + fm[k]) + (g[k] + gl[k])


@jit
def _add(o: Array, h: Array, hd: Array) -> None:
    for k in range(o.size):
        o[k] += h[k] + hd[k]


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
def _inner(o: Array, forward: Array, side: Array, up: Array, flat: bool) -> None:
    """Sum the couplings inside the blocks of two-cell lines; the first cell of `o` opens a block."""
    for k in range(o.size // 2):
        w = side[2 * k]
        o[2 * k] = w + forward[2 * k] + (0 if flat else up[2 * k])
        o[2 * k + 1] = w + forward[2 * k + 1] + (0 if flat else up[2 * k + 1])


@jit
def _own(own: Array, inner: Array, total: Array, c: Array, inv: Array, q: Array) -> None:
    """Write g of the transfer (7.2), see `_fine_cycle`; zero for unknowns that are coupled to none."""
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
def _fold_across(o: Array, w: Array, a: Array, b: Array, extra: int, half: Any) -> None:
    """Add the couplings of a line of cells to the next line or row, unless an end was split off."""
    zero = half - half
    for k in range(o.size):
        u = w[2 * k] if (a[2 * k] < extra) & (b[2 * k] < extra) else zero
        v = w[2 * k + 1] if (a[2 * k + 1] < extra) & (b[2 * k + 1] < extra) else zero
        o[k] += half * (u + v)


@jit
def _fold_along(o: Array, w: Array, a: Array, extra: int, half: Any) -> None:
    """Add the couplings of the second cell of each block to the first of the next."""
    zero = half - half
    for k in range(o.size):
        o[k] += half * (w[2 * k + 1] if (a[2 * k + 1] < extra) & (a[2 * k + 2] < extra) else zero)


@jit
def _fold_air(o: Array, c: Array, a: Array, extra: int, air: Any) -> None:
    """Add the couplings to AIR."""
    zero = air - air
    for k in range(o.size):
        u = c[2 * k] if (a[2 * k] >= 0) & (a[2 * k] < extra) else zero
        v = c[2 * k + 1] if (a[2 * k + 1] >= 0) & (a[2 * k + 1] < extra) else zero
        o[k] += air * (u + v)


@jit
def _couple_blocks(A: Array, level: Array, coarse: Array, agg: Array, q: Array) -> None:
    """Write the couplings between the first aggregates of the blocks, line by line of cells."""
    at, m, s, to, mc, sc = level[START], level[ROW], level[LINE], coarse[START], coarse[ROW], coarse[LINE]
    extra, half, air = coarse[CELLS], q[HALF], q[HALF] * q[ALPHA]
    lines, cells = (1, m - 2) if s == 0 else (m // s - 2, s - 2)
    for row in range(1, level[ROWS] - 1):
        for line in range(1, lines + 1):
            k = row * m + 1 + (0 if s == 0 else line * s)
            o = to + (row + 1) // 2 * mc + 1 + (0 if s == 0 else (line + 1) // 2 * sc)
            e, z, a = o + cells // 2, at + k, agg[k:]
            _fold_along(A[FACE1, o:e], A[FACE1, z:], a, extra, half)
            _fold_air(A[AIR_COUPLING, o:e], A[AIR_COUPLING, z:], a, extra, air)
            if row & 1 == 0:
                _fold_across(A[FACE0, o:e], A[FACE0, z:], a, agg[k + m :], extra, half)
            if s > 0 and line & 1 == 0:
                _fold_across(A[FACE2, o:e], A[FACE2, z:], a, agg[k + s :], extra, half)


@jit
def couple(A: Array, level: Array, coarse: Array, agg: Array, cell: Array, li: Array, lj: Array, lw: Array,
           new: int, q: Array) -> int:  # fmt: skip
    """Write the couplings (7.1) of the next level; links from place `new` on. Return where they end.

    `cell` lists the cells whose aggregate was split off: only they have links on the grid.
    """
    at, size, cells, m, s = level[START], level[SIZE], level[CELLS], level[ROW], level[LINE]
    to, mc, extra = coarse[START], coarse[ROW], coarse[CELLS]
    f, g, h, c = A[FACE0], A[FACE1], A[FACE2], A[AIR_COUPLING]
    half, air = q[HALF], q[HALF] * q[ALPHA]
    links = new
    _couple_blocks(A, level, coarse, agg, q)
    for k in cell:
        if k >= cells:
            continue
        i = agg[k]
        c[to + i] += air * c[at + k]
        for side in range(4 if s == 0 else 6):
            step = m if side < 2 else 1 if side < 4 else s
            field = f if side < 2 else g if side < 4 else h
            other = k + step if side & 1 else k - step
            w, j = field[at + min(k, other)], agg[other]
            # A face between two listed cells is seen from both: take it from the first.
            if not w > 0 or i == j or (j >= extra and other < k):
                continue
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
        if j >= extra:
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
