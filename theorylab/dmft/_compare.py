"""The automatic certificate: does the theory agree with an ensemble of networks?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lib.checks import check_int, check_real
from ._result import DMFTResult, SimulationResult

Array = NDArray[np.float64]

#: A relative standard error below this is rounding, not a spread; single precision rounds more.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Comparison:
    """Hold the agreement of theory and simulation, step by step.

    Attributes
    ----------
    z_train, z_test : ndarray, shape (T,)
        Difference of the means over the joint standard error; NaN where neither side has a spread
        beyond rounding, as at a prescribed start.
    relative_train, relative_test : ndarray, shape (T,)
        Difference over the theory's value.
    excess_train, excess_test : ndarray, shape (T,)
        Size of the difference over what is allowed; passes up to 1.
    resolution_train, resolution_test : ndarray, shape (T,)
        What is allowed, over the theory's value: smaller differences pass unseen. Look here
        before trusting a pass of two to four networks, whose errors are hardly known.
    sigma, rtol : float
        The allowance, ``sigma`` joint standard errors plus ``rtol`` of the theory's value.
    """

    z_train: Array
    z_test: Array
    relative_train: Array
    relative_test: Array
    excess_train: Array
    excess_test: Array
    resolution_train: Array
    resolution_test: Array
    sigma: float
    rtol: float

    @property
    def passes(self) -> bool:
        """Whether both losses agree at every step; NaN never agrees."""
        worst = np.concatenate([self.excess_train, self.excess_test])
        return bool(np.all(worst <= 1.0))


def compare(
    res: DMFTResult | Sequence[DMFTResult], sim: SimulationResult, *, sigma: float = 3.0, rtol: float = 0.01
) -> Comparison:
    """Compare the theory with an ensemble of simulated networks.

    Parameters
    ----------
    res : DMFTResult, or a sequence of them
        Several solutions with different random numbers also bring the theory's
        own standard error into the joint one.
    sim : SimulationResult
        At least two networks, so that there is a standard error.
    sigma, rtol : float
        Allow ``sigma`` joint standard errors plus ``rtol`` of the theory's value. For
        few networks the errors are themselves uncertain; they are widened to the
        quantile of Student's law (with Welch's degrees of freedom) of the same level. The
        price is power: 3 errors become 3.4 for 24 networks, 4.5 for 8, 9 for 4, and 235
        for 2. Errors at neighbouring steps come from the same networks and rise and fall
        together, so pooling them over time would not make them better known.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        Where theory and simulation have different problems or numbers of steps, or
        there is a single network.
    TypeError
        For arguments of another kind.

    Examples
    --------
    >>> from theorylab.dmft import *
    >>> net, task = QuadraticNetwork(float("inf"), 1.0, 1.0), PolynomialTask(nu=2.0)
    >>> theory = dmft_solve(net, task, 0.1, 10, 0.5, n_samples=500, rng=0)
    >>> networks = simulate_moments(net, task, 0.1, 10, 150, 0.5, n_seeds=8, rng=1)
    >>> compare(theory, networks).passes
    True
    """
    sigma = check_real(sigma, "sigma", low=0.0)
    rtol = check_real(rtol, "rtol", low=0.0)
    solutions = _solutions(res, sim)
    if sim.n_seeds < 2:
        raise ValueError(
            "sim holds a single network, expected at least two to tell how they scatter; raise n_seeds"
        )
    train = _judge([r.train_loss for r in solutions], sim.train_loss, sigma, rtol)
    test = _judge([r.test_loss for r in solutions], sim.test_loss, sigma, rtol)
    (z0, relative0, used0, finest0), (z1, relative1, used1, finest1) = train, test
    return Comparison(z0, z1, relative0, relative1, used0, used1, finest0, finest1, sigma, rtol)


def _solutions(res: Any, sim: Any) -> list[DMFTResult]:
    """Return the theory's solutions as a list, all of the same problem as `sim`."""
    solutions = [res] if isinstance(res, DMFTResult) else list(res) if isinstance(res, Sequence) else []
    if not solutions or not all(isinstance(r, DMFTResult) for r in solutions):
        raise TypeError("res must be a DMFTResult or a sequence of them")
    if not isinstance(sim, SimulationResult):
        raise TypeError(f"sim must be a SimulationResult, got {type(sim).__name__}")
    steps = sim.train_loss.shape[1]
    for r in solutions:
        if r.train_loss.shape != (steps,):
            raise ValueError(f"res has {r.train_loss.size} steps and sim has {steps}; run both for the same")
        if (r.spec, r.prob, r.kappa) != (sim.spec, sim.prob, sim.kappa):
            raise ValueError("res and sim describe different problems: spec, prob and kappa must be equal")
    return solutions


def finite_size_slope(
    res: DMFTResult | Sequence[DMFTResult], sims: Sequence[SimulationResult], *, step: int = -1
) -> tuple[float, float]:
    """Measure how fast networks of growing dimension approach the theory.

    Parameters
    ----------
    res : DMFTResult, or a sequence of them
        Of the mean of their test losses the distance is taken.
    sims : sequence of SimulationResult
        Ensembles of the same problem in at least two dimensions.
    step : int
        Reported step at which the test losses are compared, the last by default.

    Returns
    -------
    slope, standard_error : float
        Of the logarithm of the root mean square distance over the logarithm of the
        dimension. Scatter about a right theory gives -1/2, a wrong theory 0.

    Raises
    ------
    ValueError
        For fewer than two dimensions, different problems, a step that does not exist,
        or distances that vanish or are not finite.
    TypeError
        For arguments of another kind.

    Notes
    -----
    Least squares with the weights n of ensembles of n networks, since the
    logarithm of a root mean square of n normal distances has variance ``1/(2n)``.

    Examples
    --------
    >>> from theorylab.dmft import *
    >>> net, task = QuadraticNetwork(2, 1.0, 0.5), PolynomialTask(nu=2.0)
    >>> theory = dmft_solve(net, task, 0.1, 10, [0.3, -0.4], rng=0)
    >>> runs = [simulate(net, task, 0.1, 10, d, [0.3, -0.4], n_seeds=30, rng=d) for d in (50, 200)]
    >>> slope, error = finite_size_slope(theory, runs)
    >>> abs(slope + 0.5) < 3 * error
    True
    """
    if not isinstance(sims, Sequence) or not sims:
        raise TypeError("sims must be a sequence of SimulationResult")
    at = check_int(step, "step")
    distances, dims, counts = [], [], []
    for sim in sims:
        solutions = _solutions(res, sim)
        steps = sim.test_loss.shape[1]
        if not -steps <= at < steps:
            raise ValueError(f"step = {at} does not exist among {steps} reported steps")
        theory = float(np.mean([float(r.test_loss[at]) for r in solutions]))
        distances.append(float(np.sqrt(np.mean((sim.test_loss[:, at] - theory) ** 2))))
        dims.append(sim.dim)
        counts.append(sim.n_seeds)
    if len(set(dims)) < 2:
        raise ValueError(f"sims have the dimensions {dims}, expected at least two different ones")
    if not np.all(np.isfinite(distances)) or min(distances) == 0.0:
        raise ValueError("some distances vanish or are not finite; choose a step where networks scatter")
    x, y, weight = np.log(dims), np.log(distances), np.asarray(counts, dtype=np.float64)
    x = x - np.average(x, weights=weight)
    spread = float(weight @ x**2)
    return float(weight @ (x * y)) / spread, float(np.sqrt(0.5 / spread))


def _judge(theory: list[Any], networks: Any, sigma: float, rtol: float) -> tuple[Array, Array, Array, Array]:
    """Return z-scores, relative differences, used allowance and relative allowance of one loss."""
    from scipy.special import ndtr, stdtrit

    curves = np.asarray(theory, dtype=np.float64)
    predicted = curves.mean(axis=0)
    difference = networks.mean(axis=0, dtype=np.float64) - predicted
    ours, theirs = _standard_error(curves), _standard_error(networks)
    error = np.hypot(ours, theirs)
    with np.errstate(divide="ignore", invalid="ignore"):
        rounding = max(ROUNDING, 32.0 * float(np.finfo(networks.dtype).eps))
        z = np.where(error > rounding * np.abs(predicted), difference / error, np.nan)
        relative = difference / predicted
        spread = ours**4 / max(1, len(curves) - 1) + theirs**4 / max(1, len(networks) - 1)
        freedom = np.where(spread > 0, error**4 / spread, 1.0)
        allowed = stdtrit(freedom, ndtr(sigma)) * error + rtol * np.abs(predicted)
        used = np.where(difference == 0, 0.0, np.abs(difference) / allowed)
        finest = allowed / np.abs(predicted)
    return z, relative, used, finest


def _standard_error(samples: Any) -> Array:
    """Return the standard error over the first axis, 0 for a single row."""
    n = samples.shape[0]
    if n < 2:
        return np.zeros(samples.shape[1])
    return np.asarray(samples.std(axis=0, ddof=1, dtype=np.float64) / np.sqrt(n))
