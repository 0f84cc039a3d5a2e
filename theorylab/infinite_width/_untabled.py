"""Layers beyond the range of tables, in the shape of a table: the rule of the activation, pair by pair."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ._activations import Activation
from ._gaps import covariance_gap, radial

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


def worth(act: Activation, top: float, pairs: int) -> bool:
    """Return whether a table for variances up to `top` takes less time than the rule does for `pairs` pairs.

    Seconds on a core of 2020, good to a factor two.
    """
    scale = math.sqrt(top)
    if scale <= 4.0:
        return True
    reach = act.reach() if act.reach is not None else math.inf
    table = 0.02 * scale if scale < 100.0 and not act.kinks else 0.1 * (2.0 + math.log2(scale)) ** 2
    return pairs * (1e-4 + 3e-3 * min(1.0, reach / scale)) > table


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
