"""The causal one-pass solver of the dynamical mean field equations."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .._lib.checks import check_choice, check_int
from .._lib.memory import refuse_if_too_large
from .._lib.rng import RNGLike, as_generator
from .._lib.threads import one_blas_thread
from ._memory import solver_bytes
from ._result import DMFTResult
from ._rows import initial_overlaps, make_rows
from ._spec import Network, Task, check_problem
from ._steps import check_precision, check_step, describe_step

Array = NDArray[np.float64]

#: A rise of the train loss in one step that is worth a warning, once it is above rounding.
RISE = 1.05
#: Schur complements below this, relative to C(t, t), are no longer explained by Monte Carlo noise.
SCHUR = -1e-6
#: Relative change of the correlations in a sweep of the fixed point that counts as none.
SETTLED = 1e-12


def predict_memory(
    spec: Network,
    prob: Task,
    n_steps: int,
    init_overlap: ArrayLike | None = None,
    *,
    n_samples: int = 1000,
    dtype: DTypeLike = np.float64,
    memory: int | None = None,
    sampler: str = "cholesky",
) -> int:
    """Predict the bytes that :func:`dmft_solve` will hold at its peak.

    Parameters
    ----------
    spec, prob, n_steps, n_samples, dtype, memory, sampler
        As in :func:`dmft_solve`.
    init_overlap : float, optional
        Only whether a spike of the infinite network vanishes matters; default: it does not.

    Returns
    -------
    int

    Examples
    --------
    >>> from theorylab.dmft import QuadraticNetwork, PolynomialTask
    >>> task = PolynomialTask(nu=2.0)
    >>> predict_memory(QuadraticNetwork(2, 1.0, 0.5), task, 60) < 2**27
    True
    """
    check_problem(spec, prob)
    steps = check_int(n_steps, "n_steps", low=1)
    samples = check_int(n_samples, "n_samples", low=1)
    window = None if memory is None else check_int(memory, "memory", low=1)
    kind = check_precision(dtype)
    check_choice(sampler, "sampler", ("cholesky", "recursion"))
    bulk = math.isinf(spec.width)
    spike = init_overlap is None or bool(np.any(np.asarray(init_overlap) != 0))
    size = (2 if spike else 1) if bulk else int(spec.width)
    return solver_bytes(size, bulk, steps, samples, kind, window, sampler)


def dmft_solve(
    spec: Network,
    prob: Task,
    kappa: ArrayLike,
    n_steps: int,
    init_overlap: ArrayLike,
    init_gram: ArrayLike | None = None,
    n_samples: int = 1000,
    rng: RNGLike = None,
    dtype: DTypeLike = np.float64,
    memory: int | None = None,
    sampler: str = "cholesky",
    method: str = "forward",
    *,
    without: str | None = None,
) -> DMFTResult:
    """Solve the mean field theory of full-batch gradient descent on a two-layer network.

    The limit is that of many dimensions D and samples ``P = nu D`` at a fixed
    number of steps; the discrete steps are treated exactly. Everything at step t
    depends on earlier steps only, so one forward pass gives the solution.

    Parameters
    ----------
    spec : QuadraticNetwork or SmoothNetwork
    prob : PolynomialTask or SmoothTask
    kappa : float, or array_like of shape (T - 1,)
        Step size, > 0; gradient flow is ``kappa -> 0`` at fixed ``kappa t``. One size
        for each step is legal, for example those of :func:`doubling_steps`.
    n_steps : int
        Number T of reported times ``t = 0 .. T - 1``.
    init_overlap : array_like, shape (N,), or float
        ``w_i(0) . beta / D``; for the infinite width the spike m0, the overlap
        in units of the neurons' spread.
    init_gram : array_like, shape (N, N), optional
        ``w_i(0) . w_j(0) / D``. Default: the identity.
    n_samples : int
        Number S of sampled data points.
    rng : None, int, SeedSequence or Generator
    dtype : float32 or float64
        Of the stored tangents and of the returned arrays. Order parameters are
        always accumulated in float64.
    memory : int, optional
        Keep the response of the forces over this many steps only (that to the
        initial condition is always kept). A second run at half the length (at
        twice the length for 1) estimates the error: the change of the test loss,
        times the number of doublings from the window to the whole run.
    sampler : {"cholesky", "recursion"}
        How paths are drawn: by factorising the covariance (least noise) or from
        the weight equation with a fixed random orthogonal map of the samples.
    method : {"forward", "fixed_point"}
        One causal pass, or the alternation of whole paths and whole order
        parameters until both agree to rounding, as the literature does. The
        results agree; the alternation takes up to T times as long, and is there as
        a check.
    without : {None, "response", "target", "bulk"}
        Leave out one term, to see what it does: the weights' response to earlier
        forces, the force along the target, or the response of the bulk to the
        residuals. The result is then wrong on purpose.

    Returns
    -------
    DMFTResult

    Raises
    ------
    ValueError, TypeError
        For arguments that are out of range or of another kind; a start whose
        covariance is not positive semidefinite names the eigenvalue.
    MemoryError
        Before the run, with the predicted size, where it exceeds what is available.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        Where the march diverges (the entries from there on are NaN), where the
        train loss rises by more than 5 % in one step, or where the covariance
        loses positivity.

    Notes
    -----
    The equations are re-derived for this package from the cavity method of
    [1]_ and [2]_; they are not those of [3]_, whose text on them was not used.
    Costs ``S K^3 T^3 / 6`` operations for the tangents and as many for the
    weights with S = 1; memory as :func:`predict_memory`.

    References
    ----------
    .. [1] B. Bordelon, C. Pehlevan, "Self-consistent dynamical field theory of
       kernel evolution in wide neural networks", NeurIPS 2022.
    .. [2] B. Bordelon, A. Atanasov, C. Pehlevan, "A dynamical model of neural
       scaling laws", ICML 2024.
    .. [3] T. Kumar, B. Bordelon, S. J. Gershman, C. Pehlevan, "Grokking as the
       transition from lazy to rich training dynamics", ICLR 2024.

    Examples
    --------
    >>> from theorylab.dmft import PolynomialTask, QuadraticNetwork, dmft_solve
    >>> net = QuadraticNetwork(2, alpha=1.0, eps=0.5)
    >>> result = dmft_solve(net, PolynomialTask(nu=2.0), 0.1, 5, [0.3, -0.4], rng=0)
    >>> print(f"{result.test_loss[0]:.4f} {result.test_loss[1]:.3f}")
    1.0625 0.970
    """
    check_problem(spec, prob)
    steps = check_int(n_steps, "n_steps", low=1)
    step, sizes = check_step(kappa, steps)
    samples = check_int(n_samples, "n_samples", low=1)
    window = None if memory is None else check_int(memory, "memory", low=1)
    kind = check_precision(dtype)
    check_choice(sampler, "sampler", ("cholesky", "recursion"))
    check_choice(method, "method", ("forward", "fixed_point"))
    if without is not None:
        check_choice(without, "without", ("response", "target", "bulk"))
    advice = "lower n_steps or n_samples, pass dtype=numpy.float32, or truncate with memory="
    if not math.isinf(spec.width):  # before the eigenvalues of the initial Gram matrix, a cost of N^3
        size = int(spec.width)
        refuse_if_too_large(
            "dmft_solve", solver_bytes(size, False, steps, samples, kind, window, sampler), advice
        )
    m, gram = initial_overlaps(spec, init_overlap, init_gram)
    rows = make_rows(spec, spike=math.isinf(spec.width) and m.size == 2)
    needed = solver_bytes(rows.size, rows.bulk, steps, samples, kind, window, sampler)
    refuse_if_too_large("dmft_solve", needed, advice)
    generator = as_generator(rng)

    from ._march import March

    # All runs of a truncation study share their random numbers, so that only the truncation differs.
    again = copy.deepcopy(generator)

    def run(length: int | None, own: np.random.Generator) -> March:
        march = March(rows, prob, sizes, m, gram, samples, own, kind, length, sampler, without)
        if method == "forward":
            march.run()
        else:
            march.iterate(SETTLED)
        return march

    with one_blas_thread(), np.errstate(all="ignore"):
        # The other run comes first, and leaves only its curve: two histories at once would double the peak.
        truncated = window is not None and window < steps
        other = run(window // 2 or 2, again).test if window is not None and truncated else None
        march = run(window, generator)
        error = None
        if window is not None and other is not None:
            # Responses decay slowly: every doubling up to the whole run may change as much as this one.
            error = max(1.0, math.log2(steps / window)) * _distance(other, march.test)
    settings: dict[str, Any] = {
        "kappa": step, "sampler": sampler, "n_samples": samples, "memory": window,
        "predicted_bytes": needed, "truncation_error": error, "method": method, "without": without,
    }  # fmt: skip
    _warn(march, settings)
    return march.result(spec, prob, step, settings, kind)


def _distance(first: Array, second: Array) -> float:
    """Return the largest difference of two curves, infinity where only one of them has diverged."""
    if np.any(np.isnan(first) != np.isnan(second)):
        return math.inf
    return float(np.nanmax(np.abs(first - second), initial=0.0))


def _warn(march: Any, settings: dict[str, Any]) -> None:
    """Tell about divergence, a rising loss, or a covariance that is none."""
    from ._sampler import DROP

    step = describe_step(settings["kappa"])
    told = (
        f"kappa={step}, sampler={settings['sampler']!r}, n_samples={settings['n_samples']}, "
        f"drop tolerance {DROP:g}"
    )
    if march.diverged_at is not None:
        message = (
            f"dmft_solve diverged at step {march.diverged_at} ({told}): the entries "
            "from there on are NaN; gradient descent itself may be unstable: lower kappa, or raise n_samples"
        )
    elif march.smallest_schur < SCHUR:
        message = (
            f"dmft_solve lost the positivity of its covariance at step {march.paths.smallest_at} (relative "
            f"Schur complement {march.smallest_schur:.2g}; {told}); raise n_samples, lower kappa, "
            "or use sampler='recursion'"
        )
    elif march.largest_rise > RISE:
        message = (
            f"the train loss of dmft_solve rose by the factor {march.largest_rise:.3g} in one step, "
            f"to step {march.rise_at} ({told}); "
            "gradient descent is near its stability limit: lower kappa, or raise n_samples if not meant"
        )
    else:
        return
    from sklearn.exceptions import ConvergenceWarning

    warnings.warn(message, ConvergenceWarning, stacklevel=3)
