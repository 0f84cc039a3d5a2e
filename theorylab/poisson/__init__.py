"""Pressure-Poisson solvers of incompressible flow: learned multigrid, deep conjugate directions, baselines.

Each time step of a fluid code solves ``A p = b`` on the fluid cells of a grid whose walls and
surfaces change. Flags say what a cell is: 0 SOLID, 1 FLUID, 2 AIR (p = 0); outside is SOLID.

>>> import numpy as np
>>> from theorylab import poisson
>>> A = poisson.PoissonOperator(np.pad(np.ones((2, 2), int), 1, constant_values=2))
>>> A.to_csr().toarray()
array([[ 4., -1., -1.,  0.],
       [-1.,  4.,  0., -1.],
       [-1.,  0.,  4., -1.],
       [ 0., -1., -1.,  4.]])

Read in this order: `_grid` (cells and components), `_operator`.
"""

from __future__ import annotations

import importlib
from typing import Any

from ._dcdm import dcdm
from ._deflation import DeflatedPreconditioner
from ._grid import AIR, FLUID, SOLID, Components, components
from ._incomplete import IncompleteCholesky
from ._info import IncompatibleRightHandSideWarning, SolveInfo
from ._krylov import cg, pcg
from ._multigrid import LearnedMultigrid
from ._network import DirectionNetwork
from ._operator import PoissonOperator
from ._projection import project
from ._solve import solve_pressure

__all__ = [
    "AIR",
    "FLUID",
    "SOLID",
    "Components",
    "ConvergenceWarning",
    "DeflatedPreconditioner",
    "DirectionNetwork",
    "IncompatibleRightHandSideWarning",
    "IncompleteCholesky",
    "LearnedMultigrid",
    "PoissonOperator",
    "SolveInfo",
    "cg",
    "components",
    "dcdm",
    "pcg",
    "project",
    "solve_pressure",
]

_SUBMODULES = ("problems", "smoke", "train")


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "ConvergenceWarning":  # scikit-learn's own; importing it takes longer than most solves
        from ._info import convergence_warning

        return convergence_warning()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
