"""Results on disk: one ``.npz`` a cell, written whole or not at all, by one writer.

Layout::

    <store>/manifest.json                               versions, machine, durations
    <store>/<claim id>/latest.json                      the newest verdict with its numbers
    <store>/<claim id>/<scale>-seed<seed>-<digest>/     the cells of one key
        <branch>.<cell>.<replicate>.npz

The digest covers the source of the claim, of the helper modules beside it and
of the solvers that it imports, so that a stored cell is never taken for the
result of code that has changed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ._grid import Cell

__all__ = ["CellResult", "Store", "StoreError"]

_TEMPORARY = ".writing-"


class StoreError(RuntimeError):
    """The folder of results cannot be written; the message says why in one sentence."""


@dataclass(frozen=True)
class CellResult:
    """What one cell and replicate gave."""

    values: NDArray[np.float64]
    extras: Mapping[str, NDArray[Any]]
    seconds: float


def cell_key(cell: Cell) -> str:
    """Return a short name for a cell, the same in every process."""
    return hashlib.sha256(repr(sorted(cell.items())).encode()).hexdigest()[:10]


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an OSError into one clear sentence."""
    try:
        yield
    except OSError as error:
        what = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the disk quota is used up",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: "the folder is not writable",
            errno.EPERM: "the folder is not writable",
        }.get(error.errno or 0, error.strerror or str(error))
        raise StoreError(
            f"cannot write to {path}: {what}; choose another folder with --store and --figures"
        ) from None


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name only once it is complete.

    Raises
    ------
    StoreError
        Where the disk is full or the folder cannot be written.
    """
    with _explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            # mkstemp makes files private; results are as readable as other files.
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


class Store:
    """The cells of one claim, scale, seed and source digest."""

    def __init__(self, root: Path, claim_id: str, scale: str, seed: int, digest: str) -> None:
        self.claim_folder = root / claim_id
        self.folder = self.claim_folder / f"{scale}-seed{seed}-{digest}"
        with _explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            # A process that was killed leaves at most files under a temporary name.
            for leftover in self.folder.glob(_TEMPORARY + "*"):
                leftover.unlink(missing_ok=True)

    def _path(self, branch: str, cell: Cell, replicate: int) -> Path:
        return self.folder / f"{branch}.{cell_key(cell)}.{replicate}.npz"

    def load(self, branch: str, cell: Cell, replicate: int) -> CellResult | None:
        """Return a stored cell, or None where it is missing or unreadable."""
        try:
            with np.load(self._path(branch, cell, replicate), allow_pickle=False) as file:
                extras = {name[2:]: file[name] for name in file.files if name.startswith("x_")}
                return CellResult(file["values"], extras, float(file["seconds"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, branch: str, cell: Cell, replicate: int, result: CellResult) -> None:
        """Store a cell; it is complete or absent, whatever happens."""
        extras: dict[str, Any] = {f"x_{name}": array for name, array in result.extras.items()}
        with write_whole(self._path(branch, cell, replicate)) as file:
            np.savez(file, values=result.values, seconds=np.float64(result.seconds), **extras)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Store the newest verdict of the claim."""
        write_json(self.claim_folder / "latest.json", summary)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole."""
    with write_whole(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON file; None where it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
