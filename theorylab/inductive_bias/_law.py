"""The generalised chi-squared distribution, with log-tails at full accuracy at any depth."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._lib.checks import check_choice, check_real
from .._lib.rng import RNGLike, as_generator
from ._blocks import in_blocks
from ._contour import CHERNOFF, CONVERGED, CROSSING, ERROR, LOG_PDF, LOG_TAIL, NODES, log_tails
from ._parameters import TailInfo, as_reals, cumulants, merge, read_parameters
from ._quadratic import diagonal_parts
from ._quantiles import solve_tail
from ._series import (
    chernoff_tail,
    log_complement,
    ruben_lower,
    saddlepoint_tail,
    warn_cancelled,
    warn_unconverged,
)

_METHODS = ("contour", "saddlepoint", "ruben", "chernoff")


class GeneralizedChi2:
    r"""Law of ``offset + sum_i w_i chi'^2_{k_i}(lambda_i) + sigma Z``, frozen, named as in `scipy.stats`.

    Parameters
    ----------
    weights : array_like, shape (N,) or scalar
        Real, of any sign, not all zero unless `sigma` > 0. Equal weights are merged; zero
        weights contribute their shifts to the offset.
    dofs : array_like, shape (N,) or scalar
        Degrees of freedom k_i > 0, not necessarily integers. Default 1.
    noncentralities : array_like, shape (N,) or scalar, optional
        lambda_i >= 0. Default 0.
    offset : float
    sigma : float
        Standard deviation of the Gaussian term, >= 0.
    shifts : array_like, shape (N,) or scalar, optional
        B_i = w_i lambda_i instead of `noncentralities`: well defined where w_i is tiny or zero.

    Raises
    ------
    ValueError
        For NaN or infinity, shapes that do not match, dofs <= 0, noncentralities < 0, shifts of the
        wrong sign, sigma < 0, all weights zero with sigma 0, or both `noncentralities` and `shifts`.

    Notes
    -----
    The tail on the far side of the mean is the contour integral
    ``(1/pi) Im int exp(K(t) - t x) dt / t`` through the saddlepoint of the cumulant
    generating function ``K(t) = sum_i [-(k_i/2) log u_i + B_i t / u_i] + sigma^2 t^2 / 2`` with
    ``u_i = 1 - 2 w_i t``, along a hyperbola that follows the path of steepest
    descent to second order, by the trapezoidal rule. About 40 nodes of O(N) work per value; no
    underflow at any depth. At and below the support `logcdf` is -inf and `logsf` 0.

    References
    ----------
    J. P. Imhof, Biometrika 48 (1961); H. Ruben, Ann. Math. Stat. 33 (1962); R. Lugannani and
    S. Rice, Adv. Appl. Prob. 12 (1980).

    Examples
    --------
    >>> from theorylab.inductive_bias import GeneralizedChi2
    >>> law = GeneralizedChi2([1.0, 0.5, 0.25], dofs=2)
    >>> print(f"{law.logcdf(1e-100):.10f}")
    -692.5672873674
    >>> print(f"{law.logsf(1e4):.10f}")
    -4999.0191707470
    >>> round(float(law.ppf(0.5)), 6)
    2.981336
    """

    def __init__(
        self,
        weights: ArrayLike,
        dofs: ArrayLike = 1,
        noncentralities: ArrayLike | None = None,
        *,
        offset: float = 0.0,
        sigma: float = 0.0,
        shifts: ArrayLike | None = None,
    ) -> None:
        w, k, b = read_parameters(weights, dofs, noncentralities, shifts)
        self.offset = check_real(offset, "offset")
        self.sigma = check_real(sigma, "sigma", low=0.0)
        if not np.any(w) and self.sigma == 0.0:
            raise ValueError(
                "weights are all zero and sigma is 0: the distribution is a point; pass a positive weight"
            )
        self.weights, self.dofs, self.shifts = w, k, b
        for array in (w, k, b):
            array.flags.writeable = False
        self._q0 = math.fsum([self.offset, *b[w == 0.0]])
        w, k, b = merge(w, k, b)
        self._parts = (w, k, b, self.sigma)
        self._mean = math.fsum([*(w * k), *b])
        # Moments in units of the scale: squares of weights may leave the range of floating-point numbers.
        largest = max(float(np.max(np.abs(w), initial=0.0)), self.sigma)
        scale = math.ldexp(1.0, math.frexp(largest)[1])
        w, b, s = w / scale, b / scale, self.sigma / scale
        variance = math.fsum([*(2 * k * w**2 + 4 * w * b), s * s])
        self._variance = float(variance * scale * scale)
        self._std = scale * math.sqrt(variance)
        w, b = w / math.sqrt(variance), b / math.sqrt(variance)
        self._skew = float(math.fsum(8 * k * w**3 + 24 * w**2 * b))
        self._low = 0.0 if self.sigma == 0.0 and np.all(w > 0.0) else -math.inf
        self._high = 0.0 if self.sigma == 0.0 and np.all(w < 0.0) else math.inf

    def __repr__(self) -> str:
        return (
            f"GeneralizedChi2({self.weights.size} weights, dofs {self.dofs.sum():g}, "
            f"mean {self.mean():.6g}, std {self.std():.6g})"
        )

    @classmethod
    def from_quadratic(
        cls, Q2: ArrayLike, q1: ArrayLike, q0: float, mean: ArrayLike, cov: ArrayLike
    ) -> GeneralizedChi2:
        """Return the law of ``x' Q2 x + q1' x + q0`` for x ~ N(mean, cov).

        Parameters
        ----------
        Q2 : array_like, shape (n, n)
            Its symmetric part is used.
        q1, mean : array_like, shape (n,)
        q0 : float
        cov : array_like, shape (n, n)
            Symmetric positive semi-definite.

        Raises
        ------
        ValueError
            For shapes that do not match, or a covariance with a negative eigenvalue.

        Notes
        -----
        Two eigendecompositions, about 18 n^3 flops. Directions in which the form is linear up to
        rounding become the Gaussian term.

        Examples
        --------
        >>> law = GeneralizedChi2.from_quadratic([[1.0]], [0.0], 0.0, [3.0], [[1.0]])
        >>> print(law.mean(), law.var())  # chi'^2_1(9)
        10.0 38.0
        """
        weights, shifts, constant, sigma = diagonal_parts(Q2, q1, q0, mean, cov)
        return cls(weights, 1, offset=constant, sigma=sigma, shifts=shifts)

    def mean(self) -> float:
        """Return the mean, sum_i (k_i w_i + B_i) + offset."""
        return self._mean + self._q0

    def var(self) -> float:
        """Return the variance, sum_i (2 k_i w_i^2 + 4 w_i B_i) + sigma^2."""
        return self._variance

    def std(self) -> float:
        """Return the standard deviation."""
        return self._std

    def skew(self) -> float:
        """Return the skewness, K'''(0) / K''(0)^(3/2)."""
        return self._skew

    def median(self) -> float:
        """Return the median."""
        return float(self.ppf(0.5))

    def interval(self, confidence: float) -> tuple[float, float]:
        """Return the equal-tailed interval that holds `confidence` of the probability."""
        tail = 0.5 * (1.0 - check_real(confidence, "confidence", low=0.0, high=1.0))
        return float(self.ppf(tail)), float(self.isf(tail))

    def support(self) -> tuple[float, float]:
        """Return the ends of the support."""
        return self._low + self._q0, self._high + self._q0

    def cgf(self, t: ArrayLike, order: int = 0) -> NDArray[np.float64]:
        """Evaluate a derivative (order 0 to 3) of the cumulant generating function log E exp(t Q).

        Outside its strip of convergence order 0 is inf and the derivatives are NaN.
        """
        check_choice(order, "order", (0, 1, 2, 3))
        at = as_reals(t, "t")
        value = cumulants(*self._parts, self._q0, at.reshape(-1), order)
        return value.reshape(at.shape)[()]

    def logcdf(
        self, x: ArrayLike, method: str = "contour", tol: float = 1e-13, return_info: bool = False
    ) -> Any:
        """Evaluate log P(Q <= x).

        Parameters
        ----------
        x : array_like
        method : {"contour", "saddlepoint", "ruben", "chernoff"}
            "contour": full accuracy. "saddlepoint": Lugannani-Rice, O(N), error about 0.16 / dof.
            "ruben": a series of positive terms with a certified remainder, for positive weights of
            moderate spread and sigma = 0. "chernoff": a certified upper bound.
        tol : float
            Relative tolerance of the quadrature.
        return_info : bool
            Return ``(value, TailInfo)``.

        Returns
        -------
        float64 or ndarray, shape of `x`

        Warns
        -----
        scipy.integrate.IntegrationWarning
            If 12 halvings of the step did not reach `tol`, or Ruben's series left a remainder.
        """
        return self._evaluate(x, method, tol, return_info, upper=False)

    def logsf(
        self, x: ArrayLike, method: str = "contour", tol: float = 1e-13, return_info: bool = False
    ) -> Any:
        """Evaluate log P(Q > x); parameters as for `logcdf`."""
        return self._evaluate(x, method, tol, return_info, upper=True)

    def cdf(self, x: ArrayLike) -> Any:
        """Evaluate P(Q <= x)."""
        return np.exp(self.logcdf(x))

    def sf(self, x: ArrayLike) -> Any:
        """Evaluate P(Q > x)."""
        return np.exp(self.logsf(x))

    def pdf(self, x: ArrayLike) -> Any:
        """Evaluate the density."""
        return np.exp(self.logpdf(x))

    def logpdf(self, x: ArrayLike) -> Any:
        """Evaluate the log of the density, by the same contour."""
        at, z = self._centred(x)
        value = np.where(np.isnan(z), np.nan, -np.inf)
        inside = (z > self._low) & (z < self._high) & np.isfinite(z)
        value[inside] = self._rows(z[inside], 1e-13, True)[:, LOG_PDF]
        edge = z == (self._low if math.isfinite(self._low) else self._high)
        if edge.any():
            w, k, b, _ = self._parts
            dof = float(k.sum())
            at_edge = -math.log(2.0) - float(np.sum(0.5 * k * np.log(np.abs(w)) + 0.5 * b / w))
            value[edge] = at_edge if dof == 2.0 else math.inf if dof < 2.0 else -math.inf
        return value.reshape(at.shape)[()]

    def ppf(self, q: ArrayLike) -> Any:
        """Return x with P(Q <= x) = q; NaN outside [0, 1]."""
        return self._invert(q, upper=False)

    def isf(self, q: ArrayLike) -> Any:
        """Return x with P(Q > x) = q; NaN outside [0, 1]."""
        return self._invert(q, upper=True)

    def rvs(self, size: int | tuple[int, ...] | None = None, random_state: RNGLike = None) -> Any:
        """Draw independent variates."""
        rng = as_generator(random_state, "random_state")
        shape = () if size is None else (size,) if isinstance(size, (int, np.integer)) else tuple(size)
        w, k, b, sigma = self._parts
        total = np.full(shape, self._q0)
        for wi, ki, bi in zip(w, k, b):
            if ki > 1.0:
                # Never divides B by w, which may be tiny.
                core = (math.sqrt(abs(wi)) * rng.standard_normal(shape) + math.sqrt(abs(bi))) ** 2
                total += math.copysign(1.0, wi) * (core + abs(wi) * rng.chisquare(ki - 1.0, shape))
            elif ki == 1.0:
                core = (math.sqrt(abs(wi)) * rng.standard_normal(shape) + math.sqrt(abs(bi))) ** 2
                total += math.copysign(1.0, wi) * core
            else:
                total += wi * rng.noncentral_chisquare(ki, bi / wi, shape)
        if sigma > 0.0:
            total += sigma * rng.standard_normal(shape)
        return total[()]

    def _centred(self, x: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return x as float64, and flat with the offset subtracted, which must come before anything else."""
        at = as_reals(x, "x")
        return at, at.reshape(-1) - self._q0

    def _rows(self, z: NDArray[Any], tol: float, density: bool) -> NDArray[Any]:
        """Run the kernel in calls short enough to be interrupted."""
        upper = z > self._mean
        rows = np.empty((z.size, LOG_PDF + 1))

        def run(part: slice) -> NDArray[Any]:
            return np.asarray(log_tails(z[part], *self._parts, upper[part], tol, density))

        for part, values in in_blocks(run, z.size, self._parts[0].size):
            rows[part] = values
        return rows

    def _evaluate(self, x: ArrayLike, method: str, tol: float, return_info: bool, upper: bool) -> Any:
        check_choice(method, "method", _METHODS)
        tol = check_real(tol, "tol", low=0.0, open_low=True)
        at, z = self._centred(x)
        below, above = z <= self._low, z >= self._high
        below |= z == -np.inf
        above |= z == np.inf
        value = np.full(z.size, np.nan)
        value[below] = 0.0 if upper else -np.inf
        value[above] = -np.inf if upper else 0.0
        inside = ~(below | above | np.isnan(z))
        right = z > self._mean
        error, nodes, crossing = np.zeros(z.size), np.zeros(z.size), np.full(z.size, np.nan)
        converged = np.ones(z.size, dtype=bool)
        if inside.any():
            zi, ri = z[inside], right[inside]
            if method == "contour":
                rows = self._rows(zi, tol, False)
                tail, error[inside] = np.minimum(rows[:, LOG_TAIL], 0.0), rows[:, ERROR]
                # By Chernoff's bound there is nothing to subtract from 1, converged or not.
                nothing = (ri != upper) & (rows[:, CHERNOFF] < -800.0)
                error[inside] = np.where(nothing, 0.0, error[inside])
                nodes[inside], converged[inside] = rows[:, NODES], nothing | (rows[:, CONVERGED] > 0.0)
                crossing[inside] = rows[:, CROSSING]
                if not np.all(converged):
                    warn_unconverged(np.max(error))
            elif method == "ruben":
                w, k, b, sigma = self._parts
                if sigma > 0.0 or np.any(w < 0.0):
                    raise ValueError(
                        "method 'ruben' needs positive weights and sigma = 0; use method='contour'"
                    )
                tail, error[inside], nodes[inside] = ruben_lower(zi, w, k, b, tol)
                ri = np.zeros_like(ri)
            else:
                tail = (saddlepoint_tail if method == "saddlepoint" else chernoff_tail)(zi, *self._parts, ri)
                error[inside] = np.nan
            other = ri != upper
            if method == "chernoff":
                # On the other side of the mean no tilt helps: the bound is 1.
                tail = np.where(other, 0.0, tail)
            else:
                flipped = log_complement(tail)
                with np.errstate(invalid="ignore", over="ignore"):
                    carried = error[inside] * np.exp(np.minimum(tail - flipped, 700.0)) + 2.3e-16
                error[inside] = np.where(other & np.isfinite(error[inside]), carried, error[inside])
                tail = np.where(other, flipped, tail)
                if method == "ruben" and upper:
                    warn_cancelled(error[inside], tail, tol)
            value[inside] = tail
        result = value.reshape(at.shape)[()]
        if not return_info:
            return result
        fields: list[Any] = [error, nodes, converged, crossing, right]
        return result, TailInfo(*(field.reshape(at.shape)[()] for field in fields))

    def _invert(self, q: ArrayLike, upper: bool) -> Any:
        """Solve log tail = log q on the side of the mean where q lies."""
        at = as_reals(q, "q")
        flat = at.reshape(-1)
        result = np.full(flat.size, np.nan)
        ends = (self._high, self._low) if upper else (self._low, self._high)
        result[flat == 0.0], result[flat == 1.0] = ends
        inner = np.flatnonzero((flat > 0.0) & (flat < 1.0))
        if inner.size:
            split = float(np.exp(self._evaluate(self._mean + self._q0, "contour", 1e-13, False, upper)))
            here = flat[inner] <= split
            with np.errstate(divide="ignore"):
                target = np.where(here, np.log(flat[inner]), np.log1p(-flat[inner]))
            for side in (False, True):
                chosen = here == (side == upper)
                if chosen.any():
                    result[inner[chosen]] = solve_tail(
                        target[chosen],
                        self._mean,
                        self._std,
                        1.0 if side else -1.0,
                        math.isfinite(self._high if side else self._low),
                        partial(self._side, upper=side),
                        lambda z: self._rows(z, 1e-10, True)[:, LOG_PDF],
                    )
        return (result + self._q0).reshape(at.shape)[()]

    def _side(self, z: NDArray[Any], upper: bool) -> NDArray[Any]:
        """Return the log of one tail at z on that side of the mean."""
        tail = np.minimum(self._rows(z, 1e-13, False)[:, LOG_TAIL], 0.0)
        return np.where((z > self._mean) == upper, tail, log_complement(tail))
