"""Criteria on probabilities: an event that nearly always happens, a law that samples follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._lib.checks import check_real
from ._criterion import Floats, Pointwise, decide, more
from ._grid import Cell
from ._intervals import STATISTICS, Estimate, clopper_pearson, dkw_band, ks_distance
from ._verdict import Row

__all__ = ["FollowsLaw", "Holds"]


@dataclass(frozen=True)
class Holds(Pointwise):
    """The event happens with at least the given probability.

    Samples are booleans; or numbers, where the event is that the sample is at
    most the prediction.

    Parameters
    ----------
    probability : float
        In (0, 1).

    Notes
    -----
    Judged by one-sided Clopper-Pearson bounds, which are exact: a claim that is
    false in some cell is confirmed, and a true one is refuted, with probability
    at most ``level``. Zero violations prove 0.95 at level 1e-3 from n = 135.
    """

    probability: float
    measured = "fraction"
    infinite = True

    def __post_init__(self) -> None:
        check_real(self.probability, "probability", low=0, high=1, open_low=True, open_high=True)

    def describe(self) -> str:
        """Say in a few words what must hold."""
        return f"in ≥ {100 * self.probability:g}%"

    def shown(self, samples: Floats, level: float) -> Estimate:
        """Return the fraction of events, or the mean of the numbers that a prediction bounds."""
        if np.isin(samples, (0.0, 1.0)).all():
            return self.summarise(samples, level)
        return STATISTICS["mean"].estimate(samples, level)

    def summarise(self, samples: Floats, level: float) -> Estimate:
        """Return the fraction of successes with its two one-sided bounds."""
        k, n = int(np.count_nonzero(samples)), samples.size
        return Estimate(k / n, *clopper_pearson(k, n, level))

    def row(self, cell: Cell, samples: Floats, prediction: Any, level: float, cells: int) -> Row:
        """Judge one point."""
        tightness = None
        if prediction is not None:
            bound = self.number_of(prediction, finite=False)
            tightness = float(np.median(samples)) / bound if bound else None
            samples = (samples <= bound).astype(np.float64)
        elif not np.isin(samples, (0.0, 1.0)).all():
            raise ValueError("Holds expects booleans, or numbers together with a prediction that bounds them")
        shown, strict = self.summarise(samples, level), self.summarise(samples, level / cells)
        p = self.probability
        spread = (shown.high - shown.low) / 2
        return Row(
            cell, p, shown.value, shown.low, shown.high, decide(shown.low >= p, strict.high < p),
            (1 - shown.low) / (1 - p), tightness, more(spread, shown.value - p),
        )  # fmt: skip


_UNIFORM = "uniform"


def _distribution(law: Any) -> Any:
    """Return a distribution function, or an object that has one."""
    if isinstance(law, str) and law == _UNIFORM:
        return lambda x: np.clip(x, 0.0, 1.0)
    if not callable(getattr(law, "cdf", law)):
        raise TypeError(f"a law is a distribution function, an object with cdf, or 'uniform', got {law!r}")
    return law


@dataclass(frozen=True)
class FollowsLaw(Pointwise):
    """The samples follow the predicted law up to a Kolmogorov distance.

    Parameters
    ----------
    distance : float
        The largest Kolmogorov distance that still counts as following.
    law : {"uniform"}, callable or distribution, optional
        The law where the claim has no ``@predict``: a distribution function,
        an object with ``cdf``, or "uniform" on [0, 1] for p-values. The law
        may have atoms, such as ``scipy.stats.randint(0, L + 1)`` for rank
        uniformity.

    Notes
    -----
    The true distance lies within the Dvoretzky-Kiefer-Wolfowitz band around
    the measured one, for every law and sample size, so both error rates are at
    most ``level``. Confirming needs ``n >= log(2 / level) / (2 distance^2)``
    at the very least: 1521 samples for distance 0.05 at level 1e-3.
    """

    distance: float = 0.05
    law: Any = None
    measured = "distance"
    infinite = True

    def __post_init__(self) -> None:
        check_real(self.distance, "distance", low=0, high=1, open_low=True)
        if self.law is not None:
            _distribution(self.law)

    @property
    def target(self) -> Any:
        """The law where the claim predicts none."""
        return self.law

    def describe(self) -> str:
        """Say in a few words what must hold."""
        return f"KS ≤ {self.distance:g}"

    def summarise(self, samples: Floats, level: float) -> Estimate:
        """Return the mean, which is what a figure of samples can show."""
        return STATISTICS["mean"].estimate(samples, level)

    def row(self, cell: Cell, samples: Floats, prediction: Any, level: float, cells: int) -> Row:
        """Judge one point."""
        d = ks_distance(samples, _distribution(self.target_of(prediction)))
        band, wide = dkw_band(samples.size, level), dkw_band(samples.size, level / cells)
        return Row(
            cell, self.distance, d, max(0.0, d - band), min(1.0, d + band),
            decide(d + band <= self.distance, d - wide > self.distance), (d + band) / self.distance,
            replicates_needed=more(band, self.distance - d),
        )  # fmt: skip
