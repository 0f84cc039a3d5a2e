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

from ._closed import Dual
from ._gaps import covariance_gap, radial
from ._network import Diagonal, Network
from ._untabled import LayerDual, Moments
from .duals import Activation

Array = NDArray[Any]
_CHUNK = 1024


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


def _activate(
    act: Activation,
    span: LayerDual | None,
    alpha: Array,
    beta: Array,
    diff: Array,
    c: Array,
    e: Array,
    left: Moments,
    right: Moments,
) -> tuple[Array, Array, Array, Array]:
    """Return ``alpha, beta, diff, e`` after the activation, from the moments of both points."""
    (ha, _), (hb, _) = left, right
    new_a, new_b = np.sqrt(ha), np.sqrt(hb)
    if span is not None:
        gap, change, spread = span.step(alpha, beta, diff, e, left, right)
    else:
        gap = covariance_gap(act, alpha, beta, c, e)
        if act.degree is not None:
            k = act.degree
            series = sum((alpha**i * beta ** (k - 1 - i) for i in range(k)), 0.0 * alpha)
            # E phi(x)^2 at unit variance
            unit = math.sqrt(float(act.moments(np.ones(1))[0][0]))
            return new_a, new_b, unit * diff * series, gap
        change, spread = radial(act, alpha, beta, diff)
    total = new_a + new_b
    new_diff = change / np.where(total > 0, total, 1.0)
    return new_a, new_b, new_diff, np.maximum(0.5 * (spread - new_diff**2), 0.0) + gap


def _settle(c: Array, e: Array, g: Array) -> tuple[Array, Array]:
    """Return covariance and gap of a pair with ``c + e = g``: the smaller one keeps its digits."""
    near = e <= 0.5 * g
    return np.where(near, g - e, c), np.where(near, e, g - c)


def recompute(
    net: Network,
    X: Array,
    Y: Array,
    dx: Diagonal,
    dy: Diagonal,
    rows: Array,
    cols: Array,
    fan_in: int = 0,
    spans: Sequence[LayerDual] | None = None,
) -> tuple[Array, Array, Array]:
    """Return NNGP, NTK and squared RKHS distance of the pairs ``(X[rows], Y[cols])``.

    From explicit differences, all three to full relative accuracy. `fan_in` replaces d in the
    standard parameterisation; `spans` replace quadrature, layer by layer.
    Cost O(d + depth) a pair, in chunks.
    """
    m = rows.size
    out = np.empty((3, m))
    size = _CHUNK if spans is None else _CHUNK // 4
    for s in range(0, m, size):
        i, j = rows[s : s + size], cols[s : s + size]
        out[:, s : s + size] = _chunk(net, spans, X[i], Y[j], dx, dy, i, j, fan_in)
    return out[0], out[1], out[2]


def _chunk(
    net: Network,
    spans: Sequence[LayerDual] | None,
    X: Array,
    Y: Array,
    dx: Diagonal,
    dy: Diagonal,
    i: Array,
    j: Array,
    fan_in: int,
) -> tuple[Array, Array, Array]:
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    d = X.shape[1]
    root = math.sqrt(d)
    alpha, beta, diff, e = start(X, Y)
    alpha, beta, diff, e = alpha / root, beta / root, diff / root, e / d
    c, e = _settle(np.einsum("ij,ij->i", X, Y) / d, e, alpha * beta)
    carried: Any = 0.0
    t = c
    d = fan_in or d
    for layer in range(net.depth + 1):
        w, b = net.w[layer], net.b[layer]
        diff, e = dense(w, b, alpha, beta, diff, e)
        alpha, beta = np.sqrt(dx.q[layer, i]), np.sqrt(dy.q[layer, j])
        g = alpha * beta
        new, e = _settle(w * c + b, e, g)
        t = net.tangent(layer, c, new, carried, d)
        c = new
        if layer == net.depth:
            break
        z = np.clip(e / np.where(g > 0, 2.0 * g, 1.0), 0.0, 1.0)
        z = np.where(g > 0, z, 0.5)
        span = None if spans is None else spans[layer]
        left, right = ((p.h[layer, k], p.slope[layer, k]) for p, k in ((dx, i), (dy, j)))
        if span is None:
            value, slope = net.act.dual(alpha**2, beta**2, c, z, 1.0 - z)
        else:
            value, slope = span.paired(alpha**2, beta**2, c, z, 1.0 - z, left, right)
        carried = slope * t
        alpha, beta, diff, e = _activate(net.act, span, alpha, beta, diff, c, e, left, right)
        c, e = _settle(value, e, alpha * beta)
    return c, np.asarray(t), diff**2 + 2.0 * e


def opposite(
    net: Network,
    X: Array,
    Y: Array,
    dx: Diagonal,
    dy: Diagonal,
    rows: Array,
    cols: Array,
    fan_in: int = 0,
    spans: Sequence[LayerDual] | None = None,
) -> tuple[Array, Array]:
    """Return NNGP and NTK of nearly antipodal pairs: ``1 + rho`` at the first layer from explicit sums."""
    family = net.act.family
    even = family is not None and family[0] == "slopes" and family[1] == -family[2]
    smooth = net.act.name in ("sin", "gabor") or (family is not None and family[0] == "erf" and not family[3])
    odd = smooth or net.act.name.endswith("sign")
    if (even or odd) and net.depth and not any(net.b[:-1]):
        # without hidden biases both kernels are even (or odd) functions of one point
        k, t, _ = recompute(net, X, -Y, dx, dy, rows, cols, fan_in=fan_in)
        if even:
            return k, t
        bias = net.b[-1]
        shift = (1.0 if bias > 0 else 0.0) if net.standard else bias
        return 2.0 * bias - k, 2.0 * shift - t
    K, T = np.empty(rows.size), np.empty(rows.size)
    duals = None if spans is None else [f.paired for f in spans]
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
            net, raw, dx.q[:, i], dy.q[:, j], fan_in or d, first=(1.0 - half, half), duals=duals
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
