"""One block of columns through the m x m matrix K (forms F1 and F2), for more columns than rows.

With rows G, weights w and ``share = N / w`` the matrix is
``A = lam I + G^T diag(1/share) G`` and ``K = lam diag(share) + G G^T``:

F1  ``A^-1 x = (x - G^T K^-1 G x) / lam``
F2  ``A^-1 G^T c = G^T K^-1 (share c)``, one pass and no cancellation
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._factor import Factor, cholesky, condition, warn_if_singular
from ._parallel import serial_blas, times
from ._rows import Rows

__all__ = ["Dual"]

Array = NDArray[Any]


class Dual:
    """``A`` restricted to the columns of `rows`, inverted through K.

    Parameters
    ----------
    rows : Rows
    share : ndarray of shape (m,)
        N over the weight of each row.
    gram : ndarray of shape (m, m)
        ``G G^T`` of these columns.
    """

    def __init__(self, rows: Rows, share: Array, gram: Array) -> None:
        self.rows, self.share, self.gram = rows, share, gram
        self.damping = np.nan
        self.factor: Factor
        self.white: Array | None = None
        self._spectrum: tuple[Array, Array] | None = None

    @property
    def d(self) -> int:
        """Number of columns."""
        return self.rows.d

    @property
    def nbytes(self) -> int:
        """Bytes beside the rows."""
        white = 0 if self.white is None else self.white.nbytes
        return int(self.gram.nbytes + self.factor.nbytes + white)

    def weighted_square(self) -> float:
        """Return ``trace(G^T diag(1/share) G)``."""
        with np.errstate(over="ignore"):
            return float(np.sum(self.gram.diagonal() / self.share))

    def damped(self, damping: float) -> Dual:
        """Return the same block at another damping; the Gram and the spectrum are shared."""
        other = Dual(self.rows, self.share, self.gram)
        other.damping, other._spectrum = damping, self._spectrum
        other.rows.cost.add("factor", self.rows.m**3 // 3)
        other.factor = cholesky(self.gram, damping * self.share, damping)
        return other

    def kappa(self) -> float:
        """Return ``1 + sigma_max(G)^2 / (N lam)``."""
        return condition(self.gram, self.damping * self.share)

    def warn(self, stacklevel: int) -> None:
        """Warn if the damping is lost in the rounding of the Gram."""
        if self.rows.m:
            warn_if_singular(self.weighted_square() / self.damping, self.kappa, self.damping, stacklevel + 1)

    def ill_conditioned(self) -> bool:
        """Tell whether trace and smallest pivot point to a condition number of K beyond 1e4."""
        trace = np.sum(self.gram.diagonal() + self.damping * self.share)
        return not trace <= 1e4 * self.factor.L.diagonal().min(initial=np.inf) ** 2

    def keep_white(self) -> None:
        """Store ``V = L^-1 G``, so that one element costs O(m)."""
        V = np.empty((self.rows.m, self.d))

        def store(t: int, e: int, tile: Array) -> None:
            V[:, t:e] = tile

        self.rows.whiten(self.factor.whitener(), store)
        self.white = V

    def _inverse_times(self, B: Array) -> Array:
        """Return ``K^-1 B`` and count it."""
        self.rows.cost.add("solve", 2 * self.rows.m**2 * (1 if B.ndim == 1 else B.shape[1]))
        return self.factor.solve(B)

    def _spread(self, vector: Array, like: Array) -> Array:
        """Give a vector over rows the trailing axis of `like`."""
        return vector if like.ndim == 1 else vector[:, None]

    # --- products --------------------------------------------------------------------------------------

    def solve(self, x: Array, refine: int, dtype: Any) -> Array:
        """Return ``A^-1 x`` by F1, with the row-space correction if `refine`."""
        products = self.rows.dots(x)
        if not refine:
            return self.solve_from(products, x, dtype)
        a = self._inverse_times(products)
        y = self.rows.combine(a, x, self.damping)
        for _ in range(refine):
            share = self._spread(self.share, a)
            correction = self._inverse_times(share * a - self.rows.dots(y))
            y = self.rows.combine(-correction, y)
            a = a - correction * self.damping
        return y.astype(dtype, copy=False)

    def solve_from(self, products: Array, x: Array, dtype: Any) -> Array:
        """Return ``A^-1 x`` where ``G x`` is known already."""
        return self.rows.combine(self._inverse_times(products), x, self.damping, dtype)

    def solve_rows(self, C: Array, dtype: Any) -> Array:
        """Return ``A^-1 G^T C`` by F2, corrected once where the coefficients cancel."""
        smallest = float(self.share.min(initial=1.0))
        if smallest < 1e-100:  # rows of more than 1e100, scaled down: their coefficients would underflow
            lift = 2.0 ** round(-np.log2(smallest) / 2)
            y: Array = self._solve_rows(C * lift) / lift
        else:
            y = self._solve_rows(C)
        return y.astype(dtype, copy=False)

    def _solve_rows(self, C: Array) -> Array:
        share = self._spread(self.share, C)
        a = self._inverse_times(share * C)
        y = self.rows.combine(a)
        norms = self._spread(np.sqrt(self.gram.diagonal()), C)
        lost = np.sum(np.abs(a) * norms, axis=0) > 100 * np.sqrt(np.sum(y * y, axis=0))
        if np.any(lost):
            # The sum without rounding lies in the span of the rows, where one correction acts:
            # G^T (C - lam a - G y / share) is the residual of y.
            y = self.rows.combine_exactly(a)
            delta = share * (C - self.damping * a) - self.rows.dots(y)
            y = self.rows.combine(-self._inverse_times(delta), y)
        return y

    def forward(self, x: Array, dtype: Any) -> Array:
        """Return ``A x``."""
        t = self.rows.dots(x)
        return self.rows.combine(-t / self._spread(self.damping * self.share, t), x, 1 / self.damping, dtype)

    def power(self, x: Array, inverse: bool, dtype: Any) -> Array:
        """Return ``A^(-1/2) x`` or ``A^(1/2) x`` from the spectrum of the weighted Gram."""
        s, Q = self.spectrum()
        root = self._spread(1 / np.sqrt(self.share), x)
        t = times(Q.T, root * self.rows.dots(x))
        ratio = np.sqrt(self.damping / (self.damping + s))
        if inverse:
            middle, divisor = 1 / ((self.damping + s) * (1 + ratio)), np.sqrt(self.damping)
        else:
            middle, divisor = -ratio / (self.damping * (1 + ratio)), 1 / np.sqrt(self.damping)
        c = root * times(Q, self._spread(middle, t) * t)
        return self.rows.combine(c, x, divisor, dtype)

    def spectrum(self) -> tuple[Array, Array]:
        """Return eigenvalues and eigenvectors of the Gram of the rows divided by ``sqrt(share)``."""
        if self._spectrum is None:
            root = 1 / np.sqrt(self.share)
            with serial_blas():
                s, Q = np.linalg.eigh(root[:, None] * self.gram * root)
            self._spectrum = np.maximum(s, 0.0), Q
        return self._spectrum

    # --- entries and invariants ------------------------------------------------------------------------

    def diagonal(self) -> Array:
        """Return the diagonal of ``A^-1``; V passes by tile for tile."""
        out = np.empty(self.d)

        def squares(t: int, e: int, V: Array) -> None:
            out[t:e] = (1 - np.einsum("ij,ij->j", V, V)) / self.damping

        if self.white is not None:
            squares(0, self.d, self.white)
        else:
            self.rows.whiten(self.factor.whitener(), squares)
        self._positive(out)
        return out

    def _positive(self, values: Array) -> None:
        if np.any(values <= 0):
            raise FloatingPointError(
                f"the diagonal of the inverse came out as {float(values.min()):.2g}, lost in cancellation "
                f"at kappa = {self.kappa():.2g}; raise the damping from {self.damping:.3g}"
            )

    def element(self, i: int, j: int) -> float:
        """Return one entry of ``A^-1``."""
        if self.white is not None:
            v, w = self.white[:, i], self.white[:, j]
        else:
            v, w = self.factor.half(self.rows.take(np.array([i, j]))).T
        value = (float(i == j) - float(v @ w)) / self.damping
        if i == j:
            self._positive(np.array([value]))
        return value

    def columns(self, index: Array) -> Array:
        """Return columns of ``A^-1``, shape (d, len(index))."""
        out = -self.rows.combine(self._inverse_times(self.rows.take(index)))
        out[index, np.arange(len(index))] += 1
        out /= self.damping
        return out

    def _leverage(self, inverse: Array) -> Array:
        """Return ``1 - lam share_i [K^-1]_ii``."""
        return 1 - self.damping * self.share * inverse.diagonal()

    def cross(self) -> Array:
        """Return ``G A^-1 G^T``; the formula without cancellation is chosen entry by entry."""
        inverse = self.factor.inverse()
        share = self.share
        by_inverse = -self.damping * share[:, None] * inverse * share
        by_inverse[np.diag_indices_from(inverse)] += share
        by_product = share[:, None] * self.factor.solve(self.gram)
        small = self._leverage(inverse) < 0.5
        both = small[:, None] & small
        return np.where(both, (by_product + by_product.T) / 2, by_inverse)

    def leverages(self) -> Array:
        """Return the diagonal of ``G A^-1 G^T`` over `share`."""
        inverse = self.factor.inverse()
        h = self._leverage(inverse)
        return np.where(h < 0.5, np.einsum("ij,ji->i", inverse, self.gram), h)

    def remainder(self) -> Array:
        """Return ``I - H A^-1 H^T`` for ``H = diag(share)^-1/2 G``, (m, m), without the cancellation."""
        root = np.sqrt(self.share)
        return self.damping * root[:, None] * self.factor.inverse() * root

    def logdet(self) -> float:
        """Return ``log det A = (d - m) log lam - sum log share + log det K``."""
        outside = (self.d - self.rows.m) * float(np.log(self.damping))
        return outside - float(np.sum(np.log(self.share))) + self.factor.logdet()

    def trace(self) -> float:
        """Return ``tr A^-1 = (d - m) / lam + sum_i share_i [K^-1]_ii``."""
        W = self.factor.whitener()
        return (self.d - self.rows.m) / self.damping + float(self.share @ np.einsum("ij,ij->j", W, W))
