"""Minimise the penalised likelihood along decreasing penalties, on a design that is already standardised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _dual, _kernels, _newton
from ._design import Design

__all__ = ["Solution", "is_legal", "largest_penalty", "solve"]

FloatArray = NDArray[np.float64]

GRAM_FEATURES = 600  # up to here all features form one working set
GRAM_UNKNOWNS = 4000  # beyond, or beyond a fifth of it for few rows, no Hessian is formed (residual mode)
REUSE_FROM = 2e7  # n (p + 1)^2 from which a Hessian is kept while it still serves
BARRIERS = 10.0 ** -np.arange(1, 9)  # below 1e-8 Newton's method meets rounding
_RATIO = 1.0 / (BARRIERS[-2] / BARRIERS[-1] - 1.0)  # the step to barrier zero per step between the last two


@dataclass
class Solution:
    """Points of a path in standardised coordinates: theta holds intercepts in column 0, psi in the others."""

    theta: FloatArray
    objective: FloatArray
    kkt: FloatArray
    dual_gap: FloatArray
    n_iter: NDArray[np.int64]
    diverging: NDArray[np.bool_]


def goal_of(tol: float) -> float:
    """Return the residual to aim for: well below `tol`, since the last Newton step costs little."""
    return max(0.002 * tol, 1e-15)


def solve(
    design: Design,
    lams: FloatArray,
    l1_ratio: float,
    factors: FloatArray,
    *,
    tol: float,
    max_iter: int,
    crossing: str = "own",
    start: FloatArray | None = None,
    stop: Callable[[int, float], bool] | None = None,
) -> Solution:
    """Solve at each penalty of `lams`, warm-started; `stop(index, objective)` may end the path."""
    m, p = design.n_boundaries, design.n_features
    theta = np.zeros((m, p + 1))
    theta[:, 0] = design.null_intercepts()
    if start is not None:
        theta[:] = start
    runner = _Constrained(design) if crossing == "train" and m > 1 else _Own(design)
    if stop is None and isinstance(runner, _Own) and runner.narrow:
        pens, ridges = _penalties(lams, l1_ratio, factors)
        return _narrow(design, pens, ridges, theta, tol, max_iter)
    points = []
    for index in range(lams.size):
        point = runner.step(theta, lams[: index + 1][-2:], l1_ratio, factors, tol, max_iter)
        points.append((theta.copy(), *point))
        if stop is not None and stop(index, point[0]):
            break
    thetas, objective, kkt, gap, steps, diverging = zip(*points)
    return Solution(
        np.stack(thetas),
        np.array(objective),
        np.array(kkt),
        np.array(gap),
        np.array(steps),
        np.array(diverging),
    )


def _penalties(lams: FloatArray, l1_ratio: float, factors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the l1 and ridge weights (s, p + 1); the intercepts of column 0 are free."""
    c = np.concatenate(([0.0], factors))
    return np.outer(lams * l1_ratio, c), np.outer(lams * (1.0 - l1_ratio), c)


def _narrow(
    design: Design, pens: FloatArray, ridges: FloatArray, theta: FloatArray, tol: float, max_iter: int
) -> Solution:
    """Run the whole path in one compiled call."""
    XT = design.full()
    thetas, report = np.empty((pens.shape[0], *theta.shape)), np.empty((pens.shape[0], 5))
    reuse = (
        design.w.size * float(theta.shape[1]) ** 2 >= REUSE_FROM and not ridges.any() and pens[:, 1:].all()
    )
    _newton.path(
        XT, design.w, design.starts, pens, ridges, theta, goal_of(tol), max_iter, reuse, thetas, report
    )
    return Solution(
        thetas, report[:, 0], report[:, 1], report[:, 2], report[:, 3].astype(np.int64), report[:, 4] > 0
    )


Point = tuple[float, float, float, int, bool]


class _Own:
    """Solver of the problem whose domain is the order of each row's own boundaries."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.narrow = not design.sparse and design.n_features <= GRAM_FEATURES
        self.narrow = self.narrow and _gram_pays(design.n_boundaries * (design.n_features + 1), design)
        n = design.w.size
        self.rows, self.dual = np.empty((5, n)), np.empty((2, n))
        self.gradient: FloatArray | None = None

    def step(
        self,
        theta: FloatArray,
        lams: FloatArray,
        l1_ratio: float,
        factors: FloatArray,
        tol: float,
        max_iter: int,
    ) -> Point:
        """Move `theta` to the optimum at ``lams[-1]``; ``lams[0]`` is the penalty it comes from."""
        pens, ridges = _penalties(lams[-1:], l1_ratio, factors)
        if self.narrow:
            s = _narrow(self.design, pens, ridges, theta, tol, max_iter)
            theta[:] = s.theta[0]
            return s.objective[0], s.kkt[0], s.dual_gap[0], int(s.n_iter[0]), bool(s.diverging[0])
        return self._wide(theta, float(lams[0]), float(lams[-1]), pens[0], ridges[0], tol, max_iter)

    def _wide(
        self,
        theta: FloatArray,
        lam_before: float,
        lam: float,
        pen: FloatArray,
        ridge: FloatArray,
        tol: float,
        max_iter: int,
    ) -> Point:
        """Solve on a working set from the sequential strong rule, until no feature outside violates KKT."""
        goal = goal_of(tol)
        support = np.any(theta[:, 1:] != 0.0, axis=0) | (pen[1:] == 0.0)
        if self.gradient is None:
            self._evaluate(theta, np.flatnonzero(support))
        assert self.gradient is not None
        pull = np.max(np.abs(self.gradient), axis=0)
        rule = (2.0 * lam - lam_before) / lam * pen[1:] if lam > 0.0 else pen[1:]
        ahead = max(50, int(np.count_nonzero(support)) // 2)
        inside = support | _strongest((pull >= rule) & ~support, pull - pen[1:], ahead)
        steps, aim = 0, goal
        while True:
            objective, kkt, used, diverging = self._newton(
                theta, inside, pen, ridge, aim, max(max_iter - steps, 1)
            )
            steps += used
            pull = np.max(np.abs(self.gradient), axis=0)
            excess = np.where(inside, 0.0, pull - pen[1:])
            worst = float(np.max(excess, initial=0.0))
            stopped = kkt > tol or steps >= max_iter or diverging
            if worst > goal and not stopped:
                inside |= _strongest(excess > goal, excess, max(50, int(inside.sum()) // 2))
                continue
            gap = self._gap(objective, theta, pen, ridge)
            if stopped or gap <= 10.0 * goal or kkt > aim or aim < 1e-3 * goal:
                return objective, max(kkt, worst), gap, steps, diverging
            aim *= 0.03  # the gap is about kkt / penalty: small penalties need a smaller residual

    def _newton(
        self,
        theta: FloatArray,
        inside: NDArray[np.bool_],
        pen: FloatArray,
        ridge: FloatArray,
        goal: float,
        max_iter: int,
    ) -> tuple[float, float, int, bool]:
        """Solve on the working set `inside`; refresh theta, the row derivatives and the full gradient."""
        W = np.flatnonzero(inside)
        cols = np.concatenate(([0], W + 1))
        part = np.ascontiguousarray(theta[:, cols])
        d = self.design
        gram = _gram_pays(part.size, d) or (part.size <= GRAM_UNKNOWNS and not pen[1:].all())
        solver = _newton.newton if gram else _residual_solver()
        objective, kkt, steps, diverging = solver(
            d.columns(W),
            d.w,
            d.starts,
            pen[cols],
            ridge[cols],
            part,
            goal,
            max_iter,
            False,
            self.rows,
            *_room(part, gram),
        )
        theta[:, cols] = part
        self.gradient = d.gradient(self.rows[0], self.rows[1])
        return objective, kkt, steps, diverging

    def _gap(self, objective: float, theta: FloatArray, pen: FloatArray, ridge: FloatArray) -> float:
        """Return the duality gap over all features."""
        d = self.design
        _dual.dual_point(self.rows, d.w, d.starts, self.dual)
        gradient = np.zeros_like(theta)
        gradient[:, 1:] = d.gradient(-self.dual[0], self.dual[1])
        return float(_dual.dual_gap(objective, d.w, self.dual, gradient, theta, pen, ridge))

    def _evaluate(self, theta: FloatArray, W: NDArray[Any]) -> None:
        """Refresh the row derivatives and the full gradient at `theta`, whose support lies in W."""
        cols = np.concatenate(([0], W + 1))
        part = np.ascontiguousarray(theta[:, cols])
        blocks, steps, grad = np.empty_like(part), np.empty_like(part), np.empty_like(part)
        _kernels.to_blocks(part, blocks, steps)
        d = self.design
        _kernels.evaluate(d.columns(W), d.w, d.starts, blocks, steps, self.rows, grad)
        self.gradient = d.gradient(self.rows[0], self.rows[1])


def _gram_pays(unknowns: int, design: Design) -> bool:
    """Tell whether forming and factoring a Hessian is cheaper than conjugate gradients over the rows."""
    few_rows = design.w.size < 20 * unknowns
    return unknowns <= (GRAM_UNKNOWNS // 5 if few_rows else GRAM_UNKNOWNS)


def _room(part: FloatArray, gram: bool) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the two arrays in which `newton` keeps a Hessian; none in residual mode."""
    shape = 2 * part.shape if gram else (1, 1, 1, 1)
    return np.empty(shape), np.zeros(1, bool)


def _residual_solver() -> Any:
    from ._residual import newton_cg

    return newton_cg


def _strongest(mask: NDArray[np.bool_], key: FloatArray, limit: int) -> NDArray[np.bool_]:
    """Keep at most `limit` entries of `mask`, those with the largest `key`."""
    chosen = np.flatnonzero(mask)
    if chosen.size <= limit:
        return mask
    out = np.zeros_like(mask)
    out[chosen[np.argpartition(-key[chosen], limit)[:limit]]] = True
    return out


class _Constrained:
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
        if self.last is not None:
            theta[:] = self.last  # the extrapolated point lies too close to the constraints to start from
        total, residuals, thetas, duals = 0, [np.inf], [], []
        for mu in BARRIERS:
            self.wide.w = np.where(self.pseudo, mu * self.base, self.base)
            inner = _Own(self.wide)
            certified = mu in BARRIERS[-4:]  # the heavier ones only lead there
            loose = tol if certified else 1e4 * tol
            _, kkt, _, used, diverging = inner.step(theta, lams[-1:], l1_ratio, factors, loose, max_iter)
            total += used
            if mu == BARRIERS[-1] and kkt > tol >= residuals[-1]:
                break  # rounding: the barrier before serves as the last
            residuals.append(kkt)
            if certified:
                thetas.append(theta.copy())
                duals.append(self._multipliers(theta))
        self.last = thetas[-1]
        theta[:], objective = self._nearer(thetas, lams[-1], l1_ratio, factors)
        pens, ridges = _penalties(lams[-1:], l1_ratio, factors)
        limits = (duals[-1], *(_limit(*pair) for pair in pairwise(duals)))
        gap = min(self._gap(objective, rows, theta, pens[0], ridges[0]) for rows in limits)
        return objective, residuals[-1], gap, total, diverging

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
        inner = _Own(self.wide)
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
        if theta.shape[1] > GRAM_FEATURES:
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


def is_legal(design: Design, theta: FloatArray, crossing: str) -> bool:
    """Tell whether `theta` lies in the domain, so that Newton's method may start there."""
    W = np.flatnonzero(np.any(theta[:, 1:] != 0.0, axis=0))
    part = np.ascontiguousarray(theta[:, np.concatenate(([0], W + 1))])
    blocks, steps, grad = np.empty_like(part), np.empty_like(part), np.empty_like(part)
    _kernels.to_blocks(part, blocks, steps)
    rows = np.empty((5, design.w.size))
    loss = _kernels.evaluate(design.columns(W), design.w, design.starts, blocks, steps, rows, grad)
    return bool(np.isfinite(loss)) and (crossing == "own" or not design.crossings(theta[None]).any())


def largest_penalty(
    design: Design, l1_ratio: float, factors: FloatArray, *, tol: float, max_iter: int
) -> tuple[float, FloatArray | None]:
    """Return the smallest penalty with Psi = 0 on penalised features, and the start it was computed at."""
    m = design.n_boundaries
    theta = np.zeros((m, design.n_features + 1))
    theta[:, 0] = design.null_intercepts()
    free = np.flatnonzero(factors == 0.0)
    runner = _Own(design)
    if free.size:
        cols = np.concatenate(([0], free + 1))
        part = np.ascontiguousarray(theta[:, cols])
        none = np.zeros(cols.size)
        _newton.newton(
            design.columns(free),
            design.w,
            design.starts,
            none,
            none,
            part,
            goal_of(tol),
            max_iter,
            False,
            runner.rows,
            *_room(part, True),
        )
        theta[:, cols] = part
    runner._evaluate(theta, free)
    assert runner.gradient is not None
    pull = np.max(np.abs(runner.gradient), axis=0)[factors > 0.0] / factors[factors > 0.0]
    largest = float(np.max(pull, initial=0.0)) / max(l1_ratio, 0.01)
    return largest, theta if free.size else None
