"""Large systems: log determinants, factors in blocks, kernels computed in higher precision."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from theorylab.infinite_width import (
    KernelOperator,
    blocked_cholesky,
    blocked_solve,
    kernel_cg,
    kernel_logdet,
    kernels,
)

SETTINGS = {"depth": 2, "activation": "erf", "w_var": 1.5, "b_var": 0.1}


@pytest.mark.parametrize("get", ["nngp", "ntk"])
@pytest.mark.parametrize("rank", [0, 20])
def test_logdet_against_dense(get, rank):
    X = np.random.default_rng(0).standard_normal((150, 5))
    K = kernels.nngp(X, **SETTINGS) if get == "nngp" else kernels.ntk(X, **SETTINGS)
    exact = np.linalg.slogdet(K + 0.05 * np.eye(150))[1]
    A = KernelOperator(X, **SETTINGS, noise=0.05, get=get)
    estimate = kernel_logdet(A, probes=24, rank=rank, rng=0)
    assert abs(estimate.value - exact) < 4.0 * estimate.error + 1e-6
    assert estimate.error < 0.05 * abs(exact)
    if rank and get == "nngp":
        assert estimate.error < kernel_logdet(A, probes=24, rank=0, rng=0).error


def test_logdet_is_exact_where_the_factor_is():
    """With the whole matrix in the pivoted factor nothing is left to chance."""
    X = np.random.default_rng(1).standard_normal((30, 3))
    A = KernelOperator(X, **SETTINGS, noise=0.1)
    exact = np.linalg.slogdet(kernels.nngp(X, **SETTINGS) + 0.1 * np.eye(30))[1]
    value, error = kernel_logdet(A, probes=2, steps=5, rank=30, rng=0)
    assert abs(value - exact) < 1e-9
    assert error < 1e-9


@pytest.mark.parametrize("n", [1, 2, 17, 64])
@pytest.mark.parametrize("block", [1, 5, 16, 100])
def test_blocked_cholesky_equals_lapack(n, block, tmp_path):
    rng = np.random.default_rng(n)
    B = rng.standard_normal((n, n + 3))
    C = B @ B.T
    A = np.memmap(tmp_path / "a", dtype=np.float64, mode="w+", shape=(n, n))
    A[...] = np.tril(C) + np.triu(np.full((n, n), np.nan), 1)  # the upper triangle is never read
    L = blocked_cholesky(A, noise=0.5, block=block)
    assert L is A
    want = np.linalg.cholesky(C + 0.5 * np.eye(n))
    # both factors carry errors of n eps relative to the norm
    np.testing.assert_allclose(L, want, atol=1e-12 * np.abs(C).max())
    for b in (rng.standard_normal(n), rng.standard_normal((n, 2))):
        x = blocked_solve(L, b, block=block)
        np.testing.assert_allclose(C @ x + 0.5 * x, b, atol=1e-10)


def test_blocked_single_precision():
    A = (np.eye(9) * 4.0 + 1.0).astype(np.float32)
    L = blocked_cholesky(A.copy(), block=4)
    assert L.dtype == np.float32
    np.testing.assert_allclose(L @ L.T, A, atol=2e-6)


@pytest.mark.parametrize("act", ["relu", "erf", "gelu", "tanh"])
def test_accum_dtype(act):
    X = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    s = {"depth": 5, "activation": act, "w_var": 1.5, "b_var": 0.1}
    K, T = kernels.nngp_ntk(X, **s, accum_dtype=np.float64)
    wide_k, wide_t = kernels.nngp_ntk(X.astype(np.float64), **s)
    assert K.dtype == T.dtype == np.float32
    np.testing.assert_array_equal(K, wide_k.astype(np.float32))
    np.testing.assert_array_equal(T, wide_t.astype(np.float32))
    np.testing.assert_array_equal(kernels.nngp(X, **s, accum_dtype=np.float64), K)
    np.testing.assert_array_equal(kernels.ntk(X, **s, accum_dtype=np.float64), T)


READ_ONLY = np.eye(3)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kernel_logdet(np.eye(2)), TypeError, "A must be a KernelOperator"),
        (lambda: kernel_logdet(KernelOperator(np.eye(3), depth=1)), ValueError, "A has no noise"),
        (
            lambda: kernel_logdet(KernelOperator(np.eye(3), depth=1, noise=1.0), probes=1),
            ValueError,
            "probes must lie in",
        ),
        (lambda: blocked_cholesky(np.ones((2, 3))), ValueError, "A must be a square array"),
        (lambda: blocked_cholesky([[1.0]]), ValueError, "A must be a square array"),
        (lambda: blocked_cholesky(READ_ONLY), ValueError, "A is read-only"),
        (
            lambda: blocked_cholesky(np.diag([1.0, 2.0, -1.0]), block=2),
            np.linalg.LinAlgError,
            "pivot 3 is not positive",
        ),
        (
            lambda: blocked_cholesky(np.diag([1.0, np.nan, 1.0]), block=2),
            ValueError,
            "A holds NaN or infinity in its first 2 rows",
        ),
        (lambda: blocked_solve(np.eye(3), np.ones(2)), ValueError, "b has shape"),
        (
            lambda: kernels.nngp(np.eye(2), depth=1, accum_dtype=np.float32),
            ValueError,
            "accum_dtype is float32",
        ),
        (lambda: kernels.nngp(np.eye(2), depth=1, accum_dtype=int), ValueError, "accum_dtype must be one of"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_breakdown_of_conjugate_gradients_is_told():
    A = KernelOperator(np.ones((3, 2)), depth=1)  # rank one, without noise
    with pytest.warns(ConvergenceWarning, match="not positive definite"):
        x, info = kernel_cg(A, np.array([0.0, 1.0, -1.0]))
    assert info > 0
    assert np.all(np.isfinite(x))
