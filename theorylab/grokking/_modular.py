"""Modular addition: data, the analytic solution in Fourier weights, and what neurons look like."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._lib.backend import namespace
from .._lib.checks import as_float_array, check_int, check_real
from .._lib.memory import refuse_if_too_large
from .._lib.rng import RNGLike, as_generator

Weights = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class ModularData:
    """Hold all p^2 sums modulo p, and which of them are trained on.

    Attributes
    ----------
    pairs : ndarray of int, shape (p^2, 2)
        All (a, b), b running fastest.
    labels, true_labels : ndarray of int, shape (p^2,)
        Labels to train on, some of them corrupted, and ``(a + b) mod p``.
    train, test : ndarray of int
        Sorted indices into the above.
    corrupted : ndarray of int
        Training indices whose label was redrawn, by chance perhaps to the true one.
    p : int
    """

    p: int
    pairs: NDArray[np.int64]
    labels: NDArray[np.int64]
    true_labels: NDArray[np.int64]
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    corrupted: NDArray[np.int64]


def modular_dataset(
    p: int, train_fraction: float, corruption: float = 0.0, rng: RNGLike = None
) -> ModularData:
    """Split all sums modulo p into a training and a test set.

    Parameters
    ----------
    p : int
        Modulus, at least 2.
    train_fraction : float
        In (0, 1]; ``int(train_fraction p^2)`` pairs are trained on.
    corruption : float
        Fraction of the training labels that are redrawn uniformly, in [0, 1].
    rng : None, int, SeedSequence or Generator

    Returns
    -------
    ModularData

    Raises
    ------
    ValueError, TypeError
        For arguments out of range or of another kind, or no training pair at all.
    MemoryError
        Where the table does not fit, before it is made.

    Examples
    --------
    >>> data = modular_dataset(5, 0.6, rng=0)
    >>> data.pairs.shape, data.train.size, data.test.size
    ((25, 2), 15, 10)
    """
    p = check_int(p, "p", low=2)
    fraction = check_real(train_fraction, "train_fraction", low=0.0, high=1.0, open_low=True)
    noise = check_real(corruption, "corruption", low=0.0, high=1.0)
    generator = as_generator(rng)
    count = int(fraction * p**2)
    if count < 1:
        raise ValueError(
            f"train_fraction = {fraction:g} of {p * p} pairs leaves none to train on; enlarge it"
        )
    # Pairs, labels, truth, order, and what is in flight while they are stacked and sorted.
    refuse_if_too_large("modular_dataset", 8 * 10 * p * p, "lower p")
    first, second = np.divmod(np.arange(p * p, dtype=np.int64), p)
    truth = (first + second) % p
    order = generator.permutation(p * p)
    train, test = np.sort(order[:count]), np.sort(order[count:])
    labels = truth.copy()
    corrupted = np.sort(generator.permutation(train)[: round(noise * count)])
    labels[corrupted] = generator.integers(p, size=corrupted.size)
    return ModularData(p, np.stack([first, second], axis=1), labels, truth, train, test, corrupted)


def fourier_solution(p: int, width: int, rng: RNGLike = None) -> Weights:
    """Return weights that solve addition modulo p, one frequency per neuron.

    Parameters
    ----------
    p : int
        Modulus, at least 3.
    width : int
        Number N of hidden neurons. All pairs are right from N of about 5 p on.
    rng : None, int, SeedSequence or Generator
        For the phases.

    Returns
    -------
    U, V, W : ndarray, shape (p, N)
        Logits of pairs (a, b) are ``((U[a] + V[b])**2) @ W.T``; that of the
        right class is 1 on average.

    Raises
    ------
    ValueError
        For p < 3, which leaves no frequency, or a width below 1.
    MemoryError
        Where the weights do not fit, before they are made.

    Notes
    -----
    With ``A = (2/N)^(1/3)`` the columns are ``A cos(omega a + phi1)``,
    ``A cos(omega b + phi2)`` and ``A cos(omega c + phi1 + phi2)``. Costs ``3 p N``.

    References
    ----------
    A. Gromov, "Grokking modular arithmetic", arXiv 2301.02679.

    Examples
    --------
    >>> U, V, W = fourier_solution(23, 500, rng=0)
    >>> float(inverse_participation_ratio(U).min().round(12))
    1.0
    """
    p = check_int(p, "p", low=3)
    width = check_int(width, "width", low=1)
    generator = as_generator(rng)
    # Three weights, the angles, and two arrays in flight.
    refuse_if_too_large("fourier_solution", 8 * 6 * p * width, "lower p or width")
    highest = (p - 1) // 2
    frequency = 1 + np.arange(width) % highest
    phases = generator.uniform(0.0, 2.0 * math.pi, size=(2, width))
    amplitude = (2.0 / width) ** (1.0 / 3.0)
    angle = (2.0 * math.pi / p) * (np.outer(np.arange(p), frequency) % p)
    U, V, W = (amplitude * np.cos(angle + shift) for shift in (phases[0], phases[1], phases[0] + phases[1]))
    return U, V, W


def modular_logits(weights: Weights, pairs: ArrayLike) -> NDArray[Any]:
    """Return the network's output for pairs of residues.

    Parameters
    ----------
    weights : (U, V, W), each of shape (p, N)
    pairs : array_like of int, shape (n, 2)

    Returns
    -------
    ndarray, shape (n, p)
        ``((U[a] + V[b])**2) @ W.T``. Costs ``2 n N p`` operations.

    Examples
    --------
    >>> import numpy as np
    >>> weights = fourier_solution(11, 400, rng=0)
    >>> int(np.argmax(modular_logits(weights, [[7, 9]])))
    5
    """
    U, V, W = check_weights(weights)
    index = np.asarray(pairs)
    if index.dtype.kind not in "iu":
        raise TypeError(f"pairs has dtype {index.dtype}, expected integers")
    if index.ndim != 2 or index.shape[1] != 2:
        raise ValueError(f"pairs has shape {index.shape}, expected (n, 2)")
    if index.size and (index.min() < 0 or index.max() >= U.shape[0]):
        raise ValueError(
            f"pairs must hold residues 0 .. {U.shape[0] - 1}, got {index.min()} .. {index.max()}"
        )
    hidden = U[index[:, 0]] + V[index[:, 1]]
    return np.asarray((hidden * hidden) @ W.T)


def check_weights(weights: Any) -> Weights:
    """Validate a triple (U, V, W) of equally shaped matrices."""
    if not isinstance(weights, (tuple, list)) or len(weights) != 3:
        raise TypeError("weights must be the triple (U, V, W)")
    U, V, W = (as_float_array(w, name, ndim=2) for w, name in zip(weights, "UVW"))
    if not U.shape == V.shape == W.shape:
        raise ValueError(
            f"U, V, W have shapes {U.shape}, {V.shape}, {W.shape}, expected three equal ones (p, N)"
        )
    return U, V, W


def inverse_participation_ratio(x: ArrayLike, axis: int = 0) -> Any:
    """Measure how few frequencies make up a vector.

    Parameters
    ----------
    x : array_like
        Real; a CuPy array gives a CuPy array.
    axis : int
        Axis of the Fourier transform.

    Returns
    -------
    float or ndarray
        ``sum F^4 / (sum F^2)^2`` with ``F = |rfft(x)|``, in (0, 1]; 1 for a single
        cosine, NaN for a vector of zeros. Costs one Fourier transform.

    Raises
    ------
    ValueError
        For an empty axis or one that does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(inverse_participation_ratio(np.cos(2 * np.pi * np.arange(7) / 7))), 12)
    1.0
    """
    xp = namespace(x)
    array = xp.asarray(x) if xp is not np else as_float_array(x, "x")
    axis = check_int(axis, "axis")
    if array.ndim == 0 or not -array.ndim <= axis < array.ndim:
        raise ValueError(f"axis = {axis} does not exist in an array of shape {array.shape}")
    if array.shape[axis] == 0:
        raise ValueError(f"x has shape {array.shape}, expected at least one entry along axis {axis}")
    # Scaling first keeps the fourth powers from overflowing or vanishing.
    size = xp.max(xp.abs(array), axis=axis, keepdims=True)
    power = xp.abs(xp.fft.rfft(array / xp.where(size > 0, size, 1.0), axis=axis)) ** 2
    total = xp.sum(power, axis=axis)
    ratio = xp.sum(power * power, axis=axis) / xp.where(total > 0, total, xp.nan) ** 2
    ratio = ratio.astype(array.dtype)
    return float(ratio) if ratio.ndim == 0 and xp is np else ratio


def prune_by_ipr(weights: Weights, fraction: float, lowest: bool = True) -> Weights:
    """Remove the neurons whose weights spread over the most (or fewest) frequencies.

    Parameters
    ----------
    weights : (U, V, W), each of shape (p, N)
    fraction : float
        In [0, 1]; ``round(fraction N)`` neurons are set to zero in copies of the weights.
    lowest : bool
        Prune the lowest inverse participation ratios (memorising neurons) or the highest.

    Returns
    -------
    (U, V, W)

    Notes
    -----
    A neuron's score is the mean over its columns of U, V and W. Costs three
    Fourier transforms of the weights.

    References
    ----------
    D. Doshi, A. Das, T. He, A. Gromov, "To grok or not to grok", ICLR 2024.

    Examples
    --------
    >>> import numpy as np
    >>> weights = fourier_solution(11, 10, rng=0)
    >>> pruned = prune_by_ipr(weights, 0.5)
    >>> int(np.sum(np.any(pruned[0] != 0, axis=0)))
    5
    """
    U, V, W = check_weights(weights)
    share = check_real(fraction, "fraction", low=0.0, high=1.0)
    if not isinstance(lowest, (bool, np.bool_)):
        raise TypeError(f"lowest must be True or False, got {lowest!r}")
    score = neuron_scores((U, V, W))
    # Neurons that are already zero score NaN: the first to go when the lowest are pruned, the last otherwise.
    score = np.where(np.isnan(score), -1.0, score)
    order = np.argsort(score if lowest else -score, kind="stable")
    gone = order[: round(share * U.shape[1])]
    pruned = (U.copy(), V.copy(), W.copy())
    for matrix in pruned:
        matrix[:, gone] = 0.0
    return pruned


def neuron_scores(weights: Weights) -> NDArray[Any]:
    """Return the mean inverse participation ratio of each neuron's three columns.

    Parameters
    ----------
    weights : (U, V, W), each of shape (p, N)

    Returns
    -------
    ndarray, shape (N,)
        NaN for neurons with a vanishing column.

    Examples
    --------
    >>> float(neuron_scores(fourier_solution(11, 4, rng=0)).min().round(10))
    1.0
    """
    U, V, W = check_weights(weights)
    return np.asarray(np.mean([inverse_participation_ratio(m, axis=0) for m in (U, V, W)], axis=0))
