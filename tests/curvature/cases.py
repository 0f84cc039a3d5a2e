"""Shared by the tests: matrices of rows, a naive inverse, and truth in 60 digits."""

import functools

import mpmath
import numpy as np


def rows(m, d, seed=0, kind="normal", dtype=np.float64):
    """Rows of several kinds; the same for the same arguments."""
    rng = np.random.default_rng([seed, m, d])
    G = rng.standard_normal((m, d))
    if kind == "dominant":
        G += 100 * np.outer(rng.standard_normal(m), rng.standard_normal(d))
    elif kind == "duplicated":
        G[1::2] = G[0 : m - 1 : 2]
    elif kind == "decay":
        U, s, V = np.linalg.svd(G, full_matrices=False)
        G = (U * np.logspace(1, -2, s.size)) @ V
    elif kind == "scales":
        G *= np.logspace(0, -12, m)[:, None]
    return G.astype(dtype)


def dense(G, damping, *, norm=None, weights=None, blocks=None):
    """Return A, ten obvious lines."""
    G = np.asarray(G, dtype=np.float64)
    m, d = G.shape
    w = np.ones(m) if weights is None else np.asarray(weights)
    A = damping * np.eye(d) + G.T @ (w[:, None] * G) / (m if norm is None else norm)
    if blocks is not None:
        label = np.repeat(np.arange(len(blocks)), blocks)
        A *= label[:, None] == label
    return A


class Exact:
    """``A^-1`` of float64 rows in 60 digits; for m, d up to about 60."""

    def __init__(self, G, damping, norm=None):
        mpmath.mp.dps = 60
        self.G = np.array(mpmath.matrix(np.asarray(G, dtype=np.float64).tolist()).tolist(), dtype=object)
        self.m, self.d = self.G.shape
        N = mpmath.mpf(self.m if norm is None else norm)
        self.A = self.G.T @ self.G / N
        self.A[np.diag_indices(self.d)] += mpmath.mpf(damping)

    def solve(self, B):
        """Return ``A^-1 B``: elimination in arrays of mpf, without pivoting since A is definite."""
        rows, d = np.hstack([self.A, B]), self.d
        for k in range(d - 1):
            rows[k + 1 :, k + 1 :] -= (rows[k + 1 :, k] / rows[k, k])[:, None] * rows[k, k + 1 :]
        X = rows[:, d:]
        for k in reversed(range(d)):
            X[k] = (X[k] - rows[k, k + 1 : d] @ X[k + 1 :]) / rows[k, k]
        return X

    @functools.cached_property
    def inverse(self):
        return self.solve(np.array(mpmath.eye(self.d).tolist(), dtype=object))

    def product(self, x):
        X = mpmath.matrix(np.atleast_2d(np.asarray(x, dtype=np.float64).T).T.tolist())
        return self.solve(np.array(X.tolist(), dtype=object)).astype(np.float64).reshape(np.shape(x))

    def rows(self):
        """Return ``A^-1 G^T``, (d, m)."""
        return self.solve(self.G.T).astype(np.float64)

    def cross(self):
        return (self.G @ self.solve(self.G.T)).astype(np.float64)

    def dense(self):
        return self.inverse.astype(np.float64)

    def logdet(self):
        return float(mpmath.log(mpmath.det(mpmath.matrix(self.A.tolist()))))

    def trace(self):
        return float(self.inverse.trace())


def kappa(G, damping, norm=None):
    """Return 1 + sigma_max^2 / (N lam)."""
    G = np.asarray(G, dtype=np.float64)
    return 1 + np.linalg.norm(G, 2) ** 2 / ((G.shape[0] if norm is None else norm) * damping)


def relative(actual, desired):
    """Relative error in the 2-norm, the worst column."""
    a, b = np.asarray(actual, dtype=np.float64), np.asarray(desired, dtype=np.float64)
    return float(np.max(np.linalg.norm(a - b, axis=0) / np.linalg.norm(b, axis=0)))


HOSTILE = ["normal", "columns over 4 decades", "rows over 4 decades", "one row of 1e6"]


def hostile_rows(kind, n, p, rng):
    """Return (n, p) normal rows, scaled so that a Gram matrix or an ungraded factor would lose digits."""
    H = rng.standard_normal((n, p))
    if kind == "columns over 4 decades":
        H *= np.logspace(0, -4, p)
    elif kind == "rows over 4 decades":
        H *= rng.permutation(np.logspace(0, -4, n))[:, None]
    elif kind == "one row of 1e6":
        H[0] *= 1e6
    return H
