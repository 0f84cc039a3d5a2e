"""Classification with one random scale shared by all classes: by regression, Laplace or variation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from theorylab._lib.checks import check_choice, check_int, check_real

from ._laplace import LaplaceMixture
from ._regressor import InfiniteWidthRegressor
from ._scale import log_prior
from ._sklearn import NNGPKernel
from ._variational import SparseVariational

__all__ = ["ScaleMixtureClassifier"]

Array = NDArray[Any]
_SCALES = 24


class ScaleMixtureClassifier(ClassifierMixin, BaseEstimator):
    """Classify with a scale mixture of infinitely wide networks.

    Parameters
    ----------
    kernel : scikit-learn Kernel, optional
        Default ``NNGPKernel()``.
    prior, alpha, beta, noise, optimizer, n_restarts, random_state
        As in `InfiniteWidthRegressor`. The noise belongs to the regression and shares the scale; the
        optimizer tunes the kernel by the evidence of the regression, whatever the method.
    method : {"regression", "laplace", "variational"}
        Regression on the indicators of the classes, in closed form; or a softmax likelihood, by Laplace's
        method at fifteen scales, or by the paper's sparse variational process (inverse-gamma prior only).
    n_inducing : int
        Number of training points, drawn at random, that carry the variational process.
    max_steps : int
        Steps of L-BFGS for the variational bound.

    Attributes
    ----------
    classes_ : ndarray, shape (k,)
    kernel_ : Kernel
    regressor_ : InfiniteWidthRegressor
        Fitted to the centred indicators of the classes; "regression" only.
    log_evidence_ : float
        Log marginal likelihood of the labels by Laplace's method, or the variational lower bound of it.
    inducing_ : ndarray, shape (n_inducing, d)
        "variational" only.
    n_features_in_ : int

    Notes
    -----
    Given s the k latent functions are independent Gaussian processes with one kernel. The probability
    of a class is that of its latent value being the largest::

        P(c) = E_s  integral phi(z) prod_{c' != c} Phi((mu_c - mu_c' + sigma z) / sigma) dz,
        sigma^2 = s (K_** - K_* C^-1 K_*' + noise)

    by quadrature over z and s, hence without sampling noise. Cost: n^3 / 3 for fitting, ``O(n^2)`` a test
    point; "laplace" k n^3 for each Newton step at each scale, "variational" k n m^2 for each step.

    "laplace" weighs the scales by ``p(s) q(y | s)`` with Laplace's evidence q; "variational" has
    ``q(s)`` inverse gamma and ``q(u | s)`` normal with covariance ``s S``, so that latent values are
    Student-t. Both average the softmax over fixed quasi-random normal points. Laplace's method is
    unreliable, and warns, where the kernel's variance exceeds some 1000: normalise the inputs. The mode
    grows like the logarithm of the variance, the bulk of the posterior like its root, and the evidence of
    one point of two classes, which is 1/2 at any scale, comes out as .38 at 1000 and .28 at 10^6.

    References
    ----------
    .. [1] Lee, Yun, Yang, Lee, "Scale Mixtures of Neural Network Gaussian Processes", ICLR 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import NNGPKernel, ScaleMixtureClassifier
    >>> X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    >>> model = ScaleMixtureClassifier(NNGPKernel(depth=1, b_var=0.5)).fit(X, ["a", "a", "b", "b"])
    >>> str(model.predict([[1.5]])[0])
    'b'
    """

    def __init__(
        self,
        kernel: Kernel | None = None,
        prior: Any = "invgamma",
        alpha: float = 2.0,
        beta: float = 2.0,
        noise: float = 1e-2,
        optimizer: Any = None,
        n_restarts: int = 0,
        random_state: Any = None,
        method: str = "regression",
        n_inducing: int = 100,
        max_steps: int = 1000,
    ) -> None:
        self.kernel = kernel
        self.prior = prior
        self.alpha = alpha
        self.beta = beta
        self.noise = noise
        self.optimizer = optimizer
        self.n_restarts = n_restarts
        self.random_state = random_state
        self.method = method
        self.n_inducing = n_inducing
        self.max_steps = max_steps

    def fit(self, X: ArrayLike, y: ArrayLike) -> ScaleMixtureClassifier:
        """Fit to labels `y` of shape (n,) with at least two classes."""
        checked, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        x = np.asarray(checked)
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        k = self.classes_.size
        if k < 2:
            raise ValueError(f"y holds one class only ({self.classes_[0]!r}), expected at least two classes")
        check_choice(self.method, "method", ("regression", "laplace", "variational"))
        alpha = check_real(self.alpha, "alpha", low=0.0, open_low=True)
        beta = check_real(self.beta, "beta", low=0.0, open_low=True)
        prior = log_prior(self.prior, alpha, beta)
        if self.method == "variational" and not isinstance(self.prior, str):
            raise ValueError(
                f"method='variational' needs prior='invgamma', got {self.prior!r}; use 'laplace'"
            )
        target = np.eye(k)[index]
        kernel = self.kernel
        if self.method == "regression" or self.optimizer is not None:
            regressor = InfiniteWidthRegressor(
                kernel=kernel,
                prior=self.prior,
                alpha=alpha,
                beta=beta,
                noise=self.noise,
                optimizer=self.optimizer,
                n_restarts=self.n_restarts,
                random_state=self.random_state,
            ).fit(x, target - 1.0 / k)
            kernel = regressor.kernel_
            if self.method == "regression":
                self.regressor_ = regressor
        self.kernel_ = NNGPKernel() if kernel is None else clone(kernel)
        if self.method == "laplace":
            self._reference = x
            self._model: Any = LaplaceMixture(self.kernel_(x), target, prior)
            self.log_evidence_ = self._model.log_evidence
        elif self.method == "variational":
            size = min(check_int(self.n_inducing, "n_inducing", low=1), x.shape[0])
            chosen = check_random_state(self.random_state).permutation(x.shape[0])[:size]
            self.inducing_ = self._reference = x[np.sort(chosen)]
            blocks = (self.kernel_(self.inducing_), self.kernel_(x, self.inducing_), self.kernel_.diag(x))
            zz, xz, xx = (np.asarray(block, dtype=np.float64) for block in blocks)
            steps = check_int(self.max_steps, "max_steps", low=1)
            self._model = SparseVariational(zz, xz, xx, target, alpha, beta, maxiter=steps)
            self.log_evidence_ = self._model.elbo
        return self

    def _softmax(self, X: ArrayLike) -> Array:
        """Return class probabilities under the softmax likelihood."""
        x = np.asarray(validate_data(self, X, reset=False, dtype=[np.float64, np.float32]))
        cross = np.asarray(self.kernel_(x, self._reference), dtype=np.float64)
        return np.asarray(
            self._model.probabilities(cross, np.asarray(self.kernel_.diag(x), dtype=np.float64))
        )

    def _parts(self, X: ArrayLike) -> Any:
        checked = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return self.regressor_._components(checked, False)

    def _means(self, parts: Any) -> Array:
        loc = np.broadcast_to(parts.loc, (parts.weights.size, *parts.loc.shape[1:]))
        return np.asarray(np.tensordot(parts.weights, loc, axes=1))

    def decision_function(self, X: ArrayLike) -> Array:
        """Return the posterior means of the class indicators, (m, k); log probabilities with a softmax.

        For two classes their difference, (m,), in units of its predictive scale: an increasing
        function of the probability of the second class.
        """
        check_is_fitted(self, "kernel_")
        if self.method != "regression":
            logs = np.log(np.maximum(self._softmax(X), 1e-300))
            return logs if self.classes_.size > 2 else np.asarray(logs[:, 1] - logs[:, 0])
        parts = self._parts(X)
        scores = self._means(parts)
        if self.classes_.size > 2:
            return scores
        scale = np.sqrt(np.maximum(parts.var[0] + parts.noise[0], 1e-300))
        return np.asarray((scores[:, 1] - scores[:, 0]) / scale)

    def predict_proba(self, X: ArrayLike) -> Array:
        """Return class probabilities, shape (m, k); rows sum to one."""
        check_is_fitted(self, "kernel_")
        if self.method != "regression":
            return self._softmax(X)
        parts = self._parts(X)
        mean = parts.loc[0]
        var = parts.var + parts.noise[:, None]
        if parts.df is not None and np.isfinite(parts.df):
            # s | y relative to its shape: inverse gamma; equal-probability midpoints refined by
            # Gauss-Legendre
            x, weights = np.polynomial.legendre.leggauss(_SCALES)
            ratio = stats.invgamma.ppf(0.5 * (x + 1.0), 0.5 * parts.df, scale=0.5 * parts.df)
            weights, var = 0.5 * weights, ratio[:, None] * var[0]
        else:
            keep = parts.weights > 1e-6
            weights, var = parts.weights[keep] / parts.weights[keep].sum(), var[keep]
        z, wz = np.polynomial.hermite_e.hermegauss(48)
        wz = wz / wz.sum()
        k = mean.shape[1]
        out = np.zeros_like(mean)
        for w, v in zip(weights, var):
            sigma = np.sqrt(np.maximum(v, 1e-300))[:, None]
            scaled = mean / sigma
            for c in range(k):
                gap = scaled[:, [c]] - np.delete(scaled, c, axis=1)
                inside = np.clip(gap[:, None, :] + z[None, :, None], -40.0, 40.0)
                out[:, c] += w * (np.exp(np.sum(special.log_ndtr(inside), axis=2)) @ wz)
        total = out.sum(axis=1, keepdims=True)
        return np.asarray(out / total)

    def predict(self, X: ArrayLike) -> Array:
        """Return the class of the largest posterior mean, or probability with a softmax, shape (m,)."""
        check_is_fitted(self, "kernel_")
        regression = self.method == "regression"
        best = np.argmax(self._means(self._parts(X)) if regression else self._softmax(X), axis=1)
        return np.asarray(self.classes_[best])
