"""The command line prints what the functions return."""

import json

import numpy as np
import pytest

from theorylab.dmft import PolynomialTask, QuadraticNetwork, dmft_solve
from theorylab.grokking.__main__ import main

MODULAR = "modular --p 5 --fraction 1 --width 6 --seed 0"


def test_theory_as_json(capsys):
    line = "dmft --nu 8 --alpha 1 --eps 0.3 --steps 5 --samples 100 --seed 3 --json"
    assert main(line.split()) == 0
    told = json.loads(capsys.readouterr().out)
    r = dmft_solve(QuadraticNetwork(np.inf, 1.0, 0.3), PolynomialTask(8.0), 0.1, 5, 0.3, n_samples=100, rng=3)
    assert told["test_loss"] == r.test_loss.tolist()
    assert told["step"] == [0, 1, 2, 3, 4]


def test_training_as_a_table(capsys):
    assert main(MODULAR.split() + ["--epochs", "10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["epoch", "train_loss", "train_accuracy", "test_accuracy"]
    assert len(lines) == 3
    assert main(MODULAR.split() + ["--epochs", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_accuracy"] == [None]


def test_bad_input_is_told(capsys):
    with pytest.raises(SystemExit):
        main(["dmft", "--nu", "-1"])
    assert "nu must lie" in capsys.readouterr().err
