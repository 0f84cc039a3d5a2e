"""Fits whose boundaries are in order on every training row: a vanishing barrier, then primal-dual steps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from . import _dual, _kernels, _own
from ._design import Design
from ._own import Own, Point, goal_of, is_legal, penalties
from ._polish import Polish

__all__ = ["Constrained"]

FloatArray = NDArray[np.float64]

BARRIERS = 10.0 ** -np.arange(1, 9)  # below 1e-8 Newton's method meets rounding
LOOSE = 0.1  # residual, as a share of the barrier, at which a heavier barrier is left
POLISH_FROM = 1e-5  # the first barrier from which primal-dual steps are tried
_RATIO = 1.0 / (BARRIERS[-2] / BARRIERS[-1] - 1.0)  # the step to barrier zero per step between the last two


class Constrained:
    """Solver with the order of all boundaries enforced on every training row, by a vanishing barrier."""

    def __init__(self, design: Design) -> None:
        self.real = design
        self.wide, self.pseudo = design.extended()
        self.base = self.wide.w.copy()
        self.last: FloatArray | None = None

    def step(
        self,
        theta: FloatArray,
        lams: FloatArray,
        l1_ratio: float,
        factors: FloatArray,
        tol: float,
        max_iter: int,
    ) -> Point:
        """Follow the barrier down and go on towards zero; the gap is that of the constrained problem."""
        barriers = BARRIERS
        if self.last is not None:
            theta[:] = self.last  # the extrapolated point lies too close to the constraints to start from
            barriers = BARRIERS[-6:]  # heavier ones would only lead away from it
        total, residuals, thetas, duals = 0, [np.inf], [], []
        for mu in barriers:
            self.wide.w = np.where(self.pseudo, mu * self.base, self.base)
            inner = Own(self.wide, stiff=True)
            certified = mu in BARRIERS[-3:]  # the heavier ones only lead there
            loose = tol if certified else max(1e4 * tol, LOOSE * mu)
            lam = lams[-1:] if certified else np.maximum(lams[-1:], mu)  # a small support to begin with
            _, kkt, _, used, diverging = inner.step(theta, lam, l1_ratio, factors, loose, max_iter)
            total += used
            if mu == BARRIERS[-1] and kkt > tol >= residuals[-1]:
                break  # rounding: the barrier before serves as the last
            residuals.append(kkt)
            if mu <= POLISH_FROM and kkt <= loose:
                finished = self._polished(theta, lams[-1:], l1_ratio, factors, tol)
                if finished is not None:
                    self.last = theta.copy()
                    theta[:], objective, kkt, gap, more = finished
                    return objective, kkt, gap, total + more, diverging
            if certified:
                thetas.append(theta.copy())
                duals.append(self._multipliers(theta))
        self.last = thetas[-1]
        theta[:], objective = self._nearer(thetas, lams[-1], l1_ratio, factors)
        pens, ridges = penalties(lams[-1:], l1_ratio, factors)
        limits = (duals[-1], *(_limit(*pair) for pair in pairwise(duals)))
        gap = min(self._gap(objective, rows, theta, pens[0], ridges[0]) for rows in limits)
        return objective, residuals[-1], gap, total, diverging

    def _polished(
        self, theta: FloatArray, lams: FloatArray, l1_ratio: float, factors: FloatArray, tol: float
    ) -> tuple[FloatArray, float, float, float, int] | None:
        """Return the end of the primal-dual steps from `theta`, where they lead to a certified point."""
        pens, ridges = penalties(lams, l1_ratio, factors)
        polish = Polish(self.real, self.wide, self.pseudo, pens[0], ridges[0])
        point = theta.copy()
        multipliers = self._multipliers(theta)[2, self.pseudo]
        steps, best = 0, None
        for aim in goal_of(tol) * np.array([1.0, 0.03, 1e-3]):  # the gap is about kkt / penalty
            done = polish.run(point, multipliers, aim)
            if done is None or not is_legal(self.real, point, "train"):
                break
            rows = self._multipliers(point)
            rows[:, self.pseudo] = -multipliers, multipliers, multipliers
            objective = self._objective(point, lams[0], l1_ratio, factors)
            gap = self._gap(objective, rows, point, pens[0], ridges[0])
            steps += done[1]
            if max(done[0], gap) <= 0.1 * tol and (best is None or gap < best[3]):
                best = point.copy(), objective, done[0], gap, steps
            if gap <= 10.0 * goal_of(tol):
                break
        return best

    def _nearer(
        self, thetas: list[FloatArray], lam: float, l1_ratio: float, factors: FloatArray
    ) -> tuple[FloatArray, float]:
        """Return the last point, or one nearer to barrier zero where it is legal and its objective lower."""
        last = thetas[-1]
        best, value = last, self._objective(last, lam, l1_ratio, factors)
        for share in (0.5, 0.9):  # the slacks of the constraints shrink to this much less than one
            ahead = last + share * _RATIO * (last - thetas[-2])
            ahead[:, 1:] = np.where(ahead[:, 1:] * last[:, 1:] > 0.0, ahead[:, 1:], 0.0)
            if is_legal(self.real, ahead, "train"):
                new = self._objective(ahead, lam, l1_ratio, factors)
                if new < value:
                    best, value = ahead, new
        return best, value

    def _multipliers(self, theta: FloatArray) -> FloatArray:
        """Return w f_a, w f_b and w r of all rows; w r of a pseudo-row is its constraint's multiplier."""
        inner = Own(self.wide)
        inner._evaluate(theta, np.flatnonzero(np.any(theta[:, 1:] != 0.0, axis=0)))
        r = self.wide.w * _dual.barrier_slope(inner.rows[4] / self.wide.w)
        f_a, f_b = (np.where(self.pseudo, sign * r, f) for sign, f in zip((-1, 1), inner.rows))
        return np.stack((f_a, f_b, r))

    def _gap(
        self, objective: float, rows: FloatArray, theta: FloatArray, pen: FloatArray, ridge: FloatArray
    ) -> float:
        """Return the duality gap under the constraints, from multipliers repaired to be feasible."""
        dual, gradient = np.empty((2, self.pseudo.size)), np.zeros_like(theta)
        derivatives = np.zeros((5, self.pseudo.size))
        derivatives[:2], derivatives[4] = rows[:2], rows[2] * (1.0 + rows[2] / self.wide.w)
        _dual.dual_point(derivatives, self.wide.w, self.wide.starts, dual)
        gradient[:, 1:] = self.wide.gradient(-dual[0], dual[1])
        real = ~self.pseudo
        weights, dual = self.wide.w[real], np.ascontiguousarray(dual[:, real])
        return float(_dual.dual_gap(objective, weights, dual, gradient, theta, pen, ridge))

    def _objective(self, theta: FloatArray, lam: float, l1_ratio: float, factors: FloatArray) -> float:
        """Return the objective of the real rows alone."""
        blocks, steps, grad = np.empty_like(theta), np.empty_like(theta), np.empty_like(theta)
        _kernels.to_blocks(theta, blocks, steps)
        W = np.arange(theta.shape[1] - 1)
        if theta.shape[1] > _own.GRAM_FEATURES:
            W = np.flatnonzero(np.any(theta[:, 1:] != 0.0, axis=0))
            cols = np.concatenate(([0], W + 1))
            blocks, steps, grad = (np.ascontiguousarray(x[:, cols]) for x in (blocks, steps, grad))
        d = self.real
        loss = _kernels.evaluate(d.columns(W), d.w, d.starts, blocks, steps, np.empty((5, d.w.size)), grad)
        psi = theta[:, 1:]
        penalty = l1_ratio * np.abs(psi) + 0.5 * (1.0 - l1_ratio) * psi**2
        return float(loss + lam * np.sum(factors * penalty))


def _limit(before: FloatArray, last: FloatArray) -> FloatArray:
    """Extrapolate multipliers to the barrier of weight zero: they are linear in it, up to its square."""
    f_a, f_b, r = last + _RATIO * (last - before)
    r = np.maximum(r, 0.0)
    return np.stack((np.minimum(f_a, -r), np.maximum(f_b, r), r))
