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
from numpy.typing import NDArray

from theorylab._lib.jit import jit

Array = NDArray[Any]

# Inputs are checked finite at the door, so the tests for NaN may go; division stays exact.
_FAST = frozenset({"contract", "nsz", "reassoc", "nnan", "ninf"})

# arcsin(sqrt x) / sqrt x on [0, 1/2]; see tests/infinite_width/generate_arcsine.py
_A = (1.0, 0.16666666666664987, 0.07500000000401816, 0.044642856762615, 0.030381963396751827,
      0.022371584779320355, 0.017364281439103527, 0.01380344589589198, 0.013191002571753903,
      -0.002601537848299688, 0.07871611357002127, -0.2968705430689824, 1.0082016650534187,
      -2.4908808126226116, 4.6420689099888435, -6.229299875397985, 5.7579408313146985,
      -3.278933156739812, 0.8892904367638688)  # fmt: skip
_S = tuple(np.float32(c) for c in (
    0.9999999997624108, 0.16666676148878942, 0.07499381287529563, 0.044797868648363166,
    0.028433801311241912, 0.03620817622762058, -0.04106808870534895, 0.16083178554354348,
    -0.1955462730380675, 0.14315106122330062))  # fmt: skip
_HALF_PI = math.pi / 2
_INV_PI = 1 / math.pi
_HALF_PI32 = np.float32(math.pi / 2)
_INV_PI32 = np.float32(1 / math.pi)
_ZERO32 = np.float32(0)
_ONE32 = np.float32(1)
_HALF32 = np.float32(0.5)


@jit(fastmath=_FAST)
def _arcsin64(m: float) -> float:
    """Arcsine of ``0 <= m <= sqrt(1/2)``; even and odd powers in two chains."""
    x = m * m
    x2 = x * x
    even = _A[0] + x2 * (_A[2] + x2 * (_A[4] + x2 * (_A[6] + x2 * (_A[8] + x2 * (_A[10] + x2 * (
        _A[12] + x2 * (_A[14] + x2 * (_A[16] + x2 * _A[18]))))))))  # fmt: skip
    odd = _A[1] + x2 * (_A[3] + x2 * (_A[5] + x2 * (_A[7] + x2 * (_A[9] + x2 * (_A[11] + x2 * (
        _A[13] + x2 * (_A[15] + x2 * _A[17])))))))  # fmt: skip
    return m * (even + x * odd)


@jit(fastmath=_FAST)
def _arcsin32(m: Any) -> Any:
    """Arcsine of ``0 <= m <= sqrt(1/2)`` to single precision."""
    x = m * m
    x2 = x * x
    even = _S[0] + x2 * (_S[2] + x2 * (_S[4] + x2 * (_S[6] + x2 * _S[8])))
    odd = _S[1] + x2 * (_S[3] + x2 * (_S[5] + x2 * (_S[7] + x2 * _S[9])))
    return m * (even + x * odd)


@jit(fastmath=_FAST)
def slopes64(
    C: Array,
    K: Array,
    T: Array,
    U: Array,
    V: Array,
    Ui: Array,
    Vi: Array,
    g: Array,
    gi: Array,
    b: Array,
    ca: Array,
    cb: Array,
    p: float,
    want_t: bool,
) -> None:
    """Piecewise linear activations, float64: fill `K` and `T` of one tile from inner products `C`.

    `K` carries ``delta = 1 - rho``, which deep layers drive to zero. As ``(u, sqrt(b) v)`` is a
    unit vector, ``1 - u_i u_j - b v_i v_j`` is half a squared distance and nothing cancels.
    """
    n, m = C.shape
    pi = _HALF_PI + _HALF_PI
    for i in range(n):
        R = K[i]
        S = T[i] if want_t else C[i]
        u, v, beta, alpha0, beta0 = Ui[0, i], Vi[0, i], b[0], ca[0], cb[0]
        u0, v0 = U[0], V[0]
        if want_t:
            for j in range(m):
                x = C[i, j] * (u * u0[j])
                y = v * v0[j]
                R[j] = max(1.0 - x - beta * y, 0.0)
                S[j] = alpha0 * x + beta0 * y
        else:
            for j in range(m):
                R[j] = max(1.0 - C[i, j] * (u * u0[j]) - beta * (v * v0[j]), 0.0)
        for l in range(1, U.shape[0]):
            u, v, beta, alpha0, beta0 = Ui[l, i], Vi[l, i], b[l], ca[l], cb[l]
            ul, vl = U[l], V[l]
            half = 0.5 * beta
            for j in range(m):
                delta = R[j]
                r = 1.0 - delta
                w = math.sqrt(max(delta * (1.0 + r), 0.0))
                a = abs(r)
                t = _arcsin64(min(a, w))
                s = t if a > w else _HALF_PI - t  # angle to the nearer end of the line
                theta = s if r > 0.0 else pi - s
                down = delta - p * _INV_PI * (w - theta * r)  # 1 - kappa
                uu = u * ul[j]
                y = v * vl[j]
                du, dv = u - ul[j], v - vl[j]
                R[j] = max(uu * down + 0.5 * du * du + half * dv * dv, 0.0)
                if want_t:
                    turn = 1.0 - p * _INV_PI * theta
                    S[j] = uu * (alpha0 * (1.0 - down) + turn * S[j]) + beta0 * y
        scale = gi[i]
        for j in range(m):
            R[j] = (1.0 - R[j]) * (scale * g[j])
        if want_t:
            for j in range(m):
                S[j] *= scale * g[j]


@jit(fastmath=_FAST)
def slopes32(
    C: Array,
    K: Array,
    T: Array,
    U: Array,
    V: Array,
    Ui: Array,
    Vi: Array,
    g: Array,
    gi: Array,
    b: Array,
    ca: Array,
    cb: Array,
    p: float,
    want_t: bool,
) -> None:
    """Piecewise linear activations, float32; see :func:`slopes64`."""
    n, m = C.shape
    pi = _HALF_PI32 + _HALF_PI32
    for i in range(n):
        R = K[i]
        S = T[i] if want_t else C[i]
        u, v, beta, alpha0, beta0 = Ui[0, i], Vi[0, i], b[0], ca[0], cb[0]
        u0, v0 = U[0], V[0]
        if want_t:
            for j in range(m):
                x = C[i, j] * (u * u0[j])
                y = v * v0[j]
                R[j] = max(_ONE32 - x - beta * y, _ZERO32)
                S[j] = alpha0 * x + beta0 * y
        else:
            for j in range(m):
                R[j] = max(_ONE32 - C[i, j] * (u * u0[j]) - beta * (v * v0[j]), _ZERO32)
        for l in range(1, U.shape[0]):
            u, v, beta, alpha0, beta0 = Ui[l, i], Vi[l, i], b[l], ca[l], cb[l]
            ul, vl = U[l], V[l]
            half = _HALF32 * beta
            for j in range(m):
                delta = R[j]
                r = _ONE32 - delta
                w = math.sqrt(max(delta * (_ONE32 + r), _ZERO32))
                a = abs(r)
                t = _arcsin32(min(a, w))
                s = t if a > w else _HALF_PI32 - t  # angle to the nearer end of the line
                theta = s if r > _ZERO32 else pi - s
                down = delta - p * _INV_PI32 * (w - theta * r)  # 1 - kappa
                uu = u * ul[j]
                y = v * vl[j]
                du, dv = u - ul[j], v - vl[j]
                R[j] = max(uu * down + _HALF32 * du * du + half * dv * dv, _ZERO32)
                if want_t:
                    turn = _ONE32 - p * _INV_PI32 * theta
                    S[j] = uu * (alpha0 * (_ONE32 - down) + turn * S[j]) + beta0 * y
        scale = gi[i]
        for j in range(m):
            R[j] = (_ONE32 - R[j]) * (scale * g[j])
        if want_t:
            for j in range(m):
                S[j] *= scale * g[j]


@jit(fastmath=_FAST)
def erf64(
    C: Array,
    K: Array,
    T: Array,
    U: Array,
    V: Array,
    Ui: Array,
    Vi: Array,
    g: Array,
    gi: Array,
    b: Array,
    ca: Array,
    cb: Array,
    p: float,
    want_t: bool,
) -> None:
    """Error-function family, float64. `K` carries ``r = 2 c n_i n_j``, with ``n = (1 + 2 q)^(-1/2)``."""
    n, m = C.shape
    for i in range(n):
        R = K[i]
        S = T[i] if want_t else C[i]
        u, v, beta, alpha0, beta0 = Ui[0, i], Vi[0, i], b[0], ca[0], cb[0]
        u0, v0 = U[0], V[0]
        if want_t:
            for j in range(m):
                x = C[i, j] * (u * u0[j])
                y = v * v0[j]
                R[j] = x + beta * y
                S[j] = alpha0 * x + beta0 * y
        else:
            for j in range(m):
                R[j] = C[i, j] * (u * u0[j]) + beta * (v * v0[j])
        for l in range(1, U.shape[0]):
            u, v, beta, alpha0, beta0 = Ui[l, i], Vi[l, i], b[l], ca[l], cb[l]
            ul, vl = U[l], V[l]
            for j in range(m):
                r = R[j]
                w = math.sqrt((1.0 - r) * (1.0 + r))
                a = abs(r)
                t = _arcsin64(min(a, w))
                s = t if a <= w else _HALF_PI - t
                uu = u * ul[j]
                x = (s if r > 0.0 else -s) * uu
                y = v * vl[j]
                R[j] = x + beta * y
                if want_t:
                    S[j] = alpha0 * x + beta0 * y + S[j] * uu / w
        scale = gi[i]
        for j in range(m):
            R[j] *= scale * g[j]
        if want_t:
            for j in range(m):
                S[j] *= scale * g[j]


@jit(fastmath=_FAST)
def erf32(
    C: Array,
    K: Array,
    T: Array,
    U: Array,
    V: Array,
    Ui: Array,
    Vi: Array,
    g: Array,
    gi: Array,
    b: Array,
    ca: Array,
    cb: Array,
    p: float,
    want_t: bool,
) -> None:
    """Error-function family, float32."""
    n, m = C.shape
    for i in range(n):
        R = K[i]
        S = T[i] if want_t else C[i]
        u, v, beta, alpha0, beta0 = Ui[0, i], Vi[0, i], b[0], ca[0], cb[0]
        u0, v0 = U[0], V[0]
        if want_t:
            for j in range(m):
                x = C[i, j] * (u * u0[j])
                y = v * v0[j]
                R[j] = x + beta * y
                S[j] = alpha0 * x + beta0 * y
        else:
            for j in range(m):
                R[j] = C[i, j] * (u * u0[j]) + beta * (v * v0[j])
        for l in range(1, U.shape[0]):
            u, v, beta, alpha0, beta0 = Ui[l, i], Vi[l, i], b[l], ca[l], cb[l]
            ul, vl = U[l], V[l]
            for j in range(m):
                r = R[j]
                w = math.sqrt(max((_ONE32 - r) * (_ONE32 + r), np.float32(1e-12)))
                a = abs(r)
                t = _arcsin32(min(a, w))
                s = t if a <= w else _HALF_PI32 - t
                uu = u * ul[j]
                x = (s if r > _ZERO32 else -s) * uu
                y = v * vl[j]
                R[j] = x + beta * y
                if want_t:
                    S[j] = alpha0 * x + beta0 * y + S[j] * uu / w
        scale = gi[i]
        for j in range(m):
            R[j] *= scale * g[j]
        if want_t:
            for j in range(m):
                S[j] *= scale * g[j]


@jit
def close_pairs(C: Array, s: Array, si: Array, bound: float, rows: Array, cols: Array) -> int:
    """Write the indices of pairs with ``|x . y| s_i s_j > bound``; return how many there are in all."""
    n, m = C.shape
    count = 0
    for i in range(n):
        here = 0
        scale = si[i]
        for j in range(m):
            here += abs(C[i, j]) * (scale * s[j]) > bound
        if here:
            for j in range(m):
                if abs(C[i, j]) * (scale * s[j]) > bound:
                    if count < rows.size:
                        rows[count] = i
                        cols[count] = j
                    count += 1
    return count


@jit(fastmath=_FAST)
def collapsed(
    C: Array,
    K: Array,
    T: Array,
    U: Array,
    Ui: Array,
    g: Array,
    gi: Array,
    tk: Array,
    tt: Array,
    panels: int,
    want_t: bool,
) -> None:
    """All layers at once.

    `tk`, `tt` (2 * panels * 17,) hold powers of the panel's own variable in the angle.
    """
    n, m = C.shape
    angle = np.empty(m)
    for i in range(n):
        u, scale = Ui[i], gi[i]
        for j in range(m):
            r = C[i, j] * (u * U[j])
            w = math.sqrt(max((1.0 - r) * (1.0 + r), 0.0))
            a = abs(r)
            t = _arcsin64(min(a, w))
            x = max((t if a > w else _HALF_PI - t) * (2.0 * _INV_PI), 1e-300)  # never 0: its sign is the side
            angle[j] = x if r > 0.0 else -x
        for j in range(m):
            x = abs(angle[j])
            k = 0
            top = 1.0
            while k < panels - 1 and x <= 0.5 * top:
                top *= 0.5
                k += 1
            # the last panel reaches down to zero
            y = 4.0 * x / top - 3.0 if k < panels - 1 else 2.0 * x / top - 1.0
            o = 17 * (k if angle[j] > 0.0 else k + panels)
            y2 = y * y
            even = tk[o + 16]
            odd = tk[o + 15]
            for l in range(7, -1, -1):
                even = even * y2 + tk[o + 2 * l]
            for l in range(6, -1, -1):
                odd = odd * y2 + tk[o + 2 * l + 1]
            K[i, j] = (even + y * odd) * (scale * g[j])
            if want_t:
                even = tt[o + 16]
                odd = tt[o + 15]
                for l in range(7, -1, -1):
                    even = even * y2 + tt[o + 2 * l]
                for l in range(6, -1, -1):
                    odd = odd * y2 + tt[o + 2 * l + 1]
                T[i, j] = (even + y * odd) * (scale * g[j])


@jit(fastmath=_FAST)
def tensor(
    wa: Array, wb: Array, theta: Array, other: Array, first: Array, second: Array, D: Array, Ddot: Array
) -> None:
    """Interpolate tables (2, panels, N, N, 17) at weights `wa` (n, N), `wb` (m, N) and angles (n, m)."""
    n, m = theta.shape
    panels, order, degree = first.shape[1], first.shape[2], first.shape[4]
    c, e = np.empty(degree), np.empty(degree)
    for i in range(n):
        for j in range(m):
            side = 0 if theta[i, j] <= other[i, j] else 1
            x = min(theta[i, j], other[i, j]) * (2.0 * _INV_PI)
            k = 0
            top = 1.0
            while k < panels - 1 and x <= 0.5 * top:
                top *= 0.5
                k += 1
            y = 4.0 * x / top - 3.0 if k < panels - 1 else 2.0 * x / top - 1.0
            c[:] = 0.0
            e[:] = 0.0
            for p in range(order):
                for r in range(order):
                    w = wa[i, p] * wb[j, r]
                    f, s = first[side, k, p, r], second[side, k, p, r]
                    for l in range(degree):
                        c[l] += w * f[l]
                        e[l] += w * s[l]
            value, slope = c[degree - 1], e[degree - 1]
            for l in range(degree - 2, -1, -1):
                value = value * y + c[l]
                slope = slope * y + e[l]
            D[i, j] = value
            Ddot[i, j] = slope


@jit
def store(tile: Array, A: Array, i0: int, j0: int, transpose: bool) -> None:
    """Copy a tile from the cache to its place in `A`, and to the mirrored place if asked."""
    n, m = tile.shape
    for i in range(n):
        for j in range(m):
            A[i0 + i, j0 + j] = tile[i, j]
    if transpose:
        for ib in range(0, n, 16):
            top = min(ib + 16, n)
            for j in range(m):
                for i in range(ib, top):
                    A[j0 + j, i0 + i] = tile[i, j]


@jit
def symmetrise(A: Array) -> None:
    """Copy the lower triangle of a square tile to the upper one."""
    for i in range(A.shape[0]):
        for j in range(i):
            A[j, i] = A[i, j]


@jit(fastmath=_FAST)
def mehler(ha: Array, hb: Array, sa: Array, sb: Array, rho: Array, D: Array, Ddot: Array) -> None:
    """Sum ``h_k(a) h_k(b) rho^k`` over as many terms as the correlation needs."""
    n, m = rho.shape
    terms = ha.shape[1]
    for i in range(n):
        for j in range(m):
            r = rho[i, j]
            a = abs(r)
            top = terms
            if a < 1e-8:
                top = min(terms, 4)
            elif a < 1.0:
                top = min(terms, 3 + int(-38.0 / math.log(a)))
            # four interleaved Horner sums hide the latency of one; the coefficients are padded to fours
            r2 = r * r
            r4 = r2 * r2
            v0 = v1 = v2 = v3 = 0.0
            s0 = s1 = s2 = s3 = 0.0
            for k in range(4 * ((top + 3) // 4) - 4, -1, -4):
                v0 = v0 * r4 + ha[i, k] * hb[j, k]
                v1 = v1 * r4 + ha[i, k + 1] * hb[j, k + 1]
                v2 = v2 * r4 + ha[i, k + 2] * hb[j, k + 2]
                v3 = v3 * r4 + ha[i, k + 3] * hb[j, k + 3]
                s0 = s0 * r4 + sa[i, k] * sb[j, k]
                s1 = s1 * r4 + sa[i, k + 1] * sb[j, k + 1]
                s2 = s2 * r4 + sa[i, k + 2] * sb[j, k + 2]
                s3 = s3 * r4 + sa[i, k + 3] * sb[j, k + 3]
            value = (v0 + r2 * v2) + r * (v1 + r2 * v3)
            slope = (s0 + r2 * s2) + r * (s1 + r2 * s3)
            D[i, j] = value
            Ddot[i, j] = slope
