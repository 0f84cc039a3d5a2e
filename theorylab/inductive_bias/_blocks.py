"""Run a kernel in calls so short that Ctrl-C is answered between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

# Seconds. Values differ in cost by a factor of about twenty: the call after cheap ones may last that longer.
_SHORT, _LONG = 0.02, 0.04
_FIRST = 20_000


def in_blocks(run: Callable[[slice], T], size: int, width: int) -> Iterator[tuple[slice, T]]:
    """Yield consecutive slices of range(size) with ``run(slice)``; `width` is the work for each value.

    A compiled call cannot be interrupted. Its length follows the time that the last one took.
    """
    step = max(1, _FIRST // (width + 16))
    start = 0
    while start < size:
        part = slice(start, min(size, start + step))
        begin = time.perf_counter()
        found = run(part)
        elapsed = time.perf_counter() - begin
        yield part, found
        start += step
        if elapsed < _SHORT:
            step *= 2
        elif elapsed > _LONG:
            step = max(1, step // 2)
