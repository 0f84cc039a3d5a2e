"""The multigrid preconditioner from equations (2.1), (7.1), (7.2): dictionaries, loops, dense matrices."""

import itertools

import numpy as np
import scipy.linalg

COARSEST = 64


def connected(cells, coupled):
    """Split `cells` into connected sets, ordered by their first member."""
    left, parts = list(cells), []
    while left:
        part, todo = set(), [left[0]]
        while todo:
            i = todo.pop()
            if i not in part:
                part.add(i)
                todo += [j for j in coupled.get(i, {}) if j in left and j not in part]
        parts.append([i for i in left if i in part])
        left = [i for i in left if i not in part]
    return parts


def first_level(flags):
    """Return places, couplings and couplings to AIR of the FLUID cells, numbered in C order."""
    place = [tuple(c) for c in np.argwhere(flags == 1)]
    number = {c: i for i, c in enumerate(place)}
    coupled, air = {i: {} for i in range(len(place))}, np.zeros(len(place))
    for c, i in number.items():
        for axis, side in itertools.product(range(flags.ndim), (-1, 1)):
            other = tuple(x + side * (a == axis) for a, x in enumerate(c))
            if any(x < 0 or x >= n for x, n in zip(other, flags.shape)):
                continue
            if flags[other] == 1:
                coupled[i][number[other]] = 1.0
            elif flags[other] == 2:
                air[i] += 1.0
    return place, coupled, air


def matrix(coupled, air):
    A = np.diag(air.astype(float))
    for i, row in coupled.items():
        for j, a in row.items():
            A[i, i] += a
            A[i, j] -= a
    return A


def transfer(coupled, air, owner, count, tf, td):
    """Return P of (7.2), with the weight of the own aggregate floored at 0.02."""
    P = np.zeros((len(owner), count))
    for i, I in enumerate(owner):
        if I is None:
            continue
        d = sum(coupled[i].values()) + air[i]
        outer = {j: a for j, a in coupled[i].items() if owner[j] != I}
        P[i, I] += max(1 - tf * sum(outer.values()) / d - td * air[i] / d, 0.02)
        for j, a in outer.items():
            P[i, owner[j]] += tf * a / d
    return P


def coarsen(place, coupled, air, alpha, split=True):
    """Return the owner of each unknown and the next level."""
    blocks = {}
    for i, c in enumerate(place):
        if coupled[i]:
            blocks.setdefault(tuple(x // 2 for x in c), []).append(i)
    owner, next_place = [None] * len(place), []
    for block, members in blocks.items():
        for part in connected(members, coupled) if split else [members]:
            for i in part:
                owner[i] = len(next_place)
            next_place.append(block)
    next_coupled = {I: {} for I in range(len(next_place))}
    next_air = np.zeros(len(next_place))
    for i, I in enumerate(owner):
        if I is None:
            continue
        next_air[I] += 0.5 * alpha * air[i]
        for j, a in coupled[i].items():
            if owner[j] != I:
                next_coupled[I][owner[j]] = next_coupled[I].get(owner[j], 0.0) + 0.5 * a
    return owner, (next_place, next_coupled, next_air)


def preconditioner(level, recipe, depth=0, split=True, coarsest=COARSEST, twice=99, damping=0.0):
    """Return the dense matrix of the cycle below `level`, two visits from level `twice` on where damped."""
    place, coupled, air = level
    w1, w2, w1c, w2c, tf, td, oc, alpha = recipe
    A = matrix(coupled, air)
    d = np.diag(A)
    inverse = np.array([1 / x if x > 0 else 0.0 for x in d])
    live = [i for i in coupled if coupled[i]]
    if len(live) <= coarsest:
        B = np.diag(inverse)
        if live:
            B[np.ix_(live, live)] = scipy.linalg.pinvh(A[np.ix_(live, live)], rtol=1e-12)
        return B
    sweeps = [w1, w2] if depth == 0 else [w1c, w2c]
    owner, below = coarsen(place, coupled, air, alpha, split)
    P = transfer(coupled, air, owner, len(below[0]), tf, td)
    coarse = preconditioner(below, recipe, depth + 1, split, coarsest, twice, damping)
    one = np.eye(len(d))
    B = np.zeros_like(A)
    for factor in [damping, 1.0] if depth >= twice and damping > 0.0 else [1.0]:
        X = B
        for w in sweeps:
            X = X + w * inverse[:, None] * (one - A @ X)
        X = X + oc * P @ coarse @ P.T @ (one - A @ X)
        for w in reversed(sweeps):
            X = X + w * inverse[:, None] * (one - A @ X)
        B = factor * X
    return B
