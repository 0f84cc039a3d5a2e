"""Duals of one activation for all variances at once, by a few functions that span ``x -> phi(sqrt(q) x)``.

Over any range of q these functions are, to rounding, combinations of ten to thirty orthonormal ones
(from QR with pivots), so that ``D(a, b, theta) = sum_kl w_k(a) w_l(b) D_kl(theta)`` with weights and
``D_kl`` of size one at most, and nothing cancels. The weights are Chebyshev panels in ln q, the ``D_kl``
Chebyshev panels in the angle. Kinks may stand at zero only.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.linalg import qr

from ._activations import Activation
from ._closed import angle
from ._interpolate import (
    COUNT,
    POINTS,
    between,
    combine,
    edges,
    nodes,
    pairs,
    panels_to,
    powers,
    weigh,
)
from ._quadrature import gauss_moment, legendre

Array = NDArray[np.float64]
_NODES = 16  # of a quadrature panel
_CANDIDATES = 10  # functions tried for each factor 2 of the standard deviation
_LOWEST = 60  # variances 2^-60 below the largest are as good as zero
_ROOM = 1 << 14  # numbers that a buffer may hold
_MODES = 1 << 14  # Chebyshev polynomials at most
_BUFFER = 1 << 21
_HIGHEST = 2.0**24  # beyond, the rules of a table would need millions of nodes
_RATIO = 2.5  # norms further apart lose no digits in a difference


# E[phi^2] and E[phi'^2] of each point
Moments = tuple[Array, Array]


_SIGNS = (-1.0) ** np.arange(COUNT)


def _graded(stops: tuple[float, ...], halvings: int) -> tuple[Array, Array]:
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
        x, weight = _graded((0.5, 1.0, 2.5, 5.0, 9.0), halvings)
        self.x = np.concatenate([-x, x])
        self.root = np.sqrt(np.tile(weight * np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi), 2))
        count = max(24, math.ceil(_CANDIDATES * octaves))
        s = np.cos(np.pi * (np.arange(count) + 0.5) / count)
        alpha = np.sqrt(low * high) * (high / low) ** (0.5 * s)
        F = self._samples(alpha)
        norm = np.linalg.norm(F, axis=0)
        norm[norm == 0.0] = 1.0
        q, r, order = qr(F / norm, mode="economic", pivoting=True)
        size = np.abs(np.diag(r))
        self.rank = max(1, int(np.count_nonzero(size > tol * size[0])))
        self.q = q[:, : self.rank]
        self.alpha = alpha[order[: self.rank]]
        self._mix = np.linalg.inv(r[: self.rank, : self.rank] * norm[order[: self.rank]]).T
        half = x.size
        self.odd = bool(np.array_equal(F[:half], -F[half:]))

    def _samples(self, alpha: Array) -> Array:
        return np.asarray(self.f(alpha * self.x[:, None])) * self.root[:, None]

    def weights(self, alpha: Array) -> Array:
        """Return coordinates (rank, len(alpha)) of ``x -> f(alpha x)``."""
        return self.q.T @ self._samples(alpha)

    def basis(self, u: Array, weight: Array) -> Array:
        """Return the orthonormal functions at `u` times `weight`, (rank, *u.shape).

        The later ones are differences of many, with noise as large as their coordinates are small.
        """
        values = np.asarray(self.f(self.alpha[:, None] * u.ravel())) * weight.ravel()
        return (self._mix @ values).reshape(-1, *u.shape)


def _modes(family: Family, r: Array, wr: Array) -> int:
    """Return how many Chebyshev polynomials on ``[-r, r]`` the family's steepest function needs, 0 if too many."""
    steep = float(family.alpha.max())
    n = 64
    while n <= _MODES:
        c = _chebyshev(family.f(steep * np.outer(r, _circle(n))))
        power = wr @ (c * c)
        if power[-n // 8 :].sum() <= 1e-17 * power.sum():
            return n
        n *= 2
    return 0


def _circle(n: int) -> Array:
    """Return the cosines of `n` equidistant angles, odd as a sequence to the last digit."""
    half = np.sin(np.pi * (n - 1 - 2 * np.arange(n // 2)) / (2 * n))
    return np.concatenate([half, -half[::-1]])


def _chebyshev(values: Array) -> Array:
    """Return coefficients of cosines from values at equidistant angles, orthonormal on the half circle."""
    c = np.asarray(dct(values, type=2, norm="ortho", axis=-1))
    return c / math.sqrt(values.shape[-1])


def _by_modes(family: Family, theta: Array, r: Array, wr: Array, modes: int, table: Array) -> None:
    """Fill `table` from ``D_kl = sum_m c_m cos(m theta)``: ``f(r cos t)`` is a series of cosines.

    ``u = r cos t`` and ``v = r cos(t - theta)``, so that c_m is the mean over r of products of coefficients.
    """
    rank, points = family.rank, _circle(modes)
    c = np.zeros((modes, rank, rank))
    step = max(1, _BUFFER // (rank * modes))
    for low in range(0, r.size, step):
        part = slice(low, low + step)
        u = np.outer(r[part], points)
        values = _chebyshev(family.basis(u, np.sqrt(np.broadcast_to(wr[part, None], u.shape))))
        across = np.ascontiguousarray(values.transpose(2, 0, 1))
        c += across @ across.transpose(0, 2, 1)
    m = np.arange(modes)
    for side in (0, 1):
        turns = np.cos(np.multiply.outer(theta, m)) * (1.0 if side == 0 else (-1.0) ** m)
        table[:, side] = np.einsum("kim,mpq->pkqi", turns, c, optimize=True)


def _by_wedges(family: Family, theta: Array, r: Array, wr: Array, high: int, table: Array) -> None:
    """Fill `table` wedge by wedge in polar coordinates, where one set of values serves theta and pi - theta."""
    for (k, i), t in np.ndenumerate(theta):
        for side, width in ((0, t), (1, math.pi - t)):
            half, wx = _graded((0.5,), max(0, high + 1 + math.ceil(math.log2(width / math.pi))))
            x, wx = np.concatenate([half, 1.0 - half[::-1]]), np.concatenate([wx, wx[::-1]])
            sine = np.sin(width * x)[:, None]
            step = max(1, 512 // x.size)
            for low in range(0, r.size, step):
                part = slice(low, low + step)
                weight = np.sqrt(width * wx[:, None] * wr[part] / (2.0 * math.pi))
                same, mixed = _products(family, sine * r[part], weight)
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


def _panelled(f: Callable[[Array], Array], low: int, panels: int) -> Array:
    """Return power coefficients (panels, 16, rows) of `f`, in ``log2 q`` over unit panels from `low`."""
    out = []
    for k in range(panels):
        values = f(2.0 ** (0.5 * (low + k + 0.5 + 0.5 * POINTS)))
        out.append(powers(np.atleast_2d(values)).T)
    return np.ascontiguousarray(out)


class SpanDual:
    """The dual of one activation, and differences of it, for standard deviations in ``[2^low, 2^high]``.

    Cost per pair: twice sixteen times the rank multiply-adds.

    Parameters
    ----------
    act : Activation
        Without kinks other than at zero.
    low, high : int
    tol : float
        Relative error allowed for.
    """

    def __init__(self, act: Activation, low: int, high: int, tol: float) -> None:
        self.act, self.low = act, 2 * low  # panels of a factor 2 in q
        bottom, top = 2.0**low, 2.0**high
        panels = 2 * (high - low)
        self.families = [Family(f, bottom, top, tol) for f in (act.fn, act.dfn)]
        self.weight = [_panelled(f.weights, self.low, panels) for f in self.families]
        self.panels = panels_to(2 + max(0, high))
        self.tables = self._tables(high)
        for family, table in zip(self.families, self.tables):
            for p in range(len(table)):  # one by one, for temporaries as large as the table
                table[p] = powers(table[p])
            self._anchor(family, table)
        self._mean: Array | None = None
        self._slopes: Array | None = None

    @staticmethod
    def _anchor(family: Family, table: Array) -> None:
        """Make the angle 0, which near duplicates repeat layer by layer, right to the last digit."""
        table[:, 0, :, :, 0] += (np.eye(family.rank) - table[:, 0, -1] @ _SIGNS)[:, None]

    # -- tables --------------------------------------------------------------------------------------

    def angles(self) -> Array:
        """Return the Chebyshev points (panels, 16) of the panels of a right angle."""
        return nodes(self.panels) * (math.pi / 2)

    def _tables(self, high: int) -> list[Array]:
        """Return ``D_kl`` of both families at all angles, (rank, 2, panels, rank, 16)."""
        r, wr = _graded((1.0, 2.5, 5.0, 9.0), max(0, high - 1))
        wr = wr * r * np.exp(-0.5 * r * r)
        theta = self.angles()
        out = []
        for family in self.families:
            modes = 0 if self.act.kinks else _modes(family, r, wr)
            table = np.zeros((family.rank, 2, self.panels, family.rank, COUNT))
            if modes:
                _by_modes(family, theta, r, wr, modes, table)
            else:
                _by_wedges(family, theta, r, wr, high, table)
            out.append(table)
        return out

    def mean(self) -> Array:
        """Return tables of ``(D(0) - D(theta)) / (1 - cos theta)``, the mean of Ddot up to the angle."""
        if self._mean is None:
            node, weight = legendre(COUNT)
            theta = self.angles()
            slope = self.tables[1]
            values = np.empty_like(slope)
            edge = (math.pi / 2) * edges(self.panels)

            def part(side: int, k: int, start: float, stop: float) -> Array:
                t = start + (stop - start) * node
                width = edge[k] - edge[k + 1]
                y = (2.0 * t - edge[k] - edge[k + 1]) / width
                inside = slope[:, side, k] @ (y ** np.arange(COUNT)[:, None])
                return np.asarray(inside @ ((stop - start) * weight * np.sin(t)))

            total = np.zeros((slope.shape[0], slope.shape[0]))
            for k in range(self.panels - 1, -1, -1):
                for i, t in enumerate(theta[k]):
                    value = total + part(0, k, edge[k + 1], t)
                    values[:, 0, k, :, i] = value / (2.0 * math.sin(0.5 * t) ** 2)
                total = total + part(0, k, edge[k + 1], edge[k])
            for k in range(self.panels):
                for i, t in enumerate(theta[k]):
                    value = total + part(1, k, t, edge[k])
                    values[:, 1, k, :, i] = value / (2.0 * math.cos(0.5 * t) ** 2)
                total = total + part(1, k, edge[k + 1], edge[k])
            for p in range(len(values)):
                values[p] = powers(values[p])
            self._anchor(self.families[1], values)
            self._mean = values
        return self._mean

    def slopes(self) -> Array:
        """Return panels in ``log2 q`` of coordinates of ``x phi'(alpha x)``, and of ``dE[phi^2]/d alpha``."""
        if self._slopes is None:
            panels = self.weight[0].shape[0]
            act, family = self.act, self.families[0]
            x, root = family.x, family.root
            alpha = 2.0 ** np.linspace(0.5 * self.low, 0.5 * (self.low + panels), 12 * panels)
            G = np.asarray(act.dfn(alpha * x[:, None])) * (x * root)[:, None]
            q, r, _ = qr(G / np.maximum(np.linalg.norm(G, axis=0), 1e-300), mode="economic", pivoting=True)
            q = q[:, np.abs(np.diag(r)) > 1e-15 * abs(r[0, 0])]

            def f(a: Array) -> Array:
                u = a * x[:, None]
                g = np.asarray(act.dfn(u)) * (x * root)[:, None]
                return np.concatenate([q.T @ g, 2.0 * np.sum(g * act.fn(u) * root[:, None], axis=0)[None]])

            self._slopes = _panelled(f, self.low, panels)
        return self._slopes

    # -- evaluation ----------------------------------------------------------------------------------

    def weights(self, q: Array) -> tuple[Array, Array]:
        q = np.ascontiguousarray(q, dtype=np.float64).ravel()
        return weigh(q, self.weight[0], self.low), weigh(q, self.weight[1], self.low)

    def _starts(self, wa: Sequence[Array], wb: Sequence[Array], left: Moments, right: Moments) -> list[Array]:
        """Return both duals at the angle 0, ``(E f^2 + E g^2 - E (f - g)^2) / 2``, from known moments."""
        return [0.5 * (h + k - np.sum((u - v) ** 2, axis=1)) for u, v, h, k in zip(wa, wb, left, right)]

    def _vanishing(self, a: Array, b: Array, first: Array, second: Array) -> None:
        """Set the pairs of which one has no variance: products of means."""
        where = np.broadcast_to((a == 0.0) | (b == 0.0), first.shape)
        if not where.any():
            return
        index = np.nonzero(where)
        aa, bb = np.broadcast_to(a, first.shape)[index], np.broadcast_to(b, first.shape)[index]
        q, back = np.unique(np.maximum(aa, bb), return_inverse=True)
        for out, f in zip((first, second), (self.act.fn, self.act.dfn)):
            out[index] = float(f(np.zeros(1))[0]) * gauss_moment(f, q, self.act.kinks)[back]

    def __call__(self, a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
        """Evaluate on a tile: `a` (n, 1), `b` (1, m), the rest (n, m)."""
        first, second = np.empty(z.shape), np.empty(z.shape)
        near, far = (np.ascontiguousarray(v) for v in angle(z, y))
        for out, wa, wb, table in zip((first, second), self.weights(a), self.weights(b), self.tables):
            rank = wa.shape[1]
            step = max(1, _ROOM // table[0].size)
            for low in range(0, len(wa), step):
                part = slice(low, low + step)
                rows = np.dot(wa[part], table.reshape(rank, -1)).reshape(-1, *table.shape[1:])
                combine(rows, wb, near[part], far[part], out[part])
        self._vanishing(a, b, first, second)
        return first, second

    def paired(
        self,
        a: Array,
        b: Array,
        c: Array,
        z: Array,
        y: Array,
        left: Moments | None = None,
        right: Moments | None = None,
    ) -> tuple[Array, Array]:
        """Evaluate on single pairs: `a`, `b` (m,) or (m, 1), the rest (m,) or (m, k).

        With the moments of both points, known to the last digit, near duplicates repeat no error.
        """
        first, second = np.empty(z.shape), np.empty(z.shape)
        near, far = (np.ascontiguousarray(v) for v in angle(z, y))
        wide = self.weights(a), self.weights(b)
        starts = [np.empty(0)] * 2 if left is None or right is None else self._starts(*wide, left, right)
        near, far = near.reshape(a.size, -1), far.reshape(a.size, -1)
        for out, wa, wb, table, start in zip((first, second), *wide, self.tables, starts):
            pairs(wa, wb, near, far, table, start, out.reshape(a.size, -1))
        self._vanishing(a, b, first, second)
        return first, second

    def step(
        self, alpha: Array, beta: Array, diff: Array, e: Array, left: Moments, right: Moments
    ) -> tuple[Array, Array, Array]:
        """Return ``D(g) - D(c)``, the difference of the variances after the activation, ``E[(f - g)^2]``.

        Without cancellation. `e` is ``g - c`` with g the product of the standard deviations, f and g the
        activation of one variable in units of `alpha` and `beta`.
        """
        ha, hb = left[0], right[0]
        g = alpha * beta
        z = np.clip(e / np.where(g > 0, 2.0 * g, 1.0), 0.0, 1.0)
        near, far = angle(z, 1.0 - z)
        gap, top = np.empty((alpha.size, 1)), np.empty((alpha.size, 1))
        wa, wb = self.weights(alpha * alpha), self.weights(beta * beta)
        start = self._starts(wa, wb, left, right)[1]
        pairs(wa[1], wb[1], near[:, None], far[:, None], self.mean(), start, gap)
        apart = np.flatnonzero(np.abs(diff) > (_RATIO - 1.0) * np.minimum(alpha, beta))
        out = np.empty((2, alpha.size))
        # three parts: the integrand varies on the scale of the smaller end
        node, weight = legendre(8)
        cuts = np.array([0.0, 0.25, 0.75, 1.0])
        width = np.diff(cuts)[:, None]
        node, weight = (cuts[:-1, None] + width * node).ravel(), (width * weight).ravel()
        between(beta, diff, self.slopes(), self.low, node, weight, out)
        if apart.size:
            at = np.zeros_like(top), np.full_like(top, math.pi)
            pairs(wa[0], wb[0], *at, self.tables[0], np.empty(0), top)
            out[0, apart] = (ha - hb)[apart]
            out[1, apart] = (ha + hb - 2.0 * top[:, 0])[apart]
        return np.maximum(e * gap[:, 0], 0.0), out[0], np.maximum(out[1], 0.0)


@functools.lru_cache(maxsize=32)
def span_dual(act: Activation, low: int, high: int, tol: float) -> SpanDual:
    """Return the dual for standard deviations in ``[2^low, 2^high]``; networks alike share it."""
    return SpanDual(act, low, high, tol)


def spannable(act: Activation, q: Array) -> bool:
    """Return whether a table serves: no closed form, no kinks that scale, variances that it resolves."""
    return not act.closed and not any(act.kinks) and float(q.max(initial=0.0)) <= _HIGHEST


def octaves(q: Array) -> tuple[int, int]:
    """Return powers of two around the roots of `q`; variances below 2^-60 of the largest count as that."""
    top = float(q.max(initial=0.0)) or 1.0
    bottom = float(q[q > 2.0**-_LOWEST * top].min(initial=top))
    high = math.ceil(0.5 * math.log2(top) - 1e-12)
    return min(math.floor(0.5 * math.log2(bottom) + 1e-12), high - 1), high


def spanning(act: Activation, q: Array, tol: float = 3e-12) -> SpanDual:
    """Return a dual for the variances `q`."""
    return span_dual(act, *octaves(q), tol)


def spanning_layers(act: Activation, layers: Sequence[Array], tol: float) -> list[SpanDual]:
    """Return a dual for each layer's variances; layers whose ranges overlap share one."""
    ranges = [octaves(q) for q in layers]
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low < merged[-1][1]:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return [
        span_dual(act, *next(m for m in merged if m[0] <= low and high <= m[1]), tol) for low, high in ranges
    ]
