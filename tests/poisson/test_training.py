"""What networks are trained on and with: loss, Lanczos, samples, and short runs of the training itself."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from theorylab.poisson import DirectionNetwork, PoissonOperator, problems, train
from theorylab.poisson._samples import ritz_basis

U = 2.0**-53


def spd(n, seed=0):
    """A random symmetric positive definite matrix with eigenvalues from 1 to 10."""
    Q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    return (Q * np.linspace(1, 10, n)) @ Q.T


def laplacian(shape=(10, 12), family="empty", seed=0):
    return PoissonOperator(problems.domain(family, shape, seed))


# --- the loss ---------------------------------------------------------------------


def test_loss_by_hand():
    # A = diag(1, 2), r = (0.6, 0.8), f = (1, 1): g = (1, 2), alpha = 1.4/3, s = (2/15, -2/15).
    loss, alpha, gradient = train.scale_invariant_loss(np.diag([1.0, 2.0]), [1, 1], [0.6, 0.8])
    assert loss == pytest.approx(8 / 225, rel=8 * U)
    assert alpha == pytest.approx(1.4 / 3, rel=4 * U)
    # s.g = -2/15, f.g = 3: -2 alpha A s = -2 (1.4/3) (2/15, -4/15), and so on.
    np.testing.assert_allclose(gradient, [-0.15407407407407, 0.15407407407407], rtol=1e-13)


def test_loss_of_an_operator_with_one_buffer():
    A, buffer = spd(20), np.empty(20)
    f, r = np.random.default_rng(5).standard_normal((2, 20))

    def product(x):
        buffer[:] = A @ x
        return buffer

    expected = train.scale_invariant_loss(A, f, r)
    loss, alpha, gradient = train.scale_invariant_loss(
        LinearOperator((20, 20), matvec=product, dtype=float), f, r
    )
    assert (loss, alpha) == expected[:2]
    assert np.array_equal(gradient, expected[2])


@pytest.mark.parametrize("n", [1, 2, 30])
def test_energy_loss_is_the_error_after_one_step(n):
    rng = np.random.default_rng(n)
    A, x, f, v = spd(n), *rng.standard_normal((3, n))
    r = A @ x
    loss, alpha, gradient = train.energy_loss(A, f, r, x)
    e = x - alpha * f
    # Rounding of the products, of size kappa u with kappa = 10, over a loss that n = 1 makes zero.
    assert loss == pytest.approx((e @ A @ e) / (x @ A @ x), abs=1e-14)
    assert abs(f @ gradient) <= 1e-13 * np.linalg.norm(f) * max(np.linalg.norm(gradient), 1.0)
    assert train.energy_loss(A, -3.0 * f, r, x)[0] == pytest.approx(loss, abs=1e-14)
    assert train.energy_loss(A, x, r, x)[0] < 1e-14
    h = 1e-6 * np.linalg.norm(f)
    up, down = (train.energy_loss(A, f + s * h * v, r, x)[0] for s in (1, -1))
    # Central differences: an error of h^2 and one of u / h.
    assert (up - down) / (2 * h) == pytest.approx(gradient @ v, abs=1e-8)


def test_energy_loss_refuses_what_is_no_solution():
    A, one = np.diag([1.0, 2.0]), np.ones(2)
    with pytest.raises(ValueError, match="x is not the solution of A x = r"):
        train.energy_loss(A, one, one, one)
    with pytest.raises(np.linalg.LinAlgError, match="f or r is zero, or A is not positive"):
        train.energy_loss(A, 0 * one, A @ one, one)
    with pytest.raises(ValueError, match=r"x has shape \(3,\), expected \(2,\)"):
        train.energy_loss(A, one, A @ one, np.ones(3))


@pytest.mark.parametrize("n", [1, 2, 30, 300])
def test_gradient_against_central_differences(n):
    rng = np.random.default_rng(n)
    A, f, r, v = spd(n), *rng.standard_normal((3, n))
    r /= np.linalg.norm(r)
    _, _, gradient = train.scale_invariant_loss(A, f, r)
    h = 1e-5 * np.linalg.norm(f) / np.linalg.norm(v)
    up, down = (train.scale_invariant_loss(A, f + s * h * v, r)[0] for s in (1, -1))
    # Truncation (relative step)^2 = 1e-10, rounding u / step = 1e-11, each times |gradient| |v| or the loss.
    size = np.linalg.norm(gradient) * np.linalg.norm(v) + 1 / np.linalg.norm(f) * np.linalg.norm(v)
    assert abs((up - down) / (2 * h) - gradient @ v) <= 1e-8 * size


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 40), st.integers(0, 1000), st.sampled_from([-8.0, -1.0, 0.25, 2.0**40]))
def test_scale_of_the_direction_does_not_matter(n, seed, c):
    rng = np.random.default_rng(seed)
    A, f, r = spd(n, seed), rng.standard_normal(n), rng.standard_normal(n)
    r /= np.linalg.norm(r)
    loss, alpha, gradient = train.scale_invariant_loss(A, f, r)
    scaled, beta, other = train.scale_invariant_loss(A, c * f, r)
    # Powers of two change no rounding at all, but for the order of BLAS, which is the same.
    assert scaled == loss
    assert beta == alpha / c
    np.testing.assert_array_equal(other, gradient / c)
    # f . gradient = 0 up to n roundings of terms of size kappa.
    assert abs(f @ gradient) <= 100 * n * 10 * U * np.linalg.norm(f) * np.linalg.norm(gradient) + 1e-14


def test_exact_direction_has_no_loss_and_eigenvectors_too():
    A = laplacian()
    r = np.random.default_rng(0).standard_normal(A.shape[0])
    r /= np.linalg.norm(r)
    x = np.linalg.solve(A.to_csr().toarray(), r)
    assert train.scale_invariant_loss(A, x, r)[0] < 1e-24  # (kappa u)^2, kappa = 60
    assert train.scale_invariant_loss(A, r, r)[0] > 0.1


def test_loss_against_torch():
    torch = pytest.importorskip("torch")
    from theorylab.poisson._grid_torch import GridOperator, batch_loss

    flags = problems.domain("smoke", (14, 18), seed=4)
    A, fluid = PoissonOperator(flags), flags == 1
    rng = np.random.default_rng(0)
    f, r = rng.standard_normal((2, fluid.sum()))
    r /= np.linalg.norm(r)
    grids = np.zeros((2, 1, 1, *flags.shape))
    grids[:, 0, 0, fluid] = f, r
    direction = torch.from_numpy(grids[0]).requires_grad_()
    loss = batch_loss(lambda _: direction, GridOperator(flags), torch.from_numpy(grids[1]), 1.0)
    loss.sum().backward()
    expected, _, gradient = train.scale_invariant_loss(A, f, r)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(direction.grad.numpy()[0, 0][fluid], gradient, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("family", ["empty", "smoke", "porous"])
@pytest.mark.parametrize("shape", [(9, 12), (6, 7, 8)], ids=str)
def test_grid_operator_in_torch(family, shape):
    torch = pytest.importorskip("torch")
    from theorylab.poisson._grid_torch import GridOperator

    flags = problems.domain(family, shape, seed=1)
    A, fluid = PoissonOperator(flags), flags == 1
    x = np.random.default_rng(0).standard_normal((3, fluid.sum()))
    grids = np.zeros((3, 1, *shape))
    grids[:, 0, fluid] = x
    out = GridOperator(flags)(torch.from_numpy(grids)).numpy()
    np.testing.assert_allclose(out[:, 0, fluid], (A.to_csr() @ x.T).T, atol=1e-14)
    assert not out[:, 0, ~fluid].any()


BAD_LOSS = [
    ((np.ones((2, 3)), [1, 1], [1, 1]), ValueError, "A has shape .*expected a square matrix"),
    ((np.eye(2), [1, 1, 1], [1, 1]), ValueError, r"f has shape \(3,\), expected \(2,\)"),
    ((np.eye(2), [1, 1], [[1, 1]]), ValueError, "r has shape"),
    ((np.eye(2), [1, np.nan], [1, 1]), ValueError, "f contains nan"),
    ((np.eye(2), [1, 1j], [1, 1]), TypeError, "f is complex"),
    ((1j * np.eye(2), [1, 1], [1, 1]), TypeError, "A is complex"),
    ((sparse.eye(2) * 1j, [1, 1], [1, 1]), TypeError, "A is complex"),
    (("A", [1, 1], [1, 1]), TypeError, "got the text"),
    ((np.eye(2), [0, 0], [1, 1]), np.linalg.LinAlgError, "expected a positive number"),
    ((-np.eye(2), [1, 0], [1, 1]), np.linalg.LinAlgError, "not positive definite"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_LOSS, ids=[m[:20] for *_, m in BAD_LOSS])
def test_bad_arguments_of_the_loss(arguments, error, message):
    with pytest.raises(error, match=message):
        train.scale_invariant_loss(*arguments)


# --- Lanczos and samples ----------------------------------------------------------


def tridiagonal(alpha, beta):
    return np.diag(alpha) + np.diag(beta, 1) + np.diag(beta, -1)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, aslinearoperator])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 2), (50, 1), (50, 20), (50, 50)])
def test_lanczos_identities(form, n, m):
    A = spd(n)
    v = np.random.default_rng(1).standard_normal(n)
    Q, alpha, beta = train.lanczos(form(A), v, m)
    assert Q.shape == (n, m)
    assert (alpha.shape, beta.shape) == ((m,), (m - 1,))
    # Two passes of Gram-Schmidt keep both to rounding of m products of length n.
    np.testing.assert_allclose(Q.T @ Q, np.eye(m), atol=10 * n * U)
    np.testing.assert_allclose(Q.T @ A @ Q, tridiagonal(alpha, beta), atol=100 * n * U)
    np.testing.assert_allclose(Q[:, 0], v / np.linalg.norm(v), rtol=1e-14)


def test_lanczos_finds_the_spectrum():
    A = laplacian((12, 15), "smoke", 3)
    dense = np.linalg.eigvalsh(A.to_csr().toarray())
    n = A.shape[0]
    Q, alpha, beta = train.lanczos(A, np.random.default_rng(0).standard_normal(n), n)
    assert Q.shape == (n, n)
    np.testing.assert_allclose(np.linalg.eigvalsh(tridiagonal(alpha, beta)), dense, atol=1e-12)


def test_lanczos_stops_where_the_space_is_exhausted():
    Q, alpha, beta = train.lanczos(np.diag([1.0, 1.0, 3.0, 3.0]), np.ones(4), 4)
    assert Q.shape == (4, 2)
    assert (alpha.shape, beta.shape) == ((2,), (1,))
    np.testing.assert_allclose(np.linalg.eigvalsh(tridiagonal(alpha, beta)), [1, 3], rtol=1e-14)
    assert train.lanczos(np.zeros((3, 3)), np.ones(3), 3)[0].shape == (3, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.eye(3), np.zeros(3), 2), ValueError, "v0 is zero"),
        ((np.eye(3), np.ones(2), 2), ValueError, r"v0 has shape \(2,\), expected \(3,\)"),
        ((np.eye(3), np.ones(3), 0), ValueError, r"m must lie in \[1"),
        ((np.eye(3), np.ones(3), 1.0), TypeError, "m must be an integer"),
        ((np.ones((2, 3)), np.ones(3), 2), ValueError, "A has shape"),
    ],
)
def test_bad_arguments_of_lanczos(arguments, error, message):
    with pytest.raises(error, match=message):
        train.lanczos(*arguments)


def test_ritz_samples_follow_their_law():
    A = laplacian((13, 15))
    n = A.shape[0]
    basis = ritz_basis(A, n, np.random.default_rng(0))
    values = np.linalg.eigvalsh(A.to_csr().toarray())
    # No eigenvalue of this rectangle is double, so that the Krylov space of one vector is everything.
    np.testing.assert_allclose(basis.values, values, atol=1e-12)
    samples = basis.sample(4000, np.random.default_rng(1))
    np.testing.assert_allclose(np.linalg.norm(samples, axis=1), 1, rtol=1e-5)
    energy = ((samples @ basis.vectors.T) ** 2).mean(axis=0)
    cut = int(0.55 * len(basis.values))
    # 9^2 times the energy; 4000 x 50 squares of normals: relative error 2 % at most.
    ratio = energy[:cut].mean() / energy[cut:].mean()
    assert ratio == pytest.approx(81, rel=0.05)


def test_ritz_basis_leaves_the_null_space_out():
    closed = PoissonOperator(np.ones((6, 7), int))
    basis = ritz_basis(closed, 42, np.random.default_rng(0))
    assert basis.values[0] > 0.1
    assert np.abs(basis.vectors.sum(axis=1)).max() < 1e-4


# --- the training -----------------------------------------------------------------

SHORT = dict(shape=(16, 16), steps=60, batch=6, n_ritz=40, n_samples=200, runs=4, checks=2, refreshes=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("trained") / "mine.npz"
    seen = []
    f = train.train_direction(**SHORT, boundary=["dirichlet", "neumann"], path=path, callback=seen.append)
    return f, path, seen


def test_training_lowers_the_loss_and_tells_so(trained):
    f, _, seen = trained
    assert [entry["step"] for entry in seen] == [30, 60]
    assert seen[-1]["held_out_0"] < 0.5  # an untrained network is near 1
    assert seen[-1]["rate_0"] > 0
    meta = f.meta[0]
    assert meta["history"] == seen
    assert meta["boundaries"] == ["dirichlet", "neumann"]
    assert (meta["n_train"], meta["n_parameters"], meta["crop"]) == (196, 32_657, True)


def test_training_writes_a_file_that_loads_and_starts_again(trained, tmp_path):
    f, path, _ = trained
    again = DirectionNetwork.from_npz(path)
    r = np.random.default_rng(0).standard_normal((16, 16))
    assert np.array_equal(again(r), f(r))
    assert [p.name for p in path.parent.iterdir()] == ["mine.npz"]
    more = train.train_direction(**{**SHORT, "steps": 2, "checks": 1}, start=path, path=tmp_path / "more.npz")
    assert more.meta[0]["earlier"]["best_step"] in (30, 60)
    with pytest.raises(ValueError, match="holds dcdm_k64 in 2-D, expected dcdm_k64 in 3-D"):
        train.train_direction(shape=(8, 8, 8), start=path)


def test_training_repeats(trained, tmp_path):
    brief = {**SHORT, "steps": 4, "checks": 1, "n_ritz": 20, "n_samples": 60, "runs": 2}
    first, second = (train.train_direction(**brief, seed=5).meta[0]["history"][0] for _ in range(2))
    assert first == second
    other = train.train_direction(**brief, seed=6).meta[0]["history"][0]
    assert other["train"] != first["train"]


def test_training_leaves_the_random_state_alone(trained):
    import torch

    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    train.train_direction(**{**SHORT, "steps": 1, "checks": 1})
    assert torch.equal(torch.rand(2), expected)


def test_training_on_own_domains_of_odd_shape(trained):
    flags = [problems.domain("smoke", (13, 17), seed=s) for s in range(2)]
    f = train.train_direction(flags, **{**SHORT, "steps": 3, "checks": 1, "shape": (4, 4)})
    assert f.meta[0]["shapes"] == [[14, 18], [14, 18]]
    assert f.meta[0]["boundaries"] == ["neumann"]


def test_held_out_samples_are_no_training_samples(trained):
    from theorylab.poisson import _direction_training as d

    flags = train.training_box("dirichlet", (12, 12))
    plan = d.Schedule(1, 2, 1e-3, 30, 100, 0.0, 1, 2, 1, 0)
    domain = d._domain(flags, PoissonOperator(flags).to_csr(), 100, plan, np.random.default_rng(0))
    assert (len(domain.train), len(domain.held_out)) == (90, 10)
    a, b = domain.train.flatten(1).numpy(), domain.held_out.flatten(1).numpy()
    assert np.abs(a @ b.T).max() < 0.999


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps must lie in"),
        ({"lr": 0.0}, ValueError, "lr must lie in"),
        ({"trajectory_from": 2.0}, ValueError, "trajectory_from must lie in"),
        ({"architecture": "unet"}, ValueError, "architecture must be one of"),
        ({"boundary": "periodic"}, ValueError, "boundary must be one of"),
        ({"boundary": []}, ValueError, "no training domain"),
        ({"flags": []}, ValueError, "no training domain"),
        ({"shape": 16}, TypeError, "shape must be a tuple"),
        ({"callback": 3}, TypeError, "callback must be callable"),
        ({"shape": (16,)}, ValueError, "2 or 3 sides"),
        ({"shape": (2, 16)}, ValueError, "each side of shape must lie in"),
        ({"flags": np.ones((8, 8), int)}, ValueError, "touches no AIR"),
        ({"start": "absent.npz"}, FileNotFoundError, "absent"),
    ],
)
def test_bad_training_options(options, error, message):
    pytest.importorskip("torch")
    with pytest.raises(error, match=message):
        train.train_direction(**options)


def test_without_torch_training_names_the_extra():
    code = (
        "import sys; sys.modules['torch'] = None; from theorylab.poisson import train\n"
        "try: train.train_direction()\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "theorylab[train]" in done.stdout


def test_importing_the_module_loads_no_torch():
    code = "import sys; from theorylab.poisson import train; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
