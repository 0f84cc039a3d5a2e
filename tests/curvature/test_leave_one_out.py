"""Leaving out each point in turn, against 120 digits where leverages round to 1, and within memory."""

import tracemalloc

import mpmath
import numpy as np
import pytest
from scipy.linalg import LinAlgWarning

from theorylab import curvature as cv

from .cases import HOSTILE, hostile_rows


def truth(H, G, lam):
    """Return the steps ``(A - h_i h_i^T / n)^-1 g_i / n`` from 120 digits."""
    n, p = H.shape
    steps = np.empty((n, p))
    with mpmath.workdps(120):
        rows, grads = mpmath.matrix(H.tolist()), mpmath.matrix(G.tolist())
        A = mpmath.mpf(lam) * mpmath.eye(p) + rows.T * rows / n
        for i in range(n):
            h, g = rows[i, :].T, grads[i, :].T
            step = mpmath.lu_solve(A - h * h.T / n, g) / n
            steps[i] = [float(s) for s in step]
    return steps


# As many points as parameters and nearly so: all leverages tend to 1 with the damping.
@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize(("n", "p"), [(6, 6), (7, 6), (12, 6), (5, 6), (2, 6), (1, 1)])
def test_every_digit_at_every_damping(n, p, kind, parallel):
    rng = np.random.default_rng(0)
    H = hostile_rows(kind, n, p, rng)
    G = rng.standard_normal((n, 1)) * H if parallel else rng.standard_normal((n, p))
    for lam in (1e-2, 1e-6, 1e-10, 1e-14, 1e-18):
        steps = cv.leave_one_out(np.zeros(p), H, G, lam)
        expected = truth(H, G, lam)
        # The smallest remainder that is a difference is 0.01, which leaves p u / 0.01 = 7e-14.
        error = np.linalg.norm(steps - expected, axis=1) / np.linalg.norm(expected, axis=1)
        assert error.max() < 1e-13


def test_relative_damping_is_relative_to_all_rows():
    rng = np.random.default_rng(1)
    H, G = rng.standard_normal((9, 4)), rng.standard_normal((9, 4))
    lam = 1e-3 * np.mean(H**2)
    relative = ("relative", 1e-3)
    for rows, grads in ((H, G), (H.T.copy(), G.T.copy())):
        model = np.zeros(rows.shape[1]), rows, grads
        np.testing.assert_allclose(
            cv.leave_one_out(*model, relative), cv.leave_one_out(*model, lam), rtol=1e-12
        )
        for method in ("newton", "influence"):
            np.testing.assert_allclose(
                cv.remove_points(*model, [0, 2], relative, method=method),
                cv.remove_points(*model, [0, 2], lam, method=method),
                rtol=1e-12,
            )
    with pytest.raises(ValueError, match="damping is relative to the mean square 0"):
        cv.leave_one_out(np.zeros(2), np.zeros((3, 2)), np.zeros((3, 2)), relative)


def test_columns_that_the_rows_cannot_tell_apart_warn_where_the_damping_is_hidden():
    H = np.random.default_rng(2).standard_normal((9, 3))
    H[:, 2] = H[:, 0]
    with pytest.warns(LinAlgWarning, match="kappa") as record:
        cv.leave_one_out(np.zeros(3), H, H, 1e-17)
    assert record[0].filename == __file__
    steps, expected = cv.leave_one_out(np.zeros(3), H, H, 1e-6), truth(H, H, 1e-6)  # silent
    np.testing.assert_allclose(steps, expected, rtol=0, atol=1e-9 * np.abs(expected).max())  # u kappa


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_no_points_or_no_parameters(shape):
    model = np.zeros(shape[1]), np.zeros(shape), np.zeros(shape)
    for call in (lambda: cv.leave_one_out(*model, 0.1), lambda: cv.remove_points(*model, [], 0.1)):
        with pytest.raises(ValueError, match=r"rows has shape .* at least one point and one parameter"):
            call()


def test_a_remainder_below_the_smallest_number_is_an_error():
    rows = np.eye(2) * 1e150
    with pytest.raises(np.linalg.LinAlgError, match="leverage of point 0 rounds to 1; raise the damping"):
        cv.leave_one_out(np.ones(2), rows, rows, 1e-30)


def test_leaving_out_one_of_many_points_takes_no_matrix_of_their_number():
    n, p, lam = 20_000, 4, 1e-3
    rng = np.random.default_rng(6)
    X, y = rng.standard_normal((n, p)), rng.standard_normal(n)
    moment, target = X.T @ X / n + lam * np.eye(p), X.T @ y / n
    theta = np.linalg.solve(moment, target)
    rows, grads = cv.glm_rows(X, y, theta, "gaussian")
    tracemalloc.start()
    left_out = cv.leave_one_out(theta, rows, grads, lam)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 20 * X.nbytes  # n x n numbers would be 3.2 GB
    for i in (0, 1234, n - 1):
        fit = np.linalg.solve(moment - np.outer(X[i], X[i]) / n, target - X[i] * y[i] / n)
        np.testing.assert_allclose(left_out[i], fit, rtol=1e-10)
