"""Direction networks: residual grid in, search direction out; no framework needed."""

from __future__ import annotations

import functools
import os
import warnings
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theorylab._lib.checks import as_float_array, check_choice

from . import _convolution as conv
from ._architecture import CHANNELS
from ._domains import fluid_box, open_side, outer_boundary
from ._grid import FLUID, check_flags
from ._weights import Weights, read

__all__ = ["DirectionNetwork"]

Array = NDArray[Any]

#: Shipped networks: the name, and the files in the order in which they are tried.
SHIPPED = {
    "dcdm_k64": ("dcdm_k64_2d_dirichlet", "dcdm_k64_2d_neumann", "dcdm_k64_3d"),
    "dcdm_2d": ("dcdm_k64_2d_dirichlet", "dcdm_k64_2d_neumann"),
    "dcdm_3d": ("dcdm_k64_3d",),
}

_WORDS = {
    "dirichlet": "AIR on all sides",
    "neumann": "AIR on one side and SOLID on the others",
    "closed": "SOLID on all sides",
    "mixed": "AIR on several sides but not on all",
}


class DirectionNetwork:
    """A convolutional network that proposes search directions for :func:`dcdm`.

    Made by :meth:`load` or :meth:`from_npz`. One object may hold several sets
    of weights, for 2-D and 3-D grids and for kinds of outer boundary, which the
    network itself cannot see.

    Attributes
    ----------
    meta : list of dict
        Provenance of each set of weights: architecture, training domains,
        optimiser, steps, seed, curves.

    Notes
    -----
    16 channels, 3 taps per axis, zero padding, biases; residual blocks at full
    resolution, at half, and at full again (Kaneda et al. 2023). Runs in float32.
    Costs 44 096 flops a cell in 2-D and 121 856 in 3-D (``dcdm_k64``), and 150
    bytes a cell of memory; a multigrid cycle costs some hundred flops a cell.
    The result has the same bits for every number of threads.

    References
    ----------
    Kaneda, Akar, Chen, Trevino Kala, Hyde, Teran (2023). A deep conjugate
    direction method for iteratively solving linear systems. ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.poisson import DirectionNetwork, PoissonOperator, dcdm
    >>> flags = np.pad(np.ones((14, 14), int), 1, constant_values=2)
    >>> f = DirectionNetwork.load("dcdm_k64").direction(flags)
    >>> A = PoissonOperator(flags)
    >>> b = np.ones(A.shape[0])
    >>> x, info = dcdm(A, b, direction=f)
    >>> info, bool(np.linalg.norm(b - A @ x) < 1e-5 * np.linalg.norm(b))
    (0, True)
    """

    def __init__(self, weights: list[Weights]) -> None:
        if not weights or not all(isinstance(w, Weights) for w in weights):
            raise TypeError("make a DirectionNetwork by DirectionNetwork.load(name) or .from_npz(path)")
        self._weights = list(weights)

    @classmethod
    def load(cls, name: str = "dcdm_k64") -> DirectionNetwork:
        """Return a shipped network.

        Parameters
        ----------
        name : {"dcdm_k64", "dcdm_2d", "dcdm_3d"}
            The first holds the weights of the two others.

        Returns
        -------
        DirectionNetwork

        Raises
        ------
        ValueError
            For unknown names, and files that do not match their hash.
        """
        check_choice(name, "name", SHIPPED)
        return cls([_shipped(file) for file in SHIPPED[name]])

    @classmethod
    def from_npz(cls, path: str | os.PathLike[str]) -> DirectionNetwork:
        """Read a network from a file.

        Parameters
        ----------
        path : str or path
            Arrays ``kernel_k`` of shape (x, y, [z,] in, out) and ``bias_k`` of
            shape (out,), k = 0, 1, ... in the order of evaluation, and ``meta``,
            a JSON string with at least ``{"architecture": "dcdm_k64"}`` (or
            ``"dcdm_k128"``). Optional in meta: ``sha256``, which is then
            verified; ``boundaries`` and ``n_train``.

        Returns
        -------
        DirectionNetwork

        Raises
        ------
        FileNotFoundError
        ValueError
            For files that are no archive of plain arrays, unknown
            architectures, missing arrays, wrong shapes, entries that are not
            finite, and a wrong hash.
        """
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path must be a string or a path, got {path!r} of type {type(path).__name__}")
        return cls([read(path)])

    @property
    def meta(self) -> list[dict[str, Any]]:
        """Return the provenance of each set of weights."""
        return [dict(w.meta) for w in self._weights]

    def __repr__(self) -> str:
        parts = [f"{w.meta['architecture']} {w.ndim}-D, {w.n_parameters} parameters" for w in self._weights]
        return f"DirectionNetwork({'; '.join(parts)})"

    def __call__(self, r_grid: ArrayLike) -> Array:
        """Evaluate the network on a grid.

        Parameters
        ----------
        r_grid : array_like, shape (nx, ny) or (nx, ny, nz)
            Finite. Trained on residuals of unit 2-norm that vanish off FLUID.
            Odd sides are padded by a zero at the end.

        Returns
        -------
        ndarray, same shape
            Not masked to FLUID. float32 for float32 input, else float64 (of
            float32 accuracy).

        Raises
        ------
        ValueError
            For input that is not finite, and dimensions there are no weights for.
        """
        r = as_float_array(r_grid, "r_grid", ndim=(2, 3))
        if r.size == 0:
            raise ValueError(f"r_grid has shape {r.shape}, expected at least one cell")
        return _evaluate(self._choose(r.ndim, "dirichlet"), r)

    def direction(self, flags: ArrayLike) -> Direction:
        """Return the direction function on one domain, for :func:`dcdm`.

        Parameters
        ----------
        flags : array_like of int, shape (nx, ny) or (nx, ny, nz)

        Returns
        -------
        callable
            Maps a vector over the FLUID cells to one of the same length. Has
            the attribute `n_train`, the unknowns of the training domain.

        Warns
        -----
        UserWarning
            Where none of the weights was trained on this kind of outer boundary.
        """
        grid = check_flags(flags)
        kind = outer_boundary(grid)
        weights = self._choose(grid.ndim, kind)
        if weights.boundaries and kind not in weights.boundaries:
            trained = " or ".join(_WORDS.get(b, b) for b in weights.boundaries)
            warnings.warn(
                f"this domain has {_WORDS[kind]}, but the network was trained on {trained} "
                "and cannot see flags; expect many iterations, or train one for it by "
                "theorylab.poisson.train.train_direction",
                UserWarning,
                stacklevel=2,
            )
        return Direction(weights, grid)

    def _choose(self, ndim: int, kind: str) -> Weights:
        """Return the weights for this dimension, trained on the nearest kind of boundary."""
        fitting = [w for w in self._weights if w.ndim == ndim]
        if not fitting:
            have = " and ".join(f"{n}-D" for n in sorted({w.ndim for w in self._weights}))
            raise ValueError(f"got a {ndim}-D grid, expected {have}, which this network has weights for")
        nearest = "dirichlet" if kind in ("dirichlet", "mixed") else "neumann"
        for wanted in (kind, nearest):
            for w in fitting:
                if wanted in w.boundaries:
                    return w
        return fitting[0]


class Direction:
    """A direction network on one domain: vectors over FLUID cells in and out."""

    def __init__(self, weights: Weights, flags: Array) -> None:
        self._weights = weights
        index = np.arange(flags.size).reshape(flags.shape)
        if weights.meta.get("crop", False):
            # Layers outside the fluid change nothing; in training there were none but one of AIR.
            index = index[fluid_box(flags)]
        here, trained = open_side(flags), weights.meta.get("open_side")
        if here is not None and trained is not None:
            index = index.swapaxes(here[0], trained[0])
            index = np.flip(index, trained[0]) if here[1] != trained[1] else index
        self._shape = index.shape
        # Cells of this grid that are FLUID, in the order of the vectors' entries.
        inside = np.flatnonzero(flags.ravel()[index.ravel()] == FLUID)
        self._cells = inside[np.argsort(index.ravel()[inside])]
        self.n_train: int | None = weights.meta.get("n_train")

    def __call__(self, r: ArrayLike) -> Array:
        """Return the direction for a residual, masked to FLUID."""
        vector = as_float_array(r, "r", ndim=1)
        if vector.size != self._cells.size:
            raise ValueError(
                f"r has shape {vector.shape}, expected ({self._cells.size},), the number of FLUID cells"
            )
        grid = np.zeros(self._shape, vector.dtype)
        grid.ravel()[self._cells] = vector
        return np.ascontiguousarray(_evaluate(self._weights, grid).ravel()[self._cells])


@functools.cache
def _shipped(file: str) -> Weights:
    """Read one file of the package once."""
    with resources.as_file(resources.files(__package__) / "weights" / f"{file}.npz") as path:
        return read(path, trusted_only=True)


def _evaluate(weights: Weights, r: Array) -> Array:
    """Run all layers on a grid of any size."""
    ndim, plan = weights.ndim, weights.plan
    shape = tuple(n + n % 2 for n in r.shape)
    half = tuple(n // 2 for n in shape)
    factor = 2 if ndim == 3 else 1
    # Stacks: x the input, a and b at full resolution, q and t at half.
    g1, g, gq = conv.geometry(shape, 1), conv.geometry(shape, CHANNELS), conv.geometry(half, CHANNELS)
    x = np.zeros(g1.size, np.float32)
    a, b = np.zeros(g.size, np.float32), np.zeros(g.size, np.float32)
    q, t = np.zeros(gq.size, np.float32), np.zeros(gq.size, np.float32)
    grid = r if ndim == 3 else r[None]
    conv.fill(grid, x, g1)
    layers = iter(zip(weights.kernels, weights.biases))

    def layer(source: Array, geometry: conv.Geometry, out: Array, *, add: bool = False) -> None:
        """Write ``relu(conv(source))`` to `out`, which lies at the same resolution."""
        kernel, bias = next(layers)
        conv.convolve(source, geometry, ndim, kernel, bias, out, geometry, add=add)

    # Down: a first layer without relu, then blocks of two layers whose first adds its own former value.
    kernel, bias = next(layers)
    conv.convolve(x, g1, ndim, kernel, bias, b, g, relu=False)
    layer(b, g, a)
    layer(a, g, b)
    for _ in range(plan.pre - 1):
        layer(b, g, a, add=True)
        layer(a, g, b)
    # At half the resolution, residual blocks q + C(C(q)); their sum goes back to b.
    conv.pool(b, g, q, gq, factor)
    for _ in range(plan.low):
        layer(q, gq, t)
        layer(t, gq, q, add=True)
    conv.add_upsampled(q, gq, b, g, factor)
    # Up: residual blocks at full resolution, then all channels combined to one.
    for _ in range(plan.up):
        layer(b, g, a)
        layer(a, g, b, add=True)
    out = np.empty(grid.shape, np.float32)
    conv.combine(b, g, weights.last, weights.last_bias, out)
    return out.reshape(r.shape).astype(r.dtype, copy=False)
