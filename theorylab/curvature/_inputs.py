"""The public door: rows and vectors of any kind in, arrays for the kernels out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from .._lib.backend import is_cupy, is_torch
from .._lib.checks import as_float_array, check_real, check_shape
from ._storage import widen

__all__ = ["accept_damping", "accept_rows", "accept_vector", "first_bad_row"]

Array = NDArray[Any]
Restore = Callable[[Array], Any]


def _from_torch(x: Any, name: str) -> tuple[Array, bool]:
    """Return a view of a torch tensor without a copy, and whether it holds bfloat16 as uint16."""
    torch = sys.modules["torch"]
    if x.device.type != "cpu":
        raise TypeError(f"{name} is a tensor on {x.device}, expected one on the CPU; pass {name}.cpu()")
    x = x.detach()
    if x.dtype == torch.bfloat16:
        return np.from_dlpack(x.view(torch.int16)).view(np.uint16), True
    return np.from_dlpack(x), False


def accept_rows(G: Any, *, bfloat16: bool, copy: bool) -> tuple[Any, bool, bool]:
    """Return the source of the rows, whether it holds bfloat16, and whether it came from torch."""
    if is_cupy(G):
        raise TypeError("G is a CuPy array, expected rows on the CPU; pass cupy.asnumpy(G)")
    torch_input = is_torch(G)
    if torch_input:
        G, half = _from_torch(G, "G")
        bfloat16 = bfloat16 or half
    if issparse(G):
        raise TypeError(f"G is a sparse {type(G).__name__}, expected dense rows; pass G.toarray()")
    if not all(hasattr(G, a) for a in ("shape", "dtype", "__getitem__")):
        try:
            G = np.asarray(G)
        except ValueError as error:
            raise ValueError(f"G is no array of numbers: {error}") from None
    if isinstance(G, np.ndarray):
        G = np.asarray(G)  # a memory map is an array like any other
    if str(G.dtype) == "bfloat16":
        G, bfloat16 = G.view(np.uint16), True
    if len(G.shape) != 2:
        raise ValueError(f"G has shape {tuple(G.shape)}, expected 2-D (m, d) with one row per gradient")
    if G.shape[0] == 0 or G.shape[1] == 0:
        raise ValueError(f"G has shape {tuple(G.shape)}, expected at least one row and one column")
    kind = np.dtype(G.dtype)
    if kind.kind == "O":
        G = as_float_array(G, "G", finite=False)
        kind = G.dtype
    if kind.kind == "c":
        raise TypeError(f"G is complex ({kind}), expected real numbers; pass its real part if that is meant")
    if kind.kind not in "fiub":
        raise TypeError(f"G has dtype {kind}, expected real numbers")
    if bfloat16 and kind != np.uint16:
        raise TypeError(f"G has dtype {kind}, expected uint16 with bfloat16=True; pass x.view(uint16)")
    if copy:
        G = np.array(G[:, :], order="C", copy=True)
    return G, bfloat16, torch_input


def first_bad_row(G: Any, bfloat16: bool, name: str = "G") -> str | None:
    """Return a message about the first row with a NaN or an infinity, None if there is none."""
    for i in range(G.shape[0]):
        row = widen(np.asarray(G[i : i + 1, :])[0], bfloat16)
        bad = ~np.isfinite(row)
        if bad.any():
            j = int(np.argmax(bad))
            return f"{name} contains {row[j]} in row {i} (column {j}), expected finite numbers; remove it"
    return None


def accept_vector(
    x: Any, length: int, name: str, axis: str, *, finite: bool = True, single: bool = False
) -> tuple[Array, Restore]:
    """Return `x` as float32 or float64, and how to hand a result back.

    The shape is (length,), or (length, k) unless `single`. Results have the
    floating dtype of `x` and its library; float16 gets float32, whose range
    can hold ``x / damping``.
    """
    restore: Restore = _same
    if is_torch(x):
        torch = sys.modules["torch"]
        dtype = x.dtype
        if dtype == torch.bfloat16:
            x = x.float()
        x, _ = _from_torch(x, name)

        def restore(y: Array) -> Any:
            tensor = torch.from_numpy(y)
            return tensor.to(dtype) if dtype == torch.bfloat16 else tensor

    array = np.asarray(x)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    array = as_float_array(array, name, finite=finite)
    if single and array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}, expected ({length},); pass batches to extend")
    if array.ndim not in (1, 2) or array.shape[0] != length:
        raise ValueError(
            f"{name} has shape {array.shape}, expected ({length},) or ({length}, k), as {axis} = {length}"
        )
    return array, restore


def _same(y: Array) -> Any:
    return y


def accept_weights(weights: Any, m: int) -> Array:
    """Return a copy of the positive weights of `m` rows."""
    array = as_float_array(weights, "weights", ndim=1, dtype=np.float64, copy=True)
    check_shape(array, (m,), "weights", "one for each row of G")
    if not np.all(array > 0):
        i = int(np.argmin(array > 0))
        raise ValueError(f"weights[{i}] is {array[i]:g}, expected positive numbers; leave such rows out")
    return array


def accept_damping(damping: Any) -> tuple[float, bool]:
    """Return the damping and whether it is relative to the mean squared entry of the rows."""
    if isinstance(damping, tuple):
        if len(damping) != 2 or damping[0] != "relative":
            raise ValueError(f'damping must be a number or ("relative", number), got {damping!r}')
        return check_real(damping[1], "damping", low=0.0, open_low=True), True
    return check_real(damping, "damping", low=0.0, open_low=True), False
