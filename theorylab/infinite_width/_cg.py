"""Kernel systems without the kernel matrix: tiles are regenerated in each product."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator
from sklearn.exceptions import ConvergenceWarning

from theorylab._lib.checks import as_float_array, check_choice, check_int, check_real

from ._engine import Engine
from ._inputs import check_inputs, widened
from ._network import make_network

__all__ = ["KernelOperator", "kernel_cg"]

Array = NDArray[Any]


class KernelOperator(LinearOperator):
    """The matrix ``K + noise I`` (or ``T + noise I``) as a linear operator that never exists as a whole.

    Parameters
    ----------
    X : array_like, shape (n, d)
    depth, activation, w_var, b_var, last_w_var, last_b_var
        As in :func:`theorylab.infinite_width.kernels.nngp`.
    noise : float
        Added to the diagonal.
    get : {"nngp", "ntk"}
    tile : int
        Side of a tile.

    Notes
    -----
    A product costs one evaluation of the kernel, O(n^2 (d + depth)), and memory for one tile.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import KernelOperator
    >>> A = KernelOperator(np.eye(3), depth=1, noise=0.5)
    >>> A.matvec(np.ones(3)).round(4)
    array([1.0455, 1.0455, 1.0455])
    """

    def __init__(
        self,
        X: ArrayLike,
        *,
        depth: int,
        activation: Any = "relu",
        w_var: float = 2.0,
        b_var: float = 0.0,
        last_w_var: float = 1.0,
        last_b_var: float = 0.0,
        noise: float = 0.0,
        get: str = "nngp",
        tile: int = 256,
    ) -> None:
        net = make_network(depth, activation, w_var, b_var, last_w_var, last_b_var)
        check_choice(get, "get", ("nngp", "ntk"))
        self.noise = check_real(noise, "noise", low=0.0)
        x, _ = widened(check_inputs(X, None)[0], None)
        self._engine = Engine(net, x, None, get == "ntk")
        self._tangent = get == "ntk"
        self._blocks = self._engine.blocks(check_int(tile, "tile", low=1))
        super().__init__(np.dtype(np.float64), (x.shape[0], x.shape[0]))

    def _matmat(self, V: Array) -> Array:
        out = self.noise * np.asarray(V, dtype=np.float64)
        spare = None
        for i0, i1, j0, j1 in self._blocks:
            spare = self._engine.tile(i0, i1, j0, j1, spare)
            A = (spare.t if self._tangent else spare.k).astype(np.float64, copy=False)
            out[i0:i1] += A @ V[j0:j1]
            if i0 != j0:
                out[j0:j1] += A.T @ V[i0:i1]
        return out

    def _matvec(self, v: Array) -> Array:
        return self._matmat(np.asarray(v).reshape(-1, 1))[:, 0]

    def _adjoint(self) -> LinearOperator:
        return self

    def diagonal(self) -> Array:
        """Return the diagonal, noise included."""
        return np.asarray((self._engine.td if self._tangent else self._engine.kd) + self.noise)

    def columns(self, index: Array) -> Array:
        """Return the kernel's columns ``[:, index]`` without noise, from one rectangular evaluation."""
        e = self._engine
        part = Engine(e.net, e.X, np.ascontiguousarray(e.X[index]), self._tangent)
        K = np.empty((e.n, len(index)), e.dtype)
        part.into(None if self._tangent else K, K if self._tangent else None)
        return K.astype(np.float64)


def pivoted_cholesky(A: KernelOperator, rank: int) -> Array:
    """Return F (n, r) with ``F F' ~ K``: greedy pivots on the residual diagonal."""
    residual = A.diagonal() - A.noise
    F = np.zeros((residual.size, rank))
    floor = 1e-14 * float(residual.max())
    for k in range(rank):
        p = int(np.argmax(residual))
        if residual[p] <= floor:
            return F[:, :k]
        column = A.columns(np.array([p]))[:, 0] - F[:, :k] @ F[p, :k]
        F[:, k] = column / np.sqrt(residual[p])
        residual = np.maximum(residual - F[:, k] ** 2, 0.0)
        residual[p] = 0.0
    return F


def kernel_cg(
    A: KernelOperator, b: ArrayLike, *, rtol: float = 1e-8, maxiter: int = 1000, rank: int = 50
) -> tuple[Array, int]:
    """Solve ``(K + noise I) x = b`` by preconditioned conjugate gradients.

    Parameters
    ----------
    A : KernelOperator
        With noise > 0.
    b : array_like, shape (n,)
    rtol : float
        Stop at ``norm(b - A x) <= rtol norm(b)``, checked on the true residual.
    maxiter : int
    rank : int
        Rank of the pivoted-Cholesky preconditioner; 0 for none.

    Returns
    -------
    x : ndarray, shape (n,)
    info : int
        0 if converged, else the number of iterations.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If `maxiter` was reached, or the system is not positive definite.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import KernelOperator, kernel_cg
    >>> A = KernelOperator(np.random.default_rng(0).standard_normal((40, 3)), depth=2, noise=0.1)
    >>> x, info = kernel_cg(A, np.ones(40))
    >>> info, bool(np.allclose(A.matvec(x), 1.0, atol=1e-6))
    (0, True)
    """
    if not isinstance(A, KernelOperator):
        raise TypeError(f"A must be a KernelOperator, got {type(A).__name__}")
    rhs = as_float_array(b, "b", ndim=1, dtype=np.float64)
    if rhs.shape[0] != A.shape[0]:
        raise ValueError(f"b has shape {rhs.shape}, expected ({A.shape[0]},) to match the operator")
    maxiter, rank = check_int(maxiter, "maxiter", low=1), check_int(rank, "rank", low=0)
    rtol = check_real(rtol, "rtol", low=0.0)
    noise = A.noise
    if rank and noise > 0:
        F = pivoted_cholesky(A, min(rank, A.shape[0]))
        inner = cho_factor(noise * np.eye(F.shape[1]) + F.T @ F)

        def precondition(r: Array) -> Array:  # Woodbury, for (F F' + noise I)^-1
            return np.asarray((r - F @ cho_solve(inner, F.T @ r)) / noise)
    else:

        def precondition(r: Array) -> Array:
            return r

    target = rtol * float(np.linalg.norm(rhs))
    x = np.zeros_like(rhs)
    if target == 0.0 and not rhs.any():
        return x, 0
    r = rhs.copy()
    z = precondition(r)
    p, rz = z, float(r @ z)
    for iteration in range(maxiter):
        q = A.matvec(p)
        curvature = float(p @ q)
        if not curvature > 0.0:
            warnings.warn(
                f"conjugate gradients broke down after {iteration} iterations: the system is not positive "
                f"definite to rounding (p' A p = {curvature:.3g}); raise noise",
                ConvergenceWarning,
                stacklevel=2,
            )
            return x, iteration + 1
        step = rz / curvature
        x = x + step * p
        r = r - step * q
        if float(np.linalg.norm(r)) <= target:
            r = rhs - A.matvec(x)  # the recursive residual may lie
            if float(np.linalg.norm(r)) <= target:
                return x, 0
        z = precondition(r)
        new = float(r @ z)
        p, rz = z + (new / rz) * p, new
    warnings.warn(
        f"conjugate gradients stopped after {maxiter} iterations; raise maxiter, rank or noise",
        ConvergenceWarning,
        stacklevel=2,
    )
    return x, maxiter
