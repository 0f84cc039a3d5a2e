"""Conjugate gradients against textbook loops, SciPy and dense algebra; endings; bad input."""

import numpy as np
import pytest
import scipy.sparse.linalg as scipy_linalg
from scipy import sparse

from theorylab.poisson import (
    ConvergenceWarning,
    IncompleteCholesky,
    PoissonOperator,
    SolveInfo,
    cg,
    dcdm,
    pcg,
)
from theorylab.testing import assert_close

from .reference import box


def spd(n, kappa, seed=0):
    """Return a dense SPD matrix with geometric spectrum in [1, kappa]."""
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    return (Q * np.geomspace(1, kappa, n)) @ Q.T


def textbook(A, b, M, steps):
    """Return the residual norms of Hestenes and Stiefel's iteration, each computed from its definition."""
    x = np.zeros_like(b)
    r, p, rz = b.copy(), None, 1.0
    norms = [np.linalg.norm(r)]
    for _ in range(steps):
        z = M @ r
        rz, old = r @ z, rz
        p = z if p is None else z + rz / old * p
        alpha = rz / (p @ A @ p)
        x, r = x + alpha * p, r - alpha * (A @ p)
        norms.append(np.linalg.norm(b - A @ x))
    return np.array(norms)


@pytest.mark.parametrize("flexible", [False, True])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_history_is_that_of_the_textbook(preconditioned, flexible):
    n = 60
    A = spd(n, 100.0)
    b = np.random.default_rng(1).standard_normal(n)
    M = np.diag(1 / np.diag(A)) if preconditioned else np.eye(n)
    info = pcg(A, b, M=M if preconditioned else None, rtol=1e-6, flexible=flexible, return_info=True)[1]
    expected = textbook(A, b, M, info.iterations)
    # Two roundings of CG drift apart, faster once extreme eigenvalues are found: 15 steps agree.
    assert_close(info.residuals[:16], expected[:16], rtol=1e-9)
    assert isinstance(info, SolveInfo)
    assert info.converged
    assert info.code == 0
    assert len(info.residuals) == info.iterations + 1


@pytest.mark.parametrize("kind", ["dense", "csr", "coo", "dia", "operator", "list"])
def test_every_kind_of_matrix(kind):
    dense = spd(20, 50.0)
    A = {
        "dense": dense,
        "csr": sparse.csr_array(dense),
        "coo": sparse.coo_matrix(dense),
        "dia": sparse.dia_array(dense),
        "operator": scipy_linalg.LinearOperator((20, 20), matvec=lambda v: dense @ v),
        "list": dense.tolist(),
    }[kind]
    b = np.arange(20)
    x, info = cg(A, b, rtol=1e-12)
    assert info == 0
    # ||x - x*|| <= ||A^-1|| ||r|| <= 1e-12 ||b||, and rounding u kappa ||x||.
    assert_close(x, np.linalg.solve(dense, b), rtol=0, atol=2e-12 * np.linalg.norm(b))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny_systems(n):
    A = spd(n, 3.0) if n else np.zeros((0, 0))
    b = np.ones(n)
    for solver in (cg, pcg, dcdm):
        x, info = solver(A, b)
        assert info == 0
        assert_close(A @ x, b, rtol=1e-5)


def test_agrees_with_scipy_in_iterations_and_solution():
    A = PoissonOperator(box(30, 2))
    b = np.random.default_rng(0).standard_normal(900)
    M = IncompleteCholesky(A)
    for preconditioner in (None, M):
        count = []
        theirs, _ = scipy_linalg.cg(A.to_csr(), b, rtol=1e-8, M=preconditioner, callback=count.append)
        ours, info = cg(A, b, rtol=1e-8, M=preconditioner, return_info=True)
        assert abs(info.iterations - len(count)) <= 1
        # Both residuals are below 1e-8 ||b||; the inverse has norm 1 / (8 sin^2(pi / 62)) = 49.
        assert np.linalg.norm(ours - theirs) <= 2 * 49 * 1e-8 * np.linalg.norm(b)


def test_the_reported_residual_is_true():
    """Where the recursive residual falls below what the iterate has, its word is not taken."""
    A = spd(200, 1e6)
    b = np.random.default_rng(0).standard_normal(200)
    with pytest.warns(ConvergenceWarning, match="rounding errors set the limit"):
        x, info = cg(A, b, rtol=1e-15, return_info=True, maxiter=20000)
    assert not info.converged
    assert info.code == info.iterations > 0
    assert_close(info.residuals[-1:], np.array([np.linalg.norm(b - A @ x)]), rtol=1e-6)
    assert info.residuals[-1] > 1e-15 * np.linalg.norm(b)


def test_the_residual_is_refreshed_every_fifty_iterations():
    A = PoissonOperator(box(40, 2))
    b = np.random.default_rng(3).standard_normal(1600)
    iterates = []
    info = cg(A, b, rtol=1e-6, callback=iterates.append, return_info=True)[1]
    assert info.iterations == len(iterates) > 50
    for k in (50, info.iterations):
        true = np.linalg.norm(b - A @ iterates[k - 1])
        assert abs(info.residuals[k] - true) <= 1e-14 * true
    # One product an iteration, and one for each refresh.
    assert info.n_matvec == info.iterations + info.iterations // 50 + 1


@pytest.mark.parametrize("options", [{}, {"direction": np.sign}, {"direction": np.sign, "subspace": True}])
@pytest.mark.parametrize("solver", [cg, dcdm])
def test_operators_may_hand_out_the_same_memory(solver, options):
    """Products into one buffer, and the identity that returns its argument."""
    if solver is cg and options:
        options = {"flexible": True}
    A, b, buffer = spd(40, 30.0), np.random.default_rng(3).standard_normal(40), np.empty(40)

    def product(x):
        buffer[:] = A @ x
        return buffer

    shared = scipy_linalg.LinearOperator((40, 40), matvec=product, dtype=float)
    expected = solver(A, b, return_info=True, **options)[1]
    assert np.array_equal(solver(shared, b, return_info=True, **options)[1].residuals, expected.residuals)
    same = scipy_linalg.LinearOperator((40, 40), matvec=lambda x: x, dtype=float)
    assert_close(solver(same, b, **options)[0], b, rtol=1e-5)


@pytest.mark.parametrize("solver", [cg, pcg, dcdm])
class TestEndings:
    def test_maxiter(self, solver):
        A = spd(50, 1e4)
        with pytest.warns(ConvergenceWarning, match="stopped after 5 iterations.*maxiter was reached"):
            x, info = solver(A, np.ones(50), maxiter=5)
        assert info == 5
        with pytest.warns(ConvergenceWarning):
            again, record = solver(A, np.ones(50), maxiter=5, return_info=True)
        assert_close(x, again)
        assert_close(record.residuals[-1:], np.array([np.linalg.norm(1 - A @ x)]), rtol=1e-12)

    def test_zero_right_hand_side(self, solver):
        x, info = solver(spd(5, 2.0), np.zeros(5), x0=np.ones(5), return_info=True)
        assert not x.any()
        assert (info.iterations, info.code, info.converged) == (0, 0, True)
        assert info.residuals.tolist() == [0.0]

    def test_indefinite_matrix(self, solver):
        for A in (-np.eye(4), np.diag([1.0, 1, 1, -3])):
            with pytest.raises(np.linalg.LinAlgError, match="matrix is not positive definite"):
                solver(A, np.array([1.0, 2, 3, 4]))

    def test_indefinite_preconditioner(self, solver):
        for M in (-np.eye(4), np.zeros((4, 4))):
            with pytest.raises(np.linalg.LinAlgError, match="preconditioner M is not positive definite"):
                solver(spd(4, 2.0), np.ones(4), M=M)
            with pytest.raises(np.linalg.LinAlgError, match="preconditioner M is not positive definite"):
                solver(spd(4, 2.0), np.ones(4), M=M, **({"direction": np.sin} if solver is dcdm else {}))

    def test_singular_and_inconsistent(self, solver):
        with pytest.warns(ConvergenceWarning, match="breakdown"):
            x, info = solver(np.zeros((3, 3)), np.ones(3))
        assert info < 0
        assert not x.any()

    def test_nan_arising_inside(self, solver):
        calls = []

        def broken(v):
            calls.append(1)
            return v * (np.nan if len(calls) > 2 else 1.5) + v[::-1]

        with pytest.warns(ConvergenceWarning, match="breakdown"):
            x, info = solver(
                scipy_linalg.LinearOperator((6, 6), matvec=broken, dtype=float), np.arange(6.0), rtol=1e-14
            )
        assert info < 0
        assert np.isfinite(x).all()

    def test_atol_and_start(self, solver):
        A, b = spd(30, 10.0), np.ones(30)
        exact = np.linalg.solve(A, b)
        x, info = solver(A, b, x0=exact, return_info=True)
        assert info.iterations == 0
        assert_close(x, exact)
        x, info = solver(A, b, atol=0.5, rtol=1e-12, return_info=True)
        assert 0 < info.residuals[-1] <= 0.5

    @pytest.mark.parametrize("size", [1e-300, 1e-160, 1e160, 1e300])
    def test_scales_beyond_the_range_of_squares(self, solver, size):
        A, b = spd(30, 10.0), np.arange(30.0)
        reference = solver(A, b, return_info=True)
        x, info = solver(A, b * size, return_info=True)
        assert info.converged
        assert_close(x / size, reference[0], rtol=1e-8)

    def test_dtypes_layouts_and_no_mutation(self, solver):
        A = spd(12, 10.0)
        b, x0 = np.arange(12.0), np.ones(12)
        reference = solver(A, b, x0=x0, rtol=1e-10)[0]
        assert reference.dtype == np.float64
        assert solver(A, np.arange(12), x0=x0.astype(int), rtol=1e-10)[0].dtype == np.float64
        single = solver(A, b.astype(np.float32), x0=x0, rtol=1e-10)[0]
        assert single.dtype == np.float32
        assert_close(single, reference.astype(np.float32), rtol=1e-6, atol=1e-6)
        for v in (b, x0):
            v.flags.writeable = False
        for variant in (np.repeat(b, 2)[::2], b[:, None], b.tolist()):
            assert_close(solver(np.asfortranarray(A), variant, x0=x0, rtol=1e-10)[0], reference, rtol=1e-12)
        assert (b == np.arange(12)).all()
        assert (x0 == 1).all()

    def test_callback_receives_copies(self, solver):
        seen = []
        x, info = solver(spd(12, 10.0), np.ones(12), callback=seen.append, return_info=True)
        assert len(seen) == info.iterations
        assert_close(seen[-1], x)
        assert not np.allclose(seen[0], seen[-1])

    @pytest.mark.parametrize(
        ("change", "error", "text"),
        [
            ({"A": np.ones((3, 4))}, ValueError, r"A has shape \(3, 4\), expected a square matrix"),
            ({"A": np.ones(4)}, ValueError, r"A has shape \(4,\), expected a square matrix"),
            ({"A": np.eye(4) * 1j}, TypeError, "A is complex"),
            ({"A": sparse.eye(4) * 1j}, TypeError, "A is complex"),
            ({"A": np.eye(4) * np.nan}, ValueError, "A contains nan"),
            ({"A": sparse.csr_array(np.diag([1, np.inf, 1, 1]))}, ValueError, "A contains inf"),
            ({"A": "matrix"}, TypeError, "A must be a matrix"),
            ({"b": np.ones(3)}, ValueError, r"b has shape \(3,\), expected \(4,\) to match A"),
            ({"b": np.ones((4, 2))}, ValueError, r"b has shape \(4, 2\)"),
            ({"b": np.ones(4) * 1j}, TypeError, "b is complex"),
            ({"b": np.array([1, np.nan, 1, 1])}, ValueError, "b contains nan"),
            ({"b": np.array([1, np.inf, 1, 1])}, ValueError, "b contains inf"),
            ({"b": ["a"] * 4}, TypeError, "b"),
            ({"x0": np.ones(5)}, ValueError, r"x0 has shape \(5,\)"),
            ({"x0": np.full(4, np.nan)}, ValueError, "x0 contains nan"),
            ({"x0": np.ones(4) * 1j}, TypeError, "x0 is complex"),
            ({"M": np.eye(3)}, ValueError, r"M has shape \(3, 3\), expected \(4, 4\)"),
            ({"M": np.eye(4) * 1j}, TypeError, "M is complex"),
            ({"rtol": 0.0}, ValueError, "rtol must lie in"),
            ({"rtol": -1e-3}, ValueError, "rtol must lie in"),
            ({"rtol": np.nan}, ValueError, "rtol must lie in"),
            ({"rtol": "small"}, TypeError, "rtol must be a real number"),
            ({"atol": -1.0}, ValueError, "atol must lie in"),
            ({"maxiter": 0}, ValueError, "maxiter must lie in"),
            ({"maxiter": 2.5}, TypeError, "maxiter must be an integer"),
            ({"callback": 3}, TypeError, "callback must be callable"),
        ],
    )
    def test_bad_input(self, solver, change, error, text):
        arguments = {"A": np.eye(4), "b": np.ones(4), **change}
        with pytest.raises(error, match=text):
            solver(arguments.pop("A"), arguments.pop("b"), **arguments)
