"""Set-up of level 0 and of the couplings of level 1, from the flags alone."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.jit import jit

from ._layout import AIR_COUPLING, ALPHA, CELLS, FACE0, FACE1, FACE2, HALF, LINE, ROW, START

__all__ = ["block_components", "cell_bytes", "couple_blocks", "couple_split", "pad_flags", "split_blocks"]

Array = NDArray[Any]


@functools.cache
def block_components(dimension: int) -> tuple[Array, Array]:
    """Return, for each pattern of live cells in a block, the number of its components and their cells.

    Cell c of the block, bit c of the pattern, has coordinates (c & 1) along the last axis, then (c >> 1) & 1,
    then c >> 2. The second table holds the component of each cell, numbered by their first cell.
    """
    cells = 1 << dimension
    number, label = np.zeros(1 << cells, np.uint8), np.zeros((1 << cells, cells), np.uint8)
    for pattern in range(1 << cells):
        left = {c for c in range(cells) if pattern >> c & 1}
        while left:
            part = {min(left)}
            while grown := {c ^ (1 << a) for c in part for a in range(dimension)} & left - part:
                part |= grown
            for c in part:
                label[pattern, c] = number[pattern]
            number[pattern] += 1
            left -= part
    return number, label


@jit
def pad_flags(flags: Array, F: Array, s: int) -> None:
    """Copy `flags`, always 3-D (with a first axis of 1 in 2-D), into the zeroed rows of `F`."""
    n0, n1, n2 = flags.shape
    for i in range(n0):
        for j in range(n1):
            if s == 0:
                F[j + 1, 1 : n2 + 1] = flags[i, j]
            else:
                F[i + 1, (j + 1) * s + 1 : (j + 1) * s + 1 + n2] = flags[i, j]


@jit
def _count2(n: Array, t: Array, f: Array, fi: Array, fo: Array, fl: Array, fr: Array) -> int:
    """Write the bytes of one line; `fi` is the inner neighbour line, `fo` the outer, the first cell even."""
    live = 0
    for k in range(n.size):
        one = f[k] == 1
        open_ = np.uint8(
            np.uint8(fi[k] != 0) + np.uint8(fo[k] != 0) + np.uint8(fl[k] != 0) + np.uint8(fr[k] != 0)
        )
        air = np.uint8(
            np.uint8(fi[k] == 2) + np.uint8(fo[k] == 2) + np.uint8(fl[k] == 2) + np.uint8(fr[k] == 2)
        )
        side = (fr[k] == 1) if k & 1 else (fl[k] == 1)
        outer = np.uint8(np.uint8(fo[k] == 1) + np.uint8(side))
        n[k] = open_ if one else 0
        use = one and open_ > air
        t[k] = np.uint8(air + 8 * outer) if use else 64
        live += int(use)
    return live


@jit
def _count3(n: Array, t: Array, f: Array, fi: Array, fo: Array, fj: Array, fp: Array, fl: Array,
            fr: Array) -> int:  # fmt: skip
    """Write the bytes of one line in 3-D: `fi`, `fj` are the inner neighbour lines, `fo`, `fp` the outer."""
    live = 0
    for k in range(n.size):
        one = f[k] == 1
        open_ = np.uint8(
            np.uint8(fi[k] != 0) + np.uint8(fo[k] != 0) + np.uint8(fj[k] != 0) + np.uint8(fp[k] != 0)
            + np.uint8(fl[k] != 0) + np.uint8(fr[k] != 0)
        )  # fmt: skip
        air = np.uint8(
            np.uint8(fi[k] == 2) + np.uint8(fo[k] == 2) + np.uint8(fj[k] == 2) + np.uint8(fp[k] == 2)
            + np.uint8(fl[k] == 2) + np.uint8(fr[k] == 2)
        )  # fmt: skip
        side = (fr[k] == 1) if k & 1 else (fl[k] == 1)
        outer = np.uint8(np.uint8(fo[k] == 1) + np.uint8(fp[k] == 1) + np.uint8(side))
        n[k] = open_ if one else 0
        use = one and open_ > air
        t[k] = np.uint8(air + 8 * outer) if use else 64
        live += int(use)
    return live


@jit
def cell_bytes(F: Array, n: Array, t: Array, s: int) -> int:
    """Write ``count`` and ``kind`` of all cells; return how many are coupled to another FLUID cell."""
    rows, m = F.shape
    live = 0
    for i in range(1, rows - 1):
        inner = i + 1 if i & 1 else i - 1
        outer = i - 1 if i & 1 else i + 1
        if s == 0:
            live += _count2(n[i, 1 : m - 1], t[i, 1 : m - 1], F[i, 1 : m - 1], F[inner, 1 : m - 1],
                            F[outer, 1 : m - 1], F[i, : m - 2], F[i, 2:])  # fmt: skip
        else:
            for j in range(1, m // s - 1):
                lo, hi = j * s + 1, j * s + s - 1
                near = s if j & 1 else -s
                live += _count3(n[i, lo:hi], t[i, lo:hi], F[i, lo:hi], F[inner, lo:hi], F[outer, lo:hi],
                                F[i, lo + near : hi + near], F[i, lo - near : hi - near],
                                F[i, lo - 1 : hi - 1], F[i, lo + 1 : hi + 1])  # fmt: skip
    return live


@jit
def _patterns2(p: Array, t0: Array, t1: Array) -> None:
    """Write which cells of each 2 x 2 block are live, as bits."""
    for k in range(p.size):
        a = np.uint8(t0[2 * k] < 64) | np.uint8(np.uint8(t0[2 * k + 1] < 64) << 1)
        b = np.uint8(t1[2 * k] < 64) | np.uint8(np.uint8(t1[2 * k + 1] < 64) << 1)
        p[k] = a | np.uint8(b << 2)


@jit
def split_blocks(t: Array, s: int, coarse: Array, number: Array, label: Array, first: Array, cell: Array,
                 target: Array, home: Array, who: Array) -> tuple[int, int]:  # fmt: skip
    """List the cells of the second and further components of each block; return (cells, aggregates).

    Such a component becomes an aggregate of its own, appended behind the cells of level 1; `home` says in
    which block it lies and `who` which cells form it. Where the lists are too short nothing is written.
    Bit 32 of `t` marks the cells.
    """
    rows, m = t.shape
    mc, sc, extra = coarse[ROW], coarse[LINE], coarse[CELLS]
    cells = added = 0
    lines = 1 if s == 0 else m // s // 2 - 1
    width = (m if s == 0 else s) // 2 - 1
    low, high = np.empty(width, np.uint8), np.zeros(width, np.uint8)
    fits = min(cell.size, home.size)
    flat = t.reshape(-1)
    for row in range(1, rows // 2):
        first[row] = cells
        for line in range(1, lines + 1):
            p = (2 * row - 1) * m + 1 + (0 if s == 0 else (2 * line - 1) * s)
            if s == 0:
                _patterns2(low, flat[p:], flat[p + m :])
            else:
                _patterns2(low, flat[p:], flat[p + s :])
                _patterns2(high, flat[p + m :], flat[p + m + s :])
            for k in range(width):
                pattern = low[k] | (high[k] << 4)
                if number[pattern] < 2:
                    continue
                block = row * mc + k + 1 + (0 if s == 0 else line * sc)
                for c in range(4 if s == 0 else 8):
                    if not pattern >> c & 1 or label[pattern, c] == 0:
                        continue
                    at = p + 2 * k + (c & 1) + (c >> 1 & 1) * (m if s == 0 else s) + (c >> 2) * m
                    if cells < fits:
                        new = added + label[pattern, c] - 1
                        cell[cells], target[cells] = at, extra + new
                        home[new], who[at] = block, extra + new
                    cells += 1
                added += number[pattern] - 1
    first[rows // 2] = cells
    if cells <= fits:
        for e in range(cells):
            flat[cell[e]] |= 32
    return cells, added


@jit
def _faces2(f: Array, g: Array, c: Array, t0: Array, t1: Array, tp: Array, half: Any, air: Any) -> None:
    """Write the couplings of one line of blocks: forward, sideways, to AIR."""
    real = f.dtype.type
    for k in range(f.size):
        # Bits 32 and 64: cells of an aggregate of their own, and cells that take no part.
        a, b = np.uint8(t0[2 * k] < 32), np.uint8(t0[2 * k + 1] < 32)
        d, e = np.uint8(t1[2 * k] < 32), np.uint8(t1[2 * k + 1] < 32)
        ahead = (d & np.uint8(tp[2 * k] < 32)) + (e & np.uint8(tp[2 * k + 1] < 32))
        right = (b & np.uint8(t0[2 * k + 2] < 32)) + (e & np.uint8(t1[2 * k + 2] < 32))
        touch = a * (t0[2 * k] & 7) + b * (t0[2 * k + 1] & 7) + d * (t1[2 * k] & 7) + e * (t1[2 * k + 1] & 7)
        f[k] = half * real(np.uint8(ahead))
        g[k] = half * real(np.uint8(right))
        c[k] = air * real(np.uint8(touch))


@jit
def couple_blocks(t: Array, s: int, A: Array, coarse: Array, q: Array) -> None:
    """Write the couplings (7.1) between the first aggregates of the blocks into level 1."""
    rows, m = t.shape
    mc, sc, at = coarse[ROW], coarse[LINE], coarse[START]
    half, air = q[HALF], q[HALF] * q[ALPHA]
    flat = t.reshape(-1)
    width = (m if s == 0 else s) // 2 - 1
    for row in range(1, rows // 2):
        p = (2 * row - 1) * m + 1
        if s == 0:
            a, e = at + row * mc + 1, at + row * mc + 1 + width
            _faces2(A[FACE0, a:e], A[FACE1, a:e], A[AIR_COUPLING, a:e], flat[p:], flat[p + m :],
                    flat[p + 2 * m :], half, air)  # fmt: skip
            continue
        for line in range(1, m // s // 2):
            z = p + (2 * line - 1) * s
            a, e = at + row * mc + line * sc + 1, at + row * mc + line * sc + 1 + width
            # Two layers of the block: lines sideways in each, and the faces between the layers' far sides.
            f, g, h, c = A[FACE0, a:e], A[FACE1, a:e], A[FACE2, a:e], A[AIR_COUPLING, a:e]
            _faces3(f, g, h, c, flat[z:], flat[z + s :], flat[z + m :], flat[z + m + s :], flat[z + 2 * m :],
                    flat[z + 2 * m + s :], flat[z + 2 * s :], flat[z + m + 2 * s :], half, air)  # fmt: skip


@jit
def _faces3(f: Array, g: Array, h: Array, c: Array, t00: Array, t01: Array, t10: Array, t11: Array,
            t20: Array, t21: Array, t02: Array, t12: Array, half: Any, air: Any) -> None:  # fmt: skip
    """Write the couplings of one line of blocks in 3-D; t_ab is layer a and line b of the block's cells."""
    real = f.dtype.type
    for k in range(f.size):
        i, j = 2 * k, 2 * k + 1
        a, b = np.uint8(t00[i] < 32), np.uint8(t00[j] < 32)
        c0, d = np.uint8(t01[i] < 32), np.uint8(t01[j] < 32)
        e, g0 = np.uint8(t10[i] < 32), np.uint8(t10[j] < 32)
        h0, o = np.uint8(t11[i] < 32), np.uint8(t11[j] < 32)
        ahead = (e & np.uint8(t20[i] < 32)) + (g0 & np.uint8(t20[j] < 32))
        ahead += (h0 & np.uint8(t21[i] < 32)) + (o & np.uint8(t21[j] < 32))
        up = (c0 & np.uint8(t02[i] < 32)) + (d & np.uint8(t02[j] < 32))
        up += (h0 & np.uint8(t12[i] < 32)) + (o & np.uint8(t12[j] < 32))
        right = (b & np.uint8(t00[i + 2] < 32)) + (d & np.uint8(t01[i + 2] < 32))
        right += (g0 & np.uint8(t10[i + 2] < 32)) + (o & np.uint8(t11[i + 2] < 32))
        touch = a * (t00[i] & 7) + b * (t00[j] & 7) + c0 * (t01[i] & 7) + d * (t01[j] & 7)
        touch += e * (t10[i] & 7) + g0 * (t10[j] & 7) + h0 * (t11[i] & 7) + o * (t11[j] & 7)
        f[k], g[k], h[k] = (
            half * real(np.uint8(ahead)),
            half * real(np.uint8(right)),
            half * real(np.uint8(up)),
        )
        c[k] = air * real(np.uint8(touch))


@jit
def couple_split(t: Array, s: int, A: Array, coarse: Array, cell: Array, target: Array, who: Array, li: Array,
                 lj: Array, lw: Array, q: Array) -> int:  # fmt: skip
    """Add what the split-off aggregates are coupled to: AIR, and links to others. Clear bit 32 of `t`."""
    m = t.shape[1]
    mc, sc, at = coarse[ROW], coarse[LINE], coarse[START]
    flat = t.reshape(-1)
    links = 0
    steps = (m, -m, 1, -1, s, -s)
    for e in range(cell.size):
        i = cell[e]
        A[AIR_COUPLING, at + target[e]] += q[HALF] * q[ALPHA] * (flat[i] & 7)
        for a in range(4 if s == 0 else 6):
            j = i + steps[a]
            if flat[j] >= 64:
                continue
            if flat[j] & 32:
                other = who[j]
                if other == target[e] or j < i:  # inside, or seen from the other side already
                    continue
            else:
                row = j // m
                rest = j - row * m
                if s == 0:
                    other = (row + 1) // 2 * mc + (rest + 1) // 2
                else:
                    line = rest // s
                    other = (row + 1) // 2 * mc + (line + 1) // 2 * sc + (rest - line * s + 1) // 2
            if links < li.size:
                li[links], lj[links], lw[links] = target[e], other, q[HALF]
            links += 1
    for e in range(cell.size):
        flat[cell[e]] &= 95
    return links
