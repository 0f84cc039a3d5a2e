"""Duals of smooth activations as Mehler's sum ``D = sum_k h_k(a) h_k(b) rho^k`` over Hermite coefficients.

For activations analytic in a strip of half-width s the terms fall like ``exp(-2 s sqrt(2 k / a))``:
a few hundred reach rounding for all correlations.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ._activations import Activation
from ._interpolate import mehler
from ._quadrature import legendre

Array = NDArray[np.float64]
Basis = tuple[Array, Array, Array]
# How many terms to try, one after the other; memory of the basis goes with the power 3/2.
_LADDER = (144, 324, 729, 1296, 2400)
_REACH = 12.5  # exp(-x^2 / 4) = 1e-17, the root of the weight, lies outside
_STRIP = 16  # points whose coefficients are computed together: small against the tiles


class MehlerDual:
    """The dual of one activation for all variances up to `top`.

    Cost per pair and layer: two Horner sums.

    Parameters
    ----------
    act : Activation
    top : float
        Largest variance.
    tail : float
        What the squares of the coefficients left out may sum to, relative to all.
    bases : dict, optional
        Polynomials by their number, kept here to be shared with other variances.
    """

    def __init__(
        self, act: Activation, top: float, tail: float = 1e-16, bases: dict[int, Basis] | None = None
    ) -> None:
        self.act = act
        self.complete = False
        bases = {} if bases is None else bases
        # with a kink the terms fall like a power, which is soon seen
        ladder = _LADDER[:3] if act.kinks else _LADDER
        needed = 0.0
        for limit in ladder:
            if limit < needed:
                continue
            if limit not in bases:
                bases[limit] = _hermite(limit)
            self.x, self.root, basis = bases[limit]
            terms, needed = self._terms(basis, math.sqrt(top), tail)
            # parity makes every second coefficient vanish, and noise must not pass for decay
            self.complete = terms < 0.95 * limit
            if self.complete or needed > ladder[-1]:
                break
        self.basis = basis[: min(4 * ((terms + 3) // 4), limit)]

    def _terms(self, basis: Array, scale: float, tail: float) -> tuple[int, float]:
        """Return how many terms count, and how many the decay seen so far lets expect."""
        limit = basis.shape[0]
        terms, needed = 8, 0.0
        for f in (self.act.fn, self.act.dfn):
            values = f(scale * self.x) * self.root
            square, total = (basis @ values) ** 2, float(values @ values)
            rest = np.cumsum(square[::-1])[::-1]
            terms = max(terms, int(np.count_nonzero(rest > tail * total)))
            if abs(rest[0] - total) > 1e-8 * total:  # much of it oscillates faster than the basis
                terms = limit
            late = float(rest[int(0.9 * limit)]) / total if total else 0.0
            if 0.0 < late < 1e-4:  # decay exp(-c sqrt k) reaches the tail at
                needed = max(needed, 0.8 * limit * (math.log(tail) / math.log(late)) ** 2)
        return terms, needed

    def coefficients(self, q: Array) -> list[Array]:
        """Return the Hermite coefficients (len(q), terms) of the activation and of its derivative."""
        out = [np.empty((q.size, self.basis.shape[0])) for _ in range(2)]
        for low in range(0, q.size, _STRIP):
            part = slice(low, low + _STRIP)
            scaled = np.sqrt(q[part])[:, None] * self.x
            for coefficients, f in zip(out, (self.act.fn, self.act.dfn)):
                np.dot(f(scaled) * self.root, self.basis.T, out=coefficients[part])
        return out

    def __call__(self, a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
        """Evaluate on a tile: `a` (n, 1), `b` (1, m), the rest (n, m)."""
        first, second = np.empty(z.shape), np.empty(z.shape)
        (ha, sa), (hb, sb) = self.coefficients(a.ravel()), self.coefficients(b.ravel())
        mehler(ha, hb, sa, sb, np.ascontiguousarray(y - z), first, second)
        return first, second

    def paired(self, a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
        """Evaluate on single pairs: `a`, `b` (m,) or (m, 1), the rest (m,) or (m, k)."""
        first, second = np.empty(z.shape), np.empty(z.shape)
        (ha, sa), (hb, sb) = self.coefficients(a.ravel()), self.coefficients(b.ravel())
        rho = np.ascontiguousarray(y - z).reshape(ha.shape[0], 1, -1)
        shape = rho.shape
        D, Ddot = first.reshape(shape), second.reshape(shape)
        for i in range(shape[0]):
            hr, sr = (np.repeat(h[i : i + 1], shape[2], axis=0) for h in (hb, sb))
            mehler(ha[i : i + 1], hr, sa[i : i + 1], sr, rho[i], D[i], Ddot[i])
        return first, second


def _hermite(limit: int) -> Basis:
    """Return nodes, roots of their weights, and `limit` normalised Hermite polynomials times the roots.

    The polynomial of degree `limit` turns ``4 sqrt(limit)`` times within reach: eight nodes a turn.
    """
    # panels on both sides of zero with edges that floating point holds exactly: shifted by a rounding of
    # the reach, each would be wrong by that much in every layer
    node, weight = legendre(32)
    half = (math.isqrt(limit) + 1) // 2
    width = math.ceil(1024.0 * _REACH / half) / 1024.0
    x = (width * np.arange(half)[:, None] + width * node).ravel()
    x = np.concatenate([-x[::-1], x])
    weight = np.tile(width * weight, 2 * half)  # the rule is symmetric
    wide = x.astype(np.longdouble)  # the rounding of x^2 is no rounding of its exponential
    root = np.sqrt(weight * np.exp(-0.5 * wide * wide) / np.sqrt(2.0 * np.longdouble(np.pi))).astype(
        np.float64
    )
    basis = np.empty((limit, x.size))
    # the root inside keeps the recursion below overflow
    basis[0], basis[1] = root, x * root
    for k in range(1, limit - 1):
        basis[k + 1] = (x * basis[k] - math.sqrt(k) * basis[k - 1]) / math.sqrt(k + 1)
    return x, root, basis
