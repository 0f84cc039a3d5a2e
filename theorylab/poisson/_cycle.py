"""The V(2,2) cycle: a fused pass down and a fused pass up on the grid, plain passes on the coarse levels.

Level 0 keeps two bytes a cell: ``count`` (non-SOLID neighbours, 0 off FLUID) and ``kind`` (AIR neighbours
+ 8 x FLUID neighbours outside the cell's block, or 64 where nothing is interpolated). All arrays have a ring
of zeros, so that a sum over neighbours needs no branch. A grid is seen as rows along its first axis: lines
of a 2-D grid, planes of a 3-D one, in which `s` is the step to the next line (0 in 2-D).

The transfer of equation (7.2) is a smoothing step of the piecewise-constant one, for inner neighbours share
the aggregate: ``(P e)_i = g_i e_I(i) + tF sum_j (a_ij / d_i) e_I(j)`` over all neighbours j, where g_i is the
weight of the own aggregate less tF times the share of the inner neighbours.

Loops run from 0 over slices, for an index that may be negative keeps them from vectorising. Constants come
in `q`, an array of the working precision, for a Python float would promote whole loops to double.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.jit import REASSOC, jit

__all__ = ["cycle"]

Array = NDArray[Any]

# Rows of the store of the coarse levels.
FACE0, FACE1, FACE2, AIR_COUPLING, COUPLING, DIAGONAL, INVERSE, OWN, RHS, X = range(10)
FIELDS = 10
# Columns of the table of levels.
START, SIZE, CELLS, ROWS, ROW, LINE, LOW, HIGH, LINK0, LINK1, GROUP0, GROUP1 = range(12)
COLUMNS = 12
# Constants.
W1, W2, W1C, W2C, TF, TD, OC, ALPHA, FLOOR, ONE, ZERO, HALF = range(12)


@jit(fastmath=REASSOC)
def _first(x: Array, inv: Array, b: Array, n: Array, w: Any, one: Any, zero: Any) -> None:
    """Write ``1 / n`` and the first sweep from zero."""
    for k in range(x.size):
        c = one * n[k]
        i = one / c if c > zero else zero
        inv[k] = i
        x[k] = w * i * b[k]


@jit(fastmath=REASSOC)
def _sweep2(y: Array, xm: Array, x: Array, xp: Array, xl: Array, xr: Array, b: Array, inv: Array,
            w: Any, v: Any) -> None:  # fmt: skip
    """Write one sweep of damped Jacobi into `y`, which is none of the others; v = 1 - w."""
    for k in range(y.size):
        y[k] = v * x[k] + w * inv[k] * (b[k] + ((xm[k] + xp[k]) + (xl[k] + xr[k])))


@jit(fastmath=REASSOC)
def _sweep3(y: Array, xm: Array, x: Array, xp: Array, xl: Array, xr: Array, xd: Array, xu: Array,
            b: Array, inv: Array, w: Any, v: Any) -> None:  # fmt: skip
    """Write one sweep of damped Jacobi into `y`, which is none of the others; v = 1 - w."""
    for k in range(y.size):
        y[k] = v * x[k] + w * inv[k] * (b[k] + ((xm[k] + xp[k]) + (xl[k] + xr[k]) + (xd[k] + xu[k])))


@jit
def _sweep(y: Array, x: Array, b: Array, inv: Array, j: int, s: int, w: Any, v: Any) -> None:
    """One sweep on row j from the ring of rows `x` into the row `y`."""
    lo, hi = 1 + s, b.size - 1 - s
    k, u, d = j & 3, (j - 1) & 3, (j + 1) & 3
    if s == 0:
        _sweep2(y[lo:hi], x[u, lo:hi], x[k, lo:hi], x[d, lo:hi], x[k, lo - 1 : hi - 1],
                x[k, lo + 1 : hi + 1], b[lo:hi], inv[lo:hi], w, v)  # fmt: skip
    else:
        _sweep3(y[lo:hi], x[u, lo:hi], x[k, lo:hi], x[d, lo:hi], x[k, lo - 1 : hi - 1],
                x[k, lo + 1 : hi + 1], x[k, lo - s : hi - s], x[k, lo + s : hi + s], b[lo:hi], inv[lo:hi],
                w, v)  # fmt: skip


@jit(fastmath=REASSOC)
def _own(i: Any, n: Any, air: Any, outer: Any, tf: Any, td: Any, floor: Any, one: Any) -> Any:
    """Return g of the transfer from 1 / n, n, the AIR neighbours and the outer FLUID neighbours."""
    w = one - i * (tf * outer + td * air)
    w = w if w > floor else floor
    return w - tf * i * (n - air - outer)


@jit(fastmath=REASSOC)
def _residual2(f: Array, g: Array, xm: Array, x: Array, xp: Array, xl: Array, xr: Array, b: Array, n: Array,
               t: Array, inv: Array, q: Array) -> None:  # fmt: skip
    """Write ``tF r / n`` and ``g r`` of the residual r."""
    real = q.dtype.type
    tf, td, floor, one = q[TF], q[TD], q[FLOOR], q[ONE]
    for k in range(f.size):
        c = real(n[k])
        r = b[k] + ((xm[k] + xp[k]) + (xl[k] + xr[k])) - c * x[k]
        i = inv[k]
        f[k] = tf * i * r
        g[k] = r * _own(i, c, real(np.uint8(t[k] & 7)), real(np.uint8(t[k] >> 3)), tf, td, floor, one)


@jit(fastmath=REASSOC)
def _residual3(f: Array, g: Array, xm: Array, x: Array, xp: Array, xl: Array, xr: Array, xd: Array, xu: Array,
               b: Array, n: Array, t: Array, inv: Array, q: Array) -> None:  # fmt: skip
    """Write ``tF r / n`` and ``g r`` of the residual r."""
    real = q.dtype.type
    tf, td, floor, one = q[TF], q[TD], q[FLOOR], q[ONE]
    for k in range(f.size):
        c = real(n[k])
        r = b[k] + ((xm[k] + xp[k]) + (xl[k] + xr[k]) + (xd[k] + xu[k])) - c * x[k]
        i = inv[k]
        f[k] = tf * i * r
        g[k] = r * _own(i, c, real(np.uint8(t[k] & 7)), real(np.uint8(t[k] >> 3)), tf, td, floor, one)


@jit(fastmath=REASSOC)
def _restrict2(v: Array, g: Array, fm: Array, fp: Array, fl: Array, fr: Array, t: Array, zero: Any) -> None:
    """Write what each cell hands to its aggregate."""
    for k in range(v.size):
        u = g[k] + ((fm[k] + fp[k]) + (fl[k] + fr[k]))
        v[k] = u if t[k] < 64 else zero


@jit(fastmath=REASSOC)
def _restrict3(v: Array, g: Array, fm: Array, fp: Array, fl: Array, fr: Array, fd: Array, fu: Array, t: Array,
               zero: Any) -> None:  # fmt: skip
    """Write what each cell hands to its aggregate."""
    for k in range(v.size):
        u = g[k] + ((fm[k] + fp[k]) + (fl[k] + fr[k]) + (fd[k] + fu[k]))
        v[k] = u if t[k] < 64 else zero


@jit(fastmath=REASSOC)
def _fold2(c: Array, v: Array, w: Array) -> None:
    """Add the sums over blocks of 2 x 2 of two lines."""
    for k in range(c.size):
        c[k] += (v[2 * k] + v[2 * k + 1]) + (w[2 * k] + w[2 * k + 1])


@jit(fastmath=REASSOC)
def _fold3(c: Array, v: Array, vu: Array, w: Array, wu: Array) -> None:
    """Add the sums over blocks of 2 x 2 x 2 of four lines."""
    for k in range(c.size):
        front = (v[2 * k] + v[2 * k + 1]) + (vu[2 * k] + vu[2 * k + 1])
        c[k] += front + ((w[2 * k] + w[2 * k + 1]) + (wu[2 * k] + wu[2 * k + 1]))


@jit(fastmath=REASSOC)
def _down(b: Array, x: Array, n: Array, t: Array, s: int, scratch: Array, coarse: Array, mc: int, sc: int,
          first: Array, cell: Array, target: Array, q: Array) -> None:  # fmt: skip
    """Two sweeps from zero on level 0 into `x`, and the restricted residual into `coarse`, in one pass.

    Rows follow each other with a lag of one: first sweep, second sweep, residual, restriction. The last four
    rows of each live in `scratch`, which stays in the cache.
    """
    rows, m = b.shape
    lo, hi = 1 + s, m - 1 - s
    inv, one, flux, own, give = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    coarse[:] = q[ZERO]
    for i in range(rows + 2):
        k = i & 3
        if i == 0 or i == rows - 1:
            inv[k, :] = q[ZERO]
            one[k, :] = q[ZERO]
        elif i < rows:
            _first(one[k, lo:hi], inv[k, lo:hi], b[i, lo:hi], n[i, lo:hi], q[W1], q[ONE], q[ZERO])
        j = i - 1
        if 0 < j < rows - 1:
            _sweep(x[j], one, b[j], inv[j & 3], j, s, q[W2], q[ONE] - q[W2])
        j = i - 2
        k, u, d = j & 3, (j - 1) & 3, (j + 1) & 3
        if j == 0 or j == rows - 1:
            flux[k, :] = q[ZERO]
        elif 0 < j < rows:
            if s == 0:
                _residual2(flux[k, lo:hi], own[k, lo:hi], x[j - 1, lo:hi], x[j, lo:hi], x[j + 1, lo:hi],
                           x[j, lo - 1 : hi - 1], x[j, lo + 1 : hi + 1], b[j, lo:hi], n[j, lo:hi],
                           t[j, lo:hi], inv[k, lo:hi], q)  # fmt: skip
            else:
                _residual3(flux[k, lo:hi], own[k, lo:hi], x[j - 1, lo:hi], x[j, lo:hi], x[j + 1, lo:hi],
                           x[j, lo - 1 : hi - 1], x[j, lo + 1 : hi + 1], x[j, lo - s : hi - s],
                           x[j, lo + s : hi + s], b[j, lo:hi], n[j, lo:hi], t[j, lo:hi],
                           inv[k, lo:hi], q)  # fmt: skip
        j = i - 3
        if j < 1:
            continue
        k, u, d = j & 3, (j - 1) & 3, (j + 1) & 3
        if s == 0:
            _restrict2(give[j & 1, lo:hi], own[k, lo:hi], flux[u, lo:hi], flux[d, lo:hi],
                       flux[k, lo - 1 : hi - 1], flux[k, lo + 1 : hi + 1], t[j, lo:hi], q[ZERO])  # fmt: skip
        else:
            _restrict3(give[j & 1, lo:hi], own[k, lo:hi], flux[u, lo:hi], flux[d, lo:hi],
                       flux[k, lo - 1 : hi - 1], flux[k, lo + 1 : hi + 1], flux[k, lo - s : hi - s],
                       flux[k, lo + s : hi + s], t[j, lo:hi], q[ZERO])  # fmt: skip
        if j & 1:
            continue
        row = j >> 1
        for e in range(first[row], first[row + 1]):  # cells of split-off aggregates
            r = cell[e] // m
            p = cell[e] - r * m
            coarse[target[e]] += give[r & 1, p]
            give[r & 1, p] = q[ZERO]
        if s == 0:
            _fold2(coarse[row * mc + 1 : row * mc + m // 2], give[1, 1:], give[0, 1:])
        else:
            for line in range(1, m // s // 2):
                at = row * mc + line * sc
                p = (2 * line - 1) * s + 1
                _fold3(coarse[at + 1 : at + s // 2], give[1, p:], give[1, p + s :], give[0, p:],
                       give[0, p + s :])  # fmt: skip


@jit
def _spread(e: Array, c: Array) -> None:
    """Write each coarse value twice."""
    for k in range(c.size):
        e[2 * k] = c[k]
        e[2 * k + 1] = c[k]


@jit
def _mask(e: Array, t: Array, zero: Any) -> None:
    """Clear the cells that take no part in the transfer."""
    for k in range(e.size):
        e[k] = e[k] if t[k] < 64 else zero


@jit(fastmath=REASSOC)
def _correct2(y: Array, x: Array, inv: Array, em: Array, e: Array, ep: Array, el: Array, er: Array, n: Array,
              t: Array, q: Array) -> None:  # fmt: skip
    """Write ``x + oc P e`` and ``1 / n``."""
    real = q.dtype.type
    tf, td, floor, one, oc, zero = q[TF], q[TD], q[FLOOR], q[ONE], q[OC], q[ZERO]
    for k in range(y.size):
        c = real(n[k])
        i = one / c if c > zero else zero
        inv[k] = i
        g = _own(i, c, real(np.uint8(t[k] & 7)), real(np.uint8(t[k] >> 3)), tf, td, floor, one)
        u = g * e[k] + tf * i * ((em[k] + ep[k]) + (el[k] + er[k]))
        y[k] = x[k] + (oc * u if t[k] < 64 else zero)


@jit(fastmath=REASSOC)
def _correct3(y: Array, x: Array, inv: Array, em: Array, e: Array, ep: Array, el: Array, er: Array, ed: Array,
              eu: Array, n: Array, t: Array, q: Array) -> None:  # fmt: skip
    """Write ``x + oc P e`` and ``1 / n``."""
    real = q.dtype.type
    tf, td, floor, one, oc, zero = q[TF], q[TD], q[FLOOR], q[ONE], q[OC], q[ZERO]
    for k in range(y.size):
        c = real(n[k])
        i = one / c if c > zero else zero
        inv[k] = i
        g = _own(i, c, real(np.uint8(t[k] & 7)), real(np.uint8(t[k] >> 3)), tf, td, floor, one)
        u = g * e[k] + tf * i * ((em[k] + ep[k]) + (el[k] + er[k]) + (ed[k] + eu[k]))
        y[k] = x[k] + (oc * u if t[k] < 64 else zero)


@jit(fastmath=REASSOC)
def _dot(x: Array, y: Array) -> float:
    """Return the scalar product, summed in double precision."""
    total = 0.0
    for k in range(x.size):
        total += np.float64(x[k]) * np.float64(y[k])
    return total


@jit(fastmath=REASSOC)
def _up(b: Array, x: Array, n: Array, t: Array, s: int, scratch: Array, coarse: Array, mc: int, sc: int,
        first: Array, cell: Array, target: Array, q: Array) -> float:  # fmt: skip
    """Add the coarse correction to `x` and do two sweeps on level 0, in one pass; return ``b . x``."""
    rows, m = b.shape
    lo, hi = 1 + s, m - 1 - s
    inv, step, one, two = scratch[0], scratch[1], scratch[2], scratch[3]
    total = 0.0
    for i in range(rows + 2):
        if i == 0 or i == rows - 1:
            step[i & 3, :] = q[ZERO]
        elif i & 1 and i < rows:
            row = (i + 1) >> 1
            if s == 0:
                _spread(step[i & 3, 1:], coarse[row * mc + 1 : row * mc + m // 2])
            else:
                for line in range(1, m // s // 2):
                    at, p = row * mc + line * sc, (2 * line - 1) * s + 1
                    _spread(step[i & 3, p:], coarse[at + 1 : at + s // 2])
                    step[i & 3, p + s : p + s + s - 2] = step[i & 3, p : p + s - 2]
            step[(i + 1) & 3, lo:hi] = step[i & 3, lo:hi]
            for e in range(first[row], first[row + 1]):
                r = cell[e] // m
                step[r & 3, cell[e] - r * m] = coarse[target[e]]
            _mask(step[i & 3, lo:hi], t[i, lo:hi], q[ZERO])
            _mask(step[(i + 1) & 3, lo:hi], t[i + 1, lo:hi], q[ZERO])
        j = i - 1
        k, u, d = j & 3, (j - 1) & 3, (j + 1) & 3
        if j == 0 or j == rows - 1:
            one[k, :] = q[ZERO]
        elif 0 < j < rows:
            if s == 0:
                _correct2(one[k, lo:hi], x[j, lo:hi], inv[k, lo:hi], step[u, lo:hi], step[k, lo:hi],
                          step[d, lo:hi], step[k, lo - 1 : hi - 1], step[k, lo + 1 : hi + 1], n[j, lo:hi],
                          t[j, lo:hi], q)  # fmt: skip
            else:
                _correct3(one[k, lo:hi], x[j, lo:hi], inv[k, lo:hi], step[u, lo:hi], step[k, lo:hi],
                          step[d, lo:hi], step[k, lo - 1 : hi - 1], step[k, lo + 1 : hi + 1],
                          step[k, lo - s : hi - s], step[k, lo + s : hi + s], n[j, lo:hi], t[j, lo:hi],
                          q)  # fmt: skip
        j = i - 2
        if j == 0 or j == rows - 1:
            two[j & 3, :] = q[ZERO]
        elif 0 < j < rows:
            _sweep(two[j & 3], one, b[j], inv[j & 3], j, s, q[W2], q[ONE] - q[W2])
        j = i - 3
        if j > 0:
            _sweep(x[j], two, b[j], inv[j & 3], j, s, q[W1], q[ONE] - q[W1])
            total += _dot(b[j, lo:hi], x[j, lo:hi])
    return total


# --- coarse levels ----------------------------------------------------------------


@jit(fastmath=REASSOC)
def _around2(o: Array, f: Array, xp: Array, fm: Array, xm: Array, g: Array, xr: Array, gl: Array,
             xl: Array) -> None:  # fmt: skip
    """Write the coupled sum over the four neighbours."""
    for k in range(o.size):
        o[k] = (f[k] * xp[k] + fm[k] * xm[k]) + (g[k] * xr[k] + gl[k] * xl[k])


@jit(fastmath=REASSOC)
def _around3(o: Array, f: Array, xp: Array, fm: Array, xm: Array, g: Array, xr: Array, gl: Array, xl: Array,
             h: Array, xu: Array, hd: Array, xd: Array) -> None:  # fmt: skip
    """Write the coupled sum over the six neighbours."""
    for k in range(o.size):
        v = (f[k] * xp[k] + fm[k] * xm[k]) + (g[k] * xr[k] + gl[k] * xl[k])
        o[k] = v + (h[k] * xu[k] + hd[k] * xd[k])


@jit
def _around(o: Array, x: Array, A: Array, level: Array, li: Array, lj: Array, lw: Array) -> None:
    """Write ``sum_j a_ij x_j`` of one level into `o`: the faces of the grid, then the other links."""
    m, s, lo, hi, at = level[ROW], level[LINE], level[LOW], level[HIGH], level[START]
    f, g = A[FACE0, at : at + level[CELLS]], A[FACE1, at : at + level[CELLS]]
    if s == 0:
        _around2(o[lo:hi], f[lo:hi], x[lo + m : hi + m], f[lo - m : hi - m], x[lo - m : hi - m],
                 g[lo:hi], x[lo + 1 : hi + 1], g[lo - 1 : hi - 1], x[lo - 1 : hi - 1])  # fmt: skip
    else:
        h = A[FACE2, at : at + level[CELLS]]
        _around3(o[lo:hi], f[lo:hi], x[lo + m : hi + m], f[lo - m : hi - m], x[lo - m : hi - m],
                 g[lo:hi], x[lo + 1 : hi + 1], g[lo - 1 : hi - 1], x[lo - 1 : hi - 1],
                 h[lo:hi], x[lo + s : hi + s], h[lo - s : hi - s], x[lo - s : hi - s])  # fmt: skip
    for k in range(level[CELLS], o.size):
        o[k] = 0
    for e in range(level[LINK0], level[LINK1]):
        o[li[e]] += lw[e] * x[lj[e]]
        o[lj[e]] += lw[e] * x[li[e]]


@jit(fastmath=REASSOC)
def _relax(x: Array, o: Array, b: Array, inv: Array, w: Any, v: Any) -> None:
    """One sweep of damped Jacobi in place, `o` being the sum over neighbours; v = 1 - w."""
    for k in range(x.size):
        x[k] = v * x[k] + w * inv[k] * (b[k] + o[k])


@jit(fastmath=REASSOC)
def _residual(o: Array, f: Array, x: Array, b: Array, d: Array, inv: Array, g: Array, tf: Any) -> None:
    """Replace the sum over neighbours `o` by ``g r``, and write ``tF r / d`` of the residual r."""
    for k in range(x.size):
        r = b[k] + o[k] - d[k] * x[k]
        f[k] = tf * inv[k] * r
        o[k] = g[k] * r


@jit(fastmath=REASSOC)
def _correct(x: Array, e: Array, o: Array, g: Array, inv: Array, tf: Any, oc: Any) -> None:
    """Add ``oc P e`` to `x`, `o` being the sum over neighbours of the spread e."""
    for k in range(x.size):
        x[k] += oc * (g[k] * e[k] + tf * inv[k] * o[k])


@jit
def _gather(coarse: Array, v: Array, level: Array, mc: int, sc: int, cell: Array, target: Array) -> None:
    """Sum `v` over the aggregates into `coarse`; clears entries of `v`."""
    m, s = level[ROW], level[LINE]
    coarse[:] = 0
    for e in range(level[GROUP0], level[GROUP1]):
        coarse[target[e]] += v[cell[e]]
        v[cell[e]] = 0
    for row in range(1, level[ROWS] // 2):
        p = (2 * row - 1) * m + 1
        if s == 0:
            _fold2(coarse[row * mc + 1 : row * mc + m // 2], v[p:], v[p + m :])
        else:
            for line in range(1, m // s // 2):
                at, z = row * mc + line * sc, p + (2 * line - 1) * s
                _fold3(coarse[at + 1 : at + s // 2], v[z:], v[z + s :], v[z + m :], v[z + m + s :])


@jit
def _scatter(e: Array, coarse: Array, level: Array, mc: int, sc: int, cell: Array, target: Array) -> None:
    """Spread `coarse` over the aggregates into `e`."""
    m, s = level[ROW], level[LINE]
    e[:] = 0
    for row in range(1, level[ROWS] // 2):
        p = (2 * row - 1) * m + 1
        if s == 0:
            _spread(e[p:], coarse[row * mc + 1 : row * mc + m // 2])
        else:
            for line in range(1, m // s // 2):
                at, z = row * mc + line * sc, p + (2 * line - 1) * s
                _spread(e[z:], coarse[at + 1 : at + s // 2])
                e[z + s : z + s + s - 2] = e[z : z + s - 2]
        e[p - 1 + m : p - 1 + 2 * m] = e[p - 1 : p - 1 + m]
    for k in range(level[GROUP0], level[GROUP1]):
        e[cell[k]] = coarse[target[k]]


@jit
def _bottom(x: Array, b: Array, inv: Array, unknowns: Array, dense: Array) -> None:
    """Solve the coarsest level: lone unknowns by their diagonal, the others by a dense inverse."""
    for k in range(x.size):
        x[k] = inv[k] * b[k]
    for i in range(unknowns.size):
        total = 0.0
        for j in range(unknowns.size):
            total += dense[i, j] * b[unknowns[j]]
        x[unknowns[i]] = total


@jit
def cycle(b: Array, x: Array, n: Array, t: Array, scratch: Array, A: Array, levels: Array, work: Array,
          li: Array, lj: Array, lw: Array, cell: Array, target: Array, first: Array, unknowns: Array,
          dense: Array, q: Array) -> float:  # fmt: skip
    """Write ``x = B b`` on the padded grid and return ``b . x``.

    Level 0 is fused; `levels` has a row for each level from 0 on, whose coarse arrays are columns of `A`.
    """
    last, s = len(levels) - 1, levels[0, LINE]
    if last == 0:
        flat, inv, count = x.reshape(-1), work[0, : x.size], n.reshape(-1)
        for k in range(x.size):
            inv[k] = q[ONE] / count[k] if count[k] > 0 else q[ZERO]
        _bottom(flat, b.reshape(-1), inv, unknowns, dense)
        return _dot(b.reshape(-1), flat)
    one = levels[1]
    _down(b, x, n, t, s, scratch, A[RHS, one[START] : one[START] + one[SIZE]], one[ROW], one[LINE], first,
          cell, target, q)  # fmt: skip
    v1, v2, tf, oc = q[ONE] - q[W1C], q[ONE] - q[W2C], q[TF], q[OC]
    for l in range(1, last):
        here, below, size = levels[l], levels[l + 1], levels[l, SIZE]
        a, e = here[START], here[START] + here[SIZE]
        y, r, inv, o, f = A[X, a:e], A[RHS, a:e], A[INVERSE, a:e], work[0, :size], work[1, :size]
        for k in range(size):
            y[k] = q[W1C] * inv[k] * r[k]
        _around(o, y, A, here, li, lj, lw)
        _relax(y, o, r, inv, q[W2C], v2)
        _around(o, y, A, here, li, lj, lw)
        _relax(y, o, r, inv, q[W1C], v1)
        _around(o, y, A, here, li, lj, lw)
        _relax(y, o, r, inv, q[W2C], v2)
        _around(o, y, A, here, li, lj, lw)
        _residual(o, f, y, r, A[DIAGONAL, a:e], inv, A[OWN, a:e], tf)
        v = work[2, :size]
        _around(v, f, A, here, li, lj, lw)
        for k in range(size):
            v[k] += o[k]
        _gather(A[RHS, below[START] : below[START] + below[SIZE]], v, here, below[ROW], below[LINE], cell,
                target)  # fmt: skip
    here = levels[last]
    a, e = here[START], here[START] + here[SIZE]
    _bottom(A[X, a:e], A[RHS, a:e], A[INVERSE, a:e], unknowns, dense)
    for l in range(last - 1, 0, -1):
        here, below, size = levels[l], levels[l + 1], levels[l, SIZE]
        a, e = here[START], here[START] + here[SIZE]
        y, r, inv, o, f = A[X, a:e], A[RHS, a:e], A[INVERSE, a:e], work[0, :size], work[1, :size]
        _scatter(f, A[X, below[START] : below[START] + below[SIZE]], here, below[ROW], below[LINE], cell,
                 target)  # fmt: skip
        _around(o, f, A, here, li, lj, lw)
        _correct(y, f, o, A[OWN, a:e], inv, tf, oc)
        _around(o, y, A, here, li, lj, lw)
        _relax(y, o, r, inv, q[W2C], v2)
        _around(o, y, A, here, li, lj, lw)
        _relax(y, o, r, inv, q[W1C], v1)
        _around(o, y, A, here, li, lj, lw)
        _relax(y, o, r, inv, q[W2C], v2)
        _around(o, y, A, here, li, lj, lw)
        _relax(y, o, r, inv, q[W1C], v1)
    return _up(b, x, n, t, s, scratch, A[X, one[START] : one[START] + one[SIZE]], one[ROW], one[LINE], first,
               cell, target, q)  # fmt: skip
