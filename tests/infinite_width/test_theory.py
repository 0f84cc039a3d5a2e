"""Criticality, the vertex, the exact sampler and infinite depth, against closed forms and 50-digit values."""

import math

import mpmath as mp
import numpy as np
import pytest

from theorylab.infinite_width import InfiniteDepthClassifier, criticality, deep_limit, duals, kernels


def test_critical_points():
    assert criticality.critical_init("relu") == (2.0, 0.0)
    assert criticality.critical_init(duals.leaky_relu(0.5))[0] == pytest.approx(2 / 1.25, rel=1e-15)
    for name, w in (("tanh", 1.0), ("sin", 1.0), ("erf", math.pi / 4), ("linear", 1.0)):
        assert criticality.critical_init(name) == (pytest.approx(w, rel=1e-14), 0.0)
    # known critical pairs of the half-stable class, to the digits published: GELU (1.983, 0.173), SiLU
    # (1.988, 0.555)
    for name, w, b in (("gelu", 1.983, 0.173), ("silu", 1.988, 0.555)):
        got = criticality.critical_init(name)
        assert got == (pytest.approx(w, abs=5e-4), pytest.approx(b, abs=5e-4))
        K = criticality.fixed_point(name, *got)
        assert criticality.kernel_recursion(name, 2, *got, K1=K)[1] == pytest.approx(K, rel=1e-14)
        assert criticality.susceptibilities(name, K, *got) == pytest.approx((1.0, 1.0), abs=1e-2)
    # any slope at zero will do, also of a function whose second derivative jumps there
    for act in (np.tanh, "softsign", "elu", "gabor"):
        assert criticality.critical_init(act) == (pytest.approx(1.0, rel=1e-12), 0.0)
    for act in ("cos", "selu"):
        with pytest.raises(ValueError, match="no critical point"):
            criticality.critical_init(act)


def test_recursion_and_fixed_points():
    K = criticality.kernel_recursion("tanh", 40, 1.0, K1=0.5)
    np.testing.assert_allclose(K[[4, 19, 39]], [0.11052, 0.02635, 0.01292], atol=5e-6)
    assert 2 * 4000 * criticality.kernel_recursion("tanh", 4000, 1.0, K1=0.5)[-1] == pytest.approx(
        1.0008, abs=1e-4
    )
    star = criticality.fixed_point("tanh", 1.3)
    assert star == pytest.approx(0.164902, abs=1e-6)
    assert math.log(criticality.susceptibilities("tanh", star, 1.3)[0]) == pytest.approx(-0.24209, abs=1e-5)
    assert criticality.fixed_point("tanh", 0.9) == 0.0
    assert criticality.fixed_point("relu", 3.0) == math.inf
    assert criticality.fixed_point("relu", 2.0, 0.1) == math.inf  # grows by the bias for ever
    assert criticality.fixed_point("relu", 1.9999, 0.1) == pytest.approx(2000.0, rel=1e-10)
    # w g(K) = w K (1 - 2 K) + ...: close above criticality the fixed point is (w - 1) / 2
    star = criticality.fixed_point("tanh", 1.0001)
    assert criticality.kernel_recursion("tanh", 2, 1.0001, K1=star)[1] == pytest.approx(star, rel=1e-14)
    assert star == pytest.approx(5e-5, rel=1e-3)
    assert criticality.fixed_point("erf", 1.0, 0.3) == pytest.approx(
        criticality.kernel_recursion("erf", 400, 1.0, 0.3)[-1], rel=1e-12
    )
    # chi_par is the derivative of the recursion
    h = 1e-5
    up, down = (criticality.kernel_recursion("gelu", 2, 1.7, K1=0.8 + s)[1] for s in (h, -h))
    assert criticality.susceptibilities("gelu", 0.8, 1.7)[0] == pytest.approx((up - down) / (2 * h), rel=1e-8)
    assert criticality.susceptibilities("tanh", 0.0, 1.2) == (pytest.approx(1.2), pytest.approx(1.2))
    small = criticality.susceptibilities("tanh", 1e-6, 1.0)[0]
    assert small == pytest.approx(1 - 4e-6, abs=1e-9)  # g = K - 2 K^2 + ...


def test_vertex():
    for name, w, want in (
        ("erf", math.pi / 4, [2.6940, 12.4096, 25.6218]),
        ("tanh", 1.0, [2.7862, 12.3970, 25.5185]),
    ):
        K, V, _ = criticality.vertex_recursion(name, 40, w, K1=0.5)
        np.testing.assert_allclose((V / K**2)[[4, 19, 39]], want, atol=6e-5)
    K, V, M = criticality.vertex_recursion("relu", 6, 2.0, K1=0.7)
    np.testing.assert_allclose(V, 5 * np.arange(6) * 0.49, rtol=1e-12)
    np.testing.assert_allclose(M, 0.0, atol=1e-12)
    al, be = 0.3, 1.0
    A2, A4 = (al**2 + be**2) / 2, (al**4 + be**4) / 2
    K, V, _ = criticality.vertex_recursion(duals.leaky_relu(al), 4, 1 / A2)
    np.testing.assert_allclose(V, (3 * A4 / A2**2 - 1) * np.arange(4), rtol=1e-12)


def test_sampler():
    """Second moments over 4000 networks equal the NNGP of infinite width.

    Which is exact for ReLU diagonals.
    """
    x = np.array([[1.0, 0.2], [-0.3, 0.9], [1.0, 0.2]])
    f, G = criticality.exact_sampler(x, width=32, depth=2, n_samples=4000, return_kernels=True, rng=0)
    assert f.shape == (4000, 3)
    assert G.shape == (4000, 3, 3)
    K = kernels.nngp(x, depth=2)
    moment = f[:, :2].T @ f[:, :2] / 4000
    assert np.all(np.abs(moment - K[:2, :2]) < 6 * K.max() * np.sqrt(3 / 4000))
    np.testing.assert_allclose(f[:, 0], f[:, 2], atol=1e-5)  # one point twice, up to the root of the jitter
    np.testing.assert_array_equal(
        criticality.exact_sampler(x, width=8, depth=1, rng=3),
        criticality.exact_sampler(x, width=8, depth=1, rng=3),
    )
    variance = criticality.exact_sampler(
        x[:1], width=20, depth=4, n_samples=20000, return_kernels=True, rng=1
    )[1][:, 3, 0]
    mean = kernels.nngp(x[:1], depth=3, last_w_var=2.0)[0, 0]
    # relative variance (1 + 5/n)^3 - 1 = 0.953; its own standard error here is about 0.03
    assert np.mean((variance / mean - 1) ** 2) == pytest.approx(1.25**3 - 1, abs=0.15)
    for bad, message in (
        ({"width": 0}, "width"),
        ({"depth": 0}, "depth"),
        ({"last_w_var": -1.0}, "last_w_var"),
    ):
        with pytest.raises(ValueError, match=message):
            criticality.exact_sampler(x, **({"width": 4, "depth": 1} | bad))
    with pytest.raises(ValueError, match="empty"):
        criticality.exact_sampler(np.ones((0, 2)), width=4, depth=1)


def test_taxonomy():
    assert deep_limit.classify_limit(np.sqrt([0, 0, 0.5, 0.5])) == "nearest"
    assert deep_limit.classify_limit(np.sqrt([0.3, 0.3, 0.2, 0.2])) == "majority"
    for d in (2, 3, 4, 7):
        h = deep_limit.optimal_hermite(d)
        assert deep_limit.classify_limit(h) == "singular"
        assert deep_limit.singular_exponent(h) == pytest.approx(d, rel=1e-14)
    for bad, message in (([1.0], "at least"), ([1.0, 1.0], "squared norm"), ([0.0, 1.0], "identity")):
        with pytest.raises(ValueError, match=message):
            deep_limit.classify_limit(bad)
    with pytest.raises(ValueError, match="singular case"):
        deep_limit.koenigs_kernel(0.5, [0.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="singular case"):
        deep_limit.singular_exponent([0.0, 0.0, 1.0])


def test_koenigs():
    h = deep_limit.optimal_hermite(3)
    want = [0.115034598177838, 1.35236784639079, 27.2056188855054, 957191975.515759]  # 50 digits
    got = deep_limit.koenigs_kernel([0.1, 0.5, 0.9], h)
    np.testing.assert_allclose(got, want[:3], rtol=2e-14)
    assert deep_limit.koenigs_kernel(1 - 1e-6, h) == pytest.approx(want[3], rel=1e-13)
    assert deep_limit.koenigs_kernel(1.0, h) == math.inf
    assert deep_limit.koenigs_kernel(0.0, h) == 0.0
    # the functional equation, for both signs
    rho = np.array([-0.9, -0.4, 0.3, 0.7])
    F = np.polynomial.polynomial.polyval(rho, h**2)
    np.testing.assert_allclose(
        deep_limit.koenigs_kernel(F, h), h[1] ** 2 * deep_limit.koenigs_kernel(rho, h), rtol=1e-12
    )
    with pytest.raises(ValueError, match="rho must lie"):
        deep_limit.koenigs_kernel(1.5, h)


def test_deep_kernels_against_mpmath():
    h = deep_limit.optimal_hermite(3)
    with mp.workdps(60):
        for delta in ("0.9", "0.3", "1e-8"):
            s = t = 1 - mp.mpf(delta)
            square = [mp.mpf(float(v)) ** 2 for v in h]
            total = sum(square)
            square = [v / total for v in square]
            for _ in range(40):
                f = sum(c * s**k for k, c in enumerate(square))
                t = f + sum(k * c * s ** (k - 1) for k, c in enumerate(square) if k) * t
                s = f
            log_s, log_t = deep_limit.deep_kernels([float(delta)], h, 40)
            assert log_s[0] == pytest.approx(float(mp.log(s)), rel=1e-12, abs=1e-12)
            assert log_t[0] == pytest.approx(float(mp.log(t)), rel=1e-12)
    # the doubly exponential decay of the nearest-neighbour case stays finite in logarithms
    log_s, log_t = deep_limit.deep_kernels([0.5], np.sqrt([0, 0, 0.5, 0.5]), 60)
    assert np.isfinite(log_s[0])
    assert log_s[0] < -1e15


@pytest.mark.parametrize("case", ["nearest", "singular", "majority"])
def test_infinite_depth_classifier(case):
    rng = np.random.default_rng(0)
    x = np.abs(rng.normal(size=(60, 4)))
    y = np.where(x[:, 0] > 0.4, "yes", "no")
    h = {"nearest": np.sqrt([0, 0, 0.5, 0.5]), "singular": None, "majority": np.sqrt([0.3, 0.3, 0.2, 0.2])}[
        case
    ]
    model = InfiniteDepthClassifier(h).fit(x, y)
    assert model.limit_ == case
    z = np.abs(rng.normal(size=(20, 4)))
    got = model.predict(z)
    unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)  # noqa: E731
    rho = unit(z) @ unit(x).T
    if case == "nearest":
        want = y[rho.argmax(axis=1)]
    elif case == "majority":
        want = np.full(20, "yes" if (y == "yes").sum() > 30 else "no")
    else:
        psi = deep_limit.koenigs_kernel(rho, deep_limit.optimal_hermite(3))
        want = np.where(psi @ np.where(y == "yes", 1.0, -1.0) > 0, "yes", "no")
    np.testing.assert_array_equal(got, want)
    assert model.decision_function(z).shape == (20,)
    if case != "majority":
        np.testing.assert_array_equal(model.predict(x), y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: criticality.kernel_recursion("relu", 0, 2.0), "depth"),
        (lambda: criticality.kernel_recursion("relu", 3, -2.0), "w_var"),
        (lambda: criticality.susceptibilities("relu", -1.0, 2.0), "K must"),
        (lambda: deep_limit.optimal_hermite(1), "d must"),
        (lambda: deep_limit.deep_kernels([1.5], [0.0, 0.6, 0.8], 3), "delta"),
        (lambda: deep_limit.log_koenigs([-1.0], [0.0, 0.6, 0.8]), "delta"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_overflowing_recursion():
    with pytest.raises(OverflowError, match="layer"):
        criticality.kernel_recursion("relu", 5, 1e100)
