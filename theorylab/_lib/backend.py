"""Choose NumPy or CuPy by the type of the arrays, never by a global switch."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_cupy", "is_torch", "namespace", "require_numpy", "to_numpy"]


def is_cupy(x: object) -> bool:
    """Tell whether `x` is a CuPy array, without importing CuPy."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(x, cupy.ndarray)


def is_torch(x: object) -> bool:
    """Tell whether `x` is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def _refuse(x: object) -> TypeError:
    kind = f"{type(x).__module__}.{type(x).__name__}".removeprefix("builtins.")
    advice = "pass numpy.asarray(x) or cupy.asarray(x)"
    if isinstance(x, (str, bytes)):
        kind, advice = f"the text {x!r}", "pass numbers"
    elif is_torch(x):
        advice = "pass x.detach().cpu().numpy(), or cupy.from_dlpack(x) for a tensor on the GPU"
    elif hasattr(x, "toarray"):
        advice = "pass x.toarray()"
    return TypeError(f"expected NumPy or CuPy arrays, got {kind}; {advice}")


def namespace(*arrays: object) -> ModuleType:
    """Return the array module, ``numpy`` or ``cupy``, that all `arrays` share.

    Lists and scalars count as NumPy. Mixing the two libraries is an error,
    because a silent transfer between host and device would hide its cost.

    Raises
    ------
    TypeError
        For arrays of another library, or a mixture of NumPy and CuPy.
    """
    on_device = [is_cupy(x) for x in arrays]
    if any(on_device):
        if not all(on_device):
            raise TypeError(
                "got both NumPy and CuPy arrays; move all to one side by cupy.asarray or cupy.asnumpy"
            )
        return sys.modules["cupy"]
    for x in arrays:
        if isinstance(x, (np.ndarray, np.generic, list, tuple, int, float, complex, bool)) or x is None:
            continue
        if is_torch(x):
            raise _refuse(x)
        # array-api-compat knows the other libraries; it costs an import only off the common path.
        from array_api_compat import array_namespace, is_numpy_namespace

        try:
            known = is_numpy_namespace(array_namespace(x))
        except TypeError:
            known = hasattr(x, "__array__")
        if not known:
            raise _refuse(x)
    return np


def require_numpy(function: str, *arrays: object) -> None:
    """Raise TypeError where an implementation for the CPU receives GPU arrays."""
    try:
        module = namespace(*arrays)
    except TypeError as error:
        raise TypeError(f"{function}: {error}") from None
    if module is not np:
        raise TypeError(f"{function} runs on the CPU only; pass cupy.asnumpy(x) instead of a CuPy array")


def to_numpy(x: Any) -> NDArray[Any]:
    """Copy a CuPy array to the host; hand a NumPy array or a list through `numpy.asarray`."""
    if is_cupy(x):
        return np.asarray(sys.modules["cupy"].asnumpy(x))
    return np.asarray(x)
