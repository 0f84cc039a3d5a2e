"""What finite precision does to the softmax, and two cures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .._lib.backend import namespace
from .._lib.checks import as_float_array, check_int


def _logits(z: ArrayLike, name: str, axis: int) -> tuple[Any, Any]:
    """Return array module and floating logits; float16 stays what it is."""
    xp = namespace(z)
    array = xp.asarray(z)
    axis = check_int(axis, "axis")
    if array.dtype != np.float16:
        array = as_float_array(z, name) if xp is np else array.astype(xp.result_type(array.dtype, xp.float32))
    elif not bool(xp.all(xp.isfinite(array))):
        raise ValueError(f"{name} contains NaN or infinity, expected finite numbers")
    if array.ndim == 0 or not -array.ndim <= axis < array.ndim:
        raise ValueError(f"axis = {axis} does not exist in {name} of shape {array.shape}")
    if array.shape[axis] == 0:
        raise ValueError(f"{name} has shape {array.shape}, expected at least one class along axis {axis}")
    return xp, array


def stablemax(z: ArrayLike, axis: int = -1) -> Any:
    """Map logits to probabilities with a rational function instead of the exponential.

    Parameters
    ----------
    z : array_like
        Logits.
    axis : int
        Axis of the classes.

    Returns
    -------
    ndarray
        ``s(z) / sum s(z)`` with ``s(x) = x + 1`` for x >= 0 and ``1 / (1 - x)`` below;
        equal to the softmax of ``sign(z) log(1 + |z|)``. Of the dtype of `z`.

    Raises
    ------
    ValueError
        For NaN, infinity, no class, or an axis that does not exist.

    References
    ----------
    L. Prieto, M. Barsbey, P. Mediano, T. Birdal, "Grokking at the edge of
    numerical stability", ICLR 2025.

    Examples
    --------
    >>> stablemax([3.0, 0.0, -2.0, 50.0]).round(8).tolist()
    [0.07100592, 0.01775148, 0.00591716, 0.90532544]
    """
    xp, x = _logits(z, "z", axis)
    size = xp.abs(x)
    # Both branches share 1 + |x|, so neither divides by zero; the largest goes first to keep sums finite.
    s = xp.where(x >= 0, size + 1, 1 / (size + 1))
    s = s / xp.max(s, axis=axis, keepdims=True)
    return (s / xp.sum(s, axis=axis, keepdims=True)).astype(x.dtype)


def log_stablemax(z: ArrayLike, axis: int = -1) -> Any:
    """Return the logarithm of :func:`stablemax`, without underflow.

    Parameters
    ----------
    z : array_like
    axis : int

    Returns
    -------
    ndarray
        Of the dtype of `z`.

    Examples
    --------
    >>> import numpy as np
    >>> bool(np.allclose(np.exp(log_stablemax([1.0, -4.0])), stablemax([1.0, -4.0])))
    True
    """
    xp, x = _logits(z, "z", axis)
    log_s = xp.sign(x) * xp.log1p(xp.abs(x))
    top = xp.max(log_s, axis=axis, keepdims=True)
    return (log_s - top - xp.log(xp.sum(xp.exp(log_s - top), axis=axis, keepdims=True))).astype(x.dtype)


def _check_labels(labels: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return class indices, one per row of logits."""
    index = np.asarray(labels)
    if index.dtype.kind not in "iu" and index.size:
        raise TypeError(f"labels has dtype {index.dtype}, expected integers")
    if index.shape != shape[:-1]:
        raise ValueError(f"labels has shape {index.shape}, expected {shape[:-1]} to match the logits")
    if index.size and (index.min() < 0 or index.max() >= shape[-1]):
        raise ValueError(f"labels must lie in 0 .. {shape[-1] - 1}, got {index.min()} .. {index.max()}")
    return index.astype(np.int64)


def stablemax_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean cross-entropy of stablemax probabilities.

    Parameters
    ----------
    logits : array_like, shape (..., K)
    labels : array_like of int, shape (...)

    Returns
    -------
    float
        ``-mean log p_label``; it falls like a power of the logits, so it never rounds to 0.

    Raises
    ------
    ValueError, TypeError
        For labels of another shape, out of range or not integers; for no sample.

    Examples
    --------
    >>> round(stablemax_cross_entropy([[3.0, 0.0, -2.0, 50.0]], [3]), 8)
    0.09946079
    """
    x = np.asarray(_logits(logits, "logits", -1)[1]).astype(np.float64)
    index = _check_labels(labels, x.shape)
    if index.size == 0:
        raise ValueError(f"logits has shape {x.shape}, expected at least one sample")
    log_s = np.sign(x) * np.log1p(np.abs(x))
    own = np.take_along_axis(log_s, index[..., None], axis=-1)[..., 0]
    np.put_along_axis(log_s, index[..., None], -np.inf, axis=-1)
    # log(1 + rest / own) keeps its digits where the own class has almost all of the mass.
    return float(np.mean(np.logaddexp(0.0, np.logaddexp.reduce(log_s, axis=-1) - own)))


def collapse_gap(dtype: DTypeLike, n_classes: int = 2) -> float:
    """Return the logit gap beyond which the softmax of a precision collapses.

    Parameters
    ----------
    dtype : float16, float32 or float64
    n_classes : int
        At least 2; all competitors are taken to be equal.

    Returns
    -------
    float
        ``-ln(eps / 2) + ln(n_classes - 1)``: from there on the sum of exponentials
        rounds to 1, the loss is exactly 0, and the right class has no gradient.

    Raises
    ------
    TypeError
        For a dtype that is not a floating one.

    Examples
    --------
    >>> [round(collapse_gap(t), 3) for t in ("float16", "float32", "float64")]
    [7.625, 16.636, 36.737]
    """
    kind = _precision(dtype)
    classes = check_int(n_classes, "n_classes", low=2)
    return -math.log(float(np.finfo(kind).eps) / 2.0) + math.log(classes - 1)


def _precision(dtype: DTypeLike) -> np.dtype[Any]:
    """Return a floating dtype."""
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be float16, float32 or float64, got {dtype!r}") from None
    if kind not in (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype must be float16, float32 or float64, got {kind}")
    return kind


def softmax_losses(logits: ArrayLike, labels: ArrayLike, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Return each sample's softmax cross-entropy, computed wholly in one precision.

    Parameters
    ----------
    logits : array_like, shape (..., K)
    labels : array_like of int, shape (...)
    dtype : float16, float32 or float64

    Returns
    -------
    ndarray, shape (...)
        Exactly 0 where the softmax has collapsed. Logits beyond the range of the
        precision count as its largest number.

    Examples
    --------
    >>> softmax_losses([[9.0, 0.0]], [0], "float16").tolist()
    [0.0]
    """
    kind = _precision(dtype)
    x = np.asarray(_logits(logits, "logits", -1)[1])
    index = _check_labels(labels, x.shape)
    with np.errstate(over="ignore", under="ignore"):
        z = np.clip(x, -np.finfo(kind).max, np.finfo(kind).max).astype(kind)
        z = z - z.max(axis=-1, keepdims=True)
        # The others are added in this precision, then the largest's 1 to them, as a careful kernel does.
        top = z.argmax(axis=-1)[..., None]
        others = np.exp(z)
        np.put_along_axis(others, top, kind.type(0), axis=-1)
        total = others.sum(axis=-1, dtype=kind) + kind.type(1)
    own = np.take_along_axis(z, index[..., None], axis=-1)[..., 0]
    return np.asarray(np.log(total) - own, dtype=kind)


def steps_to_collapse(
    logits: ArrayLike, labels: ArrayLike, dtype: DTypeLike = np.float32, growth: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Predict when the softmax of each sample collapses if the logits go on growing as they do.

    Parameters
    ----------
    logits : array_like, shape (n, K)
    labels : array_like of int, shape (n,)
    dtype : float16, float32 or float64
        Precision of the loss.
    growth : array_like, shape (n, K), optional
        Change of the logits per step. Default: the logits themselves, so that
        the answer plus 1 is the factor by which they must be scaled, the
        direction in which training without decay drifts.

    Returns
    -------
    ndarray, shape (n,)
        Steps (a real number, 0 where the sample has already collapsed, infinity
        where it never will): the first root of
        ``sum_{j != y} exp(-(gap_j + steps growth_j)) = eps / 2``. Costs 200 bisections.

    Raises
    ------
    ValueError, TypeError
        For shapes that differ and labels that do not fit.

    Examples
    --------
    >>> steps_to_collapse([[2.0, 0.0]], [0], "float16").round(3).tolist()
    [2.812]
    """
    kind = _precision(dtype)
    x = as_float_array(logits, "logits", ndim=2, dtype=np.float64)
    if x.shape[1] < 2:
        raise ValueError(f"logits has shape {x.shape}, expected at least two classes")
    index = _check_labels(labels, x.shape)
    slope = x if growth is None else as_float_array(growth, "growth", ndim=2, dtype=np.float64)
    if slope.shape != x.shape:
        raise ValueError(f"growth has shape {slope.shape}, expected {x.shape} to match logits")
    rows = np.arange(x.shape[0])[:, None]
    other = np.ones(x.shape, dtype=bool)
    other[rows[:, 0], index] = False
    gap = (x[rows, index[:, None]] - x)[other].reshape(x.shape[0], -1)
    speed = (slope[rows, index[:, None]] - slope)[other].reshape(x.shape[0], -1)
    goal = math.log(float(np.finfo(kind).eps) / 2.0)

    def excess(steps: NDArray[Any]) -> NDArray[Any]:
        value = -(gap + steps[:, None] * speed)
        top = value.max(axis=1)
        return np.asarray(top + np.log(np.exp(value - top[:, None]).sum(axis=1)) - goal)

    def falls(steps: NDArray[Any]) -> NDArray[Any]:
        value = -(gap + steps[:, None] * speed)
        return np.asarray((speed * np.exp(value - value.max(axis=1)[:, None])).sum(axis=1) > 0)

    slowest = np.where(speed > 0, speed, np.inf).min(axis=1, initial=np.inf)
    reach = np.where(
        np.isfinite(slowest), (np.abs(gap).max(axis=1, initial=0.0) - goal + 50.0) / slowest, 0.0
    )
    # The excess is convex: it falls up to its minimum, and has its first root before it or nowhere.
    bottom = _bisect(falls, reach)
    steps = _bisect(lambda s: excess(s) > 0, bottom)
    collapsed = excess(np.zeros(x.shape[0])) <= 0
    return np.where(collapsed, 0.0, np.where(excess(bottom) > 0, np.inf, steps))


def _bisect(before: Callable[[NDArray[Any]], NDArray[Any]], high: NDArray[Any]) -> NDArray[Any]:
    """Return where `before` turns false between 0 and `high`, elementwise, or `high` where it never does."""
    low = np.zeros_like(high)
    for _ in range(100):
        middle = 0.5 * (low + high)
        yes = before(middle)
        low, high = np.where(yes, middle, low), np.where(yes, high, middle)
    return high


def perp_grad(
    params: Sequence[ArrayLike], grads: Sequence[ArrayLike], rescale: bool = True
) -> list[NDArray[Any]]:
    """Remove from each gradient the part along its parameters, which only scales the logits.

    Parameters
    ----------
    params, grads : sequence of array_like
        One pair of equal shapes per tensor; CuPy arrays give CuPy arrays.
    rescale : bool
        Give each projected gradient its former norm, as the authors' code does.

    Returns
    -------
    list of ndarray
        ``g - (theta . g / theta . theta) theta``, of the dtype of the gradients; the
        caller's arrays stay as they are. Costs six passes over the parameters.

    Raises
    ------
    ValueError
        For different numbers of tensors, or shapes that differ.

    Examples
    --------
    >>> [g.tolist() for g in perp_grad([[1.0, 0.0]], [[3.0, 4.0]], rescale=False)]
    [[0.0, 4.0]]
    """
    for tensors, name in ((params, "params"), (grads, "grads")):
        if not hasattr(tensors, "__len__") or getattr(tensors, "ndim", 1) == 0:
            raise TypeError(f"{name} must be a sequence of arrays, got {type(tensors).__name__}")
    if len(params) != len(grads):
        raise ValueError(f"got {len(params)} params and {len(grads)} grads, expected equally many")
    if not isinstance(rescale, (bool, np.bool_)):
        raise TypeError(f"rescale must be True or False, got {rescale!r}")
    return [_perpendicular(theta, g, bool(rescale), k) for k, (theta, g) in enumerate(zip(params, grads))]


def _perpendicular(theta: ArrayLike, g: ArrayLike, rescale: bool, k: int) -> Any:
    """Project one gradient."""
    xp = namespace(theta, g)
    if xp is np:
        t, grad = as_float_array(theta, f"params[{k}]"), as_float_array(g, f"grads[{k}]")
    else:
        t, grad = xp.asarray(theta), xp.asarray(g)
    if t.shape != grad.shape:
        raise ValueError(f"grads[{k}] has shape {grad.shape}, expected {t.shape} to match params[{k}]")
    if xp is np:
        from ._kernels import perpendicular, unit

        out = np.empty_like(grad)
        rows = t.reshape(-1), grad.reshape(-1), out.reshape(-1)
        if not perpendicular(*rows, rescale, 1.0, 1.0):  # zeros, or squares that overflow or vanish
            units = unit(t), unit(grad)
            if 0.0 in units:
                out[...] = grad
            else:
                perpendicular(*rows, rescale, *units)
        return out
    flat_t, flat = t.reshape(-1).astype(xp.float64), grad.reshape(-1).astype(xp.float64)
    tiny = 1e-30
    kept = flat - (flat_t @ flat) / (flat_t @ flat_t + tiny) * flat_t
    size, rest = xp.sqrt(flat @ flat), xp.sqrt(kept @ kept)
    if rescale:
        kept = kept * (size / (rest + tiny))
    kept = xp.where(rest > 1e-14 * size, kept, 0.0)
    return kept.reshape(grad.shape).astype(grad.dtype)
