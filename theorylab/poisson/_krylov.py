"""Conjugate gradients, plain and preconditioned, with SciPy's signatures and honest endings."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._system import REFRESH, SINGULAR, Callback, Ending, System, check_callable, finish
from ._vectors import advance, combine, dot, norm2

__all__ = ["cg", "conjugate_gradients", "pcg"]

Array = NDArray[Any]


def conjugate_gradients(
    system: System, flexible: bool = False, callback: Callback = None
) -> tuple[Array, Ending]:
    """Run (preconditioned, flexible) CG on a checked system; return the iterate and how it ended."""
    x = system.x.copy()
    r = system.residual(x)
    norm = norm2(r)
    ending = Ending(norm)
    p = np.zeros(system.n)
    rz_old, old = 0.0, r
    while not norm <= system.target:
        if ending.iterations == system.maxiter:
            ending.exhausted()
            return x, ending
        z = system.precondition(r)
        rz = dot(r, z)
        if not math.isfinite(rz):
            ending.stop(-2, "breakdown: the preconditioner or A returned NaN or infinity")
            return x, ending
        if rz <= 0:
            raise np.linalg.LinAlgError(
                f"preconditioner M is not positive definite: r.Mr = {rz:.3g} at iteration {ending.iterations}"
            )
        beta = 0.0
        if rz_old:
            beta = (rz - dot(z, old)) / rz_old if flexible else rz / rz_old
        combine(z, beta, p)
        q = system.product(p)
        pq = dot(p, q)
        system.require_positive(pq, p, r, ending.iterations)
        if not (0 < pq < math.inf and math.isfinite(rz / pq)):
            text = "A returned NaN or infinity" if not math.isfinite(pq) else SINGULAR
            ending.stop(-1, f"breakdown: p.Ap = {pq:.3g}, {text}")
            return x, ending
        if flexible:
            old = r.copy()
        rz_old = rz
        norm = math.sqrt(advance(x, r, p, q, rz / pq))
        r = system.project(r)
        if norm <= system.target or (ending.iterations + 1) % REFRESH == 0:
            r, norm, drifted = system.refresh(x, r)
            if drifted and norm > system.target:
                rz_old = 0.0
                if ending.in_vain(norm):
                    ending.residuals.append(norm)
                    return x, ending
        ending.residuals.append(norm)
        if callback is not None:
            callback(x * system.scale)
    ending.converged = True
    return x, ending


def cg(
    A: Any,
    b: ArrayLike,
    x0: ArrayLike | None = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    flexible: bool = False,
    callback: Callback = None,
    return_info: bool = False,
) -> tuple[Array, Any]:
    """Solve ``A x = b`` for symmetric positive definite A by conjugate gradients.

    Parameters
    ----------
    A : ndarray, sparse array or LinearOperator, shape (n, n)
        Real, symmetric, positive definite; semidefinite where `b` lies in its range.
    b : array_like, shape (n,) or (n, 1)
        Real, finite. Integers become float64.
    x0 : array_like, shape (n,), optional
        Start; zero by default. Never changed.
    rtol, atol : float
        Converged where ``||b - A x||_2 <= max(rtol ||b||_2, atol)``, tested on the true residual.
    maxiter : int, optional
        10 n by default.
    M : ndarray, sparse array or LinearOperator, optional
        Symmetric positive definite approximation of the inverse of A.
    flexible : bool
        Polak-Ribiere's beta, which tolerates an M that changes slightly from step to step (a
        cycle in single precision); one more dot product and one more vector.
    callback : callable, optional
        Called as ``callback(x)`` with a copy of each iterate.
    return_info : bool
        Return a :class:`SolveInfo` in place of the code.

    Returns
    -------
    x : ndarray, shape (n,)
        float32 where `b` is float32 (the iteration runs in float64), else float64.
    info : int or SolveInfo
        0 converged, > 0 iterations done without, < 0 breakdown (x is the last finite iterate).

    Raises
    ------
    numpy.linalg.LinAlgError
        Where ``p.Ap < 0`` or ``r.Mr <= 0`` shows that A or M is not positive definite.
    ValueError, TypeError
        For bad shapes and values, complex input, and arrays of other libraries.

    Warns
    -----
    ConvergenceWarning
        Where the tolerance was not met.

    Notes
    -----
    Each 50 iterations, and before convergence is reported, the residual is computed from its
    definition, since the recursive one drifts. One product with A, one with M and five passes
    over vectors an iteration.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.poisson import PoissonOperator, cg
    >>> A = PoissonOperator([[2, 1, 1, 1, 2]])
    >>> x, info = cg(A, np.array([1.0, 0.0, 1.0]))
    >>> x.round(6), info
    (array([1., 1., 1.]), 0)
    """
    start = time.perf_counter()
    system = System(A, b, x0, M, rtol=rtol, atol=atol, maxiter=maxiter)
    check_callable(callback, "callback")
    ready = time.perf_counter()
    x, ending = conjugate_gradients(system, bool(flexible), callback)
    return finish(
        system, x, ending, "conjugate gradients", return_info, (ready - start, time.perf_counter() - ready)
    )


def pcg(
    A: Any,
    b: ArrayLike,
    x0: ArrayLike | None = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    flexible: bool = False,
    callback: Callback = None,
    return_info: bool = False,
) -> tuple[Array, Any]:
    """Solve ``A x = b`` by preconditioned conjugate gradients; :func:`cg` under its other name.

    Parameters
    ----------
    A, b, x0, rtol, atol, maxiter, flexible, callback, return_info
        As in :func:`cg`.
    M : ndarray, sparse array or LinearOperator, optional
        Symmetric positive definite approximation of the inverse of A.

    Returns
    -------
    x : ndarray, shape (n,)
    info : int or SolveInfo

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.poisson import IncompleteCholesky, PoissonOperator, pcg
    >>> A = PoissonOperator(np.ones((8, 8), int), dtype=float)
    >>> b = np.zeros(64)
    >>> b[0], b[-1] = 1.0, -1.0
    >>> x, info = pcg(A, b, M=IncompleteCholesky(A), return_info=True)
    >>> info.converged
    True
    """
    return cg(
        A,
        b,
        x0,
        rtol=rtol,
        atol=atol,
        maxiter=maxiter,
        M=M,
        flexible=flexible,
        callback=callback,
        return_info=return_info,
    )
