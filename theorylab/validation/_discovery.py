"""Find the scripts and the claims that they declare."""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.util
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ._claim import Claim

__all__ = ["Collection", "LoadError", "builtin_scripts", "claims_of", "collect", "load_script", "select"]


class LoadError(RuntimeError):
    """A script could not be imported; the message names the script and the cause."""


@dataclass(frozen=True)
class Collection:
    """Claims, and one sentence for each script that could not be loaded."""

    claims: Sequence[Claim]
    broken: Sequence[str]


_lock = threading.RLock()
_loaded: dict[Path, tuple[int, ModuleType]] = {}


def load_script(path: Path) -> ModuleType:
    """Import a script by its path, once for each version of the file.

    Its own folder comes first in the search path, as if it ran by itself.
    """
    # Threads of a dask worker may ask for the same script at once.
    with _lock:
        return _load(path.resolve())


def _load(path: Path) -> ModuleType:
    stamp = path.stat().st_mtime_ns
    if path in _loaded and _loaded[path][0] == stamp:
        return _loaded[path][1]
    _prefer_siblings(path.parent)
    name = f"theorylab_script_{hashlib.sha256(str(path).encode()).hexdigest()[:10]}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path} is not a Python script")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise LoadError(f"cannot load {path}: {type(error).__name__}: {error}") from error
    _loaded[path] = (stamp, module)
    return module


def _prefer_siblings(folder: Path) -> None:
    """Let helper modules in `folder` win over equally named ones of another folder of scripts."""
    for sibling in folder.glob("*.py"):
        known = sys.modules.get(sibling.stem)
        origin = getattr(known, "__file__", None)
        if origin and Path(origin).resolve().parent != folder and sibling.stem.startswith("_"):
            del sys.modules[sibling.stem]
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))


def claims_of(module: ModuleType) -> list[Claim]:
    """Return the claims that stand at the module level of a script, in their order."""
    found: list[Claim] = []
    for value in vars(module).values():
        if (
            isinstance(value, Claim)
            and value not in found
            and value.script == Path(str(module.__file__)).resolve()
        ):
            found.append(value)
    return found


def builtin_scripts() -> list[Path]:
    """Return the validation scripts that came with theorylab."""
    spec = importlib.util.find_spec("theorylab._validations")
    places = list(spec.submodule_search_locations or ()) if spec else []
    # In a source tree that is not installed the scripts lie beside the package.
    places.append(str(Path(__file__).resolve().parents[2] / "validations"))
    for place in map(Path, places):
        scripts = sorted(p for p in place.glob("*.py") if not p.name.startswith("_"))
        if scripts:
            return scripts
    return []


def collect(scripts: Iterable[Path]) -> Collection:
    """Load scripts and gather their claims; a broken script does not stop the others."""
    claims: list[Claim] = []
    broken: list[str] = []
    for script in scripts:
        try:
            claims.extend(claims_of(load_script(script)))
        except (LoadError, OSError) as error:
            broken.append(str(error))
    by_id: dict[str, Claim] = {}
    for claim in claims:
        if claim.id in by_id:
            other = by_id[claim.id].script
            broken.append(f"the id {claim.id!r} is declared twice, in {other} and {claim.script}; rename one")
        by_id.setdefault(claim.id, claim)
    return Collection(list(by_id.values()), broken)


def select(claims: Sequence[Claim], patterns: Sequence[str]) -> list[Claim]:
    """Return the claims whose id matches some pattern: a system, a part of the id, or a glob.

    Raises
    ------
    LookupError
        For a pattern that matches nothing.
    """
    if not patterns:
        return list(claims)
    chosen: list[Claim] = []
    for pattern in patterns:
        matches = [c for c in claims if pattern in c.id or fnmatch.fnmatchcase(c.id, pattern)]
        if not matches:
            raise LookupError(f"no claim matches {pattern!r}; `theorylab list` shows them all")
        chosen.extend(c for c in matches if c not in chosen)
    return chosen
