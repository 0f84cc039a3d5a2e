"""NNGP and NTK matrices of fully connected networks.

A network of depth L is L times (dense, activation) and a dense readout, with weight
variance ``w_var / fan_in`` and bias variance ``b_var``. `w_var` and `b_var` are VARIANCES
(:func:`from_stax_std` converts standard deviations).

>>> import numpy as np
>>> from theorylab.infinite_width import kernels
>>> X = np.eye(3)
>>> K, T = kernels.nngp_ntk(X, depth=1, activation="relu", w_var=2.0, b_var=0.0)
>>> print(np.round(3 * K, 4))
[[1.     0.3183 0.3183]
 [0.3183 1.     0.3183]
 [0.3183 0.3183 1.    ]]
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from theorylab._lib.checks import check_choice, check_int

from . import _pairs
from ._engine import Engine, prepared, squares
from ._inputs import apart, check_inputs, largest_variance, matrix
from ._network import Network, check_tangent, diagonal, kernel_diagonal, make_network
from ._table import spanned

__all__ = ["from_stax_std", "nngp", "nngp_ntk", "ntk", "rkhs_sqdist", "tiles"]

Array = NDArray[Any]


def _both(
    X: ArrayLike,
    Y: ArrayLike | None,
    net: Network,
    dtype: DTypeLike | None,
    want_k: bool,
    want_t: bool,
    out: Any,
    accum_dtype: DTypeLike | None = None,
) -> tuple[Any, Any]:
    x, y = check_inputs(X, Y, dtype)
    target = x.dtype
    if accum_dtype is not None:
        wide = check_choice(
            np.dtype(accum_dtype), "accum_dtype", (np.dtype(np.float32), np.dtype(np.float64))
        )
        if wide.itemsize < target.itemsize:
            raise ValueError(
                f"accum_dtype is {wide}, expected at least the precision of the result, {target}"
            )
        x, y = x.astype(wide, copy=False), None if y is None else y.astype(wide, copy=False)
    x, y = prepared(net, x, y, target)
    given_k, given_t = out if want_k and want_t else (out, out)
    x, y = apart(x, given_k, given_t), None if y is None else apart(y, given_k, given_t)
    engine = Engine(net, x, y, want_t)
    engine.check_tangent(target)
    shape = (engine.n, engine.m)
    K = matrix(given_k, "out", shape, target) if want_k else None
    T = matrix(given_t, "out", shape, target) if want_t else None
    engine.into(K, T)
    return K, T


def _diagonal(
    X: ArrayLike, Y: ArrayLike | None, net: Network, dtype: DTypeLike | None, want_t: bool
) -> tuple[Array, Array, Any]:
    if Y is not None:
        raise ValueError("Y must be None with diag=True")
    x, _ = check_inputs(X, None, dtype)
    square = squares(x)
    k, t = kernel_diagonal(net, square, x.shape[1], diagonal(net, square, largest_variance(x.dtype)))
    if want_t:
        check_tangent(t, x.dtype)
    return k, t, x.dtype


def nngp(
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    depth: int,
    activation: Any = "relu",
    w_var: float = 2.0,
    b_var: float = 0.0,
    last_w_var: float = 1.0,
    last_b_var: float = 0.0,
    diag: bool = False,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
    accum_dtype: DTypeLike | None = None,
) -> Array:
    """Compute the NNGP kernel: the covariance of an infinitely wide random network.

    Parameters
    ----------
    X : array_like, shape (n, d)
    Y : array_like, shape (m, d), optional
        Default: X itself; then only one triangle is computed.
    depth : int
        Number of hidden layers, >= 0.
    activation : str, callable or Activation
        See :mod:`theorylab.infinite_width.duals`.
    w_var, b_var : float
        Variances of weights (times fan-in) and biases of hidden layers, dimensionless, >= 0.
    last_w_var, last_b_var : float
        The same for the readout.
    diag : bool
        Return only the diagonal, at the cost of n points.
    dtype : dtype, optional
        float32 or float64. Default: float32 if all inputs are float32, else float64.
    out : ndarray, shape (n, m), optional
        Where to write, for instance a `numpy.memmap` larger than memory.
    accum_dtype : dtype, optional
        Precision of the computation, where it should exceed that of the result: float64 for float32
        inputs gives their kernel rounded once, at the speed of float64.

    Returns
    -------
    ndarray, shape (n, m), or (n,) with `diag`

    Raises
    ------
    ValueError
        For NaN, infinity, empty or 1-D inputs, mismatched features, negative variances, unknown names.
    OverflowError
        If a variance exceeds the floating range; the message names the layer.

    Notes
    -----
    With ``c = x . y / d`` a dense layer maps ``c <- w_var c + b_var``, an activation
    ``c <- E[phi(u) phi(v)]`` for ``(u, v)`` of that covariance. Where near duplicates would lose digits,
    correlations within 2e-4 of plus or minus one (2e-2 in float32, in deep and in chaotic networks) are
    recomputed from differences of the inputs.

    Cost: n m d multiply-adds (half for Y=None) and O(depth) flops an entry; O(1) where the
    network collapses to a function of the angle. Memory: the output and one tile per thread.

    References
    ----------
    .. [1] Lee et al., "Deep Neural Networks as Gaussian Processes", ICLR 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import kernels
    >>> X = np.array([[1.0, 0.0], [0.6, 0.8]])
    >>> kernels.nngp(X, depth=3, activation="relu", w_var=2.0, b_var=0.0).round(6)
    array([[0.5     , 0.387656],
           [0.387656, 0.5     ]])
    """
    net = make_network(depth, activation, w_var, b_var, last_w_var, last_b_var)
    if diag:
        k, _, kind = _diagonal(X, Y, net, dtype, False)
        return k.astype(kind)
    return np.asanyarray(_both(X, Y, net, dtype, True, False, out, accum_dtype)[0])


def ntk(
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    depth: int,
    activation: Any = "relu",
    w_var: float = 2.0,
    b_var: float = 0.0,
    last_w_var: float = 1.0,
    last_b_var: float = 0.0,
    diag: bool = False,
    dtype: DTypeLike | None = None,
    parameterization: str = "ntk",
    width: int | None = None,
    out: Array | None = None,
    accum_dtype: DTypeLike | None = None,
) -> Array:
    """Compute the neural tangent kernel: the kernel of gradient descent on all layers.

    Parameters
    ----------
    X, Y, depth, activation, w_var, b_var, last_w_var, last_b_var, diag, dtype, out, accum_dtype
        As in :func:`nngp`.
    parameterization : {"ntk", "standard"}
        Whether the factors ``sqrt(w_var / fan_in)`` stand in the forward pass or in the initial weights.
    width : int, optional
        Width of the hidden layers; needed by "standard".

    Returns
    -------
    ndarray, shape (n, m), or (n,) with `diag`

    Raises
    ------
    ValueError, OverflowError
        As in :func:`nngp`; also "standard" without `width`.

    Notes
    -----
    ``t <- c_new + w_var Ddot t`` after each dense layer; in the standard parameterisation
    ``t <- fan_in c_old + 1[bias] + w_var Ddot t``. Cost as :func:`nngp`.

    References
    ----------
    .. [1] Jacot, Gabriel, Hongler, "Neural Tangent Kernel", NeurIPS 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import kernels
    >>> kernels.ntk(np.eye(2), depth=1, activation="relu").round(6)
    array([[1.      , 0.159155],
           [0.159155, 1.      ]])
    """
    net = make_network(depth, activation, w_var, b_var, last_w_var, last_b_var, parameterization, width)
    if diag:
        _, t, kind = _diagonal(X, Y, net, dtype, True)
        return t.astype(kind)
    return np.asanyarray(_both(X, Y, net, dtype, False, True, out, accum_dtype)[1])


def nngp_ntk(
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    depth: int,
    activation: Any = "relu",
    w_var: float = 2.0,
    b_var: float = 0.0,
    last_w_var: float = 1.0,
    last_b_var: float = 0.0,
    dtype: DTypeLike | None = None,
    parameterization: str = "ntk",
    width: int | None = None,
    out: tuple[Array, Array] | None = None,
    accum_dtype: DTypeLike | None = None,
) -> tuple[Array, Array]:
    """Compute both kernels in one pass.

    Parameters
    ----------
    X, Y, depth, activation, w_var, b_var, last_w_var, last_b_var, dtype, parameterization, width, accum_dtype
        As in :func:`ntk`.
    out : tuple of two ndarrays, optional
        Where to write K and T.

    Returns
    -------
    K, T : ndarray, shape (n, m)

    Notes
    -----
    Costs little more than the NTK alone.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import kernels
    >>> K, T = kernels.nngp_ntk(np.eye(2), np.ones((1, 2)), depth=2, activation="erf", b_var=0.1)
    >>> K.shape, T.shape
    ((2, 1), (2, 1))
    """
    net = make_network(depth, activation, w_var, b_var, last_w_var, last_b_var, parameterization, width)
    if out is not None and (not isinstance(out, tuple) or len(out) != 2):
        raise ValueError("out must be a tuple of two arrays (K, T)")
    K, T = _both(X, Y, net, dtype, True, True, (None, None) if out is None else out, accum_dtype)
    return K, T


def rkhs_sqdist(
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    depth: int,
    activation: Any = "relu",
    w_var: float = 2.0,
    b_var: float = 0.0,
    last_w_var: float = 1.0,
    last_b_var: float = 0.0,
    dtype: DTypeLike | None = None,
) -> Array:
    """Compute ``K(x, x) + K(y, y) - 2 K(x, y)`` of the NNGP kernel without cancellation.

    Parameters
    ----------
    X, Y, depth, activation, w_var, b_var, last_w_var, last_b_var, dtype
        As in :func:`nngp`.

    Returns
    -------
    ndarray, shape (n, m)
        Non-negative; exactly 0 for a point with itself. float32 inputs give float32, computed in float64.

    Notes
    -----
    A pair is carried as ``(alpha, beta, alpha - beta, alpha beta - c)``; each layer maps the last two
    to themselves by sums of non-negative terms, so that relative accuracy survives at any depth.
    Cost: O(d + depth) a pair, without BLAS; kinks away from zero cost milliseconds a pair.
    Activations without closed form keep 1e-13 after a hundred chaotic layers.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import kernels
    >>> x = np.array([[1.0, 1.0]])
    >>> D = kernels.rkhs_sqdist(x, x + [[0.0, 1e-8]], depth=10, activation="relu")
    >>> print(f"{D[0, 0]:.6e}")  # naive differences give 0 or noise of size 1e-16
    5.000000e-17
    """
    net = make_network(depth, activation, w_var, b_var, last_w_var, last_b_var)
    x, y = check_inputs(X, Y, dtype)
    symmetric = y is None
    other = x if y is None else y
    dx = diagonal(net, squares(x), largest_variance(x.dtype))
    dy = dx if symmetric else diagonal(net, squares(other), largest_variance(x.dtype))
    out = np.zeros((x.shape[0], other.shape[0]))
    spans = spanned(net, dx, dy, out.size)
    for i in range(x.shape[0]):
        cols = np.arange(i) if symmetric else np.arange(other.shape[0])
        if cols.size:
            rows = np.full(cols.size, i)
            out[i, cols] = _pairs.recompute(net, x, other, dx, dy, rows, cols, spans=spans)[2]
    if symmetric:
        out += out.T
    return out.astype(x.dtype)


def tiles(
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    depth: int,
    activation: Any = "relu",
    w_var: float = 2.0,
    b_var: float = 0.0,
    last_w_var: float = 1.0,
    last_b_var: float = 0.0,
    dtype: DTypeLike | None = None,
    parameterization: str = "ntk",
    width: int | None = None,
    get: str = "both",
    max_bytes: int = 1 << 25,
) -> Iterator[tuple[slice, slice, Array, Array | None]]:
    """Yield the kernels tile by tile, for matrices that should never exist as a whole.

    Parameters
    ----------
    X, Y, depth, activation, w_var, b_var, last_w_var, last_b_var, dtype, parameterization, width
        As in :func:`ntk`.
    get : {"both", "nngp"}
        Whether the NTK is wanted.
    max_bytes : int
        Budget in bytes for the arrays of one tile.

    Yields
    ------
    rows, cols : slice
    K : ndarray
    T : ndarray or None
        New arrays that the caller may keep. Without Y only tiles of the lower triangle come
        (diagonal tiles are whole): the transposes are the rest.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import kernels
    >>> X = np.random.default_rng(0).standard_normal((5, 2))
    >>> [K.shape for _, _, K, _ in kernels.tiles(X, X, depth=1, max_bytes=1000)]
    [(5, 5)]
    """
    net = make_network(depth, activation, w_var, b_var, last_w_var, last_b_var, parameterization, width)
    if get not in ("both", "nngp"):
        raise ValueError(f"get must be 'both' or 'nngp', got {get!r}")
    budget = check_int(max_bytes, "max_bytes", low=192)
    x, y = check_inputs(X, Y, dtype)
    target = x.dtype
    x, y = prepared(net, x, y, target)
    engine = Engine(net, x, y, get == "both")
    engine.check_tangent(target)
    parts = engine.tiles(max(1, math.isqrt(budget // (x.dtype.itemsize * 3))))
    if x.dtype == target:
        return parts
    return ((i, j, K.astype(target), None if T is None else T.astype(target)) for i, j, K, T in parts)


def from_stax_std(W_std: float, b_std: float = 0.0) -> dict[str, float]:
    """Convert standard deviations, as other libraries take them, to the variances used here.

    Examples
    --------
    >>> from theorylab.infinite_width import kernels
    >>> kernels.from_stax_std(1.5, 0.1)["w_var"]
    2.25
    """
    return {"w_var": float(W_std) ** 2, "b_var": float(b_std) ** 2}
