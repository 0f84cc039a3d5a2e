"""A ReLU network on pairs of residues, trained by AdamW without decay, in plain NumPy."""

from dataclasses import dataclass

import numpy as np

from theorylab.grokking import perp_grad


@dataclass
class Course:
    """Accuracies at the logged epochs, the last logits of the training set, and those along the way."""

    epochs: np.ndarray
    train: np.ndarray
    test: np.ndarray
    logits: list


def softmax_slope(z, labels):
    """Derivative of the mean softmax cross-entropy by the logits."""
    out = np.exp(z - z.max(axis=1, keepdims=True))
    out /= out.sum(axis=1, keepdims=True)
    out[np.arange(labels.size), labels] -= 1
    return out / labels.size


def stablemax_slope(z, labels):
    """Derivative of the mean StableMax cross-entropy by the logits."""
    size = 1 + np.abs(z)
    s = np.where(z >= 0, size, 1 / size)
    slope = np.where(z >= 0, np.float32(1), s * s)
    rows = np.arange(labels.size)
    out = slope / s.sum(axis=1, keepdims=True)
    out[rows, labels] -= slope[rows, labels] / s[rows, labels]
    return out / labels.size


def train_mlp(
    data, hidden, epochs, lr, rng, perpendicular=False, slope=softmax_slope, every=10, keep_logits=False
):
    """Train in float32 throughout; log every few epochs."""
    p = data.p
    a, b = data.pairs.T
    sizes = [(2 * p, hidden), (hidden, hidden), (hidden, p)]
    params = []
    for fan_in, fan_out in sizes:
        bound = 1 / np.sqrt(fan_in)
        params += [rng.uniform(-bound, bound, (fan_in, fan_out)), rng.uniform(-bound, bound, fan_out)]
    params = [w.astype(np.float32) for w in params]
    first, second = ([np.zeros_like(w) for w in params] for _ in range(2))
    labels = data.labels[data.train]
    rows = np.arange(labels.size)
    one_hot = np.zeros((labels.size, 2 * p), dtype=np.float32)
    one_hot[rows, a[data.train]] = one_hot[rows, p + b[data.train]] = 1
    log, kept = [], []

    def forward(index):
        x = params[0][a[index]] + params[0][p + b[index]] + params[1]
        h = np.maximum(x, 0)
        g = np.maximum(h @ params[2] + params[3], 0)
        return h, g, g @ params[4] + params[5]

    for epoch in range(epochs + 1):
        h, g, z = forward(data.train)
        if epoch % every == 0:
            right = forward(data.test)[2].argmax(axis=1) == data.true_labels[data.test]
            log.append((epoch, np.mean(z.argmax(axis=1) == labels), np.mean(right)))
            if keep_logits:
                kept.append(z)
        out = slope(z, labels)
        back = (out @ params[4].T) * (g > 0)
        low = (back @ params[2].T) * (h > 0)
        grads = [one_hot.T @ low, low.sum(0), h.T @ back, back.sum(0), g.T @ out, out.sum(0)]
        if perpendicular:
            grads = perp_grad(params, grads)
        for k, d in enumerate(grads):
            first[k] = 0.9 * first[k] + 0.1 * d
            second[k] = 0.99 * second[k] + 0.01 * d * d
            scale = np.sqrt(second[k] / (1 - 0.99 ** (epoch + 1))) + 1e-8
            params[k] -= (lr / (1 - 0.9 ** (epoch + 1)) * first[k] / scale).astype(np.float32)
    return Course(*(np.array(column) for column in zip(*log)), kept or [z])
