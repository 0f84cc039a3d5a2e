"""The one compile policy: lazy, cached, without the GIL, NumPy's division rules.

``fastmath=True`` is never used, for it deletes checks for NaN. Reductions that
may be reordered ask for :data:`REASSOC` by name.
"""

from __future__ import annotations

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
            return numba.njit(cache=True, **options)(f)  # type: ignore[no-any-return]
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            _hint_uncached()
            return numba.njit(**options)(f)  # type: ignore[no-any-return]

    return decorate if function is None else decorate(function)
