"""Ordered classes: which labels there are, in which order, and the boundaries of absent ones."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["encode_labels", "ordered_logits", "present_classes", "spread_boundaries"]


def _declared_order(y: Any, class_order: Any) -> NDArray[Any] | None:
    """Return the declared classes: `class_order`, else those of an ordered Categorical, else None."""
    if class_order is not None:
        classes = np.asarray(class_order)
        if classes.ndim != 1 or len({*classes.tolist()}) != classes.size or classes.size < 2:
            raise ValueError(
                f"class_order must list at least 2 distinct labels from low to high, got {class_order!r}"
            )
        return classes
    if getattr(y, "ndim", 1) == 2 and hasattr(y, "dtypes") and y.shape[1] == 1:
        dtype = y.dtypes.iloc[0]  # a data frame of one column
    else:
        dtype = getattr(y, "dtype", None)
    categories = getattr(dtype, "categories", None)
    if getattr(dtype, "ordered", False) and categories is not None:
        return np.asarray(categories)
    return None


def _is_missing(label: Any) -> bool:
    """Tell whether an object is None, NaN or a missing value of pandas."""
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(label, (float, np.floating)) and bool(np.isnan(label))


def encode_labels(
    y: Any, class_order: Any, used: NDArray[np.bool_] | None = None
) -> tuple[NDArray[Any], Any]:
    """Return the classes in order and the code 0..K-1 of each row.

    Without a declared order the classes are the sorted labels of the rows that are `used`; text labels then
    draw a warning, because "high" sorts before "low". Unused rows may get any code.
    """
    from sklearn.utils import column_or_1d
    from sklearn.utils.multiclass import check_classification_targets

    classes = _declared_order(y, class_order)
    labels = np.asarray(column_or_1d(y, warn=True))
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError("Input y contains NaN or infinity.")
    if labels.dtype.kind == "O" and any(map(_is_missing, labels)):
        raise ValueError("Input y contains NaN.")
    if classes is None:
        check_classification_targets(labels)
        classes = np.unique(labels if used is None else labels[used])
        if classes.dtype.kind in "US" or any(isinstance(label, str) for label in classes):
            warnings.warn(
                f"text labels are ordered alphabetically, as {classes.tolist()}; pass class_order=[...] from "
                "low to high, or a pandas ordered Categorical",
                UserWarning,
                stacklevel=4,
            )
        codes = np.searchsorted(classes, labels)
        return classes, np.minimum(codes, classes.size - 1)
    place = {label: code for code, label in enumerate(classes.tolist())}
    codes = np.array([place.get(label, -1) for label in labels.tolist()], dtype=np.int64)
    if (codes < 0).any():
        unknown = labels[np.argmax(codes < 0)]
        raise ValueError(
            f"y contains the label {unknown!r}, which class_order {classes.tolist()} does not list"
        )
    return classes, codes


def present_classes(codes: NDArray[Any], classes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the codes that occur and the rows recoded to them; warn where a declared class is absent."""
    present, recoded = np.unique(codes, return_inverse=True)
    if present.size < 2:
        raise ValueError(
            "This solver needs samples of at least 2 classes in the data, but the data contains only one "
            f"class: {classes[present[0]] if present.size else None!r}"
        )
    if present.size < classes.size:
        absent = [label for code, label in enumerate(classes.tolist()) if code not in present]
        warnings.warn(
            f"no sample of the declared classes {absent}: their boundaries are merged with their "
            "neighbours' and their predicted probability is 0",
            UserWarning,
            stacklevel=4,
        )
    return present, recoded


def spread_boundaries(
    intercepts: NDArray[Any], coefs: NDArray[Any], present: NDArray[Any], n_classes: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Turn the boundaries between present classes into those between all declared classes."""
    if present.size == n_classes:
        return intercepts, coefs
    below = np.searchsorted(present, np.arange(n_classes - 1), side="right")  # present classes at or below
    source = np.clip(below - 1, 0, present.size - 2)
    alpha, beta = intercepts[..., source].copy(), coefs[..., source, :].copy()
    alpha[..., below == 0] = -np.inf
    alpha[..., below == present.size] = np.inf
    return alpha, beta


def ordered_logits(logits: NDArray[Any], intercepts: NDArray[Any], coefs: NDArray[Any]) -> NDArray[Any]:
    """Return the cumulative logits (n, K - 1) sorted along each row; merged boundaries stay together.

    An absent class lies between two equal boundaries. Where others cross, sorting all of them could part the
    two and give the class a probability.
    """
    moved = (np.diff(coefs, axis=0) != 0.0).any(axis=1) | (intercepts[1:] != intercepts[:-1])
    own = np.concatenate(([True], moved))
    if own.all():
        return np.sort(logits, axis=1)
    return np.sort(logits[:, own], axis=1)[:, np.cumsum(own) - 1]
