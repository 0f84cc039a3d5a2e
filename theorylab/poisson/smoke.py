"""Simulate smoke around obstacles: the job that the pressure solvers are for.

One step of size ``dt = min(dt_max, cfl / max|u|)``, lengths in cells:

1. move the solids, blow smoke into the source;
2. carry velocity and smoke along (semi-Lagrangian, midpoint rule);
3. lift: vertical velocity gains ``dt * buoyancy * smoke``;
4. faces between fluid and solid take the solid's velocity;
5. make the velocity free of divergence: ``A p = -div u``, ``u -= grad p``.

>>> from theorylab.poisson.smoke import Ball, simulate_smoke
>>> result = simulate_smoke((32, 48), [Ball((14, 24), 5)], steps=5)
>>> result.smoke.shape, result.iterations.shape
((32, 48), (5,))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lib.checks import as_float_array, check_choice, check_int, check_real, check_shape
from .._lib.rng import RNGLike, as_generator
from ._advection import advect, divergence, extend, subtract_gradient, valid_faces
from ._obstacles import Ball, Box, Scene
from ._solve import solve_pressure
from .problems import FLUID, SOLID, UP, check_sides

__all__ = ["PHASES", "Ball", "Box", "SmokeResult", "compare_solvers", "phase_table", "simulate_smoke"]

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


def simulate_smoke(
    shape: tuple[int, ...],
    obstacles: Any = None,
    steps: int = 60,
    *,
    solver: str | Callable[..., Any] = "learned-mg",
    rtol: float = 1e-4,
    warm_start: bool = True,
    advection: str = "semi-lagrangian",
    buoyancy: float = 0.1,
    cfl: float = 3.0,
    dt_max: float = 1.0,
    source: Ball | None = None,
    velocity: Sequence[Any] | None = None,
    open_top: bool = True,
    frames: Iterable[int] = (),
) -> SmokeResult:
    """Simulate rising smoke around solids.

    Parameters
    ----------
    shape : tuple of 2 or 3 int
        Cells; the second axis points up.
    obstacles : sequence of Ball and Box, or ndarray, optional
        Solids, at rest or moving. A boolean array marks SOLID cells, an
        integer one gives all flags (0 SOLID, 1 FLUID, 2 AIR).
    steps : int
    solver : str or callable
        A method of :func:`theorylab.poisson.solve_pressure`, or a function
        ``solver(flags, b, x0, rtol)`` that returns p on the grid.
    rtol : float
        Divergence that is left, relative to that before the projection.
    warm_start : bool
        Start from the last pressure.
    advection : {'semi-lagrangian', 'maccormack'}
        First order, or second order and clamped (three times the work).
    buoyancy : float
        Acceleration by smoke of concentration 1, in cells per squared time.
    cfl, dt_max : float
        ``dt = min(dt_max, cfl / max|u|)``.
    source : Ball, optional
        Where smoke is set to 1 in each step. Default: radius 0.08 of the
        shortest side, at a tenth of the height.
    velocity : sequence of float or ndarray, optional
        Initial velocity, one entry per axis: a constant or the face array.
    open_top : bool
        The topmost layer is AIR, else the box is closed.
    frames : iterable of int
        Steps (from 1) after which the smoke is kept.

    Returns
    -------
    SmokeResult

    Raises
    ------
    ValueError, TypeError
        For bad arguments; the message names them.

    Notes
    -----
    One step costs about 60 ns per cell of transport in 2-D, besides the solver.

    Examples
    --------
    >>> from theorylab.poisson.smoke import Ball, simulate_smoke
    >>> moving = Ball((10, 20), 4, velocity=(0.5, 0.0))
    >>> result = simulate_smoke((32, 32), [moving], steps=3, solver="cg", rtol=1e-6)
    >>> bool((result.divergence[:, 1] <= 1.01e-6 * result.divergence[:, 0]).all())
    True
    """
    sides = check_sides(shape)
    steps = check_int(steps, "steps", low=0)
    check_real(rtol, "rtol", low=0, open_low=True)
    check_choice(advection, "advection", ("semi-lagrangian", "maccormack"))
    simulation = _Simulation(
        scene=Scene(sides, obstacles, open_top),
        solver=solver,
        rtol=rtol,
        warm_start=bool(warm_start),
        maccormack=advection == "maccormack",
        buoyancy=check_real(buoyancy, "buoyancy"),
        cfl=check_real(cfl, "cfl", low=0, open_low=True),
        dt_max=check_real(dt_max, "dt_max", low=0, open_low=True),
        source=_check_source(source, sides),
        u=_initial_velocity(velocity, sides),
    )
    wanted = {check_int(k, "each of frames", low=1, high=max(steps, 1)) for k in frames}
    kept: dict[int, NDArray[np.float32]] = {}
    for step in range(1, steps + 1):
        simulation.step()
        if step in wanted:
            kept[step] = simulation.smoke.astype(np.float32)
    return simulation.result(kept)


def compare_solvers(
    shape: tuple[int, ...],
    obstacles: Any = None,
    steps: int = 20,
    *,
    solvers: Iterable[str] = ("learned-mg", "mg", "mic0", "ic0", "deflated", "jacobi", "cg"),
    **options: Any,
) -> dict[str, SmokeResult]:
    """Run the same simulation with several solvers.

    Parameters
    ----------
    shape, obstacles, steps, **options
        As in :func:`simulate_smoke`.
    solvers : iterable of str

    Returns
    -------
    dict of str to SmokeResult
        See :func:`phase_table`.
    """
    names = list(solvers)
    for name in names:  # the first step loads compiled kernels: not what is compared
        simulate_smoke(shape, obstacles, 1, solver=name, **options)
    return {name: simulate_smoke(shape, obstacles, steps, solver=name, **options) for name in names}


def phase_table(results: dict[str, SmokeResult]) -> str:
    """Return a table: for each solver the median milliseconds of a step by phase, and its iterations.

    Parameters
    ----------
    results : dict of str to SmokeResult
        From :func:`compare_solvers`.
    """
    head = f"{'solver':<12}" + "".join(f"{phase:>10}" for phase in PHASES) + f"{'step':>10}{'iterations':>12}"
    lines = [head]
    for name, result in results.items():
        each = [1e3 * float(np.median(result.seconds[phase])) for phase in PHASES]
        total = 1e3 * float(np.median(sum(result.seconds.values())))
        count = float(np.mean(result.iterations)) if len(result.iterations) else 0.0
        times = "".join(f"{ms:>10.2f}" for ms in [*each, total])
        lines.append(f"{name:<12}{times}{count:>12.1f}")
    return "\n".join(lines)


def pressure_right_hand_side(flags: NDArray[np.uint8], seed: RNGLike = 0, steps: int = 8) -> Field:
    """Return what a smoke simulation in this domain passes to its solver in its last step.

    The source is a ball around a random FLUID cell of the lower half.
    """
    rng = as_generator(seed, "seed")
    cells = np.argwhere(flags == FLUID)
    cells = cells[cells[:, UP] <= np.median(cells[:, UP])]
    centre = cells[rng.integers(len(cells))] + 0.5
    ball = Ball(tuple(centre), max(1.0, 0.1 * min(flags.shape)))
    result = simulate_smoke(flags.shape, flags, steps, source=ball, rtol=1e-4)
    return result.right_hand_side


# --- the steps --------------------------------------------------------------------


class _Simulation:
    """The state of a simulation."""

    def __init__(
        self,
        scene: Scene,
        solver: str | Callable[..., Any],
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
        for axis, u in enumerate(self.u):
            faces = self.blocked[axis]
            u[faces] = self.scene.face_velocity(axis, faces) if self.scene.moving else 0.0

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
        clock.stop("project")
        self.pressure, setup = self._solve(b, x0)
        clock.stop("solve", setup=setup)
        subtract_gradient(self.u, self.pressure, self.moved)
        clock.stop("project")
        after = divergence(self.u)[self.fluid]
        self.norms.append((float(np.linalg.norm(b)), float(np.linalg.norm(after))))
        self.rhs = b
        self.dts.append(dt)
        self.time += dt
        clock.finish()

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

    def _solve(self, b: Field, x0: Field | None) -> tuple[Field, float]:
        """Return the pressure and the seconds of the set-up; keep the number of iterations."""
        flags = self.scene.flags
        if callable(self.solver):
            p = as_float_array(self.solver(flags, b, x0, self.rtol), "what solver returned", dtype=np.float64)
            check_shape(p, b.shape, "what solver returned", "to match the grid")
            self.iterations.append(-1)
            return p, 0.0
        p, info = solve_pressure(flags, b, method=self.solver, rtol=self.rtol, x0=x0, return_info=True)
        self.iterations.append(info.iterations)
        return p, info.setup_time

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

    def stop(self, phase: str, setup: float = 0.0) -> None:
        """Book the time since the last stop; `setup` seconds of it as set-up of the solver."""
        now = time.perf_counter()
        self.step[phase] += now - self.last - setup
        self.step["setup"] += setup
        self.last = now

    def finish(self) -> None:
        """Write the step into the record."""
        for phase, value in self.step.items():
            self.seconds[phase].append(value)


def _check_source(source: Any, shape: tuple[int, ...]) -> Ball:
    """Return the ball in which smoke is set to 1."""
    if source is None:
        centre = [0.1 * side if axis == UP else 0.5 * side for axis, side in enumerate(shape)]
        return Ball(tuple(centre), 0.08 * min(shape))
    if not isinstance(source, Ball):
        raise TypeError(f"source must be a Ball, got {type(source).__name__}")
    if source.ndim != len(shape):
        raise ValueError(f"source has {source.ndim} coordinates, expected {len(shape)}")
    return source


def _initial_velocity(velocity: Any, shape: tuple[int, ...]) -> tuple[Field, ...]:
    """Return the components on faces, new arrays."""
    faces = [tuple(n + (k == axis) for k, n in enumerate(shape)) for axis in range(len(shape))]
    if velocity is None:
        return tuple(np.zeros(size) for size in faces)
    parts = list(velocity)
    if len(parts) != len(shape):
        raise ValueError(f"velocity has {len(parts)} components, expected {len(shape)}")
    result = []
    for axis, (part, size) in enumerate(zip(parts, faces)):
        array = as_float_array(part, f"velocity[{axis}]", ndim=(0, len(shape)), dtype=np.float64, copy=True)
        if array.ndim:
            check_shape(array, size, f"velocity[{axis}]", "for faces across that axis")
            result.append(array)
        else:
            result.append(np.full(size, float(array)))
    return tuple(result)
