"""Scores for rare and ordered classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theorylab._lib.checks import as_float_array, check_choice, check_int, check_shape

__all__ = ["RareClassScores", "calibration_error", "rare_class_scores"]

FloatArray = NDArray[np.float64]


def _events(event: ArrayLike, probability: ArrayLike) -> tuple[FloatArray, FloatArray]:
    p = as_float_array(probability, "probability", ndim=1, dtype=np.float64)
    e = as_float_array(event, "event", ndim=1, dtype=np.float64)
    check_shape(e, p.shape, "event", "to match probability")
    if p.size == 0:
        raise ValueError("event and probability are empty, expected at least one row")
    if ((e != 0) & (e != 1)).any():
        raise ValueError("event must hold 0 and 1 only; pass y == rare_label")
    if (p < 0).any() or (p > 1).any():
        raise ValueError("probability must lie in [0, 1]")
    return e, p


def calibration_error(
    event: ArrayLike, probability: ArrayLike, *, n_bins: int | None = None, pairing: str = "row"
) -> float:
    """Return the squared calibration error over equal-frequency bins.

    Parameters
    ----------
    event : array_like of 0 and 1, shape (n,)
    probability : array_like, shape (n,)
    n_bins : int, optional
        Default ``max(round(n / 100), 10)``, at most n.
    pairing : {"row", "as-published"}
        "row" compares each prediction with the event rate of its own bin.
        "as-published" compares the unsorted predictions with the rates of the
        sorted bins, as the paper's figures do; it is kept for comparison only.

    Returns
    -------
    float
        Mean over rows of (prediction - event rate of the bin)^2.

    Notes
    -----
    Ties keep their order (stable sort). O(n log n).

    Examples
    --------
    >>> p = np.repeat([0.2, 0.8], 50)
    >>> event = np.tile([1, 0, 0, 0, 0], 20) ^ (p > 0.5)
    >>> round(calibration_error(event, p, n_bins=2), 12)
    0.0
    """
    e, p = _events(event, probability)
    check_choice(pairing, "pairing", ("row", "as-published"))
    n = p.size
    bins = max(round(n / 100), 10) if n_bins is None else check_int(n_bins, "n_bins", low=1)
    order = np.argsort(p, kind="stable")
    rate = np.empty(n)
    start = 0
    for part in np.array_split(e[order], min(bins, n)):
        rate[start : start + part.size] = part.mean()
        start += part.size
    predicted = p[order] if pairing == "row" else p
    return float(np.mean((predicted - rate) ** 2))


@dataclass(frozen=True)
class RareClassScores:
    """Scores of the predicted probability of one class against the rest.

    Attributes
    ----------
    log_loss, brier : float
        Mean losses.
    auc, average_precision : float
        NaN where only one outcome occurs.
    calibration_in_the_large : float
        Mean prediction minus event rate.
    calibration_error : float
    """

    log_loss: float
    brier: float
    auc: float
    average_precision: float
    calibration_in_the_large: float
    calibration_error: float


def rare_class_scores(event: ArrayLike, probability: ArrayLike) -> RareClassScores:
    """Score predicted probabilities of a rare class.

    Parameters
    ----------
    event : array_like of 0 and 1, shape (n,)
        ``y == rare_label``.
    probability : array_like, shape (n,)

    Returns
    -------
    RareClassScores
        The log-loss clips probabilities at 1e-15. O(n log n).

    Examples
    --------
    >>> rare_class_scores([0, 0, 1, 0], [0.1, 0.2, 0.7, 0.1]).auc
    1.0
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    e, p = _events(event, probability)
    both = 0 < e.sum() < e.size
    clipped = np.clip(p, 1e-15, 1 - 1e-15)
    return RareClassScores(
        log_loss=float(-np.mean(np.where(e == 1, np.log(clipped), np.log1p(-clipped)))),
        brier=float(np.mean((p - e) ** 2)),
        auc=float(roc_auc_score(e, p)) if both else float("nan"),
        average_precision=float(average_precision_score(e, p)) if both else float("nan"),
        calibration_in_the_large=float(p.mean() - e.mean()),
        calibration_error=calibration_error(e, p),
    )


def multiclass_losses(probability: Any, codes: NDArray[Any], kind: str) -> FloatArray:
    """Return the Brier score or log-loss of each row; `probability` is (..., n, K)."""
    own = np.take_along_axis(
        probability, np.broadcast_to(codes[:, None], (*probability.shape[:-1], 1)), axis=-1
    )
    own = own[..., 0]
    if kind == "log_loss":
        return np.asarray(-np.log(np.clip(own, 1e-15, 1.0)))
    return np.asarray(np.sum(probability**2, axis=-1) - 2.0 * own + 1.0)
