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
    """Return the bytes that `dmft_solve` will hold at its peak (an upper estimate within about 20 %)."""
    per_sample = tangent_words(size, bulk, n_steps, memory)
    per_sample += (1 + size) * (size + 1) * n_steps  # tangents by u and by chi(0)
    if bulk:
        per_sample += n_steps * (n_steps + 1) // 2  # Psi
    work = n_samples * (3 * size * n_steps + 4 * n_steps + 64)  # paths, forces, residuals, rows in flight
    if sampler == "recursion":
        work += 8 * n_samples * size
    order = 6 * (n_steps * size) ** 2 + (8 * n_steps * n_steps if bulk else 0)
    return per_sample * n_samples * dtype.itemsize + 8 * (work + order)


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
