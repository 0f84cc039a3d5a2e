"""Put a paper's claim against simulation, with a control that must fail.

A validation is a short script that declares a :class:`Claim` (one falsifiable
sentence with its source, cells and criterion) and pure functions: what the
theory predicts, what a simulation measures, a control with the theory's
assumption broken, and how to draw the result. Everything else, from the seeds
of the cells to the report, is derived.

====================  =========================================================
`Claim`, `Control`    the declaration
`grid`                cells, replicates, and axes measured jointly
`Within`              the quantity lies within a tolerance of the prediction
`AtMost`, `AtLeast`   one-sided bounds, with their tightness
`Rate`                weighted log-log slope
`Holds`               an event has at least a given probability
`FollowsLaw`          samples follow a law, up to a Kolmogorov distance
`Exact`               every sample, to within rounding
`Better`              paired comparison: a ratio with its interval
`Verdict`             CONFIRMED, REFUTED, INCONCLUSIVE, VOID, ERROR
====================  =========================================================
"""

from ._claim import Claim, Control, Samples
from ._criteria import AtLeast, AtMost, Better, Exact, Within
from ._criterion import Criterion
from ._grid import Grid, grid
from ._laws import FollowsLaw, Holds
from ._rate import Rate
from ._result import BranchResult, Result
from ._script import main
from ._store import StoreError
from ._verdict import Judgement, Row, Verdict

__all__ = [
    "AtLeast",
    "AtMost",
    "Better",
    "BranchResult",
    "Claim",
    "Control",
    "Criterion",
    "Exact",
    "FollowsLaw",
    "Grid",
    "Holds",
    "Judgement",
    "Rate",
    "Result",
    "Row",
    "Samples",
    "StoreError",
    "Verdict",
    "Within",
    "grid",
    "main",
]
