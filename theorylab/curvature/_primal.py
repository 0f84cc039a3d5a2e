"""Equal blocks of at most m columns through their b x b matrices (form F3), which never cancels.

Every solve is followed by one step of refinement with the residual taken from
the rows themselves, so that the rounding of the b x b matrix is undone too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._factor import refuse_singular, warn_if_singular
from ._kernels import combine_rows_exactly
from ._parallel import serial_blas
from ._rows import Rows
from ._triangles import invert_lower_batch, solve_batch

__all__ = ["Primal"]

Array = NDArray[Any]

#: Products of rows and right-hand sides held at a time.
_COEFFICIENTS = 1 << 23


class Primal:
    """``A`` restricted to ``count`` blocks of ``width`` neighbouring columns.

    Parameters
    ----------
    rows : Rows
        With ``count * width`` columns.
    share : ndarray of shape (m,)
        N over the weight of each row.
    width : int
    moment : ndarray of shape (count, width, width)
        ``G_b^T diag(1/share) G_b`` of each block.
    """

    def __init__(self, rows: Rows, share: Array, width: int, moment: Array | None = None) -> None:
        self.rows, self.share, self.width = rows, share, width
        self.count = rows.d // width
        self.moment = self._moments() if moment is None else moment
        self.damping = np.nan
        self.L: Array

    @property
    def d(self) -> int:
        """Number of columns."""
        return self.rows.d

    @property
    def nbytes(self) -> int:
        """Bytes beside the rows."""
        return int(self.moment.nbytes + self.L.nbytes)

    def _panels(self) -> Iterator[tuple[int, int, Array]]:
        """Yield ranges of blocks with their rows in float64, shape (blocks, m, width)."""
        step = max(1, self.rows.tile // self.width)
        for k in range(0, self.count, step):
            stop = min(self.count, k + step)
            tile = self.rows.read64(k * self.width, stop * self.width)
            cube = tile.reshape(self.rows.m, stop - k, self.width).transpose(1, 0, 2)
            yield k, stop, np.ascontiguousarray(cube)

    def _moments(self) -> Array:
        """Return the moments of all blocks, one pass."""
        if self.count == 1:
            return self.rows.inner(1 / self.share)[None]
        out = np.empty((self.count, self.width, self.width))
        self.rows.cost.add("gram", self.rows.m * self.d * self.width, self.rows.nbytes)
        with serial_blas():
            for k, stop, tile in self._panels():
                out[k:stop] = tile.transpose(0, 2, 1) @ (tile / self.share[:, None])
        return (out + out.transpose(0, 2, 1)) / 2

    def weighted_square(self) -> float:
        """Return ``trace(G^T diag(1/share) G)``."""
        return float(np.einsum("kii->", self.moment))

    def damped(self, damping: float) -> Primal:
        """Return the same blocks at another damping; the moments are shared."""
        other = Primal(self.rows, self.share, self.width, self.moment)
        other.damping = damping
        other.rows.cost.add("factor", self.count * self.width**3 // 3)
        try:
            with serial_blas():
                other.L = np.linalg.cholesky(self.moment + damping * np.eye(self.width))
        except np.linalg.LinAlgError:
            raise refuse_singular(other.kappa(), damping) from None
        return other

    def kappa(self) -> float:
        """Return ``1 + sigma_max(G)^2 / (N lam)``, the largest of the blocks."""
        with serial_blas():
            largest = np.linalg.eigvalsh(self.moment)[:, -1].max()
        return 1 + float(largest) / self.damping

    def warn(self, stacklevel: int) -> None:
        """Warn if the damping is lost in the rounding of the moments."""
        largest = float(np.einsum("kii->k", self.moment).max())
        warn_if_singular(largest / self.damping, self.kappa, self.damping, stacklevel + 1)

    def keep_white(self) -> None:
        """Do nothing: one element already costs O(width^2)."""

    # --- products --------------------------------------------------------------------------------------

    def _blocks(self, x: Array) -> Array:
        return x.reshape(self.count, self.width, -1)

    def _raw_solve(self, x: Array) -> Array:
        """Return ``A^-1 x`` for float64 `x` of shape (d, k) from the factor alone."""
        y = np.array(self._blocks(x), dtype=np.float64, order="C")
        self.rows.cost.add("solve", 2 * self.d * self.width * y.shape[2])
        solve_batch(self.L, y)
        return y.reshape(x.shape)

    def _apply(self, y: Array) -> Array:
        """Return ``G_b^T diag(1/share) G_b y_b`` for every block."""
        if self.count == 1:
            step = max(self.width, _COEFFICIENTS // max(self.rows.m, 1))
            pieces = [y[:, k : k + step] for k in range(0, max(y.shape[1], 1), step)]
            done = [self.rows.combine(self.rows.dots(piece) / self.share[:, None]) for piece in pieces]
            return done[0] if len(done) == 1 else np.concatenate(done, axis=1)
        out, blocks = np.empty((self.count, self.width, y.shape[1])), self._blocks(y)
        self.rows.cost.add("dots", 4 * self.rows.m * y.size, self.rows.nbytes)
        with serial_blas():
            for k, stop, tile in self._panels():
                t = tile @ blocks[k:stop]
                out[k:stop] = tile.transpose(0, 2, 1) @ (t / self.share[:, None])
        return out.reshape(y.shape)

    def _refined(self, x: Array, steps: int = 1) -> Array:
        y = self._raw_solve(x)
        for _ in range(steps):
            y += self._raw_solve(x - self.damping * y - self._apply(y))
        return y

    def solve(self, x: Array, refine: int, dtype: Any) -> Array:
        """Return ``A^-1 x`` with one step of refinement, one more if `refine`."""
        x64 = x.astype(np.float64).reshape(self.d, -1)
        return self._refined(x64, 1 + refine).reshape(x.shape).astype(dtype, copy=False)

    def solve_rows(self, C: Array, dtype: Any) -> Array:
        """Return ``A^-1 G^T C``."""
        y = self.solve(self.rows.combine(C), 0, np.float64)
        if self.ill_conditioned():
            c, refined = C.reshape(self.rows.m, -1), y.reshape(self.d, -1)
            for _ in range(2):
                refined = refined + self._raw_solve(self._row_residual(c, refined))
            y = refined.reshape(y.shape)
        return y.astype(dtype, copy=False)

    def ill_conditioned(self) -> bool:
        """Tell whether trace and smallest pivot point to a condition number of a block beyond 1e4."""
        smallest = np.einsum("kii->ki", self.L).min(axis=1)
        return not np.all(np.einsum("kii->k", self.moment) <= 1e4 * smallest**2)

    def _row_residual(self, c: Array, y: Array) -> Array:
        """Return ``G^T (c - G y / share) - lam y``, whose first term is rounded once.

        The inverse magnifies what is outside the span of the rows, where this leaves nothing.
        """
        if self.count == 1:
            return self.rows.combine_exactly(c - self.rows.dots(y) / self.share[:, None]) - self.damping * y
        out, blocks = np.empty((self.count, self.width, y.shape[1])), self._blocks(y)
        high, low = np.empty(self.width), np.empty(self.width)
        self.rows.cost.add("dots", 4 * self.rows.m * y.size, self.rows.nbytes)
        with serial_blas():
            for k, stop, tile in self._panels():
                t = np.ascontiguousarray((c - tile @ blocks[k:stop] / self.share[:, None]).swapaxes(1, 2))
                for b, j in np.ndindex(*t.shape[:2]):
                    combine_rows_exactly(tile[b], 0, self.width, t[b, j], high, low)
                    out[k + b, :, j] = high + low
        return out.reshape(y.shape) - self.damping * y

    def forward(self, x: Array, dtype: Any) -> Array:
        """Return ``A x``."""
        x64 = x.astype(np.float64).reshape(self.d, -1)
        return (self.damping * x64 + self._apply(x64)).reshape(x.shape).astype(dtype, copy=False)

    def power(self, x: Array, inverse: bool, dtype: Any) -> Array:
        """Return ``A^(-1/2) x`` or ``A^(1/2) x`` from the spectra of the blocks."""
        with serial_blas():
            s, Q = np.linalg.eigh(self.moment)
            root = np.sqrt(self.damping + np.maximum(s, 0.0))[:, :, None]
            t = Q.transpose(0, 2, 1) @ self._blocks(x.astype(np.float64))
            y: Array = Q @ (t / root if inverse else t * root)
        return y.reshape(x.shape).astype(dtype, copy=False)

    # --- entries and invariants ------------------------------------------------------------------------

    def _inverse_factor(self) -> Array:
        W = np.zeros_like(self.L)
        invert_lower_batch(self.L, W)
        return W

    def diagonal(self) -> Array:
        """Return the diagonal of ``A^-1`` as sums of squares."""
        W = self._inverse_factor()
        squares: Array = np.einsum("kij,kij->kj", W, W)
        return squares.ravel()

    def columns(self, index: Array) -> Array:
        """Return columns of ``A^-1``, shape (d, len(index))."""
        x = np.zeros((self.d, len(index)))
        x[index, np.arange(len(index))] = 1
        return self._refined(x)

    def element(self, i: int, j: int) -> float:
        """Return one entry of ``A^-1``."""
        k = i // self.width
        if k != j // self.width:
            return 0.0
        e = np.zeros((1, self.width, 1))
        e[0, j - k * self.width] = 1
        solve_batch(self.L[k : k + 1], e)
        return float(e[0, i - k * self.width, 0])

    def cross(self) -> Array:
        """Return the sum of ``G_b A_b^-1 G_b^T``, a sum of squares on its diagonal."""
        m = self.rows.m
        W, total = self._inverse_factor(), np.zeros((m, m))
        with serial_blas():
            for k, stop, tile in self._panels():
                X = (tile @ W[k:stop].transpose(0, 2, 1)).transpose(1, 0, 2).reshape(m, -1)
                total += X @ X.T
        return total

    def leverages(self) -> Array:
        """Return the diagonal of :meth:`cross` over `share`."""
        W, total = self._inverse_factor(), np.zeros(self.rows.m)
        with serial_blas():
            for k, stop, tile in self._panels():
                X = tile @ W[k:stop].transpose(0, 2, 1)
                total += np.einsum("kij,kij->i", X, X)
        return total / self.share

    def logdet(self) -> float:
        """Return ``log det A``."""
        return 2 * float(np.sum(np.log(np.einsum("kii->ki", self.L))))

    def trace(self) -> float:
        """Return ``tr A^-1``."""
        W = self._inverse_factor()
        return float(np.einsum("kij,kij->", W, W))
