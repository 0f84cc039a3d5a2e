"""The one compile policy: lazy, cached, without the GIL, NumPy's division rules.

``fastmath=True`` is never used, for it deletes checks for NaN. Reductions that
may be reordered ask for :data:`REASSOC` by name.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, overload

import numba

__all__ = ["REASSOC", "jit"]

F = TypeVar("F", bound=Callable[..., Any])

#: Flags under which sums vectorise while NaN and infinity are still seen.
REASSOC: frozenset[str] = frozenset({"reassoc", "contract", "nsz"})

#: Set once the hint was given; worker processes inherit it and stay silent.
_HINTED = "THEORYLAB_HINTED"


def _hint_uncached() -> None:
    if _HINTED not in os.environ:
        os.environ[_HINTED] = "1"
        warnings.warn(
            "compiled kernels cannot be cached, because neither the folder of theorylab nor the user's cache "
            "folder is writable: each process compiles them anew; set NUMBA_CACHE_DIR to a writable folder",
            RuntimeWarning,
            stacklevel=4,
        )


@functools.cache
def _folder_stamp(folder: str) -> str:
    """Return a digest of the names, sizes and times of all sources in a folder."""
    with os.scandir(folder) as entries:
        sources = [
            (e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in entries if e.name.endswith(".py")
        ]
    return hashlib.sha256(repr(sorted(sources)).encode()).hexdigest()


def _depend_on_folder(compiled: Any, function: Callable[..., Any]) -> None:
    """Let a change of any source of the folder outdate cached code, for kernels call helpers of other files.

    Numba looks at the kernel's own file only, and would go on with the old helper. Where its caches
    are built otherwise, that is what remains.
    """
    store: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    stamp = getattr(store, "_source_stamp", None)
    if stamp is not None:
        with contextlib.suppress(OSError):
            store._source_stamp = (stamp, _folder_stamp(os.path.dirname(function.__code__.co_filename)))


@overload
def jit(function: F) -> F: ...
@overload
def jit(
    *, fastmath: frozenset[str] | None = None, parallel: bool = False, inline: bool = False
) -> Callable[[F], F]: ...
def jit(
    function: F | None = None,
    *,
    fastmath: frozenset[str] | None = None,
    parallel: bool = False,
    inline: bool = False,
) -> F | Callable[[F], F]:
    """Compile a kernel with Numba under the policy of this package.

    Parameters
    ----------
    function : callable, optional
        Given when the decorator stands without parentheses.
    fastmath : frozenset of str, optional
        Named LLVM flags; :data:`REASSOC` for reductions. Default: strict.
    parallel : bool
        Enable ``prange``. Only for kernels whose result does not depend on the
        schedule, and where one call is large.
    inline : bool
        Inline into calling kernels (for helpers of one or two lines).

    Warns
    -----
    RuntimeWarning
        Once per process and its workers, where no folder for the cache is writable.
    """

    def decorate(f: F) -> F:
        options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "parallel": parallel}
        if fastmath:
            options["fastmath"] = set(fastmath)
        if inline:
            options["inline"] = "always"
        try:
            compiled = numba.njit(cache=True, **options)(f)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            _hint_uncached()
            return numba.njit(**options)(f)  # type: ignore[no-any-return]
        _depend_on_folder(compiled, f)
        return compiled  # type: ignore[no-any-return]

    return decorate if function is None else decorate(function)
