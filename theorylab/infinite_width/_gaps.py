"""Differences of second moments between two nearby points, each without cancellation.

For ``u = alpha x`` and ``v = beta y`` with x, y standard normal, ``E[u v] = c`` and
``e = alpha beta - c``, the squared distance after the activation is

    E[(phi(u) - phi(v))^2] = spread + 2 gap,    gap = D(alpha beta) - D(c),
    spread = E[(phi(alpha x) - phi(beta x))^2].

Closed forms for piecewise linear activations, error functions and the sine; quadrature of
``Ddot = dD / dc`` and of ``phi'`` for the others.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._closed import angle, sin_minus_tcos
from ._quadrature import legendre
from .duals import Activation

Array = NDArray[Any]


def covariance_gap(act: Activation, alpha: Array, beta: Array, c: Array, e: Array) -> Array:
    """Return ``D(alpha beta) - D(c)`` with ``c = alpha beta - e``, the integral of Ddot."""
    g = alpha * beta
    safe = np.where(g > 0, g, 1.0)
    z = np.clip(e / (2.0 * safe), 0.0, 1.0)
    if act.name in ("sign", "distributional sign", "step", "rectified_monomial(0)"):
        theta, _ = angle(z, 1.0 - z)
        return np.asarray(theta * (2.0 if act.name.endswith("sign") else 0.5) / math.pi)
    if act.family is not None and act.family[0] == "slopes":
        al, be = act.family[1:]
        theta, _ = angle(z, 1.0 - z)
        bend = 2.0 * z - sin_minus_tcos(theta) / math.pi
        return np.asarray(np.maximum(0.5 * (be - al) ** 2 * g * bend + al * be * e, 0.0))
    if act.family is not None:
        return _erf_gap(act.family, alpha, beta, c, e, z)
    if act.name == "sin":  # e^(-m) (sinh g - sinh c), m the mean of the variances
        plus = np.exp(-0.5 * (alpha - beta) ** 2)
        minus = np.exp(-np.maximum(c + 0.5 * (alpha**2 + beta**2), 0.0))
        return np.asarray(-0.5 * np.expm1(-e) * (plus + minus))
    if act.gap is not None:
        return np.asarray(np.maximum(act.gap(alpha, beta, z), 0.0))
    return _integrated_gap(act, alpha, beta, c, e, z)


def _erf_gap(family: tuple[Any, ...], alpha: Array, beta: Array, c: Array, e: Array, z: Array) -> Array:
    """Return the difference of two arcsines."""
    _, scale, gain, _ = family
    a, b, top, low = (scale**2 * v for v in (alpha * alpha, beta * beta, alpha * beta, c))
    p = np.sqrt(1.0 + 2.0 * a) * np.sqrt(1.0 + 2.0 * b)
    # arcsin x - arcsin y = atan2(x sqrt(1-y^2) - y sqrt(1-x^2), xy + sqrt sqrt), numerator without
    # cancellation; shares of a and b, for their product may overflow
    x, y, cx = 2.0 * top / p, 2.0 * low / p, np.sqrt(1.0 + 2.0 * (a + b)) / p
    share = (2.0 * a / (1.0 + 2.0 * a)) * (2.0 * b / (1.0 + 2.0 * b))
    cy = np.sqrt(cx * cx + 4.0 * share * z * (1.0 - z))
    denominator = x * cy + y * cx
    small = np.abs(denominator) > 0.1 * x
    gap = 2.0 * scale**2 * e / p
    up = np.where(small, gap * (x + y) / np.where(small, denominator, 1.0), x * cy - y * cx)
    return np.asarray(gain**2 * (2.0 / math.pi) * np.arctan2(up, x * y + cx * cy))


def _integrated_gap(act: Activation, alpha: Array, beta: Array, c: Array, e: Array, z: Array) -> Array:
    """Integrate Ddot over the covariance where the difference of two values of D would cancel."""
    a, b, g = alpha * alpha, beta * beta, alpha * beta
    top, _ = act.dual(a, b, g, 0.0 * z, 1.0 + 0.0 * z)
    value, _ = act.dual(a, b, c, z, 1.0 - z)
    gap = np.asarray(top - value)
    # far apart a few nodes do not resolve Ddot, but there the difference loses no digits
    near = np.flatnonzero((z < 0.1) | (gap < 0.01 * np.abs(top)))
    if near.size:
        # in x = sqrt(zeta / z) Ddot is smooth, but for large variances it varies on a small scale of
        # zeta, (1 + a + b) / (4 a b): panels halve down to it
        steepest = float((4.0 * (a / (1.0 + a + b)) * b * z)[near].max())
        halvings = math.ceil(0.5 * math.log2(max(1.0, steepest)))
        edges = np.array([0.0, *0.5 ** np.arange(halvings, -1.0, -1.0)])
        zn = z[near]
        node, weight = legendre(8 if np.all(zn < 1e-6) and not halvings else 16 if np.all(zn < 0.1) else 48)
        width = np.diff(edges)[:, None]
        x, weight = (edges[:-1, None] + width * node).ravel(), (width * weight).ravel()
        zz = zn[:, None] * x * x
        _, slope = act.dual(a[near, None], b[near, None], g[near, None] * (1.0 - 2.0 * zz), zz, 1.0 - zz)
        integral = 2.0 * e[near] * (slope @ (weight * x))
        # the a.e. derivative of a jump is no derivative of D: there the difference is what remains
        true = np.abs(integral - gap[near]) <= 1e-7 * np.abs(top[near])
        gap[near] = np.where(true, integral, gap[near])
    return np.asarray(np.maximum(gap, 0.0))  # even activations: opposite points coincide


def radial(act: Activation, alpha: Array, beta: Array, diff: Array) -> tuple[Array, Array]:
    """Return ``E[f^2 - g^2]`` and ``E[(f - g)^2]`` for f, g = phi(alpha x), phi(beta x), x normal."""
    if act.radial is not None:
        return act.radial(alpha, beta, diff)
    if act.family is not None and act.family[0] == "erf":
        return _erf_radial(act.family, alpha, beta, diff)
    if act.name == "sin":
        return _sine_radial(alpha, beta, diff, -1.0)
    if act.name == "cos":
        change, spread = _sine_radial(alpha, beta, diff, 1.0)
        small = np.flatnonzero(alpha**2 + beta**2 <= 1.0)  # these cancel, and need few samples
        if small.size:
            change[small], spread[small] = _sampled_radial(act, alpha[small], beta[small], diff[small])
        return change, spread
    return _sampled_radial(act, alpha, beta, diff)


def _sine_radial(alpha: Array, beta: Array, diff: Array, sign: float) -> tuple[Array, Array]:
    """Sine (`sign` -1) and cosine (`sign` 1), from ``E sin^2 = (1 - e^(-2a)) / 2`` and its like."""
    a, b, square = alpha**2, beta**2, diff * (alpha + beta)
    change = sign * np.sign(square) * 0.5 * np.exp(-2.0 * np.minimum(a, b)) * np.expm1(-2.0 * np.abs(square))
    small = np.abs(square) < 1.0
    inner, step = np.where(small, square, 0.0), np.where(small, diff, 0.0)
    near = np.exp(-(a + b)) * (2.0 * np.sinh(0.5 * inner) ** 2 - np.expm1(0.5 * step**2))
    far = 0.5 * (np.exp(-2.0 * a) + np.exp(-2.0 * b)) - np.exp(-0.5 * (alpha + beta) ** 2)
    return change, -np.expm1(-0.5 * diff**2) + sign * np.where(small, near, far)


def _erf_radial(family: tuple[Any, ...], alpha: Array, beta: Array, diff: Array) -> tuple[Array, Array]:
    """Error functions: an arcsine difference, and ``E[x^2 phi'(p x) phi'(q x)]`` over p and q."""
    _, scale, gain, _ = family
    s, t, d = scale * alpha, scale * beta, scale * diff
    a, b = s * s, t * t
    x, y = 2.0 * a / (1.0 + 2.0 * a), 2.0 * b / (1.0 + 2.0 * b)
    cx, cy = np.sqrt(1.0 + 4.0 * a) / (1.0 + 2.0 * a), np.sqrt(1.0 + 4.0 * b) / (1.0 + 2.0 * b)
    total = x * cy + y * cx
    up = 2.0 * d * (s + t) / (1.0 + 2.0 * a) / (1.0 + 2.0 * b) * (x + y) / np.where(total > 0, total, 1.0)
    unit = gain**2 * 2.0 / math.pi
    change = unit * np.arctan2(up, x * y + cx * cy)
    angles = (
        np.arctan2(2.0 * u * v, np.sqrt(1.0 + 2.0 * (u * u + v * v))) for u, v in ((s, s), (t, t), (s, t))
    )
    spread = unit * np.dot((1.0, 1.0, -2.0), list(angles))
    # the integrand is analytic in p but for +-i sqrt(q^2 + 1/2): the Gauss rule gains at least a
    # factor (4 / reach)^2 a node
    reach = np.abs(d) / np.sqrt(0.5 + np.minimum(a, b))
    near = np.flatnonzero(reach < 1.0)
    if near.size:
        widest = float(reach[near].max())
        n, w = legendre(3 if widest < 2e-3 else 5 if widest < 0.05 else 14)
        q = (t[near, None] + d[near, None] * n) ** 2
        form = np.zeros(near.size)
        for k in range(n.size):
            form += w[k] * ((1.0 + 2.0 * (q + q[:, k : k + 1])) ** -1.5 @ w)
        spread[near] = 2.0 * unit * d[near] ** 2 * form
    return change, spread


def _sampled_radial(act: Activation, alpha: Array, beta: Array, diff: Array) -> tuple[Array, Array]:
    """Any activation: a rule over x graded towards zero, where large scales make it steep."""
    n, w = legendre(32)
    grades = max(0, math.ceil(math.log2(max(1.0, 0.2 * float(max(alpha.max(), beta.max()))))))
    cuts = np.array([0.0, *(0.1 * 0.5 ** np.arange(grades, -1, -1)), 0.4, 1.0, 3.0, 6.5, 12.0])
    gaps = np.diff(cuts)[:, None]
    x = (cuts[:-1, None] + gaps * n).ravel()
    weight = (gaps * w).ravel() * np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    x, weight = np.concatenate([-x, x]), np.concatenate([weight, weight])
    first, second = np.empty(alpha.shape), np.empty(alpha.shape)
    chunk = max(1, (1 << 17) // x.size)
    for start in range(0, alpha.size, chunk):
        sl = slice(start, start + chunk)
        al, be, df = alpha[sl, None], beta[sl, None], diff[sl, None]
        upper, lower = act.fn(al * x), act.fn(be * x)
        step = upper - lower
        ratio = (np.abs(df) / np.maximum(np.maximum(al, be), 0.2))[:, 0]
        near = np.flatnonzero(ratio < 0.05)
        if near.size:
            widest = float(ratio[near].max())
            start, change = be[near] * x, df[near] * x
            slope = np.zeros_like(start)
            for ti, wi in zip(*legendre(4 if widest < 1e-6 else 8 if widest < 1e-3 else 16)):
                slope += wi * act.dfn(start + ti * change)
            step[near] = change * slope
        first[sl], second[sl] = (step * (upper + lower)) @ weight, (step * step) @ weight
    return first, second
