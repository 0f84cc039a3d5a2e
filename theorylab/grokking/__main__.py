"""Command line: ``python -m theorylab.grokking dmft --nu 8 --alpha 0.3 --eps 0.3 --json``."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    """Describe the commands."""
    top = argparse.ArgumentParser(prog="python -m theorylab.grokking", description="Grokking in numbers.")
    commands = top.add_subparsers(dest="command", required=True)
    dmft = commands.add_parser("dmft", help="solve the mean field theory of an infinitely wide network")
    dmft.add_argument("--nu", type=float, required=True, help="samples per dimension")
    dmft.add_argument("--alpha", type=float, default=1.0, help="output scale (large: lazy)")
    dmft.add_argument("--eps", type=float, default=0.3, help="curvature of the activation")
    dmft.add_argument("--kappa", type=float, default=0.1, help="step size")
    dmft.add_argument("--steps", type=int, default=60, help="number of reported times")
    dmft.add_argument("--spike", type=float, default=0.3, help="initial overlap with the target")
    dmft.add_argument("--offset", type=float, default=0.0, help="offset of the target")
    dmft.add_argument("--noise", type=float, default=0.0, help="standard deviation of the label noise")
    dmft.add_argument("--samples", type=int, default=1000, help="sampled data points")
    dmft.add_argument("--center", action="store_true", help="subtract the initial output")
    dmft.add_argument("--seed", type=int, default=None)
    modular = commands.add_parser("modular", help="train on sums modulo p")
    modular.add_argument("--p", type=int, default=31, help="modulus")
    modular.add_argument("--width", type=int, default=150, help="hidden neurons")
    modular.add_argument("--fraction", type=float, default=0.6, help="share of the table to train on")
    modular.add_argument("--corruption", type=float, default=0.0, help="share of redrawn labels")
    modular.add_argument("--weight-decay", type=float, default=1.0)
    modular.add_argument("--epochs", type=int, default=200)
    modular.add_argument("--seed", type=int, default=None)
    for command in (dmft, modular):
        command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and print its curves.

    Examples
    --------
    >>> main(["modular", "--p", "5", "--width", "8", "--epochs", "0", "--seed", "0"])
    epoch train_loss train_accuracy test_accuracy
    0 ... ... ...
    0
    """
    top = parser()
    options = top.parse_args(arguments)
    try:
        table = _dmft(options) if options.command == "dmft" else _modular(options)
    except (ValueError, MemoryError) as error:
        top.error(str(error))
    if options.json:
        # JSON knows no NaN.
        clean = {k: [None if math.isnan(v) else v for v in values] for k, values in table.items()}
        print(json.dumps(clean))
    else:
        print(*table)
        for row in zip(*table.values()):
            print(*(f"{value:.6g}" for value in row))
    return 0


def _dmft(options: argparse.Namespace) -> dict[str, list[float]]:
    """Solve the theory."""
    from theorylab.dmft import PolynomialTask, QuadraticNetwork, dmft_solve

    spec = QuadraticNetwork(math.inf, options.alpha, options.eps, center=options.center)
    task = PolynomialTask(options.nu, noise=options.noise, offset=options.offset)
    result = dmft_solve(
        spec, task, options.kappa, options.steps, options.spike, n_samples=options.samples, rng=options.seed
    )
    return {
        "step": list(range(options.steps)),
        "train_loss": result.train_loss.tolist(),
        "test_loss": result.test_loss.tolist(),
    }


def _modular(options: argparse.Namespace) -> dict[str, list[float]]:
    """Train on sums modulo p."""
    from theorylab.grokking import modular_dataset, train_modular

    data = modular_dataset(options.p, options.fraction, options.corruption, options.seed)
    run = train_modular(
        data, options.width, options.epochs, weight_decay=options.weight_decay, rng=options.seed
    )
    return {
        "epoch": run.epochs.tolist(),
        "train_loss": run.train_loss.tolist(),
        "train_accuracy": run.train_accuracy.tolist(),
        "test_accuracy": run.test_accuracy.tolist(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
