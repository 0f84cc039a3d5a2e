"""Make a velocity on the faces of a grid free of divergence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theorylab._lib.checks import as_float_array, check_choice, check_shape
from theorylab._lib.jit import jit

from ._grid import check_field, check_flags
from ._solve import check_limits, check_method, solve

__all__ = ["project"]

Array = NDArray[Any]


# One axis at a time, each array seen as (outer, cells or faces along the axis, inner).


@jit
def _close(face: Array, flags: Array, solid: Array) -> None:
    """Give the faces of SOLID cells and those at the rim the solid's velocity: one for all, or one each."""
    same = solid.size == 1
    for o in range(flags.shape[0]):
        for j in range(face.shape[1]):
            rim = j == 0 or j == flags.shape[1]
            for i in range(flags.shape[2]):
                if rim or flags[o, j - 1, i] == 0 or flags[o, j, i] == 0:
                    face[o, j, i] = solid[0, 0, 0] if same else solid[o, j, i]


@jit
def _add_inflow(face: Array, flags: Array, b: Array) -> None:
    """Add low face minus high face to b in the FLUID cells."""
    for o in range(flags.shape[0]):
        for j in range(flags.shape[1]):
            for i in range(flags.shape[2]):
                if flags[o, j, i] == 1:
                    b[o, j, i] += face[o, j, i] - face[o, j + 1, i]


@jit
def _subtract_gradient(face: Array, flags: Array, p: Array) -> None:
    """Subtract the difference of pressures on each face between cells that are not SOLID."""
    for o in range(flags.shape[0]):
        for j in range(1, flags.shape[1]):
            for i in range(flags.shape[2]):
                if flags[o, j - 1, i] != 0 and flags[o, j, i] != 0:
                    face[o, j, i] -= p[o, j, i] - p[o, j - 1, i]


def _along(array: Array, axis: int) -> Array:
    """See a C-contiguous array as (outer, axis, inner)."""
    outer = math.prod(array.shape[:axis])
    return array.reshape(outer, array.shape[axis], -1)


def _solid_faces(value: Any, axis: int, shape: tuple[int, ...]) -> Array:
    """Return the prescribed velocities of one axis, as `_close` takes them."""
    faces = as_float_array(value, f"solid_velocity[{axis}]", dtype=np.float64)
    if faces.shape not in ((), shape):
        raise ValueError(
            f"solid_velocity[{axis}] has shape {faces.shape}, expected a number or {shape}, one value a face"
        )
    return _along(faces, axis) if faces.shape else faces.reshape(1, 1, 1)


def _arguments(fields: tuple[Any, ...], flags: Any) -> tuple[list[Array], Array]:
    """Return fresh face arrays of one dtype and the checked flags, which may stand last among `fields`."""
    if flags is None:
        if len(fields) < 2:
            raise TypeError("project takes u, v, flags or u, v, w, flags")
        *velocity, flags = fields
    else:
        velocity = list(fields)
    grid = check_flags(flags)
    if len(velocity) != grid.ndim:
        raise ValueError(
            f"got {len(velocity)} velocity arrays for flags of shape {grid.shape}, "
            f"expected {grid.ndim}, one an axis"
        )
    names = "uvw"
    arrays = [as_float_array(v, name, copy=True) for v, name in zip(velocity, names)]
    kind = np.result_type(*arrays)
    for axis, (array, name) in enumerate(zip(arrays, names)):
        shape = tuple(n + (a == axis) for a, n in enumerate(grid.shape))
        check_shape(array, shape, name, f"(one face more than flags along axis {axis})")
    return [a.astype(kind, copy=False) for a in arrays], grid


def project(
    *fields: Any,
    flags: ArrayLike | None = None,
    rtol: float = 1e-6,
    method: Any = "learned-mg",
    null_space: str = "project",
    x0: ArrayLike | None = None,
    atol: float = 0.0,
    maxiter: int | None = None,
    solid_velocity: Any = None,
    return_info: bool = False,
) -> tuple[Any, ...]:
    """Project a staggered velocity onto the fields without divergence: ``project(u, v[, w], flags)``.

    Parameters
    ----------
    u, v, w : array_like
        Velocities on the faces across each axis, shapes (nx + 1, ny), (nx, ny + 1) in 2-D and
        (nx + 1, ny, nz), ... in 3-D; positional. In units of the spacing over the time step, if
        the pressure is to come in units of density times their square.
    flags : array_like of int, shape (nx, ny) or (nx, ny, nz)
        0 SOLID, 1 FLUID, 2 AIR; the last positional argument or a keyword.
    rtol, atol : float
        The divergence that remains is at most ``max(rtol * that before, atol)`` in the 2-norm.
    method, null_space, maxiter
        As in :func:`solve_pressure`.
    x0 : array_like, the shape of flags, optional
        Pressure to start from, such as that of the last time step.
    solid_velocity : sequence of number or array_like, optional
        Velocities of the solids, one entry an axis, read at the faces of SOLID cells and at the
        rim of the grid. Default: 0.
    return_info : bool
        Also return the :class:`SolveInfo`.

    Returns
    -------
    u, v, w : ndarray
        New arrays; float32 where all given ones are.
    p : ndarray, the shape of flags
        The pressure subtracted, zero off FLUID.
    info : SolveInfo
        Only with `return_info`.

    Raises
    ------
    ValueError, TypeError, numpy.linalg.LinAlgError
        As :func:`solve_pressure`.

    Warns
    -----
    ConvergenceWarning, IncompatibleRightHandSideWarning
        As :func:`solve_pressure`.

    Notes
    -----
    Faces of SOLID cells are set to the velocity of the solid; then ``A p = -div u`` is solved
    and the difference of p subtracted on every other face. Beside the solve this takes about
    10 passes over the grid.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.poisson import project
    >>> flags = np.array([[1, 1, 1, 2]])
    >>> u, v, p = project(np.zeros((2, 4)), np.ones((1, 5)), flags, method="cg")
    >>> bool(np.abs(v[:, :4]).max() < 1e-6)          # the closed end lets nothing in
    True
    """
    velocity, grid = _arguments(fields, flags)
    check_choice(null_space, "null_space", ("project", "raise"))
    method = check_method(method, grid)
    limits = check_limits(rtol, atol, maxiter)
    start = None if x0 is None else check_field(x0, grid, "x0")[None]
    if solid_velocity is not None and not hasattr(solid_velocity, "__len__"):
        raise TypeError(f"solid_velocity must be a sequence of {grid.ndim} entries, got {solid_velocity!r}")
    if solid_velocity is not None and len(solid_velocity) != grid.ndim:
        raise ValueError(
            f"solid_velocity has {len(solid_velocity)} entries, expected {grid.ndim}, one an axis"
        )
    b = np.zeros(grid.shape)
    fastest = 0.0
    for axis, face in enumerate(velocity):
        solid = 0.0 if solid_velocity is None else solid_velocity[axis]
        _close(_along(face, axis), _along(grid, axis), _solid_faces(solid, axis, face.shape))
        _add_inflow(_along(face, axis), _along(grid, axis), _along(b, axis))
        fastest = max(fastest, float(np.abs(face).max(initial=0.0)))
    floor = 8 * grid.ndim * float(np.finfo(np.float64).eps) * fastest
    b[np.abs(b) <= floor] = 0.0  # rounding errors of a field that is free of divergence already
    p, infos = solve(grid, b[None], method, limits, null_space, start, floor=floor)
    for axis, face in enumerate(velocity):
        _subtract_gradient(_along(face, axis), _along(grid, axis), _along(p[0], axis))
    result = (*velocity, p[0].astype(velocity[0].dtype, copy=False))
    return (*result, infos[0]) if return_info else result
