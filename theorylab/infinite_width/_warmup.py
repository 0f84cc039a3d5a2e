"""Small calls that compile the kernels of this package, float32 and float64."""

from __future__ import annotations

import numpy as np

from . import kernels
from ._activations import by_quadrature


def warmup() -> None:
    """Compile the fused recursions of closed forms, and the integrals for kinks, into the cache."""
    X = np.random.default_rng(0).standard_normal((4, 3))
    for activation in ("relu", "erf", "gelu", "abs", "sin"):
        for data in (X, X.astype(np.float32)):
            kernels.nngp_ntk(data, depth=2, activation=activation, w_var=1.5, b_var=0.1)
            kernels.rkhs_sqdist(data, depth=2, activation=activation, w_var=1.5, b_var=0.1)
    hard = by_quadrature(
        "hard", lambda x: np.clip(x, -1.0, 1.0), lambda x: 1.0 * (np.abs(x) < 1.0), (-1.0, 1.0)
    )
    kernels.rkhs_sqdist(9.0 * X, depth=2, activation=hard, w_var=1.5, b_var=0.1)
