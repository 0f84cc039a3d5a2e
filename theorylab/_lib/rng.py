"""One way to turn anything into a random generator; the global state is never touched."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["RNGLike", "as_generator", "seed_of"]

RNGLike = int | np.integer | np.random.SeedSequence | np.random.Generator | None


def as_generator(rng: RNGLike, name: str = "rng") -> np.random.Generator:
    """Return a `numpy.random.Generator` for None, an int, a SeedSequence or a Generator.

    A Generator is returned itself, so that its stream goes on. A legacy
    RandomState is refused, since its streams are a different law of numbers.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None or isinstance(rng, np.random.SeedSequence):
        return np.random.default_rng(rng)
    if isinstance(rng, (int, np.integer)) and not isinstance(rng, bool):
        if rng < 0:
            raise ValueError(f"{name} must be a non-negative integer, got {rng}")
        return np.random.default_rng(int(rng))
    raise TypeError(
        f"{name} must be None, an integer, a SeedSequence or a Generator of NumPy, got {type(rng).__name__}"
    )


def seed_of(seed: int, *address: object) -> np.random.SeedSequence:
    """Derive the seed of one simulated cell from its address, the same on every machine and in every order.

    The address is hashed with SHA-256 (not `hash`, which changes from process
    to process) into the spawn key of a `SeedSequence`.
    """
    digest = hashlib.sha256("\x1f".join(map(str, address)).encode()).digest()
    words = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
    return np.random.SeedSequence(seed, spawn_key=words)
