"""Inverse-curvature products against the published algorithms in PyTorch, written anew in a few lines.

Theirs runs in float32 as published, ours accumulates in float64. The fractions
are of what one dsyrk and the reads of G allow.
"""

import itertools

import numpy as np
import torch
from _harness import Benchmark
from scipy.linalg import blas

from theorylab import curvature as cv
from theorylab.testing import relative_error

LAM = 1e-3


def recursion(G, lam):
    """Section 3.1: add one row after the other; returns p and q."""
    m = G.shape[0]
    p, q = torch.empty_like(G), torch.empty(m)
    for i in range(m):
        v = G[i] / lam
        if i:
            v = v - ((p[:i] @ G[i]) / q[:i]) @ p[:i]
        p[i], q[i] = v, m + G[i] @ v
    return p, q


def recursion_product(p, q, x, lam):
    return x / lam - ((p @ x) / q) @ p


def elimination(A, width=64):
    """LU without pivoting, as published, in blocks of columns: PyTorch has it on GPUs only."""
    A, m = A.clone(), len(A)
    for start in range(0, m, width):
        stop = min(start + width, m)
        for i in range(start, stop):
            A[i + 1 :, i] /= A[i, i]
            A[i + 1 :, i + 1 : stop] -= torch.outer(A[i + 1 :, i], A[i, i + 1 : stop])
        A[start:stop, stop:] = torch.linalg.solve_triangular(
            A[start:stop, start:stop], A[start:stop, stop:], upper=False, unitriangular=True
        )
        A[stop:, stop:] -= A[stop:, start:stop] @ A[start:stop, stop:]
    return A.tril(-1) + torch.eye(m), A.triu()


def by_cholesky(A):
    """The same factors of a symmetric positive definite matrix from LAPACK; kinder than published."""
    L = torch.linalg.cholesky(A)
    scale = L.diagonal()
    return L / scale, scale[:, None] * L.T


class Dynamic:
    """Section 3.2: replace a row of the ring, then recompute the coefficients D and B, O(m^3)."""

    def __init__(self, G, lam, factors):
        self.G, self.lam, self.m, self.factors = G.clone(), lam, G.shape[0], factors
        self.gram, self.slot = G @ G.T, 0

    def update_solve(self, g, x):
        self.G[self.slot] = g
        self.gram[self.slot] = self.gram[:, self.slot] = self.G @ g
        self.slot = (self.slot + 1) % self.m
        eye = torch.eye(self.m)
        L, D = self.factors(self.m * eye + self.gram / self.lam)
        B = torch.linalg.solve_triangular(L, eye, upper=False, unitriangular=True) / self.lam
        q = D.diagonal()
        t = torch.linalg.solve_triangular(L, (self.G @ x / self.lam)[:, None], upper=False)[:, 0]
        return x / self.lam - (B.T @ (t / q)) @ self.G


def truth(G, x):
    """Return A^-1 x in float64, without a cancellation for x in the span of the rows."""
    G = G.astype(np.float64)
    m = len(G)
    return (x - G.T @ np.linalg.solve(m * LAM * np.eye(m) + G @ G.T, G @ x)) / LAM


def row_truth(G):
    G = G.astype(np.float64)
    m = len(G)
    return m * (G.T @ np.linalg.solve(m * LAM * np.eye(m) + G @ G.T, np.eye(m)[0]))


def build(bench, m, d, promise, repeats):
    """Compare static builds, and the Gram with one dsyrk."""
    G = np.random.default_rng(0).standard_normal((m, d), dtype=np.float32)
    T = torch.from_numpy(G)
    p, q = recursion(T, LAM)
    inv, exact = cv.fisher_inverse(G, LAM), row_truth(G)
    errors = (
        relative_error(inv.solve_rows(np.eye(m)[0]), exact),
        relative_error(recursion_product(p, q, T[0], LAM).numpy(), exact),
    )
    bench.compare(
        f"build, m={m}, d={d:.0e}",
        lambda: cv.fisher_inverse(G, LAM),
        lambda: recursion(T, LAM),
        peer_name="recursion, torch float32",
        repeats=repeats,
        accuracy=errors,
        work=("dgemm", m * m * d),
        target=promise,
    )
    wide = G.astype(np.float64)
    bench.compare(
        f"build, m={m}, d={d:.0e}",
        lambda: cv.fisher_inverse(G, LAM),
        lambda: blas.dsyrk(1.0, wide.T, trans=1, lower=1),
        peer_name="one dsyrk on float64",
        repeats=repeats,
        target="0.75 of dsyrk",
    )


def window(bench, m, d, promise):
    """Compare an update and a product: with the published elimination, and with LAPACK in its place."""
    rng = np.random.default_rng(1)
    G = rng.standard_normal((m, d), dtype=np.float32)
    # An odd number above m: although both sides take rows in turn, no window holds one twice.
    fresh = rng.standard_normal((m + 1, d), dtype=np.float32)
    x = rng.standard_normal(d, dtype=np.float32)
    ours = cv.SlidingFisherInverse(d, m, LAM)
    ours.extend(G)
    mine = ours.update_solve(fresh[0], x)
    exact = truth(np.vstack([G[1:], fresh[:1]]), x)
    next_row, X = itertools.cycle(fresh), torch.from_numpy(x)
    peers = {"published elimination": elimination, "Cholesky instead of elimination": by_cholesky}
    for name, factors in peers.items():
        theirs = Dynamic(torch.from_numpy(G), LAM, factors)
        error = relative_error(theirs.update_solve(torch.from_numpy(fresh[0]), X).numpy(), exact)
        bench.compare(
            f"update + product, m={m}, d={d:.0e}",
            lambda: ours.update_solve(next(next_row), x),
            lambda theirs=theirs: theirs.update_solve(torch.from_numpy(next(next_row)), X),
            peer_name=f"{name}, torch float32",
            repeats=15,
            accuracy=(relative_error(mine, exact), error),
            work=("read", 2 * G.nbytes),
            target=promise,
        )
        bench.compare(
            f"update + product with the newest row, m={m}, d={d:.0e}",
            lambda: ours.update_solve(next(next_row)),
            lambda theirs=theirs: (lambda g: theirs.update_solve(g, g))(torch.from_numpy(next(next_row))),
            peer_name=f"{name}, torch float32",
            repeats=15,
            work=("read", 2 * G.nbytes),
            target=promise,
        )


def product(bench, m, d, threads):
    """Compare one product; its ceiling is two reads of G."""
    G = np.random.default_rng(2).standard_normal((m, d), dtype=np.float32)
    x = np.random.default_rng(3).standard_normal(d, dtype=np.float32)
    inv, T, X = cv.fisher_inverse(G, LAM), torch.from_numpy(G), torch.from_numpy(x)
    q = torch.ones(m)  # only the time of their product matters here: p is as large as G
    bench.compare(
        f"product, m={m}, d={d:.0e}",
        lambda: inv.solve(x),
        lambda: recursion_product(T, q, X, LAM),
        peer_name="two products in torch float32",
        repeats=9,
        threads=threads,
        work=("read", 2 * G.nbytes),
        target=">= 0.7 of read",
    )
    return inv, x


def main():
    bench = Benchmark("curvature")
    build(bench, 256, 100_000, ">= 6", 9)
    build(bench, 512, 100_000, ">= 9", 6)
    window(bench, 256, 100_000, ">= 1.6")
    window(bench, 512, 100_000, ">= 1.8")
    product(bench, 256, 1_000_000, 1)
    product(bench, 256, 1_000_000, 2)
    G = np.random.default_rng(0).standard_normal((256, 100_000), dtype=np.float32)
    bench.compare("build, m=256, d=1e+05", lambda: cv.fisher_inverse(G, LAM), threads=2, repeats=9)
    bench.finish()


if __name__ == "__main__":
    main()
