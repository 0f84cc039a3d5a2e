"""Kinks and jumps anywhere: piecewise polynomials by single integrals, and large variances by broken lines.

The reference of the duals is a plain product rule, cut along the lines on which either factor bends; that of
networks is `generate_kinks.py`.
"""

import mpmath as mp
import numpy as np
import pytest
from scipy import special

from tests.infinite_width.generate_near_duplicates import STEP, X
from tests.infinite_width.test_near_duplicates import mp_dual
from theorylab.infinite_width import _activations, _direct, _far, _gaps, _pieces, _quadrature, duals, kernels

# activation, w_var, b_var, separation, K, T, squared distance at depth 3
GOLDEN = [
    ("hard_tanh", 2.0, 0.01, 1e-08, 0.5338822209258505, 3.6266273660825434, 4.3359533488093694e-17),
    ("hard_tanh", 2.0, 0.01, 0.001, 0.5338748292783637, 3.624817257552004, 4.335825497104314e-07),
    ("hard_tanh", 2.0, 0.01, 1.0, 0.3520697606206253, 1.6547812504516777, 0.35654704530600173),
    ("relu6", 3.0, 0.01, 1e-08, 2.186969537370053, 8.755941209043007, 8.632441180621793e-17),
    ("relu6", 3.0, 0.01, 0.001, 2.1862956667280593, 8.750879915526529, 8.630384383086938e-07),
    ("relu6", 3.0, 0.01, 1.0, 1.6337569287475056, 4.699424541931896, 0.5823756695246032),
    ("hard_swish", 4.0, 0.01, 1e-08, 3.6319509563490846, 17.177027511678688, 2.4675705576060157e-16),
    ("hard_swish", 4.0, 0.01, 0.001, 3.6302548811411577, 17.167651799516438, 2.466803686040493e-06),
    ("hard_swish", 4.0, 0.01, 1.0, 2.2324823219430123, 8.150044412478335, 1.533010784804557),
    ("soft_shrink", 3.0, 0.01, 1e-08, 9.542966731708415, 43.6122226796906, 5.60683114974273e-16),
    ("soft_shrink", 3.0, 0.01, 0.001, 9.53883256835887, 43.57991708361391, 5.604596564008125e-06),
    ("soft_shrink", 3.0, 0.01, 1.0, 6.039424665380543, 24.30836935529507, 3.938214811298994),
]


def hard_shrink(x):
    return np.where(np.abs(x) > 0.5, x, 0.0)


def mixed(x):
    """Jumps of the function, of its slope and of its curvature."""
    return np.where(x > 1.0, x * x - 3.0, np.where(x < -0.5, 2.0 * x + 1.0, 0.3 * x * x))


FUNCTIONS = {
    "hard_tanh": (lambda x: np.clip(x, -1.0, 1.0), (-1.0, 1.0)),
    "relu6": (lambda x: np.clip(x, 0.0, 6.0), (0.0, 6.0)),
    "hard_sigmoid": (lambda x: np.clip(x / 6.0 + 0.5, 0.0, 1.0), (-3.0, 3.0)),
    "hard_swish": (lambda x: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0, (-3.0, 3.0)),
    "soft_shrink": (lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.25, 0.0), (-0.25, 0.25)),
    "hard_shrink": (hard_shrink, (-0.5, 0.5)),
    "step": (lambda x: np.where(x > 0.7, 1.0, 0.0), (0.7,)),
    "rectified_square": (lambda x: np.maximum(x - 0.3, 0.0) ** 2 + 0.1 * x, (0.3,)),
    "mixed": (mixed, (-0.5, 1.0)),
}


def slope(name, x):
    """The derivative, by hand."""
    forms = {
        "hard_tanh": lambda: np.abs(x) < 1.0,
        "relu6": lambda: (x > 0.0) & (x < 6.0),
        "hard_sigmoid": lambda: (np.abs(x) < 3.0) / 6.0,
        "hard_swish": lambda: np.where(np.abs(x) < 3.0, (2.0 * x + 3.0) / 6.0, x > 0.0),
        "soft_shrink": lambda: np.abs(x) > 0.25,
        "hard_shrink": lambda: np.abs(x) > 0.5,
        "step": lambda: np.zeros_like(x),
        "rectified_square": lambda: 2.0 * np.maximum(x - 0.3, 0.0) + 0.1,
        "mixed": lambda: np.where(x > 1.0, 2.0 * x, np.where(x < -0.5, 2.0, 0.6 * x)),
    }
    return np.asarray(forms[name](), dtype=np.float64)


def gauss(cuts):
    node, weight = np.polynomial.legendre.leggauss(16)
    cuts = np.unique(cuts)
    gap = np.diff(cuts)[:, None]
    return (cuts[:-1, None] + gap * (node + 1.0) / 2.0).ravel(), (gap * weight / 2.0).ravel()


def brute(f, df, kinks, a, b, z):
    """``E[f(u) f(v)]`` and ``E[f'(u) f'(v)]`` in coordinates along the diagonal and across it."""
    al, be, c, s, sign = np.sqrt(a), np.sqrt(b), np.sqrt(1.0 - z), np.sqrt(z), 1.0
    if z > 0.5:
        c, s, sign = s, c, -1.0
    h, k = np.array(kinks) / al, sign * np.array(kinks) / be
    base = np.arange(-12.0, 12.1, 2.0)
    across = ((h[:, None] - k) / (2.0 * s)).ravel()
    q, wq = gauss(np.concatenate([base, across[np.abs(across) < 12.0]]))
    out = np.zeros(2)
    for qi, wi in zip(q, wq):
        bends = np.concatenate([(h - s * qi) / c, (k + s * qi) / c])
        p, wp = gauss(np.concatenate([base, bends[np.abs(bends) < 12.0]]))
        u, v = al * (c * p + s * qi), sign * be * (c * p - s * qi)
        w = wi * wp * np.exp(-0.5 * (p * p + qi * qi)) / (2.0 * np.pi)
        out += [np.sum(w * f(u) * f(v)), np.sum(w * df(u) * df(v))]
    return out


def pair(rule, a, b, z):
    args = (np.array([v]) for v in (a, b, np.sqrt(a * b) * (1.0 - 2.0 * z), z, 1.0 - z))
    return [float(v[0]) for v in rule.dual(*args)]


def norms(act, a, b):
    return [float(np.sqrt(np.prod(m))) for m in act.moments(np.array([a, b]))]


def random_pairs(seed, count):
    rng = np.random.default_rng(seed)
    for i in range(count):
        a, b = np.exp(1.5 * rng.normal(size=2))
        b = (b, a, a * (1.0 + 1e-6), b)[i % 4]
        tiny = 10.0 ** rng.uniform(-16.0, -1.0)
        yield a, b, (rng.uniform(), tiny, 1.0 - tiny)[i % 3]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_duals_against_a_product_rule(name):
    """Both are sums of some 1e4 terms: rounding errors of 1e-15 of the product of norms."""
    f, kinks = FUNCTIONS[name]
    act = duals.register(f"kinks_{name}", fn=f, kinks=kinks)
    rule = act.dual.__self__
    assert isinstance(rule, _direct.PieceRule)
    for a, b, z in random_pairs(len(name), 6):
        want = brute(f, lambda x: slope(name, x), kinks, a, b, z)
        got = pair(rule, a, b, z)
        for g, w, size in zip(got, want, norms(act, a, b)):
            assert abs(g - w) <= 1e-14 * size


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("a", [1e2, 1e5, 1e10])
def test_large_variances_of_kinked_functions(name, a):
    f, kinks = FUNCTIONS[name]
    act = duals.register(f"kinks_{name}", fn=f, kinks=kinks)
    for b in (a, 1e-3 * a):
        for z in (1e-12, 1e-4, 0.02, 0.6):
            want = brute(f, lambda x: slope(name, x), kinks, a, b, z)
            got = pair(act.dual.__self__, a, b, z)
            for g, w, size in zip(got, want, norms(act, a, b)):
                assert abs(g - w) <= 2e-14 * size


@pytest.mark.parametrize("k", [0.3, -1.2])
@pytest.mark.parametrize("theta", [1e-6, 1e-2, 1.0])
def test_jumps_of_near_duplicates(k, theta):
    """D of a step at k falls by ``int_0^theta exp(-k^2 / (1 + cos t)) dt / (2 pi)``."""
    act = duals.register("late_step", fn=lambda x: np.where(x > k, 1.0, 0.0), kinks=(k,))
    one = np.ones(1)
    e = 2.0 * np.sin(0.5 * theta) ** 2 * one
    with mp.workdps(30):
        want = float(mp.quad(lambda t: mp.exp(-(mp.mpf(k) ** 2) / (1 + mp.cos(t))), [0, theta]) / (2 * mp.pi))
    assert abs(_gaps.covariance_gap(act, one, one, one - e, e)[0] / want - 1.0) < 1e-14


@pytest.mark.parametrize(("name", "w", "b", "separation", "k", "t", "d"), GOLDEN)
def test_near_duplicates(name, w, b, separation, k, t, d):
    f, kinks = FUNCTIONS[name]
    act = duals.register(f"kinks_{name}", fn=f, kinks=kinks)
    both = np.array([X, np.array(X) + separation * np.array(STEP)])
    common = {"depth": 3, "activation": act, "w_var": w, "b_var": b}
    K, T = kernels.nngp_ntk(both, **common)
    assert abs(K[0, 1] / k - 1) < 1e-14
    assert abs(T[0, 1] / t - 1) < 1e-14
    assert abs(kernels.rkhs_sqdist(both, **common)[0, 1] / d - 1) < 1e-14


@pytest.mark.parametrize(("name", "w", "b", "separation", "k", "t", "d"), GOLDEN[:3] + GOLDEN[6:9])
def test_any_function(monkeypatch, name, w, b, separation, k, t, d):
    """The rule for functions that are no polynomials between kinks, on those that are."""
    monkeypatch.setattr(_direct, "find", lambda f, kinks: None)
    f, kinks = FUNCTIONS[name]
    act = _activations.by_quadrature("any", f, lambda x: slope(name, x), kinks)
    both = np.array([X, np.array(X) + separation * np.array(STEP)])
    common = {"depth": 3, "activation": act, "w_var": w, "b_var": b}
    K, T = kernels.nngp_ntk(both, **common)
    assert abs(K[0, 1] / k - 1) < 2e-14
    assert abs(T[0, 1] / t - 1) < 2e-14
    assert abs(kernels.rkhs_sqdist(both, **common)[0, 1] / d - 1) < 2e-14


@pytest.mark.parametrize("scale", [0.7, 5.0])
def test_functions_between_kinks(scale):
    """A shifted ELU, and one that decays: at all angles, far apart or close."""

    def shifted(x):
        return np.where(x > 0.6, x - 0.6, np.expm1(np.minimum(x - 0.6, 0.0)) * 0.5)

    def shifted_slope(x):
        return np.where(x > 0.6, 1.0, 0.5 * np.exp(np.minimum(x - 0.6, 0.0)))

    def decaying(x):
        return np.where(x > -1.0, np.exp(-np.abs(x + 1.0)), 2.0)

    def decaying_slope(x):
        return np.where(x > -1.0, -np.exp(-np.abs(x + 1.0)), 0.0)

    for f, df, kink in ((shifted, shifted_slope, 0.6), (decaying, decaying_slope, -1.0)):
        rule = _direct.rule(f, df, (kink,))
        assert isinstance(rule, _direct.LineRule)
        a, b = scale**2, 0.4 * scale**2
        size = []
        for g in (f, df):
            moments = _quadrature.gauss_moment(lambda x, g=g: g(x) ** 2, np.array([a, b]), (kink,))
            size.append(float(np.sqrt(moments.prod())))
        # panels of the reference must resolve exponentials
        cuts = sorted({kink, *(s * 2.0**k for k in range(6) for s in (1.0, -1.0))}) if scale > 1 else (kink,)
        for z in (1e-9, 0.02, 0.8):
            want = brute(f, df, cuts, a, b, z)
            for g, w, s in zip(pair(rule, a, b, z), want, size):
                assert abs(g - w) <= 2e-14 * s


def test_many_points_equal_few():
    act = duals.register("kinks_hard_tanh", fn=FUNCTIONS["hard_tanh"][0], kinks=(-1.0, 1.0))
    Z = np.random.default_rng(0).normal(size=(40, 3))
    Z[20:] = Z[:20] * 1.0001
    common = {"depth": 2, "activation": act, "w_var": 2.0, "b_var": 0.1}
    K, T = kernels.nngp_ntk(Z, **common)
    for i, j in ((0, 1), (3, 23), (30, 12), (39, 38)):
        k, t = kernels.nngp_ntk(Z[i : i + 1], Z[j : j + 1], **common)
        assert abs(K[i, j] - k[0, 0]) < 1e-14 * K.max()
        assert abs(T[i, j] - t[0, 0]) < 1e-14 * T.max()


def test_no_variance():
    """A point without variance makes D a product of means."""
    for name, (f, kinks) in FUNCTIONS.items():
        act = duals.register(f"kinks_{name}", fn=f, kinks=kinks)
        mean = _quadrature.gauss_moment(f, np.array([1.7]), kinks)[0]
        got, _ = duals.dual_activation(act, 0.0, 1.7, 0.0)
        assert abs(got - f(np.zeros(1))[0] * mean) < 1e-14


def test_pieces():
    found = _pieces.find(FUNCTIONS["hard_swish"][0], (-3.0, 0.0, 3.0))  # no kink at zero
    np.testing.assert_array_equal(found.kinks, [-3.0, 3.0])
    np.testing.assert_allclose(found.coef, [[0, 0, 0], [0, 0.5, 1 / 6], [0, 1, 0]], atol=1e-16)
    assert _pieces.find(lambda x: np.where(x > 1.0, np.exp(-x), 0.0), (1.0,)) is None
    assert _pieces.find(lambda x: np.where(x > 1.0, x**3, 0.0), (1.0,)) is None
    assert _pieces.find(lambda x: np.clip(x, -1.0, 1.0) + np.maximum(x - 2.0, 0.0), (-1.0, 1.0)) is None
    assert _pieces.find(np.tanh, (1.0,)) is None
    plain = duals.get(lambda x: np.clip(x, -0.3, 0.45))
    assert isinstance(plain.dual.__self__, _direct.PieceRule)


def test_misplaced_kinks_move_to_where_pieces_meet():
    """A search finds a jump of the curvature to some 1e-3 only."""
    k = 0.25 * np.pi
    act = duals.get(lambda x: np.maximum(x - k, 0.0) ** 2)
    assert act.kinks == pytest.approx((0.0, k), abs=1e-15)
    tail, density = special.ndtr(-k), np.exp(-0.5 * k * k) / np.sqrt(2.0 * np.pi)
    first, second = act.moments(np.ones(1))
    # E (x - k)_+^4 and 4 E (x - k)_+^2
    assert abs(first[0] / ((k**4 + 6 * k**2 + 3) * tail - (k**3 + 5 * k) * density) - 1) < 3e-15
    assert abs(second[0] / (4 * ((1 + k * k) * tail - k * density)) - 1) < 3e-15


# -- large variances ---------------------------------------------------------------------------------

SMOOTH = {
    "erf": (special.erf, lambda x: 2.0 / np.sqrt(np.pi) * np.exp(-np.minimum(x * x, 700.0))),
    "gelu": (
        lambda x: x * special.ndtr(x),
        lambda x: special.ndtr(x) + x * np.exp(-np.minimum(0.5 * x * x, 700.0)) / np.sqrt(2.0 * np.pi),
    ),
}


@pytest.mark.parametrize("name", ["erf", "gelu"])
@pytest.mark.parametrize("a", [3e3, 1e5, 1e12, 1e30])
def test_far_pairs_against_closed_forms(name, a):
    """Functions with closed duals, taken for broken lines with a remainder."""
    f, df = SMOOTH[name]
    far = _far.far_dual(f, df, ())
    b = 0.3 * a
    for rho in (0.97, 0.3, -0.6):
        with mp.workdps(80):
            want = mp_dual(name, mp.mpf(a), mp.mpf(b), rho * mp.sqrt(mp.mpf(a) * mp.mpf(b)))
            norm = [
                mp.sqrt(p * q)
                for p, q in zip(*(mp_dual(name, mp.mpf(v), mp.mpf(v), mp.mpf(v)) for v in (a, b)))
            ]
        near = np.array([np.arccos(rho)])
        args = np.sqrt([a]), np.sqrt([b]), near, np.pi - near
        assert far.covers(*args[:3]).all()
        for g, w, size in zip(far.dual(*args), want, norm):
            assert abs(float((mp.mpf(float(g[0])) - w) / size)) < 2e-15


@pytest.mark.parametrize("name", ["erf", "gelu"])
@pytest.mark.parametrize("a", [1e2, 1e4, 1e8, 1e16, 1e30])
@pytest.mark.parametrize("width", [0.01, 1.0])
def test_close_pairs_of_large_variance(name, a, width):
    """Where ``alpha theta`` is about one neither series nor coarse panels see the angle."""
    f, df = SMOOTH[name]
    act = _activations.by_quadrature("close", f, df)
    z = np.sin(0.5 * width / np.sqrt(a)) ** 2
    got = pair(act.dual.__self__, a, a, z)
    gap = act.gap(*(np.array([v]) for v in (np.sqrt(a), np.sqrt(a), z)))[0]
    with mp.workdps(90):
        A = mp.mpf(a)
        want, norm = mp_dual(name, A, A, A * (1 - 2 * mp.mpf(z))), mp_dual(name, A, A, A)
        for g, w, size in zip(got, want, norm):
            assert abs(float((mp.mpf(g) - w) / size)) < 2e-15
        assert abs(float(mp.mpf(float(gap)) / (norm[0] - want[0]) - 1)) < 2e-15


@pytest.mark.parametrize("name", ["tanh", "elu", "silu", "softplus", "mish", "selu"])
def test_far_pairs_against_rays(name):
    act = duals.get(name)
    far = act.dual.__self__.far
    near = np.array([0.2, 1.4, 2.9])
    al, be = np.full(3, 130.0), np.full(3, 55.0)
    assert far.covers(al, be, near).all()
    want = _quadrature.polar((act.fn, act.dfn), al, be, near, np.pi - near, 0)
    for g, w, size in zip(far.dual(al, be, near, np.pi - near), want, norms(act, 130.0**2, 55.0**2)):
        np.testing.assert_allclose(g, w, rtol=0, atol=3e-15 * size)


def test_slow_tails_are_no_broken_lines():
    assert duals.get("softsign").dual.__self__.far is None
    assert _far.far_dual(np.sin, np.cos, ()) is None


@pytest.mark.parametrize(("activation", "scale"), [("elu", 1.0), ("tanh", 3e3), ("softsign", 8e3)])
def test_tables_below_large_variances(activation, scale):
    """Some layers have tables, those beyond have none: the pairs agree with pairs on their own."""
    Z = scale * np.random.default_rng(1).normal(size=(24, 4))
    common = {"depth": 16 if activation == "elu" else 2, "activation": activation, "w_var": 4.0, "b_var": 0.1}
    K, T = kernels.nngp_ntk(Z, **common)
    for i, j in ((1, 0), (20, 7)):
        k, t = kernels.nngp_ntk(Z[i : i + 1], Z[j : j + 1], **common)
        np.testing.assert_allclose([K[i, j], T[i, j]], [k[0, 0], t[0, 0]], rtol=0, atol=1e-12 * T.max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_overflow_names_the_layer(dtype):
    Z = np.random.default_rng(1).normal(size=(6, 4)).astype(dtype) * dtype(1e15)
    for activation in (
        "elu",
        duals.register("kinks_hard_swish", fn=FUNCTIONS["hard_swish"][0], kinks=(-3.0, 3.0)),
    ):
        with pytest.raises(OverflowError, match="dense layer"):
            kernels.nngp_ntk(Z, depth=12, activation=activation, w_var=1e30, b_var=0.0)
