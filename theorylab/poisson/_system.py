"""One linear system behind every Krylov solver: checked once, counted, and solved in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from scipy.sparse.linalg import aslinearoperator

from theorylab._lib.backend import is_cupy, is_torch
from theorylab._lib.checks import as_float_array, check_finite, check_int, check_real, float_dtype

from ._info import SolveInfo, warn_unconverged
from ._operator import PoissonOperator
from ._vectors import dot, norm2

__all__ = [
    "CONVERGED",
    "EXHAUSTED",
    "SINGULAR",
    "STALLED",
    "Ending",
    "System",
    "as_operator",
    "check_square",
    "finish",
    "in_range",
    "safe_scale",
]

Array = NDArray[Any]
Callback = Callable[[Array], object] | None

CONVERGED = "the true residual met the tolerance"
EXHAUSTED = "maxiter was reached; raise it, loosen rtol, or pass a better preconditioner"
SINGULAR = (
    "A is singular on this direction: expected b in the range of A; subtract its mean on closed components, "
    "or call solve_pressure, which does"
)
STALLED = "the true residual no longer falls: rounding errors set the limit; loosen rtol"

#: The true residual is computed from its definition this often, and at convergence.
REFRESH = 50

#: A recursive residual off by this part of the true one is no guide: the iteration starts afresh.
DRIFT = 0.1

#: A Rayleigh quotient below minus this times that of the residual is no rounding error.
INDEFINITE = 1e-10


def as_operator(A: Any, name: str) -> Any:
    """Return a dense or sparse matrix or a LinearOperator as a real LinearOperator."""
    if is_cupy(A) or is_torch(A) or type(A).__module__.split(".")[0] in ("cupy", "cupyx"):
        raise TypeError(
            f"{name} is {type(A).__module__}.{type(A).__name__}; these solvers run on the CPU: "
            "pass a NumPy array, a SciPy sparse matrix (A.get() of a CuPy one) or a LinearOperator"
        )
    if isinstance(A, (list, tuple)):
        A = np.asarray(A)
    if isinstance(A, np.ndarray) or issparse(A):
        float_dtype(A.dtype, name)
        if A.ndim != 2:
            raise ValueError(f"{name} has shape {A.shape}, expected a square matrix")
        data = A if isinstance(A, np.ndarray) else A.data if hasattr(A, "data") else A.tocsr().data
        if isinstance(data, np.ndarray) and data.dtype.kind == "f":
            check_finite(data, name)
    try:
        operator = aslinearoperator(A)
    except TypeError:
        raise TypeError(
            f"{name} must be a matrix, a sparse matrix or a LinearOperator, got {type(A).__name__}"
        ) from None
    if operator.dtype is not None:
        float_dtype(operator.dtype, name)
    return operator


def check_square(A: Any, name: str = "A") -> int:
    """Return the order of a square operator."""
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"{name} has shape {A.shape}, expected a square matrix")
    return int(A.shape[0])


def check_vector(x: ArrayLike, name: str, n: int) -> Array:
    """Return a finite vector of length `n`; a single column counts as one."""
    vector = as_float_array(x, name)
    if vector.shape not in ((n,), (n, 1)):
        raise ValueError(f"{name} has shape {vector.shape}, expected ({n},) to match A of shape ({n}, {n})")
    return vector.reshape(n)


def check_callable(function: Any, name: str) -> Any:
    """Return `function`, which must be callable or None."""
    if function is not None and not callable(function):
        raise TypeError(f"{name} must be callable, got {type(function).__name__}")
    return function


def safe_scale(b: Array) -> float:
    """Return a power of two by which b is divided so that squares stay in range; 1 for usual sizes."""
    size = max(float(b.max(initial=0.0)), -float(b.min(initial=0.0)))
    return 1.0 if size == 0 or 1e-100 < size < 1e100 else math.ldexp(1.0, min(math.frexp(size)[1], 1023))


class System:
    """``A x = b`` with a preconditioner, in float64, and the counter of products.

    Attributes
    ----------
    b, x : ndarray of float64
        Right-hand side and start, divided by `scale`, which is 1 but for sizes whose squares
        leave the range of doubles.
    target : float
        Converged where the true residual is at most this.
    dtype : dtype
        Of the result.
    """

    def __init__(
        self,
        A: Any,
        b: ArrayLike,
        x0: ArrayLike | None,
        M: Any,
        *,
        rtol: float,
        atol: float,
        maxiter: int | None,
        project: Callable[[Array], Array] | None = None,
    ) -> None:
        self.A = as_operator(A, "A")
        # A function of the user's may hand out the same memory each time, or its argument.
        self._fresh = isinstance(A, (np.ndarray, PoissonOperator)) or issparse(A)
        self.n = check_square(self.A)
        right = check_vector(b, "b", self.n)
        self.dtype = right.dtype
        start = None if x0 is None else check_vector(x0, "x0", self.n)
        self.M = None if M is None else as_operator(M, "M")
        if self.M is not None and self.M.shape != self.A.shape:
            raise ValueError(f"M has shape {self.M.shape}, expected {self.A.shape} to match A")
        rtol = check_real(rtol, "rtol", low=0.0, open_low=True)
        atol = check_real(atol, "atol", low=0.0)
        self.maxiter = 10 * max(self.n, 1) if maxiter is None else check_int(maxiter, "maxiter", low=1)
        self.n_matvec = 0
        self.project = (lambda v: v) if project is None else project
        right = right.astype(np.float64)
        self.scale = safe_scale(right)
        self.b: Array = self.project(right / self.scale)
        self.x: Array = np.zeros(self.n) if start is None else start.astype(np.float64) / self.scale
        self.zero = not self.b.any()
        if self.zero:
            self.x[:] = 0.0
        self.target = max(rtol * norm2(self.b), atol / self.scale)

    def product(self, v: Array) -> Array:
        """Return ``A v`` in float64, in memory that nobody else writes to."""
        self.n_matvec += 1
        return np.array(self.A.matvec(v), dtype=np.float64, copy=None if self._fresh else True)

    def precondition(self, r: Array) -> Array:
        """Return ``M r`` in float64; a copy of r without a preconditioner."""
        if self.M is None:
            return r.copy()
        return self.project(np.array(self.M.matvec(r), dtype=np.float64))

    def residual(self, x: Array) -> Array:
        """Return the true residual ``b - A x``."""
        if self.zero or not x.any():
            return self.b.copy()
        return self.project(self.b - self.product(x))

    def require_positive(self, pq: float, p: Array, r: Array, iteration: int) -> None:
        """Raise LinAlgError where ``p.Ap < 0`` beyond what rounding does to a semidefinite matrix."""
        if not pq < 0:
            return
        usual = abs(dot(r, self.product(r))) / dot(r, r)
        if pq < -INDEFINITE * usual * dot(p, p):
            raise np.linalg.LinAlgError(
                f"matrix is not positive definite: p.Ap = {pq:.3g} at iteration {iteration}"
            )

    def refresh(self, x: Array, r: Array) -> tuple[Array, float, bool]:
        """Return the true residual, its norm, and whether the recursive one, r, has drifted away from it."""
        true = self.residual(x)
        size = norm2(true)
        return true, size, norm2(true - r) > DRIFT * size


class Ending:
    """How an iteration ended: history of residual norms, SciPy's code and what to tell the user."""

    def __init__(self, first: float) -> None:
        self.residuals = [first]
        self.code = 0
        self.message = CONVERGED
        self.converged = False
        self.n_fallback = 0
        self._best = math.inf
        self._vain = 0

    @property
    def iterations(self) -> int:
        """Steps done."""
        return len(self.residuals) - 1

    def stop(self, code: int, message: str) -> None:
        """Record an ending without convergence."""
        self.code, self.message = code, message

    def exhausted(self) -> None:
        """Record that maxiter was reached."""
        self.stop(self.iterations, EXHAUSTED)

    def in_vain(self, residual: float) -> bool:
        """Tell whether fresh starts no longer lower the residual: rounding sets the limit."""
        self._vain = 0 if residual < 0.5 * self._best else self._vain + 1
        self._best = min(self._best, residual)
        if self._vain < 5:
            return False
        self.stop(self.iterations + 1, STALLED)
        return True


def finish(
    system: System, x: Array, ending: Ending, name: str, return_info: bool, seconds: tuple[float, float]
) -> tuple[Array, Any]:
    """Return ``(x, info)`` as the caller wants it, and warn where the solve did not converge."""
    with np.errstate(over="ignore"):
        residuals = np.array(ending.residuals) * system.scale
    info = SolveInfo(
        iterations=ending.iterations,
        residuals=residuals,
        converged=ending.converged,
        code=ending.code,
        message=ending.message,
        n_matvec=system.n_matvec,
        n_fallback=ending.n_fallback,
        setup_time=seconds[0],
        solve_time=seconds[1],
    )
    result, info = in_range(x, system.scale, system.dtype, info)
    warn_unconverged(info, name, system.target * system.scale)
    return result, info if return_info else info.code


def in_range(x: Array, scale: float, dtype: np.dtype[Any], info: SolveInfo) -> tuple[Array, SolveInfo]:
    """Return ``scale * x`` in the caller's dtype; a solution that it cannot hold is no convergence."""
    with np.errstate(over="ignore", under="ignore"):
        result = (x if scale == 1.0 else x * scale).astype(dtype, copy=False)
    if info.converged and not np.isfinite(result).all():
        message = f"the solution is beyond the range of {dtype}; divide b by its largest entry"
        info = replace(info, converged=False, code=-3, message=message)
    return result, info
