"""Solids of a smoke simulation, at rest or moving, and the flags that they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lib.checks import as_float_array, check_real, check_shape
from ._grid import AIR, FLUID, SOLID

__all__ = ["Ball", "Box", "Scene"]

Flags = NDArray[np.uint8]
Velocity = Sequence[float] | Callable[[float], Sequence[float]] | None


@dataclass(frozen=True)
class Ball:
    """A solid disc or ball; lengths in cells.

    Parameters
    ----------
    center : sequence of 2 or 3 floats
        The corner of the grid is 0, the centre of its first cell 0.5.
    radius : float
    velocity : sequence of floats or callable, optional
        In cells per unit of time; a callable receives the time.

    Examples
    --------
    >>> from theorylab.poisson.smoke import Ball
    >>> Ball((32.0, 40.0), 6.0, velocity=(0.5, 0.0)).radius
    6.0
    """

    center: Sequence[float]
    radius: float
    velocity: Velocity = None

    def __post_init__(self) -> None:
        as_float_array(self.center, "center", ndim=1)
        check_real(self.radius, "radius", low=0.0, open_low=True)

    @property
    def ndim(self) -> int:
        """Number of coordinates."""
        return len(self.center)

    def covers(self, shape: tuple[int, ...], shift: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which cell centres lie inside after a displacement."""
        square: Any = 0.0
        for x, c, s in zip(_centres(shape), self.center, shift):
            square = square + (x - c - s) ** 2
        return np.asarray(square < self.radius**2)


@dataclass(frozen=True)
class Box:
    """A solid rectangle or box between two corners; lengths in cells.

    Parameters
    ----------
    lower, upper : sequence of 2 or 3 floats
        Opposite corners.
    velocity : sequence of floats or callable, optional
        In cells per unit of time; a callable receives the time.
    """

    lower: Sequence[float]
    upper: Sequence[float]
    velocity: Velocity = None

    def __post_init__(self) -> None:
        low, high = as_float_array(self.lower, "lower", ndim=1), as_float_array(self.upper, "upper", ndim=1)
        check_shape(high, low.shape, "upper", "as many coordinates as lower has")
        if not (low < high).all():
            raise ValueError(f"lower must lie below upper, got {tuple(self.lower)} and {tuple(self.upper)}")

    @property
    def ndim(self) -> int:
        """Number of coordinates."""
        return len(self.lower)

    def covers(self, shape: tuple[int, ...], shift: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which cell centres lie inside after a displacement."""
        inside: Any = True
        for x, a, b, s in zip(_centres(shape), self.lower, self.upper, shift):
            inside = inside & (x - s > a) & (x - s < b)
        return np.asarray(inside)


def _centres(shape: tuple[int, ...]) -> list[Any]:
    """Return the coordinates of the cell centres, shaped to broadcast."""
    return [
        (np.arange(side) + 0.5).reshape([-1 if k == axis else 1 for k in range(len(shape))])
        for axis, side in enumerate(shape)
    ]


class Scene:
    """Where the solids are at each time.

    Parameters
    ----------
    shape : tuple of int
    obstacles : None, array, or sequence of Ball and Box
        A boolean array marks SOLID cells; an integer one gives all flags.
    open_top : bool
        The last layer along the vertical axis is AIR (not where flags are given).

    Attributes
    ----------
    flags : ndarray of uint8
    moving : bool
    """

    def __init__(self, shape: tuple[int, ...], obstacles: Any, open_top: bool) -> None:
        self.shape = shape
        self.base: Flags = np.full(shape, FLUID, np.uint8)
        self.solids: list[Ball | Box] = []
        if open_top:
            self.base[:, -1] = AIR
        if isinstance(obstacles, (Ball, Box)):
            obstacles = [obstacles]
        if obstacles is None:
            pass
        elif _is_grid(obstacles):
            self._from_array(np.asarray(obstacles))
        else:
            self.solids = [self._check_solid(k, solid) for k, solid in enumerate(obstacles)]
        self.moving = any(solid.velocity is not None for solid in self.solids)
        self._shifts = np.zeros((len(self.solids), len(shape)))
        self._velocities = np.zeros_like(self._shifts)
        self.owner = np.full(shape, -1, np.int32)
        self.flags = self.base
        self._draw(0.0)

    def _from_array(self, array: NDArray[Any]) -> None:
        """Take a mask of solids, or complete flags."""
        if array.shape != self.shape:
            raise ValueError(f"obstacles has shape {array.shape}, expected {self.shape} as `shape` says")
        if array.dtype == bool:
            self.base[array] = SOLID
        elif array.dtype.kind in "iu":
            if array.min() < SOLID or array.max() > AIR:
                raise ValueError("obstacles holds flags other than 0 (SOLID), 1 (FLUID) and 2 (AIR)")
            self.base = array.astype(np.uint8)
        else:
            raise TypeError(f"obstacles has dtype {array.dtype}, expected a boolean mask or integer flags")

    def _check_solid(self, k: int, solid: Any) -> Ball | Box:
        if not isinstance(solid, (Ball, Box)):
            raise TypeError(f"obstacles[{k}] is {type(solid).__name__}, expected Ball or Box")
        if solid.ndim != len(self.shape):
            raise ValueError(f"obstacles[{k}] has {solid.ndim} coordinates, expected {len(self.shape)}")
        return solid

    def _check_velocity(self, k: int, velocity: Any, time: float) -> NDArray[np.float64]:
        name = f"the velocity of obstacles[{k}]"
        value = as_float_array(velocity(time) if callable(velocity) else velocity, name, dtype=np.float64)
        check_shape(value, (len(self.shape),), name, "one number an axis")
        return value

    def _draw(self, time: float) -> None:
        """Set the flags, and for each moving solid the velocity of its cells."""
        flags = self.base.copy() if self.solids else self.base
        self.owner[...] = -1
        for k, solid in enumerate(self.solids):
            inside = solid.covers(self.shape, self._shifts[k])
            flags[inside] = SOLID
            if solid.velocity is not None:
                self.owner[inside] = k
                self._velocities[k] = self._check_velocity(k, solid.velocity, time)
        self.flags = flags

    def advance(self, time: float, dt: float) -> None:
        """Move the solids from `time` to ``time + dt``."""
        if self.moving:
            self._shifts += dt * self._velocities
            self._draw(time + dt)

    def solid_velocity(self) -> tuple[NDArray[np.float64], ...] | None:
        """Return the velocity of the solid behind each face, axis by axis; None where all solids rest."""
        if not self.moving:
            return None
        faces = []
        for axis in range(len(self.shape)):
            # The entry -1 belongs to cells without a moving solid.
            cells = np.moveaxis(np.append(self._velocities[:, axis], 0.0)[self.owner], axis, 0)
            ahead = np.concatenate([cells, np.zeros_like(cells[:1])])
            behind = np.concatenate([np.zeros_like(cells[:1]), cells])
            # One side of a face that matters is fluid and counts 0; between two solids the last one decides.
            faces.append(np.moveaxis(np.where(ahead == 0.0, behind, ahead), 0, axis))
        return tuple(faces)


def _is_grid(obstacles: Any) -> bool:
    """Tell an array (or nested lists of numbers) from a sequence of solids."""
    if isinstance(obstacles, np.ndarray):
        return True
    return isinstance(obstacles, (list, tuple)) and isinstance((*obstacles, None)[0], (list, tuple))
