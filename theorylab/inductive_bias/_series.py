"""The other routes to a log-tail: Lugannani-Rice, Chernoff and Ruben's certified series."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .._lib.jit import REASSOC, jit
from ._blocks import in_blocks
from ._saddle import saddles

_MAX_TERMS = 4000


def log_complement(log_p: NDArray[Any]) -> NDArray[Any]:
    """Return log(1 - exp(log_p)) without cancellation."""
    log_p = np.minimum(log_p, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(
            np.where(
                log_p > -math.log(2.0), np.log(-np.expm1(log_p)), np.log1p(-np.exp(np.minimum(log_p, -0.6)))
            )
        )


def _saddles(
    z: NDArray[Any], w: NDArray[Any], k: NDArray[Any], b: NDArray[Any], sigma: float, upper: NDArray[np.bool_]
) -> NDArray[Any]:
    """Run the kernel in calls short enough to be interrupted."""
    rows = np.empty((z.size, 4))
    for part, found in in_blocks(lambda p: saddles(z[p], w, k, b, sigma, upper[p]), z.size, w.size):
        rows[part] = found
    return rows


def saddlepoint_tail(
    z: NDArray[Any], w: NDArray[Any], k: NDArray[Any], b: NDArray[Any], sigma: float, upper: NDArray[np.bool_]
) -> NDArray[Any]:
    """Return the Lugannani-Rice approximation to the log of the tail on the side of each z, O(N) each."""
    rows = _saddles(z, w, k, b, sigma, upper)
    height, curvature = rows[:, 1], rows[:, 2]
    # Both |r| and |v| are positive on either side, so the two tails share one formula.
    r = np.sqrt(np.maximum(-2.0 * height, 0.0))
    v = np.sqrt(curvature)
    near = r < 2e-3
    r_safe, v_safe = np.where(near, 1.0, r), np.where(near, 1.0, v)
    bracket = math.sqrt(math.pi / 2) * special.erfcx(r_safe / math.sqrt(2)) + 1 / v_safe - 1 / r_safe
    far = height - 0.5 * math.log(2 * math.pi) + np.log(np.maximum(bracket, 1e-300))
    scale = max(float(np.max(np.abs(w), initial=0.0)), sigma)
    ws, bs = w / scale, b / scale
    variance = float(np.sum(2 * k * ws**2 + 4 * ws * bs)) + (sigma / scale) ** 2
    skewness = float(np.sum(8 * k * ws**3 + 24 * ws**2 * bs)) / variance**1.5
    lower_at_mean = 0.5 + skewness / (6 * math.sqrt(2 * math.pi))
    at_mean = np.log(np.where(upper, 1 - lower_at_mean, lower_at_mean))
    return np.asarray(np.where(near, at_mean, far))


def chernoff_tail(
    z: NDArray[Any], w: NDArray[Any], k: NDArray[Any], b: NDArray[Any], sigma: float, upper: NDArray[np.bool_]
) -> NDArray[Any]:
    """Return min_t K(t) - t z on the side of the tail of each z: a certified upper bound on its log."""
    rows = _saddles(z, w, k, b, sigma, upper)
    # The bound holds at every t; what rounding may have taken away is given back.
    return np.asarray(np.minimum(rows[:, 1] + rows[:, 3], 0.0))


@jit(fastmath=REASSOC)
def _ruben_coefficients(base: Any, w: Any, k: Any, b: Any, tolerance: Any, max_terms: Any) -> Any:
    """Return Ruben's c_j / c_0 until their sum leaves less than `tolerance`, with log c_0."""
    n = w.size
    log_first = 0.0
    gamma = np.empty(n)
    power = np.ones(n)
    for i in range(n):
        gamma[i] = 1.0 - base / w[i]
        log_first += 0.5 * k[i] * math.log(base / w[i]) - 0.5 * b[i] / w[i]
    c = np.zeros(max_terms + 1)
    g = np.empty(max_terms)
    # Scaled so that the running sum stays near 1: the coefficients sum to 1 after exp(log_scale).
    c[0] = 1.0
    log_scale = log_first
    total = 1.0
    count = 0
    for r in range(1, max_terms + 1):
        value = 0.0
        for i in range(n):
            value += power[i] * (k[i] * gamma[i] + r * base * b[i] / (w[i] * w[i]))
            power[i] *= gamma[i]
        g[r - 1] = value
        new = 0.0
        for q in range(r):
            new += g[q] * c[r - 1 - q]
        c[r] = new / (2.0 * r)
        total += c[r]
        count = r
        if total > 1e200:
            for q in range(r + 1):
                c[q] *= 1e-200
            total *= 1e-200
            log_scale += 200.0 * math.log(10.0)
        if log_scale > -700.0 and 1.0 - total * math.exp(log_scale) < tolerance:
            break
    return c[: count + 1], log_scale, total


def _log_gamma_cdf(a: NDArray[Any], z: float) -> NDArray[Any]:
    """Return the log of the regularised lower incomplete gamma function, at any depth."""
    direct = special.gammainc(a, z)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        series = a * math.log(z) - z - special.gammaln(a + 1) + np.log(special.hyp1f1(1.0, a + 1.0, z))
        return np.asarray(np.where(a > z, series, np.log(direct)))


def ruben_lower(
    z: NDArray[Any], w: NDArray[Any], k: NDArray[Any], b: NDArray[Any], tol: float
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return log P(Q <= z) by Ruben's series, its certified truncation error, and the number of terms."""
    base = float(w.min())
    c, log_scale, total = _ruben_coefficients(base, w, k, b, 1e-17, _MAX_TERMS)
    missing = max(0.0, 1.0 - total * math.exp(min(log_scale, 700.0)))
    with np.errstate(divide="ignore"):
        log_c = np.log(c) + log_scale
    dof = float(k.sum())
    orders = 0.5 * dof + np.arange(c.size + 1)
    values, errors = np.empty(z.size), np.empty(z.size)
    for p, zp in enumerate(z):
        log_cdf = _log_gamma_cdf(orders, 0.5 * float(zp) / base)
        values[p] = special.logsumexp(log_c + log_cdf[:-1])
        errors[p] = missing * math.exp(min(log_cdf[-1] - values[p], 700.0))
    errors += 1e-15 * np.maximum(1.0, np.abs(values)) + 1e-15 * c.size
    if np.any(errors > max(tol, 1e-10) * np.maximum(1.0, np.abs(values))):
        from scipy.integrate import IntegrationWarning

        warnings.warn(
            f"Ruben's series left a relative remainder of {errors.max():.1e} after {c.size} "
            "terms; the weights "
            f"spread over a factor {w.max() / base:.1e}. Use method='contour'.",
            IntegrationWarning,
            stacklevel=4,
        )
    return values, errors, np.full(z.size, float(c.size))


def warn_unconverged(error: float) -> None:
    """Warn, three calls below the user's, that a quadrature did not reach its tolerance."""
    from scipy.integrate import IntegrationWarning

    warnings.warn(
        "the contour integral did not converge to tol in 12 halvings; the worst expected error of log P is "
        f"{error:.1e}. Raise tol, or look at return_info=True",
        IntegrationWarning,
        stacklevel=4,
    )


def warn_cancelled(error: NDArray[Any], tail: NDArray[Any], tol: float) -> None:
    """Warn where an upper tail is so small that 1 minus the lower one has lost it."""
    lost = error > max(tol, 1e-6) * np.maximum(1.0, np.abs(tail))
    if not lost.any():
        return
    from scipy.integrate import IntegrationWarning

    warnings.warn(
        "Ruben's series gives the upper tail as the rest to 1 only: the expected error of its log "
        f"reaches {np.max(error[lost]):.1e}. Use method='contour'.",
        IntegrationWarning,
        stacklevel=4,
    )
