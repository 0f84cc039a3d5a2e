"""Ten obvious lines each: what the fast code must agree with."""

import numpy as np


def train_by_definition(spec, prob, kappa, n_steps, W, X, beta):
    """Iterate the step of the theory neuron by neuron; return train losses and overlaps."""
    n, d = W.shape
    signs = np.ones(n) if spec.signs is None else np.array(spec.signs, dtype=float)
    y = prob.target(X @ beta)
    W = W.copy()
    f0, losses, overlaps = 0.0, [], []
    for t in range(n_steps):
        f = sum(spec.alpha / n * signs[i] * spec.phi(X @ W[i]) for i in range(n))
        if spec.center and t == 0:
            f0 = f
        delta = f - f0 - y
        losses.append(np.mean(delta**2))
        overlaps.append([W[i] @ beta / d for i in range(n)])
        for i in range(n):
            force = signs[i] * spec.dphi(X @ W[i]) * delta
            W[i] -= kappa / (spec.alpha * prob.nu) * (X.T @ force)
    return np.array(losses), np.array(overlaps), W


def torch_free_test_loss(spec, prob, W, W0, beta, rng, n=400_000):
    """Measure the test loss on fresh points; return mean and standard error."""
    d = beta.size
    X = rng.standard_normal((n, d)) / np.sqrt(d)
    signs = np.ones(len(W)) if spec.signs is None else np.array(spec.signs, dtype=float)

    def output(weights):
        return spec.alpha / len(weights) * spec.phi(X @ weights.T) @ signs

    delta = output(W) - (output(W0) if spec.center else 0.0) - prob.target(X @ beta)
    return np.mean(delta**2), np.std(delta**2) / np.sqrt(n)
