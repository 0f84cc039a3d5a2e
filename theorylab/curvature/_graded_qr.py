"""QR factors whose errors are small in every row by itself, for rows of very different sizes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular

__all__ = ["Triangle", "graded_qr"]

Float = NDArray[np.float64]


class Triangle:
    """The triangle R of pivoted QR factors, ``M[:, order] = Q R``, or a number in its place."""

    def __init__(self, R: Float | float, order: NDArray[np.intp] | None = None) -> None:
        self.R, self.order = R, order

    def left(self, rows: Float) -> Float:
        """Return ``rows P R^-1``."""
        if self.order is None:
            return rows / self.R
        X: Float = solve_triangular(self.R, rows[:, self.order].T, trans="T").T
        return X

    def right(self, X: Float) -> Float:
        """Return ``X R^-T P^T``."""
        if self.order is None:
            return X / self.R
        rows = np.empty(X.shape)
        rows[:, self.order] = solve_triangular(self.R, X.T).T
        return rows


def graded_qr(stack: Float) -> tuple[Float, Triangle]:
    """Factor with the largest rows first and columns exchanged: errors are small in every row by itself."""
    rows = np.argsort(-np.abs(stack).max(axis=1, initial=0.0), kind="stable")
    sorted_Q, R, order = qr(stack[rows], mode="economic", pivoting=True, overwrite_a=True)
    Q = np.empty_like(sorted_Q)
    Q[rows] = sorted_Q
    return Q, Triangle(R, order)
