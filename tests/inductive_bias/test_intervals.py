"""Each interval covers, where I is far above one nat and far below it, and narrow samples are fitted."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from theorylab.inductive_bias import (
    ExtrapolationWarning,
    GeneralizedChi2,
    UnattainableErrorWarning,
    gaussian_test_error,
    inductive_bias,
    inductive_bias_from_errors,
    splitting_log_probability,
)
from theorylab.inductive_bias._test_points import from_scale, to_scale


def rbf(A, B, length=0.8):
    return np.exp(-np.sum((A[:, None] - B[None]) ** 2, axis=2) / (2 * length**2))


def fewest(repeats, coverage=0.95):
    """Fewer hits than this have probability 1e-4 at the stated coverage."""
    return stats.binom.ppf(1e-4, repeats, coverage)


@pytest.mark.parametrize(
    ("method", "law", "repeats"),
    [
        ("gamma_fit", GeneralizedChi2([1.0], 20), 300),
        ("ncx2_fit", GeneralizedChi2([1.0], 10, 20.0), 40),
        ("empirical", GeneralizedChi2([1.0, 0.5], 3, 1.0), 300),
    ],
)
def test_intervals_of_samples_cover_on_both_sides_of_one_nat(method, law, repeats):
    rng = np.random.default_rng(31)
    eps = law.mean() * np.array([0.1, 0.4, 1.0, 1.6, 2.2])
    exact = -law.logcdf(eps)
    assert exact[0] > 5
    assert exact[-1] < 0.05
    hits = np.zeros(eps.size)
    for _ in range(repeats):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExtrapolationWarning)
            low, high = inductive_bias_from_errors(law.rvs(200, rng), eps, method).confidence_interval
        hits += (low <= exact) & (exact <= high)
    assert np.all(hits >= fewest(repeats))


def test_intervals_of_splitting_cover_on_both_sides_of_one_nat():
    rng = np.random.default_rng(32)
    X, Z = rng.standard_normal((20, 2)), rng.standard_normal((12, 2))
    data = (X, np.sin(X[:, 0]), Z, np.sin(Z[:, 0]))
    law = inductive_bias(rbf, *data, [], alpha=1e-4).distribution
    eps = law.mean() * np.array([0.05, 0.3, 1.0, 2.0, 6.0])
    exact = -law.logcdf(eps)
    assert exact[0] > 5
    assert exact[-1] < 1e-3
    repeats, hits = 60, np.zeros(eps.size)
    for _ in range(repeats):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            low, high = inductive_bias(
                rbf, *data, eps, alpha=1e-4, method="splitting", n_samples=300, random_state=rng
            ).confidence_interval
        hits += (low <= exact) & (exact <= high)
    assert np.all(hits >= fewest(repeats))


def test_interval_over_test_points_covers_on_both_sides_of_one_nat():
    rng = np.random.default_rng(33)
    X = rng.standard_normal((30, 3))

    def task(n=30):
        Z = rng.standard_normal((n, 3))
        return X, np.sin(X.sum(1)), Z, np.sin(Z.sum(1))

    eps = inductive_bias(rbf, *task(200), [], alpha=1e-4).mean_error * np.array([0.1, 0.7, 1.7, 2.5])
    population = np.array([inductive_bias(rbf, *task(), eps, alpha=1e-4).estimate for _ in range(200)])
    target = np.median(population, axis=0)
    assert target[0] > 5
    assert target[-1] < 0.01
    repeats, hits, ends = 60, np.zeros(eps.size), []
    for _ in range(repeats):
        result = inductive_bias(rbf, *task(), eps, alpha=1e-4, bootstrap_test_points=12, random_state=rng)
        low, high = result.confidence_interval
        assert np.all(low <= result.estimate)
        assert np.all(result.estimate <= high)
        assert bool(result.warnings) == bool(np.any(high > 1e3 * low))
        hits += (low <= target) & (target <= high)
        ends.append(high)
    # About 0.92, simulated: so many hits fewer have probability 1e-4 then.
    assert np.all(hits >= fewest(repeats, 0.92))
    # On the scale of log I the upper end lies at 0.14 nats and more where 0.003 are right.
    assert np.median(ends, axis=0)[-1] < 0.12


def test_scale_of_the_interval():
    nats = np.array([0.0, 1e-300, 1e-100, 1e-9, 0.1, 0.5, np.log(2), 1.0, 30.0, 1e5, 1e100])
    at = to_scale(nats)
    assert np.all(np.diff(at) < 0)
    # d log I = z dz at z = 37: 37^2 eps = 3e-13; the library's inverse of exp(-1e5) is off by 1e-12.
    np.testing.assert_allclose(from_scale(at)[1:], nats[1:], rtol=1e-11)
    assert from_scale(at)[0] < 1e-300
    np.testing.assert_allclose(at[6], 0.0, atol=1e-15)
    with np.errstate(all="raise", under="ignore"):
        assert np.all(np.isfinite(from_scale(np.array([-1e4, 1e4]))))


@pytest.mark.parametrize("spread", [1e-3, 3e-5, 1e-5, 1e-6, 1e-7])
def test_narrow_samples_have_the_normal_limit(spread):
    """The laws are normal but for a skewness of order `spread`: 3e-3 differs by less than a percent in I."""
    z = np.random.default_rng(0).standard_normal(400)
    at = np.array([-3.0, -1.0, 0.0, 2.0])
    wide, narrow = (inductive_bias_from_errors(1 + sd * z, 1 + sd * at, "ncx2_fit") for sd in (3e-3, spread))
    np.testing.assert_allclose(narrow.estimate, wide.estimate, rtol=1e-2)
    # The error of the mean is felt as 1e-16 / spread standard deviations, and 10 times in a difference.
    for end, reference in zip(narrow.confidence_interval, wide.confidence_interval):
        np.testing.assert_allclose(end, reference, rtol=3e-2)
    low, high = narrow.confidence_interval
    assert np.all((low < narrow.estimate) & (narrow.estimate < high))


def test_narrow_fit_meets_the_general_one_at_the_switch(monkeypatch):
    from theorylab.inductive_bias import _fit_laws

    errors = GeneralizedChi2([1.0], 1e6, 1e6).rvs(2000, 3)
    eps = errors.mean() * np.array([0.9, 0.997, 1.0, 1.003])
    results = []
    for limit in (1e-2, 1e-9):
        monkeypatch.setattr(_fit_laws, "_NARROW", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExtrapolationWarning)
            results.append(inductive_bias_from_errors(errors, eps, "ncx2_fit"))
    narrow, general = results
    # At 0.9 of the mean, 115 standard deviations out, the share, hardly determined, matters by 1 to 2 %.
    np.testing.assert_allclose(narrow.estimate, general.estimate, rtol=3e-2)
    for a, b in zip(narrow.confidence_interval, general.confidence_interval):
        np.testing.assert_allclose(a, b, rtol=1e-2)


def test_pipeline_that_ends_in_a_gaussian_process_is_exact():
    rng = np.random.default_rng(2)
    X, Z = rng.standard_normal((25, 2)), rng.standard_normal((20, 2))
    Y, T = (np.stack([np.sin(A[:, 0]), 2 * A[:, 1] + 5], axis=1) for A in (X, Z))
    regressor = GaussianProcessRegressor(RBF(0.8) + WhiteKernel(0.01), optimizer=None, normalize_y=True)
    scaler = StandardScaler().fit(X)
    plain = inductive_bias(regressor, scaler.transform(X), Y, scaler.transform(Z), T, [0.3, 2.0])
    for pipeline in (
        make_pipeline(StandardScaler(), regressor),
        make_pipeline(StandardScaler(), make_pipeline(regressor)),
    ):
        found = inductive_bias(pipeline, X, Y, Z, T, [0.3, 2.0])
        assert found.method == "exact"
        np.testing.assert_allclose(found.estimate, plain.estimate, rtol=1e-12)
        np.testing.assert_allclose(found.numerical_error, plain.numerical_error, rtol=1e-6)


def test_numbers_out_of_range_are_refused():
    rng = np.random.default_rng(3)
    X, Z = rng.standard_normal((20, 2)), rng.standard_normal((12, 2))
    y, t = X[:, 0], Z[:, 0]
    with pytest.raises(ValueError, match=r"y_train has entries up to .*e\+200.*divide"):
        inductive_bias(rbf, X, 1e200 * y, Z, 1e200 * t, 0.1, alpha=1e-4)
    with pytest.raises(ValueError, match=r"y_test has entries up to .*divide"):
        inductive_bias(rbf, X, y, Z, 1e200 * t, 0.1, alpha=1e-4)
    with pytest.raises(ValueError, match=r"mean has entries up to .*divide"):
        gaussian_test_error(1e200 * y, np.eye(20), y)
    with pytest.raises(ValueError, match=r"errors reach .*divide"):
        inductive_bias_from_errors(1e308 * (1 + 0.5 * rng.random(50)), 1e308, "ncx2_fit")


def test_far_above_the_mean_no_nats_and_no_error():
    rng = np.random.default_rng(3)
    X, Z = rng.standard_normal((20, 2)), rng.standard_normal((12, 2))
    result = inductive_bias(rbf, X, X[:, 0], Z, Z[:, 0], [1e10, 1e300], alpha=1e-4)
    assert result.estimate.tolist() == [0.0, 0.0]
    assert np.all(result.confidence_interval[1] < 1e-15)


def test_bound_is_the_best_of_chernoff_and_splitting_gives_arrays():
    rng = np.random.default_rng(3)
    X, Z = rng.standard_normal((20, 2)), rng.standard_normal((12, 2))
    data = (X, X[:, 0], Z, Z[:, 0])
    law = inductive_bias(rbf, *data, [], alpha=1e-4).distribution
    eps = law.mean() * np.array([0.01, 0.5, 0.95, 1.0, 2.0])
    result = inductive_bias(rbf, *data, eps, alpha=1e-4)
    t = -np.geomspace(1e-9, 1e9, 20001)[:, None] / law.mean()
    best = np.max(t * eps - law.cgf(t), axis=0)
    # A grid of 2e-3 in log t misses the maximum by (1e-3)^2 / 2 of the curvature t^2 K'' <= 12.
    np.testing.assert_allclose(result.lower_bound_nats, np.maximum(best, 0.0), atol=2e-5)
    assert np.all(result.lower_bound_nats <= result.estimate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        split = inductive_bias(rbf, *data, 0.1, alpha=1e-4, loss="mae", n_samples=50, random_state=0)
    assert all(isinstance(a, np.ndarray) for a in (split.estimate, *split.confidence_interval))


def test_splitting_knows_that_no_squared_error_is_zero():
    rng = np.random.default_rng(3)
    X, Z = rng.standard_normal((20, 2)), rng.standard_normal((12, 2))
    with pytest.warns(UnattainableErrorWarning, match="1 of 1 targets lie at or below 0, which no") as caught:
        found = inductive_bias(rbf, X, X[:, 0], Z, Z[:, 0], 0, alpha=1e-4, loss="mae", random_state=0)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert found.estimate == found.confidence_interval[0] == np.inf


def few_directions(n_features):
    """Return ReLU features of two inputs: some of the test error is out of their reach."""
    w = np.random.default_rng(1).standard_normal((2, n_features))

    def phi(Z):
        return np.maximum(Z @ w, 0.0)

    phi.n_features = n_features
    return phi


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_splitting_says_at_once_that_a_target_is_out_of_reach(loss):
    rng = np.random.default_rng(0)
    X, Z = rng.standard_normal((4, 2)), rng.standard_normal((15, 2))
    data = (few_directions(10), X, np.sin(X[:, 0]), Z, np.sin(Z[:, 0]))
    floor = inductive_bias(*data, []).irreducible_error
    assert floor > 0.01
    below = floor if loss == "mse" else np.sqrt(floor / 15)
    calls = []

    def counted(predictions, y):
        calls.append(len(predictions))
        return np.mean((predictions - y) ** 2, axis=(1, 2))

    with pytest.warns(UnattainableErrorWarning, match="2 of 3 targets lie at or below .*rank 6 of 15"):
        result = inductive_bias(
            *data, [0.5 * below, below, 1.0], loss=loss, method="splitting", n_samples=100, random_state=0
        )
    assert np.all(np.isinf(result.estimate) == [True, True, False])
    assert np.all(np.isinf(result.confidence_interval[0]) == [True, True, False])
    if loss == "mse":
        assert result.irreducible_error == pytest.approx(floor, rel=1e-12)
    # Another functional has no floor that is known: the runs see that they get nowhere.
    with pytest.warns(UserWarning, match="no way down to eps = .* the lowest level was"):
        result = inductive_bias(*data, 0.5 * floor, loss=counted, n_samples=100, random_state=0)
    assert np.isinf(result.estimate)
    # The best z is far out: runs need some hundred levels until they see it, but not all 2000 of 10 moves.
    assert sum(calls) <= 4 * 500 * 11 * 100


def test_splitting_follows_levels_that_fall_slowly():
    # 400 directions: a level takes 2.3 nats and shrinks the error by 1 % only, eightfold in 200 levels.
    law = GeneralizedChi2([1.0], 400)
    found = splitting_log_probability(
        lambda z: np.einsum("ij,ij->i", z, z), 400, 100.0, n_particles=60, n_moves=3, n_runs=2, random_state=3
    )
    assert found.n_levels > 21
    assert found.log_probability == pytest.approx(float(law.logcdf(100.0)), rel=0.1)


def test_interval_is_open_where_a_run_of_splitting_gets_lost():
    rng = np.random.default_rng(5)
    X, Z = rng.standard_normal((6, 2)), rng.standard_normal((5, 2))
    data = (X, np.zeros(6), Z, np.zeros(5))

    def island(predictions, y):
        # Below 0.9 there is a gap that only some runs jump.
        e = predictions[:, 0, 0]
        return np.where(e > 1.8, 0.0, np.where(e > 1.0, 0.9, 1.0))

    caught = []
    for seed in range(6):
        with warnings.catch_warnings(record=True) as records:
            warnings.simplefilter("always")
            result = inductive_bias(rbf, *data, 0.0, loss=island, n_samples=10, alpha=1.0, random_state=seed)
        texts = [str(r.message) for r in records]
        if any("of 4 runs" in text and "4 of 4" not in text for text in texts):
            caught.append(result)
    assert caught
    assert all(np.isinf(result.confidence_interval[1]) for result in caught)


@pytest.mark.parametrize("wrong", ["a", None, {}, object(), 1j, ["a"]])
def test_messages_name_the_argument(wrong):
    X = np.zeros((2, 1))
    law = GeneralizedChi2([1.0])
    for name, call in {
        "eps": lambda: inductive_bias(rbf, X, X, X, X, wrong),
        "errors": lambda: inductive_bias_from_errors(wrong, 1.0),
        "x": lambda: law.logcdf(wrong),
        "q": lambda: law.ppf(wrong),
        "t": lambda: law.cgf(wrong),
        "weights": lambda: GeneralizedChi2(wrong),
    }.items():
        with pytest.raises((TypeError, ValueError), match=rf"^{name}\b"):
            call()
