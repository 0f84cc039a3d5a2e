"""Kernels and small regression problems shared by the validations of inductive bias."""

import numpy as np

from theorylab.inductive_bias import gaussian_test_error


def squared_distances(A, B):
    return np.maximum(np.sum(A**2, 1)[:, None] + np.sum(B**2, 1) - 2 * A @ B.T, 0.0)


def rbf(length):
    return lambda A, B: np.exp(-squared_distances(A, B) / (2 * length**2))


def laplace(length):
    """Matern-1/2."""
    return lambda A, B: np.exp(-np.sqrt(squared_distances(A, B)) / length)


def wave(X):
    return np.sin(2 * X.sum(axis=1) / np.sqrt(X.shape[1]))


def posterior(kernel, X, y, Z, alpha=1e-8):
    """Return mean and covariance at Z, by plain linear algebra."""
    gram = kernel(X, X) + alpha * np.eye(len(X))
    cross = kernel(X, Z)
    solved = np.linalg.solve(gram, cross)
    cov = kernel(Z, Z) - cross.T @ solved
    return solved.T @ y, 0.5 * (cov + cov.T)


def problem(kernel, d, rng, n=50, n_test=100, target=wave, alpha=1e-8):
    """Return mean, covariance and test labels of a random problem with normal inputs."""
    X, Z = rng.standard_normal((n, d)), rng.standard_normal((n_test, d))
    mean, cov = posterior(kernel, X, target(X), Z, alpha)
    return mean, cov, target(Z)


def error_law(kernel, d, rng, **options):
    return gaussian_test_error(*problem(kernel, d, rng, **options))
