"""Orthonormal functions that span ``x -> f(alpha x)`` over a range of alpha, and their duals at all angles.

Over any range these functions are, to rounding, combinations of ten to thirty (found by QR with pivots).
With ``u = r cos t`` and ``v = r cos(t - theta)`` a smooth function is a short series of cosines in t, so
that ``E[f(u) g(v)]`` is one in theta. With a kink at zero, wedges of the plane take its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.linalg import qr

from ._quadrature import legendre

Array = NDArray[np.float64]
_NODES = 16  # of a quadrature panel
_CANDIDATES = 10  # functions tried for each factor 2 of the standard deviation
_MODES = 1 << 14  # Chebyshev polynomials at most
_BUFFER = 1 << 17  # numbers in one of a handful of buffers


def graded(stops: tuple[float, ...], halvings: int) -> tuple[Array, Array]:
    """Return Gauss-Legendre nodes and weights on panels that halve towards zero below the first stop."""
    node, weight = legendre(_NODES)
    cuts = np.array([0.0, *(stops[0] * 0.5 ** np.arange(halvings, 0, -1)), *stops])
    width = np.diff(cuts)[:, None]
    return (cuts[:-1, None] + width * node).ravel(), (width * weight).ravel()


class Family:
    """The functions ``x -> f(alpha x)`` for alpha in ``[low, high]``, spanned by a few orthonormal ones."""

    def __init__(self, f: Callable[[Array], Array], low: float, high: float, tol: float) -> None:
        self.f = f
        octaves = math.log2(high / low)
        halvings = max(0, math.ceil(math.log2(high)))
        x, weight = graded((0.5, 1.0, 2.5, 5.0, 9.0), halvings)
        self.x = np.concatenate([-x, x])
        self.root = np.sqrt(np.tile(weight * np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi), 2))
        count = max(24, math.ceil(_CANDIDATES * octaves))
        self.alpha, norm, self.q, mix = self._choose(low, high, count, tol)
        while 2 * self.rank > count and count < self.x.size:  # too far apart, they leave something between
            count *= 2
            self.alpha, norm, self.q, mix = self._choose(low, high, count, tol)
        self._mix = np.linalg.inv(mix * norm).T
        chosen = self._samples(self.alpha)
        self.odd = bool(np.array_equal(chosen[: x.size], -chosen[x.size :]))

    @property
    def rank(self) -> int:
        """How many functions there are."""
        return self.alpha.size

    def _choose(self, low: float, high: float, count: int, tol: float) -> tuple[Array, Array, Array, Array]:
        """Return the alphas of functions that span `count` candidates, their norms, and their Q and R."""
        s = np.cos(np.pi * (np.arange(count) + 0.5) / count)
        alpha = np.sqrt(low * high) * (high / low) ** (0.5 * s)
        F = self._samples(alpha)
        norm = np.linalg.norm(F, axis=0)
        norm[norm == 0.0] = 1.0
        q, r, order = qr(F / norm, mode="economic", pivoting=True)
        if r[0, 0] == 0.0:  # the zero function, as the derivative of a step is
            r[0, 0] = 1.0
        size = np.abs(np.diag(r))
        rank = max(1, int(np.count_nonzero(size > tol * size[0])))
        return alpha[order[:rank]], norm[order[:rank]], q[:, :rank], r[:rank, :rank]

    def _samples(self, alpha: Array) -> Array:
        return np.asarray(self.f(alpha * self.x[:, None])) * self.root[:, None]

    def weights(self, alpha: Array) -> Array:
        """Return coordinates (rank, len(alpha)) of ``x -> f(alpha x)``."""
        return np.asarray(self.q.T @ self._samples(alpha))

    def basis(self, u: Array, weight: Array) -> Array:
        """Return the orthonormal functions at `u` times `weight`, (rank, *u.shape).

        The later ones are differences of many, with noise as large as their coordinates are small.
        """
        values = np.asarray(self.f(self.alpha[:, None] * u.ravel())) * weight.ravel()
        return np.asarray((self._mix @ values).reshape(-1, *u.shape))


def modes_needed(family: Family, r: Array, wr: Array, smooth: bool) -> int:
    """Return how many Chebyshev polynomials on ``[-r, r]`` the steepest function needs; 0 if too many."""
    steep = float(family.alpha.max())
    # coefficients that fall exponentially are not aliased before their squares vanish
    tail = 1e-17 if smooth else 1e-30
    n, before = 64, 1.0
    while n <= _MODES:
        power = wr @ _chebyshev(np.asarray(family.f(steep * np.outer(r, _circle(n))))) ** 2
        rest = power[-n // 8 :].sum() / max(power.sum(), 1e-300)
        if rest <= tail:
            return n
        if not smooth and before < 1e-10 and rest > before**1.4:  # falls like a power: a kink
            return 0
        n, before = 2 * n, rest
    return 0


def _circle(n: int) -> Array:
    """Return the cosines of `n` equidistant angles, odd as a sequence to the last digit."""
    half = np.sin(np.pi * (n - 1 - 2 * np.arange(n // 2)) / (2 * n))
    return np.concatenate([half, -half[::-1]])


def _chebyshev(values: Array) -> Array:
    """Return coefficients of cosines from values at equidistant angles, orthonormal on the half circle."""
    c = np.asarray(dct(values, type=2, norm="ortho", axis=-1))
    return c / math.sqrt(values.shape[-1])


def by_modes(family: Family, theta: Array, r: Array, wr: Array, modes: int, table: Array) -> None:
    """Fill `table` from ``D_kl = sum_m c_m cos(m theta)``: ``f(r cos t)`` is a series of cosines.

    ``u = r cos t`` and ``v = r cos(t - theta)``, so that c_m is the mean over r of products of coefficients.
    """
    rank, points = family.rank, _circle(modes)
    c = np.zeros((modes, rank, rank))
    step = max(16, _BUFFER // (rank * modes))
    for low in range(0, r.size, step):
        part = slice(low, low + step)
        u = np.outer(r[part], points)
        values = _chebyshev(family.basis(u, np.sqrt(np.broadcast_to(wr[part, None], u.shape))))
        across = np.ascontiguousarray(values.transpose(2, 0, 1))
        c += across @ across.transpose(0, 2, 1)
    even, odd = (
        np.tensordot(np.cos(np.multiply.outer(theta, np.arange(first, modes, 2))), c[first::2], 1)
        for first in (0, 1)
    )
    for side, values in ((0, even + odd), (1, even - odd)):
        table[:, side] = values.transpose(2, 0, 3, 1)


def by_wedges(family: Family, theta: Array, r: Array, wr: Array, high: int, table: Array) -> None:
    """Fill `table` wedge by wedge of the plane, where one set of values serves theta and pi - theta."""
    panels = r.size // _NODES
    # near the origin the functions turn over within a larger part of the wedge
    reach = [high + 1 + math.log2(min(part.max(), 1.0)) for part in np.split(r, panels)]
    for (k, i), t in np.ndenumerate(theta):
        for side, width in ((0, t), (1, math.pi - t)):
            for g, (rg, wg) in enumerate(zip(np.split(r, panels), np.split(wr, panels))):
                half, wx = graded((0.5,), max(0, math.ceil(reach[g] + math.log2(width / math.pi))))
                x, wx = np.concatenate([half, 1.0 - half[::-1]]), np.concatenate([wx, wx[::-1]])
                weight = np.sqrt(width * wx[:, None] * wg / (2.0 * math.pi))
                same, mixed = _products(family, np.sin(width * x)[:, None] * rg, weight)
                table[:, 1 - side, k, :, i] += same
                table[:, side, k, :, i] += mixed


def _products(family: Family, u: Array, weight: Array) -> tuple[Array, Array]:
    """Return sums over points in a wedge, and their mirror images in it, of products of all functions.

    First with arguments of one sign, both and both turned, then of two. `u` (m, r) runs from edge to edge.
    """
    m, rank = u.shape[0] // 2, family.rank

    def flat(values: Array, rows: slice) -> Array:
        return values[:, rows].reshape(rank, -1)

    near, far, every, turned = slice(0, m), slice(None, m - 1, -1), slice(None), slice(None, None, -1)
    up = family.basis(u, weight)
    same = flat(up, near) @ flat(up, far).T
    if family.odd:
        same = 2.0 * (same + same.T)
        return same, -same
    down = family.basis(-u, weight)
    same += flat(down, near) @ flat(down, far).T
    mixed = flat(down, every) @ flat(up, turned).T
    return same + same.T, mixed + mixed.T
