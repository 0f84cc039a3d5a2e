"""Compiled cumulants of generalised chi-squared laws and their saddlepoints.

The kernels of `_contour` and `_logcdf` compile these in. After an edit here clear their `__pycache__`:
Numba looks at the file of the caller only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._lib.jit import REASSOC, jit

EPS = 2.220446049250313e-16


@jit(fastmath=REASSOC)
def relative_cumulants(w: Any, k: Any, b: Any, sigma: Any, t: Any) -> Any:
    """Return t K', t^2 K'', t^3 K''' at t."""
    a1 = a2 = a3 = 0.0
    for i in range(w.size):
        v = 2.0 * w[i] * t
        inverse = 1.0 / (1.0 - v)
        y = v * inverse
        beta = (b[i] * inverse) * (t * inverse)
        a1 += 0.5 * k[i] * y + beta
        a2 += (0.5 * k[i] * y + 2.0 * beta) * y
        a3 += (k[i] * y + 6.0 * beta) * y * y
    gauss = (sigma * t) ** 2
    return a1 + gauss, a2 + gauss, a3


@jit
def exponent(w: Any, k: Any, b: Any, sigma: Any, t: Any, x: Any) -> Any:
    """Return K(t) - t x by compensated summation, and the rounding error to expect of it."""
    total = -t * x
    size = abs(total)
    carry = 0.0
    for i in range(w.size + 1):
        if i < w.size:
            v = 2.0 * w[i] * t
            term = -0.5 * k[i] * math.log1p(-v) + b[i] * (t / (1.0 - v))
        else:
            term = 0.5 * (sigma * t) ** 2
        size += abs(term)
        new = total + term
        if abs(total) >= abs(term):
            carry += (total - new) + term
        else:
            carry += (term - new) + total
        total = new
    return total + carry, EPS * size


@jit
def _reach(w: Any, sign: Any) -> Any:
    """Return how far the strip of convergence extends from 0 on one side: 1 / (2 max(sign w)), or inf."""
    largest = 0.0
    for i in range(w.size):
        largest = max(largest, sign * w[i])
    return 0.5 / largest if largest > 0.0 else math.inf


@jit
def near(w: Any, k: Any, b: Any, sigma: Any, sign: Any) -> Any:
    """Return a point so near to the pole at 0 that the contour should not come nearer."""
    variance = sigma * sigma
    for i in range(w.size):
        variance += 2.0 * k[i] * w[i] * w[i] + 4.0 * w[i] * b[i]
    return sign * min(1.0 / math.sqrt(variance), 0.5 * _reach(w, sign))


@jit
def saddle(w: Any, k: Any, b: Any, sigma: Any, x: Any, sign: Any, start: Any, tolerance: Any) -> Any:
    """Solve K'(t) = x for t between `start` and the end of the strip on the side of `sign`.

    Newton in the logarithm of |t| (of |t| / (reach - |t|) where the strip ends),
    kept inside a bracket. Returns `start` where the solution lies nearer to 0.
    """
    reach = _reach(w, sign)
    bounded = reach < math.inf
    p = abs(start)
    a1, a2, _ = relative_cumulants(w, k, b, sigma, sign * p)
    if a1 - sign * p * x >= 0.0:
        return sign * p
    dof = 0.0
    for i in range(w.size):
        dof += k[i]
    # In the far tails of a definite form, t K'(t) -> -dof/2 and w -> 1/(2 reach) respectively.
    if bounded:
        if sign * x > 0.0:
            p = max(p, reach * (1.0 - min(1.0, 0.5 * dof / (reach * sign * x))))
        p = min(p, reach * (1.0 - 1e-12))
    elif sigma == 0.0 and -sign * x > 0.0:
        p = max(p, 0.5 * dof / (-sign * x))
    low, high = math.log(abs(start)), math.inf
    if bounded:
        low = math.log(abs(start) / (reach - abs(start)))
    r = math.log(p / (reach - p)) if bounded else math.log(p)
    for _ in range(100):
        if bounded:
            # e^r / (1 + e^r), without overflow.
            p = reach / (1.0 + math.exp(-r)) if r < 35.0 else reach * (1.0 - math.exp(-r))
            p = min(p, reach * (1.0 - 4e-16))
        else:
            # Beyond, t would overflow: a crossing that is not the saddlepoint is legal too.
            r = min(r, 690.0)
            p = math.exp(r)
        t = sign * p
        a1, a2, _ = relative_cumulants(w, k, b, sigma, t)
        target = t * x
        if a1 * target > 0.0:
            step = -math.log(a1 / target) * a1 / a2
        else:
            step = -(a1 - target) / a2
        if a1 < target:
            low = r
        else:
            high = r
        if bounded:
            step /= max(1.0 - p / reach, 1e-300)
        done = abs(step) < tolerance
        step = min(max(step, -4.0), 8.0)
        new = r + step
        if not low <= new <= high:
            new = 0.5 * (low + high) if high < math.inf else low + 4.0
        if done or new == r:
            r = new
            break
        r = new
    p = min(reach / (1.0 + math.exp(-r)), reach * (1.0 - 4e-16)) if bounded else math.exp(min(r, 690.0))
    return sign * p


@jit
def scale_of(w: Any, sigma: Any) -> Any:
    """Return the power of two next to the largest weight or sigma; dividing by it is exact."""
    largest = sigma
    for i in range(w.size):
        largest = max(largest, abs(w[i]))
    return 2.0 ** math.floor(math.log2(largest))


@jit
def saddles(x: Any, w: Any, k: Any, b: Any, sigma: Any, upper: Any) -> Any:
    """Return t, K(t) - t x, t^2 K'' and the rounding of the second at the exact saddlepoint of each x."""
    scale = scale_of(w, sigma)
    ws = w / scale
    bs = b / scale
    rows = np.empty((x.size, 4))
    for p in range(x.size):
        sign = 1.0 if upper[p] else -1.0
        xs = x[p] / scale
        start = 1e-12 * near(ws, k, bs, sigma / scale, sign)
        t = saddle(ws, k, bs, sigma / scale, xs, sign, start, 1e-12)
        rows[p, 0] = t / scale
        rows[p, 1], rows[p, 3] = exponent(ws, k, bs, sigma / scale, t, xs)
        rows[p, 2] = relative_cumulants(ws, k, bs, sigma / scale, t)[1]
    return rows
