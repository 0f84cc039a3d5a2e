"""Inductive bias of every kind of hypothesis space, its warnings and its messages."""

import math
import warnings

import numpy as np
import pytest
from scipy import special, stats
from sklearn.ensemble import RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from theorylab.inductive_bias import (
    ExtrapolationWarning,
    GeneralizedChi2,
    NystroemFeatures,
    UnattainableErrorWarning,
    gaussian_test_error,
    generalization_difficulty,
    inductive_bias,
    inductive_bias_from_errors,
    reinforcement_difficulty,
    splitting_log_probability,
)


def rbf(A, B, length=0.8):
    return np.exp(-np.sum((A[:, None] - B[None]) ** 2, axis=2) / (2 * length**2))


class Linear:
    """Feature map of random ReLU units."""

    def __init__(self, d, p, seed=0):
        self.weights = np.random.default_rng(seed).standard_normal((d, p)) / np.sqrt(p)
        self.n_features = p

    def __call__(self, X):
        return np.maximum(X @ self.weights, 0.0)


@pytest.fixture
def task():
    rng = np.random.default_rng(7)
    X, Z = rng.standard_normal((25, 2)), rng.standard_normal((20, 2))
    Y, T = (np.stack([np.sin(A[:, 0]), 2 * A[:, 1] + 5], axis=1) for A in (X, Z))
    return X, Y, Z, T


# The exact law --------------------------------------------------------------------------------


def naive_error(mean, cov, y, rng, n=4000):
    """Errors of sampled functions, by a Cholesky root."""
    root = np.linalg.cholesky(cov + 1e-12 * np.eye(len(cov)))
    f = mean + np.einsum("ij,sjk->sik", root, rng.standard_normal((n, *mean.shape)))
    return np.mean((f - y) ** 2, axis=(1, 2))


def test_gaussian_test_error_is_the_law_of_sampled_errors(task):
    X, Y, Z, T = task
    gram, cross = rbf(X, X) + 1e-4 * np.eye(25), rbf(X, Z)
    mean = cross.T @ np.linalg.solve(gram, Y)
    cov = rbf(Z, Z) - cross.T @ np.linalg.solve(gram, cross)
    law = gaussian_test_error(mean, cov, T)
    errors = naive_error(mean, cov, T, np.random.default_rng(0))
    assert stats.kstest(errors, law.cdf).pvalue > 1e-3
    # Mean and variance in closed form.
    assert law.mean() == pytest.approx(np.trace(cov) / 20 + np.mean((mean - T) ** 2))
    gap = mean - T
    variance = (2 * 2 * np.sum(cov**2) + 4 * np.sum(gap * (cov @ gap))) / 40**2
    assert law.var() == pytest.approx(variance)
    result = inductive_bias(rbf, X, Y, Z, T, law.mean() * np.array([0.5, 0.01]), alpha=1e-4)
    np.testing.assert_allclose(result.estimate, -law.logcdf(law.mean() * np.array([0.5, 0.01])), rtol=1e-7)


def test_one_covariance_for_each_output_and_vectors(task):
    _, _, _, T = task
    rng = np.random.default_rng(1)
    root = rng.standard_normal((20, 20)) / 5
    cov, mean = root @ root.T, np.zeros((20, 2))
    shared = gaussian_test_error(mean, cov, T)
    stacked = gaussian_test_error(mean, np.stack([cov, cov], axis=2), T)
    eps = shared.mean() * np.array([0.9, 0.5])
    np.testing.assert_allclose(stacked.logcdf(eps), shared.logcdf(eps), rtol=1e-11)
    single = gaussian_test_error(mean[:, 0], cov, T[:, 0])
    np.testing.assert_array_equal(
        single.logcdf(eps), gaussian_test_error(mean[:, :1], cov, T[:, :1]).logcdf(eps)
    )


def test_gaussian_test_error_refuses():
    y = np.zeros((3, 1))
    with pytest.raises(ValueError, match=r"y_test has shape \(3, 1\), expected \(2, 1\)"):
        gaussian_test_error(np.zeros((2, 1)), np.eye(2), y)
    with pytest.raises(ValueError, match=r"cov has shape \(2, 2\), expected \(3, 3\)"):
        gaussian_test_error(y, np.eye(2), y)
    with pytest.raises(ValueError, match="not PSD"):
        gaussian_test_error(y, np.diag([1.0, 1.0, -1.0]), y)
    with pytest.raises(ValueError, match="degenerate"):
        gaussian_test_error(y, np.zeros((3, 3)), y)
    with pytest.raises(ValueError, match="cov contains nan"):
        gaussian_test_error(y, np.full((3, 3), np.nan), y)
    with pytest.raises(ValueError, match="mean is empty"):
        gaussian_test_error(np.zeros((0, 1)), np.zeros((0, 0)), np.zeros((0, 1)))


def test_importance_sampling_agrees():
    rng = np.random.default_rng(5)
    for _ in range(3):
        root = rng.standard_normal((12, 12)) * 0.7 ** np.arange(12)
        y = rng.standard_normal((12, 1))
        law = gaussian_test_error(np.zeros((12, 1)), root @ root.T, y)
        w, b = law.weights, law.shifts
        x = 0.05 * law.mean()
        z = x - law.offset
        t = -0.5 * law.dofs.sum() / z
        for _ in range(
            60
        ):  # bisection-free fixed point is not needed: Newton on log K' converges from the left
            slope, curve = law.cgf(t, 1) - law.offset, law.cgf(t, 2)
            t -= np.log(slope / z) * slope / curve
        u = 1 - 2 * w * t
        q = GeneralizedChi2(w / u, law.dofs, shifts=b / u**2).rvs(20000, rng) + law.offset
        ratio = np.where(q <= x, np.exp(np.minimum(law.cgf(t) - t * q - law.logcdf(x), 50)), 0.0)
        assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(ratio.size)


# Hypothesis spaces -----------------------------------------------------------------------------


def test_kernel_regressor_and_features_agree(task):
    X, Y, Z, T = task
    eps = [0.5, 3.0]
    regressor = GaussianProcessRegressor(RBF(0.8), alpha=1e-6, optimizer=None)
    by_kernel = inductive_bias(rbf, X, Y, Z, T, eps, alpha=1e-6)
    by_regressor = inductive_bias(regressor, X, Y, Z, T, eps)
    # Two Cholesky solutions of a system of condition 1e7.
    np.testing.assert_allclose(by_regressor.estimate, by_kernel.estimate, rtol=1e-6)
    assert not hasattr(regressor, "X_train_")
    phi = Linear(2, 60)
    by_features = inductive_bias(phi, X, Y, Z, T, eps, alpha=0.1)
    by_gram = inductive_bias(lambda A, B: phi(A) @ phi(B).T, X, Y, Z, T, eps, alpha=0.1)
    np.testing.assert_allclose(by_features.estimate, by_gram.estimate, rtol=1e-8)
    assert by_features.rank == by_gram.rank


def test_normalised_targets_and_columns(task):
    X, Y, Z, T = task
    regressor = GaussianProcessRegressor(RBF(0.8), alpha=1e-4, optimizer=None, normalize_y=True)
    result = inductive_bias(regressor, X, Y, Z, T, 1.0)
    drawn = regressor.fit(X, Y).sample_y(Z, 4000, random_state=0)
    errors = np.mean((drawn - T[:, :, None]) ** 2, axis=(0, 1))
    assert stats.kstest(errors, result.distribution.cdf).pvalue > 1e-3
    column = inductive_bias(regressor, X, Y[:, :1], Z, T[:, :1], 0.1)
    flat = inductive_bias(regressor, X, Y[:, 0], Z, T[:, 0], 0.1)
    assert column.estimate == flat.estimate


def test_observation_noise_is_not_part_of_the_hypothesis(task):
    X, Y, Z, T = task
    kernel = ConstantKernel(2.0) * RBF(0.8) + WhiteKernel(0.1)
    regressor = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None)
    with_white = inductive_bias(regressor, X, Y, Z, T, 3.0)
    plain = inductive_bias(lambda A, B: 2 * rbf(A, B), X, Y, Z, T, 3.0, alpha=0.1)
    assert with_white.estimate == pytest.approx(float(plain.estimate), rel=1e-9)


def test_sampled_spaces(task):
    X, Y, Z, T = task
    forest = RandomForestRegressor(3, random_state=0)
    result = inductive_bias(forest, X, Y, Z, T, 4.0, n_samples=25, random_state=0)
    assert result.method == "gamma_fit"
    assert result.n_samples == 25
    again = inductive_bias(forest, X, Y, Z, T, 4.0, n_samples=25, random_state=0)
    assert result.estimate == again.estimate
    pipeline = make_pipeline(StandardScaler(), RandomForestRegressor(2))
    assert np.isfinite(
        inductive_bias(pipeline, X, Y[:, 0], Z, T[:, 0], 0.3, n_samples=20, random_state=1).estimate
    )

    def sampler(X_train, y_train, X_test, n_samples, rng):
        return T + rng.standard_normal((n_samples, *T.shape))

    found = inductive_bias(sampler, X, Y, Z, T, 0.9, n_samples=4000, random_state=0)
    # Errors are chi-squared with 40 dofs over 40: the fitted family is right, so only sampling error is left.
    exact = -GeneralizedChi2([1 / 40], 40).logcdf(0.9)
    assert found.confidence_interval[0] < exact < found.confidence_interval[1]

    class Drawn:
        def sample_y(self, X, n_samples, random_state):
            return np.random.default_rng(random_state).standard_normal((len(X), 2, n_samples))

    assert inductive_bias(Drawn(), X, Y, Z, 0 * T, 1.0, n_samples=50, random_state=0).n_test == 20


def test_kinds_are_told_apart(task):
    X, Y, Z, T = task
    with pytest.raises(TypeError, match="no known kind"):
        inductive_bias(3, X, Y, Z, T, 1.0)
    with pytest.raises(TypeError, match="no known kind"):
        inductive_bias(lambda a, b, c: a, X, Y, Z, T, 1.0)
    with pytest.raises(TypeError, match="without random_state"):
        inductive_bias(LinearRegression(), X, Y, Z, T, 1.0)
    with pytest.raises(TypeError, match="create one"):
        inductive_bias(RandomForestRegressor, X, Y, Z, T, 1.0)


def test_scalar_and_array_targets(task):
    X, Y, Z, T = task
    one = inductive_bias(rbf, X, Y, Z, T, 2.0, alpha=1e-6)
    assert one.estimate.shape == ()
    assert one.bits == pytest.approx(float(one.estimate) / math.log(2))
    grid = inductive_bias(rbf, X, Y, Z, T, [[2.0, 1.0], [0.5, 3.0]], alpha=1e-6)
    assert grid.estimate.shape == (2, 2)
    assert grid.estimate[0, 0] == one.estimate
    assert np.all(grid.lower_bound_nats <= grid.estimate)
    assert np.all(grid.confidence_interval[0] <= grid.estimate)
    assert inductive_bias(rbf, X, Y, Z, T, [], alpha=1e-6).estimate.shape == (0,)
    assert "20 test points x 2 outputs" in grid.summary()
    as_float32 = inductive_bias(rbf, *(a.astype(np.float32) for a in (X, Y, Z, T)), 2.0, alpha=1e-3)
    assert as_float32.estimate.dtype == np.float64


def test_callers_arrays_are_left_alone(task):
    arrays = [np.asfortranarray(a) for a in task]
    copies = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    inductive_bias(rbf, *arrays, 2.0, alpha=1e-6)
    for a, copy in zip(arrays, copies):
        np.testing.assert_array_equal(a, copy)


# Floors, null spaces and warnings ----------------------------------------------------------------


def test_unattainable_targets(task):
    X, Y, Z, T = task
    phi = Linear(2, 30)  # 25 training points leave five directions
    result = inductive_bias(phi, X, Y, Z, T, [])
    assert result.rank == 5
    floor = result.irreducible_error
    assert 0 < floor < result.mean_error
    with pytest.warns(UnattainableErrorWarning, match="irreducible error"):
        below = inductive_bias(phi, X, Y, Z, T, [0.5 * floor, floor, 2 * result.mean_error])
    assert below.estimate[:2].tolist() == [np.inf, np.inf]
    assert np.isfinite(below.estimate[2])
    assert below.warnings
    # The kernel path finds the same null space although its covariance carries rounding noise.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        kernel = inductive_bias(lambda A, B: phi(A) @ phi(B).T, X, Y, Z, T, 0.5 * floor, alpha=1e-10)
    assert kernel.estimate == np.inf or kernel.estimate > 1e3
    with pytest.warns(UnattainableErrorWarning):
        assert inductive_bias(rbf, X, Y, Z, T, 0.0, alpha=1e-4).estimate == np.inf


def test_no_warning_where_none_is_due(task):
    X, Y, Z, T = task
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inductive_bias(rbf, X, Y, Z, T, [5.0, 1.0], alpha=1e-4)
        inductive_bias_from_errors(np.random.default_rng(0).gamma(5, size=100), 4.0)
        gaussian_test_error(np.zeros(4), np.eye(4), np.ones(4))


def hinge_law(small):
    """Three directions, one of them near the threshold of the null space, with the labels in it."""
    cov = np.diag([1.0, 1.0, small])

    class Regressor:
        def fit(self, X, y):
            return self

        def get_params(self, deep=True):
            return {}

        def predict(self, X, return_cov=False):
            return np.zeros(3), cov

    return Regressor()


@pytest.mark.parametrize(("small", "warns"), [(3e-14, True), (1e-9, False), (1e-18, False)])
def test_null_rank_diagnostic(small, warns):
    # The threshold is 10 * 3 * 2.2e-16 = 6.7e-15; the label 1 lies in the direction in question.
    X, y = np.zeros((2, 1)), np.zeros(2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inductive_bias(hinge_law(small), X, y, np.zeros((3, 1)), np.array([0.0, 0.0, 1.0]), 0.2)
    assert any("rank_tol" in str(w.message) for w in caught) is warns


def test_singular_kernels(task):
    X, Y, Z, T = task
    twice = np.vstack([X, X])
    with pytest.warns(UserWarning, match="alpha"):
        inductive_bias(rbf, twice, np.vstack([Y, Y]), Z, T, 5.0)
    with pytest.warns(UserWarning, match="alpha"), pytest.raises(np.linalg.LinAlgError, match="alpha"):
        inductive_bias(lambda A, B: -rbf(A, B), X, Y, Z, T, 5.0)


def test_warnings_point_at_the_caller(task):
    X, Y, Z, T = task
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inductive_bias(rbf, X, Y, Z, T, 0.0, alpha=1e-4)
        inductive_bias_from_errors(np.random.default_rng(0).gamma(5, size=100), 1e-3)
        inductive_bias(RandomForestRegressor(2), X, Y, Z, T, 1e-3, n_samples=20, random_state=0)
        inductive_bias(rbf, np.vstack([X, X]), np.vstack([Y, Y]), Z, T, 5.0)
    assert len(caught) >= 4
    assert {w.filename for w in caught} == {__file__}


def test_bad_data(task):
    X, Y, Z, T = task
    run = inductive_bias
    with pytest.raises(ValueError, match="X_train contains nan"):
        run(rbf, X * np.nan, Y, Z, T, 1.0)
    with pytest.raises(ValueError, match="eps contains inf"):
        run(rbf, X, Y, Z, T, np.inf)
    with pytest.raises(ValueError, match="eps must be >= 0"):
        run(rbf, X, Y, Z, T, -1.0)
    with pytest.raises(
        ValueError, match=r"y_train has shape \(24, 2\), expected 25 rows as X_train of shape \(25, 2\)"
    ):
        run(rbf, X, Y[:-1], Z, T, 1.0)
    with pytest.raises(ValueError, match=r"X_test has shape \(20, 1\).*shape \(25, 2\)"):
        run(rbf, X, Y, Z[:, :1], T, 1.0)
    with pytest.raises(ValueError, match=r"y_test has shape \(20, 1\).*shape \(25, 2\)"):
        run(rbf, X, Y, Z, T[:, :1], 1.0)
    with pytest.raises(ValueError, match="X_train is empty"):
        run(rbf, X[:0], Y[:0], Z, T, 1.0)
    with pytest.raises(ValueError, match="X_test is empty"):
        run(rbf, X, Y, Z[:0], T[:0], 1.0)
    with pytest.raises(ValueError, match="method must be one of"):
        run(rbf, X, Y, Z, T, 1.0, method="sankaran")
    with pytest.raises(ValueError, match="confidence must lie in"):
        run(rbf, X, Y, Z, T, 1.0, confidence=1.5)
    with pytest.raises(ValueError, match="loss must be one of"):
        run(rbf, X, Y, Z, T, 1.0, loss="hinge")
    with pytest.raises(ValueError, match="method 'exact' needs"):
        run(rbf, X, Y, Z, T, 1.0, method="exact", loss="zero_one")
    with pytest.raises(ValueError, match="needs Gaussian hypotheses"):
        run(RandomForestRegressor(2), X, Y, Z, T, 1.0, method="exact")
    with pytest.raises(
        ValueError, match=r"the kernel returned k\(X_train, X_train\) of shape \(25, 3\), expected \(25, 25\)"
    ):
        run(lambda A, B: np.ones((len(A), 3)), X, Y, Z, T, 1.0)
    with pytest.raises(ValueError, match="alpha must lie in"):
        run(rbf, X, Y, Z, T, 1.0, alpha=-1.0)


# Fits, counts and splitting -----------------------------------------------------------------------


def test_gamma_fit_is_the_maximum_of_likelihood():
    errors = np.random.default_rng(0).gamma(3.0, 2.0, size=500)
    a, _, scale = stats.gamma.fit(errors, floc=0)
    law = inductive_bias_from_errors(errors, 5.0).distribution
    assert law.dofs[0] / 2 == pytest.approx(a, rel=1e-4)
    assert 2 * law.weights[0] == pytest.approx(scale, rel=1e-4)
    assert law.logpdf(errors).sum() >= stats.gamma.logpdf(errors, a, scale=scale).sum() - 1e-9


@pytest.mark.parametrize(("df", "nc"), [(2, 30), (10, 10), (60, 0)])
def test_ncx2_fit_beats_the_library_and_the_truth(df, nc):
    truth = GeneralizedChi2([0.1], df, nc)
    errors = truth.rvs(600, random_state=1)
    law = inductive_bias_from_errors(errors, truth.mean() * 0.8, method="ncx2_fit").distribution
    best = law.logpdf(errors).sum()
    assert best >= truth.logpdf(errors).sum()
    a, _, scale = stats.gamma.fit(errors, floc=0)
    assert best >= stats.gamma.logpdf(errors, a, scale=scale).sum() - 1e-6


def test_sampling_error_law():
    # v / S against the spread of 200 fits: the relative error of a standard deviation is 5 %.
    rng = np.random.default_rng(2)
    a, eps, size = 10.0, 3.0, 400
    estimates = []
    for _ in range(200):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExtrapolationWarning)
            result = inductive_bias_from_errors(rng.gamma(a, size=size), eps)
        estimates.append(float(result.estimate))
    low, high = result.confidence_interval
    predicted = math.log(high / low) / (2 * 1.96) * float(result.estimate)
    assert np.std(estimates) == pytest.approx(predicted, rel=0.25)


def test_counts_and_the_bound_without_a_model():
    errors = np.linspace(1, 2, 1000)
    result = inductive_bias_from_errors(errors, [0.5, 1.5, 3.0], method="empirical")
    assert result.estimate.tolist() == [np.inf, pytest.approx(math.log(2)), 0.0]
    # The rule of three: log(S / 3), to second order in 1 / S.
    assert result.lower_bound_nats[0] == pytest.approx(math.log(1000 / 3), abs=3e-3)
    low, high = result.confidence_interval
    assert high[0] == np.inf
    p = stats.beta.ppf([0.025, 0.975], [500, 501], [501, 500])
    np.testing.assert_allclose([low[1], high[1]], -np.log(p[::-1]), rtol=1e-9)


def test_extrapolation_is_told_and_zero_is_infinite():
    errors = np.random.default_rng(0).gamma(50, size=100)
    with pytest.warns(ExtrapolationWarning, match="below the smallest"):
        result = inductive_bias_from_errors(errors, [0.0, 1.0, 50.0])
    assert result.estimate[0] == np.inf
    assert result.extrapolation[1] > 1 > result.extrapolation[2]


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_gamma_interval_follows_the_unit(scale):
    errors = np.random.default_rng(5).gamma(3.3, 0.2, size=300)
    eps = np.array([0.3, 0.6, 2.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = inductive_bias_from_errors(errors, eps).confidence_interval
        scaled = inductive_bias_from_errors(errors * scale, eps * scale).confidence_interval
    np.testing.assert_allclose(scaled, plain, rtol=1e-9)


@pytest.mark.parametrize("method", ["gamma_fit", "ncx2_fit", "empirical"])
def test_targets_above_all_errors_need_no_nats(method):
    errors = np.random.default_rng(5).gamma(3.3, 0.2, size=300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = inductive_bias_from_errors(errors, 1e5, method)
    low, high = result.confidence_interval
    assert low == result.estimate == 0.0
    assert not np.signbit(result.estimate)
    assert 0.0 <= high < 0.05


def test_bad_samples():
    good = np.random.default_rng(0).gamma(5, size=100)
    with pytest.raises(ValueError, match="at least 20"):
        inductive_bias_from_errors(good[:19], 1.0)
    with pytest.raises(ValueError, match="degenerate"):
        inductive_bias_from_errors(np.ones(50), 1.0)
    with pytest.raises(ValueError, match="errors must be >= 0"):
        inductive_bias_from_errors(-good, 1.0)
    with pytest.raises(ValueError, match="errors contains nan"):
        inductive_bias_from_errors(good * np.nan, 1.0)
    with pytest.raises(ValueError, match="method must be one of"):
        inductive_bias_from_errors(good, 1.0, method="exact")
    with pytest.raises(ValueError, match="confidence"):
        inductive_bias_from_errors(good, 1.0, confidence=0.0)
    with pytest.raises(ValueError, match=r"errors has shape \(10, 10\)"):
        inductive_bias_from_errors(good.reshape(10, 10), 1.0)
    with pytest.raises(ValueError, match="errors is empty"):
        inductive_bias_from_errors([], 1.0, method="empirical")


def test_splitting_matches_exact_tails():
    w = 0.8 ** np.arange(12)
    law = GeneralizedChi2(w)
    for ratio in (0.3, 0.05):
        x = ratio * law.mean()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = splitting_log_probability(lambda z: z**2 @ w, 12, x, random_state=0)
        exact = float(law.logcdf(x))
        # Four runs: a generous 6 standard errors, and a floor of 2 %.
        assert abs(found.log_probability - exact) < max(6 * found.standard_error, 0.02 * abs(exact))
        assert found.runs.shape == (4,)


def test_splitting_counts_a_discrete_loss():
    # P(at most 2 of 12 signs are positive) = 79 / 4096.
    def loss(z):
        return np.mean(z > 0, axis=1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = splitting_log_probability(loss, 12, 2 / 12 + 1e-9, n_particles=2000, random_state=1)
    assert found.log_probability == pytest.approx(math.log(79 / 4096), abs=0.15)
    with pytest.warns(UserWarning, match="no way down"):
        assert (
            splitting_log_probability(loss, 3, -1.0, n_particles=50, random_state=1).log_probability
            == -np.inf
        )


def test_other_losses_split(task):
    X, Y, Z, T = task
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result = inductive_bias(
            rbf, X, Y[:, 0], Z, T[:, 0], 0.3, alpha=1e-4, loss="zero_one", n_samples=300, random_state=0
        )
        plain = inductive_bias(
            rbf,
            X,
            Y[:, 0],
            Z,
            T[:, 0],
            0.3,
            alpha=1e-4,
            loss="zero_one",
            method="empirical",
            n_samples=20000,
            random_state=0,
        )
    assert result.method == "splitting"
    assert float(result.estimate) == pytest.approx(float(plain.estimate), abs=0.25)


def test_interval_over_test_points_covers():
    """Of 60 intervals of 95 %, fewer than 47 cover with probability 1e-4 if the coverage is 0.91."""
    train = np.random.default_rng(0)
    X = train.standard_normal((30, 3))

    def task(rng, n=30):
        Z = rng.standard_normal((n, 3))
        return X, np.sin(X.sum(1)), Z, np.sin(Z.sum(1))

    eps = 0.3 * inductive_bias(rbf, *task(train, 100), [], alpha=1e-4).mean_error
    rng = np.random.default_rng(1)
    population = [float(inductive_bias(rbf, *task(rng), eps, alpha=1e-4).estimate) for _ in range(150)]
    target, spread = np.median(population), np.std(np.log(population))
    hits, widths = 0, []
    for _ in range(60):
        result = inductive_bias(rbf, *task(rng), eps, alpha=1e-4, bootstrap_test_points=12, random_state=rng)
        low, high = result.confidence_interval
        assert low < result.estimate < high
        hits += low <= target <= high
        widths.append(np.log(high / low))
    assert hits >= 47
    # Not by being wide: half of it is 2.2 standard deviations, one for the quantile of 11 dofs.
    assert np.median(widths) < 2 * 2.2 * 1.4 * spread


def test_interval_over_test_points_at_the_ends(task):
    X, Y, Z, T = task
    run = dict(alpha=1e-4, bootstrap_test_points=50, random_state=0)
    plain = inductive_bias(rbf, X, Y, Z, T, [3.0, 50.0], alpha=1e-4)
    # More groups than points leave out one point each: nothing is random any more.
    result = inductive_bias(rbf, X, Y, Z, T, [3.0, 50.0], **run)
    again = inductive_bias(rbf, X, Y, Z, T, [3.0, 50.0], **{**run, "random_state": 1})
    np.testing.assert_array_equal(result.estimate, plain.estimate)
    np.testing.assert_allclose(result.confidence_interval, again.confidence_interval, rtol=1e-12)
    with pytest.warns(UnattainableErrorWarning):
        never = inductive_bias(rbf, X, Y, Z, T, 0.0, **run)
    assert np.ravel(never.confidence_interval).tolist() == [np.inf, np.inf]
    with pytest.raises(ValueError, match="at least two test points"):
        inductive_bias(rbf, X, Y, Z[:1], T[:1], 3.0, **run)
    with pytest.raises(ValueError, match="bootstrap_test_points needs method='exact'"):
        inductive_bias(rbf, X, Y, Z, T, 3.0, method="gamma_fit", bootstrap_test_points=5)
    with pytest.raises(ValueError, match="bootstrap_test_points must lie in"):
        inductive_bias(rbf, X, Y, Z, T, 3.0, bootstrap_test_points=1)


def test_landmarks_at_all_points_give_the_kernel_itself(task):
    X, Y, Z, T = task
    eps = [0.5, 3.0]
    phi = NystroemFeatures(rbf, np.vstack([X, Z]))
    by_kernel = inductive_bias(rbf, X, Y, Z, T, eps, alpha=1e-3)
    by_features = inductive_bias(phi, X, Y, Z, T, eps, alpha=1e-3)
    np.testing.assert_allclose(by_features.estimate, by_kernel.estimate, rtol=1e-6)
    assert phi.n_features <= 45
    few = NystroemFeatures(rbf, X[:4])
    A, B = few(Z[:3]), few(X[:5])
    plain = rbf(Z[:3], X[:4]) @ np.linalg.solve(rbf(X[:4], X[:4]), rbf(X[:4], X[:5]))
    np.testing.assert_allclose(A @ B.T, plain, atol=1e-12)
    # A repeated landmark adds nothing.
    assert NystroemFeatures(rbf, np.vstack([X[:4], X[:1]])).n_features == 4


def test_landmarks_refuse():
    with pytest.raises(ValueError, match="landmarks is empty"):
        NystroemFeatures(rbf, np.zeros((0, 2)))
    with pytest.raises(ValueError, match="landmarks contains nan"):
        NystroemFeatures(rbf, [[np.nan]])
    with pytest.raises(ValueError, match=r"k\(Z, landmarks\) of shape \(2, 1\), expected \(2, 2\)"):
        NystroemFeatures(lambda A, B: np.ones((len(A), 1)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="no eigenvalue of the kernel at landmarks exceeds rank_tol"):
        NystroemFeatures(lambda A, B: np.zeros((len(A), len(B))), np.zeros((2, 1)))
    with pytest.raises(TypeError, match="kernel must be callable"):
        NystroemFeatures(3, np.zeros((2, 1)))
    with pytest.raises(ValueError, match="rank_tol must lie in"):
        NystroemFeatures(rbf, np.zeros((2, 1)), rank_tol=0.0)


def test_splitting_refuses():
    with pytest.raises(ValueError, match="error_fn returned shape"):
        splitting_log_probability(lambda z: z, 2, 0.0)
    with pytest.raises(ValueError, match="dim must lie in"):
        splitting_log_probability(lambda z: z[:, 0], 0, 0.0)


# The closed form of 2023 --------------------------------------------------------------------------


IMAGENET = dict(
    n_samples=1280901,
    error=0.1,
    intrinsic_dim=48,
    radius=943.5923,
    resolution=65,
    discrete_factors=1000,
    output_dim=999,
)


def test_generalization_difficulty():
    found = generalization_difficulty(**IMAGENET, bound=1)
    assert found.bits == pytest.approx(3.583252793803963e41, rel=1e-11)
    assert found.log_bits == pytest.approx(math.log(3.583252793803963e41), rel=1e-13)
    more = generalization_difficulty(**{**IMAGENET, "intrinsic_dim": 200, "radius": 1e9})
    assert more.bits == np.inf
    assert np.isfinite(more.log_bits)
    with pytest.raises(ValueError, match="radius must lie in"):
        generalization_difficulty(**{**IMAGENET, "radius": 0.0})


def test_generalization_difficulty_against_plain_formula():
    m, R, delta, n, eps = 3.0, 2.0, 1.0, 10.0, 0.1
    M = 2 * np.pi * R / delta
    K = (np.sqrt((m - 1) ** 2 + 4 * M**2) - (m - 1)) / 2
    E = special.binom(m + K, m) + special.binom(m + K - 1, m)
    log_w = 0.5 * np.log(m / 6) + (np.log(2) + (m + 1) / 2 * np.log(np.pi) - special.gammaln((m + 1) / 2)) / m
    log_w += np.log(R) - np.log(n) / m
    bits = (2 * E - n) * (-np.log2(eps) + np.log2(K / R) + log_w / np.log(2))
    found = generalization_difficulty(n_samples=n, error=eps, intrinsic_dim=m, radius=R, resolution=delta)
    assert found.bits == pytest.approx(bits, rel=1e-12)


def test_reinforcement_difficulty_against_plain_formula():
    T, delta, n, eps = 3.0, 0.1, 10.0**4, 0.05
    count = 2 * (2 * np.pi / delta) ** (2 * T) * np.pi**T / special.gamma(T + 1) - n
    bits = np.log2(4 * np.pi**2 / np.sqrt(3)) + 0.5 * np.log2(T) - np.log2(delta)
    bits += -np.log2(n) / (2 * T) - np.log2(eps)
    found = reinforcement_difficulty(n_samples=n, error=eps, n_observations=T, resolution=delta)
    assert found.bits == pytest.approx(count * bits, rel=1e-12)
    assert found.log_bits == pytest.approx(np.log(count * bits), rel=1e-14)
    far = reinforcement_difficulty(n_samples=n, error=eps, n_observations=1000, resolution=1e-6)
    assert far.bits == np.inf
    assert np.isfinite(far.log_bits)
    with pytest.raises(ValueError, match="n_observations must lie in"):
        reinforcement_difficulty(n_samples=n, error=eps, n_observations=0, resolution=delta)


def test_errors_that_hardly_differ_are_fitted_as_a_normal_law():
    """A gamma law of large shape is normal: I and its interval depend on (eps - mean) / sd alone."""
    z = np.random.default_rng(0).standard_normal(200)
    at = np.array([-2.0, 0.0, 2.0])
    wide, *narrow = (inductive_bias_from_errors(1.0 + sd * z, 1.0 + sd * at) for sd in (1e-3, 1e-4, 1e-5))
    for result in narrow:
        np.testing.assert_allclose(result.estimate, wide.estimate, rtol=5e-3)
        for end, wide_end in zip(result.confidence_interval, wide.confidence_interval):
            np.testing.assert_allclose(end, wide_end, rtol=1e-2)
    with pytest.raises(ValueError, match="up to a relative spread of"):
        inductive_bias_from_errors(1.0 + 1e-9 * z, 1.0)


def test_ncx2_fit_of_an_error_next_to_zero():
    errors = np.append(np.random.default_rng(0).chisquare(1, 100), 5e-324)
    result = inductive_bias_from_errors(errors, 0.1, method="ncx2_fit")
    low, high = result.confidence_interval
    assert low < result.estimate < high
