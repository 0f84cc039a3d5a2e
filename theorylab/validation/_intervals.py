"""Confidence intervals, on `scipy.special` alone so that they import fast."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["STATISTICS", "Estimate", "Statistic", "clopper_pearson", "dkw_band", "ks_distance", "t_quantile"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval."""

    value: float
    low: float
    high: float


def t_quantile(level: float, df: float) -> float:
    """Return the two-sided quantile of Student's t: the interval misses with probability `level`."""
    if not df > 0:
        return math.inf
    return (
        float(special.stdtrit(df, 1 - level / 2))
        if math.isfinite(df)
        else float(special.ndtri(1 - level / 2))
    )


@dataclass(frozen=True)
class Statistic:
    """A mean under a monotone transformation, with Student's interval mapped back.

    The interval is exact for normal samples of the transformed quantity and
    asymptotically right otherwise. Where `logarithmic`, it is symmetric on the
    logarithmic scale of the estimate.
    """

    forward: Callable[[Floats], Floats]
    inverse: Callable[[float], float]
    log_slope: Callable[[float], float]
    logarithmic: bool = False

    def moments(self, samples: Floats) -> tuple[float, float, int]:
        """Return the mean of the transformed samples, its standard error, and their number."""
        values = self.forward(samples)
        n = values.size
        error = float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.inf
        return float(np.mean(values)), error, n

    def estimate(self, samples: Floats, level: float) -> Estimate:
        """Return the estimate with its two-sided interval of confidence ``1 - level``."""
        mean, error, n = self.moments(samples)
        half = t_quantile(level, n - 1) * error if error > 0 else 0.0
        if self.logarithmic and mean > 0:
            # Squares are skewed; their mean is less so on the logarithmic scale.
            value, ratio = self.inverse(mean), math.exp(min(half * self.log_slope(mean), 700.0))
            return Estimate(value, value / ratio, value * ratio)
        return Estimate(self.inverse(mean), self.inverse(mean - half), self.inverse(mean + half))

    def log_estimate(self, samples: Floats) -> tuple[float, float, int]:
        """Return the logarithm of the estimate, its standard error (delta method), and the sample size."""
        mean, error, n = self.moments(samples)
        value = self.inverse(mean)
        if not value > 0:
            raise ValueError(f"a rate needs positive estimates to take logarithms of, got {value:g}")
        return math.log(value), self.log_slope(mean) * error, n


def _positive_log(samples: Floats) -> Floats:
    if np.any(samples <= 0):
        raise ValueError(f"a geometric mean needs positive samples, got {float(samples.min()):g}")
    return np.log(samples)


STATISTICS = {
    "mean": Statistic(lambda x: x, lambda m: m, lambda m: 1 / abs(m)),
    "rms": Statistic(np.square, lambda m: math.sqrt(max(m, 0.0)), lambda m: 0.5 / m, logarithmic=True),
    "geomean": Statistic(_positive_log, lambda m: math.exp(min(m, 709.0)), lambda m: 1.0),
}


def clopper_pearson(successes: int, n: int, level: float) -> tuple[float, float]:
    """Return the lower and the upper one-sided bound for a probability, each of confidence ``1 - level``."""
    low = float(special.betaincinv(successes, n - successes + 1, level)) if successes else 0.0
    high = float(special.betaincinv(successes + 1, n - successes, 1 - level)) if successes < n else 1.0
    return low, high


def dkw_band(n: int, level: float) -> float:
    """Return the half-width of the Dvoretzky-Kiefer-Wolfowitz band, with Massart's constant, for any law."""
    return math.sqrt(math.log(2 / level) / (2 * n))


def ks_distance(samples: Floats, law: Any) -> float:
    """Return the Kolmogorov distance between the samples and a law, which may have atoms.

    Parameters
    ----------
    samples : ndarray, shape (n,)
    law : callable or object with ``cdf``
        The distribution function, right-continuous; it may jump.
    """
    x = np.sort(samples)
    n = x.size
    cdf = getattr(law, "cdf", law)
    right = np.asarray(cdf(x), dtype=np.float64)
    # The limit from the left: smaller by the mass of an atom, the same without one.
    left = np.asarray(cdf(np.nextafter(x, -np.inf)), dtype=np.float64)
    if right.shape != x.shape or not np.isfinite(left + right).all():
        raise ValueError("a law needs a distribution function of arrays, with values in [0, 1]")
    above = np.searchsorted(x, x, side="right") / n - right
    below = left - np.searchsorted(x, x, side="left") / n
    return float(max(above.max(), below.max()))
