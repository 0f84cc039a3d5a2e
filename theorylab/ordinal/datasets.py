"""Ordinal data: a real example that every user has, and the soup tasting data of the paper."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["load_diabetes_severity", "load_soup"]

_FACTORS: dict[str, tuple[str, ...]] = {
    "PROD": ("Ref", "Test"),
    "DAY": ("1", "2"),
    "SOUPTYPE": ("Self-made", "Canned", "Dry-mix"),
    "SOUPFREQ": (">1/week", "1-4/month", "<1/month"),
    "COLD": ("No", "Yes"),
    "EASY": tuple(str(level) for level in range(1, 11)),
    "GENDER": ("Male", "Female"),
    "AGEGROUP": ("18-30", "31-40", "41-50", "51-65"),
    "LOCATION": ("Region 1", "Region 2", "Region 3"),
}


def load_diabetes_severity(
    cuts: tuple[float, ...] = (100.0, 200.0, 300.0),
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return scikit-learn's diabetes data with the progression score cut into ordered classes.

    The score after one year is a real measurement of 442 patients; its cuts
    into classes are ours. The default makes four classes, the last of which is
    rare (14 patients).

    Parameters
    ----------
    cuts : tuple of float
        Increasing; class k holds the scores in ``(cuts[k - 1], cuts[k]]``.

    Returns
    -------
    X : ndarray, shape (442, 10)
        Age, sex, body mass index, blood pressure and six serum values, scaled
        as scikit-learn ships them.
    y : ndarray of int, shape (442,)

    Examples
    --------
    >>> X, y = load_diabetes_severity()
    >>> np.bincount(y).tolist()
    [148, 173, 107, 14]
    """
    from sklearn.datasets import load_diabetes

    X, score = load_diabetes(return_X_y=True)
    return np.asarray(X, dtype=np.float64), np.searchsorted(np.asarray(cuts, float), score).astype(np.int64)


def _find_soup(path: str | os.PathLike[str] | None) -> Path:
    """Return the file: an explicit path, then $THEORYLAB_DATA, then the user's cache folder."""
    if path is not None:
        places = [Path(path)]
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        places = [cache / "theorylab"]
        if os.environ.get("THEORYLAB_DATA"):
            places.insert(0, Path(os.environ["THEORYLAB_DATA"]))
    for place in places:
        for candidate in (place, place / "soup.csv"):
            if candidate.is_file():
                return candidate
    raise FileNotFoundError(
        f"soup.csv is not in {' or '.join(map(str, places))}: in R run "
        "write.csv(ordinal::soup, 'soup.csv', row.names = FALSE), then pass its path, or its folder as "
        "THEORYLAB_DATA"
    )


def load_soup(path: str | os.PathLike[str] | None = None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the soup tasting data as the paper uses them: 22 dummies and the reversed sureness scale.

    Parameters
    ----------
    path : path-like, optional
        The file or its folder. Default: the folder ``$THEORYLAB_DATA``, then
        ``theorylab`` in the user's cache folder.

    Returns
    -------
    X : ndarray, shape (1847, 22)
        Treatment-coded dummies of nine factors; the first level is the
        baseline.
    y : ndarray of int, shape (1847,)
        0..5 for sureness 6..1; class counts 869, 277, 98, 115, 260, 228.

    Raises
    ------
    FileNotFoundError
        With a sentence on how to obtain the file.
    ValueError
        If the file lacks a column of the soup data.

    Notes
    -----
    Data set ``soup`` of the R package ``ordinal`` (GPL >= 2), which is not
    part of this package; described by Christensen, Cleaver and Brockhoff (2011),
    Food Quality and Preference 22, 542-549.

    Examples
    --------
    The paper's analysis from end to end; the last class is the rarest end of the scale.

    >>> from theorylab.ordinal import PrestoClassifierCV, rare_class_scores
    >>> X, y = load_soup()  # doctest: +SKIP
    >>> train, test = slice(0, 1660), slice(1660, None)
    >>> model = PrestoClassifierCV(random_state=0).fit(X[train], y[train])  # doctest: +SKIP
    >>> p = model.predict_proba(X[test])[:, -1]  # doctest: +SKIP
    >>> rare_class_scores(y[test] == 5, p)  # doctest: +SKIP

    With a data frame of factors the same columns come from scikit-learn:
    ``make_pipeline(make_column_transformer((OneHotEncoder(drop="first"), factors)), PrestoClassifierCV())``.
    """
    source = _find_soup(path)
    with source.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        table: list[dict[str, Any]] = list(reader)
    missing = [name for name in (*_FACTORS, "SURENESS") if name not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f"{source} is not the soup data: it has no column {', '.join(missing)}")
    columns = [
        [float(row[name] == level) for row in table]
        for name, levels in _FACTORS.items()
        for level in levels[1:]
    ]
    y = np.array([6 - int(row["SURENESS"]) for row in table], dtype=np.int64)
    return np.array(columns).T.copy(), y
