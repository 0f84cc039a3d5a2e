"""The m x m half of a sliding window: the Gram by slot, and the factor of K in order of age."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ._cost import Cost
from ._factor import U64, Factor, cholesky, condition, warn_if_singular
from ._triangles import append_row, delete_row, forward_substitute

__all__ = ["SlidingFactor"]

Array = NDArray[Any]


class SlidingFactor:
    """Gram matrix and Cholesky factor of the rows in a window, whose slots are reused.

    Parameters
    ----------
    window : int
        Number of slots.
    damping : float
    norm : {"window", "count"} or float
        The rule for N.
    cost : Cost

    Attributes
    ----------
    gram : ndarray of shape (window, window)
        Products of the stored rows, by slot.
    scale : ndarray of shape (window,)
        What each row was divided by before it was stored.
    slots : list of int
        Slots of the rows, oldest first.
    U : ndarray of shape (window, window)
        ``U^T U = K[slots][:, slots]``.
    """

    def __init__(self, window: int, damping: float, norm: str | float, cost: Cost) -> None:
        self.window, self.damping, self.rule, self.cost = window, damping, norm, cost
        self.gram, self.scale = np.zeros((window, window)), np.ones(window)
        self.slots: list[int] = []
        self.U, self._spare = np.zeros((window, window)), np.zeros((window, window))

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.slots)

    @property
    def nbytes(self) -> int:
        """Bytes of the matrices."""
        return int(self.gram.nbytes + self.U.nbytes + self._spare.nbytes)

    def norm(self, n: int) -> float:
        """Return N when `n` rows are in the window."""
        if isinstance(self.rule, str):
            return float(self.window if self.rule == "window" else max(n, 1))
        return self.rule

    def share(self, index: Any, n: int) -> Array:
        """Return N over the weight of the stored rows `index` in a window of `n`."""
        return np.asarray(self.norm(n) / self.scale[index] / self.scale[index])

    def factor(self) -> Factor:
        """Return the factor with the order of its rows."""
        return Factor(self.U[: self.n, : self.n].T, np.array(self.slots, dtype=np.intp))

    # --- arrivals and departures -----------------------------------------------------------------------

    def next_slot(self) -> int:
        """Return where the next row will be stored: in place of the oldest if the window is full."""
        return self.slots[0] if self.n == self.window else self.n

    def insert(self, products: Array, scale: float, stacklevel: int) -> None:
        """Let a row enter whose products with the rows by slot are given, its own square among them.

        Warn if the damping is lost in rounding. A failure leaves everything as it was.
        """
        slot, full = self.next_slot(), self.n == self.window
        order = [*(self.slots[1:] if full else self.slots), slot]
        before = self.gram[slot].copy(), self.gram[:, slot].copy(), self.scale[slot]
        self.gram[slot, : products.size] = self.gram[: products.size, slot] = products
        self.scale[slot] = scale
        try:
            self.warn(order, stacklevel + 1)
            self._grow(order, full)
        except Exception:
            self.gram[slot], self.gram[:, slot], self.scale[slot] = before
            raise
        self.slots = order

    def warn(self, slots: list[int], stacklevel: int) -> None:
        """Warn if the damping is lost in the rounding of the Gram of the rows in `slots`."""
        ridge = self.damping * self.share(slots, len(slots))
        with np.errstate(over="ignore"):
            bound = float(np.sum(self.gram[slots, slots] / ridge))
        block = np.ix_(slots, slots)
        warn_if_singular(bound, lambda: condition(self.gram[block], ridge), self.damping, stacklevel + 1)

    def _grow(self, order: list[int], full: bool) -> None:
        """Make the factor of the rows in `order`, whose last one is new."""
        n = len(order)
        if self.norm(n) != self.norm(self.n) or n == 1:
            self.refactor(order)
            return
        U = self.U
        if full:
            delete_row(U[:n, :n], 0, self._spare)
            U = self._spare
        new = order[-1]
        square, ridge = self.gram[new, new], self.damping * float(self.share(new, n))
        y = forward_substitute(U[: n - 1, : n - 1], self.gram[new, order[:-1]])
        rest = square + ridge - float(y @ y)
        self.cost.add("slide", (3 if full else 0) * (n - 1) ** 2 + n * n)
        if rest <= 8 * U64 * n * (square + ridge):
            self.refactor(order)
            return
        append_row(U, n - 1, y, np.sqrt(rest))
        if full:
            self.U, self._spare = self._spare, self.U

    def refactor(self, order: list[int]) -> None:
        """Factor K anew from the kept Gram, for the rows in `order`; nothing changes if that fails."""
        n = len(order)
        self.cost.add("factor", n**3 // 3)
        ridge = self.damping * self.share(order, n)
        self.U[:n, :n] = cholesky(self.gram[np.ix_(order, order)], ridge, self.damping).L.T

    def remove(self, age: int, stacklevel: int) -> tuple[int, int]:
        """Take out the row of the given age; return its slot, and that of the row to be moved there.

        Warn where the smaller N makes the damping one that rounding hides.
        """
        n = self.n
        slot, last = self.slots[age], n - 1
        if self.norm(n - 1) != self.norm(n):
            rest = [s for s in self.slots if s != slot]
            self.warn(rest, stacklevel + 1)
            self.refactor(rest)
        else:
            self.cost.add("slide", 3 * (n - 1 - age) ** 2)
            delete_row(self.U[:n, :n], age, self._spare)
            self.U, self._spare = self._spare, self.U
        if slot != last:  # the rows stay together: the last one moves into the gap
            self.scale[slot] = self.scale[last]
            self.gram[slot, :n] = self.gram[last, :n]
            self.gram[:n, slot] = self.gram[:n, last]
            self.gram[slot, slot] = self.gram[last, last]
        self.slots = [slot if s == last else s for i, s in enumerate(self.slots) if i != age]
        return slot, last

    # --- keeping ---------------------------------------------------------------------------------------

    def copy(self) -> Self:
        """Return the same state in memory of its own."""
        other = type(self)(self.window, self.damping, self.rule, self.cost)
        other.gram[:], other.scale[:], other.U[:] = self.gram, self.scale, self.U
        other.slots = list(self.slots)
        return other

    def state(self) -> dict[str, Any]:
        """Return copies of what is needed to go on with the same bits."""
        n = self.n
        return {
            "scale": self.scale[:n].copy(),
            "gram": self.gram[:n, :n].copy(),
            "factor": self.U[:n, :n].copy(),
            "slots": list(self.slots),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` returned."""
        n = len(state["slots"])
        self.scale[:n], self.gram[:n, :n], self.U[:n, :n] = state["scale"], state["gram"], state["factor"]
        self.slots = [int(s) for s in state["slots"]]
