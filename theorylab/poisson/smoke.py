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

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lib.checks import as_float_array, check_choice, check_int, check_real, check_shape
from .._lib.rng import RNGLike, as_generator
from ._grid import FLUID
from ._obstacles import Ball, Box, Scene
from ._simulation import PHASES, Simulation, SmokeResult
from ._solve import check_method
from .problems import UP, check_sides

__all__ = ["PHASES", "Ball", "Box", "SmokeResult", "compare_solvers", "phase_table", "simulate_smoke"]

Field = NDArray[np.float64]


def simulate_smoke(
    shape: tuple[int, ...],
    obstacles: Any = None,
    steps: int = 60,
    *,
    solver: Any = "learned-mg",
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
    obstacles : list of Ball and Box, or ndarray, optional
        Solids, at rest or moving; a pair ``(center, radius)`` is a ball. A
        boolean array marks SOLID cells, an integer one gives all flags
        (0 SOLID, 1 FLUID, 2 AIR).
    steps : int
    solver : str, LearnedMultigrid or callable
        A method of :func:`theorylab.poisson.solve_pressure`, set up anew in
        each step; a :class:`theorylab.poisson.LearnedMultigrid` for the flags,
        which is updated only where solids move; or a function
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
    Transport costs about 100 ns per cell and step in 2-D and 250 ns in 3-D, besides the solver.

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
    scene = Scene(sides, obstacles, open_top)
    simulation = Simulation(
        scene=scene,
        solver=_check_solver(solver, scene.flags),
        rtol=rtol,
        warm_start=bool(warm_start),
        maccormack=advection == "maccormack",
        buoyancy=check_real(buoyancy, "buoyancy"),
        cfl=check_real(cfl, "cfl", low=0, open_low=True),
        dt_max=check_real(dt_max, "dt_max", low=0, open_low=True),
        source=_check_source(source, sides),
        u=_initial_velocity(velocity, sides),
    )
    if not isinstance(frames, Iterable):
        raise TypeError(f"frames must be a sequence of steps, got {frames!r}")
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
    result = simulate_smoke(flags.shape, flags, steps, source=ball, solver="mg", rtol=1e-6)
    return result.right_hand_side


# --- checks -----------------------------------------------------------------------


def _check_solver(solver: Any, flags: NDArray[np.uint8]) -> Any:
    """Return the name of a method, a multigrid for these flags, or a function."""
    return (
        solver
        if callable(solver) and not hasattr(solver, "_solve")
        else check_method(solver, flags, "solver")
    )


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
    if not hasattr(velocity, "__len__"):
        raise TypeError(f"velocity must be a sequence of {len(shape)} components, got {velocity!r}")
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
