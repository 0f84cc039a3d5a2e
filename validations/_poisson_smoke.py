"""Scenes of the smoke simulation, and solvers from outside the package to compare with."""

import warnings

import numpy as np
from scipy.sparse.linalg import splu

from theorylab.poisson import PoissonOperator, cg
from theorylab.poisson.smoke import Ball, Box, simulate_smoke


def scene(name, n):
    """Return (shape, obstacles) of a scene with n cells along the shortest side, n / 4 in 3-D."""
    if name == "3-D":
        return (n // 4, n // 2, n // 4), [Ball((0.11 * n, 0.25 * n, 0.12 * n), 0.05 * n)]
    if name == "moving":
        solids = [Ball((0.25 * n, 0.6 * n), 0.1 * n, velocity=(0.6, 0.0))]
    elif name == "walls":  # each leaves one gap
        solids = [
            Box((0.0, 0.5 * n), (0.42 * n, 0.51 * n)),
            Box((0.58 * n, 0.5 * n), (n, 0.51 * n)),
            Box((0.3 * n, 0.9 * n), (n, 0.91 * n)),
        ]
    else:
        solids = [
            Ball((0.40 * n, 0.55 * n), 0.10 * n),
            Ball((0.66 * n, 0.86 * n), 0.08 * n),
            Box((0.16 * n, 0.94 * n), (0.36 * n, 0.98 * n)),
        ]
    return (n, n if name == "square" else 3 * n // 2), solids


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
