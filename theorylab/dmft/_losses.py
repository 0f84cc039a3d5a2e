"""Test losses without a test set: Gaussian moments of the network's inner products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._lib.checks import as_float_array, check_shape
from ._rows import Rows
from ._spec import (
    Network,
    PolynomialTask,
    QuadraticNetwork,
    SmoothNetwork,
    Task,
    apply,
    check_problem,
    sign_array,
)

Array = NDArray[np.float64]

#: Gauss-Hermite nodes per axis; E[tanh(h) tanh(h')] is then good to about 1e-9 at unit variance.
NODES = 64


def wick_components(
    gram: Array, linear: Array, quadratic: Array, offset: float, trace_shift: float
) -> tuple[float, float, float]:
    """Evaluate eq. (2) from the Gram matrix per dimension of all vectors that enter v and A.

    ``v = sum_a linear_a z_a`` and ``A = sum_a quadratic_a z_a z_a^T``.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        power = float(linear @ gram @ linear)
        misalignment = 0.5 * float(quadratic @ (gram * gram) @ quadratic)
        trace = float(quadratic @ np.diag(gram)) + trace_shift + offset
        return power, misalignment, 0.25 * trace * trace


def pair_expectation(f: list[Any], gram: Array, weights: Array) -> float:
    """Return ``E (sum_a weights_a f_a(z_a))^2`` for jointly normal z with covariance `gram`.

    Each pair is a Gauss-Hermite sum over the plane, so the cost is
    ``n^2 NODES^2`` evaluations for n functions, whatever the width.
    """
    if not np.all(np.isfinite(gram)):
        return math.nan
    x, w = np.polynomial.hermite_e.hermegauss(NODES)
    w = w / w.sum()
    first, second = (np.ascontiguousarray(a) for a in np.meshgrid(x, x, indexing="ij"))
    plane = np.outer(w, w)
    sd = np.sqrt(np.maximum(np.diag(gram), 0.0))
    values = [g(s * first) for g, s in zip(f, sd)]
    total = 0.0
    for a in range(len(f)):
        for b in range(a + 1):
            rho = gram[a, b] / (sd[a] * sd[b]) if sd[a] * sd[b] > 0 else 0.0
            rho = min(1.0, max(-1.0, float(rho)))
            z = sd[b] * (rho * first + math.sqrt(1.0 - rho * rho) * second)
            term = float(np.sum(plane * values[a] * f[b](z)))
            total += (1 if a == b else 2) * weights[a] * weights[b] * term
    return total


def is_wick(spec: Network, prob: Task) -> bool:
    """Tell whether eq. (2) applies: quadratic network and quadratic target."""
    return isinstance(spec, QuadraticNetwork) and isinstance(prob, PolynomialTask)


def row_losses(
    rows: Rows, prob: Task, gram: Array, bulk_now: float, bulk_start: float
) -> tuple[float, tuple[float, float, float] | None]:
    """Return the test loss and, for the quadratic case, its three components.

    Parameters
    ----------
    gram : ndarray, shape (2 K + 1, 2 K + 1)
        Inner products per dimension of the rows now, the rows at the start, and beta.
    bulk_now, bulk_start : float
        ``C_b(t, t)`` and ``C_b(0, 0)``.
    """
    spec = rows.spec
    centre = 1.0 if spec.center else 0.0
    shift = rows.quad_bulk * (bulk_now - centre * bulk_start)
    if isinstance(prob, PolynomialTask) and isinstance(spec, QuadraticNetwork):
        linear = np.concatenate([rows.linear, -centre * rows.linear, [0.0]])
        quadratic = np.concatenate([rows.quadratic, -centre * rows.quadratic, [-1.0]])
        parts = wick_components(gram, linear, quadratic, prob.offset, shift)
        return sum(parts), parts

    def neuron(r: int) -> Any:
        if isinstance(spec, SmoothNetwork):
            return lambda z: apply(spec.phi, z, "phi") * rows.linear[r]
        return lambda z: (rows.linear[r] + 0.5 * rows.quadratic[r] * z) * z

    size = rows.size
    functions = [neuron(r) for r in range(size)]
    weights = [1.0] * size
    keep = list(range(size))
    if spec.center:
        functions += functions[:size]
        weights += [-1.0] * size
        keep += list(range(size, 2 * size))
    functions.append(lambda z: apply(prob.target, z, "target") - 0.5 * shift)
    weights.append(-1.0)
    keep.append(2 * size)
    return pair_expectation(functions, gram[np.ix_(keep, keep)], np.asarray(weights)), None


def stacked_gram(
    now: Array, start: Array, cross: Array, m_now: Array, m_start: Array, beta2: float = 1.0
) -> Array:
    """Assemble the Gram matrix that `row_losses` expects."""
    return np.block(
        [
            [now, cross, m_now[:, None]],
            [cross.T, start, m_start[:, None]],
            [m_now[None, :], m_start[None, :], np.array([[beta2]])],
        ]
    )


def test_loss_components(
    W: ArrayLike,
    beta: ArrayLike,
    spec: QuadraticNetwork,
    prob: PolynomialTask,
    W0: ArrayLike | None = None,  # noqa: PT028
) -> tuple[float, float, float]:
    """Split the exact test loss of a network into its three parts.

    Parameters
    ----------
    W : array_like, shape (N, D)
        Hidden weights.
    beta : array_like, shape (D,)
        Target direction, of squared norm D in the setting of the theory.
    spec : QuadraticNetwork
        Of finite width N.
    prob : PolynomialTask
    W0 : array_like, shape (N, D), optional
        Initial weights, needed where ``spec.center`` is set.

    Returns
    -------
    linear, misalignment, trace : float
        Their sum is ``E_x (f(x) - f0(x) - y(x))^2`` for ``x ~ N(0, I/D)`` with
        the clean target, exactly, for every D.

    Raises
    ------
    ValueError
        For shapes that do not match, NaN, an infinite width, or a centred
        network without W0.
    TypeError
        For another kind of network or task.

    Notes
    -----
    With ``v = alpha (wbar - wbar0)`` and ``A = alpha eps (M - M0) - beta beta^T``
    the parts are ``|v|^2 / D``, ``|A|_F^2 / (2 D^2)`` and ``(Tr A / D + offset)^2 / 4``.
    Costs ``N^2 D`` operations.

    Examples
    --------
    >>> import numpy as np
    >>> net, task = QuadraticNetwork(1, alpha=1.0, eps=1.0), PolynomialTask(nu=2.0)
    >>> beta = np.ones(4)
    >>> [float(v) for v in test_loss_components(beta[None, :], beta, net, task)]
    [1.0, 0.0, 0.0]
    """
    check_problem(spec, prob)
    if not isinstance(spec, QuadraticNetwork) or not isinstance(prob, PolynomialTask):
        raise TypeError("the decomposition needs a QuadraticNetwork and a PolynomialTask")
    if math.isinf(spec.width):
        raise ValueError("spec has infinite width, expected a finite width that matches W")
    weights = as_float_array(W, "W", ndim=2, dtype=np.float64)
    target = as_float_array(beta, "beta", ndim=1, dtype=np.float64)
    check_shape(weights, (int(spec.width), target.size), "W", "to match the width and beta")
    if target.size == 0:
        raise ValueError("beta is empty, expected at least one dimension")
    start = None
    if spec.center:
        if W0 is None:
            raise ValueError("W0 is missing: the network is centred, so its initial weights are needed")
        start = as_float_array(W0, "W0", ndim=2, dtype=np.float64)
        check_shape(start, weights.shape, "W0", "to match W")
    return network_components(weights, target, spec, prob, start)


# pytest collects functions by this prefix; this one is no test.
test_loss_components.__test__ = False  # type: ignore[attr-defined]


def network_components(
    weights: Array, beta: Array, spec: QuadraticNetwork, prob: PolynomialTask, start: Array | None
) -> tuple[float, float, float]:
    """Evaluate eq. (2) for one network, on whichever side (neurons or dimensions) is smaller."""
    with np.errstate(over="ignore", invalid="ignore"):  # weights beyond 1e77 have an infinite loss
        return _components(weights, beta, spec, prob, start)


def _components(
    weights: Array, beta: Array, spec: QuadraticNetwork, prob: PolynomialTask, start: Array | None
) -> tuple[float, float, float]:
    """See `network_components`."""
    n, d = weights.shape
    signs = sign_array(spec)
    lin, quad = spec.alpha / n * signs, spec.alpha * spec.eps / n * signs
    if 2 * n + 1 <= 2 * d or start is None:
        vectors = [weights, beta[None, :]] if start is None else [weights, start, beta[None, :]]
        linear = [lin, [0.0]] if start is None else [lin, -lin, [0.0]]
        quadratic = [quad, [-1.0]] if start is None else [quad, -quad, [-1.0]]
        if sum(len(v) for v in vectors) <= 2 * d:
            z = np.concatenate(vectors)
            return wick_components(
                z @ z.T / d, np.concatenate(linear), np.concatenate(quadratic), prob.offset, 0.0
            )
    matrix = (weights.T * quad) @ weights - np.outer(beta, beta)
    vector = lin @ weights
    if start is not None:
        matrix -= (start.T * quad) @ start
        vector = vector - lin @ start
    trace = float(np.trace(matrix)) / d + prob.offset
    return (
        float(vector @ vector) / d,
        float(np.sum(matrix * matrix)) / (2.0 * d * d),
        0.25 * trace * trace,
    )
