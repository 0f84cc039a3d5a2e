"""Predict the memory of a run."""

from __future__ import annotations

import numpy as np

#: Bytes of Python objects and small arrays of any run, whatever its size; 10 to 20 thousand were measured.
OBJECTS = 24 * 1024


def tangent_words(size: int, bulk: bool, n_steps: int, memory: int | None) -> int:
    """Return the words per sample of the stored tangents, a packed triangle or a ring."""
    window = n_steps if memory is None else min(memory, n_steps)
    entries = n_steps * (n_steps - 1) // 2 if window >= n_steps else window * window
    return entries * (size * size + (size if bulk else 0))


def solver_bytes(
    size: int, bulk: bool, n_steps: int, n_samples: int, dtype: np.dtype, memory: int | None, sampler: str
) -> int:
    """Return the bytes that `dmft_solve` will hold at its peak; never below, by 10 % above at most.

    Runs below a few megabytes take what they take; for these the estimate is an upper one.
    """
    T, K, cell = n_steps, size, dtype.itemsize
    window = T if memory is None else min(memory, T)
    tangents = tangent_words(K, bulk, T, memory) + (1 + K) * T * (K + bulk)  # by chi(s); by u and chi(0)
    histories = cell * (tangents + (T * (T + 1) // 2 if bulk else 0))
    # Paths, forces, residuals, rows of V and Z; the powers of u, first columns, and what the samplers keep.
    columns, drawn = (T * K, T * K) if sampler == "cholesky" else (5 + 3 * K, K + 1)
    kept = 2 * T * K + T + (2 * T if bulk else 2) + 28 + min(16, drawn) + columns + 2 * K
    # In flight: tangents by u and chi(0) with all that makes them, or whole rows of the bulk.
    flight = max(3 * (1 + K) * K + 7 * K + 1, 4 * T if bulk else 0)
    blocks = -(-n_samples // 32) * K * K * window
    copies = 4 * cell if K > 1 or cell == 4 else 0  # one row in double precision is handed out as it is
    tables = (4 * 8 + copies) * (T * K) ** 2 + (4 * 8 + 2 * cell if bulk else 0) * T * T
    total = n_samples * (histories + 8 * (kept + flight)) + 8 * blocks + tables
    return OBJECTS + total + total // 64  # a little more for the allocator
