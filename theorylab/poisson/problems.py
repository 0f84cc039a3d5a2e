"""Generate pressure problems: domains with obstacles, and right-hand sides.

Each family is a law of random domains on a grid of cells. Lengths are shares
of the shortest side, the vertical axis is the second one, in 2-D and in 3-D.

===========  ================================================================
`empty`      a box whose outermost layer of cells is AIR
`smoke`      SOLID sides, an AIR layer on top, 1-4 balls and 0-2 boxes
`closed`     the same obstacles, SOLID all around
`walls`      2-4 thin horizontal walls with one gap each, and 2 balls, AIR top
`porous`     SOLID where filtered noise exceeds 0.6 standard deviations
`liquid`     a random height field with AIR above, and 1-3 balls
===========  ================================================================

>>> from theorylab.poisson import problems
>>> flags, b = problems.make("smoke", (32, 48), seed=1)
>>> flags.shape, flags.dtype, b.dtype
((32, 48), dtype('uint8'), dtype('float64'))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from .._lib.checks import check_choice, check_int
from .._lib.rng import RNGLike, as_generator
from ._grid import AIR, FLUID, SOLID, check_flags, label_cells

__all__ = ["FAMILIES", "RIGHT_HAND_SIDES", "Problem", "check_sides", "domain", "make", "right_hand_side"]

UP = 1  # the vertical axis
_ATTEMPTS = 20

Flags = NDArray[np.uint8]
Field = NDArray[np.float64]


class Problem(NamedTuple):
    """A domain and a right-hand side; unpacks as ``flags, b``.

    Attributes
    ----------
    flags : ndarray of uint8, shape (nx, ny) or (nx, ny, nz)
        0 is SOLID, 1 is FLUID, 2 is AIR.
    b : ndarray of float64, same shape
        Zero outside FLUID cells.
    """

    flags: Flags
    b: Field


def make(family: str, shape: tuple[int, ...], seed: RNGLike = 0, rhs: str = "div") -> Problem:
    """Draw one problem of a family.

    Parameters
    ----------
    family : {'empty', 'smoke', 'closed', 'walls', 'porous', 'liquid'}
    shape : tuple of 2 or 3 int
        Cells along each axis, at least 3; odd and unequal sides are legal.
    seed : int, SeedSequence or Generator
        Equal seeds give equal problems; a Generator is drawn from and moves on.
    rhs : {'div', 'white', 'point', 'sim'}
        See :func:`right_hand_side`.

    Returns
    -------
    Problem
        Named tuple ``(flags, b)``.

    Raises
    ------
    ValueError
        For an unknown family or right-hand side, or a bad shape.

    Notes
    -----
    Costs a few Fourier transforms of the grid: 0.2 s for 1024 x 1024 cells.

    Examples
    --------
    >>> from theorylab.poisson import problems
    >>> flags, b = problems.make("closed", (16, 16, 16), seed=3)
    >>> bool(abs(b.sum()) < 1e-10)  # SOLID all around: what flows out flows in
    True
    """
    rng = as_generator(seed, "seed")
    flags = domain(family, shape, rng)
    return Problem(flags, right_hand_side(flags, rhs, rng))


def domain(family: str, shape: tuple[int, ...], seed: RNGLike = 0) -> Flags:
    """Draw the cell flags of one domain.

    The largest connected set of FLUID cells is kept, the rest of the fluid
    becomes SOLID. A draw that cuts off a tenth of its fluid, or the fluid from
    the AIR, is drawn anew, up to 20 times.

    Parameters
    ----------
    family, shape, seed
        As in :func:`make`.

    Returns
    -------
    ndarray of uint8
        0 is SOLID, 1 is FLUID, 2 is AIR. One connected FLUID component.
    """
    check_choice(family, "family", FAMILIES)
    sides = check_sides(shape)
    rng = as_generator(seed, "seed")
    best, most = None, -2.0
    for _ in range(_ATTEMPTS):
        flags = _FAMILIES[family](sides, rng)
        score = _keep_largest(flags)
        if score > most:
            best, most = flags, score
        if score >= 0.9:
            break
    if best is None:
        raise ValueError(
            f"the family {family!r} left no FLUID cell in shape {sides}; pass a larger shape or another seed"
        )
    return best


def right_hand_side(flags: Flags, kind: str = "div", seed: RNGLike = 0) -> Field:
    """Draw a right-hand side on the FLUID cells of a domain.

    Parameters
    ----------
    flags : ndarray of uint8
    kind : {'div', 'white', 'point', 'sim'}
        `div`: minus the divergence of a random velocity (smooth noise of unit
        standard deviation and correlation length 1/32 plus 0.2 of white noise, zero
        on SOLID faces). `white`: independent normals. `point`: 1 in one random
        cell. `sim`: what a smoke simulation around these obstacles passes to
        its pressure solver after a few steps (:mod:`theorylab.poisson.smoke`).
    seed : int, SeedSequence or Generator

    Returns
    -------
    ndarray of float64, shape of flags
        Zero outside FLUID. Where no FLUID cell touches AIR, the mean over each
        component is removed, without which no solution exists.
    """
    check_choice(kind, "rhs", RIGHT_HAND_SIDES)
    rng = as_generator(seed, "seed")
    flags = check_flags(flags)
    fluid = flags == FLUID
    b = np.zeros(flags.shape)
    if kind == "div":
        b[fluid] = _random_divergence(flags, rng)[fluid]
        return b
    if kind == "white":
        b[fluid] = rng.standard_normal(int(fluid.sum()))
    elif kind == "point":
        cells = np.flatnonzero(fluid)
        b.flat[cells[rng.integers(len(cells))]] = 1.0
    else:
        from .smoke import pressure_right_hand_side

        return pressure_right_hand_side(flags, rng)
    return _remove_means(b, flags)


# --- geometry -----------------------------------------------------------------


def check_sides(shape: Any) -> tuple[int, ...]:
    """Return the sides as ints; 2 or 3 of them, each at least 3."""
    try:
        sides = tuple(shape)
    except TypeError:
        raise ValueError(f"shape must be a tuple of 2 or 3 integers, got {shape!r}") from None
    if len(sides) not in (2, 3):
        raise ValueError(f"shape must have 2 or 3 sides, got {shape!r}")
    return tuple(check_int(n, "each side of shape", low=3) for n in sides)


def _coordinates(shape: tuple[int, ...]) -> list[Field]:
    """Return the open grid of cell centres in units of the shortest side."""
    n = min(shape)
    return [
        (np.arange(side) + 0.5).reshape([-1 if k == axis else 1 for k in range(len(shape))]) / n
        for axis, side in enumerate(shape)
    ]


def _balls(flags: Flags, count: int, rng: np.random.Generator) -> None:
    """Make `count` balls of radius 0.05-0.15 SOLID."""
    x = _coordinates(flags.shape)
    extent = np.array(flags.shape) / min(flags.shape)
    for _ in range(count):
        radius = rng.uniform(0.05, 0.15)
        centre = rng.uniform(0.15, 0.85, flags.ndim) * extent
        flags[sum((xi - c) ** 2 for xi, c in zip(x, centre)) < radius**2] = SOLID


def _boxes(flags: Flags, count: int, rng: np.random.Generator) -> None:
    """Make `count` boxes of half-widths 0.03-0.1 SOLID."""
    n = min(flags.shape)
    for _ in range(count):
        centre = rng.uniform(0.15, 0.85, flags.ndim) * flags.shape
        half = rng.uniform(0.03, 0.1, flags.ndim) * n
        corner = zip(np.maximum(np.round(centre - half), 0).astype(int), np.round(centre + half).astype(int))
        flags[tuple(slice(low, high) for low, high in corner)] = SOLID


def _top(flags: Flags) -> None:
    """Open the upper end: the last layer along the vertical axis becomes AIR."""
    flags[:, -1] = AIR


def _empty(shape: tuple[int, ...], rng: np.random.Generator) -> Flags:
    """Return a box of FLUID in a ring of AIR."""
    flags = np.full(shape, AIR, np.uint8)
    flags[tuple(slice(1, -1) for _ in shape)] = FLUID
    return flags


def _closed(shape: tuple[int, ...], rng: np.random.Generator) -> Flags:
    """Return 1-4 balls and 0-2 boxes in a closed box."""
    flags = np.full(shape, FLUID, np.uint8)
    _balls(flags, int(rng.integers(1, 5)), rng)
    _boxes(flags, int(rng.integers(0, 3)), rng)
    return flags


def _smoke(shape: tuple[int, ...], rng: np.random.Generator) -> Flags:
    """Return the obstacles of `closed` under an open top."""
    flags = _closed(shape, rng)
    _top(flags)
    return flags


def _walls(shape: tuple[int, ...], rng: np.random.Generator) -> Flags:
    """Return 2-4 horizontal walls, each with one gap of width 0.15, and 2 balls."""
    flags = np.full(shape, FLUID, np.uint8)
    n = min(shape)
    thickness, gap = max(1, n // 128), max(1, round(0.15 * n))
    _balls(flags, 2, rng)
    count = int(rng.integers(2, 5))
    for k in range(count):
        # One wall in each share of the height, so that no two of them touch.
        y = int((k + rng.uniform(0.4, 0.9)) / (count + 0.5) * shape[UP])
        layer = slice(y, y + thickness)
        hole: list[slice] = [layer if axis == UP else slice(None) for axis in range(len(shape))]
        flags[tuple(hole)] = SOLID
        for axis, side in enumerate(shape):
            if axis != UP:
                start = int(rng.integers(0, side - gap + 1))
                hole[axis] = slice(start, start + gap)
        flags[tuple(hole)] = FLUID
    _top(flags)
    return flags


def _porous(shape: tuple[int, ...], rng: np.random.Generator) -> Flags:
    """Return SOLID where filtered noise exceeds 0.6 standard deviations, under an open top."""
    flags = np.where(_smooth_noise(shape, min(shape) / 40, rng) > 0.6, SOLID, FLUID).astype(np.uint8)
    _top(flags)
    return flags


def _liquid(shape: tuple[int, ...], rng: np.random.Generator) -> Flags:
    """Return a random height field of FLUID with AIR above, and 1-3 balls."""
    side = shape[:UP] + shape[UP + 1 :]
    height = 0.55 + 0.12 * _smooth_noise(side, min(shape) / 8, rng)
    y = (np.arange(shape[UP]) + 0.5) / shape[UP]
    below = np.expand_dims(np.clip(height, 0.1, 0.95), UP) > y.reshape(1, -1, *[1] * (len(shape) - 2))
    flags = np.where(below, FLUID, AIR).astype(np.uint8)
    _balls(flags, int(rng.integers(1, 4)), rng)
    return flags


def _keep_largest(flags: Flags) -> float:
    """Turn all FLUID cells outside the largest component into SOLID, in place.

    Returns the share that is kept, less 1 where it lost touch with the AIR; -2 for no fluid.
    """
    parts = label_cells(flags)
    if not parts.n:
        return -2.0
    largest = int(parts.sizes.argmax())
    flags[(parts.labels >= 0) & (parts.labels != largest)] = SOLID
    lost = bool(parts.closed[largest]) and bool((flags == AIR).any())
    return float(parts.sizes[largest] / parts.sizes.sum()) - lost


_FAMILIES: dict[str, Callable[[tuple[int, ...], np.random.Generator], Flags]] = {
    "empty": _empty,
    "smoke": _smoke,
    "closed": _closed,
    "walls": _walls,
    "porous": _porous,
    "liquid": _liquid,
}

#: Names of the families, in the order of the table above.
FAMILIES: tuple[str, ...] = tuple(_FAMILIES)

#: Names of the right-hand sides.
RIGHT_HAND_SIDES: tuple[str, ...] = ("div", "white", "point", "sim")


# --- right-hand sides -----------------------------------------------------------


def _smooth_noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Field:
    """Return periodic Gaussian noise, filtered with width `sigma` cells, of unit sample deviation."""
    spectrum = fft.rfftn(rng.standard_normal(shape))
    for axis, side in enumerate(shape):
        f = fft.rfftfreq(side) if axis == len(shape) - 1 else fft.fftfreq(side)
        decay = np.exp(-2.0 * (np.pi * sigma * f) ** 2)
        spectrum *= decay.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    noise: Field = fft.irfftn(spectrum, s=shape)
    noise -= noise.mean()
    return noise / (float(noise.std()) or 1.0)


def _random_divergence(flags: Flags, rng: np.random.Generator) -> Field:
    """Return minus the divergence of a random velocity that vanishes on SOLID faces."""
    b = np.zeros(flags.shape)
    open_cell = flags != SOLID
    for axis in range(flags.ndim):
        u = _smooth_noise(flags.shape, min(flags.shape) / 32, rng) + 0.2 * rng.standard_normal(flags.shape)
        left = tuple(slice(None, -1) if k == axis else slice(None) for k in range(flags.ndim))
        right = tuple(slice(1, None) if k == axis else slice(None) for k in range(flags.ndim))
        # u[right] lives on the faces between left and right; the outer faces are SOLID.
        flux = np.where(open_cell[left] & open_cell[right], u[right], 0.0)
        b[left] -= flux
        b[right] += flux
    return b


def _remove_means(b: Field, flags: Flags) -> Field:
    """Subtract the mean on each FLUID component that touches no AIR."""
    labels, n, sizes, closed = label_cells(flags)
    if closed.any():
        fluid = labels >= 0
        means = np.bincount(labels[fluid], weights=b[fluid], minlength=n) / sizes
        b[fluid] -= np.where(closed, means, 0.0)[labels[fluid]]
    return b
