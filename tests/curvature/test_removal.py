"""Removal of points where the remaining rows hardly span the parameters, against 120 digits."""

import mpmath
import numpy as np
import pytest
from scipy.linalg import LinAlgWarning

from theorylab import curvature as cv

from .cases import HOSTILE, hostile_rows


def truth(H, G, S, lam, method):
    """Return the step ``A^-1 sum_S g_i / n`` from 120 digits, with A of the remaining or of all rows."""
    n, p = H.shape
    with mpmath.workdps(120):
        A = mpmath.mpf(lam) * mpmath.eye(p)
        kept = np.delete(H, S, axis=0) if method == "newton" else H
        if len(kept):
            rows = mpmath.matrix(kept.tolist())
            A += rows.T * rows / n
        total = mpmath.matrix([mpmath.fsum(map(mpmath.mpf, G[S, j].tolist())) for j in range(p)])
        return np.array([float(s) for s in mpmath.lu_solve(A, total) / n])


@pytest.mark.filterwarnings("ignore:kappa")  # of fisher_inverse, for gradients outside the span of few rows
@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize(("n", "p"), [(6, 6), (7, 6), (12, 6), (5, 6), (1, 1), (4, 9)])
def test_every_digit_at_every_damping(n, p, kind, parallel):
    rng = np.random.default_rng(0)
    H = hostile_rows(kind, n, p, rng)
    # Powers of 2: gradients that are rounded leave the span of few rows, and a tiny damping shows it.
    G = rng.choice([1.0, -2.0, 0.5], (n, 1)) * H if parallel else rng.standard_normal((n, p))
    for lam in (1e-2, 1e-6, 1e-14, 1e-18):
        for S in ([0], list(range(min(n, 3)))):
            for method in ("newton", "influence"):
                step = cv.remove_points(np.zeros(p), H, G, S, lam, method=method)
                expected = truth(H, G, S, lam, method)
                # Cholesky factors are used up to a condition number of 1e4: 1e4 u = 1e-12.
                assert np.linalg.norm(step - expected) <= 1e-12 * np.linalg.norm(expected)


@pytest.mark.parametrize("p", [3, 9])
@pytest.mark.parametrize("size", [1e-150, 1e160])
def test_rows_whose_squares_are_no_numbers(p, size):
    H, lam = np.random.default_rng(2).standard_normal((6, p)), 0.1
    damping = lam * size * size if size < 1 else 1e-5  # next to rows of 1e160 the latter is nothing
    step = cv.remove_points(np.zeros(p), size * H, size * H, [0], damping, method="influence")
    expected = truth(H, H, [0], lam if size < 1 else 1e-60, "influence")
    np.testing.assert_allclose(step * size, expected, rtol=1e-11)


@pytest.mark.parametrize("method", ["newton", "influence"])
def test_columns_that_the_rows_cannot_tell_apart_warn_where_the_damping_is_hidden(method):
    H = np.random.default_rng(2).standard_normal((9, 3))
    H[:, 2] = H[:, 0]
    with pytest.warns(LinAlgWarning, match="kappa") as record:
        cv.remove_points(np.zeros(3), H, H, [1, 4], 1e-17, method=method)
    assert record[0].filename == __file__
    step = cv.remove_points(np.zeros(3), H, H, [1, 4], 1e-6, method=method)  # silent
    expected = truth(H, H, [1, 4], 1e-6, method)
    np.testing.assert_allclose(step, expected, rtol=0, atol=1e-9 * np.abs(expected).max())  # u kappa


def test_all_points_leave_the_penalty_alone():
    H, G = np.eye(2), np.array([[1.0, 0.0], [0.0, 2.0]])
    for lam in (1e-30, 0.5):
        step = cv.remove_points(np.zeros(2), H, G, [0, 1], lam)
        np.testing.assert_allclose(step, np.array([1, 2]) / (2 * lam))
