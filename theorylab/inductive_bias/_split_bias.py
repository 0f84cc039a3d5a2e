"""The inductive bias of a Gaussian law under any loss, by multilevel splitting in its latents."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._conditioning import Predictive
from ._from_errors import count_interval, from_errors
from ._losses import Loss, losses
from ._result import InductiveBiasResult, Notes, UnattainableErrorWarning
from ._splitting import SplittingResult, splitting_log_probability

_RUNS = 4


def split_bias(
    predictive: Predictive,
    t: NDArray[Any],
    eps: NDArray[Any],
    loss: Loss,
    n_particles: int,
    rank_tol: float,
    confidence: float,
    rng: np.random.Generator,
    notes: Notes,
) -> InductiveBiasResult:
    """Estimate each target by splitting, or tell that no hypothesis reaches it."""
    spectrum = predictive.spectrum(t)
    floor = _floor(spectrum.law(rank_tol).support()[0], loss, t.size)
    dim, predict = predictive.sampler()

    def error_fn(z: NDArray[Any]) -> NDArray[Any]:
        return losses(loss, predict(z), t)

    n_particles = max(n_particles, 10)
    flat = eps.reshape(-1)
    ends = np.full((3, flat.size), math.inf)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        for i in np.flatnonzero(flat > floor):
            ends[:, i] = _nats(error_fn, dim, float(flat[i]), n_particles, confidence, rng)
    if np.any(flat <= floor):
        notes.warn(
            f"{int(np.sum(flat <= floor))} of {flat.size} targets lie at or below {floor:.6g}, which no "
            f"hypothesis reaches (rank {spectrum.rank(rank_tol)} of {t.shape[0]}): I = inf there",
            UnattainableErrorWarning,
            1,
        )
    for text in dict.fromkeys(str(record.message) for record in caught):
        notes.warn(text, UserWarning, 1)
    estimate, low, high = ((row + 0.0).reshape(eps.shape) for row in ends)
    plain = error_fn(rng.standard_normal((max(n_particles, 100), dim)))
    counts = from_errors(plain, eps, "empirical", confidence, Notes(stacklevel=2))
    return InductiveBiasResult(
        estimate=estimate,
        # Where runs give no spread the counts still bound I from below.
        confidence_interval=(np.where(np.isnan(low), counts.lower_bound_nats, low), high),
        numerical_error=np.full(eps.shape, np.nan),
        method="splitting",
        distribution=None,
        mean_error=float(plain.mean()),
        irreducible_error=floor if loss == "mse" else math.nan,
        effective_dof=math.nan,
        rank=dim // t.shape[1] if dim % t.shape[1] == 0 else None,
        n_samples=plain.size,
        lower_bound_nats=counts.lower_bound_nats,
        extrapolation=np.asarray(estimate / math.log(plain.size)),
        n_test=t.shape[0],
        n_outputs=t.shape[1],
        warnings=tuple(notes.texts),
    )


def _floor(least_square: float, loss: Loss, count: int) -> float:
    """Return an error that no hypothesis gets below, from the irreducible mean square."""
    if loss == "mse":
        return least_square
    # The sum of absolute values is at least the root of the sum of squares.
    return math.sqrt(least_square / count) if loss == "mae" else -math.inf


def _nats(
    error_fn: Callable[[NDArray[Any]], NDArray[Any]],
    dim: int,
    target: float,
    n_particles: int,
    confidence: float,
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    """Return estimate and interval, in nats, of one target; a lower end of NaN where the runs give none."""
    found = splitting_log_probability(
        error_fn, dim, target, n_particles=n_particles, n_runs=_RUNS, random_state=rng
    )
    low, high = _interval(found, n_particles, confidence)
    return -found.log_probability, low, high


def _interval(found: SplittingResult, n_particles: int, confidence: float) -> tuple[float, float]:
    """Return the interval that follows from the spread of the runs, or from their counts."""
    from scipy.special import stdtrit

    if found.n_levels == 1:
        # Nothing was split: the runs are counts, whose spread says nothing where all particles hit.
        hits = np.rint(np.exp(found.runs) * n_particles).sum()
        ends = count_interval(hits, _RUNS * n_particles, confidence)
        return float(ends[0]), float(ends[1])
    half = found.standard_error * float(stdtrit(_RUNS - 1, 0.5 + 0.5 * confidence))
    low = max(-found.log_probability - half, 0.0) if math.isfinite(half) else math.nan
    # The spread of some runs does not know what another missed.
    open_end = math.isnan(half) or bool(np.isinf(found.runs).any())
    return low, math.inf if open_end else half - found.log_probability
