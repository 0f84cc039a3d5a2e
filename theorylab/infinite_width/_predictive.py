"""Predictive laws: finite mixtures of normals with the face of a frozen `scipy.stats` law."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from sklearn.utils import check_random_state

__all__ = ["NormalMixture", "random_source"]

Array = NDArray[Any]


def random_source(random_state: Any) -> Any:
    """Return a RandomState, or the Generator given."""
    return random_state if isinstance(random_state, np.random.Generator) else check_random_state(random_state)


class NormalMixture:
    """A mixture of normals at every point, with common weights.

    Parameters
    ----------
    weights : ndarray, shape (k,)
    loc : ndarray, shape (k, ...) or (1, ...)
        Means of the components at each point.
    scale : ndarray, shape (k, ...)
        Their standard deviations.
    infinite_variance : bool
        Whether the law that the components stand for has no variance.

    Notes
    -----
    Methods broadcast their argument against the shape of the points, like a frozen
    `scipy.stats` law whose `loc` is an array. Cost O(k) per value; quantiles by some ten
    steps of a bracketed Newton iteration.
    """

    def __init__(self, weights: Array, loc: Array, scale: Array, *, infinite_variance: bool = False) -> None:
        self.weights = np.asarray(weights)
        self.infinite_variance = infinite_variance
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
        shape = np.broadcast_shapes(level.shape, self.shape)
        level = np.broadcast_to(level, shape).ravel()
        k = self.weights.size
        lead = (k,) + (1,) * (len(shape) - len(self.shape)) + self.shape
        loc, scale = (
            np.broadcast_to(v.reshape(lead), (k, *shape)).reshape(k, -1) for v in (self.loc, self.scale)
        )
        out = np.where(level == 0, -np.inf, np.where(level == 1, np.inf, np.nan))
        inside = np.flatnonzero((level > 0) & (level < 1))
        for start in range(0, inside.size, 4096):
            i = inside[start : start + 4096]
            side = np.where(level[i] > 0.5, -1.0, 1.0)  # the upper tail is the lower one of -x
            tail = np.minimum(level[i], 1.0 - level[i])
            out[i] = side * _lower_quantile(tail, self.weights, side * loc[:, i], scale[:, i])
        return np.asarray(out.reshape(shape))[()]

    def interval(self, confidence: float) -> tuple[Array, Array]:
        """Central interval of the given probability."""
        if not np.all((np.asarray(confidence) >= 0.0) & (np.asarray(confidence) <= 1.0)):
            raise ValueError(f"confidence must lie in [0, 1], got {confidence!r}")
        tail = 0.5 * (1.0 - confidence)
        return self.ppf(tail), self.ppf(1.0 - tail)

    def median(self) -> Array:
        """Median."""
        return self.ppf(0.5)

    def mean(self) -> Array:
        """Mean."""
        return np.asarray(np.tensordot(self.weights, self.loc, axes=1))

    def var(self) -> Array:
        """Variance; infinite where the scale of the mixture has no mean."""
        if self.infinite_variance:
            return np.full(self.shape, math.inf)[()]
        centred = self.loc - self.mean()
        return np.asarray(np.tensordot(self.weights, self.scale**2 + centred**2, axes=1))

    def std(self) -> Array:
        """Standard deviation."""
        return np.asarray(np.sqrt(self.var()))

    def rvs(self, size: int | tuple[int, ...] | None = None, random_state: Any = None) -> Array:
        """Draw values; the components of different points are drawn independently.

        `random_state` is an int, RandomState, Generator or None, as in `scipy.stats`.
        """
        rng = random_source(random_state)
        shape = self.shape if size is None else tuple(np.atleast_1d(size))
        lead = np.broadcast_shapes(shape, self.shape)
        choice = rng.choice(self.weights.size, size=lead, p=self.weights)
        flat = choice.reshape(-1, *self.shape) if len(lead) > len(self.shape) else choice[None]
        index = np.indices(flat.shape)[1:]
        loc = self.loc[(flat, *index)]
        scale = self.scale[(flat, *index)]
        return np.asarray((loc + scale * rng.standard_normal(flat.shape)).reshape(lead))


def _lower_quantile(tail: Array, weights: Array, loc: Array, scale: Array) -> Array:
    """Solve ``sum_k w_k Phi((x - loc_k) / scale_k) = tail <= 1/2`` for arrays loc, scale (k, points).

    Newton's iteration for the logarithm of the sum in ``asinh`` of x, where power tails are straight
    lines; a step that leaves the bracket is replaced by bisection.
    """
    w = weights[:, None]
    ends = loc + scale * special.ndtri(tail)
    low, high = ends.min(axis=0), ends.max(axis=0)
    # components of width zero are atoms; where there is nothing else, the gaps between them tell the unit
    wide = scale > 0
    share = np.sum(w * wide, axis=0)
    logs = np.sum(w * np.log(np.where(wide, scale, 1.0)), axis=0)
    gaps = np.where(high > low, high - low, 1.0)
    unit = np.where(share > 0, np.exp(np.clip(logs / np.where(share > 0, share, 1.0), -600.0, 600.0)), gaps)
    centre = np.clip(np.sum(w * loc, axis=0), low, high)
    x = np.clip(centre + unit * special.ndtri(tail), low, high)
    active = np.flatnonzero(high > low)
    for _ in range(200):
        if active.size == 0:
            break
        a, y, u, c = active, x[active], unit[active], centre[active]
        with np.errstate(all="ignore"):
            t = (y - loc[:, a]) / scale[:, a]
            t = np.where(scale[:, a] > 0, t, np.where(y >= loc[:, a], np.inf, -np.inf))
            value = np.sum(w * special.ndtr(t), axis=0)
            density = np.sum(w * np.exp(-0.5 * t * t) / scale[:, a], axis=0, where=scale[:, a] > 0)
            density /= math.sqrt(2.0 * math.pi)
            below = value < tail[a]
            low[a], high[a] = np.where(below, y, low[a]), np.where(below, high[a], y)
            place = np.arcsinh((y - c) / u)
            step = np.log(value / tail[a]) * value / (density * u * np.cosh(place))
            new = c + u * np.sinh(place - step)
            mean = 0.5 * (np.arcsinh((low[a] - c) / u) + np.arcsinh((high[a] - c) / u))
            middle = np.clip(c + u * np.sinh(mean), low[a], high[a])
        new = np.where((new > low[a]) & (new < high[a]), new, middle)
        with np.errstate(divide="ignore", invalid="ignore"):
            near = np.abs(new - y) <= 2e-16 * np.abs(y) + 1e-15 * np.where(density > 0, value / density, 0.0)
        x[a] = new
        active = a[~(near | (new == y))]
    return np.asarray(x)
