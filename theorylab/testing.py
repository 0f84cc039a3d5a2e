"""Assertions for numerical code: kind and shape first, then values with a tolerance from the dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._lib.backend import namespace, to_numpy

__all__ = ["assert_close", "relative_error", "unit_roundoff"]


def unit_roundoff(dtype: Any = np.float64) -> float:
    """Return u, half the distance from 1 to the next number of `dtype` (1.1e-16 for float64)."""
    return float(np.finfo(dtype).eps) / 2


def relative_error(actual: Any, desired: Any) -> float:
    """Return ``norm(actual - desired) / norm(desired)`` in the 2-norm, 0 where both vanish.

    Examples
    --------
    >>> relative_error([3.0, 4.0], [3.0, 4.5]) < 0.1
    True
    """
    a, b = to_numpy(actual), to_numpy(desired)
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
    dtype = np.result_type(a, b, np.float64)
    a, b = a.astype(dtype), b.astype(dtype)
    # Scaled, since squares overflow and underflow.
    scale = float(np.max(np.abs(b), initial=0.0)) or 1.0
    difference, size = float(np.linalg.norm((a - b) / scale)), float(np.linalg.norm(b / scale))
    return 0.0 if difference == 0 else difference / size if size else float("inf")


def assert_close(
    actual: Any,
    desired: Any,
    *,
    rtol: float | None = None,
    atol: float = 0.0,
    check_dtype: bool = True,
    check_shape: bool = True,
    err_msg: str = "",
) -> None:
    """Assert that two arrays agree: same library, dtype and shape, then values.

    Parameters
    ----------
    actual, desired : array_like
        Lists and scalars count as NumPy.
    rtol : float, optional
        Default: four times the square root of the machine epsilon of the
        coarser dtype. Pass a tolerance that is derived, and write down how.
    atol : float
    check_dtype, check_shape : bool
        Python scalars have no dtype of their own and are never held to one.

    Raises
    ------
    AssertionError

    Examples
    --------
    >>> assert_close([1.0, 2.0], [1.0, 2.0 + 1e-12])
    >>> assert_close(np.float32([1.0]), np.float64([1.0]))
    Traceback (most recent call last):
        ...
    AssertionError: dtypes differ: float32 and float64
    """
    if namespace(actual) is not namespace(desired):
        raise AssertionError(f"libraries differ: {type(actual).__module__} and {type(desired).__module__}")
    a, b = to_numpy(actual), to_numpy(desired)
    both_arrays = all(hasattr(x, "dtype") for x in (actual, desired))
    if check_dtype and both_arrays and a.dtype != b.dtype:
        raise AssertionError(f"dtypes differ: {a.dtype} and {b.dtype}")
    if check_shape and a.shape != b.shape:
        raise AssertionError(f"shapes differ: {a.shape} and {b.shape}")
    if rtol is None:
        kinds = [x.dtype for x in (a, b) if x.dtype.kind in "fc"]
        rtol = 4 * max((float(np.finfo(k).eps) for k in kinds), default=0.0) ** 0.5
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=err_msg)
