"""Second moments on their way through the layers of an architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.checks import check_real

__all__ = ["Layer", "State", "initial_state", "variances"]

Array = NDArray[Any]


@dataclass
class State:
    """Second moments between two batches: covariances `c`, tangents `t`, variances `a`, `b`.

    Vectors: c (n, m), a (n,), b (m,). Images: positions follow, c (n, m, H, W) at equal positions or
    (n, m, H, W, H, W) at all pairs of positions (`full`), a (n, H, W). Sequences: time follows.
    """

    c: Array
    t: Array
    a: Array
    b: Array
    kind: str = "vector"
    full: bool = False
    same: Array | None = None  # (n, m): which pairs are one and the same point, hence exactly correlated

    def halves(self) -> tuple[Array, Array]:
        """Return ``(1 -+ rho) / 2``, exactly 0 and 1 for a point with itself.

        Rounding there costs half the digits.
        """
        z, y = _halves(self.c, *self.spread())
        if self.same is not None and self.same.any():
            i, j = np.nonzero(self.same)
            if self.full:
                h, w = (v.ravel() for v in np.indices(self.c.shape[2:4]))
                for p, q in zip(i, j):
                    z[p, q, h, w, h, w], y[p, q, h, w, h, w] = 0.0, 1.0
            else:
                z[i, j], y[i, j] = 0.0, 1.0
        return z, y

    def spread(self) -> tuple[Array, Array]:
        """Return the variances broadcast against `c`."""
        a, b = self.a, self.b
        if self.kind == "vector":
            return a[:, None], b[None]
        if not self.full:
            return a[:, None], b[None]
        return a[:, None, :, :, None, None], b[None, :, None, None]


class Layer:
    """A map of second moments."""

    #: Whether the layer, or one inside it, needs covariances between different positions.
    needs_full = False

    def apply(self, state: State) -> State:
        """Return the moments after the layer."""
        raise TypeError(f"{type(self).__name__} is not a layer")


def variances(w_var: Any, b_var: Any) -> tuple[float, float]:
    """Return both variances, checked."""
    return check_real(w_var, "w_var", low=0.0), check_real(b_var, "b_var", low=0.0)


def _halves(c: Array, a: Array, b: Array) -> tuple[Array, Array]:
    g = np.sqrt(a) * np.sqrt(b)
    rho = np.clip(np.where(g > 0, c / np.where(g > 0, g, 1.0), 0.0), -1.0, 1.0)
    return 0.5 * (1.0 - rho), 0.5 * (1.0 + rho)


def initial_state(x: Array, y: Array, full: bool) -> State:
    """Return the moments of the inputs."""
    d = x.shape[-1]
    where: dict[bytes, list[int]] = {}
    for j, point in enumerate(y):
        where.setdefault(point.tobytes(), []).append(j)
    same = np.zeros((x.shape[0], y.shape[0]), dtype=bool)
    for i, point in enumerate(x):
        same[i, where.get(point.tobytes(), [])] = True
    last = x.ndim - 1
    a, b = np.sum(x * x, axis=last) / d, np.sum(y * y, axis=last) / d
    if x.ndim == 2:
        c, kind = x @ y.T / d, "vector"
    elif x.ndim == 3:
        c, kind = np.einsum("ntd,mtd->nmt", x, y) / d, "sequence"
    else:
        path = "nhwc,mijc->nmhwij" if full else "nhwc,mhwc->nmhw"
        c, kind = np.einsum(path, x, y, optimize=True) / d, "image"
    return State(c, np.zeros_like(c), a, b, kind, full and kind == "image", same)
