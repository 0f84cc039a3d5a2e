"""The command: what it prints, and its exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from theorylab.cli import main

from .validation.scripts import write_mean

KEYS = {
    "id", "statement", "source", "verdict", "expected", "margin", "level", "scale", "seed", "seconds",
    "samples", "controls", "figure",
}  # fmt: skip


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_mean(tmp_path)


def test_run_prints_a_table_draws_and_stores(script, capsys):
    assert main(["run", str(script)]) == 0
    out = capsys.readouterr().out
    assert "CONFIRMED" in out
    assert "1 of 1 claims: 1 confirmed. Figures in figures, results in .theorylab." in out
    assert Path("figures/demo.mean.svg").exists()
    manifest = json.loads(Path(".theorylab/manifest.json").read_text())
    assert manifest["claims"]["demo.mean"]["verdict"] == "CONFIRMED"
    assert manifest["versions"]["numpy"]


def test_json_lines_have_the_promised_keys(script, capsys):
    assert main(["run", str(script), "--json", "--seed", "3", "--full"]) == 0
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    record = json.loads(line)
    assert record.keys() >= KEYS
    assert (record["seed"], record["scale"]) == (3, "full")
    assert record["controls"] == [{"name": "squared", "verdict": "REFUTED"}]
    assert Path(record["figure"]).exists()
    assert "1 of 1 claims" in err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_scripts_print_does_not_come_between_json_lines(tmp_path, workers):
    script = write_mean(tmp_path, before="print('simulating')", id="plain-Name")
    script.write_text(script.read_text() + "\nprint('imported')\n")
    command = [sys.executable, "-m", "theorylab", "run", script.name, "--json", "--workers", workers]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["id"] == "plain-Name"
    assert "imported" in done.stderr
    assert "simulating" in done.stderr


def test_a_pattern_may_name_claims_of_scripts_that_are_given(script, capsys):
    assert main(["run", str(script), "demo.mean", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_store_and_figures_go_where_they_are_told(script, tmp_path):
    assert main(["run", str(script), "--store", "s", "--figures", "f", "--json"]) == 0
    assert list(Path("s").rglob("*.npz"))
    assert list(Path("f").iterdir())
    assert not Path(".theorylab").exists()


def test_a_refuted_claim_gives_1(script, capsys):
    script.write_text(script.read_text().replace("return a / 2", "return a / 3"))
    assert main(["run", str(script)]) == 1
    assert "VOID" in capsys.readouterr().out  # its control is true now


def test_a_recorded_refutation_gives_0(script, capsys):
    text = script.read_text().replace("return a / 2", "return a / 4")
    script.write_text(
        text.replace('source="calculus",', 'source="calculus", expected="refuted", reason="wrong",')
    )
    assert main(["run", str(script)]) == 0
    assert "1 refuted as recorded" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nosuch"], ["nosuch.py"]])
def test_unknown_claims_give_2(arguments, capsys):
    assert main(["run", *arguments]) == 2
    assert "nosuch" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["run", "--quick", "--full"], ["run", "--seed", "-1"], ["run", "--workers", "0"], []]
)
def test_wrong_usage_gives_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_a_broken_script_is_told_and_the_others_run(script, tmp_path, capsys):
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_of_that_name\n")
    assert main(["run", str(broken), str(script)]) == 1
    out, err = capsys.readouterr()
    assert "demo.mean" in out
    assert "cannot load" in err
    assert "nothing_of_that_name" in err


def test_list_names_the_builtin_claims(capsys):
    assert main(["list"]) == 0
    assert "claims; * belongs to the main job" in capsys.readouterr().out


def test_report_without_results_says_what_to_do(script, capsys):
    code = main(["report", "--check"])
    assert code == 1
    assert "theorylab" in capsys.readouterr().err


def test_bench_with_an_unknown_pattern_gives_2(capsys):
    assert main(["bench", "nosuch"]) == 2


def test_script_runs_by_itself_from_any_folder(script, tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    done = subprocess.run(
        [sys.executable, str(script), "--workers", "2"],
        cwd=away,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "CONFIRMED" in done.stdout
    assert (away / "figures" / "demo.mean.svg").exists()


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("theorylab ")


def test_output_survives_a_poor_encoding_and_a_reader_who_leaves(script):
    command = [sys.executable, "-m", "theorylab", "run", str(script)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "inside ?5%" in done.stdout
    left = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    left.stdout.close()
    assert left.stderr.read() in ("", "theorylab: [Errno 32] Broken pipe\n")
    assert left.wait() == 1
    left.stderr.close()


def test_warmup_compiles_every_package(capsys):
    assert main(["warmup"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [
        "curvature",
        "dmft",
        "grokking",
        "inductive_bias",
        "infinite_width",
        "ordinal",
        "poisson",
    ]
