"""Obviously right, slow versions: the operator by loops over cells, solutions by dense algebra."""

import itertools

import numpy as np
from hypothesis import strategies as st

SOLID, FLUID, AIR = 0, 1, 2


def neighbours(cell, shape):
    """Yield (axis, face index, neighbour or None) for the 2d faces of a cell."""
    for axis in range(len(shape)):
        for side in (0, 1):
            other = list(cell)
            other[axis] += 2 * side - 1
            face = list(cell)
            face[axis] += side
            inside = 0 <= other[axis] < shape[axis]
            yield axis, tuple(face), tuple(other) if inside else None


def matrix(flags, weights=None):
    """Return the dense matrix on the FLUID cells in C order, straight from (2.1)."""
    flags = np.asarray(flags)
    cells = [c for c in itertools.product(*map(range, flags.shape)) if flags[c] == FLUID]
    number = {c: i for i, c in enumerate(cells)}
    A = np.zeros((len(cells), len(cells)))
    for cell, i in number.items():
        for axis, face, other in neighbours(cell, flags.shape):
            if other is None or flags[other] == SOLID:
                continue
            w = 1.0 if weights is None else weights[axis][face]
            A[i, i] += w
            if flags[other] == FLUID:
                A[i, number[other]] -= w
    return A


def component_labels(flags):
    """Return labels by flood fill, numbered by first cell in C order, and which components are closed."""
    flags = np.asarray(flags)
    labels = np.full(flags.shape, -1)
    closed = []
    for cell in itertools.product(*map(range, flags.shape)):
        if flags[cell] != FLUID or labels[cell] >= 0:
            continue
        labels[cell] = len(closed)
        closed.append(True)
        pending = [cell]
        while pending:
            for _, _, other in neighbours(pending.pop(), flags.shape):
                if other is None or flags[other] == SOLID:
                    continue
                if flags[other] == AIR:
                    closed[-1] = False
                elif labels[other] < 0:
                    labels[other] = labels[cell]
                    pending.append(other)
    return labels, np.array(closed, dtype=bool)


def pressure(flags, b):
    """Return the pressure of least norm by dense least squares, after removing means on closed components."""
    flags = np.asarray(flags)
    labels, closed = component_labels(flags)
    right = np.array(b, dtype=np.float64)
    for k in np.flatnonzero(closed):
        right[labels == k] -= right[labels == k].mean()
    p = np.zeros(flags.shape)
    p[flags == FLUID] = np.linalg.lstsq(matrix(flags), right[flags == FLUID], rcond=1e-11)[0]
    return p


def face_shapes(shape):
    """Return the shapes of the face arrays of a grid."""
    return [tuple(n + (a == axis) for a, n in enumerate(shape)) for axis in range(len(shape))]


def random_faces(shape, rng):
    """Return normal velocities on all faces."""
    return [rng.standard_normal(s) for s in face_shapes(shape)]


def divergence(velocity):
    """Return the sum of the outgoing face velocities of each cell."""
    return sum(np.diff(v, axis=axis) for axis, v in enumerate(velocity))


def box(n, d, ring=AIR):
    """Return n^d FLUID cells in a ring."""
    return np.pad(np.full((n,) * d, FLUID, np.uint8), 1, constant_values=ring)


@st.composite
def grids(draw, largest=7):
    """Draw flags in 2-D or 3-D: open and dense noise, thin walls, sealed pockets, odd sizes, single cells."""
    d = draw(st.sampled_from([2, 2, 3]))
    shape = tuple(draw(st.integers(1, largest if d == 2 else 4)) for _ in range(d))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    solid, air = draw(st.sampled_from([(0.1, 0.1), (0.5, 0.05), (0.3, 0.0), (0.0, 0.0), (0.0, 0.4)]))
    flags = rng.choice(3, size=shape, p=[solid, 1 - solid - air, air]).astype(np.uint8)
    if draw(st.booleans()):
        axis = int(rng.integers(d))
        wall = [slice(None)] * d
        wall[axis] = int(rng.integers(shape[axis]))
        flags[tuple(wall)] = SOLID
    if not (flags == FLUID).any():
        flags.flat[int(rng.integers(flags.size))] = FLUID
    return flags
