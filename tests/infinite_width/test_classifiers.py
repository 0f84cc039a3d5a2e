"""Softmax classifiers: against scikit-learn, dense formulas, sampling and finite differences."""

import warnings

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from theorylab.infinite_width import NNGPKernel, ScaleMixtureClassifier
from theorylab.infinite_width._laplace import LaplaceMixture, laplace, normal_draws
from theorylab.infinite_width._scale import log_prior
from theorylab.infinite_width._variational import SparseVariational, divergence

KERNEL = ConstantKernel(1.5) * RBF(1.0)


def problem(n=40, k=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2))
    y = np.digitize(X[:, 0] + 0.3 * rng.standard_normal(n), np.linspace(-1, 1, k + 1)[1:-1])
    return X, y, rng.standard_normal((30, 2))


def test_two_classes_equal_scikit_learn():
    """Two softmax latents of covariance K are one logistic latent of covariance 2 K."""
    X, y, Z = problem()
    peer = GaussianProcessClassifier(2.0 * KERNEL, optimizer=None).fit(X, y)
    ours = ScaleMixtureClassifier(KERNEL, prior=None, method="laplace").fit(X, y)
    assert abs(ours.log_evidence_ - peer.log_marginal_likelihood_value_) < 1e-8
    # the peer approximates the logistic average to about 1e-4, ours is over 512 quasi-random points
    np.testing.assert_allclose(ours.predict_proba(Z), peer.predict_proba(Z), atol=1e-3)


def test_three_classes_by_dense_formulas():
    """Mode, evidence and latent covariance from the full Hessian of all n k latent values."""
    X, y, Z = problem(12, 3)
    Y, K, n, k = np.eye(3)[y], KERNEL(X), 12, 3
    mode, a = laplace(K, Y, np.zeros((n, k)))
    F = K @ a
    P = special.softmax(F, axis=1)
    np.testing.assert_allclose(a, Y - P, atol=1e-6)  # stationary
    big = np.kron(np.eye(k), K)
    p = P.T.ravel()
    pi = np.concatenate([np.diag(P[:, c]) for c in range(k)])
    W = np.diag(p) - pi @ pi.T
    value = -0.5 * np.sum(a * F) + np.sum(Y * F) - special.logsumexp(F, axis=1).sum()
    logdet = np.linalg.slogdet(np.eye(n * k) + big @ W)[1]
    assert abs(mode.evidence - (value - 0.5 * logdet)) < 1e-8
    model = LaplaceMixture(K, Y, None)
    ((mean, cov),) = model.latent(KERNEL(Z, X), KERNEL.diag(Z))
    wide = np.kron(np.eye(k), KERNEL(Z[:1], X))
    want = 1.5 * np.eye(k) - wide @ W @ np.linalg.inv(np.eye(n * k) + big @ W) @ wide.T
    np.testing.assert_allclose(cov[0], want, atol=1e-7)
    np.testing.assert_allclose(mean[0], wide @ (Y - P).T.ravel(), atol=1e-6)


def test_laplace_mixture_integrates_over_the_scale():
    X, y, _ = problem()
    K, Y = KERNEL(X), np.eye(2)[y]
    prior = log_prior(stats.lognorm(0.3), 1.0, 1.0)
    model = LaplaceMixture(K, Y, prior)
    assert abs(model.weights.sum() - 1.0) < 1e-12

    def integrand(u):
        value = laplace(np.exp(u) * K, Y, np.zeros_like(Y))[0].evidence
        return np.exp(value + 20.0 + u + prior(np.exp(np.array([u])))[0])

    exact = np.log(integrate.quad(integrand, -3.0, 4.0, epsabs=1e-9, epsrel=1e-8)[0]) - 20.0
    assert abs(model.log_evidence - exact) < 2e-5  # the nodes leave out 1e-5 of the scales on either side


def test_divergence_by_sampling():
    rng = np.random.default_rng(1)
    m, k, a, b, alpha, beta = 3, 2, 4.0, 5.0, 2.0, 2.5
    w, R = 0.5 * rng.standard_normal((m, k)), np.tril(rng.standard_normal((k, m, m))) + 2.0 * np.eye(m)
    n = 200_000
    s = b / rng.gamma(a, size=n)
    q, p = stats.invgamma(a, scale=b).logpdf(s), stats.invgamma(alpha, scale=beta).logpdf(s)
    for c in range(k):
        z = rng.standard_normal((n, m))
        u = w[:, c] + np.sqrt(s)[:, None] * z @ R[c].T
        half = 0.5 * m * np.log(2 * np.pi * s)
        q += -half - 0.5 * np.sum(z * z, axis=1) - np.log(np.abs(np.diag(R[c]))).sum()
        p += -half - 0.5 * np.sum(u * u, axis=1) / s
    gap = q - p
    assert abs(divergence(w, R, a, b, alpha, beta)[0] - gap.mean()) < 4.0 * gap.std() / np.sqrt(n)


def test_bound_and_its_gradient():
    X, y, _ = problem(25, 3)
    Z, Y = X[:6], np.eye(3)[y]
    model = SparseVariational(KERNEL(Z), KERNEL(X, Z), KERNEL.diag(X), Y, 2.0, 2.0)
    rng = np.random.default_rng(0)
    v = model.pack(model.w, model.R, model.a, model.b)
    assert np.abs(model.bound(v)[1]).max() < 1e-2  # a maximum
    v = v + 0.1 * rng.standard_normal(v.size)
    gradient = model.bound(v)[1]
    for direction in (*np.eye(v.size)[-2:], rng.standard_normal(v.size)):
        h = 1e-5
        difference = (model.bound(v + h * direction)[0] - model.bound(v - h * direction)[0]) / (2 * h)
        # the derivative of s in its shape is itself a difference of error 1e-8
        assert abs(gradient @ direction - difference) < 1e-6 * (1.0 + abs(difference))


def test_bound_is_below_the_evidence():
    """Evidence of four points by averaging the likelihood over a million draws of the prior."""
    X, y, _ = problem(4, 2, seed=3)
    K, Y = KERNEL(X), np.eye(2)[y]
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(K)
    n = 200_000
    f = np.sqrt(2.0 / rng.gamma(2.0, size=n))[:, None, None] * (root @ rng.standard_normal((n, 4, 2)))
    evidence = np.log(np.mean(np.exp(np.sum(Y * f, axis=(1, 2)) - special.logsumexp(f, axis=2).sum(axis=1))))
    model = SparseVariational(K, K, np.diag(K), Y, 2.0, 2.0, draws=1024)
    assert evidence - 1.0 < model.elbo < evidence + 0.01


@pytest.mark.parametrize("method", ["laplace", "variational"])
@pytest.mark.parametrize("k", [2, 3])
def test_public_face(method, k):
    X, y, Z = problem(60, k)
    model = ScaleMixtureClassifier(
        NNGPKernel(depth=1, b_var=0.5), method=method, n_inducing=20, random_state=0
    ).fit(X, y)
    P = model.predict_proba(Z)
    np.testing.assert_allclose(P.sum(axis=1), 1.0, rtol=1e-12)
    assert np.array_equal(model.predict(Z), model.classes_[P.argmax(axis=1)])
    assert model.decision_function(Z).shape == ((30,) if k == 2 else (30, k))
    assert model.score(X, y) > 0.8
    assert np.isfinite(model.log_evidence_)
    tuned = ScaleMixtureClassifier(NNGPKernel(depth=1, b_var=0.5), method=method, optimizer="l-bfgs-b")
    assert tuned.fit(X, y).score(X, y) > 0.8


def test_bad_input():
    X, y, _ = problem()
    with pytest.raises(ValueError, match="method must be one of 'regression', 'laplace', 'variational'"):
        ScaleMixtureClassifier(method="ep").fit(X, y)
    with pytest.raises(ValueError, match="needs prior='invgamma'"):
        ScaleMixtureClassifier(method="variational", prior=None).fit(X, y)
    with pytest.raises(ValueError, match="n_inducing must lie in"):
        ScaleMixtureClassifier(method="variational", n_inducing=0).fit(X, y)
    with pytest.raises(NotFittedError):
        ScaleMixtureClassifier(method="laplace").predict(X)


def test_laplace_at_large_variances():
    """At variances of 1e6 the modes are reached, and a warning tells that they are no summary."""
    rng = np.random.default_rng(4)
    X = rng.standard_normal((30, 2))
    y = (X[:, 0] > 0) * 1 + (X[:, 1] > 0.5)
    kernel = NNGPKernel(depth=2, activation="relu", w_var=2.0, b_var=0.1)
    with pytest.warns(UserWarning, match=r"Laplace's method is unreliable.*normalise the inputs"):
        large = ScaleMixtureClassifier(kernel, method="laplace").fit(1e3 * X, y)
    assert max(mode.residual for mode in large._model.modes) < 1e-4
    with pytest.warns(ConvergenceWarning, match="stopped short of the mode"):
        ScaleMixtureClassifier(kernel, method="laplace").fit(1e9 * X, y)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_draws_prefer_no_class(k):
    """Equal means and exchangeable spreads give equal probabilities, whatever the spread."""
    draws = normal_draws(k)
    np.testing.assert_allclose(special.softmax(1e3 * draws, axis=1).mean(axis=0), 1.0 / k, rtol=1e-12)
    np.testing.assert_allclose(draws.mean(axis=0), 0.0, atol=1e-12)


def test_variational_bound_at_large_variances():
    """Long steps of the ascent leave the floating range without numerical warnings."""
    rng = np.random.default_rng(4)
    X = 1e6 * rng.standard_normal((30, 2))
    y = (X[:, 0] > 0) * 1
    kernel = NNGPKernel(depth=2, activation="relu", w_var=2.0, b_var=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = ScaleMixtureClassifier(kernel, method="variational", max_steps=50).fit(X, y)
    assert np.isfinite(model.log_evidence_)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize(("variance", "evidence"), [(1.0, 0.49), (1e3, 0.379), (1e6, 0.277)])
def test_laplace_underestimates_the_evidence_of_large_scales(variance, evidence):
    """One point of two classes: the mode by a scalar root finder; the truth is 1/2 at any variance.

    The objective is flat to 1e-10 where Newton stops, hence the mode known to 1e-5 of its size.
    """
    mode = laplace(np.array([[variance]]), np.array([[1.0, 0.0]]), np.zeros((1, 2)))[0]
    f = optimize.brentq(lambda f: f - variance * special.expit(-2 * f), 0.0, 1e3, xtol=1e-14)
    p = special.expit(2 * f)
    alone = np.log(p) - f * f / variance - 0.5 * np.log1p(2 * variance * p * (1 - p))
    assert abs(mode.evidence - alone) < 1e-6
    assert abs(np.exp(mode.evidence) - evidence) < 2e-3
