"""Two-level preconditioning: constants on k subdomains take care of the smooth errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from theorylab._lib.checks import check_int, float_dtype

from ._incomplete import IncompleteCholesky, symmetric_csr
from ._operator import PoissonOperator
from ._symmetric import SymmetricOperator
from ._system import as_operator

__all__ = ["DeflatedPreconditioner"]

Array = NDArray[Any]


def _bisect(coordinates: Array, k: int) -> Array:
    """Return the subdomain of each point: halves (in proportion, for odd k) across the longest side."""
    part = np.zeros(len(coordinates), np.int64)
    pending = [(np.arange(len(coordinates)), 0, k)]
    while pending:
        points, first, parts = pending.pop()
        if parts == 1:
            continue
        place = coordinates[points]
        axis = int(np.argmax(place.max(axis=0) - place.min(axis=0)))
        left = parts // 2
        order = np.argsort(place[:, axis], kind="stable")
        cut = len(points) * left // parts
        low, high = np.sort(points[order[:cut]]), np.sort(points[order[cut:]])
        part[high] = first + left
        pending += [(low, first, left), (high, first + left, parts - left)]
    return part


def _subdomains(A: Any, matrix: sparse.csr_array, k: int) -> Array:
    """Return the subdomain of each unknown, by its place in the grid or else along a banded ordering."""
    if isinstance(A, PoissonOperator):
        return _bisect(np.argwhere(A.flags == 1).astype(np.float64), k)
    order = sparse.csgraph.reverse_cuthill_mckee(matrix, symmetric_mode=True)
    part = np.empty(matrix.shape[0], np.int64)
    part[order] = np.arange(part.size) * k // part.size
    return part


class DeflatedPreconditioner(SymmetricOperator):
    """Precondition by an incomplete factor and an exact solve for constants on k subdomains.

    Parameters
    ----------
    A : PoissonOperator, sparse array or ndarray, shape (n, n)
        Symmetric, positive definite or semidefinite.
    k : int
        Subdomains; at most n are made. Boxes of equally many cells where A is a PoissonOperator,
        else pieces of the reverse Cuthill-McKee ordering.
    M : ndarray, sparse array or LinearOperator, optional
        Symmetric positive definite preconditioner for the rest. Default: IC(0).

    Raises
    ------
    ValueError, TypeError, numpy.linalg.LinAlgError
        As :class:`IncompleteCholesky`; ValueError for ``k < 1``.

    Notes
    -----
    With Z the indicators of the subdomains, ``E = Z^T A Z`` and ``Q = Z E^+ Z^T``, the product is
    ``Q + (I - Q A) M (I - A Q)``: symmetric, positive definite where M is, and exact on the
    subdomains' constants. A product costs one of M and O(n).

    References
    ----------
    Nicolaides, SIAM J. Numer. Anal. 24 (1987) 355; Mandel, Comm. Numer. Meth. Engng. 9 (1993) 233.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.poisson import DeflatedPreconditioner, PoissonOperator, pcg
    >>> A = PoissonOperator(np.pad(np.ones((30, 30), int), 1, constant_values=2))
    >>> x, info = pcg(A, np.ones(900), M=DeflatedPreconditioner(A, k=9))
    >>> info
    0
    """

    def __init__(self, A: Any, k: int = 16, M: Any = None) -> None:
        check_int(k, "k", low=1)
        matrix = symmetric_csr(A, "deflation")
        n = matrix.shape[0]
        self._M = IncompleteCholesky(A, modified=0.0) if M is None else as_operator(M, "M")
        if self._M.shape != matrix.shape:
            raise ValueError(f"M has shape {self._M.shape}, expected {matrix.shape} to match A")
        self.k = min(k, n)
        self._part = _subdomains(A, matrix, self.k) if n else np.zeros(0, np.int64)
        Z = sparse.csr_array((np.ones(n), self._part, np.arange(n + 1)), shape=(n, self.k))
        self._AZ = sparse.csr_array(matrix @ Z)
        coarse = np.asarray((Z.T @ self._AZ).toarray())
        # Closed domains make the coarse matrix singular: the pseudo-inverse leaves their constants alone.
        symmetric = 0.5 * (coarse + coarse.T)
        self._E = np.linalg.pinv(symmetric, rcond=1e-10, hermitian=True) if n else symmetric
        super().__init__(np.dtype(np.float64), matrix.shape)

    def _matvec(self, r: Array) -> Array:
        kind = float_dtype(np.asarray(r).dtype, "r")
        r = np.asarray(r, dtype=np.float64).reshape(-1)
        c = self._E @ np.bincount(self._part, r, self.k)
        z = np.asarray(self._M.matvec(r - self._AZ @ c), dtype=np.float64)
        z = z + (c - self._E @ (self._AZ.T @ z))[self._part]
        return np.asarray(z, dtype=kind)
