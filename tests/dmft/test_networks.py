"""Simulators, losses, closed forms, comparison: against naive code and numbers from elsewhere."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from theorylab._lib.threads import limit_threads
from theorylab.dmft import (
    Comparison,
    PolynomialTask,
    QuadraticNetwork,
    SimulationResult,
    SmoothNetwork,
    SmoothTask,
    compare,
    dmft_solve,
    finite_size_slope,
    grokking_times,
    lazy_limit,
    ntk,
    simulate,
    simulate_moments,
    test_loss_components,
)

from .reference import torch_free_test_loss, train_by_definition

TASK = PolynomialTask(nu=2.0, offset=1.0)
NETS = [
    QuadraticNetwork(1, 1.0, 0.5),
    QuadraticNetwork(3, -1.5, 0.4, signs=(1, -1, 1), center=True),
    QuadraticNetwork(12, 2.0, 0.3, signs=[1, -1] * 6, center=True),
    SmoothNetwork(2, 1.0, np.tanh, lambda h: 1 - np.tanh(h) ** 2, lambda h: h * 0, center=True),
]


def normal_start(net, d, seed=0):
    rng = np.random.default_rng(seed)
    beta = rng.standard_normal(d)
    beta *= np.sqrt(d / (beta @ beta))
    return rng.standard_normal((net.width, d)), rng.standard_normal((2 * d, d)) / np.sqrt(d), beta


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("d", [5, 30])
def test_replays_one_network_exactly(net, d):
    """12 steps of order-one sums over at most 60 terms: rounding stays below 1e-12."""
    W, X, beta = normal_start(net, d)
    losses, overlaps, last = train_by_definition(net, TASK, 0.05, 12, W, X, beta)
    run = simulate(net, TASK, 0.05, 12, d, np.zeros(net.width), init_weights=W, inputs=X, beta=beta)
    np.testing.assert_allclose(run.train_loss[0], losses, rtol=1e-11)
    np.testing.assert_allclose(run.overlap[0], overlaps, atol=1e-12)
    # The reference makes one more update after its last report.
    again, _, before = train_by_definition(net, TASK, 0.05, 11, W, X, beta)
    assert again.size == 11
    np.testing.assert_allclose(run.final_weights[0], before, rtol=1e-10, atol=1e-12)
    assert not np.allclose(last, before)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("d", [4, 25])
def test_test_loss_against_fresh_points(net, d):
    """Four standard errors of 4e5 fresh points."""
    W, X, beta = normal_start(net, d)
    run = simulate(net, TASK, 0.05, 4, d, init_weights=W, inputs=X, beta=beta)
    mean, error = torch_free_test_loss(net, TASK, run.final_weights[0], W, beta, np.random.default_rng(1))
    assert abs(run.test_loss[0, -1] - mean) < 4 * error
    if isinstance(net, QuadraticNetwork):
        parts = test_loss_components(run.final_weights[0], beta, net, TASK, W0=W)
        np.testing.assert_allclose(sum(parts), run.test_loss[0, -1], rtol=1e-12)
        np.testing.assert_allclose(parts, run.components[0, -1], rtol=1e-12)


def test_both_sides_of_the_decomposition_agree():
    """Few neurons go through inner products, many through the D x D matrix."""
    net = QuadraticNetwork(3, 1.3, 0.7, center=True)
    W, _, beta = normal_start(net, 40)
    W0 = W + 0.3
    few = test_loss_components(W, beta, net, TASK, W0)
    repeated = QuadraticNetwork(300, 1.3, 0.7, center=True)
    many = test_loss_components(np.tile(W, (100, 1)), beta, repeated, TASK, np.tile(W0, (100, 1)))
    np.testing.assert_allclose(many, few, rtol=1e-11)


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("d", [6, 50])
def test_prescribed_overlaps_and_gram_are_exact(width, d):
    net = QuadraticNetwork(width, 1.0, 0.5)
    m = np.linspace(-0.5, 0.4, width)
    gram = 1.2 * np.eye(width) + 0.1
    run = simulate(net, TASK, 0.1, 1, d, m, n_seeds=3, rng=0, init_gram=gram)
    np.testing.assert_allclose(run.overlap[:, 0], np.tile(m, (3, 1)), atol=1e-13)
    for W in run.final_weights:
        np.testing.assert_allclose(W @ W.T / d, gram, atol=1e-12)


def test_more_neurons_than_dimensions():
    net = QuadraticNetwork(50, 1.0, 0.5)
    m = np.full(50, 0.1)
    run = simulate(net, TASK, 0.1, 3, 8, m, rng=0)
    np.testing.assert_allclose(run.overlap[0, 0], m, atol=1e-13)
    assert np.isfinite(run.test_loss).all()


def test_infinite_network_is_the_limit_of_wide_ones():
    """Weights +-e_i have mean 0 and second moment I, exactly those of the infinite network."""
    d, n = 4, 8
    W = math.sqrt(d) * np.concatenate([np.eye(d), -np.eye(d)])
    net = QuadraticNetwork(n, 1.2, 0.6, center=True)
    _, X, beta = normal_start(net, d)
    finite = simulate(net, TASK, 0.1, 15, d, init_weights=W, inputs=X, beta=beta)
    wide = simulate_moments(
        QuadraticNetwork(np.inf, 1.2, 0.6, center=True), TASK, 0.1, 15, d, 0.0, inputs=X, beta=beta
    )
    np.testing.assert_allclose(wide.train_loss, finite.train_loss, rtol=1e-11)
    np.testing.assert_allclose(wide.test_loss, finite.test_loss, rtol=1e-11)


def test_spike_of_the_infinite_network():
    run = simulate_moments(QuadraticNetwork(np.inf, 1.0, 0.5), TASK, 0.1, 3, 30, 0.4, n_seeds=2, rng=0)
    np.testing.assert_allclose(run.overlap[:, 0], [[0.0, 0.4]] * 2, atol=1e-13)
    assert simulate_moments(QuadraticNetwork(np.inf, 1.0, 0.5), TASK, 0.1, 3, 30, 0.0).overlap.shape == (
        1,
        3,
        1,
    )


def test_ensembles_do_not_depend_on_threads():
    results = []
    for n in (1, 2):
        with limit_threads(n):
            results.append(simulate(NETS[1], TASK, 0.1, 6, 40, [0.1, 0.2, 0.3], n_seeds=4, rng=3))
    np.testing.assert_array_equal(results[0].test_loss, results[1].test_loss)
    assert len(np.unique(results[0].test_loss[:, -1])) == 4


def test_divergence_of_networks():
    with pytest.warns(ConvergenceWarning, match=r"kappa=20"):
        run = simulate(NETS[0], TASK, 20.0, 30, 20, [0.3], n_seeds=2, rng=0)
    assert np.isnan(run.train_loss[:, -1]).all()
    assert np.isfinite(run.train_loss[:, 0]).all()


LAZY_TRAIN = [
    [0.28510258822, 0.182143337566, 0.0863436554267],
    [0.0714052455317, 0.00274603257077, 3.76855041462e-6],
]
LAZY_TEST = [
    [0.586726008145, 0.744055911643, 0.847178530752],
    [0.574243126172, 0.656380052403, 0.673985324361],
]


@pytest.mark.parametrize(("case", "nu", "eps", "kappa"), [(0, 2, 0.3, 0.2), (1, 0.5, 0.5, 0.1)])
def test_lazy_limit_against_quadrature(case, nu, eps, kappa):
    """Values with 12 digits from mpmath, and mpmath again here at a third time."""
    train, test = lazy_limit(nu, eps, kappa, [5, 20, 59])
    np.testing.assert_allclose(train, LAZY_TRAIN[case], rtol=2e-11)
    np.testing.assert_allclose(test, LAZY_TEST[case], rtol=2e-11)
    r, e, t = mpmath.mpf(1) / nu, mpmath.mpf(eps) ** 2 / nu, 7
    a, b = (1 - mpmath.sqrt(r)) ** 2, (1 + mpmath.sqrt(r)) ** 2

    def integrand(theta):
        l = (a + b) / 2 + (b - a) / 2 * mpmath.cos(theta)
        rho = ((b - a) / 2 * mpmath.sin(theta)) ** 2 / (2 * mpmath.pi * r * l)
        return rho * l * ((1 - (1 - kappa * (l + e)) ** t) / (l + e)) ** 2

    with mpmath.workdps(20):
        exact = mpmath.mpf(1) / 2 + mpmath.quad(integrand, [0, mpmath.pi / 2, mpmath.pi]) / (2 * nu)
    assert abs(lazy_limit(nu, eps, kappa, 7)[1] - float(exact)) < 1e-11


def test_lazy_limit_of_a_linear_network_and_at_the_start():
    assert lazy_limit(3.0, 0.0, 0.1, 0) == (0.5, 0.5)
    assert lazy_limit(1.0, 0.0, 0.1, [[3]])[0].shape == (1, 1)


@pytest.mark.parametrize("nu", [0.01, 0.7, 1.0, 3.0])
def test_lazy_limit_beyond_stability_is_infinite(nu):
    """Without a warning: the size of an unstable run is no accident of the arithmetic."""
    assert lazy_limit(nu, 0.3, 500.0, 1000) == (math.inf, math.inf)


@pytest.mark.parametrize("gap", [0.0, 1e-10, 1e-6, 1e-4, 3e-4, 1e-3, 1e-2, 0.5])
@pytest.mark.parametrize("sign", [-1, 1])
def test_lazy_limit_near_one_sample_per_dimension(gap, sign):
    """One and two steps by the moments 1, 1 + r, 1 + 3 r + r^2 of the whole Marchenko-Pastur law."""
    nu, eps, kappa = 1.0 + sign * gap, 0.3, 0.2
    r, e = 1 / nu, eps**2 / nu
    moments = [1, 1, 1 + r, 1 + 3 * r + r**2, 1 + 6 * r + 6 * r**2 + r**3]
    powers = [np.polynomial.Polynomial([1 - kappa * e, -kappa]) ** (2 * t) for t in (0, 1, 2)]
    # The atom of the law at 0 (nu < 1) and the deficit 1 - 1/nu are both included.
    train = [0.5 * (r * np.dot(p.coef, moments[: p.coef.size]) + (1 - r) * p(0)) for p in powers]
    slope = np.polynomial.Polynomial([0, 1]) * np.polynomial.Polynomial([2 - kappa * e, -kappa]) ** 2
    test = [0.5, 0.5 + 0.5 * r * kappa**2, 0.5 + 0.5 * r * kappa**2 * np.dot(slope.coef, moments[:4])]
    np.testing.assert_allclose(lazy_limit(nu, eps, kappa, [0, 1, 2]), [train, test], rtol=1e-12)


@given(st.floats(0.05, 20), st.floats(0, 1), st.integers(0, 50))
@settings(max_examples=30)
def test_lazy_losses_start_at_one_half_and_go_apart(nu, eps, t):
    """Stable steps shrink every train mode, and the fit of noise-like labels only adds to the test loss."""
    kappa = 0.5 / ((1 + nu**-0.5) ** 2 + eps**2 / nu)
    train, test = lazy_limit(nu, eps, kappa, [0, t, t + 1])
    np.testing.assert_allclose([train[0], test[0]], 0.5, rtol=1e-12)
    assert 0 <= train[2] <= train[1] * (1 + 1e-12) <= 0.5 * (1 + 1e-11)
    assert 0.5 * (1 - 1e-12) <= test[1] <= test[2] * (1 + 1e-12)


def test_grokking_times():
    train = np.array([[1.0, 0.5, 0.1, 0.0], [1.0, 0.9, 0.9, 0.9], [1.0, np.nan, np.nan, np.nan]])
    first, second = grokking_times(train, train[::-1])
    np.testing.assert_array_equal(first, [2.0, np.nan, np.nan])
    np.testing.assert_array_equal(second, [np.nan, np.nan, 2.0])
    assert grokking_times([2.0, 1.0], [2.0, 2.0], q=0.5)[0] == 1.0


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=20), st.floats(0.05, 0.9))
@settings(max_examples=50)
def test_grokking_time_is_the_first(curve, q):
    t, _ = grokking_times(curve, curve, q)
    if math.isnan(t):
        assert min(curve) > q * curve[0]
    else:
        assert curve[int(t)] <= q * curve[0] < min(curve[: int(t)], default=math.inf) + 1e-300


def test_kernel_of_many_neurons():
    """For N -> infinity the kernel is x.x' + eps^2 (x.x')^2; 4e5 neurons leave errors of 1/sqrt(N)."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((5, 6)) / 2, rng.standard_normal((3, 6)) / 2
    W = rng.standard_normal((400_000, 6))
    g = X @ Y.T
    np.testing.assert_allclose(ntk(QuadraticNetwork(400_000, 7.0, 0.6), W, X, Y), g + 0.36 * g**2, atol=0.02)
    K = ntk(QuadraticNetwork(3, 2.0, 0.6), W[:3], X)
    np.testing.assert_allclose(K, K.T)
    assert np.linalg.eigvalsh(K).min() > -1e-12


def test_comparison_sees_a_wrong_theory():
    net = QuadraticNetwork(2, 1.0, 0.5)
    task = PolynomialTask(2.0)
    networks = simulate(net, task, 0.1, 30, 200, [0.3, -0.4], n_seeds=12, rng=0)
    right = [dmft_solve(net, task, 0.1, 30, [0.3, -0.4], rng=k) for k in range(2)]
    wrong = dmft_solve(net, task, 0.1, 30, [0.5, -0.4], rng=0)
    verdict = compare(right, networks)
    assert isinstance(verdict, Comparison)
    assert verdict.passes
    assert verdict.z_test.shape == verdict.relative_train.shape == (30,)
    assert not compare(wrong, networks).passes
    # Whatever differs by more than the resolution fails, whatever by less passes.
    for relative, resolution, excess in (
        (verdict.relative_test, verdict.resolution_test, verdict.excess_test),
        (verdict.relative_train, verdict.resolution_train, verdict.excess_train),
    ):
        np.testing.assert_allclose(np.abs(relative[1:]) / resolution[1:], excess[1:], rtol=1e-10)
    few = simulate(net, task, 0.1, 30, 200, [0.3, -0.4], n_seeds=2, rng=0)
    blind = compare(right[0], few)
    assert blind.passes
    assert blind.resolution_train[-1] > 1 > 5 * verdict.resolution_train[-1]
    with pytest.raises(ValueError, match="different problems"):
        compare(dmft_solve(net, TASK, 0.1, 30, [0.3, -0.4], n_samples=30, rng=0), networks)
    with pytest.raises(TypeError, match="SimulationResult"):
        compare(right, right)
    with pytest.raises(TypeError, match="res must"):
        compare(1, networks)
    with pytest.raises(ValueError, match="single network"):
        compare(right, simulate(net, task, 0.1, 30, 200, [0.3, -0.4], rng=0))
    # A prescribed start has no spread beyond rounding, whatever the difference of order 1/D is.
    wide = QuadraticNetwork(np.inf, 1.0, 0.5)
    early = compare(
        dmft_solve(wide, task, 0.1, 5, 0.3, n_samples=300, rng=0),
        simulate_moments(wide, task, 0.1, 5, 50, 0.3, n_seeds=4, rng=0),
    )
    single = compare(
        dmft_solve(wide, task, 0.1, 5, 0.3, n_samples=300, rng=0),
        simulate_moments(wide, task, 0.1, 5, 50, 0.3, n_seeds=4, rng=0, dtype=np.float32),
    )
    for seen in (early, single):
        assert np.isnan(seen.z_test[0])
        assert np.abs(seen.z_test[1:]).max() < 1e3
    np.testing.assert_allclose(single.z_test[1:], early.z_test[1:], rtol=1e-2)


def test_finite_size_slope_of_made_up_networks():
    """Distances of size D^-1/2 by construction, with chance of known size; then an offset that stays."""
    theory = dmft_solve(NETS[0], TASK, 0.1, 3, [0.2], n_samples=50, rng=0)
    rng = np.random.default_rng(0)

    def made_up(dim, n, offset):
        losses = theory.test_loss + offset + rng.standard_normal((n, 3)) / np.sqrt(dim)
        return SimulationResult(NETS[0], TASK, 0.1, dim, losses, losses, losses[:, :, None], None)

    slopes = []
    for _ in range(200):
        slope, error = finite_size_slope(
            theory, [made_up(d, n, 0.0) for d, n in ((50, 40), (100, 20), (400, 10))]
        )
        slopes.append(slope)
    # 200 slopes know their mean to error / 14 and their spread to 5 %; n = 10 is not yet normal: 10 % more.
    assert abs(np.mean(slopes) + 0.5) < 4 * error / 14 + 0.02
    assert 0.85 < np.std(slopes) / error < 1.25
    flat, _ = finite_size_slope([theory], [made_up(d, 50, 3.0) for d in (50, 800)], step=1)
    assert abs(flat) < 0.02
    with pytest.raises(ValueError, match="two different"):
        finite_size_slope(theory, [made_up(50, 3, 0.0)] * 2)
    with pytest.raises(ValueError, match="step = 3"):
        finite_size_slope(theory, [made_up(50, 3, 0.0)], step=3)
    with pytest.raises(TypeError, match="sims"):
        finite_size_slope(theory, made_up(50, 3, 0.0))
    same = SimulationResult(NETS[0], TASK, 0.1, 9, *[np.tile(theory.test_loss, (2, 1))] * 3, None)
    with pytest.raises(ValueError, match="vanish"):
        finite_size_slope(theory, [same, made_up(50, 3, 0.0)])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: QuadraticNetwork(0, 1.0, 0.5), ValueError, "width"),
        (lambda: QuadraticNetwork(2.0, 1.0, 0.5), TypeError, "width"),
        (lambda: QuadraticNetwork(-np.inf, 1.0, 0.5), ValueError, "width"),
        (lambda: QuadraticNetwork(2, 0.0, 0.5), ValueError, "alpha"),
        (lambda: QuadraticNetwork(2, 1.0, np.nan), ValueError, "eps"),
        (lambda: QuadraticNetwork(2, 1.0, 0.5, signs=[1]), ValueError, "signs"),
        (lambda: QuadraticNetwork(2, 1.0, 0.5, signs=[1, 2]), ValueError, "signs"),
        (lambda: QuadraticNetwork(2, 1.0, 0.5, signs="ab"), TypeError, "signs"),
        (lambda: QuadraticNetwork(np.inf, 1.0, 0.5, signs=[1]), ValueError, "signs"),
        (lambda: QuadraticNetwork(2, 1.0, 0.5, center=1), TypeError, "center"),
        (lambda: PolynomialTask(0.0), ValueError, "nu"),
        (lambda: PolynomialTask(1.0, noise=-1.0), ValueError, "noise"),
        (lambda: PolynomialTask(1.0, offset=np.inf), ValueError, "offset"),
        (lambda: SmoothNetwork(np.inf, 1.0, np.tanh, np.tanh, np.tanh), ValueError, "width"),
        (lambda: SmoothNetwork(2, 1.0, np.tanh, 3, np.tanh), TypeError, "dphi"),
        (lambda: SmoothTask(1.0, np.sin, 3), TypeError, "dtarget"),
        (lambda: simulate(NETS[0], TASK, 0.1, 3, 10), ValueError, "init_overlap"),
        (lambda: simulate(NETS[0], TASK, 0.1, 3, 0, [0.1]), ValueError, "dim"),
        (lambda: simulate(NETS[0], PolynomialTask(0.01), 0.1, 3, 10, [0.1]), ValueError, "no sample"),
        (lambda: simulate(NETS[0], TASK, 0.1, 3, 10, [0.1], n_seeds=0), ValueError, "n_seeds"),
        (lambda: simulate(NETS[0], TASK, 0.1, 3, 10, [0.1], inputs=np.ones((3, 10))), ValueError, "inputs"),
        (lambda: simulate(NETS[0], TASK, 0.1, 3, 10, [0.1], beta=np.zeros(10)), ValueError, "beta"),
        (
            lambda: simulate(NETS[0], TASK, 0.1, 3, 10, init_weights=np.ones((2, 10))),
            ValueError,
            "init_weights",
        ),
        (lambda: simulate(QuadraticNetwork(np.inf, 1.0, 1.0), TASK, 0.1, 3, 10, 0.1), ValueError, "moments"),
        (lambda: simulate_moments(NETS[0], TASK, 0.1, 3, 10, 0.1), ValueError, "width"),
        (lambda: simulate_moments(NETS[3], TASK, 0.1, 3, 10, 0.1), TypeError, "QuadraticNetwork"),
        (lambda: lazy_limit(-1.0, 0.1, 0.1, 3), ValueError, "nu"),
        (lambda: lazy_limit(1.0, 0.1, 0.1, -3), ValueError, "t must"),
        (lambda: grokking_times([1.0], [1.0, 2.0]), ValueError, "test has shape"),
        (lambda: grokking_times([1.0], [1.0], q=1.5), ValueError, "q must"),
        (lambda: ntk(NETS[0], np.ones((2, 3)), np.ones((4, 3))), ValueError, "rows"),
        (lambda: ntk(NETS[0], np.ones((1, 3)), np.ones((4, 2))), ValueError, "columns"),
        (lambda: test_loss_components(np.ones((3, 4)), np.ones(4), NETS[1], TASK), ValueError, "W0"),
        (lambda: test_loss_components(np.ones((1, 4)), np.ones(3), NETS[0], TASK), ValueError, "W has shape"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


START = np.zeros((2, 10))


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        (dict(init_overlap=[0.1, 0.2, 0.3]), ValueError, r"init_overlap has shape \(3,\), expected \(2,\)"),
        (dict(init_overlap="x"), TypeError, "expected NumPy"),
        (dict(init_overlap=[np.nan, 0.0]), ValueError, "init_overlap contains nan"),
        (dict(init_gram=np.eye(3)), ValueError, r"init_gram has shape \(3, 3\), expected \(2, 2\)"),
    ],
)
def test_given_weights_do_not_hide_a_wrong_start(start, error, message):
    """Whoever passes weights and overlaps hears of a wrong shape; values are those of the weights."""
    net = QuadraticNetwork(2, 1.0, 0.5)
    with pytest.raises(error, match=message):
        simulate(net, TASK, 0.1, 3, 10, init_weights=START, **start)
    run = simulate(net, TASK, 0.1, 3, 10, [0.3, 0.4], init_weights=START, rng=0)
    np.testing.assert_array_equal(run.overlap[0, 0], [0.0, 0.0])


@pytest.mark.parametrize("spike", [1e200, -1e160])
def test_overlaps_beyond_the_range_of_doubles(spike):
    wide = QuadraticNetwork(np.inf, 1.0, 0.5)
    for make in (
        lambda: dmft_solve(wide, TASK, 0.1, 3, spike),
        lambda: simulate_moments(wide, TASK, 0.1, 3, 10, spike),
        lambda: dmft_solve(QuadraticNetwork(1, 1.0, 0.5), TASK, 0.1, 3, [spike], init_gram=[[1e300]]),
    ):
        with pytest.raises(ValueError, match="init_overlap"):
            make()


def test_losses_beyond_the_range_of_doubles():
    """No NumPy warning: the loss is not finite, and an infinite ridge is an error that names eps."""
    net = QuadraticNetwork(2, 1.0, 0.5)
    assert not math.isfinite(sum(test_loss_components(1e200 * np.ones((2, 9)), np.ones(9), net, TASK)))
    with pytest.raises(ValueError, match="eps"):
        lazy_limit(2.0, 1e200, 0.1, 5)


@pytest.mark.parametrize(
    ("width", "nu", "dim"),
    [(2, 2.0, 400), (300, 2.0, 200), (300, 30.0, 200), (2000, 400.0, 5), (300, 0.1, 400)],
)
def test_predicted_memory_covers_what_networks_take(monkeypatch, width, nu, dim):
    """Never below the measured peak, and at most 2.1 times it: drawing may need the data once or twice."""
    import tracemalloc

    from theorylab.dmft import _simulate

    announced = []
    monkeypatch.setattr(
        _simulate, "refuse_if_too_large", lambda name, needed, advice: announced.append(needed)
    )
    net, task, start = QuadraticNetwork(width, 1.0, 0.5), PolynomialTask(nu), np.full((width, dim), 0.1)

    def run():
        simulate(net, task, 1e-3, 3, dim, init_weights=start, rng=0)

    run()
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < announced[-1] < 2.1 * peak
