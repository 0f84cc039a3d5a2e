"""Single pairs of points, safe where two points nearly coincide or nearly oppose each other.

The state of a pair is ``alpha, beta`` (standard deviations), ``diff = alpha - beta`` and
``e = alpha beta - c >= 0``, each to full relative accuracy, so that the squared distance
``a + b - 2 c = diff^2 + 2 e`` is a sum of two squares and never a difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._closed import Dual, angle, sin_minus_tcos
from ._network import Diagonal, Network
from ._quadrature import legendre
from .duals import Activation

Array = NDArray[Any]
_CHUNK = 4096


def start(X: Array, Y: Array) -> tuple[Array, Array, Array, Array]:
    """Return ``alpha, beta, diff, e`` of raw inputs (m, d), with the factor 1/d left out."""
    h = X - Y
    xx = np.einsum("ij,ij->i", X, X)
    yy = np.einsum("ij,ij->i", Y, Y)
    safe = np.where(xx > 0, xx, 1.0)
    # the part of y - x orthogonal to x: its error is eps |y - x|, not eps |y|
    r = h - X * (np.einsum("ij,ij->i", h, X) / safe)[:, None]
    rr = np.where(xx > 0, np.einsum("ij,ij->i", r, r), 0.0)
    # parallel points: what rounding left of the residual is no angle
    rr = np.where(rr <= (8 * np.finfo(np.float64).eps) ** 2 * np.einsum("ij,ij->i", h, h), 0.0, rr)
    alpha, beta = np.sqrt(xx), np.sqrt(yy)
    total = alpha + beta
    diff = np.einsum("ij,ij->i", h, X + Y) / np.where(total > 0, total, 1.0)
    dot = np.einsum("ij,ij->i", X, Y)
    # beyond a right angle alpha beta - c is a sum, and the residual of opposite points is rounding
    acute = dot > 0
    ratio = np.where(acute, xx, 0.0) / np.where(acute, alpha * beta + dot, 1.0)
    e = np.where(acute, rr * ratio, alpha * beta - dot)
    return alpha, beta, diff, e


def dense(w: float, b: float, alpha: Array, beta: Array, diff: Array, e: Array) -> tuple[Array, Array]:
    """Return ``diff`` and ``e`` after ``c <- w c + b``, without subtracting large numbers."""
    aa, bb = alpha * alpha, beta * beta
    wg = w * alpha * beta
    left, right = np.sqrt(w * aa + b), np.sqrt(w * bb + b)
    g, total = left * right, left + right
    safe = np.where(total > 0, total, 1.0)
    more = b * (w * (aa + bb) + b) / np.where(g + wg > 0, g + wg, 1.0) if b > 0 else 0.0 * g
    new_diff = w * diff * (alpha + beta) / safe
    new_e = w * e + w * (diff / safe) ** 2 * (b + more)
    return new_diff, new_e


def covariance_gap(act: Activation, alpha: Array, beta: Array, e: Array) -> Array:
    """Return ``D(alpha beta) - D(alpha beta - e)``, the integral of Ddot, without cancellation."""
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
        _, scale, gain, _ = act.family
        a, b, top, low = (scale**2 * v for v in (alpha * alpha, beta * beta, g, g - e))
        root = np.sqrt(1.0 + 2.0 * (a + b))
        lower = np.sqrt(1.0 + 2.0 * (a + b) + 16.0 * a * b * z * (1.0 - z))
        p = np.sqrt((1.0 + 2.0 * a) * (1.0 + 2.0 * b))
        # arcsin x - arcsin y = atan2(x sqrt(1-y^2) - y sqrt(1-x^2), xy + sqrt sqrt), numerator without
        # cancellation
        x, y, cx, cy = 2.0 * top / p, 2.0 * low / p, root / p, lower / p
        denominator = x * cy + y * cx
        small = np.abs(denominator) > 0.1 * x
        gap = 2.0 * scale**2 * e / p
        up = np.where(small, gap * (x + y) / np.where(small, denominator, 1.0), x * cy - y * cx)
        return np.asarray(gain**2 * (2.0 / math.pi) * np.arctan2(up, x * y + cx * cy))
    a, b = alpha * alpha, beta * beta
    top, _ = act.dual(a, b, g, 0.0 * z, 1.0 + 0.0 * z)
    value, _ = act.dual(a, b, g - e, z, 1.0 - z)
    gap = np.asarray(top - value)
    # far apart a few nodes do not resolve Ddot, but there the difference loses no digits
    near = np.flatnonzero((z < 0.1) | (gap < 0.01 * np.abs(top)))
    if near.size:
        x, weight = legendre(24 if np.all(z[near] < 0.1) else 96)
        zz = z[near, None] * x * x
        c = g[near, None] * (1.0 - 2.0 * zz)
        _, slope = act.dual(a[near, None], b[near, None], c, zz, 1.0 - zz)
        gap[near] = 2.0 * e[near] * np.sum(weight * x * slope, axis=1)
    return np.asarray(np.maximum(gap, 0.0))  # even activations: opposite points coincide


def radial(act: Activation, alpha: Array, beta: Array, diff: Array) -> tuple[Array, Array]:
    """Return ``E[f^2 - g^2]`` and ``E[(f - g)^2]`` for f, g = phi(alpha x), phi(beta x), x normal."""
    n, w = legendre(32)
    cuts = np.array([0.0, 0.1, 0.4, 1.0, 3.0, 6.5, 12.0])
    gaps = np.diff(cuts)[:, None]
    x = (cuts[:-1, None] + gaps * n).ravel()
    weight = (gaps * w).ravel() * np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    x, weight = np.concatenate([-x, x]), np.concatenate([weight, weight])
    al, be, df = alpha[:, None], beta[:, None], diff[:, None]
    upper, lower = act.fn(al * x), act.fn(be * x)
    t, wt = legendre(16)
    slope = np.zeros_like(al * x)
    for ti, wi in zip(t, wt):
        slope += wi * act.dfn((be + ti * df) * x)
    near = np.abs(df) < 0.05 * np.maximum(np.maximum(al, be), 0.2)
    step = np.where(near, df * x * slope, upper - lower)
    return (step * (upper + lower)) @ weight, (step * step) @ weight


def _activate(
    act: Activation, alpha: Array, beta: Array, diff: Array, e: Array, ha: Array, hb: Array, exact: bool
) -> tuple[Array, Array, Array, Array]:
    """Return the state after the activation; `ha`, `hb` are the new variances."""
    gap = covariance_gap(act, alpha, beta, e)
    new_a, new_b = np.sqrt(ha), np.sqrt(hb)
    if act.degree is not None:
        k = act.degree
        series = sum((alpha**i * beta ** (k - 1 - i) for i in range(k)), 0.0 * alpha)
        # E phi(x)^2 at unit variance
        unit = math.sqrt(float(act.moments(np.ones(1))[0][0]))
        return new_a, new_b, unit * diff * series, gap
    if not exact:
        # only the covariance matters: e = alpha' beta' - D, and D(alpha beta) by the closed form
        top, _ = act.dual(alpha**2, beta**2, alpha * beta, 0.0 * e, 1.0 + 0.0 * e)
        return new_a, new_b, new_a - new_b, np.maximum(new_a * new_b - top, 0.0) + gap
    change, spread = radial(act, alpha, beta, diff)
    total = new_a + new_b
    new_diff = change / np.where(total > 0, total, 1.0)
    return new_a, new_b, new_diff, np.maximum(0.5 * (spread - new_diff**2), 0.0) + gap


def recompute(
    net: Network,
    X: Array,
    Y: Array,
    dx: Diagonal,
    dy: Diagonal,
    rows: Array,
    cols: Array,
    exact: bool = False,
    fan_in: int = 0,
) -> tuple[Array, Array, Array]:
    """Return NNGP, NTK and squared RKHS distance of the pairs ``(X[rows].

    Y[cols])`` from explicit differences.

    With `exact` the distance is accurate for every activation; without it only for homogeneous
    ones, and the kernels are accurate in both cases. `fan_in` replaces d in the standard
    parameterisation. Cost O(d + depth) a pair, in chunks.
    """
    m = rows.size
    out = np.empty((3, m))
    for s in range(0, m, _CHUNK):
        i, j = rows[s : s + _CHUNK], cols[s : s + _CHUNK]
        out[:, s : s + _CHUNK] = _chunk(net, X[i], Y[j], dx, dy, i, j, exact, fan_in)
    return out[0], out[1], out[2]


def _chunk(
    net: Network, X: Array, Y: Array, dx: Diagonal, dy: Diagonal, i: Array, j: Array, exact: bool, fan_in: int
) -> tuple[Array, Array, Array]:
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    d = X.shape[1]
    root = math.sqrt(d)
    alpha, beta, diff, e = start(X, Y)
    alpha, beta, diff, e = alpha / root, beta / root, diff / root, e / d
    c = alpha * beta - e
    carried: Any = 0.0
    t = c
    d = fan_in or d
    for layer in range(net.depth + 1):
        w, b = net.w[layer], net.b[layer]
        diff, e = dense(w, b, alpha, beta, diff, e)
        alpha, beta = np.sqrt(dx.q[layer, i]), np.sqrt(dy.q[layer, j])
        new = alpha * beta - e
        t = net.tangent(layer, c, new, carried, d)
        c = new
        if layer == net.depth:
            break
        g = alpha * beta
        z = np.clip(e / np.where(g > 0, 2.0 * g, 1.0), 0.0, 1.0)
        z = np.where(g > 0, z, 0.5)
        _, slope = net.act.dual(alpha**2, beta**2, c, z, 1.0 - z)
        carried = slope * t
        alpha, beta, diff, e = _activate(net.act, alpha, beta, diff, e, dx.h[layer, i], dy.h[layer, j], exact)
        c = alpha * beta - e
    return c, np.asarray(t), diff**2 + 2.0 * e


def opposite(
    net: Network, X: Array, Y: Array, dx: Diagonal, dy: Diagonal, rows: Array, cols: Array, fan_in: int = 0
) -> tuple[Array, Array]:
    """Return NNGP and NTK of nearly antipodal pairs: ``1 + rho`` at the first layer from explicit sums."""
    family = net.act.family
    even = family is not None and family[0] == "slopes" and family[1] == -family[2]
    smooth = net.act.name in ("sin", "gabor") or (family is not None and family[0] == "erf" and not family[3])
    odd = smooth or net.act.name.endswith("sign")
    if (even or odd) and net.depth and not any(net.b[:-1]):
        # without hidden biases both kernels are even (or odd) functions of one point
        k, t, _ = recompute(net, X, -Y, dx, dy, rows, cols, exact=smooth, fan_in=fan_in)
        if even:
            return k, t
        bias = net.b[-1]
        shift = (1.0 if bias > 0 else 0.0) if net.standard else bias
        return 2.0 * bias - k, 2.0 * shift - t
    K, T = np.empty(rows.size), np.empty(rows.size)
    for s in range(0, rows.size, _CHUNK):
        i, j = rows[s : s + _CHUNK], cols[s : s + _CHUNK]
        A, B = X[i].astype(np.float64), -Y[j].astype(np.float64)
        d = A.shape[1]
        alpha, beta, diff, e = start(A, B)
        root = math.sqrt(d)
        alpha, beta, diff, e = alpha / root, beta / root, diff / root, e / d
        raw = e - alpha * beta
        _, e = dense(net.w[0], net.b[0], alpha, beta, diff, e)
        a, b = dx.q[0, i], dy.q[0, j]
        g = np.sqrt(a) * np.sqrt(b)
        half = np.clip((e + 2.0 * net.b[0]) / np.where(g > 0, 2.0 * g, 1.0), 0.0, 1.0)
        half = np.where(g > 0, half, 0.5)
        K[s : s + _CHUNK], T[s : s + _CHUNK] = walk(
            net, raw, dx.q[:, i], dy.q[:, j], fan_in or d, first=(1.0 - half, half)
        )
    return K, T


def walk(
    net: Network,
    raw: Array,
    qa: Array,
    qb: Array,
    d: int,
    first: tuple[Array, Array] | None = None,
    duals: Sequence[Dual] | None = None,
) -> tuple[Array, Array]:
    """Run all layers on arrays of raw covariances ``x . y / d``; `qa`, `qb` (depth + 1, ...) broadcast.

    `first`, if given, is ``(1 -+ rho) / 2`` after the first dense layer, to more digits than
    `raw` carries; `duals` replaces the dual of the activation layer by layer.
    """
    c_old = raw
    c = net.w[0] * raw + net.b[0]
    t = net.tangent(0, c_old, c, 0.0, d)
    for layer in range(net.depth):
        a, b = qa[layer], qb[layer]
        g = np.sqrt(a) * np.sqrt(b)
        rho = np.where(g > 0, c / np.where(g > 0, g, 1.0), 0.0)
        z, y = np.clip(0.5 * (1.0 - rho), 0.0, 1.0), np.clip(0.5 * (1.0 + rho), 0.0, 1.0)
        if layer == 0 and first is not None:
            z, y = first
            c = g * (y - z)
        elif net.w[layer] == 0.0:  # a layer of biases alone: all points coincide
            z, y = np.where(g > 0, 0.0, z), np.where(g > 0, 1.0, y)
        c_old, slope = (net.act.dual if duals is None else duals[layer])(a, b, c, z, y)
        c = net.w[layer + 1] * c_old + net.b[layer + 1]
        t = net.tangent(layer + 1, c_old, c, slope * t, d)
    return np.asarray(c), np.asarray(t)
