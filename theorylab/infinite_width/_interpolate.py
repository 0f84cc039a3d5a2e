"""Panels of Chebyshev points and their compiled evaluation: the collapsed network, spanned activations.

Panels of an angle shrink by a third towards zero: a singularity there or behind stays so far away that
sixteen points reach rounding.
"""

from __future__ import annotations

import functools
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
COUNT = 16  # points of a panel
_SHRINK = 2.0 / 3.0
POINTS = np.cos(np.pi * (np.arange(COUNT) + 0.5) / COUNT)


def panels_to(octaves: float) -> int:
    """Return how many panels reach down to ``2^-octaves`` of the first one's end."""
    return 1 + math.ceil(octaves * math.log(2.0) / -math.log(_SHRINK))


def edges(panels: int) -> Array:
    """Return the ends (panels + 1,) of panels of [0, 1], from the largest down."""
    return np.append(_SHRINK ** np.arange(panels), 0.0)


def nodes(panels: int) -> Array:
    """Return the Chebyshev points (panels, 16) of panels of [0, 1]."""
    edge = edges(panels)
    top, bottom = edge[:-1, None], edge[1:, None]
    return 0.5 * (top + bottom) + 0.5 * (top - bottom) * POINTS


@functools.cache
def _conversion() -> tuple[Array, Array]:
    """Return matrices from values at the points to Chebyshev coefficients, and from these to powers."""
    k = np.arange(COUNT)
    # whole turns are taken off first: rounded phases of many turns would cost a digit
    phase = (np.outer(2 * k + 1, k) % (4 * COUNT)) * (np.arccos(np.longdouble(-1.0)) / (2 * COUNT))
    to_chebyshev = np.cos(phase).astype(np.float64) * (2.0 / COUNT)
    to_chebyshev[:, 0] *= 0.5
    to_powers = np.zeros((COUNT, COUNT))
    for j in range(COUNT):
        to_powers[j, : j + 1] = np.polynomial.chebyshev.cheb2poly(np.eye(COUNT)[j])[: j + 1]
    return to_chebyshev, to_powers


def powers(values: Array) -> Array:
    """Return power coefficients of the interpolants through `values` (..., 16) at the points of a panel."""
    to_chebyshev, to_powers = _conversion()
    cheb = values @ to_chebyshev
    # one product of both matrices would round at the size of the large power coefficients
    return np.ascontiguousarray(cheb @ to_powers)


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
def _place(x: float, panels: int) -> tuple[int, float]:
    """Return the panel of [0, 1] that holds `x`, and the place in it, from -1 to 1."""
    k = 0
    top = 1.0
    while k < panels - 1 and x <= _SHRINK * top:
        top *= _SHRINK
        k += 1
    return k, 6.0 * x / top - 5.0 if k < panels - 1 else 2.0 * x / top - 1.0


@jit(fastmath=_FAST)
def _horner(table: Array, o: int, y: float) -> Any:
    """Sum sixteen powers of `y` with coefficients from `o` on; even and odd ones in two chains."""
    y2 = y * y
    even = table[o + 14]
    odd = table[o + 15]
    for l in range(6, -1, -1):
        even = even * y2 + table[o + 2 * l]
        odd = odd * y2 + table[o + 2 * l + 1]
    return even + y * odd


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

    `tk`, `tt` (2 * panels * 16,) hold powers of the panel's own variable in the angle.
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
            k, y = _place(abs(angle[j]), panels)
            o = 16 * (k if angle[j] > 0.0 else k + panels)
            K[i, j] = _horner(tk, o, y) * (scale * g[j])
            if want_t:
                T[i, j] = _horner(tt, o, y) * (scale * g[j])


@jit(fastmath=_FAST)
def _panel(theta: float, other: float, panels: int) -> tuple[int, int, float]:
    """Return side, panel and place in it of an angle; `other` is pi minus it."""
    k, y = _place(min(theta, other) * (2.0 * _INV_PI), panels)
    return 0 if theta <= other else 1, k, y


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
def _polynomials(q: float, table: Array, low: int, out: Array) -> None:
    """Evaluate all columns of panels (panels, 16, rows), one for each factor 2 from ``2^low``, at `q`."""
    panels, rows = table.shape[0], table.shape[2]
    mantissa, exponent = math.frexp(q)
    # the logarithm of q as a whole would round at the size of the exponent
    y = 2.0 * math.log2(mantissa) + 1.0
    k = exponent - 1 - low
    if k < 0:
        k, y = 0, -1.0
    elif k >= panels:
        k, y = panels - 1, 1.0
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
            _polynomials(q[i], table, low, out[i])
    return out


@jit(fastmath=_FAST)
def between(
    alpha: Array, beta: Array, diff: Array, table: Array, low: int, node: Array, weight: Array, out: Array
) -> None:
    """Integrate panels (panels, 16, rows + 1) over standard deviations from `beta` to `alpha`.

    `out` (2, n) takes the last row's integral, and the squared norm of the others. `diff` is the distance
    to all its digits; as a place it would feed its own error back, layer by layer.
    """
    rows = table.shape[2]
    total, value = np.empty(rows), np.empty(rows)
    for i in range(beta.size):
        total[:] = 0.0
        for t in range(node.size):
            s = max(beta[i] + node[t] * (alpha[i] - beta[i]), 1e-150)
            _polynomials(s * s, table, low, value)
            for p in range(rows):
                total[p] += weight[t] * value[p]
        square = 0.0
        for p in range(rows - 1):
            square += total[p] * total[p]
        out[0, i] = diff[i] * total[rows - 1]
        out[1, i] = diff[i] * diff[i] * square
