"""Incomplete factors and deflation against dense algebra."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from theorylab.poisson import DeflatedPreconditioner, IncompleteCholesky, PoissonOperator, pcg
from theorylab.testing import assert_close

from .reference import FLUID, SOLID, box, component_labels, grids, matrix


def incomplete(A, modified, sigma):
    """Return the dense incomplete factor, by loops over all triples."""
    n = len(A)
    W, L = A.astype(float).copy(), np.zeros((n, n))
    pattern = A != 0
    for k in range(n):
        pivot = W[k, k]
        if pivot < sigma * A[k, k] or pivot <= 0:
            pivot = A[k, k]
        L[k, k] = np.sqrt(pivot)
        L[k + 1 :, k] = np.where(pattern[k + 1 :, k], W[k + 1 :, k], 0) / L[k, k]
        for i in range(k + 1, n):
            for j in range(k + 1, i + 1):
                update = L[i, k] * L[j, k]
                if i == j or pattern[i, j]:
                    W[i, j] -= update
                else:
                    W[i, i] -= modified * update
                    W[j, j] -= modified * update
    return L


def random_spd(n, density, seed):
    """Return a sparse SPD matrix with dominant diagonal and both signs off it."""
    rng = np.random.default_rng(seed)
    B = np.where(rng.random((n, n)) < density, rng.standard_normal((n, n)), 0)
    A = np.tril(B, -1)
    A = A + A.T
    return A + np.diag(np.abs(A).sum(axis=1) + 0.5)


@pytest.mark.parametrize("modified", [0.0, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("sigma", [0.0, 0.25])
@pytest.mark.parametrize("kind", ["grid", "dense pattern", "sparse pattern"])
def test_factor_against_loops(modified, sigma, kind):
    A = {
        "grid": matrix(np.random.default_rng(0).choice([0, 1, 1, 1, 2], (6, 6))),
        "dense pattern": random_spd(9, 1.0, 1),
        "sparse pattern": random_spd(25, 0.2, 2),
    }[kind]
    A = A[np.ix_(A.diagonal() > 0, A.diagonal() > 0)]
    M = IncompleteCholesky(sparse.csr_array(A), modified=modified, sigma=sigma)
    L = incomplete(A, modified, sigma)
    r = np.random.default_rng(3).standard_normal(len(A))
    expected = np.linalg.solve(L.T, np.linalg.solve(L, r))
    # Triangular solves: u times the condition of the factor, below 1e3 here.
    assert_close(M @ r, expected, rtol=1e-11, atol=1e-12)
    assert_close(M.T @ r, M @ r)


def test_full_pattern_gives_the_inverse():
    A = random_spd(12, 1.0, 4)
    assert_close(IncompleteCholesky(A) @ (A @ np.arange(12.0)), np.arange(12.0), rtol=1e-11, atol=1e-12)


def test_modified_factor_keeps_row_sums():
    A = PoissonOperator(box(6, 2))
    M = IncompleteCholesky(A, modified=1.0, sigma=0.0)
    dense = np.linalg.inv(np.column_stack([M @ e for e in np.eye(36)]))
    assert_close(dense.sum(axis=1), A @ np.ones(36), rtol=0, atol=1e-12)
    plain = IncompleteCholesky(A, modified=0.0)
    assert (np.abs(np.linalg.inv(np.column_stack([plain @ e for e in np.eye(36)])) - A.to_csr()).max()) > 0.05


@settings(max_examples=40)
@given(grids(), st.sampled_from([0.0, 0.97, 1.0]))
def test_semidefinite_grids_give_positive_semidefinite_factors(flags, modified):
    """Isolated cells and closed components included: M is symmetric, and positive where A has a diagonal."""
    A = PoissonOperator(flags)
    for M in (IncompleteCholesky(A, modified=modified), DeflatedPreconditioner(A, k=3)):
        dense = np.column_stack([M @ e for e in np.eye(A.shape[0])])
        assert np.isfinite(dense).all()
        assert_close(dense, dense.T.copy(), rtol=1e-9, atol=1e-9 * max(1, np.abs(dense).max()))
        live = A.diagonal() > 0
        assert (np.linalg.eigvalsh(dense[np.ix_(live, live)]) > 0).all() if live.any() else True
        if isinstance(M, IncompleteCholesky):  # deflation may give isolated cells their subdomain's constant
            assert not dense[~live].any()


def test_iteration_counts_of_the_classics():
    """On an empty box of side n: CG and IC(0) grow like n, MIC(0) like its root."""
    counts = {}
    for n in (32, 128):
        A = PoissonOperator(box(n, 2))
        b = np.random.default_rng(5).standard_normal(n * n)
        for name, M in {
            "cg": None,
            "ic0": IncompleteCholesky(A, modified=0.0),
            "mic0": IncompleteCholesky(A),
            "deflated": DeflatedPreconditioner(A, k=64),
        }.items():
            counts[name, n] = pcg(A, b, M=M, rtol=1e-6, return_info=True)[1].iterations
    for n in (32, 128):
        assert counts["mic0", n] < counts["ic0", n] < counts["cg", n] / 2
        assert counts["deflated", n] < counts["ic0", n]
    # Four times the side: exponents 1, 1 and at most 0.75 (0.97 is not 1).
    assert counts["cg", 128] / counts["cg", 32] > 3
    assert counts["ic0", 128] / counts["ic0", 32] > 3
    assert counts["mic0", 128] / counts["mic0", 32] < 4**0.75


@pytest.mark.parametrize("k", [1, 2, 3, 5, 16, 36, 100])
@pytest.mark.parametrize("ring", [2, SOLID])
def test_deflation_is_the_two_level_formula(k, ring):
    A = PoissonOperator(box(6, 2, ring))
    dense, base = A.to_csr().toarray(), np.diag(1 / A.diagonal())
    for matrix_ in (A, A.to_csr(), dense):
        M = DeflatedPreconditioner(matrix_, k=k, M=base)
        Z = np.eye(M.k)[M._part]
        assert Z.sum(axis=0).min() >= 1  # no empty subdomain
        assert Z.sum(axis=0).max() - Z.sum(axis=0).min() <= 4  # nearly equal
        Q = Z @ np.linalg.pinv(Z.T @ dense @ Z, rcond=1e-10) @ Z.T
        P = np.eye(36) - Q @ dense
        expected = Q + P @ base @ P.T
        assert_close(np.column_stack([M @ e for e in np.eye(36)]), expected, rtol=1e-10, atol=1e-11)
        # Exact on the constants of the subdomains, up to the null space.
        image = dense @ Z
        assert_close(dense @ np.column_stack([M @ v for v in image.T]), image, rtol=0, atol=1e-10)


@pytest.mark.parametrize("make", [IncompleteCholesky, DeflatedPreconditioner])
class TestBoth:
    def test_dtypes_and_no_mutation(self, make):
        A = PoissonOperator(box(5, 2)).to_csr()
        before = A.toarray()
        M = make(A)
        r = np.arange(25.0)
        r.flags.writeable = False
        assert (M @ r).dtype == np.float64
        assert (M @ r.astype(np.float32)).dtype == np.float32
        assert_close(M @ r.astype(np.float32), (M @ r).astype(np.float32), rtol=1e-5, atol=1e-5)
        assert_close(M @ np.column_stack((r, r)), np.column_stack((M @ r, M @ r)))
        for variant in (A.tocoo(), A.tocsc(), sparse.csr_matrix(A), A.astype(np.float32), A.astype(int)):
            assert_close(make(variant) @ r, M @ r)
        assert (A.toarray() == before).all()

    def test_unsorted_and_duplicate_entries(self, make):
        A = PoissonOperator(box(4, 2)).to_csr()
        coo = A.tocoo()
        order = np.random.default_rng(0).permutation(coo.nnz)
        twice = [np.tile(part[order], 2) for part in (coo.data / 2, coo.row, coo.col)]
        split = sparse.coo_array((twice[0], (twice[1], twice[2])), shape=A.shape)
        assert_close(make(split) @ np.arange(16.0), make(A) @ np.arange(16.0), rtol=1e-12)

    def test_one_cell_and_an_isolated_one(self, make):
        assert (make(PoissonOperator([[FLUID, 2]])) @ np.array([3.0])).tolist() == [3.0]
        assert (make(PoissonOperator([[FLUID, SOLID]])) @ np.array([3.0])).tolist() == [0.0]

    @pytest.mark.parametrize(
        ("A", "error", "text"),
        [
            (np.ones((3, 4)), ValueError, r"A has shape \(3, 4\)"),
            (np.eye(3) * 1j, TypeError, "A is complex"),
            (np.eye(3) * np.nan, ValueError, "A contains nan"),
            (np.triu(np.ones((3, 3))), ValueError, "A is not symmetric"),
            (-np.eye(3), np.linalg.LinAlgError, "matrix is not positive definite: diagonal entry 0 is -1"),
            (
                LinearOperator((3, 3), matvec=lambda v: v),
                TypeError,
                "A must be a PoissonOperator or a sparse matrix",
            ),
            ([[1.0]], TypeError, "A must be a PoissonOperator or a sparse matrix"),
        ],
    )
    def test_bad_matrices(self, make, A, error, text):
        with pytest.raises(error, match=text):
            make(A)


def test_bad_options():
    A = PoissonOperator(box(3, 2))
    for options in (
        {"modified": -0.1},
        {"modified": 1.1},
        {"modified": np.nan},
        {"sigma": 1.0},
        {"sigma": -1.0},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must lie in"):
            IncompleteCholesky(A, **options)
    with pytest.raises(ValueError, match="k must lie in"):
        DeflatedPreconditioner(A, k=0)
    with pytest.raises(TypeError, match="k must be an integer"):
        DeflatedPreconditioner(A, k=2.0)
    with pytest.raises(ValueError, match=r"M has shape \(4, 4\), expected \(9, 9\)"):
        DeflatedPreconditioner(A, M=np.eye(4))


def test_subdomains_of_a_closed_domain_leave_the_constant_alone():
    flags = box(6, 2, SOLID)
    assert component_labels(flags)[1].all()
    A = PoissonOperator(flags)
    b = np.random.default_rng(6).standard_normal(36)
    b -= b.mean()
    x, info = pcg(A, b, M=DeflatedPreconditioner(A, k=4), rtol=1e-10)
    assert info == 0
    assert np.linalg.norm(A @ x - b) <= 1e-10 * np.linalg.norm(b)
