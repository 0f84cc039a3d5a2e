"""How rows are stored: bfloat16 as the upper half of float32, other narrow types as NumPy knows them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["to_bfloat16", "widen"]

Array = NDArray[Any]


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
