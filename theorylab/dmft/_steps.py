"""Sizes and precision of gradient steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._lib.checks import as_float_array, check_int, check_real, check_shape

Array = NDArray[np.float64]


def check_step(kappa: Any, n_steps: int) -> tuple[float | tuple[float, ...], Array]:
    """Return the step size as a number or a tuple, and as an array of one size per reported time."""
    if np.ndim(kappa) == 0:
        value = check_real(kappa, "kappa", low=0.0, open_low=True)
        return value, np.broadcast_to(np.float64(value), n_steps)  # takes no memory
    sizes = as_float_array(kappa, "kappa", ndim=1, dtype=np.float64)
    check_shape(
        sizes, (n_steps - 1,), "kappa", "because n_steps reported times have n_steps - 1 steps between"
    )
    if sizes.size and sizes.min() <= 0.0:
        raise ValueError(f"kappa must be > 0 in every step, got {sizes.min():g}")
    # Nothing follows the last reported time; its size is never used.
    padded = np.append(sizes, sizes[-1] if sizes.size else 1.0)
    return tuple(sizes.tolist()), padded


def check_precision(dtype: DTypeLike) -> np.dtype:
    """Return float32 or float64; anything else is refused."""
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be float32 or float64, got {dtype!r}") from None
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype must be float32 or float64, got {kind}")
    return kind


def describe_step(kappa: float | tuple[float, ...]) -> str:
    """Write the step size, or the range of sizes."""
    if isinstance(kappa, float):
        return f"{kappa:g}"
    return f"{min(kappa):g}..{max(kappa):g}" if kappa else "none"


def elapsed(kappa: float | tuple[float, ...], n_steps: int) -> Array:
    """Return the sum of the step sizes up to each reported time."""
    sizes = np.full(n_steps - 1, kappa) if isinstance(kappa, float) else np.asarray(kappa, dtype=np.float64)
    return np.concatenate([[0.0], np.cumsum(sizes)])


def doubling_steps(first: float, largest: float, n_steps: int, hold: int = 8) -> Array:
    """Return step sizes that double on the way, for long times near gradient flow.

    Fast modes decay early, so that later steps may be larger: errors stay of the
    order of the first step, and a time t takes a number of steps that grows like
    ``log(t)`` until the largest size is reached.

    Parameters
    ----------
    first, largest : float
        Sizes of the first and of the last steps, ``0 < first <= largest``. The
        largest must keep gradient descent stable; 0.2 is safe for most problems.
    n_steps : int
        Number T of reported times; there are ``T - 1`` steps between them.
    hold : int
        Steps between doublings.

    Returns
    -------
    ndarray, shape (T - 1,)
        To be passed as `kappa` to :func:`dmft_solve`, :func:`simulate` and
        :func:`simulate_moments`; their results report the elapsed `time`.

    Raises
    ------
    ValueError, TypeError
        For sizes that are not positive or out of order, or of another kind.

    Examples
    --------
    >>> doubling_steps(0.01, 0.04, 7, hold=2).tolist()
    [0.01, 0.01, 0.02, 0.02, 0.04, 0.04]
    """
    small = check_real(first, "first", low=0.0, open_low=True)
    large = check_real(largest, "largest", low=small)
    count = check_int(n_steps, "n_steps", low=1) - 1
    pause = check_int(hold, "hold", low=1)
    return np.asarray(np.minimum(large, small * 2.0 ** np.minimum(np.arange(count) // pause, 1000)))
