"""What a direction network cannot see and its weights are made for: the outer boundary of a domain."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._grid import AIR, FLUID

__all__ = ["fluid_box", "open_side", "open_sides", "outer_boundary"]

Array = NDArray[Any]


def fluid_box(flags: Array) -> tuple[slice, ...]:
    """Return the bounding box of the FLUID cells, with the next layer wherever that holds AIR."""
    fluid = flags == FLUID
    box = []
    for axis in range(flags.ndim):
        others = tuple(k for k in range(flags.ndim) if k != axis)
        layers = np.flatnonzero(fluid.any(axis=others))
        air = (flags == AIR).any(axis=others)
        low, high = int(layers[0]), int(layers[-1])
        low -= int(low > 0 and air[low - 1])
        high += int(high + 1 < len(air) and air[high + 1])
        box.append(slice(low, high + 1))
    return tuple(box)


def open_sides(flags: Array) -> list[tuple[int, int]]:
    """Return (axis, end) of the sides of the fluid's box that are AIR; end is 0 or 1."""
    fluid = flags == FLUID
    # The layer beyond the fluid belongs to the box if and only if it holds AIR.
    return [
        (axis, end)
        for axis, side in enumerate(fluid_box(flags))
        for end, layer in enumerate((side.start, side.stop - 1))
        if not fluid.take(layer, axis=axis).any()
    ]


def open_side(flags: Array) -> tuple[int, int] | None:
    """Return the one side that is AIR; None where there are more or none."""
    sides = open_sides(flags)
    return sides[0] if len(sides) == 1 else None


def outer_boundary(flags: Array) -> str:
    """Return "dirichlet", "neumann" (AIR on one side), "closed" or "mixed" for checked flags."""
    kinds = {0: "closed", 1: "neumann", 2 * flags.ndim: "dirichlet"}
    return kinds.get(len(open_sides(flags)), "mixed")
