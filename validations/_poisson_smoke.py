"""Scenes of the smoke simulation, and solvers from outside the package to compare with."""

import warnings

import numpy as np
from scipy.sparse.linalg import splu

from theorylab.poisson import PoissonOperator, cg
from theorylab.poisson.smoke import Ball, Box, simulate_smoke

#: Sizes in units of n; the last one moves.
SCENES = {
    "balls": ((1, 1.5), [("ball", (0.40, 0.55), 0.10), ("ball", (0.66, 0.86), 0.08), ("box", (0.16, 0.94), (0.36, 0.98))]),
    "walls": ((1, 1.5), [("box", (0.0, 0.5), (0.42, 0.51)), ("box", (0.58, 0.5), (1.0, 0.51)), ("box", (0.3, 0.9), (1.0, 0.91))]),
    "moving": ((1, 1.5), [("moving", (0.25, 0.6), 0.10)]),
    "3-D": ((0.25, 0.5, 0.25), [("ball", (0.11, 0.25, 0.12), 0.05)]),
}  # fmt: skip


def scene(name, n):
    """Return (shape, obstacles) of a scene with shortest side n (n / 4 in 3-D)."""
    shape, parts = SCENES[name]
    solids = []
    for kind, a, b in parts:
        a = tuple(n * x for x in a)
        if kind == "box":
            solids.append(Box(a, tuple(n * x for x in b)))
        else:
            solids.append(Ball(a, n * b, velocity=(0.6, 0.0) if kind == "moving" else None))
    return tuple(round(n * side) for side in shape), solids


def run(name, n, steps, **options):
    """Simulate a scene; the buoyancy keeps the time that the plume needs to rise at about 60 steps."""
    shape, solids = scene(name, n)
    return simulate_smoke(shape, solids, steps, buoyancy=0.003 * n, **options)


class Direct:
    """A sparse factorisation, made anew where the flags change."""

    def __init__(self):
        self.flags = None

    def __call__(self, flags, b, x0, rtol):
        if self.flags is None or (flags != self.flags).any():
            self.flags = flags.copy()
            self.factors = splu(PoissonOperator(flags).to_csr().tocsc(), permc_spec="MMD_AT_PLUS_A")
        p = np.zeros(flags.shape)
        p[flags == 1] = self.factors.solve(b[flags == 1])
        return p


def stopped_cg(iterations):
    """Return a solver that stops plain CG after so many iterations."""

    def solver(flags, b, x0, rtol):
        fluid, p = flags == 1, np.zeros(flags.shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it does not converge is the point
            p[fluid] = cg(PoissonOperator(flags), b[fluid], x0[fluid], rtol=rtol, maxiter=iterations)[0]
        return p

    return solver
