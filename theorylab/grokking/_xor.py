"""Clusters on the corners of a XOR, and a ReLU network that memorises before it understands."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lib.checks import check_int, check_real
from .._lib.memory import refuse_if_too_large
from .._lib.rng import RNGLike, as_generator

Array = NDArray[np.float64]


@dataclass(frozen=True)
class XORTraining:
    """Hold accuracies over gradient steps, entry t after t steps.

    Attributes
    ----------
    train_accuracy : ndarray, shape (n_steps + 1,)
        On the training labels as they are, flipped ones included.
    test_accuracy : ndarray, shape (n_steps + 1,)
        On fresh points with clean labels.
    clean_accuracy : ndarray, shape (n_steps + 1,)
        On the training points with clean labels; ``1 - flip`` means that all flips are memorised.
        All three are NaN from a divergence on.
    linearity : float
        Correlation over the test points of the output after one step with the
        linear classifier ``sum_i y_i x_i . x``; NaN for no step.
    """

    train_accuracy: Array
    test_accuracy: Array
    clean_accuracy: Array
    linearity: float


def xor_cluster_data(
    n_samples: int, dim: int, mu: float, flip: float = 0.0, rng: RNGLike = None
) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Draw points around four centres whose labels form a XOR.

    Parameters
    ----------
    n_samples : int
    dim : int
        At least 2.
    mu : float
        Distance of the centres from the origin; they are plus and minus the first
        axis (label +1) and the second (label -1). The noise is standard normal.
    flip : float
        Probability of a flipped label, in [0, 1].
    rng : None, int, SeedSequence or Generator

    Returns
    -------
    X : ndarray, shape (n_samples, dim)
    y : ndarray of int, shape (n_samples,)
        Labels +1 and -1, some flipped.
    clean : ndarray of int, shape (n_samples,)
        Labels before the flips.

    Raises
    ------
    ValueError, TypeError
        For arguments out of range or of another kind.
    MemoryError
        Where the points do not fit, before they are drawn.

    Examples
    --------
    >>> X, y, clean = xor_cluster_data(100, 20, 5.0, flip=0.1, rng=0)
    >>> X.shape, sorted(set(y.tolist()))
    ((100, 20), [-1, 1])
    """
    n = check_int(n_samples, "n_samples", low=1)
    d = check_int(dim, "dim", low=2)
    size = check_real(mu, "mu", low=0.0)
    share = check_real(flip, "flip", low=0.0, high=1.0)
    generator = as_generator(rng)
    # Points, and per sample its corner, clean and flipped label, a uniform number.
    refuse_if_too_large("xor_cluster_data", 8 * n * (d + 8), "lower n_samples or dim")
    corner = generator.integers(4, size=n)
    X = generator.standard_normal((n, d))
    X[np.arange(n), corner // 2] += size * (1.0 - 2.0 * (corner % 2))
    clean = 1 - 2 * (corner // 2)
    y = np.where(generator.random(n) < share, -clean, clean)
    return X, y, clean


def train_xor(
    n_samples: int,
    dim: int,
    width: int,
    mu: float,
    *,
    flip: float = 0.1,
    lr: float = 0.1,
    init_scale: float = 1e-4,
    n_steps: int = 15,
    n_test: int = 2000,
    rng: RNGLike = None,
) -> XORTraining:
    """Train a two-layer ReLU network on XOR clusters by full-batch gradient descent.

    Parameters
    ----------
    n_samples, dim, mu, flip
        As in :func:`xor_cluster_data`.
    width : int
        Number m of neurons; their readouts are ``+-1 / sqrt(m)``, fixed, drawn at random.
    lr : float
        Step size, > 0.
    init_scale : float
        Standard deviation of the initial weights, >= 0.
    n_steps, n_test : int
    rng : None, int, SeedSequence or Generator

    Returns
    -------
    XORTraining

    Raises
    ------
    ValueError, TypeError
        For arguments out of range or of another kind.
    MemoryError
        Where the run does not fit, before it starts.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        Where outputs overflow; the accuracies end in NaN.

    Notes
    -----
    Mean logistic loss. Weights move within the span of the data, so only inner
    products are needed: after one product of the points with each other and
    with the initial weights, a step costs ``2 m n (n + n_test)`` operations,
    independent of the dimension.

    References
    ----------
    Z. Xu, Y. Wang, S. Frei, G. Vardi, W. Hu, "Benign overfitting and grokking
    in ReLU networks for XOR cluster data", ICLR 2024.

    Examples
    --------
    >>> run = train_xor(50, 500, 40, 10.0, n_steps=5, n_test=200, rng=0)
    >>> run.train_accuracy.shape
    (6,)
    """
    n = check_int(n_samples, "n_samples", low=1)
    d = check_int(dim, "dim", low=2)
    m = check_int(width, "width", low=1)
    rate = check_real(lr, "lr", low=0.0, open_low=True)
    scale = check_real(init_scale, "init_scale", low=0.0)
    steps = check_int(n_steps, "n_steps", low=0)
    fresh = check_int(n_test, "n_test", low=1)
    generator = as_generator(rng)
    # Points twice, initial weights, products with the data, and four arrays of activations at a time.
    words = 2 * (n + fresh) * d + m * d + (n + fresh) * n + 4 * (n + fresh) * m
    refuse_if_too_large("train_xor", 8 * words, "lower n_samples, n_test, dim or width")
    X, y, clean = xor_cluster_data(n, d, mu, flip, generator)
    T, _, truth = xor_cluster_data(fresh, d, mu, 0.0, generator)
    initial = generator.standard_normal((m, d))
    readout = generator.choice([-1.0, 1.0], size=m) / math.sqrt(m)
    with np.errstate(over="ignore", invalid="ignore"):  # told by a warning
        initial *= scale
        run, lost = _train(X, y, clean, T, truth, initial, readout, rate, steps)
    if lost is not None:
        from sklearn.exceptions import ConvergenceWarning

        warnings.warn(
            f"the outputs of train_xor are beyond double precision at step {lost} (lr={rate:g}, mu={mu:g}, "
            f"init_scale={scale:g}); the accuracies are NaN from there on; lower these",
            ConvergenceWarning,
            stacklevel=2,
        )
    return run


def _train(
    X: Array, y: Any, clean: Any, T: Array, truth: Any, initial: Array, readout: Array, lr: float, steps: int
) -> tuple[XORTraining, int | None]:
    """Descend in the span of the data, W = initial + moves X; also return the step of an overflow."""
    n = y.size
    points = np.concatenate([X, T])
    gram = points @ X.T
    start = points @ initial.T
    moves = np.zeros((readout.size, n))
    accuracies = np.full((3, steps + 1), math.nan)
    linearity, lost = math.nan, None
    for t in range(steps + 1):
        h = start + gram @ moves.T
        f = np.maximum(h, 0.0) @ readout
        if not np.all(np.isfinite(f)):
            lost = t
            break
        guess = np.where(f > 0, 1, -1)
        accuracies[:, t] = (
            np.mean(guess[:n] == y), np.mean(guess[n:] == truth), np.mean(guess[:n] == clean)
        )  # fmt: skip
        if t == 1 and truth.size > 1:
            linearity = _correlation(f[n:], gram[n:] @ y)
        # -dL/df = y sigma(-y f) / n, by a form that never overflows.
        force = y * 0.5 * (1.0 - np.tanh(0.5 * y * f[:n])) / n
        moves += lr * readout[:, None] * ((h[:n] > 0) * force[:, None]).T
    return XORTraining(accuracies[0], accuracies[1], accuracies[2], linearity), lost


def _correlation(a: Array, b: Array) -> float:
    """Return the correlation coefficient, NaN where one side does not vary."""
    # Of order one first, so that squares neither overflow nor vanish.
    a, b = (v / max(float(np.abs(v).max()), np.finfo(float).tiny) for v in (a, b))
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0 else math.nan
