"""The torch optimiser: its steps against NumPy, and the contract of torch.optim."""

import copy
import io
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from theorylab.curvature.torch_optim import MFAC  # noqa: E402


def params(*shapes, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, dtype=dtype, generator=generator).requires_grad_() for s in shapes]


def set_grads(ps, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in ps:
        p.grad = torch.randn(p.shape, dtype=p.dtype, generator=generator)


def flat(ps):
    return np.concatenate([p.detach().double().numpy().ravel() for p in ps])


def flat_grad(ps):
    return np.concatenate([p.grad.double().numpy().ravel() for p in ps])


class Reference:
    """The published algorithm with a dense matrix."""

    def __init__(self, theta, lr, m, lam, beta=0.0, count=False):
        self.theta, self.lr, self.m, self.lam, self.beta, self.count = theta.copy(), lr, m, lam, beta, count
        self.rows, self.v = [], np.zeros_like(theta)

    def step(self, g):
        self.rows = [*self.rows, g][-self.m :]
        G = np.array(self.rows)
        A = self.lam * np.eye(g.size) + G.T @ G / (len(G) if self.count else self.m)
        y = np.linalg.solve(A, g)
        self.v = self.beta * self.v + (1 - self.beta) * y
        self.theta = self.theta - self.lr * self.v
        return y


@pytest.mark.parametrize("norm", ["window", "count"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_match_dense(norm, momentum):
    """Twelve steps with a window of five. The dense solve loses cond(A) of about 1e3: 1e-11 is generous."""
    ps = params((3, 2), (4,))
    optimizer = MFAC(ps, lr=0.1, window=5, damping=0.05, momentum=momentum, norm=norm)
    reference = Reference(flat(ps), 0.1, 5, 0.05, momentum, norm == "count")
    for t in range(12):
        set_grads(ps, t)
        reference.step(flat_grad(ps))
        assert optimizer.step() is None
        np.testing.assert_allclose(flat(ps), reference.theta, rtol=0, atol=1e-11)


def test_first_step_has_its_closed_form():
    (p,) = params((6,))
    before = p.detach().clone()
    set_grads([p], 0)
    MFAC([p], lr=0.5, window=8, damping=0.1).step()
    g = p.grad
    expected = before - 0.5 * 8 * g / (8 * 0.1 + g @ g)
    np.testing.assert_allclose(p.detach().numpy(), expected.numpy(), rtol=1e-14)


@pytest.mark.parametrize("dtype", [torch.bfloat16, "bfloat16", torch.float64, np.float16])
def test_the_storage_of_the_window_is_named_as_in_torch_or_numpy(dtype):
    (p,) = params((3,))
    before = p.detach().clone()
    p.grad = torch.tensor([1.0, 0.0, -2.0], dtype=torch.float64)  # exact in every storage
    MFAC([p], lr=1.0, window=4, damping=1.0, dtype=dtype).step()
    np.testing.assert_allclose((before - p.detach()).numpy(), 4 * p.grad.numpy() / 9, rtol=1e-14)


def test_float32_parameters_at_the_published_damping():
    """The in-span product keeps float32 accuracy where the published formula loses all digits."""
    (p,) = params((2000,), dtype=torch.float32)
    optimizer = MFAC([p], lr=1.0, window=4, damping=1e-7)
    for t in range(6):
        before = p.detach().double().numpy()
        p.data.zero_()
        set_grads([p], t)
        optimizer.step()
        if t == 0:
            g = p.grad.double().numpy()
            expected = -4 * g / (4e-7 + g @ g)
            np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-6)
        assert np.all(np.isfinite(before))


class TestGroups:
    def test_each_group_has_its_own_rates_and_one_window(self):
        a, b = params((3,), (4,))
        optimizer = MFAC(
            [{"params": [a], "lr": 0.2}, {"params": [b], "momentum": 0.5}], lr=0.1, window=3, damping=0.1
        )
        reference = Reference(flat([a, b]), 0.0, 3, 0.1)
        start = flat([a, b])
        v = np.zeros(4)
        for t in range(5):
            set_grads([a, b], t)
            y = reference.step(flat_grad([a, b]))
            start[:3] -= 0.2 * y[:3]
            v = 0.5 * v + 0.5 * y[3:]
            start[3:] -= 0.1 * v
            optimizer.step()
        np.testing.assert_allclose(flat([a, b]), start, atol=1e-12)

    def test_learning_rate_schedulers(self):
        (p,) = params((3,))
        optimizer = MFAC([p], lr=0.4, window=2, damping=1.0)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        for t in range(2):
            set_grads([p], t)
            optimizer.step()
            scheduler.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)

    def test_adding_a_group(self):
        a, b, c = params((3,), (4,), (2,))
        optimizer = MFAC([a], lr=0.1, window=2, damping=0.1)
        optimizer.add_param_group({"params": [b], "lr": 0.3})
        set_grads([a, b], 0)
        optimizer.step()
        with pytest.raises(RuntimeError, match="cannot be added after the first step"):
            optimizer.add_param_group({"params": [c]})
        assert len(optimizer.param_groups) == 2


class TestGradients:
    def test_none_contributes_zeros_and_is_not_moved(self):
        a, b = params((3,), (4,))
        optimizer = MFAC([a, b], lr=0.1, window=3, damping=0.1, weight_decay=0.5, momentum=0.9)
        set_grads([a, b], 0)
        optimizer.step()
        before, g = b.detach().clone(), None
        for t in (1, 2):
            set_grads([a], t)
            b.grad = None
            optimizer.step()
        assert torch.equal(b, before)
        del g
        # The window holds zeros in those places: a fourth step sees them.
        rows = optimizer._inverse.take_columns(np.arange(7))
        assert np.count_nonzero(np.abs(rows[:, 3:]).sum(axis=1)) == 1

    def test_no_gradient_at_all(self):
        (p,) = params((3,))
        before = p.detach().clone()
        optimizer = MFAC([p], lr=0.1, window=3, damping=0.1)
        optimizer.step()
        assert torch.equal(p, before)

    def test_zero_gradient_still_enters_the_window(self):
        (p,) = params((3,))
        optimizer = MFAC([p], lr=0.1, window=3, damping=0.1)
        before = p.detach().clone()
        p.grad = torch.zeros_like(p)
        optimizer.step()
        assert torch.equal(p, before)
        assert optimizer._inverse.n_filled == 1

    def test_sparse_is_refused(self):
        (p,) = params((3, 2))
        p.grad = torch.ones(3, 2, dtype=p.dtype).to_sparse()
        optimizer = MFAC([p], lr=0.1, window=3, damping=0.1)
        with pytest.raises(RuntimeError, match="does not support sparse gradients"):
            optimizer.step()

    def test_nan_leaves_everything_as_it_was(self):
        (p,) = params((5,))
        optimizer = MFAC([p], lr=0.1, window=3, damping=0.1, momentum=0.9)
        set_grads([p], 0)
        optimizer.step()
        state, before = pickle.dumps(optimizer._inverse.state_dict()), p.detach().clone()
        buffer = optimizer.state[p]["momentum_buffer"].clone()
        p.grad[2] = float("nan")
        with pytest.raises(ValueError, match="nan"):
            optimizer.step()
        assert torch.equal(p, before)
        assert torch.equal(optimizer.state[p]["momentum_buffer"], buffer)
        assert pickle.dumps(optimizer._inverse.state_dict()) == state

    def test_changed_shapes_are_refused(self):
        (p,) = params((4,))
        optimizer = MFAC([p], lr=0.1, window=3, damping=0.1)
        set_grads([p], 0)
        optimizer.step()
        p.grad = None
        p.data = torch.zeros(2, 2, dtype=p.dtype)
        p.grad = torch.ones_like(p)
        with pytest.raises(RuntimeError, match="make a new optimiser after changing parameters"):
            optimizer.step()

    def test_strided_gradients_and_half_precision(self):
        (p,) = params((4, 3))
        q = p.detach().clone().requires_grad_()
        a, b = (MFAC([x], lr=0.1, window=3, damping=0.1) for x in (p, q))
        g = torch.randn(3, 4, dtype=p.dtype)
        p.grad, q.grad = g.t(), g.t().contiguous()
        a.step()
        b.step()
        assert torch.equal(p, q)
        half = torch.ones(4, dtype=torch.bfloat16, requires_grad=True)
        half.grad = torch.ones_like(half)
        MFAC([half], lr=0.1, window=3, damping=0.1).step()
        assert half.dtype == torch.bfloat16
        assert torch.isfinite(half).all()


def test_closure():
    (w,) = params((3,))
    optimizer = MFAC([w], lr=0.5, window=4, damping=0.1)
    calls = []

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        calls.append(torch.is_grad_enabled())
        return loss

    first = optimizer.step(closure)
    assert first.item() == pytest.approx((params((3,))[0] ** 2).sum().item())
    assert optimizer.step(closure).item() < first.item()
    assert calls == [True, True]


class TestDecay:
    def test_published_decay_enters_the_window(self):
        (p,) = params((4,))
        start = flat([p])
        set_grads([p], 0)
        g = flat_grad([p]) + 0.3 * start
        MFAC([p], lr=0.1, window=2, damping=0.5, weight_decay=0.3).step()
        np.testing.assert_allclose(flat([p]), start - 0.1 * 2 * g / (2 * 0.5 + g @ g), rtol=1e-13)

    def test_decoupled(self):
        (p,) = params((4,))
        start = flat([p])
        set_grads([p], 0)
        g = flat_grad([p])
        MFAC([p], lr=0.1, window=2, damping=0.5, weight_decay=0.3, decoupled_weight_decay=True).step()
        np.testing.assert_allclose(
            flat([p]), (1 - 0.03) * start - 0.1 * 2 * g / (2 * 0.5 + g @ g), rtol=1e-13
        )

    def test_maximize(self):
        (p,) = params((4,))
        start = flat([p])
        set_grads([p], 0)
        g = flat_grad([p])
        MFAC([p], lr=0.1, window=2, damping=0.5, maximize=True).step()
        np.testing.assert_allclose(flat([p]), start + 0.1 * 2 * g / (2 * 0.5 + g @ g), rtol=1e-13)


def test_kl_clip():
    """lr^2 g.y is brought down to the bound, and left alone below it."""
    for delta in (1e-3, 1e3):
        (p,) = params((4,))
        start = flat([p])
        set_grads([p], 0)
        g = flat_grad([p])
        MFAC([p], lr=0.1, window=2, damping=0.5, clip="kl", kl_delta=delta).step()
        y = 2 * g / (2 * 0.5 + g @ g)
        scale = min(1.0, np.sqrt(delta / (0.01 * g @ y)))
        np.testing.assert_allclose(flat([p]), start - scale * 0.1 * y, rtol=1e-12)
        moved = flat([p]) - start
        assert moved @ np.linalg.solve(0.5 * np.eye(4) + 0.5 * np.outer(g, g), np.eye(4)) @ moved > 0


class TestState:
    def run(self, optimizer, ps, steps):
        for t in steps:
            set_grads(ps, t)
            optimizer.step()

    def make(self, dtype=torch.float32):
        ps = params((3, 2), (5,), dtype=dtype)
        return ps, MFAC(ps, lr=0.05, window=4, damping=1e-3, momentum=0.8, weight_decay=0.01)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("stop", [0, 2, 7])
    def test_round_trip_has_the_same_bits(self, stop, dtype):
        ps, optimizer = self.make(dtype)
        self.run(optimizer, ps, range(stop))
        buffer = io.BytesIO()
        torch.save(optimizer.state_dict(), buffer)
        others = [p.detach().clone().requires_grad_() for p in ps]
        restored = MFAC(others, lr=9.0, window=2, damping=5.0)
        buffer.seek(0)
        restored.load_state_dict(torch.load(buffer, weights_only=True))
        self.run(optimizer, ps, range(stop, stop + 9))
        self.run(restored, others, range(stop, stop + 9))
        for a, b in zip(ps, others):
            assert torch.equal(a, b)
        assert restored.param_groups[0]["lr"] == 0.05

    def test_state_dict_is_a_snapshot(self):
        ps, optimizer = self.make()
        self.run(optimizer, ps, range(3))
        state = optimizer.state_dict()
        rows = state["mfac"]["inverse"]["rows"].clone()
        self.run(optimizer, ps, range(3, 9))
        assert torch.equal(rows, state["mfac"]["inverse"]["rows"])

    @pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
    def test_copies_go_on_with_the_same_bits(self, way):
        ps, optimizer = self.make()
        self.run(optimizer, ps, range(6))
        other = way(optimizer)
        others = [p for group in other.param_groups for p in group["params"]]
        self.run(optimizer, ps, range(6, 9))
        self.run(other, others, range(6, 9))
        for a, b in zip(ps, others):
            assert torch.equal(a, b)

    def test_foreign_states_are_refused(self):
        ps, optimizer = self.make()
        with pytest.raises(ValueError, match="no key 'mfac'"):
            optimizer.load_state_dict(torch.optim.SGD(ps, lr=0.1).state_dict())
        self.run(optimizer, ps, range(2))
        other = params((2, 3), (5,))
        with pytest.raises(ValueError, match="state_dict is for parameters of shapes"):
            MFAC(other, lr=0.1).load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"lr": -1.0}, ValueError, "lr must lie in"),
        ({"window": 0}, ValueError, "window must lie in"),
        ({"window": 2.5}, TypeError, "window must be an integer"),
        ({"damping": 0.0}, ValueError, "damping must lie in"),
        ({"momentum": 1.0}, ValueError, "momentum must lie in"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay must lie in"),
        ({"clip": "norm"}, ValueError, "clip must be one of"),
        ({"kl_delta": 0.0}, ValueError, "kl_delta must lie in"),
        ({"norm": "rows"}, ValueError, "norm must be one of"),
        ({"dtype": "int8"}, ValueError, "dtype must be one of"),
        ({"dtype": torch.int8}, ValueError, "dtype must be one of"),
    ],
)
def test_bad_options(kwargs, error, message):
    with pytest.raises(error, match=message):
        MFAC(params((2,)), **{"lr": 0.1, **kwargs})


def test_complex_and_empty_parameters():
    with pytest.raises(TypeError, match="parameters must be real"):
        MFAC([torch.zeros(2, dtype=torch.complex64, requires_grad=True)], lr=0.1)
    with pytest.raises(ValueError, match="empty parameter list"):
        MFAC([], lr=0.1)


def test_trains_a_small_net():
    """A two-layer net on a fixed problem, batches of 16: the loss falls by a factor of 10 in 300 steps."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(64, 3, generator=generator)
    y = torch.sin(X.sum(dim=1, keepdim=True))
    W, b = (torch.randn(s, generator=generator).requires_grad_() for s in ((3, 16), (16,)))
    v = torch.zeros(16, 1, requires_grad=True)
    optimizer = MFAC([W, b, v], lr=0.02, window=64, damping=0.1, norm="count")

    def loss(pick):
        return torch.mean((torch.tanh(X[pick] @ W + b) @ v - y[pick]) ** 2)

    everything = torch.arange(64)
    start = loss(everything).item()
    for _ in range(300):
        optimizer.zero_grad()
        loss(torch.randperm(64, generator=generator)[:16]).backward()
        optimizer.step()
    assert loss(everything).item() < start / 10


def test_found_from_the_subpackage():
    from theorylab import curvature

    assert curvature.torch_optim.MFAC is MFAC
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        curvature.other
