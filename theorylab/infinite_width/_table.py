"""Depth collapse: the whole network as one function of one angle, in Chebyshev panels.

It applies where all inputs have one norm, or where the activation is positively
homogeneous of degree one without biases. Panels halve towards both ends of the angle, since
after L layers the kernel varies on the scale 1 / L there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _pairs
from ._closed import Dual
from ._mehler import Basis, MehlerDual
from ._network import Diagonal, Network, diagonal
from ._span import conversion, spannable, spanning_layers
from ._untabled import LayerDual, Untabled, worth

Array = NDArray[Any]
DEGREE = 16
# So many evaluations of a dual cost no more by quadrature than by a table, which loses a digit,
DIRECT = 600
# and so many by a series.
_SERIES = 5000


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
    return np.ascontiguousarray(cheb @ conversion(DEGREE + 1))


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
        spans = spanned(net, diag, diag, pairs=angles.size) if angles.size * net.depth > 200 else None
        duals = None if spans is None else [f.paired for f in spans]
        return _pairs.walk(net, raw, wide.q, wide.q, d, first=(z, y), duals=duals)
    half = 0.5 * angles
    X = radius * math.sqrt(2.0) * np.stack([np.cos(half), np.sin(half)], axis=1)
    Y = X * np.array([1.0, -1.0])
    index = np.arange(angles.size)
    if obtuse:
        return _pairs.opposite(net, X, -Y, wide, wide, index, index, fan_in=d)
    k, t, _ = _pairs.recompute(net, X, Y, wide, wide, index, index, fan_in=d)
    return k, t


def spanned(
    net: Network, dx: Diagonal, dy: Diagonal, tol: float = 3e-12, pairs: int = 0
) -> list[LayerDual] | None:
    """Return duals layer by layer, by tables where these serve `pairs` (default: all) pairs better.

    None where quadrature pair by pair does throughout.
    """
    layers = [np.concatenate(pair) for pair in zip(dx.q[:-1], dy.q[:-1])]
    pairs = pairs or dx.q.shape[1] * dy.q.shape[1]
    served = [spannable(net.act, q) and worth(net.act, float(q.max()), pairs) for q in layers]
    if not any(served):
        return None
    tables = iter(spanning_layers(net.act, [q for q, ok in zip(layers, served) if ok], tol))
    return [next(tables) if ok else Untabled(net.act) for ok in served]


def paired(
    net: Network, dx: Diagonal, dy: Diagonal, pairs: int, tol: float = 3e-12
) -> tuple[list[Dual] | None, list[LayerDual] | None]:
    """Return duals, layer by layer, for as many single pairs: series to the last digit, or a table for many.

    Neither where quadrature is needed, or costs no more.
    """
    evaluations = pairs * net.depth
    if evaluations <= _SERIES and not net.act.closed and not net.act.kinks:
        bases: dict[int, Basis] = {}
        tops = np.maximum(dx.q[:-1].max(axis=1), dy.q[:-1].max(axis=1))
        series = [MehlerDual(net.act, float(top), bases=bases) for top in tops]
        if all(s.complete for s in series):
            return [s.paired for s in series], None
    return None, spanned(net, dx, dy, tol, pairs) if evaluations > DIRECT else None
