"""The hierarchy of grids below a domain: memory that is kept, and the order in which the set-up fills it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _layout as c
from ._aggregates import aggregate
from ._coarse_cycle import bottom, coarse_cycle
from ._coarsest import dense_matrix
from ._fine_cycle import down, up
from ._hierarchy_coarse import couple, diagonals, own_weights
from ._hierarchy_fine import (
    block_components,
    cell_bytes,
    couple_blocks,
    couple_split,
    pad_flags,
    split_blocks,
)
from ._recipes import FLOOR, revisit

__all__ = ["COARSEST", "Hierarchy"]

Array = NDArray[Any]

#: At most so many coupled unknowns are solved densely.
COARSEST = 64
#: Levels from this one on, with 1/64 of the cells or fewer, may be visited twice in a cycle: all of them, for
#: the bound of `revisit` does not hold for a chain of levels visited once.
TWICE = {2: 3, 3: 2}


def _grown(array: Array, size: int, keep: int) -> Array:
    """Return an array whose last axis holds at least `size`, with the first `keep` entries copied."""
    if array.shape[-1] >= size:
        return array
    grown = np.zeros((*array.shape[:-1], size + size // 4 + 64), array.dtype)
    grown[..., :keep] = array[..., :keep]
    return grown


class Hierarchy:
    """Levels of couplings and transfer weights, and the vectors of a cycle.

    Parameters
    ----------
    flags : ndarray of uint8, 2-D or 3-D
    recipe : sequence of 8 float
        w1, w2 on level 0, w1, w2 below, tF, tD, o_c, alpha_D.
    dtype : numpy.float32 or numpy.float64

    Notes
    -----
    The set-up visits each cell a fixed number of times, O(N). Unknowns that are coupled to no other are left
    to the sweeps and do not reach the next level.
    """

    def __init__(self, flags: Array, recipe: tuple[float, ...], dtype: Any) -> None:
        self.q = np.array([0.0] * 8 + [FLOOR, 1.0, 0.0, 0.5, 0.0], dtype)
        self.set_recipe(recipe)
        self.dtype = np.dtype(dtype)
        self.shape: tuple[int, ...] = ()
        self.update(flags)

    def set_recipe(self, recipe: tuple[float, ...]) -> None:
        """Take other numbers, which the next update brings to the couplings."""
        self.q[:8] = recipe
        self.q[c.DAMP] = revisit(recipe)

    def _allocate(self, shape: tuple[int, ...]) -> None:
        """Lay the levels of a grid out and get their memory."""
        self.shape = shape
        sides, rows = [max(n, 1) for n in shape], []
        while True:
            padded = [2 * ((n + 1) // 2) + 2 for n in sides]
            line = padded[-1] if len(shape) == 3 else 0
            row = padded[1] * (padded[2] if line else 1)
            cells = padded[0] * row
            rows.append(
                [0, cells, cells, padded[0], row, line, row + line + 1, cells - row - line - 1, 0, 0, 0, 0, 1]
            )
            if max(sides) == 1:
                break
            sides = [(n + 1) // 2 for n in sides]
        self.plan = np.array(rows, np.int64)
        self.levels = self.plan.copy()
        head = self.plan[0]
        grid = (head[c.ROWS], head[c.ROW])
        self.flags, self.count, self.kind = (np.zeros(grid, np.uint8) for _ in range(3))
        self.kind[:] = 64
        self.who = np.empty(head[c.CELLS], np.int32)
        self.scratch = np.zeros((5, 4, head[c.ROW]), self.dtype)
        below = int(self.plan[1:, c.CELLS].sum())
        slack = below // 16 + 64
        self.A = np.zeros((c.FIELDS, below + slack), self.dtype)
        widest = int(self.plan[1, c.CELLS] if len(rows) > 1 else 0) + slack
        self.work = np.zeros((3, max(widest, int(head[c.CELLS]) if head[c.CELLS] < 4096 else 0)), self.dtype)
        self.agg, self.parent = np.empty(widest, np.int32), np.empty(widest, np.int32)
        self.mark = np.empty(int(self.plan[2, c.CELLS]) if len(rows) > 2 else 1, np.uint8)
        self.home = [np.empty(slack, np.int32), np.empty(slack, np.int32)]
        self.first = np.zeros(head[c.ROWS] // 2 + 1, np.int32)
        self.cell, self.target = np.empty(slack, np.int32), np.empty(slack, np.int32)
        self.li, self.lj, self.lw = (
            np.empty(slack, np.int32),
            np.empty(slack, np.int32),
            np.empty(slack, self.dtype),
        )

    def update(self, flags: Array) -> None:
        """Set up for new `flags`; memory is kept as long as the shape is."""
        if flags.shape != self.shape:
            self._allocate(flags.shape)
        step = int(self.plan[0, c.LINE])
        pad_flags(flags if step else flags[None], self.flags, step)
        live = cell_bytes(self.flags, self.count, self.kind, step)
        self.line, self.unknowns = step, max(live, 1)
        self.step = step or None
        self.plan[:, [c.LINK0, c.LINK1, c.GROUP0, c.GROUP1]] = 0
        self.unknowns_per_level = [live]
        last = 0
        if live > COARSEST:
            last, live = 1, self._first_level(step)
            while live > COARSEST and last + 1 < len(self.plan):
                live = self._next_level(last)
                last += 1
        self.plan[:, c.VISITS] = 1
        if self.q[c.DAMP] > 0.0:
            self.plan[TWICE[len(self.shape)] : last, c.VISITS] = 2
        self.levels = self.plan[: last + 1]
        self._solve_coarsest(last, live)

    def _first_level(self, step: int) -> int:
        """Set level 1 up."""
        fine, coarse = self.plan[0], self.plan[1]
        number, label = block_components(len(self.shape))
        while True:
            cells, added = split_blocks(self.kind, step, coarse, number, label, self.first, self.cell,
                                        self.target, self.home[0], self.who)  # fmt: skip
            if cells <= min(self.cell.size, self.home[0].size):
                break
            self._grow_pairs(cells, 0)
        coarse[c.START] = 0
        fine[c.GROUP0], fine[c.GROUP1] = 0, cells
        self._open_level(1, added)
        couple_blocks(self.kind, step, self.A, coarse, self.q)
        self._grow_links(cells * 2 * len(self.shape), 0)
        if cells:
            links = couple_split(self.kind, step, self.A, coarse, self.cell[:cells], self.target, self.who,
                                 self.li, self.lj, self.lw, self.q)  # fmt: skip
            coarse[c.LINK1] = links
        return self._close_level(1)

    def _next_level(self, l: int) -> int:
        """Set level l + 1 up from level l."""
        fine, coarse = self.plan[l], self.plan[l + 1]
        home, next_home = self.home[(l - 1) % 2], self.home[l % 2]
        start = int(self.plan[l - 1, c.GROUP1])
        while True:
            added, pairs = aggregate(
                self.A, fine, coarse, home, self.li, self.lj, self.agg, self.parent, self.mark, next_home,
                self.cell[start:], self.target[start:],
            )  # fmt: skip
            if start + pairs <= self.cell.size and added <= next_home.size:
                break
            self._grow_pairs(max(start + pairs, added), start)
            home, next_home = self.home[(l - 1) % 2], self.home[l % 2]
        fine[c.GROUP0], fine[c.GROUP1] = start, start + pairs
        own_weights(self.A, fine, self.agg, self.li, self.lj, self.lw, self.work[0], self.q)
        coarse[c.START] = fine[c.START] + fine[c.SIZE]
        new = int(fine[c.LINK1])
        while True:
            self._open_level(l + 1, added)
            links = couple(self.A, fine, coarse, self.agg, self.cell[start : start + pairs], self.li, self.lj,
                           self.lw, new, self.q)  # fmt: skip
            if links <= self.li.size:
                break
            self._grow_links(links, new)
        coarse[c.LINK0], coarse[c.LINK1] = new, links
        return self._close_level(l + 1)

    def _open_level(self, l: int, added: int) -> None:
        """Make room for the unknowns of a level and clear their couplings."""
        level = self.plan[l]
        level[c.SIZE] = level[c.CELLS] + added
        start, stop = int(level[c.START]), int(level[c.START] + level[c.SIZE])
        self.A = _grown(self.A, stop, start)
        if self.agg.size < level[c.SIZE]:
            size = int(level[c.SIZE])
            self.agg, self.parent = _grown(self.agg, size, self.agg.size), _grown(self.parent, size, 0)
            self.work = _grown(self.work, size, 0)
        self.A[:5, start:stop] = 0.0

    def _close_level(self, l: int) -> int:
        live = diagonals(self.A, self.plan[l], self.li, self.lj, self.lw, self.q)
        self.unknowns_per_level.append(live)
        return live

    def _grow_pairs(self, size: int, keep: int) -> None:
        """Lengthen the lists of cells whose aggregate is not the cell over them."""
        self.cell, self.target = _grown(self.cell, size, keep), _grown(self.target, size, keep)
        self.home = [_grown(home, size, home.size) for home in self.home]

    def _grow_links(self, size: int, keep: int) -> None:
        self.li, self.lj = _grown(self.li, size, keep), _grown(self.lj, size, keep)
        self.lw = _grown(self.lw, size, keep)

    def _solve_coarsest(self, last: int, live: int) -> None:
        """Invert the coarsest level, if coupled unknowns are left."""
        if last == 0:
            self._dense_grid()
            return
        number = self.agg
        self.corner, dense = dense_matrix(self.A, self.plan[last], self.li, self.lj, self.lw, number)
        self.dense = dense.astype(self.dtype)

    def _dense_grid(self) -> None:
        """Treat a grid with few coupled cells as its own coarsest level, by a level of unit couplings."""
        head = self.plan[0].copy()
        head[c.START] = 0
        cells, m, s = int(head[c.CELLS]), int(head[c.ROW]), int(head[c.LINE])
        use = (self.kind < 64).reshape(-1) & (self.flags.reshape(-1) == 1)
        A = np.zeros((c.FIELDS, cells))
        for field, gap in ((c.FACE0, m), (c.FACE1, 1), (c.FACE2, s)):
            if gap:
                A[field, :-gap] = use[:-gap] & use[gap:]
        A[c.AIR_COUPLING] = np.where(use, self.kind.reshape(-1) & 7, 0)
        q = self.q.astype(np.float64)
        none, weights = np.empty(0, np.int32), np.empty(0)
        diagonals(A, head, none, none, weights, q)
        self.corner, dense = dense_matrix(A, head, none, none, weights, np.empty(cells, np.int32))
        self.dense = dense.astype(self.dtype)
        if self.work.shape[1] < cells:
            self.work = np.zeros((3, cells), self.dtype)
        count = self.count.reshape(-1)
        np.divide(1.0, count, out=self.work[0, :cells], where=count > 0, casting="same_kind")

    def cycle(self, b: Array, x: Array) -> float:
        """Write ``x = B b`` on padded grids and return ``b . x``; both are zero in the ring and off FLUID."""
        if len(self.levels) == 1:
            flat, right = x.reshape(-1), b.reshape(-1)
            bottom(flat, right, self.work[0, : flat.size], self.corner, self.dense, self.q)
            return float(right.astype(np.float64) @ flat)
        step, one = self.step, self.levels[1]
        start, stop = one[c.START], one[c.START] + one[c.SIZE]
        mc, sc = one[c.ROW], one[c.LINE]
        down(b, x, self.count, self.kind, step, self.scratch, self.A[c.RHS, start:stop], mc, sc, self.first,
             self.cell, self.target, self.q)  # fmt: skip
        coarse_cycle(self.A, self.levels, step, self.work, self.li, self.lj, self.lw, self.cell, self.target,
                     self.corner, self.dense, self.q)  # fmt: skip
        return float(
            up(b, x, self.count, self.kind, step, self.scratch, self.A[c.X, start:stop], mc, sc, self.first,
               self.cell, self.target, self.q)
        )  # fmt: skip
