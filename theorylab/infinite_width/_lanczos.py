"""The log determinant of a kernel system that never exists as a whole."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal

from theorylab._lib.checks import check_int
from theorylab._lib.rng import RNGLike, as_generator

from ._cg import KernelOperator, pivoted_cholesky

__all__ = ["LogDet", "kernel_logdet"]

Array = NDArray[Any]


class LogDet(NamedTuple):
    """An estimate and its standard error."""

    value: float
    error: float


def kernel_logdet(
    A: KernelOperator, *, probes: int = 16, steps: int = 40, rank: int = 50, rng: RNGLike = None
) -> LogDet:
    """Estimate ``ln det (K + noise I)`` by stochastic Lanczos quadrature.

    Parameters
    ----------
    A : KernelOperator
        With noise > 0.
    probes : int
        Number of random sign vectors, >= 2; the error falls with its root.
    steps : int
        Lanczos steps, each a product with all probes together.
    rank : int
        Rank of a pivoted Cholesky factor whose determinant is taken exactly, so that chance
        enters through what it leaves; 0 for none.
    rng : int, SeedSequence, Generator or None

    Returns
    -------
    value, error : float
        The estimate and its standard error, as a named tuple.

    Notes
    -----
    With ``P = F F' + noise I`` from the pivoted factor F, ``ln det A = ln det P + tr ln(P^-1/2 A P^-1/2)``,
    and ``tr ln B`` is the mean of ``z' ln(B) z`` over sign vectors z; each is a Gauss rule whose nodes
    and weights are those of Lanczos's tridiagonal matrix. Cost: `steps` products with a block of `probes`
    columns, O(n probes steps) memory for reorthogonalisation.

    References
    ----------
    .. [1] Ubaru, Chen, Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature", SIMAX 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import KernelOperator, kernel_logdet, kernels
    >>> X = np.random.default_rng(0).standard_normal((60, 3))
    >>> estimate = kernel_logdet(KernelOperator(X, depth=2, noise=0.1), rng=0)
    >>> exact = np.linalg.slogdet(kernels.nngp(X, depth=2) + 0.1 * np.eye(60))[1]
    >>> bool(abs(estimate.value - exact) < 5 * estimate.error + 1e-6)
    True
    """
    if not isinstance(A, KernelOperator):
        raise TypeError(f"A must be a KernelOperator, got {type(A).__name__}")
    if A.noise <= 0.0:
        raise ValueError("A has no noise, expected noise > 0: the determinant of a bare kernel may vanish")
    n = A.shape[0]
    probes, rank = check_int(probes, "probes", low=2), check_int(rank, "rank", low=0)
    steps = min(check_int(steps, "steps", low=1), n)
    generator = as_generator(rng)
    base = n * math.log(A.noise)
    U = np.zeros((n, 0))
    shrink = np.zeros(0)
    if rank:
        U, d, _ = np.linalg.svd(pivoted_cholesky(A, min(rank, n)), full_matrices=False)
        base += float(np.log1p(d * d / A.noise).sum())
        shrink = 1.0 - 1.0 / np.sqrt(1.0 + d * d / A.noise)

    def root(V: Array) -> Array:  # (P / noise)^-1/2
        return np.asarray(V - U @ (shrink[:, None] * (U.T @ V)))

    def product(V: Array) -> Array:
        return np.asarray(root(A.matmat(root(V))) / A.noise)

    Z = np.where(generator.random((n, probes)) < 0.5, -1.0, 1.0)
    values = n * np.array([_quadrature(a, b) for a, b in zip(*_tridiagonal(product, Z, steps))])
    return LogDet(base + float(values.mean()), float(values.std(ddof=1)) / math.sqrt(probes))


def _tridiagonal(product: Any, Z: Array, steps: int) -> tuple[list[Array], list[Array]]:
    """Run Lanczos on each column of Z, all products in one block, with full reorthogonalisation."""
    n, k = Z.shape
    Q = np.zeros((steps, n, k))
    Q[0] = Z / np.linalg.norm(Z, axis=0)
    alpha, beta = np.zeros((steps, k)), np.zeros((steps, k))
    length = np.full(k, steps)
    for j in range(steps):
        W = product(Q[j])
        alpha[j] = np.einsum("nk,nk->k", Q[j], W)
        for _ in range(2):
            W -= np.einsum("jnk,jk->nk", Q[: j + 1], np.einsum("jnk,nk->jk", Q[: j + 1], W))
        beta[j] = np.linalg.norm(W, axis=0)
        ended = (beta[j] <= 1e-12 * np.abs(alpha[: j + 1]).max(axis=0)) & (length == steps)
        length[ended] = j + 1
        if j + 1 < steps:
            Q[j + 1] = np.where(length > j + 1, W / np.where(beta[j] > 0, beta[j], 1.0), 0.0)
    return [alpha[:m, c] for c, m in enumerate(length)], [beta[: m - 1, c] for c, m in enumerate(length)]


def _quadrature(alpha: Array, beta: Array) -> float:
    """Return ``e_1' ln(T) e_1`` of a tridiagonal matrix."""
    e, V = eigh_tridiagonal(alpha, beta) if beta.size else (alpha, np.ones((1, 1)))
    return float(np.sum(V[0] ** 2 * np.log(np.maximum(e, 1e-300))))
