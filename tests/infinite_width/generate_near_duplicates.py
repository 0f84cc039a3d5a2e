"""Kernels of near duplicates in extended precision (19 digits), for activations without closed forms.

``python tests/infinite_width/generate_near_duplicates.py`` prints the table of
`test_deep_quadrature.py` (minutes). The rule is a graded product of Gauss panels along rays; a pair is
carried as ``alpha, beta``, their difference, and ``e = alpha beta - c``, whose growth in a layer is half of
``E[(f(alpha x) - f(alpha y)) (f(beta x) - f(beta y))]``, x and y of one correlation.
Forty-digit closed forms of ReLU and sine are met to the last digit of float64.
"""

import functools

import numpy as np

LD = np.longdouble
PI = LD("3.14159265358979323846264338327950288")
CASES = [("tanh", 4.0, 0.01), ("silu", 2.0, 0.01), ("elu", 2.0, 0.01), ("softsign", 4.0, 0.01)]
X = (0.3, -1.1, 0.8)
STEP = (0.5, 0.2, -0.7)


def expit(x):
    return 1 / (1 + np.exp(-x))


ACTS = {
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "silu": (lambda x: x * expit(x), lambda x: expit(x) * (1 + x * expit(-x))),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), lambda x: np.exp(np.minimum(x, 0))),
    "softsign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
}


@functools.cache
def rule(n):
    """Gauss-Legendre on [0, 1] by Newton's iteration."""
    x = np.polynomial.legendre.leggauss(n)[0].astype(LD)
    for _ in range(3):
        p0, p1 = np.ones_like(x), x
        for k in range(1, n):
            p0, p1 = p1, ((2 * k + 1) * x * p1 - k * p0) / LD(k + 1)
        slope = n * (x * p1 - p0) / (x * x - 1)
        x = x - p1 / slope
    return (x + 1) / 2, 1 / ((1 - x * x) * slope**2)


def panels(cuts, n=13):
    x, w = rule(n)
    cuts = np.array(cuts, dtype=LD)
    gaps = np.diff(cuts)[:, None]
    return (cuts[:-1, None] + gaps * x).ravel(), (gaps * w).ravel()


def difference(f, g, base, step, flat):
    """``f(base + step) - f(base)``, from slopes where `flat`."""
    if not flat:
        return f(base + step) - f(base)
    t, w = rule(6)
    return step * sum(wi * g(base + ti * step) for ti, wi in zip(t, w))


def layer(act, al, be, df, th):
    """Standard deviations, their difference, the gap, the covariance and E[f' f'] after the activation."""
    f, g = act
    k = max(0, int(np.ceil(np.log2(3 * float(max(al, be))))))
    r, wr = panels([0] + [2.0**-j for j in range(k, -1, -1)] + [2.2, 4, 6.5, 11.5])
    wr = wr * np.exp(-r * r / 2)
    x, wx = np.concatenate([-r, r]), np.concatenate([wr, wr]) / np.sqrt(2 * PI)
    fa, fb = f(al * x), f(be * x)
    new_a, new_b = np.sqrt((wx * fa * fa).sum()), np.sqrt((wx * fb * fb).sum())
    step = difference(f, g, be * x, df * x, abs(df) * 12 < 0.3)
    change = (wx * step * (fa + fb)).sum() / (new_a + new_b)
    e = max(((wx * step * step).sum() - change**2) / 2, LD(0))
    value = slope = LD(0)
    half = [2.0**-j for j in range(k + 4, 0, -1)]
    xs, ws = panels([0, *half, *[1 - c for c in half[-2::-1]], 1])
    flat = th * max(al, be) * 12 < 0.3
    for same, width in ((False, th), (True, PI - th)):
        p = np.sin(width * xs)[:, None] * r
        q = np.sin(width * (1 - xs))[:, None] * (r if same else -r)
        d = 2 * np.sin(th / 2) * np.sin(width * (2 * xs - 1) / 2)[:, None] * r if same else p - q
        weight = ws[:, None] * (wr * r) * width / (2 * PI)
        for sign in (1, -1):
            value += (weight * f(sign * al * p) * f(sign * be * q)).sum()
            slope += (weight * g(sign * al * p) * g(sign * be * q)).sum()
            if same or not flat:
                left, right = (difference(f, g, sign * s * q, sign * s * d, flat) for s in (al, be))
            else:  # both arguments small, of either sign: from zero, where there may be a kink
                left, right = (
                    difference(f, g, 0 * p, sign * s * p, True) - difference(f, g, 0 * q, sign * s * q, True)
                    for s in (al, be)
                )
            e += (weight * left * right).sum() / 2
    return new_a, new_b, change, e, value, slope


def kernels(name, x, y, depth, w, b):
    """K, T and squared distance."""
    x, y = (np.asarray(v, dtype=LD) for v in (x, y))
    w, b, d, h = LD(w), LD(b), len(x), x - y
    al, be, c = np.sqrt((x * x).sum() / d), np.sqrt((y * y).sum() / d), (x * y).sum() / d
    df = (h * (x + y)).sum() / d / (al + be)
    cross = np.outer(x, h) - np.outer(h, x)
    e = (cross * cross).sum() / 2 / d / d / (al * be + c)
    slope = t = LD(0)
    for _ in range(depth):
        a, bb = np.sqrt(w * al * al + b), np.sqrt(w * be * be + b)
        e = w * e + b * w * df * df / (a * bb + w * al * be + b)
        df, c = w * df * (al + be) / (a + bb), w * c + b
        t = c + w * slope * t
        z, rho = e / (2 * a * bb), c / (a * bb)
        th = 2 * np.arcsin(np.sqrt(z)) if z < 0.2 else PI / 2 - np.arcsin(rho)
        al, be, df, e, c, slope = layer(ACTS[name], a, bb, df, th)
        if e <= al * be / 2:
            c = al * be - e
        else:
            e = al * be - c
    return float(c), float(c + slope * t), float(df * df + 2 * e)


if __name__ == "__main__":
    for name, w, b in CASES:
        for separation in (1e-8, 1e-3, 1.0):
            y = np.array(X) + separation * np.array(STEP)
            print(f"    {(name, w, b, separation, *kernels(name, X, y, 30, w, b))},", flush=True)
