"""Inverse-curvature products without the matrix: pruning, preconditioning, influence, unlearning.

Given m rows g_i of length d (gradients, or ``sqrt(l''_i) x_i`` of a linear model), the matrix
``A = lam I + (1/N) sum_i g_i g_i^T`` is applied backwards in O(d m), its entries, log determinant,
trace and square root follow from an m x m factor, and nothing of size d x d is formed (M-FAC,
arXiv:2107.03356).

>>> import numpy as np
>>> from theorylab import curvature
>>> gradients = np.random.default_rng(0).standard_normal((8, 1000))
>>> inv = curvature.fisher_inverse(gradients, damping=1e-3)
>>> y = inv @ np.ones(1000)                                # A^-1 x
>>> steps = inv.solve_rows(np.eye(8))                      # A^-1 g_i, without cancellation
>>> np.allclose(inv.forward() @ steps, gradients.T)
True
>>> round(float(inv.leverages().sum()), 3)                 # at most 8
8.0

Read in this order: `_row_reader` and `_rows` (the rows and the passes over them), `_factor`, `_dual`
and `_primal` (the two sides of Woodbury's identity), `_operator` and `_inverse` (the public object),
`_sliding_factor` and `_sliding` (the window), `_reference` (the algorithms as published); then what is
built on them: `_obs` (pruning), `_influence`, `_removal` and `_leave_one_out` (training points).
"""

from __future__ import annotations

import importlib
from typing import Any

from ._cost import Cost, Tally
from ._fisher import fisher_inverse
from ._influence import glm_rows, influence
from ._inverse import FisherInverse
from ._leave_one_out import leave_one_out
from ._obs import OBSResult, obs_prune, obs_saliency
from ._obs_gradual import obs_prune_gradual
from ._removal import remove_points
from ._sliding import SlidingFisherInverse

__all__ = [
    "Cost",
    "FisherInverse",
    "OBSResult",
    "SlidingFisherInverse",
    "Tally",
    "fisher_inverse",
    "glm_rows",
    "influence",
    "leave_one_out",
    "obs_prune",
    "obs_prune_gradual",
    "obs_saliency",
    "remove_points",
]


def __getattr__(name: str) -> Any:
    if name == "torch_optim":  # imports torch, hence on demand only
        return importlib.import_module(f"{__name__}.torch_optim")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
