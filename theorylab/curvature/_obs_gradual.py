"""Pruning in many small steps with fresh gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from .._lib.checks import as_float_array, check_int, check_real, check_shape
from .._lib.rng import RNGLike, as_generator
from ._exchange import from_torch, like
from ._fisher import fisher_inverse
from ._obs import DEFAULT_DAMPING, OBSResult, accept_weights, obs_prune

__all__ = ["obs_prune_gradual"]


def obs_prune_gradual(
    grad_rows: Callable[[Any, Any, int, np.random.Generator], ArrayLike],
    w: ArrayLike,
    sparsities: float | Sequence[float],
    n_recompute: int = 16,
    *,
    m: int = 256,
    damping: float | tuple[str, float] = DEFAULT_DAMPING,
    norm: float | None = None,
    update: Literal["joint", "independent"] = "joint",
    blocks: int | Sequence[int] | None = None,
    greedy: Literal["blocks"] | None = None,
    rng: RNGLike = None,
) -> OBSResult:
    """Prune in many small steps, with fresh gradients before each.

    Parameters
    ----------
    grad_rows : callable
        ``grad_rows(w, mask, m, rng)`` returns `m` gradients (m, d) at the
        weights `w`. Columns of pruned weights are ignored.
    w : array_like, shape (d,)
        The trained weights.
    sparsities : float or sequence of float in [0, 1)
        Targets, not decreasing, as fractions of all d weights.
    n_recompute : int
        Steps from one target to the next.
    m : int
        Gradients to ask for in each step.
    damping, norm, update, blocks, greedy
        As in :func:`obs_prune`.
    rng : None, int, SeedSequence or Generator
        Handed to `grad_rows`.

    Returns
    -------
    OBSResult
        At the last target; ``.path`` holds the result at every target.

    Raises
    ------
    ValueError
        For targets outside [0, 1) or decreasing, and gradients of the wrong shape.

    Notes
    -----
    From sparsity s0 to s1 the density is multiplied by
    ``((1 - s1)/(1 - s0))^(1/r)`` in each of the r steps (sec. 4 of [1]_), so that
    every step removes the same fraction of what is left. Cost: r times
    :func:`obs_prune` for each target.

    References
    ----------
    .. [1] E. Frantar, E. Kurtic, D. Alistarh, "M-FAC: Efficient matrix-free
       approximations of second-order information", NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab import curvature as cv
    >>> X = np.random.default_rng(1).standard_normal((300, 16))
    >>> rows = lambda w, mask, m, rng: X[rng.choice(300, m)]
    >>> result = cv.obs_prune_gradual(rows, np.arange(1.0, 17.0), [0.5, 0.75], n_recompute=3, m=64, rng=0)
    >>> [int(step.mask.sum()) for step in result.path]
    [8, 4]
    """
    weights = accept_weights(w)
    targets = [
        check_real(s, "sparsities", low=0, high=1, open_high=True) for s in np.atleast_1d(sparsities).tolist()
    ]
    if not targets or any(b < a for a, b in pairwise(targets)):
        raise ValueError(f"sparsities must be one or more targets in rising order, got {sparsities!r}")
    steps = check_int(n_recompute, "n_recompute", low=1)
    m = check_int(m, "m", low=1)
    generator = as_generator(rng)
    d = weights.size
    keep = weights != 0
    total, saliency, path = 0.0, np.zeros(d), []
    for target in targets:
        density = 1.0 - np.count_nonzero(~keep) / d
        ratio = (1.0 - target) / density if density else 1.0
        for step in range(1, steps + 1):
            zeros = round(d * (1.0 - density * ratio ** (step / steps)))
            count = zeros - np.count_nonzero(~keep)
            if count <= 0:
                continue
            G = from_torch(grad_rows(like(weights, w), like(keep, w, cast=False), m, generator))
            rows = as_float_array(G, "the result of grad_rows", ndim=2, dtype=np.float64)
            check_shape(rows, (len(rows), d), "the result of grad_rows", "with one column for each weight")
            inverse = fisher_inverse(rows * keep, damping, norm=norm, blocks=blocks)
            result = obs_prune(inverse, weights, n_prune=count, update=update, greedy=greedy)
            keep, saliency = result.mask, result.saliency
            weights = result.weights.astype(np.float64, copy=False)
            total += result.predicted_increase
        mask, rho = like(keep, w, cast=False), like(saliency, w, cast=False)
        path.append(OBSResult(like(weights, w), mask, rho, total))
    last = path[-1]
    return OBSResult(last.weights, last.mask, last.saliency, total, tuple(path))
