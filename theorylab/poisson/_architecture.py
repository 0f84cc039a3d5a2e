"""The layers of the direction networks, as one list that inference, training and files share."""

from __future__ import annotations

from typing import NamedTuple

from .._lib.checks import check_choice

CHANNELS = 16


class Architecture(NamedTuple):
    """Numbers of residual blocks before the pooling, at half resolution, and after the upsampling."""

    pre: int
    low: int
    up: int

    @property
    def n_kernels(self) -> int:
        """Return the number of convolutions: first, pairs of each stage, last."""
        return 2 + 2 * (self.pre + self.low + self.up)

    @property
    def radius(self) -> int:
        """Return how far one output cell sees, in cells, alignment of the pooling included."""
        # The first layer and two per block at full resolution, two cells per layer at half, one for pooling.
        return 1 + 2 * self.pre + 4 * self.low + 2 * self.up + 1

    def kernel_shapes(self, ndim: int) -> list[tuple[int, ...]]:
        """Return the shapes (x, y, [z,] in, out) of all kernels in the order of evaluation."""
        taps = (3,) * ndim
        inner = [(*taps, CHANNELS, CHANNELS)] * (self.n_kernels - 2)
        return [(*taps, 1, CHANNELS), *inner, (*(1,) * ndim, CHANNELS, 1)]

    def n_parameters(self, ndim: int) -> int:
        """Return the number of weights and biases."""
        full: int = 3**ndim
        inner = (self.n_kernels - 2) * (full * CHANNELS**2 + CHANNELS)
        return full * CHANNELS + CHANNELS + inner + CHANNELS + 1

    def flops_per_cell(self, ndim: int) -> float:
        """Return multiplications and additions for one cell of the grid."""
        inner: int = 3**ndim * CHANNELS**2
        full: int = 3**ndim * CHANNELS + 2 * (self.pre + self.up) * inner + CHANNELS
        return float(2 * (full + 2 * self.low * inner / 2**ndim))


ARCHITECTURES = {"dcdm_k64": Architecture(2, 3, 2), "dcdm_k128": Architecture(3, 5, 3)}


def architecture(name: str) -> Architecture:
    """Return the architecture of that name."""
    return ARCHITECTURES[check_choice(name, "architecture", ARCHITECTURES)]
