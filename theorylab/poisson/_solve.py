"""One call for a pressure: any method, any domain."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator

from theorylab._lib.checks import check_choice, check_int, check_real

from ._dcdm import conjugate_directions, dcdm_options
from ._deflation import DeflatedPreconditioner
from ._grid import check_field, check_flags, pack, unpack
from ._incomplete import IncompleteCholesky
from ._info import SolveInfo, warn_unconverged
from ._krylov import conjugate_gradients
from ._nullspace import NullSpace
from ._operator import PoissonOperator
from ._system import CONVERGED, EXHAUSTED, STALLED, System, finish, in_range, safe_scale

__all__ = ["METHODS", "solve", "solve_pressure"]

Array = NDArray[Any]

METHODS = ("learned-mg", "mg", "cg", "jacobi", "ic0", "mic0", "deflated", "dcdm")

#: Multigrid needs about ten iterations; a hundred times that is a failure.
_MULTIGRID_LIMIT = 1000


def _jacobi(A: PoissonOperator) -> LinearOperator:
    """Return the inverse of the diagonal; zero where a cell has no open face."""
    diagonal = A.diagonal()
    inverse = np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
    return LinearOperator(A.shape, matvec=lambda r: inverse * r, rmatvec=lambda r: inverse * r, dtype=A.dtype)


class _Packed:
    """A Krylov method on vectors over the FLUID cells."""

    def __init__(self, flags: Array, null: NullSpace, method: str, direction: Any) -> None:
        self.flags, self.method, self.null = flags, method, null
        self.A = PoissonOperator(flags)
        self.direction = direction
        self.M: Any = None
        if method == "jacobi":
            self.M = _jacobi(self.A)
        elif method == "ic0":
            self.M = IncompleteCholesky(self.A, modified=0.0)
        elif method == "mic0":
            self.M = IncompleteCholesky(self.A)
        elif method == "deflated":
            self.M = DeflatedPreconditioner(self.A)
        elif method == "dcdm" and direction is None:
            from ._network import DirectionNetwork

            with warnings.catch_warnings():
                # That the boundary is not the trained one costs iterations only: the safeguards are on.
                warnings.simplefilter("ignore", UserWarning)
                self.direction = DirectionNetwork.load("dcdm_k64").direction(flags)

    def run(
        self, b: Array, x0: Array | None, limits: dict[str, Any], setup: float
    ) -> tuple[Array, SolveInfo]:
        """Solve for one vector."""
        start = time.perf_counter()
        system = System(self.A, b, x0, self.M, project=self.null.project, **limits)
        if self.method == "dcdm":
            x, ending = conjugate_directions(system, dcdm_options(self.direction))
        else:
            x, ending = conjugate_gradients(system)
        seconds = (setup, time.perf_counter() - start)
        return finish(system, x, ending, f"method {self.method!r}", True, seconds)


class _Multigrid:
    """CG with a multigrid cycle, compiled as a whole, on grids."""

    def __init__(self, flags: Array, null: NullSpace, method: Any) -> None:
        from ._multigrid import LearnedMultigrid

        self.flags, self.null = flags, null
        self.name = method if isinstance(method, str) else "LearnedMultigrid"
        if isinstance(method, str):
            method = LearnedMultigrid(flags, recipe="learned" if method == "learned-mg" else "default")
        self.B = method

    def run(
        self, b: Array, x0: Array | None, limits: dict[str, Any], setup: float
    ) -> tuple[Array, SolveInfo]:
        """Solve for one vector."""
        start = time.perf_counter()
        scale = safe_scale(b)
        b = b if scale == 1.0 else b / scale
        grid0 = None if x0 is None else unpack(x0 / scale, self.flags)
        rtol, atol = limits["rtol"], limits["atol"] / scale
        maxiter = limits["maxiter"] or _MULTIGRID_LIMIT
        p, residuals, iterations = self.B._solve(
            unpack(b, self.flags), grid0, rtol, atol, maxiter, self.null.exists
        )
        target = max(rtol * float(np.linalg.norm(b)), atol)
        converged = bool(residuals[-1] <= target * (1 + 1e-12))  # two sums may round apart
        stalled = not converged and iterations < maxiter
        with np.errstate(over="ignore"):
            residuals = residuals * scale
        info = SolveInfo(
            iterations=iterations,
            residuals=residuals,
            converged=converged,
            code=0 if converged else iterations,
            message=CONVERGED if converged else STALLED if stalled else EXHAUSTED,
            n_matvec=iterations + 1,
            setup_time=setup,
            solve_time=time.perf_counter() - start,
        )
        x, info = in_range(pack(p, self.flags), scale, np.dtype(np.float64), info)
        warn_unconverged(info, f"method {self.name!r}", target * scale)
        return x, info


def _trivial(n: int) -> tuple[Array, SolveInfo]:
    """Return the solution for b = 0."""
    return np.zeros(n), SolveInfo(0, np.zeros(1), True, message="the right-hand side is zero")


def solve(
    flags: Array,
    field: Array,
    method: Any,
    limits: dict[str, Any],
    null_space: str,
    x0: Array | None,
    direction: Any = None,
    floor: float = 0.0,
) -> tuple[Array, list[SolveInfo]]:
    """Solve checked input; `field` and `x0` are stacks. `floor`: the rounding error of one entry of b."""
    start = time.perf_counter()
    null = NullSpace(flags)
    if null.exists and null_space == "raise":
        raise np.linalg.LinAlgError(
            f"matrix is singular: {null.sizes.size} component(s) of the fluid touch no AIR; open them, "
            "or pass null_space='project'"
        )
    right = pack(field, flags).astype(np.float64, copy=False)
    first = None if x0 is None else pack(x0, flags).astype(np.float64, copy=False)
    vectors = [null.compatible(b, floor) for b in right]
    solver: Any = None
    results, infos = [], []
    for i, b in enumerate(vectors):
        if not b.any():
            x, info = _trivial(b.size)
        else:
            setup = 0.0
            if solver is None:
                if method in METHODS[2:]:
                    solver = _Packed(flags, null, method, direction)
                else:
                    solver = _Multigrid(flags, null, method)
                setup = time.perf_counter() - start
            x, info = solver.run(b, None if first is None else first[i], limits, setup)
        x, final = in_range(null.project(x), 1.0, field.dtype, info)
        if final is not info:
            warn_unconverged(final, "solve_pressure", float(final.residuals[-1]))
        results.append(x)
        infos.append(final)
    packed = np.stack(results) if results else np.zeros((0, right.shape[-1]), field.dtype)
    return unpack(packed, flags), infos


def check_method(method: Any, flags: Array, name: str = "method") -> Any:
    """Return `method`: a name, or a LearnedMultigrid made for these flags."""
    if isinstance(method, str) or not hasattr(method, "_solve"):
        return check_choice(method, name, METHODS)
    if method.shape[0] != int((flags == 1).sum()):
        raise ValueError(
            f"{name} is a multigrid for {method.shape[0]} FLUID cells, expected {int((flags == 1).sum())} "
            "to match flags; call its update(flags) first"
        )
    if not np.array_equal(method.flags, flags):
        raise ValueError(f"{name} is a multigrid for other flags; call its update(flags) first")
    return method


def check_limits(rtol: float, atol: float, maxiter: int | None) -> dict[str, Any]:
    """Return checked stopping rules."""
    return {
        "rtol": check_real(rtol, "rtol", low=0.0, open_low=True),
        "atol": check_real(atol, "atol", low=0.0),
        "maxiter": None if maxiter is None else check_int(maxiter, "maxiter", low=1),
    }


def solve_pressure(
    flags: ArrayLike,
    b: ArrayLike,
    *,
    method: Any = "learned-mg",
    rtol: float = 1e-6,
    null_space: str = "project",
    x0: ArrayLike | None = None,
    return_info: bool = False,
    atol: float = 0.0,
    maxiter: int | None = None,
    direction: Any = None,
) -> Any:
    """Solve the pressure-Poisson equation of a grid of cells.

    Parameters
    ----------
    flags : array_like of int, shape (nx, ny) or (nx, ny, nz)
        0 SOLID, 1 FLUID, 2 AIR. Outside is SOLID.
    b : array_like, the grid's shape or (k, *shape)
        Right-hand side (minus the divergence, for spacing 1), real and finite; read in FLUID
        cells only. A stack shares one set-up.
    method : str or LearnedMultigrid
        "learned-mg": CG with the multigrid whose weights were trained; "mg": with untrained
        ones; "cg"; preconditioned CG by "jacobi", "ic0", "mic0", "deflated"; "dcdm": deep
        conjugate directions. Or a :class:`LearnedMultigrid` made for `flags`, to be used again.
    rtol : float
        Converged where the true residual is at most ``max(rtol ||b||, atol)`` in the 2-norm.
    null_space : {"project", "raise"}
        What to do about closed components, on which A is singular: remove the means of b and p
        there, or raise LinAlgError.
    x0 : array_like, the shape of b or of the grid, optional
        Start; zero by default.
    return_info : bool
        Also return a :class:`SolveInfo`, for a stack a tuple of them.
    atol : float
    maxiter : int, optional
        Default: 10 N, and 1000 for multigrid.
    direction : callable, optional
        For "dcdm": maps vectors over FLUID cells to directions. Default: the shipped network.

    Returns
    -------
    p : ndarray, the shape of b
        Zero off FLUID, of mean zero on each closed component; float32 where b is float32.
    info : SolveInfo
        Only with `return_info`.

    Raises
    ------
    ValueError
        For flags other than 0, 1 and 2, no FLUID cell, other shapes, NaN or infinity, ``rtol <= 0``.
    TypeError
        For complex input, and arrays of other libraries.
    numpy.linalg.LinAlgError
        With ``null_space="raise"`` where a component of the fluid is closed.

    Warns
    -----
    ConvergenceWarning
        Where the tolerance was not met.
    IncompatibleRightHandSideWarning
        Where b has a mean on a closed component; it was subtracted.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.poisson import solve_pressure
    >>> flags = np.pad(np.ones((2, 2), int), 1, constant_values=2)
    >>> p = solve_pressure(flags, np.ones((4, 4)), method="cg")
    >>> p[1:3, 1:3]
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    grid = check_flags(flags)
    field = check_field(b, grid, "b", stack=True)
    check_choice(null_space, "null_space", ("project", "raise"))
    method = check_method(method, grid)
    limits = check_limits(rtol, atol, maxiter)
    if direction is not None and method != "dcdm":
        raise ValueError(f"direction is used by method='dcdm' only, got method={method!r}")
    stacked = field.ndim > grid.ndim
    first = None
    if x0 is not None:
        first = check_field(x0, grid, "x0", stack=stacked)
        if first.ndim == field.ndim and first.shape != field.shape:
            raise ValueError(f"x0 has shape {first.shape}, expected {field.shape} to match b")
        first = np.broadcast_to(first, field.shape) if stacked else first[None]
    p, infos = solve(grid, field if stacked else field[None], method, limits, null_space, first, direction)
    if not stacked:
        return (p[0], infos[0]) if return_info else p[0]
    return (p, tuple(infos)) if return_info else p
