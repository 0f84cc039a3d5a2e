"""The operator, its components and its matrix against loops over cells and closed-form spectra."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import eigsh

from theorylab.poisson import PoissonOperator, components
from theorylab.poisson._grid import any_closed
from theorylab.testing import assert_close

from .reference import AIR, FLUID, SOLID, box, component_labels, face_shapes, grids, matrix


def test_four_cells_in_air_and_in_walls():
    A = PoissonOperator(box(2, 2)).to_csr().toarray()
    adjacency = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]])
    assert_close(A, 4.0 * np.eye(4) - adjacency)
    assert_close(np.linalg.eigvalsh(A), np.array([2.0, 4, 4, 6]), rtol=1e-14)
    walls = PoissonOperator(box(2, 2, SOLID)).to_csr().toarray()
    assert_close(np.linalg.eigvalsh(walls), np.array([0.0, 2, 2, 4]), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_rows_between_two_and_one_openings(n):
    both = PoissonOperator([[AIR] + [FLUID] * n + [AIR]]).to_csr().toarray()
    assert_close(both, 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1))
    assert math.isclose(np.linalg.det(both), n + 1, rel_tol=1e-13)
    one = PoissonOperator([[FLUID] * n + [AIR]]).to_csr().toarray()
    assert math.isclose(np.linalg.det(one), 1.0, rel_tol=1e-13)


def test_a_single_cell_at_one_opening():
    assert PoissonOperator([[0, 0, 0], [0, 1, 2], [0, 0, 0]]).to_csr().toarray().tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("shape", "ring"), [((5, 4), AIR), ((3, 5, 4), AIR), ((5, 4), SOLID), ((3, 4, 5), SOLID)]
)
def test_eigenvectors_of_boxes(shape, ring):
    """Sines between openings, cosines between walls, with the eigenvalue of these waves."""
    flags = np.pad(np.full(shape, FLUID), 1, constant_values=ring)
    A = PoissonOperator(flags)
    for k in itertools.product(*(range(n) for n in shape)):
        waves, value = [], 0.0
        for n, j in zip(shape, k):
            i = np.arange(1, n + 1)
            if ring == AIR:
                waves.append(np.sin(math.pi * (j + 1) * i / (n + 1)))
                value += 4 * math.sin(math.pi * (j + 1) / (2 * (n + 1))) ** 2
            else:
                waves.append(np.cos(math.pi * j * (i - 0.5) / n))
                value += 4 * math.sin(math.pi * j / (2 * n)) ** 2
        v = waves[0]
        for w in waves[1:]:
            v = np.multiply.outer(v, w)
        # 2d + 1 terms of size at most 2d: a few dozen roundings.
        assert_close(A @ v.ravel(), value * v.ravel(), rtol=0, atol=1e-14)


def test_the_box_of_63():
    A2 = PoissonOperator(box(63, 2))
    low = eigsh(A2.to_csr(), k=1, sigma=0)[0][0]
    high = eigsh(A2.to_csr(), k=1, which="LA", tol=1e-10)[0][0]
    assert math.isclose(low, 0.004818175179, rel_tol=1e-9)
    assert math.isclose(high / low, 1659.37964629, rel_tol=1e-9)
    i = np.arange(1, 64)
    s = np.sin(math.pi * i / 64)
    v = np.multiply.outer(np.multiply.outer(s, s), s)
    product = PoissonOperator(box(63, 3)) @ v.ravel()
    assert math.isclose(product @ v.ravel() / (v.ravel() @ v.ravel()), 0.007227262769, rel_tol=1e-9)


@settings(max_examples=60)
@given(grids())
def test_against_loops_over_cells(flags):
    A, dense = PoissonOperator(flags), matrix(flags)
    assert A.shape == dense.shape
    assert_close(A.to_csr().toarray(), dense)
    assert_close(A.diagonal(), np.diag(dense).copy())
    x = np.random.default_rng(0).standard_normal(len(dense))
    tolerance = {"rtol": 1e-14, "atol": 1e-14}  # 7 terms below 6 |x|
    assert_close(A @ x, dense @ x, **tolerance)
    assert_close(A.T @ x, dense @ x, **tolerance)
    assert_close(A @ np.column_stack((x, 2 * x)), dense @ np.column_stack((x, 2 * x)), **tolerance)
    p = np.full(flags.shape, 7.0)  # values off FLUID are not read
    p[flags == FLUID] = x
    out = A.matvec_grid(p)
    assert_close(out[flags == FLUID], A @ x)
    assert not out[flags != FLUID].any()


@settings(max_examples=60)
@given(grids())
def test_components_against_flood_fill(flags):
    labels, closed = component_labels(flags)
    ours = components(flags)
    assert (ours.labels == labels).all()
    assert ours.n == len(closed)
    assert (ours.closed == closed).all()
    assert any_closed(flags) == closed.any()
    ones = tuple(np.ones(s) for s in face_shapes(flags.shape))
    for a, b in zip(ours, PoissonOperator(flags, ones).components):  # the two labellings agree
        assert np.array_equal(a, b)
    assert (ours.sizes == np.bincount(labels[labels >= 0], minlength=len(closed))).all()
    # Each closed component adds one null vector, and nothing else does.
    values = np.linalg.eigvalsh(matrix(flags))
    assert (values < 1e-10).sum() == closed.sum()


@settings(max_examples=40)
@given(grids(), st.integers(0, 10**6))
def test_weighted_faces_against_loops(flags, seed):
    rng = np.random.default_rng(seed)
    weights = tuple(rng.uniform(0.5, 2, s) * (rng.random(s) < 0.7) for s in face_shapes(flags.shape))
    A, dense = PoissonOperator(flags, weights), matrix(flags, weights)
    x = rng.standard_normal(len(dense))
    assert_close(A @ x, dense @ x, rtol=1e-13, atol=1e-13)
    assert_close(A.to_csr().toarray(), dense, rtol=1e-15)
    assert (np.linalg.eigvalsh(dense) < 1e-10).sum() == A.components.closed.sum()


def test_ghost_fluid_surface_is_exact_for_linear_pressure():
    """With weight 1 / theta the pressure that falls linearly to zero at distance theta solves the column."""
    n, theta = 8, 0.3
    flags = [[FLUID] * n + [AIR]]
    v = np.ones((1, n + 2))
    v[0, n] = 1 / theta
    A = PoissonOperator(flags, (np.ones((2, n + 1)), v))
    depth = theta + np.arange(n)[::-1]
    inflow = np.zeros(n)
    inflow[0] = 1.0  # unit flux enters at the closed end
    assert_close(A @ depth, inflow, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shape", [(9, 12), (5, 6, 7)])
def test_layouts_dtypes_and_reuse(shape):
    rng = np.random.default_rng(0)
    flags = rng.integers(0, 3, shape).astype(np.uint8)
    flags.flat[0] = FLUID
    A = PoissonOperator(flags)
    x = rng.standard_normal(A.shape[0])
    expected = matrix(flags) @ x
    frozen = x.copy()
    frozen.flags.writeable = False
    for other in (
        np.asfortranarray(flags),
        flags.astype(np.int64),
        np.repeat(flags, 2, axis=0)[::2],
        flags.tolist(),
    ):
        assert_close(PoissonOperator(other) @ frozen, expected, rtol=1e-13, atol=1e-13)
    assert_close(A @ np.repeat(x, 2)[::2], expected, rtol=1e-13, atol=1e-13)
    single = A @ x.astype(np.float32)
    assert single.dtype == np.float32
    assert_close(single, expected.astype(np.float32), rtol=1e-5, atol=1e-5)
    assert (A @ np.ones(A.shape[0], int)).dtype == np.float64
    assert_close(A @ x, expected, rtol=1e-13, atol=1e-13)  # the work arrays were not spoilt
    half = PoissonOperator(flags, dtype=np.float32)
    assert half.diagonal().dtype == half.to_csr().dtype == half.dtype == np.float32
    p = np.zeros(shape)
    p[flags == FLUID] = x
    assert A.matvec_grid(p, p) is p
    assert_close(p[flags == FLUID], expected, rtol=1e-13, atol=1e-13)
    out = np.asfortranarray(np.ones(shape))
    A.matvec_grid(np.zeros(shape), out)
    assert not out.any()


def test_flags_of_the_caller_are_copied():
    flags = box(3, 2)
    A = PoissonOperator(flags)
    before = A @ np.ones(9)
    flags[:] = SOLID
    assert_close(A @ np.ones(9), before)
    with pytest.raises(ValueError, match="read-only"):
        A.flags[0, 0] = 1


class TestBadInput:
    @pytest.mark.parametrize(
        ("flags", "error", "text"),
        [
            (np.ones((3, 3)), ValueError, "dtype float64, expected integers"),
            (np.ones((3, 3), bool), ValueError, "dtype bool"),
            (np.full((3, 3), 3), ValueError, "values from 3 to 3"),
            (np.full((3, 3), -1), ValueError, "values from -1"),
            (np.zeros((3, 3), int), ValueError, "no FLUID cell"),
            (np.zeros((0, 3), int), ValueError, "no FLUID cell"),
            (np.ones(3, int), ValueError, "2-D or 3-D"),
            (np.ones((2, 2, 2, 2), int), ValueError, "2-D or 3-D"),
            (np.ones((3, 3), complex), TypeError, "complex"),
            ([[1, 1], [1]], ValueError, "flags is no array"),
            ([["a"]], ValueError, "expected integers"),
            (np.ma.masked_array(np.ones((2, 2), int), [[True, False]] * 2), ValueError, "masked"),
        ],
    )
    def test_flags(self, flags, error, text):
        for function in (PoissonOperator, components):
            with pytest.raises(error, match=text):
                function(flags)

    def test_weights(self):
        good = [np.ones(s) for s in face_shapes((4, 4))]
        for bad, text in [
            (np.ones((5, 4)), "tuple of 2 face arrays"),
            (tuple(good[:1]), "tuple of 2 face arrays"),
            ((good[1], good[0]), r"weights\[0\] has shape \(4, 5\), expected \(5, 4\)"),
            ((good[0], -good[1]), r"weights\[1\] has the negative entry -1.0"),
            ((good[0] * np.nan, good[1]), r"weights\[0\] contains nan"),
        ]:
            with pytest.raises(ValueError, match=text):
                PoissonOperator(box(2, 2), bad)
        with pytest.raises(TypeError, match="complex"):
            PoissonOperator(box(2, 2), (good[0] * 1j, good[1]))

    def test_vectors(self):
        A = PoissonOperator(box(2, 2))
        with pytest.raises(TypeError, match="complex"):
            A @ np.ones(4, complex)
        with pytest.raises(ValueError, match="p has shape"):
            A.matvec_grid(np.ones((3, 3)))
        with pytest.raises(ValueError, match="out has shape"):
            A.matvec_grid(np.ones((4, 4)), np.ones((3, 3)))
        with pytest.raises(TypeError, match="out must be a NumPy array"):
            A.matvec_grid(np.ones((4, 4)), [])
        with pytest.raises(TypeError, match="complex"):
            PoissonOperator(box(2, 2), dtype=complex)


def test_representation_counts_cells():
    assert (
        repr(PoissonOperator(box(2, 2)))
        == "<PoissonOperator on a grid of 4 x 4 cells: 4 FLUID, 0 SOLID, 12 AIR>"
    )
