"""The solver against closed forms, against naive networks, and against itself."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from theorylab._lib.threads import limit_threads
from theorylab.dmft import (
    PolynomialTask,
    QuadraticNetwork,
    SmoothNetwork,
    SmoothTask,
    compare,
    dmft_solve,
    lazy_limit,
    predict_memory,
    simulate,
    simulate_moments,
)

PAIR = QuadraticNetwork(2, alpha=1.0, eps=0.5)
TASK = PolynomialTask(nu=2.0)
START = [0.3, -0.4]


def test_one_step_against_exact_gaussian_moments():
    """Section values by hand from Gaussian moments up to order 8.

    Overlaps and C(1, 0) need moments up to order 4, which the samples have
    exactly. C(1, 1) and the test loss need order 6 and 8: with 4096
    low-discrepancy samples their spread over seeds is 3e-4; five of them.
    """
    for kappa, m1, c11, test1 in (
        (0.1, [0.32, -0.415], [[0.921959375, -0.1016375], [-0.1016375, 0.928565625]], 0.969500779991),
        (0.3, [0.36, -0.445], [[0.843634375, -0.2427375], [-0.2427375, 0.861090625]], 0.854318208555),
    ):
        r = dmft_solve(PAIR, TASK, kappa, 2, START, n_samples=4096, rng=0)
        assert abs(r.test_loss[0] - 1.0625) < 1e-12
        np.testing.assert_allclose(r.force_response[0, 0], 0.5, atol=1e-12)
        np.testing.assert_allclose(r.overlap[1], m1, atol=1e-12)
        np.testing.assert_allclose(r.correlation[1, 1], c11, atol=1.5e-3)
        np.testing.assert_allclose(r.test_loss[1], test1, atol=1.5e-3)
        assert abs(r.train_loss[0] - 1.0625) < 0.01
        np.testing.assert_allclose(
            r.force_correlation[0, 0], [[1.516875, 1.1375], [1.1375, 1.473125]], atol=0.04
        )
    np.testing.assert_allclose(
        dmft_solve(PAIR, TASK, 0.1, 2, START, rng=1).correlation[1, 0],
        [[0.9545, -0.056], [-0.056, 0.958]],
        atol=1e-12,
    )


@pytest.mark.parametrize("sampler", ["cholesky", "recursion"])
def test_two_neurons_against_stored_curves(sampler):
    """Means of six independent solutions with S=3000; tolerance: 3 spreads of one such solution."""
    r = dmft_solve(PAIR, TASK, 0.1, 60, START, n_samples=1500, rng=3, sampler=sampler)
    at = [5, 10, 20, 40, 59]
    train, test = [0.4596, 0.2726, 0.1453, 0.0751, 0.0512], [0.8187, 0.7465, 0.6763, 0.6090, 0.5745]
    assert np.all(np.abs(r.train_loss[at] - train) < 3 * np.array([0.004, 0.005, 0.004, 0.003, 0.003]))
    assert np.all(np.abs(r.test_loss[at] - test) < 3 * np.array([0.0007, 0.0014, 0.003, 0.007, 0.010]))


@pytest.mark.parametrize("sampler", ["cholesky", "recursion"])
def test_infinite_width_against_stored_curves(sampler):
    """Means of four solutions; tolerance: 3 spreads of one, measured over 12 seeds of either sampler."""
    r = dmft_solve(QuadraticNetwork(np.inf, 1.0, 1.0), TASK, 0.1, 40, 0.5, rng=5, sampler=sampler)
    at = [5, 10, 20, 39]
    assert np.all(
        np.abs(r.train_loss[at] - [0.0591, 0.0280, 0.0110, 0.0037])
        < 3 * np.array([4.6e-4, 3.5e-4, 2.7e-4, 1.5e-4])
    )
    np.testing.assert_allclose(r.test_loss[at], [0.2413, 0.2276, 0.2170, 0.2100], atol=3 * 0.0007)


@pytest.mark.parametrize(("sampler", "tolerance"), [("cholesky", 1e-4), ("recursion", 1e-3)])
@pytest.mark.parametrize("nu", [0.5, 2.0])
def test_lazy_limit(sampler, tolerance, nu):
    """At alpha = 1e4 corrections are of order 1/alpha = 1e-4; the recursion adds noise of order 1e-3."""
    net = QuadraticNetwork(np.inf, 1e4, 0.3, center=True)
    r = dmft_solve(net, PolynomialTask(nu, offset=1.0), 0.1, 40, 0.0, rng=2, sampler=sampler)
    train, test = lazy_limit(nu, 0.3, 0.1, np.arange(40))
    assert np.abs(r.train_loss - train).max() < tolerance
    assert np.abs(r.test_loss - test).max() < tolerance


def test_agrees_with_networks_that_have_signs_noise_and_a_centre():
    net = QuadraticNetwork(3, alpha=1.5, eps=0.6, signs=[1, -1, 1], center=True)
    task = PolynomialTask(nu=3.0, noise=0.3, offset=1.0)
    start = [0.5, 0.1, -0.2]
    theory = [dmft_solve(net, task, 0.1, 25, start, rng=k) for k in range(3)]
    networks = simulate(net, task, 0.1, 25, 300, start, n_seeds=24, rng=1)
    assert compare(theory, networks).passes


def test_smooth_activation_and_target():
    net = SmoothNetwork(
        2, 2.0, np.tanh, lambda h: 1 - np.tanh(h) ** 2, lambda h: -2 * np.tanh(h) * (1 - np.tanh(h) ** 2)
    )
    task = SmoothTask(2.0, np.sin, np.cos)
    theory = [dmft_solve(net, task, 0.1, 20, [0.5, -0.3], rng=k) for k in range(3)]
    networks = simulate(net, task, 0.1, 20, 200, [0.5, -0.3], n_seeds=24, rng=1)
    assert compare(theory, networks).passes


def test_a_quadratic_network_is_the_same_through_the_smooth_door():
    smooth = SmoothNetwork(2, 1.0, PAIR.phi, PAIR.dphi, PAIR.d2phi)
    task = SmoothTask(2.0, lambda u: 0.5 * u**2, lambda u: u)
    a = dmft_solve(PAIR, TASK, 0.1, 8, START, n_samples=300, rng=0)
    b = dmft_solve(smooth, task, 0.1, 8, START, n_samples=300, rng=0)
    # Gauss-Hermite is exact for polynomials; what is left is the order of operations over 8 steps.
    np.testing.assert_allclose(b.train_loss, a.train_loss, rtol=1e-11)
    np.testing.assert_allclose(b.test_loss, a.test_loss, rtol=1e-10)
    assert b.components is None
    np.testing.assert_allclose(a.components.sum(axis=1), a.test_loss, rtol=1e-12)


def test_the_mean_over_neurons_of_a_wide_network_is_the_infinite_one():
    """Width 6 against infinity differs visibly, so the bulk is more than decoration."""
    wide = dmft_solve(QuadraticNetwork(np.inf, 1.0, 1.0), TASK, 0.1, 20, 0.0, n_samples=500, rng=0)
    narrow = dmft_solve(QuadraticNetwork(6, 1.0, 1.0), TASK, 0.1, 20, np.zeros(6), n_samples=500, rng=0)
    far = dmft_solve(QuadraticNetwork(2, 1.0, 1.0), TASK, 0.1, 20, np.zeros(2), n_samples=500, rng=0)
    gap = [abs(r.train_loss[-1] - wide.train_loss[-1]) for r in (narrow, far)]
    assert gap[0] < gap[1]


def test_mirrored_neurons_stay_mirrored():
    """Exchangeable neurons have exchangeable order parameters in law; equal rows are equal exactly."""
    gram = np.ones((2, 2))
    r = dmft_solve(PAIR, TASK, 0.1, 10, [0.5, 0.5], init_gram=gram, n_samples=400, rng=0)
    np.testing.assert_allclose(r.overlap[:, 0], r.overlap[:, 1], rtol=1e-10)
    np.testing.assert_allclose(r.correlation[..., 0, 0], r.correlation[..., 1, 1], rtol=1e-10)


def test_shapes_causality_and_symmetry():
    r = dmft_solve(PAIR, TASK, 0.1, 7, START, n_samples=200, rng=0)
    for table in (r.correlation, r.response, r.force_correlation, r.force_response):
        assert table.shape == (7, 7, 2, 2)
    assert r.overlap.shape == (7, 2)
    assert r.components.shape == (7, 3)
    for t in range(7):
        assert not r.response[t, t:].any()
        assert not r.force_response[t, t + 1 :].any()
    np.testing.assert_array_equal(r.correlation, r.correlation.transpose(1, 0, 3, 2))
    np.testing.assert_array_equal(r.response[range(1, 7), range(6)], np.tile(np.eye(2), (6, 1, 1)))
    wide = dmft_solve(QuadraticNetwork(np.inf, 1.0, 0.5), TASK, 0.1, 3, 0.2, n_samples=50, rng=0)
    assert wide.overlap.shape == (3, 2)
    assert wide.bulk_correlation.shape == wide.bulk_response.shape == (3, 3)
    assert dmft_solve(QuadraticNetwork(np.inf, 1.0, 0.5), TASK, 0.1, 3, 0, n_samples=50).overlap.shape == (
        3,
        1,
    )


@pytest.mark.parametrize("n_samples", [1, 2, 5, 9])
@pytest.mark.parametrize("width", [1, np.inf])
def test_tiny_runs(n_samples, width):
    net = QuadraticNetwork(width, 1.0, 0.5)
    start = 0.2 if width == np.inf else [0.2]
    for sampler in ("cholesky", "recursion"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # one sample may well diverge
            for steps in (1, 2, 4):
                r = dmft_solve(net, TASK, 0.05, steps, start, n_samples=n_samples, rng=0, sampler=sampler)
                assert r.train_loss.shape == (steps,)


def test_linear_network_never_learns_the_target():
    """eps = 0: overlaps cannot grow, and the test loss cannot fall below the quadratic part 3/4."""
    r = dmft_solve(QuadraticNetwork(2, 1.0, 0.0), TASK, 0.1, 30, [0.0, 0.0], rng=0)
    np.testing.assert_allclose(r.overlap, 0.0, atol=1e-12)
    assert r.test_loss.min() >= 0.75 - 1e-9


@pytest.mark.parametrize("width", [2, np.inf])
@pytest.mark.parametrize("sampler", ["cholesky", "recursion"])
def test_same_bits_for_one_and_two_threads(width, sampler):
    net = QuadraticNetwork(width, 1.0, 0.5)
    start = START if width == 2 else 0.3
    results = []
    for n in (1, 2):
        with limit_threads(n):
            results.append(dmft_solve(net, TASK, 0.1, 12, start, n_samples=200, rng=7, sampler=sampler))
    for name in ("train_loss", "test_loss", "correlation", "force_response", "response", "force_correlation"):
        np.testing.assert_array_equal(getattr(results[0], name), getattr(results[1], name))


def test_float32_tangents():
    net = QuadraticNetwork(np.inf, 1.0, 0.5)
    a = dmft_solve(net, TASK, 0.1, 20, 0.3, n_samples=300, rng=0)
    b = dmft_solve(net, TASK, 0.1, 20, 0.3, n_samples=300, rng=0, dtype=np.float32)
    assert b.train_loss.dtype == b.correlation.dtype == np.float32
    # Each of 20 steps adds rounding errors of 6e-8 to tangents of order one.
    np.testing.assert_allclose(b.test_loss, a.test_loss, rtol=2e-5)


def test_truncated_memory():
    net = QuadraticNetwork(2, 1.0, 0.5, center=True)
    whole = dmft_solve(net, TASK, 0.1, 30, START, n_samples=300, rng=0)
    same = dmft_solve(net, TASK, 0.1, 30, START, n_samples=300, rng=0, memory=30)
    np.testing.assert_array_equal(whole.test_loss, same.test_loss)
    errors = []
    for length in (3, 8, 20):
        r = dmft_solve(net, TASK, 0.1, 30, START, n_samples=300, rng=0, memory=length)
        errors.append(np.abs(r.test_loss - whole.test_loss).max())
        estimate = r.diagnostics["truncation_error"]
        assert errors[-1] <= 2 * estimate
        assert not r.force_response[29, 1 : 30 - length].any()
        assert r.force_response[29, 0].any()
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize(("net", "start"), [(PAIR, START), (QuadraticNetwork(np.inf, 1.0, 1.0), 0.5)])
def test_error_of_a_truncation_is_estimated_for_every_window(net, start):
    """The shortest window has no half; long memory makes one halving a small part of the error."""
    whole = dmft_solve(net, TASK, 0.1, 40, start, n_samples=200, rng=0)
    for length in (1, 2, 5, 16):
        r = dmft_solve(net, TASK, 0.1, 40, start, n_samples=200, rng=0, memory=length)
        error = np.abs(r.test_loss - whole.test_loss).max()
        assert error <= 2 * r.diagnostics["truncation_error"]


def test_a_truncation_whose_half_diverges_is_not_trusted():
    from theorylab.dmft._solve import _distance

    assert _distance(np.array([1.0, 2.0]), np.array([1.5, 2.25])) == 0.5
    assert _distance(np.array([1.0, np.nan]), np.array([1.0, np.nan])) == 0.0
    assert _distance(np.array([1.0, np.nan]), np.array([1.0, 2.0])) == np.inf


def test_divergence_is_told_and_ends_in_nan():
    with pytest.warns(ConvergenceWarning, match=r"kappa=5.*sampler='cholesky'.*n_samples=200"):
        r = dmft_solve(PAIR, TASK, 5.0, 20, START, n_samples=200, rng=0)
    at = r.diagnostics["diverged_at"]
    assert 0 < at < 20
    assert np.isfinite(r.train_loss[:at]).all()
    assert np.isnan(r.train_loss[at:]).all()
    assert np.isnan(r.test_loss[at:]).all()
    assert np.isnan(r.correlation[at:]).all()
    assert np.isnan(r.overlap[at:]).all()


def test_a_rise_of_the_train_loss_is_told_with_its_step():
    net = QuadraticNetwork(np.inf, 0.3, 0.6, center=True)
    with pytest.warns(
        ConvergenceWarning, match=r"rose.*to step \d+.*recursion.*n_samples=200.*1e-06"
    ) as told:
        r = dmft_solve(net, PolynomialTask(6.0), 0.4, 6, 0.3, n_samples=200, rng=0, sampler="recursion")
    step = 1 + int(np.argmax(r.train_loss[1:] / r.train_loss[:-1]))
    assert f"to step {step} " in str(told[0].message)


def test_a_covariance_that_is_none_is_told_with_its_step(monkeypatch):
    """A correlation of 1.5 at step 1, slipped in where the paths are drawn."""
    from theorylab.dmft import _sampler

    original = _sampler.CholeskyPaths.draw

    def draw(paths, t, row, m):
        broken = row.copy()
        if t == 1:
            broken[0, 0] = 1.5 * np.sqrt(row[0, 2])
        return original(paths, t, broken, m)

    monkeypatch.setattr(_sampler.CholeskyPaths, "draw", draw)
    with pytest.warns(ConvergenceWarning, match=r"positivity of its covariance at step 1 .*n_samples=200"):
        r = dmft_solve(PAIR, TASK, 0.01, 4, START, n_samples=200, rng=0)
    assert r.diagnostics["smallest_schur"] < -0.5


@pytest.mark.parametrize("width", [2, np.inf])
def test_memory_of_the_whole_run_is_no_truncation(width):
    """The same random numbers with and without a window, or the truncation could not be seen."""
    net = QuadraticNetwork(width, 1.0, 0.5)
    start = START if width == 2 else 0.4
    whole = dmft_solve(net, TASK, 0.1, 12, start, n_samples=64, rng=5)
    for memory in (12, 30):
        same = dmft_solve(net, TASK, 0.1, 12, start, n_samples=64, rng=5, memory=memory)
        np.testing.assert_array_equal(same.test_loss, whole.test_loss)
    short = dmft_solve(net, TASK, 0.1, 12, start, n_samples=64, rng=5, memory=8)
    np.testing.assert_allclose(short.test_loss[:8], whole.test_loss[:8], rtol=1e-9)


def test_wide_networks_refuse_before_any_work():
    """The eigenvalues of the initial Gram matrix would take hours; ensembles count all their networks."""
    net, start = QuadraticNetwork(200_000, 1.0, 0.5), np.zeros(200_000)
    with pytest.raises(MemoryError, match="TiB"):
        dmft_solve(net, TASK, 0.1, 3, start)
    with pytest.raises(MemoryError, match="TiB"):
        simulate(net, TASK, 0.1, 3, 10, start)
    with pytest.raises(MemoryError, match=r"simulate would.*TiB.*n_seeds"):
        simulate(PAIR, TASK, 0.1, 3, 100, START, n_seeds=10**11)
    with pytest.raises(MemoryError, match=r"simulate_moments would.*TiB"):
        simulate_moments(QuadraticNetwork(np.inf, 1.0, 0.5), TASK, 0.1, 10**12, 10, 0.3)


def test_too_large_runs_refuse_with_the_number():
    with pytest.raises(MemoryError, match=r"dmft_solve would need [\d.e+]+ [GT]iB"):
        dmft_solve(PAIR, TASK, 0.1, 200_000, START)
    small = predict_memory(PAIR, TASK, 100, dtype=np.float32)
    assert small < predict_memory(PAIR, TASK, 100)
    assert predict_memory(PAIR, TASK, 400, memory=50) < predict_memory(PAIR, TASK, 400) / 4


@pytest.mark.parametrize("sampler", ["cholesky", "recursion"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("width", "n_steps", "n_samples", "memory"),
    [
        (np.inf, 30, 400, None),
        (np.inf, 40, 200, 10),
        (12, 8, 300, None),
        (2, 30, 300, 8),
        (30, 2, 300, None),
        (1, 100, 100, 20),
    ],
)
def test_predicted_memory_is_what_the_run_takes(width, n_steps, n_samples, memory, dtype, sampler):
    """Never below the measured peak, and at most 10 % above it."""
    import tracemalloc

    net = QuadraticNetwork(width, 2.0, 0.5)
    start = 0.3 if width == np.inf else np.linspace(0.1, 0.2, width)
    run = {"memory": memory, "dtype": dtype, "sampler": sampler}
    dmft_solve(net, TASK, 0.05, n_steps, start, n_samples=40, rng=0, **run)  # compile first
    tracemalloc.start()
    dmft_solve(net, TASK, 0.05, n_steps, start, n_samples=n_samples, rng=0, **run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    predicted = predict_memory(net, TASK, n_steps, n_samples=n_samples, **run)
    assert peak < predicted < 1.1 * peak


def test_arguments_stay_as_they_are():
    start, gram = np.array(START), np.asfortranarray(np.eye(2))
    start.flags.writeable = gram.flags.writeable = False
    dmft_solve(PAIR, TASK, 0.1, 3, start[::1], gram, n_samples=50, rng=0)
    np.testing.assert_array_equal(gram, np.eye(2))


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_positivity_of_the_start_is_judged_relative_to_its_scale(scale):
    """A gram of any unit: rounding of m m^T is forgiven, a violation of one part in 1e6 is not."""
    m = np.sqrt(scale) * np.array([0.3, 0.7])
    on_the_edge = np.outer(m, m) * (1 - 1e-13)
    net = QuadraticNetwork(2, 1.0 / max(scale, scale**0.5), 0.5)  # outputs of order one
    assert np.isfinite(simulate(net, TASK, 0.1, 1, 20, m, rng=0, init_gram=on_the_edge).test_loss).all()
    with pytest.raises(ValueError, match="eigenvalue"):
        simulate(PAIR, TASK, 0.1, 1, 20, m, rng=0, init_gram=np.outer(m, m) * (1 - 1e-6))
    with pytest.raises(ValueError, match="symmetric"):
        simulate(PAIR, TASK, 0.1, 1, 20, m, init_gram=scale * np.array([[1, 0.1], [0.1001, 1]]))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kappa": 0.0}, ValueError, "kappa"),
        ({"kappa": np.nan}, ValueError, "kappa"),
        ({"kappa": "x"}, TypeError, "kappa"),
        ({"n_steps": 0}, ValueError, "n_steps"),
        ({"n_steps": 2.0}, TypeError, "n_steps"),
        ({"n_samples": 0}, ValueError, "n_samples"),
        ({"memory": 0}, ValueError, "memory"),
        ({"sampler": "magic"}, ValueError, "sampler"),
        ({"dtype": np.float16}, TypeError, "dtype"),
        ({"dtype": "single-ish"}, TypeError, "dtype must"),
        ({"init_overlap": None}, TypeError, "init_overlap"),
        ({"rng": "x"}, TypeError, "rng"),
        ({"init_overlap": [0.3]}, ValueError, "init_overlap"),
        ({"init_overlap": [0.9, 0.9]}, ValueError, "eigenvalue"),
        ({"init_overlap": [0.3, np.inf]}, ValueError, "init_overlap"),
        ({"init_gram": [[1.0, 2.0], [2.0, 1.0]]}, ValueError, "eigenvalue"),
        ({"init_gram": [[1.0, 0.2], [0.1, 1.0]]}, ValueError, "symmetric"),
        ({"init_gram": np.eye(3)}, ValueError, "init_gram"),
        ({"spec": "net"}, TypeError, "spec"),
        ({"prob": None}, TypeError, "prob"),
    ],
)
def test_bad_input(change, error, message):
    call = {
        "spec": PAIR,
        "prob": TASK,
        "kappa": 0.1,
        "n_steps": 3,
        "init_overlap": START,
        "n_samples": 20,
        **change,
    }
    with pytest.raises(error, match=message):
        dmft_solve(**call)


def test_bad_input_at_infinite_width():
    net = QuadraticNetwork(np.inf, 1.0, 0.5)
    with pytest.raises(ValueError, match="scalar spike"):
        dmft_solve(net, TASK, 0.1, 3, [0.1, 0.2])
    with pytest.raises(ValueError, match="init_gram"):
        dmft_solve(net, TASK, 0.1, 3, 0.1, np.eye(2))


def test_moments_and_theory_agree_at_infinite_width():
    net = QuadraticNetwork(np.inf, 1.0, 1.0)
    theory = [dmft_solve(net, TASK, 0.1, 30, 0.5, rng=k) for k in range(2)]
    assert compare(theory, simulate_moments(net, TASK, 0.1, 30, 150, 0.5, n_seeds=8, rng=0)).passes


# The theory's terms, one by one: a truth that does not come from the solver ------------------


def forget_responses(march, t, original):
    original(march, t)
    march.Rw[:] = 0.0


def forget_the_target_response(march, t, original):
    march.rho[t] = 0.0
    original(march, t)


@pytest.mark.parametrize(("mutate", "low"), [(forget_responses, True), (forget_the_target_response, False)])
def test_dropping_the_memory_is_detected(monkeypatch, mutate, low):
    """Without responses the theory learns at once, without the force of the target never."""
    from theorylab.dmft import _march

    original = _march.March._weights
    monkeypatch.setattr(_march.March, "_weights", lambda march, t: mutate(march, t, original))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the broken covariance may be none
        broken = dmft_solve(PAIR, TASK, 0.1, 40, START, n_samples=500, rng=0).test_loss[39]
    networks = simulate(PAIR, TASK, 0.1, 40, 300, START, n_seeds=12, rng=0).test_loss[:, 39]
    assert abs(broken - networks.mean()) > 10 * networks.std() / np.sqrt(12)
    assert (broken < networks.mean()) == low


def test_dropping_the_response_of_the_bulk_is_detected(monkeypatch):
    from theorylab.dmft import _march

    original = _march.March._bulk

    def without(march, t, pool):
        original(march, t, pool)
        march.z_row[:] = 0.0

    net = QuadraticNetwork(np.inf, 1.0, 1.0)
    whole = dmft_solve(net, TASK, 0.1, 30, 0.5, n_samples=500, rng=0).test_loss[29]
    monkeypatch.setattr(_march.March, "_bulk", without)
    broken = dmft_solve(net, TASK, 0.1, 30, 0.5, n_samples=500, rng=0).test_loss[29]
    networks = simulate_moments(net, TASK, 0.1, 30, 150, 0.5, n_seeds=8, rng=1).test_loss[:, 29]
    error = networks.std(ddof=1) / np.sqrt(8)
    assert abs(whole - networks.mean()) < 4 * error + 0.01 * whole
    assert abs(broken - networks.mean()) > 10 * error


@pytest.mark.parametrize("sampler", ["cholesky", "recursion"])
def test_no_seed_breaks_the_march(sampler):
    """A setting in which a factorisation to rounding precision loses most runs; here all eight must agree."""
    net, task = QuadraticNetwork(2, 1.5, 0.6, center=True), PolynomialTask(4.0)
    curves = [
        dmft_solve(net, task, 0.1, 40, [0.4, -0.2], n_samples=500, rng=k, sampler=sampler) for k in range(8)
    ]
    networks = simulate(net, task, 0.1, 40, 300, [0.4, -0.2], n_seeds=16, rng=0)
    for r in curves:
        assert abs(r.train_loss[-1] - networks.train_loss[:, -1].mean()) < 0.02
        assert abs(r.test_loss[-1] - networks.test_loss[:, -1].mean()) < 0.04
