"""Inverse-curvature products without the matrix: pruning, preconditioning, influence, unlearning."""

from __future__ import annotations

from ._cost import Cost, Tally
from ._inverse import FisherInverse, fisher_inverse
from ._sliding import SlidingFisherInverse

__all__ = ["Cost", "FisherInverse", "SlidingFisherInverse", "Tally", "fisher_inverse"]
