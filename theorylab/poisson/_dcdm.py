"""The deep conjugate direction method: search directions from a function, conjugacy and line search exact."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theorylab._lib.checks import check_choice, check_int, float_dtype

from ._directions import Candidate, Kept
from ._system import REFRESH, SINGULAR, Callback, Ending, System, check_callable, finish
from ._vectors import advance, dot, norm2

__all__ = ["DCDMOptions", "conjugate_directions", "dcdm", "dcdm_options"]

Array = NDArray[Any]
Direction = Callable[[Array], Any]

#: The given direction must gain at least this part of what the safe one gains.
GAMMA = 0.1
#: Length of the first windows of the race.
FIRST_WINDOW = 10
#: d.Ad at most this times ||d|| ||Ad|| is zero up to rounding.
FLAT = 1e-14


@dataclass(frozen=True)
class DCDMOptions:
    """What :func:`dcdm` may be asked for beyond the system."""

    direction: Direction | None
    n_directions: int | None
    normalize: str
    n_train: int | None
    safeguard: bool
    subspace: bool
    race: bool
    check_every: int


def dcdm_options(
    direction: Any = None,
    n_directions: int | None = 10,
    normalize: str = "rms",
    n_train: int | None = None,
    safeguard: bool = True,
    subspace: bool = False,
    race: bool | None = None,
    check_every: int = 5,
) -> DCDMOptions:
    """Return checked options."""
    check_callable(direction, "direction")
    if n_directions is not None:
        check_int(n_directions, "n_directions", low=0)
    check_choice(normalize, "normalize", ("unit", "rms"))
    n_train = getattr(direction, "n_train", None) if n_train is None else n_train
    if n_train is not None:
        check_int(n_train, "n_train", low=1)
    for name, value in (("safeguard", safeguard), ("subspace", subspace)):
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} must be True or False, got {value!r}")
    if race is not None and not isinstance(race, (bool, np.bool_)):
        raise TypeError(f"race must be True, False or None, got {race!r}")
    if direction is None:
        race = False  # the safe direction needs no guard
    if race and not safeguard:
        raise ValueError("race=True needs safeguard=True; pass race=None or safeguard=True")
    check_int(check_every, "check_every", low=1)
    return DCDMOptions(
        direction,
        n_directions,
        normalize,
        n_train,
        bool(safeguard),
        bool(subspace),
        bool(safeguard if race is None else race),
        check_every,
    )


class _Iteration:
    """The state of one solve: where directions come from and which are refused."""

    def __init__(self, system: System, options: DCDMOptions) -> None:
        self.system, self.options = system, options
        m = options.n_directions
        # A window of plain CG needs one direction, whatever the caller keeps.
        self.kept = Kept(system.n, max(m, 1) if m is not None and options.race else m)
        self.iteration = 0
        self.stiffest = 0.0  # largest Rayleigh quotient seen
        # While each step took the safe direction this is CG already, and the race needs no restart.
        self.classic = True
        reference = options.n_train or max(system.n, 1)
        self.size = math.sqrt(system.n / reference) if options.normalize == "rms" else 1.0

    def ask(self, r: Array, norm: float) -> Array | None:
        """Return the given direction at r, of moderate size; None where it is zero or not finite."""
        if self.options.direction is None:
            return self.preconditioned(r)
        answer = np.asarray(self.options.direction(r * (self.size / norm)))
        if answer.shape != r.shape:
            raise ValueError(
                f"direction returned shape {answer.shape}, expected {r.shape}, that of its argument"
            )
        float_dtype(answer.dtype, "the array that direction returned")
        f = np.array(answer, dtype=np.float64)
        largest = float(np.abs(f).max(initial=0.0))
        if largest == 0 or not math.isfinite(largest):
            return None
        if not 1e-50 < largest < 1e50:
            f = np.ldexp(f, -math.frexp(largest)[1])  # the line search removes any factor
        return self.system.project(f)

    def try_(
        self, f: Array | None, r: Array, Af: Array | None = None, last: int | None = None
    ) -> Candidate | None:
        """Return f, made conjugate, as a candidate; None where ``d.Ad`` is zero by rounding or not finite."""
        d = None if f is None else self.kept.orthogonalise(f, Af, last)
        if d is None:
            return None
        q = self.system.product(d) if Af is None else Af
        dq, dr = dot(d, q), dot(d, r)
        if not (math.isfinite(dq) and math.isfinite(dr)):
            return None
        self.system.require_positive(dq, d, r, self.iteration)
        length = norm2(d)
        if dq <= FLAT * length * max(norm2(q), self.stiffest * length):
            return None
        if not math.isfinite(dr / dq):
            return None
        self.stiffest = max(self.stiffest, dq / length**2)
        return Candidate(d, q, dq, dr)

    def preconditioned(self, r: Array) -> Array:
        """Return M r (or r); raise LinAlgError where M shows that it is not positive definite."""
        g = self.system.precondition(r)
        rg = dot(r, g)
        if rg <= 0:
            raise np.linalg.LinAlgError(
                f"preconditioner M is not positive definite: r.Mr = {rg:.3g} at iteration {self.iteration}"
            )
        return g

    def safe(self, r: Array) -> tuple[Array, Array]:
        """Return g = M r (or r) and A g."""
        g = self.preconditioned(r)
        return g, self.system.product(g)

    def plain(self, r: Array, norm: float) -> Candidate | None:
        """Return the published step: whatever the direction is."""
        f = self.ask(r, norm)
        if f is not None and self.options.race and self.classic:
            self.classic = self.system.M is None and self.options.n_directions != 0 and _parallel(f, r, norm)
        return self.try_(f, r, last=self.options.n_directions)

    def guarded(self, r: Array, norm: float, check: bool) -> tuple[Candidate | None, bool]:
        """Return a step that gains, and whether it is the safe one."""
        m = self.options.n_directions
        c = self.plain(r, norm)
        if c is not None and c.dr == 0:
            c = None
        if c is not None and not check and not self.options.subspace:
            return c, False
        g, Ag = self.safe(r)
        if c is not None:
            steepest = dot(g, r) ** 2 / max(dot(g, Ag), np.finfo(float).tiny)
            if self.options.subspace:
                return self.best_of_plane(c, self.try_(g, r, Ag, m)), False
            if c.gain >= GAMMA * steepest:
                return c, False
        self.classic &= m != 0
        return self.try_(g, r, Ag, m), True

    def best_of_plane(self, c: Candidate, s: Candidate | None) -> Candidate:
        """Minimise over the span of two conjugated directions; r is orthogonal to the kept ones."""
        if s is None:
            return c
        # Unit energy each: the Gram matrix is ((1, t), (t, 1)), and its Cholesky factor needs 1 - t^2 alone.
        d, q = c.d / math.sqrt(c.dq), c.q / math.sqrt(c.dq)
        e, p = s.d / math.sqrt(s.dq), s.q / math.sqrt(s.dq)
        t = dot(d, p)
        if 1 - t * t < 1e-12:
            return c
        a, b = c.dr / math.sqrt(c.dq), s.dr / math.sqrt(s.dq)
        u, v = (a - t * b) / (1 - t * t), (b - t * a) / (1 - t * t)
        step, image = u * d + v * e, u * q + v * p
        dq = dot(step, image)
        return Candidate(step, image, dq, u * a + v * b) if dq > 0 else c


def _parallel(f: Array, r: Array, norm: float) -> bool:
    """Tell whether f is a multiple of r, up to rounding."""
    largest = float(np.abs(f).max())
    return bool(np.abs(f - (dot(f, r) / norm**2) * r).max() <= 1e-12 * largest)


def _racing() -> Any:
    """Yield (plain CG?, first of its window?) per iteration: L with DCDM, then L with CG; L doubles."""
    length = FIRST_WINDOW
    while True:
        for classic in (False, True):
            for k in range(length):
                yield classic, k == 0
        length *= 2


def conjugate_directions(
    system: System, options: DCDMOptions, callback: Callback = None
) -> tuple[Array, Ending]:
    """Run DCDM on a checked system; return the iterate and how it ended."""
    x = system.x.copy()
    r = system.residual(x)
    norm = norm2(r)
    ending = Ending(norm)
    state = _Iteration(system, options)
    race = _racing()
    rose = False
    while not norm <= system.target:
        k = ending.iterations
        if k == system.maxiter:
            ending.exhausted()
            return x, ending
        state.iteration = k
        classic, first = next(race) if options.race else (False, False)
        fallback = False
        if classic:
            if first and not state.classic:
                state.kept.clear()
                state.classic = True
            g, Ag = state.safe(r)
            c, fallback = state.try_(g, r, Ag, last=1), True
        elif options.direction is not None and (options.safeguard or options.subspace):
            c, fallback = state.guarded(r, norm, rose or k % options.check_every == 0)
        else:
            c = state.plain(r, norm)
        ending.n_fallback += fallback
        if c is None:
            ending.stop(*_breakdown(fallback or options.direction is None))
            return x, ending
        previous = norm
        norm = math.sqrt(advance(x, r, c.d, c.q, c.dr / c.dq))
        state.kept.add(c)
        r = system.project(r)
        if norm <= system.target or (k + 1) % REFRESH == 0:
            r, norm, drifted = system.refresh(x, r)
            if drifted and norm > system.target:
                state.kept.clear()
                if ending.in_vain(norm):
                    ending.residuals.append(norm)
                    return x, ending
        rose = norm > previous
        ending.residuals.append(norm)
        if callback is not None:
            callback(x * system.scale)
    ending.converged = True
    return x, ending


def _breakdown(fallback: bool) -> tuple[int, str]:
    """Return code and message where no direction is usable."""
    if fallback:
        return -1, f"breakdown: A returned NaN or infinity, or {SINGULAR}"
    return -2, (
        "breakdown: direction returned NaN, infinity, zero, or a vector in the span of the kept directions; "
        "x is the last finite iterate: pass safeguard=True"
    )


def dcdm(
    A: Any,
    b: ArrayLike,
    x0: ArrayLike | None = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    direction: Direction | None = None,
    M: Any = None,
    n_directions: int | None = 10,
    normalize: str = "rms",
    safeguard: bool = True,
    callback: Callback = None,
    return_info: bool = False,
    subspace: bool = False,
    race: bool | None = None,
    check_every: int = 5,
    n_train: int | None = None,
) -> tuple[Array, Any]:
    """Solve ``A x = b`` with search directions from any function, such as a trained network.

    Parameters
    ----------
    A : ndarray, sparse array or LinearOperator, shape (n, n)
        Real, symmetric, positive definite; semidefinite where `b` lies in its range.
    b : array_like, shape (n,) or (n, 1)
        Real, finite. Integers become float64.
    x0 : array_like, shape (n,), optional
        Start; zero by default. Never changed.
    rtol, atol : float
        Converged where ``||b - A x||_2 <= max(rtol ||b||_2, atol)``, tested on the true residual.
    maxiter : int, optional
        10 n by default.
    direction : callable, optional
        Maps the normalised residual, a float64 vector of length n, to a direction of the same
        length; of any size and sign. Default: ``M r``, or r without M.
    M : ndarray, sparse array or LinearOperator, optional
        Symmetric positive definite; the safe direction is then ``M r`` instead of r.
    n_directions : int or None
        Kept directions m; None keeps all. The paper has 2; 0 is a line search alone.
    normalize : {"rms", "unit"}
        The direction sees ``r / ||r||`` ("unit", the paper's), times ``sqrt(n / n_train)``
        ("rms"): entries as large as in training, whatever the size.
    safeguard : bool
        Refuse directions that are not finite, flat, or gain less than a tenth of the safe one
        (tested each `check_every` iterations and where the residual rose), and race against CG.
    callback : callable, optional
        Called as ``callback(x)`` with a copy of each iterate.
    return_info : bool
        Return a :class:`SolveInfo` in place of the code.
    subspace : bool
        Minimise over the span of the given, the safe and the kept directions: each step gains
        at least what steepest descent does. One more product an iteration.
    race : bool, optional
        Windows of 10, 20, 40, ... iterations, first with `direction` and then with plain
        (preconditioned) CG from where it stands. Default: as `safeguard`.
    check_every : int
    n_train : int, optional
        Unknowns of the training systems. Default: ``direction.n_train`` where it exists, else n.

    Returns
    -------
    x : ndarray, shape (n,)
        float32 where `b` is float32 (the iteration runs in float64), else float64.
    info : int or SolveInfo
        0 converged, > 0 iterations done without, < 0 breakdown (x is the last finite iterate).

    Raises
    ------
    numpy.linalg.LinAlgError
        Where ``d.Ad < 0`` or ``r.Mr <= 0`` shows that A or M is not positive definite.
    ValueError, TypeError
        For bad shapes and values, complex input, and arrays of other libraries.

    Warns
    -----
    ConvergenceWarning
        Where the tolerance was not met.

    Notes
    -----
    The paper's algorithm is ``safeguard=False, normalize="unit", n_directions=2``: with
    ``q_j = A p_j`` of the kept directions, ``d = f(r/||r||) - sum_j (d.q_j)/(p_j.q_j) p_j``,
    then an exact line search along d. Each step lowers the squared A-norm of the error by
    ``(d.r)^2 / d.Ad``; the 2-norm of the residual may rise. With ``f(r) = r`` it is CG, with
    ``f(r) = M r`` preconditioned CG.

    With the race the A-norm of the error never grows and the first window of CG of at least
    ``k* = ceil(sqrt(kappa) ln(2 ||e_0||_A / eps) / 2)`` iterations converges, so that fewer than
    ``7 k*`` iterations are needed, if that is more than the windows of ten, whatever `direction`
    returns. Cost of an iteration: one direction, one product, ``2 m + 4`` passes over vectors;
    memory ``2 m + 4`` vectors.

    References
    ----------
    Kaneda et al., A deep conjugate direction method for iteratively solving linear systems,
    ICML 2023, arXiv:2205.10763.

    Examples
    --------
    >>> import numpy as np
    >>> from theorylab.poisson import PoissonOperator, dcdm
    >>> A = PoissonOperator(np.pad(np.ones((6, 6), int), 1, constant_values=2))
    >>> b = np.arange(36.0)
    >>> x, info = dcdm(A, b, direction=np.sign, return_info=True)
    >>> bool(np.linalg.norm(b - A @ x) <= 1e-5 * np.linalg.norm(b)), info.converged
    (True, True)
    """
    start = time.perf_counter()
    options = dcdm_options(
        direction, n_directions, normalize, n_train, safeguard, subspace, race, check_every
    )
    system = System(A, b, x0, M, rtol=rtol, atol=atol, maxiter=maxiter)
    check_callable(callback, "callback")
    ready = time.perf_counter()
    x, ending = conjugate_directions(system, options, callback)
    return finish(system, x, ending, "dcdm", return_info, (ready - start, time.perf_counter() - ready))
