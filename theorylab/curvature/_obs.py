"""Optimal Brain Surgeon: remove weights and adjust the others under the quadratic model of the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._lib.checks import as_float_array, check_choice, check_int, check_real, check_shape
from ._exchange import from_torch, like
from ._fisher import fisher_inverse
from ._inverse import FisherInverse
from ._obs_update import column_blocks, independent_update, joint_update, row_share

__all__ = ["DEFAULT_DAMPING", "OBSResult", "accept_weights", "obs_prune", "obs_saliency"]

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: The published default, in units of squared gradients.
DEFAULT_DAMPING = 1e-5


@dataclass(frozen=True)
class OBSResult:
    """What pruning returns.

    Attributes
    ----------
    weights : ndarray, shape (d,)
        The new weights; exactly 0 where `mask` is False. The dtype of the
        weights that came in.
    mask : ndarray of bool, shape (d,)
        True where a weight is kept.
    saliency : ndarray of float64, shape (d,)
        Increase of the loss that removing each weight *alone* from the old
        weights would cost.
    predicted_increase : float
        The quadratic model at the new weights, in units of the loss. After
        gradual pruning, the sum over the steps.
    path : tuple of OBSResult
        After gradual pruning, the result at each target sparsity; else empty.
    """

    weights: NDArray[np.floating]
    mask: Mask
    saliency: Float
    predicted_increase: float
    path: tuple[OBSResult, ...] = ()


def obs_saliency(inv: FisherInverse, w: ArrayLike) -> Any:
    """Compute how much the loss grows when each weight is removed alone.

    Parameters
    ----------
    inv : FisherInverse, shape (d, d)
        Inverse of the damped Fisher matrix A.
    w : array_like, shape (d,)
        The weights.

    Returns
    -------
    ndarray of float64, shape (d,)
        In units of the loss.

    Raises
    ------
    FloatingPointError
        If a diagonal entry of the inverse is not positive; raise the damping.

    Notes
    -----
    ``rho_j = w_j^2 / (2 [A^-1]_jj)`` (eq. 2 of [2]_). Costs what
    ``inv.diagonal()`` does.

    References
    ----------
    .. [1] B. Hassibi, D. Stork, "Second order derivatives for network pruning:
       Optimal Brain Surgeon", NIPS 1992.
    .. [2] E. Frantar, E. Kurtic, D. Alistarh, "M-FAC: Efficient matrix-free
       approximations of second-order information", NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab import curvature as cv
    >>> inv = cv.fisher_inverse([[1.0, 0.0], [0.0, 3.0]], damping=0.5)
    >>> cv.obs_saliency(inv, [1.0, 1.0])     # A = diag(1, 5)
    array([0.5, 2.5])
    """
    weights = accept_weights(w, inv.d)
    return like(_saliency(weights, _diagonal(inv)), w, cast=False)


def obs_prune(
    inv: FisherInverse | ArrayLike,
    w: ArrayLike,
    *,
    sparsity: float | None = None,
    n_prune: int | None = None,
    mask: ArrayLike | None = None,
    update: Literal["joint", "independent"] = "joint",
    gradient: ArrayLike | None = None,
    blocks: int | Sequence[int] | None = None,
    greedy: Literal["blocks"] | None = None,
    damping: float | tuple[str, float] | None = None,
    norm: float | None = None,
) -> OBSResult:
    """Remove weights and move the others to where the quadratic model of the loss is least.

    Exactly one of `sparsity`, `n_prune` and `mask` says what to remove.
    Weights that are zero already count as pruned and stay zero, unless `mask`
    keeps them by name.

    Parameters
    ----------
    inv : FisherInverse, or array_like, shape (m, d)
        The inverse, or the gradients themselves, for which `damping`, `norm`
        and `blocks` are handed to :func:`fisher_inverse`.
    w : array_like, shape (d,)
        The trained weights.
    sparsity : float in [0, 1)
        Fraction of all d weights that is zero afterwards.
    n_prune : int
        Number of weights to remove among those that are not zero.
    mask : array_like of bool, shape (d,)
        True where a weight is kept.
    update : {"joint", "independent"}
        "joint" is the exact minimiser of the quadratic model with all removed
        weights at zero. "independent" is the published update, which adds up
        the moves for each removed weight as if it were the only one.
    gradient : array_like, shape (d,), optional
        Gradient of the loss at `w`. Default: zero, as at a minimum.
    blocks : int or sequence of int, optional
        Column blocks; given with an inverse, its rows are used with these blocks instead.
    greedy : "blocks", optional
        Choose the weights one at a time, with the exact inverse of what is
        left of each block after every removal. Blocks of at most 256 weights.
    damping : float or ("relative", float), optional
        With gradients only; default 1e-5.
    norm : float, optional
        With gradients only; default m.

    Returns
    -------
    OBSResult

    Raises
    ------
    ValueError
        Not exactly one target; a sparsity outside [0, 1); more weights to
        remove than there are; wrong shapes; NaN or infinity.
    FloatingPointError
        If a diagonal entry of the inverse is not positive; raise the damping.

    Notes
    -----
    With Q removed and R kept, ``dL(delta) = g.delta + delta^T A delta / 2`` is
    least under ``delta_Q = -w_Q`` at ::

        delta_R = G_R^T K_R^-1 u - A_RR^-1 g_R,   u = G_Q w_Q,   K_R = N lam I + G_R G_R^T,

    which needs no system of size |Q|; for g = 0 the increase is
    ``(lam/2) (|w_Q|^2 + u^T K_R^-1 u)``. It equals Hassibi and Stork's step
    for one weight, and its exact form for several. The published update
    (sec. 4 of [2]_) is ``A^-1 t`` with ``t_j = -w_j / [A^-1]_jj`` on Q.

    Which weights are removed follows from :func:`obs_saliency` alone, ties to
    the lower index; `gradient` enters the update and the predicted increase.

    Cost: the diagonal, one Gram over the kept columns (d m^2 flops) and one pass.

    References
    ----------
    .. [1] B. Hassibi, D. Stork, "Second order derivatives for network pruning:
       Optimal Brain Surgeon", NIPS 1992.
    .. [2] E. Frantar, E. Kurtic, D. Alistarh, "M-FAC: Efficient matrix-free
       approximations of second-order information", NeurIPS 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab import curvature as cv
    >>> G = np.random.default_rng(0).standard_normal((8, 20))
    >>> w = np.linspace(-1.0, 1.0, 20)
    >>> inv = cv.fisher_inverse(G, damping=1e-2)
    >>> joint = cv.obs_prune(inv, w, sparsity=0.5)
    >>> published = cv.obs_prune(inv, w, sparsity=0.5, update="independent")
    >>> int(joint.mask.sum()), joint.predicted_increase < published.predicted_increase
    (10, True)
    """
    check_choice(update, "update", ("joint", "independent"))
    check_choice(greedy, "greedy", (None, "blocks"))
    operator = _operator(inv, damping, norm, blocks)
    weights = accept_weights(w, operator.d)
    g = None
    if gradient is not None:
        g = as_float_array(from_torch(gradient), "gradient", ndim=1, dtype=np.float64)
        check_shape(g, weights.shape, "gradient", "to match w")
    n = _target(weights, sparsity, n_prune, mask)
    diagonal = _diagonal(operator)
    saliency = _saliency(weights, diagonal)
    if n is None:
        keep = _mask(mask, weights)
    else:
        keep = weights != 0
        if greedy == "blocks":
            keep[_greedy(operator, weights, keep, n)] = False
        else:
            keep[np.argsort(np.where(keep, saliency, np.inf), kind="stable")[:n]] = False
    if update == "joint":
        delta, increase = joint_update(operator, weights, keep, g)
    else:
        delta, increase = independent_update(operator, weights, keep, g, diagonal)
    new = np.where(keep, weights + delta, 0.0)
    return OBSResult(like(new, w), like(keep, w, cast=False), like(saliency, w, cast=False), increase)


def accept_weights(w: ArrayLike, d: int | None = None) -> Float:
    """Check the weights; float64."""
    weights = as_float_array(from_torch(w), "w", ndim=1, dtype=np.float64)
    if d is not None:
        check_shape(weights, (d,), "w", f"to match the inverse of shape ({d}, {d})")
    return weights


def _mask(mask: Any, weights: Float) -> Mask:
    """Check a keep-mask."""
    keep = np.asarray(from_torch(mask))
    if keep.dtype != np.bool_:
        raise TypeError(f"mask has dtype {keep.dtype}, expected bool: True where a weight is kept")
    check_shape(keep, weights.shape, "mask", "to match w")
    return keep.copy()


def _operator(inv: Any, damping: Any, norm: Any, blocks: Any) -> FisherInverse:
    """Return the inverse to use: the given one, with other blocks, or a new one from gradients."""
    if isinstance(inv, FisherInverse):
        if damping is not None or norm is not None:
            raise ValueError(
                "damping and norm belong to gradients; use inv.with_damping(lam) to change an inverse"
            )
        if blocks is None:
            return inv
        plain = inv._scale is None
        return fisher_inverse(
            inv._rows.source if plain else inv.take_columns(np.arange(inv.d)),
            inv.damping,
            norm=inv.norm,
            blocks=blocks,
            weights=inv._weights,
            bfloat16=plain and inv._rows.bfloat16,
        )
    return fisher_inverse(inv, DEFAULT_DAMPING if damping is None else damping, norm=norm, blocks=blocks)


def _diagonal(inv: FisherInverse) -> Float:
    """Diagonal of the inverse, refused where rounding made it worthless."""
    diagonal = np.asarray(inv.diagonal(), dtype=np.float64)
    if not np.all(diagonal > 0):
        j = int(np.argmin(diagonal))
        raise FloatingPointError(
            f"entry {j} of the diagonal of the inverse is {diagonal[j]}, expected a positive number; "
            f"raise the damping (now {inv.damping:g})"
        )
    return diagonal


def _saliency(w: Float, diagonal: Float) -> Float:
    return 0.5 * w * w / diagonal


def _target(weights: Float, sparsity: Any, n_prune: Any, mask: Any) -> int | None:
    """Return how many live weights go, or None where a mask says which."""
    given = [
        name
        for name, value in (("sparsity", sparsity), ("n_prune", n_prune), ("mask", mask))
        if value is not None
    ]
    if len(given) != 1:
        raise ValueError(
            f"give exactly one of sparsity, n_prune and mask, got {' and '.join(given) or 'none'}"
        )
    if mask is not None:
        return None
    live = int(np.count_nonzero(weights))
    if n_prune is not None:
        n = check_int(n_prune, "n_prune", low=0)
        if n > live:
            raise ValueError(
                f"n_prune is {n}, but only {live} of the {weights.size} weights are not zero yet"
            )
        return n
    fraction = check_real(sparsity, "sparsity", low=0, high=1, open_high=True)
    return max(0, round(weights.size * fraction) - (weights.size - live))


def _greedy(inv: FisherInverse, weights: Float, live: Mask, n: int) -> NDArray[np.int64]:
    """Choose weights one at a time."""
    from ._greedy import MAX_BLOCK, greedy_set

    largest = max(inv.blocks)
    if largest > MAX_BLOCK:
        raise ValueError(
            f"greedy='blocks' needs blocks of at most {MAX_BLOCK} weights, the largest has {largest}; "
            "pass blocks=, for example blocks=128"
        )
    root = np.sqrt(row_share(inv))[:, None]
    pieces = ((a, rows.read64(0, b - a) / root) for a, b, rows in column_blocks(inv))
    return greedy_set(pieces, weights, live, n, inv.damping)
