"""How a solve ended: the record, and the two warnings."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["IncompatibleRightHandSideWarning", "SolveInfo", "warn_incompatible", "warn_unconverged"]


class IncompatibleRightHandSideWarning(UserWarning):
    """The right-hand side has a mean on a closed component, which no pressure matches; it was removed."""


@dataclass(frozen=True)
class SolveInfo:
    """Record of one iterative solve.

    Attributes
    ----------
    iterations : int
    residuals : ndarray of float64, shape (iterations + 1,)
        ``||b - A x_k||_2``, absolute, from ``k = 0`` on; with the means of closed
        components removed where these were projected out. The last one is computed
        from its definition, and so is every fiftieth; recursion gives the others.
    converged : bool
    code : int
        SciPy's ``info``: 0 converged, > 0 the iterations done without, < 0 breakdown.
    message : str
        What ended the solve, and what to do.
    n_matvec : int
        Products with A.
    n_fallback : int
        Iterations of :func:`dcdm` that used the safe direction instead of the given one.
    setup_time, solve_time : float
        Seconds.
    """

    iterations: int
    residuals: NDArray[np.float64]
    converged: bool
    code: int = 0
    message: str = ""
    n_matvec: int = 0
    n_fallback: int = 0
    setup_time: float = field(default=0.0, compare=False)
    solve_time: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        residuals = np.array(self.residuals, dtype=np.float64)
        residuals.flags.writeable = False
        object.__setattr__(self, "residuals", residuals)


def convergence_warning() -> type[Warning]:
    """Return scikit-learn's ConvergenceWarning, imported on demand: that takes longer than most solves."""
    from sklearn.exceptions import ConvergenceWarning

    return ConvergenceWarning  # type: ignore[no-any-return]


def _stack_level() -> int:
    """Return the level of the first caller outside this package: warnings point at the user's line."""
    here = __name__.rpartition(".")[0]
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith(here):
        frame, level = frame.f_back, level + 1
    return level


def warn_unconverged(info: SolveInfo, name: str, target: float) -> None:
    """Warn ConvergenceWarning unless `info` says that the solve converged."""
    if not info.converged:
        last: Any = info.residuals[-1]
        warnings.warn(
            f"{name} stopped after {info.iterations} iterations with residual {last:.3g}, "
            f"expected at most {target:.3g}: {info.message}",
            convergence_warning(),
            stacklevel=_stack_level(),
        )


def warn_incompatible(excess: float, size: float) -> None:
    """Warn that means were removed from the right-hand side."""
    warnings.warn(
        f"b has means of 2-norm {excess:.3g} on closed components (||b|| = {size:.3g}), expected zero there; "
        "they were subtracted: check the velocities on solid faces, or open the domain to AIR",
        IncompatibleRightHandSideWarning,
        stacklevel=_stack_level(),
    )
