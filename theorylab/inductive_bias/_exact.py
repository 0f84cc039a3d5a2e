"""The exact inductive bias of a Gaussian law, its numerical error, and what hangs on the null space."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._accuracy import Sensitivity
from ._conditioning import Predictive
from ._gaussian import Spectrum
from ._parameters import TailInfo
from ._result import InductiveBiasResult, Notes, UnattainableErrorWarning


def exact_bias(
    predictive: Predictive, t: NDArray[Any], eps: NDArray[Any], rank_tol: float, notes: Notes
) -> InductiveBiasResult:
    """Evaluate the exact law and look at what hinges on the null space."""
    spectrum = predictive.spectrum(t)
    law = spectrum.law(rank_tol)
    log_p, info = law.logcdf(eps, return_info=True)
    estimate = np.asarray(-log_p + 0.0)
    floor = law.support()[0]
    sensitivity = Sensitivity.of(spectrum, rank_tol)
    error = _numerical_error(sensitivity, eps, floor, estimate, info)
    if np.any(eps <= floor):
        below = int(np.sum(eps <= floor))
        notes.warn(
            f"{below} of {eps.size} targets lie at or below the irreducible error {floor:.6g} (rank "
            f"{spectrum.rank(rank_tol)} of {t.shape[0]}): no hypothesis reaches them, I = inf",
            UnattainableErrorWarning,
            1,
        )
    if eps.size and _hinges(spectrum, rank_tol, eps, estimate):
        notes.warn(
            f"the answer hinges on rank_tol = {rank_tol:g}: a null space ten times wider or narrower changes "
            "it by more than 1e-6; eigenvalues near rounding matter at this depth",
            UserWarning,
            1,
        )
    with np.errstate(invalid="ignore"):
        low = np.where(np.isinf(error), 0.0, np.maximum(estimate - error, 0.0))
    at_floor = np.isinf(error) & np.isinf(estimate)
    if at_floor.any():
        # The floor itself is known to its error only: I is at least its value a little above.
        low = np.where(at_floor, -np.asarray(law.logcdf(eps + 2.0 * sensitivity.floor_error())), low)
    kept = spectrum.cut(rank_tol)
    # Relative to the largest: squares of eigenvalues may leave the range of floating-point numbers.
    w = np.where(kept, spectrum.values / spectrum.values.max(), 0.0)
    k = spectrum.outputs[:, None]
    return InductiveBiasResult(
        estimate=estimate,
        confidence_interval=(np.asarray(low), np.asarray(estimate + error)),
        numerical_error=error,
        method="exact",
        distribution=law,
        mean_error=law.mean(),
        irreducible_error=floor,
        effective_dof=float(np.sum(k * w) ** 2 / np.sum(k * w**2)),
        rank=spectrum.rank(rank_tol),
        n_samples=0,
        lower_bound_nats=np.asarray(-law.logcdf(eps, method="chernoff") + 0.0),
        extrapolation=np.zeros(eps.shape),
        n_test=t.shape[0],
        n_outputs=t.shape[1],
        warnings=tuple(notes.texts),
    )


def _numerical_error(
    sensitivity: Sensitivity, eps: NDArray[Any], floor: float, estimate: NDArray[Any], info: TailInfo
) -> NDArray[np.float64]:
    """Add the rounding of the linear algebra to the error of the quadrature."""
    flat = eps.reshape(-1)
    crossing, upper = np.ravel(info.crossing), np.ravel(info.upper)
    found = np.array(np.ravel(info.numerical_error), dtype=np.float64)
    for i, (target, nats) in enumerate(zip(flat, np.ravel(estimate))):
        if target <= floor:
            found[i] = math.inf if floor - target <= sensitivity.floor_error() and target > 0.0 else 0.0
        elif not math.isnan(crossing[i]) and not (upper[i] and nats == 0.0):
            moved = sensitivity.tail_error(float(crossing[i]), float(target - floor))
            if upper[i] and nats < 700.0 and math.isfinite(moved):
                # d log(1 - p) = p / (1 - p) d log p, and p / (1 - p) = exp(I) - 1.
                moved *= math.expm1(nats)
            found[i] += moved
    return found.reshape(eps.shape)


def _hinges(spectrum: Spectrum, rank_tol: float, eps: NDArray[Any], estimate: NDArray[Any]) -> bool:
    """Tell whether a null space ten times wider or narrower changes an estimate by more than 1e-6."""
    kept = spectrum.cut(rank_tol)
    for factor in (10.0, 0.1):
        other = spectrum.cut(rank_tol * factor)
        if np.array_equal(other, kept):
            continue
        if not other.any():
            return True
        value = -np.asarray(spectrum.law(rank_tol * factor).logcdf(eps))
        with np.errstate(invalid="ignore"):
            same = (value == estimate) | (np.abs(value - estimate) <= 1e-6 * np.abs(estimate))
        if not np.all(same):
            return True
    return False
