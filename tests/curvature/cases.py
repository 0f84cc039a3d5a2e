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
        G = np.asarray(G, dtype=np.float64)
        self.m, self.d = G.shape
        self.G = mpmath.matrix(G.tolist())
        N = mpmath.mpf(self.m if norm is None else norm)
        self.A = mpmath.mpf(damping) * mpmath.eye(self.d) + self.G.T * self.G / N

    @functools.cached_property
    def inverse(self):
        return self.A**-1

    @staticmethod
    def floats(M):
        return np.array(M.tolist(), dtype=np.float64)

    def product(self, x):
        X = mpmath.matrix(np.atleast_2d(np.asarray(x, dtype=np.float64).T).T.tolist())
        return self.floats(self.inverse * X).reshape(np.shape(x))

    def rows(self):
        """Return ``A^-1 G^T``, (d, m)."""
        return self.floats(self.inverse * self.G.T)

    def cross(self):
        return self.floats(self.G * self.inverse * self.G.T)

    def dense(self):
        return self.floats(self.inverse)

    def logdet(self):
        return float(mpmath.log(mpmath.det(self.A)))

    def trace(self):
        return float(sum(self.inverse[i, i] for i in range(self.d)))


def kappa(G, damping, norm=None):
    """Return 1 + sigma_max^2 / (N lam)."""
    G = np.asarray(G, dtype=np.float64)
    return 1 + np.linalg.norm(G, 2) ** 2 / ((G.shape[0] if norm is None else norm) * damping)


def relative(actual, desired):
    """Relative error in the 2-norm, the worst column."""
    a, b = np.asarray(actual, dtype=np.float64), np.asarray(desired, dtype=np.float64)
    return float(np.max(np.linalg.norm(a - b, axis=0) / np.linalg.norm(b, axis=0)))
