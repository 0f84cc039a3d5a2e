"""Solvers from recent learning theory, and validations of the papers' claims.

Importing :mod:`theorylab` loads no heavy library; each subpackage is imported
when it is first touched.

>>> import theorylab
>>> theorylab.validation.__name__
'theorylab.validation'
"""

from __future__ import annotations

import importlib
from typing import Any

from ._version import __version__

_SUBPACKAGES = (
    "curvature",
    "dmft",
    "grokking",
    "inductive_bias",
    "infinite_width",
    "ordinal",
    "poisson",
    "testing",
    "validation",
)

__all__ = ["__version__", *_SUBPACKAGES]


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
