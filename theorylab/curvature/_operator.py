"""Products with ``A^-1``, ``A = lam I + (1/N) sum_i w_i g_i g_i^T``, for m rows g_i of any length d."""

from __future__ import annotations

import copy as _copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator

from .._lib.checks import check_choice, check_int, check_real
from .._lib.rng import RNGLike, as_generator
from ._cost import Cost
from ._dual import Dual
from ._inputs import accept_damping, accept_rows, accept_vector, accept_weights, first_bad_row
from ._primal import Primal
from ._rows import Rows
from ._storage import LARGEST

__all__ = ["DUAL_AT_MOST", "InverseOperator"]

Array = NDArray[Any]

#: With more rows than this, K is not tried where A itself cannot be factored.
DUAL_AT_MOST = 4096


def _block_sizes(blocks: Any, d: int) -> list[int]:
    """Return the list of block sizes, checked to add up to d."""
    if blocks is None:
        return [d]
    if isinstance(blocks, (int, np.integer)):
        size = check_int(blocks, "blocks", low=1)
        return [size] * (d // size) + ([d % size] if d % size else [])
    if not np.iterable(blocks):
        raise TypeError(f"blocks is {blocks!r}, expected an integer or a sequence of integers")
    sizes = [check_int(b, "blocks", low=1) for b in blocks]
    if sum(sizes) != d:
        raise ValueError(f"blocks add up to {sum(sizes)}, expected d = {d}, the number of columns of G")
    return sizes


def _build_parts(rows: Rows, share: Array, sizes: list[int], side: str) -> list[tuple[int, Dual | Primal]]:
    """Return the blocks with their first columns; equal neighbours on the primal side become one batch."""
    parts: list[tuple[int, Dual | Primal]] = []
    lo = k = 0
    while k < len(sizes):
        size, run = sizes[k], 1
        if side == "primal" or (side == "auto" and size <= rows.m):
            while k + run < len(sizes) and sizes[k + run] == size:
                run += 1
            parts.append((lo, Primal(rows.part(lo, lo + run * size), share, size)))
        else:
            block = rows.part(lo, lo + size)
            parts.append((lo, Dual(block, share, block.gram())))
        k, lo = k + run, lo + run * size
    return parts


class InverseOperator(LinearOperator):
    """Rows, blocks and damping of an inverse, and its products."""

    def __init__(
        self,
        G: Any,
        damping: float | tuple[str, float],
        *,
        norm: float | None = None,
        blocks: Sequence[int] | int | None = None,
        side: str = "auto",
        accumulate: str = "float64",
        factor: bool = False,
        weights: ArrayLike | None = None,
        bfloat16: bool = False,
        copy: bool = False,
        tile: int = 4096,
        chunk_rows: int | None = None,
        check_finite: bool = True,
    ) -> None:
        check_choice(side, "side", ("auto", "dual", "primal"))
        check_choice(accumulate, "accumulate", ("float64", "storage"))
        source, bfloat16, self._torch = accept_rows(G, bfloat16=bfloat16, copy=copy)
        rows = Rows(
            source,
            tile=check_int(tile, "tile", low=1),
            chunk_rows=None if chunk_rows is None else check_int(chunk_rows, "chunk_rows", low=1),
            bfloat16=bfloat16,
            accumulate=accumulate,
        )
        super().__init__(rows.dtype, (rows.d, rows.d))
        value, relative = accept_damping(damping)
        self.norm = float(rows.m) if norm is None else check_real(norm, "norm", low=0.0, open_low=True)
        self._check_finite = check_finite
        self._weights = None
        if weights is not None:
            self._weights = accept_weights(weights, rows.m)
        self.blocks = _block_sizes(blocks, rows.d)
        parts = self._assemble(rows, side, bfloat16)
        if relative:
            value = self._relative(value, parts)
        try:
            self._set_damping(parts, value)
        except np.linalg.LinAlgError:
            if side != "auto" or rows.m > DUAL_AT_MOST:
                raise
            # Rows of very different lengths: K has a small entry for a short row, A has none.
            self._set_damping(self._assemble(rows, "dual", bfloat16), value)
        self._warn_if_singular(stacklevel=4)
        if factor:
            for _, part in self._parts:
                part.keep_white()

    def _assemble(self, rows: Rows, side: str, bfloat16: bool) -> list[tuple[int, Dual | Primal]]:
        """Build Gram matrices and moments; look for NaN and overflow in their diagonals only."""
        self._rows, self._scale = rows, None
        share = np.full(rows.m, self.norm) if self._weights is None else self.norm / self._weights
        with np.errstate(over="ignore", invalid="ignore"):
            parts = _build_parts(rows, share, self.blocks, side)
            total = sum(part.weighted_square() for _, part in parts)
        if total < 1e300:
            return parts
        message = first_bad_row(rows.source, bfloat16) if self._check_finite else None
        if message is not None:
            raise ValueError(message)
        if not self._check_finite and np.isnan(total):
            return parts
        largest = np.array([np.abs(rows.row(i)).max() for i in range(rows.m)])
        for i in np.flatnonzero(largest > 1e290):
            if largest[i] > LARGEST / float(np.linalg.norm(rows.row(int(i)) / largest[i])):
                raise ValueError(
                    f"G overflows float64: row {i} is longer than {LARGEST:g}; "
                    "pass G / s and damping / s**2, and divide the inverse by s**2"
                )
        # The root leaves both the squares of the rows and those of the factors within range.
        self._scale = np.where(largest > 1e140, np.exp2(np.round(np.log2(largest) / 2)), 1.0)
        self._rows = rows.shrunk(self._scale)
        return _build_parts(self._rows, share / self._scale / self._scale, self.blocks, "dual")

    def _relative(self, value: float, parts: list[tuple[int, Dual | Primal]]) -> float:
        """Return a damping relative to the mean of the diagonal of ``G^T G / N``."""
        mean = sum(part.weighted_square() for _, part in parts) / self.d
        if not 0 < mean < np.inf:
            raise ValueError(
                f"damping is relative to the mean square {mean} of the entries of G; pass a number"
            )
        return value * mean

    def _set_damping(self, parts: list[tuple[int, Dual | Primal]], damping: float) -> None:
        self.damping = damping
        self._parts = [(lo, part.damped(damping)) for lo, part in parts]
        self._gram: Array | None = None

    def _warn_if_singular(self, stacklevel: int) -> None:
        for _, part in self._parts:
            part.warn(stacklevel + 1)

    # --- facts -----------------------------------------------------------------------------------------

    @property
    def m(self) -> int:
        """Number of rows."""
        return self._rows.m

    @property
    def d(self) -> int:
        """Length of the rows."""
        return self._rows.d

    @property
    def cost(self) -> Cost:
        """Flops and bytes of rows read, by kernel."""
        return self._rows.cost

    @property
    def nbytes(self) -> int:
        """Bytes of the rows and of everything kept beside them."""
        return self._rows.nbytes + sum(part.nbytes for _, part in self._parts)

    @property
    def kappa(self) -> float:
        """``1 + sigma_max(G)^2 / (N lam)``, the largest of the blocks, to three digits."""
        return max(part.kappa() for _, part in self._parts)

    @property
    def gram(self) -> Array:
        """``G G^T``, (m, m) float64; one pass over G unless a single dual block keeps it."""
        if self._gram is None:
            part = self._parts[0][1]
            kept = len(self._parts) == 1 and isinstance(part, Dual)
            gram = part.gram.copy() if kept else self._rows.gram()  # type: ignore[union-attr]
            self._gram = self._scaled(self._scaled(gram).T)
            self._gram.flags.writeable = False
        return self._gram

    def _scaled(self, values: Array) -> Array:
        """Multiply row i by the factor that was taken out of g_i."""
        if self._scale is None:
            return values
        return values * (self._scale if values.ndim == 1 else self._scale[:, None])

    def _vector(self, x: Any, name: str = "x") -> tuple[Array, Any]:
        return accept_vector(x, self.d, name, "d", finite=self._check_finite)

    def _coefficients(self, c: Any, name: str = "C") -> tuple[Array, Any]:
        return accept_vector(c, self.m, name, "m", finite=self._check_finite)

    def _blockwise(self, method: str, x: Array, *arguments: Any) -> Array:
        """Apply `method` of every part to its piece of `x`."""
        if len(self._parts) == 1:
            return np.asarray(getattr(self._parts[0][1], method)(x, *arguments))
        pieces = [getattr(part, method)(x[lo : lo + part.d], *arguments) for lo, part in self._parts]
        return np.concatenate(pieces)

    # --- products --------------------------------------------------------------------------------------

    def solve(self, x: Any, refine: int = 0) -> Any:
        """Return ``A^-1 x``.

        Parameters
        ----------
        x : array_like or torch tensor of shape (d,) or (d, k)
        refine : {0, 1}
            One more pair of passes removes the error inside the span of the rows:
            worth it for ill-conditioned rows. For `x` that *is* a combination of
            rows use :meth:`solve_rows`.

        Returns
        -------
        array or tensor of the shape, kind and floating dtype of `x`
            Relative error about ``u |x| / (lam |A^-1 x|)``, u = 1.1e-16.

        Notes
        -----
        Cost: ``4 d m + 2 m^2`` flops and two reads of G for any number of columns.
        """
        steps = check_int(refine, "refine", low=0)
        array, restore = self._vector(x)
        return restore(self._blockwise("solve", array, steps, array.dtype))

    def solve_rows(self, C: Any) -> Any:
        """Return ``A^-1 G^T C``, the product with a combination of the stored rows.

        Parameters
        ----------
        C : array_like of shape (m,) or (m, k)
            Coefficients of the rows.

        Returns
        -------
        array of shape (d,) or (d, k)

        Notes
        -----
        Form F2, ``N G^T K^-1 C``: one read of G, no division by the damping, hence
        accurate at every damping. Where the coefficients ``K^-1 C`` cancel
        (duplicated rows), one more pair of passes corrects the result.
        """
        array, restore = self._coefficients(C)
        C64 = self._scaled(array.astype(np.float64))
        parts = [part.solve_rows(C64, array.dtype) for _, part in self._parts]
        return restore(parts[0] if len(parts) == 1 else np.concatenate(parts))

    def dot_rows(self, x: Any) -> Any:
        """Return ``G x`` with float64 sums, shape (m,) or (m, k); one read of G."""
        array, restore = self._vector(x)
        return restore(self._scaled(self._rows.dots(array)))

    def combine_rows(self, c: Any) -> Any:
        """Return ``G^T c`` with float64 sums, shape (d,) or (d, k); one read of G."""
        array, restore = self._coefficients(c, "c")
        return restore(self._rows.combine(self._scaled(array.astype(np.float64)), dtype=array.dtype))

    def gram_over(self, keep: ArrayLike) -> Array:
        """Return ``G_R G_R^T`` over the columns R where `keep` (d,) is true; d m^2 flops."""
        mask = np.asarray(keep)
        if mask.dtype != np.bool_ or mask.shape != (self.d,):
            raise ValueError(
                f"keep has shape {mask.shape}, dtype {mask.dtype}, expected ({self.d},) booleans"
            )
        return self._scaled(self._scaled(self._rows.gram(mask)).T)

    def take_columns(self, index: Any) -> Array:
        """Return ``G[:, index]`` in float64, shape (m, k)."""
        return self._scaled(self._rows.take(self._index(index)))

    def _matvec(self, x: Any) -> Any:
        return self.solve(x.reshape(-1)).reshape(x.shape)

    def matvec(self, x: Any) -> Any:
        """Return ``A^-1 x`` for `x` of shape (d,) or (d, 1)."""
        if np.ndim(x) not in (1, 2) or (np.ndim(x) == 2 and np.shape(x)[1] != 1):
            raise ValueError(f"x has shape {np.shape(x)}, expected ({self.d},) or ({self.d}, 1)")
        return self.solve(x)

    def matmat(self, X: Any) -> Any:
        """Return ``A^-1 X`` for `X` of shape (d, k)."""
        if np.ndim(X) != 2:
            raise ValueError(f"X has shape {np.shape(X)}, expected ({self.d}, k)")
        return self.solve(X)

    rmatvec = matvec
    rmatmat = matmat
    _matmat = _rmatvec = _rmatmat = solve

    def dot(self, x: Any) -> Any:
        """Return ``A^-1 x``, or the product of two operators, or a multiple of this one."""
        if isinstance(x, LinearOperator) or np.ndim(x) == 0:
            return super().dot(x)
        return self.solve(x)

    def _adjoint(self) -> Self:
        return self

    def _transpose(self) -> Self:
        return self

    def forward(self) -> LinearOperator:
        """Return ``A`` itself as a `LinearOperator`; two reads of G a product."""
        return _Forward(self)

    def sqrt_matvec(self, z: Any, *, forward: bool = False) -> Any:
        """Return ``A^(-1/2) z`` (symmetric root), or ``A^(1/2) z`` if `forward`.

        The first call takes an eigendecomposition, O(m^3); every call two reads of G.
        """
        array, restore = self._vector(z, "z")
        return restore(self._blockwise("power", array, not forward, array.dtype))

    def sample(self, rng: RNGLike = None, size: int = 1) -> Array:
        """Draw from the normal law with mean 0 and covariance ``A^-1``.

        Parameters
        ----------
        rng : None, int, SeedSequence or Generator
        size : int
            Number of draws.

        Returns
        -------
        ndarray of shape (size, d)
        """
        z = as_generator(rng).standard_normal((check_int(size, "size", low=0), self.d))
        return np.ascontiguousarray(self.sqrt_matvec(z.T).T)

    def with_damping(self, lam: float | tuple[str, float]) -> Self:
        """Return the inverse at another damping; Gram and rows are shared, m^3/3 flops, no pass over G."""
        value, relative = accept_damping(lam)
        if relative:
            value = self._relative(value, self._parts)
        other = _copy.copy(self)
        other._set_damping(self._parts, value)
        other._warn_if_singular(stacklevel=3)
        return other


class _Forward(LinearOperator):
    """``A`` as an operator."""

    def __init__(self, inverse: InverseOperator) -> None:
        super().__init__(inverse.dtype, inverse.shape)
        self._inverse = inverse

    def matvec(self, x: Any) -> Any:
        """Return ``A x`` for `x` of shape (d,) or (d, k)."""
        array, restore = self._inverse._vector(x)
        return restore(self._inverse._blockwise("forward", array, array.dtype))

    matmat = rmatvec = rmatmat = matvec
    _matvec = _matmat = _rmatvec = _rmatmat = matvec

    def dot(self, x: Any) -> Any:
        """Return ``A x``, or the product of two operators, or a multiple of this one."""
        if isinstance(x, LinearOperator) or np.ndim(x) == 0:
            return super().dot(x)
        return self.matvec(x)

    def _adjoint(self) -> _Forward:
        return self

    def _transpose(self) -> _Forward:
        return self
