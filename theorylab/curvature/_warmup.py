"""Small calls that compile the kernels of this package, float32 and float64."""

from __future__ import annotations

import numpy as np

from . import SlidingFisherInverse, fisher_inverse, obs_prune


def warmup() -> None:
    """Compile products, windows, small blocks and pruning into the cache."""
    rng = np.random.default_rng(0)
    for kind in ("float32", "float64"):
        G, x = rng.standard_normal((12, 40)).astype(kind), np.ones(40, dtype=kind)
        inv = fisher_inverse(G, 0.1)
        inv.solve(x)
        inv.solve_rows(np.ones(12))
        obs_prune(inv, x, n_prune=3)
        fisher_inverse(G, 0.1, blocks=4).diagonal()
        obs_prune(G, x, n_prune=3, blocks=8, greedy="blocks")
        window = SlidingFisherInverse(40, 8, 0.1, dtype=kind)
        for g in G:
            window.update_solve(g)
        window.update_solve(G[0], x)
