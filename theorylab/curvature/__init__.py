"""Inverse-curvature products without the matrix: pruning, preconditioning, influence, unlearning."""

from __future__ import annotations

from ._cost import Cost, Tally
from ._inverse import FisherInverse, fisher_inverse

__all__ = ["Cost", "FisherInverse", "Tally", "fisher_inverse"]
