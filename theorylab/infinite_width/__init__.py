"""Infinitely wide networks: NNGP and NTK kernels, scale mixtures of Gaussian processes, deep limits.

Criticality and the laws of finite width are here as well.

A network with random weights becomes a Gaussian process as its layers widen, with
covariance `K` (NNGP); trained by gradient descent it becomes kernel regression with `T` (NTK). With a random
variance of the readout it becomes a scale mixture, a Student-t process for an inverse-gamma law.

==================  =============================================================================
`kernels`           both kernels of fully connected networks: fused, safe near duplicates, any depth
`duals`             Gaussian expectations of activations, closed or by quadrature; your own ones
`layers`            architectures: dense, convolution, residual, layer norm, recurrent
`criticality`       fixed points, susceptibilities, vertex recursion, exact finite-width sampler
`deep_limit`        what a network becomes at infinite depth
==================  =============================================================================

>>> import numpy as np
>>> from theorylab.infinite_width import InfiniteWidthRegressor, NNGPKernel
>>> X = np.linspace(-1.0, 1.0, 12)[:, None]
>>> model = InfiniteWidthRegressor(NNGPKernel(depth=3, activation="erf", b_var=0.1), noise=1e-4)
>>> model.fit(X, np.sin(3 * X[:, 0])).df_
16.0
>>> low, high = model.predict_distribution([[0.25]]).interval(0.95)
>>> bool(low[0] < np.sin(0.75) < high[0])
True
"""

from . import criticality, deep_limit, duals, kernels, layers
from ._blocked import blocked_cholesky, blocked_solve
from ._cg import KernelOperator, kernel_cg
from ._classifier import ScaleMixtureClassifier
from ._flow import predict_gradient_flow
from ._lanczos import kernel_logdet
from ._predictive import NormalMixture
from ._regressor import InfiniteWidthRegressor
from ._sklearn import NNGPKernel, NTKKernel
from .deep_limit import InfiniteDepthClassifier

__all__ = [
    "InfiniteDepthClassifier",
    "InfiniteWidthRegressor",
    "KernelOperator",
    "NNGPKernel",
    "NTKKernel",
    "NormalMixture",
    "ScaleMixtureClassifier",
    "blocked_cholesky",
    "blocked_solve",
    "criticality",
    "deep_limit",
    "duals",
    "kernel_cg",
    "kernel_logdet",
    "kernels",
    "layers",
    "predict_gradient_flow",
]
