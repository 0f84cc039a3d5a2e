"""A constrained fit on some of its features: loss of the rows, and slacks of the order constraints."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import _kernels, _newton
from ._design import Design

__all__ = ["Subproblem"]

FloatArray = NDArray[np.float64]


class Subproblem:
    """Loss, ridge and constraints as functions of theta (m, width), column 0 the intercepts.

    Constraint i belongs to a pseudo-row x of class k and demands that the logits k - 1 and k of x are in
    order: ``alpha_k - alpha_{k-1} + x' psi_k > 0``.
    """

    def __init__(
        self,
        real: Design,
        wide: Design,
        pseudo: NDArray[np.bool_],
        features: NDArray[np.int64],
        ridge: FloatArray,
    ) -> None:
        self.w, self.starts, self.ridge = real.w, real.starts, ridge
        columns = wide.columns(features)
        self.own = np.ascontiguousarray(columns[:, ~pseudo])
        self.constrained = np.ascontiguousarray(columns[:, pseudo])
        codes = np.repeat(np.arange(wide.n_classes), np.diff(wide.starts))
        self.codes = codes[pseudo]
        self.rows = np.empty((5, self.w.size))

    def slacks(self, theta: FloatArray) -> FloatArray:
        """Return what the constraints demand to be positive."""
        out = np.empty(self.codes.size)
        for k in range(1, theta.shape[0]):
            rows = slice(*np.searchsorted(self.codes, (k, k + 1)))
            step = theta[k].copy()
            step[0] -= theta[k - 1, 0]
            out[rows] = step @ self.constrained[:, rows]
        return out

    def constraints(self, index: NDArray[np.int64], m: int) -> FloatArray:
        """Return the rows A, so that the slacks in `index` are ``A @ theta.ravel()``."""
        A = np.zeros((index.size, m, self.constrained.shape[0]))
        at, codes = np.arange(index.size), self.codes[index]
        A[at, codes] = self.constrained[:, index].T
        A[at, codes - 1, 0] = -1.0
        return A.reshape(index.size, -1)

    def loss(self, theta: FloatArray) -> tuple[float, FloatArray]:
        """Return the loss and its gradient in (alpha_k, beta_k); refresh the derivatives in `rows`."""
        blocks, steps, grad = np.empty_like(theta), np.empty_like(theta), np.empty_like(theta)
        _kernels.to_blocks(theta, blocks, steps)
        value = _kernels.evaluate(self.own, self.w, self.starts, blocks, steps, self.rows, grad)
        return value, grad

    def model(self, theta: FloatArray) -> tuple[FloatArray, FloatArray] | None:
        """Return gradient and Hessian of loss and ridge in theta; None outside the domain."""
        value, grad = self.loss(theta)
        if not np.isfinite(value):
            return None
        m, width = theta.shape
        g, H = np.empty(theta.size), np.empty((m, width, m, width))
        _newton._gradient_of_theta(grad, theta, self.ridge, g)
        _kernels.gram(self.own, self.starts, self.rows, H)
        return g, H.reshape(g.size, g.size) + np.diag(np.tile(self.ridge, m))

    def is_inside(self, theta: FloatArray, slack: FloatArray) -> bool:
        """Tell whether all slacks are positive and the loss is finite."""
        return bool(slack.min(initial=np.inf) > 0.0 and np.isfinite(self.loss(theta)[0]))

    def reach(self, move: FloatArray) -> float:
        """Return the largest change of a logit under a move of theta."""
        blocks = move.copy()
        blocks[:, 1:] = np.cumsum(blocks[:, 1:], axis=0)
        return float(np.abs(blocks @ self.own).max())
