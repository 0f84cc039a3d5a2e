"""Kernels of near duplicates for piecewise polynomials, to forty digits; run by hand (a minute).

``E[f(v) | u]`` is a sum of truncated moments of a normal law; what remains is one integral, cut where f
bends and where the conditional mean of v passes a kink. Prints the table of `test_kinks.py`.
"""

import itertools

import mpmath as mp

from tests.infinite_width.generate_near_duplicates import STEP, X

# kinks, and coefficients of 1, x, x^2 between them
ACTS = {
    "hard_tanh": ((-1, 1), ((-1, 0, 0), (0, 1, 0), (1, 0, 0))),
    "relu6": ((0, 6), ((0, 0, 0), (0, 1, 0), (6, 0, 0))),
    "hard_swish": ((-3, 3), ((0, 0, 0), (0, mp.mpf("0.5"), mp.mpf(1) / 6), (0, 1, 0))),
    "soft_shrink": (("-0.25", "0.25"), (("0.25", 1, 0), (0, 0, 0), ("-0.25", 1, 0))),
}
ACTS = {
    name: ([mp.mpf(k) for k in kinks], [[mp.mpf(c) for c in p] for p in pieces])
    for name, (kinks, pieces) in ACTS.items()
}


def slopes(pieces):
    return [(p[1], 2 * p[2], mp.mpf(0)) for p in pieces]


def smoothed(kinks, pieces, m, s):
    """``E f(m + s xi)``."""
    cuts = [None, *kinks, None]
    total = mp.mpf(0)
    for low, high, p in zip(cuts, cuts[1:], pieces):
        mass = (1 if high is None else mp.ncdf((high - m) / s)) - (
            0 if low is None else mp.ncdf((low - m) / s)
        )
        up = 0 if high is None else s * mp.npdf((high - m) / s)
        down = 0 if low is None else s * mp.npdf((low - m) / s)
        first = m * mass - (up - down)
        second = (m * m + s * s) * mass - (
            (0 if high is None else (high + m) * up) - (0 if low is None else (low + m) * down)
        )
        total += p[0] * mass + p[1] * first + p[2] * second
    return total


def expectation(kinks, pieces, al, be, rho):
    """``E[f(u) f(v)]`` for standard deviations `al`, `be`."""
    width = mp.sqrt(1 - rho * rho)
    stops = {mp.mpf(s) for s in (-14, -8, -4, 0, 4, 8, 14)} | {k / al for k in kinks}
    if rho != 0:
        stops |= {(k / be + width * j) / rho for k in kinks for j in (-14, -7, -3, 0, 3, 7, 14)}
    stops = sorted(s for s in stops if abs(s) <= 14)
    total = mp.mpf(0)
    for low, high in itertools.pairwise(stops):
        middle = al * (low + high) / 2

        def part(x, middle=middle):
            if width:
                inner = smoothed(kinks, pieces, be * rho * x, be * width)
            else:  # v follows u
                inner = value(kinks, pieces, be * rho * middle / al, be * rho * x)
            return value(kinks, pieces, middle, al * x) * inner * mp.npdf(x)

        total += mp.quad(part, [low, high], method="gauss-legendre")
    return total


def value(kinks, pieces, where, v):
    """``f(v)`` by the piece that holds `where`."""
    p = pieces[sum(k < where for k in kinks)]
    return p[0] + v * (p[1] + v * p[2])


def kernels(name, x, y, depth, w, b):
    """K, T and squared distance."""
    kinks, pieces = ACTS[name]
    x, y, w, b = [mp.mpf(v) for v in x], [mp.mpf(v) for v in y], mp.mpf(w), mp.mpf(b)
    d = len(x)
    a, bb, c = (sum(p * q for p, q in zip(u, v)) / d for u, v in ((x, x), (y, y), (x, y)))
    a, bb, c = w * a + b, w * bb + b, w * c + b
    t = c
    for layer in range(depth):
        al, be = mp.sqrt(a), mp.sqrt(bb)
        rho = c / (al * be)
        slope = expectation(kinks, slopes(pieces), al, be, rho)
        c = expectation(kinks, pieces, al, be, rho)
        a, bb = (expectation(kinks, pieces, s, s, mp.mpf(1)) for s in (al, be))
        last = layer == depth - 1
        scale, shift = (mp.mpf(1), mp.mpf(0)) if last else (w, b)
        a, bb, c = scale * a + shift, scale * bb + shift, scale * c + shift
        t = c + scale * slope * t
    return float(c), float(t), float(a + bb - 2 * c)


if __name__ == "__main__":
    mp.mp.dps = 45
    for name, w, b in (
        ("hard_tanh", 2.0, 0.01),
        ("relu6", 3.0, 0.01),
        ("hard_swish", 4.0, 0.01),
        ("soft_shrink", 3.0, 0.01),
    ):
        for separation in (1e-8, 1e-3, 1.0):
            y = [p + separation * q for p, q in zip(X, STEP)]
            print(f"    {(name, w, b, separation, *kernels(name, X, y, 3, w, b))},", flush=True)
