"""The compiled loops over small triangular factors: the slide of a window, and many systems at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._lib.jit import REASSOC, jit

__all__ = [
    "append_row",
    "back_substitute",
    "delete_row",
    "forward_substitute",
    "invert_lower_batch",
    "solve_batch",
]

# --- the triangular factor of a sliding window ------------------------------------------------------------


@jit
def delete_row(U: Any, a: int, V: Any) -> None:
    """Write to `V` the upper factor of ``U^T U`` without row and column `a`.

    The rows above `a` lose one entry; the trailing block takes up the deleted
    row w by a rank-one *update* ``V2^T V2 = U2^T U2 + w^T w`` with Givens
    rotations, which is stable for every input.
    """
    n = U.shape[0]
    w = np.empty(n - 1 - a)
    for j in range(n - 1 - a):
        w[j] = U[a, a + 1 + j]
    for i in range(a):
        V[i, i:a] = U[i, i:a]
        V[i, a : n - 1] = U[i, a + 1 : n]
    for i in range(a, n - 1):
        k = i - a
        row = U[i + 1, i + 1 : n]
        new = V[i, i : n - 1]
        tail = w[k:]
        r = np.hypot(row[0], tail[0])
        c, s = row[0] / r, tail[0] / r
        for j in range(row.size):
            p, q = row[j], tail[j]
            new[j] = c * p + s * q
            tail[j] = c * q - s * p


@jit(fastmath=REASSOC)
def forward_substitute(U: Any, b: Any) -> Any:
    """Solve ``U^T y = b`` for upper triangular `U`, sweeping its rows."""
    y = b.copy()
    for i in range(y.size):
        y[i] /= U[i, i]
        tail, row, v = y[i + 1 :], U[i, i + 1 : y.size], y[i]
        for j in range(tail.size):
            tail[j] -= v * row[j]
    return y


@jit(fastmath=REASSOC)
def back_substitute(U: Any, y: Any) -> None:
    """Overwrite `y` by ``U^-1 y`` for upper triangular `U`."""
    n = y.size
    for i in range(n - 1, -1, -1):
        row, tail, s = U[i, i + 1 : n], y[i + 1 :], 0.0
        for j in range(tail.size):
            s += row[j] * tail[j]
        y[i] = (y[i] - s) / U[i, i]


@jit
def append_row(U: Any, n: int, y: Any, corner: float) -> None:
    """Write `y` and `corner` as column `n` of the upper factor `U`."""
    for i in range(n):
        U[i, n] = y[i]
    U[n, n] = corner


# --- many small symmetric positive definite systems --------------------------------------------------------


@jit
def solve_batch(L: Any, X: Any) -> None:
    """Overwrite each ``X[k]`` of shape (b, r) by ``(L[k] L[k]^T)^-1 X[k]``."""
    nb, b, r = X.shape
    for k in range(nb):
        F, Y = L[k], X[k]
        for i in range(b):
            for j in range(i):
                f = F[i, j]
                for q in range(r):
                    Y[i, q] -= f * Y[j, q]
            f = F[i, i]
            for q in range(r):
                Y[i, q] /= f
        for i in range(b - 1, -1, -1):
            f = F[i, i]
            for q in range(r):
                Y[i, q] /= f
            for j in range(i):
                f = F[i, j]
                for q in range(r):
                    Y[j, q] -= f * Y[i, q]


@jit
def invert_lower_batch(L: Any, W: Any) -> None:
    """Write the inverse of each lower triangular ``L[k]`` to ``W[k]``, which holds zeros."""
    nb, b = L.shape[0], L.shape[1]
    for k in range(nb):
        F, X = L[k], W[k]
        for i in range(b):
            f = F[i, i]
            X[i, i] = 1.0
            for j in range(i):
                c = F[i, j]
                row, other = X[i, : j + 1], X[j, : j + 1]
                for q in range(j + 1):
                    row[q] -= c * other[q]
            for q in range(i + 1):
                X[i, q] /= f
