"""Prune weights one at a time inside small blocks, with exact rank-one downdates of the inverse."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .._lib.jit import jit
from ._factor import cholesky
from ._parallel import serial_blas

__all__ = ["MAX_BLOCK", "greedy_set"]

#: Largest block that is eliminated weight by weight; the cost is b^3 a block.
MAX_BLOCK = 256


@jit
def eliminate(inverse: NDArray[np.float64], w: NDArray[np.float64], n: int) -> tuple[NDArray, NDArray]:
    """Remove `n` weights, cheapest first, and return (order, increase of each removal); overwrites both."""
    b = w.size
    alive = np.ones(b, dtype=np.bool_)
    order = np.empty(n, dtype=np.int64)
    cost = np.empty(n, dtype=np.float64)
    for step in range(n):
        p, best = -1, np.inf
        for j in range(b):
            if alive[j]:
                rho = 0.5 * w[j] * w[j] / inverse[j, j]
                if p < 0 or rho < best:
                    p, best = j, rho
        order[step], cost[step] = p, best
        alive[p] = False
        pivot = inverse[p, p]
        shift = w[p] / pivot
        for i in range(b):
            if alive[i]:
                w[i] -= inverse[i, p] * shift
                factor = inverse[i, p] / pivot
                for j in range(b):
                    inverse[i, j] -= factor * inverse[p, j]
        w[p] = 0.0
    return order, cost


def dense_inverse(G: NDArray[np.float64], lam: float) -> NDArray[np.float64]:
    """Return ``(lam I + G^T G)^-1`` of a small block."""
    return np.asarray(cholesky(G.T @ G, np.full(G.shape[1], lam), lam).inverse())


def greedy_set(
    blocks: Iterable[tuple[int, NDArray[np.float64]]],
    w: NDArray[np.float64],
    live: NDArray[np.bool_],
    n: int,
    damping: float,
) -> NDArray[np.int64]:
    """Choose `n` live weights: exact elimination inside each block, then one order over all blocks.

    `blocks` yields (first column, rows of the block (m, b), divided by the root
    of their share). A block gives its weights away in the order in which it
    eliminated them. What is compared between blocks is the running maximum of
    the increases, which is what removing one weight after the other from all
    blocks together would see.
    """
    index, key = [], []
    for start, G in blocks:
        alive = np.flatnonzero(live[start : start + G.shape[1]])
        with serial_blas():
            inverse = dense_inverse(G[:, alive], damping)
        order, increase = eliminate(inverse, w[start + alive], min(n, alive.size))
        index.append(start + alive[order])
        key.append(np.maximum.accumulate(increase))
    candidates = np.concatenate(index)
    return candidates[np.argsort(np.concatenate(key), kind="stable")[:n]]
