"""Every bad input raises what the documentation says, in words that help; good but odd input does not."""

import numpy as np
import pytest
from scipy.linalg import LinAlgWarning
from scipy.sparse import csr_array

from theorylab import curvature as cv

from .cases import rows

G = rows(4, 9)


@pytest.mark.parametrize(
    "damping", [0.0, -1.0, np.nan, np.inf, ("relative", 0.0), ("absolute", 1.0), ("relative",)]
)
def test_damping(damping):
    with pytest.raises(ValueError, match="damping"):
        cv.fisher_inverse(G, damping)
    with pytest.raises(ValueError, match="damping"):
        cv.fisher_inverse(G, 1.0).with_damping(damping)


def test_kinds():
    for bad in ("1", None, [1.0]):
        with pytest.raises(TypeError, match="damping"):
            cv.fisher_inverse(G, bad)
    with pytest.raises(TypeError, match="G is complex"):
        cv.fisher_inverse(G * 1j, 1.0)
    with pytest.raises(TypeError, match="G has dtype"):
        cv.fisher_inverse(np.array([["a", "b"]]), 1.0)
    with pytest.raises(TypeError, match="G is a sparse"):
        cv.fisher_inverse(csr_array(G), 1.0)
    with pytest.raises(ValueError, match="G is no array"):
        cv.fisher_inverse([[1.0, 2.0], [3.0]], 1.0)
    with pytest.raises(TypeError, match="blocks"):
        cv.fisher_inverse(G, 1.0, blocks=2.5)
    inv = cv.fisher_inverse(G, 1.0)
    for operator in (inv, inv.forward()):
        with pytest.raises(TypeError, match="x is complex"):
            operator @ (np.ones(9) * 1j)


@pytest.mark.parametrize("shape", [(9,), (2, 3, 4), (0, 5), (5, 0)])
def test_shape_of_the_rows(shape):
    with pytest.raises(ValueError, match=str(shape).replace("(", r"\(").replace(")", r"\)")):
        cv.fisher_inverse(np.ones(shape), 1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("options", [{}, {"side": "primal"}, {"blocks": 3}, {"blocks": [8, 1]}])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_rows_that_are_not_finite(bad, options, dtype):
    broken = G.astype(dtype)
    broken[2, 7] = bad
    with pytest.raises(ValueError, match=rf"G contains {bad} in row 2 \(column 7\)"):
        cv.fisher_inverse(broken, 1.0, **options)


def test_unchecked_rows_do_not_pass_silently():
    broken = G.copy()
    broken[0, 0] = np.nan
    with pytest.raises(np.linalg.LinAlgError, match="kappa"):
        cv.fisher_inverse(broken, 1.0, check_finite=False)


@pytest.mark.parametrize("norm", [0.0, -2.0, np.nan, np.inf])
def test_norm(norm):
    with pytest.raises(ValueError, match="norm"):
        cv.fisher_inverse(G, 1.0, norm=norm)


@pytest.mark.parametrize("blocks", [[4, 4], [9, 1], [0, 9], []])
def test_blocks(blocks):
    with pytest.raises(ValueError, match="blocks"):
        cv.fisher_inverse(G, 1.0, blocks=blocks)


@pytest.mark.parametrize(
    "weights", [np.ones(5), np.zeros(4), -np.ones(4), [1, 1, 1, np.nan], np.ones((4, 1))]
)
def test_weights(weights):
    with pytest.raises(ValueError, match="weights"):
        cv.fisher_inverse(G, 1.0, weights=weights)
    with pytest.raises(ValueError, match=r"weights\[2\] is 0, expected positive numbers"):
        cv.fisher_inverse(G, 1.0, weights=[1, 2, 0, 1])


@pytest.mark.parametrize("name", ["side", "method", "accumulate"])
def test_choices(name):
    with pytest.raises(ValueError, match=f"{name} must be one of"):
        cv.fisher_inverse(G, 1.0, **{name: "other"})


def test_the_published_methods_take_the_whole_matrix():
    with pytest.raises(ValueError, match="whole unweighted matrix"):
        cv.fisher_inverse(G, 1.0, method="recursion", blocks=[4, 5])
    with pytest.raises(ValueError, match="page must lie"):
        cv.fisher_inverse(G, 1.0, method="recursion", page=0)


@pytest.mark.parametrize("options", [{}, {"blocks": [4, 5]}, {"method": "recursion"}])
def test_vectors(options):
    inv = cv.fisher_inverse(G, 1.0, **options)
    for call in (
        inv.solve,
        inv.matvec,
        inv.dot,
        inv.__matmul__,
        inv.quadratic_form,
        inv.sqrt_matvec,
        inv.dot_rows,
        inv.forward().matvec,
        inv.forward().__matmul__,
    ):
        with pytest.raises(ValueError, match=r"\(8,\).*9"):
            call(np.ones(8))
        with pytest.raises(ValueError, match="nan"):
            call(np.full(9, np.nan))
    for call in (inv.solve_rows, inv.combine_rows):
        with pytest.raises(ValueError, match=r"\(9,\).*4"):
            call(np.ones(9))
    with pytest.raises(ValueError, match="refine"):
        inv.solve(np.ones(9), refine=-1)
    with pytest.raises(ValueError, match=r"\(9, 2\)"):
        inv.matvec(np.ones((9, 2)))
    with pytest.raises(ValueError, match=r"\(9,\)"):
        inv.matmat(np.ones(9))
    with pytest.raises(ValueError, match="keep has shape"):
        inv.gram_over(np.ones(8, bool))


def test_indices():
    inv = cv.fisher_inverse(G, 1.0)
    for i, j in ((9, 0), (0, -10)):
        with pytest.raises(IndexError, match="out of bounds for d = 9"):
            inv.element(i, j)
        with pytest.raises(IndexError, match="out of bounds for d = 9"):
            inv.columns([i, j])
    with pytest.raises(IndexError, match="integer"):
        inv.columns([0.5])
    with pytest.raises(TypeError, match="i must be an integer"):
        inv.element(0.5, 0)
    np.testing.assert_array_equal(inv.columns(np.arange(9) == 3), inv.columns(3))
    assert inv.element(-1, -9) == inv.element(8, 0)


def test_a_damping_below_rounding_warns_and_says_what_is_safe():
    # 4 u |G|^2 / N with |G|^2 about 25 and N = 4 is 3e-15.
    with pytest.warns(LinAlgWarning, match=r"kappa = .* raise it to at least"):
        inv = cv.fisher_inverse(G, 1e-16)
    with pytest.warns(LinAlgWarning, match="kappa"):
        inv.with_damping(1e-17)
    cv.fisher_inverse(G, 1e-14)  # silent: warnings are errors here


def test_the_warning_points_at_the_caller():
    with pytest.warns(LinAlgWarning) as record:
        cv.fisher_inverse(G, 1e-16)
    assert record[0].filename == __file__
    inv = cv.fisher_inverse(G, 1.0)
    with pytest.warns(LinAlgWarning) as record:
        inv.with_damping(1e-16)
    assert record[0].filename == __file__


@pytest.mark.parametrize("side", ["dual", "primal"])
def test_no_factor_names_kappa_and_a_damping_that_works(side):
    equal = np.full((3, 3), 1e9)
    with pytest.raises(np.linalg.LinAlgError, match=r"kappa .* raise the damping from .* to at least"):
        cv.fisher_inverse(equal, 1e-9, side=side)


@pytest.mark.parametrize("options", [{}, {"side": "primal"}, {"blocks": 3}])
def test_rows_that_nearly_overflow_are_named(options):
    huge = G.copy()
    huge[2] *= 1.5e308 / np.abs(G[2]).max()
    with pytest.raises(ValueError, match=r"G overflows float64: row 2 .* pass G / s and damping / s\*\*2"):
        cv.fisher_inverse(huge, 1.0, **options)
    window = cv.SlidingFisherInverse(9, 2, 1.0, dtype="float64")
    with pytest.raises(ValueError, match=r"g overflows float64: it is longer than 1e"):
        window.update(huge[2])
    assert window.n_filled == 0
    with pytest.raises(np.linalg.LinAlgError, match=r"kappa = .* inf .* rescale the rows"):
        cv.fisher_inverse(np.full((3, 3), 1e200), 1.0)


def test_duplicates_and_zero_rows_are_legal():
    odd = np.vstack([G[0], G[0], np.zeros(9)])
    A = 0.1 * np.eye(9) + odd.T @ odd / 3
    np.testing.assert_allclose(
        cv.fisher_inverse(odd, 0.1) @ np.ones(9), np.linalg.solve(A, np.ones(9)), rtol=1e-12
    )


def test_lists_and_objects_are_rows_too():
    expected = cv.fisher_inverse(G, 1.0) @ np.ones(9)
    np.testing.assert_array_equal(cv.fisher_inverse(G.tolist(), 1.0) @ np.ones(9), expected)
    np.testing.assert_array_equal(cv.fisher_inverse(G.astype(object), 1.0) @ np.ones(9), expected)
