"""Small calls that compile the kernels of this package, 2-D and 3-D, float32 and float64."""

from __future__ import annotations

import numpy as np

from . import PoissonOperator, project, smoke, solve_pressure
from ._solve import METHODS


def warmup() -> None:
    """Compile operators, every method, the projection and the simulation into the cache."""
    for ndim in (2, 3):
        flags = np.ones((20,) * ndim, np.uint8)
        flags[:, -1] = 2
        flags[9, :12] = 0
        b = np.zeros(flags.shape)
        b[3], b[15] = 1.0, -1.0
        for method in METHODS:
            solve_pressure(flags, b, method=method)
        PoissonOperator(flags) @ np.ones(int((flags == 1).sum()), np.float32)
        PoissonOperator(flags).to_csr()
        closed = np.where(flags == 2, 0, flags)
        for field in (b, b.astype(np.float32)):
            solve_pressure(closed, field)
        for kind in (np.float32, np.float64):
            faces = [np.ones([21 if a == axis else 20 for a in range(ndim)], kind) for axis in range(ndim)]
            project(*faces, flags)
        smoke.simulate_smoke((16,) * ndim, None, 2)
