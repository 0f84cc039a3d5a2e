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
from scipy.linalg import qr

from ._activations import Activation
from ._closed import angle
from ._family import Family, by_modes, by_wedges, graded, modes_needed
from ._gaps import covariance_gap
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
_LOWEST = 60  # variances 2^-60 below the largest are as good as zero
_ROOM = 1 << 14  # numbers that a buffer may hold
HIGHEST = 2.0**24  # beyond, the rules of a table would need millions of nodes
_RATIO = 2.5  # norms further apart lose no digits in a difference


# E[phi^2] and E[phi'^2] of each point
Moments = tuple[Array, Array]


_SIGNS = (-1.0) ** np.arange(COUNT)


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
        ends = np.asarray(act.fn(np.array([-1e-12, 1e-12])))
        self.jumps = bool(abs(ends[1] - ends[0]) > 1e-9)
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
        r, wr = graded((1.0, 2.5, 5.0, 9.0), max(0, high - 1))
        wr = wr * r * np.exp(-0.5 * r * r)
        theta = self.angles()
        out = []
        for family in self.families:
            modes = modes_needed(family, r, wr, not self.act.kinks)
            table = np.zeros((family.rank, 2, self.panels, family.rank, COUNT))
            if modes:
                by_modes(family, theta, r, wr, modes, table)
            else:
                by_wedges(family, theta, r, wr, high, table)
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
        wa, wb = self.weights(alpha * alpha), self.weights(beta * beta)
        gap = self._gap(alpha, beta, e, self._starts(wa, wb, left, right)[1], wa[1], wb[1])
        apart = np.flatnonzero(np.abs(diff) > (_RATIO - 1.0) * np.minimum(alpha, beta))
        out = np.empty((2, alpha.size))
        # three parts: the integrand varies on the scale of the smaller end
        node, weight = legendre(8)
        cuts = np.array([0.0, 0.25, 0.75, 1.0])
        width = np.diff(cuts)[:, None]
        node, weight = (cuts[:-1, None] + width * node).ravel(), (width * weight).ravel()
        between(alpha, beta, diff, self.slopes(), self.low, node, weight, out)
        if apart.size:
            top = np.empty((alpha.size, 1))
            at = np.zeros_like(top), np.full_like(top, math.pi)
            pairs(wa[0], wb[0], *at, self.tables[0], np.empty(0), top)
            out[0, apart] = (ha - hb)[apart]
            out[1, apart] = (ha + hb - 2.0 * top[:, 0])[apart]
        return gap, out[0], np.maximum(out[1], 0.0)

    def _gap(self, alpha: Array, beta: Array, e: Array, start: Array, wa: Array, wb: Array) -> Array:
        """Return ``D(g) - D(c)``; `start` is Ddot at the angle 0, `wa`, `wb` are the derivative's weights."""
        g = alpha * beta
        if self.jumps:  # which the derivative does not know of
            return covariance_gap(self.act, alpha, beta, g - e, e)
        z = np.clip(e / np.where(g > 0, 2.0 * g, 1.0), 0.0, 1.0)
        near, far = angle(z, 1.0 - z)
        out = np.empty((alpha.size, 1))
        pairs(wa, wb, near[:, None], far[:, None], self.mean(), start, out)
        return np.maximum(e * out[:, 0], 0.0)


@functools.lru_cache(maxsize=32)
def span_dual(act: Activation, low: int, high: int, tol: float) -> SpanDual:
    """Return the dual for standard deviations in ``[2^low, 2^high]``; networks alike share it."""
    return SpanDual(act, low, high, tol)


def spannable(act: Activation, q: Array) -> bool:
    """Return whether a table serves: no closed form, no kinks that scale, variances that it resolves."""
    return not act.closed and not any(act.kinks) and float(q.max(initial=0.0)) <= HIGHEST


def octaves(q: Array) -> tuple[int, int]:
    """Return powers of two around the roots of `q`; variances below 2^-60 of the largest count as that."""
    top = float(q.max(initial=0.0)) or 1.0
    bottom = float(q[q > 2.0**-_LOWEST * top].min(initial=top))
    high = math.ceil(0.5 * math.log2(top) - 1e-12)
    return min(math.floor(0.5 * math.log2(bottom) + 1e-12), high - 1), high


def spanning(act: Activation, q: Array, tol: float = 1e-14) -> SpanDual:
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
