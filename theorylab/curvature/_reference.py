"""The two algorithms as published, for validation: a row recursion, and its coefficients in the rows.

They are written to be read beside the paper, not for speed. ``accumulate="storage"``
runs them in the dtype of the rows, as the published code does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lib.checks import check_int
from ._inverse import FisherInverse
from ._parallel import serial_blas

__all__ = ["CoefficientInverse", "RecursionInverse"]

Array = NDArray[Any]


class _Published(FisherInverse):
    """What the two have in common: the whole matrix, unweighted, in a chosen precision."""

    def __init__(self, G: Any, damping: Any, *, page: int | None = None, **options: Any) -> None:
        if options.get("blocks") is not None or options.get("weights") is not None:
            raise ValueError("method is for the whole unweighted matrix; pass blocks and weights without it")
        super().__init__(G, damping, **options)
        self._working = self.dtype if options.get("accumulate") == "storage" else np.dtype(np.float64)
        with serial_blas():
            self._prepare(np.asarray(self._scaled(self._rows.read64(0, self.d)), dtype=self._working), page)

    def _prepare(self, G: Array, page: int | None) -> None:
        raise AssertionError("defined by the two algorithms")

    def _product(self, x: Array) -> Array:
        raise AssertionError("defined by the two algorithms")

    def solve(self, x: Any, refine: int = 0) -> Any:
        """Return ``A^-1 x`` by the published algorithm; `refine` has no meaning here."""
        check_int(refine, "refine", low=0)
        array, restore = self._vector(x)
        with serial_blas():
            y = self._product(array.astype(self._working))
        return restore(y.astype(array.dtype, copy=False))

    _matmat = _rmatvec = _rmatmat = solve

    def solve_rows(self, C: Any) -> Any:
        """Return ``A^-1 G^T C`` as published: form ``G^T C``, then solve."""
        array, restore = self._coefficients(C)
        x = self._rows.combine(self._scaled(array.astype(np.float64))).astype(self._working)
        with serial_blas():
            y = self._product(x)
        return restore(y.astype(array.dtype, copy=False))

    def trace(self) -> float:
        """Return the sum of the diagonal."""
        return float(np.sum(self.diagonal()))


class RecursionInverse(_Published):
    """The static algorithm (section 3.1 of the paper): add one row after the other.

    Starting from ``F_0 = lam I``, for i = 1..m:

    ``p_i = F_{i-1}^-1 g_i = g_i / lam - sum_{j<i} p_j (p_j . g_i) / q_j``,   ``q_i = N + g_i . p_i``

    Attributes
    ----------
    p : ndarray of shape (m, d)
    q : ndarray of shape (m,)

    Notes
    -----
    It is a row-oriented Cholesky factorisation: with ``K = N lam I + G G^T = L L^T``,
    ``q_i = L_ii^2 / lam`` and ``p_i / sqrt(q_i) = lam^(-1/2) (L^-1 G)_i``.
    Cost: ``2 d m^2`` flops in 2 m matrix-vector products.
    """

    p: Array
    q: Array

    def _prepare(self, G: Array, page: int | None) -> None:
        m = G.shape[0]
        size = m if page is None else page
        self.p, self.q = np.empty_like(G), np.empty(m, dtype=G.dtype)
        for start in range(0, m, size):
            stop = min(m, start + size)
            work = G[start:stop] / self._number(self.damping)
            for before in range(0, start, size):  # one earlier page in memory at a time
                p, q = self.p[before : before + size], self.q[before : before + size]
                work -= ((G[start:stop] @ p.T) / q) @ p
            for i in range(start, stop):
                p, q = self.p[start:i], self.q[start:i]
                self.p[i] = work[i - start] - ((p @ G[i]) / q) @ p
                self.q[i] = self._number(self.norm) + G[i] @ self.p[i]

    def _number(self, value: float) -> Any:
        return self._working.type(value)

    def _product(self, x: Array) -> Array:
        """Return ``x / lam - sum_j p_j (p_j . x) / q_j``."""
        q = self.q if x.ndim == 1 else self.q[:, None]
        return np.asarray(x / self._number(self.damping) - self.p.T @ ((self.p @ x) / q))

    def diagonal(self) -> Array:
        """Return ``1/lam - sum_j p_j^2 / q_j``; nothing is checked, as published."""
        return np.asarray(1 / self._number(self.damping) - np.sum(self.p**2 / self.q[:, None], axis=0))

    def element(self, i: int, j: int) -> float:
        """Return one entry, O(m)."""
        a, b = self._index([i, j])
        same = self._number(float(a == b) / self.damping)
        return float(same - np.sum(self.p[:, a] * self.p[:, b] / self.q))

    def logdet(self) -> float:
        """Return ``d log lam + sum_i log(q_i / N)``."""
        return self.d * float(np.log(self.damping)) + float(np.sum(np.log(self.q / self.norm)))


class CoefficientInverse(_Published):
    """The dynamic algorithm (section 3.2 of the paper): products by coefficients in the rows.

    ``D_ij = g_i . F_{i-1}^-1 g_j`` for ``j >= i`` by elimination from ``G G^T / lam``, and
    ``F_{i-1}^-1 g_i = sum_{k<=i} B_ik g_k``.

    Attributes
    ----------
    D : ndarray of shape (m, m), upper triangular
    B : ndarray of shape (m, m), lower triangular
    q : ndarray of shape (m,)
        ``N + D_ii``.

    Notes
    -----
    It is an LU factorisation without pivoting: ``N I + G G^T / lam = T U`` with
    unit lower T gives ``D = U - N I`` on and above the diagonal and ``B = T^-1 / lam``.
    Cost: ``O(m^3)`` after the Gram, ``O(d m + m^2)`` a product.
    """

    D: Array
    B: Array
    q: Array

    def _prepare(self, G: Array, page: int | None) -> None:
        m, lam, N = G.shape[0], self._working.type(self.damping), self._working.type(self.norm)
        self._G = G
        D = (G @ G.T) / lam
        for i in range(m):
            D[i + 1 :, i:] -= np.outer(D[i, i + 1 :] / (N + D[i, i]), D[i, i:])
        self.D = np.triu(D)
        self.q = N + self.D.diagonal()
        self.B = np.eye(m, dtype=G.dtype) / lam
        for i in range(m):
            for k in range(i):
                self.B[i, k] = -np.sum(self.D[k:i, i] / self.q[k:i] * self.B[k:i, k])

    def _product(self, x: Array) -> Array:
        """Return ``x / lam - G^T B^T (t / q)`` with ``t`` by forward substitution."""
        lam = self._working.type(self.damping)
        t = (self._G @ x) / lam
        q = self.q if x.ndim == 1 else self.q[:, None]
        for i in range(self.m):
            t[i] -= (self.D[:i, i] / self.q[:i]) @ t[:i]
        return x / lam - self._G.T @ (self.B.T @ (t / q))
