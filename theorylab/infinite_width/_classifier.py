"""Classification by regression on labels, with one random scale shared by all classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ._regressor import InfiniteWidthRegressor

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
        As in `InfiniteWidthRegressor`; the noise shares the scale.

    Attributes
    ----------
    classes_ : ndarray, shape (k,)
    regressor_ : InfiniteWidthRegressor
        Fitted to the centred indicators of the classes.
    n_features_in_ : int

    Notes
    -----
    Given s the k latent functions are independent Gaussian processes with one kernel. The probability
    of a class is that of its latent value being the largest::

        P(c) = E_s  integral phi(z) prod_{c' != c} Phi((mu_c - mu_c' + sigma z) / sigma) dz,
        sigma^2 = s (K_** - K_* C^-1 K_*' + noise)

    by quadrature over z and s, hence without sampling noise. Cost: n^3 / 3 for fitting, ``O(n^2)`` a test
    point.

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
    ) -> None:
        self.kernel = kernel
        self.prior = prior
        self.alpha = alpha
        self.beta = beta
        self.noise = noise
        self.optimizer = optimizer
        self.n_restarts = n_restarts
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> ScaleMixtureClassifier:
        """Fit to labels `y` of shape (n,) with at least two classes."""
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        k = self.classes_.size
        if k < 2:
            raise ValueError(f"y holds one class only ({self.classes_[0]!r}), expected at least two classes")
        target = np.eye(k)[index] - 1.0 / k
        self.regressor_ = InfiniteWidthRegressor(
            kernel=self.kernel,
            prior=self.prior,
            alpha=self.alpha,
            beta=self.beta,
            noise=self.noise,
            optimizer=self.optimizer,
            n_restarts=self.n_restarts,
            random_state=self.random_state,
        ).fit(X, target)
        return self

    def _parts(self, X: ArrayLike) -> Any:
        check_is_fitted(self, "regressor_")
        checked = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return self.regressor_._components(checked, False)

    def _means(self, parts: Any) -> Array:
        loc = np.broadcast_to(parts.loc, (parts.weights.size, *parts.loc.shape[1:]))
        return np.asarray(np.tensordot(parts.weights, loc, axes=1))

    def decision_function(self, X: ArrayLike) -> Array:
        """Return the posterior means of the class indicators, (m, k).

        For two classes their difference in units of its predictive scale, (m,), an increasing
        function of the probability of the second class.
        """
        parts = self._parts(X)
        scores = self._means(parts)
        if self.classes_.size > 2:
            return scores
        scale = np.sqrt(np.maximum(parts.var[0] + parts.noise[0], 1e-300))
        return np.asarray((scores[:, 1] - scores[:, 0]) / scale)

    def predict_proba(self, X: ArrayLike) -> Array:
        """Return class probabilities, shape (m, k); rows sum to one."""
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
        """Return the class of the largest posterior mean, shape (m,)."""
        best = np.argmax(self._means(self._parts(X)), axis=1)
        return np.asarray(self.classes_[best])
