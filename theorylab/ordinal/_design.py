"""The design as the kernels want it: rows sorted by class, columns centred and scaled, features as rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _kernels

__all__ = ["Design"]

FloatArray = NDArray[np.float64]


class Design:
    """Class-sorted, standardised view of dense or sparse `X`.

    Parameters
    ----------
    X : ndarray of float64, C-contiguous, or SciPy CSR array, shape (n, p)
    codes : ndarray of int, shape (n,)
        Class of each row, 0..K-1, none empty.
    weights : ndarray of float64, shape (n,)
        Positive; they need not sum to one.
    standardize : bool
        Divide by the weighted population standard deviation. Columns are
        centred in either case.
    """

    def __init__(
        self,
        X: Any,
        codes: NDArray[Any],
        weights: FloatArray,
        *,
        standardize: bool = True,
        moments: tuple[FloatArray, FloatArray] | None = None,
        rows: NDArray[Any] | None = None,
    ) -> None:
        self.sparse = not isinstance(X, np.ndarray)
        if self.sparse and not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()  # entries stored twice would count twice in the deviations
        self.X = X
        self.n_classes = int(codes.max()) + 1
        self.n_features = X.shape[1]
        w = weights
        if moments is None:
            w = weights / weights.max()  # the sum of huge weights may overflow
            w /= w.sum()
        if moments is None:
            moments = _sparse_moments(X, w) if self.sparse else _dense_moments(X, w)
            if not standardize:
                moments = moments[0], np.where(moments[1] > 0.0, 1.0, 0.0)
        self.centre, self.scale = moments
        self.inverse = np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0.0)
        self.sorting = np.argsort(codes, kind="stable")
        self.order = self.sorting if rows is None else rows[self.sorting]
        self.starts = np.searchsorted(codes[self.sorting], np.arange(self.n_classes + 1))
        self.w = w[self.sorting]
        self._full: FloatArray | None = None
        self._slices: list[Any] = []
        if self.sparse:
            by_row = X.tocsr()[self.order]
            self._by_column = by_row.tocsc()
            self._slices = [by_row[self.starts[k] : self.starts[k + 1]].T for k in range(self.n_classes)]

    @property
    def n_boundaries(self) -> int:
        """Number of boundaries between classes."""
        return self.n_classes - 1

    def full(self) -> FloatArray:
        """Return the whole standardised design (p + 1, n); dense input only."""
        if self._full is None:
            self._full = np.empty((self.n_features + 1, self.order.size))
            _kernels.transposed(self.X, self.order, self.centre, self.inverse, self._full)
        return self._full

    def columns(self, features: NDArray[Any]) -> FloatArray:
        """Return ones and the given standardised columns, shape (len(features) + 1, n)."""
        if not self.sparse:
            if features.size == self.n_features:
                return self.full()
            return self.full()[np.concatenate(([0], features + 1))]
        out = np.ones((features.size + 1, self.order.size))
        dense = self._by_column[:, features].toarray().T
        out[1:] = (dense - self.centre[features, None]) * self.inverse[features, None]
        return out

    def gradient(self, own: FloatArray, below: FloatArray) -> FloatArray:
        """Return the gradient (m, p) in psi from the rows' derivatives in a and b: one pass over X."""
        m = self.n_boundaries
        out = np.zeros((m, self.n_features))
        for k in range(self.n_classes):
            rows = slice(self.starts[k], self.starts[k + 1])
            both = np.column_stack((own[rows], below[rows]))
            if self.sparse:
                products = np.asarray(self._slices[k] @ both)
                products = (products - self.centre[:, None] * both.sum(axis=0)) * self.inverse[:, None]
            else:
                products = self.full()[1:, rows] @ both
            if k < m:
                out[k] += products[:, 0]
            if k > 0:
                out[k - 1] += products[:, 1]
        return np.asarray(np.cumsum(out[::-1], axis=0)[::-1])

    def null_intercepts(self) -> FloatArray:
        """Return the logits of the cumulative class weights."""
        share = np.add.reduceat(self.w, self.starts[:-1])
        below = np.cumsum(share)[:-1]
        above = np.cumsum(share[::-1])[::-1][1:]
        return np.asarray(np.log(below / above))

    def extended(self) -> tuple[Design, NDArray[np.bool_]]:
        """Return a design with a pseudo-row for each row and middle class not its own, and their mask."""
        n = self.order.size
        codes = np.repeat(np.arange(self.n_classes), np.diff(self.starts))
        rows, labels, weights, pseudo = [np.arange(n)], [codes], [self.w], [np.zeros(n, bool)]
        for k in range(1, self.n_classes - 1):
            other = np.flatnonzero(codes != k)
            rows.append(other)
            labels.append(np.full(other.size, k))
            weights.append(self.w[other])
            pseudo.append(np.ones(other.size, bool))
        which = np.concatenate(rows)
        wide = Design(
            self.X,
            np.concatenate(labels),
            np.concatenate(weights),
            moments=(self.centre, self.scale),
            rows=self.order[which],
        )
        return wide, np.concatenate(pseudo)[wide.sorting]

    def crossings(self, thetas: FloatArray) -> NDArray[np.int64]:
        """Count, for each theta (s, m, p + 1), the rows with a logit at or below the one before it."""
        count = np.zeros(thetas.shape[0], np.int64)
        for s in np.flatnonzero(np.any(thetas[:, 1:, 1:] != 0.0, axis=(1, 2))):
            theta = thetas[s]
            features = np.flatnonzero(np.any(theta[1:, 1:] != 0.0, axis=0))
            steps = np.column_stack((np.diff(theta[:, 0]), theta[1:][:, features + 1]))
            everything = not self.sparse and 2 * features.size > self.n_features
            if everything:
                steps = np.column_stack((np.diff(theta[:, 0]), theta[1:, 1:]))
            for i in range(0, self.order.size, 65536):
                part = slice(i, i + 65536)
                block = self.full()[:, part] if everything else self._part(features, part)
                count[s] += int(np.count_nonzero(np.any(steps @ block <= 0.0, axis=0)))
        return count

    def _part(self, features: NDArray[Any], rows: slice) -> FloatArray:
        """Return ones and some columns for a slice of sorted rows."""
        if not self.sparse:
            return self.full()[np.concatenate(([0], features + 1)), rows]
        dense = self._by_column[rows][:, features].toarray().T
        dense = (dense - self.centre[features, None]) * self.inverse[features, None]
        return np.vstack((np.ones((1, dense.shape[1])), dense))


def _dense_moments(X: FloatArray, w: FloatArray) -> tuple[FloatArray, FloatArray]:
    centre, scale = np.empty(X.shape[1]), np.empty(X.shape[1])
    _kernels.moments(X, w, centre, scale)
    # Squares beyond 1e+-300 are lost: such columns are measured in units of their own largest entry.
    for j in np.flatnonzero(~((scale > 1e-150) & (scale < 1e150))):
        spread = X[:, j] - centre[j]
        largest = np.abs(spread).max()
        if largest > 0.0:
            scale[j] = largest * np.sqrt(w @ (spread / largest) ** 2)
    return centre, _without_constants(centre, scale)


def _sparse_moments(X: Any, w: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return weighted means and deviations without centring the matrix in memory."""
    by_column = X.tocsc()
    filled = np.diff(by_column.indptr)
    columns = np.repeat(np.arange(X.shape[1]), filled)
    # In units of the largest entry of each column, so that no square leaves the range of float64.
    largest = np.zeros(X.shape[1])
    np.maximum.at(largest, columns, np.abs(by_column.data))
    unit = np.where(largest > 0.0, largest, 1.0)
    data = by_column.data / unit[columns]
    weight = w[by_column.indices]
    centre = np.asarray(np.bincount(columns, weight * data, minlength=X.shape[1]), np.float64)
    stored = np.bincount(columns, weight, minlength=X.shape[1])
    squares = np.bincount(columns, weight * (data - centre[columns]) ** 2, minlength=X.shape[1])
    missing = np.where(filled < X.shape[0], np.maximum(1.0 - stored, 0.0), 0.0)
    scale = unit * np.sqrt(squares + centre**2 * missing)
    centre = centre * unit
    return centre, _without_constants(centre, scale)


def _without_constants(centre: FloatArray, scale: FloatArray) -> FloatArray:
    """Return `scale` with exact zeros where a column varies by rounding alone, or has no inverse."""
    return np.where(scale > np.maximum(10 * np.finfo(float).eps * np.abs(centre), 1e-300), scale, 0.0)
