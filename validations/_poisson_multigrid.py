"""The multigrid V-cycle with sparse matrices of SciPy, in double precision, with or without split blocks."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from theorylab.poisson import PoissonOperator

COARSEST = 64


def scaled(diagonal, A):
    return sparse.dia_array((diagonal[None], [0]), shape=(len(diagonal), len(diagonal))).tocsr() @ A


def owners(block, coupled, live, split):
    """The aggregate of each coupled unknown: its block, or the part of the block to which it is connected."""
    if split:
        row, column = coupled.nonzero()
        inside = block[row] == block[column]
        n = len(block)
        graph = sparse.coo_array((np.ones(inside.sum()), (row[inside], column[inside])), (n, n))
        block = connected_components(graph, directed=False)[1]
    names, owner = np.unique(block[live], return_inverse=True)
    return owner, len(names)


class SparseCycle:
    """V-cycle in double precision; ``solve(r)`` applies it."""

    def __init__(self, flags, recipe, split=True):
        A = PoissonOperator(flags).to_csr().tocsr()
        coupled = -(A - sparse.diags_array(A.diagonal())).tocsr()
        coupled.eliminate_zeros()
        place, air = np.argwhere(flags == 1), A.diagonal() - coupled.sum(axis=1)
        w1, w2, w1c, w2c, tf, td, self.oc, alpha = recipe
        self.levels, sweeps = [], (w1, w2)
        while True:
            d = coupled.sum(axis=1) + air
            A = sparse.diags_array(d) - coupled
            inverse = np.divide(1.0, d, out=np.zeros_like(d), where=d > 0)
            live = np.flatnonzero(coupled.sum(axis=1) > 0)
            if len(live) <= COARSEST:
                break
            sides = place.max(axis=0) // 2 + 1
            block = np.ravel_multi_index(tuple((place // 2).T), sides)
            owner, count = owners(block, coupled, live, split)
            P0 = sparse.csr_array((np.ones(len(live)), (live, owner)), (len(d), count))
            full = np.full(len(d), -1)
            full[live] = owner
            outer = coupled.tocoo()
            apart = full[outer.row] != full[outer.col]
            outer = sparse.csr_array((outer.data[apart], (outer.row[apart], outer.col[apart])), coupled.shape)
            own = np.maximum(1 - inverse * (tf * outer.sum(axis=1) + td * air), 0.02)
            P = (scaled(own, P0) + scaled(tf * inverse, outer @ P0)).tocsr()
            self.levels.append((A.tocsr(), inverse, P, P.T.tocsr(), sweeps))
            below = (0.5 * P0.T @ outer @ P0).tocsr()
            below = (below - sparse.diags_array(below.diagonal())).tocsr()
            below.eliminate_zeros()
            first = np.full(count, -1)
            first[owner[::-1]] = live[::-1]
            coupled, air, place = below, 0.5 * alpha * (P0.T @ air), place[first] // 2
            sweeps = (w1c, w2c)
        self.inverse, self.live = inverse, live
        self.dense = np.linalg.pinv(A.tocsr()[live][:, live].toarray(), rcond=1e-12, hermitian=True)

    def solve(self, r, depth=0):
        if depth == len(self.levels):
            x = self.inverse * r
            x[self.live] = self.dense @ r[self.live]
            return x
        A, inverse, P, R, sweeps = self.levels[depth]
        x = np.zeros_like(r)
        for w in sweeps:
            x += w * inverse * (r - A @ x)
        x += self.oc * (P @ self.solve(R @ (r - A @ x), depth + 1))
        for w in reversed(sweeps):
            x += w * inverse * (r - A @ x)
        return x


def iterations(flags, b, cycle, rtol=1e-6, most=300):
    """Iterations of conjugate gradients with this cycle."""
    A = PoissonOperator(flags).to_csr()
    r = b[flags == 1].astype(float)
    target = rtol * np.linalg.norm(r)
    z = p = cycle.solve(r)
    rz = r @ z
    for k in range(1, most + 1):
        q = A @ p
        r = r - rz / (p @ q) * q
        if np.linalg.norm(r) <= target:
            return k
        z = cycle.solve(r)
        rz, before = r @ z, rz
        p = z + rz / before * p
    return most
