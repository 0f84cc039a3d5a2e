"""Inputs and outputs of the kernel functions, checked at the door."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from theorylab._lib.checks import as_float_array

from ._network import LIMIT

__all__ = ["apart", "check_inputs", "largest_variance", "matrix", "widened"]

Array = NDArray[Any]


def check_inputs(
    X: ArrayLike, Y: ArrayLike | None, dtype: DTypeLike | None = None
) -> tuple[Array, Array | None]:
    """Return X and Y as matrices of one dtype."""
    x = as_float_array(X, "X", ndim=2)
    y = None if Y is None else as_float_array(Y, "Y", ndim=2)
    for array, name in ((x, "X"), (y, "Y")):
        if array is not None and array.size == 0:
            raise ValueError(
                f"{name} is empty: it has shape {array.shape}, expected at least one row and one column"
            )
    if y is not None and y.shape[1] != x.shape[1]:
        raise ValueError(f"Y has {y.shape[1]} features, expected {x.shape[1]} to match X of shape {x.shape}")
    if dtype is not None:
        target = np.dtype(dtype)
        if target not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"dtype must be float32 or float64, got {target}")
    elif y is None:
        target = x.dtype
    else:
        target = np.promote_types(x.dtype, y.dtype)
    x = x.astype(target, copy=False)
    return x, None if y is None else y.astype(target, copy=False)


def widened(x: Array, y: Array | None) -> tuple[Array, Array | None]:
    """Return the inputs in float64 where products of float32 rows would leave its range downwards."""
    if x.dtype != np.float32:
        return x, y
    for rows in (x, x if y is None else y):
        top = np.abs(rows).max(axis=1)
        if np.any((top < 1e-14) & (top > 0)):
            return x.astype(np.float64), None if y is None else y.astype(np.float64)
    return x, y


def largest_variance(dtype: Any) -> float:
    """Return how large a variance may grow for results of this dtype."""
    return min(LIMIT, float(np.finfo(dtype).max) / 16)


def matrix(out: Any, name: str, shape: tuple[int, int], dtype: Any) -> Any:
    """Return a new matrix or the checked `out`."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype or not out.flags.writeable:
        raise ValueError(f"{name} must be a writable array of shape {shape} and dtype {dtype}")
    return out


def apart(x: Array, *outputs: Any) -> Array:
    """Return `x`, or a copy where an output shares its memory: tiles are written before others are read."""
    return x.copy() if any(isinstance(A, np.ndarray) and np.may_share_memory(x, A) for A in outputs) else x
