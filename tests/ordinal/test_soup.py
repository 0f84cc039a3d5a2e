"""The paper's real data, where the file is found: values made by another program."""

from __future__ import annotations

import numpy as np
import pytest

from theorylab.ordinal import PrestoClassifier, ProportionalOddsClassifier, presto_path
from theorylab.ordinal.datasets import load_soup


@pytest.fixture(scope="module")
def soup():
    try:
        return load_soup()
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


def test_another_file_is_named(tmp_path):
    (tmp_path / "soup.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is not the soup data: it has no column PROD"):
        load_soup(tmp_path)


def test_counts(soup):
    X, y = soup
    assert X.shape == (1847, 22)
    assert np.bincount(y).tolist() == [869, 277, 98, 115, 260, 228]


def test_proportional_odds(soup):
    model = ProportionalOddsClassifier().fit(*soup)
    assert 1847 * model.objective_ == pytest.approx(2664.7455820562736, abs=1e-9)


def test_path(soup):
    X, y = soup
    path = presto_path(X, y)
    assert path.alpha_max == pytest.approx(0.16355239411805195, rel=1e-13)
    assert max(path.kkt.max(), path.dual_gap.max()) <= 1e-9
    table = {5: (1.4797048256983, 4, 0), 10: (1.4518717901995, 52, 0), 12: (1.4381631325813, 71, 46)}
    table[19] = (1.4072689429187, 104, 309)
    for i, (value, support, crossing) in table.items():
        assert path.objective[i] == pytest.approx(value, abs=1e-12)
        assert np.count_nonzero(np.abs(path.diff_coefs[i]) > 1e-12) == support
        assert path.n_crossing[i] == crossing


def test_order_enforced_on_all_rows(soup):
    X, y = soup
    path = presto_path(X, y, alphas=[0.0016355239411805])
    model = PrestoClassifier(0.0016355239411805, crossing="train").fit(X, y)
    assert model.n_crossing_ == 0
    assert path.objective[0] + 1e-3 < model.objective_ < path.objective[0] + 1e-2
    assert max(model.kkt_, model.dual_gap_) <= 1e-9
