"""From a Gaussian predictive law to the exact law of its test error."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._lib.checks import as_float_array, check_finite, check_real
from ._law import GeneralizedChi2

_EPS = float(np.finfo(np.float64).eps)
_DEFAULT_RANK_TOL = 10.0


def as_columns(y: ArrayLike, name: str) -> NDArray[Any]:
    """Return targets as a float64 matrix of shape (n, k)."""
    array = as_float_array(y, name, ndim=(1, 2), dtype=np.float64)
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
    root : (N, r) eigenvectors of the first row, to sample predictions
    """

    values: NDArray[Any]
    squares: NDArray[Any]
    residual: float
    outputs: NDArray[Any]
    noise: float
    n_test: int
    n_outputs: int

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
    mean: NDArray[Any], cov: NDArray[Any], y: NDArray[Any], noise: float = 0.0, slack: float = 0.0
) -> Spectrum:
    """Diagonalise one covariance (N, N), or one for each output (N, N, k)."""
    n, k = mean.shape
    gap = mean - y
    if cov.ndim == 2:
        values, basis = _eigh(cov, slack)
        squares = np.sum((basis.T @ gap) ** 2, axis=1)
        return Spectrum(values[None], squares[None], 0.0, np.array([k]), noise, n, k)
    rows = []
    for c in range(k):
        values, basis = _eigh(cov[:, :, c], slack)
        rows.append((values, (basis.T @ gap[:, c]) ** 2))
    values, squares = (np.stack(part) for part in zip(*rows))
    return Spectrum(values, squares, 0.0, np.ones(k), noise, n, k)


def _eigh(cov: NDArray[Any], slack: float) -> tuple[NDArray[Any], NDArray[Any]]:
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


@dataclass(frozen=True)
class Predictive:
    """Gaussian law at the test points: mean (N, k), and cov (N, N[, k]) or a root with cov = root root'."""

    mean: NDArray[Any]
    cov: NDArray[Any] | None
    root: NDArray[Any] | None = None
    noise: float = 0.0
    slack: float = 0.0

    def spectrum(self, y: NDArray[Any]) -> Spectrum:
        """Diagonalise; from a root by its singular values, which resolve twice the digits."""
        if self.root is None:
            assert self.cov is not None
            return spectrum_of(self.mean, self.cov, y, self.noise, self.slack)
        n, k = self.mean.shape
        basis, singular, _ = np.linalg.svd(self.root, full_matrices=False)
        gap = self.mean - y
        b = basis.T @ gap
        outside = gap - basis @ b
        # A second projection: the rest must not hold what rounding left of the basis.
        outside -= basis @ (basis.T @ outside)
        residual = float(np.sum(outside**2)) if singular.size < n else 0.0
        return Spectrum(
            singular[None] ** 2, np.sum(b**2, axis=1)[None], residual, np.array([k]), self.noise, n, k
        )

    def subset(self, rows: NDArray[Any]) -> Predictive:
        """Return the law at some of the test points, repeats allowed."""
        cov = None if self.cov is None else self.cov[np.ix_(rows, rows)]
        return Predictive(
            self.mean[rows], cov, None if self.root is None else self.root[rows], self.noise, self.slack
        )

    def sampler(self) -> tuple[int, Callable[[NDArray[Any]], NDArray[Any]]]:
        """Return the latent dimension and the map from latents (M, dim) to predictions (M, N, k)."""
        n, k = self.mean.shape
        if self.root is not None:
            roots = [self.root] * k
        else:
            assert self.cov is not None
            covs = [self.cov] if self.cov.ndim == 2 else [self.cov[:, :, c] for c in range(k)]
            roots = []
            for cov in covs:
                values, basis = _eigh(cov, self.slack)
                kept = values > max(n * _EPS * values[-1], self.noise)
                roots.append(basis[:, kept] * np.sqrt(values[kept]))
            roots = roots if len(roots) == k else roots * k
        ends = np.cumsum([0] + [root.shape[1] for root in roots])

        def predictions(z: NDArray[Any]) -> NDArray[Any]:
            columns = [z[:, ends[c] : ends[c + 1]] @ root.T for c, root in enumerate(roots)]
            return np.asarray(self.mean + np.stack(columns, axis=2))

        return int(ends[-1]), predictions


def condition_on_kernel(
    kernel: Callable[[NDArray[Any], NDArray[Any]], Any],
    X: NDArray[Any],
    y: NDArray[Any],
    X_test: NDArray[Any],
    alpha: float,
    stacklevel: int,
) -> Predictive:
    """Condition a zero-mean Gaussian process on the training data, by Cholesky."""
    from scipy.linalg import solve_triangular

    def evaluate(a: NDArray[Any], b: NDArray[Any], name: str) -> NDArray[Any]:
        values = as_float_array(kernel(a, b), name, dtype=np.float64)
        if values.shape != (a.shape[0], b.shape[0]):
            raise ValueError(
                f"the kernel returned {name} of shape {values.shape}, expected {(a.shape[0], b.shape[0])}"
            )
        return values

    k_train = evaluate(X, X, "k(X_train, X_train)")
    k_cross = evaluate(X, X_test, "k(X_train, X_test)")
    k_test = evaluate(X_test, X_test, "k(X_test, X_test)")
    n = X.shape[0]
    matrix = 0.5 * (k_train + k_train.T)
    matrix[np.diag_indices(n)] += alpha
    try:
        lower = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        jitter = 1e-10 * float(np.trace(k_train)) / n
        warnings.warn(
            f"the kernel matrix of the training points with alpha = {alpha:g} is not positive "
            "definite; tried again "
            f"with alpha = {alpha + jitter:.3g}. Pass a larger alpha, or remove repeated training points",
            UserWarning,
            stacklevel=stacklevel,
        )
        matrix[np.diag_indices(n)] += jitter
        try:
            lower = np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            raise np.linalg.LinAlgError(
                f"the kernel matrix of {n} training points is not positive definite, even with alpha = "
                f"{alpha + jitter:.3g}; pass a larger alpha, or check that the kernel is one"
            ) from None
    v = solve_triangular(lower, k_cross, lower=True, check_finite=False)
    white = solve_triangular(lower, y, lower=True, check_finite=False)
    # The posterior covariance is a difference: its rounding follows the prior, not the posterior.
    floor = X_test.shape[0] * _EPS * float(np.max(np.abs(np.diag(k_test)), initial=0.0))
    # Where a rounding of the kernel moves the posterior most: the weights K^-1 k of a test point, squared.
    weights = solve_triangular(lower, v, lower=True, trans="T", check_finite=False)
    slack = 10.0 * floor * (1.0 + float(np.max(np.sum(weights**2, axis=0), initial=0.0)))
    return Predictive(v.T @ white, k_test - v.T @ v, noise=0.1 * floor, slack=slack)


def condition_on_features(
    phi: Callable[[NDArray[Any]], Any],
    X: NDArray[Any],
    y: NDArray[Any],
    X_test: NDArray[Any],
    alpha: float,
) -> Predictive:
    """Condition f = phi theta, theta ~ N(0, I), on the training data; nothing of size N x N is formed."""
    width = int(phi.n_features)  # type: ignore[attr-defined]

    def evaluate(Z: NDArray[Any], name: str) -> NDArray[Any]:
        values = as_float_array(phi(Z), name, dtype=np.float64)
        if values.shape != (Z.shape[0], width):
            raise ValueError(
                f"the feature map returned {name} of shape {values.shape}, expected {(Z.shape[0], width)}"
            )
        return values

    train, test = evaluate(X, "phi(X_train)"), evaluate(X_test, "phi(X_test)")
    u, s, vt = np.linalg.svd(train, full_matrices=False)
    kept = s > max(train.shape) * _EPS * s.max(initial=0.0)
    u, s, vt = u[:, kept], s[kept], vt[kept]
    projected = test @ vt.T
    mean = projected @ ((s / (s * s + alpha))[:, None] * (u.T @ y))
    # C^(1/2) = I - V diag(1 - sqrt(alpha / (s^2 + alpha))) V', the projector on the null space for alpha = 0.
    root = test - (projected * (1.0 - np.sqrt(alpha / (s * s + alpha)))) @ vt
    if alpha == 0.0:
        root -= (root @ vt.T) @ vt
    scale = float(np.max(np.sum(test**2, axis=1), initial=0.0))
    return Predictive(mean, None, root, noise=(width * _EPS) ** 2 * scale)


def condition_regressor(model: Any, X: NDArray[Any], y: NDArray[Any], X_test: NDArray[Any]) -> Predictive:
    """Fit a clone of a Gaussian-process regressor and take its predictive law without observation noise."""
    from sklearn.base import clone

    fitted = clone(model).fit(X, y[:, 0] if y.shape[1] == 1 else y)
    mean, cov = fitted.predict(X_test, return_cov=True)
    n, k = X_test.shape[0], y.shape[1]
    mean = np.asarray(mean, dtype=np.float64).reshape(n, k)
    cov = np.array(cov, dtype=np.float64)
    check_finite(cov, "the predictive covariance of hypotheses")
    noise = np.zeros(n)
    prior = 1.0
    kernel = getattr(fitted, "kernel_", None)
    if kernel is not None:
        # A WhiteKernel enters k(Z) but not k(Z, Z'): the difference of the diagonals is the observation
        # noise.
        between = np.diag(kernel(X_test, X_test))
        noise = kernel.diag(X_test) - between
        prior = float(np.max(np.abs(between), initial=0.0))
    scale = np.ravel(np.asarray(getattr(fitted, "_y_train_std", 1.0), dtype=np.float64)) ** 2
    rows = np.arange(n)
    if cov.ndim == 3:
        cov[rows, rows, :] -= noise[:, None] * np.broadcast_to(scale, (k,))
    else:
        cov[rows, rows] -= noise * scale[0]
    if cov.ndim == 3 and np.all(cov == cov[:, :, :1]):
        cov = np.ascontiguousarray(cov[:, :, 0])
    return Predictive(
        mean, cov, noise=0.1 * n * _EPS * prior * float(scale.max()), slack=1e-10 * prior * float(scale.max())
    )
