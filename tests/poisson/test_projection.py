"""Projected velocities: no divergence, walls kept, gradients of potentials removed."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theorylab.poisson import IncompatibleRightHandSideWarning, SolveInfo, problems, project
from theorylab.testing import assert_close

from .reference import (
    AIR,
    FLUID,
    SOLID,
    box,
    divergence,
    face_shapes,
    grids,
    neighbours,
    pressure,
    random_faces,
)


def faces_of_solids(flags):
    """Return masks of the faces at SOLID cells and at the rim."""
    solid = np.pad(flags, 1, constant_values=SOLID) == SOLID
    masks = []
    for axis in range(flags.ndim):
        inner = solid[tuple(slice(None) if a == axis else slice(1, -1) for a in range(flags.ndim))]
        n = inner.shape[axis]
        masks.append(np.take(inner, range(n - 1), axis) | np.take(inner, range(1, n), axis))
    return masks


@settings(max_examples=40)
@given(grids(), st.integers(0, 10**6))
def test_no_divergence_is_left(flags, seed):
    faces = random_faces(flags.shape, np.random.default_rng(seed))
    *velocity, p = project(*faces, flags, rtol=1e-13, method="cg")
    fluid = flags == FLUID
    assert np.abs(divergence(velocity)[fluid]).max() < 1e-12
    for v, mask in zip(velocity, faces_of_solids(flags)):
        assert not v[mask].any()
    closed = [np.where(mask, 0, v) for v, mask in zip(faces, faces_of_solids(flags))]
    b = np.where(fluid, -divergence(closed), 0)
    assert np.abs(p - pressure(flags, b)).max() <= 1e-10 * max(1, np.abs(p).max())


@pytest.mark.parametrize("method", ["learned-mg", "mg", "cg", "jacobi", "ic0", "mic0", "deflated", "dcdm"])
@pytest.mark.parametrize("shape", [(19, 16), (7, 9, 8)])
def test_every_method(method, shape):
    flags, _ = problems.make("smoke", shape, seed=0)
    faces = random_faces(shape, np.random.default_rng(0))
    *velocity, _, info = project(*faces, flags, rtol=1e-10, method=method, return_info=True)
    assert isinstance(info, SolveInfo)
    assert np.abs(divergence(velocity)[flags == FLUID]).max() < 1e-8


def test_gradients_vanish_and_projected_fields_stay():
    """The projection of a gradient is zero; projecting twice changes nothing."""
    flags = box(9, 2)
    q = np.where(flags == FLUID, np.random.default_rng(0).standard_normal(flags.shape), 0)
    faces = [np.zeros(s) for s in face_shapes(flags.shape)]
    for axis, face in enumerate(faces):
        inner = tuple(slice(1, -1) if a == axis else slice(None) for a in range(2))
        face[inner] = np.diff(q, axis=axis)
    u, v, p = project(*faces, flags, rtol=1e-13, method="mic0")
    assert_close(p, q, rtol=0, atol=1e-11)
    assert max(np.abs(u).max(), np.abs(v).max()) < 1e-11
    u, v, _ = project(*random_faces(flags.shape, np.random.default_rng(1)), flags, rtol=1e-12, method="cg")
    u2, v2, p2 = project(u, v, flags, rtol=1e-12, method="cg")
    assert_close(u2, u, rtol=0, atol=1e-10)
    assert_close(v2, v, rtol=0, atol=1e-10)
    assert np.abs(p2).max() < 1e-10


def test_closed_domains_need_no_warning_however_small_the_divergence():
    flags, _ = problems.make("closed", (33, 30), seed=0)
    u, v = random_faces(flags.shape, np.random.default_rng(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            u, v, _ = project(u, v, flags, rtol=1e-9, method="mic0")
    assert np.abs(divergence((u, v))[flags == FLUID]).max() < 1e-12


def test_moving_solids():
    """A piston pushes fluid towards the opening; in a closed box it has nowhere to go."""
    flags = np.array([[SOLID, FLUID, FLUID, AIR]])
    u, v = np.zeros((2, 4)), np.zeros((1, 5))
    pushed = np.zeros((1, 5))
    pushed[0, 1] = 0.25
    u, v, _ = project(u, v, flags, rtol=1e-12, method="cg", solid_velocity=(0, pushed))
    assert_close(v, np.array([[0.0, 0.25, 0.25, 0.25, 0.0]]), rtol=1e-11, atol=1e-12)
    flags[0, 3] = SOLID
    with pytest.warns(IncompatibleRightHandSideWarning):
        project(u, v, flags, method="cg", solid_velocity=(0, pushed))


def test_calls_layouts_and_dtypes():
    flags, _ = problems.make("smoke", (12, 15), seed=0)
    u, v = random_faces(flags.shape, np.random.default_rng(3))
    expected = project(u, v, flags, rtol=1e-10, method="cg")
    for array in (u, v, flags):
        array.flags.writeable = False
    before = u.copy()
    variants = [
        project(u, v, flags=flags, rtol=1e-10, method="cg"),
        project(
            np.asfortranarray(u),
            np.repeat(v, 2, axis=0)[::2],
            np.asfortranarray(flags),
            rtol=1e-10,
            method="cg",
        ),
        project(u.tolist(), v.tolist(), flags.tolist(), rtol=1e-10, method="cg"),
        project(u, v, flags, rtol=1e-10, method="cg", x0=expected[2]),
    ]
    for got in variants:
        for a, b in zip(got, expected):
            assert_close(a, b, rtol=0, atol=1e-8)
    assert (u == before).all()
    single = project(u.astype(np.float32), v.astype(np.float32), flags, rtol=1e-10, method="cg")
    assert {a.dtype for a in single} == {np.dtype(np.float32)}
    assert_close(single[0], expected[0].astype(np.float32), rtol=0, atol=1e-5)
    assert project(u.astype(np.float32), v, flags, method="cg")[0].dtype == np.float64
    assert project(u.astype(int), v.astype(int), flags, method="cg")[0].dtype == np.float64


def test_faces_between_openings_are_left_alone():
    flags = np.array([[FLUID, AIR, AIR]])
    v = np.array([[0.0, 1.0, 5.0, 0.0]])
    _, out, _ = project(np.zeros((2, 3)), v, flags, method="cg")
    assert out[0, 2] == 5.0


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((np.zeros((5, 4)),), {}, TypeError, "project takes u, v, flags"),
        ((np.zeros((5, 4)), box(2, 2)), {}, ValueError, "got 1 velocity arrays for flags of shape"),
        (
            (np.zeros((4, 5)), np.zeros((5, 4)), box(2, 2)),
            {},
            ValueError,
            r"u has shape \(4, 5\), expected \(5, 4\)",
        ),
        ((np.zeros((5, 4)), np.zeros((4, 4)), box(2, 2)), {}, ValueError, r"v has shape \(4, 4\)"),
        ((np.full((5, 4), np.nan), np.zeros((4, 5)), box(2, 2)), {}, ValueError, "u contains nan"),
        ((np.zeros((5, 4)) * 1j, np.zeros((4, 5)), box(2, 2)), {}, TypeError, "u is complex"),
        ((np.zeros((5, 4)), np.zeros((4, 5)), np.ones((4, 4))), {}, ValueError, "flags has dtype"),
        ((np.zeros((5, 4)), np.zeros((4, 5)), box(2, 2)), {"rtol": 0}, ValueError, "rtol must lie in"),
        (
            (np.zeros((5, 4)), np.zeros((4, 5)), box(2, 2)),
            {"method": "fft"},
            ValueError,
            "method must be one of",
        ),
        ((np.zeros((5, 4)), np.zeros((4, 5)), box(2, 2)), {"x0": np.ones(4)}, ValueError, "x0 has shape"),
        (
            (np.zeros((5, 4)), np.zeros((4, 5)), box(2, 2)),
            {"solid_velocity": (0,)},
            ValueError,
            "has 1 entries",
        ),
        (
            (np.zeros((5, 4)), np.zeros((4, 5)), box(2, 2)),
            {"solid_velocity": (0, np.ones(3))},
            ValueError,
            r"solid_velocity\[1\] has shape \(3,\)",
        ),
    ],
)
def test_bad_input(arguments, options, error, text):
    with pytest.raises(error, match=text):
        project(*arguments, **options)


def test_reference_and_flags_agree_on_neighbours():
    """Each cell has 2d faces in the reference: a check of the checker."""
    assert len(list(neighbours((0, 0), (3, 3)))) == 4
    assert sum(other is None for *_, other in neighbours((0, 0), (3, 3))) == 2
