"""Fused kernels: all layers of a tile while one row of it stays in the cache.

A tile arrives as inner products ``x . y`` and leaves as the NNGP and NTK. In between
only correlations are carried: after each dense layer

    rho' = kappa(rho) u_i u_j + b v_i v_j,      tau' = ca X + cb Y + kappadot(rho) tau u_i u_j

(X, Y the two terms of rho') with ``u, v`` from the exact one-dimensional recursion of
the diagonal. One arcsine polynomial and one square root per element and layer.
All helpers live in this file, for the compiler's cache sees no other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from theorylab._lib.jit import jit

Array = NDArray[Any]

# Inputs are checked finite at the door, so the tests for NaN may go; division stays exact.
_FAST = frozenset({"contract", "nsz", "reassoc", "nnan", "ninf"})

# arcsin(sqrt x) / sqrt x on [0, sin^2(pi / 8)] for double precision, on [0, 1/2] for single;
# see tests/infinite_width/generate_arcsine.py
_A = (1.0, 0.16666666666665855, 0.07500000000220788, 0.044642856908859295, 0.030381957126451947,
      0.022371759605907794, 0.0173605689978962, 0.013867689439773956, 0.012318435689868077,
      0.00610258324106671, 0.017621406719819568)  # fmt: skip
_S = tuple(np.float32(c) for c in (
    0.9999999997624108, 0.16666676148878942, 0.07499381287529563, 0.044797868648363166,
    0.028433801311241912, 0.03620817622762058, -0.04106808870534895, 0.16083178554354348,
    -0.1955462730380675, 0.14315106122330062))  # fmt: skip
_HALF_PI, _QUARTER_PI = math.pi / 2, math.pi / 4
_INV_PI = 1 / math.pi
_SIN_EIGHTH = math.sin(math.pi / 8)
_HALF_ROOT = math.sqrt(0.5)


def _arcsin(low: Any, high: Any) -> Any:
    """Arcsine of the lesser of a sine and a cosine, given both, to the precision of its arguments."""
    raise TypeError("only compiled code calls this")


@overload(_arcsin, jit_options={"fastmath": set(_FAST)})
def _arcsin_of(low: Any, high: Any) -> Any:
    # even and odd powers in two chains
    def single(low: Any, high: Any) -> Any:
        x = low * low
        x2 = x * x
        even = _S[0] + x2 * (_S[2] + x2 * (_S[4] + x2 * (_S[6] + x2 * _S[8])))
        odd = _S[1] + x2 * (_S[3] + x2 * (_S[5] + x2 * (_S[7] + x2 * _S[9])))
        return low * (even + x * odd)

    def double(low: Any, high: Any) -> Any:
        # angles nearer to pi / 4 from there on: sin(t - pi / 4) = (sin t - cos t) / sqrt 2
        middle = low > _SIN_EIGHTH
        m = (low - high) * _HALF_ROOT if middle else low
        x = m * m
        x2 = x * x
        even = _A[0] + x2 * (_A[2] + x2 * (_A[4] + x2 * (_A[6] + x2 * (_A[8] + x2 * _A[10]))))
        odd = _A[1] + x2 * (_A[3] + x2 * (_A[5] + x2 * (_A[7] + x2 * _A[9])))
        return m * (even + x * odd) + (_QUARTER_PI if middle else 0.0)

    return single if low == types.float32 else double


def _positive(x: Any) -> Any:
    """Keep ``1 - r^2`` away from zero in single precision, where r may round to 1."""
    raise TypeError("only compiled code calls this")


@overload(_positive, jit_options={"fastmath": set(_FAST)})
def _positive_of(x: Any) -> Any:
    def single(x: Any) -> Any:
        return max(x, np.float32(1e-12))

    def double(x: Any) -> Any:
        return x

    return single if x == types.float32 else double


@jit(fastmath=_FAST)
def slopes(
    C: Array,
    K: Array,
    T: Array,
    row: int,
    col: int,
    work: Array,
    lower: bool,
    U: Array,
    V: Array,
    Ui: Array,
    Vi: Array,
    g: Array,
    gi: Array,
    b: Array,
    ca: Array,
    cb: Array,
    p: Any,
    share: Array,
    sharei: Array,
) -> None:
    """Piecewise linear activations: fill a tile of `K` and of `T` from inner products `C`, all of one dtype.

    Its corner is at ``(row, col)``; an empty `K` or `T` is not wanted. Of a `lower` tile the part well
    above the diagonal is left out. A row travels through the layers in `work` (2, width): there `R`
    carries ``delta = 1 - rho``, which deep layers drive to zero. As ``(u, sqrt(b) v)`` is a unit
    vector, ``1 - u_i u_j - b v_i v_j`` is half a squared distance and nothing cancels. At the first
    layer `share` (width,) and `sharei` are the inputs' parts of the variances, so that biases far above
    them leave no rounding of theirs.
    """
    real = C.dtype.type
    zero, one, half_pi, inv_pi = real(0), real(1), real(_HALF_PI), real(_INV_PI)
    n, width = C.shape
    pi = half_pi + half_pi
    want_t = T.size > 0
    R, S = work[0, :width], work[1, :width]
    for i in range(n):
        c = C[i]
        m = min(width, (i // 32 + 1) * 32) if lower else width
        u, v, beta, alpha0, beta0 = Ui[0, i], Vi[0, i], b[0], ca[0], cb[0]
        u0, v0 = U[0], V[0]
        own, half = sharei[i], real(0.5) * beta
        for j in range(m):
            x = c[j] * (u * u0[j])
            dv = v - v0[j]
            R[j] = max(real(0.5) * (own + share[j]) - x + half * dv * dv, zero)
            if want_t:
                S[j] = alpha0 * x + beta0 * (v * v0[j])
        for l in range(1, U.shape[0]):
            u, v, beta, alpha0, beta0 = Ui[l, i], Vi[l, i], b[l], ca[l], cb[l]
            ul, vl = U[l], V[l]
            half = real(0.5) * beta
            for j in range(m):
                delta = R[j]
                r = one - delta
                w = math.sqrt(max(delta * (one + r), zero))
                a = abs(r)
                t = _arcsin(min(a, w), max(a, w))
                s = t if a > w else half_pi - t  # angle to the nearer end of the line
                theta = s if r > zero else pi - s
                down = delta - p * inv_pi * (w - theta * r)  # 1 - kappa
                uu = u * ul[j]
                y = v * vl[j]
                du, dv = u - ul[j], v - vl[j]
                R[j] = max(uu * down + real(0.5) * du * du + half * dv * dv, zero)
                if want_t:
                    turn = one - p * inv_pi * theta
                    S[j] = uu * (alpha0 * (one - down) + turn * S[j]) + beta0 * y
        scale = gi[i]
        if K.size:
            out = K[row + i, col : col + m]
            for j in range(m):
                out[j] = (one - R[j]) * (scale * g[j])
        if want_t:
            out = T[row + i, col : col + m]
            for j in range(m):
                out[j] = S[j] * (scale * g[j])


@jit(fastmath=_FAST)
def erf(
    C: Array,
    K: Array,
    T: Array,
    row: int,
    col: int,
    work: Array,
    lower: bool,
    U: Array,
    V: Array,
    Ui: Array,
    Vi: Array,
    g: Array,
    gi: Array,
    b: Array,
    ca: Array,
    cb: Array,
    p: Any,
    share: Array,
    sharei: Array,
) -> None:
    """Error-function family, as :func:`slopes`; `R` carries ``r = 2 c n_i n_j``, ``n = (1 + 2 q)^(-1/2)``."""
    real = C.dtype.type
    zero, one, half_pi = real(0), real(1), real(_HALF_PI)
    n, width = C.shape
    want_t = T.size > 0
    R, S = work[0, :width], work[1, :width]
    for i in range(n):
        c = C[i]
        m = min(width, (i // 32 + 1) * 32) if lower else width
        u, v, beta, alpha0, beta0 = Ui[0, i], Vi[0, i], b[0], ca[0], cb[0]
        u0, v0 = U[0], V[0]
        if want_t:
            for j in range(m):
                x = c[j] * (u * u0[j])
                y = v * v0[j]
                R[j] = x + beta * y
                S[j] = alpha0 * x + beta0 * y
        else:
            for j in range(m):
                R[j] = c[j] * (u * u0[j]) + beta * (v * v0[j])
        for l in range(1, U.shape[0]):
            u, v, beta, alpha0, beta0 = Ui[l, i], Vi[l, i], b[l], ca[l], cb[l]
            ul, vl = U[l], V[l]
            for j in range(m):
                r = R[j]
                w = math.sqrt(_positive((one - r) * (one + r)))
                a = abs(r)
                t = _arcsin(min(a, w), max(a, w))
                s = t if a <= w else half_pi - t
                uu = u * ul[j]
                x = (s if r > zero else -s) * uu
                y = v * vl[j]
                R[j] = x + beta * y
                if want_t:
                    S[j] = alpha0 * x + beta0 * y + S[j] * uu / w
        scale = gi[i]
        if K.size:
            out = K[row + i, col : col + m]
            for j in range(m):
                out[j] = R[j] * (scale * g[j])
        if want_t:
            out = T[row + i, col : col + m]
            for j in range(m):
                out[j] = S[j] * (scale * g[j])


@jit
def close_pairs(
    C: Array, w: float, b: float, s: Array, si: Array, bound: float, rows: Array, cols: Array
) -> int:
    """Write the indices of pairs with ``|w x . y + b| s_i s_j > bound``; return how many there are in all."""
    n, m = C.shape
    count = 0
    for i in range(n):
        here = 0
        scale = si[i]
        for j in range(m):
            here += abs(w * C[i, j] + b) * (scale * s[j]) > bound
        if here:
            for j in range(m):
                if abs(w * C[i, j] + b) * (scale * s[j]) > bound:
                    if count < rows.size:
                        rows[count] = i
                        cols[count] = j
                    count += 1
    return count


@jit
def mirror(A: Array, i0: int, i1: int, j0: int, j1: int) -> None:
    """Copy ``A[i0:i1, j0:j1]`` to its mirrored place; of a block on the diagonal its lower half."""
    if i0 == j0:
        for i in range(i0, i1):
            for j in range(j0, i):
                A[j, i] = A[i, j]
        return
    for low in range(i0, i1, 64):
        top = min(low + 64, i1)
        for j in range(j0, j1):
            for i in range(low, top):
                A[j, i] = A[i, j]
