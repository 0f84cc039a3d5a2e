"""Laws that hold for every input."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from theorylab import curvature as cv

from .cases import relative

sizes = st.integers(1, 12)
seeds = st.integers(0, 2**32 - 1)
dampings = st.floats(-3, 2).map(lambda e: 10.0**e)


def draw(seed, m, d):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, d)), rng.standard_normal(d), rng.standard_normal(d), rng


# kappa <= 1e6 throughout: 1e-9 is 1e7 u.
@settings(max_examples=40)
@given(seeds, sizes, sizes, dampings)
def test_inverse_symmetry_and_positivity(seed, m, d, lam):
    G, x, y, _ = draw(seed, m, d)
    inv = cv.fisher_inverse(G, lam)
    assert relative(inv.forward() @ (inv @ x), x) < 1e-9
    scale = np.linalg.norm(inv @ x) * np.linalg.norm(y)
    assert abs(y @ (inv @ x) - x @ (inv @ y)) <= 1e-9 * scale
    assert 0 < inv.quadratic_form(x) <= x @ x / lam * (1 + 1e-12)
    assert np.all(inv.diagonal() <= 1 / lam * (1 + 1e-12))
    h = inv.leverages()
    assert np.all((h >= 0) & (h < 1))
    assert np.sum(h) <= min(m, d) * (1 + 1e-12)


@settings(max_examples=40)
@given(seeds, sizes, sizes, dampings, st.floats(-2, 2).map(lambda e: 10.0**e))
def test_scaling_and_the_order_of_rows(seed, m, d, lam, s):
    G, x, _, rng = draw(seed, m, d)
    inv = cv.fisher_inverse(G, lam)
    # c A with rows sqrt(c) g and damping c lam.
    scaled = cv.fisher_inverse(np.sqrt(s) * G, s * lam)
    assert relative(scaled @ x, (inv @ x) / s) < 1e-9
    np.testing.assert_allclose(scaled.logdet(), inv.logdet() + d * np.log(s), rtol=1e-9, atol=1e-9)
    order = rng.permutation(m)
    assert relative(cv.fisher_inverse(G[order], lam) @ x, inv @ x) < 1e-9
    # A row of weight two is two rows; norm stays.
    twice = cv.fisher_inverse(np.vstack([G, G[:1]]), lam, norm=m)
    weighted = cv.fisher_inverse(G, lam, weights=np.r_[2.0, np.ones(m - 1)])
    assert relative(twice @ x, weighted @ x) < 1e-9


@settings(max_examples=40)
@given(seeds, sizes, sizes, dampings)
def test_both_sides_and_both_roots_agree(seed, m, d, lam):
    G, x, _, _ = draw(seed, m, d)
    dual, primal = (cv.fisher_inverse(G, lam, side=side) for side in ("dual", "primal"))
    assert relative(dual @ x, primal @ x) < 1e-9
    assert relative(dual.sqrt_matvec(x), primal.sqrt_matvec(x)) < 1e-8
    assert relative(dual.sqrt_matvec(dual.sqrt_matvec(x), forward=True), x) < 1e-9
    np.testing.assert_allclose(dual.influence_matrix(), primal.influence_matrix(), atol=1e-9 * m)


@settings(max_examples=30)
@given(seeds, st.integers(1, 6), sizes, dampings, st.lists(st.integers(0, 5), max_size=25))
def test_any_history_of_a_window_equals_its_rows(seed, window, d, lam, history):
    rng = np.random.default_rng(seed)
    inv, kept = cv.SlidingFisherInverse(d, window, lam, dtype="float64"), []
    for action in history:
        if action == 0 and kept:
            age = int(rng.integers(len(kept)))
            inv.remove(age)
            kept.pop(age)
        else:
            g = rng.standard_normal(d)
            inv.update(g)
            kept = [*kept, g][-window:]
    x = rng.standard_normal(d)
    if kept:
        assert relative(inv @ x, cv.fisher_inverse(np.array(kept), lam, norm=window) @ x) < 1e-9
    else:
        assert relative(inv @ x, x / lam) < 1e-15
