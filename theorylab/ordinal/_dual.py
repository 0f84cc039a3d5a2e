"""Compiled duality gap: a feasible dual point from any primal one, and its value in closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from theorylab._lib.jit import jit

from ._kernels import _dot


@jit
def dual_point(rows: Any, w: Any, starts: Any, dual: Any) -> Any:
    """Fill `dual` (2, n) with w u and w t, repaired so that the intercept equalities hold exactly.

    Only the logistic part of t is rescaled where that is possible: the barrier part r, which may be huge,
    then cancels in u - t as it should.
    """
    for i in range(w.size):
        dual[0, i] = -rows[0, i]
        dual[1, i] = rows[1, i]
    for k in range(starts.size - 2):
        own = logistic = barrier = 0.0
        for i in range(starts[k], starts[k + 1]):
            own += dual[0, i]
        for i in range(starts[k + 1], starts[k + 2]):
            r = barrier_slope(rows[4, i] / w[i]) * w[i]
            barrier += r
            logistic += rows[1, i] - r
        for i in range(starts[k + 1], starts[k + 2]):
            r = barrier_slope(rows[4, i] / w[i]) * w[i]
            if own > barrier and logistic > 0.0:
                dual[1, i] = r + (rows[1, i] - r) * ((own - barrier) / logistic)
            elif barrier + logistic > 0.0:
                dual[1, i] *= own / (barrier + logistic)


@jit
def barrier_slope(q: Any) -> Any:
    """Return r from q = r (1 + r)."""
    return 2.0 * q / (1.0 + np.sqrt(1.0 + 4.0 * q))


@jit
def dual_gradient(XT: Any, starts: Any, dual: Any, out: Any) -> Any:
    """Fill `out` (m, p + 1) with the gradient in theta that the dual point stands for."""
    m, width = out.shape
    for k in range(m - 1, -1, -1):
        for j in range(width):
            s = -_dot(XT[j, starts[k] : starts[k + 1]], dual[0, starts[k] : starts[k + 1]])
            s += _dot(XT[j, starts[k + 1] : starts[k + 2]], dual[1, starts[k + 1] : starts[k + 2]])
            out[k, j] = s + (out[k + 1, j] if k < m - 1 and j > 0 else 0.0)


@jit
def conjugate(u: float, t: float) -> float:
    """Return the conjugate of the row loss at (-u, t), in the form that survives large u and t."""
    root = math.sqrt(1.0 + 4.0 * u * t)
    difference = min(max(u - t, -1.0 + 1e-15), 1.0 - 1e-15)
    above = 2.0 * u * (1.0 + difference) / (2.0 * u + 1.0 + root)
    below = 2.0 * t * (1.0 - difference) / (2.0 * t + 1.0 + root)
    own = 1.0 - (above + below)
    if own < 0.1 and u > 0.0 and t > 0.0:
        own = (
            above * below * (1.0 + root) / (2.0 * u * t)
        )  # equal in exact arithmetic, without the cancellation
    value = math.log(own)  # 1 - above and 1 - below as sums, so that the rounding of `own` cancels
    if u > 0.0:
        value -= u * (math.log(own + below) - math.log(above))
    if t > 0.0:
        value += t * (math.log(below) - math.log(own + above))
    return value


@jit
def dual_gap(objective: Any, w: Any, dual: Any, gradient: Any, theta: Any, pen: Any, ridge: Any) -> Any:
    """Return objective minus the dual bound. Unpenalised coordinates add |gradient * coordinate|."""
    m, width = gradient.shape
    tau = 1.0
    for j in range(1, width):
        if pen[j] > 0.0 and ridge[j] == 0.0:
            for k in range(m):
                if abs(gradient[k, j]) * tau > pen[j]:
                    tau = pen[j] / abs(gradient[k, j])
    for i in range(w.size):
        u, t = dual[0, i] / w[i], dual[1, i] / w[i]
        if abs(u - t) * tau > 1.0 - 1e-15:
            tau = (1.0 - 1e-15) / abs(u - t)
    bound = 0.0
    for i in range(w.size):
        bound -= w[i] * conjugate(tau * (dual[0, i] / w[i]), tau * (dual[1, i] / w[i]))
    for j in range(1, width):
        for k in range(m):
            excess = max(tau * abs(gradient[k, j]) - pen[j], 0.0)
            if ridge[j] > 0.0:
                bound -= excess * excess / (2.0 * ridge[j])
            elif pen[j] == 0.0:
                bound -= excess * abs(theta[k, j])
    return max(objective - bound, 0.0)
