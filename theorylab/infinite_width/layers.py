"""Describe an architecture layer by layer and evaluate its NNGP and NTK.

>>> import numpy as np
>>> from theorylab.infinite_width.layers import Activation, Dense, Residual, Serial
>>> block = Residual(Serial(Activation("relu"), Dense(w_var=1.0)))
>>> net = Serial(Dense(w_var=1.5, b_var=0.1), block, block, Activation("relu"), Dense())
>>> pair = net(np.eye(3))
>>> pair.K.shape, pair.T.shape
((3, 3), (3, 3))
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theorylab._lib.checks import as_float_array, check_real

from ._images import Conv, Flatten, GlobalAvgPool
from ._moments import Layer, State, initial_state, variances
from ._network import LIMIT
from ._span import spannable, spanning
from ._table import DIRECT
from .duals import get

__all__ = [
    "Activation",
    "Conv",
    "Dense",
    "Flatten",
    "GlobalAvgPool",
    "KernelPair",
    "LayerNorm",
    "Recurrent",
    "Residual",
    "Serial",
]

Array = NDArray[Any]
_BUDGET = 1 << 26  # bytes of one array of pairs of positions


@dataclass(frozen=True)
class KernelPair:
    """NNGP `K` and NTK `T` of one architecture, each of shape (n, m)."""

    K: Array
    T: Array


class Dense(Layer):
    """Fully connected layer: ``c <- w_var c + b_var``, ``t <- c + w_var t``; on images, at each position.

    Parameters
    ----------
    w_var, b_var : float
        Variances of weights (times fan-in) and biases.
    """

    def __init__(self, w_var: float = 1.0, b_var: float = 0.0) -> None:
        self.w_var, self.b_var = variances(w_var, b_var)

    def apply(self, state: State) -> State:
        """Return the moments after the layer."""
        w, b = self.w_var, self.b_var
        c = w * state.c + b
        return replace(state, c=c, t=c + w * state.t, a=w * state.a + b, b=w * state.b + b)


class Activation(Layer):
    """Elementwise activation; a name, a function or a factory's result of :mod:`.duals`."""

    def __init__(self, activation: Any) -> None:
        self.act = get(activation)

    def apply(self, state: State) -> State:
        """Return the moments after the layer."""
        a, b = state.spread()
        z, y = state.halves()
        if state.c.size <= DIRECT or not spannable(self.act, np.array([a.max(), b.max()])):
            value, slope = self.act.dual(a, b, state.c, z, y)
        else:
            value, slope = self._tabulated(a, b, z, y)
        return replace(
            state, c=value, t=slope * state.t, a=self.act.moments(state.a)[0], b=self.act.moments(state.b)[0]
        )

    def _tabulated(self, a: Array, b: Array, z: Array, y: Array) -> tuple[Array, Array]:
        full_a, full_b = np.broadcast_to(a, z.shape), np.broadcast_to(b, z.shape)
        table = spanning(self.act, np.concatenate([a.ravel(), b.ravel()]))
        value, slope = np.empty(z.shape), np.empty(z.shape)
        if z.ndim == 2:
            return table(a, b, z, z, y)
        # at each pair of positions the variances are those of the points
        tail = z.shape[2:]
        for index in np.ndindex(*tail):
            at = (slice(None), slice(None), *index)
            value[at], slope[at] = table(full_a[at][:, :1], full_b[at][:1], z[at], z[at], y[at])
        return value, slope


class LayerNorm(Layer):
    """Normalisation over features: every variance becomes ``a / (a + eps)``.

    Parameters
    ----------
    eps : float
    """

    def __init__(self, eps: float = 1e-12) -> None:
        self.eps = check_real(eps, "eps", low=0.0, open_low=True)

    def apply(self, state: State) -> State:
        """Return the moments after the layer."""
        a, b = state.spread()
        scale = 1.0 / np.sqrt((a + self.eps) * (b + self.eps))
        return replace(
            state,
            c=state.c * scale,
            t=state.t * scale,
            a=state.a / (state.a + self.eps),
            b=state.b / (state.b + self.eps),
        )


class Residual(Layer):
    """Skip connection: ``h + branch(h)`` with independent branch.

    Parameters
    ----------
    branch : Layer
        Usually a `Serial`.
    branch_scale : float
        Factor s on the branch's output; ``1 / sqrt(blocks)`` keeps the variance bounded.
    """

    def __init__(self, branch: Layer, branch_scale: float = 1.0) -> None:
        if not isinstance(branch, Layer):
            raise TypeError(f"branch must be a layer, got {type(branch).__name__}")
        self.branch = branch
        self.needs_full = branch.needs_full
        self.scale = check_real(branch_scale, "branch_scale")

    def apply(self, state: State) -> State:
        """Return the moments after the layer."""
        inner = self.branch.apply(state)
        if inner.c.shape != state.c.shape:
            raise ValueError(
                f"the branch maps shape {state.c.shape} to {inner.c.shape}; a residual needs equal shapes "
                f"(use padding 'SAME')"
            )
        s = self.scale**2
        return replace(
            state,
            c=state.c + s * inner.c,
            t=state.t + s * inner.t,
            a=state.a + s * inner.a,
            b=state.b + s * inner.b,
        )


class Recurrent(Layer):
    """Recurrent layer over sequences (n, time, d); returns the last hidden state.

    ``h_t = phi(W h_{t-1} + U x_t + b)`` with ``h_0 = 0``, weights shared over time.

    Parameters
    ----------
    activation : str, callable or Activation
    w_var, u_var, b_var : float
        Variances of W (times width), U (times d) and b.

    Notes
    -----
    Backpropagated signals at different distances from the end decorrelate, so that only equal
    times enter: ``t <- (w + u terms of c) + w_var Ddot t``.
    """

    def __init__(
        self, activation: Any = "erf", w_var: float = 1.0, u_var: float = 1.0, b_var: float = 0.0
    ) -> None:
        self.act = get(activation)
        self.w_var, self.b_var = variances(w_var, b_var)
        self.u_var = check_real(u_var, "u_var", low=0.0)

    def apply(self, state: State) -> State:
        """Return the moments after the layer."""
        if state.kind != "sequence":
            raise ValueError("Recurrent needs sequences of shape (n, time, d) and stands first in Serial")
        c: Any = np.zeros(state.c.shape[:2])
        t: Any = np.zeros_like(c)
        a, b = np.zeros(state.a.shape[0]), np.zeros(state.b.shape[0])
        for time in range(state.c.shape[2]):
            c = self.w_var * c + self.u_var * state.c[:, :, time] + self.b_var
            t = c + self.w_var * t
            a = self.w_var * a + self.u_var * state.a[:, time] + self.b_var
            b = self.w_var * b + self.u_var * state.b[:, time] + self.b_var
            after = Activation(self.act).apply(State(c, t, a, b, same=state.same))
            c, t, a, b = after.c, after.t, after.a, after.b
        return State(c, t, a, b, same=state.same)


class Serial(Layer):
    """A chain of layers; call it on inputs to get a `KernelPair`.

    Parameters
    ----------
    *layers : Layer

    Notes
    -----
    Inputs are vectors (n, d), images (n, H, W, C) or sequences (n, time, d) for `Recurrent`. With
    `GlobalAvgPool`
    all pairs of positions are carried, O(H^2 W^2) per pair of images; else O(H W). Work proceeds in strips of
    pairs within a budget of memory.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width.layers import Activation, Conv, Dense, Flatten, Serial
    >>> net = Serial(Conv((3, 3), "SAME", w_var=2.0), Activation("relu"), Flatten(), Dense())
    >>> net(np.ones((2, 4, 4, 1))).K.shape
    (2, 2)
    """

    def __init__(self, *layers: Layer) -> None:
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(f"expected layers, got {type(layer).__name__}")
        # a chain inside a chain is one chain
        inner = [layer.layers if isinstance(layer, Serial) else (layer,) for layer in layers]
        self.layers: tuple[Layer, ...] = tuple(layer for part in inner for layer in part)
        self.needs_full = any(layer.needs_full for layer in layers)

    def apply(self, state: State) -> State:
        """Return the moments after all layers."""
        for index in range(len(self.layers)):
            state = self._step(index, state)
        return state

    def _step(self, index: int, state: State) -> State:
        """Return the moments after one layer, which an overflow names."""
        layer = self.layers[index]
        with np.errstate(over="ignore", invalid="ignore"):
            state = layer.apply(state)
        if not max(state.a.max(initial=0.0), state.b.max(initial=0.0)) <= LIMIT:
            raise OverflowError(
                f"the variance overflows in layer {index + 1} of {len(self.layers)} "
                f"({type(layer).__name__}): normalise the inputs or lower w_var"
            )
        return state

    def __call__(self, X: ArrayLike, Y: ArrayLike | None = None) -> KernelPair:
        """Evaluate both kernels between `X` and `Y` (default `X`).

        Returns
        -------
        KernelPair
            With attributes K and T of shape (n, m), float32 if the inputs are.
        """
        x = as_float_array(X, "X", ndim=(2, 3, 4))
        y = x if Y is None else as_float_array(Y, "Y", ndim=(2, 3, 4))
        for array, name in ((x, "X"), (y, "Y")):
            if array.size == 0:
                raise ValueError(f"{name} is empty: it has shape {array.shape}")
        if x.shape[1:] != y.shape[1:]:
            raise ValueError(f"Y has points of shape {y.shape[1:]}, expected {x.shape[1:]} to match X")
        dtype = np.promote_types(x.dtype, y.dtype)
        x, y = x.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
        n, m = x.shape[0], y.shape[0]
        K, T = np.empty((n, m), dtype), np.empty((n, m), dtype)
        position = math.prod(x.shape[1:-1])
        per_pair = 8 * position ** (2 if self.needs_full and x.ndim == 4 else 1)
        cols = max(1, min(m, _BUDGET // per_pair))
        rows = max(1, min(n, _BUDGET // (per_pair * cols)))
        ax, ay = self._after_pooling(x), None
        ay = ax if Y is None else self._after_pooling(y)
        for i in range(0, n, rows):
            for j in range(0, m, cols):
                if Y is None and j > i + rows - 1:
                    continue
                xs, ys = slice(i, min(i + rows, n)), slice(j, min(j + cols, m))
                k, t = self._block(
                    x[xs], y[ys], None if ax is None else ax[xs], None if ay is None else ay[ys]
                )
                top = max(np.abs(k).max(initial=0.0), np.abs(t).max(initial=0.0))
                if not top <= np.finfo(dtype).max:
                    raise OverflowError(
                        f"the last layer reaches {top:.3g}, beyond {dtype}: normalise the inputs or "
                        f"lower w_var"
                    )
                K[xs, ys], T[xs, ys] = k, t
                if Y is None and i != j:
                    K[ys, xs], T[ys, xs] = k.T, t.T
        if Y is None:  # the map is symmetric up to rounding; make it so exactly
            for M in (K, T):
                M[...] = np.tril(M) + np.tril(M, -1).T
        return KernelPair(K, T)

    def _split(self) -> int | None:
        for index, layer in enumerate(self.layers):
            if isinstance(layer, GlobalAvgPool):
                return index
        return None

    def _after_pooling(self, x: Array) -> Array | None:
        """Return the variance of each point after pooling, which needs all its pairs of positions."""
        split = self._split()
        if split is None or x.ndim != 4:
            return None
        out = np.empty(x.shape[0])
        for i in range(x.shape[0]):
            state = initial_state(x[i : i + 1], x[i : i + 1], True)
            for index in range(split):
                state = self._step(index, state)
            out[i] = state.c.mean()
        return out

    def _block(self, x: Array, y: Array, ax: Array | None, ay: Array | None) -> tuple[Array, Array]:
        state = initial_state(x, y, self.needs_full)
        for index, layer in enumerate(self.layers):
            if isinstance(layer, GlobalAvgPool):
                if state.kind != "image" or ax is None or ay is None:
                    raise ValueError("GlobalAvgPool needs images of shape (n, H, W, C)")
                c, t = (v.mean(axis=(2, 3, 4, 5)) for v in (state.c, state.t))
                state = State(c, t, ax, ay, same=state.same)
            else:
                state = self._step(index, state)
        if state.kind != "vector":
            raise ValueError("the last layer leaves positions open; add Flatten() or GlobalAvgPool()")
        return state.c, state.t
