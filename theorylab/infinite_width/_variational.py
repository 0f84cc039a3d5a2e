"""Sparse variational classification with a random scale: the Student-t process of Lee et al. (2022).

Inducing values ``u = L w`` with ``K_ZZ = L L'``; ``q(s)`` inverse gamma (a, b), ``q(w_c | s)`` normal of
mean ``w_c`` and covariance ``s R_c R_c'`` for each class c. Then the divergence has no ``K_ZZ``.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special
from scipy.linalg import solve_triangular
from scipy.stats import qmc
from sklearn.exceptions import ConvergenceWarning

from ._linalg import caller_level, factor

__all__ = ["SparseVariational"]

Array = NDArray[Any]


def divergence(
    w: Array, R: Array, a: float, b: float, alpha: float, beta: float
) -> tuple[float, Array, Array, float, float]:
    """Return ``KL(q || p)`` and its gradient in w (m, k), R (k, m, m), a and b.

    ``1/2 sum_c [-ln|R_c R_c'| - m + tr(R_c R_c') + (a / b) w_c' w_c]`` for the values given s, plus the
    divergence of two inverse-gamma laws.
    """
    k, m, _ = R.shape
    diagonal = np.einsum("cii->ci", R)
    square = float(np.sum(w * w))
    value = 0.5 * (-2.0 * float(np.sum(np.log(np.abs(diagonal)))) - m * k + float(np.sum(R * R)))
    value += 0.5 * a / b * square
    value += alpha * np.log(b / beta) - special.gammaln(a) + special.gammaln(alpha)
    value += (a - alpha) * special.digamma(a) + (beta - b) * a / b
    dR = R.copy()
    np.einsum("cii->ci", dR)[...] -= 1.0 / diagonal
    da = (a - alpha) * special.polygamma(1, a) + (beta - b) / b + 0.5 * square / b
    db = alpha / b - beta * a / b**2 - 0.5 * a * square / b**2
    return float(value), a / b * w, dR, float(da), float(db)


class Draws:
    """Fixed quasi-random numbers: one level for the scale and one normal per class and draw."""

    def __init__(self, k: int, n: int) -> None:
        u = qmc.Sobol(1 + k, scramble=True, rng=np.random.default_rng(20220425)).random(n)
        u = np.clip(u, 1e-9, 1.0 - 1e-9)
        self.level, self.normal = u[:, 0], special.ndtri(u[:, 1:])

    def scale(self, a: float, b: float) -> tuple[Array, Array]:
        """Return draws s of the inverse-gamma law (a, b) and ``d ln s / d a`` at fixed levels."""

        def log_unit(shape: float) -> Array:
            return np.asarray(-np.log(special.gammainccinv(shape, self.level)))

        h = 1e-4 * a
        return b * np.exp(log_unit(a)), (log_unit(a + h) - log_unit(a - h)) / (2.0 * h)


class SparseVariational:
    """Maximise the evidence bound for indicators Y (n, k), given kernel blocks.

    Parameters
    ----------
    K_zz, K_xz, k_xx : ndarray, shapes (m, m), (n, m), (n,)
    Y : ndarray, shape (n, k)
    alpha, beta : float
        Of the prior of s.
    draws, maxiter : int
    """

    def __init__(
        self,
        K_zz: Array,
        K_xz: Array,
        k_xx: Array,
        Y: Array,
        alpha: float,
        beta: float,
        draws: int = 128,
        maxiter: int = 1000,
    ) -> None:
        self.m, self.k = K_zz.shape[0], Y.shape[1]
        self.alpha, self.beta, self.Y = alpha, beta, Y
        self.L = factor(K_zz + 1e-8 * float(np.mean(np.diag(K_zz))) * np.eye(self.m), "the inducing kernel")
        self.B, self.rest = self.project(K_xz, k_xx)
        self.draws = Draws(self.k, draws)
        self.lower = np.tril_indices(self.m)
        start = self.pack(np.zeros((self.m, self.k)), np.tile(np.eye(self.m), (self.k, 1, 1)), alpha, beta)
        found = optimize.minimize(
            self.descend, start, jac=True, method="L-BFGS-B",
            options={"maxiter": maxiter, "maxfun": 2 * maxiter},
        )  # fmt: skip
        if not found.success:
            warnings.warn(
                f"the evidence bound still rose when its ascent stopped ({found.message}); raise max_steps",
                ConvergenceWarning,
                stacklevel=caller_level(),
            )
        self.elbo = -float(found.fun)
        self.w, self.R, self.a, self.b = self.unpack(found.x)

    def descend(self, v: Array) -> tuple[float, Array]:
        """Return minus the bound and its gradient; a wall where a long step left the floating range."""
        with np.errstate(all="ignore"):
            value, gradient = self.bound(v)
        if np.isfinite(value) and np.all(np.isfinite(gradient)):
            return -value, -gradient
        return 1e25, np.zeros_like(v)

    def project(self, K_xz: Array, k_xx: Array) -> tuple[Array, Array]:
        """Return ``K_xz L^-T`` and the variance that the inducing values leave open."""
        B = solve_triangular(self.L, K_xz.T, lower=True).T
        return B, np.maximum(k_xx - np.sum(B * B, axis=1), 0.0)

    def pack(self, w: Array, R: Array, a: float, b: float) -> Array:
        """Return all parameters as one vector; a and b by their logarithms."""
        rows = R[:, self.lower[0], self.lower[1]]
        return np.concatenate([w.ravel(), rows.ravel(), [np.log(a), np.log(b)]])

    def unpack(self, v: Array) -> tuple[Array, Array, float, float]:
        """Invert :meth:`pack`."""
        size = self.m * self.k
        R = np.zeros((self.k, self.m, self.m))
        R[:, self.lower[0], self.lower[1]] = v[size:-2].reshape(self.k, -1)
        a, b = np.exp(np.clip(v[-2:], -20.0, 20.0))
        return v[:size].reshape(self.m, self.k), R, float(a), float(b)

    def latent(self, B: Array, rest: Array, w: Array, R: Array) -> tuple[Array, Array, Array]:
        """Return means (n, k), variances over s (n, k) and ``B R_c`` (k, n, m)."""
        BR = B @ R
        return B @ w, rest[:, None] + np.sum(BR * BR, axis=2).T, BR

    def bound(self, v: Array) -> tuple[float, Array]:
        """Return the evidence bound and its gradient."""
        w, R, a, b = self.unpack(v)
        mean, var, BR = self.latent(self.B, self.rest, w, R)
        s, ds = self.draws.scale(a, b)
        spread = np.sqrt(np.maximum(var, 1e-300))
        noise = np.sqrt(s)[:, None] * self.draws.normal  # (q, k)
        f = mean[None] + noise[:, None] * spread
        slope = self.Y - special.softmax(f, axis=2)
        q = s.size
        likelihood = float(np.sum(self.Y * f) - special.logsumexp(f, axis=2).sum()) / q
        d_mean = slope.mean(axis=0)
        d_spread = np.einsum("qnk,qk->nk", slope, noise) / q
        d_log_s = 0.5 * np.einsum("qnk,qk,nk->q", slope, noise, spread) / q
        kl, k_w, k_R, k_a, k_b = divergence(w, R, a, b, self.alpha, self.beta)
        g = d_spread / (2.0 * spread)
        dR = np.stack([2.0 * self.B.T @ (g[:, [c]] * BR[c]) for c in range(self.k)]) - k_R
        da = float(d_log_s @ ds) - k_a
        db = float(d_log_s.sum()) / b - k_b
        gradient = np.concatenate(
            [
                (self.B.T @ d_mean - k_w).ravel(),
                dR[:, self.lower[0], self.lower[1]].ravel(),
                [a * da, b * db],
            ]
        )
        return likelihood - kl, gradient

    def probabilities(self, K_xz: Array, k_xx: Array) -> Array:
        """Return class probabilities (n, k), averaged over the scale and the latent values."""
        mean, var, _ = self.latent(*self.project(K_xz, k_xx), self.w, self.R)
        s, _ = self.draws.scale(self.a, self.b)
        noise = np.sqrt(s)[:, None] * self.draws.normal
        out = np.empty_like(mean)
        for start in range(0, mean.shape[0], 1024):
            rows = slice(start, start + 1024)
            f = mean[rows] + noise[:, None] * np.sqrt(var[rows])
            out[rows] = special.softmax(f, axis=2).mean(axis=0)
        return out
