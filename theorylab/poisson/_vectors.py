"""Passes over vectors whose sums have the same bits for every number of threads, unlike those of BLAS."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.jit import REASSOC, jit

__all__ = ["advance", "coefficients", "combine", "dot", "norm2", "subtract"]

Array = NDArray[Any]


@jit(fastmath=REASSOC)
def dot(x: Array, y: Array) -> float:
    """Return ``x . y`` of float64 vectors."""
    total = 0.0
    for i in range(x.size):
        total += x[i] * y[i]
    return total


def norm2(x: Array) -> float:
    """Return the 2-norm of a float64 vector, also where its square is out of range."""
    square = dot(x, x)
    if 1e-280 < square < math.inf or square != square:
        return math.sqrt(square)
    largest = float(np.abs(x).max(initial=0.0))
    if largest == 0 or largest == math.inf:
        return largest
    scale = math.ldexp(1.0, min(math.frexp(largest)[1], 1023))
    scaled = x / scale
    return scale * math.sqrt(dot(scaled, scaled))


@jit(fastmath=REASSOC)
def advance(x: Array, r: Array, p: Array, q: Array, alpha: float) -> float:
    """Step ``x += alpha p``, ``r -= alpha q`` in place and return ``r.r``; one pass."""
    total = 0.0
    for i in range(x.size):
        x[i] += alpha * p[i]
        r[i] -= alpha * q[i]
        total += r[i] * r[i]
    return total


@jit
def combine(z: Array, beta: float, p: Array) -> None:
    """Turn p into ``z + beta p`` in place."""
    for i in range(p.size):
        p[i] = z[i] + beta * p[i]


@jit(fastmath=REASSOC)
def coefficients(Q: Array, rows: Array, f: Array) -> Array:
    """Return ``Q[rows] @ f``."""
    out = np.zeros(rows.size)
    for k in range(rows.size):
        q = Q[rows[k]]
        total = 0.0
        for i in range(f.size):
            total += q[i] * f[i]
        out[k] = total
    return out


@jit
def subtract(P: Array, rows: Array, c: Array, f: Array) -> None:
    """Subtract ``c @ P[rows]`` from f in place."""
    for k in range(rows.size):
        p = P[rows[k]]
        for i in range(f.size):
            f[i] -= c[k] * p[i]
