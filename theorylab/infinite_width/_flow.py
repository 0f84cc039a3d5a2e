"""Networks of infinite width after training by gradient flow, in closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theorylab._lib.checks import as_float_array, check_real

from ._linalg import factor, solve

__all__ = ["flow", "predict_gradient_flow"]

Array = NDArray[Any]


def predict_gradient_flow(
    K: ArrayLike,
    T: ArrayLike,
    K_cross: ArrayLike,
    T_cross: ArrayLike,
    K_test: ArrayLike,
    y: ArrayLike,
    *,
    t: float = math.inf,
    reg: float = 0.0,
) -> tuple[Array, Array]:
    """Predict mean and covariance of an infinitely wide network trained by gradient flow.

    Parameters
    ----------
    K, T : array_like, shape (n, n)
        NNGP and NTK of the training points.
    K_cross, T_cross : array_like, shape (m, n)
        Test against training points.
    K_test : array_like, shape (m, m)
    y : array_like, shape (n,) or (n, k)
    t : float
        Training time for the loss ``|f - y|^2 / (2 n)`` at learning rate 1; infinity allowed.
    reg : float
        Added to the diagonal of `T`; absolute.

    Returns
    -------
    mean : ndarray, shape (m,) or (m, k)
    cov : ndarray, shape (m, m)

    Raises
    ------
    ValueError
        For shapes that do not fit together, NaN or infinity.
    numpy.linalg.LinAlgError
        At t = inf, if ``T + reg I`` is not positive definite even after the largest jitter.

    Notes
    -----
    With ``G = T_* (I - exp(-T t / n)) T^-1`` the mean is ``G y`` and the covariance
    ``K_** + G K G' - G K_*' - K_* G'``. One eigendecomposition (n^3), or a Cholesky at t = inf.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import kernels, predict_gradient_flow
    >>> X, Z, y = np.eye(3), np.ones((1, 3)), np.arange(3.0)
    >>> s = dict(depth=1, activation="erf", w_var=1.5, b_var=0.1)
    >>> (K, T), (Kc, Tc) = kernels.nngp_ntk(X, **s), kernels.nngp_ntk(Z, X, **s)
    >>> mean, cov = predict_gradient_flow(K, T, Kc, Tc, kernels.nngp(Z, **s), y)
    >>> mean.shape, cov.shape
    ((1,), (1, 1))
    """
    target = as_float_array(y, "y", ndim=(1, 2), dtype=np.float64)
    names = ("K", "T", "K_cross", "T_cross", "K_test")
    arrays = [
        as_float_array(a, name, ndim=2, dtype=np.float64)
        for a, name in zip((K, T, K_cross, T_cross, K_test), names)
    ]
    n, m = arrays[0].shape[0], arrays[4].shape[0]
    for a, shape, name in zip(arrays, ((n, n), (n, n), (m, n), (m, n), (m, m)), names):
        if a.shape != shape:
            raise ValueError(f"{name} has shape {a.shape}, expected {shape} for n = {n}, m = {m}")
    if target.shape[0] != n:
        raise ValueError(f"y has shape {target.shape}, expected ({n},) or ({n}, k)")
    time = check_real(t, "t", low=0.0, finite=False)
    reg = check_real(reg, "reg", low=0.0)
    k, tk, kc, tc, kt = arrays
    mean, cov = flow(k, tk, kc, tc, kt, target.reshape(n, -1), time, reg)
    return (mean[:, 0] if target.ndim == 1 else mean), cov


def flow(
    K: Array,
    T: Array,
    K_cross: Array,
    T_cross: Array,
    K_test: Array,
    Y: Array,
    t: float,
    reg: float,
    scale: float = 1.0,
) -> tuple[Array, Array]:
    """Return mean (m, k) and covariance (m, m) of a network after gradient flow for time `t`.

    ``G = T_* (I - exp(-scale T t / n)) T^-1`` with ``T <- T + reg I``; see `predict_gradient_flow`.
    """
    A = np.array(T, dtype=np.float64)
    A[np.diag_indices_from(A)] += reg
    if math.isinf(t):
        L = factor(A, "the training kernel")
        G = solve(L, T_cross.T).T
    else:
        e, U = np.linalg.eigh(A)
        # (1 - exp(-x)) / e tends to t / n where e vanishes
        rate = scale * t / A.shape[0]
        x = rate * np.maximum(e, 0.0)
        filt = np.where(x > 1e-300, -np.expm1(-x) / np.where(x > 1e-300, x, 1.0), 1.0) * rate
        G = (T_cross @ U) * filt @ U.T
    half = G @ K_cross.T
    cov = K_test + G @ K @ G.T - half - half.T
    return G @ Y, cov
