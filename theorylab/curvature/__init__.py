"""Inverse-curvature products without the matrix: pruning, preconditioning, influence, unlearning."""

from __future__ import annotations

from ._cost import Cost, Tally
from ._fisher import fisher_inverse
from ._inverse import FisherInverse
from ._sliding import SlidingFisherInverse

__all__ = ["Cost", "FisherInverse", "SlidingFisherInverse", "Tally", "fisher_inverse"]
