"""Compiled duality gap: a feasible dual point from any primal one, and its value in closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from theorylab._lib.jit import jit

from ._kernels import _dot


@jit
def _split(rows: Any, w: Any, starts: Any, i: int, k: int) -> Any:
    """Return the logistic parts of w u and w t of a row of class k, and the barrier part in both."""
    r = barrier_slope(rows[4, i] / w[i]) * w[i]
    u = -rows[0, i] - r if k < starts.size - 2 else 0.0
    t = rows[1, i] - r if k > 0 else 0.0
    return u, t, r


@jit
def _shifts(upper: Any, lower: Any, barrier: Any) -> Any:
    """Return one shift for each boundary, the smallest relative changes that balance the intercepts.

    The parts of class k are scaled by 1 - s_k (upper), 1 + s_{k-1} (lower) and 1 + s_{k-1} - s_k (barrier),
    which least squares, weighted by the parts, turns into a tridiagonal system. The last entry tells whether
    all scales are positive.
    """
    m = barrier.size - 1
    s, ahead = np.empty(m + 1), np.empty(m)
    for k in range(m):
        diagonal = upper[k] + lower[k + 1] + barrier[k] + barrier[k + 1]
        right = upper[k] + barrier[k] - lower[k + 1] - barrier[k + 1]
        if k > 0:
            diagonal -= barrier[k] * ahead[k - 1]
            right += barrier[k] * s[k - 1]
        diagonal = max(diagonal, 1e-300)
        ahead[k] = barrier[k + 1] / diagonal
        s[k] = right / diagonal
    for k in range(m - 2, -1, -1):
        s[k] += ahead[k] * s[k + 1]
    s[m] = 1.0
    for k in range(m):
        if not abs(s[k]) < 1.0 or (k > 0 and s[k] - s[k - 1] >= 1.0):
            s[m] = 0.0
    return s


@jit
def dual_point(rows: Any, w: Any, starts: Any, dual: Any) -> Any:
    """Fill `dual` (2, n) with w u and w t, repaired so that the intercept equalities hold.

    Logistic and barrier parts are scaled class by class, the barrier part, which may be huge, alike in u and
    t: it cancels in u - t as it should, and the multiplier of a constraint, a row with u = t, stays one.
    """
    m = starts.size - 2
    upper, lower, barrier = np.zeros(m + 1), np.zeros(m + 1), np.zeros(m + 1)
    for k in range(m + 1):
        for i in range(starts[k], starts[k + 1]):
            u, t, r = _split(rows, w, starts, i, k)
            upper[k] += u
            lower[k] += t
            barrier[k] += r
    s = _shifts(upper, lower, barrier)
    if s[m] == 0.0:
        _rescale(rows, w, starts, dual)
        return
    for k in range(m + 1):
        above = s[k] if k < m else 0.0
        below = s[k - 1] if k > 0 else 0.0
        for i in range(starts[k], starts[k + 1]):
            u, t, r = _split(rows, w, starts, i, k)
            r *= 1.0 + below - above
            dual[0, i] = r + u * (1.0 - above)
            dual[1, i] = r + t * (1.0 + below)


@jit
def _rescale(rows: Any, w: Any, starts: Any, dual: Any) -> Any:
    """Fill `dual` for a point far from the optimum: constraints go, and t follows u from class to class."""
    m = starts.size - 2
    own = 0.0
    for k in range(m + 1):
        total = 0.0
        for i in range(starts[k], starts[k + 1]):
            u, t, r = _split(rows, w, starts, i, k)
            if max(abs(u), abs(t)) <= 1e-12 * r:
                u = t = r = 0.0
            dual[0, i], dual[1, i] = u + r, t + r
            total += dual[1, i]
        for i in range(starts[k], starts[k + 1]):
            dual[1, i] *= own / total if total > 0.0 else 0.0
        if k > 0 and total == 0.0:  # nothing to balance the class before with
            for i in range(starts[k - 1], starts[k]):
                dual[0, i] = 0.0
        own = 0.0
        for i in range(starts[k], starts[k + 1]):
            own += dual[0, i]


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
        own = above * below * (1.0 + root) / (2.0 * u * t)  # equal in exact arithmetic, without cancellation
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
