"""The public inverse: entries and invariants of ``A^-1`` on top of its products."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lib.checks import check_int
from ._dual import Dual
from ._operator import InverseOperator
from ._primal import Primal

__all__ = ["FisherInverse"]

Array = NDArray[Any]


class FisherInverse(InverseOperator):
    """The inverse of a damped empirical Fisher matrix as a symmetric linear operator.

    Made by :func:`fisher_inverse`, which documents the parameters. ``inv @ x``,
    `matvec`, `matmat`, `rmatvec`, ``.T`` and ``.H`` are those of SciPy's
    `LinearOperator`. Vectors may be torch tensors; results are of the kind and
    floating dtype of the vector and are computed in float64.

    Attributes
    ----------
    m, d : int
        Number and length of the rows.
    damping, norm : float
        lam and N.
    gram : ndarray of shape (m, m)
        ``G G^T`` in float64.
    blocks : list of int
        Sizes of the diagonal blocks; ``[d]`` for the whole matrix.
    kappa : float
        ``1 + sigma_max(G)^2 / (N lam)``, the largest of the blocks.
    cost : Cost
        Flops and bytes of rows read, by kernel, since the beginning.
    nbytes : int
        Bytes of the rows and of everything kept beside them.
    dtype : dtype
        Of the rows, as numbers.
    """

    def diagonal(self) -> Array:
        """Return the diagonal of ``A^-1``, (d,) float64.

        Raises
        ------
        FloatingPointError
            If an entry is not positive, which happens beyond ``kappa = 1 / u``.

        Notes
        -----
        ``(1 - |v_j|^2) / lam`` with ``V = L^-1 G`` tile by tile; sums of squares on
        the primal side. Cost: ``d m^2`` flops, one read of G.
        """
        return np.concatenate([part.diagonal() for _, part in self._parts])

    def _index(self, index: Any) -> Array:
        """Return integers in [0, d); negative ones count from the end."""
        array = np.asarray(index)
        if array.dtype == np.bool_ and array.shape == (self.d,):
            array = np.flatnonzero(array)
        if array.size == 0:
            return np.empty(0, dtype=np.intp)
        if array.dtype.kind not in "iu" or array.ndim > 1:
            raise IndexError(f"expected integer indices, got {array.dtype} of shape {array.shape}")
        array = np.atleast_1d(array).astype(np.intp)
        bad = array[(array < -self.d) | (array >= self.d)]
        if bad.size:
            raise IndexError(f"index {bad[0]} is out of bounds for d = {self.d}")
        return np.where(array < 0, array + self.d, array)

    def element(self, i: int, j: int) -> float:
        """Return ``[A^-1]_ij``; O(m) with ``factor=True``, one solve with the factor otherwise."""
        a, b = (int(self._index(check_int(k, name))[0]) for k, name in ((i, "i"), (j, "j")))
        for lo, part in self._parts:
            if lo <= a < lo + part.d:
                return part.element(a - lo, b - lo) if lo <= b < lo + part.d else 0.0
        raise AssertionError("the blocks cover every column")

    def columns(self, idx: Any) -> Array:
        """Return columns of ``A^-1``, (d, k) float64, for k integer indices (negative ones allowed)."""
        index = self._index(idx)
        out = np.zeros((self.d, len(index)))
        for lo, part in self._parts:
            mine = np.flatnonzero((index >= lo) & (index < lo + part.d))
            if mine.size:
                out[lo : lo + part.d, mine] = part.columns(index[mine] - lo)
        return out

    def quadratic_form(self, X: Any) -> Any:
        """Return ``x^T A^-1 x`` for every column of `X`.

        Parameters
        ----------
        X : array_like of shape (d,) or (d, k)

        Returns
        -------
        float or ndarray of shape (k,)

        Notes
        -----
        With ``y = A^-1 x`` computed, ``2 x.y - y^T A y`` has an error that is the
        *square* of the error of y, so that it stays accurate where ``x.y`` cancels.
        Cost: three reads of G.
        """
        array, _ = self._vector(X, "X")
        x = array.astype(np.float64)
        y = self._blockwise("solve", x, 0, np.float64)
        Ay = self._blockwise("forward", y, np.float64)
        values = np.einsum("i...,i...->...", y, 2 * x - Ay)
        return float(values) if array.ndim == 1 else values

    def influence_matrix(self) -> Array:
        """Return ``G A^-1 G^T``, (m, m) float64, not divided by N; the dual side needs the Gram alone.

        Entries come from ``N (I - N lam K^-1)`` or ``N K^-1 G G^T``, whichever does
        not cancel: the second where both rows have a leverage below 1/2.
        """
        total = sum(part.cross() for _, part in self._parts)
        return self._scaled(self._scaled(np.asarray(total)).T)

    def leverages(self) -> Array:
        """Return ``h_i = w_i g_i^T A^-1 g_i / N``, (m,) float64, in [0, 1) for a single block."""
        return np.asarray(sum(part.leverages() for _, part in self._parts))

    def logdet(self) -> float:
        """Return ``log det A`` from the Cholesky factor of the smaller side."""
        return sum(part.logdet() for part in self._smaller())

    def trace(self) -> float:
        """Return ``trace(A^-1)`` from the Cholesky factor of the smaller side."""
        return sum(part.trace() for part in self._smaller())

    def _smaller(self) -> list[Dual | Primal]:
        """Return the parts; a dual one with fewer columns than rows would cancel: primal instead."""
        return [
            Primal(part.rows, part.share, part.d).damped(self.damping)
            if isinstance(part, Dual) and part.d < part.rows.m
            else part
            for _, part in self._parts
        ]
