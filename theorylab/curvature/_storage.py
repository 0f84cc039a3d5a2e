"""How rows are stored: bfloat16 as the upper half of float32, other narrow types as NumPy knows them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lib.checks import check_choice

__all__ = ["LARGEST", "narrowed", "storage_name", "to_bfloat16", "widen"]

Array = NDArray[Any]

#: Longest row: its square, divided once by its length, still is a number.
LARGEST = 1e307


def storage_name(dtype: Any) -> str:
    """Return the name of a type of storage, given as a string or as a dtype of NumPy or torch."""
    text = str(dtype)
    if isinstance(dtype, str) or text.startswith("torch."):
        name = text.removeprefix("torch.")
    else:
        name = np.dtype(dtype).name
    check_choice(name, "dtype", ("float32", "float64", "float16", "bfloat16"))
    return name


def to_bfloat16(x: Array) -> Array:
    """Round to the nearest bfloat16, ties to even, as uint16."""
    bits = x.astype(np.float32).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)).astype(np.uint16)


def widen(raw: Array, bfloat16: bool = False) -> Array:
    """Return what is stored as float32 or float64, exactly (integers beyond 2^53 are rounded)."""
    if bfloat16:
        return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if raw.dtype in (np.float32, np.float64):
        return raw
    return raw.astype(np.float32 if raw.dtype == np.float16 else np.float64)


def narrowed(g: Array, storage: str) -> tuple[Array, float]:
    """Return a gradient as it is stored, and the power or size it was divided by to stay in range."""
    largest, scale = float(np.abs(g).max()), 1.0
    if largest > 1e290 and largest > LARGEST / float(np.linalg.norm(g / largest)):
        raise ValueError(f"g overflows float64: it is longer than {LARGEST:g}; rescale the gradients")
    if storage == "float64":
        scale = 2.0 ** round(math.log2(largest) / 2) if largest > 1e140 else 1.0
    elif largest > 1e140:
        raise ValueError(f"g overflows {storage}: its largest entry is {largest:.2g}; rescale the gradients")
    elif storage == "float16" or largest > 1e38 or 1e-140 < largest < 1e-30:
        scale = largest or 1.0
    scaled = g if scale == 1.0 else g / scale
    stored = to_bfloat16(scaled) if storage == "bfloat16" else scaled.astype(storage)
    return stored, scale
