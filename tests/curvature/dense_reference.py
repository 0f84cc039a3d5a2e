"""The obvious implementation: form the d x d matrix and call NumPy.

Everything fast is tested against this.
"""

from itertools import pairwise

import numpy as np


def dense_matrix(G, lam, norm=None, blocks=None):
    """``lam I + G^T G / N``, or its diagonal blocks."""
    G = np.asarray(G, dtype=np.float64)
    m, d = G.shape
    A = lam * np.eye(d) + G.T @ G / (m if norm is None else norm)
    if blocks is not None:
        label = np.repeat(np.arange(len(blocks)), blocks)
        A = np.where(label[:, None] == label[None, :], A, 0.0)
    return A


def dense_obs(A, w, keep, gradient=None):
    """Minimise g.delta + delta^T A delta / 2 under delta_Q = -w_Q; return (weights, increase)."""
    g = np.zeros_like(w) if gradient is None else gradient
    R, Q = np.flatnonzero(keep), np.flatnonzero(~keep)
    delta = np.zeros_like(w)
    delta[Q] = -w[Q]
    if R.size:
        delta[R] = np.linalg.solve(A[np.ix_(R, R)], A[np.ix_(R, Q)] @ w[Q] - g[R])
    return w + delta, g @ delta + 0.5 * delta @ A @ delta


def dense_independent(A, w, keep, gradient=None):
    """Sum of the single-weight moves, then zeros on Q; return (weights, increase)."""
    g = np.zeros_like(w) if gradient is None else gradient
    inverse = np.linalg.inv(A)
    new = w - inverse @ g
    shifted = new.copy()
    for j in np.flatnonzero(~keep):
        new = new - shifted[j] * inverse[:, j] / inverse[j, j]
    new[~keep] = 0.0
    delta = new - w
    return new, g @ delta + 0.5 * delta @ A @ delta


def dense_greedy(A, w, n, blocks):
    """Remove one weight at a time, always the cheapest under the exact block-diagonal model."""
    w, keep = w.copy(), w != 0
    starts = np.cumsum([0, *blocks])
    for _ in range(n):
        best = (np.inf, -1, None)
        for a, b in pairwise(starts):
            live = a + np.flatnonzero(keep[a:b])
            if live.size == 0:
                continue
            inverse = np.linalg.inv(A[np.ix_(live, live)])
            rho = w[live] ** 2 / (2 * np.diag(inverse))
            p = int(np.argmin(rho))
            if rho[p] < best[0]:
                best = (rho[p], live[p], (live, w[live[p]] * inverse[:, p] / inverse[p, p]))
        _, p, (live, move) = best
        w[live] -= move
        w[p], keep[p] = 0.0, False
    return keep
