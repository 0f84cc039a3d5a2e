"""Tell kinds of hypothesis spaces apart, and draw predictions from those that can only be sampled."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lib.checks import as_float_array


def kind_of(hypotheses: Any) -> str:
    """Return which of the six kinds the hypotheses are of; TypeError for anything else."""
    if isinstance(hypotheses, type):
        raise TypeError(
            f"hypotheses is the class {hypotheses.__name__}, expected an object; create one with ()"
        )
    predict = getattr(hypotheses, "predict", None)
    if callable(predict) and hasattr(hypotheses, "fit") and _accepts_cov(last_step(hypotheses)):
        return "regressor"
    if callable(getattr(hypotheses, "sample_y", None)):
        return "sample_y"
    if callable(predict) and hasattr(hypotheses, "fit"):
        if not seed_names(hypotheses):
            raise TypeError(
                f"hypotheses is an estimator ({type(hypotheses).__name__}) without random_state, "
                "so it has one "
                "hypothesis only; pass one that depends on a seed, or a callable"
            )
        return "estimator"
    if callable(hypotheses):
        if hasattr(hypotheses, "n_features"):
            return "features"
        if _binds(hypotheses, 2):
            return "kernel"
        if _binds(hypotheses, 5):
            return "sampler"
    raise TypeError(
        f"hypotheses is of no known kind ({type(hypotheses).__name__}); expected a kernel "
        "k(A, B), a feature map with "
        "n_features, a GaussianProcessRegressor, an object with sample_y, an estimator "
        "with random_state, or a "
        "sampler(X_train, y_train, X_test, n_samples, rng)"
    )


def last_step(model: Any) -> Any:
    """Return the last step of a pipeline, which forwards what `predict` gets, or the model itself."""
    steps = getattr(model, "steps", None)
    return last_step(steps[-1][1]) if isinstance(steps, list) and steps else model


def _accepts_cov(model: Any) -> bool:
    try:
        return "return_cov" in inspect.signature(model.predict).parameters
    except (AttributeError, TypeError, ValueError):
        return False


def _binds(function: Any, count: int) -> bool:
    """Tell whether a callable takes `count` arguments; one without a signature counts as a kernel."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return count == 2
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def seed_names(estimator: Any) -> list[str]:
    """Return the parameters of an estimator, nested ones included, that are seeds."""
    if not hasattr(estimator, "get_params"):
        return []
    return [name for name in estimator.get_params(deep=True) if name.split("__")[-1] == "random_state"]


def sample_predictions(
    hypotheses: Any,
    kind: str,
    X: NDArray[Any],
    y: NDArray[Any],
    X_test: NDArray[Any],
    n_samples: int,
    rng: np.random.Generator,
) -> NDArray[Any]:
    """Return predictions of sampled hypotheses, shape (S, N, k)."""
    n, k = X_test.shape[0], y.shape[1]
    targets = y[:, 0] if k == 1 else y
    if kind == "sampler":
        drawn = as_float_array(
            hypotheses(X, targets, X_test, n_samples, rng), "the output of hypotheses", dtype=np.float64
        )
        allowed = [(n_samples, n, k)] + ([(n_samples, n)] if k == 1 else [])
        if drawn.shape not in allowed:
            raise ValueError(f"the sampler returned shape {drawn.shape}, expected {allowed[-1]}")
        return drawn.reshape(n_samples, n, k)
    if kind == "sample_y":
        model = copy.deepcopy(hypotheses)
        if hasattr(model, "fit"):
            model = model.fit(X, targets)
        seed = int(rng.integers(2**31))
        drawn = as_float_array(
            model.sample_y(X_test, n_samples, random_state=seed), "the output of sample_y", dtype=np.float64
        )
        if drawn.shape not in ((n, n_samples), (n, k, n_samples)):
            raise ValueError(f"sample_y returned shape {drawn.shape}, expected {(n, k, n_samples)}")
        return np.moveaxis(drawn.reshape(n, k, n_samples), 2, 0)
    from sklearn.base import clone

    predictions = np.empty((n_samples, n, k))
    names = seed_names(hypotheses)
    for i in range(n_samples):
        seeds = {name: int(rng.integers(2**31)) for name in names}
        values = clone(hypotheses).set_params(**seeds).fit(X, targets).predict(X_test)
        values = as_float_array(values, "the predictions of hypotheses", dtype=np.float64)
        if values.size != n * k:
            raise ValueError(f"hypotheses predicted shape {values.shape}, expected {(n, k)}")
        predictions[i] = values.reshape(n, k)
    return predictions
