"""Where rows may live: memory maps, anything that slices, half precision, torch. Same bits throughout."""

import sys

import numba
import numpy as np
import pytest
import threadpoolctl

from theorylab import curvature as cv

from .cases import dense, relative, rows

LAM = 0.05


class Store:
    """A dataset in the manner of h5py and zarr: shape, dtype and 2-D slicing; it counts what is read."""

    def __init__(self, array):
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.largest = self.most_rows = 0

    def __getitem__(self, key):
        piece = self._array[key]
        self.largest = max(self.largest, piece.size)
        self.most_rows = max(self.most_rows, len(piece))
        return np.array(piece)


def everything(inv):
    """Return the results of every kind of pass over the rows."""
    d, m = inv.d, inv.m
    rng = np.random.default_rng(0)
    x, X, c = rng.standard_normal(d), rng.standard_normal((d, 3)), rng.standard_normal(m)
    return [
        inv @ x,
        inv @ x.astype(np.float32),
        inv @ X,
        inv.solve(x, refine=1),
        inv.solve_rows(c),
        inv.diagonal(),
        inv.gram,
        inv.columns([0, 3]),
        inv.quadratic_form(X),
        inv.influence_matrix(),
        inv.forward() @ x,
        inv.sqrt_matvec(x),
        np.array([inv.logdet(), inv.trace()]),
    ]


def assert_same_bits(a, b):
    for left, right in zip(everything(a), everything(b), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_maps(tmp_path, dtype, order):
    G = (10 * rows(13, 900)).astype(dtype)
    mapped = np.memmap(tmp_path / "rows", dtype=dtype, mode="w+", shape=G.shape, order=order)
    mapped[:] = G
    mapped.flush()
    mapped = np.memmap(tmp_path / "rows", dtype=dtype, mode="r", shape=G.shape, order=order)
    assert_same_bits(cv.fisher_inverse(mapped, LAM, tile=64), cv.fisher_inverse(G, LAM, tile=64))


@pytest.mark.parametrize("chunk_rows", [None, 1, 5, 8, 100])
@pytest.mark.parametrize("options", [{}, {"blocks": [10] * 90}, {"blocks": [450, 450]}])
def test_anything_that_slices_is_streamed(chunk_rows, options):
    G = rows(21, 900)
    store = Store(G)
    inv = cv.fisher_inverse(store, LAM, tile=128, chunk_rows=chunk_rows, **options)
    for a, b in zip(everything(inv), everything(cv.fisher_inverse(G, LAM, **options)), strict=True):
        assert relative(np.atleast_1d(a).astype(float), np.atleast_1d(b)) < (
            1e-5 if a.dtype == np.float32 else 1e-11
        )
    assert store.largest <= 21 * 128  # never more than a tile at a time
    if chunk_rows is not None and options.get("blocks", [900])[0] != 10:
        assert store.most_rows <= -(-chunk_rows // 8) * 8


@pytest.mark.parametrize("options", [{}, {"blocks": [3, 3]}])
def test_few_columns_are_streamed_in_panels_of_the_rows(options):
    G = rows(500, 6)
    store = Store(G)
    inv = cv.fisher_inverse(store, LAM, chunk_rows=32, **options)
    assert relative(inv @ np.ones(6), cv.fisher_inverse(G, LAM, **options) @ np.ones(6)) < 1e-12
    assert store.most_rows <= 32


def test_rows_in_a_memory_layout_give_the_same_bits_as_in_order():
    G = rows(11, 70_000, dtype=np.float32)
    x = np.random.default_rng(0).standard_normal(70_000)
    expected = cv.fisher_inverse(G, LAM)
    wide = np.zeros((22, 70_000), np.float32)
    wide[::2] = G
    for other in (np.asfortranarray(G), wide[::2]):
        inv = cv.fisher_inverse(other, LAM)
        np.testing.assert_array_equal(inv @ x, expected @ x)
        np.testing.assert_array_equal(inv.solve_rows(np.ones(11)), expected.solve_rows(np.ones(11)))


@pytest.mark.parametrize("dtype", [">f8", ">f4", "i8", "f2", "longdouble"])
def test_rows_of_other_types_are_read_in_full_precision(dtype):
    G = (10 * rows(9, 50)).astype(dtype)
    inv, plain = cv.fisher_inverse(G, LAM), cv.fisher_inverse(G.astype(np.float64), LAM)
    np.testing.assert_array_equal(inv @ np.ones(50), plain @ np.ones(50))
    np.testing.assert_array_equal(inv.solve_rows(np.ones(9)), plain.solve_rows(np.ones(9)))


def test_half_precision_rows():
    G = rows(9, 200)
    half = G.astype(np.float16)
    inv = cv.fisher_inverse(half, LAM)
    assert inv.dtype == np.float16
    assert inv.nbytes < 9 * 200 * 2 + 3 * 8 * 81
    assert_same_bits(inv, cv.fisher_inverse(half.astype(np.float32), LAM))
    bits = (G.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    widened = (bits.astype(np.uint32) << 16).view(np.float32)
    assert_same_bits(cv.fisher_inverse(bits, LAM, bfloat16=True), cv.fisher_inverse(widened, LAM))
    with pytest.raises(TypeError, match="bfloat16=True"):
        cv.fisher_inverse(G, LAM, bfloat16=True)
    bits[2, 5] = 0x7F80
    with pytest.raises(ValueError, match="row 2"):
        cv.fisher_inverse(bits, LAM, bfloat16=True)


@pytest.fixture
def two_threads():
    before = numba.get_num_threads()
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.fail("run the tests with NUMBA_NUM_THREADS=2 or more")
    yield
    numba.set_num_threads(before)


@pytest.mark.parametrize(
    "options", [{}, {"blocks": [7] * 100 + [32_068]}, {"accumulate": "storage"}, {"factor": True}]
)
@pytest.mark.parametrize("kind", ["direct", "strided"])
def test_one_and_two_threads_give_the_same_bits(two_threads, options, kind):
    G = rows(24, 32_768, dtype=np.float32)
    G = np.asfortranarray(G) if kind == "strided" else G
    results = []
    for threads in (1, 2):
        numba.set_num_threads(threads)
        with threadpoolctl.threadpool_limits(threads):
            results.append(everything(cv.fisher_inverse(G, LAM, tile=512, **options)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_window_gives_the_same_bits_with_one_and_two_threads(two_threads):
    G, x = rows(20, 32_768, dtype=np.float32), np.linspace(-1, 1, 32_768)
    results = []
    for threads in (1, 2):
        numba.set_num_threads(threads)
        with threadpoolctl.threadpool_limits(threads):
            inv = cv.SlidingFisherInverse(32_768, 16, LAM, tile=256)
            inv.extend(G[:18])
            results.append([inv.update_solve(G[18]), inv.update_solve(G[19], x), inv.diagonal()])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_exception_in_a_piece_reaches_the_caller(two_threads):
    numba.set_num_threads(2)
    from theorylab.curvature._parallel import run_pieces

    def work(piece):
        if piece == 3:
            raise KeyError(piece)

    with pytest.raises(KeyError, match="3"):
        run_pieces(work, 8)


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    G = torch.from_numpy(rows(7, 60, dtype=np.float32))
    inv, twin = cv.fisher_inverse(G, LAM), cv.fisher_inverse(G.numpy(), LAM)
    for dtype in (torch.float32, torch.float64):
        x = torch.linspace(-1, 1, 60, dtype=dtype)
        for y in (inv.solve(x), inv @ x, inv.matvec(x), inv.solve(x.requires_grad_())):
            assert isinstance(y, torch.Tensor)
            assert y.dtype == dtype
            np.testing.assert_array_equal(y.numpy(), twin @ x.detach().numpy())
        X = torch.ones(60, 2, dtype=dtype)
        np.testing.assert_array_equal((inv @ X).numpy(), twin @ X.numpy())
    assert isinstance(inv.solve_rows(torch.ones(7)), torch.Tensor)
    assert isinstance(inv @ np.ones(60), np.ndarray)
    G[0] = 0  # the operator looks at the tensor's own memory
    assert torch.all(inv.dot_rows(torch.ones(60))[0] == 0)


def test_torch_bfloat16():
    torch = pytest.importorskip("torch")
    G = torch.from_numpy(rows(7, 60)).bfloat16()
    inv, twin = cv.fisher_inverse(G, LAM), cv.fisher_inverse(G.float().numpy(), LAM)
    assert_same_bits(inv, twin)
    y = inv @ torch.ones(60, dtype=torch.bfloat16)
    assert y.dtype == torch.bfloat16
    np.testing.assert_allclose(y.float().numpy(), twin @ np.ones(60, np.float32), rtol=2.0**-8)


def test_torch_in_a_window():
    torch = pytest.importorskip("torch")
    inv, twin = cv.SlidingFisherInverse(20, 3, LAM), cv.SlidingFisherInverse(20, 3, LAM)
    for g in rows(5, 20, dtype=np.float32):
        y = inv.update_solve(torch.from_numpy(g))
        assert isinstance(y, torch.Tensor)
        np.testing.assert_array_equal(y.numpy(), twin.update_solve(g))
    y = inv.update_solve(torch.ones(20).bfloat16())
    assert y.dtype == torch.bfloat16


def test_torch_on_another_device_is_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"meta.*pass G\.cpu\(\)"):
        cv.fisher_inverse(torch.ones(3, 4, device="meta"), LAM)


def test_importing_does_not_load_torch():
    import subprocess

    code = (
        "import sys; import theorylab.curvature; print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


def test_dense_reference_of_a_streamed_source():
    G = rows(6, 50)
    inv = cv.fisher_inverse(Store(G), LAM)
    assert relative(inv @ np.ones(50), np.linalg.solve(dense(G, LAM), np.ones(50))) < 1e-12
