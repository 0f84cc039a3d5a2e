"""Activations with their duals: closed forms, factories, and quadrature for the others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from theorylab._lib.checks import as_float_array, check_int, check_real

from . import _closed, _direct, _quadrature

__all__ = [
    "BUILTIN",
    "Activation",
    "abrelu",
    "by_quadrature",
    "exp",
    "gaussian",
    "leaky_relu",
    "monomial",
    "polynomial",
    "rbf",
    "rectified_monomial",
    "sign",
]

Array = NDArray[Any]
Function = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Activation:
    """An activation together with its duals; made by the factories of this module.

    Attributes
    ----------
    name : str
    dual : callable
        ``(a, b, c, z, y) -> (D, Ddot)`` with ``z, y = (1 -+ rho) / 2``.
    fn, dfn : callable
        The activation and its derivative on arrays.
    kinks : tuple of float
        Where the activation or its derivative jumps.
    degree : int or None
        Degree of positive homogeneity.
    family : tuple or None
        What the fused kernels know: ``("slopes", left, right)`` or ``("erf", scale, gain, shift)``.
    closed : bool
        Whether the dual is a closed form (else quadrature).
    analytic : bool
        Whether the dual accepts complex arguments, hence exact derivatives.
    gap : callable or None
        ``(alpha, beta, z) -> D(alpha beta) - D(c)`` from standard deviations, where one quadrature gives it.
    radial : callable or None
        ``(alpha, beta, alpha - beta) -> E[F^2 - G^2], E[(F - G)^2]``, ``F, G = phi(alpha x), phi(beta x)``,
        where kinks need a rule of their own.
    reach : callable or None
        ``() -> r``: pairs whose standard deviations times ``sin theta`` exceed r cost little by quadrature.
    """

    name: str
    dual: _closed.Dual
    fn: Function
    dfn: Function
    kinks: tuple[float, ...] = ()
    degree: int | None = None
    family: tuple[Any, ...] | None = None
    closed: bool = True
    analytic: bool = True
    gap: Callable[[Array, Array, Array], Array] | None = None
    radial: Callable[[Array, Array, Array], tuple[Array, Array]] | None = None
    reach: Callable[[], float] | None = None

    def __repr__(self) -> str:
        return f"<activation {self.name}>"

    def moments(self, q: Array) -> tuple[Array, Array]:
        """Return ``E[phi(sqrt(q) x)^2]`` and ``E[phi'(sqrt(q) x)^2]`` for an array of variances."""
        q = np.asarray(q, dtype=np.float64)
        if self.closed:
            zero = np.zeros_like(q)
            first, second = self.dual(q, q, q, zero, zero + 1.0)
            return np.asarray(first), np.asarray(second)
        flat = np.ravel(q)
        values, where = np.unique(flat, return_inverse=True)
        first = _quadrature.gauss_moment(lambda x: self.fn(x) ** 2, values, self.kinks)
        second = _quadrature.gauss_moment(lambda x: self.dfn(x) ** 2, values, self.kinks)
        return first[where].reshape(q.shape), second[where].reshape(q.shape)


def by_quadrature(name: str, fn: Function, dfn: Function, kinks: tuple[float, ...] = ()) -> Activation:
    """Return an activation whose dual is computed by quadrature."""
    rule = _direct.rule(fn, dfn, kinks)
    return Activation(
        name,
        rule.dual,
        fn,
        rule.dfn,
        rule.kinks,
        closed=False,
        analytic=False,
        gap=rule.gap,
        radial=rule.radial,
        reach=rule.reach,
    )


def _slopes(name: str, al: float, be: float) -> Activation:
    return Activation(
        name,
        _closed.slopes(al, be),
        lambda x: np.where(x > 0, be * x, al * x),
        lambda x: np.where(x > 0, be, al) + 0.0 * x,
        kinks=(0.0,) if al != be else (),
        degree=1,
        family=("slopes", float(al), float(be)),
        analytic=False,
    )


def _erf(name: str, scale: float, gain: float, shift: float) -> Activation:
    return Activation(
        name,
        _closed.scaled_erf(scale, gain, shift),
        lambda x: gain * special.erf(scale * x) + shift,
        lambda x: gain * scale * 2.0 / math.sqrt(math.pi) * np.exp(-((scale * x) ** 2)),
        family=("erf", scale, gain, shift),
    )


def leaky_relu(al: float = 0.01) -> Activation:
    """Return ``max(x, al x)``: slope `al` on the left of zero, 1 on the right."""
    al = check_real(al, "al")
    return _slopes(f"leaky_relu({al:g})", al, 1.0)


def abrelu(neg: float, pos: float) -> Activation:
    """Return the activation with slope `neg` for x < 0 and `pos` for x > 0; ``abrelu(-1, 1)`` is abs."""
    neg, pos = check_real(neg, "neg"), check_real(pos, "pos")
    return _slopes(f"abrelu({neg:g}, {pos:g})", neg, pos)


def gaussian(g: float = 1.0) -> Activation:
    """Return ``exp(-g x^2)``, g >= 0."""
    g = check_real(g, "g", low=0.0)
    return Activation(
        f"gaussian({g:g})",
        _closed.gaussian(g),
        lambda x: np.exp(-g * x * x),
        lambda x: -2.0 * g * x * np.exp(-g * x * x),
    )


def exp(A: float = 1.0, B: float = 1.0) -> Activation:
    """Return ``A exp(B x)``."""
    A, B = check_real(A, "A"), check_real(B, "B")
    return Activation(
        f"exp({A:g}, {B:g})",
        _closed.exponential(A, B),
        lambda x: A * np.exp(B * x),
        lambda x: A * B * np.exp(B * x),
    )


def rbf(g: float = 1.0) -> Activation:
    """Return ``sqrt(2) sin(sqrt(2 g) x + pi / 4)``, whose dual is the kernel ``exp(-g (a + b - 2 c))``."""
    g = check_real(g, "g", low=0.0)
    rate = math.sqrt(2.0 * g)
    return Activation(
        f"rbf({g:g})",
        _closed.fourier(g),
        lambda x: math.sqrt(2.0) * np.sin(rate * x + math.pi / 4),
        lambda x: math.sqrt(2.0) * rate * np.cos(rate * x + math.pi / 4),
    )


def polynomial(coef: ArrayLike) -> Activation:
    """Return ``sum_k coef[k] x^k``, lowest degree first."""
    p = as_float_array(coef, "coef", ndim=1, dtype=np.float64)
    if p.size == 0:
        raise ValueError("coef is empty, expected at least one coefficient")
    only = np.flatnonzero(p)
    poly = np.polynomial.Polynomial(p)
    slope = poly.deriv()
    return Activation(
        f"polynomial({', '.join(f'{x:g}' for x in p)})",
        _closed.polynomial(p.tolist()),
        lambda x: poly(x),
        lambda x: slope(x),
        degree=int(only[0]) if only.size == 1 else None,
    )


def monomial(k: int) -> Activation:
    """Return ``x^k``, k >= 0."""
    k = check_int(k, "k", low=0)
    return polynomial(np.eye(k + 1)[k])


def rectified_monomial(k: int) -> Activation:
    """Return ``max(x, 0)^k``, k >= 0 (step, ReLU, squared ReLU, ...)."""
    k = check_int(k, "k", low=0)
    if k == 1:
        return _slopes("rectified_monomial(1)", 0.0, 1.0)
    dual: _closed.Dual = _closed.step if k == 0 else _closed.rectified_monomial(k)
    return Activation(
        f"rectified_monomial({k})",
        dual,
        lambda x: np.where(x > 0, x, 0.0) ** k if k else np.where(x > 0, 1.0, 0.0),
        lambda x: k * np.where(x > 0, x, 0.0) ** (k - 1) if k else 0.0 * x,
        kinks=(0.0,),
        degree=k,
        analytic=False,
    )


def sign(distributional: bool = False) -> Activation:
    """Return ``sign(x)``, whose Ddot is zero, or with `distributional` that of the derivative ``2 delta(x)``.

    The latter is ``2 / (pi sqrt(a b - c^2))``, infinite for parallel points.
    """

    def dual(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
        value, _ = _closed.sign(a, b, c, z, y)
        with np.errstate(divide="ignore"):
            return value, 1.0 / (math.pi * _closed.geometric_mean(a, b) * np.sqrt(z * y))

    form = dual if distributional else _closed.sign
    name = "distributional sign" if distributional else "sign"
    return Activation(name, form, np.sign, lambda x: 0.0 * x, kinks=(0.0,), degree=0, analytic=False)


def _selu(lam: float, alpha: float) -> tuple[Function, Function]:
    def fn(x: Array) -> Array:
        return np.asarray(lam * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0))))

    def dfn(x: Array) -> Array:
        return np.asarray(lam * np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0.0))))

    return fn, dfn


def _softplus(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))))


def _mish_slope(x: Array) -> Array:
    t = np.tanh(_softplus(x))
    return np.asarray(t + x * (1.0 - t * t) * special.expit(x))


def _silu_slope(x: Array) -> Array:
    s = special.expit(x)
    return np.asarray(s * (1.0 + x * (1.0 - s)))


def _simple(name: str, dual: _closed.Dual, fn: Function, dfn: Function, **options: Any) -> Activation:
    return Activation(name, dual, fn, dfn, **options)


_ROOT = 1.0 / math.sqrt(2.0)
BUILTIN: dict[str, Activation] = {
    act.name: act
    for act in (
        _slopes("relu", 0.0, 1.0),
        _slopes("abs", -1.0, 1.0),
        _slopes("leaky_relu", 0.01, 1.0),
        _simple("linear", _closed.linear, lambda x: x, np.ones_like, degree=1),
        _simple(
            "step",
            _closed.step,
            lambda x: np.where(x > 0, 1.0, 0.0),
            lambda x: 0.0 * x,
            kinks=(0.0,),
            degree=0,
            analytic=False,
        ),
        sign(),
        _erf("erf", 1.0, 1.0, 0.0),
        _erf("normal_cdf", _ROOT, 0.5, 0.5),
        _erf("sigmoid_like", _closed.SIGMOID_SCALE, 0.5, 0.5),
        _simple(
            "gelu",
            _closed.gelu,
            lambda x: x * special.ndtr(x),
            lambda x: special.ndtr(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi),
        ),
        _simple("sin", _closed.sine, np.sin, np.cos),
        _simple("cos", _closed.cosine, np.cos, lambda x: -np.sin(x)),
        _simple(
            "gabor",
            _closed.gabor,
            lambda x: np.exp(-x * x) * np.sin(x),
            lambda x: np.exp(-x * x) * (np.cos(x) - 2.0 * x * np.sin(x)),
        ),
        by_quadrature("tanh", np.tanh, lambda x: 1.0 - np.tanh(x) ** 2),
        by_quadrature("silu", lambda x: x * special.expit(x), _silu_slope),
        by_quadrature("softplus", _softplus, special.expit),
        by_quadrature("elu", *_selu(1.0, 1.0), kinks=(0.0,)),
        by_quadrature("selu", *_selu(1.0507009873554805, 1.6732632423543772), kinks=(0.0,)),
        by_quadrature("mish", lambda x: x * np.tanh(_softplus(x)), _mish_slope),
        by_quadrature(
            "softsign", lambda x: x / (1.0 + np.abs(x)), lambda x: (1.0 + np.abs(x)) ** -2.0, kinks=(0.0,)
        ),
    )
}
