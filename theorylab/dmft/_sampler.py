"""Draw the Gaussian paths of the data-site process with as little noise as possible.

Three measures against Monte Carlo error: the target direction u runs over exact
quantiles whose second and fourth moments are corrected; the first Gaussian
directions are a scrambled low-discrepancy set; and every basis column is made
orthogonal to all earlier ones and to the powers of u.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Relative Schur complement below which a direction is dropped. Smaller values destroy the
#: march: C carries Monte Carlo noise, and factorising it to rounding precision amplifies that.
DROP = 1e-6
#: Directions that a low-discrepancy set covers; later ones carry little variance.
LOW_DISCREPANCY = 16
#: Rounds of signs, shuffle and cosine transform that make a random orthogonal map.
ROUNDS = 3


def quantile_directions(n: int) -> Array:
    """Return n symmetric quantiles of the normal law, moved by a cubic so that E u^2 = 1 and E u^4 = 3."""
    from scipy.special import ndtri

    u = np.asarray(ndtri((np.arange(n) + 0.5) / n), dtype=np.float64)
    if n == 1:
        return u
    u /= math.sqrt(float(np.mean(u**2)))
    b = 0.0
    for _ in range(50):  # Newton on the kurtosis of u + b u^3, which is monotone in b near 0
        v, dv = u + b * u**3, u**3
        m2, m4 = np.mean(v**2), np.mean(v**4)
        miss = m4 - 3.0 * m2 * m2
        slope = 4.0 * np.mean(v**3 * dv) - 12.0 * m2 * np.mean(v * dv)
        if slope <= 0.0 or abs(miss) < 1e-14:
            break
        b -= float(miss / slope)
    v = u + b * u**3
    good = (
        np.all(np.isfinite(v))
        and np.all(np.diff(v) > 0)
        and abs(np.mean(v**4) / np.mean(v**2) ** 2 - 3) < 1e-8
    )
    if not good:  # a handful of samples cannot have the kurtosis of the normal law
        v = u
    return np.asarray(v / math.sqrt(float(np.mean(v**2))), dtype=np.float64)


def normal_columns(n: int, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return u of shape (n,) and `count` low-discrepancy normal columns (n, count) to go with it.

    Every column is a permutation of the same quantiles, the permutation being
    the ranks of a scrambled Sobol' coordinate.
    """
    from scipy.stats import qmc

    bits = max(1, math.ceil(math.log2(max(2, n))))
    points = qmc.Sobol(1 + count, scramble=False, bits=30).random_base2(bits)[:n]
    # A random digital shift makes the averages unbiased; it keeps the points of every axis distinct.
    shift = rng.integers(0, 2**30, size=1 + count)
    points = np.bitwise_xor((points * 2.0**30).astype(np.int64), shift)
    ranks = np.argsort(np.argsort(points, axis=0, kind="stable"), axis=0, kind="stable")
    levels = quantile_directions(n)
    columns = levels[ranks]
    order = np.argsort(columns[:, 0], kind="stable")
    return levels, np.ascontiguousarray(columns[order, 1:])


class Basis:
    """An orthonormal set of columns over the samples, grown one direction at a time.

    Columns have mean square 1. Besides each other they are orthogonal to the
    constant and to u, ..., u^4, as long as there are samples to afford it.
    """

    def __init__(self, n_samples: int, capacity: int, rng: np.random.Generator) -> None:
        self.n = n_samples
        self.rng = rng
        self.u, self._ready = normal_columns(n_samples, min(LOW_DISCREPANCY, capacity + 1), rng)
        self._next = 0
        powers = np.stack([self.u**k for k in range(5)], axis=1)
        if n_samples > 5:
            powers = np.linalg.qr(powers)[0] * math.sqrt(n_samples)
        else:
            powers = np.empty((n_samples, 0))
        self._fence = powers
        # Never more than the paths need, and pages that are not written take no memory.
        self._columns = np.empty((n_samples, capacity), order="F")
        self.used = 0

    def fence(self, column: Array) -> None:
        """Keep later columns orthogonal to this one too."""
        self._fence = np.concatenate([self._fence, column[:, None]], axis=1)

    def fresh(self) -> Array:
        """Draw the next raw column: low discrepancy first, then pseudo-random."""
        if self._next < self._ready.shape[1]:
            column = self._ready[:, self._next]
            self._next += 1
            return column
        return self.rng.standard_normal(self.n)

    def orthonormal(self, column: Array) -> Array:
        """Project a column off all earlier ones (two passes) and give it mean square 1."""
        raw = column
        if self._fence.shape[1] + self.used < self.n - 1:
            for _ in range(2):
                for block in (self._fence, self._columns[:, : self.used]):
                    column = column - block @ (block.T @ column) / self.n
            if float(column @ column) < 1e-3 * float(raw @ raw):
                column = raw
        size = math.sqrt(float(column @ column) / self.n)
        return column / size if size > 0 else column

    def push(self, column: Array) -> None:
        """Keep an orthonormal column for the paths."""
        self._columns[:, self.used] = column
        self.used += 1

    def everything(self) -> Array:
        """Return all orthonormal columns side by side."""
        return np.concatenate([self._fence, self._columns[:, : self.used]], axis=1)

    def combine(self, weights: Array) -> Array:
        """Return the columns' linear combination, shape (S,) for weights (used,)."""
        return np.asarray(self._columns[:, : self.used] @ weights)


class CholeskyPaths:
    """Paths from a growing triangular factor of the covariance, its noise directions dropped."""

    def __init__(self, basis: Basis, size: int) -> None:
        self.basis = basis
        self.size = size
        self.pivots: list[int] = []
        self.factor = np.zeros((16, 16))
        self.overlaps: list[float] = []
        self.smallest, self.smallest_at = math.inf, 0

    def draw(self, t: int, row: Array, m: Array) -> Array:
        """Return chi(t) of shape (S, K) from the covariances `row` (K, (t+1) K) and the overlaps m(t)."""
        out = np.empty((self.basis.n, self.size))
        for r in range(self.size):
            out[:, r] = self._next(t * self.size + r, row[r], float(m[r]))
        return out

    def _next(self, index: int, row: Array, m: float) -> Array:
        rank = len(self.pivots)
        variance = float(row[index])
        weights = np.zeros(rank)
        if rank:
            from scipy.linalg import solve_triangular

            right = row[self.pivots] - m * np.asarray(self.overlaps)
            weights = solve_triangular(self.factor[:rank, :rank], right, lower=True, check_finite=False)
        rest = variance - m * m - float(weights @ weights)
        if variance > 0.0 and rest / variance < self.smallest:
            self.smallest, self.smallest_at = rest / variance, index // self.size
        # The column is drawn even where it is dropped, so that an ulp cannot shift the random stream.
        fresh = self.basis.fresh()
        path = m * self.basis.u + self.basis.combine(weights)
        if rest > DROP * variance and rest > 0.0:
            size = math.sqrt(rest)
            column = self.basis.orthonormal(fresh)
            path = path + size * column
            self.basis.push(column)
            self._append(index, weights, size, m)
        return path

    def _append(self, index: int, weights: Array, size: float, m: float) -> None:
        rank = len(self.pivots)
        if rank == self.factor.shape[0]:
            grown = np.zeros((2 * rank, 2 * rank))
            grown[:rank, :rank] = self.factor
            self.factor = grown
        self.factor[rank, :rank] = weights
        self.factor[rank, rank] = size
        self.pivots.append(index)
        self.overlaps.append(m)


class RecursionPaths:
    """Paths from the weight equation itself; nothing is factorised after t = 0.

    The noise ``xi(t) = eta g(t)`` with one random orthogonal map eta over the
    samples has the sample covariance of the forces by construction. The map is
    three rounds of random signs and a cosine transform: ``S log S`` operations, no matrix.
    """

    def __init__(self, basis: Basis, size: int, nu: float, step: float) -> None:
        self.start = CholeskyPaths(basis, size)
        self.basis, self.size, self.nu, self.step = basis, size, nu, step
        self.signs = basis.rng.choice([-1.0, 1.0], size=(ROUNDS, basis.n, 1))
        self.shuffles = [basis.rng.permutation(basis.n) for _ in range(ROUNDS)]
        self.fence = np.empty((basis.n, 0))
        self.smallest, self.smallest_at = math.inf, 0

    def draw(self, t: int, row: Array, m: Array) -> Array:
        """Return chi(0); later times come from :meth:`march`."""
        chi = self.start.draw(t, row, m)
        self.smallest = self.start.smallest
        # The noise is to be orthogonal to the powers of u and to the initial paths, where they are few.
        fence = self.basis.everything()
        if 2 * fence.shape[1] < self.basis.n:
            self.fence = fence
        return chi

    def noise(self, force: Array) -> Array:
        """Return ``eta g`` for forces of shape (S, K)."""
        from scipy.fft import dct

        n, x = self.basis.n, force
        for signs, shuffle in zip(self.signs, self.shuffles):
            x = dct(signs * x[shuffle], axis=0, norm="ortho")
        x = x - self.fence @ (self.fence.T @ x) / n
        return np.asarray(x * math.sqrt(n / (n - self.fence.shape[1])))

    def march(self, chi: Array, memory: Array, force: Array, rho: Array) -> Array:
        """Return chi(t+1) from chi(t), ``sum_s Rg(t,s) chi(s)``, the forces g(t) and rho(t)."""
        xi = self.noise(force) / math.sqrt(self.nu)
        return chi - self.step * (xi + memory + self.basis.u[:, None] * rho)
