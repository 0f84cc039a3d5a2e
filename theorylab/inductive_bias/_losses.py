"""Errors of sampled predictions under each loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOSSES = ("mse", "mae", "zero_one")

Loss = str | Callable[[NDArray[Any], NDArray[Any]], Any]


def losses(loss: Loss, predictions: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """Return one error for each sampled prediction."""
    if callable(loss):
        errors = np.asarray(loss(predictions, y), dtype=np.float64)
        if errors.shape != predictions.shape[:1]:
            raise ValueError(f"loss returned shape {errors.shape}, expected {predictions.shape[:1]}")
        return errors
    if loss == "mse":
        # Overflow is told at the door of the fit.
        with np.errstate(over="ignore"):
            return np.asarray(np.mean((predictions - y) ** 2, axis=(1, 2)))
    if loss == "mae":
        return np.asarray(np.mean(np.abs(predictions - y), axis=(1, 2)))
    if y.shape[1] == 1:
        return np.asarray(np.mean((predictions > 0.0) != (y > 0.0), axis=(1, 2)))
    return np.asarray(np.mean(np.argmax(predictions, axis=2) != np.argmax(y, axis=1), axis=1))
