"""Train direction networks (with PyTorch, extra ``train``) and look into what they are trained on.

Solving never needs torch; importing this module does not load it either.

>>> import numpy as np
>>> from theorylab.poisson import PoissonOperator, train
>>> A = PoissonOperator(np.pad(np.ones((6, 6), int), 1, constant_values=2))
>>> Q, alpha, beta = train.lanczos(A, np.arange(36.0), 5)
>>> Q.shape, alpha.shape, beta.shape
((36, 5), (5,), (4,))
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theorylab._lib.checks import check_choice, check_int, check_real

from ._architecture import architecture as _architecture
from ._domains import fluid_box, outer_boundary
from ._grid import AIR, FLUID, check_flags, components
from ._network import DirectionNetwork
from ._operator import PoissonOperator
from ._recipe_training import TrainedRecipe, convergence_rate, train_recipe
from ._samples import energy_loss, lanczos, scale_invariant_loss
from ._system import check_callable
from ._weights import read_arrays

__all__ = [
    "TrainedRecipe",
    "convergence_rate",
    "energy_loss",
    "lanczos",
    "scale_invariant_loss",
    "train_direction",
    "train_recipe",
]

Flags = NDArray[np.uint8]


def training_box(boundary: str, shape: tuple[int, ...]) -> Flags:
    """Return an empty box: AIR all around ("dirichlet"), or SOLID with AIR at the end of the second axis."""
    check_choice(boundary, "boundary", ("dirichlet", "neumann"))
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"shape must be a tuple of 2 or 3 sides, got {shape!r}")
    sides = tuple(check_int(n, "each side of shape", low=4) for n in shape)
    if len(sides) not in (2, 3):
        raise ValueError(f"shape must have 2 or 3 sides, got {shape!r}")
    flags = np.full(sides, AIR if boundary == "dirichlet" else FLUID, np.uint8)
    if boundary == "dirichlet":
        flags[tuple(slice(1, -1) for _ in sides)] = FLUID
    else:
        flags[:, -1] = AIR
    return flags


def _domains(flags: Any, boundary: str | Sequence[str], shape: tuple[int, ...]) -> list[Flags]:
    """Return the training domains, cropped as inference crops them, with even sides."""
    if flags is None:
        names = [boundary] if isinstance(boundary, str) else list(boundary)
        grids = [training_box(name, shape) for name in names]
    else:
        several = isinstance(flags, (list, tuple)) and (not flags or np.ndim(flags[0]) >= 2)
        grids = [check_flags(f) for f in (flags if several else [flags])]
    if not grids:
        raise ValueError("got no training domain, expected at least one; pass flags or boundary")
    if len({g.ndim for g in grids}) > 1:
        raise ValueError("flags mixes 2-D and 3-D domains; train one network for each")
    out = []
    for k, grid in enumerate(grids):
        if components(grid).closed.any():
            raise ValueError(
                f"domain {k} of flags has FLUID that touches no AIR, where the matrix is singular; "
                "open it or turn that part SOLID"
            )
        inside = grid[fluid_box(grid)]
        out.append(np.pad(inside, [(0, n % 2) for n in inside.shape]))
    return out


def train_direction(
    flags: ArrayLike | Sequence[ArrayLike] | None = None,
    *,
    boundary: str | Sequence[str] = "dirichlet",
    shape: tuple[int, ...] = (64, 64),
    architecture: str = "dcdm_k64",
    steps: int = 2500,
    batch: int = 8,
    lr: float = 2e-3,
    n_ritz: int = 600,
    n_samples: int = 2000,
    trajectory_from: float = 1 / 3,
    refreshes: int = 8,
    runs: int = 24,
    checks: int = 12,
    seed: int = 0,
    start: str | os.PathLike[str] | None = None,
    path: str | os.PathLike[str] | None = None,
    callback: Callable[[dict[str, float]], Any] | None = None,
) -> DirectionNetwork:
    """Train a direction network on domains of one's own.

    Parameters
    ----------
    flags : array_like of int, or a list of them, optional
        Training domains, every FLUID cell connected to AIR. Default: empty
        boxes of the kinds `boundary` and the shape `shape`.
    boundary : {"dirichlet", "neumann"} or list of them
        AIR all around, or SOLID with AIR at one end.
    shape : tuple of 2 or 3 int
    architecture : {"dcdm_k64", "dcdm_k128"}
    steps, batch, lr : int, int, float
        Adam; the rate falls by a half cosine. Each step draws from one domain,
        in turns, mirrored or turned at random.
    n_ritz, n_samples : int
        Krylov dimension and number of samples of each domain; a tenth of the
        samples is held out.
    trajectory_from : float in [0, 1]
        From this share of the steps on, half of each batch is residuals met in
        solves with the network itself. 1: never, as published.
    refreshes, runs : int
        How often these are made anew, and from how many solves per domain.
    checks : int
        How often the network is judged, on solves that training never sees.
        The best one is kept.
    seed : int
        Same seed and machine, same weights.
    start : path, optional
        Weights to begin with.
    path : path, optional
        Where the best weights so far are kept, with their provenance, from the
        first check on; a stop loses nothing.
    callback : callable, optional
        Receives ``{"step", "train", "held_out_k", "rate_k", "rate"}`` at each
        check: mean losses, and decades per iteration of solves on domain k
        with ten kept directions.

    Returns
    -------
    DirectionNetwork

    Raises
    ------
    ImportError
        Without PyTorch.
    ValueError
        For closed domains and options out of range.

    Notes
    -----
    The loss is :func:`scale_invariant_loss` at unit residuals. Ritz samples are
    ``sum_j c_j v_j`` with normal c_j, nine times as large for the lower half
    of the Ritz values. One step costs about three evaluations of the network
    per sample: 0.1 s of one core for the default; 0.6 s at 32^3 and batch 4.

    References
    ----------
    Kaneda, Akar, Chen, Trevino Kala, Hyde, Teran (2023). A deep conjugate
    direction method for iteratively solving linear systems. ICML.

    Examples
    --------
    >>> from theorylab.poisson import dcdm
    >>> f = train_direction(shape=(64, 64), path="mine.npz").direction(flags)  # doctest: +SKIP
    >>> x, info = dcdm(A, b, direction=f)  # doctest: +SKIP
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        message = "training a direction network needs PyTorch: pip install theorylab[train]"
        raise ImportError(message, name="torch") from error
    from ._direction_training import Schedule, train

    plan = Schedule(
        steps=check_int(steps, "steps", low=1),
        batch=check_int(batch, "batch", low=1),
        lr=check_real(lr, "lr", low=0.0, open_low=True),
        n_ritz=check_int(n_ritz, "n_ritz", low=2),
        n_samples=check_int(n_samples, "n_samples", low=2),
        trajectory_from=check_real(trajectory_from, "trajectory_from", low=0.0, high=1.0),
        refreshes=check_int(refreshes, "refreshes", low=1),
        runs=check_int(runs, "runs", low=1),
        checks=check_int(checks, "checks", low=1),
        seed=check_int(seed, "seed", low=0),
    )
    _architecture(architecture)
    check_callable(callback, "callback")
    domains = _domains(flags, boundary, shape)
    matrices = [PoissonOperator(f).to_csr() for f in domains]
    kinds = sorted({outer_boundary(f) for f in domains})
    begin = None if start is None else read_arrays(start, architecture, domains[0].ndim)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.npz" if path is None else Path(path)
        train(architecture, domains, matrices, kinds, plan, file, callback, begin)
        return DirectionNetwork.from_npz(file)
