"""The state of a smoke simulation, one step of it, and the record."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lib.checks import as_float_array, check_shape
from ._advection import advect, divergence, extend, subtract_gradient, valid_faces
from ._grid import FLUID, SOLID
from ._obstacles import Ball, Scene
from ._projection import project
from .problems import UP

__all__ = ["PHASES", "Simulation", "SmokeResult"]

Field = NDArray[np.float64]

#: What the time of a step is spent on.
PHASES: tuple[str, ...] = ("advect", "forces", "setup", "solve", "project")


@dataclass(frozen=True)
class SmokeResult:
    """What a simulation leaves behind.

    Attributes
    ----------
    smoke : ndarray of float64, shape of the grid
        Concentration in [0, 1].
    velocity : tuple of ndarray of float64
        Components on faces; the one along an axis has one more entry there.
    pressure : ndarray of float64
        Of the last step, times dt.
    flags : ndarray of uint8
        At the end.
    dt, iterations : ndarray, shape (steps,)
        Iterations are -1 where the solver does not tell.
    divergence : ndarray of float64, shape (steps, 2)
        2-norm over the FLUID cells before and after the projection.
    seconds : dict
        For each phase (`PHASES`) the wall time of each step, shape (steps,).
    frames : tuple of ndarray of float32
        The smoke after the steps in `frame_steps`.
    frame_steps : tuple of int
    right_hand_side : ndarray of float64
        What the solver was given in the last step.
    """

    smoke: Field
    velocity: tuple[Field, ...]
    pressure: Field
    flags: NDArray[np.uint8]
    dt: Field
    iterations: NDArray[np.int64]
    divergence: Field
    seconds: dict[str, Field] = field(repr=False)
    frames: tuple[NDArray[np.float32], ...] = field(repr=False)
    frame_steps: tuple[int, ...]
    right_hand_side: Field = field(repr=False)


class Simulation:
    """The state of a simulation."""

    def __init__(
        self,
        scene: Scene,
        solver: Any,
        rtol: float,
        warm_start: bool,
        maccormack: bool,
        buoyancy: float,
        cfl: float,
        dt_max: float,
        source: Ball,
        u: tuple[Field, ...],
    ) -> None:
        self.scene, self.solver, self.rtol, self.warm_start = scene, solver, rtol, warm_start
        self.maccormack, self.buoyancy, self.cfl, self.dt_max = maccormack, buoyancy, cfl, dt_max
        self.u = u
        self.smoke: Field = np.zeros(scene.shape)
        self.pressure: Field = np.zeros(scene.shape)
        self.rhs: Field = np.zeros(scene.shape)
        self.inside = source.covers(scene.shape, np.zeros(len(scene.shape)))
        self.time, self.layers = 0.0, int(np.ceil(cfl)) + 1
        self.dts: list[float] = []
        self.iterations: list[int] = []
        self.norms: list[tuple[float, float]] = []
        self.seconds: dict[str, list[float]] = {phase: [] for phase in PHASES}
        self._mark()
        self._enforce_solids()

    def _mark(self) -> None:
        """Derive the masks of cells and faces from the flags."""
        flags = self.scene.flags
        self.fluid, self.open = flags == FLUID, flags != SOLID
        axes = range(flags.ndim)
        self.valid = tuple(valid_faces(self.fluid, axis) for axis in axes)
        blocked = []
        for axis in axes:
            solid = valid_faces(~self.open, axis)
            np.moveaxis(solid, axis, 0)[[0, -1]] = True  # outside is SOLID
            blocked.append(solid & self.valid[axis])
        self.blocked = tuple(blocked)
        self.moved = tuple((v & ~b).astype(np.float64) for v, b in zip(self.valid, self.blocked))

    def _enforce_solids(self) -> None:
        """Give the faces between fluid and solid the velocity of the solid."""
        self.solid_velocity = self.scene.solid_velocity()
        for axis, u in enumerate(self.u):
            faces = self.blocked[axis]
            u[faces] = 0.0 if self.solid_velocity is None else self.solid_velocity[axis][faces]

    def step(self) -> None:
        """Advance by one step."""
        clock = _Clock(self.seconds)
        speed = max(float(np.abs(u[v]).max(initial=0.0)) for u, v in zip(self.u, self.valid))
        dt = min(self.dt_max, self.cfl / speed) if speed > 0 else self.dt_max
        self._transport(dt)
        clock.stop("advect")
        self._forces(dt)
        clock.stop("forces")
        b = np.where(self.fluid, -divergence(self.u), 0.0)
        ratio = dt / self.dts[-1] if self.dts else 1.0
        x0 = np.where(self.fluid, ratio * self.pressure, 0.0) if self.warm_start else None
        clock.skip()
        if callable(self.solver) and not hasattr(self.solver, "_solve"):
            self._project_by(self.solver, b, x0, clock)
        else:
            self._project(x0, clock)
        after = divergence(self.u)[self.fluid]
        self.norms.append((float(np.linalg.norm(b)), float(np.linalg.norm(after))))
        self.rhs = b
        self.dts.append(dt)
        self.time += dt
        clock.finish()

    def _project(self, x0: Field | None, clock: _Clock) -> None:
        """Make the velocity free of divergence by a method of this package."""
        flags = self.scene.flags
        if self.scene.moving and hasattr(self.solver, "update"):
            self.solver.update(flags)
            clock.stop("setup")
        *u, p, info = project(
            *self.u,
            flags,
            method=self.solver,
            rtol=self.rtol,
            x0=x0,
            solid_velocity=self.solid_velocity,
            return_info=True,
        )
        self.u, self.pressure = tuple(u), p
        clock.stop("project", setup=info.setup_time, solve=info.solve_time)
        self.iterations.append(info.iterations)

    def _project_by(self, solver: Callable[..., Any], b: Field, x0: Field | None, clock: _Clock) -> None:
        """Make the velocity free of divergence with a pressure from the user's own solver."""
        p = as_float_array(solver(self.scene.flags, b, x0, self.rtol), "p from solver", dtype=np.float64)
        check_shape(p, b.shape, "p from solver", "to match the grid")
        clock.stop("solve")
        self.pressure = np.where(self.fluid, p, 0.0)
        subtract_gradient(self.u, self.pressure, self.moved)
        clock.stop("project")
        self.iterations.append(-1)

    def _transport(self, dt: float) -> None:
        """Carry velocity and smoke along, into cells that solids have left as well."""
        self.smoke[self.inside & self.fluid] = 1.0
        for axis, u in enumerate(self.u):
            extend(u, self.valid[axis], self.layers)
        extend(self.smoke, self.open, self.layers)
        self.scene.advance(self.time, dt)
        if self.scene.moving:
            self._mark()
        old = self.u
        self.u = tuple(advect(u, old, dt, axis, maccormack=self.maccormack) for axis, u in enumerate(old))
        smoke = advect(self.smoke, old, dt, None, maccormack=self.maccormack)
        self.smoke = np.where(self.fluid, smoke, 0.0)

    def _forces(self, dt: float) -> None:
        """Lift by the smoke, then stop the flow at solids."""
        smoke = np.moveaxis(self.smoke, UP, 0)
        lift = np.moveaxis(self.u[UP], UP, 0)
        lift[1:-1] += 0.5 * dt * self.buoyancy * (smoke[1:] + smoke[:-1])
        self._enforce_solids()

    def result(self, frames: dict[int, NDArray[np.float32]]) -> SmokeResult:
        """Return the fields and what was recorded."""
        for axis, u in enumerate(self.u):
            u[~self.valid[axis]] = 0.0
        return SmokeResult(
            smoke=np.where(self.fluid, self.smoke, 0.0),
            velocity=self.u,
            pressure=self.pressure,
            flags=self.scene.flags,
            dt=np.array(self.dts),
            iterations=np.array(self.iterations, np.int64),
            divergence=np.array(self.norms).reshape(-1, 2),
            seconds={phase: np.array(times) for phase, times in self.seconds.items()},
            frames=tuple(frames[k] for k in sorted(frames)),
            frame_steps=tuple(sorted(frames)),
            right_hand_side=self.rhs,
        )


class _Clock:
    """Adds up the time of the phases of one step."""

    def __init__(self, seconds: dict[str, list[float]]) -> None:
        self.seconds, self.step = seconds, dict.fromkeys(PHASES, 0.0)
        self.last = time.perf_counter()

    def stop(self, phase: str, **within: float) -> None:
        """Book the time since the last stop, but for what other phases took `within` it."""
        now = time.perf_counter()
        self.step[phase] += now - self.last - sum(within.values())
        for other, seconds in within.items():
            self.step[other] += seconds
        self.last = now

    def skip(self) -> None:
        """Book the time since the last stop to nobody: it went into the record, not into the step."""
        self.last = time.perf_counter()

    def finish(self) -> None:
        """Write the step into the record."""
        for phase, value in self.step.items():
            self.seconds[phase].append(value)
