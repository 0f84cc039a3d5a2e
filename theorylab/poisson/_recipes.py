"""Recipes of the multigrid preconditioner: eight numbers, and the inequality that makes it definite."""

from __future__ import annotations

import functools
import hashlib
import json
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from theorylab._lib.checks import as_float_array

__all__ = ["FLOOR", "NAMES", "Certificate", "certify", "digest", "get_recipe", "load_learned", "revisit"]

Recipe = tuple[float, ...]

#: The least weight of the own aggregate in the transfer.
FLOOR = 0.02
#: Products of larger numbers may overflow in single precision.
LARGEST = 1e6
#: What the eight numbers are called.
NAMES = ("w1", "w2", "w1c", "w2c", "tF", "tD", "oc", "alphaD")
_DEFAULT = {2: (0.6, 1.1, 0.6, 1.1, 1.0, 1.0, 1.0, 1.0), 3: (0.6, 1.1, 0.6, 1.1, 1.5, 1.5, 1.0, 1.0)}


class Certificate(NamedTuple):
    """Whether the V-cycle is positive definite, by an inequality for its weights alone.

    Attributes
    ----------
    holds : bool
        ``|(1 - w1 t) (1 - w2 t)| < 1`` for all t in (0, 2] on every level, oc >= 0 and alphaD >= 0.
    value : float
        The largest ``|(1 - w1 t) (1 - w2 t)|`` over t in [0.2, 2] and both pairs of weights.
    """

    holds: bool
    value: float


def certify(recipe: Recipe, nu: int = 2) -> Certificate:
    """Return the certificate of a recipe.

    The eigenvalues of ``D^-1 A`` lie in [0, 2] on every level, for each level is a weighted graph Laplacian
    with couplings to AIR. Where the two sweeps contract all of (0, 2], one half of the cycle is a convergent
    smoother, and the cycle is its symmetrised form plus ``oc S^T P B P^T S``, definite by induction.
    """
    w1, w2, w1c, w2c, _, _, oc, alpha = recipe
    holds, value = oc >= 0.0 and alpha >= 0.0, 0.0
    for u, v in ((w1, w2), (w1c, w2c)):
        v = v if nu == 2 else 0.0
        # A parabola in t: its ends and its vertex decide. Near 0 it must fall below 1.
        vertex = [0.5 * (u + v) / (u * v)] if u * v != 0.0 else []
        sizes = [abs((1 - u * t) * (1 - v * t)) for t in [2.0] + [t for t in vertex if 0.0 < t < 2.0]]
        holds = holds and u + v > 0.0 and max(sizes) < 1.0
        points = [0.2, 2.0] + [t for t in vertex if 0.2 < t < 2.0]
        value = max(value, *(abs((1 - u * t) * (1 - v * t)) for t in points))
    return Certificate(bool(holds), float(value))


def revisit(recipe: Recipe) -> float:
    """Return the damping of the first of two visits that keeps the cycle definite; 0 if none is known to.

    Two visits apply ``(1 + w) B - w B A B``, which is definite while the eigenvalues of B A stay below
    1 + 1/w, and which has eigenvalues of at most (1 + w)^2 / 4w times A. One visit is ``I - B A =
    S^T (I - oc P B_c P^T A) S`` with a contraction S, so that its eigenvalues are at most oc k times those of
    the level below, where ``|P e|_A^2 <= k |e|_Ac^2``. Both hold on all levels if w <= 4 / (oc k) - 1.

    A bound k: the transfer is ``P = (I - tF D^-1 L - D^-1 T C) P0`` with the couplings to AIR C and factors
    T between tF and tD, less than tD where the weight of the own aggregate is at its floor. With
    A' = L + (T / tF) C >= A it is a sweep of weight tF on A', and on rows with a share c of AIR tF times the
    eigenvalues of D^-1 A' are at most ``2 tF (1 - c) + min(tD c, 1 - floor)``. What is left,
    ``P0^T A' P0``, is at most 2 max(1, tD / (tF alphaD)) times the coarse operator (7.1).
    """
    tf, td, oc, alpha = recipe[4:]
    if not (0.0 < tf <= 1.0 - FLOOR and td >= tf and oc > 0.0 and alpha > 0.0 and certify(recipe).holds):
        return 0.0
    top = max(2 * tf * (1 - c) + min(td * c, 1 - FLOOR) for c in (0.0, min(1.0, (1 - FLOOR) / td), 1.0))
    k = 2.0 * max(1.0, (top - 1.0) ** 2) * max(1.0, td / (tf * alpha))
    damping = min(4.0 / (oc * k) - 1.0, 1.0)
    return damping if damping >= 0.5 else 0.0


def digest(recipe: Any) -> str:
    """Return the SHA-256 of the eight numbers as little-endian doubles."""
    return hashlib.sha256(np.asarray(recipe, "<f8").tobytes()).hexdigest()


@functools.cache
def load_learned(dimension: int) -> tuple[Recipe, dict[str, Any]]:
    """Return the shipped recipe of a dimension and the record of its training; the hash is checked."""
    name = f"recipe_{dimension}d.npz"
    with (
        resources.files("theorylab.poisson").joinpath("weights", name).open("rb") as file,
        np.load(file, allow_pickle=False) as data,
    ):
        numbers, meta = np.asarray(data["recipe"], np.float64), json.loads(str(data["meta"]))
    if numbers.shape != (8,) or digest(numbers) != meta["sha256"]:
        raise ValueError(f"{name} is damaged: its numbers do not match their hash; reinstall theorylab")
    return tuple(float(x) for x in numbers), meta


def get_recipe(recipe: Any, dimension: int) -> Recipe:
    """Return eight floats for "learned", "default" or eight numbers."""
    if isinstance(recipe, str):
        if recipe == "default":
            return _DEFAULT[dimension]
        if recipe == "learned":
            return load_learned(dimension)[0]
        raise ValueError(f"recipe must be 'learned', 'default' or 8 numbers, got {recipe!r}")
    numbers = as_float_array(recipe, "recipe", dtype=np.float64)
    if numbers.shape != (8,):
        raise ValueError(
            f"recipe has shape {numbers.shape}, expected 8 numbers ({', '.join(NAMES)}) or a name"
        )
    if np.abs(numbers).max() > LARGEST:
        at = int(np.abs(numbers).argmax())
        raise ValueError(f"recipe has {NAMES[at]} = {numbers[at]:g}, expected sizes of at most {LARGEST:g}")
    return tuple(float(x) for x in numbers)
