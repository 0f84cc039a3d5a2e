"""The published algorithms are a Cholesky and an LU factorisation, and what follows from the factor.

Section 3.1 of the paper builds p_i, q_i row by row; section 3.2 builds D, B. Both are
factors of the m x m matrix K = N lam I + G G^T in disguise, and every quantity
of A^-1 follows from that factor: entries, log determinant, trace, square root,
influences of the rows on each other.
"""

import mpmath
import numpy as np
from _curvature import U64, kappa

from theorylab import curvature as cv
from theorylab.validation import Claim, Exact, grid, main

disguise = Claim(
    id="curvature.factorisations",
    statement="q_i = L_ii^2 / lam, p_i / sqrt(q_i) = (L^-1 G)_i / sqrt(lam), D = U - N I and B = T^-1 / lam, "
    "where K = L L^T and K / lam = T U.",
    source="M-FAC sections 3.1 and 3.2; Schur complements",
    criterion=Exact(abs=1e-11),  # measured 1e-14 at this size and kappa = 1e3
    quick=grid(quantity=["q", "p", "D", "B"], replicates=3),
    full=grid(quantity=["q", "p", "D", "B"], replicates=50),
)
M, D, LAM = 48, 150, 0.01


def deviation(quantity, rng, order):
    """Return the largest deviation, relative to the largest entry; the factor takes the rows in `order`."""
    G = rng.standard_normal((M, D))
    K = M * LAM * np.eye(M) + G[order] @ G[order].T
    if quantity in ("q", "p"):
        L = np.linalg.cholesky(K)
        inv = cv.fisher_inverse(G, LAM, method="recursion")
        ours, theory = inv.q, np.diag(L) ** 2 / LAM
        if quantity == "p":
            ours, theory = inv.p / np.sqrt(inv.q)[:, None], np.linalg.solve(L, G[order]) / np.sqrt(LAM)
    else:
        T, U = lu_without_pivoting(K / LAM)
        inv = cv.fisher_inverse(G, LAM, method="coefficients")
        ours, theory = (inv.D, U - M * np.eye(M)) if quantity == "D" else (inv.B, np.linalg.inv(T) / LAM)
    return np.abs(ours - theory).max() / np.abs(theory).max()


def lu_without_pivoting(A):
    """Return unit lower T and upper U with A = T U."""
    T, U = np.eye(len(A)), A.copy()
    for i in range(len(A) - 1):
        T[i + 1 :, i] = U[i + 1 :, i] / U[i, i]
        U[i + 1 :] -= np.outer(T[i + 1 :, i], U[i])
    return T, np.triu(U)


@disguise.measure
def in_the_order_of_the_rows(quantity, rng):
    return deviation(quantity, rng, np.arange(M))


@disguise.control("the factor of permuted rows is another one, although A^-1 is the same")
def in_another_order(quantity, rng):
    return deviation(quantity, rng, np.roll(np.arange(M), 1))


QUANTITIES = ["element", "diagonal", "log det", "trace", "root", "influence", "leverage"]
invariants = Claim(
    id="curvature.invariants",
    statement="Element, diagonal, log det, trace, square root, influences and leverages agree with 60-digit "
    "dense algebra within 100 u kappa.",
    source="M-FAC section 3.1 for elements and diagonal; the others follow from the same factor",
    criterion=Exact(abs=100.0),  # in units of u kappa
    quick=grid(quantity=QUANTITIES, shape=["8 x 20", "20 x 8", "14 x 14"], damping=[1e-5, 1e-1]),
    full=grid(quantity=QUANTITIES, shape=["8 x 20", "20 x 8", "30 x 30"], damping=[1e-5, 1e-3, 1e-1],
              replicates=5),
)  # fmt: skip


def in_60_digits(G, lam):
    """Return A, its inverse and G as mpmath matrices."""
    mpmath.mp.dps = 60
    rows = mpmath.matrix(G.tolist())
    A = mpmath.mpf(lam) * mpmath.eye(G.shape[1]) + rows.T * rows / G.shape[0]
    return A, A**-1, rows


def floats(M):
    return np.array(M.tolist(), dtype=np.float64)


def units_of_u_kappa(quantity, shape, damping, rng, element=None):
    """Return the error, relative to the largest entry of its kind, over u kappa."""
    m, d = (int(n) for n in shape.split(" x "))
    G = rng.standard_normal((m, d))
    inv = cv.fisher_inverse(G, damping)
    A, inverse, rows = in_60_digits(G, damping)
    if quantity == "element":
        dense = floats(inverse)
        value = inv.element(0, d - 1) if element is None else element(G, damping)
        error = abs(value - dense[0, -1]) / np.sqrt(dense[0, 0] * dense[-1, -1])
    elif quantity == "diagonal":
        error = np.abs(inv.diagonal() / floats(inverse).diagonal() - 1).max()
    elif quantity == "log det":
        truth = float(mpmath.log(mpmath.det(A)))
        error = abs(inv.logdet() - truth) / max(1, abs(truth))
    elif quantity == "trace":
        error = abs(inv.trace() / float(sum(inverse[i, i] for i in range(d))) - 1)
    elif quantity == "root":
        root = inv.sqrt_matvec(np.eye(d))
        error = np.abs(root @ root - floats(inverse)).max() / np.abs(floats(inverse)).max()
        error = max(error, np.abs(inv.sqrt_matvec(root, forward=True) - np.eye(d)).max())
    else:
        cross = floats(rows * inverse * rows.T)
        if quantity == "influence":
            error = np.abs(inv.influence_matrix() - cross).max() / np.abs(cross).max()
        else:
            error = np.abs(inv.leverages() * m / cross.diagonal() - 1).max()
    return error / (U64 * kappa(G, damping))


@invariants.measure
def from_the_factor(quantity, shape, damping, rng):
    return units_of_u_kappa(quantity, shape, damping, rng)


@invariants.control(
    "the formula of an element with L in place of L^-1",
    grid=grid(quantity=["element"], shape=["8 x 20"], damping=[1e-5, 1e-1]),
)
def factor_not_inverted(quantity, shape, damping, rng):
    def wrong(G, lam):
        L = np.linalg.cholesky(len(G) * lam * np.eye(len(G)) + G @ G.T)
        V = L @ G
        return -(V[:, 0] @ V[:, -1]) / lam

    return units_of_u_kappa(quantity, shape, damping, rng, wrong)


if __name__ == "__main__":
    main()
