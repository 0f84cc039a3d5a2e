"""Kernel matrices tile by tile: pick a method, run it through the cache, repair the delicate pairs."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.threads import limit_threads

from . import _fused, _interpolate, _pairs
from ._activations import Activation
from ._closed import Dual
from ._network import LIMIT, Diagonal, Network, diagonal, kernel_diagonal
from ._table import DIRECT, collapse, paired, spanned
from ._untabled import Untabled

Array = NDArray[Any]
TILE = 256
_STRIP = 32
# Below this distance from +-1 a correlation has lost too many digits for the angle between two points.
_CLOSE = {"d": 1e-4, "f": 1e-2}
# Rounding errors of one operation, in K and T together, that smooth networks may add up to: 40 eps = 1e-14.
_BUDGET = 40.0
_FEW = 1 << 12


def squares(X: Array) -> Array:
    """Return ``|x|^2 / d`` of every row in float64."""
    return np.asarray(np.einsum("ij,ij->i", X, X, dtype=np.float64) / X.shape[1])


@dataclass
class Tile:
    """Buffers of one worker and the function that fills them."""

    gram: Array
    k: Array
    t: Array


class Engine:
    """Everything that does not depend on the tile: variances, scales and the chosen method.

    Parameters
    ----------
    net : Network
    X, Y : ndarray
        C-contiguous, of one dtype; Y None for the symmetric case.
    want_t : bool
        Whether the NTK is needed.
    """

    def __init__(self, net: Network, X: Array, Y: Array | None, want_t: bool = True) -> None:
        self.net, self.X, self.symmetric, self.want_t = net, X, Y is None, want_t
        self.Y = X if Y is None else Y
        self.n, self.m, self.d = X.shape[0], self.Y.shape[0], X.shape[1]
        self.dtype = X.dtype
        self.sx = squares(X)
        self.sy = self.sx if self.symmetric else squares(self.Y)
        largest = min(LIMIT, float(np.finfo(self.dtype).max) / 16)
        self.dx = diagonal(net, self.sx, largest)
        self.dy = self.dx if self.symmetric else diagonal(net, self.sy, largest)
        family = net.act.family
        kinked = family is not None and family[0] == "slopes" and bool(net.act.kinks)
        # smooth activations lose digits of near duplicates where the layers amplify rounding
        self.touchy = net.act.closed and not kinked and amplification(net, self.dx) > _BUDGET
        # by quadrature a dual costs much: a few points tell, and pairs are recomputed only where they must be
        rough = not net.act.closed and (bool(net.act.kinks) or amplification(net, _some(self.dx)) > _BUDGET)
        self.delicate = net.depth > 0 and (kinked or net.act.degree == 0 or self.touchy or rough)
        # where the slope does not jump, Ddot has no square root of the rounding error of a correlation
        self.bent = rough and not _jumps(net.act)
        self.loss = (
            3e-12 if self.dtype == np.float64 else 1e-7
        )  # what float32 cannot hold need not be spanned
        close = _CLOSE[self.dtype.char]
        if self.touchy:  # few pairs cost little, and then all but the distant ones are worth it
            close = 0.3 if self.n * self.m <= _FEW else 2e-2
        elif net.depth > 10:
            close = max(close, 1e-2)
        self.bound = 1.0 - 2.0 * close
        self.rx, self.ry = (_inverse_root(s * self.d) for s in (self.sx, self.sy))
        self.kd, self.td = kernel_diagonal(net, self.sx, self.d, self.dx)
        self.fill = self._choose()

    # -- methods ---------------------------------------------------------------------------------

    def _choose(self) -> Callable[[int, int, int, int, Tile], None]:
        net = self.net
        family = net.act.family
        homogeneous = family is not None and family[0] == "slopes" and not any(net.b)
        both = self.sx if self.symmetric else np.concatenate([self.sx, self.sy])
        tolerance = 1e-12 if self.dtype == np.float64 else 4e-7
        low, high = float(both.min()), float(both.max())
        sphere = high - low <= tolerance * high and high > 0
        # layer by layer a few layers, or a few pairs, cost less than the table
        cheap = family is not None and (net.depth < 4 or self.n * self.m * net.depth < 1000)
        blind = 0.0 in net.w[:-1]
        if net.depth and not cheap and not blind and (homogeneous or sphere) and min(self.n, self.m) > 1:
            return self._use_collapse(1.0 if homogeneous else math.sqrt(high), homogeneous)
        if family is not None and not blind and not (net.standard and 0.0 in net.w):
            return self._use_fused(family)
        duals = None
        if not net.act.closed and self.n * self.m * net.depth > DIRECT:
            duals = spanned(net, self.dx, self.dy, self.loss)

        if (
            not net.act.closed
            and self.symmetric
            and (duals is None or any(isinstance(f, Untabled) for f in duals))
        ):
            # each pair costs: the diagonal and the other half need not be
            return functools.partial(self._triangular, None if duals is None else [f.paired for f in duals])
        strip = _STRIP  # a dozen float64 temporaries: narrow strips keep them small

        def walk(i0: int, i1: int, j0: int, j1: int, tile: Tile) -> None:
            for low in range(i0, i1, strip):
                rows = slice(low - i0, min(low + strip, i1) - i0)
                raw = tile.gram[rows].astype(np.float64) / self.d
                qa, qb = self.dx.q[:, low : low + raw.shape[0], None], self.dy.q[:, None, j0:j1]
                k, t = _pairs.walk(net, raw, qa, qb, self.d, duals=duals)
                tile.k[rows] = k
                if self.want_t:
                    tile.t[rows] = t

        return walk

    def _triangular(self, duals: list[Dual] | None, i0: int, i1: int, j0: int, j1: int, tile: Tile) -> None:
        """Fill what lies below the diagonal alone, pair by pair."""
        rows, cols = np.tril_indices(i1 - i0, i0 - j0 - 1, j1 - j0)
        for low in range(0, rows.size, 1 << 15):
            i, j = rows[low : low + (1 << 15)], cols[low : low + (1 << 15)]
            raw = tile.gram[i, j].astype(np.float64) / self.d
            tile.k[i, j], t = _pairs.walk(
                self.net, raw, self.dx.q[:, i + i0], self.dy.q[:, j + j0], self.d, duals=duals
            )
            if self.want_t:
                tile.t[i, j] = t

    def _use_collapse(self, radius: float, homogeneous: bool) -> Callable[[int, int, int, int, Tile], None]:
        tk, tt = collapse(self.net, radius, self.d)
        panels = tk.shape[1]
        tk, tt = tk.ravel(), tt.ravel()
        scales = [np.sqrt(s) if homogeneous else np.ones_like(s) for s in (self.sx, self.sy)]

        def fill(i0: int, i1: int, j0: int, j1: int, tile: Tile) -> None:
            gx, gy = scales[0][i0:i1], scales[1][j0:j1]
            _interpolate.collapsed(
                tile.gram, tile.k, tile.t, self.ry[j0:j1], self.rx[i0:i1], gy, gx, tk, tt, panels, self.want_t
            )

        return fill

    def _use_fused(self, family: tuple[Any, ...]) -> Callable[[int, int, int, int, Tile], None]:
        net, L = self.net, self.net.depth
        w, b = np.array(net.w), np.array(net.b)
        fan = np.array([self.d] + [net.width] * L, dtype=np.float64)
        has_bias = (b > 0).astype(np.float64)
        safe_w = np.where(w > 0, w, 1.0)
        if family[0] == "slopes":
            al, be = family[1:]
            total = al * al + be * be
            p = (be - al) ** 2 / total if total else 0.0
            gain = np.sqrt(w * 0.5 * total)
            shift = np.zeros(L + 1)
            kernel = _fused.slopes
        else:
            _, scale, amplitude, offset = family
            p = 0.0
            gain = np.sqrt(w * 2.0 / math.pi) * abs(amplitude)
            shift = np.full(L + 1, offset**2)
            shift[0] = 0.0
            kernel = _fused.erf
        ca = fan / safe_w if net.standard else np.ones(L + 1)
        beta = b + w * shift
        cb = fan * shift + has_bias if net.standard else beta

        def scales(diag: Diagonal) -> tuple[Array, Array, Array]:
            q = diag.q
            if family[0] == "slopes":
                V, before, last = _inverse_root(q), np.sqrt(q[:-1]), np.sqrt(q[-1])
            else:
                V = math.sqrt(2.0) * scale / np.sqrt(1.0 + 2.0 * scale**2 * q)
                V[-1] = 1.0
                before, last = np.ones_like(q[:-1]), np.ones_like(q[-1])
            U = np.empty_like(q)
            U[0] = math.sqrt(net.w[0] / self.d) * V[0]
            U[1:] = gain[1:, None] * before * V[1:]
            return U.astype(self.dtype), V.astype(self.dtype), last.astype(self.dtype)

        left = scales(self.dx)
        right = left if self.symmetric else scales(self.dy)
        beta_, ca_, cb_ = (v.astype(self.dtype) for v in (beta, ca, cb))
        bend = self.dtype.type(p)

        def fill(i0: int, i1: int, j0: int, j1: int, tile: Tile) -> None:
            Ui, Vi, gi = (np.ascontiguousarray(v[..., i0:i1]) for v in left)
            U, V, g = (np.ascontiguousarray(v[..., j0:j1]) for v in right)
            kernel(tile.gram, tile.k, tile.t, U, V, Ui, Vi, g, gi, beta_, ca_, cb_, bend, self.want_t)

        return fill

    # -- tiles -----------------------------------------------------------------------------------

    def blocks(self, size: int = TILE) -> list[tuple[int, int, int, int]]:
        """Return the corners ``(i0, i1, j0, j1)`` of all tiles, of the lower triangle if symmetric."""
        return [
            (i0, min(i0 + size, self.n), j0, min(j0 + size, self.m))
            for i0 in range(0, self.n, size)
            for j0 in range(0, self.m, size)
            if not self.symmetric or j0 <= i0
        ]

    def tile(self, i0: int, i1: int, j0: int, j1: int, spare: Tile | None = None) -> Tile:
        """Compute one tile, exact diagonal and delicate pairs included."""
        shape = (i1 - i0, j1 - j0)
        if spare is None or spare.k.shape != shape:
            t = np.empty(shape if self.want_t else (1, 1), self.dtype)
            spare = Tile(np.empty(shape, self.dtype), np.empty(shape, self.dtype), t)
        np.dot(self.X[i0:i1], self.Y[j0:j1].T, out=spare.gram)
        self.fill(i0, i1, j0, j1, spare)
        if self.delicate:
            self._repair(i0, j0, spare)
        if self.symmetric and i0 == j0:
            _fused.symmetrise(spare.k)
            if self.want_t:
                _fused.symmetrise(spare.t)
        if self.symmetric and i0 < j1 and j0 < i1:
            self._set_diagonal(i0, i1, j0, j1, spare)
        return spare

    def _repair(self, i0: int, j0: int, tile: Tile) -> None:
        n, m = tile.gram.shape
        rx, ry = self.rx[i0 : i0 + n], self.ry[j0 : j0 + m]
        room = max(64, n * m // 20)
        rows, cols = np.empty(room, dtype=np.intp), np.empty(room, dtype=np.intp)
        count = _fused.close_pairs(tile.gram, ry, rx, self.bound, rows, cols)
        if count > room:  # duplicated or one-dimensional data: most of the tile is delicate
            rows, cols = np.empty(count, dtype=np.intp), np.empty(count, dtype=np.intp)
            _fused.close_pairs(tile.gram, ry, rx, self.bound, rows, cols)
        rows, cols = rows[:count], cols[:count]
        if self.symmetric and i0 == j0:
            below = rows > cols
            rows, cols = rows[below], cols[below]
        if (self.touchy or self.bent) and self.n * self.m > _FEW:
            # points whose norms differ by a third are apart, hence not delicate
            long, wide = np.sqrt(self.sx[rows + i0]), np.sqrt(self.sy[cols + j0])
            near = (long - wide) ** 2 <= 0.1 * long * wide
            rows, cols = rows[near], cols[near]
        if rows.size == 0:
            return
        positive = tile.gram[rows, cols] > 0
        # with a bias that counts, opposite points are far from opposite after the first layer
        balanced = self.net.b[0] <= 1e-6 * float(self.dx.q[0].max())
        for mask, against in ((positive, False), (~positive, True)):
            if not mask.any() or (against and not balanced):
                continue
            i, j = rows[mask], cols[mask]
            k, t = self._pair(against, i + i0, j + j0)
            tile.k[i, j] = k
            if self.want_t:
                tile.t[i, j] = t
            if self.symmetric and i0 == j0:
                tile.k[j, i] = k
                if self.want_t:
                    tile.t[j, i] = t

    def _pair(self, against: bool, rows: Array, cols: Array) -> tuple[Array, Array]:
        """Return NNGP and NTK of pairs that nearly oppose each other or nearly coincide."""
        net, dx, dy = self.net, self.dx, self.dy
        if against:
            return _pairs.opposite(net, self.X, self.Y, dx, dy, rows, cols)
        # in many tiles even a few pairs add up
        many = rows.size * max(1, self.n * self.m // TILE**2)
        duals, spans = paired(net, dx, dy, many, self.loss)
        return _pairs.recompute(net, self.X, self.Y, dx, dy, rows, cols, duals=duals, spans=spans)[:2]

    def _set_diagonal(self, i0: int, i1: int, j0: int, j1: int, tile: Tile) -> None:
        index = np.arange(max(i0, j0), min(i1, j1))
        k, t = self.kd[index], self.td[index]
        tile.k[index - i0, index - j0] = k
        if self.want_t:
            tile.t[index - i0, index - j0] = t

    def tiles(self, size: int) -> Iterator[tuple[slice, slice, Array, Array | None]]:
        """Yield ``(rows, cols, K, T)`` for tiles of at most `size` by `size`.

        The arrays belong to the caller.
        """
        for i0, i1, j0, j1 in self.blocks(size):
            done = self.tile(i0, i1, j0, j1)
            yield slice(i0, i1), slice(j0, j1), done.k, done.t if self.want_t else None

    def into(self, K: Array | None, T: Array | None) -> None:
        """Fill whole matrices; the result does not depend on the number of threads."""
        jobs = self.blocks(TILE if self.net.act.closed else TILE // 2)

        def work(part: list[tuple[int, int, int, int]]) -> None:
            spare: Tile | None = None
            for i0, i1, j0, j1 in part:
                spare = self.tile(i0, i1, j0, j1, spare)
                transpose = self.symmetric and i0 != j0
                if K is not None:
                    _fused.store(spare.k, K, i0, j0, transpose)
                if T is not None:
                    _fused.store(spare.t, T, i0, j0, transpose)

        import numba

        threads = min(numba.get_num_threads(), len(jobs))
        if threads <= 1 or self.n * self.m < 1 << 19:
            work(jobs)
            return
        with limit_threads(1), ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, (jobs[k::threads] for k in range(threads))))


def _jumps(act: Activation) -> bool:
    """Return whether the slope jumps at a kink."""
    at = np.array(act.kinks or (0.0,))
    step = 1e-7 * (1.0 + np.abs(at))
    gap = np.abs(np.asarray(act.dfn(at + step)) - np.asarray(act.dfn(at - step)))
    return bool(np.any(gap > 1e-3))


def _some(diag: Diagonal) -> Diagonal:
    """Return a few points, from the smallest to the largest variance."""
    order = np.argsort(diag.q[0], kind="stable")
    few = order[np.linspace(0, order.size - 1, min(order.size, 5)).astype(int)]
    return Diagonal(diag.q[:, few], diag.h[:, few], diag.slope[:, few])


def amplification(net: Network, diag: Diagonal) -> float:
    """Bound how many roundings of a correlation near one add up in the NNGP and NTK of smooth networks.

    A rounding of rho after layer k reaches layer l times the product of ``w Ddot q / q'`` between
    them; these sum to r_l. The NTK meets each r_l once more, times ``d ln Ddot / d rho``.
    """
    if not net.depth:
        return 0.0
    reach, total = np.ones(diag.q.shape[1]), np.zeros(diag.q.shape[1])
    step = 1e-6
    with np.errstate(all="ignore"):
        for layer in range(net.depth):
            q, following = diag.q[layer], diag.q[layer + 1]
            z = np.full_like(q, step)
            slope = net.act.dual(q, q, q * (1.0 - 2.0 * step), z, 1.0 - z)[1]
            here = diag.slope[layer]
            safe = np.where(here != 0, here, 1.0)
            total += reach * np.abs(here - slope) / np.abs(2.0 * step * safe)
            growth = np.where(following > 0, q / np.where(following > 0, following, 1.0), 0.0)
            reach = reach * net.w[layer + 1] * np.abs(here) * growth + 1.0
    return float(np.nan_to_num(reach + total, nan=np.inf).max(initial=0.0))


def _inverse_root(s: Array) -> Array:
    """Return ``s^(-1/2)``, and 0 where s = 0."""
    return np.where(s > 0, 1.0 / np.sqrt(np.where(s > 0, s, 1.0)), 0.0)
