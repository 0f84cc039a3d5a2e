"""Features of a kernel at landmarks, for more test points than an N x N matrix holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._lib.checks import as_float_array, check_real

Kernel = Callable[[NDArray[Any], NDArray[Any]], Any]


class NystroemFeatures:
    """Feature map phi with ``phi(A) phi(B)' = k(A, M) k(M, M)^-1 k(M, B)`` for landmarks M.

    Pass it to `inductive_bias` as hypotheses: with p landmarks that costs O((n + N) p^2) time and (n + N) p
    memory where the kernel itself takes O(N^3) and N^2, which is too much from about 12000 test points on.
    Exact if the landmarks include all training and test points.

    Parameters
    ----------
    kernel : callable
        ``k(A, B) -> (n_A, n_B)``, positive semi-definite.
    landmarks : array_like, shape (p, d)
        Some of the training and test points, say.
    rank_tol : float
        Eigenvalues of k(M, M) up to ``rank_tol * p * 2.2e-16`` times the largest are left out. Default 10.

    Attributes
    ----------
    n_features : int
        Directions kept, at most p.

    Raises
    ------
    TypeError
        For a kernel that is not callable.
    ValueError
        For NaN or infinity, no landmarks, a kernel that returns the wrong shape or only zeros.

    Notes
    -----
    The space is smaller than the kernel's: I is an upper bound in spirit only, so look how it settles as
    landmarks are added. One eigendecomposition, about 9 p^3 flops.

    References
    ----------
    C. Williams and M. Seeger, Using the Nystroem Method to Speed Up Kernel Machines, NIPS 2000.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.inductive_bias import NystroemFeatures
    >>> def rbf(A, B):
    ...     return np.exp(-np.sum((A[:, None] - B[None]) ** 2, axis=2) / 2)
    >>> X = np.linspace(0, 3, 4)[:, None]
    >>> phi = NystroemFeatures(rbf, X)
    >>> bool(np.allclose(phi(X) @ phi(X).T, rbf(X, X)))
    True
    """

    def __init__(self, kernel: Kernel, landmarks: ArrayLike, *, rank_tol: float = 10.0) -> None:
        if not callable(kernel):
            raise TypeError(f"kernel must be callable as k(A, B), got {type(kernel).__name__}")
        self.kernel = kernel
        self.landmarks = as_float_array(landmarks, "landmarks", ndim=2, dtype=np.float64, copy=True)
        p = self.landmarks.shape[0]
        if p == 0:
            raise ValueError(
                f"landmarks is empty (shape {self.landmarks.shape}), expected at least one point"
            )
        rank_tol = check_real(rank_tol, "rank_tol", low=0.0, open_low=True)
        gram = self._evaluate(self.landmarks)
        values, basis = np.linalg.eigh(0.5 * (gram + gram.T))
        kept = values > rank_tol * p * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
        if not kept.any():
            raise ValueError(
                f"no eigenvalue of the kernel at landmarks exceeds rank_tol = {rank_tol:g} times rounding, "
                f"the largest being {values[-1]:.3g}; check that it is a kernel, or lower rank_tol"
            )
        self._map = basis[:, kept] / np.sqrt(values[kept])
        self.n_features = int(kept.sum())

    def __call__(self, Z: ArrayLike) -> NDArray[np.float64]:
        """Return the features of the rows of Z, shape (n, n_features)."""
        points = as_float_array(Z, "Z", ndim=2, dtype=np.float64)
        return np.asarray(self._evaluate(points) @ self._map)

    def _evaluate(self, Z: NDArray[Any]) -> NDArray[Any]:
        values = as_float_array(self.kernel(Z, self.landmarks), "k(Z, landmarks)", dtype=np.float64)
        shape = (Z.shape[0], self.landmarks.shape[0])
        if values.shape != shape:
            raise ValueError(f"the kernel returned k(Z, landmarks) of shape {values.shape}, expected {shape}")
        return values
