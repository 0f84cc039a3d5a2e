"""Layers beyond the range of tables, in the shape of a table: the rule of the activation, pair by pair."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ._activations import Activation
from ._gaps import covariance_gap, radial
from ._span import HIGHEST

Array = NDArray[Any]
Moments = tuple[Array, Array]


class LayerDual(Protocol):
    """What a network asks of the dual of one layer; see `SpanDual`."""

    def __call__(self, a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]: ...

    def paired(
        self,
        a: Array,
        b: Array,
        c: Array,
        z: Array,
        y: Array,
        left: Moments | None = None,
        right: Moments | None = None,
    ) -> tuple[Array, Array]: ...

    def step(
        self, alpha: Array, beta: Array, diff: Array, e: Array, left: Moments, right: Moments
    ) -> tuple[Array, Array, Array]: ...


def served(act: Activation, tops: Array, pairs: int) -> list[bool]:
    """Return which layers, of largest variances `tops`, tables should serve, for the least time in all.

    A table serves all layers up to its own variance. Seconds on a core of 2020, good to a factor two.
    """
    scale = np.sqrt(np.maximum(tops, 1.0))
    reach = act.reach() if act.reach is not None else math.inf
    single = pairs * (1e-4 + 1.5e-3 * np.minimum(1.0, reach / scale))
    octaves = np.log2(scale)
    table = 0.015 * (2.0 + octaves) ** 3 * np.maximum(1.0, (octaves - octaves.min()) / 3.0)
    if not act.kinks:
        table = np.where(scale < 100.0, 0.02 * scale, table)
    order = np.argsort(tops, kind="stable")
    rest = np.append(np.cumsum(single[order][::-1])[::-1], 0.0)
    total = np.append(0.0, table[order]) + rest
    # where variances are small one table serves every network; beyond the largest there is none
    first, last = int(np.count_nonzero(scale <= 4.0)), int(np.count_nonzero(tops <= HIGHEST))
    best = first + int(np.argmin(total[first : last + 1]))
    out = np.zeros(tops.size, dtype=bool)
    out[order[:best]] = True
    return out.tolist()


class Untabled:
    """The dual of one activation for any variances."""

    def __init__(self, act: Activation) -> None:
        self.act = act

    def __call__(self, a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
        """Return D and Ddot; the arrays broadcast."""
        return self.act.dual(a, b, c, z, y)

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
        """Return D and Ddot; the moments of both points are not needed."""
        return self.act.dual(a, b, c, z, y)

    def step(
        self, alpha: Array, beta: Array, diff: Array, e: Array, left: Moments, right: Moments
    ) -> tuple[Array, Array, Array]:
        """Return ``D(g) - D(c)``, the difference of the variances after the activation, ``E[(f - g)^2]``."""
        gap = covariance_gap(self.act, alpha, beta, alpha * beta - e, e)
        change, spread = radial(self.act, alpha, beta, diff)
        return gap, change, np.maximum(spread, 0.0)
