"""Invert a log-tail by Newton's method inside a bracket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Function = Callable[[NDArray[Any]], NDArray[Any]]

# exp(-708) is the smallest normal number: a quantile nearer to a finite end is that end.
_FARTHEST = 708.0


def solve_tail(
    target: NDArray[Any],
    mean: float,
    spread: float,
    sign: float,
    bounded: bool,
    log_tail: Function,
    log_pdf: Function,
) -> NDArray[Any]:
    """Return z on the side `sign` of the mean where the log of that side's tail equals `target`.

    The unknown r runs from 0 at the mean outwards: z = mean exp(-r) towards a
    finite end at 0, else z = mean +- spread r.
    """

    def place(r: NDArray[Any]) -> NDArray[Any]:
        return mean * np.exp(-r) if bounded else mean + sign * spread * r

    r = np.full(target.size, 0.1)
    low, high = np.zeros(target.size), np.full(target.size, np.inf)
    for _ in range(200):
        z = place(r)
        value = log_tail(z)
        excess = value - target
        # In the logarithm: next to a finite end the density itself may overflow.
        with np.errstate(divide="ignore"):
            slope = np.exp(log_pdf(z) - value + np.log(np.abs(z) if bounded else spread))
        low, high = np.where(excess > 0, r, low), np.where(excess > 0, high, r)
        with np.errstate(divide="ignore", invalid="ignore"):
            new = r + excess / slope
        outside = ~((new > low) & (new < high))
        middle = np.where(np.isfinite(high), 0.5 * (low + high), 4.0 * low + 0.1)
        new = np.where(outside, middle, np.minimum(new, 8.0 * r + 1.0))
        if bounded:
            new = np.minimum(new, _FARTHEST)
        settled = np.abs(new - r) <= 4e-16 * np.maximum(1.0, r)
        done = settled | (np.abs(excess) <= 2e-16 * np.abs(target))
        r = np.where(done, r, new)
        if done.all():
            break
    found = place(r)
    return np.where(r >= _FARTHEST, 0.0, found) if bounded else found
