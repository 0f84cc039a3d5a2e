"""Three ways from the inner products of a tile to its kernels: fused layers, one table, or step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _fused, _interpolate, _pairs
from ._network import Diagonal, Network
from ._untabled import LayerDual, Untabled

Array = NDArray[Any]
_STRIP = 32  # rows of a tile, or
_PAIRS = 1 << 12  # pairs, that are under way together


@dataclass
class Tile:
    """Inner products of one tile, and where it goes: into `k` and `t` from ``(row, col)`` on.

    An empty `k` or `t` is not wanted.
    """

    gram: Array
    k: Array
    t: Array
    row: int = 0
    col: int = 0

    def put(self, rows: Any, cols: Any, k: Array, t: Array) -> None:
        """Write entries, by index within the tile."""
        if self.k.size:
            self.k[rows + self.row, cols + self.col] = k
        if self.t.size:
            self.t[rows + self.row, cols + self.col] = t

    def paste(self, row: int, k: Array, t: Array) -> None:
        """Write whole rows of the tile, from `row` on."""
        n, m = k.shape
        place = slice(self.row + row, self.row + row + n), slice(self.col, self.col + m)
        if self.k.size:
            self.k[place] = k
        if self.t.size:
            self.t[place] = t


#: Fills a tile with corners ``(i0, i1, j0, j1)``.
Fill = Callable[[int, int, int, int, Tile], None]


def aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array that starts on a cache line, so that no vector register straddles two."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    out: Array = raw[start : start + size].view(dtype).reshape(shape)
    return out


def inverse_root(s: Array) -> Array:
    """Return ``s^(-1/2)``, and 0 where s = 0."""
    return np.where(s > 0, 1.0 / np.sqrt(np.where(s > 0, s, 1.0)), 0.0)


def stepwise(
    net: Network, dx: Diagonal, dy: Diagonal, d: int, duals: Sequence[LayerDual] | None, symmetric: bool
) -> Fill:
    """Any activation, layer by layer in float64; `duals` replace quadrature.

    Of a symmetric tile the part above the diagonal is left out.
    """
    if not net.act.closed and (duals is None or any(isinstance(f, Untabled) for f in duals)):
        return _one_by_one(net, dx, dy, d, duals, symmetric)

    def fill(i0: int, i1: int, j0: int, j1: int, tile: Tile) -> None:
        # narrow strips keep a dozen float64 temporaries small
        for low in range(i0, i1, _STRIP):
            high = min(low + _STRIP, i1)
            end = high if symmetric and i0 == j0 else j1
            raw = tile.gram[low - i0 : high - i0, : end - j0].astype(np.float64) / d
            qa, qb = dx.q[:, low:high, None], dy.q[:, None, j0:end]
            tile.paste(low - i0, *_pairs.walk(net, raw, qa, qb, d, duals=duals))

    return fill


def _one_by_one(
    net: Network, dx: Diagonal, dy: Diagonal, d: int, duals: Sequence[LayerDual] | None, symmetric: bool
) -> Fill:
    """The same where each pair costs: of a symmetric tile neither the diagonal nor what is above."""
    paired = None if duals is None else [f.paired for f in duals]

    def fill(i0: int, i1: int, j0: int, j1: int, tile: Tile) -> None:
        below = i0 - j0 - 1 if symmetric and i0 == j0 else j1 - j0
        rows, cols = np.tril_indices(i1 - i0, below, j1 - j0)
        for low in range(0, rows.size, _PAIRS):
            i, j = rows[low : low + _PAIRS], cols[low : low + _PAIRS]
            raw = tile.gram[i, j].astype(np.float64) / d
            tile.put(i, j, *_pairs.walk(net, raw, dx.q[:, i + i0], dy.q[:, j + j0], d, duals=paired))

    return fill


def tabulated(tables: tuple[Array, Array], rx: Array, ry: Array, gx: Array, gy: Array) -> Fill:
    """One function of the angle, for a collapsed network; `rx`, `ry` inverse norms, `gx`, `gy` scales."""
    panels = tables[0].shape[1]
    tk, tt = (table.ravel() for table in tables)

    def fill(i0: int, i1: int, j0: int, j1: int, tile: Tile) -> None:
        _interpolate.collapsed(
            tile.gram, tile.k, tile.t, ry[j0:j1], rx[i0:i1], gy[j0:j1], gx[i0:i1],
            tk, tt, panels, tile.t.size > 0,
        )  # fmt: skip

    return _by_strips(fill, lambda tile: tile.k.shape == tile.gram.shape)


def fused(
    net: Network,
    family: tuple[Any, ...],
    dx: Diagonal,
    dy: Diagonal,
    sx: Array,
    sy: Array,
    d: int,
    dtype: Any,
) -> Fill:
    """All layers of a piecewise linear activation or an error function in one pass; `sx` = ``|x|^2 / d``."""
    L = net.depth
    w, b = np.array(net.w), np.array(net.b)
    fan = np.array([d] + [net.width] * L, dtype=np.float64)
    shift = np.zeros(L + 1)
    if family[0] == "slopes":
        al, be = family[1:]
        total = al * al + be * be
        bend = (be - al) ** 2 / total if total else 0.0
        gain = np.sqrt(w * 0.5 * total)
        kernel = _fused.slopes
    else:
        _, _, amplitude, offset = family
        bend = 0.0
        gain = np.sqrt(w * 2.0 / math.pi) * abs(amplitude)
        shift[1:] = offset**2
        kernel = _fused.erf
    beta = b + w * shift
    ca = fan / np.where(w > 0, w, 1.0) if net.standard else np.ones(L + 1)
    cb = fan * shift + (b > 0) if net.standard else beta
    left = _scales(net, family, gain, dx, d, dtype)
    right = left if dy is dx else _scales(net, family, gain, dy, d, dtype)
    beta, ca, cb, bend = (np.asarray(v, dtype)[()] for v in (beta, ca, cb, bend))
    sharei = _share(net, sx, dx).astype(dtype)
    share = sharei if dy is dx else _share(net, sy, dy).astype(dtype)

    def fill(i0: int, i1: int, j0: int, j1: int, tile: Tile) -> None:
        Ui, Vi, gi = (np.ascontiguousarray(v[..., i0:i1]) for v in left)
        U, V, g = (np.ascontiguousarray(v[..., j0:j1]) for v in right)
        work = aligned((2, j1 - j0), dtype)
        kernel(
            tile.gram, tile.k, tile.t, tile.row, tile.col, work, dy is dx and i0 == j0 and i1 == j1,
            U, V, Ui, Vi, g, gi, beta, ca, cb, bend, share[j0:j1], sharei[i0:i1],
        )  # fmt: skip

    return _by_strips(
        fill, lambda tile: all(A.flags.c_contiguous and A.dtype == dtype for A in (tile.k, tile.t))
    )


def _share(net: Network, square: Array, diag: Diagonal) -> Array:
    """Return the part of the first variances that comes from the inputs; 1 without a bias."""
    if net.b[0] == 0.0:
        return np.ones_like(square)
    return np.asarray(net.w[0] * square / diag.q[0])


def _scales(
    net: Network, family: tuple[Any, ...], gain: Array, diag: Diagonal, d: int, dtype: Any
) -> tuple[Array, Array, Array]:
    """Return ``u``, ``v`` (depth + 1, n) of the fused recursion and the scale (n,) of its end."""
    q = diag.q
    if family[0] == "slopes":
        V, before, last = inverse_root(q), np.sqrt(q[:-1]), np.sqrt(q[-1])
    else:
        scale = family[1]
        V = math.sqrt(2.0) * scale / np.sqrt(1.0 + 2.0 * scale**2 * q)
        V[-1] = 1.0
        before, last = np.ones_like(q[:-1]), np.ones_like(q[-1])
    U = np.empty_like(q)
    U[0] = math.sqrt(net.w[0] / d) * V[0]
    U[1:] = gain[1:, None] * before * V[1:]
    return U.astype(dtype), V.astype(dtype), last.astype(dtype)


def _by_strips(fill: Fill, fits: Callable[[Tile], bool]) -> Fill:
    """Let `fill` write in place where that fits it, else a few rows at a time into a buffer of its own."""

    def through(i0: int, i1: int, j0: int, j1: int, tile: Tile) -> None:
        if fits(tile):
            fill(i0, i1, j0, j1, tile)
            return
        for low in range(i0, i1, _STRIP):
            gram = tile.gram[low - i0 : low - i0 + _STRIP]
            small = Tile(
                gram, np.empty_like(gram), np.empty_like(gram if tile.t.size else tile.t, gram.dtype)
            )
            fill(low, low + gram.shape[0], j0, j1, small)
            tile.paste(low - i0, small.k, small.t)

    return through
