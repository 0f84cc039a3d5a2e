"""Closed forms of ``D = E[phi(u) phi(v)]`` and ``Ddot = E[phi'(u) phi'(v)]`` for Gaussian pairs.

Every function takes ``(a, b, c, z, y)``: the variances, the covariance, and
``z = (1 - rho) / 2``, ``y = (1 + rho) / 2``. The redundant pair ``(z, y)`` carries the
digits that ``rho`` loses near plus or minus one; ``a b - c^2 = 4 a b z y`` exactly.
All smooth forms also accept complex arguments, from which exact partial
derivatives follow by a complex step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Dual = Callable[[Array, Array, Array, Array, Array], tuple[Array, Array]]

SIGMOID_SCALE = 1.0 / 2.4020563531719796

# sin(t) - t cos(t) = sum_k (-1)^(k+1) 2k t^(2k+1) / (2k+1)!, eight terms below t = 0.5 leave 1e-19.
_SINC_SERIES = [(-1) ** (k + 1) * 2 * k / math.factorial(2 * k + 1) for k in range(1, 9)]


def sin_minus_tcos(t: Array) -> Array:
    """Return ``sin t - t cos t`` without cancellation at small `t`."""
    t = np.asarray(t)
    direct = np.sin(t) - t * np.cos(t)
    small = np.abs(t) < 0.5
    if not small.any():
        return np.asarray(direct)
    square = t * t
    series = np.zeros_like(square)
    for coefficient in reversed(_SINC_SERIES):
        series = series * square + coefficient
    return np.asarray(np.where(small, series * square * t, direct))


def angle(z: Array, y: Array) -> tuple[Array, Array]:
    """Return ``theta = arccos rho`` and ``pi - theta``, both to full relative accuracy."""
    theta: Array = 2.0 * np.arctan2(np.sqrt(z), np.sqrt(y))
    other: Array = 2.0 * np.arctan2(np.sqrt(y), np.sqrt(z))
    return theta, other


def arccosine(z: Array, y: Array) -> tuple[Array, Array]:
    """Return ``kappa_1(rho)`` and ``kappa_0(rho)`` of the rectifier, normalised to 1 at ``rho = 1``."""
    if not np.any(z):  # points with themselves, as along the diagonal
        one = np.ones(np.shape(z))
        return one, one
    theta, other = angle(z, y)
    near = z <= 0.5
    rest = sin_minus_tcos(np.where(near, theta, other)) / math.pi
    return np.where(near, 1.0 - 2.0 * z + rest, rest), other / math.pi


def geometric_mean(a: Array, b: Array) -> Array:
    """Return ``sqrt(a b)``, also where the product leaves the floating range."""
    with np.errstate(over="ignore", under="ignore"):
        product = a * b
        usual = (product > 1e-290) & (product < 1e290)
        root = np.sqrt(product)
        return root if usual.all() else np.where(usual, root, np.sqrt(a) * np.sqrt(b))


def slopes(al: float, be: float) -> Dual:
    """Slope `al` on the left and `be` on the right of zero."""

    def dual(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
        k1, k0 = arccosine(z, y)
        square, product = 0.5 * (be - al) ** 2, al * be
        return square * geometric_mean(a, b) * k1 + product * c, square * k0 + product

    return dual


def linear(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
    """The identity."""
    return c + 0.0 * (a + b), np.ones_like(c + a + b)


def sign(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
    """``sign(x)``; its derivative is zero almost everywhere."""
    theta, other = angle(z, y)
    return np.where((a > 0) & (b > 0), (other - theta) / math.pi, 0.0), np.zeros_like(c + a + b)


def step(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
    """``1[x > 0]``; its derivative is zero almost everywhere."""
    return np.where((a > 0) & (b > 0), angle(z, y)[1] / (2.0 * math.pi), 0.0), np.zeros_like(c + a + b)


def rectified_monomial(k: int) -> Dual:
    """``max(x, 0)^k`` for k >= 2, by integration by parts from k = 0 and 1."""

    def table(a: Array, b: Array, c: Array, z: Array, y: Array, top: int) -> Array:
        # M[i, j] = E[u_+^i v_+^j]; boundary terms are half-normal moments of v given u = 0.
        swap = {0: (b, a), 1: (a, b)}
        values: dict[tuple[int, int], Array] = {}
        root = np.sqrt(a * b)
        k1, k0 = arccosine(z, y)

        def boundary(side: int, j: int) -> Array:
            """``var(x) E[delta(x) w_+^j]`` with x the variable of this side."""
            var, other = swap[1] if side else swap[0]
            spread = other * 4.0 * z * y
            half = 0.5 * 2 ** (j / 2) * math.gamma((j + 1) / 2) / math.sqrt(math.pi)
            return np.sqrt(var / (2.0 * math.pi)) * half * spread ** (j / 2)

        def moment(i: int, j: int) -> Array:
            if (i, j) in values:
                return values[i, j]
            if (i, j) == (0, 0):
                out = k0 / 2.0
            elif (i, j) == (1, 1):
                out = root * k1 / 2.0
            elif i >= 1:
                var_v = c if j else np.zeros_like(c)
                out = j * var_v * moment(i - 1, j - 1) if j else np.zeros_like(c + a)
                if j == 0:  # the step of v contributes c E[u_+^(i-1) delta(v)]
                    out = out + c / b * boundary(0, i - 1)
                out = out + (a * (i - 1) * moment(i - 2, j) if i >= 2 else boundary(1, j))
            else:  # i == 0, j >= 1
                out = c / a * boundary(1, j - 1)
                out = out + (b * (j - 1) * moment(0, j - 2) if j >= 2 else boundary(0, 0))
            values[i, j] = out
            return out

        return moment(top, top)

    def dual(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
        if k == 2:
            _, other = angle(z, y)
            sine, cosine = 2.0 * np.sqrt(z * y), y - z
            root = geometric_mean(a, b)
            series = other * (1.0 + 2.0 * cosine**2) + 3.0 * sine * cosine
            k1, _ = arccosine(z, y)
            return np.where(series == 0, 0.0, root**2) * series / (2.0 * math.pi), 2.0 * root * k1
        # homogeneous of degree k: the moments at unit variances do not overflow
        g, one, rho = geometric_mean(a, b), np.ones_like(a + b + c), y - z + 0.0 * c
        value, slope = table(one, one, rho, z, y, k), k * k * table(one, one, rho, z, y, k - 1)
        # opposite points have nothing in common, also where the power overflows
        return np.where(value == 0, 0.0, g**k) * value, np.where(slope == 0, 0.0, g ** (k - 1)) * slope

    return dual


def unit_of(a: Array, b: Array) -> Any:
    """Return ``sqrt(a b)`` where the product would overflow, else 1: what to divide numbers by."""
    left, right = np.sqrt(np.abs(np.real(a))), np.sqrt(np.abs(np.real(b)))
    if float(left.max(initial=0.0)) * float(right.max(initial=0.0)) <= 1e140:
        return 1.0
    g = left * right
    return np.where(g > 1e140, g, 1.0)


def scaled_erf(scale: float, gain: float, shift: float) -> Dual:
    """``gain * erf(scale * x) + shift``; the cross term vanishes since erf is odd."""
    s2 = scale * scale

    def dual(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
        a, b, c = s2 * a, s2 * b, s2 * c
        u = unit_of(a, b)
        root = np.sqrt((1.0 + 2.0 * (a + b)) / u / u + 16.0 * (a / u) * (b / u) * z * y)
        value = (2.0 / math.pi) * np.arctan(2.0 * (c / u) / root)
        return gain * gain * value + shift * shift, (4.0 / math.pi) * s2 * gain * gain / root / u

    return dual


def gelu(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
    """``x Phi(x)``."""
    u = unit_of(a, b)
    det = 4.0 * (a / u) * (b / u) * z * y
    d0 = (1.0 + a + b) / u / u + det
    root, cu = np.sqrt(d0), c / u
    q = 0.25 + np.arctan(cu / root) / (2.0 * math.pi)
    h = cu * (1.0 / (1.0 + a) + 1.0 / (1.0 + b))
    value = c * q + u * (det + cu * h) / (2.0 * math.pi * root)
    return value, q + (h + cu / u / u / d0) / (2.0 * math.pi * root)


def _exponents(a: Array, b: Array, z: Array, y: Array) -> tuple[Array, Array]:
    """Return ``exp(c - m)`` and ``exp(-c - m)`` with ``m = (a + b) / 2``, both without cancellation."""
    left, right = np.sqrt(a), np.sqrt(b)
    half, g = 0.5 * (left - right) ** 2, 2.0 * left * right
    return np.exp(-half - g * z), np.exp(-half - g * y)


def _odd(a: Array, b: Array, c: Array, plus: Array, minus: Array) -> Array:
    """Return half the difference, by the hyperbolic sine where it would cancel."""
    small = np.abs(c) < 1.0
    direct = np.exp(-0.5 * (a + b)) * np.sinh(np.where(small, c, 0.0))
    return np.asarray(np.where(small, direct, 0.5 * (plus - minus)))


def sine(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
    """``sin x``."""
    plus, minus = _exponents(a, b, z, y)
    return _odd(a, b, c, plus, minus), 0.5 * (plus + minus)


def cosine(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
    """``cos x``."""
    plus, minus = _exponents(a, b, z, y)
    return 0.5 * (plus + minus), _odd(a, b, c, plus, minus)


def exponential(amplitude: float, rate: float) -> Dual:
    """``A exp(B x)``."""

    def dual(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
        value = amplitude**2 * np.exp(rate**2 * (0.5 * (a + b) + c))
        return value, rate**2 * value

    return dual


def gaussian(g: float) -> Dual:
    """``exp(-g x^2)``."""

    def dual(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
        u = unit_of(a, b)
        delta = (1.0 + 2.0 * g * (a + b)) / u / u + 16.0 * g * g * (a / u) * (b / u) * z * y
        value = 1.0 / np.sqrt(delta) / u
        return value, 4.0 * g * g * (c / u) * value / delta / u

    return dual


def fourier(g: float) -> Dual:
    """``sqrt(2) sin(sqrt(2 g) x + pi / 4)``: random Fourier features of the kernel ``exp(-g |x - y|^2)``."""

    def dual(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
        gap = (np.sqrt(a) - np.sqrt(b)) ** 2 + 4.0 * np.sqrt(a) * np.sqrt(b) * z
        value = np.exp(-g * gap)
        return value, 2.0 * g * value

    return dual


def gabor(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
    """``exp(-x^2) sin x``; the derivative follows from Price's theorem, ``Ddot = dD / dc``."""
    u = unit_of(a, b)
    half = (a + b) / u / u
    n = half + 16.0 * (a / u) * (b / u) * z * y
    delta = 1.0 / u / u + half + n
    del half  # large arrays: what is not needed any more goes
    outer = np.exp(-0.5 * n / delta) / np.sqrt(delta) / u
    r, cu = c / u / u / delta, c / u
    sh = np.sinh(r)
    slope = np.cosh(r) * (1.0 / u + 8.0 * cu * r) / (delta * u)
    slope = slope + sh * 4.0 * r * (1.0 + (delta - n) / delta)
    return outer * sh, outer * slope


def polynomial(coefficients: Sequence[float]) -> Dual:
    """``sum_k p_k x^k`` with moments by Stein's recursion."""
    p = [float(x) for x in coefficients]
    dp = [k * x for k, x in enumerate(p)][1:] or [0.0]

    def form(q: Sequence[float], moments: dict[tuple[int, int], Array]) -> Array:
        zero = moments[0, 0] * 0.0
        return sum((x * w * moments[i, j] for i, x in enumerate(q) for j, w in enumerate(q) if x and w), zero)

    def dual(a: Array, b: Array, c: Array, z: Array, y: Array) -> tuple[Array, Array]:
        one = np.ones_like(a + b + c)
        m: dict[tuple[int, int], Array] = {}
        for i in range(len(p)):
            for j in range(len(p)):
                if (i + j) % 2:
                    m[i, j] = 0.0 * one
                elif i == 0:
                    m[i, j] = one if j == 0 else (j - 1) * b * m[0, j - 2]
                else:
                    m[i, j] = (i - 1) * a * m[i - 2, j] if i >= 2 else 0.0 * one
                    if j:
                        m[i, j] = m[i, j] + j * c * m[i - 1, j - 1]
        return form(p, m), form(dp, m)

    return dual
