"""Checks of the arguments that all entries share."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theorylab._lib.checks import check_choice, check_int, check_real

__all__ = ["check_alphas", "check_factors", "check_settings", "check_weights"]

FloatArray = NDArray[np.float64]


def check_weights(sample_weight: ArrayLike | None, n: int) -> FloatArray:
    """Return case weights: finite, non-negative, one per row, not all zero."""
    if sample_weight is None:
        return np.ones(n)
    w = _as_numbers(sample_weight, "sample_weight")
    if w.ndim == 0:
        w = np.full(n, float(w))
    if w.ndim != 1:
        raise ValueError("Sample weights must be 1D array or scalar")
    if w.shape != (n,):
        raise ValueError(f"sample_weight.shape == {w.shape}, expected {(n,)}!")
    if not np.isfinite(w).all():
        raise ValueError("Input sample_weight contains NaN or infinity.")
    if (w < 0).any():
        raise ValueError("Negative values in data passed to `sample_weight`.")
    if not w.any():
        raise ValueError("sample_weight is zero for every row; at least 2 classes need a positive weight")
    return w


def check_settings(
    p: int, l1_ratio: Any, penalty_factors: Any, standardize: Any, crossing: Any, tol: Any, max_iter: Any
) -> tuple[float, FloatArray, float, int]:
    """Validate what all PRESTO entries share; return l1_ratio, penalty factors, tol and max_iter."""
    ratio = check_real(l1_ratio, "l1_ratio", low=0.0, high=1.0)
    if not isinstance(standardize, (bool, np.bool_)):
        raise ValueError(f"standardize must be True or False, got {standardize!r}")
    check_choice(crossing, "crossing", ("own", "train"))
    tol = check_real(tol, "tol", low=0.0, open_low=True)
    max_iter = check_int(max_iter, "max_iter", low=1)
    return ratio, check_factors(penalty_factors, p), tol, max_iter


def check_factors(penalty_factors: ArrayLike | None, p: int) -> FloatArray:
    """Return relative penalties: finite, non-negative, one per feature."""
    if penalty_factors is None:
        return np.ones(p)
    factors = _as_numbers(penalty_factors, "penalty_factors")
    if factors.shape != (p,):
        raise ValueError(f"penalty_factors has shape {factors.shape}, expected {(p,)}: one per feature")
    if not np.isfinite(factors).all() or (factors < 0).any():
        raise ValueError("penalty_factors must be finite and non-negative")
    return factors


def check_alphas(alphas: ArrayLike | None) -> FloatArray | None:
    """Return the caller's penalties, largest first; None where there are none."""
    if alphas is None:
        return None
    lams = np.atleast_1d(_as_numbers(alphas, "alphas"))
    if lams.ndim != 1 or lams.size == 0 or not np.isfinite(lams).all() or (lams < 0).any():
        raise ValueError("alphas must be a non-empty sequence of finite non-negative numbers")
    return np.sort(lams)[::-1].copy()


def _as_numbers(values: ArrayLike, name: str) -> FloatArray:
    """Return a float64 copy; what is no array of real numbers is refused by its name."""
    try:
        array = np.asarray(values)
        if array.dtype.kind == "c":
            raise ValueError("complex numbers")
        return np.array(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} must hold real numbers, got {reprlib.repr(values)}: {error}") from None
