"""Compiled evaluation of tables and series: the collapsed network, spanned activations, Mehler's sum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.jit import jit

Array = NDArray[Any]

# Inputs are checked finite at the door, so the tests for NaN may go; division stays exact.
_FAST = frozenset({"contract", "nsz", "reassoc", "nnan", "ninf"})

# arcsin(sqrt x) / sqrt x on [0, 1/2]; see tests/infinite_width/generate_arcsine.py
_A = (1.0, 0.16666666666664987, 0.07500000000401816, 0.044642856762615, 0.030381963396751827,
      0.022371584779320355, 0.017364281439103527, 0.01380344589589198, 0.013191002571753903,
      -0.002601537848299688, 0.07871611357002127, -0.2968705430689824, 1.0082016650534187,
      -2.4908808126226116, 4.6420689099888435, -6.229299875397985, 5.7579408313146985,
      -3.278933156739812, 0.8892904367638688)  # fmt: skip
_HALF_PI = math.pi / 2
_INV_PI = 1 / math.pi


@jit(fastmath=_FAST)
def _arcsin64(m: float) -> float:
    """Arcsine of ``0 <= m <= sqrt(1/2)``; even and odd powers in two chains."""
    x = m * m
    x2 = x * x
    even = _A[0] + x2 * (_A[2] + x2 * (_A[4] + x2 * (_A[6] + x2 * (_A[8] + x2 * (_A[10] + x2 * (
        _A[12] + x2 * (_A[14] + x2 * (_A[16] + x2 * _A[18]))))))))  # fmt: skip
    odd = _A[1] + x2 * (_A[3] + x2 * (_A[5] + x2 * (_A[7] + x2 * (_A[9] + x2 * (_A[11] + x2 * (
        _A[13] + x2 * (_A[15] + x2 * _A[17])))))))  # fmt: skip
    return m * (even + x * odd)


@jit(fastmath=_FAST)
def collapsed(
    C: Array,
    K: Array,
    T: Array,
    U: Array,
    Ui: Array,
    g: Array,
    gi: Array,
    tk: Array,
    tt: Array,
    panels: int,
    want_t: bool,
) -> None:
    """All layers at once.

    `tk`, `tt` (2 * panels * 17,) hold powers of the panel's own variable in the angle.
    """
    n, m = C.shape
    angle = np.empty(m)
    for i in range(n):
        u, scale = Ui[i], gi[i]
        for j in range(m):
            r = C[i, j] * (u * U[j])
            w = math.sqrt(max((1.0 - r) * (1.0 + r), 0.0))
            a = abs(r)
            t = _arcsin64(min(a, w))
            x = max((t if a > w else _HALF_PI - t) * (2.0 * _INV_PI), 1e-300)  # never 0: its sign is the side
            angle[j] = x if r > 0.0 else -x
        for j in range(m):
            x = abs(angle[j])
            k = 0
            top = 1.0
            while k < panels - 1 and x <= 0.5 * top:
                top *= 0.5
                k += 1
            # the last panel reaches down to zero
            y = 4.0 * x / top - 3.0 if k < panels - 1 else 2.0 * x / top - 1.0
            o = 17 * (k if angle[j] > 0.0 else k + panels)
            y2 = y * y
            even = tk[o + 16]
            odd = tk[o + 15]
            for l in range(7, -1, -1):
                even = even * y2 + tk[o + 2 * l]
            for l in range(6, -1, -1):
                odd = odd * y2 + tk[o + 2 * l + 1]
            K[i, j] = (even + y * odd) * (scale * g[j])
            if want_t:
                even = tt[o + 16]
                odd = tt[o + 15]
                for l in range(7, -1, -1):
                    even = even * y2 + tt[o + 2 * l]
                for l in range(6, -1, -1):
                    odd = odd * y2 + tt[o + 2 * l + 1]
                T[i, j] = (even + y * odd) * (scale * g[j])


@jit(fastmath=_FAST)
def _panel(theta: float, other: float, panels: int) -> tuple[int, int, float]:
    """Return side, panel and place in it of an angle; `other` is pi minus it."""
    side = 0 if theta <= other else 1
    x = min(theta, other) * (2.0 * _INV_PI)
    k = 0
    top = 1.0
    while k < panels - 1 and x <= 0.5 * top:
        top *= 0.5
        k += 1
    return side, k, 4.0 * x / top - 3.0 if k < panels - 1 else 2.0 * x / top - 1.0


@jit(fastmath=_FAST)
def _at(row: Array, wb: Array, y: float) -> float:
    """Sum 16 powers of `y`, with coefficients contracted over `wb` from `row` (rank, 16)."""
    y2 = y * y
    y4 = y2 * y2
    y8 = y4 * y4
    v0 = v1 = v2 = v3 = v4 = v5 = v6 = v7 = 0.0
    for p in range(wb.shape[0]):
        w = wb[p]
        f = row[p]
        v0 += w * (f[0] + y8 * f[8])
        v1 += w * (f[1] + y8 * f[9])
        v2 += w * (f[2] + y8 * f[10])
        v3 += w * (f[3] + y8 * f[11])
        v4 += w * (f[4] + y8 * f[12])
        v5 += w * (f[5] + y8 * f[13])
        v6 += w * (f[6] + y8 * f[14])
        v7 += w * (f[7] + y8 * f[15])
    return (v0 + y * v1 + y2 * (v2 + y * v3)) + y4 * (v4 + y * v5 + y2 * (v6 + y * v7))


@jit(fastmath=_FAST)
def combine(rows: Array, wb: Array, theta: Array, other: Array, out: Array) -> None:
    """Sum ``wb_p rows_p(theta)`` over a tile; `rows` (n, 2, panels, rank, 16) has one function a row."""
    n, m = theta.shape
    panels = rows.shape[2]
    for i in range(n):
        for j in range(m):
            side, k, y = _panel(theta[i, j], other[i, j], panels)
            out[i, j] = _at(rows[i, side, k], wb[j], y)


@jit(fastmath=_FAST)
def pairs(wa: Array, wb: Array, theta: Array, other: Array, table: Array, start: Array, out: Array) -> None:
    """The same for single pairs: row i of `theta` (m, k) holds angles of points i and i.

    `start` (m,), or empty, holds values at the angle 0. From there small angles take the change alone,
    whose error is small, where large weights of both signs cost the value itself a digit.
    """
    n, m = theta.shape
    panels, rank = table.shape[2], table.shape[0]
    c = np.empty(16)
    for i in range(n):
        for j in range(m):
            side, k, y = _panel(theta[i, j], other[i, j], panels)
            c[:] = 0.0
            for p in range(rank):
                for r in range(rank):
                    w = wa[i, p] * wb[i, r]
                    f = table[p, side, k, r]
                    for l in range(16):
                        c[l] += w * f[l]
            near = start.size > 0 and side == 0 and k == panels - 1
            if near:  # (P(y) - P(-1)) / (y + 1), by synthetic division
                for l in range(14, 0, -1):
                    c[l] -= c[l + 1]
                for l in range(15):
                    c[l] = c[l + 1]
                c[15] = 0.0
            value = c[15]
            for l in range(14, -1, -1):
                value = value * y + c[l]
            out[i, j] = start[i] + (y + 1.0) * value if near else value


@jit(fastmath=_FAST)
def mehler(ha: Array, hb: Array, sa: Array, sb: Array, rho: Array, D: Array, Ddot: Array) -> None:
    """Sum ``h_k(a) h_k(b) rho^k`` over as many terms as the correlation needs."""
    n, m = rho.shape
    terms = ha.shape[1]
    for i in range(n):
        for j in range(m):
            r = rho[i, j]
            a = abs(r)
            top = terms
            if a < 1e-8:
                top = min(terms, 4)
            elif a < 1.0:
                top = min(terms, 3 + int(-38.0 / math.log(a)))
            # four interleaved Horner sums hide the latency of one; the coefficients are padded to fours
            r2 = r * r
            r4 = r2 * r2
            v0 = v1 = v2 = v3 = 0.0
            s0 = s1 = s2 = s3 = 0.0
            for k in range(4 * ((top + 3) // 4) - 4, -1, -4):
                v0 = v0 * r4 + ha[i, k] * hb[j, k]
                v1 = v1 * r4 + ha[i, k + 1] * hb[j, k + 1]
                v2 = v2 * r4 + ha[i, k + 2] * hb[j, k + 2]
                v3 = v3 * r4 + ha[i, k + 3] * hb[j, k + 3]
                s0 = s0 * r4 + sa[i, k] * sb[j, k]
                s1 = s1 * r4 + sa[i, k + 1] * sb[j, k + 1]
                s2 = s2 * r4 + sa[i, k + 2] * sb[j, k + 2]
                s3 = s3 * r4 + sa[i, k + 3] * sb[j, k + 3]
            value = (v0 + r2 * v2) + r * (v1 + r2 * v3)
            slope = (s0 + r2 * s2) + r * (s1 + r2 * s3)
            D[i, j] = value
            Ddot[i, j] = slope


@jit(fastmath=_FAST)
def _polynomials(s: float, table: Array, out: Array) -> None:
    """Evaluate all columns of panels (panels, 16, rows) of unit length at `s`."""
    panels, rows = table.shape[0], table.shape[2]
    k = min(max(int(s), 0), panels - 1)
    y = min(max(2.0 * (s - k) - 1.0, -1.0), 1.0)
    for p in range(rows):
        out[p] = table[k, 15, p]
    for l in range(14, -1, -1):
        for p in range(rows):
            out[p] = out[p] * y + table[k, l, p]


@jit(fastmath=_FAST)
def weigh(q: Array, table: Array, low: int) -> Array:
    """Evaluate panels (panels, 16, rows) in ``log2 q`` from `low` on; (len(q), rows)."""
    out = np.zeros((q.size, table.shape[2]))
    for i in range(q.size):
        if q[i] > 0.0:
            _polynomials(math.log2(q[i]) - low, table, out[i])
    return out


@jit(fastmath=_FAST)
def between(beta: Array, diff: Array, table: Array, low: int, node: Array, weight: Array, out: Array) -> None:
    """Integrate panels (panels, 16, rows + 1) over standard deviations from `beta` to ``beta + diff``.

    `out` (2, n) takes the last row's integral, and the squared norm of the others.
    """
    rows = table.shape[2]
    total, value = np.empty(rows), np.empty(rows)
    for i in range(beta.size):
        total[:] = 0.0
        for t in range(node.size):
            _polynomials(2.0 * math.log2(max(beta[i] + node[t] * diff[i], 1e-300)) - low, table, value)
            for p in range(rows):
                total[p] += weight[t] * value[p]
        square = 0.0
        for p in range(rows - 1):
            square += total[p] * total[p]
        out[0, i] = diff[i] * total[rows - 1]
        out[1, i] = diff[i] * diff[i] * square
