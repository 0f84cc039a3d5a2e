"""Predictive laws: finite mixtures of normals with the face of a frozen `scipy.stats` law."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from sklearn.utils import check_random_state

__all__ = ["NormalMixture"]

Array = NDArray[Any]


class NormalMixture:
    """A mixture of normals at every point, with common weights.

    Parameters
    ----------
    weights : ndarray, shape (k,)
    loc : ndarray, shape (k, ...) or (1, ...)
        Means of the components at each point.
    scale : ndarray, shape (k, ...)
        Their standard deviations.

    Notes
    -----
    Methods broadcast their argument against the shape of the points, like a frozen
    `scipy.stats` law whose `loc` is an array. Cost O(k) per value; quantiles by bisection and Newton.
    """

    def __init__(self, weights: Array, loc: Array, scale: Array) -> None:
        self.weights = np.asarray(weights)
        self.loc, self.scale = np.broadcast_arrays(loc, scale)
        self.shape = self.loc.shape[1:]

    def _terms(self, x: ArrayLike) -> tuple[Array, Array, Array]:
        value = np.asarray(x, dtype=np.float64)
        shape = np.broadcast_shapes(value.shape, self.shape)
        lead = len(shape) - len(self.shape)
        k = self.weights.size
        loc = self.loc.reshape((k,) + (1,) * lead + self.shape)
        scale = self.scale.reshape((k,) + (1,) * lead + self.shape)
        weights = self.weights.reshape((k,) + (1,) * len(shape))
        with np.errstate(divide="ignore", invalid="ignore"):
            standard = (value - loc) / scale
        standard = np.where(scale > 0, standard, np.where(value >= loc, np.inf, -np.inf))
        return standard, scale, weights

    def logpdf(self, x: ArrayLike) -> Array:
        """Log of the density."""
        t, scale, weights = self._terms(x)
        with np.errstate(divide="ignore"):
            terms = -0.5 * t * t - np.log(scale) - 0.5 * math.log(2.0 * math.pi)
        return np.asarray(special.logsumexp(terms, b=weights, axis=0))

    def pdf(self, x: ArrayLike) -> Array:
        """Density."""
        return np.asarray(np.exp(self.logpdf(x)))

    def cdf(self, x: ArrayLike) -> Array:
        """Distribution function."""
        t, _, weights = self._terms(x)
        return np.asarray(np.sum(weights * special.ndtr(t), axis=0))

    def sf(self, x: ArrayLike) -> Array:
        """Survival function, accurate in the upper tail."""
        t, _, weights = self._terms(x)
        return np.asarray(np.sum(weights * special.ndtr(-t), axis=0))

    def ppf(self, q: ArrayLike) -> Array:
        """Quantiles, to rounding."""
        level = np.asarray(q, dtype=np.float64)
        level, _ = np.broadcast_arrays(level, np.empty(np.broadcast_shapes(level.shape, self.shape)))
        inside = (level > 0) & (level < 1)
        safe = np.where(inside, level, 0.5)
        lead = level.ndim - len(self.shape)
        k = self.weights.size
        loc = self.loc.reshape((k,) + (1,) * lead + self.shape)
        scale = self.scale.reshape((k,) + (1,) * lead + self.shape)
        ends = loc + scale * special.ndtri(safe)
        low, high = ends.min(axis=0), ends.max(axis=0)
        upper = safe > 0.5
        for _ in range(200):  # heavy tails make wide brackets
            if np.all(high - low <= 2e-16 * np.maximum(np.abs(low), np.abs(high))):
                break
            middle = 0.5 * (low + high)
            below = np.where(upper, self.sf(middle) > 1.0 - safe, self.cdf(middle) < safe)
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        out = 0.5 * (low + high)
        out = np.where(inside, out, np.where(level == 0, -np.inf, np.where(level == 1, np.inf, np.nan)))
        return np.asarray(out)

    def interval(self, confidence: float) -> tuple[Array, Array]:
        """Central interval of the given probability."""
        tail = 0.5 * (1.0 - confidence)
        return self.ppf(tail), self.ppf(1.0 - tail)

    def median(self) -> Array:
        """Median."""
        return self.ppf(0.5)

    def mean(self) -> Array:
        """Mean."""
        return np.asarray(np.tensordot(self.weights, self.loc, axes=1))

    def var(self) -> Array:
        """Variance."""
        centred = self.loc - self.mean()
        return np.asarray(np.tensordot(self.weights, self.scale**2 + centred**2, axes=1))

    def std(self) -> Array:
        """Standard deviation."""
        return np.asarray(np.sqrt(self.var()))

    def rvs(self, size: int | tuple[int, ...] | None = None, random_state: Any = None) -> Array:
        """Draw values; the components of different points are drawn independently."""
        rng = check_random_state(random_state)
        shape = self.shape if size is None else tuple(np.atleast_1d(size))
        lead = np.broadcast_shapes(shape, self.shape)
        choice = rng.choice(self.weights.size, size=lead, p=self.weights)
        flat = choice.reshape(-1, *self.shape) if len(lead) > len(self.shape) else choice[None]
        index = np.indices(flat.shape)[1:]
        loc = self.loc[(flat, *index)]
        scale = self.scale[(flat, *index)]
        return np.asarray((loc + scale * rng.standard_normal(flat.shape)).reshape(lead))
