"""The report is regenerated from stored results, and `--check` sees every drift that matters."""

import re

import pytest

from theorylab.validation import Claim, Within, grid
from theorylab.validation._discovery import claims_of, load_script
from theorylab.validation._report import check_report, write_report

from .scripts import write_mean


@pytest.fixture
def world(tmp_path):
    """Return (claims, store, report) with one stored result and a written report."""
    claims = claims_of(load_script(write_mean(tmp_path)))
    store, report = tmp_path / "store", tmp_path / "paper_repro.md"
    claims[0].run(store=store)
    report.write_text(
        "# Title\n\nProse by hand.\n\n<!-- claims:demo -->\n<!-- /claims:demo -->\n\nMore prose.\n"
    )
    assert write_report(claims, store, report) == []
    return claims, store, report


def test_prose_stays_and_the_block_is_filled(world):
    claims, store, report = world
    text = report.read_text()
    assert text.startswith("# Title\n\nProse by hand.\n")
    assert text.endswith("More prose.\n")
    assert "**CONFIRMED**" in text
    assert "![The mean of a uniform variable on [0, a] is a/2.](figures/demo.mean.svg)" in text
    assert check_report(claims, store, report) == []
    write_report(claims, store, report)
    assert report.read_text() == text


def test_nothing_volatile_is_in_the_block(world):
    _, _, report = world
    assert not re.search(r"\d+\.\d+ s\b|20\d\d-\d\d", report.read_text())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("CONFIRMED", "REFUTED", "the verdict reads"),
        ("calculus", "folklore", "the source reads"),
        ("a/2.", "a/3.", "the statement reads"),
        ("seed 0", "seed 1", "seed, level or figures differ"),
        ("a/3 (refuted)", "a/3 (confirmed)", "the controls reads"),
        ("±5%", "±50%", "the prediction reads"),
        (" | ", " ", "its row has"),
        ("**mean**", "**median**", "demo.mean is missing from the report"),
        ("claims:demo", "claims:other", "which has no claims"),
    ],
)
def test_drift_is_seen(world, old, new, message):
    claims, store, report = world
    assert old in report.read_text()
    report.write_text(report.read_text().replace(old, new))
    assert any(message in problem for problem in check_report(claims, store, report))


def test_numbers_may_differ_within_their_intervals_only(world):
    claims, store, report = world
    text = report.read_text()
    printed = re.search(r"\| (\S+) \[(\S+), (\S+)\] at", text)
    value, low, high = printed.groups()
    report.write_text(text.replace(f"{value} [{low}, {high}]", f"{float(value) * 1.001:.4g} [{low}, {high}]"))
    assert check_report(claims, store, report) == []
    far = [f"{2 * float(x):.4g}" for x in printed.groups()]
    report.write_text(text.replace(f"{value} [{low}, {high}]", f"{far[0]} [{far[1]}, {far[2]}]"))
    assert any("the results say" in problem for problem in check_report(claims, store, report))


def test_another_seed_agrees_within_intervals_but_is_told(world):
    claims, store, report = world
    claims[0].run(store=store, seed=5)
    problems = check_report(claims, store, report)
    assert len(problems) == 1
    assert "seed" in problems[0]


def test_last_digits_of_a_prediction_may_differ(world):
    claims, store, report = world
    text = report.read_text()
    predicted = re.search(r"\| (\S+) \(±5%\) \|", text)[1]
    report.write_text(text.replace(f"| {predicted} (", f"| {float(predicted) * 1.0004:.4f} ("))
    assert report.read_text() != text
    assert check_report(claims, store, report) == []


def test_any_statement_and_cell_fit_into_the_table(tmp_path):
    claim = Claim(
        "demo.odd",
        "A | b\r\nc \\| d \u2028 e.",
        "x \\",
        Within(abs=1, target=0.0),
        grid(a=["p|q\n", "r at s"]),
    )
    claim.measure(lambda a, rng: [0.0, 0.01 if "p" in a else 0.0])
    claim.run(store=tmp_path)
    report = tmp_path / "report.md"
    assert write_report([claim], tmp_path, report) == []
    assert "a=p\\|q |" in report.read_text()
    assert check_report([claim], tmp_path, report) == []


def test_missing_results_are_named_and_nothing_is_written(world, tmp_path):
    claims, _, report = world
    before = report.read_text()
    problems = write_report(claims, tmp_path / "empty", report)
    assert problems == ["no stored result for demo.mean; run `theorylab run demo.mean` first"]
    assert report.read_text() == before
    assert check_report(claims, tmp_path / "empty", tmp_path / "no.md")


def test_results_of_other_code_are_refused(world):
    claims, store, report = world
    script = claims[0].script
    script.write_text(script.read_text() + "\n# edited\n")
    assert check_report(claims, store, report) == [
        "the stored result of demo.mean is of other code; run `theorylab run demo.mean` again"
    ]


def test_a_block_without_end_is_told(world):
    claims, store, report = world
    report.write_text(report.read_text().replace("<!-- /claims:demo -->", ""))
    assert "lacks the line" in write_report(claims, store, report)[0]


def test_a_report_is_begun_where_there_is_none(world, tmp_path):
    claims, store, _ = world
    fresh = tmp_path / "away" / "paper_repro.md"
    assert write_report(claims, store, fresh) == []
    assert "## demo" in fresh.read_text()
    assert check_report(claims, store, fresh) == []
