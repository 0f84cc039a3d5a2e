"""The row loss against mpmath, its conjugate and the gap against definitions, Hessian against differences."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theorylab.ordinal import _dual as dual
from theorylab.ordinal import _kernels as kernels
from theorylab.ordinal import ordinal_gram, ordinal_loss_grad_hess, presto_dual_gap
from theorylab.ordinal._design import Design

from .reference import loss, simulate, standardised

# 30-digit arithmetic: (a, b, f, f_a, f_b, f_aa, f_ab), None where not tabulated.
EXTREME = [
    (
        1.0,
        -0.5,
        1.03982113062378351,
        -0.556158338158863,
        0.664757585587014,
        0.566322407320054,
        -0.369710474078572,
    ),
    (0.3, 0.2999, 10.6190434174672969, None, None, None, None),
    (40.0, -40.0, 8.49670851058312231e-18, None, None, None, None),
    (
        -700.0,
        -701.0,
        700.458675145387082,
        -1.58197670686933,
        0.581976706869326,
        0.920673594207792,
        -0.920673594207792,
    ),
]


@pytest.mark.parametrize("row", EXTREME)
def test_extreme_values(row):
    a, b, *expected = row
    f, f_a, f_b, f_aa, _, f_ab = (float(x) for x in ordinal_loss_grad_hess(a, b, 1, 3))
    # a - b itself is rounded: relative error u |a| / (a - b), 1e-12 at (0.3, 0.2999).
    for got, want in zip((f, f_a, f_b, f_aa, f_ab), expected):
        if want is not None:
            assert got == pytest.approx(want, rel=2e-12)


@settings(deadline=None, max_examples=60)
@given(st.floats(-30, 30), st.floats(1e-3, 40), st.sampled_from([0, 1, 2]))
def test_against_mpmath(b, d, y):
    a = b + d
    got = [float(x) for x in ordinal_loss_grad_hess(a, b, y, 3)]
    with mp.workdps(60):
        A, B = mp.mpf(a), mp.mpf(b)

        def F(z):
            return 1 / (1 + mp.exp(-z))

        def f(s, t):
            upper = F(A + s) if y < 2 else mp.mpf(1)
            lower = F(B + t) if y > 0 else mp.mpf(0)
            return -mp.log(upper - lower)

        want = [f(0, 0), mp.diff(f, (0, 0), (1, 0)), mp.diff(f, (0, 0), (0, 1))]
        want += [mp.diff(f, (0, 0), n) for n in ((2, 0), (0, 2), (1, 1))]
        # a - b is exact to u max(|a|, |b|), which the barrier amplifies by 1/d in f_a and 1/d^2 in f_aa.
        noise = 4e-16 * (1 + max(abs(a), abs(b)) / d)
        for x, z in zip(got, want):
            z = float(z)
            assert x == pytest.approx(z, rel=20 * noise, abs=1e-40 + 1e-25)


def test_absent_boundaries_and_domain():
    f, f_a, f_b, f_aa, f_bb, f_ab = ordinal_loss_grad_hess([0.0, 5.0, 0.0], [9.0, 1.0, 0.0], [0, 2, 1], 3)
    assert (f_b[0], f_bb[0], f_ab[0], f_a[1], f_aa[1], f_ab[1]) == (0, 0, 0, 0, 0, 0)
    assert f[0] == pytest.approx(np.log(2), rel=1e-15)
    assert f[2] == np.inf
    assert all(x.size == 0 for x in ordinal_loss_grad_hess([], [], np.array([], int), 4))


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (([0.0], [0.0], [3], 3), ValueError, r"y must lie in \[0, 2\]"),
        (([0.0], [0.0, 1.0], [0], 3), ValueError, "b has shape"),
        (([0.0], [0.0], [0.5], 3), TypeError, "expected integers"),
        (([0.0], [0.0], [0], 1), ValueError, "n_classes"),
    ],
)
def test_bad_input(args, error, message):
    with pytest.raises(error, match=message):
        ordinal_loss_grad_hess(*args)


@settings(deadline=None, max_examples=80)
@given(st.floats(-12, 12), st.floats(1e-2, 8))
def test_conjugate_is_tight(b, d):
    """Fenchel-Young with equality at the gradient: f + f* = u (-a) + t b there."""
    a = b + d
    f, f_a, f_b, *_ = (float(x) for x in ordinal_loss_grad_hess(a, b, 1, 3))
    got = float(dual.conjugate(-f_a, f_b))
    # The probabilities are recovered from 1 - |u - t|, of relative error u max(u, t) exp(|logit|).
    noise = 4e-16 * (1.0 + f_b) * np.exp(max(abs(a), abs(b)))
    assert got == pytest.approx(f_a * a + f_b * b - f, abs=1e-12 + 40 * noise)


def test_conjugate_bounds_from_below():
    rng = np.random.default_rng(0)
    for _ in range(200):
        u, t = rng.uniform(0, 3), 0.0
        t = u + rng.uniform(-0.9, 0.9)
        if t < 0:
            continue
        b, d = rng.normal(0, 3, 50), rng.exponential(2, 50)
        f = ordinal_loss_grad_hess(b + d, b, np.ones(50, int), 3)[0]
        assert (-u * (b + d) + t * b - f <= dual.conjugate(u, t) + 1e-12).all()


@pytest.mark.parametrize("own", [1e-1, 1e-6, 1e-12, 3e-15])
def test_conjugate_near_the_edge_of_its_domain(own):
    """Where 1 - (u - t) is tiny the terms must share its rounding: compare at the rounded u and t."""
    for t in (0.0, 1e-9, 1e-3, 0.7, 30.0):
        u = t + (1.0 - own)
        with mp.workdps(50):
            U, V = mp.mpf(u), mp.mpf(t)
            rho = 2 * U * V / (1 + mp.sqrt(1 + 4 * U * V))
            above, below = U - rho, V - rho
            want = -U * mp.log((1 - above) / above) + mp.log(1 - above - below)
            want += V * mp.log(below / (1 - below)) if t else 0
        assert dual.conjugate(u, t) == pytest.approx(float(want), abs=1e-13 * (1 + t))


def derivatives(X, y, theta):
    """Return loss, gradient and Hessian in theta from the kernels."""
    design = Design(X, y, np.ones(len(y)))
    m, width = theta.shape
    blocks, steps, grad = (np.empty_like(theta) for _ in range(3))
    rows, H = np.empty((5, len(y))), np.empty((m, width, m, width))
    kernels.to_blocks(theta, blocks, steps)
    value = kernels.evaluate(design.full(), design.w, design.starts, blocks, steps, rows, grad)
    kernels.gram(design.full(), design.starts, rows, H)
    full = grad.copy()
    full[:, 1:] = np.cumsum(grad[::-1, 1:], axis=0)[::-1]
    return value, full, H.reshape(m * width, m * width)


@pytest.mark.parametrize(("n", "p", "K"), [(700, 3, 5), (40, 20, 3), (30, 2, 2)])
def test_gradient_and_hessian(n, p, K):
    X, y = simulate(n, p, K, 3)
    rng = np.random.default_rng(1)
    theta = 0.02 * rng.standard_normal((K - 1, p + 1))
    theta[:, 0] += np.linspace(-1, 1.5, K - 1)
    w = np.full(n, 1 / n)
    Z, _, _ = standardised(X, w)
    value, grad, H = derivatives(X, y, theta)
    assert value == pytest.approx(loss(Z, y, w, theta[:, 0], theta[:, 1:]), rel=1e-13)
    h = 1e-5  # central differences: truncation h^2, cancellation u / h, together below 1e-9 here
    for i in range(theta.size):
        e = np.zeros(theta.size)
        e[i] = h
        e = e.reshape(theta.shape)
        up, down = derivatives(X, y, theta + e), derivatives(X, y, theta - e)
        assert (up[0] - down[0]) / (2 * h) == pytest.approx(grad.ravel()[i], abs=2e-9)
        np.testing.assert_allclose((up[1] - down[1]).ravel() / (2 * h), H[i], atol=2e-8)


def test_gap_bounds_true_suboptimality():
    from theorylab.ordinal import PrestoClassifier

    X, y = simulate(150, 4, 4, 0)
    lam = 0.01
    model = PrestoClassifier(lam, standardize=False).fit(X, y)
    assert presto_dual_gap(X, y, model.intercept_, model.coef_, lam) <= 1e-9
    rng = np.random.default_rng(0)
    w = np.full(150, 1 / 150)
    for size in (1e-4, 1e-3, 1e-2):
        coef = model.coef_ + size * rng.standard_normal(model.coef_.shape)
        psi = np.diff(coef, axis=0, prepend=0)
        excess = loss(X, y, w, model.intercept_, psi) + lam * np.abs(psi).sum() - model.objective_
        gap = presto_dual_gap(X, y, model.intercept_, coef, lam)
        assert gap >= excess - 1e-13
        assert gap > 1e-7
    assert presto_dual_gap(X, y, model.intercept_[::-1], 0 * model.coef_, lam) == np.inf
    labels = np.array(["a", "b", "c", "d"])[y]
    with pytest.warns(UserWarning, match="class_order"):
        assert presto_dual_gap(X, labels, model.intercept_, model.coef_, lam) <= 1e-9


@pytest.mark.parametrize("ratio", [0.0, 0.4])
def test_gap_elastic_net(ratio):
    from theorylab.ordinal import PrestoClassifier

    X, y = simulate(150, 4, 4, 0)
    model = PrestoClassifier(0.02, standardize=False, l1_ratio=ratio).fit(X, y)
    gap = presto_dual_gap(X, y, model.intercept_, model.coef_, 0.02, l1_ratio=ratio)
    assert gap <= 1e-9
    assert presto_dual_gap(X, y, model.intercept_, 1.1 * model.coef_, 0.02, l1_ratio=ratio) > 1e-5


def test_gap_input():
    X, y = simulate(30, 2, 3, 0)
    with pytest.raises(ValueError, match="coef has shape"):
        presto_dual_gap(X, y, [0.0, 1.0], np.zeros((2, 3)), 0.1)
    with pytest.raises(ValueError, match="distinct labels"):
        presto_dual_gap(X, y, [0.0], np.zeros((1, 2)), 0.1)
    with pytest.raises(ValueError, match="penalty_factors"):
        presto_dual_gap(X, y, [0.0, 1.0], np.zeros((2, 2)), 0.1, penalty_factors=[1.0, -1.0])


def test_gap_of_ordered_categories():
    pd = pytest.importorskip("pandas")
    from theorylab.ordinal import PrestoClassifier

    X, y = simulate(60, 2, 3, 0)
    target = pd.Series(pd.Categorical.from_codes(y, ["low", "mid", "high"], ordered=True))
    model = PrestoClassifier(0.02, standardize=False).fit(X, target)
    assert presto_dual_gap(X, target, model.intercept_, model.coef_, 0.02) <= 1e-9


def test_public_hessian():
    import scipy.sparse as sp

    X, y = simulate(60, 2, 3, 0)
    X += 3.0
    w = np.random.default_rng(0).integers(1, 4, 60).astype(float)
    alpha, psi = np.array([-1.0, 1.0]), np.array([[0.1, -0.2], [0.02, 0.01]])
    H = ordinal_gram(X, y, alpha, np.cumsum(psi, axis=0), sample_weight=w)
    point, h = np.concatenate((alpha, psi.ravel())), 1e-4

    def value(t):
        return loss(X, y, w / w.sum(), t[:2], t[2:].reshape(2, 2))

    for i in range(6):
        for j in range(6):
            a, b = h * np.eye(6)[i], h * np.eye(6)[j]
            second = value(point + a + b) - value(point + a - b) - value(point - a + b) + value(point - a - b)
            # Cancellation 4 u / h^2 = 4e-8, truncation h^2 times fourth derivatives with features of size 5.
            assert second / (4 * h * h) == pytest.approx(H[i, j], abs=2e-5)
    sparse = ordinal_gram(sp.csr_array(X), y, alpha, np.cumsum(psi, axis=0), sample_weight=w)
    np.testing.assert_allclose(sparse, H, rtol=1e-12, atol=1e-14)
    with pytest.raises(ValueError, match="cross"):
        ordinal_gram(X, y, alpha[::-1], np.zeros((2, 2)))
