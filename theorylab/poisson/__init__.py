"""Pressure-Poisson solvers of incompressible flow: learned multigrid, deep conjugate directions, baselines.

Each time step of a fluid code solves ``A p = b`` on the fluid cells of a grid whose walls and
surfaces change. Flags say what a cell is: 0 SOLID, 1 FLUID, 2 AIR (p = 0); outside is SOLID.

>>> import numpy as np
>>> from theorylab import poisson
>>> flags, b = poisson.problems.make("smoke", (64, 64), seed=0)
>>> p, info = poisson.solve_pressure(flags, b, return_info=True)
>>> info.converged, info.iterations < 10
(True, True)
>>> A = poisson.PoissonOperator(flags)                     # any method of your own, any preconditioner
>>> x, code = poisson.pcg(A, b[flags == 1], M=poisson.LearnedMultigrid(flags, recipe="learned"))
>>> u, v = np.zeros((65, 64)), np.ones((64, 65))
>>> u, v, p = poisson.project(u, v, flags)                 # no divergence is left in the fluid

The search direction may be any function, such as a trained network (DCDM, arXiv:2205.10763):

>>> f = poisson.DirectionNetwork.load("dcdm_k64").direction(flags)
>>> x, code = poisson.dcdm(A, b[flags == 1], direction=f)
>>> code
0

Read in this order: `_grid` (cells, components), `_symmetric`, `_operator`; `_system`, `_krylov`, `_dcdm` with
`_directions`; `_incomplete`, `_deflation`; `_multigrid` with `_hierarchy`, `_layout`,
`_fine_cycle` and `_coarse_cycle`; `_recipes`; `_network`;
`_solve`, `_projection`; `problems` and `smoke` (domains and the workload); `train`.
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
