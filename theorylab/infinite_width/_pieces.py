"""Piecewise polynomials of degree two at most, with kinks and jumps anywhere: duals by single integrals.

By Price's theorem ``d/dc E[f(u) f(v)]`` is ``E[f'(u) f'(v)]``, where a jump I of f at k adds to f' a term
``I delta(u - k)``. Three derivatives leave nothing but delta functions, each pair of which gives the density
of (u, v) at two kinks. From parallel points, where everything is a moment in one dimension, the way back to
the angle theta is an integral over t < theta of elementary functions. With
``C = g - c``, ``g = alpha beta`` and ``W = c(t) - c``:

    D(g) - D(c) = C A1 - C^2/2 A2 + int (S1 - W S2 + W^2/2 S3) dc,    Ddot(c) = A1 - C A2 - int (S2 - W S3) dc

    A_m = E[f^(m)(alpha x) f^(m)(beta x)],
    S_m = sum_ij J_i J_j p(k_i, k_j) + sum_i J_i (p(u = k_i) E[f^(m)(v) | u = k_i] + the same of v),

where J_i are the jumps of the derivative m - 1. No term is small by cancellation when theta is small.
Obtuse pairs are acute ones of ``f(u)`` and ``f(-v)``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.jit import jit

from ._quadrature import legendre

Array = NDArray[Any]
Function = Callable[[Array], Array]
_REACH = 12.0  # exp(-72) = 5e-32 of the mass lies outside
# Stops of the rule in one dimension; twelve nodes a panel leave 1e-17.
_STOPS = np.array([-12.0, -9.0, -7.5, -6.0, -4.5, -3.0, -1.5, 0.0, 1.5, 3.0, 4.5, 6.0, 7.5, 9.0, 12.0])
_NODE, _WEIGHT = legendre(12)
_FINE, _FINE_WEIGHT = legendre(16)
_TINY = 1e-150  # stands for a standard deviation of zero


@dataclass(frozen=True, eq=False)
class Pieces:
    """Polynomials ``c0 + c1 x + c2 x^2`` between kinks: `kinks` (k,), `coef` (k + 1, 3)."""

    kinks: Array
    coef: Array

    def mirrored(self) -> Pieces:
        """Return ``f(-x)``."""
        return Pieces(-self.kinks[::-1], np.ascontiguousarray(self.coef[::-1] * [1.0, -1.0, 1.0]))

    def jumps(self) -> Array:
        """Return the jumps (k, 3) of f, f' and f'' at the kinks."""
        k = self.kinks
        change = np.diff(self.coef, axis=0)
        size = np.abs(self.coef).max(axis=0)
        scale = max(1.0, float(np.abs(k).max(initial=0.0)))
        c0, c1, c2 = change[:, 0], change[:, 1], change[:, 2]
        out = np.stack([c0 + k * (c1 + k * c2), c1 + 2.0 * k * c2, 2.0 * c2], axis=1)
        sizes = np.array([size @ scale ** np.arange(3), size[1:] @ scale ** np.arange(2), size[2]])
        out[np.abs(out) <= 1e-13 * sizes] = 0.0  # rounding of the coefficients
        return out


def find(f: Function, kinks: tuple[float, ...]) -> Pieces | None:
    """Return the pieces of `f` between `kinks`, or None where one is no polynomial of degree two.

    Kinks that a search placed badly, as it does where only the curvature jumps, move to where pieces meet.
    """
    edges = np.array(sorted(set(kinks)))
    if edges.size == 0:
        return None
    borders = [-np.inf, *edges, np.inf]
    with np.errstate(all="ignore"):
        coef = np.array([_fit(f, low, high) for low, high in itertools.pairwise(borders)])
        if not _holds(f, edges, coef):
            edges = np.array([_meeting(k, right - left) for k, left, right in zip(edges, coef, coef[1:])])
            if np.any(np.diff(edges) <= 0.0) or not _holds(f, edges, coef):
                return None
    # a border where nothing changes is none
    kept = [i for i in range(edges.size) if not np.allclose(coef[i], coef[i + 1], rtol=4e-15, atol=4e-15)]
    if not kept:
        return None
    return Pieces(edges[kept], np.ascontiguousarray(coef[[0, *(i + 1 for i in kept)]]))


def _inside(low: float, high: float, part: Array, beyond: Array) -> Array:
    """Return points at fractions `part` of a piece, or at distances `beyond` from its only end."""
    if np.isinf(low):
        return np.asarray(high - beyond)
    return np.asarray(low + (beyond if np.isinf(high) else (high - low) * part))


def _fit(f: Function, low: float, high: float) -> Array:
    x = _inside(low, high, np.array([0.0625, 0.5, 0.9375]), np.array([0.25, 1.0, 2.0]))
    return _through(x, np.asarray(f(x), dtype=np.float64))


def _holds(f: Function, edges: Array, coef: Array) -> bool:
    """Return whether `f` equals the polynomials between the edges, to rounding."""
    part = np.concatenate([np.linspace(0.003, 0.997, 101), [1e-6, 1.0 - 1e-6]])
    beyond = np.concatenate([2.0 ** np.arange(-20.0, 31.0), np.linspace(0.1, 9.7, 49)])
    for low, high, poly in zip([-np.inf, *edges], [*edges, np.inf], coef):
        x = _inside(low, high, part, beyond)
        terms = x[:, None] ** np.arange(3) * poly
        floor = float(np.abs(_inside(low, high, np.ones(1), np.ones(1)) ** np.arange(3) * poly).max())
        error = np.abs(np.asarray(f(x), dtype=np.float64) - terms.sum(axis=1))
        if not np.all(error <= 4e-15 * np.maximum(np.abs(terms).sum(axis=1), floor)):
            return False
    return True


def _meeting(k: float, change: Array) -> float:
    """Return where a polynomial near `k` has its zero, or `k` where it has none."""
    c0, c1, c2 = change
    roots = [k]
    if c2 == 0.0:
        roots = [-c0 / c1] if c1 != 0.0 else roots
    else:
        middle, inner = -0.5 * c1 / c2, (0.5 * c1 / c2) ** 2 - c0 / c2
        reach = math.sqrt(inner) if inner > 1e-12 * middle**2 else 0.0
        roots = [middle - reach, middle + reach]
    near = min(roots, key=lambda r: abs(r - k))
    return near if abs(near - k) < 1e-2 else k


def _through(x: Array, y: Array) -> Array:
    """Return coefficients of the parabola through three points; rounding makes no higher terms."""
    slope = (y[2] - y[0]) / (x[2] - x[0])
    bend = ((y[2] - y[1]) / (x[2] - x[1]) - (y[1] - y[0]) / (x[1] - x[0])) / (x[2] - x[0])
    size = float(np.abs(y).max())
    width = float(x[2] - x[0])
    bend = 0.0 if abs(bend) * width**2 <= 64e-16 * size else bend
    slope = 0.0 if abs(y[2] - y[0]) <= 8e-16 * size and bend == 0.0 else slope
    if bend == 0.0:
        return np.array([y[1] - slope * x[1], slope, 0.0])
    linear = slope - bend * (x[0] + x[2])
    return np.array([y[0] - x[0] * (linear + bend * x[0]), linear, bend])


@jit
def _anchors(
    al: float, be: float, k1: Array, p1: Array, k2: Array, p2: Array, stops: Array, out: Array
) -> None:
    """Put ``E[f^(m)(al x) g^(m)(be x)]``, m = 0, 1, 2, into `out`."""
    n1, n2 = k1.size, k2.size
    out[:] = 0.0
    low = stops[0]
    i = j = s = 0
    while low < stops[-1]:
        while i < n1 and k1[i] <= al * low:
            i += 1
        while j < n2 and k2[j] <= be * low:
            j += 1
        while stops[s] <= low:
            s += 1
        high = stops[s]
        # the next border; a kink that rounding leaves behind the border counts as passed
        if i < n1 and k1[i] < al * high:
            high = k1[i] / al
        if j < n2 and k2[j] < be * high:
            high = min(high, k2[j] / be)
        if high <= low:
            i, j = _pass(low, al, i, k1), _pass(low, be, j, k2)
            continue
        width = high - low
        f0, f1, f2 = p1[i, 0], p1[i, 1] * al, p1[i, 2] * al * al
        g0, g1, g2 = p2[j, 0], p2[j, 1] * be, p2[j, 2] * be * be
        v0 = v1 = v2 = 0.0
        for t in range(_NODE.size):
            x = low + width * _NODE[t]
            w = _WEIGHT[t] * math.exp(-0.5 * x * x)
            v0 += w * (f0 + x * (f1 + x * f2)) * (g0 + x * (g1 + x * g2))
            v1 += w * (f1 + 2.0 * x * f2) * (g1 + 2.0 * x * g2)
            v2 += w
        width *= 0.3989422804014327
        out[0] += width * v0
        out[1] += width * v1 / (al * be)
        out[2] += width * v2 * 4.0 * p1[i, 2] * p2[j, 2]
        low = high


@jit
def _pass(x: float, scale: float, i: int, kinks: Array) -> int:
    """Return the piece to the right of a border that rounding does not tell apart from `x`."""
    while i < kinks.size and kinks[i] / scale <= x:
        i += 1
    return i


@jit
def _cumulative(z: float) -> float:
    return 0.5 * math.erfc(-0.7071067811865476 * z)


@jit
def _ways(
    al: float, be: float, th: float, k1: Array, j1: Array, k2: Array, j2: Array, crossed: bool, out: Array
) -> None:
    """Add to ``out = (gap, slope)`` the integrals over the angle of the pairs of kinks.

    `slope` is what leaves ``A1 - C A2``. With `crossed`, of conditional expectations too.
    """
    g = al * be
    gap = slope = 0.0
    for i in range(k1.size):
        h = k1[i] / al
        if not abs(h) < _REACH:
            continue
        for j in range(k2.size):
            k = k2[j] / be
            if not abs(k) < _REACH:
                continue
            apart = abs(h - k)
            jj, kk, ii = j1[i, 1] * j2[j, 1], j1[i, 2] * j2[j, 2], j1[i, 0] * j2[j, 0]
            left = j1[i, :2] * (0.3989422804014327 * math.exp(-0.5 * h * h) / al)
            right = j2[j, :2] * (0.3989422804014327 * math.exp(-0.5 * k * k) / be)
            # kinks of different height meet at angles about their distance and no smaller ones
            start = min(apart / (9.0 if h * k > 0.0 else 13.0), th)
            high = start if crossed else 0.0
            low = 0.0
            if not crossed:
                low = start
                high = start
            if apart < 1e-14 * th:
                low, high = 0.0, th
            while True:
                if high > low:
                    for t in range(_FINE.size):
                        x = low + (high - low) * _FINE[t]
                        w = (high - low) * _FINE_WEIGHT[t]
                        sn, cs = math.sin(x), math.cos(x)
                        rest = 2.0 * g * math.sin(0.5 * (th + x)) * math.sin(0.5 * (th - x))
                        ratio = apart / sn
                        e = 0.15915494309189535 * w * math.exp(-0.5 * ratio * ratio - h * k / (1.0 + cs))
                        gap += e * (ii - rest * (jj - 0.5 * rest * kk))
                        slope += e * (jj - rest * kk)
                        if crossed:
                            dc = w * g * sn
                            half = 2.0 * math.sin(0.5 * x) ** 2
                            one, two = _conditional(h, k, sn, half, left, j2[j], be)
                            three, four = _conditional(k, h, sn, half, right, j1[i], al)
                            gap += dc * (one + three - rest * (two + four))
                            slope += dc * (two + four)
                if high >= th:
                    break
                low = high
                high = min(2.0 * low, th)
                if th < 1.2 * high:
                    high = th
    out[0] += gap
    out[1] += slope


@jit
def _conditional(
    h: float, k: float, sn: float, half: float, left: Array, jump: Array, scale: float
) -> tuple[float, float]:
    """Return what the kink at `k` adds to ``E[f'(v) | u = h]`` and to ``E[f''(v) | u = h]``, times jumps."""
    z = ((h - k) - h * half) / sn
    above = _cumulative(z)
    bend = scale * sn * (z * above + 0.3989422804014327 * math.exp(-0.5 * z * z))
    return left[0] * (jump[1] * above + jump[2] * bend), left[1] * jump[2] * above


@jit
def _bases(al: float, be: float, th: float, k1: Array, j1: Array, k2: Array, p2: Array, out: Array) -> None:
    """Add what the polynomial of g below all kinks within reach gives at the kinks of f."""
    g = al * be
    first = _pass(-_REACH, be, 0, k2)
    c1, c2 = p2[first, 1], 2.0 * p2[first, 2]
    for i in range(k1.size):
        h = k1[i] / al
        if not abs(h) < _REACH:
            continue
        density = 0.3989422804014327 * math.exp(-0.5 * h * h) / al
        one, two = j1[i, 0] * density, j1[i, 1] * density * c2
        for t in range(_FINE.size):
            x = th * _FINE[t]
            rest = 2.0 * g * math.sin(0.5 * (th + x)) * math.sin(0.5 * (th - x))
            dc = th * _FINE_WEIGHT[t] * g * math.sin(x)
            out[0] += dc * (one * (c1 + c2 * be * h * math.cos(x)) - rest * two)
            out[1] += dc * two


@jit
def walk(
    alpha: Array, beta: Array, near: Array, far: Array, k: Array, p: Array, j: Array, km: Array, pm: Array,
    jm: Array, stops: Array, crossed: bool, D: Array, Ddot: Array, gap: Array,
) -> None:  # fmt: skip
    """Evaluate the duals of pairs at angles `near`, ``far = pi - near``, and ``D(alpha beta) - D(c)``."""
    anchor, way = np.empty(3), np.empty(2)
    for n in range(alpha.size):
        al, be = max(alpha[n], _TINY), max(beta[n], _TINY)
        obtuse = near[n] > far[n]
        th = far[n] if obtuse else near[n]
        k2, p2, j2 = (km, pm, jm) if obtuse else (k, p, j)
        _anchors(al, be, k, p, k2, p2, stops, anchor)
        C = 2.0 * al * be * math.sin(0.5 * th) ** 2
        way[0], way[1] = C * (anchor[1] - 0.5 * C * anchor[2]), C * anchor[2]
        _ways(al, be, th, k, j, k2, j2, crossed, way)
        if crossed:
            _bases(al, be, th, k, j, k2, p2, way)
            _bases(be, al, th, k2, j2, k, p, way)
        D[n] = anchor[0] - way[0]
        Ddot[n] = anchor[1] - way[1]
        gap[n] = way[0]
        if obtuse:
            Ddot[n] = -Ddot[n]
            _anchors(al, be, k, p, k, p, stops, anchor)
            gap[n] = anchor[0] - D[n]


@jit
def between(
    alpha: Array, beta: Array, diff: Array, k: Array, p: Array, stops: Array, change: Array, spread: Array
) -> None:
    """Put ``E[F^2 - G^2]`` and ``E[(F - G)^2]`` for ``F, G = f(alpha x), f(beta x)``, by `diff`."""
    for n in range(alpha.size):
        al, be = max(alpha[n], _TINY), max(beta[n], _TINY)
        total = square = 0.0
        low = stops[0]
        i = j = s = 0
        while low < stops[-1]:
            i, j = _pass(low, al, i, k), _pass(low, be, j, k)
            while stops[s] <= low:
                s += 1
            high = stops[s]
            if i < k.size:
                high = min(high, k[i] / al)
            if j < k.size:
                high = min(high, k[j] / be)
            width = high - low
            for t in range(_NODE.size):
                x = low + width * _NODE[t]
                w = width * _WEIGHT[t] * math.exp(-0.5 * x * x)
                u, v = al * x, be * x
                upper = p[i, 0] + u * (p[i, 1] + u * p[i, 2])
                lower = p[j, 0] + v * (p[j, 1] + v * p[j, 2])
                step = upper - lower
                if i == j:
                    step = diff[n] * x * (p[i, 1] + p[i, 2] * (u + v))
                total += w * step * (upper + lower)
                square += w * step * step
            low = high
        change[n], spread[n] = 0.3989422804014327 * total, 0.3989422804014327 * square


class PieceDual:
    """The dual of a piecewise polynomial, and its differences between close points.

    Cost: five to forty microseconds a pair.

    Parameters
    ----------
    pieces : Pieces
    """

    def __init__(self, pieces: Pieces) -> None:
        mirror = pieces.mirrored()
        self.pieces = pieces
        self.parts = [m for q in (pieces, mirror) for m in (q.kinks, q.coef, q.jumps())]
        jumps = self.parts[2]
        # conditional expectations matter next to jumps of f, and of f' where f'' is not zero
        self.crossed = bool(np.any(jumps[:, 0]) or np.any(pieces.coef[:, 2]))

    def evaluate(self, alpha: Array, beta: Array, near: Array, far: Array) -> tuple[Array, Array, Array]:
        """Return D, Ddot and ``D(alpha beta) - D(c)`` at the angles ``near, pi - near``, arrays (N,)."""
        first, second, gap = (np.empty(alpha.size) for _ in range(3))
        k, p, j, km, pm, jm = self.parts
        walk(alpha, beta, near, far, k, p, j, km, pm, jm, _STOPS, self.crossed, first, second, gap)
        return first, second, gap

    def parallel(self, alpha: Array, beta: Array) -> Array:
        """Return ``D(alpha beta)``."""
        zero = np.zeros(alpha.size)
        return self.evaluate(alpha, beta, zero, zero + math.pi)[0]

    def slope(self, x: Array) -> Array:
        """Return the derivative of the activation."""
        coef = self.pieces.coef[np.searchsorted(self.pieces.kinks, x, side="right")]
        return np.asarray(coef[..., 1] + 2.0 * coef[..., 2] * x)

    def radial(self, alpha: Array, beta: Array, diff: Array) -> tuple[Array, Array]:
        """Return ``E[F^2 - G^2]`` and ``E[(F - G)^2]`` of ``F, G = f(alpha x), f(beta x)``, x normal."""
        first, second = np.empty(alpha.size), np.empty(alpha.size)
        between(alpha, beta, diff, self.pieces.kinks, self.pieces.coef, _STOPS, first, second)
        return first, second
