"""Dual activations: Gaussian expectations of an activation and of its derivative.

For a Gaussian pair with variances ``a``, ``b`` and covariance ``c``::

    D    = E[phi(u) phi(v)],      Ddot = E[phi'(u) phi'(v)] = dD / dc

Closed forms where they exist, otherwise quadrature that is exact to rounding for activations
with kinks too.

>>> import numpy as np
>>> from theorylab.infinite_width import duals
>>> D, Ddot = duals.dual_activation("relu", 1.0, 1.0, 0.5)
>>> round(float(D), 12), round(float(Ddot), 12)
(0.304498890522, 0.333333333333)
>>> D, Ddot = duals.dual_activation(np.tanh, 1.0, 1.0, 0.5)
>>> round(float(D), 12)
0.186324413203
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theorylab._lib.checks import as_float_array

from . import _quadrature
from ._activations import (
    BUILTIN,
    Activation,
    abrelu,
    by_quadrature,
    exp,
    gaussian,
    leaky_relu,
    monomial,
    polynomial,
    rbf,
    rectified_monomial,
    sign,
)

__all__ = [
    "Activation",
    "abrelu",
    "dual_activation",
    "exp",
    "gaussian",
    "get",
    "leaky_relu",
    "monomial",
    "names",
    "polynomial",
    "rbf",
    "rectified_monomial",
    "register",
    "sign",
]

Array = NDArray[Any]
Function = Callable[[Array], Array]

_ALIASES = {"identity": "linear", "swish": "silu", "Phi": "normal_cdf"}
_registered: dict[str, Activation] = {}
_wrapped: dict[Any, Activation] = {}


def names() -> list[str]:
    """Return the known names in alphabetical order."""
    return sorted({*BUILTIN, *_ALIASES, *_registered})


def get(activation: str | Callable[..., Any] | Activation) -> Activation:
    """Return the `Activation` for a name, an `Activation`, or a function of one array.

    A plain function is examined once for points where it is not smooth; name them
    with :func:`register` where this search would be too costly or fails.

    Raises
    ------
    ValueError
        For an unknown name (the message lists names close to it), or a function whose values are not
        finite numbers of its argument's shape.
    TypeError
        For anything else, among them functions that take no array.
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        name = _ALIASES.get(activation, activation)
        found = _registered.get(name) or BUILTIN.get(name)
        if found is not None:
            return found
        close = difflib.get_close_matches(activation, names(), n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(map(repr, close))}?" if close else f"known are {', '.join(names())}"
        raise ValueError(
            f"activation {activation!r} is unknown; {hint} A function or duals.register adds others."
        )
    if callable(activation):
        try:
            if activation in _wrapped:
                return _wrapped[activation]
        except TypeError as error:
            raise TypeError(f"activation must be hashable, got {activation!r}") from error
        try:
            value = np.asarray(activation(np.linspace(-3.0, 3.0, 7)))
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"activation {activation!r} takes no array ({error}), expected a function of a whole array; "
                f"write it with NumPy's functions, or wrap it by numpy.vectorize"
            ) from error
        if value.shape != (7,) or value.dtype.kind not in "fiu" or not np.all(np.isfinite(value)):
            raise ValueError(
                f"activation {activation!r} must map an array to finite real numbers of the same shape, "
                f"got shape {value.shape} for (7,)"
            )

        def fn(x: Array) -> Array:
            return np.asarray(activation(x), dtype=np.complex128 if np.iscomplexobj(x) else np.float64)

        declared = getattr(activation, "kinks", None)
        kinks = tuple(float(k) for k in declared) if declared is not None else _search_kinks(fn)
        name = getattr(activation, "__name__", type(activation).__name__)
        made = by_quadrature(name, fn, _quadrature.derivative(fn, kinks), kinks)
        if len(_wrapped) > 256:
            _wrapped.clear()
        _wrapped[activation] = made
        return made
    raise TypeError(
        f"activation must be a name, a function or an Activation, got {type(activation).__name__}"
    )


def _search_kinks(fn: Function) -> tuple[float, ...]:
    """Return the kinks that two searches find, for one on the border of two panels is hidden from each."""
    reach = 8.0 + 1.0 / math.pi  # its panels end where kinks are not
    other = np.array(_quadrature.find_kinks(fn, reach))
    inside = other[np.abs((other + reach) - np.round(other + reach)) > 1e-9]
    merged: list[float] = []
    for k in sorted({*_quadrature.find_kinks(fn), *inside.tolist()}):
        if not merged or k - merged[-1] > 1e-3:
            merged.append(k)
        elif k * 64.0 == round(k * 64.0):  # two estimates of one kink: the simple number
            merged[-1] = k
    return tuple(merged)


def register(
    name: str,
    *,
    dual: Callable[..., Any] | None = None,
    dual_dot: Callable[..., Any] | None = None,
    fn: Function | None = None,
    kinks: Sequence[float] = (),
) -> Activation:
    """Make an activation known under a name.

    Parameters
    ----------
    name : str
        A new name; built-in names are refused, a registered one is replaced.
    dual, dual_dot : callable, optional
        ``(a, b, c) -> D`` and ``(a, b, c) -> Ddot`` on arrays. Where either is missing
        both come from `fn` by quadrature.
    fn : callable, optional
        The activation itself; needed without `dual` and `dual_dot`, and by samplers.
    kinks : sequence of float
        Where `fn` or its derivative jumps.

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        If the name is built in, or neither both duals nor `fn` are given.
    TypeError
        If the name is no string, or a dual or `fn` no function.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import duals
    >>> act = duals.register("hard_tanh", fn=lambda x: np.clip(x, -1.0, 1.0), kinks=(-1.0, 1.0))
    >>> D, Ddot = duals.dual_activation("hard_tanh", 1.0, 1.0, 1.0)
    >>> round(float(D), 10)  # P(|x| > 1) + E[x^2; |x| < 1]
    0.516058551
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"name must be a non-empty string, got {name!r}")
    if name in BUILTIN or name in _ALIASES:
        raise ValueError(f"name {name!r} is built in; choose another name")
    for given, called in ((dual, "dual"), (dual_dot, "dual_dot"), (fn, "fn")):
        if not (given is None or callable(given)):
            raise TypeError(f"{called} must be a function of arrays, got {type(given).__name__}")
    points = tuple(
        sorted(np.atleast_1d(as_float_array(kinks, "kinks", ndim=(0, 1), dtype=np.float64)).tolist())
    )
    if dual is not None and dual_dot is not None:

        def form(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
            return np.asarray(dual(a, b, c)), np.asarray(dual_dot(a, b, c))

        def missing(x: Array) -> Array:
            raise ValueError(f"activation {name!r} was registered without fn, which this function needs")

        f = missing if fn is None else fn
        df = missing if fn is None else _quadrature.derivative(fn, points)
        made = Activation(name, form, f, df, points, closed=True, analytic=False)
    elif fn is not None:
        made = by_quadrature(name, fn, _quadrature.derivative(fn, points), points)
    else:
        raise ValueError("register needs fn, or both dual and dual_dot")
    _registered[name] = made
    return made


def _square_error(x: Array, y: Array, product: Array) -> Array:
    """Return ``x y - product`` exactly, for numbers near one (Veltkamp and Dekker)."""
    split = 134217729.0  # 2^27 + 1
    xh = split * x - (split * x - x)
    yh = split * y - (split * y - y)
    xl, yl = x - xh, y - yh
    return np.asarray(((xh * yh - product) + xh * yl + xl * yh) + xl * yl)


def halves(a: Array, b: Array, c: Array) -> tuple[Array, Array]:
    """Return ``(1 - rho) / 2`` and ``(1 + rho) / 2``, from ``a b - c^2`` in doubled precision.

    1/2 where a b = 0.
    """
    ma, ea = np.frexp(a)
    mb, eb = np.frexp(b)
    odd = (ea + eb) % 2
    ma, mc = np.ldexp(ma, odd), np.abs(np.ldexp(c, -((ea - odd + eb) // 2)))
    product, square = ma * mb, mc * mc
    det = np.maximum(
        (product - square) + (_square_error(ma, mb, product) - _square_error(mc, mc, square)), 0.0
    )
    usable = product > 0
    g = np.sqrt(np.where(usable, product, 1.0))
    large = 0.5 * (1.0 + mc / g)
    small = det / (4.0 * np.where(usable, product, 1.0) * large)
    z, y = np.where(c > 0, small, large), np.where(c > 0, large, small)
    z, y = np.where(usable, z, 0.5), np.where(usable, y, 0.5)
    return np.clip(z, 0.0, 1.0), np.clip(y, 0.0, 1.0)


def dual_activation(
    activation: str | Callable[..., Any] | Activation, a: ArrayLike, b: ArrayLike, c: ArrayLike
) -> tuple[Array, Array]:
    """Compute ``E[phi(u) phi(v)]`` and ``E[phi'(u) phi'(v)]`` for Gaussian pairs.

    Parameters
    ----------
    activation : str, callable or Activation
        A name (see :func:`names`), a function of one array, or a factory's result.
    a, b : array_like
        Variances of u and v, non-negative.
    c : array_like
        Covariance, ``c^2 <= a b``. The three broadcast.

    Returns
    -------
    D, Ddot : ndarray
        float64, of the broadcast shape.

    Raises
    ------
    ValueError
        For an unknown name, a negative variance, or ``c^2 > a b`` beyond rounding.
    OverflowError
        If D leaves the range of float64.

    Notes
    -----
    Closed forms cost a few dozen flops a pair; piecewise polynomials of degree two at most, and other
    functions at large variances, tens of microseconds. Other quadrature costs about 1e5 evaluations
    of the function a pair. Errors stay below 1e-13 relative to ``sqrt(D(a) D(b))``;
    Ddot of a function that takes no complex numbers keeps 1e-12.

    Examples
    --------
    >>> from theorylab.infinite_width import duals
    >>> D, Ddot = duals.dual_activation(duals.leaky_relu(0.1), 1.0, 2.0, 0.5)
    >>> D.shape
    ()
    """
    act = get(activation)
    a_, b_, c_ = (as_float_array(x, n, dtype=np.float64) for x, n in ((a, "a"), (b, "b"), (c, "c")))
    a_, b_, c_ = np.broadcast_arrays(a_, b_, c_)
    if np.any(a_ < 0) or np.any(b_ < 0):
        raise ValueError("a and b are variances and must not be negative")
    bound = np.sqrt(a_) * np.sqrt(b_)
    if np.any(np.abs(c_) > bound * (1.0 + 1e-9)):
        raise ValueError("c exceeds sqrt(a b) in magnitude: (a, b, c) is not a covariance")
    z, y = halves(a_, b_, c_)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        first, second = act.dual(a_, b_, c_, z, y)
    if not np.all(np.isfinite(first)):
        raise OverflowError(
            f"E[phi(u) phi(v)] of {act.name!r} leaves the range of float64 at variances up to "
            f"{max(float(a_.max()), float(b_.max())):.3g}: normalise the inputs or the activation"
        )
    shape = a_.shape
    return np.broadcast_to(first, shape).astype(np.float64)[()], np.broadcast_to(second, shape).astype(
        np.float64
    )[()]
