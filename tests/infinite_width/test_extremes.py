"""Kernels where biases outweigh the inputs, where functions saturate, and where ranges or memory end."""

import mpmath
import numpy as np
import pytest

from theorylab.infinite_width import kernels


@pytest.mark.parametrize("act", ["relu", "abs", "sign"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scale", [1e-3, 1e-5, 1e-8, 0.0])
def test_biases_above_the_inputs(act, dtype, scale):
    """Inputs far below the bias differ by little; the angle took the root of the rounding of 1 - rho.

    Truth: all angles after the first layer are ``theta = sqrt(w / b) |x - y| (1 + O(scale^2))``, to which
    60 digits apply the textbook recursion.
    """
    x, y = (np.random.default_rng(s).normal(size=(4, 3)).astype(dtype) * dtype(scale) for s in (0, 1))
    K, T = kernels.nngp_ntk(x, y, depth=3, activation=act, w_var=1.5, b_var=1.0)
    truth = np.array([[exact_pair(act, u, v, 3, 1.5, 1.0) for v in y] for u in x])
    # a dozen roundings of a few units a layer
    bound = 40 * np.finfo(dtype).eps
    np.testing.assert_allclose(K, truth[..., 0], rtol=bound)
    np.testing.assert_allclose(T, truth[..., 1], rtol=bound)


def exact_pair(act, u, v, depth, w, b):
    """NNGP and NTK of one pair by the textbook recursion with 60 digits."""
    with mpmath.workdps(60):

        def dual(p, q, r):
            g = mpmath.sqrt(p * q)
            th = mpmath.acos(r / g) if abs(r) < g else (mpmath.pi if r < 0 else mpmath.mpf(0))
            if act == "sign":
                return 1 - 2 * th / mpmath.pi, mpmath.mpf(0)
            bend, product = (1, 0) if act == "relu" else (4, -1)
            D = (g * mpmath.sin(th) + (mpmath.pi - th) * r) / (2 * mpmath.pi)
            return bend * D + product * r, bend * (mpmath.pi - th) / (2 * mpmath.pi) + product

        u, v = ([mpmath.mpf(float(s)) for s in point] for point in (u, v))
        a, c, e = (mpmath.fdot(p, q) / len(u) for p, q in ((u, u), (u, v), (v, v)))
        w, b, t, slope = mpmath.mpf(w), mpmath.mpf(b), mpmath.mpf(0), mpmath.mpf(0)
        for layer in range(depth + 1):
            wl, bl = (w, b) if layer < depth else (mpmath.mpf(1), mpmath.mpf(0))
            a, c, e = wl * a + bl, wl * c + bl, wl * e + bl
            t = c + wl * slope * t
            if layer < depth:
                new, slope = dual(a, e, c)
                a, c, e = dual(a, a, a)[0], new, dual(e, e, e)[0]
        return float(c), float(t)


def test_saturated_error_functions_in_single_precision():
    """Of 1 - r^2 = 1 / (1 + 2 q) = 1e-6, float32 kept one digit: NTK entries were wrong by 7e-4."""
    x = np.random.default_rng(0).normal(scale=1e3, size=(9, 1)).astype(np.float32)
    net = {"depth": 3, "activation": "erf", "w_var": 0.3, "b_var": 2.0}
    for single, double in zip(kernels.nngp_ntk(x, **net), kernels.nngp_ntk(x.astype(np.float64), **net)):
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, double, rtol=1e-6)
    for rows, cols, K, T in kernels.tiles(x, **net):
        assert K.dtype == T.dtype == np.float32
        np.testing.assert_array_equal(T, kernels.ntk(x, **net)[rows, cols])


def test_tangent_kernels_beyond_single_precision_are_refused():
    x = np.full((3, 2), 1e9, dtype=np.float32)
    net = {"depth": 2, "activation": "relu", "w_var": 2.0, "parameterization": "standard", "width": 10**22}
    assert np.isfinite(kernels.ntk(x, dtype=np.float64, **net)).all()
    for call in (kernels.ntk, kernels.nngp_ntk, kernels.tiles):
        with pytest.raises(OverflowError, match="the NTK reaches"):
            call(x, **net)
    with pytest.raises(OverflowError, match="the NTK reaches"):
        kernels.ntk(x, diag=True, **net)
    with pytest.raises(OverflowError, match="the NTK reaches"):
        kernels.ntk(np.ones((1, 2), dtype=np.float32), x, **net | {"width": 10**35})


def test_output_over_the_input():
    """The first tiles must not be read as inputs of the next."""
    x = np.random.default_rng(0).normal(size=(300, 300))
    expected = kernels.nngp(x, depth=2, activation="relu")
    assert kernels.nngp(x, depth=2, activation="relu", out=x) is x
    np.testing.assert_array_equal(x, expected)


def test_cosines_of_many_sizes_in_one_call():
    """Small points among large ones sent all pairs to samples too coarse for fast cosines: 7 % off."""
    x, y = np.array([[-28.0], [1e-3], [240.0]]), np.array([[-28.5], [2e-3], [239.0]])
    net = {"depth": 2, "activation": "cos", "w_var": 1.5, "b_var": 0.01}
    apart = np.array([[kernels.nngp(u[None], v[None], **net)[0, 0] for v in y] for u in x])
    np.testing.assert_allclose(kernels.nngp(x, y, **net), apart, rtol=1e-12)
    a, b = (1.5 * p**2 + 0.01 for p in (28.0, 28.5))
    value = 0.5 * np.exp(1.5 * 28.0 * 28.5 + 0.01 - 0.5 * (a + b))
    one = kernels.nngp(x, y, depth=1, activation="cos", w_var=1.5, b_var=0.01)
    # the exponents are differences of numbers near 1200
    np.testing.assert_allclose(one[0, 0], value, rtol=1e-12)


def _chaotic_cosine(X, depth, w, b):
    """NNGP and NTK in extended precision, by the half squared distance, which keeps its digits."""
    X, w, b = X.astype(np.longdouble), np.longdouble(w), np.longdouble(b)
    d = X.shape[1]
    c = X @ X.T / d
    h, q, t = ((X[:, None] - X) ** 2).sum(-1) / d / 2, np.diag(c), 0 * c
    for _ in range(depth):
        c, t, h, q = w * c + b, w * c + b + w * t, w * h, w * q + b
        total, one, other = q[:, None] + q, np.exp(-q)[:, None], np.exp(-q)
        c, t = (np.exp(-h) + np.exp(h - total)) / 2, t * (np.exp(-h) - np.exp(h - total)) / 2
        h = -np.expm1(-h) / 2 + (one - other) ** 2 / 4 - one * other * np.expm1(h) / 2
        q = (1 + np.exp(-2 * q)) / 2
    return c, c + t


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("n", [6, 80])
def test_chaotic_layers_of_points_alike_by_their_bias(scale, n):
    X = scale * np.random.default_rng(0).normal(size=(n, 5))
    got = kernels.nngp_ntk(X, depth=40, activation="cos", w_var=4.0, b_var=2.0)
    for g, v in zip(got, _chaotic_cosine(X, 40, 4.0, 2.0)):
        np.testing.assert_allclose(g, v.astype(np.float64), rtol=1e-13)
