"""Values in exact rational arithmetic (make_golden.py) and closed forms."""

import numpy as np
import pytest

from theorylab import curvature as cv

G = np.array([[1, 2, 0, -1], [3, -1, 1, 0], [0, 1, -2, 2]])
X = np.array([1, -2, 3, -4])
DIAGONAL = [2.0127599662595537, 12.467680346292418, 54.562165153753128, 32.133080049758362]
CROSS = [2.9848237841926921, 2.9908791346520602, 2.9890265156733435]
# kappa = 1 + |G|^2 / (N lam) is about 500; all sums have fewer than 10 terms: 10 u kappa.
RTOL = 1e-12


@pytest.mark.parametrize(
    "options", [{}, {"side": "primal"}, {"method": "recursion"}, {"method": "coefficients"}]
)
def test_reference_values(options):
    inv = cv.fisher_inverse(G, 0.01, **options)
    np.testing.assert_allclose(
        inv @ X, [11.077918323389428, -30.47069734579128, -62.938741106170276, -50.234005189123593], rtol=RTOL
    )
    np.testing.assert_allclose(inv.diagonal(), DIAGONAL, rtol=RTOL)
    np.testing.assert_allclose(inv.element(0, 3), -7.2640196285148297, rtol=RTOL)
    np.testing.assert_allclose(inv.trace(), 101.17568551606345, rtol=RTOL)
    np.testing.assert_allclose(inv.logdet(), -1.6144626877216412, rtol=RTOL)
    np.testing.assert_allclose(
        inv.solve_rows([0.0, 1.0, 0.0]),
        [0.86166715752508172, -0.3038613386945454, 0.10201632338226985, 0.25243189881792466],
        rtol=RTOL,
    )
    np.testing.assert_allclose(inv.influence_matrix().diagonal(), CROSS, rtol=RTOL)
    np.testing.assert_allclose(inv.influence_matrix()[0, 1], 0.0015125813180662639, rtol=1e-10)
    np.testing.assert_allclose(inv.leverages(), np.array(CROSS) / 3, rtol=RTOL)


def test_published_intermediate_values():
    recursion = cv.fisher_inverse(G, 0.01, method="recursion")
    coefficients = cv.fisher_inverse(G, 0.01, method="coefficients")
    for inv in (recursion, coefficients):
        np.testing.assert_allclose(inv.q, [603, 1086.4162520729685, 820.15882395143399], rtol=RTOL)
    D, B = coefficients.D, coefficients.B
    np.testing.assert_allclose(
        [D[0, 1], D[1, 2], B[0, 0], B[1, 0]], [100, -300, 100, -10000 / 603], rtol=RTOL
    )
    assert abs(D[0, 2]) < 1e-10


def test_rows_of_zeros_leave_the_damping_alone():
    inv = cv.fisher_inverse(np.zeros((3, 5)), 0.5)
    np.testing.assert_array_equal(inv @ np.ones(5), np.full(5, 2.0))
    np.testing.assert_array_equal(inv.diagonal(), np.full(5, 2.0))
    np.testing.assert_array_equal(inv.influence_matrix(), np.zeros((3, 3)))
    np.testing.assert_allclose(inv.logdet(), 5 * np.log(0.5), rtol=1e-15)


@pytest.mark.parametrize("lam", [1e-6, 1.0, 1e6])
def test_one_row(lam):
    g, N = np.array([[3.0, -4.0, 12.0]]), 2.5
    inv = cv.fisher_inverse(g, lam, norm=N)
    np.testing.assert_allclose(inv.solve_rows([1.0]), N * g[0] / (N * lam + 169), rtol=1e-15)


@pytest.mark.parametrize("lam", [1e-6, 1e-2, 1e2])
def test_orthogonal_rows(lam):
    m, d, a = 3, 7, 5.0
    inv = cv.fisher_inverse(a * np.eye(d)[:m], lam)
    h = a**2 / (m * lam + a**2)
    # kappa is at most 1e7 and every intermediate is an exact diagonal matrix: a few u.
    np.testing.assert_allclose(inv.leverages(), h, rtol=1e-15)
    np.testing.assert_allclose(
        inv.solve_rows(np.eye(m)), (m * a / (m * lam + a**2)) * np.eye(d)[:, :m], rtol=1e-15
    )
    np.testing.assert_allclose(inv.logdet(), (d - m) * np.log(lam) + m * np.log(lam + a**2 / m), rtol=1e-14)
