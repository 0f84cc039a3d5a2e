"""The cells of a claim: named axes, replicates, and axes that one simulation measures jointly."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .._lib.checks import check_int

__all__ = ["Grid", "grid"]

Cell = dict[str, Any]
Axes = tuple[tuple[str, tuple[Any, ...]], ...]


def _plain(value: Any) -> Any:
    """Turn NumPy's values and lists into Python's own, so that an address reads the same everywhere."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _has_address(value: Any) -> bool:
    """Tell whether a value reads the same in every process, so that a seed can derive from it."""
    if isinstance(value, tuple):
        return all(map(_has_address, value))
    return value is None or isinstance(value, (bool, int, float, complex, str, Fraction))


def _axes(axes: Mapping[str, Iterable[Any]]) -> Axes:
    out = []
    for name, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            values = (values,)
        points = tuple(map(_plain, values))
        if not points:
            raise ValueError(f"the axis {name!r} is empty; give it at least one value")
        for point in points:
            if not _has_address(point):
                raise TypeError(
                    f"the axis {name!r} holds {point!r} of type {type(point).__name__}; its values may "
                    "be numbers, strings, booleans, None, or tuples of these: pass a name and look it up"
                )
        if any(a == b for a, b in itertools.combinations(points, 2)):
            raise ValueError(f"the axis {name!r} repeats a value: {points}; use replicates= to repeat a cell")
        out.append((name, points))
    return tuple(out)


def _product(axes: Axes) -> list[Cell]:
    names = [name for name, _ in axes]
    return [dict(zip(names, values)) for values in itertools.product(*(points for _, points in axes))]


@dataclass(frozen=True)
class Grid:
    """Named axes whose product gives the cells; made by :func:`grid`."""

    axes: Axes
    joint: Axes
    replicates: int

    @property
    def cells(self) -> list[Cell]:
        """The cells that are simulated, the last axis fastest."""
        return _product(self.axes)

    @property
    def points(self) -> list[Cell]:
        """The cells that are judged: the simulated ones times the joint axes."""
        return _product(self.axes + self.joint)

    @property
    def joint_size(self) -> int:
        """How many points one simulation yields."""
        return len(_product(self.joint))

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of values on each axis, joint axes last."""
        return tuple(len(points) for _, points in self.axes + self.joint)

    def axis(self, name: str) -> tuple[Any, ...]:
        """Return the values on one axis."""
        for key, points in self.axes + self.joint:
            if key == name:
                return points
        names = ", ".join(key for key, _ in self.axes + self.joint) or "none"
        raise KeyError(f"no axis {name!r}; the axes are: {names}")


def grid(
    *, replicates: int = 1, joint: Mapping[str, Iterable[Any]] | None = None, **axes: Iterable[Any]
) -> Grid:
    """Lay out the cells of a claim.

    Parameters
    ----------
    replicates : int
        Independent repetitions of each cell, each with its own seed. Cell x
        replicate is the unit of work; the samples of a cell are pooled.
    joint : mapping of str to sequence, optional
        Axes that one simulation measures together, such as the times of a
        curve: the measurement returns an array whose last dimensions run over
        them, and does not receive them as arguments.
    **axes : sequence
        Named axes; the cells are their product. Without axes there is one cell.

    Returns
    -------
    Grid

    Examples
    --------
    >>> g = grid(width=[8, 64], depth=[1, 2], replicates=3)
    >>> len(g.cells), g.cells[1]
    (4, {'width': 8, 'depth': 2})
    >>> grid(replicates=5, joint=dict(t=[0, 1, 2])).points
    [{'t': 0}, {'t': 1}, {'t': 2}]
    """
    check_int(replicates, "replicates", low=1)
    inner = _axes(joint or {})
    outer = _axes(axes)
    both = {name for name, _ in inner} & {name for name, _ in outer}
    taken = both | ({"rng", "branch"} & {name for name, _ in inner + outer})
    if taken:
        raise ValueError(f"{sorted(taken)} cannot be the name of an axis here; choose another name")
    return Grid(outer, inner, int(replicates))
