"""Regression with scale mixtures of infinitely wide networks."""

from __future__ import annotations

import math
import warnings
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from theorylab._lib.checks import as_float_array, check_choice, check_int, check_real

from ._linalg import caller_level, factor
from ._posterior import Independent, Shared
from ._prediction import Predictor
from ._scale import log_prior
from ._sklearn import NNGPKernel

__all__ = ["InfiniteWidthRegressor"]

Array = NDArray[Any]


class InfiniteWidthRegressor(Predictor, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Scale mixture of Gaussian processes with the kernel of an infinitely wide network.

    The readout's weights have a random variance ``s``; given s the network is a Gaussian process with
    covariance ``s K``. An inverse-gamma law of s gives a Student-t process in closed form, every other
    law a mixture computed by quadrature over ``ln s``.

    Parameters
    ----------
    kernel : scikit-learn Kernel, optional
        Default ``NNGPKernel()``. Any scikit-learn kernel; methods other than "nngp" need ours.
    prior : {"invgamma"}, None, frozen scipy.stats law, or callable
        Law of s. None is the point mass at 1 (a Gaussian process); a callable maps an array s to log
        densities.
    alpha, beta : float
        Shape and scale of the inverse-gamma law, > 0.
    noise : float
        With `shared_noise` the ratio of noise to signal variance (noise variance ``s * noise``), else
        the noise variance itself.
    shared_noise : bool
        Whether the noise shares the scale s. True is the paper's model. For trained networks `noise` is the
        ridge added to the kernel they descend on, ``T + noise I``, whatever this says; here it only decides
        whether new observations carry noise of variance ``s * noise`` or `noise`.
    method : {"nngp", "ntk", "readout", "ntk_init"}
        Bayesian posterior; or the ensemble of networks trained by gradient flow on all layers, or on the
        readout only, where training leaves the law of s as it was. With "ntk" the factor ``sqrt(s)`` stands
        in the forward pass; with "ntk_init" in the initial readout alone, whose gradient it does not scale.
    train_time : float
        For trained networks: time of gradient flow on ``|f - y|^2 / (2 n)``.
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

    A network trained with its scale in the initial readout alone follows the tangent kernel
    ``K + s (T - K)``, so that its mean depends on s: a mixture, by quadrature over the prior, with one
    Cholesky factor for each of its nodes (some 200) at infinite time.

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
        check_choice(self.method, "method", ("nngp", "ntk", "readout", "ntk_init"))
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
        self.X_train_, self.y_train_ = np.asarray(X), target
        self._Y = (columns - self._y_mean) / self._y_std
        self.kernel_ = NNGPKernel() if self.kernel is None else clone(self.kernel)
        if self.optimizer is not None and self.kernel_.n_dims > 0:
            self._optimise()
        self._condition()
        return self

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
            closed = isinstance(self.prior, str) and math.isinf(self._time) and self.method != "ntk_init"
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
                    stacklevel=caller_level(),
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
        kernel = self.kernel_
        if theta is not None:
            at = as_float_array(theta, "theta", ndim=1, dtype=np.float64)
            if at.shape != kernel.theta.shape:
                raise ValueError(
                    f"theta has shape {at.shape}, expected {kernel.theta.shape} to match {kernel}"
                )
            kernel = kernel.clone_with_theta(at)
        if not eval_gradient:
            return self._state(np.asarray(kernel(self.X_train_), dtype=np.float64)).lml
        return self._evidence(kernel.theta)

    def _evidence(self, theta: Array) -> tuple[float, Array]:
        """Return the log evidence and its gradient."""
        K, dK = self.kernel_.clone_with_theta(theta)(self.X_train_, eval_gradient=True)
        state = self._state(np.asarray(K, dtype=np.float64))
        return state.lml, state.gradient(dK)
