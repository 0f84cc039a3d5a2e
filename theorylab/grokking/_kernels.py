"""Passes over the hidden layer of the modular network, each touching its rows once."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from .._lib.jit import REASSOC, jit

#: Sums of squares in between neither overflow nor lose digits.
SMALL, LARGE = 1e-200, 1e200


@jit
def gather(U: Any, V: Any, a: Any, b: Any, hidden: Any, square: Any) -> None:
    """Fill ``hidden = U[a] + V[b]`` and its elementwise square."""
    for i in range(a.size):
        left, right, h, z = U[a[i]], V[b[i]], hidden[i], square[i]
        for k in range(h.size):
            value = left[k] + right[k]
            h[k] = value
            z[k] = value * value


@jit(fastmath=REASSOC)
def residual(output: Any, labels: Any) -> tuple[float, int]:
    """Subtract the one-hot labels in place; return the summed squares and the number of right answers."""
    total, right = 0.0, 0
    for i in range(labels.size):
        row, own = output[i], labels[i]
        best = 0
        for k in range(1, row.size):
            if row[k] > row[best]:
                best = k
        right += best == own
        row[own] -= 1
        part = np.float64(0.0)
        for k in range(row.size):
            part += np.float64(row[k]) * row[k]
        total += part
    return total, right


@jit
def scatter(hidden: Any, back: Any, a: Any, b: Any, grad_u: Any, grad_v: Any) -> None:
    """Add the gradient ``hidden * back`` (without its factor 2) to the rows of U and V that made it."""
    for i in range(a.size):
        h, g, left, right = hidden[i], back[i], grad_u[a[i]], grad_v[b[i]]
        for k in range(h.size):
            value = h[k] * g[k]
            value += value
            left[k] += value
            right[k] += value


@jit
def adamw(
    w: Any, gradient: Any, first: Any, second: Any, scale: Any, shrink: Any, rate: Any, unbias: Any,
    beta1: Any, beta2: Any, tiny: Any,
) -> None:  # fmt: skip
    """Make one update in one pass over the parameters."""
    one = beta1 / beta1
    for i in range(w.size):
        g = gradient[i] * scale
        m = beta1 * first[i] + (one - beta1) * g
        v = beta2 * second[i] + (one - beta2) * g * g
        first[i] = m
        second[i] = v
        w[i] = shrink * w[i] - rate * m / (np.sqrt(v) * unbias + tiny)


@jit(fastmath=REASSOC)
def perpendicular(theta: Any, g: Any, out: Any, rescale: bool, unit_t: float, unit_g: float) -> bool:
    """Fill ``out`` with the part of g perpendicular to theta; False, and nothing written, out of range.

    Sums are those of ``theta * unit_t`` and ``g * unit_g`` in double precision.
    """
    along, length, size = 0.0, 0.0, 0.0
    for i in range(g.size):
        t, d = unit_t * np.float64(theta[i]), unit_g * np.float64(g[i])
        along += t * d
        length += t * t
        size += d * d
    if not (SMALL < length < LARGE and SMALL < size < LARGE):
        return False
    ratio = along / length
    kept = 0.0
    for i in range(g.size):
        value = unit_g * np.float64(g[i]) - ratio * (unit_t * np.float64(theta[i]))
        out[i] = value
        kept += value * value
    factor = 1.0 / unit_g
    if rescale and kept > 0.0:
        factor *= np.sqrt(size / kept)
    # A gradient wholly along the parameters leaves rounding errors only, which are no direction.
    if kept <= 1e-28 * size:
        out[:] = 0
    elif factor != 1.0:
        for i in range(g.size):
            out[i] *= factor
    return True


def unit(x: Any) -> float:
    """Return a power of two that brings the largest entry near 1; 0 where all entries vanish."""
    largest = float(max(x.max(), -x.min())) if x.size else 0.0
    return math.ldexp(1.0, min(1023, 1 - math.frexp(largest)[1])) if largest > 0.0 else 0.0


def threads() -> int:
    """Return how many threads Numba may use."""
    return int(numba.get_num_threads())
