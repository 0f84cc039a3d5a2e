"""Conjugate gradients on a padded grid: double-precision residuals, three fused passes around a cycle.

The direction is kept in the precision of the cycle, which halves the traffic; its product with A and all
scalar products are computed in double precision, so that the residual follows the solution to 1e-12. The
residual is handed to the cycle at a scale near one, since subnormal numbers are slow.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.jit import REASSOC, jit

from ._rows import around_double, inside, near

if TYPE_CHECKING:
    from ._hierarchy import Hierarchy

__all__ = ["GridCG"]

Array = NDArray[Any]

#: The residual is computed from its definition every so many iterations.
REFRESH = 50
#: A true residual so many times the recursive one means that rounding has parted them.
DRIFT = 2.0
#: So many refreshed residuals in a row may fail to halve before the solve counts as stuck.
PATIENCE = 3


@jit(fastmath=REASSOC)
def _turn(p: Array, z: Array, beta: Any) -> None:
    for k in range(p.size):
        p[k] = z[k] + beta * p[k]


@jit(fastmath=REASSOC)
def _energy(p: Array, neighbours: Any, n: Array) -> float:
    """Return ``p . A p`` of one row."""
    xm, xp, xl, xr, xd, xu = neighbours
    total = 0.0
    for k in range(p.size):
        c = np.float64(p[k])
        total += c * (np.float64(n[k]) * c - around_double(xm, xp, xl, xr, xd, xu, k))
    return total


@jit
def _direction(p: Array, z: Array, n: Array, s: int | None, beta: Any) -> float:
    """Replace `p` by ``z + beta p`` and return ``p . A p``, in one pass with a lag of a row."""
    rows, m = p.shape
    lo, hi = inside(m, s)
    total = 0.0
    for i in range(1, rows):
        if i < rows - 1:
            _turn(p[i, lo:hi], z[i, lo:hi], beta)
        j = i - 1
        if j >= 1:
            total += _energy(p[j, lo:hi], near(p[j - 1], p[j], p[j + 1], lo, hi, s), n[j, lo:hi])
    return total


@jit(fastmath=REASSOC)
def _advance_row(x: Array, r: Array, b: Array, p: Array, neighbours: Any, n: Array, alpha: float,
                 scale: float) -> float:  # fmt: skip
    """Step along `p`; return the squared norm of the residual of one row."""
    xm, xp, xl, xr, xd, xu = neighbours
    total = 0.0
    for k in range(x.size):
        c = np.float64(p[k])
        x[k] += alpha * c
        product = np.float64(n[k]) * c - around_double(xm, xp, xl, xr, xd, xu, k)
        # Off FLUID there is no equation, and n = 0.
        v = r[k] - alpha * product if n[k] > 0 else 0.0
        r[k] = v
        b[k] = scale * v
        total += v * v
    return total


@jit
def _advance(
    x: Array, r: Array, b: Array, p: Array, n: Array, s: int | None, alpha: float, scale: float
) -> float:
    """``x += alpha p``, ``r -= alpha A p``, ``b = scale r``; return the squared norm of r."""
    rows, m = p.shape
    lo, hi = inside(m, s)
    total = 0.0
    for j in range(1, rows - 1):
        total += _advance_row(x[j, lo:hi], r[j, lo:hi], b[j, lo:hi], p[j, lo:hi],
                              near(p[j - 1], p[j], p[j + 1], lo, hi, s), n[j, lo:hi], alpha,
                              scale)  # fmt: skip
    return total


@jit
def _enter(grid: Array, n: Array, out: Array, s: int) -> float:
    """Copy a 3-D `grid` into padded rows, zero off the equations; return the largest magnitude."""
    n0, n1, n2 = grid.shape
    top = 0.0
    for i in range(n0):
        for j in range(n1):
            row, at = (j + 1, 1) if s == 0 else (i + 1, (j + 1) * s + 1)
            for k in range(n2):
                v = grid[i, j, k] if n[row, at + k] > 0 else 0.0
                out[row, at + k] = v
                top = max(top, abs(v))
    return top


@jit
def _leave(rows: Array, grid: Array, s: int) -> None:
    """Copy padded rows back into a 3-D `grid`."""
    n0, n1, n2 = grid.shape
    for i in range(n0):
        for j in range(n1):
            row, at = (j + 1, 1) if s == 0 else (i + 1, (j + 1) * s + 1)
            for k in range(n2):
                grid[i, j, k] = rows[row, at + k]


def _boxed(grid: Array) -> Array:
    """Return a grid as 3-D."""
    return grid if grid.ndim == 3 else grid[None]


class GridCG:
    """Vectors of the outer iteration on the padded grid of a hierarchy; they are kept between solves."""

    def __init__(self, hierarchy: Hierarchy) -> None:
        self.hierarchy = hierarchy
        grid = hierarchy.count.shape
        self.x, self.r = np.zeros(grid), np.zeros(grid)
        self.b, self.z, self.p = (np.zeros(grid, hierarchy.dtype) for _ in range(3))
        self.scale = 1.0

    def apply(self, r: Array, out: Array) -> None:
        """Write ``B r`` on full grids."""
        top = _enter(_boxed(r), self.hierarchy.count, self.r, self.hierarchy.line)
        if top == 0.0:
            np.multiply(r, 0.0, out=out)  # zero, or NaN, which `top` has not seen
            return
        out[...] = 0
        np.multiply(self.r, 1.0 / top, out=self.b, casting="same_kind")
        self.hierarchy.cycle(self.b, self.z)
        _leave(self.z, _boxed(out), self.hierarchy.line)
        out *= top

    def _residual(self, b: Array, means: Any) -> float:
        """Compute the residual of `x` from its definition, and hand it to the cycle; return its norm."""
        h = self.hierarchy
        _enter(_boxed(b), h.count, self.r, h.line)
        # One step of length 1 along x is r = b - A x; what it adds to z is overwritten by the next cycle.
        _advance(self.z, self.r, self.b, self.x, h.count, h.step, 1.0, 0.0)
        return self._hand_over(means)

    def _hand_over(self, means: Any) -> float:
        """Scale the residual for the cycle; return its norm."""
        if means is not None:
            means(self.r)
        top = max(float(self.r.max()), -float(self.r.min()))
        self.scale = 1.0 / top if top > 0.0 else 1.0
        np.multiply(self.r, self.scale, out=self.b, casting="same_kind")
        return float(np.linalg.norm(self.r))

    def solve(
        self, b: Array, x0: Array | None, rtol: float, atol: float, maxiter: int, means: Any = None
    ) -> tuple[Array, Array, int]:
        """Solve ``A x = b`` from `x0` to ``||r|| <= max(rtol ||b||, atol)``.

        `means`, where given, removes the means over closed components from a padded grid, in place.
        Returns the grid x, the norms of all residuals, the last one from its definition, and the iterations.
        """
        h = self.hierarchy
        self.x[...] = 0.0
        self.p[...] = 0.0
        _enter(_boxed(b), h.count, self.r, h.line)
        norm = self._hand_over(means)
        target = max(rtol * norm, atol)
        if x0 is not None:
            _enter(_boxed(x0), h.count, self.x, h.line)
            norm = self._residual(b, means)
        history = [norm]
        done = fails = 0
        best, product, last = norm, 1.0, 0.0
        while norm > target and done < maxiter and fails < PATIENCE:
            before, product = product, h.cycle(self.b, self.z)
            if not product > 0.0:
                raise np.linalg.LinAlgError(
                    f"the preconditioner is not positive definite (r.z = {product / self.scale**2:.3g}); "
                    "pass a recipe whose certificate() holds, or precision='float64'"
                )
            # Vectors are scaled: b by scale_k, and p with it.
            beta = last / self.scale * product / before
            energy = _direction(self.p, self.z, h.count, h.step, h.dtype.type(beta))
            if not energy > 0.0:
                break
            alpha, last = product / energy / self.scale, self.scale
            # The next residual is about a tenth of this one; its scale need not be exact.
            self.scale = math.ldexp(1.0, -math.frexp(norm / math.sqrt(h.unknowns))[1])
            norm = math.sqrt(_advance(self.x, self.r, self.b, self.p, h.count, h.step, alpha, self.scale))
            done += 1
            if norm <= target or done % REFRESH == 0 or done == maxiter:
                recursive, norm = norm, self._residual(b, means)
                if norm > DRIFT * recursive:
                    last = 0.0  # directions of a residual that is no longer true: the next one starts afresh
                fails = 0 if norm < 0.5 * best else fails + 1
                best = min(best, norm)
            history.append(norm)
        if means is not None:
            means(self.x)
        p = np.zeros(b.shape)
        _leave(self.x, _boxed(p), h.line)
        return p, np.array(history), done
