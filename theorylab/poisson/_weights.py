"""Files of network weights: arrays and their provenance, checked before use."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._architecture import ARCHITECTURES, Architecture
from ._convolution import GROUP, Stack, pack_kernel

__all__ = ["Weights", "digest", "read", "read_arrays"]


Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Weights:
    """Checked weights, ordered for the kernels.

    Attributes
    ----------
    plan : Architecture
    ndim : int
        2 or 3, of the grids they are for.
    kernels, biases : list of ndarray of float32
        All but the last layer, packed.
    last : ndarray of float32, shape (16,)
        The 1x1 convolution to one channel; its bias is `last_bias`.
    meta : dict
        Provenance.
    """

    plan: Architecture
    ndim: int
    kernels: list[Stack]
    biases: list[Stack]
    last: Stack
    last_bias: np.float32
    meta: dict[str, Any]

    @property
    def n_parameters(self) -> int:
        """Return the number of weights and biases."""
        return self.plan.n_parameters(self.ndim)

    @property
    def boundaries(self) -> tuple[str, ...]:
        """Return the outer boundaries trained on; empty where the file does not say."""
        return tuple(self.meta.get("boundaries", ()))


def digest(arrays: Arrays) -> str:
    """Return the SHA-256 of names, shapes and float32 values in little-endian order."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name], dtype="<f4")
        total.update(f"{name} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def read(path: str | os.PathLike[str], *, trusted_only: bool = False) -> Weights:
    """Read and check a file; `trusted_only` demands the hash that shipped files carry."""
    plan, arrays, meta = _checked(Path(path), trusted_only)
    count = plan.n_kernels
    return Weights(
        plan,
        arrays["kernel_0"].ndim - 2,
        [pack_kernel(arrays[f"kernel_{k}"]) for k in range(count - 1)],
        [arrays[f"bias_{k}"].reshape(-1, GROUP) for k in range(count - 1)],
        arrays[f"kernel_{count - 1}"].ravel(),
        np.float32(arrays[f"bias_{count - 1}"][0]),
        meta,
    )


def read_arrays(path: str | os.PathLike[str], name: str, ndim: int) -> tuple[Arrays, dict[str, Any]]:
    """Read and check the arrays and the meta of a file that must hold this architecture in this dimension."""
    _, arrays, meta = _checked(Path(path), False)
    have = (meta["architecture"], arrays["kernel_0"].ndim - 2)
    if have != (name, ndim):
        raise ValueError(f"{path} holds {have[0]} in {have[1]}-D, expected {name} in {ndim}-D to start from")
    return arrays, meta


def _checked(path: Path, trusted_only: bool) -> tuple[Architecture, Arrays, dict[str, Any]]:
    """Read a file and check all of it."""
    with open(path, "rb") as stream:  # a missing file says so itself
        try:
            file = np.load(stream, allow_pickle=False)
            arrays = {name: file[name] for name in file.files}
        except (ValueError, OSError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is no readable .npz file of plain arrays ({error}); write it by numpy.savez"
            ) from None
    meta = _meta(arrays.pop("meta", None), path)
    name = meta.get("architecture")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ValueError(
            f"{path} has the architecture {name!r} in its meta, expected one of {', '.join(ARCHITECTURES)}"
        )
    plan = ARCHITECTURES[name]
    return plan, _check_arrays(plan, arrays, meta, path, trusted_only), meta


def _meta(entry: NDArray[Any] | None, path: Path) -> dict[str, Any]:
    """Return the JSON object of a file."""
    if entry is None:
        raise ValueError(f"{path} has no array 'meta', expected a JSON string with the architecture")
    text: Any = entry.tobytes() if entry.dtype == np.uint8 else entry.item() if entry.size == 1 else None
    try:
        meta = json.loads(text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} has a 'meta' that is no JSON ({error}); store json.dumps(...)") from None
    if not isinstance(meta, dict):
        raise ValueError(f"{path} has a 'meta' of JSON type {type(meta).__name__}, expected an object")
    return meta


def _check_arrays(
    plan: Architecture, arrays: Arrays, meta: dict[str, Any], path: Path, trusted_only: bool
) -> Arrays:
    """Check names, shapes, values and hash."""
    first = arrays.get("kernel_0")
    if first is None or first.ndim not in (4, 5):
        came = "none" if first is None else f"shape {first.shape}"
        raise ValueError(
            f"{path}: kernel_0 expected with shape (3, 3, 1, 16) in 2-D or (3, 3, 3, 1, 16) in 3-D, "
            f"got {came}"
        )
    ndim = first.ndim - 2
    shapes = {f"kernel_{k}": shape for k, shape in enumerate(plan.kernel_shapes(ndim))}
    shapes |= {f"bias_{k}": shape[-1:] for k, shape in enumerate(plan.kernel_shapes(ndim))}
    extra = sorted(name for name in arrays if re.fullmatch(r"(kernel|bias)_\d+", name) and name not in shapes)
    if extra:
        raise ValueError(
            f"{path} has {extra[0]}, which {meta['architecture']} with {plan.n_kernels} kernels has not"
        )
    weights: Arrays = {}
    for name, shape in shapes.items():
        array = arrays.get(name)
        if array is None:
            raise ValueError(f"{path} lacks {name}, expected with shape {shape}")
        if array.shape != shape:
            raise ValueError(f"{path}: {name} has shape {array.shape}, expected {shape}")
        if array.dtype.kind not in "fiu":
            raise ValueError(f"{path}: {name} has dtype {array.dtype}, expected real numbers")
        with np.errstate(over="ignore"):
            weights[name] = array.astype(np.float32)
        if not np.isfinite(weights[name]).all():
            raise ValueError(f"{path}: {name} has entries that are not finite in float32")
    claimed = meta.get("sha256")
    if claimed is None and trusted_only:
        raise ValueError(f"{path} carries no sha256, which shipped weights do; reinstall theorylab")
    if claimed is not None and claimed != digest(weights):
        raise ValueError(f"{path}: the arrays do not match the sha256 in its meta; the file was altered")
    return weights
