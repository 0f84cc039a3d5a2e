"""Validate once, at the public door.

Each message has three parts: what was expected, what came, what to do. Every
function returns the value in the form the kernels want and never changes the
caller's array.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .backend import require_numpy

__all__ = [
    "as_float_array",
    "check_choice",
    "check_finite",
    "check_int",
    "check_real",
    "check_shape",
    "float_dtype",
]


def float_dtype(dtype: DTypeLike, name: str = "array") -> np.dtype[Any]:
    """Return the dtype of the result: float32 stays, other reals become float64, complex is refused."""
    dtype = np.dtype(dtype)
    if dtype.kind == "c":
        raise TypeError(
            f"{name} is complex ({dtype}), expected real numbers; pass its real part if that is meant"
        )
    if dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {dtype}, expected real numbers")
    return np.dtype(np.float32) if dtype == np.float32 else np.dtype(np.float64)


def as_float_array(
    x: ArrayLike,
    name: str,
    *,
    ndim: int | tuple[int, ...] | None = None,
    dtype: DTypeLike | None = None,
    finite: bool = True,
    copy: bool = False,
) -> NDArray[Any]:
    """Return `x` as a C-contiguous float32 or float64 array.

    Parameters
    ----------
    x : array_like
        Real. Integers and booleans become float64; float32 stays.
    name : str
        How messages call it.
    ndim : int or tuple of int, optional
        Allowed numbers of dimensions.
    dtype : dtype, optional
        Convert to this dtype instead.
    finite : bool
        Refuse NaN and infinity.
    copy : bool
        Never return the caller's own memory.

    Raises
    ------
    TypeError
        For complex or non-numeric input, and arrays of other libraries.
    ValueError
        For the wrong number of dimensions, or a NaN or an infinity.
    """
    try:
        require_numpy(name, x)
    except TypeError as error:
        raise TypeError(str(error) if str(error).startswith(name) else f"{name}: {error}") from None
    if np.ma.is_masked(x):
        raise ValueError(f"{name} has masked entries, expected all of them; fill or remove those")
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{name} is no array of numbers: {error}") from None
    if array.dtype == object:
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise TypeError(f"{name} holds objects that are not real numbers") from None
    target = float_dtype(array.dtype, name)
    if dtype is not None:
        target = np.dtype(dtype)
    if ndim is not None:
        allowed = (ndim,) if isinstance(ndim, int) else ndim
        if array.ndim not in allowed:
            wanted = " or ".join(f"{n}-D" for n in allowed)
            raise ValueError(f"{name} has shape {array.shape}, expected a {wanted} array")
    if finite:
        check_finite(array, name)
    with np.errstate(over="ignore"):
        result = np.array(array, dtype=target, order="C", copy=True if copy else None)
    if finite and target.itemsize < array.itemsize and not _all_finite(result):
        raise ValueError(f"{name} has numbers beyond the range of {target}; scale it, or pass a wider dtype")
    return result


def _all_finite(array: NDArray[Any]) -> bool:
    # The sum is finite whenever all entries are, except on overflow: one cheap pass for the good case.
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(float(array.sum(dtype=np.float64))) or bool(np.isfinite(array).all())


def check_finite(array: NDArray[Any], name: str) -> None:
    """Raise ValueError naming the first entry (the first row of a matrix) that is NaN or infinite."""
    if array.dtype.kind != "f" or array.size == 0:
        return
    if _all_finite(array):
        return
    bad = ~np.isfinite(array)
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    value = array[index]
    where = (
        f"row {index[0]} (entry {index})" if array.ndim > 1 else f"entry {index[0]}" if index else "the value"
    )
    raise ValueError(f"{name} contains {value} in {where}, expected finite numbers; remove or replace it")


def check_shape(array: NDArray[Any], shape: tuple[int, ...], name: str, reason: str) -> None:
    """Raise ValueError unless `array` has exactly `shape`; `reason` says what demands it."""
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape} {reason}")


def check_real(
    value: Any,
    name: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
    finite: bool = True,
) -> float:
    """Return `value` as a float inside the interval; the ends belong to it unless they are declared open."""
    zero_dimensional = isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "fiu"
    if isinstance(value, (bool, np.bool_)) or not (isinstance(value, numbers.Real) or zero_dimensional):
        raise TypeError(f"{name} must be a real number, got {value!r} of type {type(value).__name__}")
    number = float(value)
    below = number <= low if open_low else number < low
    above = number >= high if open_high else number > high
    if math.isnan(number) or below or above or (finite and math.isinf(number)):
        left, right = (
            "(" if open_low or math.isinf(low) else "[",
            ")" if open_high or math.isinf(high) else "]",
        )
        raise ValueError(f"{name} must lie in {left}{low:g}, {high:g}{right}, got {number!r}")
    return number


def check_int(value: Any, name: str, *, low: int | None = None, high: int | None = None) -> int:
    """Return `value` as an int inside ``[low, high]``; a float, even an integral one, is a TypeError."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}")
    number = int(value)
    if (low is not None and number < low) or (high is not None and number > high):
        left = "-inf" if low is None else low
        right = "inf" if high is None else high
        raise ValueError(f"{name} must lie in [{left}, {right}], got {number}")
    return number


def check_choice(value: Any, name: str, choices: Iterable[Any]) -> Any:
    """Return `value` if it is one of `choices`, else raise ValueError listing them."""
    options = list(choices)
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}, got {value!r}")
    return value
