"""What is trained, and on what: networks and tasks as frozen, validated descriptions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lib.checks import check_int, check_real

Function = Callable[[NDArray[Any]], Any]


def _check_width(width: Any, *, infinite: bool) -> int | float:
    """Return a positive int, or ``inf`` where that is allowed."""
    if isinstance(width, (float, np.floating)) and math.isinf(width):
        if infinite and width > 0:
            return math.inf
        raise ValueError(f"width must be a positive integer for this network, got {width}")
    return check_int(width, "width", low=1)


def _check_alpha(alpha: Any) -> float:
    """Return the output scale, which must not vanish, since the step divides by it."""
    value = check_real(alpha, "alpha")
    if value == 0.0:
        raise ValueError("alpha must not be 0, because the step of the weights is proportional to 1/alpha")
    return value


def _check_signs(signs: Any, width: int | float) -> tuple[int, ...] | None:
    """Return the readout signs as a tuple of +1 and -1."""
    if signs is None:
        return None
    if math.isinf(width):
        raise ValueError("signs need a finite width: all readout signs of the infinite network are +1")
    if isinstance(signs, (str, bytes)) or not isinstance(signs, (Iterable, np.ndarray)):
        raise TypeError(f"signs must be a sequence of +1 and -1, got {type(signs).__name__}")
    values = np.asarray(signs)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"signs must hold the numbers +1 and -1, got dtype {values.dtype}")
    if values.shape != (width,):
        raise ValueError(f"signs has shape {values.shape}, expected ({width},) to match the width")
    if not np.all(np.abs(values) == 1):
        raise ValueError(f"signs must be +1 or -1, got {values.tolist()}")
    return tuple(int(v) for v in values)


def _check_flag(value: Any, name: str) -> bool:
    """Return a Python bool; anything but a bool is refused."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def _check_callable(value: Any, name: str) -> None:
    """Refuse what cannot be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function of an array, got {type(value).__name__}")


@dataclass(frozen=True)
class QuadraticNetwork:
    """Describe a two-layer network with activation ``phi(h) = h + eps h^2 / 2``.

    The output is ``f(x) = (alpha / N) sum_i a_i phi(w_i . x)``; only the hidden
    weights ``w_i`` are trained.

    Parameters
    ----------
    width : int or inf
        Number N of hidden neurons.
    alpha : float
        Output scale, not 0. Large: lazy training (a kernel method); small: rich.
    eps : float
        Curvature of the activation, the alignment of the initial kernel with a
        quadratic target. Zero gives a linear network.
    signs : sequence of +1 and -1, optional
        Readout weights ``a_i`` of a finite network. Default: all +1.
    center : bool
        Train ``f - f(t=0)`` instead of f, which removes the initial output.

    Raises
    ------
    ValueError
        For a width below 1, alpha = 0, signs of another length or other values,
        or signs together with an infinite width.
    TypeError
        For arguments of another kind.

    Examples
    --------
    >>> QuadraticNetwork(2, alpha=1.0, eps=0.5).width
    2
    """

    width: int | float
    alpha: float
    eps: float
    signs: tuple[int, ...] | None = None
    center: bool = False

    def __post_init__(self) -> None:
        width = _check_width(self.width, infinite=True)
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "alpha", _check_alpha(self.alpha))
        object.__setattr__(self, "eps", check_real(self.eps, "eps"))
        object.__setattr__(self, "signs", _check_signs(self.signs, width))
        object.__setattr__(self, "center", _check_flag(self.center, "center"))

    def phi(self, h: NDArray[Any]) -> NDArray[Any]:
        """Return the activation, elementwise."""
        return h * (1.0 + 0.5 * self.eps * h)

    def dphi(self, h: NDArray[Any]) -> NDArray[Any]:
        """Return the derivative of the activation."""
        return 1.0 + self.eps * h

    def d2phi(self, h: NDArray[Any]) -> NDArray[Any]:
        """Return the second derivative of the activation."""
        return np.full_like(h, self.eps)


@dataclass(frozen=True)
class SmoothNetwork:
    """Describe a two-layer network of finite width with any twice differentiable activation.

    Parameters
    ----------
    width : int
        Number N of hidden neurons.
    alpha : float
        Output scale, not 0.
    phi, dphi, d2phi : callable
        The activation and its first two derivatives, elementwise on arrays;
        NumPy expressions or compiled functions alike.
    signs : sequence of +1 and -1, optional
    center : bool

    Raises
    ------
    ValueError, TypeError
        As :class:`QuadraticNetwork`; an infinite width is refused, since the
        bulk of infinitely many neurons closes for affine ``phi'`` only.

    Examples
    --------
    >>> import numpy as np
    >>> net = SmoothNetwork(2, 1.0, np.tanh, lambda h: 1 / np.cosh(h) ** 2,
    ...                     lambda h: -2 * np.tanh(h) / np.cosh(h) ** 2)
    >>> net.center
    False
    """

    width: int
    alpha: float
    phi: Function
    dphi: Function
    d2phi: Function
    signs: tuple[int, ...] | None = None
    center: bool = False

    def __post_init__(self) -> None:
        width = _check_width(self.width, infinite=False)
        object.__setattr__(self, "width", width)
        object.__setattr__(self, "alpha", _check_alpha(self.alpha))
        for name in ("phi", "dphi", "d2phi"):
            _check_callable(getattr(self, name), name)
        object.__setattr__(self, "signs", _check_signs(self.signs, width))
        object.__setattr__(self, "center", _check_flag(self.center, "center"))


@dataclass(frozen=True)
class PolynomialTask:
    """Describe the task ``y = (u^2 - offset) / 2 + noise n`` with ``u = beta . x`` and standard normal n.

    Parameters
    ----------
    nu : float
        Samples per input dimension, ``P / D > 0``.
    noise : float
        Standard deviation of the label noise of the training data. Test losses
        are those against the clean target.
    offset : float
        1 gives the centred Hermite target.

    Raises
    ------
    ValueError
        For nu <= 0, a negative noise, or numbers that are not finite.

    Examples
    --------
    >>> float(PolynomialTask(nu=2.0, offset=1.0).target(3.0))
    4.0
    """

    nu: float
    noise: float = 0.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "nu", check_real(self.nu, "nu", low=0.0, open_low=True))
        object.__setattr__(self, "noise", check_real(self.noise, "noise", low=0.0))
        object.__setattr__(self, "offset", check_real(self.offset, "offset"))

    def target(self, u: Any) -> Any:
        """Return the clean target at ``u = beta . x``."""
        return 0.5 * np.square(u) - 0.5 * self.offset

    def dtarget(self, u: Any) -> Any:
        """Return the derivative of the target."""
        return np.asarray(u, dtype=float) * 1.0


@dataclass(frozen=True)
class SmoothTask:
    """Describe the task ``y = target(beta . x) + noise n`` for any differentiable target.

    Parameters
    ----------
    nu : float
        Samples per input dimension, ``P / D > 0``.
    target, dtarget : callable
        The target of the projection u and its derivative, elementwise on arrays.
    noise : float

    Examples
    --------
    >>> import numpy as np
    >>> SmoothTask(4.0, np.sin, np.cos).noise
    0.0
    """

    nu: float
    target: Function
    dtarget: Function
    noise: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "nu", check_real(self.nu, "nu", low=0.0, open_low=True))
        object.__setattr__(self, "noise", check_real(self.noise, "noise", low=0.0))
        for name in ("target", "dtarget"):
            _check_callable(getattr(self, name), name)


Network = QuadraticNetwork | SmoothNetwork
Task = PolynomialTask | SmoothTask


def check_problem(spec: Any, prob: Any) -> None:
    """Refuse what is neither a network nor a task of this package."""
    if not isinstance(spec, (QuadraticNetwork, SmoothNetwork)):
        raise TypeError(f"spec must be a QuadraticNetwork or a SmoothNetwork, got {type(spec).__name__}")
    if not isinstance(prob, (PolynomialTask, SmoothTask)):
        raise TypeError(f"prob must be a PolynomialTask or a SmoothTask, got {type(prob).__name__}")


def sign_array(spec: Network) -> NDArray[np.float64]:
    """Return the readout signs of a finite network, shape (N,)."""
    if spec.signs is None:
        return np.ones(int(spec.width))
    return np.asarray(spec.signs, dtype=np.float64)


def apply(function: Function, x: NDArray[Any], name: str) -> NDArray[np.float64]:
    """Evaluate a user's elementwise function and check the shape of what comes back."""
    value = np.asarray(function(x), dtype=np.float64)
    if value.shape != x.shape:
        value = np.array(np.broadcast_to(value, x.shape)) if value.ndim == 0 else value
    if value.shape != x.shape:
        raise ValueError(
            f"{name} returned shape {value.shape} for an array of shape {x.shape}; expected the same"
        )
    return value
