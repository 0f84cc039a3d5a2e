"""Count what the kernels did: calls, floating-point operations, bytes of rows read."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Cost", "Tally"]


@dataclass(frozen=True)
class Tally:
    """Work of one kernel so far.

    Attributes
    ----------
    calls : int
        How often it ran.
    flops : int
        Additions and multiplications on real numbers.
    bytes : int
        Bytes of the m x d matrix of rows that were read, as they are stored.
        Vectors and m x m matrices stay in the cache or are smaller by a factor m.
    """

    calls: int = 0
    flops: int = 0
    bytes: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Add entry by entry."""
        return Tally(self.calls + other.calls, self.flops + other.flops, self.bytes + other.bytes)


@dataclass
class Cost:
    """Tallies by kernel: gram, dots (G x), combine (G^T c), whiten (L^-1 G), factor, solve, slide.

    Examples
    --------
    >>> cost = Cost()
    >>> cost.add("dots", flops=2 * 3 * 10, bytes=3 * 10 * 4)
    >>> cost.flops, cost["dots"].calls
    (60, 1)
    """

    kernels: dict[str, Tally] = field(default_factory=dict)

    def add(self, kernel: str, flops: int = 0, bytes: int = 0) -> None:
        """Record one call of `kernel`."""
        self.kernels[kernel] = self[kernel] + Tally(1, flops, bytes)

    def __getitem__(self, kernel: str) -> Tally:
        """Return the tally of `kernel`, zeros if it never ran."""
        return self.kernels.get(kernel, Tally())

    @property
    def flops(self) -> int:
        """Operations of all kernels."""
        return sum(t.flops for t in self.kernels.values())

    @property
    def bytes(self) -> int:
        """Bytes of rows read by all kernels."""
        return sum(t.bytes for t in self.kernels.values())

    def reset(self) -> None:
        """Start counting anew."""
        self.kernels.clear()
