"""The m rows G, seen through four products.

``dots``      G x          one pass, float64 sums
``combine``   G^T c, (x - G^T c) / lam
``gram``      G G^T        float32 tiles, float64 sums
``take``      chosen columns

Rows that are read in place and rows that are copied tile by tile go through the
same kernels. What lies in memory is summed in the same order, hence gives the
same bits; a streamed source has narrower tiles and agrees to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._kernels import (
    add_gram,
    add_rows,
    combine_rows,
    combine_rows_exactly,
    row_dots,
    row_dots_pair,
    subtract_rows,
)
from ._parallel import ordered_sum, serial_blas
from ._row_reader import PARALLEL, RowReader

__all__ = ["Rows"]

Array = NDArray[Any]

#: A tile of the Gram, all rows, has at most this many bytes: it stays in the last-level cache.
_GRAM_BYTES = 1 << 23
#: The Gram is a sum of at most this many parts; each thread holds one of them at a time.
_GRAM_GROUPS = 16


class Rows(RowReader):
    """Columns ``lo:hi`` of a matrix of rows, and their products; parameters as for :class:`RowReader`."""

    def dots(self, x: Array) -> Array:
        """Return ``G x`` in float64, shape (m,) or (m, k) for `x` of shape (d,) or (d, k)."""
        if x.ndim == 2 and x.shape[1] == 1:
            return self.dots(np.ascontiguousarray(x[:, 0]))[:, None]
        self._count("dots", 2 * self.m * self.d * (1 if x.ndim == 1 else x.shape[1]))
        if self.shrink is not None:  # sums over rows of this size overflow unless each is divided first
            result = self._dots_many(x.reshape(self.d, -1)).reshape(self.m, *x.shape[1:])
        elif x.ndim == 2:
            result = self._dots_many(x)
        elif self.accumulate == "storage":
            result = self._dots_blas(x)
        else:
            result = self._dots_one(x)
        return result

    def _partial(self, shape: tuple[int, ...]) -> Array:
        return np.zeros((-(-self.d // self._group()) if self.d else 0, *shape))

    @staticmethod
    def _ordered_sum(partial: Array) -> Array:
        total: Array = np.zeros(partial.shape[1:])
        for p in partial:
            total += p
        return total

    def _dots_one(self, x: Array) -> Array:
        partial = self._partial((self.m,))

        def work(g: int, start: int, stop: int) -> None:
            if self.direct:
                lo, hi = self.lo + start, self.lo + stop
                row_dots(self.source, lo, hi, self.sweep, x[start:stop], partial[g])
                return
            for t, e in self._tiles(start, stop, self.sweep):
                for i, j in self._panels():
                    row_dots(self.read(i, j, t, e), 0, e - t, e - t, x[t:e], partial[g, i:j])

        self._each_group(work)
        return self._ordered_sum(partial)

    def dots_pair(self, x: Array, z: Array) -> Array:
        """Return ``G [x, z]``, shape (m, 2), in one read where the rows lie in memory."""
        if not self.direct or self.shrink is not None or self.accumulate == "storage":
            return np.stack([self.dots(x), self.dots(z)], axis=1)
        self._count("dots", 4 * self.m * self.d)
        partial = self._partial((self.m, 2))

        def work(g: int, start: int, stop: int) -> None:
            lo, hi = self.lo + start, self.lo + stop
            row_dots_pair(self.source, lo, hi, self.sweep, x[start:stop], z[start:stop], partial[g])

        self._each_group(work)
        return self._ordered_sum(partial)

    def _dots_many(self, x: Array) -> Array:
        partial, width = self._partial((self.m, x.shape[1])), self._wide()

        def work(g: int, start: int, stop: int) -> None:
            buffer = np.empty((self.m, width))
            for t, e in self._tiles(start, stop, width):
                partial[g] += self.read64(t, e, buffer) @ x[t:e].astype(np.float64)

        with serial_blas():
            self._each_group(work)
        return self._ordered_sum(partial)

    def _dots_blas(self, x: Array) -> Array:
        partial = self._partial((self.m,))

        def work(g: int, start: int, stop: int) -> None:
            tile = self._whole(start, stop)
            partial[g] = tile @ x[start:stop].astype(tile.dtype)

        with serial_blas():
            self._each_group(work)
        return self._ordered_sum(partial)

    def combine(self, c: Array, x: Array | None = None, divisor: float = 1.0, dtype: Any = None) -> Array:
        """Return ``G^T c``, or ``(x - G^T c) / divisor``; `c` is float64 of shape (m,) or (m, k)."""
        if c.ndim == 2 and c.shape[1] == 1:
            return self.combine(c[:, 0], None if x is None else x[:, 0], divisor, dtype)[:, None]
        c = np.ascontiguousarray(c, dtype=np.float64)
        self._count("combine", 2 * self.m * self.d * (1 if c.ndim == 1 else c.shape[1]))
        out = np.empty((self.d, *c.shape[1:]), dtype=dtype)
        if self.shrink is not None:  # the rows are divided, not the coefficients, which could underflow
            self._combine_many(c, x, divisor, out)
            return out
        one = self._combine_blas if self.accumulate == "storage" else self._combine_one
        (one if c.ndim == 1 else self._combine_many)(c, x, divisor, out)
        return out

    def _combine_one(self, c: Array, x: Array | None, divisor: float, out: Array) -> None:
        def work(g: int, start: int, stop: int) -> None:
            lo, hi, y = self.lo + start, self.lo + stop, out[start:stop]
            if self.direct and x is None:
                combine_rows(self.source, lo, hi, self.sweep, c, y)
            elif self.direct and x is not None:
                subtract_rows(self.source, lo, hi, self.sweep, c, x[start:stop], divisor, y)
            else:
                for t, e in self._tiles(start, stop, self.sweep):
                    y = np.zeros(e - t)
                    for i, j in self._panels():
                        add_rows(self.read(i, j, t, e), 0, e - t, c[i:j], y)
                    out[t:e] = y if x is None else (x[t:e] - y) / divisor

        self._each_group(work)

    def _combine_many(self, c: Array, x: Array | None, divisor: float, out: Array) -> None:
        width = self._wide()

        def work(g: int, start: int, stop: int) -> None:
            buffer = np.empty((self.m, width))
            for t, e in self._tiles(start, stop, width):
                y = self.read64(t, e, buffer).T @ c
                out[t:e] = y if x is None else (x[t:e] - y) / divisor

        with serial_blas():
            self._each_group(work)

    def combine_exactly(self, c: Array) -> Array:
        """Return ``G^T c`` rounded once, for coefficients (m,) or (m, k) that cancel."""
        if c.ndim == 2:
            return np.stack([self.combine_exactly(column) for column in c.T], axis=1)
        self._count("combine", 2 * self.m * self.d)
        c = np.ascontiguousarray(c)
        out = np.empty(self.d)

        def work(g: int, start: int, stop: int) -> None:
            for t, e in self._tiles(start, stop, self.tile):
                high, low = np.empty(e - t), np.empty(e - t)
                if self.direct and self.shrink is None:
                    combine_rows_exactly(self.source, self.lo + t, self.lo + e, c, high, low)
                else:
                    tile = self._whole(t, e) if self.shrink is None else self.read64(t, e)
                    combine_rows_exactly(tile, 0, e - t, c, high, low)
                out[t:e] = high + low

        self._each_group(work)
        return out

    def _combine_blas(self, c: Array, x: Array | None, divisor: float, out: Array) -> None:
        def work(g: int, start: int, stop: int) -> None:
            tile = self._whole(start, stop)
            y = c.astype(tile.dtype) @ tile
            out[start:stop] = y if x is None else (x[start:stop] - y) / divisor

        with serial_blas():
            self._each_group(work)

    def gram(self, keep: Array | None = None) -> Array:
        """Return ``G G^T`` in float64, over the columns where `keep` is true if it is given."""
        fitting = min(8192, max(1536, _GRAM_BYTES // max(1, self.m * self.dtype.itemsize)))
        m, width = self.m, min(fitting, self.d if self.in_memory else self.tile)
        self._count("gram", m * m * self.d)
        group = max(1, -(-self.d // (width * _GRAM_GROUPS))) * width

        def add(partial: Array, start: int, stop: int) -> None:
            if self.direct and self.shrink is None and keep is None:
                add_gram(self.source, self.lo + start, self.lo + stop, width, partial)
                return
            for t, e in self._tiles(start, stop, width):
                tile = self._whole(t, e) if self.shrink is None else self.read64(t, e)
                if keep is not None:
                    tile = tile[:, keep[t:e]]
                add_gram(np.ascontiguousarray(tile), 0, tile.shape[1], width, partial)

        total = ordered_sum(
            lambda partial, g: add(partial, g * group, min(self.d, (g + 1) * group)),
            -(-self.d // group),
            (m, m),
            parallel=self.in_memory and m * self.d >= PARALLEL,
        )
        for i in range(m):
            total[i, i + 1 :] = total[i + 1 :, i]
        return total

    def inner(self, weight: Array) -> Array:
        """Return ``G^T diag(weight) G`` in float64, shape (d, d): for few columns."""
        self._count("gram", self.m * self.d * self.d)
        total = np.zeros((self.d, self.d))
        with serial_blas():
            for i, j in self._panels(1024):
                panel = self.read(i, j, 0, self.d).astype(np.float64)
                if self.shrink is not None:
                    panel /= self.shrink[i:j, None]
                total += panel.T @ (weight[i:j, None] * panel)
        return (total + total.T) / 2

    def whiten(self, W: Array, work: Any) -> None:
        """Call ``work(t, e, W G[:, t:e])`` for every float64 tile, on several threads."""
        self._count("whiten", self.m * self.m * self.d)
        width = self._wide()

        def piece(g: int, start: int, stop: int) -> None:
            buffer = np.empty((self.m, width))
            for t, e in self._tiles(start, stop, width):
                work(t, e, W @ self.read64(t, e, buffer))

        with serial_blas():
            self._each_group(piece)
