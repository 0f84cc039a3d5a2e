"""Layers over the positions of images: convolution, flattening, pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.checks import check_choice, check_int

from ._moments import Layer, State, variances

__all__ = ["Conv", "Flatten", "GlobalAvgPool"]

Array = NDArray[Any]


def box_sum(
    x: Array,
    axes: tuple[tuple[int, ...], ...],
    shape: tuple[int, ...],
    padding: str,
    strides: tuple[int, ...],
) -> Array:
    """Sum `x` over shifts f in the filter, the axes of one group shifted together; keep every stride-th."""
    for group, k, stride in zip(axes, shape, strides):
        low, high = (k - 1) // 2, k // 2
        n = x.shape[group[0]]
        if padding == "VALID":
            if n < k:
                raise ValueError(f"the image has {n} pixels along an axis, fewer than the filter's {k}")
            valid: Any = 0.0
            for f in range(k):
                index: list[Any] = [slice(None)] * x.ndim
                for axis in group:
                    index[axis] = slice(f, n - k + 1 + f)
                valid = valid + x[tuple(index)]
            x = _every(np.asarray(valid), group, 0, stride)
            continue
        # as much padding as the last window needs, the smaller half in front
        pad = max((math.ceil(n / stride) - 1) * stride + k - n, 0)
        first = low - pad // 2
        total = np.zeros_like(x)
        for f in range(-low, high + 1):
            if padding == "CIRCULAR":
                total += np.roll(x, [-f] * len(group), axis=group)
                continue
            source: list[Any] = [slice(None)] * x.ndim
            target: list[Any] = [slice(None)] * x.ndim
            for axis in group:
                source[axis] = slice(max(0, f), n + min(0, f))
                target[axis] = slice(max(0, -f), n + min(0, -f))
            if n > abs(f):
                total[tuple(target)] += x[tuple(source)]
        x = _every(total, group, first, stride)
    return x


def _every(x: Array, axes: tuple[int, ...], first: int, stride: int) -> Array:
    """Return every stride-th slice from `first` on, along all `axes`."""
    if stride == 1:
        return x
    index: list[Any] = [slice(None)] * x.ndim
    for axis in axes:
        index[axis] = slice(first, None, stride)
    return np.asarray(x[tuple(index)])


def _pair(value: Any, name: str) -> tuple[int, ...]:
    """Return two positive integers."""
    pair = tuple(value) if np.iterable(value) else ()
    if len(pair) != 2:
        raise ValueError(f"{name} must hold two integers, got {value!r}")
    return tuple(check_int(k, name, low=1) for k in pair)


class Conv(Layer):
    """Two-dimensional convolution.

    Parameters
    ----------
    filter_shape : pair of int
    padding : {"SAME", "CIRCULAR", "VALID"}
        Zeros around, wrapped around, or none. With "SAME" and "CIRCULAR" the output has
        ``ceil(n / stride)`` pixels along an axis; of an odd padding the smaller half stands in front.
    strides : pair of int
    w_var, b_var : float
        Variances of weights (times fan-in, filter included) and biases.

    Notes
    -----
    ``c[p, p'] <- w_var / |F| sum_f c[p + f, p' + f] + b_var`` by two separable box filters,
    at every stride-th p.
    """

    def __init__(
        self,
        filter_shape: Sequence[int],
        padding: str = "SAME",
        *,
        strides: Sequence[int] = (1, 1),
        w_var: float = 1.0,
        b_var: float = 0.0,
    ) -> None:
        self.shape = _pair(filter_shape, "filter_shape")
        self.strides = _pair(strides, "strides")
        self.padding = check_choice(padding, "padding", ("SAME", "CIRCULAR", "VALID"))
        self.w_var, self.b_var = variances(w_var, b_var)

    def apply(self, state: State) -> State:
        """Return the moments after the layer."""
        if state.kind != "image":
            raise ValueError(
                "Conv needs images of shape (n, H, W, C); it stands before Flatten and GlobalAvgPool"
            )
        size = self.shape[0] * self.shape[1]
        groups = ((2, 4), (3, 5)) if state.full else ((2,), (3,))

        def mean(x: Array, axes: tuple[tuple[int, ...], ...]) -> Array:
            return box_sum(x, axes, self.shape, self.padding, self.strides) / size

        w, b = self.w_var, self.b_var
        c = w * mean(state.c, groups) + b
        t = c + w * mean(state.t, groups)
        single = ((1,), (2,))
        return replace(state, c=c, t=t, a=w * mean(state.a, single) + b, b=w * mean(state.b, single) + b)


class Flatten(Layer):
    """Concatenate all positions: the mean of ``c[p, p]``."""

    def apply(self, state: State) -> State:
        """Return the moments after the layer."""
        if state.kind != "image":
            return state
        c, t = state.c, state.t
        if state.full:
            c, t = (np.einsum("nmhwhw->nmhw", x) for x in (c, t))
        return State(
            c.mean(axis=(2, 3)),
            t.mean(axis=(2, 3)),
            state.a.mean(axis=(1, 2)),
            state.b.mean(axis=(1, 2)),
            same=state.same,
        )


class GlobalAvgPool(Layer):
    """Average over positions: the mean of ``c[p, p']`` over all pairs."""

    needs_full = True

    def apply(self, state: State) -> State:
        """Return the moments after the layer."""
        raise ValueError("GlobalAvgPool stands at the top level of Serial, after convolutions")
