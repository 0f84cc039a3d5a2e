"""Derivatives of both kernels in the logarithms of the hidden variances, by forward tangents."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._engine import squares
from ._network import Network
from .duals import Activation

Array = NDArray[Any]
_STEP = 1e-30
_ROWS = 64


def _slopes_tangent(
    act: Activation, a: Array, b: Array, c: Array, z: Array, y: Array, da: Array, db: Array, dc: Array
) -> tuple[Array, Array]:
    """Homogeneity of degree one gives ``2 a D_a = D - c Ddot``."""
    value, slope = act.dual(a, b, c, z, y)
    al, be = act.family[1:]  # type: ignore[index]
    safe_a, safe_b = np.where(a > 0, a, 1.0), np.where(b > 0, b, 1.0)
    half = 0.5 * (da / safe_a + db / safe_b)
    change = (value - c * slope) * half + slope * dc
    g = np.sqrt(safe_a * safe_b)
    sine = 2.0 * np.sqrt(z * y)
    flat = sine < 1e-7  # the angle of coinciding points does not move
    drho = dc / g - (y - z) * half
    turn = 0.5 * (be - al) ** 2 * np.where(flat, 0.0, drho / np.where(flat, 1.0, sine)) / np.pi
    return change, turn


def _complex_tangent(
    act: Activation, a: Array, b: Array, c: Array, da: Array, db: Array, dc: Array
) -> tuple[Array, Array]:
    """Exact derivative of a closed form along a direction: the imaginary part at an imaginary step."""
    a, b, c = a + 1j * _STEP * da, b + 1j * _STEP * db, c + 1j * _STEP * dc
    g = np.sqrt(a * b)
    rho = np.where(g == 0, 0.0, c / np.where(g == 0, 1.0, g))
    value, slope = act.dual(a, b, c, 0.5 * (1.0 - rho), 0.5 * (1.0 + rho))
    return np.imag(value) / _STEP, np.imag(slope) / _STEP


def _difference_tangent(
    act: Activation, a: Array, b: Array, c: Array, z: Array, y: Array, da: Array, db: Array, dc: Array
) -> tuple[Array, Array]:
    """Fourth-order differences of a dual by quadrature, in log variances and the angle, where it is even."""
    safe_a, safe_b = np.where(a > 0, a, 1e-300), np.where(b > 0, b, 1e-300)
    la, lb = da / safe_a, db / safe_b
    theta = 2.0 * np.arctan2(np.sqrt(z), np.sqrt(y))
    sine = np.sin(theta)
    flat = sine < 1e-7
    drho = dc / np.sqrt(safe_a * safe_b) - (y - z) * 0.5 * (la + lb)
    turn = np.where(flat, 0.0, -drho / np.where(flat, 1.0, sine))
    size = np.maximum(np.maximum(np.abs(la), np.abs(lb)), np.abs(turn))
    h = 2e-3 / np.maximum(size, 1e-12)
    total: list[Any] = [0.0, 0.0]
    for k, weight in ((1, 2.0 / 3.0), (-1, -2.0 / 3.0), (2, -1.0 / 12.0), (-2, 1.0 / 12.0)):
        angle = theta + k * h * turn
        aa, bb = safe_a * np.exp(k * h * la), safe_b * np.exp(k * h * lb)
        zz, yy = np.sin(0.5 * angle) ** 2, np.cos(0.5 * angle) ** 2
        pair = act.dual(aa, bb, np.sqrt(aa * bb) * (yy - zz), zz, yy)
        total = [s + weight * v / h for s, v in zip(total, pair)]
    return np.asarray(total[0]), np.asarray(total[1])


def tangent(
    act: Activation, a: Array, b: Array, c: Array, z: Array, y: Array, da: Array, db: Array, dc: Array
) -> tuple[Array, Array]:
    """Return the derivatives of D and Ddot along ``(da, db, dc)``."""
    if act.family is not None and act.family[0] == "slopes":
        return _slopes_tangent(act, a, b, c, z, y, da, db, dc)
    if act.analytic:
        return _complex_tangent(act, a, b, c, da, db, dc)
    return _difference_tangent(act, a, b, c, z, y, da, db, dc)


def _moments_tangent(act: Activation, q: Array, dq: Array) -> tuple[Array, Array]:
    """Return the derivatives of ``E phi^2`` and ``E phi'^2`` along `dq`."""
    if act.family is not None and act.family[0] == "slopes":
        al, be = act.family[1:]
        return 0.5 * (al * al + be * be) * dq, np.zeros_like(dq)
    if act.analytic:
        v = q + 1j * _STEP * dq
        value, slope = act.dual(v, v, v, 0.0 * v, 1.0 + 0.0 * v)
        return np.imag(value) / _STEP, np.imag(slope) / _STEP
    safe = np.where(q > 0, q, 1e-300)
    h, rate = 2e-3, dq / safe
    total: list[Any] = [0.0, 0.0]
    for k, weight in ((1, 2.0 / 3.0), (-1, -2.0 / 3.0), (2, -1.0 / 12.0), (-2, 1.0 / 12.0)):
        pair = act.moments(safe * np.exp(k * h))
        total = [s + weight * v / h for s, v in zip(total, pair)]
    return rate * total[0], rate * total[1]


def log_gradients(net: Network, X: Array, names: tuple[str, ...], want_t: bool) -> Array:
    """Return ``dK / d log v`` (or dT) of shape (n, n, len(names)) for v in `names` ("w_var", "b_var").

    Cost: O(n^2 depth) per name, in strips of rows; gradients are analytic for closed forms.
    """
    X = X.astype(np.float64, copy=False)
    n, d = X.shape
    L = net.depth
    sx = squares(X)
    q, slope = np.empty((L + 1, n)), np.empty((L, n))
    h = sx
    dq = np.zeros((len(names), L + 1, n))
    before = np.zeros((len(names), n))
    rates = []
    for name in names:
        dw = [w if name == "w_var" and l < L else 0.0 for l, w in enumerate(net.w)]
        db = [b if name == "b_var" and l < L else 0.0 for l, b in enumerate(net.b)]
        rates.append((dw, db))
    for l in range(L + 1):
        q[l] = net.w[l] * h + net.b[l]
        for k, (dw, db) in enumerate(rates):
            dq[k, l] = dw[l] * h + net.w[l] * before[k] + db[l]
        if l < L:
            for k in range(len(names)):
                before[k], _ = _moments_tangent(net.act, q[l], dq[k, l])
            h, slope[l] = net.act.moments(q[l])
    out = np.empty((n, n, len(names)))
    for s in range(0, n, _ROWS):
        rows = slice(s, min(s + _ROWS, n))
        raw = X[rows] @ X.T / d
        index = np.arange(rows.start, rows.stop)
        for k, (dw, db) in enumerate(rates):
            out[rows, :, k] = _strip(net, raw, q, dq[k], dw, db, rows, d, want_t)
            out[index, index, k] = (
                _diagonal(net, sx, slope, q, dq[k], dw, db, rows, d) if want_t else dq[k, L, rows]
            )
    return out


def _strip(
    net: Network,
    raw: Array,
    q: Array,
    dq: Array,
    dw: list[float],
    db: list[float],
    rows: slice,
    d: int,
    want_t: bool,
) -> Array:
    """Return the tangent of the wanted kernel for some rows."""
    c_old, dc_old = raw, np.zeros_like(raw)
    t: Any = 0.0
    dt: Any = 0.0
    carried: Any = 0.0
    dcarried: Any = 0.0
    for l in range(net.depth + 1):
        w = net.w[l]
        c = w * c_old + net.b[l]
        dc = dw[l] * c_old + w * dc_old + db[l]
        if want_t:
            t = c + w * carried
            dt = dc + dw[l] * carried + w * dcarried
        if l == net.depth:
            break
        a, b = q[l, rows, None], q[l, None]
        g = np.sqrt(a) * np.sqrt(b)
        rho = np.clip(np.where(g > 0, c / np.where(g > 0, g, 1.0), 0.0), -1.0, 1.0)
        z, y = 0.5 * (1.0 - rho), 0.5 * (1.0 + rho)
        z = np.where(z < 1e-15, 0.0, z)  # duplicates: rounding would turn into an angle of 1e-8
        value, slope = net.act.dual(a, b, c, z, y)
        dvalue, dslope = tangent(net.act, a, b, c, z, y, dq[l, rows, None] + 0 * c, dq[l, None] + 0 * c, dc)
        if want_t:
            carried, dcarried = slope * t, dslope * t + slope * dt
        c_old, dc_old = value, dvalue
    return np.asarray(dt if want_t else dc)


def _diagonal(
    net: Network,
    sx: Array,
    slope: Array,
    q: Array,
    dq: Array,
    dw: list[float],
    db: list[float],
    rows: slice,
    d: int,
) -> Array:
    """Return the tangent of the NTK of each point with itself."""
    t, dt = q[0, rows], dq[0, rows]
    for l in range(net.depth):
        _, dslope = _moments_tangent(net.act, q[l, rows], dq[l, rows])
        s = slope[l, rows]
        w = net.w[l + 1]
        carried, dcarried = s * t, dslope * t + s * dt
        t, dt = q[l + 1, rows] + w * carried, dq[l + 1, rows] + dw[l + 1] * carried + w * dcarried
    return dt
