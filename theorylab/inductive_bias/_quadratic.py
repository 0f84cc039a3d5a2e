"""A quadratic form of a Gaussian vector in the directions that make it a sum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._lib.checks import as_float_array, check_real


def diagonal_parts(
    Q2: ArrayLike, q1: ArrayLike, q0: float, mean: ArrayLike, cov: ArrayLike
) -> tuple[NDArray[Any], NDArray[Any], float, float]:
    """Return weights, shifts, offset and sigma of ``x' Q2 x + q1' x + q0`` for x ~ N(mean, cov)."""
    form = as_float_array(Q2, "Q2", ndim=2, dtype=np.float64)
    n = form.shape[0]
    linear = as_float_array(q1, "q1", ndim=1, dtype=np.float64)
    centre = as_float_array(mean, "mean", ndim=1, dtype=np.float64)
    covariance = as_float_array(cov, "cov", ndim=2, dtype=np.float64)
    shapes = ((form, "Q2", (n, n)), (linear, "q1", (n,)), (centre, "mean", (n,)), (covariance, "cov", (n, n)))
    for array, name, shape in shapes:
        if array.shape != shape:
            raise ValueError(
                f"{name} has shape {array.shape}, expected {shape} to match Q2 of shape {form.shape}"
            )
    s, u = np.linalg.eigh(0.5 * (covariance + covariance.T))
    if s.size and s[0] < -1e-8 * max(s[-1], 0.0) - 1e-300:
        raise ValueError(f"cov is not positive semi-definite: it has an eigenvalue {s[0]:.3g}")
    root = u * np.sqrt(np.maximum(s, 0.0))
    form = 0.5 * (form + form.T)
    d, v = np.linalg.eigh(root.T @ form @ root)
    h = v.T @ (root.T @ (2.0 * (form @ centre) + linear))
    # d z^2 + h z = d (z + h / 2d)^2 - h^2 / 4d, unless d is rounding: then h z is Gaussian.
    curved = np.abs(d) > 4 * n * np.finfo(float).eps * np.abs(d).max(initial=0.0)
    shifts = np.zeros(n)
    shifts[curved] = h[curved] ** 2 / (4.0 * d[curved])
    constant = float(centre @ form @ centre + linear @ centre) + check_real(q0, "q0") - float(shifts.sum())
    return np.where(curved, d, 0.0), shifts, constant, float(np.linalg.norm(h[~curved]))
