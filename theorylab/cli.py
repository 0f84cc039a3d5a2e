"""The ``theorylab`` command: list, run, report, bench, warmup.

Exit codes: 0 where every verdict is the expected one (a refutation that a claim
records honestly, with its reason, is expected), 1 otherwise, 2 for wrong usage,
130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ._version import __version__

__all__ = ["main"]

_EXIT_CODES = (
    "exit codes: 0 all confirmed, or refuted as recorded with a reason; "
    "1 otherwise; 2 wrong usage; 130 interrupted"
)


def _parser() -> argparse.ArgumentParser:
    from .validation._script import add_run_options

    parser = argparse.ArgumentParser(
        prog="theorylab", description="Run the validations of theorylab.", epilog=_EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"theorylab {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    pattern = "system, part of a claim's id, glob, or path of a script (default: all claims)"

    listing = commands.add_parser("list", help="list the claims")
    listing.add_argument("patterns", nargs="*", metavar="PATTERN", help=pattern)

    run = commands.add_parser("run", help="put claims against simulation", epilog=_EXIT_CODES)
    run.add_argument("patterns", nargs="*", metavar="PATTERN", help=pattern)
    run.add_argument("--headline", action="store_true", help="only the headline claims, the main job")
    add_run_options(run)

    report = commands.add_parser("report", help="rewrite the generated blocks of paper_repro.md")
    report.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 where report and results differ"
    )
    report.add_argument(
        "--store", type=Path, default=Path(".theorylab"), metavar="DIR", help="folder of results"
    )
    report.add_argument("--file", type=Path, default=Path("paper_repro.md"), help="the report")

    bench = commands.add_parser(
        "bench", help="time our kernels against their peers, alternating (source tree only)"
    )
    bench.add_argument("patterns", nargs="*", metavar="PATTERN", help="part of a benchmark's file name")

    commands.add_parser("warmup", help="compile the kernels into the cache")
    return parser


def _select(patterns: Sequence[str]) -> tuple[list, list[str]]:
    """Return the chosen claims and the sentences about scripts that could not be loaded."""
    from .validation._discovery import builtin_scripts, collect, select

    paths = [Path(p) for p in patterns if p.endswith(".py")]
    names = [p for p in patterns if not p.endswith(".py")]
    for path in paths:
        if not path.is_file():
            raise LookupError(f"there is no script {path}")
    own = collect(paths)
    chosen, broken = list(own.claims), list(own.broken)
    if names or not paths:
        builtin = collect(builtin_scripts())
        taken = {claim.id for claim in chosen}
        others = [claim for claim in builtin.claims if claim.id not in taken]
        chosen += [claim for claim in select([*others, *own.claims], names) if claim.id not in taken]
        broken += builtin.broken
    return chosen, broken


def _list(options: argparse.Namespace) -> int:
    claims, broken = _select(options.patterns)
    for claim in claims:
        mark = "*" if claim.headline else " "
        print(f"{mark} {claim.id:<44} {claim.statement}\n  {'':<44} {claim.source}")
    print(f"{len(claims)} claims; * belongs to the main job, `theorylab run --headline`")
    for sentence in broken:
        print(f"theorylab: {sentence}", file=sys.stderr)
    return int(bool(broken))


def _run(options: argparse.Namespace) -> int:
    from .validation._script import prints_aside, run_and_show

    with prints_aside(options.json):
        claims, broken = _select(options.patterns)
    if options.headline:
        claims = [claim for claim in claims if claim.headline]
    if not claims and not broken:
        raise LookupError("no claim to run; `theorylab list` shows them all")
    return run_and_show(claims, options, broken=broken)


def _report(options: argparse.Namespace) -> int:
    from .validation._report import check_report, write_report

    claims, broken = _select([])
    function = check_report if options.check else write_report
    problems = [*broken, *function(claims, options.store, options.file)]
    for problem in problems:
        print(f"theorylab: {problem}", file=sys.stderr)
    if not problems:
        print(f"{options.file} {'agrees with' if options.check else 'written from'} {len(claims)} results")
    return int(bool(problems))


def _bench(options: argparse.Namespace) -> int:
    folder = Path(__file__).resolve().parents[1] / "benchmarks"
    scripts = [
        path
        for path in sorted(folder.glob("bench_*.py"))
        if not options.patterns or any(p in path.stem for p in options.patterns)
    ]
    if not scripts:
        raise LookupError(
            f"no benchmark in {folder} matches; benchmarks come with the source tree, not with the wheel"
        )
    return max(subprocess.run([sys.executable, str(path)], check=False).returncode for path in scripts)


def _warmup(options: argparse.Namespace) -> int:
    from . import _SUBPACKAGES

    for name in _SUBPACKAGES:
        # A package with kernels has a module that calls each of them once.
        if not (Path(__file__).parent / name / "_warmup.py").exists():
            continue
        start = time.perf_counter()
        importlib.import_module(f"theorylab.{name}._warmup").warmup()
        print(f"{name:<20} {time.perf_counter() - start:5.1f} s", flush=True)
    return 0


_COMMANDS = {"list": _list, "run": _run, "report": _report, "bench": _bench, "warmup": _warmup}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments, those of the process by default.
    """
    from .validation._script import plain_output

    options = _parser().parse_args(argv)
    try:
        with plain_output():
            return _COMMANDS[options.command](options)
    except LookupError as error:
        print(f"theorylab: {error.args[0]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
