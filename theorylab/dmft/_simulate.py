"""Train real networks with the step of the theory, an ensemble at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .._lib.checks import as_float_array, check_int, check_shape
from .._lib.memory import refuse_if_too_large
from .._lib.rng import RNGLike, as_generator
from .._lib.threads import one_blas_thread
from ._descent import Run, block_rows, draw_data, place_weights, train_moments, train_network
from ._result import SimulationResult
from ._rows import check_start, initial_overlaps, make_rows
from ._spec import Network, PolynomialTask, QuadraticNetwork, Task, check_problem
from ._steps import check_precision, check_step, describe_step

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Setup:
    """What both simulators share; `count` is the number of samples P."""

    kappa: float | tuple[float, ...]
    sizes: Array
    dim: int
    seeds: int
    count: int
    dtype: np.dtype


def _ensemble(train: Callable[[np.random.Generator], Run], n_seeds: int, rng: RNGLike) -> list[Run]:
    """Train all networks, each from its own stream, shared among as many threads as Numba may use."""
    from ._kernels import threads

    seeds = as_generator(rng).integers(2**63, size=n_seeds)

    def one(seed: int) -> Run:
        with np.errstate(all="ignore"):
            return train(np.random.default_rng(seed))

    with one_blas_thread():
        workers = min(threads(), n_seeds)
        if workers == 1:
            return [one(int(seed)) for seed in seeds]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(one, map(int, seeds)))


def _refuse(name: str, words: int, kept: int, setup: _Setup) -> None:
    """Refuse an ensemble that does not fit: words of each network in flight, and those kept of every one."""
    from ._kernels import threads

    n_seeds = setup.seeds
    needed = 8 * (min(threads(), n_seeds) * words + 2 * n_seeds * kept)  # twice, while the runs are stacked
    refuse_if_too_large(name, needed, "lower dim, nu, the width, n_steps or n_seeds")


def _pack(
    runs: list[Run], spec: Network, prob: Task, setup: _Setup, name: str, *, wick: bool, weights: bool
) -> SimulationResult:
    """Stack the runs, and tell about those that diverged."""
    lost = [run.diverged_at for run in runs if run.diverged_at is not None]
    if lost:
        from sklearn.exceptions import ConvergenceWarning

        warnings.warn(
            f"{len(lost)} of {len(runs)} networks diverged in {name}, the first at step {min(lost)} "
            f"(kappa={describe_step(setup.kappa)}); their entries from there on are NaN; lower kappa",
            ConvergenceWarning,
            stacklevel=3,
        )

    def stack(name: str) -> Array:
        return np.stack([getattr(run, name) for run in runs]).astype(setup.dtype, copy=False)

    last = [run.weights for run in runs if run.weights is not None]
    return SimulationResult(
        spec, prob, setup.kappa, setup.dim,
        stack("train"), stack("test"), stack("overlap"), stack("components") if wick else None,
        np.stack(last) if weights and len(last) == len(runs) else None,
    )  # fmt: skip


def _check_run(prob: Task, kappa: Any, n_steps: Any, dim: Any, n_seeds: Any, dtype: DTypeLike) -> _Setup:
    """Validate what both simulators share."""
    steps = check_int(n_steps, "n_steps", low=1)
    step, sizes = check_step(kappa, steps)
    d = check_int(dim, "dim", low=1)
    seeds = check_int(n_seeds, "n_seeds", low=1)
    count = round(prob.nu * d)
    if count < 1:
        raise ValueError(f"nu * dim = {prob.nu * d:g} rounds to no sample; enlarge dim")
    return _Setup(step, sizes, d, seeds, count, check_precision(dtype))


def _given(inputs: ArrayLike | None, beta: ArrayLike | None, count: int, dim: int) -> tuple[Any, Any]:
    """Validate a user's own inputs and target direction."""
    x = b = None
    if inputs is not None:
        x = as_float_array(inputs, "inputs", ndim=2, dtype=np.float64)
        check_shape(x, (count, dim), "inputs", "because P = round(nu * dim)")
    if beta is not None:
        b = as_float_array(beta, "beta", ndim=1, dtype=np.float64)
        check_shape(b, (dim,), "beta", "to match dim")
        if not np.any(b):
            raise ValueError("beta is zero, expected a direction, of squared norm dim in the theory")
    return x, b


def simulate(
    spec: Network,
    prob: Task,
    kappa: float,
    n_steps: int,
    dim: int,
    init_overlap: ArrayLike | None = None,
    n_seeds: int = 1,
    rng: RNGLike = None,
    init_weights: ArrayLike | None = None,
    inputs: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    init_gram: ArrayLike | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> SimulationResult:
    """Train an ensemble of finite networks by full-batch gradient descent.

    Parameters
    ----------
    spec : QuadraticNetwork or SmoothNetwork
        Of finite width N.
    prob : PolynomialTask or SmoothTask
    kappa : float, or array_like of shape (T - 1,)
        Step size as in the theory: learning rate ``kappa N D / alpha^2`` on half the mean
        square. One size for each step is legal.
    n_steps : int
        Number T of reported times.
    dim : int
        Input dimension D; ``P = round(nu D)`` samples.
    init_overlap : array_like, shape (N,)
        ``w_i(0) . beta / D``, met exactly. With `init_weights` it may be left out;
        where given, only its shape is looked at, and the weights decide.
    n_seeds : int
        Networks, each with its own data and weights.
    rng : None, int, SeedSequence or Generator
    init_weights : array_like, shape (N, D), optional
        Start here instead.
    inputs : array_like, shape (P, D), optional
        Training inputs, for all networks. Default: ``N(0, I/D)``.
    beta : array_like, shape (D,), optional
        Target direction. Default: random of squared norm D.
    init_gram : array_like, shape (N, N), optional
        ``w_i(0) . w_j(0) / D``; met exactly for N < D, on average otherwise.
    dtype : float32 or float64
        Of the training and of the returned arrays. Single precision halves memory
        and nearly the time; its rounding is far below the scatter of networks.

    Returns
    -------
    SimulationResult
        The test loss is exact, not measured on a test set.

    Raises
    ------
    ValueError, TypeError
        For arguments out of range, of other shapes, or of another kind.
    MemoryError
        Where the ensemble does not fit, before it is trained.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        Where networks diverge; their curves end in NaN.

    Notes
    -----
    ``w_i <- w_i - (kappa / (alpha nu)) sum_mu a_i phi'(h_i) Delta_mu x_mu``.
    Costs ``4 P D N`` operations per step and network.

    Examples
    --------
    >>> from theorylab.dmft import PolynomialTask, QuadraticNetwork, simulate
    >>> net, task = QuadraticNetwork(2, alpha=1.0, eps=0.5), PolynomialTask(nu=2.0)
    >>> run = simulate(net, task, 0.1, 5, dim=50, init_overlap=[0.3, -0.4], rng=0)
    >>> run.train_loss.shape, [round(float(m), 12) for m in run.overlap[0, 0]]
    ((1, 5), [0.3, -0.4])
    """
    check_problem(spec, prob)
    if math.isinf(spec.width):
        raise ValueError("simulate needs a finite width; for the infinite network call simulate_moments")
    setup = _check_run(prob, kappa, n_steps, dim, n_seeds, dtype)
    d, steps, count, width = setup.dim, setup.sizes.size, setup.count, int(spec.width)
    x, b = _given(inputs, beta, count, d)
    grams = 0 if init_weights is not None else 4 * width * width
    kept = width * (d + steps) + 5 * steps
    # Data, twice while they are drawn; weights; the start, or a block of activations, or all inner products.
    flight = max(grams, 6 * block_rows(count, d, setup.dtype) * width, 2 * min(2 * width + 1, 2 * d) ** 2)
    _refuse("simulate", d * (2 * count + 6 * width) + flight, kept, setup)
    start = None
    m = gram = np.empty(0)
    if init_weights is not None:
        start = as_float_array(init_weights, "init_weights", ndim=2, dtype=np.float64)
        check_shape(start, (width, d), "init_weights", "to match width and dim")
        check_start(width, init_overlap, init_gram)  # not used, but a wrong shape is a mistake
    elif init_overlap is None:
        raise ValueError("init_overlap is missing: pass the overlaps w_i . beta / D, or init_weights")
    else:
        m, gram = initial_overlaps(spec, init_overlap, init_gram)
        if d == 1 and np.any(np.abs(gram - np.outer(m, m)) > 1e-12):
            raise ValueError("dim = 1 leaves no direction beside beta; pass init_weights, or a larger dim")
    rows = make_rows(spec, spike=False)

    def train(generator: np.random.Generator) -> Run:
        own_beta, own_x, y = draw_data(d, count, prob, x, b, generator)
        weights = start if start is not None else place_weights(m, gram, own_beta, generator)
        return train_network(rows, prob, setup.sizes, weights, own_beta, own_x, y, setup.dtype)

    runs = _ensemble(train, setup.seeds, rng)
    wick = isinstance(spec, QuadraticNetwork) and isinstance(prob, PolynomialTask)
    return _pack(runs, spec, prob, setup, "simulate", wick=wick, weights=True)


def simulate_moments(
    spec: QuadraticNetwork,
    prob: PolynomialTask,
    kappa: float,
    n_steps: int,
    dim: int,
    init_overlap: float = 0.0,
    n_seeds: int = 1,
    rng: RNGLike = None,
    inputs: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> SimulationResult:
    """Train infinitely wide networks exactly, at finite input dimension.

    The gradient is affine in each weight vector, so the infinite network closes
    on its mean, the image of the spike, and the linear map of the initial
    weights: matrices of size D x D, whatever the width.

    Parameters
    ----------
    spec : QuadraticNetwork
        Of infinite width.
    prob : PolynomialTask
    kappa, n_steps, dim, n_seeds, rng, inputs, beta, dtype
        As in :func:`simulate`.
    init_overlap : float
        Spike m0 of the initial weights, ``E w w^T = I + m0^2 beta beta^T``.

    Returns
    -------
    SimulationResult
        Rows of `overlap` are the mean s and, where m0 is not 0, the spike p.

    Raises
    ------
    ValueError, TypeError
        As in :func:`simulate`, and for a finite width.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        Where networks diverge.

    Notes
    -----
    Costs ``4 P D^2 + 2 D^3`` operations per step and network.

    Examples
    --------
    >>> from theorylab.dmft import PolynomialTask, QuadraticNetwork, simulate_moments
    >>> net, task = QuadraticNetwork(float("inf"), alpha=1.0, eps=1.0), PolynomialTask(nu=2.0)
    >>> simulate_moments(net, task, 0.1, 5, dim=20, init_overlap=0.5, rng=0).overlap.shape
    (1, 5, 2)
    """
    check_problem(spec, prob)
    if not isinstance(spec, QuadraticNetwork) or not isinstance(prob, PolynomialTask):
        raise TypeError("simulate_moments needs a QuadraticNetwork and a PolynomialTask")
    if not math.isinf(spec.width):
        raise ValueError(
            f"simulate_moments needs width=inf, got {spec.width}; for finite widths call simulate"
        )
    setup = _check_run(prob, kappa, n_steps, dim, n_seeds, dtype)
    d, count = setup.dim, setup.count
    x, b = _given(inputs, beta, count, d)
    m, _ = initial_overlaps(spec, init_overlap, None)
    spike = float(m[-1]) if m.size == 2 else 0.0
    _refuse("simulate_moments", d * (3 * count + 6 * d), 7 * setup.sizes.size, setup)

    def train(generator: np.random.Generator) -> Run:
        own_beta, own_x, y = draw_data(d, count, prob, x, b, generator)
        return train_moments(spec, prob, setup.sizes, spike, own_beta, own_x, y, setup.dtype)

    runs = _ensemble(train, setup.seeds, rng)
    return _pack(runs, spec, prob, setup, "simulate_moments", wick=True, weights=False)
