"""Residual mode: Newton steps without a Hessian, for working sets too large to hold one.

The quadratic model lives in two numbers per row, its derivatives in the row's own logits a and b.
Coordinate descent finds the support, conjugate gradients on the support and its signs do the rest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from theorylab._lib.jit import REASSOC, jit

from ._kernels import CHUNK, _copy, _dot, _dots, evaluate, to_blocks
from ._newton import _gradient_of_theta, _penalty, violation


@jit(fastmath=REASSOC)
def _pull(x: Any, h: Any, w: Any) -> Any:
    """Return sum x h and sum x^2 w over a slice."""
    s = curvature = 0.0
    for c in range(x.size):
        s += x[c] * h[c]
        curvature += x[c] * x[c] * w[c]
    return s, curvature


@jit(fastmath=REASSOC)
def _pull_both(x: Any, ra: Any, rb: Any, w: Any) -> Any:
    s = curvature = 0.0
    for c in range(x.size):
        s += x[c] * (ra[c] + rb[c])
        curvature += x[c] * x[c] * w[c]
    return s, curvature


@jit(fastmath=REASSOC)
def _shift(x: Any, t: Any, h: Any, out: Any) -> Any:
    for c in range(x.size):
        out[c] += t * x[c] * h[c]


@jit
def _descend(
    XT: Any, starts: Any, rows: Any, both: Any, ridge: Any, pens: Any, active: Any, v: Any, model: Any
) -> Any:
    """Sweep once over the active coordinates; return the largest change of a gradient entry by its own move.

    Coordinate (l, j) moves only the rows of class l (their a) and of the classes above (a and b together, so
    that their barrier stays); an intercept moves the rows of its two classes.
    """
    m, width = v.shape
    largest = 0.0
    for l in range(m):
        s0, s1, s2 = starts[l], starts[l + 1], starts[l + 2]
        for j in range(width):
            if not active[l * width + j]:
                continue
            x0 = XT[j, s0:s1]
            end = s2 if j == 0 else starts[m + 1]
            x1 = XT[j, s1:end]
            g, h = _pull(x0, model[0, s0:s1], rows[2, s0:s1])
            if j == 0:
                g1, h1 = _pull(x1, model[1, s1:end], rows[3, s1:end])
            else:
                g1, h1 = _pull_both(x1, model[0, s1:end], model[1, s1:end], both[2, s1:end])
            old, pen = v[l, j], pens[l * width + j]
            g += g1 + ridge[j] * old
            h += h1 + ridge[j]
            if h <= 0.0:
                continue
            u = h * old - g
            new = (u - pen if u > pen else u + pen if u < -pen else 0.0) / h
            t = new - old
            if t == 0.0:
                continue
            v[l, j] = new
            largest = max(largest, abs(t) * h)
            _shift(x0, t, rows[2, s0:s1], model[0, s0:s1])
            _shift(x0, -t, rows[4, s0:s1], model[1, s0:s1])
            if j == 0:
                _shift(x1, -t, rows[4, s1:end], model[0, s1:end])
                _shift(x1, t, rows[3, s1:end], model[1, s1:end])
            else:
                _shift(x1, t, both[0, s1:end], model[0, s1:end])
                _shift(x1, t, both[1, s1:end], model[1, s1:end])
    return largest


@jit
def _model_gradient(XT: Any, starts: Any, model: Any, v: Any, ridge: Any, grad: Any, out: Any) -> Any:
    """Fill `out` (flat) with the gradient of the quadratic model from its two numbers per row."""
    m, width = v.shape
    for k in range(m):
        for j in range(width):
            grad[k, j] = _dot(XT[j, starts[k] : starts[k + 1]], model[0, starts[k] : starts[k + 1]])
            grad[k, j] += _dot(XT[j, starts[k + 1] : starts[k + 2]], model[1, starts[k + 1] : starts[k + 2]])
    _gradient_of_theta(grad, v, ridge, out)


@jit
def _push(XT: Any, starts: Any, rows: Any, step: Any, model: Any) -> Any:
    """Add the change of the model's row derivatives under a step of theta."""
    m = step.shape[0]
    blocks, steps = np.empty_like(step), np.empty_like(step)
    to_blocks(step, blocks, steps)
    a, d = np.zeros(CHUNK), np.zeros(CHUNK)
    for k in range(m + 1):
        for c0 in range(starts[k], starts[k + 1], CHUNK):
            c1 = min(c0 + CHUNK, starts[k + 1])
            _dots(XT, c0, c1, blocks[k if k < m else m - 1], a)
            if 0 < k < m:
                _dots(XT, c0, c1, steps[k], d)
            for c in range(c1 - c0):
                i = c0 + c
                da = a[c] if k < m else 0.0
                db = 0.0 if k == 0 else a[c] - d[c] if k < m else a[c]
                model[0, i] += rows[2, i] * da - rows[4, i] * db
                model[1, i] += rows[3, i] * db - rows[4, i] * da


@jit
def _conjugate_gradients(
    XT: Any, starts: Any, rows: Any, ridge: Any, free: Any, rhs: Any, scale: Any, tol: Any, max_iter: Any
) -> Any:
    """Solve the model's normal equations on the `free` coordinates, preconditioned by their curvatures."""
    m, width = rhs.shape
    n = m * width
    x, r, p = np.zeros((m, width)), rhs.copy(), np.zeros((m, width))
    xf, rf, pf, z = x.reshape(n), r.reshape(n), p.reshape(n), np.zeros(n)
    grad, Hp = np.empty((m, width)), np.empty(n)
    model = np.empty((2, rows.shape[1]))
    rho = 0.0
    for _ in range(max_iter):
        worst, new = 0.0, 0.0
        for i in range(n):
            z[i] = rf[i] / scale[i] if free[i] else 0.0
            new += z[i] * rf[i]
            if free[i]:
                worst = max(worst, abs(rf[i]))
        if worst <= tol:
            break
        for i in range(n):
            pf[i] = z[i] + (new / rho * pf[i] if rho > 0.0 else 0.0)
        rho = new
        model[:] = 0.0
        _push(XT, starts, rows, p, model)
        _model_gradient(XT, starts, model, p, ridge, grad, Hp)
        curvature = 0.0
        for i in range(n):
            curvature += pf[i] * Hp[i]
        if not curvature > 0.0:
            break
        t = rho / curvature
        for i in range(n):
            if free[i]:
                xf[i] += t * pf[i]
                rf[i] -= t * Hp[i]
    return x


@jit
def _curvatures(XT: Any, starts: Any, rows: Any, both: Any, ridge: Any, out: Any) -> Any:
    """Fill `out` (flat) with the diagonal of the Hessian, floored where a column is constant."""
    width = XT.shape[0]
    m = starts.size - 2
    for l in range(m):
        s0, s1, s2 = starts[l], starts[l + 1], starts[l + 2]
        for j in range(width):
            h = _pull(XT[j, s0:s1], rows[2, s0:s1], rows[2, s0:s1])[1] + ridge[j]
            if j == 0:
                h += _pull(XT[j, s1:s2], rows[3, s1:s2], rows[3, s1:s2])[1]
            else:
                h += _pull(XT[j, s1:], rows[3, s1:], both[2, s1:])[1]
            out[l * width + j] = h if h > 0.0 else 1.0


@jit
def _minimise(
    XT: Any, starts: Any, rows: Any, ridge: Any, pens: Any, theta: Any, g: Any, tol: Any, v: Any
) -> Any:
    """Minimise the quadratic model plus penalty over `v` to the KKT residual `tol`."""
    m, width = theta.shape
    n = m * width
    both = np.empty((3, rows.shape[1]))
    for i in range(rows.shape[1]):
        both[0, i] = rows[2, i] - rows[4, i]
        both[1, i] = rows[3, i] - rows[4, i]
        both[2, i] = both[0, i] + both[1, i]
    model = rows[:2].copy()
    flat, r = v.reshape(n), g.copy()
    _copy(theta.reshape(n), flat)
    grad, scale = np.empty((m, width)), np.empty(n)
    _curvatures(XT, starts, rows, both, ridge, scale)
    active, free = np.empty(n, np.bool_), np.empty(n, np.bool_)
    for i in range(n):
        active[i] = flat[i] != 0.0 or abs(g[i]) >= 0.8 * pens[i]
    for _ in range(100):
        for _ in range(5):
            if _descend(XT, starts, rows, both, ridge, pens, active, v, model) <= tol:
                break
        _model_gradient(XT, starts, model, v, ridge, grad, r)
        rhs = np.zeros((m, width))
        right = rhs.reshape(n)
        for i in range(n):
            free[i] = pens[i] == 0.0 or flat[i] != 0.0
            if free[i]:
                right[i] = -r[i] - (0.0 if pens[i] == 0.0 else pens[i] if flat[i] > 0.0 else -pens[i])
        step = _conjugate_gradients(XT, starts, rows, ridge, free, rhs, scale, 0.1 * tol, 500)
        move = step.reshape(n)
        t, hit = 1.0, -1
        for i in range(n):
            if free[i] and pens[i] > 0.0 and flat[i] * (flat[i] + move[i]) < 0.0 and -flat[i] / move[i] < t:
                t, hit = -flat[i] / move[i], i
        for i in range(n):
            move[i] = -flat[i] if i == hit else t * move[i]
            flat[i] = 0.0 if i == hit else flat[i] + move[i]
        _push(XT, starts, rows, step, model)
        _model_gradient(XT, starts, model, v, ridge, grad, r)
        worst = 0.0
        for i in range(n):
            bad = violation(r[i], flat[i], pens[i])
            worst = max(worst, bad)
            active[i] = active[i] or bad > 0.0
        if worst <= tol:
            break


@jit
def newton_cg(
    XT: Any,
    w: Any,
    starts: Any,
    pen: Any,
    ridge: Any,
    theta: Any,
    goal: Any,
    max_iter: Any,
    reuse: Any,
    rows: Any,
    H4: Any,
    state: Any,
) -> Any:
    """Minimise the objective at one penalty as `newton` does, in memory proportional to the data."""
    m, width = theta.shape
    n = m * width
    grad, blocks, steps = np.empty((m, width)), np.empty((m, width)), np.empty((m, width))
    g, v, pens, base = np.empty(n), np.empty((m, width)), np.zeros(n), np.empty(n)
    for k in range(m):
        for j in range(1, width):
            pens[k * width + j] = pen[j]
    to_blocks(theta, blocks, steps)
    objective = evaluate(XT, w, starts, blocks, steps, rows, grad) + _penalty(theta, pen, ridge)
    kkt = np.inf
    for iteration in range(max_iter + 1):
        _gradient_of_theta(grad, theta, ridge, g)
        flat, before = theta.reshape(n), kkt
        kkt = 0.0
        for i in range(n):
            kkt = max(kkt, violation(g[i], flat[i], pens[i]))
        if kkt <= goal or iteration == max_iter or (kkt < 1e-9 and kkt > 0.5 * before):
            return objective, kkt, iteration, False
        _minimise(XT, starts, rows, ridge, pens, theta, g, max(min(0.1, math.sqrt(kkt)) * kkt, 0.1 * goal), v)
        slope = 0.0
        moved = v.reshape(n)
        for i in range(n):
            slope += g[i] * (moved[i] - flat[i]) + pens[i] * (abs(moved[i]) - abs(flat[i]))
        _copy(flat, base)
        t = 1.0
        for _ in range(60):
            for i in range(n):
                flat[i] = moved[i] if t == 1.0 else base[i] + t * (moved[i] - base[i])
            to_blocks(theta, blocks, steps)
            new = evaluate(XT, w, starts, blocks, steps, rows, grad)
            if new < np.inf:
                new += _penalty(theta, pen, ridge)
                if new <= objective + 1e-4 * t * slope or -slope < 1e-11 * abs(objective):
                    break
            t *= 0.5
        objective = new
    return objective, kkt, max_iter, False
