"""Inference of direction networks: against plain NumPy, against torch, and what may go wrong with a file."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theorylab._lib.threads import limit_threads
from theorylab.poisson import DirectionNetwork, PoissonOperator, dcdm, problems
from theorylab.poisson._architecture import ARCHITECTURES
from theorylab.poisson._domains import outer_boundary
from theorylab.poisson._network import SHIPPED

from ._networks import evaluate, random_arrays, write

U32 = 2.0**-24
SHAPES = [(1, 1), (1, 2), (2, 2), (5, 16), (33, 19), (16, 34), (1, 1, 1), (2, 3, 1), (5, 6, 7), (4, 4, 18)]
# A value passes 24 layers at most; each adds at most 432 rounded products, which grow like the root of their
# number when signs are mixed: 24 * sqrt(432) * u = 500 u of the largest activation. Twice that is allowed.
TOLERANCE = 1000 * U32


@pytest.fixture
def network(tmp_path):
    def make(name, ndim, **options):
        arrays = random_arrays(name, ndim, **options)
        return DirectionNetwork.from_npz(write(tmp_path / "w.npz", arrays, name)), arrays

    return make


@pytest.mark.parametrize("name", ["dcdm_k64", "dcdm_k128"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_plain_numpy(network, name, shape):
    f, arrays = network(name, len(shape), seed=1)
    r = np.random.default_rng(2).standard_normal(shape)
    expected = evaluate(arrays, name, r)
    assert np.abs(f(r) - expected).max() <= TOLERANCE * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("shape", [(18, 70), (6, 8, 20)], ids=str)
def test_agrees_with_torch(network, shape):
    torch = pytest.importorskip("torch")
    from theorylab.poisson._grid_torch import TorchNetwork

    f, arrays = network("dcdm_k64", len(shape), seed=3)
    theirs = TorchNetwork("dcdm_k64", len(shape)).load_arrays(arrays)
    for name, array in theirs.arrays().items():
        assert np.array_equal(array, arrays[name])
    r = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(r)[None, None])[0, 0].numpy()
    assert np.abs(f(r) - expected).max() <= TOLERANCE * np.abs(expected).max()


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_without_biases_positive_factors_pass_through(tmp_path_factory, nx, ny, seed):
    path = tmp_path_factory.mktemp("w") / "w.npz"
    f = DirectionNetwork.from_npz(write(path, random_arrays("dcdm_k64", 2, seed=seed % 3, bias=0.0)))
    r = np.random.default_rng(seed).standard_normal((nx, ny)).astype(np.float32)
    # A power of two changes no rounding.
    assert np.array_equal(f(np.float32(4) * r), np.float32(4) * f(r))


@pytest.mark.parametrize("shape", [(70, 90), (17, 20, 24)], ids=str)
def test_threads_give_equal_bits(network, shape):
    f, _ = network("dcdm_k64", len(shape))
    r = np.random.default_rng(0).standard_normal(shape)
    with limit_threads(1):
        one = f(r)
    with limit_threads(2):
        assert np.array_equal(f(r), one)


def test_dtype_layout_and_ownership(network):
    f, _ = network("dcdm_k64", 2)
    r = np.random.default_rng(0).standard_normal((12, 10))
    expected = f(r)
    assert expected.dtype == np.float64
    r.setflags(write=False)
    wide = np.zeros((24, 20))
    wide[::2, ::2] = r
    for form in (r, np.asfortranarray(r), wide[::2, ::2], r.tolist()):
        assert np.array_equal(f(form), expected)
    single = f(r.astype(np.float32))
    assert single.dtype == np.float32
    assert np.array_equal(single, expected.astype(np.float32))
    assert f(np.ones((3, 3), int)).dtype == np.float64


def test_a_nan_inside_is_not_hidden(network):
    f, _ = network("dcdm_k64", 2)
    with np.errstate(all="ignore"):
        assert not np.isfinite(f(np.full((6, 6), 3e38, np.float32))).all()


@pytest.mark.parametrize(
    ("name", "ndim", "count"),
    [("dcdm_k64", 3, 97_457), ("dcdm_k128", 3, 152_881), ("dcdm_k64", 2, 32_657)],
)
def test_parameter_counts(name, ndim, count):
    assert ARCHITECTURES[name].n_parameters(ndim) == count
    assert sum(a.size for a in random_arrays(name, ndim).values()) == count


def test_costs_and_radii():
    k64, k128 = ARCHITECTURES["dcdm_k64"], ARCHITECTURES["dcdm_k128"]
    assert (k64.flops_per_cell(3), k128.flops_per_cell(3), k64.flops_per_cell(2)) == (
        121_856,
        184_064,
        44_096,
    )
    assert (k64.radius, k128.radius) == (22, 34)


@pytest.mark.parametrize("name", ["dcdm_k64", "dcdm_k128"])
def test_radius_is_how_far_a_cell_is_seen(network, name):
    f, _ = network(name, 2, bias=0.0)
    radius = ARCHITECTURES[name].radius
    r = np.zeros((100, 16))
    for cell in (50, 51):
        r[:] = 0
        r[cell, 8] = 1.0
        seen = np.flatnonzero(f(r).any(axis=1))
        assert max(abs(seen - cell)) <= radius
        assert max(abs(seen - cell)) >= radius - 2


@pytest.mark.parametrize("grid", [np.ones((2, 2, 2)), np.ones(4), np.ones((0, 3)), [[np.nan, 1.0]]])
def test_bad_grids(network, grid):
    f, _ = network("dcdm_k64", 2)
    with pytest.raises(ValueError, match=r"r_grid|3-D grid, expected 2-D"):
        f(grid)


def test_complex_grid(network):
    with pytest.raises(TypeError, match="r_grid is complex"):
        network("dcdm_k64", 2)[0](np.ones((2, 2), complex))


# --- files -----------------------------------------------------------------------


def test_weights_may_have_any_real_type(tmp_path):
    arrays = random_arrays("dcdm_k64", 2)
    r = np.random.default_rng(0).standard_normal((8, 8))
    expected = DirectionNetwork.from_npz(write(tmp_path / "a.npz", arrays))(r)
    wide = {k: np.asfortranarray(v.astype(float)) for k, v in arrays.items()}
    assert np.array_equal(DirectionNetwork.from_npz(str(write(tmp_path / "b.npz", wide)))(r), expected)


def _without(arrays, name):
    return {k: v for k, v in arrays.items() if k != name}


BAD = [
    (lambda a: _without(a, "kernel_7"), {}, r"lacks kernel_7, expected with shape \(3, 3, 16, 16\)"),
    (lambda a: _without(a, "bias_0"), {}, "lacks bias_0"),
    (lambda a: _without(a, "kernel_0"), {}, r"kernel_0 expected with shape \(3, 3, 1, 16\).*got none"),
    (lambda a: a | {"kernel_0": np.ones(3)}, {}, r"kernel_0 expected .* got shape \(3,\)"),
    (lambda a: a | {"kernel_3": np.ones((3, 3, 16, 8))}, {}, r"kernel_3 has shape \(3, 3, 16, 8\), expected"),
    (lambda a: a | {"bias_15": np.ones(2)}, {}, r"bias_15 has shape \(2,\), expected \(1,\)"),
    (lambda a: a | {"kernel_16": np.ones(2)}, {}, "has kernel_16, which dcdm_k64 with 16 kernels has not"),
    (lambda a: a | {"bias_1": np.full(16, np.nan)}, {}, "bias_1 has entries that are not finite"),
    (lambda a: a | {"bias_1": np.full(16, 1e300)}, {}, "bias_1 has entries that are not finite in float32"),
    (lambda a: a | {"bias_1": np.ones(16, complex)}, {}, "bias_1 has dtype complex128"),
    (lambda a: a | {"bias_1": np.array(["x"] * 16)}, {}, "bias_1 has dtype <U1"),
    (lambda a: a, {"name": "resnet"}, "architecture 'resnet'.*expected one of dcdm_k64, dcdm_k128"),
    (lambda a: a, {"name": "dcdm_k128"}, r"kernel_15 has shape \(1, 1, 16, 1\), expected \(3, 3, 16, 16\)"),
    (lambda a: a, {"name": None}, "architecture None"),
    (lambda a: a, {"sha256": "0" * 64}, "do not match the sha256"),
]


@pytest.mark.parametrize(("change", "meta", "message"), BAD, ids=[m[:24] for *_, m in BAD])
def test_bad_arrays(tmp_path, change, meta, message):
    path = write(tmp_path / "w.npz", change(random_arrays("dcdm_k64", 2)), **meta)
    with pytest.raises(ValueError, match=message):
        DirectionNetwork.from_npz(path)


def test_bad_files(tmp_path):
    path = tmp_path / "w.npz"
    with pytest.raises(FileNotFoundError):
        DirectionNetwork.from_npz(path)
    path.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"no readable \.npz file"):
        DirectionNetwork.from_npz(path)
    whole = write(tmp_path / "whole.npz", random_arrays("dcdm_k64", 2)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"no readable \.npz file"):
        DirectionNetwork.from_npz(path)
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"no readable \.npz file"):
        DirectionNetwork.from_npz(tmp_path / "one.npy")
    np.savez(path, **random_arrays("dcdm_k64", 2))
    with pytest.raises(ValueError, match="no array 'meta'"):
        DirectionNetwork.from_npz(path)
    for text, message in (("{", "is no JSON"), ("[1]", "JSON type list")):
        np.savez(path, meta=text)
        with pytest.raises(ValueError, match=message):
            DirectionNetwork.from_npz(path)
    np.savez(path, meta=np.array([{}], dtype=object))  # needs pickle, which may run code
    with pytest.raises(ValueError, match=r"no readable \.npz file"):
        DirectionNetwork.from_npz(path)


def test_meta_of_bytes(tmp_path):
    arrays, meta = random_arrays("dcdm_k64", 2), json.dumps({"architecture": "dcdm_k64"}).encode()
    for form in (np.frombuffer(meta, np.uint8), np.array(meta)):
        np.savez(tmp_path / "w.npz", meta=form, **arrays)
        assert DirectionNetwork.from_npz(tmp_path / "w.npz").meta[0]["architecture"] == "dcdm_k64"


def test_made_by_its_two_makers_only():
    with pytest.raises(TypeError, match=r"DirectionNetwork\.load"):
        DirectionNetwork([])
    with pytest.raises(ValueError, match="name must be one of 'dcdm_k64'"):
        DirectionNetwork.load("unknown")


# --- shipped weights and directions ------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_state_where_they_come_from(name):
    for meta in DirectionNetwork.load(name).meta:
        for key in (
            "boundaries",
            "shapes",
            "n_train",
            "seed",
            "optimiser",
            "steps",
            "cpu_seconds",
            "history",
            "sha256",
        ):
            assert key in meta, key
        assert meta["n_parameters"] == {2: 32_657, 3: 97_457}[meta["ndim"]]
        assert {"step", "train", "held_out_0", "rate"} <= set(meta["history"][-1])


def test_shipped_weights_are_hash_checked(tmp_path):
    from importlib import resources

    from theorylab.poisson._weights import read

    file = resources.files("theorylab.poisson") / "weights" / "dcdm_k64_2d_dirichlet.npz"
    with np.load(str(file)) as arrays:
        altered = {k: arrays[k] for k in arrays.files}
    altered["bias_3"] = altered["bias_3"] + np.float32(1e-3)
    np.savez(tmp_path / "w.npz", **altered)
    with pytest.raises(ValueError, match="the file was altered"):
        read(tmp_path / "w.npz", trusted_only=True)
    with pytest.raises(ValueError, match="carries no sha256"):
        read(write(tmp_path / "u.npz", random_arrays("dcdm_k64", 2)), trusted_only=True)


BOUNDARIES = {
    "empty": "dirichlet",
    "smoke": "neumann",
    "porous": "neumann",
    "liquid": "neumann",
    "closed": "closed",
}


@pytest.mark.parametrize(("family", "kind"), BOUNDARIES.items())
def test_outer_boundary(family, kind):
    flags = problems.domain(family, (40, 36), seed=1)
    assert outer_boundary(flags) == kind
    assert outer_boundary(np.pad(flags, 2)) == kind  # SOLID around SOLID changes nothing
    assert outer_boundary(problems.domain(family, (16, 14, 18), seed=1)) == kind


def test_a_direction_is_the_network_on_the_fluid_cells(network):
    f, _ = network("dcdm_k64", 2)
    flags = problems.domain("porous", (30, 21), seed=0)
    fluid = flags == 1
    r = np.random.default_rng(0).standard_normal(fluid.sum())
    grid = np.zeros(flags.shape)
    grid[fluid] = r
    assert np.array_equal(f.direction(flags)(r), f(grid)[fluid])


@pytest.mark.parametrize("name", ["dcdm_2d", "dcdm_k64"])
def test_layers_outside_the_fluid_change_nothing(name):
    f = DirectionNetwork.load(name)
    for family in ("empty", "smoke"):
        flags = problems.domain(family, (20, 24), seed=2)
        r = np.random.default_rng(0).standard_normal((flags == 1).sum())
        expected = f.direction(flags)(r)
        assert np.array_equal(f.direction(np.pad(flags, 3))(r), expected)
    high = np.full((20, 40), 2, np.uint8)
    high[:, :24] = flags
    assert np.array_equal(f.direction(high)(r), expected)


def test_unseen_boundaries_warn():
    f = DirectionNetwork.load()
    with pytest.warns(
        UserWarning, match="this domain has SOLID on all sides, but the network was trained on"
    ):
        f.direction(problems.domain("closed", (16, 16)))
    channel = np.ones((12, 9), int)
    channel[[0, -1]] = 2
    with pytest.warns(UserWarning, match="AIR on several sides"):
        f.direction(channel)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f.direction(problems.domain("empty", (12, 12)))
        f.direction(problems.domain("smoke", (16, 16)))
        f.direction(problems.domain("empty", (8, 8, 8)))


def test_bad_directions():
    f = DirectionNetwork.load("dcdm_2d")
    with pytest.raises(ValueError, match="got a 3-D grid, expected 2-D"):
        f.direction(np.ones((4, 4, 4), int))
    with pytest.raises(ValueError, match="no FLUID cell"):
        f.direction(np.zeros((4, 4), int))
    with pytest.raises(ValueError, match=r"r has shape \(3,\), expected \(4,\)"):
        f.direction(np.pad(np.ones((2, 2), int), 1, constant_values=2))(np.ones(3))


@pytest.mark.parametrize(
    ("family", "shape"), [("empty", (64, 64)), ("smoke", (64, 64)), ("empty", (32, 32, 32))]
)
def test_shipped_networks_solve_in_fewer_iterations_than_incomplete_cholesky(family, shape):
    from theorylab.poisson import IncompleteCholesky, pcg

    flags, b = problems.make(family, shape, seed=11)
    A, b = PoissonOperator(flags), b[flags == 1]
    f = DirectionNetwork.load().direction(flags)
    x, info = dcdm(A, b, direction=f, rtol=1e-4, safeguard=False, return_info=True)
    assert np.linalg.norm(b - A @ x) <= 1e-4 * np.linalg.norm(b)
    _, theirs = pcg(A, b, M=IncompleteCholesky(A, modified=0.0), rtol=1e-4, return_info=True)
    assert info.iterations < theirs.iterations


def test_inference_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None; import numpy as np; from theorylab import poisson; "
        "print(poisson.DirectionNetwork.load()(np.ones((4, 4))).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(4, 4)"
