"""Evidence and predictive components of scale mixtures of Gaussian processes, for given matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from ._linalg import factor, solve, whiten
from ._scale import LogDensity, infinite_mean, posterior_nodes

__all__ = ["Components", "Independent", "Shared"]

Array = NDArray[Any]
LOG2PI = math.log(2.0 * math.pi)


@dataclass
class Components:
    """A predictive law before it gets a face.

    `df` is finite for a multivariate t (one component whose `var`, `cov` are the shape), infinite for a
    Gaussian, None for a mixture over the components with `weights`.
    """

    df: float | None
    weights: Array
    loc: Array  # (S or 1, m, k)
    var: Array  # (S, m)
    noise: Array  # (S,)
    cov: Array | None = None  # (S, m, m)
    heavy: bool = False  # whether a mixture has no variance


class Shared:
    """Noise that shares the random scale: ``y | s ~ N(0, s (K + noise I))``, columns of Y share s."""

    def __init__(
        self, K: Array, Y: Array, noise: float, prior: LogDensity | None, alpha: float, beta: float
    ) -> None:
        C = np.array(K, dtype=np.float64)
        C[np.diag_indices_from(C)] += noise
        self.noise, self.alpha, self.beta = noise, alpha, beta
        self.conjugate = alpha > 0
        self.L = factor(C, "K + noise I")
        self.k = Y.shape[1]
        self.size = Y.size
        half = whiten(self.L, Y)
        self.d = float(np.sum(half * half))
        self.v = solve(self.L, Y)
        logdet = self.k * 2.0 * float(np.sum(np.log(np.diag(self.L))))
        N, d = self.size, self.d
        self.nodes = self.weights = np.ones(1)
        if self.conjugate:
            self.lml = (
                float(gammaln(alpha + N / 2) - gammaln(alpha))
                - 0.5 * N * math.log(2.0 * math.pi * beta)
                - 0.5 * logdet
                - (alpha + N / 2) * math.log1p(d / (2.0 * beta))
            )
            self.precision = (2.0 * alpha + N) / (2.0 * beta + d)
            self.df: float | None = 2.0 * alpha + N
        elif prior is None:
            self.lml = -0.5 * (N * LOG2PI + logdet + d)
            self.precision, self.df = 1.0, math.inf
        else:
            self.nodes, self.weights, log_z = posterior_nodes(prior, lambda s: -0.5 * (N * np.log(s) + d / s))
            self.lml = -0.5 * (N * LOG2PI + logdet) + log_z
            self.precision, self.df = float(np.sum(self.weights / self.nodes)), None

    def gradient(self, dK: Array) -> Array:
        """Return the gradient of the log evidence for ``dK`` (n, n, p)."""
        inverse = solve(self.L, np.eye(self.L.shape[0]))
        inner = self.precision * self.v @ self.v.T - self.k * inverse
        return np.asarray(0.5 * np.einsum("ij,ijp->p", inner, dK))

    def predict(self, cross: Array, diag: Array, full: Array | None) -> Components:
        """Return the predictive law from ``K_*`` (m, n), its diagonal and, if wanted, the whole ``K_**``."""
        loc = (cross @ self.v)[None]
        half = whiten(self.L, cross.T)
        var = np.maximum(diag - np.sum(half * half, axis=0), 0.0)
        cov = None if full is None else full - half.T @ half
        if self.conjugate:
            scale = np.array([(2.0 * self.beta + self.d) / (2.0 * self.alpha + self.size)])
        else:
            scale = self.nodes
        covs = None if cov is None else scale[:, None, None] * cov
        heavy = self.df is None and infinite_mean(self.nodes, self.weights)
        return Components(self.df, self.weights, loc, scale[:, None] * var, scale * self.noise, covs, heavy)


class Independent:
    """Noise with its own fixed variance: ``y | s ~ N(0, s K + noise I)``.

    One eigendecomposition for all s.
    """

    def __init__(self, K: Array, Y: Array, noise: float, prior: LogDensity | None) -> None:
        self.noise = noise
        e, self.U = np.linalg.eigh(np.asarray(K, dtype=np.float64))
        if noise == 0.0 and float(e.min()) <= 0.0:
            factor(np.asarray(K, dtype=np.float64), "K")  # warns or raises with the pivot
            e = e + 1e-12 * float(np.mean(np.diag(K)))
        self.e = np.maximum(e, 0.0)
        self.z = self.U.T @ Y
        self.k = Y.shape[1]
        square = np.sum(self.z**2, axis=1)

        def log_likelihood(s: Array) -> Array:
            out = np.empty(s.shape)
            for start in range(0, s.size, 256):
                B = s[start : start + 256, None] * self.e + noise
                out[start : start + 256] = -0.5 * np.sum(self.k * (LOG2PI + np.log(B)) + square / B, axis=1)
            return out

        self.nodes = self.weights = np.ones(1)
        if prior is None:
            self.lml, self.df = float(log_likelihood(self.nodes)[0]), math.inf
        else:
            self.nodes, self.weights, self.lml = posterior_nodes(prior, log_likelihood)
            self.df = None  # type: ignore[assignment]
        self.B = self.nodes[:, None] * self.e + noise

    def gradient(self, dK: Array) -> Array:
        """Return the gradient of the log evidence for ``dK`` (n, n, p)."""
        out = np.empty(dK.shape[2])
        mass = self.weights * self.nodes
        inner = -self.k * np.diag(mass @ (1.0 / self.B))
        for w, B in zip(mass, self.B):
            r = self.z / B[:, None]
            inner = inner + w * r @ r.T
        outer = self.U @ inner @ self.U.T
        for p in range(out.size):
            out[p] = 0.5 * float(np.sum(outer * dK[:, :, p]))
        return out

    def predict(self, cross: Array, diag: Array, full: Array | None) -> Components:
        """Return the predictive law; mean and variance of a component both depend on its scale."""
        P = cross @ self.U
        s = self.nodes
        loc = np.stack([P @ (si / B[:, None] * self.z) for si, B in zip(s, self.B)])
        var = np.maximum(s[:, None] * diag - s[:, None] ** 2 * ((1.0 / self.B) @ (P * P).T), 0.0)
        cov = None
        if full is not None:
            cov = np.stack([si * full - si**2 * (P / B) @ P.T for si, B in zip(s, self.B)])
        heavy = infinite_mean(s, self.weights)
        return Components(self.df, self.weights, loc, var, np.full(s.size, self.noise), cov, heavy)
