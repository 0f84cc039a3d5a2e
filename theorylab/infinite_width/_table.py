"""Depth collapse: the whole network as one function of one angle, in Chebyshev panels.

It applies where all inputs have one norm, or where the activation is positively
homogeneous of degree one without biases. Panels shrink towards both ends of the angle, since
after L layers the kernel varies on the scale 1 / L there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _pairs
from ._interpolate import nodes, panels_to, powers
from ._network import Diagonal, Network, diagonal
from ._span import spanning_layers
from ._untabled import LayerDual, Untabled, served

Array = NDArray[Any]
# So many evaluations of a dual cost no more by quadrature than by a table.
DIRECT = 600


def collapse(net: Network, radius: float, d: int) -> tuple[Array, Array]:
    """Return tables (2, panels, 16) of the NNGP and NTK of points of norm ``radius sqrt(d)``, by angle.

    Side 0 holds acute angles, side 1 the supplements of obtuse ones. Cost: a few hundred pairs.
    """
    panels = panels_to(max(2.0, math.log2(max(net.depth, 1)) + 2.0))
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
        spans = spanned(net, diag, diag, angles.size)
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
    net: Network, dx: Diagonal, dy: Diagonal, pairs: int, tol: float = 1e-14
) -> list[LayerDual] | None:
    """Return duals for as many pairs, layer by layer, by tables where these cost less.

    None where the dual is closed, or where quadrature pair by pair costs no more throughout.
    """
    if net.act.closed or any(net.act.kinks) or pairs * net.depth <= DIRECT:
        return None
    layers = [np.concatenate(pair) for pair in zip(dx.q[:-1], dy.q[:-1])]
    tabled = served(net.act, np.array([q.max() for q in layers]), pairs)
    if not any(tabled):
        return None
    tables = iter(spanning_layers(net.act, [q for q, ok in zip(layers, tabled) if ok], tol))
    return [next(tables) if ok else Untabled(net.act) for ok in tabled]
