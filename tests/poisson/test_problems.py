"""Domains and right-hand sides: what each family promises, on shapes of every kind."""

import numpy as np
import pytest
from scipy import ndimage

from theorylab.poisson import problems
from theorylab.poisson._grid import AIR, FLUID, SOLID

SHAPES = [(3, 3), (4, 4), (31, 17), (64, 64), (40, 96), (3, 4, 5), (9, 16, 7), (24, 24, 24)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("family", problems.FAMILIES)
def test_every_domain_is_one_component(family, shape):
    for seed in range(5):
        flags, b = problems.make(family, shape, seed=seed)
        assert flags.shape == b.shape == shape
        assert flags.dtype == np.uint8
        assert flags.flags.c_contiguous
        assert set(np.unique(flags)) <= {SOLID, FLUID, AIR}
        assert b.dtype == np.float64
        assert np.isfinite(b).all()
        assert not b[flags != FLUID].any()
        assert ndimage.label(flags == FLUID)[1] == 1  # faces connect, from outside our labelling
        assert (AIR in flags) == (family != "closed")


@pytest.mark.parametrize("rhs", problems.RIGHT_HAND_SIDES)
@pytest.mark.parametrize("family", problems.FAMILIES)
def test_equal_seeds_give_equal_problems(family, rhs):
    first, again = (problems.make(family, (24, 20), seed=7, rhs=rhs) for _ in range(2))
    from_generator = problems.make(family, (24, 20), seed=np.random.default_rng(7), rhs=rhs)
    for other in (again, from_generator):
        np.testing.assert_array_equal(first.flags, other.flags)
        np.testing.assert_array_equal(first.b, other.b)
    assert first.b.any()
    different = problems.make(family, (24, 20), seed=8, rhs=rhs)
    assert (different.b != first.b).any()


def test_a_generator_moves_on():
    rng = np.random.default_rng(0)
    assert (problems.domain("porous", (32, 32), rng) != problems.domain("porous", (32, 32), rng)).any()


def test_the_empty_box_has_a_ring_of_air():
    flags = problems.domain("empty", (6, 5, 4))
    assert (flags[1:-1, 1:-1, 1:-1] == FLUID).all()
    assert (flags == AIR).sum() == 6 * 5 * 4 - 4 * 3 * 2


@pytest.mark.parametrize("family", ["smoke", "walls", "porous"])
def test_the_top_is_open(family):
    flags = problems.domain(family, (40, 30, 20), seed=2)
    assert (flags[:, -1] == AIR).all()
    assert not (flags[:, :-1] == AIR).any()


def test_walls_are_thin_and_have_gaps():
    for seed in range(10):
        flags = problems.domain("walls", (128, 128), seed=seed)
        share = (flags[:, :-1] == SOLID).mean(axis=0)
        walls = np.flatnonzero(share > 0.6)
        # One cell thick, with a gap of 0.15 (19 of 128 cells) that balls may narrow.
        assert 2 <= len(walls) <= 4
        assert (np.diff(walls) > 1).all()
        assert (share[walls] < 1).all()


@pytest.mark.parametrize("family", ["smoke", "walls", "porous", "liquid"])
def test_the_fluid_touches_the_air(family):
    for seed in range(10):
        flags = problems.domain(family, (64, 48), seed=seed)
        assert (ndimage.binary_dilation(flags == AIR) & (flags == FLUID)).any()


def test_porous_solid_has_the_share_of_a_normal_tail():
    share = np.mean([(problems.domain("porous", (256, 256), seed=k) == SOLID).mean() for k in range(8)])
    # P(z > 0.6) = 0.274; sealed pockets add to it, each sample scatters by about 0.02.
    assert 0.25 < share < 0.32


def test_liquid_lies_below_air():
    flags = problems.domain("liquid", (48, 64, 32), seed=1)
    heights = np.where(flags == AIR, np.arange(64)[None, :, None], 64).min(axis=1)
    fluid = np.where(flags == FLUID, np.arange(64)[None, :, None], -1).max(axis=1)
    assert (fluid < heights).all()
    assert 0.3 < heights.mean() / 64 < 0.8


@pytest.mark.parametrize("rhs", problems.RIGHT_HAND_SIDES)
def test_closed_domains_get_compatible_right_hand_sides(rhs):
    flags, b = problems.make("closed", (40, 33), seed=4, rhs=rhs)
    # Sums of 1300 numbers of size 1, each rounded: far below 1e-12 * 1300.
    assert abs(b.sum()) < 1e-10
    assert b.any()
    assert not b[flags != FLUID].any()


def test_divergence_counts_open_faces_only(monkeypatch):
    """For a constant velocity 1 along each axis, -div is (open low faces) - (open high faces)."""
    monkeypatch.setattr(problems, "_smooth_noise", lambda shape, sigma, rng: np.ones(shape))

    class Silent(np.random.Generator):
        def standard_normal(self, size=None):
            return np.zeros(size)

    flags = problems.domain("closed", (12, 9), seed=1)
    flags[5:7, 3:5] = SOLID
    flags[0, 0] = AIR
    b = problems.right_hand_side(flags, "div", Silent(np.random.PCG64(0)))
    padded = np.pad(flags, 1) != SOLID
    for i, j in np.ndindex(flags.shape):
        here = (i + 1, j + 1)
        expected = float(padded[i, j + 1]) - padded[i + 2, j + 1] + padded[i + 1, j] - padded[i + 1, j + 2]
        assert b[i, j] == (expected if flags[i, j] == FLUID else 0), here


def test_smooth_noise_has_its_width_and_unit_deviation():
    rng, sigma = np.random.default_rng(0), 8.0
    noise = [problems._smooth_noise((256, 250), sigma, rng) for _ in range(8)]
    assert all(abs(z.mean()) < 1e-12 and abs(z.std() - 1) < 1e-12 for z in noise)
    # White noise filtered with width s has the correlation exp(-d^2 / 4 s^2): 1/e at d = 2 s. Each field
    # holds about 256 * 250 / (4 pi s^2) = 80 independent patches, hence 0.04 over eight fields.
    for axis in (0, 1):
        lag = np.mean([(z * np.roll(z, 16, axis)).mean() for z in noise])
        assert abs(lag - np.exp(-1)) < 0.12


def test_white_and_point():
    flags, b = problems.make("empty", (130, 130), seed=3, rhs="white")
    values = b[flags == FLUID]
    assert abs(values.std() - 1) < 0.03  # 16384 normals: 0.0055 at one standard error
    flags, b = problems.make("smoke", (20, 20), seed=3, rhs="point")
    assert (b != 0).sum() == 1
    assert b.max() == 1


def test_simulated_right_hand_side_is_that_of_the_last_step():
    flags, b = problems.make("smoke", (32, 40), seed=5, rhs="sim")
    assert b.any()
    assert not b[flags != FLUID].any()
    # Buoyancy acts in the plume only, projections remove the rest: most of b is small.
    assert np.median(np.abs(b[flags == FLUID])) < 0.1 * np.abs(b).max()


@pytest.mark.parametrize("shape", [(32,), (4, 4, 4, 4), (2, 8), (8.0, 8), 16, (True, 8)])
def test_bad_shapes(shape):
    with pytest.raises((ValueError, TypeError), match="shape"):
        problems.make("smoke", shape)


def test_bad_names_and_seeds():
    with pytest.raises(ValueError, match="family must be one of 'empty', 'smoke'"):
        problems.make("steam", (8, 8))
    with pytest.raises(ValueError, match="rhs must be one of 'div', 'white'"):
        problems.make("smoke", (8, 8), rhs="red")
    with pytest.raises(TypeError, match="seed must be None, an integer"):
        problems.make("smoke", (8, 8), seed="one")
    with pytest.raises(ValueError, match="no FLUID cell"):
        problems.right_hand_side(np.zeros((4, 4), np.uint8))
