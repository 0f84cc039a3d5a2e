"""From a Gaussian predictive law to the exact law of its test error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._lib.checks import as_float_array, check_real
from ._accuracy import EXACT, Rounding
from ._law import GeneralizedChi2

_EPS = float(np.finfo(np.float64).eps)
_DEFAULT_RANK_TOL = 10.0
# With larger targets squared errors, and depths in nats, would leave the range of numbers.
_LARGEST = 1e100


def as_columns(y: ArrayLike, name: str) -> NDArray[Any]:
    """Return targets as a float64 matrix of shape (n, k)."""
    array = as_float_array(y, name, ndim=(1, 2), dtype=np.float64)
    largest = float(np.max(np.abs(array), initial=0.0))
    if largest > _LARGEST:
        raise ValueError(
            f"{name} has entries up to {largest:.3g}, expected at most {_LARGEST:g}: squared errors leave "
            "the range of numbers; divide targets and the scale of hypotheses by a unit, eps by its square"
        )
    return array[:, None] if array.ndim == 1 else array


@dataclass(frozen=True)
class Spectrum:
    """Test error of f ~ N(mean, cov) in its eigenbasis, for any threshold of the null space.

    Attributes
    ----------
    values : (G, r) eigenvalues, one row for each different covariance
    squares : (G, r) squared components of mean - y_test, summed over the outputs of the row
    residual : float, squared length of mean - y_test outside the eigenvectors kept
    outputs : (G,) how many outputs share each row
    noise : eigenvalues below this are rounding, whatever the largest one is
    error : rounding of covariance and mean before the decomposition
    """

    values: NDArray[Any]
    squares: NDArray[Any]
    residual: float
    outputs: NDArray[Any]
    noise: float
    n_test: int
    n_outputs: int
    error: Rounding = EXACT

    def cut(self, rank_tol: float) -> NDArray[np.bool_]:
        """Return which eigenvalues count as positive."""
        relative = self.n_test * _EPS * rank_tol
        threshold = np.maximum(relative * self.values.max(axis=1, initial=0.0), self.noise * rank_tol)
        return np.asarray(self.values > threshold[:, None])

    def law(self, rank_tol: float) -> GeneralizedChi2:
        """Return e = sum_i w_i chi'^2_k(lambda_i) + q0 with w_i = s_i / (N k)."""
        kept = self.cut(rank_tol)
        if not kept.any():
            raise ValueError(
                "the predictive covariance is zero on the test points, so all hypotheses have "
                "the same error: the "
                "distribution is degenerate; use test points that the training data do not "
                "determine, or alpha > 0"
            )
        count = self.n_test * self.n_outputs
        weights = np.where(kept, self.values, 0.0) / count
        null = (math.fsum(self.squares[~kept]) + self.residual) / count
        dofs = np.broadcast_to(self.outputs[:, None], self.values.shape)
        return GeneralizedChi2(
            weights[kept], dofs[kept].astype(np.float64), shifts=self.squares[kept] / count, offset=null
        )

    def rank(self, rank_tol: float) -> int:
        """Return the number of directions in which hypotheses differ."""
        return int(self.cut(rank_tol).sum(axis=1).max())


def spectrum_of(
    mean: NDArray[Any],
    cov: NDArray[Any],
    y: NDArray[Any],
    noise: float = 0.0,
    slack: float = 0.0,
    error: Rounding = EXACT,
) -> Spectrum:
    """Diagonalise one covariance (N, N), or one for each output (N, N, k)."""
    n, k = mean.shape
    gap = mean - y
    if cov.ndim == 2:
        values, basis = eigh(cov, slack)
        squares = np.sum((basis.T @ gap) ** 2, axis=1)
        return Spectrum(values[None], squares[None], 0.0, np.array([k]), noise, n, k, error)
    rows = []
    for c in range(k):
        values, basis = eigh(cov[:, :, c], slack)
        rows.append((values, (basis.T @ gap[:, c]) ** 2))
    values, squares = (np.stack(part) for part in zip(*rows))
    return Spectrum(values, squares, 0.0, np.ones(k), noise, n, k, error)


def eigh(cov: NDArray[Any], slack: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return eigenvalues, rounding below zero removed, and eigenvectors."""
    values, basis = np.linalg.eigh(0.5 * (cov + cov.T))
    largest = float(values[-1])
    if values[0] < -max(1e-8 * max(largest, 0.0), slack, 1e-300):
        raise ValueError(
            f"the posterior covariance is not PSD: it has an eigenvalue {values[0]:.3g} beside the largest "
            f"{largest:.3g}; add noise (alpha), or check the kernel"
        )
    return np.maximum(values, 0.0), basis


def gaussian_test_error(
    mean: ArrayLike, cov: ArrayLike, y_test: ArrayLike, *, rank_tol: float | None = None
) -> GeneralizedChi2:
    r"""Return the exact law of the mean squared test error of f ~ N(mean, cov), outputs independent.

    Parameters
    ----------
    mean : array_like, shape (N, k) or (N,)
        Predictive mean at the test points.
    cov : array_like, shape (N, N) or (N, N, k)
        Predictive covariance, shared by all outputs or one for each (as scikit-learn returns them).
    y_test : array_like, shape of `mean`
    rank_tol : float, optional
        Eigenvalues up to ``rank_tol * N * 2.2e-16`` times the largest count as exactly zero. Default 10.

    Returns
    -------
    GeneralizedChi2
        Of ``e = ||f - y_test||^2 / (N k)``.

    Raises
    ------
    ValueError
        For NaN or infinity, shapes that do not match, a covariance that is not positive semi-definite or
        zero.

    Notes
    -----
    With ``cov = U diag(s) U'`` and ``b = U'(mean - y_test)``: weights s_i / (N k), dofs k, shifts
    ``sum_c b_ic^2 / (N k)``; null directions give the offset q0, the irreducible error. One
    eigendecomposition, about 9 N^3 flops.

    Examples
    --------
    >>> import numpy as np
    >>> law = gaussian_test_error(np.zeros((2, 1)), np.diag([1.0, 0.0]), np.array([[0.0], [3.0]]))
    >>> print(law.mean(), law.support()[0])  # half of chi-squared plus the 9/2 that nothing removes
    5.0 4.5
    """
    m = as_columns(mean, "mean")
    y = as_columns(y_test, "y_test")
    s = as_float_array(cov, "cov", ndim=(2, 3), dtype=np.float64)
    if m.shape[0] == 0:
        raise ValueError("mean is empty, expected at least one test point")
    if y.shape != m.shape:
        raise ValueError(f"y_test has shape {y.shape}, expected {m.shape} to match mean")
    n, k = m.shape
    if s.shape not in ((n, n), (n, n, k)):
        raise ValueError(
            f"cov has shape {s.shape}, expected {(n, n)} or {(n, n, k)} to match mean of shape {m.shape}"
        )
    return spectrum_of(m, s, y).law(check_rank_tol(rank_tol))


def check_rank_tol(rank_tol: float | None) -> float:
    """Return the multiple of N times the machine epsilon below which eigenvalues are zero."""
    return _DEFAULT_RANK_TOL if rank_tol is None else check_real(rank_tol, "rank_tol", low=0.0, open_low=True)
