"""Primal-dual Newton steps that finish a fit under constraints, from the end of its barrier.

A barrier of weight mu leaves the multiplier of a constraint to its slack, mu / slack, a difference of nearly
equal logits: its rounding limits the residual. Here multipliers are unknowns of their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import _kernels, _newton
from ._design import Design

__all__ = ["Polish"]

FloatArray = NDArray[np.float64]

LARGEST = 1200  # unknowns and constraints together beyond which the dense system is not worth its time
COMPLEMENTARITY = 1e-12  # what slacks times multipliers may add to the gap
STEPS = 60


class Polish:
    """Solver of the optimality conditions on the support of `theta`; constraints are the pseudo-rows."""

    def __init__(
        self, real: Design, wide: Design, pseudo: NDArray[np.bool_], pen: FloatArray, ridge: FloatArray
    ) -> None:
        self.real, self.wide, self.pseudo, self.pen, self.ridge = real, wide, pseudo, pen, ridge
        self.codes = np.repeat(np.arange(wide.n_classes), np.diff(wide.starts))

    def run(self, theta: FloatArray, z: FloatArray, goal: float) -> tuple[float, int] | None:
        """Improve `theta` and the multipliers `z` of all rows in place; return KKT residual and steps.

        None, and nothing changed, where the system is too large or the steps do not converge.
        """
        features = np.any(theta[:, 1:] != 0.0, axis=0) | (self.pen[1:] == 0.0)
        steps = 0
        point, multipliers = theta.copy(), z.copy()
        for _ in range(10):
            W = np.flatnonzero(features)
            cols = np.concatenate(([0], W + 1))
            if point.shape[0] * cols.size > LARGEST:
                return None
            part = np.ascontiguousarray(point[:, cols])
            used = self._restricted(W, part, multipliers, goal)
            if used is None:
                return None
            steps += used
            point[:, cols] = part
            pull = np.max(np.abs(self._gradient(point, multipliers, W)), axis=0)
            excess = np.where(features, 0.0, pull - self.pen[1:])
            if excess.max(initial=0.0) <= max(goal, 2.0 * self._residual):
                theta[:], z[:] = point, multipliers
                return max(self._residual, float(excess.max(initial=0.0))), steps
            features |= excess > goal
        return None

    def _gradient(self, theta: FloatArray, z: FloatArray, W: NDArray[np.int64]) -> FloatArray:
        """Return the gradient (m, p) in psi of loss and constraints."""
        rows = np.stack((-z, z))
        rows[:, ~self.pseudo] = self._rows[:2]
        return self.wide.gradient(rows[0], rows[1]) + self.ridge[1:] * theta[:, 1:]

    def _restricted(self, W: NDArray[np.int64], theta: FloatArray, z: FloatArray, goal: float) -> int | None:
        """Solve on the features W; return the steps taken."""
        m, width = theta.shape
        cols = np.concatenate(([0], W + 1))
        pen, ridge = np.tile(self.pen[cols], m), self.ridge[cols]
        columns, flat = self.wide.columns(W), theta.reshape(-1)
        slack = self._slacks(columns, theta)
        if slack.min(initial=np.inf) <= 0.0:
            return None
        chosen = self.pseudo & (z > 1e-6 * z.max(initial=0.0))
        active = (flat != 0.0) | (pen == 0.0)
        sign, dropped = np.sign(flat), np.zeros(flat.size, int)
        any_free = bool(np.any((self.pen[cols] == 0.0)[1:] & (ridge[1:] == 0.0)))
        best, stalled, reach = np.inf, 0, np.inf
        for step in range(STEPS):
            index = np.flatnonzero(chosen)
            z[self.pseudo & ~chosen] = 0.0
            if index.size + np.count_nonzero(active) > LARGEST:
                return None
            A = self._constraints(columns, index, m)
            y, d = z[index], slack[index]
            g, H = self._model(columns, theta, ridge)
            if g is None:
                return None
            r = g - y @ A
            sign = np.where(active, sign, 0.0)
            inside = np.abs(r + pen * sign)[active].max(initial=0.0)
            outside = np.where(active | (dropped > 2), 0.0, np.abs(r) - pen)
            product = float(y @ d)
            self._residual = max(inside, float(np.where(active, 0.0, np.abs(r) - pen).max(initial=0.0)))
            stalled = stalled + 1 if inside > 0.5 * best and product <= COMPLEMENTARITY else 0
            best = min(best, inside)
            done = inside <= goal or stalled >= 4  # rounding: the gap tells what the point is worth
            if done and product <= COMPLEMENTARITY:
                if any_free and reach > 1e-3:  # a small gradient is no optimum while the point still moves
                    return None
                if outside.max(initial=0.0) <= max(goal, 2.0 * inside):
                    return step
                new = outside > np.maximum(goal, 0.3 * outside.max())
                sign[new] = -np.sign(r[new])
                active |= new
                best, stalled = np.inf, 0
            mu = max(0.3 * COMPLEMENTARITY, 0.05 * product) / max(index.size, 1)
            newton = _newton_step(H, A, active, g + pen * sign, y, d, mu)
            if newton is None:
                return None
            move, y_new = newton
            wrong = active & (flat == 0.0) & (pen > 0.0) & (move * sign < 0.0)
            if wrong.any():
                active &= ~wrong
                dropped[wrong] += 1
                continue
            t, blocking, hit = self._length(columns, slack, flat, move, pen, chosen, (m, width))
            if blocking >= 0 and not chosen[blocking]:
                chosen[blocking] = True
                z[blocking] = mu / slack[blocking]
            for _ in range(30):
                trial = flat + t * move
                if hit >= 0:
                    trial[hit] = 0.0
                new_slack = self._slacks(columns, trial.reshape(m, width))
                if new_slack.min(initial=np.inf) > 0.0 and self._legal(columns, trial.reshape(m, width)):
                    break
                t, hit = 0.5 * t, -1
            else:
                return None
            if any_free:
                step_blocks = move.reshape(m, width).copy()
                step_blocks[:, 1:] = np.cumsum(step_blocks[:, 1:], axis=0)
                reach = float(np.abs(step_blocks @ self._own).max())
            flat[:], slack = trial, new_slack
            if hit >= 0:
                active[hit] = False
            change = y_new - y
            falling = change < 0.0
            s = min(1.0, 0.99 * float(np.min(-y[falling] / change[falling], initial=np.inf)))
            z[index] = y + s * change
        return None

    def _slacks(self, columns: FloatArray, theta: FloatArray) -> FloatArray:
        """Return the slack of each constraint, and infinity for real rows."""
        out = np.full(self.codes.size, np.inf)
        starts = self.wide.starts
        for k in range(1, theta.shape[0]):
            rows = slice(starts[k], starts[k + 1])
            step = theta[k].copy()
            step[0] -= theta[k - 1, 0]
            out[rows] = np.where(self.pseudo[rows], step @ columns[:, rows], np.inf)
        return out

    def _constraints(self, columns: FloatArray, index: NDArray[np.int64], m: int) -> FloatArray:
        """Return the rows A of A theta >= 0 for the constraints in `index`."""
        A = np.zeros((index.size, m, columns.shape[0]))
        at = np.arange(index.size)
        A[at, self.codes[index]] = columns[:, index].T
        A[at, self.codes[index] - 1, 0] = -1.0
        return A.reshape(index.size, -1)

    def _evaluate(self, columns: FloatArray, theta: FloatArray) -> tuple[float, FloatArray]:
        blocks, steps, grad = np.empty_like(theta), np.empty_like(theta), np.empty_like(theta)
        _kernels.to_blocks(theta, blocks, steps)
        self._own = np.ascontiguousarray(columns[:, ~self.pseudo])
        self._rows = np.empty((5, self.real.w.size))
        w, starts = self.real.w, self.real.starts
        return _kernels.evaluate(self._own, w, starts, blocks, steps, self._rows, grad), grad

    def _legal(self, columns: FloatArray, theta: FloatArray) -> bool:
        return bool(np.isfinite(self._evaluate(columns, theta)[0]))

    def _model(
        self, columns: FloatArray, theta: FloatArray, ridge: FloatArray
    ) -> tuple[FloatArray | None, FloatArray]:
        """Return gradient and Hessian of loss and ridge."""
        loss, grad = self._evaluate(columns, theta)
        m, width = theta.shape
        H = np.empty((m, width, m, width))
        if not np.isfinite(loss):
            return None, H
        g = np.empty(m * width)
        _newton._gradient_of_theta(grad, theta, ridge, g)
        _kernels.gram(self._own, self.real.starts, self._rows, H)
        return g, H.reshape(g.size, g.size) + np.diag(np.tile(ridge, m))

    def _length(
        self,
        columns: FloatArray,
        slack: FloatArray,
        flat: FloatArray,
        move: FloatArray,
        pen: FloatArray,
        chosen: NDArray[np.bool_],
        shape: tuple[int, int],
    ) -> tuple[float, int, int]:
        """Return the length of the step, the constraint that shortens it and the slope that reaches zero."""
        change = self._slacks(columns, move.reshape(shape))
        shrinking = np.flatnonzero(self.pseudo & (change < 0.0))
        t, blocking, hit = 1.0, -1, -1
        if shrinking.size:
            ratios = -slack[shrinking] / change[shrinking]
            worst = int(np.argmin(ratios))
            if 0.99 * ratios[worst] < t:
                t, blocking = 0.99 * float(ratios[worst]), int(shrinking[worst])
        crossing = np.flatnonzero((pen > 0.0) & (flat * (flat + t * move) < 0.0))
        if crossing.size:
            ratios = -flat[crossing] / move[crossing]
            first = int(np.argmin(ratios))
            t, blocking, hit = float(ratios[first]), -1, int(crossing[first])
        return t, blocking, hit


def _newton_step(
    H: FloatArray,
    A: FloatArray,
    active: NDArray[np.bool_],
    g: FloatArray,
    y: FloatArray,
    d: FloatArray,
    mu: float,
) -> tuple[FloatArray, FloatArray] | None:
    """Solve the perturbed optimality conditions, linearised, for the move and the new multipliers."""
    free = np.flatnonzero(active)
    n, c = free.size, y.size
    K = np.zeros((n + c, n + c))
    K[:n, :n] = H[np.ix_(free, free)]
    K[np.arange(n), np.arange(n)] *= 1.0 + 1e-13
    K[np.arange(n), np.arange(n)] += 1e-14  # dependent columns
    K[:n, n:] = A[:, free].T
    K[n:, :n] = A[:, free]
    K[np.arange(n, n + c), np.arange(n, n + c)] = -d / y
    try:
        x = np.linalg.solve(K, np.concatenate((-g[free], mu / y)))
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(x).all():
        return None
    move = np.zeros(H.shape[0])
    move[free] = x[:n]
    return move, np.asarray(-x[n:])
