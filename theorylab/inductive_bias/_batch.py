"""Log-cdf of many generalised chi-squared laws at once, from Python and from compiled code."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import overload
from numpy.typing import ArrayLike, NDArray

from .._lib.checks import as_float_array
from ._blocks import in_blocks
from ._logcdf import logcdf_batch, logcdf_shared
from ._parameters import as_reals


def generalized_chi2_logcdf(
    x: ArrayLike, weights: ArrayLike, dofs: ArrayLike, shifts: ArrayLike, offset: ArrayLike
) -> NDArray[np.float64]:
    r"""Evaluate log P(Q_p <= x_p) for a batch of generalised chi-squared laws.

    It can be called from compiled code of your own too (``numba.njit``), with
    arrays of the shapes (P,), (P, N), (P, N), (P, N), (P,), or with one
    spectrum, (P,), (N,), (N,), (N,) and a scalar offset. Compiled calls trust their input.

    Parameters
    ----------
    x : array_like, shape (P,) or scalar
        Where to evaluate.
    weights : array_like, shape (P, N) or (N,)
        One row per law, or one spectrum shared by all x. Zeros are allowed; their
        shifts join the offset, so shorter spectra can be padded.
    dofs : array_like, shape of `weights` or broadcastable to it
        Degrees of freedom, positive.
    shifts : array_like, shape of `weights` or broadcastable to it
        B_i = w_i lambda_i, of the sign of the weight.
    offset : array_like, shape (P,) or scalar

    Returns
    -------
    ndarray, shape (P,)
        Natural logarithms; -inf at and below the support.

    Raises
    ------
    ValueError
        For NaN or infinite parameters, shapes that do not fit, dofs that are not positive, a row
        without any non-zero weight, or shifts of the wrong sign.

    Notes
    -----
    About 40 nodes of a contour integral per value: 40 N complex products.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.inductive_bias import generalized_chi2_logcdf
    >>> weights = np.array([[1.0, 0.5], [1.0, 0.0]])
    >>> values = generalized_chi2_logcdf([1e-3, 1.0], weights, 2.0, 0.0, 0.0)
    >>> print(np.round(values, 6))  # the second law is an exponential of mean 2
    [-15.202305  -0.932752]
    """
    at = as_reals(x, "x")
    w = as_float_array(weights, "weights", ndim=(1, 2), dtype=np.float64)
    k, b = (_fit(value, name, w) for value, name in ((dofs, "dofs"), (shifts, "shifts")))
    q0 = as_float_array(offset, "offset", ndim=(0, 1), dtype=np.float64)
    if w.shape[-1] == 0 or not np.all(np.any(w != 0.0, axis=-1)):
        raise ValueError("weights has a spectrum without any non-zero weight, expected at least one in each")
    if not np.all(k > 0.0):
        raise ValueError(f"dofs must be positive, got {k.min()}")
    if np.any(b * w < 0.0):
        raise ValueError(
            "shifts must have the sign of their weights, for B_i = w_i lambda_i with lambda_i >= 0"
        )
    rows = (w.shape[0],) if w.ndim == 2 else ()
    try:
        shape = np.broadcast_shapes(at.shape, rows, q0.shape)
    except ValueError:
        raise ValueError(
            f"x of shape {at.shape} does not fit weights of shape {w.shape} and offset of shape {q0.shape}; "
            "expected (P,), (P, N) or (N,), and (P,) or a scalar"
        ) from None
    flat = np.ascontiguousarray(np.broadcast_to(at, shape)).reshape(-1)
    values = np.empty(flat.size)
    q = np.ascontiguousarray(np.broadcast_to(q0, shape)).reshape(-1)
    shared = w.ndim == 1 and q0.ndim == 0

    def run(part: slice) -> NDArray[Any]:
        if shared:
            return np.asarray(logcdf_shared(flat[part], w, k, b, float(q0)))
        whole = [np.broadcast_to(a, (flat.size, w.shape[-1])) for a in (w, k, b)]
        rows_w, rows_k, rows_b = (np.ascontiguousarray(a[part]) for a in whole)
        return np.asarray(logcdf_batch(flat[part], rows_w, rows_k, rows_b, q[part]))

    for part, found in in_blocks(run, flat.size, w.shape[-1]):
        values[part] = found
    return values.reshape(shape)[()]


def _fit(value: ArrayLike, name: str, w: NDArray[Any]) -> NDArray[Any]:
    """Return `value` broadcast to the shape of the weights, as a contiguous array."""
    array = as_float_array(value, name, dtype=np.float64)
    try:
        return np.ascontiguousarray(np.broadcast_to(array, w.shape))
    except ValueError:
        raise ValueError(f"{name} has shape {array.shape}, expected {w.shape} to match weights") from None


@overload(generalized_chi2_logcdf)
def _compiled(x, weights, dofs, shifts, offset):  # type: ignore[no-untyped-def]
    """Let compiled code call the kernels directly."""
    if weights.ndim == 2:

        def batch(x, weights, dofs, shifts, offset):  # type: ignore[no-untyped-def]
            return logcdf_batch(x, weights, dofs, shifts, offset)

        return batch

    def shared(x, weights, dofs, shifts, offset):  # type: ignore[no-untyped-def]
        return logcdf_shared(x, weights, dofs, shifts, offset)

    return shared
