"""Figures are drawn from stored results, to the same bytes, without touching the reader's settings."""

import matplotlib as mpl
import numpy as np
import pytest

from theorylab.validation import Claim, Exact, StoreError, grid
from theorylab.validation._discovery import claims_of, load_script

from .scripts import write_mean


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    (claim,) = claims_of(load_script(write_mean(tmp_path_factory.mktemp("figures"))))
    return claim.run()


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_same_bytes_twice(result, tmp_path, suffix):
    result.claim.figure_file = f"demo.{suffix}"
    first = result.draw(tmp_path / "a").read_bytes()
    assert result.draw(tmp_path / "b").read_bytes() == first


def test_the_plotted_numbers_are_the_results(result):
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    result.claim.draw(ax, result)
    simulation = ax.containers[0]
    np.testing.assert_array_equal(simulation.lines[0].get_ydata(), result.estimate)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), result.prediction)
    assert simulation.get_label() == "simulation"
    assert ax.containers[1].get_label() == "control: squared"


def test_settings_of_the_reader_stay(result, tmp_path):
    before = dict(mpl.rcParams)
    result.draw(tmp_path)
    assert dict(mpl.rcParams) == before


def test_no_figure_declared_gives_none(tmp_path):
    claim = Claim("demo.plain", "s", "s", Exact(), grid())
    claim.measure(lambda rng: 0.0)
    assert claim.run().draw(tmp_path) is None


def test_bad_file_and_folder_are_told(result, tmp_path):
    result.claim.figure_file = "demo.gif"
    with pytest.raises(ValueError, match="svg, png or pdf"):
        result.draw(tmp_path)
    result.claim.figure_file = "demo.svg"
    (tmp_path / "taken").write_text("")
    with pytest.raises(StoreError, match="cannot write to"):
        result.draw(tmp_path / "taken")
