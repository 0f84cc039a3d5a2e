"""Near duplicates against 60-digit arithmetic: K, T and the RKHS distance to 1e-13 relative.

The settings span contracting, critical and chaotic networks. Where rounding errors would add up (chaotic,
or critical and deep), the kernels come from explicit differences; each of these rows fails
by a factor 2 to 1000 without that. Errors of the explicit path are those of its last layers: contractions
damp the older ones, and expansions act on the relative error of the gap, which they keep. So 100 layers of
about ten roundings of 1e-16, half of them of either sign, leave some 1e-14.
"""

import mpmath as mp
import numpy as np
import pytest
from scipy import special

from theorylab.infinite_width import _gaps, duals, kernels

SETTINGS = {
    "relu": [(2.0, 0.0), (2.0, 0.01), (1.0, 1.0)],
    "abs": [(1.0, 0.01), (1.3, 0.1)],
    "leaky_relu": [(2.0, 0.0), (1.3, 0.5)],
    "erf": [(np.pi / 4, 0.0), (1.3, 0.01), (2.0, 0.01), (16.0, 0.01), (64.0, 0.01), (64.0, 1.0)],
    "gelu": [(2.0, 0.01), (1.0, 1.0), (3.0, 0.01), (4.0, 0.1)],
    "sin": [(1.0, 0.0), (1.3, 0.01), (8.0, 0.1)],
}


def mp_dual(act, a, b, c):
    """``E[phi phi]`` and ``E[phi' phi']`` from the textbook forms."""
    if act in ("relu", "abs", "leaky_relu"):
        left, right = {"relu": (0, 1), "abs": (-1, 1), "leaky_relu": (mp.mpf(0.01), 1)}[act]
        g = mp.sqrt(a * b)
        th = mp.acos(min(c / g, mp.mpf(1)))
        bend, product = (right - left) ** 2 / (2 * mp.pi), left * right
        return bend * (g * mp.sin(th) + (mp.pi - th) * c) + product * c, bend * (mp.pi - th) + product
    if act == "erf":
        p = (1 + 2 * a) * (1 + 2 * b)
        return 2 / mp.pi * mp.asin(2 * c / mp.sqrt(p)), 4 / mp.pi / mp.sqrt(p - 4 * c * c)
    if act == "sin":
        m = mp.exp(-(a + b) / 2)
        return m * mp.sinh(c), m * mp.cosh(c)
    p, h = (1 + a) * (1 + b), c * (1 / (1 + a) + 1 / (1 + b))
    d0 = p - c * c
    q = mp.mpf(1) / 4 + mp.asin(c / mp.sqrt(p)) / (2 * mp.pi)
    root = 2 * mp.pi * mp.sqrt(d0)
    return c * q + (a * b - c * c + c * h) / root, q + (h + c / d0) / root


def reference(act, x, y, depth, w, b, digits=60):
    """K, T and squared distance in 60 digits, or more for large variances, which cancel."""
    with mp.workdps(digits):
        x, y = ([mp.mpf(float(v)) for v in row] for row in (x, y))
        a, bb, c = (sum(p * q for p, q in zip(u, v)) / len(x) for u, v in ((x, x), (y, y), (x, y)))
        t = slope = mp.mpf(0)
        for k in range(depth + 1):
            wk, bk = (mp.mpf(w), mp.mpf(b)) if k < depth else (mp.mpf(1), mp.mpf(0))
            a, bb, c = wk * a + bk, wk * bb + bk, wk * c + bk
            t = c + wk * slope * t
            if k < depth:
                new, slope = mp_dual(act, a, bb, c)
                a, bb, c = mp_dual(act, a, a, a)[0], mp_dual(act, bb, bb, bb)[0], new
        return float(c), float(t), float(a + bb - 2 * c)


@pytest.mark.parametrize("separation", [1e-1, 1e-3, 1e-6, 1e-8])
@pytest.mark.parametrize("depth", [3, 10, 100])
@pytest.mark.parametrize(("act", "w", "b"), [(a, *v) for a, rows in SETTINGS.items() for v in rows])
def test_near_duplicates(act, w, b, depth, separation):
    rng = np.random.default_rng(1)
    common = {"depth": depth, "activation": act, "w_var": w, "b_var": b}
    x = rng.normal(size=5)
    pairs = [(x, x + separation * rng.normal(size=5) / np.sqrt(5))]
    if depth < 100:
        pairs.append((np.array([0.9]), np.array([0.9 + separation])))  # parallel: only the norms differ
    for x, y in pairs:
        k, t, d = reference(act, x, y, depth, w, b)
        pair = np.stack([x, y])
        for K, T in (kernels.nngp_ntk(pair, **common), kernels.nngp_ntk(pair[:1], pair[1:], **common)):
            assert abs(K[0, -1] / k - 1) < 1e-13
            assert abs(T[0, -1] / t - 1) < 1e-13
        if d > 1e-40:  # smaller ones exceed the 60 digits of the reference
            assert abs(kernels.rkhs_sqdist(pair, **common)[0, 1] / d - 1) < 1e-13


@pytest.mark.parametrize("depth", [1, 10])
@pytest.mark.parametrize(("act", "fn"), [("erf", special.erf), ("gelu", lambda x: x * special.ndtr(x))])
def test_arbitrary_activations(act, fn, depth):
    """The same functions by quadrature; the distance is costly there, so it stands at one layer."""
    mine = duals.register(f"unknown {act}", fn=fn)
    x = np.random.default_rng(1).normal(size=5)
    for separation in (1e-1, 1e-4, 1e-8):
        y = x + separation * np.array([0.1, -0.7, 0.3, 0.2, -0.5])
        k, t, d = reference(act, x, y, depth, 1.3, 0.01)
        pair, common = np.stack([x, y]), {"depth": depth, "activation": mine, "w_var": 1.3, "b_var": 0.01}
        K, T = kernels.nngp_ntk(pair, **common)
        assert abs(K[0, 1] / k - 1) < 1e-13
        assert abs(T[0, 1] / t - 1) < 1e-13
        if depth == 1:
            assert abs(kernels.rkhs_sqdist(pair, **common)[0, 1] / d - 1) < 1e-13


@pytest.mark.parametrize("z", [1e-16, 1e-8, 1e-4, 1e-2, 0.2])
@pytest.mark.parametrize("a", [1e-3, 1.0, 1e3, 1e10, 1e28])
def test_gap_of_gelu(a, z):
    """Ddot varies on the scale 1 / a of z, which the quadrature must find at any variance."""
    alpha = np.array([np.sqrt(a)])
    g = alpha * alpha
    e = 2.0 * g * z
    with mp.workdps(90):
        q, gap = mp.mpf(float(g[0])), mp.mpf(float(e[0]))
        want = mp_dual("gelu", q, q, q)[0] - mp_dual("gelu", q, q, q - gap)[0]
        got = _gaps.covariance_gap(duals.get("gelu"), alpha, alpha, g - e, e)
        assert abs(mp.mpf(float(got[0])) / want - 1) < 4e-15


@pytest.mark.parametrize("scale", [1e-100, 1e5, 1e16, 1e80, 1e120])
@pytest.mark.parametrize("act", ["erf", "gelu", "linear", "sigmoid_like", "sin", "cos", "gabor"])
def test_coinciding_and_opposite_points_of_any_size(act, scale):
    """No overflow on the way (warnings are errors here): products of two variances may leave the range."""
    x = scale * np.array([1.0, 2.0, 0.5])
    y = x + scale * np.array([0.0, 1e-6, 0.0])
    X = np.stack([x, x, y, -x])
    common = {"depth": 1, "activation": act, "w_var": 1.5, "b_var": 0.1}
    D = kernels.rkhs_sqdist(X, **common)
    assert np.all(np.isfinite(D))
    assert D[0, 1] == 0
    for K in kernels.nngp_ntk(X, **common):
        assert np.all(np.isfinite(K))
    if act in ("erf", "gelu") and scale > 1:
        k, t, d = reference(act, x, y, 1, 1.5, 0.1, digits=600)
        K, T = kernels.nngp_ntk(X, **common)
        np.testing.assert_allclose([K[0, 2], T[0, 2], D[0, 2]], [k, t, d], rtol=1e-13)


@pytest.mark.parametrize("act", ["erf", "gelu", "sin", "sigmoid_like", "cos"])
@pytest.mark.parametrize("beta", [0.01, 0.9, 8.0])
@pytest.mark.parametrize("step", [1e-9, 1e-3, 0.05, 0.4, 1.0, 9.0, -0.005])
def test_spread_along_a_ray(act, beta, step):
    """Points of one direction: their squared distance, against closed forms in many digits."""
    alpha = beta + step
    diff = np.array([alpha]) - beta
    got = _gaps.radial(duals.get(act), np.array([alpha]), np.array([beta]), diff)
    with mp.workdps(200):  # the variances of sines of large scale differ by e^(-2 beta^2)
        scale = mp.mpf(1)
        if act == "sigmoid_like":
            scale = 1 / mp.mpf("2.4020563531719796")
        p, q = scale * mp.mpf(alpha), scale * mp.mpf(beta)

        def second(u, v):
            if act == "cos":
                m = mp.exp(-(u * u + v * v) / 2)
                return m * mp.cosh(u * v)
            return mp_dual("erf" if act == "sigmoid_like" else act, u * u, v * v, u * v)[0]

        gain = mp.mpf(1) / 4 if act == "sigmoid_like" else 1
        change = gain * (second(p, p) - second(q, q))
        spread = gain * (second(p, p) + second(q, q) - 2 * second(p, q))
        assert abs(float(got[0][0] - change)) <= 2e-14 * abs(float(change))
        assert abs(float(got[1][0] - spread)) <= 2e-14 * abs(float(spread))


@pytest.mark.parametrize("depth", [3, 30])
@pytest.mark.parametrize(
    ("name", "fn", "w", "b"),
    [("relu", lambda v: np.maximum(v, 0.0), 2.0, 0.01), ("erf", special.erf, 1.3, 0.01)],
)
@pytest.mark.parametrize("copies", [1, 15])
def test_near_duplicates_by_quadrature(name, fn, w, b, depth, copies):
    """Two points by quadrature, or thirty by tables, against the closed forms."""
    mine = duals.register(f"near_{name}", fn=fn, kinks=(0.0,) if name == "relu" else ())
    rng = np.random.default_rng(5)
    x = rng.normal(size=(copies, 6))
    step = 10.0 ** -rng.uniform(2.0, 8.0, (copies, 1))
    X = np.concatenate([x, x + step * rng.normal(size=x.shape)])
    pair = (np.arange(copies), np.arange(copies) + copies)
    options = {"depth": depth, "w_var": w, "b_var": b}
    got, want = (kernels.nngp_ntk(X, activation=act, **options) for act in (mine, name))
    for g, v in zip(got, want):
        np.testing.assert_allclose(g[pair], v[pair], rtol=1e-13)
    got, want = (
        kernels.rkhs_sqdist(X[:: max(1, copies // 2)], activation=a, **options) for a in (mine, name)
    )
    np.testing.assert_allclose(got, want, rtol=1e-13)
