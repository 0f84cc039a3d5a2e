"""The reported numerical error against references in high precision: tolerances, linear algebra, edges."""

import warnings

import mpmath as mp
import numpy as np
import pytest

from theorylab.inductive_bias import GeneralizedChi2, UnattainableErrorWarning, inductive_bias


def exponentials(x, weights):
    """P(sum_i w_i chi2_2 <= x) and its complement by partial fractions, x >= 0."""
    w = [mp.mpf(v) for v in weights]
    above = mp.mpf(0)
    for i, a in enumerate(w):
        if a > 0:
            factor = mp.mpf(1)
            for j, b in enumerate(w):
                factor *= a / (a - b) if j != i else 1
            above += factor * mp.exp(-mp.mpf(x) / (2 * a))
    return above


def test_loose_tolerances_tell_their_error():
    # At loose tolerances two steps may agree by chance.
    rng = np.random.default_rng(1)
    with mp.workdps(120):
        for _ in range(40):
            n = int(rng.integers(1, 9))
            w = np.exp(rng.normal(size=n) * rng.choice([0.2, 1, 3]))
            w *= rng.choice([-1, 1], n) if rng.random() < 0.3 else 1
            if not np.any(w > 0):
                continue
            law = GeneralizedChi2(w, 2)
            x = abs(law.mean()) * 10.0 ** rng.uniform(-3, 2)
            above = exponentials(x, w)
            for tol in (1e-13, 1e-6, 1e-3, 1.0):
                for tail, exact in ((law.logsf, mp.log(above)), (law.logcdf, mp.log(1 - above))):
                    value, info = tail(x, tol=tol, return_info=True)
                    error = float(abs(mp.mpf(float(value)) - exact))
                    assert error <= 2 * float(info.numerical_error)
                    assert info.converged
                    assert error <= max(tol, 1e-12 * max(1.0, abs(float(exact))))


@pytest.mark.parametrize(("weights", "x"), [([0.719, -2.39], 20.898), ([2.151, -1.04], 75.065)])
def test_steps_that_agree_by_chance(weights, x):
    """Here the first two steps agree to 1e-4 and 3e-5 and are both off by 8e-4."""
    with mp.workdps(40):
        exact = mp.log(exponentials(x, weights))
        value, info = GeneralizedChi2(weights, 2).logsf(x, tol=1e-3, return_info=True)
        assert float(abs(mp.mpf(float(value)) - exact)) <= 2 * float(info.numerical_error)


def one_point(mean, variance, y, eps):
    """-log P((f - y)^2 <= eps) for one Gaussian f: a difference of two normal probabilities."""
    root, s = mp.sqrt(eps), mp.sqrt(variance)
    a, b = (y - root - mean) / s, (y + root - mean) / s
    if a > 0:
        a, b = -b, -a
    return -mp.log((mp.erfc(-b / mp.sqrt(2)) - mp.erfc(-a / mp.sqrt(2))) / 2)


def rbf(length):
    return lambda A, B: np.exp(-np.sum((A[:, None] - B[None]) ** 2, axis=2) / (2 * length**2))


@pytest.mark.parametrize("alpha", [0.0, 1e-12, 1e-8, 1e-3])
def test_exact_bias_tells_the_error_of_its_linear_algebra(alpha):
    """Conditioned in 60 digits from the same kernel values, at one test point: a closed form."""
    rng = np.random.default_rng(3)
    finite = 0
    with mp.workdps(60), warnings.catch_warnings():
        # Singular kernels get a larger alpha, and are left out below.
        warnings.simplefilter("ignore", UserWarning)
        for _ in range(60):
            n, d = int(rng.integers(1, 9)), int(rng.choice([1, 2, 5]))
            X, Z = rng.standard_normal((n, d)), rng.standard_normal((1, d))
            y, t = np.sin(2 * X.sum(1)), np.sin(2 * Z.sum(1))
            kernel = rbf(float(rng.choice([0.3, 1.0, 2.0])))
            gram = kernel(X, X) + alpha * np.eye(n)
            try:
                np.linalg.cholesky(gram)
            except np.linalg.LinAlgError:
                continue
            K, c = mp.matrix(kernel(X, X).tolist()), mp.matrix(kernel(X, Z).tolist())
            for i in range(n):
                K[i, i] += mp.mpf(alpha)
            weights = mp.lu_solve(K, c)
            mean = (weights.T * mp.matrix(y.tolist()))[0]
            variance = 1 - (c.T * weights)[0]
            eps = float(variance + (mean - t[0]) ** 2) * 10.0 ** np.array([0.3, -0.3, -2.0, -6.0])
            result = inductive_bias(kernel, X, y, Z, t, eps, alpha=alpha)
            for target, value, told in zip(eps, result.estimate, result.numerical_error):
                exact = one_point(mean, variance, mp.mpf(t[0]), mp.mpf(target))
                error = float(abs(mp.mpf(float(value)) - exact)) if np.isfinite(value) else np.inf
                assert error <= 2 * told
                finite += np.isfinite(told)
            if alpha >= 1e-3:
                assert np.all(result.numerical_error <= 1e-9 * np.maximum(1.0, result.estimate))
    assert finite > 100


def regressor(mean, cov):
    """An object that predicts a given Gaussian law."""

    class Fixed:
        def fit(self, X, y):
            return self

        def get_params(self, deep=True):
            return {}

        def predict(self, X, return_cov=False):
            return mean, cov

    return Fixed()


@pytest.mark.parametrize("distance", [1e-3, 1e-9, 1e-12, 1e-14])
def test_the_error_next_to_the_floor_includes_that_of_the_floor(distance):
    """Two points, one known and wrong by 0.3: e = (f^2 + 0.09) / 2, f ~ N(0, 1), rotated for q0 to round."""
    turn = np.array([[np.cos(1.1), -np.sin(1.1)], [np.sin(1.1), np.cos(1.1)]])
    cov, gap = turn @ np.diag([1.0, 0.0]) @ turn.T, turn @ np.array([0.0, 0.3])
    X, y = np.zeros((2, 1)), np.zeros(2)
    eps = 0.045 * (1 + distance)
    result = inductive_bias(regressor(gap, cov), X, y, X, y, eps)
    with mp.workdps(40):
        z = 2 * (mp.mpf(eps) - mp.mpf("0.045"))
        exact = -mp.log(mp.erf(mp.sqrt(z / 2)))
        # The input is given in double precision: its own rounding is four units of the last place of q0.
        given = float(4 * mp.mpf(2) ** -53 * 0.045 * 0.5 / abs(z))
        error = float(abs(mp.mpf(float(result.estimate)) - exact))
    assert error <= 2 * float(result.numerical_error) + given
    # Near the floor the error is that of q0, about 1e-16, over the distance to it.
    assert float(result.numerical_error) >= 1e-17 / distance
    with pytest.warns(UnattainableErrorWarning):
        below = inductive_bias(regressor(gap, cov), X, y, X, y, [0.04, result.irreducible_error])
    assert below.numerical_error.tolist() == [0.0, np.inf]
    assert np.isfinite(below.confidence_interval[0][1])


# Next to the end of the support ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "dofs", "shifts", "x"),
    [
        ([1.0], [5], [0.0], 5e-324),
        ([1.0, 0.1], [1, 2], [0.5, 0.0], 1e-310),
        ([1e200, 3e190], [2, 0.5], [1e200, 0.0], 1e-150),
        ([2.0], [1000], [3.0], 1e-305),
    ],
)
def test_arguments_at_the_end_of_the_range(weights, dofs, shifts, x):
    """The leading term of the density at 0, integrated: the next one is smaller by x / w."""
    with mp.workdps(30):
        half = mp.mpf(sum(dofs)) / 2
        exact = half * mp.log(mp.mpf(x) / 2) - mp.loggamma(half + 1)
        for w, k, b in zip(weights, dofs, shifts):
            exact -= mp.mpf(k) / 2 * mp.log(mp.mpf(w)) + mp.mpf(b) / (2 * mp.mpf(w))
        log_pdf = float(exact + mp.log(half / mp.mpf(x)))
    law = GeneralizedChi2(weights, dofs, shifts=shifts)
    value, info = law.logcdf(x, return_info=True)
    assert info.converged
    assert abs(float(mp.mpf(float(value)) - exact)) <= 2 * info.numerical_error
    assert value == pytest.approx(float(exact), rel=1e-14)
    assert law.logpdf(x) == pytest.approx(log_pdf, rel=1e-14, abs=1e-12)
    assert law.logsf(x) == 0.0
    mirrored = GeneralizedChi2(-np.array(weights), dofs, shifts=-np.array(shifts))
    assert mirrored.logsf(-x) == value


def test_edge_and_contour_meet():
    law = GeneralizedChi2([1.0, 0.3], [3, 1], shifts=[0.2, 0.1])
    x = np.exp(np.array([-590.0, -599.9, -600.1, -610.0]))
    # Slope dof / 2 in log x, to one rounding of log x itself.
    steps = np.diff(law.logcdf(x)) / np.diff(np.log(x))
    np.testing.assert_allclose(steps, 2.0, rtol=1e-11)


def test_deep_targets_of_full_rank_have_a_finite_error():
    """Two test points: the volume of a disc of radius sqrt(2 eps) times the density at its centre."""
    rng = np.random.default_rng(5)
    X, Z = rng.standard_normal((4, 2)), rng.standard_normal((2, 2))
    y, t = np.sin(2 * X.sum(1)), np.sin(2 * Z.sum(1))
    kernel = rbf(1.0)
    eps = np.array([1e-30, 1e-100, 1e-300, 1e-308])
    result = inductive_bias(kernel, X, y, Z, t, eps)
    with mp.workdps(60):
        inverse = mp.inverse(mp.matrix(kernel(X, X).tolist()))
        c = mp.matrix(kernel(X, Z).tolist())
        cov = mp.matrix(kernel(Z, Z).tolist()) - c.T * inverse * c
        gap = c.T * inverse * mp.matrix(y.tolist()) - mp.matrix(t.tolist())
        log_density = -(gap.T * mp.inverse(cov) * gap)[0] / 2 - mp.log(2 * mp.pi * mp.sqrt(mp.det(cov)))
        exact = [-(log_density + mp.log(2 * mp.pi * mp.mpf(e))) for e in eps]
        error = np.array([float(abs(mp.mpf(float(v)) - e)) for v, e in zip(result.estimate, exact)])
    assert np.all(error <= 2 * result.numerical_error)
    # The linear algebra moves the density at the centre by the same amount, however deep the target is.
    assert np.all(result.numerical_error <= 1e-10)
    assert np.all(result.numerical_error >= 0.9 * result.numerical_error[0])


def test_arguments_that_many_scales_away_overflow():
    for weights, x in (([1e-5], 1e306), ([1e-300, 1e-301], 1e10), ([1e-5, -1e-5], 1e308)):
        law = GeneralizedChi2(weights, 3)
        value, info = law.logcdf(x, return_info=True)
        assert value == 0.0
        assert info.converged
        assert info.numerical_error < 1e-15
        assert law.logsf(x) == -np.inf
        assert law.logpdf(x) == -np.inf
    assert GeneralizedChi2([1.0]).logcdf(1.7e308, return_info=True)[1].numerical_error < 1e-15


def test_units_at_the_end_of_the_range():
    """All of the data times 1e100: the same nats, rank, effective dofs, and no warning."""
    rng = np.random.default_rng(5)
    X, Z = rng.standard_normal((4, 2)), rng.standard_normal((3, 2))
    y, t = np.sin(2 * X.sum(1)), np.sin(2 * Z.sum(1))
    eps = np.array([0.1, 0.01])
    one = inductive_bias(rbf(1.0), X, y, Z, t, eps)
    for unit in (1e-100, 1e100):

        def kernel(A, B, square=unit * unit):
            return square * rbf(1.0)(A, B)

        other = inductive_bias(kernel, X, unit * y, Z, unit * t, eps * unit**2)
        np.testing.assert_allclose(other.estimate, one.estimate, rtol=1e-10)
        np.testing.assert_allclose(other.numerical_error, one.numerical_error, rtol=0.1)
        assert other.effective_dof == pytest.approx(one.effective_dof, rel=1e-10)


def test_narrow_laws_far_from_their_mean_need_no_warning():
    """chi'^2_1 of scale w about sqrt(B): log P = -(sqrt(x) - sqrt(B))^2 / (2 w) to leading order."""
    for w in (1e-20, 1e-41, 1e-100, 1e-220):
        law = GeneralizedChi2([w], shifts=[1.0])
        with mp.workdps(30):
            for x, tail in ((1e-12, law.logcdf), (0.25, law.logcdf), (4.0, law.logsf), (1e10, law.logsf)):
                value, info = tail(x, return_info=True)
                exact = -((mp.sqrt(mp.mpf(x)) - 1) ** 2) / (2 * mp.mpf(w))
                assert abs(float(mp.mpf(float(value)) / exact) - 1) < 1e-12
                assert np.isfinite(info.numerical_error)
        assert law.logcdf(4.0, return_info=True)[1].numerical_error < 1e-15
        assert law.skew() == pytest.approx(3 * np.sqrt(w), rel=1e-9)
    value, info = GeneralizedChi2([1.0], 2).logsf(1e30, return_info=True)
    assert value == pytest.approx(-5e29, rel=1e-13)
    assert info.converged


def test_unattainable_targets_beside_eigenvalues_near_rounding_warn_once():
    """A smooth kernel in one dimension: other null spaces differ, and I is inf for each of them."""
    rng = np.random.default_rng(0)
    X, Z = rng.standard_normal((30, 1)), rng.standard_normal((20, 1))
    y, t = np.sin(X[:, 0]), np.sin(Z[:, 0]) + rng.standard_normal(20)
    with pytest.warns(UnattainableErrorWarning) as caught:
        result = inductive_bias(rbf(1.0), X, y, Z, t, 1e-3, alpha=1e-3)
    assert result.estimate == np.inf
    assert len(caught) == 1


def test_kernels_that_hardly_reach_the_test_points():
    """Features of 1e-100 there: what the data say is below any rounding, and no operation overflows."""
    X, Z = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])

    class Features:
        n_features = 3

        def __call__(self, A):
            values = np.hstack([A, A**2, A**3])
            return values if A[0, 0] == 0.0 else 1e-100 * values

    result = inductive_bias(Features(), X, [0.0, 1.0], Z, [0.5, -0.5], [1e-3, 1.0], alpha=1e-8)
    assert result.estimate[0] > 1e190
    assert result.estimate[1] == 0.0
