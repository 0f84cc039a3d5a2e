"""Inputs and outputs of the kernel functions, checked at the door."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from theorylab._lib.checks import as_float_array

__all__ = ["check_inputs", "matrix"]

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


def matrix(out: Any, name: str, shape: tuple[int, int], dtype: Any) -> Any:
    """Return a new matrix or the checked `out`."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype or not out.flags.writeable:
        raise ValueError(f"{name} must be a writable array of shape {shape} and dtype {dtype}")
    return out
