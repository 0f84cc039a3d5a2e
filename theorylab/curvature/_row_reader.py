"""The m rows G wherever they live: panels and tiles of them, as float32 or float64, in a fixed partition.

A C-contiguous float32 or float64 array is read in place. Everything else
(memory maps of other types, strided or Fortran-ordered arrays, half precision,
integers, zarr or HDF5 datasets) is read tile by tile through ``source[i:j, t:e]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ._cost import Cost
from ._parallel import run_pieces
from ._storage import widen

__all__ = ["PARALLEL", "RowReader"]

Array = NDArray[Any]

#: Partial sums are kept for this many groups of tiles: as many threads can work, in a fixed order.
_GROUPS = 64
#: Tiles a sweep of rows in memory: long runs for the prefetcher, and a vector for the second-level cache.
_SWEEP = 4
#: Below this many entries threads cost more than they save.
PARALLEL = 1 << 18


class RowReader:
    """Columns ``lo:hi`` of a matrix of rows, optionally with row i multiplied by ``scale[i]``.

    Parameters
    ----------
    source : array or object with ``shape``, ``dtype`` and 2-D slicing
    lo, hi : int
        Range of columns.
    tile : int
        Columns of a tile.
    chunk_rows : int or None
        Rows read at a time from a source that is streamed.
    bfloat16 : bool
        The source is uint16 that holds the upper halves of float32.
    shrink : ndarray of shape (m,), optional
        Row i is divided by ``shrink[i]`` on the way (against overflow of the Gram).
    accumulate : {"float64", "storage"}
    """

    def __init__(
        self,
        source: Any,
        lo: int = 0,
        hi: int | None = None,
        *,
        tile: int = 4096,
        chunk_rows: int | None = None,
        bfloat16: bool = False,
        shrink: Array | None = None,
        accumulate: str = "float64",
        cost: Cost | None = None,
    ) -> None:
        self.source = source
        self.lo: int = lo
        self.hi: int = int(source.shape[1]) if hi is None else hi
        self.tile: int = tile
        self.chunk_rows = chunk_rows
        self.bfloat16 = bfloat16
        self.shrink = shrink
        self.accumulate = accumulate
        self.cost = Cost() if cost is None else cost
        self.m: int = int(source.shape[0])
        self.d: int = self.hi - self.lo
        self.in_memory = isinstance(source, np.ndarray)
        self.sweep = tile * (_SWEEP if self.in_memory else 1)
        self.itemsize: int = np.dtype(source.dtype).itemsize
        self.direct = (
            self.in_memory and source.dtype in (np.float32, np.float64) and source.flags.c_contiguous
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the entries as numbers (bfloat16 counts as float32, integers as float64)."""
        kind = np.dtype(self.source.dtype)
        if self.bfloat16:
            return np.dtype(np.float32)
        return kind if kind.kind == "f" and kind.itemsize <= 8 else np.dtype(np.float64)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows as they are stored."""
        return self.m * self.d * self.itemsize

    def part(self, lo: int, hi: int) -> Self:
        """Return the columns ``lo:hi`` of these, sharing memory and counters."""
        return self._with(self.lo + lo, self.lo + hi, self.shrink)

    def shrunk(self, shrink: Array) -> Self:
        """Return these rows with row i divided by ``shrink[i]`` on the way."""
        return self._with(self.lo, self.hi, shrink)

    def _with(self, lo: int, hi: int, shrink: Array | None) -> Self:
        return type(self)(
            self.source,
            lo,
            hi,
            tile=self.tile,
            chunk_rows=self.chunk_rows,
            bfloat16=self.bfloat16,
            shrink=shrink,
            accumulate=self.accumulate,
            cost=self.cost,
        )

    def _count(self, kernel: str, flops: int, columns: int | None = None) -> None:
        self.cost.add(kernel, flops, self.m * (self.d if columns is None else columns) * self.itemsize)

    # --- reading ---------------------------------------------------------------------------------------

    def read(self, i0: int, i1: int, t: int, e: int) -> Array:
        """Return rows ``i0:i1`` of columns ``t:e`` as a C-contiguous float32 or float64 array."""
        raw = np.asarray(self.source[i0:i1, self.lo + t : self.lo + e])
        block: Array = np.ascontiguousarray(widen(raw, self.bfloat16))
        return block

    def _panels(self, step: int = 0) -> Iterator[tuple[int, int]]:
        """Yield row ranges; whole sweeps of eight rows, so that the sums do not depend on `chunk_rows`."""
        step = step or (64 if self.in_memory else self.m)
        if self.chunk_rows is not None:
            step = max(8, -(-self.chunk_rows // 8) * 8)
        for i in range(0, self.m, max(step, 1)):
            yield i, min(i + step, self.m)

    def read64(self, t: int, e: int, out: Array | None = None) -> Array:
        """Return columns ``t:e`` of all rows in float64, divided by `shrink`."""
        out = np.empty((self.m, e - t)) if out is None else out[:, : e - t]
        if self.direct:
            np.copyto(out, self.source[:, self.lo + t : self.lo + e])
        else:
            for i, j in self._panels():
                out[i:j] = self.read(i, j, t, e)
        if self.shrink is not None:
            out /= self.shrink[:, None]
        return out

    def row(self, i: int) -> Array:
        """Return row `i` in float64."""
        row: Array = self.read(i, i + 1, 0, self.d)[0].astype(np.float64)
        return row if self.shrink is None else row / self.shrink[i]

    def _whole(self, t: int, e: int) -> Array:
        """Return columns ``t:e`` of all rows, a view where they lie ready."""
        if self.direct:
            return np.asarray(self.source[:, self.lo + t : self.lo + e])
        out = np.empty((self.m, e - t), np.float64 if self.dtype.itemsize == 8 else np.float32)
        for i, j in self._panels():
            out[i:j] = self.read(i, j, t, e)
        return out

    def take(self, index: Array) -> Array:
        """Return the chosen columns in float64, shape (m, len(index))."""
        out = np.empty((self.m, len(index)))
        if self.in_memory:
            out[...] = widen(self.source[:, self.lo + index], self.bfloat16)
            if self.shrink is not None:
                out /= self.shrink[:, None]
            return out
        for k, j in enumerate(index.tolist()):
            out[:, k] = self.read64(j, j + 1)[:, 0]
        return out

    # --- the partition, fixed by the sizes alone --------------------------------------------------------

    def _group(self) -> int:
        """Return the columns of one group of tiles."""
        tiles = -(-self.d // self.sweep)
        return max(1, -(-tiles // _GROUPS)) * self.sweep

    def _each_group(self, work: Any) -> None:
        """Call ``work(g, start, stop)`` for every group, on several threads where that pays."""
        group = self._group()

        def piece(g: int) -> None:
            work(g, g * group, min(self.d, (g + 1) * group))

        run_pieces(piece, -(-self.d // group), parallel=self.in_memory and self.m * self.d >= PARALLEL)

    def _tiles(self, start: int, stop: int, width: int) -> Iterator[tuple[int, int]]:
        for t in range(start, stop, width):
            yield t, min(stop, t + width)

    def _wide(self) -> int:
        """Return the width of a float64 tile of all rows that fits the second-level cache."""
        return int(min(self.tile, self.d, max(256, (1 << 17) // max(self.m, 1))))
