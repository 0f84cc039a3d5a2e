"""Minimise the penalised likelihood at one penalty, on a design that is already standardised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _dual, _kernels, _newton
from ._design import Design

__all__ = ["Own", "Point", "Solution", "goal_of", "is_legal", "largest_penalty", "narrow", "penalties"]

FloatArray = NDArray[np.float64]

GRAM_FEATURES = 600  # up to here all features form one working set
GRAM_UNKNOWNS = 4000  # beyond, or beyond a fifth of it for few rows, no Hessian is formed (residual mode)
REUSE_FROM = 2e7  # n (p + 1)^2 from which a Hessian is kept while it still serves


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


def penalties(lams: FloatArray, l1_ratio: float, factors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the l1 and ridge weights (s, p + 1); the intercepts of column 0 are free."""
    c = np.concatenate(([0.0], factors))
    return np.outer(lams * l1_ratio, c), np.outer(lams * (1.0 - l1_ratio), c)


def narrow(
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


class Own:
    """Solver of the problem whose domain is the order of each row's own boundaries."""

    def __init__(self, design: Design, *, stiff: bool = False) -> None:
        self.design = design
        self.stiff = stiff  # barriers, with which conjugate gradients take very many steps
        self.narrow = not design.sparse and design.n_features <= GRAM_FEATURES
        self.narrow = self.narrow and self._gram_pays(design.n_boundaries * (design.n_features + 1))
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
        pens, ridges = penalties(lams[-1:], l1_ratio, factors)
        if self.narrow:
            s = narrow(self.design, pens, ridges, theta, tol, max_iter)
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
        gram = self._gram_pays(part.size) or (part.size <= GRAM_UNKNOWNS and not pen[1:].all())
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

    def _gram_pays(self, unknowns: int) -> bool:
        """Tell whether forming and factoring a Hessian is cheaper than conjugate gradients over the rows."""
        few_rows = self.design.w.size < 20 * unknowns and not self.stiff
        return unknowns <= (GRAM_UNKNOWNS // 5 if few_rows else GRAM_UNKNOWNS)

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
    runner = Own(design)
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
