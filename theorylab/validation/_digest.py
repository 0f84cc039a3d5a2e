"""Fingerprints of source code: which code do the results of a claim depend on?"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["source_digest"]

_PACKAGE = Path(__file__).resolve().parent.parent
_NOT_SCIENCE = {"validation", "cli", "testing", "_validations"}


@functools.lru_cache(maxsize=4096)
def _imports(path: Path, modified: int) -> tuple[str, ...]:
    """Return the dotted names that a version of a file imports, relative ones resolved inside theorylab."""
    return tuple(_names(path))


def _names(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return
    inside = path.is_relative_to(_PACKAGE)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level and inside:
                parts = ["theorylab", *path.relative_to(_PACKAGE).parts[:-1]]
                parts = parts[: len(parts) - node.level + 1]
                base = ".".join([*parts, base] if base else parts)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


@functools.cache
def _subpackage_files(name: str) -> tuple[Path, ...]:
    folder = _PACKAGE / name
    return tuple(sorted(folder.rglob("*.py"))) if folder.is_dir() else ()


def _dependencies(script: Path) -> set[Path]:
    """Return the script, with the modules beside it and the files of the solvers that it imports."""
    found: set[Path] = set()
    todo = [script, *_subpackage_files("_lib")]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        for name in _imports(path, path.stat().st_mtime_ns):
            first, _, rest = name.partition(".")
            if first == "theorylab":
                subpackage = rest.split(".")[0]
                if subpackage and subpackage not in _NOT_SCIENCE:
                    todo.extend(_subpackage_files(subpackage))
            elif not path.is_relative_to(_PACKAGE):
                for folder in {path.parent, script.parent}:
                    todo.extend(sibling for sibling in [folder / f"{first}.py"] if sibling.is_file())
                    if (folder / first / "__init__.py").is_file():
                        todo.extend((folder / first).rglob("*.py"))
    return found


def source_digest(script: Path | None) -> str:
    """Return 12 hex digits that change whenever code changes on which the claims of `script` depend.

    Parameters
    ----------
    script : Path or None
        None, for a claim declared at the prompt, gives "interactive".
    """
    if script is None or not script.is_file():
        return "interactive"
    hashed = hashlib.sha256()
    # Names without folders: the same code gives the same key wherever it is installed.
    for path in sorted(_dependencies(script), key=lambda p: (p.name, str(p))):
        hashed.update(path.name.encode() + b"\0")
        hashed.update(hashlib.sha256(path.read_bytes()).digest())
    return hashed.hexdigest()[:12]
