"""One description of a fully connected network, and its exact recursions along the diagonal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.checks import check_choice, check_int, check_real

from .duals import Activation, get

Array = NDArray[Any]

LIMIT = 1e300


@dataclass(frozen=True)
class Network:
    """Dense layers 0..depth with an activation between them; variances of layer l in ``w[l]``, ``b[l]``."""

    depth: int
    act: Activation
    w: tuple[float, ...]
    b: tuple[float, ...]
    standard: bool = False
    width: int = 0

    def tangent(self, layer: int, c_old: Any, c_new: Any, carried: Any, d: int) -> Any:
        """Return the NTK after a dense layer; `carried` is ``Ddot t`` from below (0 at the input)."""
        if self.standard:
            fan_in = d if layer == 0 else self.width
            return fan_in * c_old + (1.0 if self.b[layer] > 0 else 0.0) + self.w[layer] * carried
        return c_new + self.w[layer] * carried


def make_network(
    depth: Any,
    activation: Any,
    w_var: Any,
    b_var: Any,
    last_w_var: Any = 1.0,
    last_b_var: Any = 0.0,
    parameterization: Any = "ntk",
    width: Any = None,
) -> Network:
    """Validate the hyperparameters of a fully connected network at the door."""
    depth = check_int(depth, "depth", low=0)
    act = get(activation)
    w, b = check_real(w_var, "w_var", low=0.0), check_real(b_var, "b_var", low=0.0)
    lw, lb = check_real(last_w_var, "last_w_var", low=0.0), check_real(last_b_var, "last_b_var", low=0.0)
    check_choice(parameterization, "parameterization", ("ntk", "standard"))
    standard = parameterization == "standard"
    if standard:
        if width is None:
            raise ValueError(
                "width is missing: parameterization='standard' needs the width of the hidden layers"
            )
        width = check_int(width, "width", low=1)
    return Network(depth, act, (w,) * depth + (lw,), (b,) * depth + (lb,), standard, width or 0)


@dataclass(frozen=True)
class Diagonal:
    """Variances of all points.

    ``q[l]`` after dense layer l, ``h[l]`` after the activation on it, ``slope[l]``.
    """

    q: Array
    h: Array
    slope: Array


def diagonal(net: Network, square: Array, largest: float = LIMIT) -> Diagonal:
    """Run the exact recursion of the variances from ``square = |x|^2 / d`` of shape (n,); O(n depth)."""
    n = square.shape[0]
    q = np.empty((net.depth + 1, n))
    h, slope = np.empty((net.depth, n)), np.empty((net.depth, n))
    before = square
    with np.errstate(over="ignore", invalid="ignore"):
        for layer in range(net.depth + 1):
            q[layer] = net.w[layer] * before + net.b[layer]
            top = float(q[layer].max(initial=0.0))
            if not top <= largest:
                raise OverflowError(
                    f"the variance reaches {top:.3g} after dense layer {layer + 1} of {net.depth + 1}: "
                    f"normalise the "
                    f"inputs, or lower w_var (now {net.w[0]:g}; the activation {net.act.name!r} may have "
                    f"a critical value)"
                )
            if layer < net.depth:
                h[layer], slope[layer] = net.act.moments(q[layer])
                before = h[layer]
    return Diagonal(q, h, slope)


def kernel_diagonal(net: Network, square: Array, d: int, diag: Diagonal | None = None) -> tuple[Array, Array]:
    """Return NNGP and NTK of each point with itself."""
    diag = diagonal(net, square) if diag is None else diag
    t: Any = net.tangent(0, square, diag.q[0], 0.0, d)
    for layer in range(1, net.depth + 1):
        t = net.tangent(layer, diag.h[layer - 1], diag.q[layer], diag.slope[layer - 1] * t, d)
    k = diag.q[-1]
    t = np.where(k == 0.0, 0.0, t) if not net.standard else np.asarray(t)
    return k, np.array(t, dtype=np.float64)


def check_tangent(t: Array, dtype: Any) -> None:
    """Refuse an NTK whose diagonal, hence largest entry, leaves the range of `dtype`."""
    top = float(np.max(t, initial=0.0))
    if not top <= float(np.finfo(dtype).max):
        raise OverflowError(
            f"the NTK reaches {top:.3g} at the last layer, beyond {np.dtype(dtype)}: normalise the inputs, "
            f"lower w_var, or ask for dtype float64"
        )
