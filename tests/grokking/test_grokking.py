"""Modular sums, numerical stability and XOR clusters against naive code and closed forms."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.exceptions import ConvergenceWarning

from theorylab._lib.threads import limit_threads
from theorylab.grokking import (
    collapse_gap,
    fourier_solution,
    inverse_participation_ratio,
    log_stablemax,
    modular_dataset,
    modular_logits,
    neuron_scores,
    perp_grad,
    prune_by_ipr,
    softmax_losses,
    stablemax,
    stablemax_cross_entropy,
    steps_to_collapse,
    train_modular,
    train_xor,
    xor_cluster_data,
)
from theorylab.grokking._training import _descend
from theorylab.grokking._xor import _train

from .reference import train_by_definition, xor_by_definition

floats = st.floats(-1e4, 1e4)


# Modular sums -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "fraction", "corruption"), [(2, 0.5, 0.0), (7, 1.0, 0.5), (23, 0.35, 1.0), (10, 0.29, 0.5)]
)
def test_dataset(p, fraction, corruption):
    data = modular_dataset(p, fraction, corruption, rng=0)
    assert data.pairs.shape == (p * p, 2)
    np.testing.assert_array_equal(data.true_labels, data.pairs.sum(axis=1) % p)
    assert data.train.size == int(fraction * p**2)
    np.testing.assert_array_equal(np.sort(np.concatenate([data.train, data.test])), np.arange(p * p))
    wrong = np.flatnonzero(data.labels != data.true_labels)
    assert set(wrong) <= set(data.corrupted) <= set(data.train)
    assert data.corrupted.size == round(corruption * data.train.size)


@pytest.mark.parametrize(("p", "width"), [(23, 200), (30, 400), (97, 500)])
def test_fourier_solution_is_right_everywhere(p, width):
    data = modular_dataset(p, 0.5, rng=0)
    weights = fourier_solution(p, width, rng=1)
    logits = modular_logits(weights, data.pairs)
    assert np.mean(logits.argmax(axis=1) == data.true_labels) == 1.0
    # The mean logit of the right class is 1; phases average out like 1/sqrt(width).
    assert abs(logits[np.arange(p * p), data.true_labels].mean() - 1.0) < 3 / np.sqrt(width)
    for w in weights:
        np.testing.assert_allclose(inverse_participation_ratio(w), 1.0, atol=1e-12)


def test_inverse_participation_ratio():
    x = np.random.default_rng(0).standard_normal((4, 11))
    F = np.abs(np.fft.rfft(x, axis=1))
    np.testing.assert_allclose(
        inverse_participation_ratio(x, axis=1), (F**4).sum(axis=1) / (F**2).sum(axis=1) ** 2, rtol=1e-13
    )
    assert inverse_participation_ratio(x.T.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(
        inverse_participation_ratio(1e-200 * x[0]), inverse_participation_ratio(x[0]), rtol=1e-12
    )
    assert np.isnan(inverse_participation_ratio(np.zeros(5)))
    assert inverse_participation_ratio([2.0]) == 1.0


def test_pruning_takes_the_right_neurons():
    good = fourier_solution(11, 6, rng=0)
    noise = np.random.default_rng(0).standard_normal((3, 11, 4))
    weights = tuple(np.concatenate([g, n], axis=1) for g, n in zip(good, noise))
    low, high = prune_by_ipr(weights, 0.4), prune_by_ipr(weights, 0.6, lowest=False)
    for k in range(3):
        np.testing.assert_array_equal(low[k][:, :6], weights[k][:, :6])
        assert not low[k][:, 6:].any()
        np.testing.assert_array_equal(high[k][:, 6:], weights[k][:, 6:])
        assert not high[k][:, :6].any()
    assert neuron_scores(weights)[:6] == pytest.approx(1.0)
    assert not np.any(prune_by_ipr(weights, 1.0)[0])
    np.testing.assert_array_equal(prune_by_ipr(weights, 0.0)[1], weights[1])


@pytest.mark.parametrize(("p", "fraction", "width"), [(5, 0.8, 3), (29, 0.9, 40)])
def test_training_against_the_definition(p, fraction, width):
    """In float64, 15 updates; Adam divides small numbers by small ones, hence 1e-7 rather than 1e-12."""
    data = modular_dataset(p, fraction, 0.2, rng=0)
    rng = np.random.default_rng(1)
    start = tuple(0.5 / (2 * width) ** (1 / 3) * rng.standard_normal((p, width)) for _ in range(3))
    losses, params = train_by_definition(data, start, 15, 1e-2, 2.0)
    run = train_modular(data, width, 15, weight_decay=2.0, log_every=1, rng=1, dtype=np.float64)
    np.testing.assert_array_equal(run.epochs, np.arange(16))
    np.testing.assert_allclose(run.train_loss[:-1], losses, rtol=1e-9)
    for ours, theirs in zip(run.weights, params):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)
    logits = modular_logits(run.weights, data.pairs)
    assert run.train_accuracy[-1] == np.mean(logits[data.train].argmax(1) == data.labels[data.train])
    assert run.test_accuracy[-1] == np.mean(logits[data.test].argmax(1) == data.true_labels[data.test])
    assert _descend.__doc__


def test_training_is_the_same_for_any_threads_and_precision_is_honoured():
    data = modular_dataset(29, 0.9, rng=0)
    runs = []
    for n in (1, 2):
        with limit_threads(n):
            runs.append(train_modular(data, 33, 12, rng=0))
    for a, b in zip(runs[0].weights, runs[1].weights):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.float32
        assert a.shape == (29, 33)
    assert runs[0].epochs.tolist() == [0, 10, 12]
    assert train_modular(data, 4, 0, rng=0).epochs.tolist() == [0]
    assert np.isnan(train_modular(modular_dataset(5, 1.0, rng=0), 4, 1, rng=0).test_accuracy).all()


@pytest.mark.parametrize("setting", [{"lr": 1e10}, {"lr": 1.0, "weight_decay": 1e5}])
@pytest.mark.parametrize("p", [7, 29])
def test_divergence_is_told_and_ends_in_nan(setting, p):
    with pytest.warns(ConvergenceWarning, match=r"train_modular diverged at epoch \d+ \(lr=1"):
        run = train_modular(modular_dataset(p, 0.9, rng=0), 8, 25, rng=0, **setting)
    assert run.epochs.tolist() == [0, 10, 20, 25]
    assert np.isfinite(run.train_loss[0])
    for curve in (run.train_loss, run.train_accuracy, run.test_accuracy):
        assert np.isnan(curve[1:]).all()


# Numerical stability ------------------------------------------------------------------------


def test_stablemax_reference():
    z = np.array([3.0, 0.0, -2.0, 50.0])
    expected = np.array([12, 3, 1, 153]) / 169  # s = 4, 1, 1/3, 51
    np.testing.assert_allclose(stablemax(z), expected, rtol=1e-15)
    np.testing.assert_allclose(log_stablemax(z), np.log(expected), rtol=1e-14)
    np.testing.assert_allclose(stablemax(z[:, None], axis=0)[:, 0], expected, rtol=1e-15)
    for dtype in (np.float16, np.float32, np.float64):
        assert stablemax(z.astype(dtype)).dtype == log_stablemax(z.astype(dtype)).dtype == dtype


@given(hnp.arrays(float, hnp.array_shapes(min_dims=1, max_dims=2, max_side=6), elements=floats))
@settings(max_examples=60)
def test_stablemax_is_a_softmax_of_logarithms(z):
    # Every exponent is at most log(1e4), so the plain softmax is safe here.
    e = np.exp(np.sign(z) * np.log1p(np.abs(z)))
    p = stablemax(z)
    np.testing.assert_allclose(p, e / e.sum(axis=-1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(p.sum(axis=-1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(np.exp(log_stablemax(z)), p, rtol=1e-12)


def test_stablemax_cross_entropy_never_vanishes():
    assert 0 < stablemax_cross_entropy([[1e300, 0.0]], [0]) < 1e-299
    assert stablemax_cross_entropy([[-1.7e308, 1.7e308]], [0]) == pytest.approx(
        2 * np.log(1.7e308), rel=1e-14
    )
    assert stablemax_cross_entropy([[1.7e308] * 3], [0]) == pytest.approx(np.log(3), rel=1e-12)
    assert stablemax_cross_entropy([[5.0]], [0]) == 0.0
    logits = np.random.default_rng(0).normal(0, 5, (20, 4))
    labels = np.arange(20) % 4
    expected = -np.mean(log_stablemax(logits)[np.arange(20), labels])
    assert stablemax_cross_entropy(logits, labels) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("dtype", "bits"), [(np.float16, 10), (np.float32, 23), (np.float64, 52)])
def test_collapse_gap(dtype, bits):
    exact = mpmath.log(mpmath.mpf(2) ** (bits + 1))
    assert collapse_gap(dtype) == pytest.approx(float(exact), rel=1e-15)
    assert collapse_gap(dtype, 11) == pytest.approx(float(exact + mpmath.log(10)), rel=1e-15)
    gap = collapse_gap(dtype)
    # 2 % on either side; half precision rounds the logit itself by 2^-8 = 0.004.
    assert softmax_losses([[1.02 * gap, 0.0]], [0], dtype)[0] == 0
    assert softmax_losses([[0.98 * gap, 0.0]], [0], dtype)[0] > 0


def test_logits_beyond_the_range_of_a_precision():
    """A gap of 1e6 is a collapse in half precision too, for the wrong label the largest loss there is."""
    losses = softmax_losses([[1e6, 0.0], [0.0, 1e6], [1e6, -1e6]], [0, 0, 0], "float16")
    np.testing.assert_array_equal(losses, np.array([0.0, 65504.0, 0.0], dtype=np.float16))
    assert softmax_losses([[-1.7e308, 1.7e308]], [0], "float64")[0] == np.inf


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_steps_to_collapse(dtype):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (30, 5))
    labels = logits.argmax(axis=1)
    steps = steps_to_collapse(logits, labels, dtype)
    for factor, collapsed in ((1.03, True), (0.97, False)):
        scaled = factor * (1 + steps[:, None]) * logits
        assert np.mean((softmax_losses(scaled, labels, dtype) == 0) == collapsed) >= 0.95
    wrong = (labels + 1) % 5
    assert np.isinf(steps_to_collapse(logits, wrong, dtype)).all()
    assert steps_to_collapse([[100.0, 0.0]], [0], dtype)[0] == 0.0
    assert steps_to_collapse([[0.0, 0.0]], [0], np.float64, growth=[[1.0, 0.0]])[0] == pytest.approx(
        36.7368, abs=1e-3
    )
    assert steps_to_collapse([[60.0, 0.0, 0.0]], [0], np.float64, growth=[[1.0, 1.0, 0.0]])[0] == 0.0


def test_a_passing_collapse_counts():
    """The second competitor falls behind fast enough, before the third, rising slowly, has caught up."""
    steps = steps_to_collapse([[11.0, 0.0, -12.0]], [0], growth=[[1.0, -1.6, 1.6]])[0]
    assert 0 < steps < 5

    def losses(t):
        return softmax_losses([[11.0 + t, -1.6 * t, -12.0 + 1.6 * t]], [0])[0]

    assert losses(1.01 * steps) == 0 < losses(0.97 * steps)
    assert losses(40.0) > 0
    # A competitor that rises from the start leaves no time for it.
    assert steps_to_collapse([[11.0, 0.0, 11.0]], [0], growth=[[1.0, -1.6, 1.6]])[0] == np.inf


def test_perp_grad():
    rng = np.random.default_rng(0)
    params = [rng.standard_normal((4, 3)), rng.standard_normal(5).astype(np.float32)]
    grads = [rng.standard_normal((4, 3)), rng.standard_normal(5).astype(np.float32)]
    before = [g.copy() for g in grads]
    plain, scaled = perp_grad(params, grads, rescale=False), perp_grad(params, grads)
    for theta, g, p, s in zip(params, grads, plain, scaled):
        tolerance = 1e-14 if g.dtype == np.float64 else 1e-5
        assert abs(np.vdot(theta, p)) < tolerance
        np.testing.assert_allclose(
            p, g - np.vdot(theta, g) / np.vdot(theta, theta) * theta, rtol=1e3 * tolerance
        )
        assert np.linalg.norm(s) == pytest.approx(np.linalg.norm(g), rel=1e-5)
        assert p.dtype == s.dtype == g.dtype
    for a, b in zip(grads, before):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(perp_grad([np.zeros(3)], [np.ones(3)])[0], np.ones(3))
    np.testing.assert_array_equal(perp_grad([np.ones(3)], [np.ones(3)])[0], np.zeros(3))
    assert perp_grad([], []) == []


@pytest.mark.parametrize("theta_scale", [1e-300, 1e-170, 1.0, 1e170, 1e307])
@pytest.mark.parametrize("grad_scale", [1e-300, 1e-170, 1e170, 1e307])
def test_perp_grad_at_any_scale(theta_scale, grad_scale):
    """Squares of these overflow or vanish; the projection of (3, 4, 0) off (1, 1, 1) does not."""
    theta, g = theta_scale * np.ones(3), grad_scale * np.array([3.0, 4.0, 0.0])
    (plain,) = perp_grad([theta], [g], rescale=False)
    np.testing.assert_allclose(plain / grad_scale, np.array([2.0, 5.0, -7.0]) / 3, rtol=1e-13)
    (scaled,) = perp_grad([theta], [g])
    np.testing.assert_allclose(np.linalg.norm(scaled / grad_scale), 5.0, rtol=1e-13)


# XOR clusters -------------------------------------------------------------------------------


def test_clusters():
    X, y, clean = xor_cluster_data(4000, 3, 10.0, flip=0.2, rng=0)
    assert X.shape == (4000, 3)
    # Far centres: the larger of the first two coordinates tells the label.
    np.testing.assert_array_equal(clean, np.where(np.abs(X[:, 0]) > np.abs(X[:, 1]), 1, -1))
    assert abs(np.mean(y != clean) - 0.2) < 5 * np.sqrt(0.16 / 4000)
    assert abs(X[:, 2].mean()) < 5 / np.sqrt(4000)


def test_xor_training_against_the_definition():
    rng = np.random.default_rng(0)
    X, y, clean = xor_cluster_data(40, 30, 4.0, 0.1, rng)
    T, _, truth = xor_cluster_data(60, 30, 4.0, 0.0, rng)
    W, readout = 0.1 * rng.standard_normal((10, 30)), rng.choice([-1.0, 1.0], 10) / np.sqrt(10)
    train, test = xor_by_definition(X, y, T, truth, W, readout, 0.2, 12)
    run, lost = _train(X, y, clean, T, truth, W, readout, 0.2, 12)
    assert lost is None
    np.testing.assert_array_equal(run.train_accuracy, train)
    np.testing.assert_array_equal(run.test_accuracy, test)


def test_xor_groks():
    run = train_xor(100, 3000, 100, 15.0, rng=0)
    assert run.train_accuracy[1] > 0.9
    assert run.test_accuracy[1] < 0.65
    assert run.test_accuracy[-1] > 0.9
    assert run.linearity > 0.9
    assert train_xor(10, 20, 3, 1.0, n_steps=0, rng=0).train_accuracy.shape == (1,)


DATA = modular_dataset(5, 0.5, rng=0)
FOURIER = fourier_solution(5, 4, rng=0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: modular_dataset(1, 0.5), ValueError, "p must"),
        (lambda: modular_dataset(5.0, 0.5), TypeError, "p must"),
        (lambda: modular_dataset(5, 0.0), ValueError, "train_fraction"),
        (lambda: modular_dataset(5, 0.001), ValueError, "train_fraction"),
        (lambda: modular_dataset(5, 0.5, 1.5), ValueError, "corruption"),
        (lambda: fourier_solution(2, 3), ValueError, "p must"),
        (lambda: fourier_solution(5, 0), ValueError, "width"),
        (lambda: modular_logits(FOURIER, [[0, 5]]), ValueError, "residues"),
        (lambda: modular_logits(FOURIER, [[0.0, 1.0]]), TypeError, "integers"),
        (lambda: modular_logits(FOURIER[:2], [[0, 1]]), TypeError, "triple"),
        (lambda: prune_by_ipr(FOURIER, 1.5), ValueError, "fraction"),
        (lambda: prune_by_ipr((FOURIER[0], FOURIER[1], FOURIER[2][:, :1]), 0.5), ValueError, "shapes"),
        (lambda: inverse_participation_ratio(np.ones(3), axis=1), ValueError, "axis"),
        (lambda: inverse_participation_ratio(np.ones((0, 2))), ValueError, "at least one"),
        (lambda: train_modular("data", 3, 1), TypeError, "data"),
        (lambda: train_modular(DATA, 0, 1), ValueError, "width"),
        (lambda: train_modular(DATA, 3, -1), ValueError, "epochs"),
        (lambda: train_modular(DATA, 3, 1, lr=0.0), ValueError, "lr"),
        (lambda: train_modular(DATA, 3, 1, weight_decay=-1.0), ValueError, "weight_decay"),
        (lambda: train_modular(DATA, 3, 1, log_every=0), ValueError, "log_every"),
        (lambda: train_modular(DATA, 3, 1, dtype=np.float16), TypeError, "dtype"),
        (lambda: train_modular(DATA, 3, 1, dtype="single-ish"), TypeError, "dtype must"),
        (lambda: inverse_participation_ratio(np.ones(3), axis=0.5), TypeError, "axis"),
        (lambda: stablemax([1.0], axis=None), TypeError, "axis"),
        (lambda: perp_grad(1.0, [np.ones(2)]), TypeError, "params"),
        (lambda: stablemax([np.nan]), ValueError, "z contains"),
        (lambda: stablemax([1.0], axis=2), ValueError, "axis"),
        (lambda: stablemax_cross_entropy([[1.0, 2.0]], [2]), ValueError, "labels"),
        (lambda: stablemax_cross_entropy([[1.0, 2.0]], [0.0]), TypeError, "labels"),
        (lambda: stablemax_cross_entropy([[1.0, 2.0]], [0, 1]), ValueError, "labels"),
        (lambda: stablemax_cross_entropy(np.zeros((0, 2)), []), ValueError, "at least one sample"),
        (lambda: collapse_gap(int), TypeError, "dtype"),
        (lambda: collapse_gap("float32", 1), ValueError, "n_classes"),
        (lambda: perp_grad([np.ones(2)], []), ValueError, "equally many"),
        (lambda: perp_grad([np.ones(2)], [np.ones(3)]), ValueError, "grads"),
        (lambda: xor_cluster_data(0, 3, 1.0), ValueError, "n_samples"),
        (lambda: xor_cluster_data(3, 1, 1.0), ValueError, "dim"),
        (lambda: xor_cluster_data(3, 3, -1.0), ValueError, "mu"),
        (lambda: xor_cluster_data(3, 3, 1.0, flip=2.0), ValueError, "flip"),
        (lambda: train_xor(5, 5, 0, 1.0), ValueError, "width"),
        (lambda: train_xor(5, 5, 3, 1.0, lr=-1.0), ValueError, "lr"),
        (lambda: train_xor(5, 5, 3, 1.0, rng="x"), TypeError, "rng"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "extreme",
    [
        {"mu": 1e200},
        {"mu": 1e160},
        {"lr": 1e308, "mu": 1e9},
        {"init_scale": 1e308},
        {"mu": 1e90, "lr": 1e200},
    ],
)
def test_xor_beyond_the_range_of_doubles(extreme):
    """Accuracies of outputs that are no numbers are NaN, and a warning says from which step on."""
    with pytest.warns(ConvergenceWarning, match=r"train_xor .* step \d \(lr=.*mu=.*init_scale="):
        run = train_xor(20, 50, 10, **({"mu": 1.0} | extreme), n_steps=3, n_test=10, rng=0)
    for curve in (run.train_accuracy, run.test_accuracy, run.clean_accuracy):
        assert np.isnan(curve[-1])
        assert np.all(np.diff(np.isnan(curve).astype(int)) >= 0)


def test_xor_of_large_numbers_that_fit():
    """Far clusters are separated at once; squares of outputs overflow, outputs do not."""
    run = train_xor(40, 50, 20, 1e100, n_steps=2, n_test=50, rng=0)
    assert np.isfinite(run.train_accuracy).all()
    assert -1.0 <= run.linearity <= 1.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("settings", [{"lr": 1e300}, {"weight_decay": 1e300}])
def test_modular_training_beyond_the_range_of_its_precision(dtype, settings):
    with pytest.warns(ConvergenceWarning, match="train_modular diverged"):
        run = train_modular(DATA, 8, 5, rng=0, dtype=dtype, **settings)
    assert np.isnan(run.train_loss[-1])


@pytest.mark.parametrize(
    "make",
    [
        lambda: modular_dataset(10**7, 0.5),
        lambda: fourier_solution(10**6, 10**8),
        lambda: train_modular(DATA, 10**13, 1),
        lambda: xor_cluster_data(10**9, 10**9, 1.0),
        lambda: train_xor(10**6, 10**7, 10, 1.0),
    ],
)
def test_memory_is_predicted_before_the_run(make):
    with pytest.raises(MemoryError, match=r"would need [\d.e+]+ TiB"):
        make()


def predicted_and_measured(monkeypatch, module, run):
    """Return the bytes a run announces and those it holds at its peak."""
    import tracemalloc

    announced = []
    monkeypatch.setattr(module, "refuse_if_too_large", lambda name, needed, advice: announced.append(needed))
    run()  # compile first
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return max(announced), peak


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("p", "fraction", "width"), [(31, 1.0, 150), (97, 0.5, 300), (23, 0.5, 2000)])
def test_predicted_memory_is_what_training_takes(monkeypatch, p, fraction, width, dtype):
    """Never below the measured peak, and at most 10 % above it."""
    from theorylab.grokking import _training

    data = modular_dataset(p, fraction, rng=0)
    predicted, peak = predicted_and_measured(
        monkeypatch, _training, lambda: train_modular(data, width, 2, rng=0, dtype=dtype)
    )
    assert peak < predicted < 1.1 * peak


def test_predicted_memory_is_what_clusters_take(monkeypatch):
    """Never below the measured peak, and at most 10 % above it."""
    from theorylab.grokking import _xor

    predicted, peak = predicted_and_measured(
        monkeypatch, _xor, lambda: train_xor(100, 4000, 200, 15.0, n_steps=2, n_test=300, rng=0)
    )
    assert peak < predicted < 1.1 * peak
