"""Small calls that compile the kernels of this package."""

from __future__ import annotations

import math

from . import PolynomialTask, QuadraticNetwork, dmft_solve, simulate


def warmup() -> None:
    """Compile the solver of finite and infinite width and the simulator into the cache."""
    task = PolynomialTask(nu=2.0)
    for width, overlap in ((2, [0.3, 0.1]), (math.inf, 0.3)):
        for sampler in ("cholesky", "recursion"):
            net = QuadraticNetwork(width, alpha=1.0, eps=0.5)
            dmft_solve(net, task, 0.1, 4, overlap, n_samples=16, rng=0, sampler=sampler)
    simulate(QuadraticNetwork(2, alpha=1.0, eps=0.5), task, 0.1, 3, 12, [0.3, 0.1], rng=0)
