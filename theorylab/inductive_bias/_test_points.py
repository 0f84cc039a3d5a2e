"""The interval of the exact inductive bias over test sets of one size, by a jackknife over test points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ._conditioning import Predictive
from ._gaussian import Spectrum
from ._result import Notes

# An interval that spans more than this factor tells little.
_WIDE = 1e3
# Beyond, I and exp(-I) leave the range of numbers.
_HIGHEST, _LOWEST = 37.5, -350.0


def resampled_interval(
    predictive: Predictive,
    t: NDArray[Any],
    eps: NDArray[Any],
    rank_tol: float,
    estimate: NDArray[Any],
    groups: int,
    confidence: float,
    rng: np.random.Generator,
    notes: Notes,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the jackknife interval of I: random groups of test points are left out in turn.

    Drawing test points with repeats would be wrong: a repeated point adds no direction, so I comes out low.
    Points that are left out in turn add as many directions as they should, and by the inequality of
    Efron and Stein the jackknife variance is not too small on average. On the scale of `to_scale` a common
    factor, by which I grows with the number of test points, drops out.
    """
    n = t.shape[0]
    if n < 2:
        raise ValueError("bootstrap_test_points needs at least two test points, got one")
    groups = min(groups, n)
    order = rng.permutation(n)
    values = np.empty((groups, *eps.shape))
    for j in range(groups):
        rows = np.sort(np.delete(order, np.s_[j::groups]))
        values[j] = _nats(predictive.subset(rows).spectrum(t[rows]), rank_tol, eps)
    finite = np.isfinite(estimate) & np.all(np.isfinite(values), axis=0)
    scaled = to_scale(np.where(finite, values, 1.0))
    scaled -= scaled.mean(axis=0)
    squares = np.sum(scaled**2, axis=0)
    spread = np.sqrt((groups - 1.0) / groups * squares)
    # Where few groups carry the variance it has fewer degrees of freedom: it is the mean of squares whose own
    # variance follows from their kurtosis, 3 for normal ones.
    kurtosis = groups * np.sum(scaled**4, axis=0) / np.maximum(squares**2, 1e-300)
    dof = (groups - 1.0) * np.minimum(1.0, 2.0 / np.maximum(kurtosis - 1.0, 1e-300))
    half = special.stdtrit(dof, 0.5 + 0.5 * confidence) * spread
    at = to_scale(np.where(finite, estimate, 1.0))
    low = np.minimum(from_scale(at + half), estimate)
    high = np.maximum(from_scale(at - half), estimate)
    wide = finite & (high > _WIDE * low)
    if wide.any():
        # With the result, not as a warning: the interval says the same.
        notes.texts.append(
            f"the interval over test points spans more than a factor {_WIDE:g} at {int(wide.sum())} of "
            f"{eps.size} targets: {n} test points are too few to tell I there; take more, or other targets"
        )
    # Where leaving points out makes I infinite, or finite, it has no spread to speak of.
    never = np.isinf(estimate) & np.all(np.isinf(values), axis=0)
    low = np.where(finite, low, np.where(never, np.inf, 0.0))
    return np.asarray(low), np.asarray(np.where(finite, high, np.inf))


def to_scale(nats: NDArray[Any]) -> NDArray[np.float64]:
    """Return I on a scale on which test sets differ by nearly normal amounts, decreasing in I.

    With Phi(z) = exp(-I), z is about (eps - mean) / sd of the error, linear in what differs between test
    sets. The logarithm of a small I is not (it is -z^2 / 2); an interval in it would reach too high. For
    negative z, -arsinh(-z), which is about -log(8 I) / 2.
    """
    small = nats < 0.5
    z = np.where(
        small,
        -special.ndtri(-np.expm1(-np.where(small, nats, 0.5))),
        special.ndtri_exp(-np.where(small, 0.5, nats)),
    )
    z = np.minimum(z, _HIGHEST)
    return np.asarray(np.where(z > 0.0, z, -np.arcsinh(-np.minimum(z, 0.0))))


def from_scale(at: NDArray[Any]) -> NDArray[np.float64]:
    """Return I from its value on the scale of `to_scale`."""
    at = np.clip(at, _LOWEST, _HIGHEST)
    z = np.where(at > 0.0, at, -np.sinh(-np.minimum(at, 0.0)))
    return np.asarray(-special.log_ndtr(z))


def _nats(spectrum: Spectrum, rank_tol: float, eps: NDArray[Any]) -> NDArray[Any]:
    """Return I, also where the points left determine the error."""
    if spectrum.cut(rank_tol).any():
        return -np.asarray(spectrum.law(rank_tol).logcdf(eps))
    count = spectrum.n_test * spectrum.n_outputs
    error = (float(spectrum.squares.sum()) + spectrum.residual) / count
    return np.where(eps >= error, 0.0, np.inf)
