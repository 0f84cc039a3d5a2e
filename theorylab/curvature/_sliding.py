"""A window of the newest gradients: replace the oldest row in O(d m + m^2)."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.sparse.linalg import LinearOperator

from .._lib.checks import check_choice, check_int, check_real
from ._dual import Dual
from ._inputs import accept_damping, accept_vector
from ._inverse import FisherInverse
from ._kernels import row_dots
from ._primal import Primal
from ._rows import Rows
from ._sliding_factor import SlidingFactor
from ._storage import narrowed, storage_name, widen

__all__ = ["SlidingFisherInverse"]

Array = NDArray[Any]


class SlidingFisherInverse(FisherInverse):
    """The inverse of ``damping * I + (1/N) sum_i g_i g_i^T`` over a window of the newest gradients.

    Starts empty, where ``A = damping * I``. All methods of :class:`FisherInverse`
    act on the rows that are in the window now, in no particular order of age
    (:attr:`ages` tells it).

    Parameters
    ----------
    d : int
        Length of a gradient.
    window : int
        Largest number of gradients kept.
    damping : float
        lam > 0.
    dtype : {"float32", "float64", "float16", "bfloat16"}
        Storage of the rows; gradients are rounded to it on arrival. float16 rows
        carry a scale each. Sums and m x m matrices are float64 throughout.
    norm : {"window", "count"} or float
        N: the size of the window from the start (as published: a young window is
        damped more weakly relative to its rows), the number of rows in it, or a
        fixed number.
    buffer : ndarray of shape (window, d), optional
        Memory for the rows, for instance a memory map. Default: allocated.
    tile : int
        Columns of a tile.

    Attributes
    ----------
    n_filled : int
        Rows in the window (also :attr:`m`).
    window : int
    ages : ndarray of int
        Age rank of each stored row, 0 for the oldest.

    Notes
    -----
    The factor ``U^T U = K = N lam I + G G^T`` is kept in order of age. Dropping
    the oldest row is a rank-one *update* of the trailing block by Givens
    rotations, appending one a forward substitution: ``3 m^2`` flops against the
    ``m^3`` of the published algorithm.

    *No drift.* Every entry of ``U^T U`` stems from one gradient's arrival and
    leaves with it, at most m slides later, and each slide changes the trailing
    block by an orthogonal transformation with a relative backward error of
    order u. Hence ``|U^T U - K| <= c m u |K|`` after any number of slides.

    References
    ----------
    .. [1] E. Frantar, E. Kurtic, D. Alistarh, "M-FAC", NeurIPS 2021, arXiv:2107.03356, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.curvature import SlidingFisherInverse
    >>> inv = SlidingFisherInverse(3, window=2, damping=1.0, dtype="float64")
    >>> inv.update_solve(np.array([2.0, 0.0, 0.0]))         # m g / (m lam + |g|^2)
    array([0.66666667, 0.        , 0.        ])
    >>> inv.n_filled
    1
    """

    def __init__(
        self,
        d: int,
        window: int,
        damping: float,
        *,
        dtype: DTypeLike = "float32",
        norm: str | float = "window",
        buffer: Array | None = None,
        tile: int = 4096,
        check_finite: bool = True,
    ) -> None:
        d, self.window = check_int(d, "d", low=1), check_int(window, "window", low=1)
        self.damping = check_real(damping, "damping", low=0.0, open_low=True)
        name = storage_name(dtype)
        self._storage = name
        self._stored = np.dtype(np.uint16 if name == "bfloat16" else name)
        if isinstance(norm, str):
            check_choice(norm, "norm", ("window", "count"))
        else:
            norm = check_real(norm, "norm", low=0.0, open_low=True)
        if buffer is None:
            buffer = np.zeros((self.window, d), self._stored)
        elif buffer.shape != (self.window, d) or buffer.dtype != self._stored or not buffer.flags.writeable:
            raise ValueError(
                f"buffer has shape {buffer.shape} and dtype {buffer.dtype}, "
                f"expected a writeable array of shape {(self.window, d)} and dtype {self._stored}"
            )
        self._buffer = buffer if isinstance(buffer, np.ndarray) else np.asarray(buffer)
        self._tile, self._check_finite = check_int(tile, "tile", low=1), check_finite
        self._all_rows = Rows(np.asarray(self._buffer), tile=self._tile, bfloat16=name == "bfloat16")
        LinearOperator.__init__(self, self._all_rows.dtype, (d, d))
        self._torch, self._weights, self.blocks = False, None, [d]
        self._K = SlidingFactor(self.window, self.damping, norm, self._all_rows.cost)
        self._rows = self._all_rows
        self._refresh()

    # --- what FisherInverse works on -------------------------------------------------------------------

    def _refresh(self) -> None:
        """Forget what was derived from the former rows."""
        n = self._K.n
        self.norm = self._K.norm(n)
        ring = self._all_rows
        if self._rows.m != n:
            self._rows = Rows(ring.source[:n], tile=ring.tile, bfloat16=ring.bfloat16, cost=ring.cost)
        self._scale = None if (self._K.scale[:n] == 1.0).all() else self._K.scale[:n].copy()
        self._lazy_parts: list[tuple[int, Dual | Primal]] | None = None
        self._gram = None

    @property
    def _parts(self) -> list[tuple[int, Dual | Primal]]:
        """The one block: through K, or through A itself once the rows are at least as many as the columns."""
        if self._lazy_parts is None:
            n = self._K.n
            share = self._K.share(slice(n), n)
            if self.d <= n and share.min() > 1e-280:  # squares of larger rows overflow in A
                self._lazy_parts = [(0, Primal(self._rows, share, self.d).damped(self.damping))]
            else:
                self._lazy_parts = [(0, self._dual(n, share))]
        return self._lazy_parts

    @_parts.setter
    def _parts(self, parts: list[tuple[int, Dual | Primal]]) -> None:
        self._lazy_parts = parts

    def _dual(self, n: int, share: Array) -> Dual:
        dual = Dual(self._rows, share, self._K.gram[:n, :n])
        dual.damping, dual.factor = self.damping, self._K.factor()
        return dual

    @property
    def n_filled(self) -> int:
        """Rows in the window."""
        return self._K.n

    @property
    def ages(self) -> Array:
        """Age rank of each stored row, 0 for the oldest; shape (n_filled,)."""
        return np.argsort(np.array(self._K.slots, dtype=np.intp))

    @property
    def nbytes(self) -> int:
        """Bytes of the buffer and of everything kept beside it."""
        return int(self._buffer.nbytes) + self._K.nbytes

    # --- arrivals and departures -----------------------------------------------------------------------

    def _accept(self, g: Any) -> tuple[Array, float, np.dtype[Any], Any]:
        """Return the gradient as it will be stored, its scale, its dtype, and how to hand a result back."""
        array, restore = accept_vector(g, self.d, "g", "d", finite=self._check_finite, single=True)
        stored, scale = narrowed(array, self._storage)
        return stored, scale, array.dtype, restore

    def _numbers(self, stored: Array) -> Array:
        """Return a stored row as float32 or float64."""
        return widen(stored, self._storage == "bfloat16")

    def update(self, g: Any) -> None:
        """Let `g` enter the window; the oldest row leaves it if it is full.

        Parameters
        ----------
        g : array_like or torch tensor of shape (d,)

        Raises
        ------
        ValueError
            For a wrong length, NaN or infinity. The window is then unchanged to the
            last bit.

        Warns
        -----
        LinAlgWarning
            For a damping that is lost in rounding, below ``4 u sigma_max(G)^2 / N``.

        Notes
        -----
        Cost: one read of the window and O(m^2); O(m^3) while a window with
        ``norm="count"`` fills, because N changes the whole diagonal of K.
        """
        stored, scale, _, _ = self._accept(g)
        self._insert(stored, scale)

    def update_solve(self, g: Any, x: Any = None) -> Any:
        """Let `g` enter the window, then return ``A^-1 g``, or ``A^-1 x`` if `x` is given.

        Notes
        -----
        ``A^-1 g`` is the product with a stored row (form F2): two reads of the
        window in all, accurate at every damping. The row is `g` as it was stored.
        """
        if x is not None:
            return self._update_solve_other(g, x)
        stored, scale, kind, restore = self._accept(g)
        slot = self._insert(stored, scale)
        c = np.zeros(self._K.n)
        c[slot] = scale
        return restore(self._parts[0][1].solve_rows(c, kind))

    def _update_solve_other(self, g: Any, x: Any) -> Any:
        """Return ``A^-1 x`` after `g` entered; one read of the window serves G g and G x."""
        vector, restore = self._vector(x)
        stored, scale, _, _ = self._accept(g)
        if vector.ndim == 2 or not self._K.n or self.d <= self.window:
            self._insert(stored, scale, stacklevel=5)
            return restore(self._blockwise("solve", vector, 0, vector.dtype))
        numbers = self._numbers(stored)
        both = self._rows.dots_pair(numbers, vector)
        slot = self._insert(stored, scale, both[:, 0], stacklevel=5)
        t = np.zeros(self._K.n)
        t[: len(both)] = both[:, 1]
        t[slot] = _dot(numbers, vector)
        part = self._parts[0][1]
        assert isinstance(part, Dual)
        return restore(part.solve_from(t, vector, vector.dtype))

    def extend(self, G_batch: Any) -> None:
        """Let the rows of a batch (k, d) enter one after the other; refused as a whole if one is bad."""
        if np.ndim(G_batch) == 0:
            raise TypeError(f"G_batch is {G_batch!r}, expected rows of shape (k, {self.d})")
        accepted = []
        for i, g in enumerate(G_batch):
            try:
                accepted.append(self._accept(g)[:2])
            except (TypeError, ValueError) as error:
                raise type(error)(f"row {i} of G_batch: {error}") from None
        before = self._K.copy()
        leaving = before.slots[: max(0, before.n + len(accepted) - self.window)]
        rows = self._buffer[leaving]
        try:
            for stored, scale in accepted:
                self._insert(stored, scale)
        except Exception:
            self._K, self._buffer[leaving] = before, rows
            self._refresh()
            raise

    def remove(self, age: int) -> None:
        """Take out the row of the given age, 0 for the oldest.

        Raises
        ------
        IndexError
            For an age beyond the rows in the window.

        Warns
        -----
        LinAlgWarning
            With ``norm="count"``, where the smaller N leaves a damping that is lost in rounding.

        Notes
        -----
        Cost: O(d + m^2); O(m^3) with ``norm="count"``, because N changes the whole diagonal of K.
        """
        n = self._K.n
        age = check_int(age, "age")
        if not -n <= age < n:
            raise IndexError(f"age {age} is out of bounds for a window with {n} rows")
        slot, last = self._K.remove(age % n, stacklevel=3)
        self._buffer[slot] = self._buffer[last]
        self._refresh()

    def _insert(self, stored: Array, scale: float, products: Array | None = None, stacklevel: int = 4) -> int:
        """Put one checked row into the window and return its slot; a failure leaves everything as it was."""
        n, slot = self._K.n, self._K.next_slot()
        numbers = self._numbers(stored)
        if products is None:
            products = self._rows.dots(numbers) if n else np.zeros(0)
        row = np.zeros(max(n, slot + 1))
        row[:n] = products
        row[slot] = _dot(numbers, numbers)
        self._K.insert(row, scale, stacklevel)
        self._buffer[slot] = stored
        self._refresh()
        return slot

    def with_damping(self, lam: float | tuple[str, float]) -> Self:
        """Return a window with the same rows (a copy) at another damping; m^3 / 3 flops."""
        value, relative = accept_damping(lam)
        state = self.state_dict()
        state["damping"] = self._relative(value, self._parts) if relative else value
        other = self.from_state_dict(state)
        other._K.refactor(other._K.slots)
        other._K.warn(other._K.slots, stacklevel=3)
        return other

    # --- keeping ---------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that is needed to go on with the same bits: arrays (copies) and plain numbers."""
        return {
            "d": self.d,
            "window": self.window,
            "damping": self.damping,
            "dtype": self._storage,
            "norm": self._K.rule,
            "tile": self._tile,
            "rows": np.array(self._buffer[: self._K.n]),
            **self._K.state(),
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Self:
        """Rebuild a window from :meth:`state_dict`; its bits go on as if there had been no break."""
        inv = cls(
            state["d"],
            state["window"],
            state["damping"],
            dtype=state["dtype"],
            norm=state["norm"],
            tile=state["tile"],
        )
        inv._buffer[: len(state["slots"])] = state["rows"]
        inv._K.restore(state)
        inv._refresh()
        return inv

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy by the state, so that the views into the buffer are views again."""
        return type(self).from_state_dict, (self.state_dict(),)


def _dot(a: Array, b: Array) -> float:
    """Return ``a . b`` in float64 with a fixed order of summation."""
    total = np.zeros(1)
    row_dots(np.ascontiguousarray(a)[None], 0, a.size, 1 << 14, b, total)
    return float(total[0])
