"""The sliding window against a rebuild from scratch: arrival, removal, state, drift, storage types."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from scipy.linalg import LinAlgWarning

from theorylab import curvature as cv
from theorylab.testing import unit_roundoff

from .cases import Exact, dense, relative, rows

LAM, U = 0.02, 2.0**-53


def check(inv, kept, norm):
    """Compare a window with dense algebra on the rows it should hold; kappa <= 1e4 leaves 1e-9."""
    d = inv.d
    A = dense(np.array(kept).reshape(len(kept), d), LAM, norm=norm)
    inverse, x = np.linalg.inv(A), np.random.default_rng(1).standard_normal(d)
    assert inv.n_filled == inv.m == len(kept)
    assert inv.norm == norm
    assert relative(inv @ x, inverse @ x) < 1e-9
    assert relative(inv.diagonal(), inverse.diagonal()) < 1e-9
    np.testing.assert_allclose(inv.logdet(), np.linalg.slogdet(A)[1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(inv.trace(), np.trace(inverse), rtol=1e-9)
    assert relative(inv.forward() @ x, A @ x) < 1e-12
    assert relative(inv.sqrt_matvec(inv.sqrt_matvec(x)), inverse @ x) < 1e-9
    if kept:
        stored = np.array(kept)
        order = np.argsort(inv.ages)  # slots, oldest first
        assert relative(inv.influence_matrix()[np.ix_(order, order)], stored @ inverse @ stored.T) < 1e-9
        assert relative(inv.gram[np.ix_(order, order)], stored @ stored.T) < 1e-12
        assert relative(inv.dot_rows(x)[order], stored @ x) < 1e-12


@pytest.mark.parametrize("norm", ["window", "count", 3.5])
@pytest.mark.parametrize("d", [1, 4, 30])
@pytest.mark.parametrize("window", [1, 2, 7, 19])
def test_against_a_rebuild(window, d, norm):
    rng = np.random.default_rng(0)
    inv, kept = cv.SlidingFisherInverse(d, window, LAM, dtype="float64", norm=norm), []

    def expected_norm():
        return {"window": window, "count": max(1, len(kept))}.get(norm, norm)

    check(inv, kept, expected_norm())
    for t in range(3 * window + 4):
        g = rng.standard_normal(d) * 10 ** rng.uniform(-1, 1)
        kept = [*kept, g][-window:]
        if t % 2:
            y = inv.update_solve(g)
            truth = np.linalg.solve(dense(np.array(kept), LAM, norm=expected_norm()), g)
        else:
            x = rng.standard_normal(d)
            y = inv.update_solve(g, x)
            truth = np.linalg.solve(dense(np.array(kept), LAM, norm=expected_norm()), x)
        assert relative(y, truth) < 1e-9
        check(inv, kept, expected_norm())
        if t % 5 == 4:
            age = int(rng.integers(len(kept)))
            inv.remove(age)
            kept.pop(age)
            check(inv, kept, expected_norm())
    while kept:
        inv.remove(-1)
        kept.pop()
        check(inv, kept, expected_norm())


def test_an_empty_window_divides_by_the_damping():
    inv = cv.SlidingFisherInverse(4, 3, 0.5)
    np.testing.assert_array_equal(inv @ np.ones(4), np.full(4, 2.0))
    np.testing.assert_array_equal(inv.diagonal(), np.full(4, 2.0))
    assert inv.trace() == 8.0
    assert inv.element(1, 1) == 2.0
    assert inv.influence_matrix().shape == (0, 0)


def test_extend_is_repeated_update():
    G = rows(9, 20)
    one, many = (cv.SlidingFisherInverse(20, 5, LAM, dtype="float64") for _ in range(2))
    for g in G:
        one.update(g)
    many.extend(G)
    np.testing.assert_array_equal(one @ np.ones(20), many @ np.ones(20))
    assert relative(many @ np.ones(20), cv.fisher_inverse(G[-5:], LAM) @ np.ones(20)) < 1e-12


@pytest.mark.parametrize(
    ("dtype", "u"), [("float32", 2.0**-24), ("float16", 2.0**-11), ("bfloat16", 2.0**-8)]
)
def test_storage_types_round_the_rows_and_nothing_else(dtype, u):
    G = rows(6, 20) * np.logspace(3, -3, 6)[:, None]
    inv = cv.SlidingFisherInverse(20, 6, LAM, dtype=dtype)
    inv.extend(G)
    # What the window holds: each row within u of the gradient, relative to its largest entry.
    held = inv.combine_rows(np.eye(6)).T
    assert np.max(np.abs(held - G) / np.abs(G).max(axis=1, keepdims=True)) <= u
    # It is inverted exactly: kappa = 1e8 inside the span, 1 outside.
    exact, x = Exact(held, LAM), np.random.default_rng(0).standard_normal(20)
    assert relative(inv @ x, exact.product(x)) < 1e-12
    assert relative(inv.solve_rows(np.eye(6)), exact.rows()) < 1e-12
    assert inv.nbytes < 20 * 6 * 8 + 3 * 8 * 36
    state = cv.SlidingFisherInverse.from_state_dict(inv.state_dict())
    np.testing.assert_array_equal(state @ x, inv @ x)


def test_large_gradients():
    for dtype in ("float32", "float64"):
        inv = cv.SlidingFisherInverse(20, 4, LAM, dtype=dtype)
        inv.extend(rows(5, 20))
        g = rows(1, 20, seed=9)[0]
        # m g / (m lam + |g|^2 + ...) is of order m / |g|: no overflow on the way.
        with pytest.warns(LinAlgWarning, match="kappa"):
            assert np.all(np.isfinite(inv.update_solve(1e100 * g)))
        assert np.all(np.isfinite(inv @ g))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("norm", ["window", "count"])
def test_state_pickle_and_copy_go_on_with_the_same_bits(dtype, norm):
    inv = cv.SlidingFisherInverse(30, 4, LAM, dtype=dtype, norm=norm)
    inv.extend(rows(6, 30))
    inv.remove(1)
    later = rows(3, 30, seed=7)
    twins = [
        cv.SlidingFisherInverse.from_state_dict(inv.state_dict()),
        pickle.loads(pickle.dumps(inv)),
        copy.deepcopy(inv),
    ]
    for g in later:
        expected = inv.update_solve(g)
        for twin in twins:
            np.testing.assert_array_equal(twin.update_solve(g), expected)
    for twin in twins:
        np.testing.assert_array_equal(twin @ later[0], inv @ later[0])
        assert twin.logdet() == inv.logdet()
        np.testing.assert_array_equal(twin.ages, inv.ages)


def test_state_is_a_copy():
    inv = cv.SlidingFisherInverse(5, 3, LAM)
    inv.extend(rows(4, 5))
    state = inv.state_dict()
    before = inv @ np.ones(5)
    for value in state.values():
        if isinstance(value, np.ndarray):
            value[...] = 0
    np.testing.assert_array_equal(inv @ np.ones(5), before)


@pytest.mark.parametrize("filled", [0, 2, 3])
@pytest.mark.parametrize("norm", ["window", "count"])
def test_a_refused_gradient_leaves_the_window_bit_identical(filled, norm):
    inv = cv.SlidingFisherInverse(6, 3, LAM, norm=norm)
    inv.extend(rows(filled, 6) if filled else [])
    before = pickle.dumps(inv.state_dict())
    nan, inf = np.ones(6), np.ones(6)
    nan[4], inf[2] = np.nan, -np.inf
    for bad, message in [
        (nan, "g contains nan in entry 4"),
        (inf, "g contains -inf in entry 2"),
        (np.ones(7), r"\(7,\), expected \(6,\)"),
        (np.ones((6, 2)), "pass batches to extend"),
        (np.ones((1, 6)), "pass batches to extend"),
        (np.full(6, 1e200), "g overflows float32"),
    ]:
        for call in (inv.update, inv.update_solve, lambda g: inv.update_solve(g, np.ones(6))):
            with pytest.raises(ValueError, match=message):
                call(bad)
            assert pickle.dumps(inv.state_dict()) == before
    with pytest.raises(ValueError, match="x has shape"):
        inv.update_solve(np.ones(6), np.ones(5))
    with pytest.raises(ValueError, match=r"row 1 of G_batch.* nan"):
        inv.extend([np.ones(6), nan])
    with pytest.raises(TypeError, match="G_batch"):
        inv.extend(5)
    with pytest.raises(TypeError, match="complex"):
        inv.update(np.ones(6) * 1j)
    with pytest.raises(IndexError, match="age"):
        inv.remove(5)
    assert pickle.dumps(inv.state_dict()) == before


@pytest.mark.parametrize("norm", ["window", "count"])
@pytest.mark.parametrize("d", [9, 3])
def test_a_damping_that_rounding_hides_warns_as_in_the_static_class(d, norm):
    G, x = rows(4, d), np.ones(d)
    hidden = 4 * U * np.linalg.norm(G, 2) ** 2 / 4
    calls = [
        lambda inv: inv.update(G[3]),
        lambda inv: inv.update_solve(G[3]),
        lambda inv: inv.update_solve(G[3], x),
        lambda inv: inv.update_solve(G[3], np.ones((d, 2))),
        lambda inv: inv.extend(G[3:]),
    ]
    for call in calls:
        inv = cv.SlidingFisherInverse(d, 4, 0.9 * hidden, dtype="float64", norm=norm)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LinAlgWarning)
            inv.extend(G[:3])
        with pytest.warns(LinAlgWarning, match=r"kappa = .* raise it to at least") as record:
            call(inv)
        assert record[0].filename == __file__
        silent = 1.1 if norm == "window" else 4.0  # N = 1 for the first row
        inv = cv.SlidingFisherInverse(d, 4, silent * hidden, dtype="float64", norm=norm)
        inv.extend(G[:3])
        call(inv)  # silent: warnings are errors here
        before = pickle.dumps(inv.state_dict())
        with pytest.raises(LinAlgWarning):  # an error if so wished: then the gradient is refused
            inv.update(10 * G[0])
        assert pickle.dumps(inv.state_dict()) == before
        with pytest.warns(LinAlgWarning, match="kappa") as record:
            inv.with_damping(0.9 * hidden)
        assert record[0].filename == __file__


def test_a_smaller_count_that_hides_the_damping_warns():
    G = rows(4, 9)
    G[3] *= 1e-8  # sigma_max stays, N falls from 4 to 3
    hidden = 4 * U * np.linalg.norm(G, 2) ** 2 / 4
    inv = cv.SlidingFisherInverse(9, 4, 1.1 * hidden, dtype="float64", norm="count")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)
        inv.extend(G)
    before = pickle.dumps(inv.state_dict())
    with pytest.raises(LinAlgWarning):  # an error if so wished: then the row stays
        inv.remove(3)
    assert pickle.dumps(inv.state_dict()) == before
    with pytest.warns(LinAlgWarning, match="kappa") as record:
        inv.remove(3)
    assert record[0].filename == __file__
    assert inv.n_filled == 3


@pytest.mark.filterwarnings("ignore:kappa")
def test_a_factorisation_that_fails_leaves_the_window_bit_identical():
    # Two equal rows and a damping that is lost in the rounding of their squares.
    inv = cv.SlidingFisherInverse(4, 3, 1e-12, dtype="float64", norm="count")
    inv.update(np.full(4, 1e7))
    before = pickle.dumps(inv.state_dict())
    with pytest.raises(np.linalg.LinAlgError, match="kappa"):
        inv.update(np.full(4, 1e7))
    assert pickle.dumps(inv.state_dict()) == before


def test_twenty_thousand_slides_do_not_drift():
    m, d = 16, 24
    rng = np.random.default_rng(0)
    inv = cv.SlidingFisherInverse(d, m, 1e-3, dtype="float64")
    errors = {}
    for t in range(1, 20_001):
        inv.update(rng.standard_normal(d) * 10 ** rng.uniform(-2, 2))
        if t in (100, 1000, 5000, 20_000):
            state = inv.state_dict()
            U, order = state["factor"], state["slots"]
            K = inv.gram[np.ix_(order, order)] + m * 1e-3 * np.eye(m)
            errors[t] = np.linalg.norm(U.T @ U - K, 2) / np.linalg.norm(K, 2)
            fresh = cv.fisher_inverse(state["rows"], 1e-3)
            x = rng.standard_normal(d)
            assert relative(inv @ x, fresh @ x) < 1e-9
    # Theorem: at most c m u, whatever the number of slides.
    assert max(errors.values()) <= 20 * m * unit_roundoff()


def test_a_buffer_of_ones_own(tmp_path):
    ring = np.memmap(tmp_path / "ring", dtype="f4", mode="w+", shape=(3, 10))
    inv, plain = cv.SlidingFisherInverse(10, 3, LAM, buffer=ring), cv.SlidingFisherInverse(10, 3, LAM)
    for g in rows(5, 10):
        np.testing.assert_array_equal(inv.update_solve(g), plain.update_solve(g))
    assert np.any(np.asarray(ring) != 0)
    with pytest.raises(ValueError, match="buffer has shape"):
        cv.SlidingFisherInverse(10, 4, LAM, buffer=ring)


def test_result_has_the_dtype_of_the_vector():
    inv = cv.SlidingFisherInverse(5, 2, LAM)
    assert inv.update_solve(np.ones(5, np.float32)).dtype == np.float32
    assert inv.update_solve(np.ones(5)).dtype == np.float64
    assert inv.update_solve([1, 2, 3, 4, 5]).dtype == np.float64
    assert inv.update_solve(np.ones(5), np.ones(5, np.float32)).dtype == np.float32
    assert inv.update_solve(np.ones(5), np.ones((5, 2))).shape == (5, 2)


def test_the_callers_gradient_is_not_changed_or_kept():
    g = np.ones(5)
    g.flags.writeable = False
    inv = cv.SlidingFisherInverse(5, 2, LAM, dtype="float64")
    inv.update(g)
    h = g.copy()
    inv.update(h)
    before = inv @ g
    h[:] = 0
    np.testing.assert_array_equal(inv @ g, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 3, 1.0), "d must lie"),
        ((3, 0, 1.0), "window must lie"),
        ((3, 3, 0.0), "damping must lie"),
        ((3, 3, np.inf), "damping must lie"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(ValueError, match=message):
        cv.SlidingFisherInverse(*arguments)


def test_bad_options():
    with pytest.raises(ValueError, match="dtype must be one of"):
        cv.SlidingFisherInverse(3, 3, 1.0, dtype="int32")
    with pytest.raises(ValueError, match="norm must be one of"):
        cv.SlidingFisherInverse(3, 3, 1.0, norm="rows")
    with pytest.raises(ValueError, match="norm must lie"):
        cv.SlidingFisherInverse(3, 3, 1.0, norm=-1.0)


def test_another_damping_is_another_window():
    G = rows(6, 12)
    inv = cv.SlidingFisherInverse(12, 4, LAM, dtype="float64")
    inv.extend(G[:5])
    other = inv.with_damping(1.0)
    before = inv @ np.ones(12)
    other.update(G[5])
    np.testing.assert_array_equal(inv @ np.ones(12), before)
    assert relative(other @ np.ones(12), np.linalg.solve(dense(G[2:6], 1.0), np.ones(12))) < 1e-12
    inv.update(G[5])
    assert relative(inv @ np.ones(12), np.linalg.solve(dense(G[2:6], LAM), np.ones(12))) < 1e-12
    with pytest.raises(ValueError, match="damping is relative"):
        cv.SlidingFisherInverse(3, 2, 1.0).with_damping(("relative", 0.1))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("size", [2.0**-120, 2.0**-160, 2.0**-300])
def test_gradients_below_the_range_of_the_storage_are_scaled(dtype, size):
    g = size * np.array([1.0, 2.0, -1.0])
    inv = cv.SlidingFisherInverse(3, 2, size**2, dtype=dtype)
    np.testing.assert_allclose(inv.update_solve(g), g / (4 * size**2), rtol=1e-12)


@pytest.mark.filterwarnings("ignore:kappa")
def test_extend_is_refused_as_a_whole_where_a_later_row_makes_the_window_singular():
    inv = cv.SlidingFisherInverse(4, 3, 1e-12, dtype="float64", norm="count")
    inv.extend(np.eye(4)[:3])
    before = inv.state_dict()
    with pytest.raises(np.linalg.LinAlgError, match="kappa"):
        inv.extend([np.full(4, 2.0), np.full(4, 1e7), np.full(4, 1e7)])
    after = inv.state_dict()
    for key, value in before.items():
        np.testing.assert_array_equal(after[key], value)
