"""Level 0 of the cycle: one fused pass down and one up, on flags instead of couplings.

Two bytes a cell are kept: ``count`` (non-SOLID neighbours, 0 off FLUID) and ``kind`` (AIR neighbours + 8 x
FLUID neighbours outside the cell's block, or 64 where nothing is interpolated).

The transfer of equation (7.2) is a smoothing step of the piecewise-constant one, for inner neighbours share
the aggregate: ``(P e)_i = g_i e_I(i) + tF sum_j (a_ij / d_i) e_I(j)`` over all neighbours j, where g_i is the
weight of the own aggregate less tF times the share of the inner neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.jit import REASSOC, jit

from ._layout import FLOOR, OC, ONE, TD, TF, W1, W2, ZERO
from ._rows import around, dot, fold, inside, near, spread

__all__ = ["down", "up"]

Array = NDArray[Any]


@jit(fastmath=REASSOC)
def _first(x: Array, inv: Array, b: Array, n: Array, w: Any, one: Any, zero: Any) -> None:
    """Write ``1 / n`` and the first sweep from zero."""
    for k in range(x.size):
        c = one * n[k]
        i = one / c if c > zero else zero
        inv[k] = i
        x[k] = w * i * b[k]


@jit(fastmath=REASSOC)
def _sweep(y: Array, x: Array, neighbours: Any, b: Array, inv: Array, w: Any, v: Any) -> None:
    """Write one sweep of damped Jacobi into `y`, which is none of the others; v = 1 - w."""
    xm, xp, xl, xr, xd, xu = neighbours
    for k in range(y.size):
        y[k] = v * x[k] + w * inv[k] * (b[k] + around(xm, xp, xl, xr, xd, xu, k))


@jit(fastmath=REASSOC)
def _own(i: Any, n: Any, air: Any, outer: Any, tf: Any, td: Any, floor: Any, one: Any) -> Any:
    """Return g of the transfer from 1 / n, n, the AIR neighbours and the outer FLUID neighbours."""
    w = one - i * (tf * outer + td * air)
    w = w if w > floor else floor
    return w - tf * i * (n - air - outer)


@jit(fastmath=REASSOC)
def _residual(f: Array, g: Array, x: Array, neighbours: Any, b: Array, n: Array, t: Array, inv: Array,
              q: Array) -> None:  # fmt: skip
    """Write ``tF r / n`` and ``g r`` of the residual r."""
    xm, xp, xl, xr, xd, xu = neighbours
    real = q.dtype.type
    tf, td, floor, one = q[TF], q[TD], q[FLOOR], q[ONE]
    for k in range(f.size):
        c = real(n[k])
        r = b[k] + around(xm, xp, xl, xr, xd, xu, k) - c * x[k]
        i = inv[k]
        f[k] = tf * i * r
        g[k] = r * _own(i, c, real(np.uint8(t[k] & 7)), real(np.uint8(t[k] >> 3)), tf, td, floor, one)


@jit(fastmath=REASSOC)
def _restrict(v: Array, g: Array, neighbours: Any, t: Array, zero: Any) -> None:
    """Write what each cell hands to its aggregate."""
    xm, xp, xl, xr, xd, xu = neighbours
    for k in range(v.size):
        u = g[k] + around(xm, xp, xl, xr, xd, xu, k)
        v[k] = u if t[k] < 64 else zero


@jit
def down(b: Array, x: Array, n: Array, t: Array, s: int | None, scratch: Array, coarse: Array, mc: int,
         sc: int, first: Array, cell: Array, target: Array, q: Array) -> None:  # fmt: skip
    """Two sweeps from zero on level 0 into `x`, and the restricted residual into `coarse`, in one pass.

    Rows follow each other with a lag of one: first sweep, second sweep, residual, restriction. The last four
    rows of each live in `scratch`, which stays in the cache.
    """
    rows, m = b.shape
    lo, hi = inside(m, s)
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
        k, u, d = j & 3, (j - 1) & 3, (j + 1) & 3
        if 0 < j < rows - 1:
            _sweep(x[j, lo:hi], one[k, lo:hi], near(one[u], one[k], one[d], lo, hi, s), b[j, lo:hi],
                   inv[k, lo:hi], q[W2], q[ONE] - q[W2])  # fmt: skip
        j = i - 2
        k = j & 3
        if j == 0 or j == rows - 1:
            flux[k, :] = q[ZERO]
        elif 0 < j < rows:
            _residual(flux[k, lo:hi], own[k, lo:hi], x[j, lo:hi], near(x[j - 1], x[j], x[j + 1], lo, hi, s),
                      b[j, lo:hi], n[j, lo:hi], t[j, lo:hi], inv[k, lo:hi], q)  # fmt: skip
        j = i - 3
        if j < 1:
            continue
        k, u, d = j & 3, (j - 1) & 3, (j + 1) & 3
        _restrict(give[j & 1, lo:hi], own[k, lo:hi], near(flux[u], flux[k], flux[d], lo, hi, s), t[j, lo:hi],
                  q[ZERO])  # fmt: skip
        if j & 1:
            continue
        row = j >> 1
        for e in range(first[row], first[row + 1]):  # cells of split-off aggregates
            r = cell[e] // m
            p = cell[e] - r * m
            coarse[target[e]] += give[r & 1, p]
            give[r & 1, p] = q[ZERO]
        fold(coarse, row, mc, sc, give[1], give[0], s)


@jit
def _mask(e: Array, t: Array, zero: Any) -> None:
    """Clear the cells that take no part in the transfer."""
    for k in range(e.size):
        e[k] = e[k] if t[k] < 64 else zero


@jit(fastmath=REASSOC)
def _correct(y: Array, x: Array, inv: Array, e: Array, neighbours: Any, n: Array, t: Array,
             q: Array) -> None:  # fmt: skip
    """Write ``x + oc P e`` and ``1 / n``."""
    xm, xp, xl, xr, xd, xu = neighbours
    real = q.dtype.type
    tf, td, floor, one, oc, zero = q[TF], q[TD], q[FLOOR], q[ONE], q[OC], q[ZERO]
    for k in range(y.size):
        c = real(n[k])
        i = one / c if c > zero else zero
        inv[k] = i
        g = _own(i, c, real(np.uint8(t[k] & 7)), real(np.uint8(t[k] >> 3)), tf, td, floor, one)
        u = g * e[k] + tf * i * around(xm, xp, xl, xr, xd, xu, k)
        y[k] = x[k] + (oc * u if t[k] < 64 else zero)


@jit
def up(b: Array, x: Array, n: Array, t: Array, s: int | None, scratch: Array, coarse: Array, mc: int,
       sc: int, first: Array, cell: Array, target: Array, q: Array) -> float:  # fmt: skip
    """Add the coarse correction to `x` and do two sweeps on level 0, in one pass; return ``b . x``."""
    rows, m = b.shape
    lo, hi = inside(m, s)
    inv, step, one, two = scratch[0], scratch[1], scratch[2], scratch[3]
    total = 0.0
    for i in range(rows + 2):
        if i == 0 or i == rows - 1:
            step[i & 3, :] = q[ZERO]
        elif i & 1 and i < rows:
            row = (i + 1) >> 1
            spread(step[i & 3], coarse, row, mc, sc, s)
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
            _correct(one[k, lo:hi], x[j, lo:hi], inv[k, lo:hi], step[k, lo:hi],
                     near(step[u], step[k], step[d], lo, hi, s), n[j, lo:hi], t[j, lo:hi], q)  # fmt: skip
        j = i - 2
        k, u, d = j & 3, (j - 1) & 3, (j + 1) & 3
        if j == 0 or j == rows - 1:
            two[k, :] = q[ZERO]
        elif 0 < j < rows:
            _sweep(two[k, lo:hi], one[k, lo:hi], near(one[u], one[k], one[d], lo, hi, s), b[j, lo:hi],
                   inv[k, lo:hi], q[W2], q[ONE] - q[W2])  # fmt: skip
        j = i - 3
        k, u, d = j & 3, (j - 1) & 3, (j + 1) & 3
        if j > 0:
            _sweep(x[j, lo:hi], two[k, lo:hi], near(two[u], two[k], two[d], lo, hi, s), b[j, lo:hi],
                   inv[k, lo:hi], q[W1], q[ONE] - q[W1])  # fmt: skip
            total += dot(b[j, lo:hi], x[j, lo:hi])
    return total
