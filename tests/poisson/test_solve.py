"""Pressures by every method against dense least squares; closed domains, stacks, layouts, bad input."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theorylab._lib.threads import limit_threads
from theorylab.poisson import (
    ConvergenceWarning,
    IncompatibleRightHandSideWarning,
    PoissonOperator,
    SolveInfo,
    problems,
    solve_pressure,
)
from theorylab.testing import assert_close

from .reference import AIR, FLUID, SOLID, box, component_labels, grids, pressure, spectrum

METHODS = ["learned-mg", "mg", "cg", "jacobi", "ic0", "mic0", "deflated", "dcdm"]
FAST = [m for m in METHODS if m != "dcdm"]


def compatible(flags, rng):
    """Return a random right-hand side without means on closed components."""
    b = rng.standard_normal(flags.shape)
    labels, closed = component_labels(flags)
    for k in np.flatnonzero(closed):
        b[labels == k] -= b[labels == k].mean()
    return b


def check(flags, b, p, rtol):
    """Assert that p solves the system within the tolerance, and lies close to the dense solution."""
    A, values, _, labels, closed = spectrum(flags)
    fluid = flags == FLUID
    size = np.linalg.norm(b[fluid])
    assert np.linalg.norm(b[fluid] - A @ p[fluid]) <= rtol * size * (1 + 1e-6) + 1e-300
    assert not p[~fluid].any()
    lowest = values[values > 1e-10]
    if lowest.size:
        assert np.linalg.norm((p - pressure(flags, b))[fluid]) <= 2 * rtol * size / lowest[0] + 1e-12
    for k in np.flatnonzero(closed):
        assert abs(p[labels == k].mean()) <= 1e-13 * np.abs(p).max()


@pytest.mark.parametrize("method", METHODS)
def test_four_cells(method):
    """Golden values."""
    p = solve_pressure(box(2, 2), np.ones((4, 4)), method=method, rtol=1e-12)
    assert_close(p[1:3, 1:3], np.full((2, 2), 0.5), rtol=1e-11)
    b = np.zeros((4, 4))
    b[1, 1], b[1, 2] = 1, -1
    p = solve_pressure(box(2, 2, SOLID), b, method=method, rtol=1e-12)
    assert_close(p[1:3, 1:3], np.array([[3, -3], [1, -1]]) / 8, rtol=1e-11)


@pytest.mark.parametrize("method", FAST)
@settings(max_examples=25)
@given(grids(), st.integers(0, 10**6))
def test_random_domains(method, flags, seed):
    """Pockets, thin walls, odd sizes, isolated cells."""
    b = compatible(flags, np.random.default_rng(seed))
    check(flags, b, solve_pressure(flags, b, method=method, rtol=1e-10), 1e-10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", problems.FAMILIES)
def test_families(method, family):
    for shape in ((25, 22), (9, 12, 10)):
        flags, b = problems.make(family, shape, seed=3)
        p, info = solve_pressure(flags, b, method=method, rtol=1e-8, return_info=True)
        check(flags, b, p, 1e-8)
        assert isinstance(info, SolveInfo)
        assert info.converged
        assert len(info.residuals) == info.iterations + 1
        fluid = flags == FLUID
        assert_close(info.residuals[:1], np.array([np.linalg.norm(b[fluid])]), rtol=1e-6)
        true = np.linalg.norm(b[fluid] - PoissonOperator(flags) @ p[fluid])
        # Both differ by rounding: u times ||A|| ||p||.
        assert abs(info.residuals[-1] - true) <= 1e-14 * 12 * np.linalg.norm(p) + 1e-3 * true


@pytest.mark.parametrize("method", METHODS)
class TestNullSpace:
    def test_incompatible_right_hand_side(self, method):
        flags, _ = problems.make("closed", (20, 21), seed=0)
        b = np.random.default_rng(0).standard_normal(flags.shape) + 0.3
        with pytest.warns(IncompatibleRightHandSideWarning, match="they were subtracted"):
            p, info = solve_pressure(flags, b, method=method, rtol=1e-10, return_info=True)
        fluid = flags == FLUID
        b = b - b[fluid].mean()
        check(flags, b, p, 1e-10)
        assert info.converged
        assert_close(info.residuals[:1], np.array([np.linalg.norm(b[fluid])]), rtol=1e-6)

    def test_sealed_pockets_have_a_constant_each(self, method):
        flags = np.full((12, 13), FLUID, np.uint8)
        flags[0] = AIR
        flags[5], flags[:, 6], flags[9] = SOLID, SOLID, SOLID
        flags[11, 12], flags[10, 12], flags[11, 11] = FLUID, SOLID, SOLID  # an isolated cell
        b = compatible(flags, np.random.default_rng(1))
        p = solve_pressure(flags, b, method=method, rtol=1e-10)
        check(flags, b, p, 1e-10)
        b[flags == FLUID] += 1.0
        with pytest.warns(IncompatibleRightHandSideWarning):
            p = solve_pressure(flags, b, method=method, rtol=1e-10)
        assert p[11, 12] == 0

    def test_raise(self, method):
        flags = box(3, 2, SOLID)
        with pytest.raises(np.linalg.LinAlgError, match="matrix is singular: 1 component"):
            solve_pressure(flags, np.zeros((5, 5)), method=method, null_space="raise")
        solve_pressure(box(3, 2), np.ones((5, 5)), method=method, null_space="raise")

    def test_start_with_a_large_constant(self, method):
        """A constant in x0 must neither stay nor cost digits."""
        flags, b = problems.make("closed", (20, 20), seed=2)
        p = solve_pressure(flags, b, method=method, rtol=1e-9, x0=np.full(flags.shape, 1e3))
        check(flags, b, p, 1e-9)


@pytest.mark.parametrize("method", METHODS)
class TestCalls:
    def test_zero(self, method):
        p, info = solve_pressure(
            box(4, 2), np.zeros((6, 6)), method=method, x0=np.ones((6, 6)), return_info=True
        )
        assert not p.any()
        assert (info.iterations, info.converged, info.residuals.tolist()) == (0, True, [0.0])

    def test_stack(self, method):
        flags, b = problems.make("smoke", (20, 17), seed=0)
        stack = np.stack([b, 0 * b, -2 * b])
        p, infos = solve_pressure(flags, stack, method=method, rtol=1e-10, return_info=True)
        assert p.shape == stack.shape
        assert [i.converged for i in infos] == [True] * 3
        alone = solve_pressure(flags, b, method=method, rtol=1e-10)
        scale = np.abs(alone).max()
        for got, factor in zip(p, (1, 0, -2)):
            assert_close(got, factor * alone, rtol=0, atol=1e-8 * scale)
        again = solve_pressure(flags, stack, method=method, rtol=1e-10, x0=alone)
        assert_close(again, p, rtol=0, atol=1e-8 * scale)
        assert solve_pressure(flags, stack[:0], method=method).shape == (0, 20, 17)

    def test_layouts_dtypes_and_no_mutation(self, method):
        flags, b = problems.make("porous", (18, 23), seed=1)
        expected = solve_pressure(flags, b, method=method, rtol=1e-9)
        x0 = np.ones(flags.shape)
        for array in (flags, b, x0):
            array.flags.writeable = False
        scale = np.abs(expected).max()
        variants = [
            (np.asfortranarray(flags), np.asfortranarray(b)),
            (np.repeat(flags, 2, axis=1)[:, ::2], np.repeat(b, 3, axis=0)[::3]),
            (flags.astype(np.int64), b.tolist()),
        ]
        for f, right in variants:
            assert_close(
                solve_pressure(f, right, method=method, rtol=1e-9, x0=x0), expected, rtol=0, atol=1e-7 * scale
            )
        single = solve_pressure(flags, b.astype(np.float32), method=method, rtol=1e-9)
        assert single.dtype == np.float32
        assert_close(single, expected.astype(np.float32), rtol=0, atol=1e-5 * scale)
        integers = solve_pressure(flags, np.sign(b).astype(int), method=method, rtol=1e-9)
        assert integers.dtype == np.float64
        assert (x0 == 1).all()

    def test_values_off_fluid_are_ignored(self, method):
        flags, b = problems.make("smoke", (16, 16), seed=4)
        other = np.where(flags == FLUID, b, 1e6)
        p = solve_pressure(flags, b, method=method, rtol=1e-10)
        assert_close(
            solve_pressure(flags, other, method=method, rtol=1e-10), p, rtol=0, atol=1e-8 * np.abs(p).max()
        )

    def test_warm_start_at_the_solution(self, method):
        flags, b = problems.make("smoke", (20, 20), seed=0)
        p = solve_pressure(flags, b, method=method, rtol=1e-10)
        again, info = solve_pressure(flags, b, method=method, x0=p, return_info=True)
        assert info.iterations == 0
        assert_close(again, p, rtol=0, atol=1e-12 * np.abs(p).max())

    @pytest.mark.parametrize("size", [1e-290, 1e-30, 1e30, 1e290])
    def test_any_scale(self, method, size):
        flags, b = problems.make("smoke", (16, 16), seed=4)
        p = solve_pressure(flags, b, method=method, rtol=1e-8)
        scaled = solve_pressure(flags, b * size, method=method, rtol=1e-8)
        assert_close(scaled / size, p, rtol=0, atol=1e-6 * np.abs(p).max())

    def test_maxiter(self, method):
        flags, b = problems.make("porous", (40, 40), seed=1)
        with pytest.warns(ConvergenceWarning, match="stopped after 1 iterations"):
            _, info = solve_pressure(flags, b, method=method, rtol=1e-12, maxiter=1, return_info=True)
        assert (info.converged, info.iterations, info.code) == (False, 1, 1)
        _, info = solve_pressure(flags, b, method=method, atol=1e9, return_info=True)
        assert info.iterations == 0

    def test_single_cells(self, method):
        for flags, value in (([[1, 2]], 3.0), ([[2, 1, 2]], 1.5), ([[[2], [1], [2]], [[0], [2], [0]]], 1.0)):
            p = solve_pressure(flags, np.full(np.shape(flags), 3.0), method=method)
            assert_close(p[np.array(flags) == 1], np.array([value]), rtol=1e-6)


BAD = [
    ({"flags": np.ones((4, 4))}, ValueError, "flags has dtype float64"),
    ({"flags": np.full((4, 4), 3)}, ValueError, "flags has values"),
    ({"flags": np.zeros((4, 4), int)}, ValueError, "no FLUID cell"),
    ({"flags": np.ones(4, int)}, ValueError, "expected a 2-D or 3-D grid"),
    (
        {"b": np.ones((4, 5))},
        ValueError,
        r"b has shape \(4, 5\), expected \(4, 4\) or \(k, 4, 4\) to match flags",
    ),
    ({"b": np.ones(16)}, ValueError, "b has shape"),
    ({"b": np.ones((1, 1, 4, 4))}, ValueError, "b has shape"),
    ({"b": np.full((4, 4), np.nan)}, ValueError, "b contains nan"),
    ({"b": np.full((4, 4), -np.inf)}, ValueError, "b contains -inf"),
    ({"b": np.ones((4, 4), complex)}, TypeError, "b is complex"),
    ({"b": [["a"] * 4] * 4}, TypeError, "b"),
    ({"method": "multigrid"}, ValueError, "method must be one of 'learned-mg', 'mg', 'cg'"),
    ({"method": None}, ValueError, "method must be one of"),
    ({"rtol": 0}, ValueError, "rtol must lie in"),
    ({"rtol": -1}, ValueError, "rtol must lie in"),
    ({"rtol": np.inf}, ValueError, "rtol must lie in"),
    ({"rtol": "x"}, TypeError, "rtol must be a real number"),
    ({"atol": -1}, ValueError, "atol must lie in"),
    ({"maxiter": 0}, ValueError, "maxiter must lie in"),
    ({"null_space": "ignore"}, ValueError, "null_space must be one of 'project', 'raise'"),
    ({"x0": np.ones((4, 5))}, ValueError, "x0 has shape"),
    ({"x0": np.ones((2, 4, 4))}, ValueError, "x0 has shape"),
    ({"x0": np.full((4, 4), np.inf)}, ValueError, "x0 contains inf"),
    ({"x0": np.ones((4, 4)) * 1j}, TypeError, "x0 is complex"),
    ({"b": np.ones((3, 4, 4)), "x0": np.ones((2, 4, 4))}, ValueError, "x0 has shape"),
    ({"direction": np.sin}, ValueError, "direction is used by method='dcdm' only"),
    ({"direction": 3, "method": "dcdm"}, TypeError, "direction must be callable"),
]


@pytest.mark.parametrize(("change", "error", "text"), BAD)
def test_bad_input(change, error, text):
    arguments = {"flags": box(2, 2), "b": np.ones((4, 4)), "method": "cg", **change}
    with pytest.raises(error, match=text):
        solve_pressure(arguments.pop("flags"), arguments.pop("b"), **arguments)


def test_no_warning_where_means_are_rounding_errors():
    flags, _ = problems.make("closed", (40, 40), seed=0)
    b = compatible(flags, np.random.default_rng(0)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve_pressure(flags, b, method="mic0")


@pytest.mark.parametrize("method", METHODS)
def test_same_bits_for_one_and_two_threads(method):
    flags, b = problems.make("smoke", (150, 140), seed=0)  # long enough for BLAS to use two
    results = []
    for threads in (1, 2):
        with limit_threads(threads):
            results.append(solve_pressure(flags, b, method=method, rtol=0.03))
    assert np.array_equal(*results)


def test_own_direction_for_dcdm():
    flags, b = problems.make("smoke", (20, 20), seed=0)
    seen = []

    def direction(r):
        seen.append(r.shape)
        return r

    p = solve_pressure(flags, b, method="dcdm", direction=direction, rtol=1e-9)
    check(flags, b, p, 1e-9)
    assert set(seen) == {(int((flags == FLUID).sum()),)}


def test_warnings_point_at_the_caller():
    flags, b = problems.make("porous", (40, 40), seed=1)
    with pytest.warns(ConvergenceWarning) as caught:
        solve_pressure(flags, b, method="cg", maxiter=2)
    assert caught[0].filename == __file__
