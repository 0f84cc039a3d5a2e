"""Primal-dual Newton steps that finish a fit under constraints, from a point of its barrier.

A barrier of weight mu leaves the multiplier of a constraint to its slack, mu / slack, a difference of nearly
equal logits: its rounding limits the residual. Here multipliers are unknowns of their own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._design import Design
from ._subproblem import Subproblem

__all__ = ["Polish"]

FloatArray = NDArray[np.float64]

LARGEST = 1200  # unknowns of the dense system beyond which it is not worth its time
ENTRIES = 10_000_000  # of the Hessian, and of the matrix of constraints, likewise
COMPLEMENTARITY = 1e-12  # what slacks times multipliers may add to the gap
STEPS = 60
STIFF = 1e4  # multiplier / slack beyond which a constraint stays in the system (see `_newton_step`)


class Polish:
    """Solver of the optimality conditions on the support of `theta`; constraints are the pseudo-rows."""

    def __init__(
        self, real: Design, wide: Design, pseudo: NDArray[np.bool_], pen: FloatArray, ridge: FloatArray
    ) -> None:
        self.real, self.wide, self.pseudo, self.pen, self.ridge = real, wide, pseudo, pen, ridge

    def run(self, theta: FloatArray, z: FloatArray, goal: float) -> tuple[float, int] | None:
        """Improve `theta` and the multipliers `z` of the pseudo-rows in place; return KKT residual and steps.

        None, and nothing changed, where the system is too large or the steps do not converge.
        """
        features = np.any(theta[:, 1:] != 0.0, axis=0) | (self.pen[1:] == 0.0)
        steps = 0
        point, multipliers = theta.copy(), z.copy()
        for _ in range(10):
            W = np.flatnonzero(features)
            cols = np.concatenate(([0], W + 1))
            if (point.shape[0] * cols.size) ** 2 > ENTRIES:
                return None
            problem = Subproblem(self.real, self.wide, self.pseudo, W, self.ridge[cols])
            part = np.ascontiguousarray(point[:, cols])
            inner = _Iteration(problem, self.pen[cols], part, multipliers)
            used = inner.run(goal)
            if used is None:
                return None
            steps += used
            point[:, cols] = part
            pull = np.max(np.abs(self._gradient(point, multipliers, problem)), axis=0)
            excess = np.where(features, 0.0, pull - self.pen[1:])
            if excess.max(initial=0.0) <= max(goal, 2.0 * inner.residual):
                theta[:], z[:] = point, multipliers
                return max(inner.residual, float(excess.max(initial=0.0))), steps
            features |= excess > goal
        return None

    def _gradient(self, theta: FloatArray, z: FloatArray, problem: Subproblem) -> FloatArray:
        """Return the gradient (m, p) in psi of loss, ridge and constraints, over all features."""
        rows = np.empty((2, self.pseudo.size))
        rows[:, self.pseudo] = -z, z
        rows[:, ~self.pseudo] = problem.rows[:2]
        return self.wide.gradient(rows[0], rows[1]) + self.ridge[1:] * theta[:, 1:]


class _Iteration:
    """Newton steps in theta and the multipliers z, both changed in place, with an active set of slopes.

    Penalised slopes that are zero stay there until the gradient at them exceeds the penalty; constraints
    without a multiplier join when they block a step.
    """

    def __init__(self, problem: Subproblem, pen: FloatArray, theta: FloatArray, z: FloatArray) -> None:
        self.problem, self.theta, self.z = problem, theta, z
        self.flat = theta.reshape(-1)
        self.pen = np.tile(pen, theta.shape[0])
        self.slack = problem.slacks(theta)
        self.chosen = z > 1e-6 * z.max(initial=0.0)
        self.active = (self.flat != 0.0) | (self.pen == 0.0)
        self.sign, self.dropped = np.sign(self.flat), np.zeros(self.flat.size, int)
        self.any_free = bool(np.any((pen == 0.0)[1:] & (problem.ridge[1:] == 0.0)))
        self.reach = np.inf  # the largest change of a logit in the last step
        self.residual = self.best = np.inf
        self.stalled = 0

    def run(self, goal: float) -> int | None:
        """Step until residual and complementarity are small; return the steps taken, None on failure."""
        if self.slack.min(initial=np.inf) <= 0.0:
            return None
        for step in range(STEPS):
            self.z[~self.chosen] = 0.0
            index = np.flatnonzero(self.chosen)
            model = self.problem.model(self.theta)
            if model is None or index.size * self.flat.size > ENTRIES:
                return None
            A = self.problem.constraints(index, self.theta.shape[0])
            excess = self._residuals(model[0] - self.z[index] @ A)
            product = float(self.z[index] @ self.slack[index])
            if self._is_settled(product, goal):
                if self.any_free and self.reach > 1e-3:
                    return None  # a small gradient is no optimum while the point still moves
                if not self._release(excess, goal):
                    return step
            mu = max(0.3 * COMPLEMENTARITY, 0.05 * product) / max(index.size, 1)
            if not self._advance(model, A, index, mu):
                return None
        return None

    def _residuals(self, r: FloatArray) -> FloatArray:
        """Refresh the residuals from the gradient `r` of loss, ridge and constraints.

        Returns the signed excess of r over the penalty of each slope held at zero, zero elsewhere.
        """
        self.sign = np.where(self.active, self.sign, 0.0)
        self.inside = float(np.abs(r + self.pen * self.sign)[self.active].max(initial=0.0))
        excess = np.where(self.active, 0.0, np.sign(r) * np.maximum(np.abs(r) - self.pen, 0.0))
        self.residual = max(self.inside, float(np.abs(excess).max(initial=0.0)))
        return np.where(self.dropped > 2, 0.0, excess)  # those that came back at once, and again, stay

    def _is_settled(self, product: float, goal: float) -> bool:
        """Tell whether the active set is solved, to the goal or as far as rounding lets the residual fall."""
        complementary = product <= COMPLEMENTARITY
        self.stalled = self.stalled + 1 if complementary and self.inside > 0.5 * self.best else 0
        self.best = min(self.best, self.inside)
        return complementary and (self.inside <= goal or self.stalled >= 4)

    def _release(self, excess: FloatArray, goal: float) -> bool:
        """Let the slopes whose gradient exceeds the penalty most leave zero; tell whether there are any."""
        size = np.abs(excess)
        if size.max(initial=0.0) <= max(goal, 2.0 * self.inside):
            return False
        new = size > max(goal, 0.3 * size.max())
        self.sign[new] = -np.sign(excess[new])
        self.active |= new
        self.best, self.stalled = np.inf, 0
        return True

    def _advance(
        self, model: tuple[FloatArray, FloatArray], A: FloatArray, index: NDArray[np.int64], mu: float
    ) -> bool:
        """Step towards complementarity `mu` of each constraint in `index`; tell whether that was possible."""
        y, d = self.z[index], self.slack[index]
        while True:
            gradient = model[0] + self.pen * np.where(self.active, self.sign, 0.0)
            newton = _newton_step(model[1], A, np.flatnonzero(self.active), gradient, y, d, mu)
            if newton is None:
                return False
            move, y_new = newton
            wrong = self.active & (self.flat == 0.0) & (self.pen > 0.0) & (move * self.sign < 0.0)
            if not wrong.any():
                break
            self.active &= ~wrong  # they would leave zero against the sign of their penalty
            self.dropped[wrong] += 1
        t, blocking, hit = self._length(move)
        if blocking >= 0 and not self.chosen[blocking]:
            self.chosen[blocking] = True
            self.z[blocking] = mu / self.slack[blocking]
        if self.any_free:
            self.reach = self.problem.reach(move.reshape(self.theta.shape))
        change = y_new - y
        falling = change < 0.0
        s = min(1.0, 0.99 * float(np.min(-y[falling] / change[falling], initial=np.inf)))
        self.z[index] = y + s * change
        return self._move(move, t, hit)

    def _length(self, move: FloatArray) -> tuple[float, int, int]:
        """Return the length of the step, the constraint that shortens it and the slope that reaches zero."""
        change = self.problem.slacks(move.reshape(self.theta.shape))
        shrinking = np.flatnonzero(change < 0.0)
        t, blocking, hit = 1.0, -1, -1
        if shrinking.size:
            ratios = -self.slack[shrinking] / change[shrinking]
            worst = int(np.argmin(ratios))
            if 0.99 * ratios[worst] < t:
                t, blocking = 0.99 * float(ratios[worst]), int(shrinking[worst])
        crossing = np.flatnonzero((self.pen > 0.0) & (self.flat * (self.flat + t * move) < 0.0))
        if crossing.size:
            ratios = -self.flat[crossing] / move[crossing]
            first = int(np.argmin(ratios))
            t, blocking, hit = float(ratios[first]), -1, int(crossing[first])
        return t, blocking, hit

    def _move(self, move: FloatArray, t: float, hit: int) -> bool:
        """Go along `move`, halving the length `t` until the point is legal; tell whether it was found."""
        for _ in range(30):
            trial = self.flat + t * move
            if hit >= 0:
                trial[hit] = 0.0
            theta = trial.reshape(self.theta.shape)
            slack = self.problem.slacks(theta)
            if self.problem.is_inside(theta, slack):
                self.flat[:], self.slack = trial, slack
                if hit >= 0:
                    self.active[hit] = False
                return True
            t, hit = 0.5 * t, -1
        return False


def _newton_step(
    H: FloatArray,
    A: FloatArray,
    free: NDArray[np.int64],
    g: FloatArray,
    y: FloatArray,
    d: FloatArray,
    mu: float,
) -> tuple[FloatArray, FloatArray] | None:
    """Solve ``H x - A' y_new = -g, d y_new + y A x = mu`` for the move x of the `free` unknowns and y_new.

    Constraints whose ratio y / d is moderate are eliminated, ``y_new = (mu - y A x) / d``, at a loss of
    `STIFF` roundings; the others, which nearly hold with equality, are unknowns beside x. None where the
    system is singular or too large.
    """
    stiff = y > STIFF * d
    n, c = free.size, int(np.count_nonzero(stiff))
    if n + c > LARGEST:
        return None
    soft = A[~stiff][:, free]
    K, right = np.zeros((n + c, n + c)), np.empty(n + c)
    K[:n, :n] = H[np.ix_(free, free)] + (soft.T * (y[~stiff] / d[~stiff])) @ soft
    K[np.arange(n), np.arange(n)] *= 1.0 + 1e-13
    K[np.arange(n), np.arange(n)] += 1e-14  # dependent columns
    K[:n, n:] = A[stiff][:, free].T
    K[n:, :n] = K[:n, n:].T
    K[np.arange(n, n + c), np.arange(n, n + c)] = -d[stiff] / y[stiff]
    right[:n] = (mu / d[~stiff]) @ soft - g[free]
    right[n:] = mu / y[stiff]
    try:
        x = np.linalg.solve(K, right)
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(x).all():
        return None
    move, y_new = np.zeros(H.shape[0]), np.empty(y.size)
    move[free] = x[:n]
    y_new[stiff] = -x[n:]
    y_new[~stiff] = (mu - y[~stiff] * (soft @ x[:n])) / d[~stiff]
    return move, y_new
