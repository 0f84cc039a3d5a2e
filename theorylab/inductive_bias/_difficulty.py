"""The earlier closed form: bits of inductive bias from the dimension of the data manifold."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .._lib.checks import check_real


@dataclass(frozen=True)
class GeneralizationDifficulty:
    """Bits needed to generalise, and their natural logarithm, finite where the bits overflow."""

    bits: float
    log_bits: float


def generalization_difficulty(
    *,
    n_samples: float,
    error: float,
    intrinsic_dim: float,
    radius: float,
    resolution: float,
    discrete_factors: float = 1.0,
    output_dim: float = 1.0,
    bound: float = 1.0,
) -> GeneralizationDifficulty:
    r"""Evaluate the model-agnostic difficulty of a task in bits.

    Parameters
    ----------
    n_samples : float
        Training samples n.
    error : float
        Target error eps.
    intrinsic_dim : float
        Dimension m of the data manifold.
    radius : float
        Radius R of the data.
    resolution : float
        Spatial resolution delta, in the unit of `radius`.
    discrete_factors : float
        Product D_c of the discrete factors (classes).
    output_dim : float
        Output dimension D.
    bound : float
        Bound B on the target function.

    Returns
    -------
    GeneralizationDifficulty
        `log_bits` is a natural logarithm; NaN where the formula gives no positive number of bits.

    Raises
    ------
    ValueError
        For arguments that are not positive.

    Notes
    -----
    ``(2 D D_c E - n D) [log2 B + log2(D D_c)/2 - log2 eps + log2(K sqrt(D) / R) + log2 W]`` with
    M = 2 pi R / delta, ``K = (sqrt((m-1)^2 + 4 M^2) - (m-1)) / 2``, ``E = C(m+K, m) + C(m+K-1, m)`` and
    ``log W = log(m/6)/2 + [log 2 + (m+1)/2 log pi + log D_c - logGamma((m+1)/2)] / m + log R - log(n)/m``.
    Exponential in m, polynomial in R / delta, linear and decreasing in n.

    References
    ----------
    A. Boopathy et al., Model-agnostic Measure of Generalization Difficulty, ICML 2023.

    Examples
    --------
    >>> d = generalization_difficulty(n_samples=1280901, error=0.1, intrinsic_dim=48, radius=943.5923,
    ...     resolution=65, discrete_factors=1000, output_dim=999, bound=1)
    >>> print(f"{d.bits:.6e}")
    3.583253e+41
    """
    n, eps, m, r, delta, classes, d, b = (
        check_real(value, name, low=0.0, open_low=True)
        for value, name in (
            (n_samples, "n_samples"), (error, "error"), (intrinsic_dim, "intrinsic_dim"), (radius, "radius"),
            (resolution, "resolution"), (discrete_factors, "discrete_factors"), (output_dim, "output_dim"),
            (bound, "bound"),
        )
    )  # fmt: skip
    size = 2.0 * math.pi * r / delta
    # K = M^2 / (...) in the form that does not cancel for m >> M.
    k = 2.0 * size * size / (math.hypot(m - 1.0, 2.0 * size) + (m - 1.0))

    def log_binomial(top: float) -> float:
        return math.lgamma(top + 1.0) - math.lgamma(m + 1.0) - math.lgamma(top - m + 1.0)

    # C(m+K-1, m) = C(m+K, m) K / (m+K).
    log_e = log_binomial(m + k) + math.log1p(k / (m + k))
    log_w = (
        0.5 * math.log(m / 6.0)
        + (
            math.log(2.0)
            + 0.5 * (m + 1.0) * math.log(math.pi)
            + math.log(classes)
            - math.lgamma(0.5 * (m + 1.0))
        )
        / m
        + math.log(r)
        - math.log(n) / m
    )
    bracket = (
        math.log(b) + 0.5 * math.log(d) + 0.5 * math.log(classes) - math.log(eps)
        + math.log(k * math.sqrt(d) / r) + log_w
    ) / math.log(2.0)  # fmt: skip
    log_capacity = math.log(2.0 * d * classes) + log_e
    return _difficulty(log_capacity, math.log(n * d), bracket)


def reinforcement_difficulty(
    *, n_samples: float, error: float, n_observations: float, resolution: float
) -> GeneralizationDifficulty:
    r"""Evaluate the difficulty, in bits, of learning to control a cart-pole-like system from observations.

    Parameters
    ----------
    n_samples : float
        Training samples n.
    error : float
        Target error eps.
    n_observations : float
        Observations T that make up one input.
    resolution : float
        Spatial resolution delta.

    Returns
    -------
    GeneralizationDifficulty

    Raises
    ------
    ValueError
        For arguments that are not positive.

    Notes
    -----
    ``(2 (2 pi / delta)^(2T) pi^T / Gamma(T + 1) - n) [log2(4 pi^2 / sqrt 3) + log2(T)/2 - log2 delta
    - log2(n)/(2T) - log2 eps]``, the special case of the earlier paper, whose inputs lie on 2 T circles.

    References
    ----------
    A. Boopathy et al., Model-agnostic Measure of Generalization Difficulty, ICML 2023.

    Examples
    --------
    >>> from theorylab.inductive_bias import reinforcement_difficulty
    >>> d = reinforcement_difficulty(n_samples=10**4, error=1e-3, n_observations=2, resolution=1e-3)
    >>> print(f"{d.bits:.6e}")
    3.325661e+17
    """
    n, eps, t, delta = (
        check_real(value, name, low=0.0, open_low=True)
        for value, name in (
            (n_samples, "n_samples"), (error, "error"), (n_observations, "n_observations"),
            (resolution, "resolution"),
        )
    )  # fmt: skip
    log_capacity = (
        math.log(2.0)
        + 2.0 * t * math.log(2.0 * math.pi / delta)
        + t * math.log(math.pi)
        - math.lgamma(t + 1.0)
    )
    bracket = (
        math.log(4.0 * math.pi**2 / math.sqrt(3.0)) + 0.5 * math.log(t) - math.log(delta)
        - math.log(n) / (2.0 * t) - math.log(eps)
    ) / math.log(2.0)  # fmt: skip
    return _difficulty(log_capacity, math.log(n), bracket)


def _difficulty(log_capacity: float, log_used: float, bracket: float) -> GeneralizationDifficulty:
    """Return (exp(log_capacity) - exp(log_used)) * bracket."""
    gap = log_used - log_capacity
    if gap < 0.0:
        log_count, sign = log_capacity + math.log1p(-math.exp(gap)), 1.0
    elif gap > 0.0:
        log_count, sign = log_used + math.log1p(-math.exp(-gap)), -1.0
    else:
        return GeneralizationDifficulty(0.0, -math.inf)
    if bracket == 0.0:
        return GeneralizationDifficulty(0.0, -math.inf)
    log_size = log_count + math.log(abs(bracket))
    sign *= math.copysign(1.0, bracket)
    bits = sign * (math.exp(log_size) if log_size < 709.0 else math.inf)
    return GeneralizationDifficulty(bits, log_size if sign > 0.0 else math.nan)
