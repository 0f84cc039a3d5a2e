"""Influence and removal against fitting again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from theorylab import curvature as cv

U = np.finfo(np.float64).eps / 2


def ridge(X, y, lam, n=None):
    """Minimise (1/n) sum (y - X theta)^2 / 2 + lam/2 |theta|^2, with the divisor of the full data."""
    n = len(y) if n is None else n
    return np.linalg.solve(X.T @ X / n + lam * np.eye(X.shape[1]), X.T @ y / n)


def regression(n, p, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    return X, X @ rng.standard_normal(p) + rng.standard_normal(n)


def logistic(X, y, lam, n=None):
    """The same for log(1 + e^eta) - y eta, by SciPy."""
    n = len(y) if n is None else n

    def objective(theta):
        eta = X @ theta
        value = np.sum(np.logaddexp(0, eta) - y * eta) / n + lam / 2 * theta @ theta
        return value, X.T @ (expit(eta) - y) / n + lam * theta

    def hessian(theta):
        p = expit(X @ theta)
        return (X.T * (p * (1 - p))) @ X / n + lam * np.eye(X.shape[1])

    start = np.zeros(X.shape[1])
    fit = minimize(objective, start, jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-12})
    for _ in range(2):  # Newton's last steps, to rounding
        fit.x = fit.x - np.linalg.solve(hessian(fit.x), objective(fit.x)[1])
    return fit.x


class TestGlmRows:
    def test_gaussian(self):
        X, y = regression(7, 3)
        theta = np.array([0.3, -1.0, 2.0])
        rows, grads = cv.glm_rows(X, y, theta, "gaussian")
        np.testing.assert_array_equal(rows, X)
        assert not np.shares_memory(rows, X)
        np.testing.assert_allclose(grads, (X @ theta - y)[:, None] * X, rtol=1e-15)

    def test_binomial_gradients_and_hessian_by_differences(self):
        X, _ = regression(9, 3)
        y = (np.arange(9) % 2).astype(float)
        y[3] = 0.25
        theta = np.array([0.3, -1.0, 0.5])
        rows, grads = cv.glm_rows(X, y, theta, "binomial")

        def loss(t):
            return np.logaddexp(0, X @ t) - y * (X @ t)

        # Central differences: error h^2/6 + u/h for h = 1e-5, about 1e-10.
        h = 1e-5
        for j in range(3):
            e = np.zeros(3)
            e[j] = h
            np.testing.assert_allclose(grads[:, j], (loss(theta + e) - loss(theta - e)) / (2 * h), atol=1e-9)
            _, up = cv.glm_rows(X, y, theta + e, "binomial")
            _, down = cv.glm_rows(X, y, theta - e, "binomial")
            np.testing.assert_allclose((rows.T @ rows)[:, j], ((up - down) / (2 * h)).sum(axis=0), atol=1e-8)

    def test_far_tails_keep_their_digits(self):
        rows, _ = cv.glm_rows([[1.0], [1.0]], [0, 1], [200.0], "binomial")
        np.testing.assert_allclose(rows[:, 0], np.exp(-100.0), rtol=1e-13)

    @pytest.mark.parametrize(
        ("args", "error", "message"),
        [
            (([[1.0]], [1.0], [1.0], "poisson"), ValueError, "family must be one of 'gaussian', 'binomial'"),
            (([[1.0]], [1.0, 2.0], [1.0], "gaussian"), ValueError, r"y has shape \(2,\), expected \(1,\)"),
            (
                ([[1.0]], [1.0], [1.0, 2.0], "gaussian"),
                ValueError,
                r"theta has shape \(2,\), expected \(1,\)",
            ),
            (
                ([[1.0]], [-1], [1.0], "binomial"),
                ValueError,
                r"y\[0\] is -1, expected binomial targets in \[0, 1\]",
            ),
            (([[np.nan]], [1], [1.0], "binomial"), ValueError, "X contains nan in row 0"),
            (([[1j]], [1], [1.0], "binomial"), TypeError, "X is complex"),
            (([1.0], [1], [1.0], "binomial"), ValueError, "X has shape"),
        ],
    )
    def test_bad_input(self, args, error, message):
        with pytest.raises(error, match=message):
            cv.glm_rows(*args)


# Primal (p <= n), dual (p > n), and the smallest sizes.
@pytest.mark.parametrize("lam", [1.0, 1e-3])
@pytest.mark.parametrize(("n", "p"), [(40, 6), (12, 30), (8, 8), (2, 3), (3, 1)])
class TestRidge:
    """Squared loss: the Newton step is exact. Errors: u |A| / lam, for what remains may be lam I alone."""

    def setup_case(self, n, p, lam):
        X, y = regression(n, p, seed=n + p)
        theta = ridge(X, y, lam)
        tol = 100 * U * (1 + np.linalg.norm(X, 2) ** 2 / n) / lam * (1 + np.linalg.norm(theta))
        return X, y, theta, *cv.glm_rows(X, y, theta, "gaussian"), tol

    def test_newton_is_retraining(self, n, p, lam):
        X, y, theta, rows, grads, tol = self.setup_case(n, p, lam)
        for S in ([0], [n - 1, 0], list(range(n))):
            R = np.setdiff1d(np.arange(n), S)
            result = cv.remove_points(theta, rows, grads, S, lam)
            np.testing.assert_allclose(result, ridge(X[R], y[R], lam, n), rtol=0, atol=tol)

    def test_influence_is_one_step_with_all_data(self, n, p, lam):
        X, _, theta, rows, grads, tol = self.setup_case(n, p, lam)
        A = X.T @ X / n + lam * np.eye(p)
        expected = theta + np.linalg.solve(A, grads[[1, 0]].sum(axis=0)) / n
        result = cv.remove_points(theta, rows, grads, [1, 0], lam, method="influence")
        np.testing.assert_allclose(result, expected, rtol=0, atol=tol)

    def test_error_of_influence_is_the_leverage(self, n, p, lam):
        X, y, theta, rows, grads, tol = self.setup_case(n, p, lam)
        h = cv.fisher_inverse(rows, lam).leverages()
        for i in range(min(n, 4)):
            R = np.delete(np.arange(n), i)
            true = ridge(X[R], y[R], lam, n) - theta
            guess = cv.remove_points(theta, rows, grads, i, lam, method="influence") - theta
            error = np.linalg.norm(guess - true)
            assert error == pytest.approx(h[i] * np.linalg.norm(true), abs=2 * tol)

    def test_leave_one_out(self, n, p, lam):
        X, y, theta, rows, grads, tol = self.setup_case(n, p, lam)
        loo = cv.leave_one_out(theta, rows, grads, lam)
        assert loo.shape == (n, p)
        h = cv.fisher_inverse(rows, lam).leverages()
        for i in range(n):
            R = np.delete(np.arange(n), i)
            np.testing.assert_allclose(loo[i], ridge(X[R], y[R], lam, n), rtol=0, atol=tol)
        left_out = y - np.einsum("ij,ij->i", X, loo)
        scale = np.abs(X).sum(axis=1).max()
        np.testing.assert_allclose(
            left_out, (y - X @ theta) / (1 - h), rtol=0, atol=10 * scale * tol / lam**0.5
        )


def test_gradients_that_are_not_multiples_of_their_rows():
    """Two outputs seen by one row: the formulas without the parallel shortcut, against dense algebra."""
    rng = np.random.default_rng(0)
    for n, p in ((30, 5), (6, 20)):
        rows, grads, theta, lam = (
            rng.standard_normal((n, p)),
            rng.standard_normal((n, p)),
            rng.standard_normal(p),
            0.2,
        )
        loo = cv.leave_one_out(theta, rows, grads, lam)
        for i in range(n):
            R = np.delete(np.arange(n), i)
            A = lam * np.eye(p) + rows[R].T @ rows[R] / n
            expected = theta + np.linalg.solve(A, grads[i]) / n
            np.testing.assert_allclose(loo[i], expected, atol=1e-12)
            np.testing.assert_allclose(cv.remove_points(theta, rows, grads, i, lam), expected, atol=1e-12)


def test_more_parameters_than_points_at_tiny_damping():
    """p > n, lam = 1e-10: nearly least-norm interpolation; products with stored rows do not cancel."""
    X, y = regression(10, 200)

    def dual(
        rows, targets
    ):  # X^T (X X^T + n lam)^-1 y has a condition number of about 1, unlike the primal form
        return rows.T @ np.linalg.solve(rows @ rows.T + 10 * 1e-10 * np.eye(len(rows)), targets)

    theta = dual(X, y)
    # The residual at the minimiser is n lam K^-1 y, far below rounding of y - X theta: give it exactly.
    residual = -10 * 1e-10 * np.linalg.solve(X @ X.T + 1e-9 * np.eye(10), y)
    removed = cv.remove_points(theta, X, residual[:, None] * X, [3, 7], 1e-10)
    keep = np.delete(np.arange(10), [3, 7])
    # The leverages are 1 - 1e-11; what they leave is computed as n lam K^-1, to all digits.
    np.testing.assert_allclose(removed, dual(X[keep], y[keep]), rtol=0, atol=1e-12 * np.linalg.norm(theta))
    alone = cv.leave_one_out(theta, X, residual[:, None] * X, 1e-10)
    for i in (0, 9):
        keep = np.delete(np.arange(10), i)
        expected = dual(X[keep], y[keep])
        np.testing.assert_allclose(alone[i], expected, rtol=0, atol=1e-12 * np.linalg.norm(theta))


def test_single_precision_rows_at_tiny_damping():
    """Rows and gradients rounded to float32 are parallel to that rounding: A^-1 must not amplify it."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((8, 300)), np.arange(8) % 2
    theta = rng.standard_normal(300).astype(np.float32) / 10
    rows, grads = (a.astype(np.float32) for a in cv.glm_rows(X, y, theta, "binomial"))
    result = cv.remove_points(theta.astype(np.float64), rows, grads, [2, 5], 1e-9, method="influence")
    H = rows.astype(np.float64)
    c = np.zeros(8)
    c[[2, 5]] = np.einsum("ij,ij->i", H, grads)[[2, 5]] / np.einsum("ij,ij->i", H, H)[[2, 5]]
    step = H.T @ np.linalg.solve(H @ H.T + 8e-9 * np.eye(8), c)
    np.testing.assert_allclose(result - theta, step, rtol=0, atol=1e-6 * np.linalg.norm(step))
    alone = cv.leave_one_out(theta, rows, grads, 1e-3)
    np.testing.assert_allclose(alone[2], cv.remove_points(theta, rows, grads, 2, 1e-3), rtol=1e-5, atol=1e-7)


def test_logistic_newton_beats_influence_and_both_shrink():
    rng = np.random.default_rng(0)
    errors = {}
    for n in (100, 400):
        X = rng.standard_normal((n, 5))
        y = (rng.random(n) < expit(X @ np.ones(5))).astype(float)
        theta = logistic(X, y, 1e-2)
        rows, grads = cv.glm_rows(X, y, theta, "binomial")
        np.testing.assert_allclose(grads.mean(axis=0) + 1e-2 * theta, 0, atol=1e-12)
        A = cv.fisher_inverse(rows, 1e-2).forward() @ np.eye(5)
        p = expit(X @ theta)
        np.testing.assert_allclose(
            A, (X.T * (p * (1 - p))) @ X / n + 1e-2 * np.eye(5), rtol=1e-12, atol=1e-15
        )
        pairs = []
        for i in range(20):
            true = logistic(np.delete(X, i, 0), np.delete(y, i), 1e-2, n) - theta
            pairs.append(
                [
                    np.linalg.norm(
                        cv.remove_points(theta, rows, grads, i, 1e-2, method=method) - theta - true
                    )
                    / np.linalg.norm(true)
                    for method in ("influence", "newton")
                ]
            )
        errors[n] = np.mean(pairs, axis=0)
        assert errors[n][1] < 0.5 * errors[n][0] < 0.1
    # Errors fall like 1/n: a factor 4 here, within the scatter of 20 points.
    assert np.all((errors[100] / errors[400] > 2.5) & (errors[100] / errors[400] < 6.5))


class TestInfluence:
    def test_matches_dense(self):
        rng = np.random.default_rng(1)
        for m, d in ((20, 4), (5, 30)):
            G, train = rng.standard_normal((m, d)), rng.standard_normal((7, d))
            x = rng.standard_normal((d, 3))
            A = 0.3 * np.eye(d) + G.T @ G / 9
            inv = cv.fisher_inverse(G, 0.3, norm=9)
            expected = train @ np.linalg.solve(A, x) / 9
            np.testing.assert_allclose(cv.influence(inv, x[:, 0], train), expected[:, 0], rtol=1e-11)
            np.testing.assert_allclose(cv.influence(inv, x, train), expected, rtol=1e-11, atol=1e-14)

    def test_sign_is_that_of_removal(self):
        """First-order change of a linear test function when the point goes."""
        X, y = regression(200, 4)
        theta = ridge(X, y, 0.1)
        rows, grads = cv.glm_rows(X, y, theta, "gaussian")
        x = np.array([1.0, 2, -1, 0.5])
        change = cv.influence(cv.fisher_inverse(rows, 0.1), x, grads)
        moved = cv.leave_one_out(theta, rows, grads, 0.1) @ x - x @ theta
        h = cv.fisher_inverse(rows, 0.1).leverages()
        np.testing.assert_allclose(change, moved * (1 - h), rtol=1e-9)

    def test_training_points_on_themselves_at_tiny_damping(self):
        """Agrees with the influence matrix, which comes from the Gram alone and does not cancel."""
        G = np.random.default_rng(0).standard_normal((16, 400))
        inv = cv.fisher_inverse(G, 1e-8)
        np.testing.assert_allclose(cv.influence(inv, G[3], G), inv.influence_matrix()[3] / 16, atol=1e-9)

    def test_float32_and_torch(self):
        G = np.random.default_rng(0).standard_normal((6, 8))
        inv = cv.fisher_inverse(G, 0.5)
        expected = cv.influence(inv, G[0], G)
        assert cv.influence(inv, G[0].astype(np.float32), G).dtype == np.float32
        torch = pytest.importorskip("torch")
        result = cv.influence(inv, torch.from_numpy(G[0]).requires_grad_(), torch.from_numpy(G))
        np.testing.assert_array_equal(result.numpy(), expected)

    def test_bad_input(self):
        inv = cv.fisher_inverse(np.eye(3), 0.5)
        with pytest.raises(ValueError, match=r"g_test has shape \(2,\), expected \(3,\)"):
            cv.influence(inv, np.ones(2), np.eye(3))
        with pytest.raises(ValueError, match=r"G_train has shape \(2, 2\), expected \(2, 3\)"):
            cv.influence(inv, np.ones(3), np.eye(2))
        with pytest.raises(ValueError, match="G_train contains nan in row 1"):
            cv.influence(inv, np.ones(3), [[1.0, 2, 3], [np.nan, 0, 0]])


class TestRemovePoints:
    X, y = regression(12, 3)
    theta = ridge(X, y, 0.1)
    rows, grads = cv.glm_rows(X, y, theta, "gaussian")

    def remove(self, idx, **kwargs):
        return cv.remove_points(self.theta, self.rows, self.grads, idx, 0.1, **kwargs)

    def test_ways_to_name_points(self):
        mask = np.zeros(12, bool)
        mask[[2, 11]] = True
        expected = self.remove([2, 11])
        for idx in (mask, [2, -1], np.array([11, 2]), (2, 11), np.array([2, 11], dtype=np.uint8)):
            np.testing.assert_allclose(self.remove(idx), expected, rtol=1e-14)

    def test_no_points(self):
        result = self.remove([])
        np.testing.assert_array_equal(result, self.theta)
        assert not np.shares_memory(result, self.theta)

    @pytest.mark.parametrize(
        ("idx", "error", "message"),
        [
            ([1, 1], ValueError, "idx names point 1 more than once"),
            ([1, -11], ValueError, "idx names point 1 more than once"),
            (12, IndexError, "idx contains 12, but there are 12 points"),
            (-13, IndexError, "idx contains -13"),
            (1.0, TypeError, "idx must hold integers"),
            ([True, False], ValueError, r"idx has shape \(2,\), expected \(12,\)"),
        ],
    )
    def test_bad_points(self, idx, error, message):
        with pytest.raises(error, match=message):
            self.remove(idx)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="method must be one of"):
            self.remove(0, method="exact")
        with pytest.raises(ValueError, match=r"grads has shape \(2, 3\), expected \(12, 3\)"):
            cv.remove_points(self.theta, self.rows, self.grads[:2], 0, 0.1)
        with pytest.raises(ValueError, match=r"theta has shape \(2,\), expected \(3,\)"):
            cv.remove_points(self.theta[:2], self.rows, self.grads, 0, 0.1)
        with pytest.raises(ValueError, match="damping"):
            cv.remove_points(self.theta, self.rows, self.grads, 0, 0.0)
        with pytest.raises(ValueError, match="damping"):
            cv.remove_points(self.theta, self.rows, self.grads, [], 0.0)
        with pytest.raises(ValueError, match="rows contains inf in row 0"):
            cv.remove_points(self.theta, np.full((12, 3), np.inf), self.grads, 0, 0.1)

    def test_callers_arrays_are_left_alone(self):
        arrays = [a.copy() for a in (self.theta, self.rows, self.grads)]
        for a in arrays:
            a.setflags(write=False)
        cv.remove_points(*arrays, [0, 3], 0.1)
        cv.leave_one_out(*arrays, 0.1)

    def test_kinds(self):
        single = cv.remove_points(self.theta.astype(np.float32), self.rows, self.grads, 0, 0.1)
        assert single.dtype == np.float32
        assert cv.leave_one_out(self.theta.astype(np.float32), self.rows, self.grads, 0.1).dtype == np.float32
        torch = pytest.importorskip("torch")
        tensors = [torch.from_numpy(a) for a in (self.theta, self.rows, self.grads)]
        result = cv.remove_points(*tensors, torch.tensor([0, 3]), 0.1)
        assert isinstance(result, torch.Tensor)
        np.testing.assert_array_equal(result.numpy(), self.remove([0, 3]))
        assert isinstance(cv.leave_one_out(*tensors, 0.1), torch.Tensor)


@given(n=st.integers(2, 12), p=st.integers(1, 12), seed=st.integers(0, 10**6), size=st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_removal_does_not_depend_on_the_order_of_points(n, p, seed, size):
    """Permuting the data permutes the answer; removing in two steps is removing at once (squared loss)."""
    X, y = regression(n, p, seed)
    theta = ridge(X, y, 0.3)
    rows, grads = cv.glm_rows(X, y, theta, "gaussian")
    rng = np.random.default_rng(seed)
    S = rng.choice(n, min(size, n), replace=False)
    once = cv.remove_points(theta, rows, grads, S, 0.3)
    order = rng.permutation(n)
    shuffled = cv.remove_points(theta, rows[order], grads[order], np.flatnonzero(np.isin(order, S)), 0.3)
    np.testing.assert_allclose(shuffled, once, rtol=1e-9, atol=1e-12)
    R = np.setdiff1d(np.arange(n), S)
    np.testing.assert_allclose(once, ridge(X[R], y[R], 0.3, n), rtol=1e-9, atol=1e-11)
