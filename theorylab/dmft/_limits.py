"""Closed forms, kernels and the times at which a network has learnt."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._lib.checks import as_float_array, check_finite, check_real
from ._spec import Network, QuadraticNetwork, SmoothNetwork, apply

Array = NDArray[np.float64]

#: Midpoint nodes in theta; the integrand is smooth and periodic, so the rule converges spectrally.
NODES = 4000


def marchenko_pastur(nu: float) -> tuple[Array, Array]:
    """Return nodes and weights of the continuous part of the spectrum of ``X^T X / nu``.

    The nodes are midpoints in theta of ``l = centre + half cos(theta)``; the
    weights sum to ``min(1, nu)``, close to nu = 1 up to 1e-4.
    """
    theta = (np.arange(NODES) + 0.5) * (math.pi / NODES)
    root = math.sqrt(1.0 / nu)
    half = 2.0 * root
    nodes = (1.0 - root) ** 2 + half * (1.0 + np.cos(theta))
    weights = nu * (half * np.sin(theta)) ** 2 / (2.0 * nodes) / NODES
    return nodes, weights


def lazy_limit(nu: float, eps: float, kappa: float, t: ArrayLike) -> tuple[Any, Any]:
    """Return the train and test loss of the infinitely lazy, infinitely wide network.

    Parameters
    ----------
    nu : float
        Samples per dimension, > 0.
    eps : float
        Curvature of the activation.
    kappa : float
        Step size, > 0.
    t : array_like
        Step numbers, >= 0.

    Returns
    -------
    train, test : float or ndarray
        Of the shape of `t`; infinite once an unstable step size has overflown.

    Raises
    ------
    ValueError
        For nu, kappa <= 0, negative or infinite times.

    Notes
    -----
    The setting is centred, without a spike, with the target ``(u^2 - 1) / 2``.
    With the Marchenko-Pastur law rho of ``X^T X / nu`` and the ridge
    ``e = eps^2 / nu`` that the quadratic part of the kernel amounts to,

        train = (1/2) [ (1/nu) Int rho (1 - kappa (l + e))^(2t) + (1 - 1/nu) (1 - kappa e)^(2t) ]
        test  = 1/2 + (1/(2 nu)) Int rho l [ (1 - (1 - kappa (l + e))^t) / (l + e) ]^2

    A kernel method cannot learn this target from ``P ~ D`` samples: its test
    loss rises above 1/2 and stays there, the plateau before grokking. Costs
    4000 evaluations per time.

    Examples
    --------
    >>> train, test = lazy_limit(2.0, 0.3, 0.2, 5)
    >>> print(f"{train:.8f} {test:.8f}")
    0.28510259 0.58672601
    """
    nu = check_real(nu, "nu", low=0.0, open_low=True)
    eps = check_real(eps, "eps")
    kappa = check_real(kappa, "kappa", low=0.0, open_low=True)
    times = as_float_array(t, "t", dtype=np.float64)
    if times.size and times.min() < 0:
        raise ValueError(f"t must be >= 0, got {times.min():g}")
    if np.any(times != np.floor(times)):
        raise ValueError("t must hold whole step numbers")
    ridge = eps * eps / nu
    nodes, weights = marchenko_pastur(nu)
    rate = nodes + ridge
    flat = times.reshape(-1)
    train, test = np.empty(flat.size), np.empty(flat.size)
    # What is left of the unit mass decays by the ridge alone: samples beyond the dimensions (nu > 1), and
    # near nu = 1 what the midpoints miss of the pole that the density then has at 0.
    left_over = 1.0 - float(weights.sum()) / nu
    if not math.isfinite(ridge):
        raise ValueError(f"eps = {eps:g} with nu = {nu:g} makes the ridge eps^2 / nu overflow; lower eps")
    with np.errstate(over="ignore"):  # beyond the limit of stability the losses grow to infinity
        for i, step in enumerate(flat):
            left = (1.0 - kappa * rate) ** step
            still = (1.0 - kappa * ridge) ** (2.0 * step)
            rest = left_over * still if math.isfinite(still) else 0.0  # the others are infinite by then
            train[i] = 0.5 * (float(weights @ left**2) / nu + rest)
            test[i] = 0.5 + float(weights @ (nodes * ((1.0 - left) / rate) ** 2)) / (2.0 * nu)
    if times.ndim == 0:
        return float(train[0]), float(test[0])
    return train.reshape(times.shape), test.reshape(times.shape)


def grokking_times(train: ArrayLike, test: ArrayLike, q: float = 0.1) -> tuple[Any, Any]:
    """Return the first steps at which the train and the test loss fall to a fraction of their start.

    Parameters
    ----------
    train, test : array_like, shape (..., T)
        Losses over steps on the last axis, for example a whole ensemble.
    q : float
        Fraction of the loss at step 0, in (0, 1).

    Returns
    -------
    t_train, t_test : float or ndarray, shape (...)
        NaN where the loss never gets there. The ratio of the two is the grokking gap.

    Raises
    ------
    ValueError
        For q outside (0, 1), empty curves, or shapes that differ.

    Examples
    --------
    >>> grokking_times([1.0, 0.05, 0.01], [1.0, 1.0, 0.5])
    (1.0, nan)
    """
    q = check_real(q, "q", low=0.0, high=1.0, open_low=True, open_high=True)
    first = as_float_array(train, "train", dtype=np.float64, finite=False)
    second = as_float_array(test, "test", dtype=np.float64, finite=False)
    if first.ndim == 0 or first.shape[-1] == 0:
        raise ValueError(f"train has shape {first.shape}, expected at least one step on the last axis")
    if second.shape != first.shape:
        raise ValueError(f"test has shape {second.shape}, expected {first.shape} to match train")
    return _first_below(first, q), _first_below(second, q)


def _first_below(loss: Array, q: float) -> Any:
    """Return the first step with loss <= q loss(0), NaN for never."""
    below = loss <= q * loss[..., :1]  # comparisons with NaN are False, as they should be
    when = np.where(below.any(axis=-1), below.argmax(axis=-1).astype(np.float64), np.nan)
    return float(when) if when.ndim == 0 else when


def ntk(spec: Network, W: ArrayLike, X: ArrayLike, X2: ArrayLike | None = None) -> Array:
    """Return the neural tangent kernel of the hidden weights, without the factor alpha.

    Parameters
    ----------
    spec : QuadraticNetwork or SmoothNetwork
        Of finite width N.
    W : array_like, shape (N, D)
    X : array_like, shape (n, D)
    X2 : array_like, shape (n2, D), optional
        Default: X.

    Returns
    -------
    ndarray, shape (n, n2)
        ``K(x, x') = (1/N) sum_i phi'(w_i . x) phi'(w_i . x') x . x'``; for standard
        normal weights and N -> infinity ``x . x' + eps^2 (x . x')^2``. Costs
        ``n n2 (N + D)`` operations.

    Raises
    ------
    ValueError
        For shapes that do not match or an infinite width.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.dmft import QuadraticNetwork
    >>> ntk(QuadraticNetwork(1, 1.0, 0.0), np.ones((1, 2)), np.eye(2))
    array([[1., 0.],
           [0., 1.]])
    """
    if not isinstance(spec, (QuadraticNetwork, SmoothNetwork)):
        raise TypeError(f"spec must be a QuadraticNetwork or a SmoothNetwork, got {type(spec).__name__}")
    if math.isinf(spec.width):
        raise ValueError("spec has infinite width, expected a finite width that matches W")
    weights = as_float_array(W, "W", ndim=2, dtype=np.float64)
    first = as_float_array(X, "X", ndim=2, dtype=np.float64)
    second = first if X2 is None else as_float_array(X2, "X2", ndim=2, dtype=np.float64)
    if weights.shape[0] != spec.width:
        raise ValueError(f"W has shape {weights.shape}, expected {int(spec.width)} rows to match the width")
    for array, name in ((first, "X"), (second, "X2")):
        if array.shape[1] != weights.shape[1]:
            raise ValueError(
                f"{name} has shape {array.shape}, expected {weights.shape[1]} columns to match W"
            )
    a = apply(spec.dphi, first @ weights.T, "dphi")
    b = a if X2 is None else apply(spec.dphi, second @ weights.T, "dphi")
    kernel = (a @ b.T / weights.shape[0]) * (first @ second.T)
    check_finite(kernel, "the kernel")
    return np.asarray(kernel)
