"""Regressor, classifier, kernels in scikit-learn, predictive laws.

Closed forms, mpmath, and other estimators.
"""

import math
import pickle
import warnings

import mpmath as mp
import numpy as np
import pytest
from scipy import linalg, special, stats
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.utils.estimator_checks import parametrize_with_checks

from theorylab.infinite_width import (
    InfiniteDepthClassifier,
    InfiniteWidthRegressor,
    KernelOperator,
    NNGPKernel,
    NormalMixture,
    NTKKernel,
    ScaleMixtureClassifier,
    kernel_cg,
    kernels,
    predict_gradient_flow,
)

RNG = np.random.default_rng(0)
X, Y, Z = RNG.normal(size=(12, 3)), RNG.normal(size=12), RNG.normal(size=(4, 3))
KERNEL = NNGPKernel(depth=2, activation="erf", w_var=1.7, b_var=0.3)
PRIORS = {
    "invgamma": "invgamma",
    "gaussian": None,
    "burr": stats.burr12(2, 1.5),
    "lognormal": stats.lognorm(0.5),
    "gamma": stats.gamma(2.0),
    "halfcauchy": stats.halfcauchy(scale=2),
    "callable": lambda s: -2.5 * np.log(s) - 0.8 / s,
}


@parametrize_with_checks([InfiniteWidthRegressor(), ScaleMixtureClassifier(), InfiniteDepthClassifier()])
def test_estimators(estimator, check):
    check(estimator)


# Kernels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["relu", "abs", "erf", "gelu", "sin", "cos", "gabor", "tanh", "elu"])
@pytest.mark.parametrize("cls", [NNGPKernel, NTKKernel])
def test_gradients(cls, act):
    """Fourth-order differences with h = 1e-3 err by 1e-12.

    A zero row and a duplicate are among the points.
    """
    x = RNG.normal(size=(6, 3))
    x[3], x[4] = x[2], 0.0
    for depth in (0, 2):
        kernel = cls(depth=depth, activation=act, w_var=1.7, b_var=0.3)
        K, gradient = kernel(x, eval_gradient=True)
        assert gradient.shape == (6, 6, 2)
        for p, h in enumerate(1e-3 * np.eye(2)):
            a, b, c, d = (kernel.clone_with_theta(kernel.theta + k * h)(x) for k in (1, -1, 2, -2))
            want = (8 * (a - b) - (c - d)) / 12e-3
            # duplicates lose half the digits of the differences, not of the gradient
            np.testing.assert_allclose(gradient[..., p], want, rtol=0, atol=1e-8 * np.abs(K).max())


def test_kernel_protocol():
    assert KERNEL.theta.shape == (2,)
    assert KERNEL.bounds.shape == (2, 2)
    plain = NNGPKernel(depth=2, b_var=0.0)
    assert np.all(np.isfinite(plain.theta))
    assert plain(X, eval_gradient=True)[1].shape == (12, 12, 1)
    assert clone(KERNEL) == KERNEL
    assert not KERNEL.is_stationary()
    assert repr(KERNEL) == "NNGPKernel(depth=2, activation='erf', w_var=1.7, b_var=0.3)"
    np.testing.assert_array_equal(np.diag(KERNEL(X)), KERNEL.diag(X))
    both = ConstantKernel(2.0) * KERNEL + WhiteKernel(0.1)
    np.testing.assert_allclose(
        both(X), 2 * kernels.nngp(X, depth=2, activation="erf", w_var=1.7, b_var=0.3) + 0.1 * np.eye(12)
    )
    with pytest.raises(ValueError, match="only be evaluated when Y is None"):
        KERNEL(X, X, eval_gradient=True)
    model = GaussianProcessRegressor(both, normalize_y=True, optimizer=None).fit(X, Y)
    assert np.all(np.isfinite(model.predict(Z)))


# Evidence and prediction --------------------------------------------------------------------


def test_student_t_closed_form():
    model = InfiniteWidthRegressor(KERNEL, alpha=1.5, beta=0.8, noise=0.1).fit(X, Y)
    C = KERNEL(X) + 0.1 * np.eye(12)
    law = stats.multivariate_t(shape=0.8 / 1.5 * C, df=3.0)
    assert model.log_marginal_likelihood_value_ == pytest.approx(law.logpdf(Y), rel=1e-13)
    assert model.df_ == 15.0
    d = Y @ np.linalg.solve(C, Y)
    assert (model.alpha_, model.beta_) == (7.5, pytest.approx(0.8 + d / 2, rel=1e-13))
    np.testing.assert_allclose(model.L_ @ model.L_.T, C, rtol=1e-13)
    cross = KERNEL(Z, X)
    mean = cross @ np.linalg.solve(C, Y)
    shape = (1.6 + d) / 15 * (KERNEL(Z) - cross @ np.linalg.solve(C, cross.T))
    got, cov = model.predict(Z, return_cov=True)
    np.testing.assert_allclose(got, mean, rtol=1e-11)
    np.testing.assert_allclose(cov, shape * 15 / 13, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.predict(Z, return_std=True)[1] ** 2, np.diag(cov), rtol=1e-11)
    latent, seen = model.predict_distribution(Z), model.predict_distribution(Z, observed=True)
    np.testing.assert_allclose(latent.var(), np.diag(cov), rtol=1e-11)
    np.testing.assert_allclose(seen.var() - latent.var(), 0.1 * (1.6 + d) / 13, rtol=1e-10)
    # the predictive density is a ratio of evidences
    joint = np.vstack([X, Z[:1]])
    big = stats.multivariate_t(shape=0.8 / 1.5 * (KERNEL(joint) + 0.1 * np.eye(13)), df=3.0)
    assert seen.logpdf(0.3)[0] == pytest.approx(big.logpdf(np.append(Y, 0.3)) - law.logpdf(Y), rel=1e-11)


def mp_evidence(prior_pdf, K, y, noise, shared):
    """log of the integral over s in 30 digits."""
    with mp.workdps(30):
        e, U = np.linalg.eigh(K)
        z = [mp.mpf(float(v)) for v in U.T @ y]
        e = [mp.mpf(float(v)) for v in e]

        def integrand(u):
            s = mp.e**u
            variances = [s * (v + noise) if shared else s * v + noise for v in e]
            log = sum(-mp.log(2 * mp.pi * v) / 2 - w * w / (2 * v) for v, w in zip(variances, z))
            return mp.e**log * prior_pdf(s) * s

        return float(mp.log(mp.quad(integrand, [-25, -12, -6, -3, -1, 0, 1, 2, 4, 6, 10, 20, 40])))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("n", [2, 12])
def test_mixtures_against_mpmath(n, shared):
    """Burr XII(2, 1.5) and half-Cauchy: heavy tails, few data."""
    laws = {
        "burr": lambda s: 3 * s / (1 + s * s) ** mp.mpf("2.5"),
        "halfcauchy": lambda s: 2 / (mp.pi * 2 * (1 + s * s / 4)),
    }
    for name, pdf in laws.items():
        model = InfiniteWidthRegressor(KERNEL, prior=PRIORS[name], noise=0.1, shared_noise=shared).fit(
            X[:n], Y[:n]
        )
        want = mp_evidence(pdf, KERNEL(X[:n]), Y[:n], mp.mpf("0.1"), shared)
        assert model.log_marginal_likelihood_value_ == pytest.approx(want, abs=1e-10)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", PRIORS)
def test_every_prior(name, shared):
    for y in (Y, np.stack([Y, 2 * Y[::-1]], axis=1)):
        model = InfiniteWidthRegressor(KERNEL, prior=PRIORS[name], noise=0.1, shared_noise=shared).fit(X, y)
        theta = model.kernel_.theta
        value, gradient = model.log_marginal_likelihood(theta, eval_gradient=True)
        assert value == pytest.approx(model.log_marginal_likelihood(), rel=1e-13)
        for p, h in enumerate(1e-3 * np.eye(2)):
            a, b, c, d = (model.log_marginal_likelihood(theta + k * h) for k in (1, -1, 2, -2))
            assert gradient[p] == pytest.approx((8 * (a - b) - (c - d)) / 12e-3, rel=1e-6, abs=1e-6)
        mean, std = model.predict(Z, return_std=True)
        assert mean.shape == std.shape == (4, *y.shape[1:])
        _, cov = model.predict(Z, return_cov=True)
        assert cov.shape == (4, 4, *y.shape[1:])
        np.testing.assert_allclose(np.einsum("ii...->i...", cov), std**2, rtol=1e-9)
        for observed in (False, True):
            law = model.predict_distribution(Z, observed=observed)
            for q in (0.01, 0.5, 0.99):
                np.testing.assert_allclose(law.cdf(law.ppf(q)), q, rtol=1e-9)
            np.testing.assert_allclose(law.mean(), mean, rtol=1e-10, atol=1e-12)
            low, high = law.interval(0.9)
            assert np.all(low < high)
            assert law.pdf(mean).shape == mean.shape
            assert law.rvs(random_state=0).shape == mean.shape
        draws = model.sample_y(Z, 4000, random_state=1)
        assert draws.shape == (4, *y.shape[1:], 4000)
        # the median of 4000 draws has standard error 0.02 standard deviations
        np.testing.assert_allclose(
            np.median(draws, axis=-1), model.predict_distribution(Z).median(), atol=0.12 * std.max()
        )


def test_quadrature_equals_closed_form_everywhere():
    closed = InfiniteWidthRegressor(KERNEL, alpha=1.5, beta=0.8, noise=0.1).fit(X, Y)
    mixed = InfiniteWidthRegressor(KERNEL, prior=stats.invgamma(1.5, scale=0.8), noise=0.1).fit(X, Y)
    assert mixed.log_marginal_likelihood_value_ == pytest.approx(
        closed.log_marginal_likelihood_value_, abs=1e-11
    )
    np.testing.assert_allclose(
        mixed.predict(Z, return_std=True), closed.predict(Z, return_std=True), rtol=1e-10
    )
    a, b = mixed.predict_distribution(Z), closed.predict_distribution(Z)
    t = np.linspace(-3, 3, 7)[:, None]
    np.testing.assert_allclose(a.pdf(t), b.pdf(t), rtol=1e-9)
    np.testing.assert_allclose(a.ppf([[0.001], [0.3]]), b.ppf([[0.001], [0.3]]), rtol=1e-9)


def test_gaussian_limit_equals_scikit_learn():
    ours = InfiniteWidthRegressor(KERNEL, prior=None, noise=0.1).fit(X, Y)
    theirs = GaussianProcessRegressor(KERNEL, alpha=0.1, optimizer=None).fit(X, Y)
    assert ours.log_marginal_likelihood_value_ == pytest.approx(
        theirs.log_marginal_likelihood_value_, rel=1e-12
    )
    np.testing.assert_allclose(
        ours.predict(Z, return_std=True), theirs.predict(Z, return_std=True), rtol=1e-9
    )
    assert ours.df_ == math.inf
    value, gradient = theirs.log_marginal_likelihood(KERNEL.theta, eval_gradient=True)
    np.testing.assert_allclose(
        ours.log_marginal_likelihood(KERNEL.theta, eval_gradient=True)[1], gradient, rtol=1e-9
    )
    separate = InfiniteWidthRegressor(KERNEL, prior=None, noise=0.1, shared_noise=False).fit(X, Y)
    assert separate.log_marginal_likelihood_value_ == pytest.approx(value, rel=1e-12)


def test_means_do_not_depend_on_the_prior():
    """With shared noise all priors give one mean, that of the Gaussian process."""
    means = [InfiniteWidthRegressor(KERNEL, prior=p, noise=0.1).fit(X, Y).predict(Z) for p in PRIORS.values()]
    for mean in means[1:]:
        np.testing.assert_allclose(mean, means[0], rtol=1e-10, atol=1e-12)


def test_gradient_flow():
    """Against the matrix exponential, and its limits in time."""
    K, T = kernels.nngp_ntk(X, depth=2, activation="erf", w_var=1.7, b_var=0.3)
    Kc, Tc = kernels.nngp_ntk(Z, X, depth=2, activation="erf", w_var=1.7, b_var=0.3)
    Kt = KERNEL(Z)
    G = Tc @ (np.eye(12) - linalg.expm(-T * 7.0 / 12)) @ np.linalg.inv(T)
    mean, cov = predict_gradient_flow(K, T, Kc, Tc, Kt, Y, t=7.0)
    np.testing.assert_allclose(mean, G @ Y, rtol=1e-8)
    np.testing.assert_allclose(cov, Kt + G @ K @ G.T - G @ Kc.T - Kc @ G.T, atol=1e-9)
    np.testing.assert_allclose(predict_gradient_flow(K, T, Kc, Tc, Kt, Y, t=0.0)[1], Kt, rtol=1e-13)
    end, later = (predict_gradient_flow(K, T, Kc, Tc, Kt, Y, t=t, reg=0.1)[0] for t in (math.inf, 1e9))
    np.testing.assert_allclose(later, end, rtol=1e-9)
    bad = {"K": (K[:3], T), "T": (K, T[:3])}
    for name, (k, t) in bad.items():
        with pytest.raises(ValueError, match=f"{name} has shape" if name == "T" else "has shape"):
            predict_gradient_flow(k, t, Kc, Tc, Kt, Y)
    with pytest.raises(ValueError, match="y has shape"):
        predict_gradient_flow(K, T, Kc, Tc, Kt, Y[:3])


def test_trained_networks():
    for method in ("ntk", "readout"):
        model = InfiniteWidthRegressor(KERNEL, method=method, alpha=1.5, beta=0.8, noise=0.01).fit(X, Y)
        assert model.df_ == 3.0
        K, T = KERNEL.pair(X)
        Kc, Tc = KERNEL.pair(Z, X)
        if method == "readout":
            T, Tc = K, Kc
        mean, cov = predict_gradient_flow(K, T, Kc, Tc, KERNEL(Z), Y, reg=0.01)
        got, std = model.predict(Z, return_std=True)
        np.testing.assert_allclose(got, mean, rtol=1e-12)
        np.testing.assert_allclose(std**2, 3.0 * 0.8 / 1.5 * np.diag(cov), rtol=1e-10)
        late = clone(model).set_params(train_time=1e8).fit(X, Y)
        np.testing.assert_allclose(late.predict(Z), mean, rtol=1e-5)
        assert math.isnan(late.df_)
        np.testing.assert_allclose(
            late.predict_distribution(Z).ppf(0.9), model.predict_distribution(Z).ppf(0.9), rtol=1e-5
        )
        assert model.sample_y(Z, 3).shape == (4, 3)
    early = InfiniteWidthRegressor(KERNEL, method="ntk", prior=None, train_time=0.0).fit(X, Y)
    np.testing.assert_allclose(early.predict(Z), 0.0, atol=1e-14)
    other = InfiniteWidthRegressor(KERNEL, method="ntk", prior=stats.gamma(2.0)).fit(X, Y)
    assert other.predict(Z).shape == (4,)


def test_scale_in_the_initial_readout_alone():
    """The tangent kernel of one wide network whose readout has variance s is ``K + s (T - K)``."""
    s0, width = 2.5, 40_000
    rng = np.random.default_rng(0)
    kernel = NNGPKernel(depth=1, activation="erf", w_var=1.7, b_var=0.2)
    every = np.vstack([X, Z])
    inner = 1.7 * every @ every.T / X.shape[1] + 0.2
    w = rng.normal(0, math.sqrt(1.7 / X.shape[1]), (width, X.shape[1]))
    z = every @ w.T + rng.normal(0, math.sqrt(0.2), width)
    v = rng.normal(0, math.sqrt(s0), width)
    slope = v * 2 / math.sqrt(math.pi) * np.exp(-z * z)
    f = special.erf(z)
    tangent = (f @ f.T + (slope @ slope.T) * inner) / width
    n = len(X)
    K = kernel(every)
    want, cov = predict_gradient_flow(
        K[:n, :n], tangent[:n, :n], K[n:, :n], tangent[n:, :n], K[n:, n:], Y, t=30.0, reg=0.1
    )
    narrow = stats.lognorm(1e-4, scale=s0)
    options = {"method": "ntk_init", "noise": 0.1, "train_time": 30.0}
    model = InfiniteWidthRegressor(kernel, prior=narrow, **options).fit(X, Y)
    mean, std = model.predict(Z, return_std=True)
    # 1 / sqrt(width) = 0.005 in each entry of the kernel
    np.testing.assert_allclose(mean, want, atol=0.03 * np.abs(want).max())
    np.testing.assert_allclose(std, np.sqrt(s0 * np.diag(cov)), rtol=0.05)
    assert math.isnan(model.df_)
    # at s = 1 it is the usual flow, and a random s makes a mixture of means
    one = InfiniteWidthRegressor(kernel, prior=None, **options).fit(X, Y)
    same = InfiniteWidthRegressor(kernel, prior=None, **{**options, "method": "ntk"}).fit(X, Y)
    np.testing.assert_allclose(one.predict(Z), same.predict(Z), rtol=1e-10)
    wide = InfiniteWidthRegressor(kernel, alpha=3.0, beta=3.0, method="ntk_init", noise=0.1).fit(X, Y)
    draws = stats.invgamma(3.0, scale=3.0).rvs(400, random_state=0)
    K, T = kernel.pair(X)
    Kc, Tc = kernel.pair(Z, X)

    def flow(s):
        return predict_gradient_flow(K, K + s * (T - K), Kc, Kc + s * (Tc - Kc), kernel(Z), Y, reg=0.1)[0]

    flows = [
        predict_gradient_flow(K, K + s * (T - K), Kc, Kc + s * (Tc - Kc), kernel(Z), Y, reg=0.1)[0]
        for s in draws
    ]
    error = 5.0 * np.std(flows, axis=0) / 20.0
    assert np.all(np.abs(wide.predict(Z) - np.mean(flows, axis=0)) < error)


def test_optimiser_and_options():
    fixed = InfiniteWidthRegressor(KERNEL, noise=0.1).fit(X, Y)
    tuned = InfiniteWidthRegressor(KERNEL, noise=0.1, optimizer="l-bfgs-b", n_restarts=1, random_state=0).fit(
        X, Y
    )
    assert tuned.log_marginal_likelihood_value_ >= fixed.log_marginal_likelihood_value_
    assert tuned.kernel.w_var == 1.7  # the caller's kernel is untouched

    def stay(objective, start, bounds):
        value, _ = objective(start)
        return start, value

    assert InfiniteWidthRegressor(KERNEL, optimizer=stay).fit(X, Y).kernel_ == KERNEL
    scaled = InfiniteWidthRegressor(KERNEL, noise=0.1, normalize_y=True).fit(X, 5 * Y + 3)
    unit = InfiniteWidthRegressor(KERNEL, noise=0.1, normalize_y=True).fit(X, Y)
    np.testing.assert_allclose(scaled.predict(Z), 5 * unit.predict(Z) + 3, rtol=1e-11)
    np.testing.assert_allclose(
        scaled.predict(Z, return_std=True)[1], 5 * unit.predict(Z, return_std=True)[1], rtol=1e-11
    )
    assert InfiniteWidthRegressor(RBF()).fit(X, Y).predict(Z).shape == (4,)
    assert np.all(InfiniteWidthRegressor(KERNEL, noise=0.1).fit(X, np.ones(12)).predict(Z) > 0)
    assert InfiniteWidthRegressor().fit(X.astype("f"), Y).predict(Z.astype("f")).shape == (4,)
    again = pickle.loads(pickle.dumps(tuned))
    np.testing.assert_array_equal(again.predict(Z), tuned.predict(Z))


def test_infinite_variance():
    model = InfiniteWidthRegressor(KERNEL, alpha=0.5).fit(X[:1], Y[:1])
    assert model.df_ == 2.0
    with pytest.warns(UserWarning, match="2 degrees of freedom, so its variance is infinite"):
        _, std = model.predict(Z, return_std=True)
    assert np.all(np.isinf(std))
    with pytest.warns(UserWarning, match="infinite"):
        _, cov = model.predict(Z, return_cov=True)
    assert np.all(np.isinf(cov))
    assert np.all(np.isfinite(model.predict_distribution(Z).ppf(0.9)))


def test_jitter_and_singular_kernels():
    doubled = np.vstack([X, X])
    with pytest.warns(RuntimeWarning, match="added jitter") as caught:
        InfiniteWidthRegressor(KERNEL, noise=0.0).fit(doubled, np.append(Y, Y))
    assert caught[0].filename == __file__  # the caller's line, not one of the package

    class Negative(RBF):
        def __call__(self, A, B=None, eval_gradient=False):
            return -super().__call__(A, B)

    with pytest.raises(np.linalg.LinAlgError, match="pivot 1 is -1"):
        InfiniteWidthRegressor(Negative(), noise=0.0).fit(X, Y)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"alpha": 0.0}, ValueError, "alpha"),
        ({"beta": -1.0}, ValueError, "beta"),
        ({"noise": -1.0}, ValueError, "noise"),
        ({"prior": "normal"}, ValueError, "prior must be"),
        ({"prior": 3}, TypeError, "prior must be"),
        ({"prior": lambda s: 0.0}, ValueError, "vectorised"),
        ({"prior": lambda s: np.full(s.shape, -np.inf)}, ValueError, "no mass"),
        ({"method": "sgd"}, ValueError, "method must be one of"),
        ({"method": "ntk", "kernel": RBF()}, ValueError, "needs an NNGPKernel"),
        ({"kernel": "rbf"}, TypeError, "kernel must be"),
        ({"train_time": -1.0}, ValueError, "train_time"),
        ({"optimizer": "adam"}, ValueError, "optimizer must be one of"),
        ({"n_restarts": -1}, ValueError, "n_restarts"),
        ({"kernel": NNGPKernel(w_var=-1.0)}, ValueError, "w_var"),
        ({"kernel": NNGPKernel(depth=90, w_var=1e5)}, OverflowError, "dense layer"),
    ],
)
def test_bad_parameters(options, error, message):
    with pytest.raises(error, match=message):
        InfiniteWidthRegressor(**options).fit(X, Y)


def test_bad_data():
    model = InfiniteWidthRegressor()
    with pytest.raises(NotFittedError):
        model.predict(Z)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, Y[:3])
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.where(X > 1, np.nan, X), Y)
    fitted = model.fit(X, Y)
    with pytest.raises(ValueError, match="features"):
        fitted.predict(np.ones((2, 7)))
    with pytest.raises(ValueError, match="exclusive"):
        fitted.predict(Z, return_std=True, return_cov=True)
    with pytest.raises(ValueError, match="n_samples"):
        fitted.sample_y(Z, 0)
    with pytest.raises(ValueError, match="one class only"):
        ScaleMixtureClassifier().fit(X, np.zeros(12))


def test_optimiser_that_stops_early_warns(monkeypatch):
    from scipy.optimize import minimize

    from theorylab.infinite_width import _regressor

    monkeypatch.setattr(
        _regressor.optimize, "minimize", lambda *a, **k: minimize(*a, **k, options={"maxiter": 1})
    )
    with pytest.warns(ConvergenceWarning, match="stopped early"):
        InfiniteWidthRegressor(KERNEL, noise=0.1, optimizer="l-bfgs-b").fit(X, Y)


# Laws and classifier ------------------------------------------------------------------------


def test_normal_mixture():
    weights, loc, scale = (
        np.array([0.3, 0.7]),
        np.array([[0.0, 1.0], [2.0, 1.0]]),
        np.array([[1.0, 2.0], [0.5, 3.0]]),
    )
    law = NormalMixture(weights, loc, scale)
    t = np.linspace(-2, 4, 5)[:, None]
    want = sum(w * stats.norm(m, s).cdf(t) for w, m, s in zip(weights, loc, scale))
    np.testing.assert_allclose(law.cdf(t), want, rtol=1e-14)
    np.testing.assert_allclose(law.sf(t), 1 - want, rtol=1e-12)
    np.testing.assert_allclose(
        law.pdf(t), sum(w * stats.norm(m, s).pdf(t) for w, m, s in zip(weights, loc, scale)), rtol=1e-13
    )
    np.testing.assert_allclose(law.mean(), [1.4, 1.0])
    np.testing.assert_allclose(
        law.var(), [0.3 * 1.0 + 0.7 * 0.25 + 0.3 * 1.96 + 0.7 * 0.36, 0.3 * 4 + 0.7 * 9]
    )
    assert law.rvs((6, 2), random_state=0).shape == (6, 2)
    np.testing.assert_allclose(law.rvs((20000, 2), random_state=0).mean(axis=0), law.mean(), atol=0.08)
    assert list(law.ppf(0.0)) == [-np.inf, -np.inf]
    assert np.isnan(law.ppf(1.5)).all()
    np.testing.assert_allclose(law.median(), law.ppf(0.5))


def test_classifier():
    """Probabilities against 2e5 draws of the joint t; two classes against the exact t probability."""
    rng = np.random.default_rng(3)
    labels = np.array(["a", "b", "c"])[np.argmax(X[:, :3], axis=1)]
    model = ScaleMixtureClassifier(KERNEL, noise=0.1).fit(X, labels)
    p = model.predict_proba(Z)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)
    parts = model._parts(Z)
    n = 200_000
    s = parts.df / rng.chisquare(parts.df, size=n)
    for i in range(4):
        sd = np.sqrt(s * (parts.var[0, i] + parts.noise[0]))
        f = parts.loc[0, i] + sd[:, None] * rng.standard_normal((n, 3))
        np.testing.assert_allclose(np.bincount(f.argmax(axis=1), minlength=3) / n, p[i], atol=5e-3)
    np.testing.assert_array_equal(model.predict(Z), model.classes_[p.argmax(axis=1)])
    assert model.decision_function(Z).shape == (4, 3)
    two = ScaleMixtureClassifier(KERNEL, noise=0.1).fit(X, X[:, 0] > 0)
    exact = stats.t(two.regressor_.df_).cdf(two.decision_function(Z) / np.sqrt(2))
    np.testing.assert_allclose(two.predict_proba(Z)[:, 1], exact, rtol=0, atol=1e-4)
    for prior in (None, stats.gamma(2.0)):
        q = ScaleMixtureClassifier(KERNEL, prior=prior, noise=0.1).fit(X, labels).predict_proba(Z)
        np.testing.assert_allclose(q.sum(axis=1), 1.0)


# Conjugate gradients ------------------------------------------------------------------------


@pytest.mark.parametrize("get", ["nngp", "ntk"])
@pytest.mark.parametrize("rank", [0, 10])
def test_conjugate_gradients(get, rank):
    x, b = RNG.normal(size=(70, 3)), RNG.normal(size=70)
    A = KernelOperator(x, depth=2, activation="erf", b_var=0.1, noise=0.2, get=get, tile=32)
    dense = getattr(kernels, get)(x, depth=2, activation="erf", b_var=0.1) + 0.2 * np.eye(70)
    np.testing.assert_allclose(A.matvec(b), dense @ b, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(A.rmatvec(b), dense @ b, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(A.diagonal(), np.diag(dense), rtol=1e-14)
    solution, info = kernel_cg(A, b, rtol=1e-11, rank=rank)
    assert info == 0
    np.testing.assert_allclose(solution, np.linalg.solve(dense, b), rtol=1e-8, atol=1e-9)
    assert kernel_cg(A, np.zeros(70))[1] == 0
    with pytest.warns(ConvergenceWarning, match="stopped after 1 iterations"):
        assert kernel_cg(A, b, maxiter=1, rank=0)[1] == 1
    with pytest.raises(ValueError, match="b has shape"):
        kernel_cg(A, b[:3])
    with pytest.raises(TypeError, match="KernelOperator"):
        kernel_cg(dense, b)


def test_no_warnings_in_the_common_case():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        InfiniteWidthRegressor(KERNEL).fit(X, Y).predict(Z, return_std=True)


def test_mixtures_without_variance():
    """A scale without mean: infinite standard deviation and a warning, as for few degrees of freedom."""
    X, y, Z = np.eye(3), np.arange(3.0), np.ones((2, 3))
    for prior in (stats.halfcauchy(), stats.invgamma(0.5)):
        model = InfiniteWidthRegressor(prior=prior, method="readout").fit(X, y)
        with pytest.warns(UserWarning, match="no finite variance"):
            assert np.all(np.isposinf(model.predict(Z, return_std=True)[1]))
    # E[s] = beta / (alpha - 1), where s has a heavy tail but a mean
    one = InfiniteWidthRegressor(prior=stats.invgamma(1.5, scale=0.5), method="readout").fit(X, y)
    same = InfiniteWidthRegressor(alpha=1.5, beta=0.5, method="readout").fit(X, y)
    expected = same.predict(Z, return_std=True)[1]
    np.testing.assert_allclose(one.predict(Z, return_std=True)[1], expected, rtol=1e-10)


def test_quantiles_of_mixtures_with_wide_components():
    law = NormalMixture(np.array([1.0 - 1e-30, 1e-30]), np.zeros((2, 1)), np.array([[1.0], [1e24]]))
    np.testing.assert_allclose(law.ppf(0.9), stats.norm.ppf(0.9), rtol=1e-14)
    assert np.all(np.isfinite(law.ppf(np.array([[1e-40], [0.5], [1 - 1e-16]]))))


@pytest.mark.parametrize("q", [1e-8, 0.025, 0.3, 0.5, 0.975, 1.0 - 1e-9])
def test_quantiles_equal_the_closed_form(q):
    """The mixture over an inverse-gamma law is a t: quantiles to the 1e-12 of the quadrature."""
    settings = {"noise": 0.05, "alpha": 1.5, "beta": 0.7}
    closed = InfiniteWidthRegressor(KERNEL, **settings).fit(X, Y).predict_distribution(Z)
    mixed = InfiniteWidthRegressor(KERNEL, prior=stats.invgamma(1.5, scale=0.7), noise=0.05).fit(X, Y)
    law = mixed.predict_distribution(Z)
    scale = closed.std()
    assert np.all(np.abs(law.ppf(q) - closed.ppf(q)) < 1e-11 * np.maximum(scale, np.abs(closed.ppf(q))))
    # one representable step of x moves the probability by at most its density times that step
    step = law.pdf(law.ppf(q)) * np.spacing(np.abs(law.ppf(q)))
    assert np.all(np.abs(law.cdf(law.ppf(q)) - q) <= 2.0 * step + 1e-15)


def test_law_without_variance_says_so():
    model = InfiniteWidthRegressor(prior=stats.halfcauchy(), method="readout").fit(np.eye(3), np.arange(3.0))
    law = model.predict_distribution(np.ones((2, 3)))
    assert np.all(np.isposinf(law.var()))
    assert np.all(np.isposinf(law.std()))
    assert np.all(np.isfinite(law.interval(0.95)[1]))


@pytest.mark.parametrize("q", [1e-30, 0.1, 0.3, 0.62, 0.9, 1.0 - 1e-12])
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_quantiles_of_mixtures_with_atoms(q, scale):
    """Components of width zero are atoms: at weights .2, .5, .3 the quantiles follow by hand."""
    weights = np.array([0.2, 0.5, 0.3])
    loc = scale * np.array([[-1.0], [0.0], [5.0]])
    atoms = NormalMixture(weights, loc, 0.0 * loc)
    by_hand = scale * (-1.0 if q <= 0.2 else 0.0 if q <= 0.7 else 5.0)
    np.testing.assert_allclose(atoms.ppf(q), by_hand, rtol=1e-12, atol=1e-12 * scale)
    # an atom of 1/2 in the middle of a normal
    law = NormalMixture(np.array([0.5, 0.5]), np.zeros((2, 1)), np.array([[0.0], [scale]]))
    level = 2.0 * (q if q < 0.5 else q - 0.5)
    by_hand = 0.0 if 0.25 <= q <= 0.75 else scale * float(stats.norm.ppf(level))
    np.testing.assert_allclose(law.ppf(q), by_hand, rtol=1e-3 if q > 0.99 else 1e-12, atol=1e-12 * scale)


def test_interval_needs_a_probability():
    law = NormalMixture(np.ones(1), np.zeros((1, 1)), np.ones((1, 1)))
    with pytest.raises(ValueError, match=r"confidence must lie in \[0, 1\], got 1.5"):
        law.interval(1.5)


@pytest.mark.parametrize("place", range(6))
def test_flow_names_what_is_not_finite(place):
    given = [np.eye(2), np.eye(2), np.ones((1, 2)), np.ones((1, 2)), np.eye(1), np.ones(2)]
    given[place] = np.full(given[place].shape, np.nan)
    with pytest.raises(ValueError, match=("K", "T", "K_cross", "T_cross", "K_test", "y")[place]):
        predict_gradient_flow(*given)


def test_draws_take_generators_and_bad_arguments_are_named():
    X, y = np.linspace(-1.0, 1.0, 5)[:, None], np.arange(5.0)
    model = InfiniteWidthRegressor(NNGPKernel(depth=1, b_var=0.1), prior=stats.burr12(2.0, 1.5)).fit(X, y)
    law = model.predict_distribution(X)
    a, b = (law.rvs((3, 5), random_state=np.random.default_rng(0)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert model.sample_y(X, 4, random_state=np.random.default_rng(0)).shape == (5, 4)
    with pytest.raises(ValueError, match=r"theta has shape \(1,\), expected \(2,\)"):
        model.log_marginal_likelihood([0.0])
    with pytest.raises(TypeError, match=r"prior is the family burr12_gen.*freeze its parameters"):
        InfiniteWidthRegressor(prior=stats.burr12).fit(X, y)
    # a family without shapes is a law
    assert InfiniteWidthRegressor(prior=stats.halfcauchy).fit(X, y).log_marginal_likelihood_value_ < 0
