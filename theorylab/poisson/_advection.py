"""Semi-Lagrangian transport on staggered grids, and what surrounds a projection.

Positions are in cells: cell (i, j) has its centre at (i + 1/2, j + 1/2), the
face between cells i - 1 and i lies at i. A field with offset (ox, oy) has its
sample [i, j] at (i + ox, j + oy).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from .._lib.jit import jit

__all__ = ["advect", "divergence", "extend", "offsets", "subtract_gradient", "valid_faces"]

Field = NDArray[np.float64]
Mask = NDArray[np.uint8]

# Below this many samples a second thread costs more than it saves.
_PARALLEL = 20_000


def offsets(ndim: int, axis: int | None) -> tuple[float, ...]:
    """Return where the samples of a velocity component (`axis`) or of a cell field (None) lie."""
    return tuple(0.0 if k == axis else 0.5 for k in range(ndim))


# --- sampling -------------------------------------------------------------------


@jit
def _span(x: float, n: int) -> Any:
    """Return the samples below and above `x`, clamped to 0 .. n - 1, and the weight of the one above.

    The last pair serves the end as well, so that both ends of an axis are treated alike. The indices are
    unsigned, since signed ones cost a test for negative values at each access: a third of the time.
    """
    x = min(max(x, 0.0), n - 1.0)
    i = max(min(int(x), n - 2), 0)
    return np.uint64(i), np.uint64(min(i + 1, n - 1)), x - i


@jit
def _sample2(f: Field, x: float, y: float) -> Any:
    """Interpolate bilinearly at index coordinates (x, y)."""
    i, p, a = _span(x, f.shape[0])
    j, q, b = _span(y, f.shape[1])
    return (1 - a) * ((1 - b) * f[i, j] + b * f[i, q]) + a * ((1 - b) * f[p, j] + b * f[p, q])


@jit
def _sample3(f: Field, x: float, y: float, z: float) -> Any:
    """Interpolate trilinearly at index coordinates (x, y, z)."""
    i, p, a = _span(x, f.shape[0])
    j, q, b = _span(y, f.shape[1])
    k, r, c = _span(z, f.shape[2])
    low = (1 - b) * ((1 - c) * f[i, j, k] + c * f[i, j, r]) + b * ((1 - c) * f[i, q, k] + c * f[i, q, r])
    high = (1 - b) * ((1 - c) * f[p, j, k] + c * f[p, j, r]) + b * ((1 - c) * f[p, q, k] + c * f[p, q, r])
    return (1 - a) * low + a * high


@jit
def _trace2(u: Field, v: Field, x: float, y: float, dt: float) -> tuple[float, float]:
    """Follow the flow back for a time `dt` by the midpoint rule."""
    xm = x - 0.5 * dt * _sample2(u, x, y - 0.5)
    ym = y - 0.5 * dt * _sample2(v, x - 0.5, y)
    return x - dt * _sample2(u, xm, ym - 0.5), y - dt * _sample2(v, xm - 0.5, ym)


@jit
def _trace3(
    u: Field, v: Field, w: Field, x: float, y: float, z: float, dt: float
) -> tuple[float, float, float]:
    """Follow the flow back for a time `dt` by the midpoint rule."""
    xm = x - 0.5 * dt * _sample3(u, x, y - 0.5, z - 0.5)
    ym = y - 0.5 * dt * _sample3(v, x - 0.5, y, z - 0.5)
    zm = z - 0.5 * dt * _sample3(w, x - 0.5, y - 0.5, z)
    return (
        x - dt * _sample3(u, xm, ym - 0.5, zm - 0.5),
        y - dt * _sample3(v, xm - 0.5, ym, zm - 0.5),
        z - dt * _sample3(w, xm - 0.5, ym - 0.5, zm),
    )


# --- transport ------------------------------------------------------------------


@jit
def _semi_lagrangian2(
    f: Field, out: Field, u: Field, v: Field, dt: float, ox: float, oy: float, low: int, high: int
) -> None:
    """Write rows low .. high - 1 of the transported field."""
    for i in range(low, high):
        for j in range(f.shape[1]):
            x, y = _trace2(u, v, i + ox, j + oy, dt)
            out[i, j] = _sample2(f, x - ox, y - oy)


@jit
def _semi_lagrangian3(
    f: Field, out: Field, u: Field, v: Field, w: Field, dt: float,
    ox: float, oy: float, oz: float, low: int, high: int,
) -> None:  # fmt: skip
    """Write rows low .. high - 1 of the transported field."""
    for i in range(low, high):
        for j in range(f.shape[1]):
            for k in range(f.shape[2]):
                x, y, z = _trace3(u, v, w, i + ox, j + oy, k + oz, dt)
                out[i, j, k] = _sample3(f, x - ox, y - oy, z - oz)


@jit
def _correct2(
    f: Field, first: Field, back: Field, out: Field, u: Field, v: Field, dt: float,
    ox: float, oy: float, low: int, high: int,
) -> None:  # fmt: skip
    """Add half of the error seen there and back, clamped to the samples that the trace ends between."""
    for i in range(low, high):
        for j in range(f.shape[1]):
            x, y = _trace2(u, v, i + ox, j + oy, dt)
            l, p, _ = _span(x - ox, f.shape[0])
            m, q, _ = _span(y - oy, f.shape[1])
            least, most = np.inf, -np.inf
            for value in (f[l, m], f[l, q], f[p, m], f[p, q]):
                least, most = min(least, value), max(most, value)
            out[i, j] = min(max(first[i, j] + 0.5 * (f[i, j] - back[i, j]), least), most)


@jit
def _correct3(
    f: Field, first: Field, back: Field, out: Field, u: Field, v: Field, w: Field, dt: float,
    ox: float, oy: float, oz: float, low: int, high: int,
) -> None:  # fmt: skip
    """Add half of the error seen there and back, clamped to the samples that the trace ends between."""
    for i in range(low, high):
        for j in range(f.shape[1]):
            for k in range(f.shape[2]):
                x, y, z = _trace3(u, v, w, i + ox, j + oy, k + oz, dt)
                l, p, _ = _span(x - ox, f.shape[0])
                m, q, _ = _span(y - oy, f.shape[1])
                n, r, _ = _span(z - oz, f.shape[2])
                least, most = np.inf, -np.inf
                for g in (l, p):
                    for value in (f[g, m, n], f[g, m, r], f[g, q, n], f[g, q, r]):
                        least, most = min(least, value), max(most, value)
                out[i, j, k] = min(max(first[i, j, k] + 0.5 * (f[i, j, k] - back[i, j, k]), least), most)


def _by_rows(kernel: Callable[..., None], rows: int, size: int, *args: Any) -> None:
    """Run ``kernel(*args, low, high)`` on shares of the rows, one a thread; rows are independent."""
    threads = min(numba.get_num_threads(), rows) if size >= _PARALLEL else 1
    cuts = [rows * k // threads for k in range(threads + 1)]
    helpers = [
        threading.Thread(target=kernel, args=(*args, low, high)) for low, high in itertools.pairwise(cuts[1:])
    ]
    for helper in helpers:
        helper.start()
    kernel(*args, cuts[0], cuts[1])
    for helper in helpers:
        helper.join()


def advect(
    f: Field, velocity: tuple[Field, ...], dt: float, axis: int | None, *, maccormack: bool = False
) -> Field:
    """Return `f` carried along by the staggered `velocity` for a time `dt`.

    Parameters
    ----------
    f : ndarray of float64
        A cell field (`axis` None) or the component of a velocity on faces across `axis`.
    velocity : tuple of ndarray
        Components on faces.
    dt : float
        Cells per unit of velocity.
    axis : int or None
    maccormack : bool
        Second-order correction of the semi-Lagrangian step, clamped.
    """
    shift = offsets(f.ndim, axis)
    step, correct = (_semi_lagrangian2, _correct2) if f.ndim == 2 else (_semi_lagrangian3, _correct3)  # type: tuple[Callable[..., None], Callable[..., None]]
    first = np.empty_like(f)
    _by_rows(step, len(f), f.size, f, first, *velocity, dt, *shift)
    if not maccormack:
        return first
    back, out = np.empty_like(f), np.empty_like(f)
    _by_rows(step, len(f), f.size, first, back, *velocity, -dt, *shift)
    _by_rows(correct, len(f), f.size, f, first, back, out, *velocity, dt, *shift)
    return out


# --- surroundings of a projection ------------------------------------------------


def _sides(ndim: int, axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the index of all but the last and of all but the first layer along `axis`."""
    lower = tuple(slice(None, -1) if k == axis else slice(None) for k in range(ndim))
    upper = tuple(slice(1, None) if k == axis else slice(None) for k in range(ndim))
    return lower, upper


def valid_faces(cells: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Tell which faces across `axis` touch one of the marked cells."""
    shape = list(cells.shape)
    shape[axis] += 1
    faces = np.zeros(shape, bool)
    lower, upper = _sides(cells.ndim, axis)
    faces[lower] |= cells
    faces[upper] |= cells
    return faces


def divergence(velocity: tuple[Field, ...]) -> Field:
    """Return the sum of outgoing face velocities of each cell."""
    total: Field = np.diff(velocity[0], axis=0)
    for axis in range(1, len(velocity)):
        total += np.diff(velocity[axis], axis=axis)
    return total


def subtract_gradient(velocity: tuple[Field, ...], p: Field, moved: tuple[Field, ...]) -> None:
    """Subtract the pressure difference from the inner faces, where `moved` is 1, in place."""
    for axis, u in enumerate(velocity):
        lower, upper = _sides(p.ndim, axis)
        inner = tuple(slice(1, -1) if k == axis else slice(None) for k in range(p.ndim))
        u[inner] -= (p[upper] - p[lower]) * moved[axis][inner]


@jit
def _extend(f: Field, known: Mask, layers: int) -> None:
    """Fill unknown samples with the mean of their known neighbours, layer by layer, the rest with 0."""
    n0, n1, n2 = f.shape
    count = 0
    for i in range(n0):
        for j in range(n1):
            for k in range(n2):
                count += 1 - known[i, j, k]
    todo, fresh = np.empty((count, 3), np.int64), np.empty((count, 3), np.int64)
    count = 0
    for i in range(n0):
        for j in range(n1):
            for k in range(n2):
                if not known[i, j, k]:
                    f[i, j, k] = 0.0
                    todo[count, 0], todo[count, 1], todo[count, 2] = i, j, k
                    count += 1
    for _ in range(layers):
        left, filled = 0, 0
        for t in range(count):
            i, j, k = todo[t, 0], todo[t, 1], todo[t, 2]
            total, neighbours = 0.0, 0
            for side in range(6):
                step = 2 * (side % 2) - 1
                p = i + (step if side < 2 else 0)
                q = j + (step if side // 2 == 1 else 0)
                r = k + (step if side >= 4 else 0)
                if 0 <= p < n0 and 0 <= q < n1 and 0 <= r < n2 and known[p, q, r]:
                    total += f[p, q, r]
                    neighbours += 1
            if neighbours:
                f[i, j, k] = total / neighbours
                # Entry by entry: copies of rows cost seconds of compilation.
                fresh[filled, 0], fresh[filled, 1], fresh[filled, 2] = i, j, k
                filled += 1
            else:
                todo[left, 0], todo[left, 1], todo[left, 2] = i, j, k
                left += 1
        # Marked only now: a sample never leans on others of its own layer.
        for t in range(filled):
            known[fresh[t, 0], fresh[t, 1], fresh[t, 2]] = 1
        count = left


def extend(f: Field, known: NDArray[np.bool_], layers: int) -> None:
    """Continue `f` from the known samples over `layers` layers of its surroundings, in place.

    Each new sample is the mean of its neighbours in the layers before, so that
    a constant field stays constant. What lies farther away becomes 0.
    """
    lift = (1,) * (3 - f.ndim) + f.shape
    _extend(f.reshape(lift), known.astype(np.uint8).reshape(lift), layers)
