"""Cholesky factors of the m x m matrix K, and what to say when there is none."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, LinAlgWarning, lapack

from ._parallel import serial_blas
from ._triangles import back_substitute, forward_substitute

__all__ = ["Factor", "cholesky", "condition", "refuse_singular", "warn_if_singular"]

Array = NDArray[Any]

#: Unit roundoff of float64.
U64 = 2.0**-53


def condition(gram: Array, ridge: Array) -> float:
    """Return ``kappa = 1 + sigma_max^2`` of the rows over the root of their ridge, by power iteration."""
    if gram.shape[0] == 0 or not gram.any():
        return 1.0
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        root = 1 / np.sqrt(ridge)
        v = np.sqrt(gram.diagonal()) * root
        v /= v.max()
        value = 0.0
        for _ in range(60):
            v = v / np.linalg.norm(v)
            v = root * (gram @ (root * v))
            before, value = value, float(np.linalg.norm(v))
            if not abs(value - before) > 1e-3 * value:
                break
    return 1 + value if np.isfinite(value) else float("inf")


def warn_if_singular(kappa_bound: float, kappa: Any, damping: float, stacklevel: int) -> None:
    """Warn where ``N damping < 4 u sigma_max^2``; call `kappa` only if the cheap bound leaves it open."""
    if kappa_bound <= 1 / (4 * U64):
        return
    value = kappa()
    if value > 1 / (4 * U64):
        warnings.warn(
            f"kappa = 1 + sigma_max(G)^2 / (norm * damping) = {value:.2g} exceeds 1 / (4 u) = "
            f"{1 / (4 * U64):.2g}: rounding errors hide a damping of {damping:.3g}; "
            + _remedy("raise it", damping * value * 4 * U64),
            LinAlgWarning,
            stacklevel=stacklevel,
        )


def refuse_singular(kappa: float, damping: float) -> LinAlgError:
    """Return the error for a matrix that is not positive definite in floating-point numbers."""
    return LinAlgError(
        f"the Cholesky factorisation failed: kappa = 1 + sigma_max(G)^2 / (norm * damping) = {kappa:.2g} is "
        f"beyond float64; " + _remedy(f"raise the damping from {damping:.3g}", damping * kappa * 16 * U64)
    )


def _remedy(what: str, enough: float) -> str:
    """Return what to do: enough damping, or smaller rows where no damping is enough."""
    if np.isfinite(enough):
        return f"{what} to at least {enough:.2g}"
    return "rescale the rows: pass G / s and damping / s**2, and divide the inverse by s**2"


def cholesky(gram: Array, ridge: Array, damping: float) -> Factor:
    """Factor ``K = diag(ridge) + gram``, m^3/3 flops."""
    K = np.array(gram.T, dtype=np.float64, order="F")
    K[np.diag_indices_from(K)] += ridge
    if K.shape[0] == 0:
        return Factor(K)
    with serial_blas():
        L, info = lapack.dpotrf(K, lower=1, clean=1, overwrite_a=1)
    if info or not np.isfinite(L.diagonal()).all():  # some libraries let NaN pass
        raise refuse_singular(condition(gram, ridge), damping)
    return Factor(L)


class Factor:
    """A lower triangular `L` with ``K[order][:, order] = L L^T``; products are in the order of the rows."""

    def __init__(self, L: Array, order: Array | None = None) -> None:
        self.L = L
        self.order = order

    @property
    def nbytes(self) -> int:
        """Bytes of the factor."""
        return int(self.L.nbytes)

    def solve(self, B: Array) -> Array:
        """Return ``K^-1 B``, 2 m^2 flops a column."""
        if B.size == 0:
            return B.astype(np.float64)
        if B.ndim == 2 and B.shape[1] == 1:
            return self.solve(B[:, 0])[:, None]
        ordered = np.ascontiguousarray(B, dtype=np.float64) if self.order is None else B[self.order]
        if B.ndim == 1:
            Y: Array = forward_substitute(self.L.T, ordered)
            back_substitute(self.L.T, Y)
        else:
            with serial_blas():
                Y, _ = lapack.dpotrs(self.L, ordered, lower=1)
        if self.order is None:
            return Y
        X = np.empty(B.shape)
        X[self.order] = Y
        return X

    def half(self, B: Array) -> Array:
        """Return ``L^-1 B`` with the rows of `B` taken in the factor's order."""
        if B.size == 0:
            return B.astype(np.float64)
        with serial_blas():
            X, _ = lapack.dtrtrs(self.L, B if self.order is None else B[self.order], lower=1)
        return np.asarray(X)

    def whitener(self) -> Array:
        """Return the matrix W with ``W B = half(B)``."""
        m = self.L.shape[0]
        if m == 0:
            return np.empty((0, 0))
        with serial_blas():
            inverse, _ = lapack.dtrtri(self.L, lower=1)
        if self.order is None:
            return np.asarray(inverse)
        W = np.empty((m, m))
        W[:, self.order] = inverse
        return W

    def inverse(self) -> Array:
        """Return ``K^-1``, symmetric to the last bit."""
        m = self.L.shape[0]
        if m == 0:
            return np.empty((0, 0))
        with serial_blas():
            lower, _ = lapack.dpotri(self.L, lower=1)
        full: Array = np.tril(lower)
        full += np.tril(lower, -1).T
        if self.order is None:
            return full
        back = np.argsort(self.order)
        return full[np.ix_(back, back)]

    def logdet(self) -> float:
        """Return ``log det K``."""
        return 2 * float(np.sum(np.log(self.L.diagonal())))
