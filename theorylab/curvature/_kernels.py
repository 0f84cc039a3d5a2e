"""The compiled loops over the rows: G x, (x - G^T c) / lam, G G^T.

Rows are float32 or float64, sums are float64. A tile of columns is taken
through all rows before the next one, so that its piece of the vector stays in
the first-level cache; several rows share each pass over it. Slices of rows are
handed to small inner functions because indexing ``S[i, t + j]`` inside the
loop keeps the compiler from vectorising.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._lib.jit import REASSOC, jit

__all__ = [
    "add_gram",
    "add_rows",
    "combine_rows",
    "combine_rows_exactly",
    "row_dots",
    "row_dots_pair",
    "subtract_rows",
]


@jit(fastmath=REASSOC)
def _dot1(a: Any, x: Any) -> Any:
    s = 0.0
    for j in range(x.size):
        s += a[j] * x[j]
    return s


@jit(fastmath=REASSOC)
def _dot8(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, x: Any) -> Any:
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for j in range(x.size):
        v = x[j]
        s0 += a[j] * v
        s1 += b[j] * v
        s2 += c[j] * v
        s3 += d[j] * v
        s4 += e[j] * v
        s5 += f[j] * v
        s6 += g[j] * v
        s7 += h[j] * v
    return s0, s1, s2, s3, s4, s5, s6, s7


@jit(fastmath=REASSOC)
def row_dots(S: Any, start: int, stop: int, tile: int, x: Any, acc: Any) -> None:
    """Add ``S[:, start:stop] @ x`` to `acc`, tile by tile, eight rows a sweep."""
    m = S.shape[0]
    eight = m - m % 8
    buffer = np.empty(tile)
    for t in range(start, stop, tile):
        e = min(stop, t + tile)
        v = buffer[: e - t]
        for j in range(e - t):
            v[j] = x[t - start + j]
        for i in range(0, eight, 8):
            s = _dot8(
                S[i, t:e],
                S[i + 1, t:e],
                S[i + 2, t:e],
                S[i + 3, t:e],
                S[i + 4, t:e],
                S[i + 5, t:e],
                S[i + 6, t:e],
                S[i + 7, t:e],
                v,
            )
            acc[i] += s[0]
            acc[i + 1] += s[1]
            acc[i + 2] += s[2]
            acc[i + 3] += s[3]
            acc[i + 4] += s[4]
            acc[i + 5] += s[5]
            acc[i + 6] += s[6]
            acc[i + 7] += s[7]
        for i in range(eight, m):
            acc[i] += _dot1(S[i, t:e], v)


@jit(fastmath=REASSOC)
def _dot8x2(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, x: Any, z: Any) -> Any:
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    r0 = r1 = r2 = r3 = r4 = r5 = r6 = r7 = 0.0
    for j in range(x.size):
        v, w = x[j], z[j]
        s0 += a[j] * v
        s1 += b[j] * v
        s2 += c[j] * v
        s3 += d[j] * v
        s4 += e[j] * v
        s5 += f[j] * v
        s6 += g[j] * v
        s7 += h[j] * v
        r0 += a[j] * w
        r1 += b[j] * w
        r2 += c[j] * w
        r3 += d[j] * w
        r4 += e[j] * w
        r5 += f[j] * w
        r6 += g[j] * w
        r7 += h[j] * w
    return (s0, s1, s2, s3, s4, s5, s6, s7), (r0, r1, r2, r3, r4, r5, r6, r7)


@jit(fastmath=REASSOC)
def row_dots_pair(S: Any, start: int, stop: int, tile: int, x: Any, z: Any, acc: Any) -> None:
    """Add ``S[:, start:stop] @ [x, z]`` to the columns of `acc` in one read of S."""
    m = S.shape[0]
    eight = m - m % 8
    buffer = np.empty((2, tile))
    for t in range(start, stop, tile):
        e = min(stop, t + tile)
        v, w = buffer[0, : e - t], buffer[1, : e - t]
        for j in range(e - t):
            v[j] = x[t - start + j]
            w[j] = z[t - start + j]
        for i in range(0, eight, 8):
            s, r = _dot8x2(
                S[i, t:e],
                S[i + 1, t:e],
                S[i + 2, t:e],
                S[i + 3, t:e],
                S[i + 4, t:e],
                S[i + 5, t:e],
                S[i + 6, t:e],
                S[i + 7, t:e],
                v,
                w,
            )
            for k in range(8):
                acc[i + k, 0] += s[k]
                acc[i + k, 1] += r[k]
        for i in range(eight, m):
            acc[i, 0] += _dot1(S[i, t:e], v)
            acc[i, 1] += _dot1(S[i, t:e], w)


@jit(fastmath=REASSOC)
def _dot4x4(a0: Any, a1: Any, a2: Any, a3: Any, b0: Any, b1: Any, b2: Any, b3: Any) -> Any:
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = 0.0
    s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = 0.0
    for k in range(a0.size):
        x0, x1, x2, x3 = a0[k], a1[k], a2[k], a3[k]
        y0, y1, y2, y3 = np.float64(b0[k]), np.float64(b1[k]), np.float64(b2[k]), np.float64(b3[k])
        s00 += x0 * y0
        s01 += x0 * y1
        s02 += x0 * y2
        s03 += x0 * y3
        s10 += x1 * y0
        s11 += x1 * y1
        s12 += x1 * y2
        s13 += x1 * y3
        s20 += x2 * y0
        s21 += x2 * y1
        s22 += x2 * y2
        s23 += x2 * y3
        s30 += x3 * y0
        s31 += x3 * y1
        s32 += x3 * y2
        s33 += x3 * y3
    return s00, s01, s02, s03, s10, s11, s12, s13, s20, s21, s22, s23, s30, s31, s32, s33


@jit
def add_gram(S: Any, start: int, stop: int, tile: int, C: Any) -> None:
    """Add the lower triangle of ``S S^T`` over the columns ``start:stop`` to `C`, in blocks of 4 x 4 rows.

    Sixteen sums stay in registers; float32 rows are widened on the way, so that
    nothing is written but the blocks. Beyond the last row that row is repeated
    and the result dropped.
    """
    m = S.shape[0]
    last = m - 1
    A = np.empty((4, tile))
    for t in range(start, stop, tile):
        e = min(stop, t + tile)
        w = e - t
        for i in range(0, m, 4):
            for p in range(4):
                row, wide = S[min(i + p, last), t:e], A[p, :w]
                for k in range(w):
                    wide[k] = row[k]
            for j in range(0, i + 1, 4):
                block = _dot4x4(
                    A[0, :w],
                    A[1, :w],
                    A[2, :w],
                    A[3, :w],
                    S[j, t:e],
                    S[min(j + 1, last), t:e],
                    S[min(j + 2, last), t:e],
                    S[min(j + 3, last), t:e],
                )
                for p in range(min(4, m - i)):
                    for q in range(min(4, m - j)):
                        C[i + p, j + q] += block[4 * p + q]


@jit(fastmath=REASSOC)
def _add1(y: Any, a: Any, c: float) -> None:
    for j in range(y.size):
        y[j] += c * a[j]


@jit(fastmath=REASSOC)
def _add8(y: Any, r0: Any, r1: Any, r2: Any, r3: Any, r4: Any, r5: Any, r6: Any, r7: Any, c: Any) -> None:
    c0, c1, c2, c3, c4, c5, c6, c7 = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
    for j in range(y.size):
        y[j] += ((c0 * r0[j] + c1 * r1[j]) + (c2 * r2[j] + c3 * r3[j])) + (
            (c4 * r4[j] + c5 * r5[j]) + (c6 * r6[j] + c7 * r7[j])
        )


@jit(fastmath=REASSOC)
def add_rows(S: Any, start: int, stop: int, c: Any, y: Any) -> None:
    """Add ``S[:, start:stop].T @ c`` to the float64 vector `y`, eight rows a sweep."""
    m = S.shape[0]
    eight = m - m % 8
    t, e = start, stop
    for i in range(0, eight, 8):
        _add8(
            y,
            S[i, t:e],
            S[i + 1, t:e],
            S[i + 2, t:e],
            S[i + 3, t:e],
            S[i + 4, t:e],
            S[i + 5, t:e],
            S[i + 6, t:e],
            S[i + 7, t:e],
            c[i : i + 8],
        )
    for i in range(eight, m):
        _add1(y, S[i, t:e], c[i])


@jit(fastmath=REASSOC)
def combine_rows(S: Any, start: int, stop: int, tile: int, c: Any, out: Any) -> None:
    """Write ``S[:, start:stop].T @ c`` to `out`."""
    buffer = np.empty(tile)
    for t in range(start, stop, tile):
        e = min(stop, t + tile)
        y = buffer[: e - t]
        y[:] = 0.0
        add_rows(S, t, e, c, y)
        for j in range(e - t):
            out[t - start + j] = y[j]


@jit(fastmath=REASSOC)
def subtract_rows(S: Any, start: int, stop: int, tile: int, c: Any, x: Any, divisor: float, out: Any) -> None:
    """Write ``(x - S[:, start:stop].T @ c) / divisor`` to `out`, which is written once."""
    buffer = np.empty(tile)
    for t in range(start, stop, tile):
        e = min(stop, t + tile)
        y = buffer[: e - t]
        y[:] = 0.0
        add_rows(S, t, e, c, y)
        for j in range(e - t):
            out[t - start + j] = (x[t - start + j] - y[j]) / divisor


@jit
def combine_rows_exactly(S: Any, start: int, stop: int, c: Any, high: Any, low: Any) -> None:
    """Write ``S[:, start:stop].T @ c`` as the unevaluated sum ``high + low``.

    Products and sums carry their rounding errors along (Dekker's product, Knuth's
    sum), for coefficients so large that the sum cancels.
    """
    split = 134217729.0  # 2^27 + 1 cuts a float64 into two halves of 26 bits
    high[:] = 0.0
    low[:] = 0.0
    for i in range(S.shape[0]):
        row, a = S[i, start:stop], c[i]
        t = split * a
        a1 = t - (t - a)
        a2 = a - a1
        for j in range(row.size):
            b = np.float64(row[j])
            t = split * b
            b1 = t - (t - b)
            b2 = b - b1
            p = a * b
            error = ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2
            s = high[j] + p
            v = s - high[j]
            low[j] += ((high[j] - (s - v)) + (p - v)) + error
            high[j] = s
