"""Cholesky with a jitter ladder that says what it did."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, lapack, solve_triangular

__all__ = ["caller_level", "factor", "solve", "whiten"]

Array = NDArray[Any]
LADDER = (0.0, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6)


def caller_level() -> int:
    """Return the `stacklevel` at which a warning of the calling function names the user's line."""
    package = __name__.rpartition(".")[0]
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(package):
        frame, level = frame.f_back, level + 1
    return level


def factor(C: Array, name: str = "the kernel matrix") -> Array:
    """Return the lower Cholesky factor of `C`, adding as little jitter as needed.

    Warns
    -----
    RuntimeWarning
        Naming the jitter, where one was needed.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where even the largest jitter does not help; names the pivot.
    """
    scale = float(np.mean(np.diag(C))) or 1.0
    pivot, value = 0, 0.0
    for step in LADDER:
        jitter = step * abs(scale)
        A = np.array(C, dtype=np.float64, order="F")
        if jitter:
            A[np.diag_indices_from(A)] += jitter
        L, info = lapack.dpotrf(A, lower=1, clean=1, overwrite_a=1)
        if info == 0 and float(np.diag(L).min(initial=1.0)) > 0:
            if jitter:
                warnings.warn(
                    f"{name} is not positive definite to rounding: added jitter {jitter:.3g} to its "
                    "diagonal; raise noise to avoid it",
                    RuntimeWarning,
                    stacklevel=caller_level(),
                )
            return np.asarray(L)
        pivot = max(int(info), 1)
        head = pivot - 1
        row = solve_triangular(L[:head, :head], C[:head, head], lower=True) if head else np.zeros(0)
        value = float(C[head, head] + jitter - row @ row)
    raise np.linalg.LinAlgError(
        f"{name} is not positive definite, even with jitter {LADDER[-1] * abs(scale):.3g}: pivot {pivot} is "
        f"{value:.3g}; remove duplicated rows or raise noise"
    )


def solve(L: Array, b: Array) -> Array:
    """Return ``C^-1 b`` from the lower factor."""
    return np.asarray(cho_solve((L, True), b))


def whiten(L: Array, b: Array) -> Array:
    """Return ``L^-1 b``."""
    return np.asarray(solve_triangular(L, b, lower=True))
