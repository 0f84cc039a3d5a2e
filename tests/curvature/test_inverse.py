"""Ten obvious lines of NumPy against every fast path: dtypes, layouts, sizes, sides, blocks, weights."""

import copy
import pickle

import numpy as np
import pytest
from scipy.linalg import LinAlgWarning
from scipy.sparse.linalg import aslinearoperator, cg

from theorylab import curvature as cv

from .cases import dense, relative, rows

LAM = 0.05


def lay_out(G, layout):
    if layout == "F":
        return np.asfortranarray(G)
    if layout == "strided":
        return np.repeat(np.repeat(G, 2, axis=0), 2, axis=1)[::2, ::2]
    if layout == "reversed":
        return G[::-1, ::-1].copy()[::-1, ::-1]
    G = G.copy()
    G.flags.writeable = layout != "read-only"
    return G


def check(inv, A, G):
    """Compare every method with dense algebra; kappa <= 1e4 and sizes <= 100 leave 1e-10."""
    tol, inverse, d = 1e-10, np.linalg.inv(A), len(A)
    G = np.asarray(G, dtype=np.float64)
    X = np.random.default_rng(3).standard_normal((d, 3))
    C = np.random.default_rng(4).standard_normal((len(G), 2))
    assert relative(inv @ X, inverse @ X) < tol
    assert relative(inv @ X[:, 0], inverse @ X[:, 0]) < tol
    assert relative(inv.solve(X, refine=1), inverse @ X) < tol
    assert relative(inv.solve(X[:, 1], refine=1), inverse @ X[:, 1]) < tol
    assert relative(inv.solve_rows(C), inverse @ G.T @ C) < tol
    assert relative(inv.solve_rows(C[:, 0]), inverse @ G.T @ C[:, 0]) < tol
    assert relative(inv.diagonal(), np.diag(inverse)) < tol
    assert abs(inv.element(0, -1) - inverse[0, -1]) < tol * abs(inverse).max()
    assert relative(inv.columns([-1, 0]), inverse[:, [-1, 0]]) < tol
    assert relative(inv.quadratic_form(X), np.diag(X.T @ inverse @ X)) < tol
    assert isinstance(inv.quadratic_form(X[:, 0]), float)
    assert relative(inv.influence_matrix(), G @ inverse @ G.T) < tol
    assert relative(inv.gram, G @ G.T) < tol
    np.testing.assert_allclose(inv.logdet(), np.linalg.slogdet(A)[1], rtol=tol, atol=tol)
    np.testing.assert_allclose(inv.trace(), np.trace(inverse), rtol=tol)
    assert relative(inv.sqrt_matvec(inv.sqrt_matvec(X)), inverse @ X) < tol
    assert relative(inv.sqrt_matvec(inv.sqrt_matvec(X), forward=True), X) < tol
    assert relative(inv.sqrt_matvec(X[:, 0]), inv.sqrt_matvec(X)[:, 0]) < tol
    assert relative(inv.forward() @ X, A @ X) < tol
    assert relative(inv.forward() @ X[:, 0], A @ X[:, 0]) < tol
    assert relative(inv.with_damping(1.0) @ X, np.linalg.solve(A + (1 - LAM) * np.eye(d), X)) < tol
    assert relative(inv.dot_rows(X), G @ X) < tol
    assert relative(inv.combine_rows(C), G.T @ C) < tol


@pytest.mark.parametrize("layout", ["C", "F", "strided", "reversed", "read-only"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4", "u1", "?"])
def test_dtypes_and_layouts(dtype, layout):
    G = (rows(11, 37) * (1 if dtype.startswith("f") else 3)).astype("i4" if dtype == "u1" else dtype)
    G = lay_out((np.abs(G) if dtype == "u1" else G).astype(dtype), layout)
    before = G.copy()
    check(cv.fisher_inverse(G, LAM), dense(G, LAM), G)
    np.testing.assert_array_equal(G, before)


@pytest.mark.parametrize("side", ["auto", "dual", "primal"])
@pytest.mark.parametrize("m", [1, 2, 8, 21])
@pytest.mark.parametrize("d", [1, 2, 9, 40])
def test_sizes_and_sides(m, d, side):
    G = rows(m, d)
    check(cv.fisher_inverse(G, LAM, side=side), dense(G, LAM), G)


@pytest.mark.parametrize("blocks", [[40], [5] * 8, [1] * 40, [3, 3, 20, 7, 7], [30, 10], 16])
def test_blocks(blocks):
    G = rows(12, 40)
    inv = cv.fisher_inverse(G, LAM, blocks=blocks)
    assert sum(inv.blocks) == 40
    check(inv, dense(G, LAM, blocks=inv.blocks), G)


@pytest.mark.parametrize("side", ["dual", "primal"])
@pytest.mark.parametrize("blocks", [None, [20, 20, 10]])
def test_weights_and_norm(side, blocks):
    G, w = rows(12, 50), np.random.default_rng(0).uniform(0.1, 3.0, 12)
    inv = cv.fisher_inverse(G, LAM, weights=w, norm=7.5, side=side, blocks=blocks)
    assert inv.norm == 7.5
    A = dense(G, LAM, weights=w, norm=7.5, blocks=blocks)
    check(inv, A, G)
    expected = w * np.einsum("ij,ij->i", G, np.linalg.solve(A, G.T).T) / 7.5
    np.testing.assert_allclose(inv.leverages(), expected, rtol=1e-10)


def test_many_tiles_and_groups():
    G = rows(9, 3000)
    for tile in (7, 100, 4096):
        check(cv.fisher_inverse(G[:, :500], LAM, tile=tile), dense(G[:, :500], LAM), G[:, :500])
    x = np.ones(3000)
    a = cv.fisher_inverse(G, LAM, tile=1) @ x
    assert relative(a, cv.fisher_inverse(G, LAM) @ x) < 1e-13


def test_relative_damping():
    G = rows(6, 30)
    inv = cv.fisher_inverse(G, ("relative", 1e-3))
    np.testing.assert_allclose(inv.damping, 1e-3 * np.sum(G**2) / (6 * 30), rtol=1e-14)
    np.testing.assert_allclose(inv.with_damping(("relative", 1e-3)).damping, inv.damping, rtol=1e-14)
    blocky = cv.fisher_inverse(G, ("relative", 1e-3), blocks=[5, 5, 20])
    np.testing.assert_allclose(blocky.damping, inv.damping, rtol=1e-14)


def test_factor_is_kept_on_request():
    G = rows(8, 60)
    inv = cv.fisher_inverse(G, LAM, factor=True)
    assert inv.nbytes > cv.fisher_inverse(G, LAM).nbytes
    check(inv, dense(G, LAM), G)
    reads = inv.cost.bytes
    inv.element(3, 4)
    assert inv.cost.bytes == reads


def test_sums_in_the_storage_type():
    G = rows(16, 400, dtype=np.float32)
    x = np.random.default_rng(1).standard_normal(400)
    inv = cv.fisher_inverse(G, LAM, accumulate="storage")
    error = relative(inv @ x, np.linalg.solve(dense(G, LAM), x))
    # float32 sums of 400 terms: about 400 u32 = 2e-5 at most, and not exact.
    assert 1e-9 < error < 2e-5
    check(cv.fisher_inverse(G.astype(float), LAM, accumulate="storage"), dense(G, LAM), G)


def test_it_is_a_linear_operator():
    G = rows(10, 30)
    inv, A = cv.fisher_inverse(G, LAM), dense(G, LAM)
    x = np.arange(30.0)
    assert inv.shape == (30, 30)
    assert inv.dtype == np.float64
    assert inv.T is inv
    assert inv.H is inv
    for product in (inv.matvec, inv.rmatvec, inv.dot, inv.__matmul__, aslinearoperator(inv).matvec):
        np.testing.assert_array_equal(product(x), inv.solve(x))
    np.testing.assert_array_equal(inv.matvec(x[:, None]), inv.solve(x)[:, None])
    np.testing.assert_array_equal(inv.matmat(np.eye(30)), inv @ np.eye(30))
    np.testing.assert_allclose((2 * inv + inv) @ x, 3 * (inv @ x), rtol=1e-14)
    np.testing.assert_allclose((inv @ inv.forward()) @ x, x, rtol=1e-10, atol=1e-10)
    solution, info = cg(A, x, M=inv, rtol=1e-10)
    assert info == 0
    assert relative(solution, inv @ x) < 1e-8


def test_dtype_of_the_result_is_that_of_the_vector():
    for dtype in (np.float32, np.float64):
        inv = cv.fisher_inverse(rows(5, 20, dtype=dtype), LAM)
        assert inv.dtype == dtype
        assert (inv @ np.ones(20, np.float32)).dtype == np.float32
        assert (inv @ np.ones((20, 2), np.float32)).dtype == np.float32
        assert (inv @ np.ones(20)).dtype == np.float64
        assert (inv @ np.ones(20, np.int16)).dtype == np.float64
        assert (inv @ list(range(20))).dtype == np.float64
        assert inv.solve_rows(np.ones(5, np.float32)).dtype == np.float32


def test_no_vectors_and_many():
    inv = cv.fisher_inverse(rows(5, 20), LAM)
    assert (inv @ np.empty((20, 0))).shape == (20, 0)
    assert inv.columns([]).shape == (20, 0)
    assert inv.quadratic_form(np.empty((20, 0))).shape == (0,)
    assert inv.sample(0, 0).shape == (0, 20)
    X = np.random.default_rng(0).standard_normal((20, 33))
    assert relative(inv @ X, np.stack([inv @ x for x in X.T], axis=1)) < 1e-13
    assert relative(inv @ np.asfortranarray(X), inv @ X) < 1e-15


def test_sample_has_the_right_covariance():
    G = rows(4, 6)
    inv = cv.fisher_inverse(G, LAM)
    assert inv.sample(np.random.default_rng(0)).shape == (1, 6)
    np.testing.assert_array_equal(inv.sample(5, 3), inv.sample(5, 3))
    n = 20_000
    z = inv.sample(1, n)
    L = np.linalg.cholesky(dense(G, LAM))
    # Whitened draws: the entries of the sample covariance of n normals deviate by 1/sqrt(n), sqrt(2/n)
    # on the diagonal; 5 standard deviations over 21 entries.
    covariance = (L.T @ z.T) @ (L.T @ z.T).T / n
    assert np.abs(covariance - np.eye(6)).max() < 5 * np.sqrt(2 / n)


@pytest.mark.parametrize("layout", ["C", "F", "strided"])
@pytest.mark.parametrize("options", [{}, {"blocks": 7}, {"weights": np.linspace(1, 2, 10)}, {"factor": True}])
def test_pickle_and_deepcopy_give_the_same_bits(layout, options):
    G = lay_out(rows(10, 500, dtype=np.float32), layout)
    inv, x = cv.fisher_inverse(G, LAM, **options), np.random.default_rng(0).standard_normal(500)
    for twin in (pickle.loads(pickle.dumps(inv)), copy.deepcopy(inv)):
        np.testing.assert_array_equal(twin @ x, inv @ x)
        np.testing.assert_array_equal(twin.solve_rows(np.eye(10)), inv.solve_rows(np.eye(10)))
        np.testing.assert_array_equal(twin.diagonal(), inv.diagonal())
        assert twin.logdet() == inv.logdet()


def test_a_reference_or_a_copy():
    G, x = rows(4, 10), np.ones(10)
    shared, own = cv.fisher_inverse(G, LAM), cv.fisher_inverse(G, LAM, copy=True)
    before = own @ x
    G[0] = 0
    assert np.any(shared @ x != before)
    np.testing.assert_array_equal(own @ x, before)


def test_with_damping_leaves_the_original_alone():
    inv = cv.fisher_inverse(rows(4, 10), LAM)
    before, bytes_before = inv @ np.ones(10), inv.cost.bytes
    other = inv.with_damping(3.0)
    assert (inv.damping, other.damping) == (LAM, 3.0)
    assert inv.cost.bytes == bytes_before
    np.testing.assert_array_equal(inv @ np.ones(10), before)


def test_rows_beyond_the_range_of_their_squares():
    G = rows(4, 30)
    scaled = G * np.array([1, 1e200, 1, 1])[:, None]
    with pytest.warns(LinAlgWarning, match="kappa"):
        inv = cv.fisher_inverse(scaled, LAM)
    # A row of infinite weight projects its direction out.
    rest = G[[0, 2, 3]]
    P = np.eye(30) - np.outer(G[1], G[1]) / (G[1] @ G[1])
    A = LAM * np.eye(30) + P @ (rest.T @ rest / 4) @ P
    x = P @ np.ones(30)
    assert relative(inv @ x, np.linalg.solve(A, x)) < 1e-10
    assert np.isfinite(inv.leverages()).all()
    h = inv.leverages()
    np.testing.assert_allclose(h[1], 1.0, rtol=1e-15)
    np.testing.assert_allclose(inv.influence_matrix()[1, 1], 4.0, rtol=1e-12)


def test_the_gram_is_a_copy_that_cannot_be_written():
    inv = cv.fisher_inverse(rows(4, 9), 0.1)
    window = cv.SlidingFisherInverse(9, 4, 0.1)
    window.extend(rows(4, 9))
    before = window.gram
    kept = before.copy()
    window.update(np.ones(9))
    np.testing.assert_array_equal(before, kept)
    for operator in (inv, window):
        with pytest.raises(ValueError, match="read-only"):
            operator.gram[0, 0] = 0.0
    assert not np.shares_memory(inv.gram, inv._parts[0][1].gram)
