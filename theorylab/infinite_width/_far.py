"""Duals at large variances, where an activation is a broken line but for what happens near zero.

With ``f = h + r``, h linear on both sides of zero and r zero beyond a distance R, the parts

    E[h(u) h(v)],    E[h(u) r(v)] = int r(v) p(v) E[h(u) | v] dv,    E[r(u) r(v)] = int int r r p(u, v)

are a closed form, an integral over R, and, where r is narrow against the widths ``sqrt(a) sin theta`` and
``sqrt(b) sin theta`` of p(u, v), a short series in the moments of ``r(u)
exp(-u^2 / (2 a sin^2 theta))``, since

    p(u, v) ~ exp(-(u^2 / a + v^2 / b) / (2 sin^2 theta)) exp(kappa u v),
    kappa = rho / (sqrt(a b) sin^2 theta).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from theorylab._lib.jit import REASSOC, jit

from ._pieces import PieceDual, Pieces
from ._quadrature import legendre

Array = NDArray[Any]
Function = Callable[[Array], Array]
_STOPS = np.array([0.0, 1.0, 2.5, 4.5, 7.0, 10.0, 14.0, 19.0, 25.0, 32.0, 40.0, 50.0, 64.0])
_TERMS = 24


class FarDual:
    """The dual of an activation for pairs far apart: ``min(sqrt a, sqrt b) sin theta >= reach``.

    Cost: one to three dozen microseconds a pair at any variance.
    """

    def __init__(self, line: Pieces, radius: float, nodes: tuple[Array, Array, Array, Array]) -> None:
        self.line, self.radius, self.nodes = PieceDual(line), radius, nodes
        self.slopes = np.ascontiguousarray(line.coef[:, :2])
        x, weight, *values = nodes
        k = np.arange(_TERMS + 1.0)
        # bounds of the terms of both series, in units of the first, where kappa radius^2 = 1
        moments = [(weight * np.abs(v)) @ (np.abs(x)[:, None] / radius) ** k for v in values]
        bound = np.max([(m / max(m[0], 1e-300)) ** 2 for m in moments], axis=0) / special.factorial(k)
        self.bound = bound
        self.reach = max(radius * float((bound[-1] / 1e-17) ** (0.5 / _TERMS)), 0.5)

    def dual(self, alpha: Array, beta: Array, near: Array, far: Array) -> tuple[Array, Array]:
        """Return D and Ddot for standard deviations and angles ``near, pi - near``, arrays (N,)."""
        first, second, _ = self.line.evaluate(alpha, beta, near, far)
        add(alpha, beta, near, far, *self.nodes, self.radius, self.bound, self.slopes, first, second)
        return first, second

    def covers(self, alpha: Array, beta: Array, near: Array) -> NDArray[np.bool_]:
        """Return for which pairs the series converges at once."""
        apart: NDArray[np.bool_] = np.minimum(alpha, beta) * np.sin(near) >= self.reach
        return apart


def far_dual(f: Function, df: Function, kinks: tuple[float, ...], smooth: bool = True) -> FarDual | None:
    """Return the dual far apart, or None if `f` does not become a broken line within 64 of zero.

    Without `smooth` f is a polynomial between kinks, which needs no panels between them.
    """
    out = np.array([-(2.0**20), -(2.0**19), 2.0**19, 2.0**20])
    with np.errstate(all="ignore"):
        y = np.asarray(f(out), dtype=np.float64)
    if not np.all(np.isfinite(y)):
        return None
    left, right = (y[1] - y[0]) / 2.0**19, (y[3] - y[2]) / 2.0**19
    coef = np.array([[y[1] + left * 2.0**19, left, 0.0], [y[2] - right * 2.0**19, right, 0.0]])
    line = Pieces(np.zeros(1), coef)

    def rest(x: Array) -> Array:
        side = (x > 0).astype(int)
        return np.asarray(np.asarray(f(x)) - coef[side, 0] - coef[side, 1] * x)

    def slope(x: Array) -> Array:
        return np.asarray(np.asarray(df(x)) - coef[(x > 0).astype(int), 1])

    x = np.concatenate([np.geomspace(0.5, 2.0**30, 600), 2.0 ** np.arange(0.0, 60.0, 2.0)])
    x = np.concatenate([x, -x])
    with np.errstate(all="ignore"):
        size = np.abs(rest(x)) - 4e-16 * np.maximum(np.abs(f(x)), np.abs(coef).max())
    beyond = float(np.abs(x[~(size <= 0.0)]).max(initial=0.0))
    outer = float(np.abs(kinks).max(initial=0.0))
    if smooth:
        if max(beyond, outer) >= 0.9 * _STOPS[-1]:
            return None
        radius = float(_STOPS[np.searchsorted(_STOPS, 1.05 * max(beyond, outer) + 1e-3)])
        stops = np.array(sorted({s * k for k in _STOPS for s in (-1.0, 1.0)} | set(kinks)))
        stops = stops[np.abs(stops) <= radius]
    elif beyond > outer:
        return None
    else:
        radius, stops = outer, np.array(sorted({0.0, *kinks}))
    with np.errstate(all="ignore"):
        coarse, fine = (_rule(stops, n, rest, slope) for n in (16, 24))
    for values in (2, 3):
        sums = [np.array([n[1] @ n[values], n[1] @ (n[values] * np.cos(n[0]))]) for n in (coarse, fine)]
        size = float(fine[1] @ np.abs(fine[values]))
        if not np.all(np.abs(sums[0] - sums[1]) <= 1e-14 * size + 1e-300):
            return None
    return FarDual(line, radius, coarse)


def _rule(stops: Array, n: int, rest: Function, slope: Function) -> tuple[Array, Array, Array, Array]:
    """Return nodes, weights and the values of the remainder and of its slope."""
    node, weight = legendre(n)
    width = np.diff(stops)[:, None]
    x = (stops[:-1, None] + width * node).ravel()
    return x, (width * weight).ravel(), rest(x), slope(x)


@jit(fastmath=REASSOC)
def add(
    alpha: Array, beta: Array, near: Array, far: Array, x: Array, weight: Array, r: Array, dr: Array,
    radius: float, bound: Array, line: Array, D: Array, Ddot: Array,
) -> None:  # fmt: skip
    """Add to `D` and `Ddot` of the broken line what the remainder contributes."""
    m = np.empty((4, _TERMS))
    low, below = line[0, 1], line[0, 0]
    bend, jump = line[1, 1] - low, line[1, 0] - below
    for n in range(alpha.size):
        al, be = alpha[n], beta[n]
        sine = math.sin(min(near[n], far[n]))
        rho = math.cos(near[n]) if near[n] <= far[n] else -math.cos(far[n])
        kappa = rho * (radius / (al * sine)) * (radius / (be * sine))
        terms, size = 1, abs(kappa)
        while terms < _TERMS and size * bound[terms] > 1e-17:
            terms += 1
            size *= abs(kappa)
        m[:] = 0.0
        value = slope = 0.0
        for i in range(x.size):
            v = x[i]
            for side in range(2):
                one, other = (al, be) if side == 0 else (be, al)
                t = v / (one * sine)
                e = math.exp(-0.5 * t * t)
                # h and h' given the one of u and v that the remainder takes
                t *= rho
                above = 0.5 * math.erfc(-0.7071067811865476 * t)
                mass = weight[i] * math.exp(-0.5 * (v / one) ** 2) / one
                part = (low + bend * above) * t * (other * sine) + below + jump * above
                value += (
                    mass * r[i] * part
                    + bend * (other * sine) * weight[i] / one * r[i] * 0.3989422804014327 * e
                )
                slope += mass * dr[i] * (low + bend * above)
                power, u = weight[i] * e / one, v / radius
                for k in range(terms):
                    m[2 * side, k] += power * r[i]
                    m[2 * side + 1, k] += power * dr[i]
                    power *= u
        value *= 0.3989422804014327
        slope *= 0.3989422804014327
        factor = 0.15915494309189535 / sine
        for k in range(terms):
            value += factor * m[0, k] * m[2, k]
            slope += factor * m[1, k] * m[3, k]
            factor *= kappa / (k + 1)
        D[n] += value
        Ddot[n] += slope
