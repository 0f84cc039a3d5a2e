"""Duals of arbitrary activations by polar quadrature, and Gaussian moments in one dimension.

With ``u = sqrt(a) r cos t``, ``v = sqrt(b) r cos(t - theta)`` a kink of phi at zero lies on
rays from the origin, whatever the correlation: the plane splits into four wedges,
in two of which u and v have one sign. Gauss-Legendre rules inside each wedge see
a smooth function.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Function = Callable[[Array], Array]

RADIUS = 12.0  # exp(-72) = 5e-32 of the mass lies outside
_STEEP = 256.0
_CHUNK = 1 << 15  # evaluations at a time: what stays in the cache


@functools.lru_cache(maxsize=64)
def legendre(n: int) -> tuple[Array, Array]:
    """Return nodes and weights of Gauss-Legendre on [0, 1], correct to rounding.

    NumPy's weights are wrong by up to 1e-12 of themselves at 48 nodes, an error that every layer of a
    deep network repeats; Newton's iteration in extended precision leaves none of it.
    """
    x: Array = np.polynomial.legendre.leggauss(n)[0].astype(np.longdouble)
    for _ in range(2):
        before, here = np.ones_like(x), x
        for k in range(1, n):
            before, here = here, ((2 * k + 1) * x * here - k * before) / (k + 1)
        slope = n * (before - x * here) / (1.0 - x * x)
        x = x - here / slope
    weight = 1.0 / ((1.0 - x * x) * slope * slope)
    return (0.5 * (x + 1.0)).astype(np.float64), weight.astype(np.float64)


def _rays(
    alpha: Array, beta: Array, near: Array, far: Array, n: int
) -> Iterator[tuple[slice, bool, Array, Array, Array, Array, Array]]:
    """Yield ``(pairs, same, su, sv, middle, weight, r)`` for parts of the pairs and two wedges of the plane.

    Along rays, of sines `su` and `sv` (pairs, m, 1), at radii `r`, ``u = alpha r su`` and
    ``v = +-beta r sv``, of one sign if `same`; the other half plane is ``(-u, -v)``. A ray stands at the
    angle `middle` from the middle of its wedge.
    With n = 0 panels shrink towards all borders of the wedges, as large variances need.
    """
    largest = max(float(alpha.max(initial=1.0)), float(beta.max(initial=1.0)))
    grades = math.ceil(0.5 * math.log2(largest)) if n == 0 else 0
    nodes, weights = legendre(n or 20)
    # radii below 2^-120 weigh nothing against what is left of the smallest Ddot
    base = np.array([0.0, *0.25 ** np.arange(min(grades, 60), 0, -1.0), 1.0, 3.0, 6.5, RADIUS])
    points, share = legendre(max(16, n // 2) if n else 22)
    r = (base[:-1, None] + np.diff(base)[:, None] * points).ravel()
    wr = (np.diff(base)[:, None] * share).ravel() * r * np.exp(-0.5 * r * r) / (2.0 * np.pi)
    chunk = max(1, _CHUNK // ((2 * grades + 4) * nodes.size * r.size))
    for start in range(0, alpha.size, chunk):
        sl = slice(start, start + chunk)
        al, be, acute, rest = (v[sl, None] for v in (alpha, beta, near, far))
        for same, width, other in ((False, acute, rest), (True, rest, acute)):
            if n == 0:  # the activation turns over where a ray passes an axis at a distance of about one
                scale = np.maximum(np.maximum(al, be), 1.0) * width
                unit = 0.125 / np.maximum(scale, 0.25)  # 1 / 2 where all of the wedge is that close
                steps = math.ceil(0.5 * math.log2(0.5 / float(unit.min())))
                inner = [np.minimum(unit * 4.0**k, 0.5) for k in range(steps)]
                cuts = np.concatenate([0.0 * al, *inner, 0.0 * al + 0.5], axis=1)
                gaps = np.diff(cuts, axis=1)[..., None]
                half = (cuts[:, :-1, None] + gaps * nodes).reshape(al.shape[0], -1)
                wx = np.tile((gaps * weights).reshape(half.shape), 2)
                # fractions from both borders, each to all its digits
                x = np.concatenate([half, 1.0 - half], axis=1)
                y = np.concatenate([1.0 - half, half], axis=1)
            else:
                x, y, wx = nodes + 0.0 * al, 1.0 - nodes + 0.0 * al, weights + 0.0 * al
            # beyond a right angle the sine of the supplement, which may be small
            su = np.sin(np.where(width * x <= 0.5 * np.pi, width * x, other + width * y))
            sv = np.sin(np.where(width * y <= 0.5 * np.pi, width * y, other + width * x))
            middle = 0.5 * width * (x - y)
            yield sl, same, su[..., None], sv[..., None], middle[..., None], (width * wx)[..., None] * wr, r


def polar(
    fns: tuple[Function, ...], alpha: Array, beta: Array, near: Array, far: Array, n: int
) -> list[Array]:
    """Return ``E[f(u) f(v)]`` for each f, standard deviations and angles ``near, far = pi - near`` (N,).

    Kinks at zero only. Cost: about ``4 n (2 n)`` evaluations of each function a pair.
    """
    outs = [np.zeros(alpha.shape) for _ in fns]
    for sl, same, su, sv, _, weight, r in _rays(alpha, beta, near, far, n):
        u = alpha[sl, None, None] * su * r
        v = (beta if same else -beta)[sl, None, None] * sv * r
        for out, f in zip(outs, fns):
            out[sl] += np.sum(weight * (f(u) * f(v) + f(-u) * f(-v)), axis=(1, 2))
    return outs


def polar_gap(
    f: Function, df: Function, alpha: Array, beta: Array, near: Array, far: Array, kinked: bool, n: int
) -> Array:
    """Return ``E[f(alpha x) (f(beta x) - f(beta y))]``, x and y standard normal at an angle `near`.

    Exchanging x and y this is half of ``E[(f(alpha x) - f(alpha y)) (f(beta x) - f(beta y))]``, whose
    factors are small one by one: from slopes where both arguments are close. `kinked`: at zero.
    """
    out = np.zeros(alpha.shape)
    for sl, same, su, sv, middle, weight, r in _rays(alpha, beta, near, far, n):
        q = sv * (r if same else -r)
        # x - y; for sines of one sign by their sum formula
        turn = np.sin(0.5 * near[sl, None, None])
        d = 2.0 * turn * np.sin(middle) * r if same else su * r - q
        for sign in (1.0, -1.0):
            left, right = (
                _difference(f, df, sign * s[sl, None, None], q, d, same or not kinked) for s in (alpha, beta)
            )
            out[sl] += 0.5 * np.sum(weight * left * right, axis=(1, 2))
    return out


def _difference(f: Function, df: Function, scale: Array, q: Array, d: Array, smooth: bool) -> Array:
    """Return ``f(scale (q + d)) - f(scale q)``; across a kink rounding hits what weighs little."""
    base, step = scale * q, scale * d
    moved = base + step
    # what rounding took from the step goes through the slope
    direct = f(moved) - f(base) + df(moved) * (step - (moved - base))
    close = np.abs(step) < 0.3
    if not smooth or not np.any(close):
        return np.asarray(direct)
    step = np.where(close, step, 0.0)
    largest = float(np.max(np.abs(step)))
    t, wt = legendre(3 if largest < 1e-3 else 5 if largest < 0.02 else 8)
    slope = sum((wi * df(base + ti * step) for ti, wi in zip(t, wt)), 0.0 * step)
    return np.where(close, step * slope, direct)


def resolution(f: Function, alpha: float, beta: float) -> int:
    """Return how many nodes the polar rule needs at the largest scales, by comparing two resolutions.

    0 stands for graded panels: functions that turn over on a small part of a wedge, which no comparison
    sees where it is very small.
    """
    if max(alpha, beta) > _STEEP:
        return 0
    probe = np.array([0.05, 1.1, 2.9])
    al, be = np.full(3, alpha), np.full(3, beta)
    n = 24
    (coarse,) = polar((f,), al, be, probe, np.pi - probe, n)
    while n < 54:
        finer = n * 3 // 2
        (fine,) = polar((f,), al, be, probe, np.pi - probe, finer)
        scale = float(np.max(np.abs(fine))) or 1.0
        if float(np.max(np.abs(fine - coarse))) <= 2e-15 * scale:
            return n
        n, coarse = finer, fine
    return 0


def gauss_moment(g: Function, q: Array, kinks: tuple[float, ...] = (0.0,), n: int = 32) -> Array:
    """Return ``E[g(sqrt(q) x)]`` for x standard normal; `q` of shape (N,). Panels break at the kinks."""
    x, w = legendre(n)
    scale = np.sqrt(np.asarray(q, dtype=np.float64))[:, None]
    stops = [-12.0, -6.5, -3.0, -1.0, 0.0, 1.0, 3.0, 6.5, 12.0]
    columns = [np.full_like(scale, s) for s in stops]
    # sigmoids become steep against the Gaussian when q is large: a graded grid about zero
    grades = max(0, math.ceil(math.log2(max(1.0, float(scale.max(initial=1.0))))) + 1)
    columns += [np.full_like(scale, s * 0.5**k) for k in range(1, grades + 1) for s in (-1.0, 1.0)]
    for k in kinks:
        if k != 0.0:
            with np.errstate(divide="ignore"):
                columns.append(np.clip(k / scale, -12.0, 12.0))
    cuts = np.sort(np.concatenate(columns, axis=1), axis=1)
    gaps = np.diff(cuts, axis=1)[..., None]
    out = np.empty(scale.size)
    rows = max(1, _CHUNK // (4 * gaps.shape[1] * n))
    for start in range(0, scale.size, rows):
        part = slice(start, start + rows)
        nodes = cuts[part, :-1, None] + gaps[part] * x
        weight = gaps[part] * w * np.exp(-0.5 * nodes * nodes) / math.sqrt(2.0 * math.pi)
        out[part] = np.sum(weight * g(scale[part, :, None] * nodes), axis=(1, 2))
    return out


def find_kinks(f: Function, reach: float = 8.0) -> tuple[float, ...]:
    """Locate points where `f` is not smooth by bisecting panels whose Chebyshev tail does not decay."""
    nodes = np.cos(np.pi * np.arange(25) / 24)[::-1]
    stack = [(k, k + 1.0) for k in np.arange(-reach, reach)]
    found: list[float] = []
    while stack:
        low, high = stack.pop()
        x = 0.5 * (low + high) + 0.5 * (high - low) * nodes
        values = np.asarray(f(x), dtype=np.float64)
        tail = np.abs(np.polynomial.chebyshev.chebfit(nodes, values, 24))
        if tail[-4:].max() <= 1e-12 * max(1.0, tail.max()):
            continue
        if high - low < 1e-3:
            found.append(_pin(f, low, high))
            continue
        middle = 0.5 * (low + high)
        stack += [(low, middle), (middle, high)]
        if len(stack) > 4000:
            raise ValueError(
                "activation is not piecewise smooth on [-8, 8]; pass kinks=(...) to duals.register"
            )
    # a kink on the border of two panels is seen by neither: compare one-sided slopes at the integers
    grid = np.arange(-reach, reach + 1.0)
    h = 1e-4
    left, mid, right = (np.asarray(f(grid + s), dtype=np.float64) for s in (-h, 0.0, h))
    jump = np.abs(right - 2.0 * mid + left) > 20.0 * h * h * (1.0 + np.abs(mid))
    found += [float(k) for k in grid[jump]]
    merged: list[float] = []
    for k in sorted(found):
        if not merged or k - merged[-1] > 1e-6:
            merged.append(k)
    return tuple(sorted({*merged, 0.0}))


def _pin(f: Function, low: float, high: float) -> float:
    """Narrow a kink to rounding: extrapolate straight lines from both sides, or bisect a jump."""
    for _ in range(60):
        middle = 0.5 * (low + high)
        h = high - low
        if h < 4e-16 * max(1.0, abs(middle)):
            break
        x = np.array([low, low + 0.25 * h, middle, middle + 0.25 * h, high])
        v = np.asarray(f(x), dtype=np.float64)
        left = abs(v[0] - 2.0 * v[1] + v[2])
        right = abs(v[2] - 2.0 * v[3] + v[4])
        centre = abs(v[1] - 2.0 * v[2] + v[3])
        if max(left, right, centre) < 1e-14 * max(1.0, float(np.abs(v).max())):
            break
        if centre >= max(left, right):
            low, high = float(x[1]), float(x[3])
        elif left > right:
            high = middle
        else:
            low = middle
    middle = 0.5 * (low + high)
    simple = round(middle * 64.0) / 64.0
    return simple if abs(simple - middle) < 1e-3 and low <= simple <= high else middle


def derivative(f: Function, kinks: tuple[float, ...]) -> Function:
    """Return the derivative of `f`: a complex step where `f` is analytic, else Richardson differences.

    The complex step is exact to rounding but silently wrong for functions that drop
    the imaginary part; it is used only where it agrees with differences on a probe.
    """
    probe = np.linspace(-5.3, 5.1, 97)
    probe = probe[np.min(np.abs(probe[:, None] - np.array(kinks or (1e9,))), axis=1) > 1e-2]
    h = 1e-4
    with np.errstate(all="ignore"):
        reference = (8.0 * (f(probe + h) - f(probe - h)) - (f(probe + 2 * h) - f(probe - 2 * h))) / (12.0 * h)
        try:
            stepped = np.imag(f(probe + 1e-30j)) / 1e-30
            good = bool(np.max(np.abs(stepped - reference) / (1.0 + np.abs(reference))) < 1e-7)
        except Exception:
            good = False
    if good:
        return lambda x: np.asarray(np.imag(f(x + 1e-30j)) / 1e-30)
    edges = np.array(kinks or (1e9,))
    # weights of the eighth-order central difference
    weights = ((1, 0.8), (2, -0.2), (3, 4.0 / 105.0), (4, -1.0 / 280.0))
    # and of the one-sided one, away from a kink that stands too close
    sided = (-761.0 / 280.0, 8.0, -14.0, 56.0 / 3.0, -17.5, 11.2, -14.0 / 3.0, 8.0 / 7.0, -0.125)

    def slope(x: Array) -> Array:
        gap = x[..., None] - edges
        left = np.min(np.where(gap > 0, gap, np.inf), axis=-1)
        right = np.min(np.where(gap > 0, np.inf, -gap), axis=-1)
        step = 0.02 * np.maximum(1.0, np.abs(x))
        near = np.minimum(left, right) < 4.2 * step
        out = np.asarray(sum(w * (f(x + k * step) - f(x - k * step)) for k, w in weights) / step)
        if np.any(near):
            at, room = x[near], np.maximum(left, right)[near]
            h = np.maximum(np.minimum(step[near], 0.124 * room), 1e-7)
            h = np.where(right[near] > left[near], h, -h)
            out[near] = sum(w * f(at + k * h) for k, w in enumerate(sided)) / h
        return out

    return slope
