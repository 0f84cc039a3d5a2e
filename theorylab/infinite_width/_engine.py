"""Kernel matrices tile by tile: pick a method, run it through the cache, repair the delicate pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theorylab._lib.threads import limit_threads

from . import _fused, _pairs
from ._activations import Activation
from ._fill import Fill, Tile, aligned, fused, inverse_root, stepwise, tabulated
from ._inputs import largest_variance, widened
from ._network import LIMIT, Diagonal, Network, check_tangent, diagonal, kernel_diagonal
from ._table import collapse, spanned

Array = NDArray[Any]
TILE = 256
# Outputs below this many bytes leave little room for buffers beside them.
_SMALL = 12 << 20
# Below this distance from +-1 a correlation has lost too many digits for the angle between two points.
_CLOSE = {"d": 1e-4, "f": 1e-2}
# Rounding errors of one operation, in K and T together, that smooth networks may add up to: 40 eps = 1e-14.
_BUDGET = 40.0
_FEW = 1 << 12
# Beyond this variance a pair by quadrature takes long.
_MODERATE = 16.0


def squares(X: Array) -> Array:
    """Return ``|x|^2 / d`` of every row in float64."""
    return np.asarray(np.einsum("ij,ij->i", X, X, dtype=np.float64) / X.shape[1])


def prepared(net: Network, x: Array, y: Array | None, target: Any) -> tuple[Array, Array | None]:
    """Return the inputs, in float64 where float32 would lose too much; refuse what `target` cannot hold."""
    x, y = widened(x, y)
    both = (x,) if y is None else (x, y)
    family = net.act.family
    if x.dtype == np.float32 and family is not None and family[0] == "erf":
        top = max(float(diagonal(net, squares(rows)).q[:-1].max(initial=0.0)) for rows in both)
        # 1 - r^2 of a saturated error function falls to 1 / (1 + 2 q), and r has seven digits
        if 1.0 + 2.0 * family[1] ** 2 * top > 300.0:
            x, y = x.astype(np.float64), None if y is None else y.astype(np.float64)
    if x.dtype != target:  # the engine's own limit is that of the wider type
        for rows in both:
            diagonal(net, squares(rows), largest_variance(target))
    return x, y


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
        # what float32 cannot hold need not be spanned
        self.loss = 1e-14 if self.dtype == np.float64 else 1e-7
        close = _CLOSE[self.dtype.char]
        cheap = self.touchy or (rough and float(self.dx.q.max(initial=0.0)) <= _MODERATE)
        if cheap and self.n * self.m <= _FEW:
            close = 0.3  # few pairs cost little, and then all but the distant ones are worth it
        elif self.touchy:
            close = 2e-2
        elif net.depth > 10:
            close = max(close, 1e-2)
        self.bound = 1.0 - 2.0 * close
        # a jump takes the root of each rounding and chaotic layers amplify it: pairs that coincide because
        # of the bias count too
        self.biased = net.b[0] > 0 and (net.act.degree == 0 or self.touchy or rough)
        first = (self.dx.q[0], self.dy.q[0]) if self.biased else (self.sx * self.d, self.sy * self.d)
        self.rx, self.ry = map(inverse_root, first)
        self.kd, self.td = kernel_diagonal(net, self.sx, self.d, self.dx)
        self.fill = self._choose()

    def check_tangent(self, dtype: Any) -> None:
        """Refuse an NTK, if wanted, that leaves the range of `dtype`."""
        if not self.want_t:
            return
        check_tangent(self.td, dtype)
        if not self.symmetric:
            check_tangent(kernel_diagonal(self.net, self.sy, self.d, self.dy)[1], dtype)

    # -- methods ---------------------------------------------------------------------------------

    def _choose(self) -> Fill:
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
            tables = collapse(net, 1.0 if homogeneous else math.sqrt(high), self.d)
            gx, gy = (np.sqrt(s) if homogeneous else np.ones_like(s) for s in (self.sx, self.sy))
            rx, ry = (inverse_root(s * self.d) for s in (self.sx, self.sy))
            return tabulated(tables, rx, ry, gx, gy)
        if family is not None and not blind and not (net.standard and 0.0 in net.w):
            return fused(net, family, self.dx, self.dy, self.sx, self.sy, self.d, self.dtype)
        duals = spanned(net, self.dx, self.dy, self.n * self.m // (1 + self.symmetric), self.loss)
        return stepwise(net, self.dx, self.dy, self.d, duals, self.symmetric)

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
        """Compute one tile into arrays of its own, or those of a former tile of this shape."""
        shape = (i1 - i0, j1 - j0)
        if spare is None or spare.k.shape != shape:
            t = np.empty(shape if self.want_t else (0, 0), self.dtype)
            spare = Tile(aligned(shape, self.dtype), np.empty(shape, self.dtype), t)
        self._compute(i0, i1, j0, j1, spare)
        return spare

    def _compute(self, i0: int, i1: int, j0: int, j1: int, tile: Tile) -> None:
        """Fill a tile, exact diagonal and delicate pairs included."""
        np.dot(self.X[i0:i1], self.Y[j0:j1].T, out=tile.gram)
        self.fill(i0, i1, j0, j1, tile)
        if self.delicate:
            self._repair(i0, j0, tile)
        if self.symmetric and i0 == j0:
            for A in (tile.k, tile.t):
                if A.size:
                    _fused.mirror(A, tile.row, tile.row + i1 - i0, tile.col, tile.col + j1 - j0)
            index = np.arange(i0, i1)
            tile.put(index - i0, index - i0, self.kd[index], self.td[index])

    def _repair(self, i0: int, j0: int, tile: Tile) -> None:
        n, m = tile.gram.shape
        room = max(64, n * m // 20)
        rows, cols = np.empty(room, dtype=np.intp), np.empty(room, dtype=np.intp)
        w, b = (self.net.w[0] / self.d, self.net.b[0]) if self.biased else (1.0, 0.0)
        scales = self.ry[j0 : j0 + m], self.rx[i0 : i0 + n]
        count = _fused.close_pairs(tile.gram, w, b, *scales, self.bound, rows, cols)
        if count > room:  # duplicated or one-dimensional data: most of the tile is delicate
            rows, cols = np.empty(count, dtype=np.intp), np.empty(count, dtype=np.intp)
            _fused.close_pairs(tile.gram, w, b, *scales, self.bound, rows, cols)
        rows, cols = rows[:count], cols[:count]
        if self.symmetric and i0 == j0:
            below = rows > cols
            rows, cols = rows[below], cols[below]
        if (self.touchy or self.bent) and self.n * self.m > _FEW:
            # points whose norms differ by a third are apart, hence not delicate
            long, wide = np.sqrt(self.dx.q[0, rows + i0]), np.sqrt(self.dy.q[0, cols + j0])
            near = (long - wide) ** 2 <= 0.1 * long * wide
            rows, cols = rows[near], cols[near]
        if rows.size == 0:
            return
        positive = w * tile.gram[rows, cols] + b > 0
        # with a bias that counts, opposite points are far from opposite after the first layer
        balanced = self.net.b[0] <= 1e-6 * float(self.dx.q[0].max())
        for mask, against in ((positive, False), (~positive, True)):
            if not mask.any() or (against and not balanced):
                continue
            i, j = rows[mask], cols[mask]
            tile.put(i, j, *self._pair(against, i + i0, j + j0))

    def _pair(self, against: bool, rows: Array, cols: Array) -> tuple[Array, Array]:
        """Return NNGP and NTK of pairs that nearly oppose each other or nearly coincide."""
        net, dx, dy = self.net, self.dx, self.dy
        # in many tiles even a few pairs add up
        many = rows.size * max(1, self.n * self.m // TILE**2)
        spans = spanned(net, dx, dy, many, self.loss)
        if against:
            return _pairs.opposite(net, self.X, self.Y, dx, dy, rows, cols, spans=spans)
        return _pairs.recompute(net, self.X, self.Y, dx, dy, rows, cols, spans=spans)[:2]

    def tiles(self, size: int) -> Iterator[tuple[slice, slice, Array, Array | None]]:
        """Yield ``(rows, cols, K, T)`` for tiles of at most `size` by `size`.

        The arrays belong to the caller.
        """
        for i0, i1, j0, j1 in self.blocks(size):
            done = self.tile(i0, i1, j0, j1)
            yield slice(i0, i1), slice(j0, j1), done.k, done.t if self.want_t else None

    def _side(self, nbytes: int) -> int:
        """Return the side of tiles for outputs of that size; with quadrature a tile has many temporaries."""
        if self.net.act.closed:
            return TILE
        return TILE // 2 if nbytes > _SMALL else 3 * TILE // 8

    def into(self, K: Array | None, T: Array | None) -> None:
        """Fill whole matrices; the result does not depend on the number of threads."""
        k, t = (np.empty((0, 0), self.dtype) if A is None else np.asarray(A) for A in (K, T))
        jobs = self.blocks(size := self._side(k.nbytes + t.nbytes))
        queue = iter(jobs)

        def work() -> None:
            buffer = aligned((min(size, self.n) * min(size, self.m),), self.dtype)
            for i0, i1, j0, j1 in queue:  # each worker takes the next one
                gram = buffer[: (i1 - i0) * (j1 - j0)].reshape(i1 - i0, j1 - j0)
                self._compute(i0, i1, j0, j1, Tile(gram, k, t, i0, j0))
                if self.symmetric and i0 != j0:
                    for A in (k, t):
                        if A.size:
                            _fused.mirror(A, i0, i1, j0, j1)

        import numba

        threads = min(numba.get_num_threads(), len(jobs))
        if threads <= 1 or self.n * self.m < 1 << 19:
            work()
            return
        with limit_threads(1), ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(work) for _ in range(threads)]:
                done.result()


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
    q, following, step = diag.q[:-1], diag.q[1:], 1e-6
    with np.errstate(all="ignore"):
        z = np.full_like(q, step)
        slope = net.act.dual(q, q, q * (1.0 - 2.0 * step), z, 1.0 - z)[1]
        safe = np.where(diag.slope != 0, diag.slope, 1.0)
        bend = np.abs(diag.slope - slope) / np.abs(2.0 * step * safe)
        growth = np.where(following > 0, q / np.where(following > 0, following, 1.0), 0.0)
        gain = np.array(net.w[1:])[:, None] * np.abs(diag.slope) * growth
        reach, total = np.ones(q.shape[1]), np.zeros(q.shape[1])
        for layer in range(net.depth):
            total += reach * bend[layer]
            reach = reach * gain[layer] + 1.0
    return float(np.nan_to_num(reach + total, nan=np.inf).max(initial=0.0))
