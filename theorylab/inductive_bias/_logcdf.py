"""Compiled log-cdfs of whole spectra, null weights included, callable from other compiled code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._lib.jit import jit
from ._contour import LOG_TAIL, log_tails


@jit
def _log_complement(log_p: Any) -> Any:
    """Return log(1 - exp(log_p))."""
    if log_p >= 0.0:
        return -math.inf
    if log_p > -0.6931471805599453:
        return math.log(-math.expm1(log_p))
    return math.log1p(-math.exp(log_p))


@jit
def _spectrum(weights: Any, dofs: Any, shifts: Any, offset: Any) -> Any:
    """Return weights, dofs and shifts without null weights, whose shifts join the offset."""
    count = 0
    for i in range(weights.size):
        if weights[i] != 0.0:
            count += 1
    w, k, b = np.empty(count), np.empty(count), np.empty(count)
    q0 = float(offset)
    j = 0
    for i in range(weights.size):
        if weights[i] != 0.0:
            w[j], k[j], b[j] = weights[i], dofs[i], shifts[i]
            j += 1
        else:
            q0 += shifts[i]
    return w, k, b, q0


@jit
def logcdf_of_spectrum(x: Any, w: Any, k: Any, b: Any, q0: Any) -> Any:
    """Return log P(Q <= x) at each x for one spectrum without null weights."""
    n = x.size
    values = np.empty(n)
    if w.size == 0:
        for p in range(n):
            values[p] = 0.0 if x[p] >= q0 else -math.inf
        return values
    mean = 0.0
    positive = negative = False
    for i in range(w.size):
        mean += w[i] * k[i] + b[i]
        positive = positive or w[i] > 0.0
        negative = negative or w[i] < 0.0
    z = np.empty(1)
    upper = np.empty(1, dtype=np.bool_)
    for p in range(n):
        z[0] = x[p] - q0
        if math.isnan(z[0]):
            values[p] = math.nan
        elif z[0] == -math.inf or (z[0] <= 0.0 and not negative):
            values[p] = -math.inf
        elif z[0] == math.inf or (z[0] >= 0.0 and not positive):
            values[p] = 0.0
        else:
            upper[0] = z[0] > mean
            value = log_tails(z, w, k, b, 0.0, upper, 1e-13, False)[0, LOG_TAIL]
            values[p] = _log_complement(value) if upper[0] else min(value, 0.0)
    return values


@jit
def logcdf_batch(x: Any, weights: Any, dofs: Any, shifts: Any, offset: Any) -> Any:
    """Return log P(Q_p <= x_p), spectrum p in row p of `weights`, `dofs` and `shifts`."""
    values = np.empty(x.size)
    for p in range(x.size):
        w, k, b, q0 = _spectrum(weights[p], dofs[p], shifts[p], offset[p])
        values[p] = logcdf_of_spectrum(x[p : p + 1], w, k, b, q0)[0]
    return values


@jit
def logcdf_shared(x: Any, weights: Any, dofs: Any, shifts: Any, offset: Any) -> Any:
    """Return log P(Q <= x) at each x for one spectrum."""
    w, k, b, q0 = _spectrum(weights, dofs, shifts, offset)
    return logcdf_of_spectrum(x, w, k, b, q0)
