"""Hot loops of the data-site process, one call per time step and block of samples.

Samples are cut into fixed blocks; each block sums into its own slot and the
slots are added in order, so the result has the same bits for any number of
threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from .._lib.jit import REASSOC, jit

#: Samples per block: small enough to share among threads, large enough to amortise the call.
BLOCK = 32


@jit(fastmath=REASSOC)
def psi_rows(
    lo: int, hi: int, t: int, c_eps: float, response: Any, delta: Any, psi: Any, offsets: Any, out: Any
) -> None:
    """Fill row t of Psi, eq. (5), for the samples lo..hi-1, in the packed triangle and in `out`."""
    for n in range(lo, hi):
        row = out[n]
        row[:] = 0.0
        row[t] = 1.0
        for tau in range(t):
            weight = -c_eps * response[tau] * delta[n, tau]
            past = psi[n, offsets[tau] : offsets[tau] + tau + 1]
            for s in range(tau + 1):
                row[s] += weight * past[s]
        kept = psi[n, offsets[t] : offsets[t] + t + 1]
        for s in range(t + 1):
            kept[s] = row[s]


@jit(fastmath=REASSOC)
def v_rows(lo: int, hi: int, t: int, right: Any, psi: Any, offsets: Any, v_row: Any) -> None:
    """Fill row t of V = Psi C_b Psi^T, where `right` holds row t of Psi C_b."""
    for n in range(lo, hi):
        for s in range(t + 1):
            past = psi[n, offsets[s] : offsets[s] + s + 1]
            total = 0.0
            for j in range(s + 1):
                total += past[j] * right[n, j]
            v_row[n, s] = total


@jit(fastmath=REASSOC)
def tangent_rows(
    lo: int, hi: int, block: int, t: int, first: int, size: int,
    response: Any, slope: Any, curve: Any, pull: Any, delta_now: Any, half_bulk: float, z_row: Any,
    dg: Any, dd: Any, offsets: Any, firsts: Any, counts: Any, sums: Any,
) -> None:  # fmt: skip
    """Fill row t of the tangents by chi_q(s), ``first <= s <= t``, and add up their averages, eq. (6).

    `response` is ``c Rw(t, tau)`` as (K, tau K); rows of the tangents are stored
    as (K, K, count) blocks at ``offsets[tau] K K``, those of dDelta at ``offsets[tau] K``.
    """
    count = t - first + 1
    dh = np.zeros((size, size, count))
    ddelta = np.zeros((size, count))
    sums[block, :, :, :count] = 0.0
    for n in range(lo, hi):
        dh[:] = 0.0
        ddelta[:] = 0.0
        for tau in range(first, t):
            length = counts[tau]
            lead = first - firsts[tau]  # windows only move on
            width = length - lead
            base = offsets[tau] * size * size
            for p in range(size):
                for q in range(size):
                    begin = base + (p * size + q) * length + lead
                    past = dg[n, begin : begin + width]
                    for r in range(size):
                        weight = -response[r, tau * size + p]
                        target = dh[r, q, :width]
                        for s in range(width):
                            target[s] += weight * past[s]
            if half_bulk != 0.0:
                weight = half_bulk * z_row[n, tau]
                for q in range(size):
                    begin = offsets[tau] * size + q * length + lead
                    old = dd[n, begin : begin + width]
                    target = ddelta[q, :width]
                    for s in range(width):
                        target[s] += weight * old[s]
        for r in range(size):
            dh[r, r, t - first] += 1.0
            weight = pull[n, r]
            for q in range(size):
                for s in range(count):
                    ddelta[q, s] += weight * dh[r, q, s]
        if half_bulk != 0.0:
            for q in range(size):
                begin = offsets[t] * size + q * count
                for s in range(count):
                    dd[n, begin + s] = ddelta[q, s]
        for p in range(size):
            own = slope[n, p]
            bend = curve[n, p] * delta_now[n]
            for q in range(size):
                begin = offsets[t] * size * size + (p * size + q) * count
                row = dg[n, begin : begin + count]
                total = sums[block, p, q]
                for s in range(count):
                    value = own * ddelta[q, s] + bend * dh[p, q, s]
                    row[s] = value
                    total[s] += value


def over_blocks(kernel: Any, n_samples: int, pool: ThreadPoolExecutor | None) -> None:
    """Call ``kernel(lo, hi, block)`` for every block of samples."""
    edges = range(0, n_samples, BLOCK)
    jobs = [(lo, min(lo + BLOCK, n_samples), k) for k, lo in enumerate(edges)]
    if pool is None:
        for job in jobs:
            kernel(*job)
    else:
        list(pool.map(lambda job: kernel(*job), jobs))


def threads() -> int:
    """Return how many threads Numba may use, which is how many the blocks are shared among."""
    return int(numba.get_num_threads())


def block_sums(n_samples: int, size: int, width: int) -> NDArray[np.float64]:
    """Allocate the slots of `tangent_rows`."""
    return np.zeros((-(-n_samples // BLOCK), size, size, width))
