"""Small calls that compile the kernels of this package."""

from __future__ import annotations

import numpy as np

from . import GeneralizedChi2, generalized_chi2_logcdf


def warmup() -> None:
    """Compile both tails and the batch into the cache."""
    law = GeneralizedChi2([1.0, 0.5, 0.1], noncentralities=[0.0, 1.0, 0.0])
    law.logcdf(0.5)
    law.logsf(5.0)
    GeneralizedChi2([1.0, -0.5]).logcdf(0.3)
    ones = np.ones((2, 3))
    generalized_chi2_logcdf(np.ones(2), ones, ones, 0 * ones, np.zeros(2))
