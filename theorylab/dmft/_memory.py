"""Predict the memory of a run, and refuse one that cannot fit."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

import numpy as np


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
    columns = T * K if sampler == "cholesky" else 5 + 3 * K
    kept = 2 * T * K + T + (2 * T if bulk else 2) + 28 + min(16, T * K) + columns + 2 * K
    # In flight: tangents by u and chi(0), or whole rows of the bulk, or the random start.
    flight = max(3 * (1 + K) * K + 4 * K, 4 * T if bulk else 0)
    blocks = -(-n_samples // 32) * K * K * window
    copies = 4 * cell if K > 1 or cell == 4 else 0  # one row in double precision is handed out as it is
    tables = (4 * 8 + copies) * (T * K) ** 2 + (4 * 8 + 2 * cell if bulk else 0) * T * T
    total = n_samples * (histories + 8 * (kept + flight)) + 8 * blocks + tables
    return total + total // 64  # objects, small arrays and the allocator


def available_bytes() -> float:
    """Return how much memory this process may still take; infinity where the system does not tell."""
    bounds = []
    with suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        bounds += [1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text().strip()
        bounds.append(float(limit) - float(used))
    if not bounds and hasattr(os, "sysconf"):
        with suppress(OSError, ValueError):
            bounds.append(float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES")))
    return max(0.0, min(bounds)) if bounds else math.inf


def human(size: float) -> str:
    """Write bytes with a unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"


def refuse_if_too_large(function: str, needed: int, advice: str) -> None:
    """Raise MemoryError with the predicted size, before anything is allocated."""
    room = available_bytes()
    if needed > room:
        raise MemoryError(f"{function} would need {human(needed)}, but {human(room)} are available; {advice}")
