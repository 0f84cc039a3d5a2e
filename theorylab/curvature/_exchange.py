"""Let torch tensors in and out through DLPack, without importing torch."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from .._lib.backend import is_torch

__all__ = ["from_torch", "like"]


def from_torch(x: Any) -> Any:
    """Return a NumPy view of a torch tensor on the CPU (bfloat16 as float32); anything else as it is."""
    if not is_torch(x):
        return x
    tensor = x.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    return np.from_dlpack(tensor.resolve_conj().resolve_neg())


def like(result: Any, template: Any, *, cast: bool = True) -> Any:
    """Return `result` as `template`'s kind (torch or NumPy), and float32 where that (or float16) came in."""
    torch = sys.modules.get("torch")
    if is_torch(template):
        assert torch is not None
        tensor = torch.from_numpy(np.ascontiguousarray(result)).to(template.device)
        return tensor.to(template.dtype) if cast and template.dtype.is_floating_point else tensor
    if cast and getattr(template, "dtype", None) in (np.float16, np.float32):
        return np.asarray(result, dtype=np.float32)
    return result
