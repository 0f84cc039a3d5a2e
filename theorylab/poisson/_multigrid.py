"""The multigrid preconditioner as a linear operator over the FLUID cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator

from theorylab._lib.checks import check_choice, check_int, float_dtype

from ._fused_cg import GridCG
from ._grid import FLUID, Components, check_flags, fluid_index, label_cells
from ._hierarchy import Hierarchy
from ._nullmeans import closed_means
from ._recipes import Certificate, certify, get_recipe
from ._symmetric import SymmetricOperator

__all__ = ["LearnedMultigrid"]

Array = NDArray[Any]


class LearnedMultigrid(SymmetricOperator):
    """Symmetric multigrid cycle for the pressure equation, a preconditioner for conjugate gradients.

    Parameters
    ----------
    flags : array_like of int, shape (nx, ny) or (nx, ny, nz)
        0 SOLID, 1 FLUID, 2 AIR. Outside is SOLID; any sizes.
    recipe : {'default', 'learned'} or 8 numbers
        Weights (w1, w2, w1c, w2c, tF, tD, oc, alphaD): sweeps on the grid, sweeps on the coarse levels,
        transfer towards FLUID and AIR, coarse correction, coarse coupling to AIR. `learned` is shipped,
        one recipe for 2-D and one for 3-D; :func:`theorylab.poisson.train.train_recipe` makes others.
    precision : {'float32', 'float64'}
        Of the cycle. Single precision suffices inside conjugate gradients to 1e-12.
    nu : {1, 2}
        Sweeps before and after each coarse correction.

    Attributes
    ----------
    shape : tuple
        ``(N, N)`` with N FLUID cells in C order.
    levels : tuple of int
        Coupled unknowns of each level, finest first.

    Raises
    ------
    ValueError
        For flags that are no grid of 0, 1 and 2 with a FLUID cell, or a recipe that is none.

    Notes
    -----
    Blocks of 2^d cells are aggregated, split into the components that are connected inside the block, with
    couplings ``a_IJ = sum a_ij / 2`` and ``c_I = alphaD sum c_i / 2`` [1]_, and a transfer that looks through
    no wall. Levels with at most 1/64 of the cells are visited twice in a cycle, which costs a tenth and
    spares thin walls and pores up to a fifth of the iterations; recipes for which that is not known to keep
    the cycle definite, the untrained ones among them, visit all levels once. The cycle is symmetric; it is
    positive definite where :meth:`certificate` holds (semidefinite on components without AIR, for
    constants). A product moves about 30 bytes a cell; the set-up visits each cell a fixed number of times.

    References
    ----------
    .. [1] A. McAdams, E. Sifakis, J. Teran, "A parallel multigrid Poisson solver for fluids simulation on
       large grids", SCA 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.poisson import LearnedMultigrid, PoissonOperator, pcg
    >>> flags = np.pad(np.ones((30, 30), int), 1, constant_values=2)
    >>> A, B = PoissonOperator(flags), LearnedMultigrid(flags)
    >>> x, info = pcg(A, np.ones(900), M=B, rtol=1e-8)
    >>> info, B.certificate().holds
    (0, True)
    """

    def __init__(
        self, flags: ArrayLike, *, recipe: Any = "default", precision: str = "float32", nu: int = 2
    ) -> None:
        grid = np.array(check_flags(flags))
        check_choice(precision, "precision", ("float32", "float64"))
        self.nu = check_int(nu, "nu", low=1, high=2)
        self.recipe = get_recipe(recipe, grid.ndim)
        self.precision = precision
        self._recipe_name = recipe
        self._grid = grid
        self._build(grid)

    def _build(self, grid: Array) -> None:
        w1, w2, w1c, w2c, *rest = self.recipe
        if self.nu == 1:  # a sweep of weight 0 does nothing
            w2 = w2c = 0.0
        self._hierarchy = Hierarchy(grid, (w1, w2, w1c, w2c, *rest), np.dtype(self.precision))
        self._outer = GridCG(self._hierarchy)
        self._adopt(grid)

    def _adopt(self, grid: Array) -> None:
        self._grid = grid
        self._index: Array | None = None
        self._parts: Components | None = None
        self._means: Callable[[Array], None] | None = None
        n = int(np.count_nonzero(grid == FLUID))
        LinearOperator.__init__(self, dtype=np.float64, shape=(n, n))

    def update(self, flags: ArrayLike) -> None:
        """Set up for other flags, in the same memory where the grid has the same sides.

        Parameters
        ----------
        flags : array_like of int
            A grid of the same dimension; the number of FLUID cells, and with it :attr:`shape`, may change.
        """
        grid = check_flags(flags)
        if grid.ndim != self._grid.ndim:
            raise ValueError(f"flags has shape {grid.shape}, expected a {self._grid.ndim}-D grid as before")
        if grid.shape == self._grid.shape:
            np.copyto(self._grid, grid)
            self._hierarchy.update(self._grid)
        else:
            self._grid = np.array(grid)
            self._hierarchy.update(self._grid)
            self._outer = GridCG(self._hierarchy)
        self._adopt(self._grid)

    @property
    def flags(self) -> Array:
        """Return the flags, read-only."""
        view = self._grid.view()
        view.flags.writeable = False
        return view

    @property
    def levels(self) -> tuple[int, ...]:
        """Return the numbers of coupled unknowns, finest level first."""
        return tuple(self._hierarchy.unknowns_per_level)

    def certificate(self) -> Certificate:
        """Return whether the weights make the cycle positive definite, and how far they contract."""
        return certify(self.recipe, self.nu)

    def _matvec(self, x: Array) -> Array:
        if self._index is None:
            self._index = fluid_index(self._grid)
        dtype = float_dtype(x.dtype, "r")
        r, out = np.zeros(self._grid.size), np.empty(self._grid.shape)
        r[self._index] = np.ravel(x)
        self._apply_grid(r.reshape(self._grid.shape), out)
        return out.reshape(-1)[self._index].astype(dtype)

    def _apply_grid(self, r: Array, out: Array) -> None:
        """Write ``B r`` on full grids into `out`, zero off FLUID."""
        self._outer.apply(r, out)

    def _solve(
        self, b: Array, x0: Array | None, rtol: float, atol: float, maxiter: int, project: bool
    ) -> tuple[Array, Array, int]:
        """Solve on full grids by conjugate gradients; returns x, the norms of all residuals, the iterations.

        With `project` the means over closed components are removed from b, the residuals and x.
        """
        if project and self._parts is None:
            self._parts = label_cells(self._grid)
            self._means = closed_means(self._grid, self._parts)
        return self._outer.solve(b, x0, rtol, atol, maxiter, self._means if project else None)
