"""The kernels as scikit-learn kernels: log hyperparameters, analytic gradients, sums and products."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel

from . import kernels
from ._gradient import log_gradients
from ._inputs import check_inputs
from ._network import Network, make_network

__all__ = ["NNGPKernel", "NTKKernel"]

Array = NDArray[Any]


class _NetworkKernel(Kernel):
    """What the two kernels share."""

    _tangent = False

    def __init__(
        self,
        depth: int = 2,
        activation: Any = "relu",
        w_var: float = 2.0,
        b_var: float = 0.0,
        last_w_var: float = 1.0,
        last_b_var: float = 0.0,
        w_var_bounds: Any = (1e-3, 1e2),
        b_var_bounds: Any = (1e-5, 1e2),
    ) -> None:
        self.depth = depth
        self.activation = activation
        self.w_var = w_var
        self.b_var = b_var
        self.last_w_var = last_w_var
        self.last_b_var = last_b_var
        self.w_var_bounds = w_var_bounds
        self.b_var_bounds = b_var_bounds

    @property
    def hyperparameter_w_var(self) -> Hyperparameter:
        """The weight variance, on a log scale."""
        return Hyperparameter("w_var", "numeric", self.w_var_bounds if self.w_var > 0 else "fixed")

    @property
    def hyperparameter_b_var(self) -> Hyperparameter:
        """The bias variance, on a log scale; a network without biases keeps none."""
        return Hyperparameter("b_var", "numeric", self.b_var_bounds if self.b_var > 0 else "fixed")

    def _network(self) -> Network:
        return make_network(
            self.depth, self.activation, self.w_var, self.b_var, self.last_w_var, self.last_b_var
        )

    def _settings(self) -> dict[str, Any]:
        return {
            "depth": self.depth,
            "activation": self.activation,
            "w_var": self.w_var,
            "b_var": self.b_var,
            "last_w_var": self.last_w_var,
            "last_b_var": self.last_b_var,
        }

    def pair(self, X: ArrayLike, Y: ArrayLike | None = None) -> tuple[Array, Array]:
        """Return the NNGP and the NTK of the same network."""
        return kernels.nngp_ntk(X, Y, **self._settings())

    def pair_diag(self, X: ArrayLike) -> tuple[Array, Array]:
        """Return the diagonals of both kernels."""
        return kernels.nngp(X, diag=True, **self._settings()), kernels.ntk(X, diag=True, **self._settings())

    def __call__(self, X: ArrayLike, Y: ArrayLike | None = None, eval_gradient: bool = False) -> Any:
        """Evaluate the kernel, and its gradient in `theta` on request.

        Parameters
        ----------
        X : array_like, shape (n, d)
        Y : array_like, shape (m, d), optional
        eval_gradient : bool
            Only for ``Y=None``.

        Returns
        -------
        K : ndarray, shape (n, m)
        gradient : ndarray, shape (n, n, len(theta))
            Only with `eval_gradient`.
        """
        function = kernels.ntk if self._tangent else kernels.nngp
        if not eval_gradient:
            return function(X, Y, **self._settings())
        if Y is not None:
            raise ValueError("Gradient can only be evaluated when Y is None.")
        x, _ = check_inputs(X, None)
        names = tuple(h.name for h in self.hyperparameters if not h.fixed)
        # theta is sorted by name, and so are the slices of the gradient
        gradient = log_gradients(self._network(), x, names, self._tangent)
        return function(x, **self._settings()), gradient

    def diag(self, X: ArrayLike) -> Array:
        """Return the diagonal of ``self(X)`` in O(n) evaluations."""
        function = kernels.ntk if self._tangent else kernels.nngp
        return function(X, diag=True, **self._settings())

    def is_stationary(self) -> bool:
        """Return False: the kernel depends on norms and angles, not on differences."""
        return False

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(depth={self.depth}, activation={self.activation!r}, "
            f"w_var={self.w_var:.3g}, b_var={self.b_var:.3g})"
        )


class NNGPKernel(_NetworkKernel):
    """Covariance of an infinitely wide random network, as a scikit-learn kernel.

    Parameters
    ----------
    depth : int
        Number of hidden layers.
    activation : str, callable or Activation
    w_var, b_var : float
        Variances of hidden weights and biases; free hyperparameters on a log scale. One that is
        zero is fixed, so that `theta` stays finite.
    last_w_var, last_b_var : float
        Variances of the readout, fixed.
    w_var_bounds, b_var_bounds : pair of float or "fixed"

    Notes
    -----
    Gradients are analytic for closed-form duals (forward tangents through the recursion). For
    Gaussian-process libraries with a callable kernel: ``lambda x, y: NNGPKernel(...)(x, y)``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.gaussian_process import GaussianProcessRegressor
    >>> from theorylab.infinite_width import NNGPKernel
    >>> X = np.linspace(-1, 1, 8)[:, None]
    >>> gp = GaussianProcessRegressor(NNGPKernel(depth=2, b_var=0.1), alpha=1e-3, optimizer=None)
    >>> gp.fit(X, np.sin(3 * X[:, 0])).predict(X[:1]).shape
    (1,)
    """


class NTKKernel(_NetworkKernel):
    """Neural tangent kernel, as a scikit-learn kernel; parameters as in `NNGPKernel`.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.infinite_width import NTKKernel
    >>> kernel = 2.0 * NTKKernel(depth=1, activation="erf", b_var=0.1)
    >>> K, gradient = kernel(np.eye(3), eval_gradient=True)
    >>> gradient.shape
    (3, 3, 3)
    """

    _tangent = True
