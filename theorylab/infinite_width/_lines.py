"""Quadrature for functions with kinks off the origin, which bend on straight lines of a plane.

With ``x, y = p cos(theta / 2) +- q sin(theta / 2)``, p and q independent normal variables, a kink of f(x) or
f(y) is such a line, and Gauss-Legendre rules in p between them see smooth functions. As a function of q the
integral over p bends where lines of x and y cross.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._quadrature import legendre

Array = NDArray[Any]
Function = Callable[[Array], Array]
_STOPS = np.array([-12.0, -7.0, -4.5, -2.5, -1.0, 0.0, 1.0, 2.5, 4.5, 7.0, 12.0])
_SMALL = 0.3  # steps below go by slopes


def _octaves(scale: float) -> Array:
    """Return ``+-2^k / scale`` within reach: functions turn over on the scale of one."""
    if scale <= 2.0:
        return np.empty(0)
    grid = 2.0 ** np.arange(math.ceil(math.log2(12.0 * scale))) / scale
    return np.concatenate([-grid, grid])


def _across(falling: Array, rising: Array, scale: float, s: float, n: int) -> tuple[Array, Array]:
    """Return nodes and weights in q; `falling` and `rising` are the lines of x and of y."""
    ends = [_STOPS, _octaves(2.0 * s * scale)]
    if s > 0.0:
        ends.append(((falling[:, None] - rising) / (2.0 * s)).ravel())
    cuts = np.unique(np.clip(np.concatenate(ends), -12.0, 12.0))
    node, weight = legendre(n)
    width = np.diff(cuts)[:, None]
    q = (cuts[:-1, None] + width * node).ravel()
    return q, (width * weight).ravel() * np.exp(-0.5 * q * q) / (2.0 * math.pi)


def _along(falling: Array, rising: Array, q: Array, c: float, s: float, n: int) -> tuple[Array, Array]:
    """Return nodes and weights (len(q), m) in p."""
    shift = s * q[:, None]
    lines = np.concatenate([(falling - shift) / c, (rising + shift) / c], axis=1)
    stops = np.broadcast_to(_STOPS, (q.size, _STOPS.size))
    cuts = np.sort(np.concatenate([stops, np.clip(lines, -12.0, 12.0)], axis=1), axis=1)
    node, weight = legendre(n)
    width = np.diff(cuts, axis=1)[..., None]
    p = (cuts[:, :-1, None] + width * node).reshape(q.size, -1)
    return p, (width * weight).reshape(q.size, -1) * np.exp(-0.5 * p * p)


def expectations(
    fns: tuple[Function, ...], alpha: Array, beta: Array, near: Array, kinks: Array, n: int
) -> list[Array]:
    """Return ``E[f(u) f(v)]`` for each f, standard deviations and angles of shape (N,)."""
    outs = [np.empty(alpha.size) for _ in fns]
    for i in range(alpha.size):
        al, be, th = max(float(alpha[i]), 1e-150), max(float(beta[i]), 1e-150), float(near[i])
        c, s, sign = math.cos(0.5 * th), math.sin(0.5 * th), 1.0
        if th > 0.5 * math.pi:  # the opposite point is nearer
            c, s, sign = s, c, -1.0
        h, k = kinks / al, sign * kinks / be
        q, wq = _across(h, k, max(al, be), s, n)
        p, weight = _along(np.append(h, _octaves(al)), np.append(k, _octaves(be)), q, c, s, n)
        shift = s * q[:, None]
        u, v = al * (c * p + shift), sign * be * (c * p - shift)
        for out, f in zip(outs, fns):
            out[i] = wq @ np.sum(weight * f(u) * f(v), axis=1)
    return outs


def gap(f: Function, df: Function, alpha: Array, beta: Array, near: Array, kinks: Array, n: int) -> Array:
    """Return ``E[f(alpha x) (f(beta x) - f(beta y))]`` at acute angles.

    Half of ``E[(f(alpha x) - f(alpha y)) (f(beta x) - f(beta y))]``, whose factors are small one by one.
    """
    out = np.empty(alpha.size)
    for i in range(alpha.size):
        al, be, th = max(float(alpha[i]), 1e-150), max(float(beta[i]), 1e-150), float(near[i])
        c, s = math.cos(0.5 * th), math.sin(0.5 * th)
        lines = np.concatenate([kinks / al, kinks / be])
        q, wq = _across(lines, lines, max(al, be), s, n)
        lines = np.concatenate([lines, _octaves(al), _octaves(be)])
        p, weight = _along(lines, lines, q, c, s, n)
        shift = s * q[:, None]
        left, right = (
            difference(f, df, scale * (c * p + shift), scale * (c * p - shift), 2.0 * scale * shift, kinks)
            for scale in (al, be)
        )
        out[i] = 0.5 * (wq @ np.sum(weight * left * right, axis=1))
    return out


def difference(f: Function, df: Function, high: Array, low: Array, step: Array, kinks: Array) -> Array:
    """Return ``f(high) - f(low)`` from the exact `step`, by slopes where no kink lies between."""
    close = (np.searchsorted(kinks, high) == np.searchsorted(kinks, low)) & (np.abs(step) < _SMALL)
    out = np.asarray(f(high) - f(low))
    if np.any(close):
        part, start = np.broadcast_to(step, close.shape)[close], low[close]
        node, weight = legendre(3 if float(np.max(np.abs(part))) < 1e-3 else 8)
        out[close] = part * sum(w * df(start + t * part) for t, w in zip(node, weight))
    return out


def radial(
    f: Function, df: Function, alpha: Array, beta: Array, diff: Array, kinks: Array, n: int = 20
) -> tuple[Array, Array]:
    """Return ``E[F^2 - G^2]`` and ``E[(F - G)^2]`` of ``F, G = f(alpha x), f(beta x)``, x normal."""
    change, spread = np.empty(alpha.size), np.empty(alpha.size)
    node, weight = legendre(n)
    for i in range(alpha.size):
        al, be = max(float(alpha[i]), 1e-150), max(float(beta[i]), 1e-150)
        ends = [_STOPS, kinks / al, kinks / be, _octaves(al), _octaves(be)]
        cuts = np.unique(np.clip(np.concatenate(ends), -12.0, 12.0))
        width = np.diff(cuts)[:, None]
        x = (cuts[:-1, None] + width * node).ravel()
        w = (width * weight).ravel() * np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
        step = difference(f, df, al * x, be * x, float(diff[i]) * x, kinks)
        change[i], spread[i] = w @ (step * (f(al * x) + f(be * x))), w @ (step * step)
    return change, spread
