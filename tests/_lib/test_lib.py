"""The foundations: what passes the door and what is refused, with which words."""

import os
import subprocess
import sys

import numpy as np
import pytest

from theorylab import testing
from theorylab._lib import backend, checks, jit, rng, threads


def test_namespace_of_numpy_lists_and_scalars():
    assert backend.namespace(np.zeros(2), [1.0], 2, None) is np


def test_namespace_refuses_torch_with_advice():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"x\.detach\(\)\.cpu\(\)\.numpy\(\)"):
        backend.namespace(torch.zeros(2))


def test_namespace_refuses_sparse_with_advice():
    from scipy import sparse

    with pytest.raises(TypeError, match=r"pass x\.toarray\(\)"):
        backend.namespace(sparse.eye_array(2))


class FakeCupy:
    """Stands in for CuPy where there is no GPU: only the type of its arrays matters."""

    class ndarray:
        pass


def test_namespace_knows_cupy_and_refuses_mixtures(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy)
    assert backend.namespace(FakeCupy.ndarray()) is FakeCupy
    with pytest.raises(TypeError, match="both NumPy and CuPy"):
        backend.namespace(FakeCupy.ndarray(), np.zeros(2))
    with pytest.raises(TypeError, match="solve runs on the CPU only"):
        backend.require_numpy("solve", FakeCupy.ndarray())


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.float32([1]), np.float32),
        ([1, 2], np.float64),
        (np.array([True]), np.float64),
        (np.float16([1]), np.float64),
    ],
)
def test_as_float_array_dtype(value, dtype):
    assert checks.as_float_array(value, "x").dtype == dtype


def test_messages_name_the_argument():
    with pytest.raises(ValueError, match="x is None, expected an array of real numbers"):
        checks.as_float_array(None, "x")
    with pytest.raises(TypeError, match="x: expected NumPy or CuPy arrays, got the text 'abc'; pass numbers"):
        checks.as_float_array("abc", "x")
    with pytest.raises(TypeError, match="x: expected NumPy or CuPy arrays, got set; pass"):
        checks.as_float_array({1.0}, "x")


def test_as_float_array_keeps_memory_unless_told():
    x = np.arange(3.0)
    assert checks.as_float_array(x, "x") is x
    assert not np.shares_memory(checks.as_float_array(x, "x", copy=True), x)
    view = np.arange(10.0)[::2]
    assert checks.as_float_array(view, "x").flags.c_contiguous


@pytest.mark.parametrize(
    ("value", "options", "error", "message"),
    [
        ([1j], {}, TypeError, "x is complex"),
        (["a"], {}, TypeError, "expected real numbers"),
        ([[1.0]], {"ndim": 1}, ValueError, r"x has shape \(1, 1\), expected a 1-D array"),
        ([1.0], {"ndim": (2, 3)}, ValueError, "expected a 2-D or 3-D array"),
        ([1.0, np.nan], {}, ValueError, "x contains nan in entry 1"),
        ([[1.0], [np.inf]], {}, ValueError, "x contains inf in row 1"),
        ([object()], {}, TypeError, "not real numbers"),
        ([[1.0], [1.0, 2.0]], {}, ValueError, "x is no array of numbers"),
        (np.ma.masked_array([1.0, 2.0], [0, 1]), {}, ValueError, "x has masked entries"),
        ([1e300], {"dtype": np.float32}, ValueError, "x has numbers beyond the range of float32"),
    ],
)
def test_as_float_array_refuses(value, options, error, message):
    with pytest.raises(error, match=message):
        checks.as_float_array(value, "x", **options)


def test_large_finite_numbers_are_finite():
    checks.check_finite(np.full(10, 1e308), "x")  # the sum overflows, the entries do not


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1.0, ValueError, r"lam must lie in \(0, inf\), got -1.0"),
        (0.0, ValueError, "lam must lie in"),
        (np.nan, ValueError, "lam must lie in"),
        (np.inf, ValueError, "lam must lie in"),
        ("1", TypeError, "lam must be a real number"),
        (True, TypeError, "lam must be a real number"),
        ([1.0], TypeError, "lam must be a real number"),
    ],
)
def test_check_real(value, error, message):
    with pytest.raises(error, match=message):
        checks.check_real(value, "lam", low=0, open_low=True)


def test_check_real_takes_numbers_of_all_kinds():
    assert [checks.check_real(v, "x") for v in (1, 1.0, np.float32(1), np.array(1.0))] == [1.0] * 4


@pytest.mark.parametrize(
    ("value", "error"), [(1.0, TypeError), (True, TypeError), (0, ValueError), (9, ValueError)]
)
def test_check_int(value, error):
    assert checks.check_int(np.int64(3), "n", low=1, high=5) == 3
    with pytest.raises(error, match="n must"):
        checks.check_int(value, "n", low=1, high=5)


def test_check_choice_and_shape():
    assert checks.check_choice("a", "mode", ["a", "b"]) == "a"
    with pytest.raises(ValueError, match="mode must be one of 'a', 'b', got 'c'"):
        checks.check_choice("c", "mode", ["a", "b"])
    with pytest.raises(ValueError, match=r"b has shape \(2,\), expected \(3,\) to match A"):
        checks.check_shape(np.zeros(2), (3,), "b", "to match A")


def test_generators():
    g = np.random.default_rng(1)
    assert rng.as_generator(g) is g
    assert rng.as_generator(7).random() == rng.as_generator(np.int64(7)).random()
    assert rng.as_generator(np.random.SeedSequence(7)).random() == rng.as_generator(7).random()
    rng.as_generator(None)
    for bad, error in (
        (-1, ValueError),
        (1.5, TypeError),
        (True, TypeError),
        (np.random.RandomState(0), TypeError),
    ):
        with pytest.raises(error, match="rng must be"):
            rng.as_generator(bad)


def test_seeds_depend_on_the_whole_address_and_on_nothing_else():
    # The number is part of the contract: results stored by one version are found by the next.
    assert rng.seed_of(0, "a", 1).generate_state(1)[0] == rng.seed_of(0, "a", 1).generate_state(1)[0]
    states = {
        int(rng.seed_of(s, *a).generate_state(1)[0]) for s in (0, 1) for a in (("a", 1), ("a1",), ("a", 2))
    }
    assert len(states) == 6


def test_limit_threads_gives_back_what_it_took():
    import numba
    from threadpoolctl import threadpool_info

    def state():
        kernels = numba.get_num_threads()  # first, since asking loads Numba's own pool
        return kernels, [pool["num_threads"] for pool in threadpool_info()]

    before = state()
    with threads.limit_threads(1):
        assert all(pool["num_threads"] == 1 for pool in threadpool_info())
        assert numba.get_num_threads() == 1
    assert state() == before
    assert threads.available_cores() >= 1


def test_a_changed_helper_in_another_file_outdates_the_cached_kernel(tmp_path):
    """Numba compares the kernel's own file only; what it compiled in from its neighbours may have changed."""
    package = tmp_path / "neighbours"
    package.mkdir()
    (package / "__init__.py").write_text("")
    head = "from theorylab._lib.jit import jit\n"
    (package / "kernel.py").write_text(
        f"{head}from neighbours.helper import step\n@jit\ndef run(x):\n    return step(x)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    environment.pop("NUMBA_CACHE_DIR", None)

    def result_and_hits():
        code = "from neighbours.kernel import run; print(run(1), sum(run.stats.cache_hits.values()))"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    (package / "helper.py").write_text(f"{head}@jit\ndef step(x):\n    return x + 1\n")
    assert result_and_hits() == ["2", "0"]
    assert result_and_hits() == ["2", "1"]
    (package / "helper.py").write_text(f"{head}@jit\ndef step(x):\n    return x + 20\n")
    assert result_and_hits() == ["21", "0"]


def test_jit_sees_nan_even_where_sums_are_reordered():
    @jit.jit(fastmath=jit.REASSOC)
    def total(x):
        s = 0.0
        for i in range(x.size):
            s += x[i]
        return s

    assert np.isnan(total(np.array([1.0, np.nan])))
    assert total(np.arange(100.0)) == 4950


def test_assert_close():
    testing.assert_close([1.0], [1.0])
    testing.assert_close(np.float32([1]), np.float32([1 + 1e-7]))
    for other, message in (
        (np.float64([1]), "dtypes differ"),
        (np.float32([[1]]), "shapes differ"),
        (np.float32([1.1]), "Not equal to tolerance"),
        (np.float32([np.nan]), "nan"),
    ):
        with pytest.raises(AssertionError, match=message):
            testing.assert_close(np.float32([1]), other)


def test_relative_error_and_roundoff():
    assert testing.relative_error([0.0], [0.0]) == 0
    assert testing.relative_error([1.0], [0.0]) == np.inf
    assert testing.relative_error([2.0], [1.0]) == 1
    assert testing.unit_roundoff() == 2.0**-53
    assert testing.unit_roundoff(np.float32) == 2.0**-24


def test_relative_error_of_complex_and_large_numbers():
    assert testing.relative_error([1 + 1j], [1.0]) == 1.0
    assert testing.relative_error([1e200], [2e200]) == pytest.approx(0.5)
    assert testing.relative_error([3e-200], [2e-200]) == pytest.approx(0.5)
    assert testing.relative_error([], []) == 0.0
    assert np.isnan(testing.relative_error([np.nan], [1.0]))
    with pytest.raises(ValueError, match="shapes differ"):
        testing.relative_error(np.ones((2, 1)), np.ones(2))
