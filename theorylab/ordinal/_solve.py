"""Minimise the penalised likelihood along decreasing penalties."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ._constrained import Constrained
from ._design import Design
from ._own import Own, Solution, narrow, penalties

__all__ = ["solve"]

FloatArray = NDArray[np.float64]


def solve(
    design: Design,
    lams: FloatArray,
    l1_ratio: float,
    factors: FloatArray,
    *,
    tol: float,
    max_iter: int,
    crossing: str = "own",
    start: FloatArray | None = None,
    stop: Callable[[int, float], bool] | None = None,
) -> Solution:
    """Solve at each penalty of `lams`, warm-started; `stop(index, objective)` may end the path."""
    m, p = design.n_boundaries, design.n_features
    theta = np.zeros((m, p + 1))
    theta[:, 0] = design.null_intercepts()
    if start is not None:
        theta[:] = start
    runner = Constrained(design) if crossing == "train" and m > 1 else Own(design)
    if stop is None and isinstance(runner, Own) and runner.narrow:
        pens, ridges = penalties(lams, l1_ratio, factors)
        return narrow(design, pens, ridges, theta, tol, max_iter)
    points = []
    for index in range(lams.size):
        point = runner.step(theta, lams[: index + 1][-2:], l1_ratio, factors, tol, max_iter)
        points.append((theta.copy(), *point))
        if stop is not None and stop(index, point[0]):
            break
    thetas, objective, kkt, gap, steps, diverging = zip(*points)
    return Solution(
        np.stack(thetas),
        np.array(objective),
        np.array(kkt),
        np.array(gap),
        np.array(steps),
        np.array(diverging),
    )
