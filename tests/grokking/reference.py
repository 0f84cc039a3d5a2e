"""The same workloads written for reading."""

import numpy as np


def train_by_definition(data, weights, epochs, lr, decay):
    """Train with one-hot matrices and textbook AdamW; return the loss before each update and the weights."""
    p, n = data.p, data.train.size
    A, B = (np.eye(p)[data.pairs[data.train, k]] for k in range(2))
    Y = np.eye(p)[data.labels[data.train]]
    params = [np.array(w, dtype=float) for w in weights]
    m, v = ([np.zeros_like(w) for w in params] for _ in range(2))
    losses = []
    for t in range(1, epochs + 1):
        U, V, W = params
        h = A @ U + B @ V
        error = h**2 @ W.T - Y
        losses.append(np.mean(error**2))
        d_out = 2 * error / (n * p)
        d_h = 2 * h * (d_out @ W)
        grads = [A.T @ d_h, B.T @ d_h, d_out.T @ h**2]
        for k, g in enumerate(grads):
            m[k] = 0.9 * m[k] + 0.1 * g
            v[k] = 0.98 * v[k] + 0.02 * g**2
            params[k] = params[k] * (1 - lr * decay)
            params[k] -= lr * (m[k] / (1 - 0.9**t)) / (np.sqrt(v[k] / (1 - 0.98**t)) + 1e-8)
    return np.array(losses), params


def xor_by_definition(X, y, T, truth, W, readout, lr, steps):
    """Train a ReLU network on the weights themselves; return train and test accuracies."""
    W, accuracies = W.copy(), []
    for _ in range(steps + 1):
        f, g = (np.maximum(Z @ W.T, 0) @ readout for Z in (X, T))
        accuracies.append((np.mean((f > 0) == (y > 0)), np.mean((g > 0) == (truth > 0))))
        slope = -y / (1 + np.exp(y * f)) / len(y)
        W -= lr * readout[:, None] * (((X @ W.T > 0) * slope[:, None]).T @ X)
    return np.array(accuracies).T
