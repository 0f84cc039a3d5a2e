"""The pressure-Poisson operator of a grid of cells, without a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy import sparse

from theorylab._lib.checks import as_float_array, check_shape, float_dtype
from theorylab._lib.jit import jit

from ._grid import AIR, FLUID, SOLID, Components, check_field, check_flags, label_cells
from ._symmetric import SymmetricOperator

__all__ = ["PoissonOperator"]

Array = NDArray[Any]


@jit
def _index(flags: Array, cells: Array, padded: Array, count: Array, m1: int, m2: int) -> int:
    """Write the places of the FLUID cells in the grid and the padded grid, and n_i; return their number.

    Padded lines have length `m2`, padded planes `m1` lines; a 2-D grid comes as one plane without padding.
    """
    nx, ny, nz = flags.shape
    flat = nx == 1 and m1 == 0
    n = 0
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                if flags[i, j, k] != 1:
                    continue
                cells[n] = (i * ny + j) * nz + k
                padded[n] = ((0 if flat else (i + 1) * m1) + j + 1) * m2 + k + 1
                faces = 0
                if not flat:
                    faces += (i > 0 and flags[i - 1, j, k] != 0) + (i < nx - 1 and flags[i + 1, j, k] != 0)
                faces += (j > 0 and flags[i, j - 1, k] != 0) + (j < ny - 1 and flags[i, j + 1, k] != 0)
                faces += (k > 0 and flags[i, j, k - 1] != 0) + (k < nz - 1 and flags[i, j, k + 1] != 0)
                count[n] = faces
                n += 1
    return n


@jit
def _scatter(x: Array, cells: Array, padded: Array, p: Array) -> None:
    """Write the entries ``cells`` of `x` into their places in the padded grid `p`."""
    for i in range(padded.size):
        p[padded[i]] = x[cells[i]]


@jit
def _product2(p: Array, padded: Array, count: Array, s0: int, out: Array, cells: Array) -> None:
    """Write ``n_i p_i`` minus the sum of the four neighbours into ``out[cells]`` (2.1)."""
    for i in range(padded.size):
        c = padded[i]
        out[cells[i]] = count[i] * p[c] - ((p[c - s0] + p[c + s0]) + (p[c - 1] + p[c + 1]))


@jit
def _product3(p: Array, padded: Array, count: Array, s0: int, s1: int, out: Array, cells: Array) -> None:
    """Write ``n_i p_i`` minus the sum of the six neighbours into ``out[cells]`` (2.1)."""
    for i in range(padded.size):
        c = padded[i]
        around = (p[c - s0] + p[c + s0]) + (p[c - s1] + p[c + s1]) + (p[c - 1] + p[c + 1])
        out[cells[i]] = count[i] * p[c] - around


@jit
def _product_weighted(
    p: Array, padded: Array, diagonal: Array, faces: Array, steps: Array, out: Array, cells: Array
) -> None:
    """Write ``sum_f w_f (p_i - p_j)`` into ``out[cells]``; `faces` has a row of 2d weights per cell."""
    for i in range(padded.size):
        c = padded[i]
        total = diagonal[i] * p[c]
        for f in range(steps.size):
            total -= faces[i, f] * p[c + steps[f]]
        out[cells[i]] = total


@jit
def _rows(number: Array, padded: Array, diagonal: Array, faces: Array, steps: Array) -> Any:
    """Return the CSR arrays; `number` holds the unknown's index in its place of the padded grid, else -1."""
    n, sides = padded.size, steps.size
    half = sides // 2
    pointer = np.zeros(n + 1, np.int32)
    for i in range(n):
        count = 1
        for f in range(sides):
            count += number[padded[i] + steps[f]] >= 0 and faces[i, f] != 0
        pointer[i + 1] = pointer[i] + count
    indices, data = np.empty(pointer[n], np.int32), np.empty(pointer[n], diagonal.dtype)
    for i in range(n):
        k = pointer[i]
        # Steps ascend, so that the columns do; the diagonal stands in their middle.
        for f in range(sides + 1):
            g = f if f < half else f - 1
            if f == half:
                indices[k], data[k] = i, diagonal[i]
                k += 1
            elif number[padded[i] + steps[g]] >= 0 and faces[i, g] != 0:
                indices[k], data[k] = number[padded[i] + steps[g]], -faces[i, g]
                k += 1
    return data, indices, pointer


def _face_weights(weights: Any, flags: Array) -> tuple[Array, ...]:
    """Return the checked face arrays, float64; faces at SOLID cells and at the rim are closed."""
    if not isinstance(weights, (tuple, list)) or len(weights) != flags.ndim:
        came = f"{len(weights)} of them" if isinstance(weights, (tuple, list)) else type(weights).__name__
        raise ValueError(
            f"weights must be a tuple of {flags.ndim} face arrays, one for each axis of flags, got {came}"
        )
    solid = np.pad(flags, 1, constant_values=SOLID) == SOLID
    faces = []
    for axis, weight in enumerate(weights):
        name = f"weights[{axis}]"
        w = as_float_array(weight, name, dtype=np.float64, copy=True)
        shape = tuple(n + (a == axis) for a, n in enumerate(flags.shape))
        check_shape(w, shape, name, f"(one face more than cells along axis {axis})")
        if (w < 0).any():
            raise ValueError(f"{name} has the negative entry {w.min()}, expected weights >= 0")
        inner = tuple(slice(None) if a == axis else slice(1, -1) for a in range(flags.ndim))
        wall = solid[inner]
        low, high = (np.take(wall, range(k, k + shape[axis]), axis) for k in (0, 1))
        w[low | high] = 0.0
        faces.append(w)
    return tuple(faces)


class PoissonOperator(SymmetricOperator):
    """Minus the Laplacian of a grid of cells, times the square of its spacing, on the FLUID cells.

    Parameters
    ----------
    flags : array_like of int, shape (nx, ny) or (nx, ny, nz)
        0 SOLID, 1 FLUID, 2 AIR. Outside is SOLID.
    weights : tuple of array_like, optional
        Non-negative weights of the faces, one array for each axis with one face more than cells
        along it: (nx + 1, ny), (nx, ny + 1), ... Faces at SOLID cells are closed whatever their
        weight. Default: 1. A ghost-fluid surface at distance ``theta h`` has weight ``1 / theta``.
    dtype : {float32, float64}, optional
        Of :meth:`diagonal` and :meth:`to_csr`; float64 by default. Products have the dtype of the vector.

    Attributes
    ----------
    flags : ndarray of uint8
        Read-only.
    shape : tuple
        ``(N, N)`` with N FLUID cells, numbered in C order.
    components : Components
        Connected components and which of them are closed (each closed one adds a null vector).

    Raises
    ------
    ValueError
        For flags that are no grid of 0, 1 and 2 with a FLUID cell, and negative or misshapen weights.

    Notes
    -----
    ``(A p)_i = sum_f w_f (p_i - p_j)`` over the faces f between cell i and its FLUID or AIR
    neighbours j, with p = 0 in AIR. A is symmetric, positive semidefinite and weakly diagonally
    dominant; the eigenvalues of ``diag(A)^-1 A`` lie in [0, 2]. A product reads and writes about
    40 bytes a cell in double precision.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.poisson import PoissonOperator
    >>> A = PoissonOperator([[2, 1, 1, 1, 2]])
    >>> A.to_csr().toarray()
    array([[ 2., -1.,  0.],
           [-1.,  2., -1.],
           [ 0., -1.,  2.]])
    >>> A @ np.ones(3)
    array([1., 0., 1.])
    """

    def __init__(self, flags: ArrayLike, weights: Any = None, dtype: DTypeLike | None = None) -> None:
        grid = np.array(check_flags(flags))
        grid.flags.writeable = False
        try:
            kind = float_dtype(np.float64 if dtype is None else np.dtype(dtype), "dtype")
        except TypeError as error:
            raise TypeError(f"dtype must be float32 or float64, got {dtype!r}: {error}") from None
        self.flags: Array = grid
        self.weights: tuple[Array, ...] | None = None
        self._components: Components | None = None
        self._padded_shape = tuple(n + 2 for n in grid.shape)
        n = int(np.count_nonzero(grid == FLUID))
        self._cells, self._padded, self._diagonal = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
        boxed = grid.reshape((1,) * (3 - grid.ndim) + grid.shape)
        planes = self._padded_shape[1] if grid.ndim == 3 else 0
        _index(boxed, self._cells, self._padded, self._diagonal, planes, self._padded_shape[-1])
        self._packed = np.arange(n)
        strides = np.cumprod((1, *self._padded_shape[:0:-1]))[::-1]
        # Ascending steps to the neighbours: low faces of the first axis first, high faces of it last.
        self._steps = np.concatenate((-strides, strides[::-1])).astype(np.int64)
        if weights is not None:
            self.weights = _face_weights(weights, grid)
            for w in self.weights:
                w.flags.writeable = False
            places = np.unravel_index(self._cells, grid.shape)
            sides = [w[places] for w in self.weights]
            sides += [
                self.weights[axis][tuple(i + (a == axis) for a, i in enumerate(places))]
                for axis in reversed(range(grid.ndim))
            ]
            self._faces: Array | None = np.stack(sides, axis=1)
            self._diagonal = self._faces.sum(axis=1)
        else:
            self._faces = None
        # Padded work arrays, zero off FLUID; a list hands them out safely between threads.
        self._spare: list[Array] = []
        super().__init__(kind, (self._cells.size, self._cells.size))

    @property
    def components(self) -> Components:
        """Connected components of the FLUID cells; faces of weight zero do not connect."""
        if self._components is None:
            self._components = label_cells(self.flags, self.weights)
        return self._components

    def _apply(self, x: Array, source: Array, out: Array, target: Array) -> None:
        """Write ``A x`` into ``out[target]``, taking the unknowns from ``x[source]``; both flat."""
        try:
            p = self._spare.pop()
        except IndexError:
            p = np.zeros(int(np.prod(self._padded_shape)))
        if p.dtype != x.dtype:
            p = np.zeros(p.size, x.dtype)
        _scatter(x, source, self._padded, p)
        if self._faces is not None:
            _product_weighted(p, self._padded, self._diagonal, self._faces, self._steps, out, target)
        elif self.flags.ndim == 2:
            _product2(p, self._padded, self._diagonal, self._padded_shape[1], out, target)
        else:
            s1 = self._padded_shape[2]
            _product3(p, self._padded, self._diagonal, self._padded_shape[1] * s1, s1, out, target)
        self._spare.append(p)

    def _matvec(self, x: Array) -> Array:
        x = np.asarray(x).reshape(-1)
        kind = self.dtype if x.dtype.kind in "iub" else float_dtype(x.dtype, "x")
        x = np.ascontiguousarray(x, dtype=kind)
        out = np.empty_like(x)
        self._apply(x, self._packed, out, self._packed)
        return out

    def _matmat(self, X: Array) -> Array:
        columns = [self._matvec(x) for x in np.asarray(X).T]
        return np.stack(columns, axis=1) if columns else np.empty((self.shape[0], 0), self.dtype)

    def matvec_grid(self, p: ArrayLike, out: Array | None = None) -> Array:
        """Return ``A p`` for a pressure on the whole grid; zero off FLUID, where `p` is not read.

        Parameters
        ----------
        p : array_like, the grid's shape
        out : ndarray of float, the grid's shape, optional
            Receives the result. May be `p` itself.

        Returns
        -------
        ndarray
            `out`, or a new array of the dtype of `p`.
        """
        field = check_field(p, self.flags, "p")
        if out is None:
            out = np.empty_like(field)
        elif not isinstance(out, np.ndarray):
            raise TypeError(f"out must be a NumPy array, got {type(out).__name__}")
        elif out.dtype.kind != "f":
            raise TypeError(f"out has dtype {out.dtype}, expected float32 or float64")
        elif not out.flags.writeable:
            raise ValueError("out is read-only, expected an array to write to; pass out=None for a new one")
        check_shape(out, self.flags.shape, "out", "to match flags")
        result = np.zeros(self.flags.size, field.dtype)
        self._apply(field.ravel(), self._cells, result, self._cells)
        out[...] = result.reshape(self.flags.shape)
        return out

    def diagonal(self) -> Array:
        """Return the diagonal, shape (N,): the sum of the weights of each cell's open faces."""
        return self._diagonal.astype(self.dtype)

    def to_csr(self) -> sparse.csr_array:
        """Return the matrix as a SciPy CSR array with sorted columns; every diagonal entry is stored."""
        number = np.full(int(np.prod(self._padded_shape)), -1, np.int32)
        number[self._padded] = self._packed
        faces = np.ones((self.shape[0], self._steps.size)) if self._faces is None else self._faces
        data, indices, pointer = _rows(number, self._padded, self._diagonal, faces, self._steps)
        return sparse.csr_array((data.astype(self.dtype), indices, pointer), shape=self.shape)

    def __repr__(self) -> str:
        kinds = {"FLUID": FLUID, "SOLID": SOLID, "AIR": AIR}
        counts = ", ".join(f"{int((self.flags == kind).sum())} {name}" for name, kind in kinds.items())
        return f"<PoissonOperator on a grid of {' x '.join(map(str, self.flags.shape))} cells: {counts}>"
