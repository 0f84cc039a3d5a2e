"""Depth collapse: the whole network as one function of one angle, in Chebyshev panels.

It applies where all inputs have one norm, or where the activation is positively
homogeneous of degree one without biases. Panels halve towards both ends of the angle, since
after L layers the kernel varies on the scale 1 / L there.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _pairs
from ._closed import Dual, angle
from ._interpolate import tensor
from ._mehler import Basis, MehlerDual
from ._network import Diagonal, Network, diagonal
from .duals import Activation

Array = NDArray[Any]
DEGREE = 16
# pairs of points from which on a table costs less than quadrature
_MANY = 200
# what interpolation in a variance may lose in a tile
_LOSS = 2e-13


def nodes(panels: int) -> Array:
    """Return Chebyshev points (panels, 17) in the fraction of a right angle, panel by panel."""
    points = np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1))
    top = 0.5 ** np.arange(panels)[:, None]
    x = top * (3.0 + points) / 4.0
    x[-1] = top[-1] * (1.0 + points) / 2.0
    return x


def powers(values: Array) -> Array:
    """Return power coefficients of the interpolants through `values` (..., 17) at the Chebyshev points."""
    k = np.arange(DEGREE + 1)
    phase = np.cos(np.pi * np.outer(k, k + 0.5) / (DEGREE + 1))
    cheb = values @ phase.T * (2.0 / (DEGREE + 1))
    cheb[..., 0] *= 0.5
    change = np.zeros((DEGREE + 1, DEGREE + 1))
    for j in range(DEGREE + 1):
        p = np.polynomial.chebyshev.cheb2poly(np.eye(DEGREE + 1)[j])
        change[j, : p.size] = p
    return np.ascontiguousarray(cheb @ change)


def collapse(net: Network, radius: float, d: int) -> tuple[Array, Array]:
    """Return tables (2, panels, 17) of the NNGP and NTK of points of norm ``radius sqrt(d)``, by angle.

    Side 0 holds acute angles, side 1 the supplements of obtuse ones. Cost: a few hundred pairs.
    """
    panels = max(3, math.ceil(math.log2(max(net.depth, 1))) + 3)
    x = nodes(panels) * (math.pi / 2)
    square = np.array([radius**2])
    diag = diagonal(net, square)
    flat = x.ravel()
    acute = _plane(net, flat, radius, d, diag, False)
    obtuse = _plane(net, flat, radius, d, diag, True)
    tables = [powers(np.stack([a.reshape(x.shape), o.reshape(x.shape)])) for a, o in zip(acute, obtuse)]
    return tables[0], tables[1]


def _plane(
    net: Network, angles: Array, radius: float, d: int, diag: Diagonal, obtuse: bool
) -> tuple[Array, Array]:
    """Evaluate the kernels at `angles`, or at pi minus them, between virtual points of a plane."""
    wide = Diagonal(*(np.repeat(part, angles.size, axis=1) for part in (diag.q, diag.h, diag.slope)))
    if net.act.degree is None:
        small = np.sin(0.5 * angles) ** 2
        g, w, b = radius**2, net.w[0], net.b[0]
        # 1 - rho after the dense layer is w g (1 - cos) / q; 1 + rho picks up the bias twice
        z = w * g * (1.0 - small if obtuse else small) / diag.q[0, 0]
        y = (w * g * (small if obtuse else 1.0 - small) + b) / diag.q[0, 0]
        raw = g * (2.0 * small - 1.0 if obtuse else 1.0 - 2.0 * small)
        return _pairs.walk(net, raw, wide.q, wide.q, d, first=(z, y))
    half = 0.5 * angles
    X = radius * math.sqrt(2.0) * np.stack([np.cos(half), np.sin(half)], axis=1)
    Y = X * np.array([1.0, -1.0])
    index = np.arange(angles.size)
    if obtuse:
        return _pairs.opposite(net, X, -Y, wide, wide, index, index, fan_in=d)
    k, t, _ = _pairs.recompute(net, X, Y, wide, wide, index, index, fan_in=d)
    return k, t


@functools.lru_cache(maxsize=64)
def tensor_dual(act: Activation, low: int, high: int, loss: float) -> TensorDual:
    """Return the table for variances in ``[2^low, 2^high]``; neighbours in range share it."""
    return TensorDual(act, 2.0**low, 2.0**high, loss)


def covering(act: Activation, q: Array, loss: float = _LOSS) -> TensorDual:
    """Return a table for the variances `q` down to a hundredth of the largest; smaller ones go direct."""
    top = float(q.max(initial=0.0)) or 1.0
    bottom = float(q[q > 1e-2 * top].min(initial=top))
    return tensor_dual(act, math.floor(math.log2(bottom) + 1e-12), math.ceil(math.log2(top) - 1e-12), loss)


class TensorDual:
    """A dual tabulated over both variances and the angle, for activations without a closed form.

    Chebyshev in ``log a`` and ``log b`` over the range that occurs, panels in the angle.
    """

    def __init__(self, act: Activation, low: float, high: float, loss: float = _LOSS) -> None:
        self.act, self.loss = act, loss
        self.exact = True
        panels = 4
        x = nodes(panels) * (math.pi / 2)
        self.low, self.high = math.log(low), math.log(high)
        self.order = self._order(act)
        s = self._points()
        small = np.sin(0.5 * x.ravel()) ** 2
        z = np.concatenate([small, 1.0 - small])
        first, second = np.empty((2, self.order, self.order, 2, panels, DEGREE + 1))
        for p in range(self.order):
            for r in range(p + 1):
                a, b = np.full_like(z, math.exp(s[p])), np.full_like(z, math.exp(s[r]))
                c = np.sqrt(a * b) * (1.0 - 2.0 * z)
                pair = act.dual(a, b, c, z, np.concatenate([1.0 - small, small]))
                for out, values in zip((first, second), pair):
                    out[p, r] = out[r, p] = values.reshape(2, panels, DEGREE + 1)
        # (2, panels, order, order, 17): all that one element needs lies together
        self.tables = [np.ascontiguousarray(powers(f).transpose(2, 3, 0, 1, 4)) for f in (first, second)]

    def _points(self) -> Array:
        k = np.arange(self.order)
        unit = np.cos(np.pi * (k + 0.5) / self.order) if self.order > 1 else np.zeros(1)
        return 0.5 * (self.low + self.high) + 0.5 * (self.high - self.low) * unit

    def _order(self, act: Activation) -> int:
        """Return the smallest order whose interpolant in one variance is exact to rounding."""
        if self.high - self.low < 1e-13:
            return 1
        test = self.low + (self.high - self.low) * np.array([0.07, 0.37, 0.81, 0.985])
        b, z = np.full(4, math.exp(self.high)), np.full(4, 0.3)

        def truth(s: Array) -> Array:
            a, bb = np.exp(s), np.full(s.shape, b[0])
            zz = np.full(s.shape, z[0])
            return np.stack(act.dual(a, bb, np.sqrt(a * bb) * (1.0 - 2.0 * zz), zz, 1.0 - zz))

        want = truth(test)
        for order in (2, 3, 4, 6, 8, 11, 14, 18, 24, 32):
            self.order = order
            got = truth(self._points()) @ self.weights(np.exp(test)).T
            if np.max(np.abs(got - want) / np.abs(want).max(axis=1, keepdims=True)) < self.loss:
                break
        else:
            self.exact = False
        return self.order

    def weights(self, q: Array) -> Array:
        """Return barycentric weights (len(q), order) of interpolation at variances `q`."""
        s = self._points()
        k = np.arange(self.order)
        w = (-1.0) ** k * np.sin(np.pi * (k + 0.5) / self.order)
        gap = np.log(np.maximum(q, 1e-300))[:, None] - s
        hit = gap == 0.0
        inverse = w / np.where(hit, 1.0, gap)
        out = inverse / inverse.sum(axis=1, keepdims=True)
        rows = hit.any(axis=1)
        out[rows] = hit[rows]
        return np.ascontiguousarray(out)

    def __call__(self, a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
        """Evaluate on a tile: `a` (n, 1), `b` (1, m), the rest (n, m)."""
        wa, wb = self.weights(a.ravel()), self.weights(b.ravel())
        first, second = np.empty(z.shape), np.empty(z.shape)
        near, far = (np.ascontiguousarray(v) for v in angle(z, y))
        tensor(wa, wb, near, far, self.tables[0], self.tables[1], first, second)
        # variances below the range of the table, zero among them
        floor = math.exp(self.low) * (1.0 - 1e-9)
        outside = (a < floor) | (b < floor)
        if outside.any():
            i, j = np.nonzero(outside)
            aa, bb = a.ravel()[i], b.ravel()[j]
            cc = np.sqrt(aa * bb) * (y - z)[i, j]
            first[i, j], second[i, j] = self.act.dual(aa, bb, cc, z[i, j], y[i, j])
        return first, second

    def paired(self, a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
        """Evaluate on single pairs: `a`, `b` (m,) or (m, 1), the rest (m,) or (m, k)."""
        floor = math.exp(self.low) * (1.0 - 1e-9)
        if min(float(a.min()), float(b.min())) < floor:
            return self.act.dual(a, b, c, z, y)
        first, second = np.empty(z.shape), np.empty(z.shape)
        wa, wb = self.weights(a.ravel()), self.weights(b.ravel())
        shape = (wa.shape[0], 1, z.size // wa.shape[0])
        near, far = (np.ascontiguousarray(v).reshape(shape) for v in angle(z, y))
        D, Ddot = first.reshape(shape), second.reshape(shape)
        for i in range(shape[0]):
            right = np.repeat(wb[i : i + 1], shape[2], axis=0)
            tensor(wa[i : i + 1], right, near[i], far[i], self.tables[0], self.tables[1], D[i], Ddot[i])
        return first, second


def batch_dual(
    act: Activation,
    qa: Array,
    qb: Array,
    tail: float = 1e-16,
    bases: dict[int, Basis] | None = None,
    loss: float = _LOSS,
) -> Dual:
    """Return the cheapest accurate way to evaluate the dual of `act` on many pairs; see `MehlerDual`."""
    if not any(act.kinks):
        series = MehlerDual(act, float(max(qa.max(), qb.max())), tail, bases)
        if series.complete:
            return series
    table = covering(act, np.concatenate([qa, qb]), loss)
    return table if table.exact else act.dual


def paired_duals(net: Network, dx: Diagonal, dy: Diagonal, pairs: int) -> list[Dual]:
    """Return, layer by layer, the dual of single pairs: a series or a table where it costs less."""
    bases: dict[int, Basis] = {}
    out: list[Dual] = []
    for qa, qb in zip(dx.q[:-1], dy.q[:-1]):
        series = MehlerDual(net.act, float(max(qa.max(), qb.max())), bases=bases)
        if series.complete:
            out.append(series.paired)
        elif pairs > _MANY:
            # every layer loses the same digits: what tiles may is too much for a hundred of them
            dual = batch_dual(net.act, qa, qb, loss=5e-15)
            out.append(getattr(dual, "paired", dual))
        else:
            out.append(net.act.dual)
    return out
