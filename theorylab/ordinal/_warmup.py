"""Small calls that compile the kernels of this package."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from . import PrestoClassifier, ProportionalOddsClassifier, presto_dual_gap, presto_path


def warmup() -> None:
    """Compile the path, the constrained and sparse solvers, proportional odds and the gap into the cache."""
    i = np.arange(60)
    X, y = np.column_stack((i % 4, i**2 % 5)).astype(float), i % 3
    presto_path(X, y, n_alphas=3)
    PrestoClassifier(0.01, crossing="train").fit(X, y)
    PrestoClassifier(0.01).fit(sparse.csr_array(X), y)
    model = ProportionalOddsClassifier().fit(X, y)
    presto_dual_gap(X, y, model.intercept_, model.coef_, 0.1)
