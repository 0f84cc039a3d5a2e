"""Run claims for a person or a machine who watches: options, progress, lines, exit code."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from .._version import __version__
from ._claim import Claim
from ._discovery import loading, repeated
from ._present import format_percent, headline, table
from ._report import summary
from ._result import Result
from ._runner import stream_results
from ._store import StoreError, read_json, write_json
from ._verdict import Verdict

__all__ = ["add_run_options", "main", "plain_output", "prints_aside", "run_and_show", "run_script"]

_STYLES = {
    Verdict.CONFIRMED: "bold green",
    Verdict.REFUTED: "bold red",
    Verdict.INCONCLUSIVE: "bold yellow",
    Verdict.VOID: "bold magenta",
    Verdict.ERROR: "bold red",
}
#: Up to this many claims are shown with all their cells.
_FEW = 3


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer, got {text!r}") from None


def _count(text: str) -> int:
    number = _integer(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _seed(text: str) -> int:
    number = _integer(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {number}")
    return number


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``theorylab run`` and each script share."""
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument(
        "--quick", dest="scale", action="store_const", const="quick", help="quick size (default)"
    )
    scale.add_argument("--full", dest="scale", action="store_const", const="full", help="full size")
    parser.set_defaults(scale="quick")
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="S", help="seed of all random streams (default 0)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", type=_count, default=1, metavar="N", help="worker processes (default 1)")
    where.add_argument("--dask", metavar="ADDRESS", help="scheduler of a dask.distributed cluster")
    parser.add_argument("--resume", action="store_true", help="do not redo what is stored under the same key")
    parser.add_argument(
        "--store", type=Path, default=Path(".theorylab"), metavar="DIR", help="folder of results"
    )
    parser.add_argument(
        "--figures", type=Path, default=Path("figures"), metavar="DIR", help="folder of figures"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a claim")


def run_script(claims: Sequence[Claim], argv: Sequence[str] | None = None) -> int:
    """Run the claims of one script and return the exit code."""
    parser = argparse.ArgumentParser(description=claims[0].statement if len(claims) == 1 else None)
    add_run_options(parser)
    first = list({claim.id: claim for claim in reversed(claims)}.values())[::-1]
    with plain_output():
        return run_and_show(first, parser.parse_args(argv), details=True, broken=repeated(claims))


def main(argv: Sequence[str] | None = None) -> None:
    """Run all claims that stand at the module level of the calling script, and exit.

    Nothing happens while the script is imported for its claims only, by a
    worker process or by ``theorylab run``. Use it as the last line of a script with several claims::

        if __name__ == "__main__":
            main()
    """
    claims = [value for value in sys._getframe(1).f_globals.values() if isinstance(value, Claim)]
    if not claims:
        raise SystemExit("this script declares no claim at its module level")
    if not loading():
        raise SystemExit(run_script(list(dict.fromkeys(claims)), argv))


# Showing ------------------------------------------------------------------------------------


def prints_aside(as_json: bool) -> contextlib.AbstractContextManager[Any]:
    """Send what scripts print to stderr where stdout is for machines."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()


@contextlib.contextmanager
def plain_output() -> Iterator[None]:
    """Replace letters that the output's encoding lacks, and end quietly where the reader went away."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


@contextlib.contextmanager
def _progress(
    claims: Sequence[Claim], scale: str, enabled: bool
) -> Iterator[Callable[[Claim, int, int], None]]:
    """Show a bar over all cells with the remaining time, or nothing where nobody watches."""
    if not enabled:
        yield lambda claim, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        job = bar.add_task("simulating", total=sum(claim.n_cells(scale) for claim in claims))
        seen: dict[str, int] = {}

        def advance(claim: Claim, done: int, total: int) -> None:
            bar.update(job, advance=done - seen.get(claim.id, 0), description=claim.id)
            seen[claim.id] = done

        yield advance


def _line(result: Result) -> str:
    """Return the two lines that sum a claim up."""
    mark = " as recorded" if result.as_expected and result.claim.expected == "refuted" else ""
    closing = f"margin {format_percent(result.margin):>5}  {result.seconds:6.1f} s"
    return (
        f"{result.verdict.name + mark:<20} {result.claim.id:<44} {closing}\n{'':<20} {result.claim.statement}"
    )


def _record(result: Result, figure: Path | None) -> dict[str, Any]:
    """Return the JSON line of a claim."""
    stored = summary(result)
    claim = result.claim
    keys = ("id", "verdict", "margin", "level", "scale", "seed", "seconds", "samples", "controls")
    record = {key: stored[key] for key in keys}
    record |= {"statement": claim.statement, "source": claim.source, "expected": claim.expected}
    return record | {"figure": str(figure) if figure else None, "errors": stored["errors"]}


class _Printer:
    """Print results as JSON, as tables, or as two lines each; failures are always expanded."""

    def __init__(self, as_json: bool, details: bool) -> None:
        self.as_json = as_json
        self.details = details
        self.shown = 0
        self.out = sys.stdout
        from rich.console import Console

        self.console = Console(soft_wrap=True, highlight=False)

    def show(self, result: Result, figure: Path | None) -> None:
        self.shown += 1
        if self.as_json:
            print(json.dumps(_record(result, figure)), file=self.out, flush=True)
            return
        text = table(result) if self.details or not result.as_expected else _line(result)
        from rich.text import Text

        styled = Text(text)
        styled.highlight_regex(rf"\b{result.verdict.name}\b", _STYLES[result.verdict])
        styled.highlight_regex(rf"^{result.claim.id}", "bold")
        if self.details and figure:
            styled.append(f"\n  {figure}", "dim")
        self.console.print(styled)

    def say(self, text: str) -> None:
        print(text, file=sys.stderr if self.as_json else sys.stdout, flush=True)


def run_and_show(
    claims: Sequence[Claim], options: argparse.Namespace, *, details: bool = False, broken: Sequence[str] = ()
) -> int:
    """Run claims, show and draw each result, and return the exit code.

    0 where every verdict is the expected one, 1 otherwise, 130 after Ctrl-C.
    """
    printer = _Printer(options.json, details or len(claims) <= _FEW)
    results: list[Result] = []
    problems = list(broken)
    interrupted = False
    try:
        with _progress(claims, options.scale, enabled=sys.stderr.isatty() and not options.json) as advance:
            stream = stream_results(
                claims, scale=options.scale, seed=options.seed, workers=options.workers, dask=options.dask,
                store=options.store, resume=options.resume, on_progress=advance,
            )  # fmt: skip
            with prints_aside(options.json), contextlib.closing(stream):  # type: ignore[type-var]
                for result in stream:
                    results.append(result)
                    printer.show(result, _draw(result, options.figures, problems))
        _write_manifest(options.store, results)
    except KeyboardInterrupt:
        interrupted = True
        for result in results[printer.shown :]:
            printer.show(result, None)
    except (StoreError, ImportError, OSError) as error:
        problems.append(str(error))
    for problem in problems:
        print(f"theorylab: {problem}", file=sys.stderr)
    printer.say(_tally(claims, results, options, interrupted))
    if interrupted:
        return 130
    return int(bool(problems) or len(results) < len(claims) or not all(r.as_expected for r in results))


def _draw(result: Result, folder: Path, problems: list[str]) -> Path | None:
    """Draw the figure; a failure is a problem to report, not the end of the run."""
    try:
        return result.draw(folder)
    except (Exception, SystemExit) as error:
        problems.append(f"the figure of {result.claim.id} failed: {type(error).__name__}: {error}")
        return None


def _tally(
    claims: Sequence[Claim], results: Sequence[Result], options: argparse.Namespace, interrupted: bool
) -> str:
    counts: dict[str, int] = {}
    for result in results:
        word = result.verdict.name.lower()
        word += " as recorded" if result.claim.expected == "refuted" and result.as_expected else ""
        counts[word] = counts.get(word, 0) + 1
    what = ", ".join(f"{n} {word}" for word, n in counts.items()) or "none judged"
    text = f"{len(results)} of {len(claims)} claims: {what}"
    if interrupted:
        return text + f"; interrupted, go on with --resume (results in {options.store})"
    return text + f". Figures in {options.figures}, results in {options.store}."


def _write_manifest(store: Path, results: Sequence[Result]) -> None:
    """Keep what is volatile apart from the results: versions, machine, durations."""
    manifest = read_json(store / "manifest.json") or {}
    packages = ("numpy", "scipy", "numba", "scikit-learn", "matplotlib")
    manifest["versions"] = {"theorylab": __version__, "python": platform.python_version()} | {
        name: _version(name) for name in packages
    }
    manifest["commit"] = _commit()
    manifest["machine"] = {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
    }
    claims = manifest.setdefault("claims", {})
    for result in results:
        claims[result.claim.id] = {
            "seconds": round(result.seconds, 3), "scale": result.scale, "seed": result.seed,
            "verdict": result.verdict.name, "closing": headline(result),
        }  # fmt: skip
    write_json(store / "manifest.json", manifest)


def _commit() -> str | None:
    """Return the commit of the source tree that runs, None for an installed package."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
