"""Build the inverse: one function, documented once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from .._lib.checks import check_choice, check_int
from ._inverse import FisherInverse

__all__ = ["fisher_inverse"]


def fisher_inverse(
    G: Any,
    damping: float | tuple[str, float],
    *,
    norm: float | None = None,
    blocks: Sequence[int] | int | None = None,
    side: str = "auto",
    method: str | None = None,
    page: int | None = None,
    accumulate: str = "float64",
    factor: bool = False,
    weights: ArrayLike | None = None,
    bfloat16: bool = False,
    copy: bool = False,
    tile: int = 4096,
    chunk_rows: int | None = None,
    check_finite: bool = True,
) -> FisherInverse:
    """Invert ``A = damping * I + G^T diag(weights) G / norm`` without forming anything d x d.

    With per-example gradients as rows, A is the damped empirical Fisher matrix;
    with rows ``sqrt(l''_i) x_i`` it is the exact Hessian of a generalised
    linear model with a ridge penalty (see :func:`glm_rows`).

    Parameters
    ----------
    G : array_like of shape (m, d)
        One row per gradient: float16, float32, float64 or integers, of any
        memory layout, read-only or memory-mapped; a torch tensor on the CPU (no
        copy is made); or any object with ``shape``, ``dtype`` and 2-D slicing
        (zarr, h5py), which is streamed. The operator keeps a reference: changing
        G afterwards invalidates it, unless ``copy=True``.
    damping : float or ("relative", float)
        lam > 0, in units of squared gradients. The relative form means
        ``lam = value * trace(G G^T) / (norm * d)``.
    norm : float, optional
        N > 0, default m.
    blocks : sequence of int, or int, optional
        Replace A by its diagonal blocks of these sizes (which add up to d), or of
        this one size (the last block takes the rest).
    side : {"auto", "dual", "primal"}
        Invert through the m x m matrix (dual) or through the b x b matrix of a
        block (primal, no cancellation). "auto" takes the primal side for blocks
        of at most m columns.
    method : {None, "recursion", "coefficients"}
        The two algorithms as published, for validation only.
    page : int, optional
        Rows a page of the published recursion, which then holds one earlier page at
        a time; any size. Default: all rows.
    accumulate : {"float64", "storage"}
        Precision of the sums in products with G. "storage" is BLAS in the dtype of
        G; it is meant for vectors outside the span of the rows.
    factor : bool
        Store ``V = L^-1 G`` (8 m d bytes), which makes :meth:`~FisherInverse.element` cost O(m).
    weights : array_like of shape (m,), optional
        Positive weight of each row, default 1.
    bfloat16 : bool
        G is uint16 that holds the bits of bfloat16. Torch tensors need no flag.
    copy : bool
        Work on a private copy of G.
    tile : int
        Columns of a tile.
    chunk_rows : int, optional
        Rows read at a time from a streamed source, rounded up to a multiple of 8.
    check_finite : bool
        Refuse NaN and infinity in G and in vectors. For G this costs nothing but
        a look at the diagonal of the Gram.

    Returns
    -------
    FisherInverse
        A SciPy `LinearOperator` of shape (d, d).

    Raises
    ------
    ValueError
        For shapes, NaN or infinity (naming the row), damping <= 0, norm <= 0.
    TypeError
        For complex or non-numeric rows.
    scipy.linalg.LinAlgError
        If the damping is lost in rounding; the message names kappa and a safe damping.

    Warns
    -----
    scipy.linalg.LinAlgWarning
        If ``damping < 4 u sigma_max(G)^2 / norm``, u = 1.1e-16.

    Notes
    -----
    With ``K = N lam I + G G^T`` (m x m), three forms of the same product:

    F1  ``A^-1 x = (x - G^T K^-1 G x) / lam``   (Woodbury), error ``u |x| / (lam |A^-1 x|)``

    F2  ``A^-1 G^T c = N G^T K^-1 c``           for stored rows: one pass, no cancellation

    F3  Cholesky of A itself, with one step of refinement, where d <= m

    Sums over float32 rows are accumulated in float64. Cost: the Gram takes
    ``d m^2`` flops, its factor ``m^3 / 3``, a product ``4 d m + 2 m^2`` flops and
    two reads of G.

    References
    ----------
    .. [1] E. Frantar, E. Kurtic, D. Alistarh, "M-FAC: Efficient Matrix-Free Approximations of Second-Order
       Information", NeurIPS 2021, arXiv:2107.03356.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.curvature import fisher_inverse
    >>> G = np.array([[1.0, 2, 0, -1], [3, -1, 1, 0], [0, 1, -2, 2]])
    >>> inv = fisher_inverse(G, damping=0.01)
    >>> x = np.array([1.0, -2.0, 3.0, -4.0])
    >>> np.allclose(inv @ x, np.linalg.solve(0.01 * np.eye(4) + G.T @ G / 3, x))
    True
    """
    options: dict[str, Any] = {
        "norm": norm,
        "blocks": blocks,
        "side": side,
        "accumulate": accumulate,
        "factor": factor,
        "weights": weights,
        "bfloat16": bfloat16,
        "copy": copy,
        "tile": tile,
        "chunk_rows": chunk_rows,
        "check_finite": check_finite,
    }
    check_choice(method, "method", (None, "recursion", "coefficients"))
    if method is None:
        return FisherInverse(G, damping, **options)
    from ._reference import CoefficientInverse, RecursionInverse

    if page is not None:
        page = check_int(page, "page", low=1)
    if method == "recursion":
        return RecursionInverse(G, damping, page=page, **options)
    return CoefficientInverse(G, damping, **options)
