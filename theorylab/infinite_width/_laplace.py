"""Gaussian-process classification with a random scale: Laplace's method at nodes of ``ln s``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.interpolate import PchipInterpolator
from scipy.linalg import cho_solve, solve_triangular
from scipy.stats import qmc
from sklearn.exceptions import ConvergenceWarning

from ._linalg import caller_level, factor
from ._quadrature import legendre
from ._scale import LogDensity, posterior_nodes

__all__ = ["LaplaceMixture", "normal_draws"]

Array = NDArray[Any]
_TAIL = 1e-5  # probability of s that the nodes leave out on either side


def normal_draws(dimension: int, n: int = 128) -> Array:
    """Return fixed quasi-random standard normal points (2 n dimension, dimension).

    `n` points with their opposites and all cyclic shifts of both: no class is preferred by chance, which
    would decide where the spread of the latent values is far above their means.
    """
    u = qmc.Sobol(dimension, scramble=True, rng=np.random.default_rng(20220425)).random(n)
    z = special.ndtri(np.clip(u, 1e-12, 1.0 - 1e-12))
    z = np.concatenate([z, -z])
    return np.concatenate([np.roll(z, shift, axis=1) for shift in range(dimension)])


@dataclass
class Mode:
    """Laplace approximation at one scale: what predictions need."""

    a: Array  # (n, k): the mode is F = K a, and a the gradient of the log likelihood there
    E: list[Array]  # k matrices (n, n): D^1/2 (I + D^1/2 K D^1/2)^-1 D^1/2
    M: Array  # Cholesky factor of their sum
    evidence: float
    residual: float  # largest difference of a and that gradient, relative to the largest a


def laplace(K: Array, Y: Array, a: Array, tol: float = 1e-10) -> tuple[Mode, Array]:
    """Return the mode ``F = K a`` of the softmax posterior for indicators Y (n, k), and a, from a start.

    Newton's iteration of Rasmussen and Williams (2006), algorithm 3.3, with halved steps where a
    whole one does not raise the objective. Cost: k n^3 per step.
    """
    n, k = Y.shape
    best = -np.inf
    F = K @ a
    for _ in range(100):
        P = special.softmax(F, axis=1)
        E, logdet = [], 0.0
        for c in range(k):
            root = np.sqrt(P[:, c])
            L = np.linalg.cholesky(np.eye(n) + root[:, None] * K * root)
            half = solve_triangular(L, np.diag(root), lower=True)
            E.append(half.T @ half)
            logdet += float(np.log(np.diag(L)).sum())
        total = np.sum(E, axis=0)
        total[np.diag_indices(n)] += 1e-15 * float(np.mean(np.diag(total)))
        M = np.linalg.cholesky(total)
        logdet += float(np.log(np.diag(M)).sum())
        evidence = -0.5 * float(np.sum(a * F)) + float(np.sum(Y * F) - special.logsumexp(F, axis=1).sum())
        off = float(np.max(np.abs(Y - P - a))) / max(float(np.max(np.abs(a))), 1e-300)
        mode = Mode(a, E, M, evidence - logdet, off)
        if evidence - best <= tol * max(1.0, abs(evidence)):
            break
        best = evidence
        b = P * F - P * np.sum(P * F, axis=1, keepdims=True) + Y - P
        cc = np.stack([E[c] @ (K @ b[:, c]) for c in range(k)], axis=1)
        shared = cho_solve((M, True), cc.sum(axis=1))
        target = b - cc + np.stack([E[c] @ shared for c in range(k)], axis=1)
        for step in 0.5 ** np.arange(40):
            trial = a + step * (target - a)
            G = K @ trial
            value = -0.5 * float(np.sum(trial * G)) + float(
                np.sum(Y * G) - special.logsumexp(G, axis=1).sum()
            )
            if value >= best:
                break
        else:  # nothing rises any more: a is the mode to rounding
            break
        a, F = trial, G
    return mode, a


class LaplaceMixture:
    """Posterior of k latent processes that share a random scale, as a mixture over `nodes` scales.

    Each node carries Laplace's approximation for the kernel ``s K`` and the weight
    ``p(s) q(y | s)``, with q Laplace's evidence.
    """

    def __init__(self, K: Array, Y: Array, prior: LogDensity | None, nodes: int = 15) -> None:
        K = np.array(K, dtype=np.float64)
        factor(K + 1e-10 * np.mean(np.diag(K)) * np.eye(len(K)))  # refuse what is no covariance
        self.K, self.Y = K, Y
        self.modes: list[Mode] = []
        a = np.zeros(Y.shape)
        if prior is None:
            self.scales, self.weights = np.ones(1), np.ones(1)
            mode, _ = laplace(K, Y, a)
            self.modes, self.log_evidence = [mode], mode.evidence
            self._check()
            return
        # a coarse look at the evidence in ln s tells where the nodes belong
        grid = np.linspace(-12.0, 14.0, 14)
        values = np.empty(grid.size)
        for i, (mode, _) in enumerate(self._follow(np.exp(grid))):
            values[i] = mode.evidence

        curve = PchipInterpolator(grid, values)
        s, w, _ = posterior_nodes(prior, lambda s: curve(np.clip(np.log(s), grid[0], grid[-1])))
        order = np.argsort(s)
        share = np.cumsum(w[order])
        low, high = np.log(s[order][[np.searchsorted(share, _TAIL), np.searchsorted(share, 1.0 - _TAIL)]])
        x, wx = legendre(nodes)
        u = low + (high - low) * x
        self.scales = np.exp(u)
        exponent = np.empty(nodes)
        for i, (mode, si) in enumerate(self._follow(self.scales)):
            self.modes.append(mode)
            exponent[i] = mode.evidence + u[i] + float(prior(np.array([si]))[0])
        total = exponent + np.log((high - low) * wx)
        self.log_evidence = float(special.logsumexp(total))
        self.weights = np.exp(total - self.log_evidence)
        self._check()

    def _follow(self, scales: Array) -> Iterator[tuple[Mode, float]]:
        """Yield the mode at each scale, from the latent values of the scale before."""
        a, last = np.zeros(self.Y.shape), float(scales[0])
        for s in map(float, scales):
            mode, a = laplace(s * self.K, self.Y, a * (last / s))
            if mode.residual > 1e-4:  # the softmax was saturated there, where Newton's steps lose all digits
                fresh, b = laplace(s * self.K, self.Y, np.zeros_like(a))
                mode, a = (fresh, b) if fresh.residual < mode.residual else (mode, a)
            last = s
            yield mode, s

    def _check(self) -> None:
        """Warn where Newton's iteration did not reach the mode, or the mode does not stand for the law."""
        worst = max(mode.residual for w, mode in zip(self.weights, self.modes) if w > 1e-8)
        prior = float(self.weights @ self.scales) * float(np.mean(np.diag(self.K)))
        if worst > 0.05:
            warnings.warn(
                f"Newton's iteration stopped short of the mode (residual {worst:.1g}), for the latent values "
                f"have variance {prior:.3g}; normalise the inputs",
                ConvergenceWarning,
                stacklevel=caller_level(),
            )
        elif prior > 1e3:
            warnings.warn(
                f"the latent values have variance {prior:.3g}, where Laplace's method is unreliable, for "
                f"the mode lies at the edge of the posterior; normalise the inputs",
                UserWarning,
                stacklevel=caller_level(),
            )

    def latent(self, cross: Array, diag: Array) -> list[tuple[Array, Array]]:
        """Return mean (m, k) and covariance (m, k, k) of the latent values at each node."""
        out = []
        k = self.Y.shape[1]
        for s, mode in zip(self.scales, self.modes):
            mean = s * cross @ mode.a
            parts = [s * cross @ E for E in mode.E]
            white = [solve_triangular(mode.M, p.T, lower=True) for p in parts]
            cov = np.empty((cross.shape[0], k, k))
            for c in range(k):
                for d in range(k):
                    cov[:, c, d] = np.einsum("nm,nm->m", white[c], white[d])
                cov[:, c, c] += s * diag - s * np.einsum("mn,mn->m", parts[c], cross)
            out.append((mean, cov))
        return out

    def probabilities(self, cross: Array, diag: Array) -> Array:
        """Return class probabilities (m, k): the softmax averaged over the latent values and the scale."""
        k = self.Y.shape[1]
        z = normal_draws(k)
        total = np.zeros((cross.shape[0], k))
        for w, (mean, cov) in zip(self.weights, self.latent(cross, diag)):
            if w < 1e-8:
                continue
            e, U = np.linalg.eigh(cov)
            # the symmetric root, which treats exchangeable classes alike
            root = (U * np.sqrt(np.maximum(e, 0.0))[:, None, :]) @ U.transpose(0, 2, 1)
            for start in range(0, mean.shape[0], 256):
                rows = slice(start, start + 256)
                f = mean[rows, None] + np.einsum("mij,qj->mqi", root[rows], z)
                total[rows] += w * special.softmax(f, axis=2).mean(axis=1)
        return np.asarray(total / total.sum(axis=1, keepdims=True))
