"""The dense inverse at the end of the hierarchy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.jit import jit

from ._aggregates import find
from ._layout import AIR_COUPLING, CELLS, COUPLING, FACE0, LINE, LINK0, LINK1, ROW, SIZE, START

__all__ = ["dense_matrix"]

Array = NDArray[Any]


@jit
def dense_matrix(
    A: Array, level: Array, li: Array, lj: Array, lw: Array, number: Array
) -> tuple[Array, Array]:
    """Return the coupled unknowns of the coarsest level and the inverse of its matrix, in double precision.

    Components without AIR have the sum over their unknowns made regular and taken out again: the result is
    the pseudo-inverse on them.
    """
    at, size, cells, m, s = level[START], level[SIZE], level[CELLS], level[ROW], level[LINE]
    count = 0
    for k in range(size):
        number[k] = -1
        if A[COUPLING, at + k] > 0:
            number[k] = count
            count += 1
    M, unknowns = np.zeros((count, count)), np.empty(count, np.int32)
    for k in range(size):
        i = number[k]
        if i < 0:
            continue
        unknowns[i] = k
        M[i, i] += A[AIR_COUPLING, at + k]
        if k >= cells:
            continue
        for axis in range(3):
            if axis == 2 and s == 0:
                continue
            w = A[FACE0 + axis, at + k]
            if w > 0:
                j = number[k + (m if axis == 0 else 1 if axis == 1 else s)]
                M[i, j] -= w
                M[j, i] -= w
                M[i, i] += w
                M[j, j] += w
    for e in range(level[LINK0], level[LINK1]):
        i, j, w = number[li[e]], number[lj[e]], np.float64(lw[e])
        M[i, j] -= w
        M[j, i] -= w
        M[i, i] += w
        M[j, j] += w
    return unknowns, _invert_dense(M, A[AIR_COUPLING, at : at + size], unknowns)


@jit
def _subtract(x: Array, y: Array, factor: float) -> None:
    for j in range(x.size):
        x[j] -= factor * y[j]


@jit
def _invert_dense(M: Array, air: Array, unknowns: Array) -> Array:
    """Return the pseudo-inverse of a graph Laplacian with couplings to AIR, by Gauss-Jordan elimination."""
    n = len(M)
    part = np.arange(n)
    for i in range(n):
        for j in range(i):
            if M[i, j] < 0:
                a, b = find(part, i), find(part, j)
                part[max(a, b)] = min(a, b)
    open_, sizes, scale = np.zeros(n), np.zeros(n), np.zeros(n)
    for i in range(n):
        r = find(part, i)
        part[i] = r
        open_[r] += air[unknowns[i]]
        sizes[r] += 1
        scale[r] = max(scale[r], M[i, i])
    shift = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            r = part[i]
            if r == part[j] and open_[r] == 0:
                # The constant vector becomes an eigenvector of value scale, and later of value 0.
                M[i, j] += scale[r] / sizes[r]
                shift[i, j] = 1.0 / (sizes[r] * scale[r])
    for k in range(n):
        pivot = 1.0 / M[k, k]
        M[k, k] = 1.0
        row = M[k]
        for j in range(n):
            row[j] *= pivot
        for i in range(n):
            if i != k:
                factor = M[i, k]
                M[i, k] = 0.0
                _subtract(M[i], row, factor)
    for i in range(n):
        for j in range(i + 1):
            M[i, j] = M[j, i] = 0.5 * (M[i, j] + M[j, i]) - shift[i, j]
    return M
