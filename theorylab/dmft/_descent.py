"""Gradient descent itself: the start, the data, and the course of one network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._losses import network_components, row_losses
from ._rows import Rows
from ._spec import PolynomialTask, QuadraticNetwork, Task, apply

Array = NDArray[np.float64]

#: Growth of the train loss that counts as divergence.
BLOW_UP = 1e6
#: Bytes of inputs that are pushed forward and backward together, so that the cache serves the second pass.
CACHED = 1 << 19


class Run:
    """Curves of one network while it trains."""

    def __init__(self, n_steps: int, size: int) -> None:
        self.train, self.test = np.full(n_steps, np.nan), np.full(n_steps, np.nan)
        self.components = np.full((n_steps, 3), np.nan)
        self.overlap = np.full((n_steps, size), np.nan)
        self.weights: Array | None = None
        self.diverged_at: int | None = None

    def sound(self, t: int, loss: float) -> bool:
        """Note the train loss; False where it has blown up."""
        if not math.isfinite(loss) or loss > BLOW_UP * max(1.0, float(self.train[0]) if t else 1.0):
            self.diverged_at = t
            return False
        self.train[t] = loss
        return True


def place_weights(m: Array, gram: Array, beta: Array, rng: np.random.Generator) -> Array:
    """Return weights (N, D) with exactly these overlaps and, if D - 1 axes suffice, this Gram matrix."""
    d, length2 = beta.size, float(beta @ beta)
    along = m * (d / length2)
    values, vectors = np.linalg.eigh(gram - np.outer(m, m) * (d / length2))
    keep = values > 1e-14 * float(np.abs(gram).max())
    root = vectors[:, keep] * np.sqrt(values[keep])
    z = rng.standard_normal((root.shape[1], d))
    z -= np.outer(z @ beta / length2, beta)
    if z.shape[0] and z.shape[0] < d:
        z = np.linalg.qr(z.T)[0].T * math.sqrt(d)
        z -= np.outer(z @ beta / length2, beta)  # once more, for the last bits
    # The signs of the eigenvectors and of QR are free; the Gaussian rows make any choice equal in law.
    return np.asarray(np.outer(along, beta) + root @ z)


def draw_data(
    dim: int, count: int, prob: Task, inputs: Array | None, beta: Array | None, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Return beta, X and the labels of one training set, drawing what is not given."""
    if beta is None:
        beta = rng.standard_normal(dim)
        beta *= math.sqrt(dim / float(beta @ beta))
    if inputs is None:
        inputs = rng.standard_normal((count, dim)) / math.sqrt(dim)
    labels = apply(prob.target, inputs @ beta, "target")
    if prob.noise > 0:
        labels = labels + prob.noise * rng.standard_normal(count)
    return beta, inputs, labels


def block_rows(count: int, dim: int, dtype: np.dtype) -> int:
    """Return how many of `count` samples are visited together."""
    return max(1, min(count, CACHED // (dtype.itemsize * dim)))


def train_network(
    rows: Rows, prob: Task, kappa: Array, weights: Array, beta: Array, x: Array, y: Array, dtype: np.dtype
) -> Run:
    """Iterate eq. (1); inputs are visited in blocks that stay in cache between the two products."""
    spec, (n, d), count, n_steps = rows.spec, weights.shape, x.shape[0], kappa.size
    run = Run(n_steps, n)
    rates = kappa / (spec.alpha * prob.nu)
    weights, beta, x, y = (a.astype(dtype, copy=False) for a in (weights, beta, x, y))
    start = weights.copy()
    block = block_rows(count, d, dtype)
    pieces = [slice(lo, min(lo + block, count)) for lo in range(0, count, block)]
    centre = np.zeros(count)
    wick = isinstance(spec, QuadraticNetwork) and isinstance(prob, PolynomialTask)
    for t in range(n_steps):
        gradient = np.zeros_like(weights)
        total = 0.0
        for piece in pieces:
            h = x[piece] @ weights.T
            output = rows.output(h)[0]
            if spec.center and t == 0:
                centre[piece] = output
            delta = output - centre[piece] - y[piece]
            total += float(delta @ delta)
            if t + 1 < n_steps:
                force = (rows.slope(h) * delta[:, None]).astype(dtype, copy=False)
                gradient += force.T @ x[piece]
        if not run.sound(t, total / count):
            return run
        run.overlap[t] = weights @ beta / d
        now, before, axis = (a.astype(np.float64, copy=False) for a in (weights, start, beta))
        if wick:
            assert isinstance(spec, QuadraticNetwork)
            assert isinstance(prob, PolynomialTask)
            run.components[t] = network_components(now, axis, spec, prob, before if spec.center else None)
            run.test[t] = run.components[t].sum()
        else:
            z = np.concatenate([now, before, axis[None, :]])
            run.test[t] = row_losses(rows, prob, z @ z.T / d, 0.0, 0.0)[0]
        run.weights = weights
        if t + 1 < n_steps:
            weights = weights - dtype.type(rates[t]) * gradient
    return run


def train_moments(
    spec: QuadraticNetwork, prob: PolynomialTask, kappa: Array, spike: float,
    beta: Array, x: Array, y: Array, dtype: np.dtype,
) -> Run:  # fmt: skip
    """Iterate eq. (3): the mean s, the spike p and the map Phi are columns of one matrix."""
    d, eps, alpha, n_steps = beta.size, spec.eps, spec.alpha, kappa.size
    rates, size = kappa / (alpha * prob.nu), 2 if spike else 1
    beta, x, y = (a.astype(dtype, copy=False) for a in (beta, x, y))
    run = Run(n_steps, size)
    z = np.concatenate([np.zeros((d, 1)), spike * beta[:, None], np.eye(d)], axis=1).astype(dtype)
    centre: Any = 0.0
    first: Any = 0.0
    for t in range(n_steps):
        h = x @ z
        output = alpha * (h[:, 0] + 0.5 * eps * np.einsum("ij,ij->i", h, h))
        if spec.center and t == 0:
            centre = output
            first = alpha * eps * (z @ z.T)
        delta = output - centre - y
        if not run.sound(t, float(delta @ delta) / delta.size):
            return run
        run.overlap[t] = (beta @ z[:, :size]) / d
        matrix = alpha * eps * (z @ z.T) - np.outer(beta, beta) - first
        trace = float(np.trace(matrix)) / d + prob.offset
        power = alpha * alpha * float(z[:, 0] @ z[:, 0]) / d
        run.components[t] = power, float(np.sum(matrix * matrix)) / (2.0 * d * d), 0.25 * trace * trace
        run.test[t] = run.components[t].sum()
        if t + 1 < n_steps:
            h *= eps
            h[:, 0] += 1.0
            h *= delta[:, None]
            z = z - dtype.type(rates[t]) * (x.T @ h)
    return run
