"""The coherent rows of the theory: how they act on one data point, and their initial condition."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._lib.checks import as_float_array, check_real, check_shape
from ._spec import Network, QuadraticNetwork, SmoothNetwork, apply, sign_array

Array = NDArray[np.float64]

#: C(0) - m m^T may miss positivity by this much of its scale, which rounding explains.
GRAM_TOLERANCE = 1e-10
#: Overlaps beyond this have no finite fourth power, which the loss is made of.
LARGEST = 1e75


@dataclass(frozen=True)
class Rows:
    """Response of one data point to its preactivations ``h`` of shape (S, K).

    The force on row r is ``Delta * slope_r(h_r)``, its curvature ``curve_r``;
    the output has gradient ``pull_r``. The bulk adds ``quad_bulk V(t, t) / 2``.
    """

    spec: Network
    size: int
    linear: Array
    quadratic: Array
    force_constant: Array
    force_linear: Array
    quad_bulk: float
    eps_bulk: float

    @property
    def bulk(self) -> bool:
        """Whether infinitely many neurons stand behind the coherent rows."""
        return math.isinf(self.spec.width)

    def slope(self, h: Array) -> Array:
        """Return the force per unit of Delta, shape (S, K)."""
        if isinstance(self.spec, SmoothNetwork):
            return apply(self.spec.dphi, h, "dphi") * self.force_constant
        return self.force_constant + self.force_linear * h

    def curve(self, h: Array) -> Array:
        """Return the derivative of `slope` by h, shape (S, K)."""
        if isinstance(self.spec, SmoothNetwork):
            return apply(self.spec.d2phi, h, "d2phi") * self.force_constant
        return np.broadcast_to(self.force_linear, h.shape).copy()

    def output(self, h: Array) -> tuple[Array, Array]:
        """Return the coherent part of the output, shape (S,), and its gradient ``pull``, shape (S, K)."""
        if isinstance(self.spec, SmoothNetwork):
            value = (apply(self.spec.phi, h, "phi") * self.linear).sum(axis=1)
            return value, apply(self.spec.dphi, h, "dphi") * self.linear
        pull = self.linear + self.quadratic * h
        return (0.5 * h * (self.linear + pull)).sum(axis=1), pull


def make_rows(spec: Network, spike: bool) -> Rows:
    """Translate a network into coherent rows; the infinite network has (s, p), or s alone without a spike."""
    if math.isinf(spec.width):
        assert isinstance(spec, QuadraticNetwork)
        size = 2 if spike else 1
        a, e = spec.alpha, spec.eps
        return Rows(
            spec, size, np.array([a, 0.0])[:size], np.full(size, a * e),
            np.array([1.0, 0.0])[:size], np.full(size, e), a * e, e,
        )  # fmt: skip
    signs, scale = sign_array(spec), spec.alpha / spec.width
    eps = spec.eps if isinstance(spec, QuadraticNetwork) else math.nan
    return Rows(
        spec, signs.size, scale * signs, scale * eps * signs, signs, eps * signs, 0.0, 0.0
    )  # fmt: skip


def check_start(width: int, init_overlap: Any, init_gram: Any) -> tuple[Array | None, Array | None]:
    """Validate kind and shape of overlaps (N,) and Gram matrix (N, N) of a finite network, where given."""
    m = gram = None
    if init_overlap is not None:
        m = np.atleast_1d(as_float_array(init_overlap, "init_overlap", dtype=np.float64))
        check_shape(m, (width,), "init_overlap", "because it holds one overlap per neuron")
        if np.any(np.abs(m) > LARGEST):
            raise ValueError(f"init_overlap holds {np.abs(m).max():g}, expected numbers of size 1")
    if init_gram is not None:
        gram = as_float_array(init_gram, "init_gram", ndim=2, dtype=np.float64, copy=True)
        check_shape(gram, (width, width), "init_gram", "to match the width")
        if np.abs(gram - gram.T).max() > 1e-8 * float(np.abs(gram).max()):
            raise ValueError("init_gram is not symmetric; pass (gram + gram.T) / 2 if that is meant")
        gram = 0.5 * (gram + gram.T)
    return m, gram


def initial_overlaps(spec: Network, init_overlap: Any, init_gram: ArrayLike | None) -> tuple[Array, Array]:
    """Validate the start and return overlaps m (K,) and Gram matrix C(0,0) (K, K) of the coherent rows."""
    if init_overlap is None:
        raise TypeError("init_overlap must hold real numbers, got None")
    if math.isinf(spec.width):
        value = np.asarray(init_overlap)
        if value.shape == (1,):
            init_overlap = value[0]
        elif value.ndim:
            raise ValueError(
                f"init_overlap has shape {value.shape}, expected the scalar spike m0 for infinite width"
            )
        spike = check_real(init_overlap, "init_overlap", low=-LARGEST, high=LARGEST)
        if init_gram is not None:
            raise ValueError(
                "init_gram needs a finite width: the infinite network starts from I + m0^2 beta beta^T"
            )
        size = 2 if spike else 1
        m = np.array([0.0, spike])[:size]
        return m, np.outer(m, m)
    overlaps, given = check_start(int(spec.width), init_overlap, init_gram)
    assert overlaps is not None
    m, gram = overlaps, np.eye(overlaps.size) if given is None else given
    values = np.linalg.eigvalsh(gram - np.outer(m, m))
    lowest = float(values[0])
    # Rounding is relative to the largest entries, of the difference and of what it is the difference of.
    if lowest < -GRAM_TOLERANCE * max(float(np.abs(gram).max()), float(m @ m)):
        what = "init_gram - m m^T" if init_gram is not None else "I - m m^T"
        raise ValueError(
            f"init_overlap and the initial Gram matrix are incompatible: {what} has the negative eigenvalue "
            f"{lowest:.3g}, expected positive semidefinite; shrink init_overlap or enlarge init_gram"
        )
    return m.copy(), gram
