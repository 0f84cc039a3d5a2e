"""Train the eight numbers of a recipe on problems of one's own, without gradients, in a minute or two."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.checks import check_int, check_real

from ._fused_cg import GridCG
from ._grid import check_field, check_flags, label_cells
from ._hierarchy import Hierarchy
from ._nullmeans import closed_means
from ._recipes import Certificate, certify, get_recipe

__all__ = ["TrainedRecipe", "convergence_rate", "train_recipe"]

Array = NDArray[Any]

#: Trained weights keep this distance from the bound of the certificate.
MARGIN = 0.9


class TrainedRecipe(tuple[float, ...]):
    """Eight numbers, accepted as ``recipe=``, and how they were found.

    Attributes
    ----------
    rate, start_rate : float
        Decades of residual an iteration, power mean over the problems: trained, and at the start.
    history : tuple of float
        Best rate after each evaluation.
    seconds : float
    """

    rate: float
    start_rate: float
    history: tuple[float, ...]
    seconds: float

    def certificate(self) -> Certificate:
        """Return the certificate of these weights."""
        return certify(tuple(self))


def _power_mean(rates: list[float], power: float) -> float:
    """Return the power mean of rates; none of them is negative in a converging iteration."""
    r = np.maximum(rates, 1e-3)
    return float(np.exp(np.mean(np.log(r)))) if power == 0 else float(np.mean(r**power) ** (1.0 / power))


class _Case:
    """One training problem with its own memory."""

    def __init__(self, flags: Any, b: Any) -> None:
        self.flags = check_flags(flags)
        self.b = np.asarray(check_field(b, self.flags), np.float64)
        self.means = closed_means(self.flags, label_cells(self.flags))
        self.outer: GridCG | None = None

    def rate(self, recipe: tuple[float, ...], iterations: int) -> float:
        """Return the decades an iteration."""
        if self.outer is None:
            self.outer = GridCG(Hierarchy(self.flags, recipe, np.float32))
        hierarchy = self.outer.hierarchy
        hierarchy.set_recipe(recipe)
        hierarchy.update(self.flags)
        try:
            _, history, done = self.outer.solve(self.b, None, 1e-14, 0.0, iterations, self.means)
        except np.linalg.LinAlgError:
            return 0.0
        if done == 0 or history[-1] == 0.0:
            return 14.0
        return float(np.log10(history[0] / history[-1]) / done)


def _cases(problems: Any) -> list[_Case]:
    """Return the training problems, checked; all of one dimension."""
    try:
        pairs = [tuple(pair) for pair in problems]
    except TypeError:
        pairs = [()]
    if not pairs:
        raise ValueError("problems is empty, expected at least one pair (flags, b)")
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("problems must be a list of pairs (flags, b), such as those of problems.make")
    cases = [_Case(flags, b) for flags, b in pairs]
    dimensions = sorted({case.flags.ndim for case in cases})
    if len(dimensions) > 1:
        raise ValueError(
            f"problems mix {dimensions[0]}-D and {dimensions[1]}-D grids; train one recipe for each"
        )
    return cases


def convergence_rate(recipe: Any, problems: Iterable[Any], *, iterations: int = 7) -> float:
    """Return the mean decades by which an iteration reduces the residual.

    Parameters
    ----------
    recipe : {'default', 'learned'} or 8 numbers
    problems : iterable of (flags, b)
        All of one dimension.
    iterations : int
        Of preconditioned conjugate gradients, from zero.
    """
    check_int(iterations, "iterations", low=1)
    cases = _cases(problems)
    numbers = get_recipe(recipe, cases[0].flags.ndim)
    return float(np.mean([case.rate(numbers, iterations) for case in cases]))


def train_recipe(
    problems: Iterable[Any],
    *,
    start: Any = "default",
    evaluations: int = 400,
    iterations: int = 7,
    power: float = 1.0,
    seconds: float = 180.0,
) -> TrainedRecipe:
    """Train the recipe of the multigrid preconditioner on given problems.

    Nelder and Mead's simplex search over the eight numbers for the highest mean of decades an iteration over
    the problems, among the weights whose certificate holds with the margin
    ``|(1 - w1 t)(1 - w2 t)| <= 0.9`` on [0.2, 2]. Deterministic, apart from the limit of time.

    Parameters
    ----------
    problems : iterable of (flags, b)
        For instance of :func:`theorylab.poisson.problems.make`; all 2-D or all 3-D. Sides of 64 in 2-D and
        32 in 3-D suffice: recipes carry over to larger grids.
    start : {'default', 'learned'} or 8 numbers
    evaluations : int
        Recipes to try at most.
    iterations : int
        Of conjugate gradients on each problem.
    power : float
        The objective is the power mean of the rates: 1 is the mean, -1 counts iterations, and lower powers
        look at the slowest problems.
    seconds : float
        Stop after this time.

    Returns
    -------
    TrainedRecipe
        Pass it as ``LearnedMultigrid(flags, recipe=...)``.

    Raises
    ------
    ValueError
        Without problems, or with problems of different dimensions.

    Notes
    -----
    An evaluation costs a set-up and `iterations` cycles a problem.

    Examples
    --------
    >>> from theorylab.poisson import problems
    >>> from theorylab.poisson.train import train_recipe
    >>> training = [problems.make("smoke", (32, 32), seed) for seed in range(2)]
    >>> recipe = train_recipe(training, evaluations=30)
    >>> recipe.rate >= recipe.start_rate, recipe.certificate().holds
    (True, True)
    """
    from scipy.optimize import minimize

    check_int(evaluations, "evaluations", low=1)
    check_int(iterations, "iterations", low=1)
    check_real(power, "power")
    check_real(seconds, "seconds", low=0.0, open_low=True, finite=False)
    cases = _cases(problems)
    first = np.array(get_recipe(start, cases[0].flags.ndim))
    certificate = certify(tuple(first.tolist()))
    if not certificate.holds or certificate.value > MARGIN:
        raise ValueError(
            f"start has the certificate {certificate}, expected holds with a value of at most {MARGIN}"
        )
    begin = time.perf_counter()
    history: list[float] = []
    best: list[Any] = [-np.inf, first]

    def loss(recipe: Array) -> float:
        if history and np.array_equal(recipe, first):
            return -history[0]
        numbers = tuple(float(x) for x in recipe)
        certificate = certify(numbers)
        if not certificate.holds or certificate.value > MARGIN:
            return 1.0 + max(certificate.value - MARGIN, 0.0)
        rate = _power_mean([case.rate(numbers, iterations) for case in cases], power)
        if rate > best[0]:
            best[:] = [rate, recipe.copy()]
        history.append(best[0])
        return -rate

    def late(_: Any) -> None:
        if time.perf_counter() - begin > seconds:
            raise StopIteration

    start_rate = -loss(first)
    simplex = np.vstack([first, first * (1.0 + 0.15 * np.eye(8))])
    simplex[5, 4] = min(0.85 * first[4], 0.9)  # a smaller tF allows second visits, see `revisit`
    minimize(
        loss, first, method="Nelder-Mead", callback=late,
        options={
            "initial_simplex": simplex, "maxfev": evaluations, "adaptive": True, "xatol": 1e-3, "fatol": 1e-4,
        },
    )  # fmt: skip
    result = TrainedRecipe(float(x) for x in best[1])
    result.rate, result.start_rate = float(best[0]), float(start_rate)
    result.history, result.seconds = tuple(history), time.perf_counter() - begin
    return result
