"""Kernel matrices against the textbook recursion, 60-digit arithmetic and golden values."""

import time
import tracemalloc

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theorylab._lib.threads import limit_threads
from theorylab.infinite_width import _pairs, duals, kernels

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(9, 4)), 2.0 * RNG.normal(size=(7, 4))
# depth and activation with a critical unit sphere: 1 - rho_0, depth, 1 - rho_L, T_L from 60 digits
CRITICAL = [
    (1e-14, 100, 9.999969989523e-15, 100.999772670692),
    (1e-8, 10, 9.99699955343656e-09, 10.9975245773326),
    (1e-8, 1000, 9.70651024248123e-09, 979.020081721547),
    (1e-3, 10, 0.000910865966414581, 10.2598276075837),
    (0.5, 1, 0.391002218955771, 0.942331114377563),
    (0.5, 10, 0.102353270192677, 4.10835152642275),
    (0.5, 100, 0.00344728913916798, 28.0444399131305),
    (1.0, 10, 0.128464483978482, 3.479376712021),
    (1.9, 10, 0.144799569332014, 3.15773190991016),
    (1.9, 1000, 4.32131691229131e-05, 253.298758122002),
]


def textbook(x, y, act, depth, w, b, lw=1.0, lb=0.0, width=None):
    """The recursion of the definition, one line a step, through the public duals."""
    d = x.shape[1]

    def variances(points):
        q, out = (points**2).sum(1) / d, []
        for _ in range(depth):
            out.append(w * q + b)
            q = duals.dual_activation(act, out[-1], out[-1], out[-1])[0]
        return out

    qx, qy = variances(x), variances(y)
    layers = [(w, b)] * depth + [(lw, lb)]
    c = x @ y.T / d
    t = 0.0
    for k, (wk, bk) in enumerate(layers):
        fan = d if k == 0 else width
        new = wk * c + bk
        t = (new if width is None else fan * c + (bk > 0)) + wk * t
        c = new
        if k < depth:
            a, bb = qx[k][:, None], qy[k][None]
            top = np.sqrt(a * bb)
            c, slope = duals.dual_activation(act, a, bb, np.clip(c, -top, top))
            t = slope * t
    return c, t


@pytest.mark.parametrize("depth", [0, 1, 3, 6])
@pytest.mark.parametrize("b", [0.0, 0.3])
@pytest.mark.parametrize(
    "act",
    ["relu", "abs", "leaky_relu", "erf", "sigmoid_like", "gelu", "sin", "cos", "sign", "gabor",
     duals.rectified_monomial(2)],
    ids=str,
)  # fmt: skip
def test_textbook(act, b, depth):
    """Rounding accumulates over at most seven layers of a dozen operations: 100 eps of the maximum."""
    if duals.get(act).degree == 2:
        depth = min(depth, 3)  # variances square with each layer
    scale = {"w_var": 1.5, "b_var": b, "last_w_var": 0.7, "last_b_var": 0.2 * b}
    K, T = kernels.nngp_ntk(X, Y, depth=depth, activation=act, **scale)
    k, t = textbook(X, Y, act, depth, 1.5, b, 0.7, 0.2 * b)
    np.testing.assert_allclose(K, k, rtol=0, atol=2e-14 * np.abs(k).max())
    np.testing.assert_allclose(T, t, rtol=0, atol=2e-14 * np.abs(t).max())
    np.testing.assert_allclose(
        kernels.nngp(X, Y, depth=depth, activation=act, **scale), K, rtol=0, atol=1e-15 * np.abs(k).max()
    )
    S = kernels.ntk(X, Y, depth=depth, activation=act, parameterization="standard", width=64, **scale)
    s = textbook(X, Y, act, depth, 1.5, b, 0.7, 0.2 * b, width=64)[1]
    np.testing.assert_allclose(S, s, rtol=0, atol=2e-14 * np.abs(s).max())
    # float32: eps 6e-8 a layer, and the Gram matrix of 4 features
    Kf, Tf = kernels.nngp_ntk(X.astype("f"), Y.astype("f"), depth=depth, activation=act, **scale)
    assert Kf.dtype == Tf.dtype == np.float32
    np.testing.assert_allclose(Kf, k, rtol=0, atol=3e-6 * np.abs(k).max())
    np.testing.assert_allclose(Tf, t, rtol=0, atol=3e-6 * np.abs(t).max())


@pytest.mark.parametrize("act", ["relu", "erf", "gelu", "tanh"])
def test_symmetric_case(act):
    K, T = kernels.nngp_ntk(X, depth=3, activation=act, w_var=1.5, b_var=0.1)
    k, t = kernels.nngp_ntk(X, X.copy(), depth=3, activation=act, w_var=1.5, b_var=0.1)
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_array_equal(T, T.T)
    np.testing.assert_allclose(K, k, rtol=1e-13)
    np.testing.assert_allclose(T, t, rtol=1e-7 if act == "tanh" else 1e-13)
    settings_ = {"depth": 3, "activation": act, "w_var": 1.5, "b_var": 0.1, "diag": True}
    np.testing.assert_allclose(np.diag(K), kernels.nngp(X, **settings_), rtol=1e-15)
    np.testing.assert_allclose(np.diag(T), kernels.ntk(X, **settings_), rtol=1e-15)


@pytest.mark.parametrize(("delta", "depth", "gap", "t"), CRITICAL)
def test_critical_relu_on_the_sphere(delta, depth, gap, t):
    """Golden values of 60 digits. Inputs at the chord sqrt(2 delta).

    Their own rounding moves delta by 2 eps relative.
    """
    half = np.arcsin(np.sqrt(delta / 2))
    x = np.sqrt(2.0) * np.array([[np.cos(half), np.sin(half)]])
    y = x * np.array([1.0, -1.0])
    # K = 1 on the diagonal needs a readout of variance 2
    common = {"depth": depth, "activation": "relu", "w_var": 2.0, "b_var": 0.0, "last_w_var": 2.0}
    first = 2.0  # the recursion of the table starts at rho after the first dense layer, of variance w_var
    K, T = kernels.nngp_ntk(x, y, **common)
    distance = kernels.rkhs_sqdist(x, y, **common)
    assert abs(distance[0, 0] / first / (2 * gap) - 1) < 1e-13 * max(1, depth / 10)
    assert abs(T[0, 0] / first / t - 1) < 1e-13 * max(1, depth / 10)
    assert abs(K[0, 0] / first - (1 - gap)) < 1e-14 * max(1, depth / 10)


def test_distance_of_a_point_with_itself():
    for act in ("relu", "erf", "gelu", "tanh", "sign"):
        D = kernels.rkhs_sqdist(X[:4], depth=2, activation=act, w_var=1.5, b_var=0.1)
        assert np.all(np.diag(D) == 0.0)
        assert np.all(D >= 0.0)
        again = kernels.rkhs_sqdist(X[:4], X[:4], depth=2, activation=act, w_var=1.5, b_var=0.1)
        assert np.all(np.diag(again) == 0.0)
        K = kernels.nngp(X[:4], depth=2, activation=act, w_var=1.5, b_var=0.1)
        naive = np.diag(K)[:, None] + np.diag(K)[None] - 2 * K
        np.testing.assert_allclose(D, naive, atol=1e-14 * np.abs(K).max() * 8)
    assert kernels.rkhs_sqdist(X.astype("f"), depth=2).dtype == np.float32


def test_points_on_a_line_are_not_all_delicate(monkeypatch):
    """Inputs on a line are parallel, but only pairs of similar norm need the costly treatment."""
    line = np.linspace(-3.0, 3.0, 61)[:, None]
    seen = []
    recompute = _pairs.recompute

    def count(net, A, B, dx, dy, rows, cols, **options):
        seen.append(rows.size)
        return recompute(net, A, B, dx, dy, rows, cols, **options)

    monkeypatch.setattr(_pairs, "recompute", count)
    kernels.nngp(line, depth=6, activation="erf", w_var=16.0, b_var=0.01)
    assert 0 < sum(seen) < 61 * 60 / 4  # of 61 * 60 / 2 pairs


def test_opposite_and_parallel_points():
    """rho = -1 and rho = 1 with different norms: the angle is exact, half the digits are not lost."""
    for act in ("relu", "abs", "leaky_relu"):
        for factor in (-1.0, -2.0, 3.0):
            x = np.array([[0.3, -0.7, 0.11]])
            K, T = kernels.nngp_ntk(x, factor * x, depth=3, activation=act, w_var=1.5)
            k, t = textbook(x, np.nextafter(factor, 0) * x, act, 3, 1.5, 0.0)
            exact = {"relu": 0.0, "abs": None, "leaky_relu": None}[act]
            if factor == -1.0 and exact is not None:
                assert abs(K[0, 0]) > 0  # deeper layers lift it again
            np.testing.assert_allclose(K, k, rtol=1e-12)
            np.testing.assert_allclose(T, t, rtol=1e-6)  # of the textbook


@pytest.mark.parametrize("act", ["relu", "abs", "erf", "gelu", "tanh"])
def test_distance_of_opposite_points(act):
    x = RNG.normal(size=(3, 3))
    y = np.concatenate([-x, -2.0 * x])
    common = {"depth": 2, "activation": act, "w_var": 1.5, "b_var": 0.1}
    kx, ky = (kernels.nngp(v, diag=True, **common) for v in (x, y))
    naive = kx[:, None] + ky[None] - 2 * kernels.nngp(x, y, **common)
    np.testing.assert_allclose(kernels.rkhs_sqdist(x, y, **common), naive, rtol=1e-11)


def test_opposite_points_of_even_networks():
    """They coincide, and the distance does not fall below zero."""
    for act in ("cos", "abs", duals.gaussian(1.0), duals.monomial(2)):
        D = kernels.rkhs_sqdist(X, -X, depth=1, activation=act)
        assert np.all(D >= 0.0)
        assert np.all(np.diag(D) <= 1e-12 * kernels.nngp(X, depth=1, activation=act, diag=True))


@pytest.mark.parametrize("act", ["erf", "sin"])
def test_opposite_points_of_odd_networks(act):
    """Without biases K(x, -y) = -K(x, y), also where depth drives neighbours apart."""
    x = RNG.normal(size=(3, 3))
    y = x + 1e-8 * RNG.normal(size=(3, 3))
    common = {"depth": 100, "activation": act, "w_var": 2.0}
    for left, right in zip(kernels.nngp_ntk(x, y, **common), kernels.nngp_ntk(x, -y, **common)):
        np.testing.assert_allclose(right, -left, rtol=1e-13, atol=1e-13 * np.abs(left).max())


@pytest.mark.parametrize("act", ["relu", "abs", "erf", "tanh"])
@pytest.mark.parametrize("depth", [1, 5])
def test_layers_of_biases_alone(act, depth):
    """With w_var = 0 all points coincide: Ddot is that of a point with itself."""
    for how in ({}, {"parameterization": "standard", "width": 7}):
        common = {"depth": depth, "activation": act, "w_var": 0.0, "b_var": 0.5, **how}
        K, T = kernels.nngp_ntk(X, **common)
        k, _ = kernels.nngp_ntk(X[:1], **common)
        np.testing.assert_allclose(K, np.full_like(K, k[0, 0]), rtol=1e-14)
        q = common["b_var"]
        value, slope = duals.dual_activation(act, q, q, q)
        if not how and depth == 1:
            np.testing.assert_allclose(T, value + slope * q, rtol=1e-13)
        if how and depth == 1:
            raw = X @ X.T / X.shape[1]
            np.testing.assert_allclose(T, 7 * value + slope * (4 * raw + 1.0), rtol=1e-13)


@pytest.mark.parametrize("act", ["relu", "abs", "erf", "gelu", "tanh", "elu"])
def test_depth_collapse(act):
    """On a sphere all layers are one table.

    It must equal the layer-by-layer recursion of rectangular calls.
    """
    x = RNG.normal(size=(12, 5))
    x *= np.sqrt(5) / np.linalg.norm(x, axis=1, keepdims=True)
    depth = 6 if act in ("tanh", "elu") else 40
    common = {"depth": depth, "activation": act, "w_var": 1.6, "b_var": 0.0 if act == "abs" else 0.2}
    K, T = kernels.nngp_ntk(x, **common)
    for i in range(0, 12, 5):  # one row at a time is never collapsed
        k, t = kernels.nngp_ntk(x[i : i + 1], x, **common)
        other = np.arange(12) != i
        np.testing.assert_allclose(K[i, other], k[0, other], rtol=0, atol=2e-13 * np.abs(K).max())
        np.testing.assert_allclose(T[i, other], t[0, other], rtol=0, atol=2e-12 * np.abs(T).max())


@pytest.mark.parametrize("act", ["tanh", "softplus", "elu"])
def test_tables_equal_direct_quadrature(act):
    """Norms over two decades, a zero row among them; small calls go pair by pair."""
    x = RNG.normal(size=(30, 6))
    x[3], x[4] = 0.0, 0.02 * x[4]
    some = [0, 3, 4, 7, 20]
    K, T = kernels.nngp_ntk(x, depth=2, activation=act, w_var=1.5, b_var=0.0 if act == "tanh" else 0.1)
    k, t = kernels.nngp_ntk(
        x[some], x[some].copy(), depth=2, activation=act, w_var=1.5, b_var=0.0 if act == "tanh" else 0.1
    )
    apart = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(K[np.ix_(some, some)][apart], k[apart], rtol=0, atol=1e-12 * np.abs(k).max())
    np.testing.assert_allclose(T[np.ix_(some, some)][apart], t[apart], rtol=0, atol=1e-12 * np.abs(t).max())


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "readonly"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_layouts(dtype, layout, n):
    base = (10 * RNG.normal(size=(n, 3))).astype(dtype)
    x = {
        "C": base,
        "F": np.asfortranarray(base),
        "strided": np.repeat(base, 2, axis=1)[:, ::2],
        "readonly": base.copy(),
    }[layout]
    if layout == "readonly":
        x.flags.writeable = False
    before = x.copy()
    K, T = kernels.nngp_ntk(x, depth=2, b_var=0.1)
    k, t = kernels.nngp_ntk(base.astype(np.float64), depth=2, b_var=0.1)
    assert K.dtype == (np.float32 if dtype == np.float32 else np.float64)
    np.testing.assert_allclose(K, k, rtol=1e-5 if dtype == np.float32 else 1e-15)
    np.testing.assert_allclose(T, t, rtol=1e-5 if dtype == np.float32 else 1e-15)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("act", "depth", "b_var"), [("relu", 2, 0.1), ("relu", 6, 0.0), ("erf", 3, 0.1), ("gelu", 2, 0.1)]
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_threads_give_the_same_bits(act, depth, b_var, dtype):
    x = RNG.normal(size=(800, 5)).astype(dtype)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = kernels.nngp_ntk(x, depth=depth, activation=act, b_var=b_var)
        numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
        two = kernels.nngp_ntk(x, depth=depth, activation=act, b_var=b_var)
    finally:
        numba.set_num_threads(before)
    for a, b in zip(one, two):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    ("act", "depth", "b_var"), [("relu", 2, 0.1), ("relu", 6, 0.0), ("erf", 3, 0.1), ("gelu", 2, 0.1)]
)
def test_outputs_of_any_layout(act, depth, b_var, given):
    """Each way from products to kernels, into Fortran-ordered and strided outputs, one kernel or both."""
    x = RNG.normal(size=(300, 4))  # several tiles, among them narrow ones
    x[7] = x[290] * (1 + 1e-9)
    y = x[:270].copy() if given else None
    shape = (300, 270 if given else 300)
    options = {"depth": depth, "activation": act, "b_var": b_var}
    K, T = kernels.nngp_ntk(x, y, **options)
    assert np.all(np.isfinite(K))
    fortran, strided = np.full(shape, np.nan, order="F"), np.full((shape[0], 2 * shape[1]), np.nan)[:, ::2]
    kernels.nngp_ntk(x, y, **options, out=(fortran, strided))
    alone = kernels.nngp(x, y, **options), kernels.ntk(x, y, **options)
    # the compiler may order sums otherwise in the loop for one kernel
    for got, want in ((fortran, K), (strided, T), (alone[0], K), (alone[1], T)):
        np.testing.assert_allclose(got, want, rtol=0, atol=4e-15 * np.abs(want).max())
    single = x.astype(np.float32), None if y is None else y.astype(np.float32)
    wide = kernels.nngp(*single, **options, accum_dtype=np.float64)
    np.testing.assert_array_equal(wide, kernels.nngp(*single, **options, dtype=np.float64).astype(np.float32))


def test_tiles_and_memmap(tmp_path):
    x = RNG.normal(size=(50, 4))
    K, T = kernels.nngp_ntk(x, depth=2, activation="erf", b_var=0.1)
    k, t = np.zeros_like(K), np.zeros_like(T)
    for rows, cols, part_k, part_t in kernels.tiles(
        x, depth=2, activation="erf", b_var=0.1, max_bytes=8 * 3 * 17**2
    ):
        assert part_k.shape[0] <= 17
        k[rows, cols], t[rows, cols] = part_k, part_t
        k[cols, rows], t[cols, rows] = part_k.T, part_t.T
    # the product of matrices rounds by the shape of the tile: a few eps of the norms, not of small entries
    np.testing.assert_allclose(k, K, rtol=1e-14, atol=1e-15 * K.max())
    np.testing.assert_allclose(t, T, rtol=1e-14, atol=1e-15 * T.max())
    out = np.memmap(tmp_path / "k.bin", dtype=np.float64, mode="w+", shape=(50, 50))
    assert kernels.nngp(x, depth=2, activation="erf", b_var=0.1, out=out) is out
    np.testing.assert_allclose(out, K, rtol=0, atol=1e-15)


@pytest.mark.parametrize("act", ["elu", "tanh"])
def test_points_on_a_line_by_quadrature(act):
    """All pairs are parallel: seconds per pair-by-pair quadrature are milliseconds by the table."""
    line = np.linspace(-3.0, 3.0, 101)[:, None]
    common = {"depth": 3, "activation": act, "w_var": 2.0, "b_var": 0.1}
    K, T = kernels.nngp_ntk(line, **common)
    some = [0, 20, 50, 51, 99]
    k, t = kernels.nngp_ntk(line[some], line[some].copy(), **common)  # few: directly
    apart = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(K[np.ix_(some, some)][apart], k[apart], rtol=0, atol=1e-13 * np.abs(k).max())
    np.testing.assert_allclose(T[np.ix_(some, some)][apart], t[apart], rtol=0, atol=1e-12 * np.abs(t).max())
    begin = time.process_time()
    kernels.nngp_ntk(line, **common)
    assert time.process_time() - begin < 1.0  # 5 to 30 s before tables served parallel points


def test_positive_semidefinite_for_ten_thousand_networks():
    """The least eigenvalue stays above -n eps of the largest."""
    rng = np.random.default_rng(5)
    acts = ["relu", "abs", "leaky_relu", "erf", "gelu", "sin", "cos", "gabor", "sign", "sigmoid_like"]
    for draw in range(10_000):
        n, d = int(rng.integers(2, 7)), int(rng.integers(1, 5))
        x = rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-2, 1)
        if rng.random() < 0.3:
            x[1] = x[0] * (1 + 10.0 ** rng.uniform(-12, 0))
        w, b = 10.0 ** rng.uniform(-1, 0.6), rng.choice([0.0, 10.0 ** rng.uniform(-3, 1)])
        act, depth = acts[rng.integers(len(acts))], int(rng.integers(1, 6))
        for values in (x, x.astype(np.float32)) if draw % 8 == 0 else (x,):
            both = np.stack(kernels.nngp_ntk(values, depth=depth, activation=act, w_var=w, b_var=b))
            for e in np.linalg.eigvalsh(both.astype(np.float64)):
                assert e[0] >= -8 * n * np.finfo(both.dtype).eps * max(e[-1], 1e-300), (act, depth, w, b)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from(["relu", "erf", "gelu", "cos"]), st.integers(1, 5))
def test_rotation_and_permutation(seed, act, depth):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(5, 3))
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(5)
    K, T = kernels.nngp_ntk(x, depth=depth, activation=act, w_var=1.3, b_var=0.2)
    k, t = kernels.nngp_ntk(x[order] @ q, depth=depth, activation=act, w_var=1.3, b_var=0.2)
    np.testing.assert_allclose(k, K[np.ix_(order, order)], rtol=0, atol=1e-13 * np.abs(K).max())
    np.testing.assert_allclose(t, T[np.ix_(order, order)], rtol=0, atol=1e-12 * np.abs(T).max())


def test_zero_rows():
    x = np.array([[0.0, 0.0], [1.0, 2.0]])
    for act in ("relu", "erf", "sign", "gelu"):
        K, T = kernels.nngp_ntk(x, depth=3, activation=act, w_var=1.5, b_var=0.0)
        assert np.all(np.isfinite(K))
        assert np.all(np.isfinite(T))
        if act != "sign":
            assert not K[0].any()
        assert T[0, 0] == 0.0
    assert kernels.nngp(x, depth=0, b_var=0.7, last_b_var=0.7)[0, 0] == 0.7


def test_from_stax_std():
    assert kernels.from_stax_std(2.0, 0.5) == {"w_var": 4.0, "b_var": 0.25}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kernels.nngp([[np.nan]], depth=1), ValueError, "X contains nan"),
        (lambda: kernels.nngp([[np.inf]], depth=1), ValueError, "X contains inf"),
        (lambda: kernels.nngp(np.ones((0, 3)), depth=1), ValueError, "X is empty"),
        (lambda: kernels.nngp(np.ones(3), depth=1), ValueError, "2-D"),
        (
            lambda: kernels.nngp(np.ones((2, 3)), np.ones((2, 4)), depth=1),
            ValueError,
            "Y has 4 features, expected 3",
        ),
        (lambda: kernels.nngp(X, depth=-1), ValueError, "depth"),
        (lambda: kernels.nngp(X, depth=1.5), TypeError, "depth"),
        (lambda: kernels.nngp(X, depth=1, w_var=-1.0), ValueError, "w_var"),
        (lambda: kernels.nngp(X, depth=1, b_var=-1.0), ValueError, "b_var"),
        (lambda: kernels.nngp(X, depth=1, last_w_var=-1.0), ValueError, "last_w_var"),
        (lambda: kernels.nngp(X, depth=1, activation="swich"), ValueError, "swish"),
        (lambda: kernels.ntk(X, depth=1, parameterization="standard"), ValueError, "width is missing"),
        (lambda: kernels.ntk(X, depth=1, parameterization="other"), ValueError, "parameterization"),
        (lambda: kernels.nngp(X, X, depth=1, diag=True), ValueError, "Y must be None"),
        (lambda: kernels.nngp(X, depth=1, dtype=np.int32), ValueError, "dtype"),
        (lambda: kernels.nngp(X, depth=1, out=np.ones(3)), ValueError, "out must be a writable"),
        (lambda: kernels.nngp_ntk(X, depth=1, out=np.ones(3)), ValueError, "tuple of two"),
        (lambda: kernels.nngp(X, depth=80, w_var=1e5), OverflowError, "dense layer .* normalise"),
        (lambda: kernels.nngp(X.astype("f"), depth=20, w_var=1e4), OverflowError, "dense layer"),
        (lambda: kernels.rkhs_sqdist(X, depth=80, w_var=1e5), OverflowError, "dense layer"),
        (lambda: kernels.tiles(X, depth=1, get="k"), ValueError, "get must be"),
        (lambda: kernels.tiles(X, depth=1, max_bytes=1), ValueError, "max_bytes"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("depth", [1, 2, 6])
@pytest.mark.parametrize("act", ["relu", "abs"])
@pytest.mark.parametrize("scale", [1e-100, 1e140])
def test_inputs_of_extreme_norm(depth, act, scale):
    common = {"depth": depth, "activation": act, "w_var": 1.0}
    for extreme, usual in zip(kernels.nngp_ntk(scale * X, **common), kernels.nngp_ntk(X, **common)):
        np.testing.assert_allclose(extreme / scale / scale, usual, rtol=1e-12)
    distance = kernels.rkhs_sqdist(scale * X, **common) / scale / scale
    np.testing.assert_allclose(distance, kernels.rkhs_sqdist(X, **common), rtol=1e-11)


def peak_over_outputs(x, y, **common):
    """Peak memory of a call on one thread (each has buffers of its own), in units of its two outputs."""
    few = x[:300]
    kernels.nngp_ntk(few, None if y is None else few, **common)  # compiles
    with limit_threads(1):
        tracemalloc.start()
        K, T = kernels.nngp_ntk(x, y, **common)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak / (K.nbytes + T.nbytes)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    ("act", "n"), [("relu", 1000), ("erf", 1000), ("gelu", 1500), ("gabor", 1500), ("erf", 3000)]
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_peak_memory(dtype, act, n, given):
    """Two outputs and the buffers of one tile: within ten per cent of the outputs."""
    x = RNG.normal(size=(n, 20)).astype(dtype)
    y = x[::-1].copy() if given else None
    assert peak_over_outputs(x, y, depth=2, activation=act, w_var=1.5, b_var=0.1) <= 1.1


@pytest.mark.parametrize("n", [1000, 2000])
@pytest.mark.parametrize(("act", "w"), [("tanh", 1.5), ("elu", 1.5), ("softplus", 20.0)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_peak_memory_by_quadrature(dtype, act, w, n):
    """Tables, their making and the buffers of one tile: within ten per cent of 8 MB and more."""
    x = np.random.default_rng(2).normal(size=(n, 20)).astype(dtype)
    assert peak_over_outputs(x, None, depth=1, activation=act, w_var=w, b_var=0.1) <= 1.1


@pytest.mark.parametrize("scale", [1e-16, 1e-20, 1e-30, 1e15])
@pytest.mark.parametrize(("activation", "b_var"), [("relu", 0.0), ("erf", 0.1), ("abs", 0.1)])
def test_single_precision_far_from_one(scale, activation, b_var):
    # products of rows of size 1e-20 vanish in float32, their correlations do not
    X = (scale * np.random.default_rng(0).standard_normal((6, 3))).astype(np.float32)
    settings = {"depth": 3, "activation": activation, "b_var": b_var}
    for Y in (None, X[:4]):
        both = kernels.nngp_ntk(X, Y, **settings)
        wide = [None if v is None else v.astype(np.float64) for v in (X, Y)]
        for got, want in zip(both, kernels.nngp_ntk(*wide, **settings)):
            assert got.dtype == np.float32
            # besides rounding, the spacing of the smallest float32 numbers
            np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * np.abs(want).max() + 1e-44)
        for i, j, K, T in kernels.tiles(X, Y, max_bytes=300, **settings):
            assert K.dtype == T.dtype == np.float32
            np.testing.assert_allclose(K, both[0][i, j], rtol=2e-6, atol=1e-6 * np.abs(both[0]).max())


def test_overflow_of_single_precision_is_told():
    X = np.full((2, 3), 1e20, dtype=np.float32)
    for call in (
        lambda: kernels.nngp(X, depth=1, diag=True),
        lambda: kernels.rkhs_sqdist(X, depth=1),
        lambda: kernels.nngp(X, depth=1, accum_dtype=np.float64),
    ):
        with pytest.raises(OverflowError, match=r"after dense layer 1 of 2: normalise"):
            call()
