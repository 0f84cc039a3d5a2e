"""The obvious implementation: the penalised likelihood in ten lines, and a general optimiser on top."""

from __future__ import annotations

import numpy as np
from scipy.optimize import LinearConstraint, minimize
from scipy.special import expit


def toy() -> tuple[np.ndarray, np.ndarray]:
    """Return the 24 rows whose solutions are known to 13 digits."""
    i = np.arange(24)
    y = [0, 1, 2, 1, 0, 0, 1, 2, 1, 2, 0, 1, 2, 1, 1, 0, 0, 2, 1, 2, 0, 1, 0, 2]
    return np.column_stack((i % 4, i**2 % 5)).astype(float), np.array(y)


def separable() -> tuple[np.ndarray, np.ndarray]:
    """Return 20 rows on which proportional odds has no maximum."""
    i = np.arange(20)
    y = [0, 1, 2, 2, 1, 0, 1, 2, 1, 1, 0, 1, 2, 1, 1, 0, 0, 2, 1, 1]
    return np.column_stack((i % 4, i**2 % 5)).astype(float), np.array(y)


def simulate(n: int, p: int, K: int, seed: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return normal features and classes from a model with one slope vector; every class occurs."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    beta = spread * rng.standard_normal(p) / np.sqrt(p)
    cuts = np.linspace(-1.0, 1.5, K - 1)
    y = np.sum(rng.logistic(size=n)[:, None] > cuts + (X @ beta)[:, None], axis=1)
    y[:K] = np.arange(K)
    return X, y


def standardised(X: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return centred and scaled columns, means and deviations."""
    centre = w @ X
    scale = np.sqrt(w @ (X - centre) ** 2)
    scale[scale == 0] = 1.0
    return (X - centre) / scale, centre, scale


def loss(Z: np.ndarray, y: np.ndarray, w: np.ndarray, alpha: np.ndarray, psi: np.ndarray) -> float:
    """Return the weighted mean of -log P(y | x), the probabilities formed as plain differences."""
    F = expit(alpha + Z @ np.cumsum(psi, axis=0).T)
    edges = np.column_stack((np.zeros(len(y)), F, np.ones(len(y))))
    own = edges[np.arange(len(y)), y + 1] - edges[np.arange(len(y)), y]
    return float(-np.sum(w * np.log(own))) if (own > 0).all() else np.inf


def objective(Z, y, w, alpha, psi, lam, ratio=1.0, factors=None) -> float:
    """Return loss plus elastic-net penalty on psi."""
    c = np.ones(Z.shape[1]) if factors is None else factors
    penalty = np.sum(c * (ratio * np.abs(psi) + 0.5 * (1 - ratio) * psi**2))
    return loss(Z, y, w, alpha, psi) + lam * float(penalty)


def minimise(Z, y, w, K, lam, ratio=1.0, factors=None, ordered="own"):
    """Minimise by SciPy's trust-constr in split variables; good to about 1e-9 in the objective."""
    n, p = Z.shape
    m = K - 1
    c = np.ones(p) if factors is None else factors
    share = np.array([w[y <= k].sum() for k in range(m)])
    x0 = np.concatenate((np.log(share / (1 - share)), np.full(2 * m * p, 1e-3)))

    def unpack(x):
        return x[:m], (x[m : m + m * p] - x[m + m * p :]).reshape(m, p)

    def value(x):
        alpha, psi = unpack(x)
        parts = x[m : m + m * p] + x[m + m * p :]
        return loss(Z, y, w, alpha, psi) + lam * float(
            np.sum(np.tile(c, m) * ratio * parts) + 0.5 * (1 - ratio) * np.sum(c * psi**2)
        )

    def gradient(x):
        alpha, psi = unpack(x)
        eta = alpha + Z @ np.cumsum(psi, axis=0).T
        F, f = expit(eta), expit(eta) * expit(-eta)
        edges = np.column_stack((np.zeros(n), F, np.ones(n)))
        own = edges[np.arange(n), y + 1] - edges[np.arange(n), y]
        S = np.zeros((n, m))
        for k in range(m):
            S[:, k] = -w * f[:, k] / own * ((y == k).astype(float) - (y == k + 1))
        ga = S.sum(axis=0)
        gp = np.cumsum((S.T @ Z)[::-1], axis=0)[::-1]
        smooth = gp + lam * (1 - ratio) * c * psi
        l1 = np.tile(c, m) * lam * ratio
        return np.concatenate((ga, smooth.ravel() + l1, -smooth.ravel() + l1))

    rows = []
    for i in range(n):
        for k in range(1, m):
            if ordered == "train" or y[i] == k:
                row = np.zeros((m, p))
                row[k] = Z[i]
                a = np.zeros(m)
                a[k], a[k - 1] = 1.0, -1.0
                rows.append(np.concatenate((a, row.ravel(), -row.ravel())))
    constraints = [LinearConstraint(np.array(rows), 1e-9, np.inf, keep_feasible=True)] if rows else []
    bounds = [(None, None)] * m + [(0, None)] * (2 * m * p)
    result = minimize(
        value,
        x0,
        jac=gradient,
        method="trust-constr",
        bounds=bounds,
        constraints=constraints,
        options={"gtol": 1e-10, "xtol": 1e-14, "barrier_tol": 1e-11, "maxiter": 3000},
    )
    return result.fun, *unpack(result.x)
