"""The nets that the pruning claims share: a 64-32-10 perceptron on scikit-learn's digits.

Only the two weight matrices are pruned (d = 2368); the biases stay as trained. A
net is trained to a loss of about 0.02, for one trained to zero has vanishing
gradients, and then the damping alone would decide what is pruned.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_digits

SHAPES = ((64, 32), (32, 10))
SIZES = tuple(a * b for a, b in SHAPES)
D = sum(SIZES)  # 2368 weights that may be pruned; the flat vector holds the 42 biases behind them
TRAIN = 1347


@functools.cache
def data():
    """Images in [0, 1] and their classes, shuffled once: (X_train, y_train, X_test, y_test)."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order] / 16.0, y[order]
    return X[:TRAIN], y[:TRAIN], X[TRAIN:], y[TRAIN:]


def _split(theta):
    first = SIZES[0]
    W1, W2 = theta[:first].reshape(SHAPES[0]), theta[first:D].reshape(SHAPES[1])
    return W1, W2, theta[D : D + 32], theta[D + 32 :]


def _forward(theta, X):
    W1, W2, b1, b2 = _split(theta)
    hidden = np.maximum(X @ W1 + b1, 0.0)
    logits = hidden @ W2 + b2
    logits -= logits.max(axis=1, keepdims=True)
    p = np.exp(logits)
    total = p.sum(axis=1, keepdims=True)
    return hidden, p / total, logits - np.log(total)


def _objective(theta, X, y, penalty):
    """Mean cross-entropy + penalty/2 |W|^2, and its gradient."""
    hidden, p, logp = _forward(theta, X)
    _, W2, _, _ = _split(theta)
    rows = np.arange(len(y))
    value = -logp[rows, y].mean() + 0.5 * penalty * (theta[:D] @ theta[:D])
    p[rows, y] -= 1.0
    p /= len(y)
    back = (p @ W2.T) * (hidden > 0.0)
    gradient = np.concatenate([(X.T @ back).ravel(), (hidden.T @ p).ravel(), back.sum(axis=0), p.sum(axis=0)])
    gradient[:D] += penalty * theta[:D]
    return value, gradient


@dataclass(frozen=True)
class Net:
    """A trained net; `weights` (D,) are what is pruned."""

    theta: np.ndarray
    loss: float

    @property
    def weights(self):
        return self.theta[:D]

    def increase(self, weights):
        """Training loss gained by replacing the weights."""
        X, y, _, _ = data()
        _, _, logp = _forward(np.concatenate([weights, self.theta[D:]]), X)
        return -logp[np.arange(len(y)), y].mean() - self.loss

    def accuracy(self, weights):
        """Fraction of test images classified correctly."""
        _, _, X, y = data()
        _, p, _ = _forward(np.concatenate([weights, self.theta[D:]]), X)
        return float(np.mean(p.argmax(axis=1) == y))

    def gradients(self, m, rng):
        """Gradients (m, D) of the loss at m training images drawn without replacement."""
        X, y, _, _ = data()
        pick = rng.choice(len(y), m, replace=False)
        X, y = X[pick], y[pick]
        hidden, p, _ = _forward(self.theta, X)
        _, W2, _, _ = _split(self.theta)
        p[np.arange(m), y] -= 1.0
        back = (p @ W2.T) * (hidden > 0.0)
        G = np.empty((m, D))
        np.multiply(X[:, :, None], back[:, None, :], out=G[:, : SIZES[0]].reshape(m, *SHAPES[0]))
        np.multiply(hidden[:, :, None], p[:, None, :], out=G[:, SIZES[0] :].reshape(m, *SHAPES[1]))
        return G


@functools.lru_cache(maxsize=64)
def train(seed, iterations=300, penalty=1.0 / TRAIN):
    """Train one net by L-BFGS from a Glorot start; the same seed gives the same net within a process."""
    rng = np.random.default_rng(seed)
    start = np.concatenate(
        [rng.uniform(-1, 1, a * b) * np.sqrt(6 / (a + b)) for a, b in SHAPES] + [np.zeros(42)]
    )
    X, y, _, _ = data()
    best = minimize(
        _objective, start, args=(X, y, penalty), jac=True, method="L-BFGS-B", options={"maxiter": iterations}
    )
    _, _, logp = _forward(best.x, X)
    return Net(theta=best.x, loss=float(-logp[np.arange(len(y)), y].mean()))
