"""Train the quadratic network on modular sums, in blocks that stay in cache."""

from __future__ import annotations

import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._lib.checks import check_int, check_real
from .._lib.memory import refuse_if_too_large
from .._lib.rng import RNGLike, as_generator
from .._lib.threads import one_blas_thread
from ._modular import ModularData, Weights

#: Bytes of hidden activations that go forward and backward together.
CACHED = 1 << 19
#: Parts of the training set with gradients of their own; they are added in order, whatever the threads.
PARTS = 4
BETAS, TINY = (0.9, 0.98), 1e-8
#: Bytes of Python objects of any training, whatever its size.
OBJECTS = 64 * 1024
#: Train loss that counts as divergence; that of predicting nothing is 1/p.
BLOW_UP = 1e6


@dataclass(frozen=True)
class ModularTraining:
    """Hold the course of a training run; M logged epochs.

    Attributes
    ----------
    epochs : ndarray of int, shape (M,)
        Numbers of updates made; 0 and the last are among them.
    train_loss, train_accuracy, test_accuracy : ndarray, shape (M,)
        The loss is the mean square over all entries of the output. Accuracies
        are those on the labels of the data set, for the test set the true ones
        (NaN where it is empty). All are NaN from a divergence on.
    weights : (U, V, W), each of shape (p, N)
    """

    epochs: NDArray[np.int64]
    train_loss: NDArray[np.float64]
    train_accuracy: NDArray[np.float64]
    test_accuracy: NDArray[np.float64]
    weights: Weights


class _Part:
    """A part of the training pairs with its gradient."""

    def __init__(self, pairs: Any, labels: Any, p: int, width: int, dtype: np.dtype) -> None:
        self.first, self.second = (np.ascontiguousarray(pairs[:, k]) for k in range(2))
        self.labels = np.ascontiguousarray(labels)
        self.gradients = tuple(np.empty((p, width), dtype) for _ in range(3))
        rows = _rows(len(labels), width, dtype)
        self.hidden, self.square, self.back = (np.empty((rows, width), dtype) for _ in range(3))
        self.output = np.empty((rows, p), dtype)
        self.product = np.empty((p, width), dtype)
        self.rows = rows

    def evaluate(self, weights: Weights, learn: bool) -> tuple[float, int]:
        """Return the summed squared error and the number of right answers; fill the gradients."""
        from ._kernels import gather, residual, scatter

        U, V, W = weights
        total, right = 0.0, 0
        if learn:
            for gradient in self.gradients:
                gradient[:] = 0
        for lo in range(0, len(self.labels), self.rows):
            cut = slice(lo, min(lo + self.rows, len(self.labels)))
            n = cut.stop - lo
            a, b = self.first[cut], self.second[cut]
            h, z, out = self.hidden[:n], self.square[:n], self.output[:n]
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # told by the loss; threads know no other's state
                gather(U, V, a, b, h, z)
                np.matmul(z, W.T, out=out)
                loss, hits = residual(out, self.labels[cut])
                total, right = total + loss, right + hits
                if learn:
                    np.matmul(out, W, out=self.back[:n])
                    np.matmul(out.T, z, out=self.product)
                    self.gradients[2][:] += self.product
                    scatter(h, self.back[:n], a, b, self.gradients[0], self.gradients[1])
        return total, right


def train_modular(
    data: ModularData,
    width: int,
    epochs: int,
    *,
    lr: float = 1e-2,
    weight_decay: float = 0.0,
    log_every: int = 10,
    rng: RNGLike = None,
    dtype: DTypeLike = np.float32,
) -> ModularTraining:
    """Train a quadratic network on modular sums by full-batch AdamW.

    Parameters
    ----------
    data : ModularData
    width : int
        Number N of hidden neurons.
    epochs : int
        Updates, >= 0.
    lr : float
        Learning rate, > 0.
    weight_decay : float
        Decoupled: weights shrink by the factor ``1 - lr weight_decay`` per update.
    log_every : int
        Epochs between entries of the log.
    rng : None, int, SeedSequence or Generator
        For the initial weights, of standard deviation ``0.5 / (2 N)^(1/3)``.
    dtype : float32 or float64

    Returns
    -------
    ModularTraining

    Raises
    ------
    ValueError, TypeError
        For arguments out of range or of another kind.
    MemoryError
        Where weights and gradients do not fit, before training.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        Where training diverges; the log ends in NaN, and the weights are the last ones reached.

    Notes
    -----
    The output is ``W (U_a + V_b)^2``, the loss its mean square distance to the
    one-hot labels, betas are (0.9, 0.98). One epoch costs three products of
    ``2 n N p`` operations; no one-hot matrix is built. The result has the same
    bits for any number of threads.

    References
    ----------
    D. Doshi, A. Das, T. He, A. Gromov, "To grok or not to grok", ICLR 2024.

    Examples
    --------
    >>> from theorylab.grokking import modular_dataset, train_modular
    >>> run = train_modular(modular_dataset(7, 0.8, rng=0), 32, 25, rng=0)
    >>> run.epochs.tolist()
    [0, 10, 20, 25]
    """
    if not isinstance(data, ModularData):
        raise TypeError(f"data must come from modular_dataset, got {type(data).__name__}")
    width = check_int(width, "width", low=1)
    epochs = check_int(epochs, "epochs", low=0)
    rate = check_real(lr, "lr", low=0.0, open_low=True)
    decay = check_real(weight_decay, "weight_decay", low=0.0)
    every = check_int(log_every, "log_every", low=1)
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be float32 or float64, got {dtype!r}") from None
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype must be float32 or float64, got {kind}")
    generator = as_generator(rng)
    p = data.p
    refuse_if_too_large("train_modular", _bytes(data, width, kind), "lower the width")
    sd = 0.5 / (2.0 * width) ** (1.0 / 3.0)
    U, V, W = ((sd * generator.standard_normal((p, width))).astype(kind) for _ in range(3))
    return _descend(data, (U, V, W), epochs, rate, decay, every, kind)


def _rows(count: int, width: int, dtype: np.dtype) -> int:
    """Return how many of `count` pairs go forward and backward together."""
    return max(16, min(count, CACHED // (width * dtype.itemsize)))


def _pieces(count: int) -> int:
    """Return into how many parts the pairs are cut, which depends on their number alone."""
    return PARTS if count >= 512 else min(count, 1)


def _bytes(data: ModularData, width: int, dtype: np.dtype) -> int:
    """Return what a training holds: weights with two moments, and for every part gradients and blocks."""
    p = data.p
    total = 9 * p * width * dtype.itemsize
    for count in (data.train.size, data.test.size):
        pieces = _pieces(count)
        rows = _rows(-(-count // max(1, pieces)), width, dtype)
        total += pieces * dtype.itemsize * (4 * p * width + rows * (3 * width + p)) + 8 * 4 * count
    return OBJECTS + total + total // 64


def _warn(epoch: int, lr: float, decay: float) -> None:
    """Tell about divergence."""
    from sklearn.exceptions import ConvergenceWarning

    warnings.warn(
        f"train_modular diverged at epoch {epoch} (lr={lr:g}, weight_decay={decay:g}); "
        "the log is NaN from there on; lower lr, or weight_decay below 1/lr",
        ConvergenceWarning,
        stacklevel=4,
    )


def _split(data: ModularData, index: Any, labels: Any, width: int, dtype: np.dtype) -> list[_Part]:
    """Cut pairs into parts."""
    pieces = np.array_split(index, _pieces(index.size)) if index.size else []
    return [_Part(data.pairs[i], labels[i], data.p, width, dtype) for i in pieces]


def _descend(
    data: ModularData, weights: Weights, epochs: int, lr: float, decay: float, every: int, dtype: np.dtype
) -> ModularTraining:
    """Run AdamW and log."""
    from ._kernels import adamw, threads

    p, width = weights[0].shape
    parts = _split(data, data.train, data.labels, width, dtype)
    check = _split(data, data.test, data.true_labels, width, dtype)
    first, second = (tuple(np.zeros_like(w) for w in weights) for _ in range(2))
    n = data.train.size
    log: list[tuple[int, float, float, float]] = []
    workers = min(threads(), len(parts))
    with one_blas_thread(), ThreadPoolExecutor(max(1, workers)) as pool:

        def evaluate(group: list[_Part], learn: bool) -> tuple[float, int]:
            run = pool.map if workers > 1 else map
            results = list(run(lambda part: part.evaluate(weights, learn), group))
            return sum(r[0] for r in results), sum(r[1] for r in results)

        for epoch in range(epochs + 1):
            learn = epoch < epochs
            noted = epoch % every == 0 or not learn
            loss, right = evaluate(parts, learn)
            if not loss / (n * p) < BLOW_UP:
                _warn(epoch, lr, decay)
                rest = [e for e in range(epoch, epochs + 1) if e % every == 0 or e == epochs]
                log += [(e, math.nan, math.nan, math.nan) for e in rest]
                break
            if noted:
                hits = evaluate(check, False)[1] / data.test.size if data.test.size else float("nan")
                log.append((epoch, loss / (n * p), right / n, hits))
            if not learn:
                break
            power = [1.0 - beta ** (epoch + 1) for beta in BETAS]
            settings = (2.0 / (n * p), 1.0 - lr * decay, lr / power[0], power[1] ** -0.5, *BETAS, TINY)
            for k, w in enumerate(weights):
                gradient = parts[0].gradients[k]
                for part in parts[1:]:
                    gradient += part.gradients[k]
                with np.errstate(over="ignore", invalid="ignore"):  # told by the next loss
                    adamw(
                        *(a.reshape(-1) for a in (w, gradient, first[k], second[k])),
                        *(dtype.type(v) for v in settings),
                    )
    when, loss_log, right_log, test_log = (np.asarray(column) for column in zip(*log))
    return ModularTraining(when.astype(np.int64), loss_log, right_log, test_log, weights)
