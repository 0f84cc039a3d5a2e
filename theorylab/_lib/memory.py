"""Refuse a run that cannot fit, before anything is allocated."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

__all__ = ["available_bytes", "human", "refuse_if_too_large"]


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
