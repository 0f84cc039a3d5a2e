"""Duals pair by pair for activations without a closed form: which rule serves which pair."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _lines, _quadrature
from ._closed import angle
from ._far import FarDual, far_dual
from ._pieces import PieceDual, find

Array = NDArray[Any]
Function = Callable[[Array], Array]
Gap = Callable[[Array, Array, Array], Array]
Radial = Callable[[Array, Array, Array], tuple[Array, Array]]


class Rule:
    """The dual of `fn` and its gap; subclasses know the pairs that are not far apart."""

    gap: Gap | None = None
    radial: Radial | None = None

    def __init__(self, fn: Function, dfn: Function, kinks: tuple[float, ...]) -> None:
        self.fn, self.dfn, self.kinks = fn, dfn, kinks

    @functools.cached_property
    def far(self) -> FarDual | None:
        """The dual of pairs far apart, if the activation is a broken line but for a part near zero."""
        return far_dual(self.fn, self.dfn, self.kinks)

    def reach(self) -> float:
        """Return from which ``min(sqrt a, sqrt b) sin theta`` on a pair counts as far apart."""
        return math.inf if self.far is None else self.far.reach

    def close(self, alpha: Array, beta: Array, near: Array, far: Array) -> tuple[Array, Array]:
        """Return D and Ddot of pairs that are not far apart."""
        raise TypeError("a rule needs a way for pairs that are not far apart")

    def dual(self, a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
        """Return D and Ddot."""
        a, b, c, z, y = np.broadcast_arrays(a, b, c, z, y)
        alpha, beta = np.sqrt(a).ravel(), np.sqrt(b).ravel()
        near, far = (v.ravel() for v in angle(z, y))
        first, second = self.split(alpha, beta, near, far)
        return first.reshape(a.shape), second.reshape(a.shape)

    def split(self, alpha: Array, beta: Array, near: Array, far: Array) -> tuple[Array, Array]:
        """Return D and Ddot, each pair by the rule that serves it; arrays (N,)."""
        if alpha.size == 0:
            return np.zeros(0), np.zeros(0)
        # the search for a broken line costs more than a few pairs of moderate variance
        broken = self.far if max(float(alpha.max()), float(beta.max())) > 1.0 else None
        if broken is None:
            return self.close(alpha, beta, near, far)
        apart = broken.covers(alpha, beta, near)
        first, second = np.empty(alpha.size), np.empty(alpha.size)
        for part, form in ((apart, broken.dual), (~apart, self.close)):
            if part.any():
                first[part], second[part] = form(alpha[part], beta[part], near[part], far[part])
        return first, second


# From this standard deviation on, what happens near zero is no part of 1e-13 of a function that grows.
_VAST = 2.0**40


def alike(alpha: Array, beta: Array) -> list[Array]:
    """Return the indices of pairs whose larger scale is alike: a point far out costs its own pairs alone."""
    power = np.ceil(np.log2(np.maximum(np.maximum(alpha, beta), 0.25)))
    return [np.flatnonzero(power == p) for p in np.unique(power)]


class PolarRule(Rule):
    """Polar quadrature at a resolution that two rules agree on."""

    def __init__(self, fn: Function, dfn: Function, kinks: tuple[float, ...]) -> None:
        super().__init__(fn, dfn, kinks)
        self.known: dict[tuple[float, float], int] = {}
        self.gap = self._gap

    def nodes(self, alpha: Array, beta: Array) -> int:
        """Return the resolution: one per power of two of the scales."""
        high = [2.0 ** math.ceil(math.log2(max(float(s.max()), 0.25))) for s in (alpha, beta)]
        top = (high[0], high[1])
        if min(top) >= _VAST and self.far is not None and np.any(self.far.slopes[:, 1]):
            return 24
        if top not in self.known:
            found = [_quadrature.resolution(f, top[0], top[1]) for f in (self.fn, self.dfn)]
            self.known[top] = max(found) if min(found) else 0
        return self.known[top]

    def close(self, alpha: Array, beta: Array, near: Array, far: Array) -> tuple[Array, Array]:
        """Return D and Ddot."""
        first, second = np.empty(alpha.size), np.empty(alpha.size)
        for part in alike(alpha, beta):
            al, be, n = alpha[part], beta[part], self.nodes(alpha[part], beta[part])
            first[part], second[part] = _quadrature.polar(
                (self.fn, self.dfn), al, be, near[part], far[part], n
            )
        return first, second

    def _gap(self, alpha: Array, beta: Array, z: Array) -> Array:
        """Return ``D(alpha beta) - D(c)`` for standard deviations and ``z = (1 - rho) / 2``, arrays (N,)."""
        near, far = angle(z, 1.0 - z)
        out, kinked = np.empty(alpha.size), bool(self.kinks)
        for part in alike(alpha, beta):
            al, be, n = alpha[part], beta[part], self.nodes(alpha[part], beta[part])
            out[part] = _quadrature.polar_gap(self.fn, self.dfn, al, be, near[part], far[part], kinked, n)
        return out


class LineRule(Rule):
    """Functions with kinks off the origin, at a resolution that two rules agree on."""

    def __init__(self, fn: Function, dfn: Function, kinks: tuple[float, ...]) -> None:
        super().__init__(fn, dfn, kinks)
        self.edges = np.array(sorted(set(kinks)))
        self.known: dict[tuple[int, int], int] = {}
        self.gap, self.radial = self._gap, self._radial

    def nodes(self, alpha: Array, beta: Array) -> int:
        """Return the nodes of a panel: one number per power of two of the scales."""
        tops = [max(0, math.ceil(math.log2(max(float(s.max()), 1.0)))) for s in (alpha, beta)]
        key = (tops[0], tops[1])
        if key not in self.known:
            al, be = (np.full(3, 2.0**top) for top in tops)
            probe = np.array([0.05, 1.1, 2.9])
            n, fns = 8, (self.fn, self.dfn)
            coarse = _lines.expectations(fns, al, be, probe, self.edges, n)
            while n < 27:
                finer = n + n // 2
                fine = _lines.expectations(fns, al, be, probe, self.edges, finer)
                off = [np.max(np.abs(p - q)) > 3e-15 * np.max(np.abs(p)) for p, q in zip(fine, coarse)]
                if not any(off):
                    break
                n, coarse = finer, fine
            self.known[key] = n
        return self.known[key]

    def close(self, alpha: Array, beta: Array, near: Array, far: Array) -> tuple[Array, Array]:
        """Return D and Ddot."""
        n = self.nodes(alpha, beta)
        first, second = _lines.expectations((self.fn, self.dfn), alpha, beta, near, self.edges, n)
        return first, second

    def _gap(self, alpha: Array, beta: Array, z: Array) -> Array:
        """Return ``D(alpha beta) - D(c)`` for standard deviations and ``z = (1 - rho) / 2``, arrays (N,)."""
        near, far = angle(z, 1.0 - z)
        acute = z <= 0.5
        out = np.empty(alpha.size)
        if acute.any():
            al, be, th = (v[acute] for v in (alpha, beta, near))
            out[acute] = _lines.gap(self.fn, self.dfn, al, be, th, self.edges, self.nodes(al, be))
        if not acute.all():
            al, be, th, rest = (v[~acute] for v in (alpha, beta, near, far))
            top = self.close(al, be, 0.0 * th, 0.0 * th + math.pi)[0]
            out[~acute] = top - self.split(al, be, th, rest)[0]
        return out

    def _radial(self, alpha: Array, beta: Array, diff: Array) -> tuple[Array, Array]:
        """Return ``E[F^2 - G^2]`` and ``E[(F - G)^2]`` of ``F, G = f(alpha x), f(beta x)``, x normal."""
        return _lines.radial(self.fn, self.dfn, alpha, beta, diff, self.edges)


class PieceRule(Rule):
    """A piecewise polynomial."""

    def __init__(self, pieces: PieceDual, fn: Function, kinks: tuple[float, ...]) -> None:
        super().__init__(fn, pieces.slope, kinks)
        self.pieces, self.gap, self.radial = pieces, self._gap, pieces.radial

    @functools.cached_property
    def far(self) -> FarDual | None:
        """The dual of pairs far apart, if bounded or parabolic there: single integrals lose digits."""
        coef = self.pieces.pieces.coef
        if not np.any(coef[:, 2]) and np.any(coef[[0, -1], 1]):
            return None
        return far_dual(self.fn, self.dfn, self.kinks, smooth=False)

    def close(self, alpha: Array, beta: Array, near: Array, far: Array) -> tuple[Array, Array]:
        """Return D and Ddot."""
        return self.pieces.evaluate(alpha, beta, near, far)[:2]

    def _gap(self, alpha: Array, beta: Array, z: Array) -> Array:
        """Return ``D(alpha beta) - D(c)`` for standard deviations and ``z = (1 - rho) / 2``, arrays (N,)."""
        near, far = angle(z, 1.0 - z)
        gap = self.pieces.evaluate(alpha, beta, near, far)[2]
        # there the gap of distant points is small against its terms, but not against D
        apart = np.maximum(alpha, beta) * near * near > 1.0
        if self.far is not None and apart.any():
            parts = alpha[apart], beta[apart]
            gap[apart] = self.pieces.parallel(*parts) - self.split(*parts, near[apart], far[apart])[0]
        return gap


def rule(fn: Function, dfn: Function, kinks: tuple[float, ...]) -> Rule:
    """Return the rule for an activation."""
    pieces = find(fn, kinks) if any(kinks) else None
    if pieces is not None:
        at = tuple(sorted({*pieces.kinks.tolist(), *(k for k in kinks if k == 0.0)}))
        return PieceRule(PieceDual(pieces), fn, at)
    return LineRule(fn, dfn, kinks) if any(kinks) else PolarRule(fn, dfn, kinks)
