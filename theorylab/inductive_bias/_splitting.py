"""Probabilities of rare events of Gaussian latents by adaptive multilevel splitting."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lib.checks import check_int, check_real
from .._lib.rng import RNGLike, as_generator

# Levels beyond which a run gives up, and over how many its pace is taken.
_MAX_LEVELS, _PACE = 2000, 10


@dataclass(frozen=True)
class SplittingResult:
    """Log-probability by splitting.

    Attributes
    ----------
    log_probability : float
        Log of the mean of the runs' probabilities, which adaptive levels bias upwards by about
        n_levels (1 - p0) / (p0 n_particles).
    spread : float
        Standard deviation of the log-probability between runs.
    standard_error : float
        spread / sqrt(number of runs).
    runs : ndarray
        Log-probability of each run.
    n_levels : int
        Most levels that a run needed.
    """

    log_probability: float
    spread: float
    standard_error: float
    runs: NDArray[np.float64]
    n_levels: int


def splitting_log_probability(
    error_fn: Callable[[NDArray[Any]], Any],
    dim: int,
    eps: float,
    *,
    n_particles: int = 1000,
    p0: float = 0.1,
    n_moves: int = 10,
    n_runs: int = 4,
    random_state: RNGLike = None,
) -> SplittingResult:
    """Estimate log P(error_fn(z) <= eps) for z ~ N(0, I), at any depth.

    Parameters
    ----------
    error_fn : callable
        From latents (M, dim) to errors (M,); any functional, 0-1 losses too.
    dim : int
    eps : float
    n_particles : int
    p0 : float
        Fraction that survives a level.
    n_moves : int
        Moves of each particle at each level.
    n_runs : int
        Independent runs; their spread is the honest error.
    random_state : None, int or Generator

    Returns
    -------
    SplittingResult

    Warns
    -----
    UserWarning
        Where the runs differ by more than 2 % of the log-probability, or a run found no way down.

    Notes
    -----
    Moves z' = sqrt(1 - beta^2) z + beta xi leave the Gaussian invariant; beta follows an acceptance
    of 30 %. Cost: n_runs x levels x n_moves x n_particles evaluations, levels = log P / log p0. A run whose
    levels fall ever more slowly, too slowly to reach `eps` within 2000 of them, is given up: so it is where
    no z reaches `eps`.

    Examples
    --------
    >>> import numpy as np
    >>> result = splitting_log_probability(lambda z: -z[:, 0], 1, -5.0, random_state=0)
    >>> abs(result.log_probability + 15.065) < 0.3
    True
    """
    dim = check_int(dim, "dim", low=1)
    eps = check_real(eps, "eps")
    n_particles = check_int(n_particles, "n_particles", low=10)
    p0 = check_real(p0, "p0", low=0.0, high=1.0, open_low=True, open_high=True)
    n_moves = check_int(n_moves, "n_moves", low=1)
    n_runs = check_int(n_runs, "n_runs", low=1)
    streams = as_generator(random_state, "random_state").spawn(n_runs)
    outcomes = [_run(error_fn, dim, eps, n_particles, p0, n_moves, rng) for rng in streams]
    runs = np.array([value for value, _, _ in outcomes])
    finite = runs[np.isfinite(runs)]
    if finite.size:
        log_probability = float(np.logaddexp.reduce(runs)) - math.log(n_runs)
        spread = float(finite.std(ddof=1)) if finite.size > 1 else math.nan
    else:
        log_probability, spread = -math.inf, math.nan
    if finite.size < n_runs:
        warnings.warn(
            f"{n_runs - finite.size} of {n_runs} runs found no way down to eps = {eps:g}, the lowest level "
            f"was {min(level for _, _, level in outcomes):.6g}; raise n_particles or n_moves, or eps",
            UserWarning,
            stacklevel=2,
        )
    elif spread > 0.02 * abs(log_probability) and spread > 0.0:
        warnings.warn(
            f"the runs spread by {spread:.3g} about log P = {log_probability:.5g}, more than "
            "2 %; raise n_particles "
            "or n_moves",
            UserWarning,
            stacklevel=2,
        )
    return SplittingResult(
        log_probability, spread, spread / math.sqrt(n_runs), runs, max(count for _, count, _ in outcomes)
    )


def _errors(error_fn: Callable[[NDArray[Any]], Any], z: NDArray[Any]) -> NDArray[Any]:
    errors = np.asarray(error_fn(z), dtype=np.float64)
    if errors.shape != (z.shape[0],):
        raise ValueError(
            f"error_fn returned shape {errors.shape}, expected {(z.shape[0],)}, one error for each latent"
        )
    if np.isnan(errors).any():
        raise ValueError("error_fn returned NaN, expected real errors")
    return errors


def _run(
    error_fn: Callable[[NDArray[Any]], Any],
    dim: int,
    eps: float,
    n: int,
    p0: float,
    n_moves: int,
    rng: np.random.Generator,
) -> tuple[float, int, float]:
    """Return the log-probability of one run, its number of levels and the last of these."""
    z = rng.standard_normal((n, dim))
    errors = _errors(error_fn, z)
    log_p, beta, level = 0.0, 0.5, math.inf
    passed: list[float] = []
    for count in range(1, _MAX_LEVELS):
        new = max(eps, float(np.quantile(errors, p0, method="inverted_cdf")))
        if new >= level:
            # Ties, as 0-1 losses have: go to the next error below.
            below = errors[errors < level]
            if below.size == 0:
                return -math.inf, count, level
            new = max(eps, float(below.max()))
        alive = np.flatnonzero(errors <= new)
        if alive.size == 0:
            return -math.inf, count, level
        log_p += math.log(alive.size / n)
        level = new
        if level <= eps:
            return log_p, count, level
        passed.append(level)
        if _stalled(passed, eps):
            break
        parents = alive[rng.integers(alive.size, size=n)]
        z, errors = z[parents], errors[parents]
        for _ in range(n_moves):
            proposal = math.sqrt(1.0 - beta * beta) * z + beta * rng.standard_normal((n, dim))
            moved = _errors(error_fn, proposal)
            accept = moved <= level
            z[accept], errors[accept] = proposal[accept], moved[accept]
            beta = min(1.0, max(1e-6, beta * math.exp(float(accept.mean()) - 0.3)))
    return -math.inf, len(passed), level


def _stalled(passed: list[float], eps: float) -> bool:
    """Tell whether levels fall ever more slowly and, at their pace, the levels left cannot reach `eps`."""
    if len(passed) <= 2 * _PACE:
        return False
    early, middle, late = passed[-1 - 2 * _PACE], passed[-1 - _PACE], passed[-1]
    left = (_MAX_LEVELS - len(passed)) / _PACE
    return middle - late <= early - middle and (middle - late) * left < late - eps
