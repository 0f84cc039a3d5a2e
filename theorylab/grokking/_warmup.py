"""Small calls that compile the kernels of this package, float32 and float64."""

from __future__ import annotations

import numpy as np

from . import modular_dataset, train_modular, train_xor


def warmup() -> None:
    """Compile the training loops into the cache."""
    data = modular_dataset(5, 0.6, rng=0)
    for dtype in (np.float32, np.float64):
        train_modular(data, 8, 2, rng=0, dtype=dtype)
    train_xor(20, 30, 4, 2.0, n_steps=2, n_test=10, rng=0)
