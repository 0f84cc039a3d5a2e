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

__all__ = [
    "Collection",
    "LoadError",
    "builtin_scripts",
    "claims_of",
    "collect",
    "enter",
    "load_script",
    "loading",
    "repeated",
    "select",
]


class LoadError(RuntimeError):
    """A script could not be imported; the message names the script and the cause."""


@dataclass(frozen=True)
class Collection:
    """Claims, and one sentence for each script that could not be loaded."""

    claims: Sequence[Claim]
    broken: Sequence[str]


_lock = threading.RLock()
_loaded: dict[Path, tuple[int, ModuleType]] = {}
_depth = 0
#: The folders of loaded scripts, the one whose modules win now, and modules of others that gave way to them.
_folders: set[Path] = set()
_home: Path | None = None
_away: dict[Path | None, dict[str, ModuleType]] = {}


def loading() -> bool:
    """Tell whether a script is being imported for its claims, so that it must not run them now."""
    return _depth > 0


def load_script(path: Path) -> ModuleType:
    """Import a script by its path, once for each version of the file.

    Its own folder comes first in the search path, as if it ran by itself.
    """
    # Threads of a dask worker may ask for the same script at once.
    with _lock:
        return _load(path.resolve())


def _load(path: Path) -> ModuleType:
    global _depth
    stamp = path.stat().st_mtime_ns
    if path in _loaded and _loaded[path][0] == stamp:
        return _loaded[path][1]
    _folders.add(path.parent)
    enter(path)
    name = f"theorylab_script_{hashlib.sha256(str(path).encode()).hexdigest()[:10]}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path} is not a Python script")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _depth += 1
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise LoadError(f"cannot load {path}: {type(error).__name__}: {error}") from error
    finally:
        _depth -= 1
    _loaded[path] = (stamp, module)
    return module


def enter(script: Path | None) -> None:
    """Let modules beside a loaded script win over equally named ones beside other scripts.

    It is called before each piece of a script runs, since functions may import
    when they are called.
    """
    global _home
    if script is None or script.parent not in _folders or script.parent == _home:
        return
    with _lock:
        _home = folder = script.parent
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        sys.path.insert(0, str(folder))
        for name in _modules_beside(folder):
            other = _folder_of(sys.modules.get(name))
            if other not in (None, folder) and (other in _folders or name.startswith("_")):
                family = [n for n in sys.modules if n == name or n.startswith(name + ".")]
                _away.setdefault(other, {}).update({n: sys.modules.pop(n) for n in family})
        sys.modules.update(_away.pop(folder, {}))


def _modules_beside(folder: Path) -> set[str]:
    packages = {path.parent.name for path in folder.glob("*/__init__.py")}
    return {path.stem for path in folder.glob("*.py")} | packages - {"theorylab"}


def _folder_of(module: ModuleType | None) -> Path | None:
    """Return the folder in which a module or a package was found."""
    origin = getattr(module, "__file__", None)
    if origin is None:
        return None
    file = Path(origin).resolve()
    return file.parent.parent if file.name == "__init__.py" else file.parent


def claims_of(module: ModuleType) -> list[Claim]:
    """Return the claims that stand at the module level of a script, in their order."""
    script = Path(str(module.__file__)).resolve()
    found: list[Claim] = []
    for value in vars(module).values():
        if isinstance(value, Claim) and value not in found:
            if value.script is not None and _is_helper_of(value.script, script):
                value.script = script  # a function beside the script made it; workers load the script
            if value.script == script:
                found.append(value)
    return found


def _is_helper_of(module: Path, script: Path) -> bool:
    """Tell whether a file is a helper module beside the script, which declares no claims of its own."""
    return module.parent == script.parent and module != script and module.name.startswith("_")


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
    for script in dict.fromkeys(script.resolve() for script in scripts):
        try:
            found = claims_of(load_script(script))
        except (LoadError, OSError) as error:
            broken.append(str(error))
            continue
        if not found:
            broken.append(f"{script} declares no claim at its module level")
        claims.extend(found)
    by_id: dict[str, Claim] = {}
    for claim in claims:
        by_id.setdefault(claim.id, claim)
    return Collection(list(by_id.values()), [*broken, *repeated(claims)])


def repeated(claims: Iterable[Claim]) -> list[str]:
    """Return one sentence for each claim whose id was taken before it."""
    first: dict[str, Claim] = {}
    return [
        f"the id {claim.id!r} is declared twice, in {first[claim.id].script} and {claim.script}; rename one"
        for claim in claims
        if first.setdefault(claim.id, claim) is not claim
    ]


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
