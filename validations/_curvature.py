"""Shared by the scripts on inverse-curvature products: rows of two kinds, and truth in 60 digits."""

import functools

import mpmath
import numpy as np

U32, U64 = 2.0**-24, 2.0**-53
BITS = 16


def gaussian_rows(rng, m, d):
    """Normal rows rounded to multiples of 2^-16, so that integers hold their Gram exactly."""
    return np.round(rng.standard_normal((m, d)) * 2**BITS) / 2**BITS


@functools.cache
def _digits():
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


def digit_gradients(rng, m):
    """Per-example gradients of a softmax classifier on the handwritten digits, at random weights; d = 650."""
    X, y = _digits()
    chosen = rng.choice(len(X), m, replace=False)
    features = np.column_stack([X[chosen] / 16, np.ones(m)])
    scores = features @ (0.1 * rng.standard_normal((65, 10)))
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p = p / p.sum(axis=1, keepdims=True) - np.eye(10)[y[chosen]]
    return (p[:, :, None] * features[:, None, :]).reshape(m, -1)


def kappa(G, lam):
    """Return 1 + sigma_max(G)^2 / (N lam)."""
    return 1 + np.linalg.norm(G, 2) ** 2 / (len(G) * lam)


def relative(y, truth):
    """Relative error in the 2-norm."""
    return float(np.linalg.norm(np.asarray(y, dtype=np.float64) - truth) / np.linalg.norm(truth))


def solve_in_60_digits(G, lam, x):
    """Return ``A^-1 x`` for rows and x made by `gaussian_rows`, by Woodbury's identity in 60 digits."""
    mpmath.mp.dps = 60
    m = len(G)
    integers, right = (np.round(a * 2**BITS).astype(np.int64) for a in (G, x))
    unit = mpmath.mpf(2) ** (-2 * BITS)
    K = mpmath.matrix((integers @ integers.T).tolist()) * unit
    for i in range(m):
        K[i, i] += m * mpmath.mpf(lam)
    t = mpmath.matrix((integers @ right).tolist()) * unit
    a = mpmath.cholesky_solve(K, t)
    exact = [mpmath.mpf(v) for v in a]
    columns = integers.T.tolist()
    back = [mpmath.fdot(column, exact) / 2**BITS for column in columns]
    return np.array([float((mpmath.mpf(float(v)) - b) / mpmath.mpf(lam)) for v, b in zip(x, back)])


def row_products(G, lam, count=1):
    """Return ``A^-1 g_i = N G^T K^-1 e_i`` for the first rows, in float64: accurate to u times cond(K)."""
    G = np.asarray(G, dtype=np.float64)
    m = len(G)
    return m * (G.T @ np.linalg.solve(m * lam * np.eye(m) + G @ G.T, np.eye(m)[:, :count]))
