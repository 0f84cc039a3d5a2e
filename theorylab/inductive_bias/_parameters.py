"""Parameters of a generalised chi-squared law: read, merged, and what follows from them directly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._lib.checks import as_float_array

Parts = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class TailInfo:
    """How a log-tail was computed; every field has the shape of the value.

    Attributes
    ----------
    numerical_error : ndarray
        Absolute error to expect of the logarithm: quadrature and rounding (contour), or the
        certified remainder (ruben); NaN for methods that are approximations or bounds.
    nodes : ndarray
        Nodes of the contour, or terms of the series.
    converged : ndarray of bool
    crossing : ndarray
        Where the contour crosses the real axis: the saddlepoint, kept away from the pole at 0.
    upper : ndarray of bool
        Whether the upper tail was integrated (the smaller side of the mean always is).
    """

    numerical_error: NDArray[np.float64]
    nodes: NDArray[np.float64]
    converged: NDArray[np.bool_]
    crossing: NDArray[np.float64]
    upper: NDArray[np.bool_]

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


def as_reals(x: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return arguments of a function of the law as float64; NaN and infinity are legal there."""
    at = np.asarray(x)
    if at.dtype.kind not in "fiub":
        raise TypeError(f"{name} has dtype {at.dtype}, expected real numbers")
    return at.astype(np.float64)


def _broadcast(value: ArrayLike, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return one parameter for each weight."""
    array = as_float_array(value, name, ndim=(0, 1), dtype=np.float64)
    if array.shape not in ((), (1,), shape):
        raise ValueError(f"{name} has shape {array.shape}, expected {shape} to match weights, or a scalar")
    return np.broadcast_to(array, shape).copy()


def read_parameters(
    weights: ArrayLike, dofs: ArrayLike, noncentralities: ArrayLike | None, shifts: ArrayLike | None
) -> Parts:
    """Return weights, dofs and shifts as checked float64 vectors of one length."""
    w = np.atleast_1d(as_float_array(weights, "weights", ndim=(0, 1), dtype=np.float64, copy=True))
    k = _broadcast(dofs, "dofs", w.shape)
    if np.any(k <= 0.0):
        raise ValueError(f"dofs must be positive, got {k.min():g}")
    if noncentralities is not None and shifts is not None:
        raise ValueError(
            "got both noncentralities and shifts; pass one of them (shifts = weights * noncentralities)"
        )
    if shifts is not None:
        b = _broadcast(shifts, "shifts", w.shape)
        if np.any(b * np.sign(w) < 0.0):
            raise ValueError(
                "shifts must have the sign of their weights, since B_i = w_i lambda_i, lambda_i >= 0"
            )
    else:
        lam = _broadcast(0.0 if noncentralities is None else noncentralities, "noncentralities", w.shape)
        if np.any(lam < 0.0):
            raise ValueError(f"noncentralities must be >= 0, got {lam.min():g}")
        b = w * lam
    return w, k, b


def merge(w: NDArray[Any], k: NDArray[Any], b: NDArray[Any]) -> Parts:
    """Drop null weights, merge equal ones, and order by sign and dof into runs, as the kernel likes them."""
    kept = w != 0.0
    values, index = np.unique(w[kept], return_inverse=True)
    k_sum = np.bincount(index, k[kept], values.size)
    b_sum = np.bincount(index, b[kept], values.size)
    order = np.lexsort((np.abs(values), k_sum, values > 0.0))
    return values[order], k_sum[order], b_sum[order]


def cumulants(
    w: NDArray[Any],
    k: NDArray[Any],
    b: NDArray[Any],
    sigma: float,
    offset: float,
    t: NDArray[Any],
    order: int,
) -> NDArray[Any]:
    """Return a derivative of K at each t; inf (order 0) or NaN outside the strip of convergence."""
    tt = t[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        u = 1.0 - 2.0 * w * tt
        inside = np.all(u > 0.0, axis=1)
        if order == 0:
            value = np.sum(-0.5 * k * np.log1p(-2.0 * w * tt) + b * tt / u, axis=1)
            value += 0.5 * (sigma * t) ** 2 + offset * t
        elif order == 1:
            value = np.sum(k * w / u + b / u**2, axis=1) + sigma**2 * t + offset
        elif order == 2:
            value = np.sum(2 * k * w**2 / u**2 + 4 * w * b / u**3, axis=1) + sigma**2
        else:
            value = np.sum(8 * k * w**3 / u**3 + 24 * w**2 * b / u**4, axis=1)
    return np.where(inside, value, math.inf if order == 0 else math.nan)
