"""Architectures against golden values of another library, explicit loops, and random networks."""

import warnings

import numpy as np
import pytest

from theorylab.infinite_width import kernels
from theorylab.infinite_width.layers import (
    Activation,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Layer,
    LayerNorm,
    Recurrent,
    Residual,
    Serial,
)

IMAGES = np.sin(np.arange(3 * 6 * 5 * 2) * 1.7).reshape(3, 6, 5, 2)
VECTORS = np.cos(np.arange(4 * 5) * 1.3).reshape(4, 5)
# K[0, 1], T[0, 1]; see generate_layers.py
GOLDEN = {
    "SAME Flatten 3": (0.1818678440329628, 0.386279924517116),
    "SAME Flatten 2": (0.18025798603450907, 0.3836797732400044),
    "SAME GlobalAvgPool 3": (0.15212127343822876, 0.3435170402205949),
    "SAME GlobalAvgPool 2": (0.16070638847771393, 0.3688474722222702),
    "CIRCULAR Flatten 3": (0.2105257316104142, 0.4502675468293586),
    "CIRCULAR Flatten 2": (0.21049578570417415, 0.4502899766061154),
    "CIRCULAR GlobalAvgPool 3": (0.20921511649939056, 0.4750297490697012),
    "CIRCULAR GlobalAvgPool 2": (0.21555905816014484, 0.5066950253317323),
    "VALID Flatten 3": (0.21174211968607332, 0.4540721916733833),
    "VALID Flatten 2": (0.21199945625908967, 0.4549125288556976),
    "VALID GlobalAvgPool 3": (0.23615184394779642, 0.5977815256057357),
    "VALID GlobalAvgPool 2": (0.22862509277546803, 0.5750328950152664),
    "residual": (1.3281662639001195, 3.4836003566368157),
    "norm": (0.4905678244979391, 0.9497045088233902),
}


def network(name):
    if name == "residual":
        block = Residual(Serial(Activation("relu"), Dense(1.44, 0.09)))
        return Serial(Dense(1.44, 0.09), block, block, Activation("relu"), Dense()), VECTORS
    if name == "norm":
        return Serial(Dense(1.44, 0.09), LayerNorm(), Activation("relu"), Dense()), VECTORS
    padding, head, f = name.split()
    conv = Conv((int(f), int(f)), padding, w_var=1.69, b_var=0.04)
    heads = {"Flatten": Flatten, "GlobalAvgPool": GlobalAvgPool}
    return Serial(conv, Activation("relu"), conv, Activation("erf"), heads[head](), Dense(1.21, 0.01)), IMAGES


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name):
    net, x = network(name)
    pair = net(x)
    np.testing.assert_allclose((pair.K[0, 1], pair.T[0, 1]), GOLDEN[name], rtol=1e-13)
    np.testing.assert_array_equal(pair.K, pair.K.T)
    other = net(x, x[::-1])
    np.testing.assert_allclose(other.K[:, ::-1], pair.K, rtol=1e-12)
    np.testing.assert_allclose(other.T[:, ::-1], pair.T, rtol=1e-12)


@pytest.mark.parametrize("act", ["relu", "gelu", "tanh"])
def test_fully_connected_equals_kernels(act):
    net = Serial(Dense(1.5, 0.1), Activation(act), Dense(1.5, 0.1), Activation(act), Dense(1.0, 0.0))
    pair = net(VECTORS)
    K, T = kernels.nngp_ntk(VECTORS, depth=2, activation=act, w_var=1.5, b_var=0.1)
    np.testing.assert_allclose(pair.K, K, rtol=1e-13)
    np.testing.assert_allclose(pair.T, T, rtol=1e-13)
    assert net(VECTORS.astype("f")).K.dtype == np.float32


def patches(c, shape, padding):
    """The patch average by explicit loops over positions and shifts; c (H, W, H, W)."""
    H, W = c.shape[:2]
    k, l = shape
    cut = padding == "VALID"
    out = np.zeros((H - k + 1, W - l + 1) * 2 if cut else c.shape)
    for p in np.ndindex(*out.shape):
        for f in range(k):
            for g in range(l):
                df, dg = (f, g) if cut else (f - (k - 1) // 2, g - (l - 1) // 2)
                at = [p[0] + df, p[1] + dg, p[2] + df, p[3] + dg]
                if padding == "CIRCULAR":
                    at = [at[0] % H, at[1] % W, at[2] % H, at[3] % W]
                elif min(at) < 0 or max(at[0], at[2]) >= H or max(at[1], at[3]) >= W:
                    continue
                out[p] += c[tuple(at)] / (k * l)
    return out


@pytest.mark.parametrize("padding", ["SAME", "CIRCULAR", "VALID"])
@pytest.mark.parametrize("shape", [(3, 3), (1, 2), (2, 3)])
def test_convolution_by_loops(shape, padding):
    net = Serial(Conv(shape, padding, w_var=1.3, b_var=0.2), GlobalAvgPool())
    got = net(IMAGES[:2]).K
    for i in range(2):
        for j in range(2):
            c = np.einsum("hwc,ijc->hwij", IMAGES[i], IMAGES[j]) / 2
            assert got[i, j] == pytest.approx((1.3 * patches(c, shape, padding) + 0.2).mean(), rel=1e-13)


@pytest.mark.parametrize("padding", ["SAME", "CIRCULAR", "VALID"])
@pytest.mark.parametrize(
    ("shape", "strides"), [((3, 3), (2, 2)), ((2, 3), (2, 1)), ((1, 4), (3, 2)), ((2, 2), (3, 3))]
)
def test_strided_convolution_by_padding(shape, strides, padding):
    """Pad so that ceil(n / stride) windows fit, the smaller half in front; then sum each window by itself."""
    net = Serial(Conv(shape, padding, strides=strides, w_var=1.3, b_var=0.2), GlobalAvgPool())
    got = net(IMAGES[:2]).K

    def windows(image):
        for axis in range(2):
            n, k, step = image.shape[axis], shape[axis], strides[axis]
            count = (n - k) // step + 1
            if padding != "VALID":
                count = -(-n // step)
                total = max((count - 1) * step + k - n, 0)
                pad = [(0, 0)] * image.ndim
                pad[axis] = (total // 2, total - total // 2)
                image = np.pad(image, pad, mode="constant" if padding == "SAME" else "wrap")
            stack = [np.take(image, range(o * step, o * step + k), axis=axis) for o in range(count)]
            image = np.stack(stack, axis=axis)  # the axis of windows stands before that of its pixels
            image = np.moveaxis(image, axis + 1, -1)
        return image  # (rows, columns, channels, k, l)

    for i in range(2):
        for j in range(2):
            u, v = (windows(IMAGES[q]) for q in (i, j))
            size = u.shape[2] * shape[0] * shape[1]
            c = np.einsum("hwckl,ijckl->hwij", u, v) / size
            assert got[i, j] == pytest.approx((1.3 * c + 0.2).mean(), rel=1e-12)


def test_strides_without_pooling():
    """The diagonal path (Flatten) sees the same positions as that of all pairs."""
    start = (Conv((3, 2), "SAME", strides=(2, 3), w_var=1.3, b_var=0.2), Activation("relu"))
    flat = Serial(*start, Flatten(), Dense())(IMAGES[:3])
    # a last filter as large as the image, with all pairs carried, averages over equal positions
    H, W = -(-IMAGES.shape[1] // 2), -(-IMAGES.shape[2] // 3)
    pooled = Serial(*start, Conv((H, W), "VALID"), GlobalAvgPool(), Dense())(IMAGES[:3])
    np.testing.assert_allclose(flat.K, pooled.K, rtol=1e-12)


def test_residual_scale_and_batches(monkeypatch):
    branch = Serial(Activation("relu"), Dense(2.0))
    whole, half = (Serial(Residual(branch, s))(VECTORS).K for s in (1.0, 0.5))
    start = VECTORS @ VECTORS.T / 5
    np.testing.assert_allclose(half - start, (whole - start) / 4, rtol=1e-12)
    from theorylab.infinite_width import layers

    net, x = network("SAME GlobalAvgPool 3")
    want = net(x)
    monkeypatch.setattr(layers, "_BUDGET", 1)
    got = net(x)
    np.testing.assert_allclose(got.K, want.K, rtol=1e-14)
    np.testing.assert_allclose(got.T, want.T, rtol=1e-14)


def test_tables_in_images():
    net = Serial(Conv((3, 3), "SAME", w_var=1.2, b_var=0.1), Activation("tanh"), Flatten(), Dense())
    whole = net(IMAGES)
    np.testing.assert_allclose(whole.K[0, 1], net(IMAGES[:1, :, :, :], IMAGES[1:2]).K[0, 0], rtol=1e-11)


def test_recurrent_by_random_networks():
    """Mean over 400 networks of width 256 of f f' within five standard errors.

    The NTK by the sum over weights.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 3))
    net = Serial(Recurrent("erf", w_var=1.4, u_var=0.8, b_var=0.1), Dense())
    pair = net(x)
    n, many = 256, 300
    products, tangents = [], []
    for _ in range(many):
        from scipy.special import erf

        W, U, b = rng.normal(size=(n, n)), rng.normal(size=(n, 3)), rng.normal(size=n)
        v = rng.normal(size=n)
        h, states, zs = np.zeros((2, n)), [], []
        for t in range(4):
            z = np.sqrt(1.4 / n) * h @ W.T + np.sqrt(0.8 / 3) * x[:, t] @ U.T + np.sqrt(0.1) * b
            states.append(h)
            zs.append(z)
            h = erf(z)
        products.append(h @ h.T / n)
        back = np.tile(v / np.sqrt(n), (2, 1))
        total_w, total_u, total_b = 0.0, 0.0, 0.0
        grads = []
        for t in range(3, -1, -1):
            delta = back * 2 / np.sqrt(np.pi) * np.exp(-(zs[t] ** 2))
            grads.append((t, delta))
            back = np.sqrt(1.4 / n) * delta @ W
        for t, p in grads:
            for s, q in grads:
                inner = p @ q.T
                total_w = total_w + 1.4 / n * inner * (states[t] @ states[s].T)
                total_u = total_u + 0.8 / 3 * inner * (x[:, t] @ x[:, s].T)
                total_b = total_b + 0.1 * inner
        tangents.append(h @ h.T / n + total_w + total_u + total_b)
    for values, limit in ((products, pair.K), (tangents, pair.T)):
        mean, error = np.mean(values, axis=0), np.std(values, axis=0) / np.sqrt(many)
        assert np.all(np.abs(mean - limit) < 5 * error + 0.02 * np.abs(limit))  # plus O(1 / width)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Serial(3), TypeError, "expected layers"),
        (lambda: Residual("x"), TypeError, "branch must be a layer"),
        (lambda: Serial(Activation("relu"))(np.ones((2, 3, 4, 1))), ValueError, "add Flatten"),
        (lambda: Serial(Flatten(), Conv((3, 3)))(np.ones((2, 3, 4, 1))), ValueError, "Conv needs images"),
        (lambda: Serial(GlobalAvgPool())(np.ones((2, 3))), ValueError, "GlobalAvgPool needs images"),
        (
            lambda: Serial(Conv((5, 5), "VALID"), Flatten())(np.ones((2, 3, 4, 1))),
            ValueError,
            "fewer than the filter",
        ),
        (
            lambda: Serial(Residual(Conv((2, 2), "VALID")), Flatten())(np.ones((2, 3, 4, 1))),
            ValueError,
            "equal shapes",
        ),
        (lambda: Conv((3, 3), "same"), ValueError, "padding"),
        (lambda: Conv(3), ValueError, "filter_shape must hold two integers, got 3"),
        (lambda: Conv((3, 3), strides=2), ValueError, "strides must hold two integers, got 2"),
        (lambda: Conv((3,)), ValueError, "two integers"),
        (lambda: Dense(-1.0), ValueError, "w_var"),
        (lambda: LayerNorm(0.0), ValueError, "eps"),
        (lambda: Activation("rilu"), ValueError, "relu"),
        (lambda: Serial(Recurrent())(np.ones((2, 3))), ValueError, "Recurrent needs sequences"),
        (lambda: Serial(Dense())(np.ones(3)), ValueError, "2-D or 3-D or 4-D"),
        (lambda: Serial(Dense())(np.ones((2, 3)), np.ones((2, 4))), ValueError, "to match X"),
        (lambda: Serial(Dense())(np.ones((0, 3))), ValueError, "empty"),
        (
            lambda: Serial(Dense(1e200), Dense(1e200))(np.ones((1, 1))),
            OverflowError,
            r"layer 2 of 2 \(Dense\)",
        ),
        (lambda: Layer().apply(None), TypeError, "not a layer"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("net", "name"),
    [
        (Serial(Dense(1e200), Activation("relu"), Dense(1e200), Dense()), r"layer 3 of 4 \(Dense\)"),
        (Serial(Conv((3, 3), w_var=1e200), Conv((3, 3), w_var=1e200), Flatten()), r"layer 2 of 3 \(Conv\)"),
        (Serial(Conv((1, 1), w_var=1e200), Conv((1, 1), w_var=1e200), GlobalAvgPool()), r"layer 2 of 3"),
        (Serial(Dense(), Residual(Serial(Activation("relu"), Dense(1e308)))), r"layer 2 of 2 \(Dense\)"),
    ],
)
def test_overflow_names_the_layer(net, name):
    shape = (2, 3, 3, 1) if any(isinstance(layer, Conv) for layer in net.layers) else (2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(OverflowError, match=name + ".*normalise"):
            net(np.full(shape, 10.0))


def test_overflow_of_single_precision():
    net = Serial(Dense(1e30), Dense(1e30))
    assert np.isfinite(net(np.ones((2, 3))).T).all()
    with pytest.raises(OverflowError, match=r"float32.*normalise"):
        net(np.ones((2, 3), dtype=np.float32))


def test_a_chain_inside_a_chain_is_one_chain():
    images = np.random.default_rng(0).standard_normal((3, 4, 4, 2))
    body = (Conv((3, 3), "SAME", w_var=2.0), Activation("relu"), GlobalAvgPool())
    nested, flat = Serial(Serial(*body), Dense(w_var=1.5)), Serial(*body, Dense(w_var=1.5))
    np.testing.assert_array_equal(nested(images).T, flat(images).T)
