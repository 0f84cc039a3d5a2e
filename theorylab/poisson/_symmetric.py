"""Symmetric operators over vectors of FLUID cells: products that say which shape they wanted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator

from theorylab._lib.checks import float_dtype

__all__ = ["SymmetricOperator"]

Array = NDArray[Any]


class SymmetricOperator(LinearOperator):
    """A LinearOperator that is its own adjoint and checks what it is applied to."""

    def _operand(self, x: Any, ndim: tuple[int, ...] = (1, 2)) -> Array:
        """Return `x` as an array of real numbers with as many rows as there are unknowns."""
        n = self.shape[1]
        wanted = f"expected ({n},) or ({n}, k) to match the operator of shape {self.shape}"
        if x is None:
            raise TypeError(f"x is None, {wanted}")
        if issparse(x):
            raise TypeError(f"x is a sparse {type(x).__name__}, {wanted}; pass x.toarray()")
        try:
            array = np.asarray(x)
        except ValueError as error:
            raise ValueError(f"x is no array of numbers: {error}") from None
        float_dtype(array.dtype, "x")
        if array.ndim not in ndim or array.shape[0] != n:
            raise ValueError(f"x has shape {array.shape}, {wanted}")
        return array

    def matvec(self, x: Any) -> Any:
        """Return the product with a vector, shape (n,) or (n, 1)."""
        array = self._operand(x)
        if array.ndim == 2 and array.shape[1] != 1:
            raise ValueError(f"x has shape {array.shape}, expected one column; use @ for several")
        return super().matvec(array)

    def matmat(self, X: Any) -> Any:
        """Return the products with the columns of a matrix, shape (n, k)."""
        return super().matmat(self._operand(X, (2,)))

    def dot(self, x: Any) -> Any:
        """Return the product with a vector, a matrix or another operator; scale by a number."""
        if isinstance(x, LinearOperator) or (np.isscalar(x) and not isinstance(x, (str, bytes))):
            return super().dot(x)
        return super().dot(self._operand(x))

    def __matmul__(self, x: Any) -> Any:
        """Return the product with a vector, a matrix or another operator."""
        return self.dot(x if isinstance(x, LinearOperator) else self._operand(x))

    def _adjoint(self) -> SymmetricOperator:
        return self
