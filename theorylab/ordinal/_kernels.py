"""Compiled passes over the data: the loss of a row, loss and gradient of all rows, Hessian, moments.

Rows are sorted by class, so that class ``k`` owns the columns ``starts[k]:starts[k + 1]`` of ``XT``, the
standardised design with features as rows and ones as row 0. Unknowns live in ``theta`` (m, p + 1): column 0
holds the intercepts ``alpha_k``, the others the slope differences ``psi_k``. `_newton`,
`_dual` and `_residual` build on this file: after an edit here, clear the cached kernels of those files.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from theorylab._lib.jit import REASSOC, jit

CHUNK = 512  # rows handled together: a block of features stays in the cache between two matrix products
LN2 = math.log(2.0)


@jit
def row_terms(a: float, b: float, d: float, has_a: bool, has_b: bool) -> Any:
    """Return f, f_a, f_b, f_aa, f_bb, f_ab of ``-log P(class)``; absent boundaries contribute zero."""
    f = fa = fb = faa = fbb = fab = 0.0
    if has_a:
        e = math.exp(-abs(a))
        s = (e if a > 0 else 1.0) / (1.0 + e)  # sigma(-a)
        f += math.log1p(e) + (0.0 if a > 0 else -a)
        fa -= s
        faa += e / ((1.0 + e) * (1.0 + e))
    if has_b:
        e = math.exp(-abs(b))
        s = (1.0 if b > 0 else e) / (1.0 + e)  # sigma(b)
        f += math.log1p(e) + (b if b > 0 else 0.0)
        fb += s
        fbb += e / ((1.0 + e) * (1.0 + e))
    if has_a and has_b:
        if d <= 0.0:
            return np.inf, np.nan, np.nan, np.nan, np.nan, np.nan
        if d < LN2:
            em = -math.expm1(-d)
            f -= math.log(em)
            r = (1.0 - em) / em
        else:
            e = math.exp(-d)
            em = 1.0 - e
            f -= math.log1p(-e)
            r = e / em
        q = r / em
        fa -= r
        fb += r
        faa += q
        fbb += q
        fab -= q
    return f, fa, fb, faa, fbb, fab


@jit
def rows_terms(a: Any, b: Any, codes: Any, n_classes: Any, out: Any) -> Any:
    """Fill `out` (6, n) with the six terms of each row; rows outside the domain get infinity and NaN."""
    for i in range(a.size):
        k = codes[i]
        terms = row_terms(a[i], b[i], a[i] - b[i], k < n_classes - 1, k > 0)
        for c in range(6):
            out[c, i] = terms[c]


@jit
def to_blocks(theta: Any, blocks: Any, steps: Any) -> Any:
    """Fill `blocks` with (alpha_k, beta_k) and `steps` with (alpha_k - alpha_{k-1}, psi_k)."""
    m, width = theta.shape
    for k in range(m):
        for j in range(width):
            before = blocks[k - 1, j] if k > 0 else 0.0
            if j == 0:
                blocks[k, 0] = theta[k, 0]
                steps[k, 0] = theta[k, 0] - before
            else:
                blocks[k, j] = before + theta[k, j]
                steps[k, j] = theta[k, j]


@jit(fastmath=REASSOC)
def _dots(XT: Any, c0: Any, c1: Any, coefficients: Any, out: Any) -> Any:
    """Fill ``out[:c1 - c0]`` with coefficients @ XT[:, c0:c1]."""
    size = c1 - c0
    for c in range(size):
        out[c] = coefficients[0]
    for j in range(1, XT.shape[0]):
        t = coefficients[j]
        if t != 0.0:
            row = XT[j, c0:c1]
            for c in range(size):
                out[c] += t * row[c]


@jit(fastmath=REASSOC)
def _dot(x: Any, y: Any) -> Any:
    s = 0.0
    for c in range(x.size):
        s += x[c] * y[c]
    return s


@jit
def _axpy(t: Any, x: Any, y: Any) -> Any:
    for i in range(x.size):
        y[i] += t * x[i]


@jit
def _copy(x: Any, y: Any) -> Any:
    """Copy a vector; the slice assignment of Numba compiles its error messages along, for seconds."""
    for i in range(x.size):
        y[i] = x[i]


@jit
def evaluate(XT: Any, w: Any, starts: Any, blocks: Any, steps: Any, rows: Any, grad: Any) -> Any:
    """Return the weighted loss; fill `rows` (5, n) with w times f_a, f_b, f_aa, f_bb, -f_ab, and `grad`.

    `grad` (m, p + 1) belongs to (alpha_k, beta_k). Outside the domain the loss is infinite.
    """
    m, width = blocks.shape
    a, d = np.empty(CHUNK), np.empty(CHUNK)
    loss = 0.0
    grad[:] = 0.0
    for k in range(m + 1):
        has_a, has_b = k < m, k > 0
        for c0 in range(starts[k], starts[k + 1], CHUNK):
            c1 = min(c0 + CHUNK, starts[k + 1])
            _dots(XT, c0, c1, blocks[k if has_a else k - 1], a)
            if has_a and has_b:
                _dots(XT, c0, c1, steps[k], d)
            part = 0.0
            for c in range(c1 - c0):
                i, z, step = c0 + c, a[c], d[c]
                f, fa, fb, faa, fbb, fab = row_terms(z, z - step if has_a else z, step, has_a, has_b)
                if not f < np.inf:
                    return np.inf
                wi = w[i]
                part += wi * f
                rows[0, i] = wi * fa
                rows[1, i] = wi * fb
                rows[2, i] = wi * faa
                rows[3, i] = wi * fbb
                rows[4, i] = -wi * fab
            loss += part
            for j in range(width):
                row = XT[j, c0:c1]
                if has_a:
                    grad[k, j] += _dot(row, rows[0, c0:c1])
                if has_b:
                    grad[k - 1, j] += _dot(row, rows[1, c0:c1])
    return loss


@jit
def _scaled(X: Any, h: Any, out: Any) -> Any:
    for j in range(X.shape[0]):
        for c in range(X.shape[1]):
            out[j, c] = X[j, c] * h[c]


@jit
def _add_lower(left: Any, plain: Any, sign: Any, out: Any) -> Any:
    """Add sign * left @ plain.T to the lower triangle of `out`, in strips that skip most of the upper one."""
    width = out.shape[0]
    strips = 1 if width < 32 else 2 if width < 64 else 4
    for b in range(strips):
        r0, r1 = b * width // strips, (b + 1) * width // strips
        product = np.dot(left[r0:r1], plain[:r1].T)
        for j in range(r0, r1):
            for l in range(j + 1):
                out[j, l] += sign * product[j - r0, l]


@jit
def gram(XT: Any, starts: Any, rows: Any, H: Any) -> Any:
    """Fill `H` (m, p + 1, m, p + 1), the Hessian in theta: three weighted Grams of each class."""
    m, width = H.shape[0], H.shape[1]
    diagonal, off = np.zeros((m, width, width)), np.zeros((m, width, width))
    for k in range(m + 1):
        for c0 in range(starts[k], starts[k + 1], CHUNK):
            c1 = min(c0 + CHUNK, starts[k + 1])
            plain = XT[:, c0:c1].copy()
            left = np.empty_like(plain)
            if k < m:
                _scaled(plain, rows[2, c0:c1], left)
                _add_lower(left, plain, 1.0, diagonal[k])
            if k > 0:
                _scaled(plain, rows[3, c0:c1], left)
                _add_lower(left, plain, 1.0, diagonal[k - 1])
            if 0 < k < m:
                _scaled(plain, rows[4, c0:c1], left)
                _add_lower(left, plain, -1.0, off[k])
    for i in range(H.size):
        H.flat[i] = 0.0
    for k in range(m):
        for j in range(width):
            for l in range(j + 1):
                H[k, j, k, l] = H[k, l, k, j] = diagonal[k, j, l]
                if k > 0:
                    x = off[k, j, l]
                    H[k, j, k - 1, l] = H[k, l, k - 1, j] = H[k - 1, j, k, l] = H[k - 1, l, k, j] = x
    # beta_k is the sum of psi_l over l <= k: suffix sums over both block indices, intercepts left out.
    for k in range(m - 2, -1, -1):
        for j in range(1, width):
            for i in range(m):
                for l in range(width):
                    H[k, j, i, l] += H[k + 1, j, i, l]
    for i in range(m):
        for l in range(width):
            for k in range(m - 2, -1, -1):
                for j in range(1, width):
                    H[i, l, k, j] += H[i, l, k + 1, j]


@jit
def moments(X: Any, w: Any, centre: Any, scale: Any) -> Any:
    """Fill the weighted means and population standard deviations of the columns, in two passes."""
    n, p = X.shape
    shift = np.zeros(p)
    centre[:] = 0.0
    scale[:] = 0.0
    for i in range(n):
        for j in range(p):
            centre[j] += w[i] * X[i, j]
    for i in range(n):
        for j in range(p):
            t = X[i, j] - centre[j]
            shift[j] += w[i] * t
            scale[j] += w[i] * t * t
    for j in range(p):
        scale[j] = math.sqrt(max(scale[j] - shift[j] * shift[j], 0.0))
        centre[j] += shift[j]


@jit
def transposed(X: Any, order: Any, centre: Any, inverse: Any, XT: Any) -> Any:
    """Fill `XT` (p + 1, n) with ones and the centred, scaled columns of the rows in `order`."""
    n, p = order.size, X.shape[1]
    XT[0] = 1.0
    for i0 in range(0, n, 64):
        for j in range(p):
            for i in range(i0, min(i0 + 64, n)):
                XT[j + 1, i] = (X[order[i], j] - centre[j]) * inverse[j]
