"""Predictions of the regressor: means, spreads, laws and draws, whatever the law of the scale."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils.validation import check_is_fitted, validate_data

from theorylab._lib.checks import check_int

from ._flow import flow
from ._linalg import caller_level
from ._posterior import Components, Independent, Shared
from ._predictive import NormalMixture, random_source
from ._scale import LogDensity, infinite_mean, log_prior, posterior_nodes

Array = NDArray[Any]


class Predictor:
    """What a fitted regressor answers; `InfiniteWidthRegressor` adds the fitting."""

    method: str
    prior: Any
    shared_noise: bool
    kernel_: Kernel
    X_train_: Array
    _posterior: Shared | Independent
    _K: Array
    _T: Array
    _Y: Array
    _y_mean: Array
    _y_std: Array
    _single: bool
    _time: float
    _noise: float
    _alpha: float
    _beta: float

    @property
    def _log_prior(self) -> LogDensity | None:
        return log_prior(self.prior, self._alpha, self._beta)  # rebuilt, for closures do not pickle

    def _components(self, X: Array, want_cov: bool) -> Components:
        if self.method == "nngp":
            cross = np.asarray(self.kernel_(X, self.X_train_), dtype=np.float64)
            diag = np.asarray(self.kernel_.diag(X), dtype=np.float64)
            full = np.asarray(self.kernel_(X), dtype=np.float64) if want_cov else None
            return self._posterior.predict(cross, diag, full)
        return self._trained(X, want_cov)

    def _trained(self, X: Array, want_cov: bool) -> Components:
        """Return the law of an ensemble of trained networks: s keeps its prior."""
        K_cross, T_cross = (np.asarray(M, dtype=np.float64) for M in self.kernel_.pair(X, self.X_train_))
        K_test = np.asarray(self.kernel_.pair(X)[0], dtype=np.float64)
        K, T = self._K, self._T
        if self.method == "readout":
            T, T_cross = K, K_cross
        initial = self.method == "ntk_init"

        def run(s: float, tangent_scale: float) -> tuple[Array, Array]:
            Ts, Tc = (K + s * (T - K), K_cross + s * (T_cross - K_cross)) if initial else (T, T_cross)
            return flow(K, Ts, K_cross, Tc, K_test, self._Y, self._time, self._noise, tangent_scale)

        df: float | None = None
        fixed = self._log_prior is None
        if fixed or (math.isinf(self._time) and not initial):
            # the flow is the same for every s
            loc, cov = run(1.0, 1.0)
            if fixed:
                s, weights, df = np.ones(1), np.ones(1), math.inf
            elif isinstance(self.prior, str):
                s, weights, df = np.array([self._beta / self._alpha]), np.ones(1), 2.0 * self._alpha
            else:
                s, weights, _ = posterior_nodes(self._log_prior, None)  # type: ignore[arg-type]
            locs, covs = loc[None], s[:, None, None] * cov
        else:
            s, weights, _ = posterior_nodes(self._log_prior, None)  # type: ignore[arg-type]
            parts = [run(float(si), 1.0 if initial else float(si)) for si in s]
            locs = np.stack([p[0] for p in parts])
            covs = np.stack([si * p[1] for si, p in zip(s, parts)])
        var = np.maximum(np.einsum("sii->si", covs), 0.0)
        noise = s * self._noise if self.shared_noise else np.full(s.size, self._noise)
        heavy = df is None and infinite_mean(s, weights)
        return Components(df, weights, locs, var, noise, covs if want_cov else None, heavy)

    def _inputs(self, X: ArrayLike) -> Array:
        check_is_fitted(self, "_posterior")
        return np.asarray(validate_data(self, X, reset=False, dtype=[np.float64, np.float32]))

    def _inflate(self, df: float | None, heavy: bool) -> float:
        """Return variance / shape of a t, warning where it is infinite."""
        if heavy:
            warnings.warn(
                "the predictive mixture has no finite variance, for the law of the scale has no mean; use "
                "predict_distribution for quantiles",
                UserWarning,
                stacklevel=caller_level(),
            )
            return math.inf
        if df is None or math.isinf(df):
            return 1.0
        if df <= 2.0:
            warnings.warn(
                f"the predictive t has {df:g} degrees of freedom, so its variance is infinite; use "
                "predict_distribution for quantiles, or a larger alpha",
                UserWarning,
                stacklevel=caller_level(),
            )
            return math.inf
        return df / (df - 2.0)

    def predict(self, X: ArrayLike, return_std: bool = False, return_cov: bool = False) -> Any:
        """Predict the mean of the latent function, and its standard deviation or covariance.

        Parameters
        ----------
        X : array_like, shape (m, d)
        return_std, return_cov : bool
            At most one. The standard deviation and covariance of the predictive law, not its scale
            and shape; of the function without noise.

        Returns
        -------
        mean : ndarray, shape (m,) or (m, k)
        std : ndarray like `mean`; or cov : ndarray, shape (m, m) or (m, m, k)

        Warns
        -----
        UserWarning
            If the degrees of freedom are at most 2, or the scale of a mixture has no mean: the standard
            deviation is infinite.
        """
        if return_std and return_cov:
            raise ValueError("return_std and return_cov are exclusive: ask for one of them")
        X = self._inputs(X)
        parts = self._components(X, return_cov)
        loc = np.tensordot(
            parts.weights, np.broadcast_to(parts.loc, (parts.weights.size, *parts.loc.shape[1:])), axes=1
        )
        mean = loc * self._y_std + self._y_mean
        out_mean = mean[:, 0] if self._single else mean
        if not (return_std or return_cov):
            return out_mean
        factor_ = self._inflate(parts.df, parts.heavy)
        centred = parts.loc - loc
        if return_std:
            spread = np.tensordot(parts.weights, parts.var, axes=1)[:, None]
            between = np.tensordot(
                parts.weights, np.broadcast_to(centred**2, (parts.weights.size, *loc.shape)), axes=1
            )
            std = np.sqrt(_scaled(factor_, spread + between)) * self._y_std
            return out_mean, (std[:, 0] if self._single else std)
        assert parts.cov is not None
        within = np.tensordot(parts.weights, parts.cov, axes=1)
        covs = []
        for k in range(loc.shape[1]):
            c = np.broadcast_to(centred[:, :, k], (parts.weights.size, loc.shape[0]))
            covs.append(_scaled(factor_, within + (parts.weights[:, None] * c).T @ c) * self._y_std[k] ** 2)
        return out_mean, (covs[0] if self._single else np.stack(covs, axis=-1))

    def predict_distribution(self, X: ArrayLike, observed: bool = False) -> Any:
        """Return the marginal predictive law at each point, with pdf, cdf, ppf, interval and rvs.

        Parameters
        ----------
        X : array_like, shape (m, d)
        observed : bool
            Include the noise: the law of a new observation rather than of the function.

        Returns
        -------
        scipy.stats frozen law, or NormalMixture
            Of shape (m,) or (m, k): t, normal, or a finite mixture of normals.
        """
        parts = self._components(self._inputs(X), False)
        var = parts.var + (parts.noise[:, None] if observed else 0.0)
        loc = parts.loc * self._y_std + self._y_mean
        scale = np.sqrt(var)[:, :, None] * self._y_std
        if self._single:
            loc, scale = loc[..., 0], scale[..., 0]
        if parts.df is None:
            return NormalMixture(parts.weights, loc, scale, infinite_variance=parts.heavy)
        floor = np.maximum(scale[0], np.finfo(np.float64).tiny)
        if math.isinf(parts.df):
            return stats.norm(loc=loc[0], scale=floor)
        return stats.t(df=parts.df, loc=loc[0], scale=floor)

    def sample_y(self, X: ArrayLike, n_samples: int = 1, random_state: Any = 0) -> Array:
        """Draw functions from the joint predictive law; one scale s per draw.

        Parameters
        ----------
        X : array_like, shape (m, d)
        n_samples : int
        random_state : int, RandomState, Generator or None

        Returns
        -------
        ndarray, shape (m, n_samples) or (m, k, n_samples)
        """
        n_samples = check_int(n_samples, "n_samples", low=1)
        rng = random_source(random_state)
        parts = self._components(self._inputs(X), True)
        assert parts.cov is not None
        choice = rng.choice(parts.weights.size, size=n_samples, p=parts.weights)
        m, k = parts.loc.shape[1:]
        out = np.empty((n_samples, m, k))
        for node in np.unique(choice):
            rows = np.flatnonzero(choice == node)
            e, U = np.linalg.eigh(parts.cov[node])
            root = U * np.sqrt(np.maximum(e, 0.0))
            z = rng.standard_normal((rows.size, m, k))
            loc = parts.loc[node if parts.loc.shape[0] > 1 else 0]
            stretch = 1.0
            if parts.df is not None and math.isfinite(parts.df):
                stretch = np.sqrt(parts.df / rng.chisquare(parts.df, size=rows.size))[:, None, None]
            out[rows] = loc + stretch * np.einsum("ij,rjk->rik", root, z)
        out = out * self._y_std + self._y_mean
        return out[:, :, 0].T if self._single else np.moveaxis(out, 0, -1)


def _scaled(factor_: float, values: Array) -> Array:
    """Return ``factor * values`` with ``inf * 0 = inf``."""
    return np.full(values.shape, math.inf) if math.isinf(factor_) else factor_ * values
