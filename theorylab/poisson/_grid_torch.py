"""The network, the operator and the loss on batches of grids, in torch; used in training only."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ._architecture import CHANNELS, architecture

SOLID, FLUID = 0, 1


class TorchNetwork(nn.Module):
    """The direction network; input (batch, 1, *shape) with even sides, output of the same shape."""

    def __init__(self, name: str, ndim: int) -> None:
        super().__init__()
        self.plan, self.ndim = architecture(name), ndim
        kind = nn.Conv2d if ndim == 2 else nn.Conv3d
        inner = [kind(CHANNELS, CHANNELS, 3, padding=1) for _ in range(self.plan.n_kernels - 2)]
        self.layers = nn.ModuleList([kind(1, CHANNELS, 3, padding=1), *inner, kind(CHANNELS, 1, 1)])
        for layer in self.layers:
            nn.init.zeros_(layer.bias)
        self.pool = nn.AvgPool2d(2) if ndim == 2 else nn.AvgPool3d(2)
        self.format = torch.channels_last if ndim == 2 else torch.channels_last_3d
        self.to(memory_format=self.format)

    def forward(self, r: Tensor) -> Tensor:
        """Evaluate all layers."""
        layers = iter(self.layers)

        def relu(x: Tensor) -> Tensor:
            return functional.relu(next(layers)(x))

        a = relu(next(layers)(r.contiguous(memory_format=self.format)))
        b = relu(a)
        for _ in range(self.plan.pre - 1):
            a = relu(b) + a
            b = relu(a)
        q = self.pool(b)
        for _ in range(self.plan.low):
            q = relu(relu(q)) + q
        u = functional.interpolate(q, scale_factor=2, mode="nearest") + b
        for _ in range(self.plan.up):
            u = relu(relu(u)) + u
        out: Tensor = next(layers)(u)
        return out

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return ``kernel_k`` (x, y, [z,] in, out) and ``bias_k`` as NumPy arrays."""
        out: dict[str, NDArray[np.float32]] = {}
        for k, layer in enumerate(self.layers):
            kernel = layer.weight.detach().cpu().numpy()
            out[f"kernel_{k}"] = np.ascontiguousarray(kernel.transpose(*range(2, kernel.ndim), 1, 0))
            out[f"bias_{k}"] = layer.bias.detach().cpu().numpy().copy()
        return out

    def load_arrays(self, arrays: Any) -> TorchNetwork:
        """Take the weights from such arrays."""
        with torch.no_grad():
            for k, layer in enumerate(self.layers):
                kernel = np.asarray(arrays[f"kernel_{k}"])
                kernel = kernel.transpose(-1, -2, *range(kernel.ndim - 2))
                layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(kernel)))
                layer.bias.copy_(torch.from_numpy(np.asarray(arrays[f"bias_{k}"]).copy()))
        return self


class GridOperator:
    """``(A p)_i = n_i p_i - sum of FLUID neighbours`` for batches (batch, 1, *shape) on one domain."""

    def __init__(self, flags: NDArray[Any]) -> None:
        fluid = flags == FLUID
        open_cell = np.pad(flags != SOLID, 1)
        inner = tuple(slice(1, -1) for _ in flags.shape)
        count = np.zeros(flags.shape)
        for axis in range(flags.ndim):
            for shift in (1, -1):
                count += np.roll(open_cell, shift, axis)[inner]
        self.mask = torch.from_numpy(fluid.astype(np.float32))
        self.count = torch.from_numpy((count * fluid).astype(np.float32))

    def __call__(self, p: Tensor) -> Tensor:
        """Apply A to fields that vanish off FLUID."""
        ndim = self.mask.ndim
        out = self.count.to(p.dtype) * p
        for axis in range(p.ndim - ndim, p.ndim):
            n = p.shape[axis]
            out.narrow(axis, 1, n - 1).sub_(p.narrow(axis, 0, n - 1))
            out.narrow(axis, 0, n - 1).sub_(p.narrow(axis, 1, n - 1))
        return out * self.mask.to(p.dtype)


def dot(x: Tensor, y: Tensor) -> Tensor:
    """Return the inner products of a batch, shaped to multiply it."""
    return (x * y).sum(dim=tuple(range(1, x.ndim)), keepdim=True)


def batch_loss(network: nn.Module, A: GridOperator, r: Tensor, scale: float) -> Tensor:
    """Return the loss of each unit residual of a batch; the network sees ``scale * r``."""
    f = network(scale * r) * A.mask
    g = A(f)
    s = r - dot(r, f) / dot(f, g) * g
    return dot(s, s).reshape(-1)


@torch.no_grad()
def batch_solve(
    network: nn.Module, A: GridOperator, b: Tensor, scale: float, keep: int, iterations: int
) -> tuple[list[Tensor], NDArray[np.float64]]:
    """Run DCDM on a batch; return the unit residuals met, and norms of shape (iterations + 1, batch)."""
    r = b.double()
    r = r / dot(r, r).sqrt()
    norms = [torch.ones(len(r), dtype=torch.float64)]
    met = [r.float()]
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(iterations):
        norm = dot(r, r).sqrt()
        d = (network((scale * r / norm).float()) * A.mask).double()
        d = d - sum((dot(d, q) / delta * p for p, q, delta in kept), torch.zeros(()))
        q = A(d)
        delta = dot(d, q)
        r = r - dot(d, r) / delta * q
        kept = [*kept, (d, q, delta)][-keep:] if keep else []
        norm = dot(r, r).sqrt()
        norms.append(norm.reshape(-1))
        met.append((r / norm).float())
    return met, torch.stack(norms).numpy()
