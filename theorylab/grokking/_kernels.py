"""Passes over the hidden layer of the modular network, each touching its rows once."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from .._lib.jit import REASSOC, jit


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
def perpendicular(theta: Any, g: Any, out: Any, rescale: bool) -> None:
    """Fill ``out`` with the part of g perpendicular to theta; sums in double precision, four passes."""
    largest, steepest = 0.0, 0.0
    for i in range(g.size):
        largest = max(largest, abs(np.float64(theta[i])))
        steepest = max(steepest, abs(np.float64(g[i])))
    if largest == 0.0 or steepest == 0.0:
        out[:] = g
        return
    # In units of powers of two, which round nothing, so that no product overflows or vanishes.
    unit_t = math.ldexp(1.0, math.frexp(largest)[1] - 1)
    unit_g = math.ldexp(1.0, math.frexp(steepest)[1] - 1)
    along, length, size = 0.0, 0.0, 0.0
    for i in range(g.size):
        t, d = np.float64(theta[i]) / unit_t, np.float64(g[i]) / unit_g
        along += t * d
        length += t * t
        size += d * d
    ratio = along / length
    kept = 0.0
    for i in range(g.size):
        value = np.float64(g[i]) / unit_g - ratio * (np.float64(theta[i]) / unit_t)
        kept += value * value
    factor = unit_g
    # A gradient wholly along the parameters leaves rounding errors only, which are no direction.
    if kept <= 1e-28 * size:
        factor = 0.0
    elif rescale:
        factor *= np.sqrt(size / kept)
    for i in range(g.size):
        out[i] = factor * (np.float64(g[i]) / unit_g - ratio * (np.float64(theta[i]) / unit_t))


def threads() -> int:
    """Return how many threads Numba may use."""
    return int(numba.get_num_threads())
