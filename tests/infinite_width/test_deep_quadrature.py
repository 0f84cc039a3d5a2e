"""Deep networks of activations by quadrature: what each layer repeats must be right to the last digit.

A rule wrong by 1e-15 is wrong by it in every layer, and the same way once variances have settled: a hundred
layers make 1e-13 of it. What remains is the rounding of Ddot and of the variance to float64, at most some
three units of 1.1e-16 a layer: below 4e-14 at depth 100, against a bar of 1e-13.
"""

from dataclasses import replace

import mpmath as mp
import numpy as np
import pytest
from scipy import special

from tests.infinite_width.generate_near_duplicates import STEP, X
from tests.infinite_width.test_near_duplicates import mp_dual, reference
from theorylab.infinite_width import _quadrature, duals, kernels
from theorylab.infinite_width._interpolate import edges, nodes, powers
from theorylab.infinite_width._network import diagonal, make_network
from theorylab.infinite_width._span import spanning
from theorylab.infinite_width._table import spanned

# activation, w_var, b_var, separation, K, T, squared distance at depth 30; see generate_near_duplicates.py
GOLDEN = [
    ("tanh", 4.0, 0.01, 1e-08, 0.5315977459632403, 20350.473729799865, 1.6906489555292626e-13),
    ("tanh", 4.0, 0.01, 0.001, 0.5307548421386796, 20212.69776723593, 0.0016858076492903657),
    ("tanh", 4.0, 0.01, 1.0, 0.03016412933882632, 0.6178827782377252, 1.0028672332489965),
    ("silu", 2.0, 0.01, 1e-08, 0.005152038265528211, 0.01571654793737174, 7.046634757148426e-25),
    ("silu", 2.0, 0.01, 0.001, 0.005152038259881696, 0.015716547769849595, 7.0375755743047606e-15),
    ("silu", 2.0, 0.01, 1.0, 0.005152035342102391, 0.015716453065752343, 2.4847964065898965e-09),
    ("elu", 2.0, 0.01, 1e-08, 9.888492270588428, 712.9149160814079, 1.3632025984640232e-15),
    ("elu", 2.0, 0.01, 0.001, 9.887992589592693, 712.8716959816753, 1.3638355692837298e-05),
    ("elu", 2.0, 0.01, 1.0, 7.971383443412571, 104.97830002535751, 3.4320636128944706),
    ("softsign", 4.0, 0.01, 1e-08, 0.1353852634966584, 69.60632866258072, 3.5597188267972273e-16),
    ("softsign", 4.0, 0.01, 0.001, 0.13538348276706935, 69.59620026699655, 3.561458956599259e-06),
    ("softsign", 4.0, 0.01, 1.0, 0.049872081116929506, 1.2266806247131548, 0.17102636465699717),
]


@pytest.mark.parametrize(("act", "w", "b", "separation", "k", "t", "d"), GOLDEN)
def test_golden(act, w, b, separation, k, t, d):
    pair = np.array([X, np.array(X) + separation * np.array(STEP)])
    common = {"depth": 30, "activation": act, "w_var": w, "b_var": b}
    K, T = kernels.nngp_ntk(pair, **common)
    assert abs(K[0, 1] / k - 1) < 1e-13
    assert abs(T[0, 1] / t - 1) < 1e-13
    assert abs(kernels.rkhs_sqdist(pair, **common)[0, 1] / d - 1) < 1e-13


def _gelu(x):
    return x * special.ndtr(x)


@pytest.mark.parametrize(
    ("name", "fn", "w", "depth"),
    [("erf", special.erf, 2.0, 100), ("gelu", _gelu, 3.0, 7)],
)
def test_functions_with_closed_duals(name, fn, w, depth):
    """The same function by quadrature: chaotic layers, and variances that grow to thousands."""
    x = np.array(X)
    y = x + 1e-8 * np.array(STEP)
    k, t, d = reference(name, x, y, depth, w, 0.01)
    pair, common = np.stack([x, y]), {"depth": depth, "activation": fn, "w_var": w, "b_var": 0.01}
    K, T = kernels.nngp_ntk(pair, **common)
    assert abs(K[0, 1] / k - 1) < 1e-13
    assert abs(T[0, 1] / t - 1) < 1e-13
    assert abs(kernels.rkhs_sqdist(pair, **common)[0, 1] / d - 1) < 1e-13


@pytest.mark.parametrize("n", [3, 8, 16, 32, 48])
def test_gauss_rule(n):
    """Weights of one rule reach over two decades, each right to rounding."""
    x, w = _quadrature.legendre(n)
    with mp.workdps(40):
        for xi, wi in zip(x, w):
            node = mp.findroot(lambda v: mp.legendre(n, 2 * v - 1), mp.mpf(float(xi)))
            slope = n * mp.legendre(n - 1, 2 * node - 1) / (1 - (2 * node - 1) ** 2)
            assert abs(float(xi) - node) < 1.2e-16
            assert abs(float(wi) * (1 - (2 * node - 1) ** 2) * slope**2 - 1) < 1.5e-16


@pytest.mark.parametrize(("z", "bound"), [(0.0, 2e-15), (1e-12, 2e-15), (1e-8, 2e-15), (0.03, 4e-15)])
def test_spans_of_close_points(z, bound):
    """Near the angle 0 spans take the known moments and a small change."""
    act = duals.get(special.erf)
    span = spanning(act, np.array([0.05, 6.0]))
    q = np.array([0.06, 0.3, 1.0, 2.5, 5.9])
    moments = act.moments(q)
    value, slope = span.paired(
        q, q, q * (1.0 - 2.0 * z), np.full(5, z), np.full(5, 1.0 - z), moments, moments
    )
    for v, s, variance in zip(value, slope, map(mp.mpf, q.tolist())):
        want = mp_dual("erf", variance, variance, variance * (1 - 2 * mp.mpf(z)))
        assert abs(float(v / want[0] - 1)) < bound
        assert abs(float(s / want[1] - 1)) < bound


@pytest.mark.parametrize("a", [10.0, 1e4, 1e9])
@pytest.mark.parametrize("rho", [0.999999, 0.3, -0.8])
def test_large_variances(a, rho):
    """The function turns over on a strip of width one, thin against standard deviations of thousands."""
    mine = duals.register("gelu of large variance", fn=_gelu, kinks=(0.0,))
    b = 0.25 * a
    c = rho * np.sqrt(a * b)
    got = duals.dual_activation(mine, a, b, c)
    with mp.workdps(60):
        want = mp_dual("gelu", mp.mpf(a), mp.mpf(b), mp.mpf(float(c)))
    # of the product of norms: where rho < 0 most of it cancels
    assert abs(float(got[0] - want[0])) < 2e-15 * float(np.sqrt(a * b))
    assert abs(float(got[1] - want[1])) < 2e-15


@pytest.mark.parametrize(
    ("name", "fn"), [("erf", special.erf), ("gelu", _gelu), ("gabor", lambda x: np.exp(-x * x) * np.sin(x))]
)
@pytest.mark.parametrize("top", [6.0, 60.0])
def test_spans_at_all_angles(name, fn, top):
    """Cosine series of smooth functions, weights and panels together: some roundings of the norms, no more.

    Of D alone: taking the derivative of a plain function is not what is tested here.
    """
    rng = np.random.default_rng(3)
    a = np.exp(rng.uniform(np.log(0.05), np.log(top), 300))
    b = np.clip(a * np.exp(0.3 * rng.standard_normal(300)), 0.05, top)
    theta = np.concatenate([rng.uniform(0.0, np.pi, 200), 10.0 ** rng.uniform(-4.0, 0.0, 100)])
    z, y = np.sin(0.5 * theta) ** 2, np.cos(0.5 * theta) ** 2
    args = (a, b, np.sqrt(a * b) * (y - z), z, y)
    act, exact = replace(duals.get(fn), dfn=fn, kinks=()), duals.get(name)
    value = spanning(act, np.array([0.05, top])).paired(*args)[0]
    norms = np.sqrt(exact.moments(a)[0] * exact.moments(b)[0])
    assert np.abs((value - exact.dual(*args)[0]) / norms).max() < 2e-14


@pytest.mark.parametrize("act", ["softsign", "elu", "tanh"])
def test_table_of_many_pairs(act):
    """A table stands for the quadrature, and must not lose what that keeps."""
    act = duals.get(act)
    net = make_network(1, act, 2.0, 0.01)
    diag = diagonal(net, np.array([0.018, 0.02]))
    (dual,) = spanned(net, diag, diag, 1000)
    z = np.array([1e-12, 1e-6, 1e-2, 0.4, 0.9])
    a = np.full(5, float(diag.q[0, 1]))
    args = (a, a, a * (1.0 - 2.0 * z), z, 1.0 - z)
    np.testing.assert_allclose(dual.paired(*args), act.dual(*args), rtol=5e-15)


@pytest.mark.parametrize(("w", "depth"), [(1.5, 30), (2.0, 100)])
def test_many_near_duplicates(w, depth):
    """Thousands of pairs by tables, in chaotic layers, against the closed dual of the same function."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(4)
    points = x + 10.0 ** rng.uniform(-8, -1, (26, 1)) * rng.standard_normal((26, 4))
    common = {"depth": depth, "w_var": w, "b_var": 0.01}
    for kernel in (kernels.nngp_ntk, kernels.rkhs_sqdist):
        got, want = (kernel(points, activation=act, **common) for act in (special.erf, "erf"))
        np.testing.assert_allclose(got, want, rtol=1e-13)


@pytest.mark.parametrize("panels", [3, 12])
def test_panels(panels):
    """Interpolants reproduce polynomials of degree 15 on every panel, to the rounding of their values."""
    x = nodes(panels)
    assert x.max() < 1.0
    assert x.min() > 0.0
    edge = edges(panels)
    coefficients = powers(np.cos(12.0 * np.arccos(x)))
    y = np.linspace(-1.0, 1.0, 41)
    between = 0.5 * ((edge[:-1] + edge[1:])[:, None] + (edge[:-1] - edge[1:])[:, None] * y)
    value = np.polynomial.polynomial.polyval(y, coefficients.T)
    np.testing.assert_allclose(value, np.cos(12.0 * np.arccos(between)), atol=1e-13)
