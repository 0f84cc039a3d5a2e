r"""Inductive bias in nats, and full-accuracy log-tails of generalised chi-squared laws.

How much information beyond the training data singles out a predictor with test error eps?
``I(eps) = -log P(error(h) <= eps)``, h drawn from a hypothesis space that fits the training data.
For Gaussian hypothesis spaces (kernels, Gaussian processes, linear and random features) the mean
squared test error is a generalised chi-squared variable, and I is its exact log-cdf, at any
depth; for anything that can only be sampled there are fits with honest intervals, and a bound that needs
no model.

>>> import numpy as np
>>> from theorylab.inductive_bias import GeneralizedChi2
>>> law = GeneralizedChi2(weights=0.5 ** np.arange(10), dofs=2)
>>> print(f"{law.logcdf(1e-3):.12f}")  # log of a probability of 9e-27
-59.968074921124
>>> print(f"{law.logsf(1e5):.6f}")
-49998.759892

References
----------
A. Boopathy, W. Yue, J. Hwang, A. Iyer, I. Fiete, Towards Exact Computation of Inductive Bias, IJCAI 2024.
A. Boopathy, K. Liu, J. Hwang, S. Ge, A. Mohammedsaleh, I. Fiete, Model-agnostic Measure of Generalization
Difficulty, ICML 2023.
"""

from ._batch import generalized_chi2_logcdf
from ._bias import inductive_bias
from ._difficulty import GeneralizationDifficulty, generalization_difficulty, reinforcement_difficulty
from ._from_errors import inductive_bias_from_errors
from ._gaussian import gaussian_test_error
from ._law import GeneralizedChi2
from ._nystroem import NystroemFeatures
from ._parameters import TailInfo
from ._result import ExtrapolationWarning, InductiveBiasResult, UnattainableErrorWarning
from ._splitting import SplittingResult, splitting_log_probability

__all__ = [
    "ExtrapolationWarning",
    "GeneralizationDifficulty",
    "GeneralizedChi2",
    "InductiveBiasResult",
    "NystroemFeatures",
    "SplittingResult",
    "TailInfo",
    "UnattainableErrorWarning",
    "gaussian_test_error",
    "generalization_difficulty",
    "generalized_chi2_logcdf",
    "inductive_bias",
    "inductive_bias_from_errors",
    "reinforcement_difficulty",
    "splitting_log_probability",
]
