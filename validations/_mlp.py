"""A ReLU network on pairs of residues with softmax loss and AdamW without decay, in plain NumPy."""

import numpy as np

from theorylab.grokking import perp_grad


def train_mlp(data, hidden, epochs, lr, rng, perpendicular):
    """Return test accuracies every ten epochs; float32 throughout."""
    p, n = data.p, data.train.size
    a, b = data.pairs.T
    sizes = [(2 * p, hidden), (hidden, hidden), (hidden, p)]
    params = []
    for fan_in, fan_out in sizes:
        bound = 1 / np.sqrt(fan_in)
        params += [rng.uniform(-bound, bound, (fan_in, fan_out)), rng.uniform(-bound, bound, fan_out)]
    params = [w.astype(np.float32) for w in params]
    first, second = ([np.zeros_like(w) for w in params] for _ in range(2))
    rows, accuracies = np.arange(n), []
    one_hot = np.zeros((n, 2 * p), dtype=np.float32)
    one_hot[rows, a[data.train]] = one_hot[rows, p + b[data.train]] = 1

    def forward(index):
        x = params[0][a[index]] + params[0][p + b[index]] + params[1]
        h = np.maximum(x, 0)
        g = np.maximum(h @ params[2] + params[3], 0)
        return h, g, g @ params[4] + params[5]

    for epoch in range(epochs + 1):
        if epoch % 10 == 0:
            accuracies.append(np.mean(forward(data.test)[2].argmax(axis=1) == data.true_labels[data.test]))
        h, g, z = forward(data.train)
        out = np.exp(z - z.max(axis=1, keepdims=True))
        out /= out.sum(axis=1, keepdims=True)
        out[rows, data.labels[data.train]] -= 1
        out /= n
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
    return np.array(accuracies)
