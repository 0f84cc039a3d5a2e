"""The random variance of the readout: its prior, its posterior, and quadrature over its logarithm."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from ._quadrature import legendre

__all__ = ["infinite_mean", "log_prior", "posterior_nodes"]

Array = NDArray[Any]
LogDensity = Callable[[Array], Array]

_RANGE = 115.0  # |ln s| beyond which no prior is followed
_DROP = 42.0  # exp(-42) = 6e-19


def log_prior(prior: Any, alpha: float, beta: float) -> LogDensity | None:
    """Return the log density of s, or None for the point mass at 1.

    Raises
    ------
    ValueError
        For an unknown name.
    TypeError
        For anything that is neither a name, a frozen law, a function nor None.
    """
    if prior is None:
        return None
    if isinstance(prior, str):
        if prior != "invgamma":
            raise ValueError(
                f"prior must be 'invgamma', None, a frozen scipy.stats law or a function s -> log "
                f"density, got {prior!r}"
            )
        constant = alpha * math.log(beta) - float(gammaln(alpha))
        return lambda s: constant - (alpha + 1.0) * np.log(s) - beta / s
    if getattr(prior, "numargs", 0) and hasattr(prior, "freeze"):
        raise TypeError(
            f"prior is the family {type(prior).__name__}, expected one law; freeze its parameters, for "
            f"instance scipy.stats.burr12(2.0, 1.5)"
        )
    if hasattr(prior, "logpdf"):
        return lambda s: np.asarray(prior.logpdf(s), dtype=np.float64)
    if callable(prior):
        return lambda s: np.asarray(prior(s), dtype=np.float64)
    raise TypeError(
        f"prior must be 'invgamma', None, a frozen scipy.stats law or a function s -> log density, "
        f"got {type(prior).__name__}"
    )


def posterior_nodes(log_density: LogDensity, log_likelihood: LogDensity | None) -> tuple[Array, Array, float]:
    """Return nodes s, normalised weights and the log of the integral of density times likelihood.

    Composite Gauss-Legendre in ``u = ln s`` between the points where the integrand has
    fallen by a factor 1e18, found by a scan and bisection (several modes are legal).
    """

    def log_integrand(u: Array) -> Array:
        s = np.exp(u)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore", under="ignore"):
            density = log_density(s)
            if np.shape(density) != np.shape(s):
                raise ValueError(
                    f"prior maps shape {np.shape(s)} to {np.shape(density)}; it must be vectorised over s"
                )
            value = u + density
            if log_likelihood is not None:
                value = value + log_likelihood(s)
        return np.where(np.isnan(value), -np.inf, value)

    grid = np.linspace(-_RANGE, _RANGE, 1841)
    values = log_integrand(grid)
    peak = int(np.argmax(values))
    if not np.isfinite(values[peak]):
        raise ValueError("prior has no mass where the data put the scale; check its support")
    best = float(grid[peak])
    for width in (0.125, 0.0125, 0.00125):  # a narrow posterior hides between the points of the scan
        local = best + width * np.linspace(-1.0, 1.0, 41)
        local_values = log_integrand(local)
        best = float(local[int(np.argmax(local_values))])
    top = max(float(values[peak]), float(local_values.max()))

    def edge(inside: float, outside: float) -> float:
        for _ in range(60):
            middle = 0.5 * (inside + outside)
            if float(log_integrand(np.array([middle]))[0]) + max(middle - best, 0.0) > top - _DROP:
                inside = middle
            else:
                outside = middle
        return inside

    alive = np.flatnonzero(values > top - _DROP)
    # variances weigh by s: above the mode the tail is followed until s times the density has fallen too
    tilt = np.maximum(grid - best, 0.0)
    weighed = np.flatnonzero(values + tilt > top - _DROP)
    left = float(min(grid[alive[0]], best)) if alive.size else best
    right = float(max(grid[weighed[-1]], best)) if weighed.size else best
    step = grid[1] - grid[0]
    low, high = edge(left, left - step), edge(right, right + step)
    x, w = legendre(20)
    pieces = 12

    def panels(a: float, b: float, graded_to_b: bool) -> tuple[Array, Array]:
        # quadratic grading towards the mode, where the curvature is
        cuts = np.linspace(0.0, 1.0, pieces + 1) ** 2
        cuts = b - (b - a) * cuts[::-1] if graded_to_b else a + (b - a) * cuts
        gaps = np.diff(cuts)[:, None]
        return (cuts[:-1, None] + gaps * x).ravel(), (gaps * w).ravel()

    (ul, wl), (ur, wr) = panels(low, best, True), panels(best, high, False)
    u, weight = np.concatenate([ul, ur]), np.concatenate([wl, wr])
    exponent = log_integrand(u)
    mass = weight * np.exp(exponent - top)
    total = float(mass.sum())
    keep = mass * np.maximum(np.exp(u - best), 1.0) > 1e-20 * total
    return np.exp(u[keep]), mass[keep] / float(mass[keep].sum()), top + math.log(total)


def infinite_mean(s: Array, weights: Array) -> bool:
    """Return whether the mean of s comes from the very end of the range, hence does not exist."""
    share = weights * s
    return bool(share[s > math.exp(_RANGE - 4.0)].sum() > 0.01 * share.sum())
