"""Condition a Gaussian hypothesis space on the training data: its law at the test points."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lib.checks import as_float_array, check_finite
from ._accuracy import EXACT, Rounding, feature_rounding, kernel_rounding
from ._gaussian import Spectrum, eigh, spectrum_of

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Predictive:
    """Gaussian law at the test points: mean (N, k), and cov (N, N[, k]) or a root with cov = root root'."""

    mean: NDArray[Any]
    cov: NDArray[Any] | None
    root: NDArray[Any] | None = None
    noise: float = 0.0
    slack: float = 0.0
    error: Rounding = EXACT

    def spectrum(self, y: NDArray[Any]) -> Spectrum:
        """Diagonalise; from a root by its singular values, which resolve twice the digits."""
        if self.root is None:
            assert self.cov is not None
            return spectrum_of(self.mean, self.cov, y, self.noise, self.slack, self.error)
        n, k = self.mean.shape
        basis, singular, _ = np.linalg.svd(self.root, full_matrices=False)
        gap = self.mean - y
        b = basis.T @ gap
        outside = gap - basis @ b
        # A second projection: the rest must not hold what rounding left of the basis.
        outside -= basis @ (basis.T @ outside)
        residual = float(np.sum(outside**2)) if singular.size < n else 0.0
        return Spectrum(
            singular[None] ** 2,
            np.sum(b**2, axis=1)[None],
            residual,
            np.array([k]),
            self.noise,
            n,
            k,
            self.error,
        )

    def subset(self, rows: NDArray[Any]) -> Predictive:
        """Return the law at some of the test points."""
        cov = None if self.cov is None else self.cov[np.ix_(rows, rows)]
        root = None if self.root is None else self.root[rows]
        return Predictive(self.mean[rows], cov, root, self.noise, self.slack, self.error)

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
                values, basis = eigh(cov, self.slack)
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
    dual = solve_triangular(lower, white, lower=True, trans="T", check_finite=False)
    prior = float(max(np.diag(matrix).max(), np.max(np.abs(np.diag(k_test)), initial=0.0)))
    error = kernel_rounding(weights, dual, prior, inverse_norm(lower, matrix))
    return Predictive(v.T @ white, k_test - v.T @ v, noise=0.1 * floor, slack=slack, error=error)


def inverse_norm(lower: NDArray[Any], matrix: NDArray[Any]) -> float:
    """Return the 1-norm of the inverse of ``matrix = lower lower'``, as LAPACK estimates it in O(n^2)."""
    from scipy.linalg.lapack import dpocon

    norm = float(np.abs(matrix).sum(axis=0).max())
    rcond, info = dpocon(np.asfortranarray(lower), norm, uplo="L")
    return 1.0 / (float(rcond) * norm) if info == 0 and rcond > 0.0 and norm > 0.0 else np.inf


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
    cut = alpha > 0.0 and not kept.all()
    u, s, vt = u[:, kept], s[kept], vt[kept]
    projected = test @ vt.T
    mean = projected @ ((s / (s * s + alpha))[:, None] * (u.T @ y))
    # C^(1/2) = I - V diag(1 - sqrt(alpha / (s^2 + alpha))) V', the projector on the null space for alpha = 0.
    root = test - (projected * (1.0 - np.sqrt(alpha / (s * s + alpha)))) @ vt
    if alpha == 0.0:
        root -= (root @ vt.T) @ vt
    scale = float(np.max(np.sum(test**2, axis=1), initial=0.0))
    # A singular value that was cut as rounding is not nothing beside a tiny alpha.
    smallest = max(0.0 if cut else float(s.min(initial=np.inf)), float(np.sqrt(alpha)))
    error = feature_rounding(test, float(s.max(initial=0.0)), smallest, y, max(train.shape))
    return Predictive(mean, None, root, noise=(width * _EPS) ** 2 * scale, error=error)


def condition_regressor(model: Any, X: NDArray[Any], y: NDArray[Any], X_test: NDArray[Any]) -> Predictive:
    """Fit a clone of a Gaussian-process regressor and take its predictive law without observation noise."""
    from sklearn.base import clone

    fitted = clone(model).fit(X, y[:, 0] if y.shape[1] == 1 else y)
    mean, cov = fitted.predict(X_test, return_cov=True)
    while getattr(fitted, "steps", None):
        # What follows asks the regressor itself, with the inputs that it sees.
        X_test = fitted[:-1].transform(X_test) if len(fitted.steps) > 1 else X_test
        fitted = fitted.steps[-1][1]
    n, k = len(X_test), y.shape[1]
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
    largest = float(scale.max())
    return Predictive(
        mean,
        cov,
        noise=0.1 * n * _EPS * prior * largest,
        slack=1e-10 * prior * largest,
        error=_rounding_of_regressor(fitted, X_test, mean, cov, largest),
    )


def _rounding_of_regressor(
    fitted: Any, X_test: NDArray[Any], mean: NDArray[Any], cov: NDArray[Any], scale: float
) -> Rounding:
    """Return the rounding of a regressor's law, from its Cholesky factor where it tells."""
    from scipy.linalg import cho_solve

    factor, seen = getattr(fitted, "L_", None), getattr(fitted, "X_train_", None)
    dual, kernel = getattr(fitted, "alpha_", None), getattr(fitted, "kernel_", None)
    if factor is None or seen is None or dual is None or kernel is None:
        size = float(np.max(np.abs(cov), initial=0.0))
        return kernel_rounding(np.zeros((1, len(mean))), np.zeros((1, 1)), size, 0.0)
    weights = cho_solve((factor, True), kernel(seen, X_test), check_finite=False)
    prior = float(max(np.max(np.sum(factor**2, axis=1)), np.max(kernel.diag(X_test))))
    inverse = inverse_norm(factor, factor @ factor.T)
    found = kernel_rounding(weights, np.reshape(dual, (len(seen), -1)), prior, inverse)
    return Rounding(found.cov * scale, 0.0, found.gap * float(np.sqrt(scale)))
