"""The published algorithms are the factorisations they are said to be, in any page size."""

import numpy as np
import pytest
import scipy.linalg

from theorylab import curvature as cv

from .cases import dense, relative, rows

LAM = 0.01


@pytest.mark.parametrize("page", [None, 1, 3, 4, 17, 100])
def test_recursion_is_a_row_oriented_cholesky_factorisation(page):
    G = rows(17, 60)
    inv = cv.fisher_inverse(G, LAM, method="recursion", page=page)
    L = np.linalg.cholesky(17 * LAM * np.eye(17) + G @ G.T)
    np.testing.assert_allclose(inv.q, L.diagonal() ** 2 / LAM, rtol=1e-12)
    V = scipy.linalg.solve_triangular(L, G, lower=True)
    np.testing.assert_allclose(inv.p / np.sqrt(inv.q)[:, None], V / np.sqrt(LAM), rtol=0, atol=1e-11)


def test_coefficients_are_an_lu_factorisation():
    G = rows(17, 60)
    inv = cv.fisher_inverse(G, LAM, method="coefficients")
    M = 17 * np.eye(17) + G @ G.T / LAM
    T, U = np.eye(17), M.copy()
    for i in range(17):
        T[i + 1 :, i] = U[i + 1 :, i] / U[i, i]
        U[i + 1 :] -= np.outer(T[i + 1 :, i], U[i])
    np.testing.assert_allclose(inv.D, np.triu(U) - 17 * np.eye(17), atol=1e-10 * np.abs(U).max())
    np.testing.assert_allclose(inv.B, np.linalg.inv(T) / LAM, atol=1e-10 / LAM)
    np.testing.assert_allclose(inv.q, U.diagonal(), rtol=1e-12)


@pytest.mark.parametrize("method", ["recursion", "coefficients"])
@pytest.mark.parametrize(("m", "d"), [(1, 1), (2, 1), (9, 40), (9, 5)])
def test_they_agree_with_dense_algebra(method, m, d):
    G = rows(m, d)
    inv, inverse = cv.fisher_inverse(G, LAM, method=method, norm=5.0), np.linalg.inv(dense(G, LAM, norm=5.0))
    X = np.random.default_rng(0).standard_normal((d, 2))
    # kappa is about 1e4.
    assert relative(inv @ X, inverse @ X) < 1e-10
    assert relative(inv @ X[:, 0], inverse @ X[:, 0]) < 1e-10
    assert relative(inv.solve_rows(np.eye(m)), inverse @ G.T) < 1e-9
    assert relative(inv.diagonal(), inverse.diagonal()) < 1e-9
    np.testing.assert_allclose(inv.trace(), np.trace(inverse), rtol=1e-9)
    np.testing.assert_allclose(inv.logdet(), np.linalg.slogdet(dense(G, LAM, norm=5.0))[1], rtol=1e-9)
    np.testing.assert_allclose(inv.element(0, d - 1), inverse[0, -1], atol=1e-9 * np.abs(inverse).max())


def test_in_the_dtype_of_the_rows_they_break_down_as_published():
    # u32 |g|^2 / (N lam) = 6e-8 * 300 / (16e-6) is 1.
    G = rows(16, 300, dtype=np.float32)
    truth = cv.fisher_inverse(G, 1e-6).solve_rows(np.eye(16)[0])
    inv = cv.fisher_inverse(G, 1e-6, method="recursion", accumulate="storage")
    assert inv.p.dtype == np.float32
    assert relative(inv @ G[0].astype(np.float64), truth) > 0.05
    assert relative(cv.fisher_inverse(G, 1e-6, method="recursion") @ G[0].astype(np.float64), truth) < 1e-6
