r"""Compiled log-tails of generalised chi-squared laws by a steepest-descent contour.

Everything is relative to the point c where the contour crosses the real axis:
with ``t = c zeta``, ``u_i = 1 - 2 w_i c``, ``y_i = 2 w_i c / u_i`` and
``beta_i = B_i c / u_i^2`` (and d = zeta - 1),

    K(t) - t x = [K(c) - c x] + phi(zeta),
    phi = sum_i [ -(k_i/2) log(1 - y_i d) + beta_i d / (1 - y_i d) ] - c x d + sigma^2 c^2 (zeta^2 - 1) / 2,
    tail = exp(K(c) - c x) / pi  *  Im int exp(phi) dzeta / zeta,

for the lower tail if c < 0 and for the upper tail if c > 0. No quantity scales
with t, so no depth overflows, and c x is only ever subtracted once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._lib.jit import REASSOC, jit
from ._saddle import EPS, exponent, near, relative_cumulants, saddle, scale_of

_LANES = 8
_MAX_HALVINGS = 12

# Columns of a row of diagnostics.
LOG_TAIL, ERROR, NODES, CONVERGED, CROSSING, CHERNOFF, LOG_PDF = range(7)
N_COLUMNS = 7


@jit(fastmath=REASSOC)
def _multiply(y: Any, first: Any, last: Any, dr: Any, di: Any, pr: Any, pi: Any, turn: Any) -> Any:
    """Multiply the factors 1 - y d of one group, or their conjugates for y > 0, and count turns of the phase.

    Each factor then turns the product counter-clockwise by less than half a
    circle, so a step from the upper to the lower half plane is a full turn.
    """
    n = dr.size
    for i in range(first, last):
        yi = y[i]
        size = abs(yi)
        for j in range(n):
            fr = 1.0 - yi * dr[j]
            fi = size * di[j]
            qr = pr[j] * fr - pi[j] * fi
            qi = pr[j] * fi + pi[j] * fr
            turn[j] += 1.0 if (pi[j] >= 0.0) & (qi < 0.0) else 0.0
            pr[j] = qr
            pi[j] = qi


@jit(fastmath=REASSOC)
def _add_shifts(y: Any, beta: Any, dr: Any, di: Any, er: Any, ei: Any) -> Any:
    """Add sum_i beta_i d / (1 - y_i d) to the exponents."""
    n = dr.size
    for i in range(y.size):
        yi = y[i]
        bi = beta[i]
        for j in range(n):
            fr = 1.0 - yi * dr[j]
            fi = -yi * di[j]
            scale = bi / (fr * fr + fi * fi)
            er[j] += scale * (dr[j] * fr + di[j] * fi)
            ei[j] += scale * (di[j] * fr - dr[j] * fi)


@jit
def _block(
    k: Any,
    y: Any,
    beta: Any,
    cx: Any,
    gauss: Any,
    ymax: Any,
    shifted: Any,
    first: Any,
    stride: Any,
    h: Any,
    a: Any,
    bend: Any,
    work: Any,
    out: Any,
) -> Any:
    """Fill one block of nodes v = (first + stride j) h.

    Row 0 of `out` receives Im(e^phi zeta'/zeta), row 1 its modulus and row 2
    Im(e^phi zeta'), the integrand of the density.
    """
    dr, di, pr, pi, turn, er, ei = work[0], work[1], work[2], work[3], work[4], work[5], work[6]
    farthest = 0.0
    for j in range(_LANES):
        v = (first + stride * j) * h
        half = math.sinh(0.5 * v)
        dr[j] = 2.0 * bend * half * half
        di[j] = a * math.sinh(v)
        farthest = max(farthest, abs(dr[j]) + di[j])
        er[j] = -cx * dr[j] + gauss * (dr[j] + 0.5 * (dr[j] * dr[j] - di[j] * di[j]))
        ei[j] = -cx * di[j] + gauss * di[j] * (1.0 + dr[j])
        pr[j] = 1.0
        pi[j] = 0.0
        turn[j] = 0.0
    longest = int(min(200.0, 900.0 / math.log2(2.0 + ymax * farthest)))
    n = y.size
    start = 0
    while start < n:
        stop = start + 1
        limit = min(n, start + longest)
        positive = y[start] > 0.0
        while stop < limit and k[stop] == k[start] and (y[stop] > 0.0) == positive:
            stop += 1
        _multiply(y, start, stop, dr, di, pr, pi, turn)
        half_dof = 0.5 * k[start]
        half_turn = -half_dof if positive else half_dof
        for j in range(_LANES):
            square = y[start] * (y[start] * (dr[j] * dr[j] + di[j] * di[j]) - 2.0 * dr[j])
            if stop == start + 1 and abs(square) < 0.5:
                # A million dofs of one weight feel even the rounding of a factor next to 1.
                er[j] -= half_dof * (0.5 * math.log1p(square))
            else:
                er[j] -= half_dof * (0.5 * math.log(pr[j] * pr[j] + pi[j] * pi[j]))
            ei[j] -= half_turn * (math.atan2(pi[j], pr[j]) + 2.0 * math.pi * turn[j])
            pr[j] = 1.0
            pi[j] = 0.0
            turn[j] = 0.0
        start = stop
    if shifted:
        _add_shifts(y, beta, dr, di, er, ei)
    for j in range(_LANES):
        v = (first + stride * j) * h
        size = math.exp(er[j])
        fr = size * math.cos(ei[j])
        fi = size * math.sin(ei[j])
        gr = bend * math.sinh(v)
        gi = a * math.cosh(v)
        vr = fr * gr - fi * gi
        vi = fr * gi + fi * gr
        zr = 1.0 + dr[j]
        zi = di[j]
        norm = zr * zr + zi * zi
        out[0, j] = (vi * zr - vr * zi) / norm
        out[1, j] = math.sqrt((vr * vr + vi * vi) / norm)
        out[2, j] = vi


@jit
def _shape(a2: Any, bend: Any, slope: Any) -> Any:
    """Return a, the bend of the hyperbola zeta = 1 + i a sinh v + bend (cosh v - 1), and the first step in v.

    `bend` is the quadratic coefficient wanted near the crossing, `slope` bounds
    how far the path leans over in the end.
    """
    width = min(1.0 / math.sqrt(a2), 1.0)
    a = min(8.0 * width, 0.5 * slope / abs(bend)) if bend != 0.0 else 8.0 * width
    return a, 2.0 * a * a * bend, 0.75 * width / a


@jit
def _integrate(
    k: Any,
    y: Any,
    beta: Any,
    cx: Any,
    gauss: Any,
    ymax: Any,
    shifted: Any,
    column: Any,
    a: Any,
    bend: Any,
    h: Any,
    goal: Any,
    budget: Any,
    work: Any,
    out: Any,
    found: Any,
) -> Any:
    """Halve the step of the trapezoidal rule until two results agree.

    `found` receives the value, its relative error, the integral of the modulus
    and the number of nodes. Returns whether it converged.
    """
    total = 0.0
    size = 0.0
    value = 0.0
    error = math.inf
    change = math.inf
    nodes = 0.0
    converged = False
    for level in range(_MAX_HALVINGS + 1):
        # The first level visits all nodes, each later one the midpoints between them.
        first, stride = (0.0, 1.0) if level == 0 else (1.0, 2.0)
        quiet = 0
        while nodes < budget and quiet < 3:
            _block(k, y, beta, cx, gauss, ymax, shifted, first, stride, h, a, bend, work, out)
            nodes += _LANES
            quiet = 0
            for j in range(_LANES):
                total += 0.5 * out[column, j] if first == 0.0 and j == 0 else out[column, j]
                size += out[1, j]
                quiet = quiet + 1 if out[1, j] < 1e-18 * abs(total) else 0
            first += stride * _LANES
        if quiet < 3 or not size < math.inf:
            break
        previous, value = value, total * h
        if level > 0:
            # Halving squares the error at best, but less where a law has several scales: change^(5/4) is
            # cautious. After an agreement by chance the change before it was large; by chance the first
            # change is small too often for a loose goal.
            before, change = change, abs(value - previous) / abs(value) if value != 0.0 else math.inf
            error = change * math.sqrt(math.sqrt(change)) if change < 1e-6 else change
            if level > 1:
                error = max(error, before**3 if goal < 1e-9 else before * before)
            elif change > 1e-10:
                error = max(error, 2.0 * goal)
            if error <= goal:
                converged = value > 0.0
                break
        if level < _MAX_HALVINGS:
            h *= 0.5
    found[0] = value
    found[1] = error
    found[2] = size * h
    found[3] += nodes
    return converged


@jit
def _log_tail(
    w: Any,
    k: Any,
    b: Any,
    sigma: Any,
    x: Any,
    sign: Any,
    tol: Any,
    density: Any,
    row: Any,
    work: Any,
    out: Any,
) -> Any:
    """Write the log of one tail at `x` (the offset already subtracted) and its diagnostics into `row`."""
    n = w.size
    c = saddle(w, k, b, sigma, x, sign, near(w, k, b, sigma, sign), 1e-6)
    _, a2, a3 = relative_cumulants(w, k, b, sigma, c)
    height, rounding = exponent(w, k, b, sigma, c, x)
    y = np.empty(n)
    beta = np.empty(n)
    ymax = 0.0
    shifted = False
    definite = sigma == 0.0
    for i in range(n):
        inverse = 1.0 / (1.0 - 2.0 * w[i] * c)
        y[i] = 2.0 * w[i] * c * inverse
        beta[i] = (b[i] * inverse) * (c * inverse)
        ymax = max(ymax, abs(y[i]))
        shifted = shifted or beta[i] != 0.0
        definite = definite and w[i] * w[0] > 0.0
    cx = c * x
    gauss = (sigma * c) ** 2
    # Rounding in the exponents of the nodes themselves, which no halving can remove.
    noise = EPS * (4.0 + 4.0 * (abs(cx) + gauss) / math.sqrt(max(a2, 1.0)))
    goal = max(tol, noise)
    column = 2 if density else 0
    most = max(1024.0, min(65536.0, 2e8 / (n + 16.0)))
    # The path of steepest descent, to second order, usually leads to where exp(-c x d) decays. For indefinite
    # forms, and laws with very different scales, it may not, and then others are tried: the first
    # that converges without cancellation is taken, else the one with the least error.
    steepest = a3 / (6.0 * a2)
    gentle = (0.1 if cx >= 0.0 else -0.1) * math.sqrt(max(a2, 1.0))
    found = np.zeros(4)
    value, error, converged = 0.0, math.inf, False
    for attempt in range(9):
        budget = min(1024.0, most)
        slope = 0.5
        if attempt == 0:
            # Lean to the decaying side where that costs nothing.
            bend = steepest if definite or abs(steepest) >= 0.2 * abs(gentle) or cx == 0.0 else gentle
            slope = 2.0 if definite else 0.5
        elif attempt == 1:
            bend = steepest
            slope = 0.5 if definite else 2.0
        elif attempt == 2:
            bend = gentle
        elif attempt == 3:
            bend, slope = 0.2 * gentle, 0.1
        elif attempt == 4:
            bend = -gentle
        elif attempt == 5:
            bend = 0.0
        elif attempt == 6:
            bend, slope = steepest, 0.1
        else:
            bend = steepest if attempt == 7 else gentle
            budget = most
        a, lean, h = _shape(a2, bend, slope)
        good = _integrate(
            k, y, beta, cx, gauss, ymax, shifted, column, a, lean, h, goal, budget, work, out, found
        )
        trust = found[1] + noise * max(1.0, found[2] / found[0]) if good else math.inf
        if trust < error or (value <= 0.0 and found[0] > 0.0):
            value, error, converged = found[0], trust if good else found[1], good
        if good and found[2] < 100.0 * found[0]:
            break
    scale = abs(c) if density else 1.0
    if value > 0.0:
        log_value = height + math.log(value * scale / math.pi)
    else:
        # The leading term of the saddlepoint expansion is the best that is left; its error is told as inf.
        log_value = height + math.log(scale) - 0.5 * math.log(2.0 * math.pi * max(a2, 0.2))
    if not converged and height < -1e15:
        # The factor before the exponential, of some dozen nats at most, is lost beside it.
        error, converged = 1e-13 * abs(height), True
    row[LOG_PDF if density else LOG_TAIL] = log_value
    # Two values of an unconverged integral may agree by chance: no finite error would be honest.
    row[ERROR] = error + rounding if converged else math.inf
    row[NODES] = found[3]
    row[CONVERGED] = 1.0 if converged else 0.0
    row[CROSSING] = c
    row[CHERNOFF] = min(height, 0.0)


@jit
def _log_edge(log_x: Any, w: Any, k: Any, b: Any, density: Any) -> Any:
    """Return the leading term of a log-tail (or density) of a definite form next to the end of its support.

    P ~ (x/2)^(m/2) / Gamma(m/2 + 1) prod |w_i|^(-k_i/2) exp(-sum B_i / (2 w_i)), m = sum k_i, where x is
    so small that the next term is below rounding; NaN where it is not.
    """
    half_dof = 0.0
    total = 0.0
    correction = 0.0
    for i in range(w.size):
        half_dof += 0.5 * k[i]
        total -= 0.5 * k[i] * math.log(abs(w[i])) + 0.5 * b[i] / w[i]
        correction += 0.5 * k[i] / abs(w[i]) + 0.5 * b[i] / w[i] / abs(w[i])
    if not log_x + math.log(correction) < -40.0:
        return math.nan
    total += half_dof * (log_x - math.log(2.0)) - math.lgamma(half_dof + 1.0)
    return total + math.log(half_dof) - log_x if density else total


@jit
def log_tails(x: Any, w: Any, k: Any, b: Any, sigma: Any, upper: Any, tol: Any, density: Any) -> Any:
    """Evaluate log tails (or log densities) at each x.

    Parameters
    ----------
    x : (P,) float64
        Offset subtracted.
    w, k, b : (N,) float64
        Weights without zeros, dofs, shifts. Runs of equal dofs and equal sign of
        the weight cost least.
    sigma : float
    upper : (P,) bool
        Which tail; for a density, the side on which the contour crosses.
    tol : float
    density : bool

    Returns
    -------
    (P, 7) float64
        Columns LOG_TAIL ... LOG_PDF.
    """
    scale = scale_of(w, sigma)
    ws = w / scale
    bs = b / scale
    work = np.empty((7, _LANES))
    out = np.empty((3, _LANES))
    rows = np.zeros((x.size, N_COLUMNS))
    definite = sigma == 0.0
    for i in range(w.size):
        definite = definite and w[i] * w[0] > 0.0
    for p in range(x.size):
        sign = 1.0 if upper[p] else -1.0
        # Next to a finite end of the support the saddlepoint would leave the range of numbers.
        if definite and sign * w[0] < 0.0:
            log_x = math.log(abs(x[p])) - math.log(scale)
            edge = _log_edge(log_x, ws, k, bs, density) if log_x < -600.0 else math.nan
            if not math.isnan(edge):
                row = rows[p]
                row[LOG_PDF if density else LOG_TAIL] = edge - (math.log(scale) if density else 0.0)
                row[ERROR] = 4.0 * EPS * (abs(edge) + abs(log_x) * k.sum())
                row[CONVERGED] = 1.0
                row[CROSSING] = -0.5 * k.sum() / x[p]
                # Chernoff's bound at t = -m / (2 x), from the same leading terms; Stirling's error apart.
                half = 0.5 * k.sum()
                gap = math.lgamma(half + 1.0) + half - half * math.log(half)
                row[CHERNOFF] = min(edge + gap, 0.0)
                continue
        if not abs(x[p] / scale) < math.inf:
            # So many scales out that the logarithm itself leaves the range of numbers.
            rows[p, LOG_TAIL] = rows[p, CHERNOFF] = rows[p, LOG_PDF] = -math.inf
            rows[p, CONVERGED], rows[p, CROSSING] = 1.0, math.nan
            continue
        _log_tail(ws, k, bs, sigma / scale, x[p] / scale, sign, tol, density, rows[p], work, out)
        rows[p, CROSSING] /= scale
        rows[p, LOG_PDF] -= math.log(scale)
    return rows
