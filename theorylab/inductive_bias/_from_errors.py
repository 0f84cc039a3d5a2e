"""Inductive bias from a sample of test errors: fitted laws, counts, and the bound that needs no model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from .._lib.checks import as_float_array, check_choice
from .._lib.rng import RNGLike, as_generator
from ._fit_laws import NoncentralFit, gamma_law, gamma_mle, gamma_variance, unbiased
from ._law import GeneralizedChi2
from ._result import ExtrapolationWarning, InductiveBiasResult, Notes, check_confidence, check_eps

METHODS = ("gamma_fit", "ncx2_fit", "empirical")
_FEWEST = 20


def inductive_bias_from_errors(
    errors: ArrayLike,
    eps: ArrayLike,
    method: str = "gamma_fit",
    confidence: float = 0.95,
    random_state: RNGLike = None,
) -> InductiveBiasResult:
    r"""Estimate -log P(error <= eps) from the test errors of sampled hypotheses.

    Parameters
    ----------
    errors : array_like, shape (S,)
        Test errors of independent hypotheses; positive for the fits.
    eps : array_like
        Target errors, in the unit of `errors`.
    method : {"gamma_fit", "ncx2_fit", "empirical"}
        "gamma_fit": scaled central chi-squared. "ncx2_fit": scaled non-central chi-squared, the
        published choice, at its true maximum of likelihood. "empirical": counts.
    confidence : float
        Of the interval and of the bound.
    random_state : None, int or Generator
        Accepted for symmetry; these methods draw no random numbers.

    Returns
    -------
    InductiveBiasResult

    Raises
    ------
    ValueError
        For NaN or infinity, negative errors, fewer than 20 errors for a fit, or errors that are all equal.

    Warns
    -----
    ExtrapolationWarning
        Where a fit is evaluated below the smallest sampled error.

    Notes
    -----
    For a gamma law, sqrt(S)(I^ - I) -> N(0, v), ``v = [a g_a^2 - 2 theta g_a g_th + theta^2 psi1(a) g_th^2] /
    (a psi1(a) - 1)``; deep in the tail of many dofs SD(I^)/I -> sqrt(2/S). The interval is that of
    log I. The non-central interval is the range of I over the likelihood-ratio region. Both
    describe sampling error alone; that the law itself is wrong in the tail is usually far worse.
    Model-free bound: Clopper-Pearson, I >= log(S/3) at 95 % if no sample reaches `eps`.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.inductive_bias import inductive_bias_from_errors
    >>> errors = np.random.default_rng(0).chisquare(50, 2000) / 50
    >>> result = inductive_bias_from_errors(errors, 0.8)
    >>> bool(result.confidence_interval[0] < result.estimate < result.confidence_interval[1])
    True
    """
    check_choice(method, "method", METHODS)
    as_generator(random_state, "random_state")
    return from_errors(errors, check_eps(eps), method, check_confidence(confidence), Notes(stacklevel=2))


def from_errors(
    errors: ArrayLike, eps: NDArray[Any], method: str, confidence: float, notes: Notes, depth: int = 1
) -> InductiveBiasResult:
    """Do the work of `inductive_bias_from_errors` on checked arguments."""
    e = as_float_array(errors, "errors", ndim=1, dtype=np.float64)
    if e.size == 0:
        raise ValueError("errors is empty, expected the test errors of sampled hypotheses")
    if e.min() < 0.0:
        raise ValueError(f"errors must be >= 0, got {e.min():g}")
    size = e.size
    if e.max() > np.finfo(np.float64).max / (4.0 * size):
        raise ValueError(
            f"errors reach {e.max():.3g}, where their sum leaves the range of numbers; divide errors and eps "
            "by a unit"
        )
    hits = np.searchsorted(np.sort(e), eps, side="right")
    bound = _count_bound(hits, size, confidence)
    law: Any = None
    dof = math.nan
    if method == "empirical":
        with np.errstate(divide="ignore"):
            estimate = 0.0 - np.log(hits / size)
        low, high = count_interval(hits, size, confidence)
    else:
        _check_fit(e)
        positive = eps > 0.0
        fit = _gamma_fit if method == "gamma_fit" else _noncentral_fit
        law, dof, *interval = fit(e, np.where(positive, eps, 1.0), confidence)
        nats = -np.asarray(law.logcdf(np.where(positive, eps, 1.0)))
        low, high = np.minimum(interval[0], nats), np.maximum(interval[1], nats)
        estimate = np.where(positive, nats, np.inf)
        low, high = (np.where(positive, np.nan_to_num(end, posinf=np.inf), np.inf) for end in (low, high))
        if np.any(eps < e.min()):
            notes.warn(
                f"eps = {eps.min():.4g} lies below the smallest of {size} sampled errors, "
                f"{e.min():.4g}: the estimate "
                f"extrapolates the fitted law; lower_bound_nats needs no model, the exact method no samples",
                ExtrapolationWarning,
                depth,
            )
    with np.errstate(divide="ignore", invalid="ignore"):
        extrapolation = estimate / math.log(size) if size > 1 else np.full(eps.shape, np.inf)
    return InductiveBiasResult(
        estimate=np.asarray(estimate),
        confidence_interval=(np.asarray(low), np.asarray(high)),
        numerical_error=np.full(eps.shape, np.nan),
        method=method,
        distribution=law,
        mean_error=float(e.mean()),
        irreducible_error=math.nan,
        effective_dof=dof,
        rank=None,
        n_samples=size,
        lower_bound_nats=np.asarray(bound),
        extrapolation=np.asarray(extrapolation),
        warnings=tuple(notes.texts),
    )


def _gamma_fit(
    e: NDArray[Any], eps: NDArray[Any], confidence: float
) -> tuple[GeneralizedChi2, float, NDArray[Any], NDArray[Any]]:
    """Return the gamma law at the maximum of likelihood, its dofs, and the ends of the interval of I."""
    a, theta = gamma_mle(e)
    # The shape is biased upwards by about 3/S; the interval is centred where that is taken off.
    centre, variance = gamma_variance(*unbiased(a, theta, e.size), eps)
    quantile = float(special.stdtrit(e.size - 1, 0.5 + 0.5 * confidence))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        half = quantile * np.sqrt(variance / e.size) / centre
        return gamma_law(a, theta), 2.0 * a, centre * np.exp(-half), centre * np.exp(half)


def _noncentral_fit(
    e: NDArray[Any], eps: NDArray[Any], confidence: float
) -> tuple[GeneralizedChi2, float, NDArray[Any], NDArray[Any]]:
    """Return the same of the non-central law, whose interval follows the ridge of its likelihood."""
    fit = NoncentralFit(e)
    low, high = fit.interval(eps, float(special.ndtri(0.5 + 0.5 * confidence)))
    return fit.law(), fit.parameters[0], low, high


def _check_fit(e: NDArray[Any]) -> None:
    """Refuse samples to which no law can be fitted."""
    if e.size < _FEWEST:
        raise ValueError(
            f"errors has {e.size} samples, expected at least {_FEWEST} for a fit; use method='empirical'"
        )
    if e.max() == e.min():
        raise ValueError(f"errors are all equal to {e[0]:g}: a degenerate distribution has no fit")
    spread = (e.max() - e.min()) / e.max()
    if spread < 1e-7:
        raise ValueError(
            f"errors are all equal to {e[0]:g} up to a relative spread of {spread:.1e}: too degenerate for a "
            "fit; use method='empirical'"
        )
    if e.min() == 0.0:
        raise ValueError(
            "errors contains 0, where a chi-squared law has no likelihood; use method='empirical'"
        )


def count_interval(
    hits: NDArray[Any], size: int, confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the two-sided Clopper-Pearson interval of the nats from counts among `size` samples."""
    half = 0.5 * (1.0 - confidence)
    p_low = np.where(hits > 0, special.betaincinv(np.maximum(hits, 1), size - hits + 1, half), 0.0)
    p_high = np.where(hits < size, special.betaincinv(hits + 1, np.maximum(size - hits, 1), 1.0 - half), 1.0)
    with np.errstate(divide="ignore"):
        return np.asarray(0.0 - np.log(p_high)), np.asarray(0.0 - np.log(p_low))


def _count_bound(hits: NDArray[Any], size: int, confidence: float) -> NDArray[Any]:
    """Return the one-sided Clopper-Pearson lower bound on the nats."""
    upper = np.where(hits < size, special.betaincinv(hits + 1, np.maximum(size - hits, 1), confidence), 1.0)
    return np.asarray(np.maximum(-np.log(upper), 0.0))
