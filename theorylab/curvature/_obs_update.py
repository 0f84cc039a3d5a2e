"""The two ways to move the kept weights: exactly for all removed ones, or one by one as published."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError

from ._factor import cholesky
from ._inverse import FisherInverse
from ._operator import DUAL_AT_MOST
from ._parallel import serial_blas, times
from ._rows import Rows

__all__ = ["column_blocks", "independent_update", "joint_update", "row_share"]

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

_TILE = 8192  # columns of a block that are held in float64 at once


def column_blocks(inv: FisherInverse) -> Iterator[tuple[int, int, Rows]]:
    """Yield first column, end and rows of each block."""
    stop = 0
    for size in inv.blocks:
        start, stop = stop, stop + size
        yield start, stop, inv._rows.part(start, stop)


def row_share(inv: FisherInverse) -> Float:
    """Return N over the weight of each row, (m,): ``A = lam I + G^T diag(1/share) G``."""
    return inv._parts[0][1].share


def independent_update(
    inv: FisherInverse, w: Float, keep: Mask, g: Float | None, diagonal: Float
) -> tuple[Float, float]:
    """Published update, exact where one weight is removed; the increase is the model's where it ends."""
    step = np.zeros_like(w) if g is None else -np.asarray(inv.solve(g))
    t = np.where(keep, 0.0, -(w + step) / diagonal)
    delta = step + np.asarray(inv.solve(t))
    delta[~keep] = -w[~keep]
    increase = 0.5 * float(times(delta, np.asarray(inv.forward() @ delta)))
    return delta, increase + (0.0 if g is None else float(times(g, delta)))


def joint_update(inv: FisherInverse, w: Float, keep: Mask, g: Float | None) -> tuple[Float, float]:
    """Exact constrained minimiser, block by block."""
    delta = np.where(keep, 0.0, -w)
    increase = 0.0
    share = row_share(inv)
    for a, b, rows in column_blocks(inv):
        # A itself would overflow where the rows were scaled down, which shows in a tiny share.
        few = np.count_nonzero(keep[a:b]) <= inv.m and share.min(initial=1.0) > 1e-152
        part = None if g is None else g[a:b]
        arguments = (rows, share, inv.damping, w[a:b], keep[a:b], part, delta[a:b])
        with serial_blas():
            try:
                increase += (_joint_primal if few else _joint_dual)(*arguments)
            except LinAlgError:
                if not few or inv.m > DUAL_AT_MOST:
                    raise
                # Rows of very different lengths, which K can hold and A cannot.
                increase += _joint_dual(*arguments)
    return delta, increase


def _joint_primal(
    rows: Rows, share: Float, lam: float, w: Float, keep: Mask, g: Float | None, delta: Float
) -> float:
    """Few kept weights: solve ``A_RR delta_R = A_RQ w_Q - g_R``; write `delta`, return the increase."""
    if rows.d <= _TILE:
        tile = rows.read64(0, rows.d)
        G, u = tile[:, keep], tile @ delta
    else:
        G, u = rows.take(np.flatnonzero(keep)), rows.dots(delta)
    if G.shape[1]:
        scaled = G / share[:, None]
        rhs = -(scaled.T @ u)
        if g is not None:
            rhs -= g[keep]
        factor = cholesky(scaled.T @ G, np.full(G.shape[1], lam), lam)
        x = factor.solve(rhs)
        # Refinement with the matrix in its factored form, which sees the rounding of A.
        x += factor.solve(rhs - lam * x - scaled.T @ (G @ x))
        delta[keep] = x
        u = u + G @ x
    increase = 0.5 * (lam * float(delta @ delta) + float(u @ (u / share)))
    return increase + (0.0 if g is None else float(g @ delta))


def _joint_dual(
    rows: Rows, share: Float, lam: float, w: Float, keep: Mask, g: Float | None, delta: Float
) -> float:
    """Many kept weights: solve with ``K_R = lam diag(share) + G_R G_R^T``; otherwise the same."""
    factor = cholesky(rows.gram(keep), lam * share, lam)
    u = rows.dots(np.where(keep, 0.0, w))
    c = factor.solve(u)
    # Refinement in the space of the rows, which sees the rounding of the Gram: a pair of passes.
    c += factor.solve(u - lam * share * c - rows.dots(np.where(keep, rows.combine(c), 0.0)))
    move = rows.combine(c)
    wq = w[~keep]
    increase = 0.5 * lam * (float(wq @ wq) + float(u @ c))
    if g is not None:
        gr = np.where(keep, g, 0.0)
        newton = -rows.combine(factor.solve(rows.dots(gr)), gr, lam)
        increase += float(gr @ move) + 0.5 * float(gr @ newton) - float(g[~keep] @ wq)
        move += newton
    delta[keep] = move[keep]
    return increase
