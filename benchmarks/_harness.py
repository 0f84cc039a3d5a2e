"""Time our code against a peer in alternating pairs, in one run.

Timings in blocks drift with whatever else the machine does; alternating pairs
share it. What is reported is the median of the paired ratios with its exact
interval, the accuracy that both sides reached (a faster wrong answer is no
win), the first call apart (it includes compilation), the number of threads,
and the fraction of a ceiling that is measured in the same run.
"""

from __future__ import annotations

import gc
import json
import math
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from theorylab._lib.threads import limit_threads

HERE = Path(__file__).resolve().parent
_CONFIDENCE = 0.95


@dataclass
class Row:
    """One comparison."""

    label: str
    peer: str
    threads: int
    ours_s: float
    peer_s: float | None
    ratio: float | None
    low: float | None
    high: float | None
    first_call_s: float
    accuracy: str = ""
    roofline: str = ""
    target: str = ""


def _clock(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def median_interval(ratios: list[float]) -> tuple[float, float, float]:
    """Return the median and the interval between two order statistics that covers it with 95 %."""
    x = sorted(ratios)
    n = len(x)
    k = 0
    # The number of samples below the median is binomial(n, 1/2).
    while 2 * sum(math.comb(n, j) for j in range(k + 1)) / 2**n <= 1 - _CONFIDENCE and k + 1 < n / 2:
        k += 1
    k = max(0, k - 1)
    return float(np.median(x)), x[k], x[n - 1 - k]


@dataclass
class Benchmark:
    """The comparisons of one system.

    Parameters
    ----------
    system : str
    threads : int
        Thread count of both sides unless a comparison says otherwise.
    """

    system: str
    threads: int = 1
    rows: list[Row] = field(default_factory=list)
    ceilings: dict[str, float] = field(default_factory=dict)

    def ceiling(self, kind: str, threads: int | None = None) -> float:
        """Measure a ceiling of this machine: "read" in bytes/s, "dgemm" or "sgemm" in flops/s."""
        threads = threads or self.threads
        key = f"{kind} {threads} threads"
        if key not in self.ceilings:
            with limit_threads(threads):
                self.ceilings[key] = _CEILINGS[kind](threads)
        return self.ceilings[key]

    def compare(
        self,
        label: str,
        ours: Callable[[], Any],
        peer: Callable[[], Any] | None = None,
        *,
        peer_name: str = "",
        repeats: int = 9,
        threads: int | None = None,
        accuracy: tuple[float, float] | None = None,
        work: tuple[str, float] | None = None,
        target: str = "",
    ) -> Row:
        """Time `ours` and `peer` alternately and keep the row.

        Parameters
        ----------
        label : str
        ours, peer : callable
            Without arguments. Without a peer only our own time is kept.
        peer_name : str
        repeats : int
            Pairs; both sides run once before, unmeasured but for our first call.
        threads : int, optional
            Set for BLAS, OpenMP, Numba, and torch where it is loaded.
        accuracy : (float, float), optional
            Errors that both sides reached.
        work : (str, float), optional
            Ceiling ("read", "dgemm", "sgemm") and how many bytes or flops one call needs.
        target : str
            What the project promises, as text.
        """
        threads = threads or self.threads
        fraction = ""
        with limit_threads(threads), _torch_threads(threads):
            first = _clock(ours)
            if peer is not None:
                peer()
            mine, theirs = [], []
            gc.disable()
            try:
                for k in range(repeats):
                    # Which side goes first alternates as well.
                    sides = [(ours, mine), (peer, theirs)] if k % 2 else [(peer, theirs), (ours, mine)]
                    for function, times in sides:
                        if function is not None:
                            times.append(_clock(function))
            finally:
                gc.enable()
        best = float(np.median(mine))
        if work is not None:
            kind, amount = work
            fraction = f"{amount / min(mine) / self.ceiling(kind, threads):.2f} of {kind}"
        ratio = low = high = None
        if peer is not None:
            ratio, low, high = median_interval([t / m for m, t in zip(mine, theirs)])
            if repeats < 6:  # too few pairs for an interval that covers the median with 95 %
                low = high = None
        errors = "" if accuracy is None else f"{accuracy[0]:.1e} / {accuracy[1]:.1e}"
        row = Row(
            label, peer_name, threads, best, float(np.median(theirs)) if theirs else None,
            ratio, low, high, first, errors, fraction, target,
        )  # fmt: skip
        self.rows.append(row)
        print(_markdown_row(row), flush=True)
        return row

    def finish(self) -> None:
        """Write the results as JSON, and the Markdown table of all systems."""
        folder = HERE / "results"
        folder.mkdir(exist_ok=True)
        content = {
            "system": self.system,
            "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            "ceilings": {name: f"{value:.3g}" for name, value in self.ceilings.items()},
            "rows": [asdict(row) for row in self.rows],
        }
        (folder / f"{self.system}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        write_table()


def _torch_threads(threads: int) -> Any:
    """Limit torch's own pool where torch is loaded."""
    import contextlib
    import sys

    torch = sys.modules.get("torch")
    if torch is None:
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def limited() -> Any:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    return limited()


# Ceilings -----------------------------------------------------------------------------------


def _read_bandwidth(threads: int) -> float:
    """Bytes per second of summing an array far larger than the caches, a share for each thread."""
    from theorylab._lib.jit import REASSOC, jit

    @jit(fastmath=REASSOC)
    def total(x: Any) -> float:
        a = 0.0
        for i in range(x.size):
            a += x[i]
        return a

    x = np.ones(1 << 27, dtype=np.float32)
    total(x[:16])  # compiles
    shares = np.array_split(x, threads)
    with ThreadPoolExecutor(threads) as pool:
        return x.nbytes / min(_clock(lambda: sum(pool.map(total, shares))) for _ in range(5))


def _gemm(dtype: Any) -> float:
    n = 1536
    a = np.ones((n, n), dtype=dtype)
    out = np.empty_like(a)
    np.matmul(a, a, out=out)
    return 2 * n**3 / min(_clock(lambda: np.matmul(a, a, out=out)) for _ in range(5))


_CEILINGS = {
    "read": _read_bandwidth,
    # BLAS obeys the limit that is in force.
    "dgemm": lambda threads: _gemm(np.float64),
    "sgemm": lambda threads: _gemm(np.float32),
}


# The table ----------------------------------------------------------------------------------

_COLUMNS = (
    "what", "peer", "threads", "ours", "peer's", "ratio (95 %)", "first call", "errors ours / peer",
    "ceiling", "promise",
)  # fmt: skip


def _seconds(t: float | None) -> str:
    if t is None:
        return "-"
    return f"{t:.3g} s" if t >= 1 else f"{1e3 * t:.3g} ms" if t >= 1e-3 else f"{1e6 * t:.3g} us"


def _interval(row: Row) -> str:
    return "(few pairs)" if row.low is None or row.high is None else f"[{row.low:.3g}, {row.high:.3g}]"


def _markdown_row(row: Row) -> str:
    ratio = "-" if row.ratio is None else f"**{row.ratio:.3g}** {_interval(row)}"
    cells = [
        row.label, row.peer or "-", str(row.threads), _seconds(row.ours_s), _seconds(row.peer_s), ratio,
        _seconds(row.first_call_s), row.accuracy or "-", row.roofline or "-", row.target or "-",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def write_table() -> None:
    """Rewrite RESULTS.md from the stored results of all systems."""
    lines = [
        "# Benchmarks",
        "",
        "Alternating pairs in one run; the ratio is the peer's time over ours, its median with the exact",
        "95 % interval. The first call includes compilation. Ceilings are measured in the same run.",
        "Made by `theorylab bench`; the numbers are those of one machine and no promise for another.",
    ]
    for path in sorted((HERE / "results").glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        ceilings = ", ".join(f"{name}: {value}" for name, value in content["ceilings"].items())
        lines += [
            "",
            f"## {content['system']}",
            "",
            f"{content['machine']}. Ceilings: {ceilings or 'none'}.",
            "",
        ]
        lines += ["| " + " | ".join(_COLUMNS) + " |", "|" + " --- |" * len(_COLUMNS)]
        lines += [_markdown_row(Row(**row)) for row in content["rows"]]
    (HERE / "RESULTS.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
