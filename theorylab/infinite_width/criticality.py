"""Criticality and fluctuations of deep networks: fixed points, susceptibilities, finite width.

``g(K) = E[phi(z)^2]`` for z of variance K; a layer maps ``K <- b_var + w_var g(K)``.

>>> from theorylab.infinite_width import criticality
>>> criticality.critical_init("relu")
(2.0, 0.0)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theorylab._lib.checks import as_float_array, check_int, check_real
from theorylab._lib.rng import RNGLike, as_generator

from ._quadrature import gauss_moment
from .duals import Activation, get

__all__ = [
    "critical_init",
    "exact_sampler",
    "fixed_point",
    "kernel_recursion",
    "susceptibilities",
    "vertex_recursion",
]

Array = NDArray[Any]


def _expect(act: Activation, K: float, weight: Any) -> float:
    """Return ``E[weight(phi(sqrt(K) x), x)]`` for x standard normal."""
    # the variable of quadrature is z = sqrt(K) x
    root = math.sqrt(K) if K > 0 else 1.0
    return float(gauss_moment(lambda z: weight(act.fn(z), z / root), np.array([K]), act.kinks)[0])


def kernel_recursion(
    activation: Any, depth: int, w_var: float, b_var: float = 0.0, *, K1: float = 1.0
) -> Array:
    """Return ``K_1, ..., K_depth``, the variances of preactivations layer by layer.

    Parameters
    ----------
    activation : str, callable or Activation
    depth : int
        Number of layers, >= 1.
    w_var, b_var : float
    K1 : float
        Variance after the first dense layer.

    Returns
    -------
    ndarray, shape (depth,)

    Examples
    --------
    >>> from theorylab.infinite_width import criticality
    >>> criticality.kernel_recursion("relu", 3, 2.0, K1=0.5)
    array([0.5, 0.5, 0.5])
    """
    act = get(activation)
    depth = check_int(depth, "depth", low=1)
    w, b = check_real(w_var, "w_var", low=0.0), check_real(b_var, "b_var", low=0.0)
    out = np.empty(depth)
    out[0] = check_real(K1, "K1", low=0.0)
    for l in range(1, depth):
        with np.errstate(over="ignore", invalid="ignore"):
            out[l] = b + w * float(act.moments(out[l - 1 : l])[0][0])
        if not out[l] < 1e300:
            raise OverflowError(f"the variance overflows at layer {l + 1}: lower w_var or normalise K1")
    return out


def susceptibilities(activation: Any, K: float, w_var: float, b_var: float = 0.0) -> tuple[float, float]:
    """Return the parallel and the perpendicular susceptibility at variance `K`.

    Notes
    -----
    ``chi_par = w_var g'(K) = w_var E[phi^2 (z^2 - K)] / (2 K^2)`` governs the norm,
    ``chi_perp = w_var E[phi'^2]`` the angle between nearby inputs. Both are 1 at criticality.

    References
    ----------
    .. [1] Roberts, Yaida, Hanin, "The Principles of Deep Learning Theory", 2022, chapter 5.

    Examples
    --------
    >>> from theorylab.infinite_width import criticality
    >>> [round(x, 12) for x in criticality.susceptibilities("relu", 1.0, 2.0)]
    [1.0, 1.0]
    """
    act = get(activation)
    K = check_real(K, "K", low=0.0)
    w = check_real(w_var, "w_var", low=0.0)
    check_real(b_var, "b_var", low=0.0)
    perp = w * float(act.moments(np.array([K]))[1][0])
    if K == 0.0:
        return perp, perp
    if K < 1e-3:
        # E[phi phi' z] = K-derivative without the cancellation of z^2 - K
        par = w * _expect(act, K, lambda f, x: f * act.dfn(math.sqrt(K) * x) * x) / math.sqrt(K)
    else:
        par = w * _expect(act, K, lambda f, x: f * f * (x * x - 1.0)) / (2.0 * K)
    return par, perp


def fixed_point(activation: Any, w_var: float, b_var: float = 0.0, *, K0: float = 1.0) -> float:
    """Return the stable fixed point ``K* = b_var + w_var g(K*)`` reached from `K0`, 0 or infinity included.

    Examples
    --------
    >>> from theorylab.infinite_width import criticality
    >>> round(criticality.fixed_point("tanh", 1.3), 6)
    0.164902
    """
    act = get(activation)
    w, b = check_real(w_var, "w_var", low=0.0), check_real(b_var, "b_var", low=0.0)
    K = check_real(K0, "K0", low=0.0)

    def step(x: float) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            return b + w * float(act.moments(np.array([x]))[0][0])

    for _ in range(100):
        K = step(K)
        if not K < 1e150:
            return math.inf
        if K < 1e-150:
            return 0.0
    # Newton on K - step(K), whose slope is 1 - chi_par, never against the direction of the iteration and
    # by a third of K at most: so it also follows slow algebraic approaches and slow growth to their end
    move = step(K) - K
    far = 1e12 * max(1.0, K, b)  # where a bias is lost in rounding, and with it whether growth ends
    for _ in range(2000):
        if abs(move) <= 4e-16 * K:
            return K
        slope = 1.0 - susceptibilities(act, K, w, b)[0]
        new = K + math.copysign(min(abs(move / slope) if slope > 0.0 else math.inf, K / 3.0), move)
        if not new < far:
            return math.inf
        if new < 1e-150 or (b == 0.0 and new < 1e-9 and slope < 1e-6):
            return 0.0
        after = step(new) - new
        if move * after < 0.0:
            return _root(lambda x: step(x) - x, K, new)
        if abs(new - K) <= 1e-15 * K:
            return new
        K, move = new, after
    return K


def _root(f: Callable[[float], float], a: float, b: float) -> float:
    """Return a zero of `f` between two points where its signs differ."""
    from scipy.optimize import brentq

    return float(brentq(f, a, b, xtol=1e-300, rtol=1e-15))


def critical_init(activation: Any) -> tuple[float, float]:
    """Return ``(w_var, b_var)`` at which both susceptibilities are one.

    Scale-invariant activations: ``w_var = 1 / E[phi(x)^2]``; ones with ``phi(0) = 0`` and a slope there:
    ``1 / phi'(0)^2``; others: the semi-stable pair where ``chi_par = chi_perp = 1``, if there is one.

    Raises
    ------
    ValueError
        If no critical point is found.

    Examples
    --------
    >>> from theorylab.infinite_width import criticality
    >>> w_var, b_var = criticality.critical_init("erf")
    >>> round(w_var, 12), b_var  # pi / 4
    (0.785398163397, 0.0)
    """
    act = get(activation)
    if act.degree == 1:
        return 1.0 / float(act.moments(np.ones(1))[0][0]), 0.0
    zero = np.zeros(1)
    left, right = (float(act.dfn(zero + h)[0]) for h in (-1e-9, 1e-9))
    if abs(float(act.fn(zero)[0])) < 1e-14 and abs(right - left) < 1e-6 * abs(right):
        probe = 1e-4 * np.ones(1)
        w = 1.0 / float(act.dfn(zero)[0]) ** 2
        # stable from above only if w g(K) < K close to zero
        if w * float(act.moments(probe)[0][0]) < float(probe[0]):
            return w, 0.0

    def gap(log_k: float) -> float:
        par, perp = susceptibilities(act, math.exp(log_k), 1.0)
        return par - perp

    grid = np.linspace(-7.0, 5.0, 49)
    values = [gap(float(u)) for u in grid]
    for left, right, a, b in zip(grid[:-1], grid[1:], values[:-1], values[1:]):
        if a * b < 0.0:
            K = math.exp(_root(gap, left, right))
            w = 1.0 / susceptibilities(act, K, 1.0)[1]
            bias = K - w * float(act.moments(np.array([K]))[0][0])
            if bias >= 0.0:
                return w, bias
    raise ValueError(f"activation {act.name!r} has no critical point with b_var >= 0")


def vertex_recursion(
    activation: Any, depth: int, w_var: float, b_var: float = 0.0, *, K1: float = 1.0
) -> tuple[Array, Array, Array]:
    """Return kernel, four-point vertex and mean shift of each layer.

    At width n the kernel of layer l, ``b_var + w_var / n sum phi(z)^2``, has variance ``V_l / n`` and
    mean ``K_l + M_l / n`` to leading order.

    Returns
    -------
    K, V, M : ndarray, shape (depth,)

    Notes
    -----
    ``V' = chi_par^2 V + w_var^2 (E phi^4 - (E phi^2)^2)``, ``M' = chi_par M + (w_var / 2) g''(K) V``,
    ``g'' = E[phi^2 (z^4 - 6 K z^2 + 3 K^2)] / (4 K^4)``, all zero at l = 1.

    References
    ----------
    .. [1] Roberts, Yaida, Hanin, "The Principles of Deep Learning Theory", 2022, chapter 4.

    Examples
    --------
    >>> from theorylab.infinite_width import criticality
    >>> K, V, M = criticality.vertex_recursion("relu", 4, 2.0, K1=1.0)
    >>> V.round(6)  # 5 (l - 1) K^2
    array([ 0.,  5., 10., 15.])
    """
    act = get(activation)
    K = kernel_recursion(act, depth, w_var, b_var, K1=K1)
    V, M = np.zeros(depth), np.zeros(depth)
    for l in range(depth - 1):
        k = float(K[l])
        if k == 0.0:
            continue
        par, _ = susceptibilities(act, k, w_var, b_var)
        second = _expect(act, k, lambda f, x: f**2)
        fourth = _expect(act, k, lambda f, x: f**4)
        bend = _expect(act, k, lambda f, x: f * f * (x**4 - 6.0 * x * x + 3.0)) / (4.0 * k * k)
        V[l + 1] = par**2 * V[l] + w_var**2 * (fourth - second**2)
        M[l + 1] = par * M[l] + 0.5 * w_var * bend * V[l]
    return K, V, M


def _roots(G: Array) -> Array:
    """Return A with ``A A' = G`` for a stack: Cholesky, or a spectral root where a matrix is singular."""
    m = G.shape[-1]
    if m == 1:
        return np.asarray(np.sqrt(G))
    try:
        jitter = 1e-14 * np.einsum("sii->s", G) / m
        return np.asarray(np.linalg.cholesky(G + jitter[:, None, None] * np.eye(m)))
    except np.linalg.LinAlgError:
        e, U = np.linalg.eigh(G)
        return np.asarray(U * np.sqrt(np.maximum(e, 0.0))[:, None, :])


def exact_sampler(
    X: ArrayLike,
    *,
    width: int,
    depth: int,
    activation: Any = "relu",
    w_var: float = 2.0,
    b_var: float = 0.0,
    last_w_var: float | ArrayLike = 1.0,
    last_b_var: float = 0.0,
    n_samples: int = 1,
    return_kernels: bool = False,
    rng: RNGLike = None,
) -> Any:
    """Draw outputs of random networks of finite width, from their exact law.

    Parameters
    ----------
    X : array_like, shape (m, d)
    width : int
        Number of neurons in each hidden layer.
    depth : int
        Number of hidden layers, >= 1.
    activation, w_var, b_var, last_b_var
        As in :func:`theorylab.infinite_width.kernels.nngp`.
    last_w_var : float or array_like, shape (n_samples,)
        Variance of the readout, for instance a random scale per network.
    n_samples : int
        Number of independent networks.
    return_kernels : bool
        Also return the variances of the preactivations of each layer, at every point.
    rng : int, SeedSequence, Generator or None

    Returns
    -------
    outputs : ndarray, shape (n_samples, m)
    kernels : ndarray, shape (n_samples, depth + 1, m)
        Only with `return_kernels`; the last entry is the variance of the output.

    Notes
    -----
    Given the kernel ``G_l`` of a layer its neurons are independent normal vectors, so that
    ``G_{l+1} = b_var + w_var / width sum phi(z) phi(z)'`` needs the covariance of m points only: O(width
    m^2 + m^3)
    per layer in place of O(width^2 m).

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import criticality
    >>> criticality.exact_sampler(np.eye(2), width=16, depth=3, n_samples=5, rng=0).shape
    (5, 2)
    """
    x = as_float_array(X, "X", ndim=2, dtype=np.float64)
    if x.size == 0:
        raise ValueError(f"X is empty: it has shape {x.shape}")
    act = get(activation)
    width, depth = check_int(width, "width", low=1), check_int(depth, "depth", low=1)
    n_samples = check_int(n_samples, "n_samples", low=1)
    w, b = check_real(w_var, "w_var", low=0.0), check_real(b_var, "b_var", low=0.0)
    lb = check_real(last_b_var, "last_b_var", low=0.0)
    last = np.broadcast_to(as_float_array(last_w_var, "last_w_var", dtype=np.float64), (n_samples,))
    if np.any(last < 0):
        raise ValueError("last_w_var must not be negative")
    generator = as_generator(rng)
    m = x.shape[0]
    first = w * (x @ x.T) / x.shape[1] + b
    record = np.empty((n_samples, depth + 1, m))
    out = np.empty((n_samples, m))
    batch = max(1, (1 << 18) // (width * m))  # what stays in the cache
    for s in range(0, n_samples, batch):
        size = min(batch, n_samples - s)
        G = np.broadcast_to(first, (size, m, m))
        for l in range(depth):
            record[s : s + size, l] = np.einsum("sii->si", G)
            normal = generator.standard_normal((size, m, width))
            f = act.fn(np.matmul(_roots(G), normal))
            product = np.matmul(f, f.transpose(0, 2, 1)) / width
            if l < depth - 1:
                G = w * product + b
            else:
                G = last[s : s + size, None, None] * product + lb
        record[s : s + size, depth] = np.einsum("sii->si", G)
        normal = generator.standard_normal((size, m, 1))
        out[s : s + size] = np.matmul(_roots(G), normal)[:, :, 0]
    return (out, record) if return_kernels else out
