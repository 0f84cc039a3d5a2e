"""How rounding in the linear algebra, before any tail is evaluated, moves its logarithm.

The bounds are first-order perturbation theory with the norms of the actual matrices; the size of one
rounding matrix is that of random signs, not of the worst case, and was set against references in 60 digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ._gaussian import Spectrum

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Rounding:
    """Errors in the 2-norm: of a covariance, of a root of it, and of the mean over all outputs."""

    cov: float = 0.0
    root: float = 0.0
    gap: float = 0.0


EXACT = Rounding()


def _norm(a: NDArray[Any]) -> float:
    """Return a cheap upper bound on the 2-norm."""
    if a.size == 0:
        return 0.0
    size = np.abs(a)
    return math.sqrt(float(size.sum(axis=0).max()) * float(size.sum(axis=1).max()))


def kernel_rounding(weights: NDArray[Any], dual: NDArray[Any], prior: float, inverse: float) -> Rounding:
    """Return the rounding of ``k** - k*' K^-1 k*`` and ``k*' K^-1 y`` from weights K^-1 k* and dual K^-1 y.

    Cholesky solves a system whose matrix is off by a rounding matrix E, and kernels are rounded too. With W
    the weights, the covariance moves by (1, W)' E (1, W), the mean by (1, W)' E dual. `inverse` is the norm
    of K^-1: where E may make K singular, W itself is lost.
    """
    rounding = 2.0 * math.sqrt(max(weights.shape)) * _EPS * prior
    lost = rounding * inverse
    if not lost < 1.0:
        return Rounding(math.inf, 0.0, math.inf)
    lever = (1.0 + _norm(weights)) / (1.0 - lost)
    return Rounding(rounding * lever**2, 0.0, rounding * lever * float(np.linalg.norm(dual)))


def feature_rounding(
    test: NDArray[Any], largest: float, smallest: float, y: NDArray[Any], size: int
) -> Rounding:
    """Return the rounding of root and mean that follow from the singular values of training features."""
    reach = _norm(test)
    if largest == 0.0:
        return EXACT
    turn = 2.0 * math.sqrt(size) * _EPS * largest / smallest
    return Rounding(0.0, turn * reach, 2.0 * turn * reach * float(np.linalg.norm(y)) / smallest)


@dataclass(frozen=True)
class Sensitivity:
    """The spectrum as the error propagation needs it; s, b^2 and outputs of the directions kept.

    `full` tells that these are all directions: then no error of the mean is out of the hypotheses' reach.
    """

    s: NDArray[Any]
    squares: NDArray[Any]
    outputs: NDArray[Any]
    null: float
    full: bool
    count: int
    error: Rounding

    @classmethod
    def of(cls, spectrum: Spectrum, rank_tol: float) -> Sensitivity:
        """Add the rounding of the decomposition itself to that of its input."""
        kept = spectrum.cut(rank_tol)
        null = math.fsum(spectrum.squares[~kept]) + spectrum.residual
        gap = math.sqrt(float(spectrum.squares.sum()) + spectrum.residual)
        largest = float(spectrum.values.max(initial=0.0))
        given = spectrum.error
        # From a root singular values come with an error relative to the largest, hence so does the root.
        by_root = given.root > 0.0
        error = Rounding(
            given.cov + (0.0 if by_root else 4.0 * _EPS * largest),
            given.root + (4.0 * _EPS * math.sqrt(largest) if by_root else 0.0),
            given.gap + 4.0 * _EPS * gap,
        )
        outputs = np.broadcast_to(spectrum.outputs[:, None], spectrum.values.shape)[kept]
        return cls(
            spectrum.values[kept],
            spectrum.squares[kept],
            outputs,
            null,
            spectrum.values.shape[1] == spectrum.n_test and bool(kept.all()),
            spectrum.n_test * spectrum.n_outputs,
            error,
        )

    def floor_error(self) -> float:
        """Return the error of the irreducible error q0 = sum of b^2 over null directions / (N k)."""
        if self.full:
            return 0.0
        null, e = math.sqrt(self.null), self.error
        with np.errstate(over="ignore", invalid="ignore"):
            turn = e.cov * np.linalg.norm(np.sqrt(self.squares) / self.s)
            turn += e.root * np.linalg.norm(np.sqrt(self.squares / self.s))
            moved = float(turn + e.gap)
        if not math.isfinite(moved):
            return math.inf
        return 4.0 * _EPS * self.null / self.count + (2.0 * null * moved + moved * moved) / self.count

    def tail_error(self, crossing: float, above: float) -> float:
        """Return the error of the log-tail at `above` the irreducible error, its contour through `crossing`.

        It is that of K(t) at the crossing t: with tau = 2 |t| / (N k), z = G b, and
        G = tau / (1 - 2 t S / (N k)), ``dK = (k/2) tr(G dS) + z' dS z / 2 + z' db``. Infinite where an
        eigenvalue that matters, or the distance `above`, may be rounding alone.
        """
        left = 1.0 - self.floor_error() / above
        if not left > 0.0:
            return math.inf
        with np.errstate(over="ignore", invalid="ignore"):
            tau = 2.0 * (abs(crossing) / self.count)
            # In this form an infinite t, next to the end of the support, is no exception.
            g = 1.0 / (1.0 / tau - math.copysign(1.0, crossing) * self.s)
            x = g * (self.error.cov + 2.0 * np.sqrt(self.s) * self.error.root)
            if not np.all(x < 1.0):
                return math.inf
            trace = -float(np.sum(0.5 * self.outputs * np.log1p(-x)))
            z = g * np.sqrt(self.squares)
            kept, rooted = float(np.linalg.norm(z)), float(np.linalg.norm(np.sqrt(self.s) * z))
            away = 0.0 if self.full else tau * math.sqrt(self.null)
            length = math.hypot(kept, away)
            form = 0.5 * self.error.cov * kept * (kept + 2.0 * away)
            form += self.error.root * rooted * length
            farthest = float(g.max()) if self.full else tau
            line = self.error.gap * (length + 0.5 * farthest * self.error.gap)
            total = trace + (form / (1.0 - float(x.max(initial=0.0))) + line) / left
        return total if math.isfinite(total) else math.inf
