"""Regression with scale mixtures of infinitely wide networks."""

from __future__ import annotations

import math
import warnings
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from theorylab._lib.checks import check_choice, check_int, check_real

from ._linalg import factor
from ._posterior import Components, Independent, Shared, flow
from ._predictive import NormalMixture
from ._scale import LogDensity, infinite_mean, log_prior, posterior_nodes
from ._sklearn import NNGPKernel

__all__ = ["InfiniteWidthRegressor", "predict_gradient_flow"]

Array = NDArray[Any]


def predict_gradient_flow(
    K: ArrayLike,
    T: ArrayLike,
    K_cross: ArrayLike,
    T_cross: ArrayLike,
    K_test: ArrayLike,
    y: ArrayLike,
    *,
    t: float = math.inf,
    reg: float = 0.0,
) -> tuple[Array, Array]:
    """Predict mean and covariance of an infinitely wide network trained by gradient flow.

    Parameters
    ----------
    K, T : array_like, shape (n, n)
        NNGP and NTK of the training points.
    K_cross, T_cross : array_like, shape (m, n)
        Test against training points.
    K_test : array_like, shape (m, m)
    y : array_like, shape (n,) or (n, k)
    t : float
        Training time for the loss ``|f - y|^2 / (2 n)`` at learning rate 1; infinity allowed.
    reg : float
        Added to the diagonal of `T`; absolute.

    Returns
    -------
    mean : ndarray, shape (m,) or (m, k)
    cov : ndarray, shape (m, m)

    Notes
    -----
    With ``G = T_* (I - exp(-T t / n)) T^-1`` the mean is ``G y`` and the covariance
    ``K_** + G K G' - G K_*' - K_* G'``. One eigendecomposition (n^3), or a Cholesky at t = inf.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import kernels, predict_gradient_flow
    >>> X, Z, y = np.eye(3), np.ones((1, 3)), np.arange(3.0)
    >>> s = dict(depth=1, activation="erf", w_var=1.5, b_var=0.1)
    >>> (K, T), (Kc, Tc) = kernels.nngp_ntk(X, **s), kernels.nngp_ntk(Z, X, **s)
    >>> mean, cov = predict_gradient_flow(K, T, Kc, Tc, kernels.nngp(Z, **s), y)
    >>> mean.shape, cov.shape
    ((1,), (1, 1))
    """
    target = np.asarray(y, dtype=np.float64)
    arrays = [np.asarray(a, dtype=np.float64) for a in (K, T, K_cross, T_cross, K_test)]
    n, m = arrays[0].shape[0], arrays[4].shape[0]
    for a, shape, name in zip(
        arrays, ((n, n), (n, n), (m, n), (m, n), (m, m)), ("K", "T", "K_cross", "T_cross", "K_test")
    ):
        if a.shape != shape:
            raise ValueError(f"{name} has shape {a.shape}, expected {shape} for n = {n}, m = {m}")
    if target.ndim not in (1, 2) or target.shape[0] != n:
        raise ValueError(f"y has shape {target.shape}, expected ({n},) or ({n}, k)")
    time = check_real(t, "t", low=0.0, finite=False)
    reg = check_real(reg, "reg", low=0.0)
    k, tk, kc, tc, kt = arrays
    mean, cov = flow(k, tk, kc, tc, kt, target.reshape(n, -1), time, reg)
    return (mean[:, 0] if target.ndim == 1 else mean), cov


class InfiniteWidthRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Scale mixture of Gaussian processes with the kernel of an infinitely wide network.

    The readout's weights have a random variance ``s``; given s the network is a Gaussian process with
    covariance ``s K``. An inverse-gamma law of s gives a Student-t process in closed form, every other
    law a mixture computed by quadrature over ``ln s``.

    Parameters
    ----------
    kernel : scikit-learn Kernel, optional
        Default ``NNGPKernel()``. Any scikit-learn kernel; methods "ntk" and "readout" need ours.
    prior : {"invgamma"}, None, frozen scipy.stats law, or callable
        Law of s. None is the point mass at 1 (a Gaussian process); a callable maps an array s to log
        densities.
    alpha, beta : float
        Shape and scale of the inverse-gamma law, > 0.
    noise : float
        With `shared_noise` the ratio of noise to signal variance (noise variance ``s * noise``), else
        the noise variance itself.
    shared_noise : bool
        Whether the noise shares the scale s. True is the paper's model.
    method : {"nngp", "ntk", "readout"}
        Bayesian posterior; or the ensemble of networks trained by gradient flow on all layers, or on the
        readout only, where training leaves the law of s as it was.
    train_time : float
        For "ntk" and "readout": time of gradient flow on ``|f - y|^2 / (2 n)``.
    optimizer : {None, "l-bfgs-b"} or callable
        Maximises the evidence over the kernel's `theta`; a callable follows scikit-learn's convention
        ``optimizer(obj_func, initial_theta, bounds) -> (theta, value)``.
    n_restarts : int
        Further starting points, drawn log-uniformly within the bounds.
    normalize_y : bool
        Centre and scale y before fitting.
    random_state : int, RandomState or None

    Attributes
    ----------
    kernel_ : Kernel
    df_ : float
        Degrees of freedom: ``2 alpha + n`` (n outputs in all), ``2 alpha`` for trained networks, infinity
        for a Gaussian process, nan for other mixtures.
    alpha_, beta_ : float
        Parameters of the inverse-gamma law of s given the data.
    log_marginal_likelihood_value_ : float
    X_train_, y_train_ : ndarray
    L_ : ndarray
        Lower Cholesky factor of ``K + noise I``.
    n_features_in_ : int

    Notes
    -----
    With ``C = K + noise I``, ``d = y' C^-1 y``::

        s | y ~ InvGamma(alpha + n/2, beta + d/2)
        f* | y ~ t_{2 alpha + n}(K_* C^-1 y, (2 beta + d) / (2 alpha + n) (K_** - K_* C^-1 K_*'))

    The posterior mean is that of a Gaussian process, and with shared noise the predictive differs from
    one with maximum-likelihood amplitude only by O(1/n): the mixture adapts its scale, it does not
    make the mean robust to outliers. Cost: n^3 / 3 for fitting, n^2 m for variances.

    References
    ----------
    .. [1] Lee, Yun, Yang, Lee, "Scale Mixtures of Neural Network Gaussian Processes", ICLR 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import InfiniteWidthRegressor, NNGPKernel
    >>> X = np.linspace(-1, 1, 9)[:, None]
    >>> model = InfiniteWidthRegressor(NNGPKernel(depth=2, b_var=0.1), noise=1e-3).fit(X, np.sin(3 * X[:, 0]))
    >>> model.df_
    13.0
    >>> mean, std = model.predict([[0.1]], return_std=True)
    >>> mean.shape, std.shape
    ((1,), (1,))
    """

    def __init__(
        self,
        kernel: Kernel | None = None,
        prior: Any = "invgamma",
        alpha: float = 2.0,
        beta: float = 2.0,
        noise: float = 1e-2,
        shared_noise: bool = True,
        method: str = "nngp",
        train_time: float = math.inf,
        optimizer: Any = None,
        n_restarts: int = 0,
        normalize_y: bool = False,
        random_state: Any = None,
    ) -> None:
        self.kernel = kernel
        self.prior = prior
        self.alpha = alpha
        self.beta = beta
        self.noise = noise
        self.shared_noise = shared_noise
        self.method = method
        self.train_time = train_time
        self.optimizer = optimizer
        self.n_restarts = n_restarts
        self.normalize_y = normalize_y
        self.random_state = random_state

    # -- fitting ---------------------------------------------------------------------------------

    def _check(self) -> None:
        self._alpha = check_real(self.alpha, "alpha", low=0.0, open_low=True)
        self._beta = check_real(self.beta, "beta", low=0.0, open_low=True)
        self._noise = check_real(self.noise, "noise", low=0.0)
        check_choice(self.method, "method", ("nngp", "ntk", "readout"))
        self._time = check_real(self.train_time, "train_time", low=0.0, finite=False)
        check_int(self.n_restarts, "n_restarts", low=0)
        log_prior(self.prior, self._alpha, self._beta)
        if self.kernel is not None and not isinstance(self.kernel, Kernel):
            raise TypeError(f"kernel must be a scikit-learn Kernel or None, got {type(self.kernel).__name__}")
        if self.method != "nngp" and self.kernel is not None and not hasattr(self.kernel, "pair"):
            raise ValueError(f"method={self.method!r} needs an NNGPKernel or NTKKernel, got {self.kernel}")
        if not (self.optimizer is None or callable(self.optimizer)):
            check_choice(self.optimizer, "optimizer", (None, "l-bfgs-b", "fmin_l_bfgs_b"))

    def fit(self, X: ArrayLike, y: ArrayLike) -> InfiniteWidthRegressor:
        """Condition on data, after optimising the kernel if asked.

        Parameters
        ----------
        X : array_like, shape (n, d)
        y : array_like, shape (n,) or (n, k)
            Columns share the scale s.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad data or parameters.
        numpy.linalg.LinAlgError
            If ``K + noise I`` is not positive definite even after the largest jitter.

        Warns
        -----
        RuntimeWarning
            If jitter was needed.
        sklearn.exceptions.ConvergenceWarning
            If the optimiser stopped early.
        """
        self._check()
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=[np.float64, np.float32])
        target = np.asarray(y, dtype=np.float64)
        self._single = target.ndim == 1
        columns = target.reshape(target.shape[0], -1)
        self._y_mean = columns.mean(axis=0) if self.normalize_y else np.zeros(columns.shape[1])
        spread = columns.std(axis=0) if self.normalize_y else np.ones(columns.shape[1])
        self._y_std = np.where(spread > 0, spread, 1.0)
        self.X_train_, self.y_train_ = X, target
        self._Y = (columns - self._y_mean) / self._y_std
        self.kernel_ = NNGPKernel() if self.kernel is None else clone(self.kernel)
        if self.optimizer is not None and self.kernel_.n_dims > 0:
            self._optimise()
        self._condition()
        return self

    @property
    def _log_prior(self) -> LogDensity | None:
        return log_prior(self.prior, self._alpha, self._beta)  # rebuilt, for closures do not pickle

    def _state(self, K: Array) -> Shared | Independent:
        if self.shared_noise:
            conjugate = self.prior == "invgamma" if isinstance(self.prior, str) else False
            alpha, beta = (self._alpha, self._beta) if conjugate else (0.0, 0.0)
            return Shared(K, self._Y, self._noise, self._log_prior, alpha, beta)
        return Independent(K, self._Y, self._noise, self._log_prior)

    def _condition(self) -> None:
        if self.method == "nngp":
            K = np.asarray(self.kernel_(self.X_train_), dtype=np.float64)
        else:
            self._K, self._T = (np.asarray(M, dtype=np.float64) for M in self.kernel_.pair(self.X_train_))
            K = self._K
        self._posterior = self._state(K)
        self.log_marginal_likelihood_value_ = self._posterior.lml
        conjugate = isinstance(self._posterior, Shared) and self._posterior.conjugate
        self.alpha_, self.beta_ = self._alpha, self._beta
        if self.method != "nngp":
            closed = isinstance(self.prior, str) and math.isinf(self._time)
            self.df_ = 2.0 * self._alpha if closed else math.nan
            self.df_ = math.inf if self.prior is None else self.df_
        elif conjugate:
            self.alpha_ = self._alpha + self._Y.size / 2
            self.beta_ = self._beta + self._posterior.d / 2  # type: ignore[union-attr]
            self.df_ = 2.0 * self._alpha + self._Y.size
        else:
            self.df_ = math.inf if self.prior is None else math.nan
        if isinstance(self._posterior, Shared):
            self.L_ = self._posterior.L
        else:
            noisy = np.array(K)
            noisy[np.diag_indices_from(noisy)] += self._noise
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                self.L_ = factor(noisy)

    def _optimise(self) -> None:
        bounds = self.kernel_.bounds

        def objective(theta: Array, eval_gradient: bool = True) -> Any:
            try:
                if eval_gradient:
                    value, gradient = self._evidence(theta)
                    return -value, -gradient
                return -cast(float, self.log_marginal_likelihood(theta))
            except (np.linalg.LinAlgError, OverflowError):
                return (1e25, np.zeros_like(theta)) if eval_gradient else 1e25

        def run(start: Array) -> tuple[Array, float]:
            if callable(self.optimizer):
                theta, value = self.optimizer(objective, start, bounds=bounds)
                return np.asarray(theta), float(value)
            result = optimize.minimize(objective, start, method="L-BFGS-B", jac=True, bounds=bounds)
            if not result.success:
                warnings.warn(
                    f"the optimiser stopped early ({result.message}); rescale the data or widen the "
                    f"bounds of the kernel",
                    ConvergenceWarning,
                    stacklevel=4,
                )
            return result.x, float(result.fun)

        rng = check_random_state(self.random_state)
        drawn = [rng.uniform(bounds[:, 0], bounds[:, 1]) for _ in range(self.n_restarts)]
        starts = [self.kernel_.theta, *drawn]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # jitter along the way; the final fit tells
            results = [run(start) for start in starts]
        best = min(results, key=lambda pair: pair[1])
        self.kernel_ = self.kernel_.clone_with_theta(best[0])

    def log_marginal_likelihood(
        self, theta: ArrayLike | None = None, eval_gradient: bool = False
    ) -> float | tuple[float, Array]:
        """Return the log evidence at the kernel's `theta`, and its gradient on request.

        Parameters
        ----------
        theta : array_like, optional
            Log hyperparameters of the kernel; default: the fitted ones.
        eval_gradient : bool

        Returns
        -------
        value : float
        gradient : ndarray, shape (len(theta),)
            Only with `eval_gradient`.

        Notes
        -----
        ``d/dtheta = (kappa / 2) v' dC v - tr(C^-1 dC) / 2`` with ``v = C^-1 y`` and ``kappa = E[1 / s | y]``,
        which is ``(2 alpha + n) / (2 beta + d)`` for the inverse-gamma law. Cost n^3.
        """
        check_is_fitted(self, "kernel_")
        if theta is None and not eval_gradient and hasattr(self, "log_marginal_likelihood_value_"):
            return self.log_marginal_likelihood_value_
        kernel = (
            self.kernel_
            if theta is None
            else self.kernel_.clone_with_theta(np.asarray(theta, dtype=np.float64))
        )
        if not eval_gradient:
            return self._state(np.asarray(kernel(self.X_train_), dtype=np.float64)).lml
        return self._evidence(kernel.theta)

    def _evidence(self, theta: Array) -> tuple[float, Array]:
        """Return the log evidence and its gradient."""
        K, dK = self.kernel_.clone_with_theta(theta)(self.X_train_, eval_gradient=True)
        state = self._state(np.asarray(K, dtype=np.float64))
        return state.lml, state.gradient(dK)

    # -- predicting ------------------------------------------------------------------------------

    def _components(self, X: Array, want_cov: bool) -> Components:
        if self.method == "nngp":
            cross = np.asarray(self.kernel_(X, self.X_train_), dtype=np.float64)
            diag = np.asarray(self.kernel_.diag(X), dtype=np.float64)
            full = np.asarray(self.kernel_(X), dtype=np.float64) if want_cov else None
            return self._posterior.predict(cross, diag, full)
        K_cross, T_cross = (np.asarray(M, dtype=np.float64) for M in self.kernel_.pair(X, self.X_train_))
        K_test = np.asarray(self.kernel_.pair(X)[0], dtype=np.float64)
        T = self._T
        if self.method == "readout":
            T, T_cross = self._K, K_cross

        def run(scale: float) -> tuple[Array, Array]:
            return flow(self._K, T, K_cross, T_cross, K_test, self._Y, self._time, self._noise, scale)

        if math.isinf(self._time) or self.prior is None:
            loc, cov = run(1.0)
            if isinstance(self.prior, str):
                s, weights, df = np.array([self._beta / self._alpha]), np.ones(1), 2.0 * self._alpha
            elif self._log_prior is None:
                s, weights, df = np.ones(1), np.ones(1), math.inf
            else:
                s, weights, _ = posterior_nodes(self._log_prior, None)
                df = None
            locs, covs = loc[None], s[:, None, None] * cov
        else:
            assert self._log_prior is not None
            s, weights, _ = posterior_nodes(self._log_prior, None)
            df = None
            parts = [run(float(si)) for si in s]
            locs = np.stack([p[0] for p in parts])
            covs = np.stack([si * p[1] for si, p in zip(s, parts)])
        var = np.maximum(np.einsum("sii->si", covs), 0.0)
        noise = s * self._noise if self.shared_noise else np.full(s.size, self._noise)
        heavy = df is None and infinite_mean(s, weights)
        return Components(df, weights, locs, var, noise, covs if want_cov else None, heavy)

    def _inputs(self, X: ArrayLike) -> Array:
        check_is_fitted(self, "_posterior")
        return np.asarray(validate_data(self, X, reset=False, dtype=[np.float64, np.float32]))

    def _inflate(self, df: float | None, heavy: bool, stacklevel: int) -> float:
        """Return variance / shape of a t, warning where it is infinite."""
        if heavy:
            warnings.warn(
                "the predictive mixture has no finite variance, for the law of the scale has no mean; use "
                "predict_distribution for quantiles",
                UserWarning,
                stacklevel=stacklevel,
            )
            return math.inf
        if df is None or math.isinf(df):
            return 1.0
        if df <= 2.0:
            warnings.warn(
                f"the predictive t has {df:g} degrees of freedom, so its variance is infinite; use "
                "predict_distribution for quantiles, or a larger alpha",
                UserWarning,
                stacklevel=stacklevel,
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
        factor_ = self._inflate(parts.df, parts.heavy, 3)
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
            return NormalMixture(parts.weights, loc, scale)
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
        random_state : int, RandomState or None

        Returns
        -------
        ndarray, shape (m, n_samples) or (m, k, n_samples)
        """
        n_samples = check_int(n_samples, "n_samples", low=1)
        rng = check_random_state(random_state)
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
