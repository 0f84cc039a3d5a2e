"""What the solver and the simulators return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._spec import Network, Task
from ._steps import elapsed

Array = NDArray[Any]


@dataclass(frozen=True)
class DMFTResult:
    """Hold the solution of the mean field equations; T steps, K coherent rows.

    Attributes
    ----------
    train_loss, test_loss : ndarray, shape (T,)
        ``E Delta^2`` on the training set and on fresh inputs, without a factor 1/2.
    overlap : ndarray, shape (T, K)
        ``w_r . beta / D``. Rows are the neurons, or for the infinite width the
        mean s and (with a spike) the spike p.
    correlation : ndarray, shape (T, T, K, K)
        ``w_r(t) . w_q(s) / D`` at ``[t, s, r, q]``.
    response : ndarray, shape (T, T, K, K)
        Response of ``w_r(t)`` to a kick of ``w_q`` in the step s -> s+1; zero for s >= t.
    force_correlation, force_response : ndarray, shape (T, T, K, K)
        ``E g_r(t) g_q(s)`` and ``E d g_r(t) / d chi_q(s)``.
    components : ndarray, shape (T, 3), or None
        Linear, misalignment and trace part of the test loss; None for smooth networks or tasks.
    bulk_correlation, bulk_response : ndarray, shape (T, T), or None
        Of the infinitely many incoherent neurons.
    time : ndarray, shape (T,)
        Sum of the step sizes up to each reported step.
    diagnostics : dict
        `smallest_schur` (relative; near or above 0 is sound), `rank` of the
        factorised covariance, `predicted_bytes`, `diverged_at` (None or a step),
        `largest_rise` of the train loss in one step, `truncation_error` of the test loss
        (None for whole memory), the number of `sweeps` (1 for the forward method), and
        the settings of the run.
    """

    spec: Network
    prob: Task
    kappa: float | tuple[float, ...]
    train_loss: Array
    test_loss: Array
    overlap: Array
    correlation: Array
    response: Array
    force_correlation: Array
    force_response: Array
    components: Array | None
    bulk_correlation: Array | None = None
    bulk_response: Array | None = None
    diagnostics: dict[str, Any] = field(default_factory=dict)

    @property
    def time(self) -> Array:
        """Sum of the step sizes up to each reported step, shape (T,)."""
        return elapsed(self.kappa, self.train_loss.size)


@dataclass(frozen=True)
class SimulationResult:
    """Hold an ensemble of simulated networks, the axis of the ensemble first.

    Attributes
    ----------
    train_loss, test_loss : ndarray, shape (n_seeds, T)
    overlap : ndarray, shape (n_seeds, T, K)
    components : ndarray, shape (n_seeds, T, 3), or None
    final_weights : ndarray, shape (n_seeds, N, D), or None
        After the last reported step; None for the infinite width.
    dim : int
    time : ndarray, shape (T,)
    """

    spec: Network
    prob: Task
    kappa: float | tuple[float, ...]
    dim: int
    train_loss: Array
    test_loss: Array
    overlap: Array
    components: Array | None
    final_weights: Array | None = None

    @property
    def n_seeds(self) -> int:
        """Number of networks in the ensemble."""
        return int(self.train_loss.shape[0])

    @property
    def time(self) -> Array:
        """Sum of the step sizes up to each reported step, shape (T,)."""
        return elapsed(self.kappa, self.train_loss.shape[1])


def pairs(big: Array, size: int, dtype: np.dtype) -> Array:
    """Reorder a (T K, T K) matrix into (T, T, K, K)."""
    steps = big.shape[0] // size
    return np.ascontiguousarray(big.reshape(steps, size, steps, size).transpose(0, 2, 1, 3), dtype=dtype)
