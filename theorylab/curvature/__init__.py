"""Inverse-curvature products without the matrix: pruning, preconditioning, influence, unlearning."""

from __future__ import annotations

import importlib
from typing import Any

from ._cost import Cost, Tally
from ._fisher import fisher_inverse
from ._influence import glm_rows, influence, leave_one_out, remove_points
from ._inverse import FisherInverse
from ._obs import OBSResult, obs_prune, obs_saliency
from ._obs_gradual import obs_prune_gradual
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
