"""Compiled Newton steps in Gram mode: the quadratic model with its penalty, one penalty, a whole path."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from theorylab._lib.jit import REASSOC, jit

from ._dual import dual_gap, dual_gradient, dual_point
from ._kernels import CHUNK, _axpy, _copy, _dots, evaluate, gram, to_blocks

PIVOT = 1e-12  # a Cholesky pivot below this share of its diagonal entry marks a dependent column
FLOOR = 1e-8  # the pivot, as a share of the diagonal entry, with which a flat direction is followed
PATIENCE = 20  # turns of coordinate descent and exact solves after which flat directions are followed


@jit(fastmath=REASSOC)
def solve_support(H: Any, index: Any, size: Any, rhs: Any, L: Any, pen: Any) -> Any:
    """Solve ``H[index][:, index] x = rhs`` in place by Cholesky.

    A column that depends on those before it keeps x = 0, unless it has a penalty: then its pivot is floored,
    so that x runs along the flat direction as far as the penalty falls.
    """
    for i in range(size):
        gi = index[i]
        row = L[i]
        for j in range(i):
            other = L[j]
            s = 0.0
            for t in range(j):
                s += row[t] * other[t]
            row[j] = (H[gi, index[j]] - s) * other[j]  # the diagonal of L holds reciprocals
        s = 0.0
        for t in range(i):
            s += row[t] * row[t]
        pivot = H[gi, gi] - s
        floor = PIVOT * H[gi, gi]
        if pivot > floor:
            row[i] = 1.0 / math.sqrt(pivot)
        else:
            row[i] = 1.0 / math.sqrt(FLOOR * H[gi, gi]) if pen[gi] > 0.0 and floor > 0.0 else 0.0
    for i in range(size):
        s = 0.0
        for t in range(i):
            s += L[i, t] * rhs[t]
        rhs[i] = (rhs[i] - s) * L[i, i]
    for i in range(size - 1, -1, -1):
        x = rhs[i] * L[i, i]
        rhs[i] = x
        for t in range(i):
            rhs[t] -= L[i, t] * x


@jit
def violation(r: float, v: float, pen: float) -> float:
    """Return how far the residual gradient `r` is from optimality at the coordinate value `v`."""
    if pen == 0.0:
        return abs(r)
    if v != 0.0:
        return abs(r + (pen if v > 0.0 else -pen))
    return max(abs(r) - pen, 0.0)


@jit(fastmath=REASSOC)
def _sweep(H: Any, pen: Any, v: Any, r: Any, active: Any) -> Any:
    """One round of coordinate descent; returns the largest change of a gradient entry by its own move."""
    largest = 0.0
    for j in range(v.size):
        h = H[j, j]
        if not active[j] or h <= 0.0:
            continue
        u = h * v[j] - r[j]
        new = (u - pen[j] if u > pen[j] else u + pen[j] if u < -pen[j] else 0.0) / h
        step = new - v[j]
        if step != 0.0:
            v[j] = new
            _axpy(step, H[j], r)
            largest = max(largest, abs(step) * h)
    return largest


@jit
def minimise_quadratic(
    H: Any, g: Any, theta: Any, pen: Any, tol: Any, follow: Any, v: Any, r: Any, L: Any
) -> Any:
    """Minimise ``g'(v - theta) + (v - theta)'H(v - theta)/2 + sum pen |v|`` over v to the KKT residual `tol`.

    Coordinate descent finds the support; an exact solve on the support and its signs, shortened where a
    coordinate reaches zero, removes the slowness that the collinear cumulative columns bring. With `follow`,
    directions in which H is singular but the penalty falls are followed too.
    """
    n = v.size
    _copy(theta, v)
    _copy(g, r)
    active = np.empty(n, np.bool_)
    index, rhs = np.empty(n, np.int64), np.empty(n)
    free = np.zeros(n)
    for j in range(n):
        active[j] = v[j] != 0.0 or abs(g[j]) >= 0.8 * pen[j]
    for turn in range(200):
        for _ in range(6):
            if _sweep(H, pen, v, r, active) <= tol:
                break
        for _ in range(n):
            size = 0
            for j in range(n):
                if v[j] != 0.0 or pen[j] == 0.0:
                    index[size] = j
                    rhs[size] = -r[j] - (0.0 if pen[j] == 0.0 else pen[j] if v[j] > 0.0 else -pen[j])
                    size += 1
            solve_support(H, index, size, rhs, L, pen if follow and turn >= PATIENCE else free)
            t, hit = 1.0, -1
            for s in range(size):
                j = index[s]
                if pen[j] > 0.0 and v[j] * (v[j] + rhs[s]) < 0.0 and -v[j] / rhs[s] < t:
                    t, hit = -v[j] / rhs[s], j
            for s in range(size):
                j = index[s]
                v[j] = 0.0 if j == hit else v[j] + t * rhs[s]
                _axpy(t * rhs[s], H[j], r)
            if hit < 0:
                break
        worst = 0.0
        for j in range(n):
            bad = violation(r[j], v[j], pen[j])
            worst = max(worst, bad)
            if bad > 0.0 or v[j] != 0.0:
                active[j] = True
        if worst <= tol:
            break


@jit
def _gradient_of_theta(grad: Any, theta: Any, ridge: Any, out: Any) -> Any:
    """Fill `out` (flat) with the gradient of loss + ridge in theta: suffix sums, intercepts left out."""
    m, width = grad.shape
    for j in range(width):
        s = 0.0
        for k in range(m - 1, -1, -1):
            s = grad[k, j] + (s if j > 0 else 0.0)
            out[k * width + j] = s + ridge[j] * theta[k, j]


@jit
def _penalty(theta: Any, pen: Any, ridge: Any) -> Any:
    s = 0.0
    for k in range(theta.shape[0]):
        for j in range(1, theta.shape[1]):
            s += pen[j] * abs(theta[k, j]) + 0.5 * ridge[j] * theta[k, j] * theta[k, j]
    return s


@jit
def spread(XT: Any, starts: Any, step: Any) -> Any:
    """Return the largest change of an own logit under a step of theta."""
    m = step.shape[0]
    blocks, steps, a = np.empty_like(step), np.empty_like(step), np.empty(CHUNK)
    to_blocks(step, blocks, steps)
    largest = 0.0
    for k in range(m + 1):
        for c0 in range(starts[k], starts[k + 1], CHUNK):
            c1 = min(c0 + CHUNK, starts[k + 1])
            for side in (k, k - 1):
                if 0 <= side < m:
                    _dots(XT, c0, c1, blocks[side], a)
                    for c in range(c1 - c0):
                        largest = max(largest, abs(a[c]))
    return largest


@jit
def _worst_violation(g: Any, flat: Any, pens: Any) -> Any:
    worst = 0.0
    for i in range(flat.size):
        worst = max(worst, violation(g[i], flat[i], pens[i]))
    return worst


@jit
def _search(
    XT: Any,
    w: Any,
    starts: Any,
    pen: Any,
    ridge: Any,
    theta: Any,
    v: Any,
    g: Any,
    pens: Any,
    objective: Any,
    rows: Any,
    blocks: Any,
    steps: Any,
    grad: Any,
) -> Any:
    """Go from `theta` towards `v`, halving until the objective falls; return it and the share of the way.

    The share is 0, and `theta` as before, where nothing helps. Where rounding hides the decrease, the full
    step counts as one if it is legal. `rows`, `blocks`, `steps` and `grad` are left at the last trial.
    """
    flat = theta.reshape(v.size)
    base = flat.copy()
    slope, t = 0.0, 1.0
    for i in range(v.size):
        slope += g[i] * (v[i] - flat[i]) + pens[i] * (abs(v[i]) - abs(flat[i]))
    for _ in range(60):
        for i in range(v.size):
            flat[i] = v[i] if t == 1.0 else base[i] + t * (v[i] - base[i])
        to_blocks(theta, blocks, steps)
        new = evaluate(XT, w, starts, blocks, steps, rows, grad)
        if new < np.inf:
            new += _penalty(theta, pen, ridge)
            if new <= objective + 1e-4 * t * slope or -slope < 1e-11 * abs(objective):
                return new, t
        t *= 0.5
    _copy(base, flat)
    return objective, 0.0


@jit
def newton(
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
    """Minimise the objective at one penalty from a feasible `theta`, in place.

    Returns the objective, the KKT residual, the number of Newton steps, and whether unpenalised directions
    still move although the residual is small (no finite optimum). `rows` is left at the returned point.
    `H4` is room for the Hessian. With `reuse` it serves, also from one penalty to the next, as long as a step
    with it cuts the residual to a twentieth; ``state[0]`` tells whether it holds one.
    """
    m, width = theta.shape
    n = m * width
    grad, blocks, steps = np.empty((m, width)), np.empty((m, width)), np.empty((m, width))
    H, flat = H4.reshape(n, n), theta.reshape(n)
    g, v, r, L = np.empty(n), np.empty(n), np.empty(n), np.empty((n, n))
    pens, any_free = np.zeros(n), False
    for k in range(m):
        for j in range(1, width):
            pens[k * width + j] = pen[j]
    for j in range(1, width):
        any_free = any_free or (pen[j] == 0.0 and ridge[j] == 0.0)
    to_blocks(theta, blocks, steps)
    objective = evaluate(XT, w, starts, blocks, steps, rows, grad) + _penalty(theta, pen, ridge)
    kkt, best, before, stalled = np.inf, np.inf, np.inf, 0
    best_flat = flat.copy()
    diverging, accepted, moving = False, True, 0
    iteration = stuck = 0
    while True:
        _gradient_of_theta(grad, theta, ridge, g)
        before, kkt = kkt, _worst_violation(g, flat, pens)
        if kkt < best:
            best = kkt
            _copy(flat, best_flat)
        if (kkt <= goal and not any_free) or iteration >= max_iter:
            break
        stuck = stuck + 1 if kkt > 0.5 * before else min(stuck, 0)
        stalled = stalled + 1 if kkt > 0.5 * best and kkt < 1e-7 and kkt > goal and kkt >= before else 0
        if stalled >= 4:
            break
        if not reuse or not state[0] or kkt > 0.05 * before:
            gram(XT, starts, rows, H4)
            for i in range(n):
                H[i, i] += ridge[i % width]
            state[0] = True
        minimise_quadratic(
            H, g, flat, pens, max(min(0.1, math.sqrt(kkt)) * 0.1 * kkt, 1e-3 * goal), stuck >= 3, v, r, L
        )
        if any_free:  # a small gradient proves an optimum only if the next step is small too
            still = kkt > 1e-6 or spread(XT, starts, (v - flat).reshape(m, width)) <= 1e-3
            moving = 0 if still else moving + 1
            diverging = moving >= 4
            if diverging or (kkt <= goal and moving == 0):
                break
        new, t = _search(XT, w, starts, pen, ridge, theta, v, g, pens, objective, rows, blocks, steps, grad)
        accepted = t > 0.0
        iteration += 1
        if not accepted:
            if stuck < 3:
                break
            stuck = -max_iter  # the flat direction leads nowhere: go on without
            to_blocks(theta, blocks, steps)
            evaluate(XT, w, starts, blocks, steps, rows, grad)
            continue
        objective = new
        if t < 1.0:
            state[0] = False
    if not accepted or kkt > best:  # `rows` must belong to the returned point
        _copy(best_flat, flat)
        to_blocks(theta, blocks, steps)
        objective = evaluate(XT, w, starts, blocks, steps, rows, grad) + _penalty(theta, pen, ridge)
    return objective, best, iteration, diverging


@jit
def path(
    XT: Any,
    w: Any,
    starts: Any,
    pens: Any,
    ridges: Any,
    theta: Any,
    goal: Any,
    max_iter: Any,
    reuse: Any,
    thetas: Any,
    report: Any,
) -> Any:
    """Solve for each row of `pens`, warm-started; fill `report` (objective, kkt, gap, steps, diverging)."""
    m, width = theta.shape
    rows, dual, gradient = np.empty((5, w.size)), np.empty((2, w.size)), np.empty((m, width))
    H4, state = np.empty((m, width, m, width)), np.zeros(1, np.bool_)
    for s in range(pens.shape[0]):
        steps, aim = 0, goal
        while True:  # the gap is about kkt / penalty: small penalties need a smaller residual
            objective, kkt, used, diverging = newton(
                XT, w, starts, pens[s], ridges[s], theta, aim, max_iter - steps, reuse, rows, H4, state
            )
            steps += used
            dual_point(rows, w, starts, dual)
            dual_gradient(XT, starts, dual, gradient)
            gap = dual_gap(objective, w, dual, gradient, theta, pens[s], ridges[s])
            if gap <= 10.0 * goal or kkt > aim or diverging or steps >= max_iter or aim < 1e-3 * goal:
                break
            aim *= 0.03
        _copy(theta.reshape(m * width), thetas[s].reshape(m * width))
        report[s, 0], report[s, 1], report[s, 3] = objective, kkt, steps
        report[s, 2] = gap
        report[s, 4] = 1.0 if diverging else 0.0
