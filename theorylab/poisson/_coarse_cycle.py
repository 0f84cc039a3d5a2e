"""The cycle below level 0: sweeps, transfers, second visits to the small levels, a dense inverse at the end.

A level is visited as often as the table of levels says: once, or twice where that costs little. With the
first visit damped by w, two visits apply ``(1 + w) B - w B A B`` instead of B. That is what makes thin walls
and pores cheap: how well rooms are connected by a gap is seen wrongly on each coarse level, and a single
visit multiplies the errors of all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from theorylab._lib.jit import REASSOC, jit

from ._layout import (
    CELLS,
    DAMP,
    DIAGONAL,
    FACE0,
    FACE1,
    FACE2,
    GROUP0,
    GROUP1,
    HIGH,
    INVERSE,
    LINE,
    LINK0,
    LINK1,
    LOW,
    OC,
    ONE,
    OWN,
    RHS,
    ROW,
    ROWS,
    SIZE,
    START,
    TF,
    VISITS,
    W1C,
    W2C,
    ZERO,
    X,
)
from ._rows import fold, shifted, spread

__all__ = ["bottom", "coarse_cycle"]

Array = NDArray[Any]


@jit(fastmath=REASSOC)
def _lines(v: Any, h: Array | None, xu: Any, hd: Any, xd: Any, k: int) -> Any:
    """Add the coupled neighbours in other lines, if there are lines."""
    if h is None:
        return v
    return v + (h[k] * xu[k] + hd[k] * xd[k])


@jit(fastmath=REASSOC)
def _faces(o: Array, f: Array, xp: Array, fm: Array, xm: Array, g: Array, xr: Array, gl: Array, xl: Array,
           h: Array | None, xu: Any, hd: Any, xd: Any) -> None:  # fmt: skip
    """Write the coupled sum over the neighbours on the grid."""
    for k in range(o.size):
        o[k] = _lines((f[k] * xp[k] + fm[k] * xm[k]) + (g[k] * xr[k] + gl[k] * xl[k]), h, xu, hd, xd, k)


@jit
def _around(o: Array, x: Array, A: Array, level: Array, s: int | None, li: Array, lj: Array,
            lw: Array) -> None:  # fmt: skip
    """Write ``sum_j a_ij x_j`` of one level into `o`: the faces of the grid, then the other links."""
    m, lo, hi, at, cells = level[ROW], level[LOW], level[HIGH], level[START], level[CELLS]
    f, g, h = A[FACE0, at : at + cells], A[FACE1, at : at + cells], A[FACE2, at : at + cells]
    _faces(o[lo:hi], f[lo:hi], x[lo + m : hi + m], f[lo - m : hi - m], x[lo - m : hi - m],
           g[lo:hi], x[lo + 1 : hi + 1], g[lo - 1 : hi - 1], x[lo - 1 : hi - 1],
           shifted(h, lo, hi, s, 0), shifted(x, lo, hi, s, 1),
           shifted(h, lo, hi, s, -1), shifted(x, lo, hi, s, -1))  # fmt: skip
    for k in range(cells, o.size):
        o[k] = 0
    for e in range(level[LINK0], level[LINK1]):
        o[li[e]] += lw[e] * x[lj[e]]
        o[lj[e]] += lw[e] * x[li[e]]


def _step(level: Array, s: int | None) -> int | None:
    """Return the step to the next line of a level; None in 2-D."""
    return None if s is None else int(level[LINE])


@overload(_step)
def _typed_step(level, s):  # type: ignore[no-untyped-def]
    if isinstance(s, types.NoneType):
        return lambda level, s: None
    return lambda level, s: level[LINE]


@jit(fastmath=REASSOC)
def _first(x: Array, b: Array, inv: Array, w: Any) -> None:
    """Write the first sweep from zero."""
    for k in range(x.size):
        x[k] = w * inv[k] * b[k]


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


@jit(fastmath=REASSOC)
def _add(v: Array, o: Array) -> None:
    for k in range(v.size):
        v[k] += o[k]


@jit(fastmath=REASSOC)
def _scale(x: Array, w: Any) -> None:
    for k in range(x.size):
        x[k] *= w


@jit
def _gather(coarse: Array, v: Array, level: Array, s: int | None, below: Array, cell: Array,
            target: Array) -> None:  # fmt: skip
    """Sum `v` over the aggregates into `coarse`; clears entries of `v`."""
    m = level[ROW]
    coarse[:] = 0
    for e in range(level[GROUP0], level[GROUP1]):
        coarse[target[e]] += v[cell[e]]
        v[cell[e]] = 0
    for row in range(1, level[ROWS] // 2):
        p = (2 * row - 1) * m
        fold(coarse, row, below[ROW], below[LINE], v[p : p + m], v[p + m : p + 2 * m], s)


@jit
def _scatter(e: Array, coarse: Array, level: Array, s: int | None, below: Array, cell: Array,
             target: Array) -> None:  # fmt: skip
    """Spread `coarse` over the aggregates into `e`."""
    m = level[ROW]
    e[:] = 0
    for row in range(1, level[ROWS] // 2):
        p = (2 * row - 1) * m
        spread(e[p : p + m], coarse, row, below[ROW], below[LINE], s)
        e[p + m : p + 2 * m] = e[p : p + m]
    for k in range(level[GROUP0], level[GROUP1]):
        e[cell[k]] = coarse[target[k]]


@jit(fastmath=REASSOC)
def _product(M: Array, b: Array, i: int, zero: Any) -> Any:
    """Return the scalar product of row i with `b`."""
    total = zero
    for k in range(b.size):
        total += M[i, k] * b[k]
    return total


@jit
def bottom(x: Array, b: Array, inv: Array, unknowns: Array, dense: Array, q: Array) -> None:
    """Solve the coarsest level: lone unknowns by their diagonal, the others by a dense inverse."""
    _first(x, b, inv, q[ONE])
    right = b[unknowns]
    for i in range(unknowns.size):
        x[unknowns[i]] = _product(dense, right, i, q[ZERO])


@jit
def _descend(A: Array, here: Array, below: Array, s: int | None, again: bool, work: Array, li: Array,
             lj: Array, lw: Array, cell: Array, target: Array, q: Array) -> None:  # fmt: skip
    """Sweep on one level, from zero or `again` from its last solution, and restrict the residual."""
    a, e, size = here[START], here[START] + here[SIZE], here[SIZE]
    x, b, inv, o, f = A[X, a:e], A[RHS, a:e], A[INVERSE, a:e], work[0, :size], work[1, :size]
    if again:
        _scale(x, q[DAMP])
        _around(o, x, A, here, s, li, lj, lw)
        _relax(x, o, b, inv, q[W1C], q[ONE] - q[W1C])
    else:
        _first(x, b, inv, q[W1C])
    _around(o, x, A, here, s, li, lj, lw)
    _relax(x, o, b, inv, q[W2C], q[ONE] - q[W2C])
    _around(o, x, A, here, s, li, lj, lw)
    _residual(o, f, x, b, A[DIAGONAL, a:e], inv, A[OWN, a:e], q[TF])
    v = work[2, :size]
    _around(v, f, A, here, s, li, lj, lw)
    _add(v, o)
    _gather(A[RHS, below[START] : below[START] + below[SIZE]], v, here, s, below, cell, target)


@jit
def _ascend(A: Array, here: Array, below: Array, s: int | None, work: Array, li: Array, lj: Array,
            lw: Array, cell: Array, target: Array, q: Array) -> None:  # fmt: skip
    """Add the correction of the level below, and sweep."""
    a, e, size = here[START], here[START] + here[SIZE], here[SIZE]
    x, b, inv, o, f = A[X, a:e], A[RHS, a:e], A[INVERSE, a:e], work[0, :size], work[1, :size]
    _scatter(f, A[X, below[START] : below[START] + below[SIZE]], here, s, below, cell, target)
    _around(o, f, A, here, s, li, lj, lw)
    _correct(x, f, o, A[OWN, a:e], inv, q[TF], q[OC])
    _around(o, x, A, here, s, li, lj, lw)
    _relax(x, o, b, inv, q[W2C], q[ONE] - q[W2C])
    _around(o, x, A, here, s, li, lj, lw)
    _relax(x, o, b, inv, q[W1C], q[ONE] - q[W1C])


@jit
def coarse_cycle(A: Array, levels: Array, s: int | None, work: Array, li: Array, lj: Array, lw: Array,
                 cell: Array, target: Array, unknowns: Array, dense: Array, q: Array) -> None:  # fmt: skip
    """Solve level 1 approximately, from the right-hand side in the store to the solution in the store.

    `s` is None in 2-D, and any number in 3-D.
    """
    last, l = len(levels) - 1, 1
    done = np.zeros(last + 1, np.int64)
    while True:
        while l < last:
            here = levels[l]
            _descend(A, here, levels[l + 1], _step(here, s), done[l] > 0, work, li, lj, lw, cell, target, q)
            l += 1
            done[l] = 0
        a, e = levels[last, START], levels[last, START] + levels[last, SIZE]
        bottom(A[X, a:e], A[RHS, a:e], A[INVERSE, a:e], unknowns, dense, q)
        while l > 1:
            l -= 1
            here = levels[l]
            _ascend(A, here, levels[l + 1], _step(here, s), work, li, lj, lw, cell, target, q)
            done[l] += 1
            if done[l] < here[VISITS]:
                break
        if l == 1 and (last == 1 or done[1] >= levels[1, VISITS]):
            return
