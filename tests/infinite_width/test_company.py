"""A pair of points has one kernel, whatever the other points of the matrix; nor do they make it cost more."""

import numpy as np

from theorylab.infinite_width import _direct, _gaps, duals, kernels


def _points(rng):
    """Forty points, half of which nearly repeat the others."""
    X = rng.standard_normal((40, 4))
    X[20:] = X[:20] + 10.0 ** rng.uniform(-6, -1, (20, 1)) * rng.standard_normal((20, 4))
    return X


def test_tables_of_jumps_at_zero():
    """The derivative of a jump is missing from Ddot: its integral is no difference of D."""
    fn = duals.register("plain_step", fn=lambda x: np.where(x > 0, 1.0, 0.0), kinks=(0.0,))
    X = _points(np.random.default_rng(0))
    kw = {"depth": 2, "w_var": 2.3, "b_var": 0.01}
    # jumps grow the rounding of an angle to its square root, but differences carry the angle itself
    for f in (kernels.nngp, kernels.rkhs_sqdist):
        np.testing.assert_allclose(f(X, activation=fn, **kw), f(X, activation="step", **kw), rtol=1e-12)


def test_far_points_cost_their_own_pairs():
    counted = []

    def fn(x):
        counted.append(x.size)
        return np.tanh(x)

    rule = _direct.PolarRule(fn, lambda x: 1.0 - np.tanh(x) ** 2, ())
    alpha = np.linspace(0.5, 2.0, 50)
    wide = np.append(alpha, 1e4)

    def cost(form, scales):
        form(scales)  # finds the resolution
        counted.clear()
        form(scales)
        return sum(counted)

    for form in (
        lambda s: rule.gap(s, s, np.full(s.size, 0.1)),
        lambda s: rule.close(s, s, np.full(s.size, 0.6), np.full(s.size, np.pi - 0.6)),
    ):
        assert cost(form, wide) <= 1.01 * (cost(form, alpha) + cost(form, wide[-1:]))
        np.testing.assert_array_equal(np.asarray(form(wide))[..., :-1], np.asarray(form(alpha)))


def test_slopes_serve_close_scales_only():
    counted = []
    gelu = duals.get("gelu")

    def dfn(x):
        counted.append(x.size)
        return gelu.dfn(x)

    act = _gaps.Activation("gelu_counted", gelu.dual, gelu.fn, dfn)
    alpha = np.full(100, 1.0)
    beta = np.append(np.full(99, 0.5), 0.999)
    many = _gaps.radial(act, alpha, beta, alpha - beta)
    together = sum(counted)
    counted.clear()
    one = _gaps.radial(act, alpha[-1:], beta[-1:], (alpha - beta)[-1:])
    assert together == sum(counted)
    np.testing.assert_allclose([v[-1:] for v in many], one, rtol=1e-15)


def test_nearly_opposite_points_by_tables():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((60, 3))
    X[30:] = -X[:30] + 10.0 ** rng.uniform(-9, -2, (30, 1)) * rng.standard_normal((30, 3))
    kw = {"depth": 40, "activation": "tanh", "w_var": 1.0, "b_var": 0.0}
    K, T = kernels.nngp_ntk(X, **kw)
    for i in (0, 7, 21):
        k, t = kernels.nngp_ntk(X[[i, 30 + i]], **kw)
        np.testing.assert_allclose([K[i, 30 + i], T[i, 30 + i]], [k[0, 1], t[0, 1]], rtol=1e-13)


def test_registered_closed_form_with_a_jump():
    def dual(a, b, c):
        return (np.pi - np.arccos(np.clip(c / np.sqrt(a * b), -1.0, 1.0))) / (2.0 * np.pi)

    act = duals.register(
        "closed_step",
        dual=dual,
        dual_dot=lambda a, b, c: 0.0 * c,
        fn=lambda x: np.where(x > 0, 1.0, 0.0),
        kinks=(0.0,),
    )
    X = np.array([[1.0, 0.5, 0.2], [1.0, 0.6, 0.2], [1.0, 0.7, 0.2]])
    kw = {"depth": 2, "w_var": 2.0, "b_var": 0.1}
    D = kernels.rkhs_sqdist(X, activation="step", **kw)
    # the form given loses what an arccosine loses
    np.testing.assert_allclose(kernels.rkhs_sqdist(X, activation=act, **kw), D, rtol=1e-6)
