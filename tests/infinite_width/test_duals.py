"""Duals against 14-digit references, symbolic derivations, mpmath, and quadrature against closed forms."""

import math

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from theorylab.infinite_width import _activations, duals

# a = b = 1, c = 1/2: D, Ddot to 14 digits, from two resolutions of an independent quadrature
UNIT = {
    "relu": (0.30449889052212, 1 / 3),
    "gelu": (0.22729491502200, 0.34226724245945),
    "erf": (0.21634689593879, 0.45015815807856),
    "tanh": (0.18632441320345, 0.38474702844104),
    "silu": (0.18316966308816, 0.31227961529354),
    "softplus": (0.78007816520696, 0.27142832563171),
    "elu": (0.32478364895677, 0.61718421007827),
}
# (0.7, 1.9, -0.45): D to 14 digits, Ddot to 11
GENERAL = {
    "relu": (0.08520541182615, 0.18620302058854),
    "erf": (-0.17085288782280, 0.38905892567),
    "gelu": (-0.00152129248978, 0.17981684537),
    "abs": (0.79082164730462, -0.25518791765),
    "sin": (-0.12682049424914, 0.30059443770),
    "normal_cdf": (0.21751909535228, 0.07319886767),
}
FACTORIES = {
    "gaussian": (duals.gaussian(1.0), 0.30556616567607, -0.05135565810),
    "squared relu": (duals.rectified_monomial(2), 0.09491659974827, 0.34082164731),
}
CLOSED = [
    "relu", "abs", "leaky_relu", "erf", "gelu", "sin", "cos", "sign", "step", "sigmoid_like", "normal_cdf",
    "gabor", "linear", duals.leaky_relu(0.2), duals.abrelu(-0.3, 1.7), duals.gaussian(0.7),
    duals.exp(0.5, 0.3), duals.rbf(0.4), duals.monomial(3), duals.rectified_monomial(2),
    duals.rectified_monomial(3), duals.rectified_monomial(5), duals.polynomial([0.1, 0.3, -0.2, 0.5]),
]  # fmt: skip


@pytest.mark.parametrize("name", UNIT)
def test_unit_references(name):
    np.testing.assert_allclose(duals.dual_activation(name, 1.0, 1.0, 0.5), UNIT[name], rtol=0, atol=4e-14)


@pytest.mark.parametrize("name", GENERAL)
def test_general_references(name):
    value, slope = duals.dual_activation(name, 0.7, 1.9, -0.45)
    assert abs(value - GENERAL[name][0]) < 1e-14
    assert abs(slope - GENERAL[name][1]) < 1e-11


@pytest.mark.parametrize("name", FACTORIES)
def test_factories(name):
    act, value, slope = FACTORIES[name]
    got = duals.dual_activation(act, 0.7, 1.9, -0.45)
    assert abs(got[0] - value) < 1e-14
    assert abs(got[1] - slope) < 1e-11


@pytest.mark.parametrize("act", CLOSED, ids=str)
def test_quadrature_equals_closed_form(act):
    """Both to 1e-14 of the scale; the angles include near duplicates and near opposites."""
    act = duals.get(act)
    rng = np.random.default_rng(0)
    a, b = np.exp(rng.normal(size=(2, 10)))
    rho = np.array([1.0, -1.0, 0.999999, -0.99999, 1 - 1e-12, 0.0, *rng.uniform(-1, 1, 4)])
    c = rho * np.sqrt(a * b)
    z, y = duals.halves(a, b, c)
    by_quadrature = _activations.by_quadrature("same", act.fn, act.dfn, act.kinks).dual(a, b, c, z, y)
    for mine, other in zip(act.dual(a, b, c, z, y), by_quadrature):
        np.testing.assert_allclose(mine, other, rtol=0, atol=2e-14 * max(1.0, np.abs(other).max()))


def test_polynomial_dual_from_sympy():
    """E[p(u) p(v)] by symbolic integration in independent normals."""
    x, y, s = sp.symbols("x y s", real=True)
    p = [sp.Rational(1, 5), -1, sp.Rational(1, 2), sp.Rational(1, 3)]
    poly = lambda t: sum(k * t**i for i, k in enumerate(p))  # noqa: E731
    a, b, c = sp.Rational(3, 2), sp.Rational(2, 3), sp.Rational(1, 4)
    u = sp.sqrt(a) * x
    v = c / sp.sqrt(a) * x + sp.sqrt(b - c**2 / a) * y

    def expect(expression):
        moment = lambda k: 0 if k % 2 else sp.factorial2(k - 1)  # noqa: E731
        terms = sp.Poly(sp.expand(expression), x, y).terms()
        return sum(coefficient * moment(i) * moment(j) for (i, j), coefficient in terms)

    want = expect(poly(u) * poly(v))
    slope = sp.diff(poly(s), s)
    want_dot = expect(slope.subs(s, u) * slope.subs(s, v))
    got = duals.dual_activation(duals.polynomial([float(k) for k in p]), float(a), float(b), float(c))
    np.testing.assert_allclose(got, [float(want), float(want_dot)], rtol=1e-14)


def test_relu_small_angle_series_from_sympy():
    """1 - kappa = delta - (2 sqrt 2 / (3 pi)) delta^(3/2) + ..., derived symbolically.

    Five terms at delta = 1e-6.
    """
    t = sp.symbols("t", positive=True)
    gap = 1 - (sp.sin(t) + (sp.pi - t) * sp.cos(t)) / sp.pi
    in_theta = sp.series(gap, t, 0, 10).removeO()
    delta = mp.mpf(10) ** -6
    with mp.workdps(40):
        theta = mp.acos(1 - delta)
        want = mp.mpf(str(sp.N(in_theta.subs(t, sp.Float(str(theta), 40)), 40)))
        leading = delta - 2 * mp.sqrt(2) / (3 * mp.pi) * delta ** mp.mpf("1.5")
    assert abs(want / leading - 1) < 1e-6  # the next term is of order delta
    z, y = np.array(0.5e-6), np.array(1 - 0.5e-6)
    value, _ = duals.get("relu").dual(np.array(1.0), np.array(1.0), y - z, z, y)
    assert abs((0.5 - float(value)) * 2 - float(want)) < 2e-16 * 2


def test_erf_small_covariance_series_from_sympy():
    """(2 / pi) arcsin r about r = 0 to ninth order."""
    r = sp.symbols("r")
    series = sp.lambdify(r, sp.series(2 / sp.pi * sp.asin(r), r, 0, 10).removeO())
    c = 0.01
    value, _ = duals.dual_activation("erf", 1.0, 2.0, c)
    assert abs(value / series(2 * c / np.sqrt(15.0)) - 1) < 1e-14


# E[clip(u) clip(v)] at (0.7, 1.9, 0.3); see generate_clip.py
CLIP = 0.12324844338698


def test_kinks_off_the_origin():
    act = duals.register("clip_for_test", fn=lambda x: np.clip(x, -1.0, 1.0), kinks=(-1.0, 1.0))
    value, slope = duals.dual_activation(act, 0.7, 1.9, 0.3)
    assert abs(value - CLIP) < 1e-13
    # P(|u| < 1, |v| < 1) from the bivariate normal law
    from scipy.stats import multivariate_normal

    law = multivariate_normal(cov=[[0.7, 0.3], [0.3, 1.9]])
    box = law.cdf([1, 1]) - law.cdf([1, -1]) - law.cdf([-1, 1]) + law.cdf([-1, -1])
    assert abs(slope - box) < 1e-6  # the accuracy of the reference
    found = duals.get(lambda x: np.clip(x, -1.0, 1.0))
    np.testing.assert_allclose(found.kinks, [-1.0, 0.0, 1.0], atol=1e-12)
    assert abs(duals.dual_activation(found, 0.7, 1.9, 0.3)[0] - value) < 1e-13


def test_callable_equals_name():
    for function, name in ((np.tanh, "tanh"), (lambda x: np.maximum(x, 0.0), "relu"), (special.expit, None)):
        value, slope = duals.dual_activation(function, [1.0, 0.3], 1.4, [0.5, -0.6])
        if name:
            want = duals.dual_activation(name, [1.0, 0.3], 1.4, [0.5, -0.6])
            np.testing.assert_allclose((value, slope), want, rtol=0, atol=1e-12)
        assert value.shape == slope.shape == (2,)


@settings(deadline=None, max_examples=60)
@given(
    act=st.sampled_from(CLOSED),
    a=st.floats(1e-3, 1e3),
    b=st.floats(1e-3, 1e3),
    rho=st.floats(-1.0, 1.0),
)
def test_price_and_symmetry(act, a, b, rho):
    """Symmetric in (a, b), Cauchy-Schwarz, and dD/dc = Ddot by central differences."""
    act = duals.get(act)
    c = rho * np.sqrt(a * b) * (1 - 1e-12)
    if act.name.startswith("exp") and max(a, b) > 50:
        return
    value, slope = duals.dual_activation(act, a, b, c)
    other, _ = duals.dual_activation(act, b, a, c)
    top = np.sqrt(duals.dual_activation(act, a, a, a)[0] * duals.dual_activation(act, b, b, b)[0])
    assert abs(value - other) <= 1e-12 * top + 1e-300
    assert abs(value) <= top * (1 + 1e-12) + 1e-300
    if abs(rho) < 0.9 and act.degree != 0:
        h = 1e-4 * np.sqrt(a * b)
        difference = (
            duals.dual_activation(act, a, b, c + h)[0] - duals.dual_activation(act, a, b, c - h)[0]
        ) / (2 * h)
        assert abs(difference - slope) <= 1e-5 * (abs(slope) + top / np.sqrt(a * b))


def test_no_overflow_for_large_variances():
    value, _ = duals.dual_activation("sin", 2000.0, 2000.0, 2000.0)
    assert value == pytest.approx(0.5, rel=1e-14)
    assert duals.dual_activation("relu", 0.0, 1.0, 0.0) == (0.0, 0.25)


def test_registry():
    act = duals.register("twice_for_test", dual=lambda a, b, c: 4 * c, dual_dot=lambda a, b, c: 4 + 0 * c)
    assert duals.dual_activation("twice_for_test", 1.0, 1.0, 0.5) == (2.0, 4.0)
    assert "twice_for_test" in duals.names()
    assert repr(act) == "<activation twice_for_test>"
    with pytest.raises(ValueError, match="without fn"):
        act.fn(np.ones(1))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: duals.dual_activation("rleu", 1, 1, 0), ValueError, "did you mean 'relu'"),
        (lambda: duals.dual_activation(3, 1, 1, 0), TypeError, "a name, a function or an Activation"),
        (lambda: duals.dual_activation("relu", -1, 1, 0), ValueError, "variances and must not be negative"),
        (lambda: duals.dual_activation("relu", 1, 1, 2), ValueError, "not a covariance"),
        (lambda: duals.dual_activation("relu", np.nan, 1, 0), ValueError, "a contains nan"),
        (lambda: duals.dual_activation(lambda x: 1.0, 1, 1, 0), ValueError, "same shape"),
        (lambda: duals.dual_activation(math.tanh, 1, 1, 0), TypeError, "takes no array"),
        (lambda: duals.register("relu", fn=np.tanh), ValueError, "built in"),
        (lambda: duals.register("", fn=np.tanh), TypeError, "non-empty"),
        (lambda: duals.register("x_for_test"), ValueError, "needs fn"),
        (lambda: duals.register("x_for_test", fn=np.tanh, kinks=(np.inf,)), ValueError, "finite"),
        (lambda: duals.polynomial([]), ValueError, "empty"),
        (lambda: duals.monomial(-1), ValueError, "k must lie"),
        (lambda: duals.gaussian(-1.0), ValueError, "g must lie"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("a", "b", "c"), [(1.0, 1.0, 0.5), (0.3, 2.2, -0.6), (2.0, 2.0, 1.999), (4.0, 0.2, 0.3)]
)
def test_slope_of_a_kinked_function_without_formula(a, b, c):
    """Ddot of the soft threshold is a quadrant probability of two normals, whichever way it is given."""

    def fn(x):
        return np.sign(x) * np.maximum(np.abs(x) - 0.4, 0.0)

    act = duals.register("soft_threshold", fn=lambda x: fn(x), kinks=(-0.4, 0.4))
    law = stats.multivariate_normal(np.zeros(2), [[a, c], [c, b]])
    flip = stats.multivariate_normal(np.zeros(2), [[a, -c], [-c, b]])
    # P(u > k, v > k) + P(u < -k, v < -k) + the two mixed quadrants
    exact = 2.0 * (law.cdf([-0.4, -0.4]) + flip.cdf([-0.4, -0.4]))
    for given_ in (fn, act):
        assert abs(duals.dual_activation(given_, a, b, c)[1] - exact) < 2e-13


@pytest.mark.parametrize("scale", [1e-200, 1e-300, 1e200, 1e280])
@pytest.mark.parametrize("name", ["relu", "abs", "leaky_relu", "sign", "step"])
def test_extreme_variances(name, scale):
    """Positive homogeneity holds where the product of two variances leaves the floating range."""
    power = 0 if name in ("sign", "step") else 1
    D, Ddot = duals.dual_activation(name, scale, 2.0 * scale, -0.5 * scale)
    d, ddot = duals.dual_activation(name, 1.0, 2.0, -0.5)
    assert abs(D / (d * scale**power) - 1.0) < 1e-14
    assert abs(Ddot - ddot) < 1e-14


@pytest.mark.parametrize("scale", [1e150, 1e160, 1e300])
@pytest.mark.parametrize(
    ("name", "limit", "power"),
    [
        ("erf", "sign", 0),
        ("gelu", "relu", 1),
        ("normal_cdf", "step", 0),
        ("silu", "relu", 1),
        ("tanh", "sign", 0),
    ],
)
def test_large_variances_have_homogeneous_limits(name, limit, power, scale):
    """Beyond 1e150 nothing is left of the smooth part, and no product may overflow."""
    D, Ddot = duals.dual_activation(name, scale, 2.0 * scale, -0.5 * scale)
    d, ddot = duals.dual_activation(limit, 1.0, 2.0, -0.5)
    assert abs(D / (d * scale**power) - 1.0) < 1e-13
    if power:
        assert abs(Ddot - ddot) < 1e-13


def test_gaussian_of_large_variances():
    D, Ddot = duals.dual_activation(duals.gaussian(1.0), 1e200, 2e200, 0.5e200)
    # Delta = 4 (a b - c^2) = 7e400
    assert pytest.approx(7.0**-0.5, rel=1e-14) == D * 1e200
    assert Ddot == 0.0  # 4 c Delta^(-3/2) = 1e-401


@pytest.mark.parametrize("gap", [1e-6, 1e-12, 1e-15, 3e-16])
def test_sign_of_nearly_parallel_pairs(gap):
    """``(2 / pi) arcsin rho`` with rho of the given numbers, in 60 digits: rounding of the result only."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        a, b = np.exp(rng.normal(size=2))
        c = float(np.sqrt(a * b) * (1.0 - gap) * rng.choice([-1.0, 1.0]))
        with mp.workdps(60):
            rho = mp.mpf(c) / mp.sqrt(mp.mpf(float(a)) * mp.mpf(float(b)))
            exact = 2 / mp.pi * mp.asin(rho) if abs(rho) <= 1 else mp.sign(rho)
            assert abs(float(mp.mpf(float(duals.dual_activation("sign", a, b, c)[0])) - exact)) < 4e-16


def test_distributional_slope_of_sign():
    a, b, c = 1.3, 0.8, 0.4
    h = 1e-5
    up, down = (duals.dual_activation("sign", a, b, c + s * h)[0] for s in (1, -1))
    D, Ddot = duals.dual_activation(duals.sign(distributional=True), a, b, c)
    assert duals.dual_activation("sign", a, b, c)[0] == D
    # Price's theorem: dD / dc, by a difference of error h^2
    assert abs(Ddot - (up - down) / (2 * h)) < 1e-9
    assert abs(Ddot - 2.0 / (np.pi * np.sqrt(a * b - c * c))) < 1e-14
    assert np.isposinf(duals.dual_activation(duals.sign(True), 1.0, 1.0, 1.0)[1])


@pytest.mark.parametrize("k", [2, 3, 5])
def test_rectified_monomials_of_extreme_unequal_variances(k):
    """Only the product of the standard deviations counts: both lie far outside, it does not."""
    act = duals.rectified_monomial(k)
    far = duals.dual_activation(act, 1e-290, 1e290, [-0.6, 0.0, 0.3, 0.999])
    near = duals.dual_activation(act, 1.0, 1.0, [-0.6, 0.0, 0.3, 0.999])
    np.testing.assert_allclose(far, near, rtol=1e-11)
    assert duals.dual_activation(act, 0.0, 2.0, 0.0)[0] == 0.0


def test_gabor_slope_of_huge_variances():
    """``E[phi'(sqrt(q) x)^2]`` falls like ``q^(-1/2)``; opposite points of rectified powers share nothing."""
    at = [float(duals.dual_activation("gabor", q, q, q)[1]) for q in (1e100, 1e160, 1e300)]
    np.testing.assert_allclose(at, [at[0], at[0] * 1e-30, at[0] * 1e-100], rtol=1e-13)
    for k in (2, 3):
        D, Ddot = duals.dual_activation(duals.rectified_monomial(k), 1e200, 1e200, -1e200)
        assert D == Ddot == 0.0


@pytest.mark.parametrize("c", [0.5e150, -1e150, 1e150])
def test_overflow_of_a_dual_is_an_error(c):
    with pytest.raises(OverflowError, match=r"leaves the range of float64.*normalise"):
        duals.dual_activation(duals.polynomial([0.0, 1e100, 1e120]), 1e150, 1e150, c)


def test_bad_arguments_of_factories_and_register_are_named():
    for call, match in (
        (lambda: duals.leaky_relu("a"), "al must be a real number"),
        (lambda: duals.abrelu(0.1, "a"), "pos must be a real number"),
        (lambda: duals.register("bad", fn="tanh"), "fn must be a function"),
        (lambda: duals.register("bad", dual=1.0, dual_dot=np.tanh), "dual must be a function"),
    ):
        with pytest.raises(TypeError, match=match):
            call()
    with pytest.raises(ValueError, match="kinks contains nan"):
        duals.register("bad", fn=np.tanh, kinks=(np.nan,))
    assert duals.register("one_kink", fn=np.abs, kinks=0.0).kinks == (0.0,)


@pytest.mark.parametrize(
    ("fn", "kinks"),
    [
        (lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0.0), (-0.5, 0.5)),
        (lambda x: np.clip(0.2 * x + 0.5, 0.0, 1.0), (-2.5, 2.5)),
        (lambda x: np.maximum(x - 0.375, 0.0), (0.375,)),
        (lambda x: np.clip(x, -1.0, 1.0), (-1.0, 1.0)),
        (lambda x: np.maximum(x - 1.2, 0.0), (1.2,)),
        (np.tanh, ()),
    ],
)
def test_kinks_of_functions_are_found(fn, kinks):
    # halves and integers are where a search that bisects [k, k + 1] is blind
    assert duals.get(fn).kinks == pytest.approx(sorted({0.0, *kinks}), abs=1e-12)
    named = duals.register("named_kinks", fn=fn, kinks=kinks)
    for got, want in zip(
        duals.dual_activation(fn, 0.7, 1.9, -0.45), duals.dual_activation(named, 0.7, 1.9, -0.45)
    ):
        assert got == pytest.approx(want, abs=1e-13)
