"""Maximum likelihood of scaled chi-squared laws, central and non-central, with the error of a log-tail."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ._law import GeneralizedChi2

# A fit works on at most this many cells of the sample: finer changes neither optimum nor curvature.
_CELLS = 400
# Below this standard deviation in units of the mean the laws are normal but for their skewness.
_NARROW = 1e-3


def gamma_mle(errors: NDArray[Any]) -> tuple[float, float]:
    """Return shape a and scale theta of the gamma law, by Newton on log a - psi(a) = s."""
    mean = float(errors.mean())
    s = _log_gap(errors, mean)
    a = (3.0 - s + math.sqrt((s - 3.0) ** 2 + 24.0 * s)) / (12.0 * s)
    # The start is right to s^2; where that is rounding, Newton's differences are too.
    for _ in range(50 if s > 1e-6 else 0):
        step = (math.log(a) - float(special.digamma(a)) - s) / (1.0 / a - float(special.polygamma(1, a)))
        new = a - step if a - step > 0.0 else 0.5 * a
        if abs(new - a) <= 1e-14 * a:
            return new, mean / new
        a = new
    return a, mean / a


def _log_gap(errors: NDArray[Any], mean: float) -> float:
    """Return log(mean) - mean(log errors), without cancellation where the errors hardly differ."""
    d = errors / mean - 1.0
    d -= d.mean()
    near = np.abs(d) < 1e-3
    small = d[near]
    # d - log(1 + d); the next term is below rounding.
    terms = small * small * (1 / 2 - small * (1 / 3 - small * (1 / 4 - small * (1 / 5 - small / 6))))
    far = d[~near] - (np.log(errors[~near]) - math.log(mean))
    return float((terms.sum() + far.sum()) / errors.size)


def unbiased(a: float, theta: float, size: int) -> tuple[float, float]:
    """Take the bias of order 1/S off the shape, at the same mean."""
    bias = (3.0 * a - 2.0 / 3.0 * a / (1.0 + a) - 0.8 * a / (1.0 + a) ** 2) / size
    corrected = a - min(bias, 0.5 * a)
    return corrected, a * theta / corrected


def gamma_law(a: float, theta: float) -> GeneralizedChi2:
    """Return Gamma(a, theta) as theta/2 times a chi-squared with 2a degrees of freedom."""
    return GeneralizedChi2([0.5 * theta], dofs=2.0 * a)


def gamma_variance(a: float, theta: float, eps: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    r"""Return I(eps) = -log P(a, eps / theta) and S times the asymptotic variance of its estimate.

    v = [a g_a^2 - 2 theta g_a g_th + theta^2 psi1(a) g_th^2] / (a psi1(a) - 1), g the gradient of I. Shape
    and mean are orthogonal: v is h_a^2 / (psi1(a) - 1/a) + h_m^2 / a, h the derivatives in a and log mean.
    """
    step = 1e-4
    at = np.asarray(eps, dtype=np.float64)
    law = gamma_law(a, theta)
    nats = -np.asarray(law.logcdf(at))
    above = -np.asarray(gamma_law(a * (1.0 + step), theta / (1.0 + step)).logcdf(at))
    below = -np.asarray(gamma_law(a * (1.0 - step), theta / (1.0 - step)).logcdf(at))
    by_shape = (above - below) / (2.0 * step * a)
    # dI/dlog(mean) = eps * pdf / cdf: free of units, which squares of eps and theta would not survive.
    with np.errstate(divide="ignore"):
        by_mean = np.exp(np.asarray(law.logpdf(at)) + nats + np.log(at))
    if a < 1e3:
        information = float(special.polygamma(1, a)) - 1.0 / a
    else:
        information = (0.5 + (1.0 / 6.0 - 1.0 / (30.0 * a * a)) / a) / a / a
    return nats, by_shape**2 / information + by_mean**2 / a


def _log_bessel(order: float, z: NDArray[Any]) -> NDArray[Any]:
    """Return log(I_order(z)); where the library underflows the order is large and Debye's expansion holds."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        value = np.log(special.ive(order, z)) + z
    # The leading term of the power series: the next one is below rounding.
    tiny = z * z < 1e-16 * (order + 1.0)
    value[tiny] = order * np.log(np.maximum(0.5 * z[tiny], 1e-300)) - float(special.gammaln(order + 1.0))
    lost = ~np.isfinite(value)
    if lost.any():
        zl = np.maximum(z[lost], 1e-300)
        root = np.hypot(1.0, zl / order)
        p = 1.0 / root
        eta = root + np.log(zl / order) - np.log1p(root)
        u1 = (3 * p - 5 * p**3) / 24
        u2 = (81 * p**2 - 462 * p**4 + 385 * p**6) / 1152
        u3 = (30375 * p**3 - 369603 * p**5 + 765765 * p**7 - 425425 * p**9) / 414720
        tail = np.log1p(u1 / order + u2 / order**2 + u3 / order**3)
        value[lost] = order * eta - 0.5 * np.log(2.0 * np.pi * order * root) + tail
    return np.asarray(value)


def _log_density(e: NDArray[Any], df: float, nc: float, scale: float) -> NDArray[Any]:
    """Return the log-density of scale * chi'^2_df(nc)."""
    x = e / scale
    log_x = np.log(e) - math.log(scale)
    if nc < 1e-12 * df:
        constant = 0.5 * df * math.log(2) + float(special.gammaln(0.5 * df)) + math.log(scale)
        return np.asarray((0.5 * df - 1) * log_x - 0.5 * x - constant)
    order = 0.5 * df - 1.0
    bessel = _log_bessel(order, np.sqrt(nc * x)) if order > -1.0 else np.full(x.shape, -np.inf)
    return np.asarray(-0.5 * (x + nc) + 0.5 * order * (log_x - math.log(nc)) + bessel - math.log(2.0 * scale))


def _unpack(share: float, log_total: float, log_mean: float) -> tuple[float, float, float]:
    """Return df, nc, scale for the non-central share of df + nc, and the logs of df + nc and of the mean."""
    total = math.exp(log_total)
    return (1.0 - share) * total, share * total, math.exp(log_mean) / total


class NoncentralFit:
    """Likelihood of scale * chi'^2_df(nc), profiled over the non-central share, hardly determined."""

    def __init__(self, errors: NDArray[Any]) -> None:
        self.errors = errors
        # Towards share 1 the law is Gaussian in sqrt(e): a sparse grid there is enough.
        self.shares = np.concatenate([[0.0, 0.01], np.linspace(0.1, 0.9, 9), [0.95, 0.98, 0.99]])
        mean = float(errors.mean())
        relative = errors / mean - 1.0
        # The mean itself is rounded, which such errors would feel.
        rest = float(relative.mean())
        relative -= rest
        spread = float(relative.std())
        if spread < _NARROW:
            self.profile = _narrow_profile(relative / spread, spread, math.log(mean) + rest, self.shares)
            best = max(range(len(self.shares)), key=lambda i: self.profile[i][0])
            log_total, log_mean = (float(p) for p in self.profile[best][1])
            self.parameters = _unpack(float(self.shares[best]), log_total, log_mean)
            return
        ordered = np.sort(errors)
        cells = np.array_split(ordered, min(_CELLS, ordered.size))
        self._points = np.array([cell.mean() for cell in cells])
        self._counts = np.array([float(cell.size) for cell in cells])
        a, theta = gamma_mle(errors)
        self._start = (math.log(2.0 * a), math.log(a * theta))
        self.profile = [self._conditional(share) for share in self.shares]
        best = max(range(len(self.shares)), key=lambda i: self.profile[i][0])
        self.parameters = self._refine(best)

    def _loss(self, share: float, p: NDArray[Any]) -> float:
        if not 0.0 <= share < 0.9999 or abs(p[0]) > 40.0 or abs(p[1] - self._start[1]) > 20.0:
            return 1e300
        value = float(-(self._counts @ _log_density(self._points, *_unpack(share, p[0], p[1]))))
        return value if math.isfinite(value) else 1e300

    def _conditional(self, share: float) -> tuple[float, NDArray[Any], NDArray[Any]]:
        """Return log-likelihood, optimum (log total, log mean) and Hessian of the loss at one share."""
        # A non-central law of share s has the variance of a central one with dof total / (1 + s).
        point = np.array([self._start[0] + math.log1p(share), self._start[1]])

        def loss(p: NDArray[Any]) -> float:
            return self._loss(share, p)

        value = loss(point)
        for _ in range(12):
            gradient, hessian = _derivatives(loss, point, value, 1e-3)
            try:
                np.linalg.cholesky(hessian)
                move = -np.linalg.solve(hessian, gradient)
            except np.linalg.LinAlgError:
                move = -gradient / max(1.0, float(np.linalg.norm(gradient)))
            move *= min(1.0, 1.0 / max(1e-300, float(np.abs(move).max())))
            new = loss(point + move)
            while new > value and float(np.abs(move).max()) > 1e-10:
                move = 0.25 * move
                new = loss(point + move)
            if new >= value:
                break
            gain, point, value = value - new, point + move, new
            if gain < 1e-7:
                break
        return -value, point, _derivatives(loss, point, value, 1e-3)[1]

    def _refine(self, best: int) -> tuple[float, float, float]:
        """Maximise over all three parameters, on the whole sample."""
        from scipy.optimize import minimize

        share = float(np.clip(self.shares[best], 1e-4, 0.995))
        start = np.array([math.log(share / (1.0 - share)), *self.profile[best][1]])

        def loss(q: NDArray[Any]) -> float:
            if abs(q[0]) > 12.0 or abs(q[1]) > 40.0:
                return 1e300
            value = -float(_log_density(self.errors, *_unpack(float(special.expit(q[0])), q[1], q[2])).mean())
            return value if math.isfinite(value) else 1e300

        simplex = np.vstack(
            [start, start + [0.5, 0.1, 0.0], start + [0.0, 0.1, 0.0], start + [0.0, 0.0, 0.02]]
        )
        found = minimize(
            loss, start, method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": 1e-5, "fatol": 1e-9, "maxiter": 400},
        )  # fmt: skip
        fitted = _unpack(float(special.expit(found.x[0])), found.x[1], found.x[2])
        central = -float(_log_density(self.errors, *_unpack(0.0, *self.profile[0][1])).mean())
        return fitted if found.fun < central else _unpack(0.0, *self.profile[0][1])

    def law(self) -> GeneralizedChi2:
        """Return the fitted law."""
        df, nc, scale = self.parameters
        return GeneralizedChi2([scale], dofs=df, noncentralities=[nc])

    def interval(self, eps: NDArray[Any], quantile: float) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the range of I over the likelihood-ratio region of radius `quantile` standard deviations.

        At each share the region is an ellipse about the conditional optimum, whose image under I is
        taken to first order in log I; the union over shares follows the ridge along which the
        likelihood is flat, where a single quadratic approximation would be far too short.
        """
        top = max(value for value, _, _ in self.profile)
        low, high = np.full(eps.shape, np.inf), np.full(eps.shape, -np.inf)
        for share, (value, point, hessian) in zip(self.shares, self.profile):
            room = quantile**2 - 2.0 * (top - value)
            if room <= 0.0:
                continue
            nats = partial(self._log_nats, float(share), eps=eps)
            centre = nats(point)
            # A fraction of the standard errors: a narrow law feels the smallest change of its mean.
            steps = np.minimum(1e-4, 0.1 / np.sqrt(np.maximum(np.diag(hessian), 1e-300)))
            with np.errstate(invalid="ignore"):
                gradient = np.stack(
                    [(nats(point + h) - nats(point - h)) / (2.0 * h.sum()) for h in np.diag(steps)]
                )  # fmt: skip
            # Where no probability is left above eps, I is 0 at every law of the region.
            gradient = np.where(np.isneginf(centre), 0.0, gradient)
            spread = np.einsum("i...,ij,j...->...", gradient, np.linalg.pinv(hessian), gradient)
            reach = np.sqrt(room * np.maximum(spread, 0.0))
            low, high = np.minimum(low, centre - reach), np.maximum(high, centre + reach)
        return np.exp(low), np.exp(high)

    @staticmethod
    def _log_nats(share: float, point: NDArray[Any], eps: NDArray[Any]) -> NDArray[Any]:
        df, nc, scale = _unpack(share, float(point[0]), float(point[1]))
        nats = -np.asarray(GeneralizedChi2([scale], dofs=df, noncentralities=[nc]).logcdf(eps))
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(nats))


def _narrow_profile(
    z: NDArray[Any], spread: float, log_mean: float, shares: NDArray[Any]
) -> list[tuple[float, NDArray[Any], NDArray[Any]]]:
    """Return what `NoncentralFit._conditional` does, in the nearly normal limit of a small relative spread.

    There mean and variance, 2 (1 + s) / total of the mean squared, are those of the sample z (standardised),
    with the Fisher information of the normal law; the log-likelihoods of the shares differ by the first terms
    of Edgeworth's series, from the skewness 2 (1 + 2 s) / (1 + s)^2 times the spread. What is left out is of
    order spread^2. No density is evaluated: its logarithm would cancel to nothing beside 1 / spread^2.
    """
    size = float(z.size)
    third = float(np.mean(z**3))
    # From log sd = log mean + log(2 (1 + s) / total) / 2.
    hessian = size * np.array([[0.5, -1.0], [-1.0, 2.0 + 1.0 / spread**2]])
    profile = []
    for share in shares:
        skewness = 2.0 * (1.0 + 2.0 * share) / (1.0 + share) ** 2 * spread
        value = size * (skewness * third / 6.0 - skewness**2 / 12.0)
        log_total = math.log(2.0 * (1.0 + share)) - 2.0 * math.log(spread)
        profile.append((value, np.array([log_total, log_mean]), hessian))
    return profile


def _derivatives(
    f: Callable[[NDArray[Any]], float], p: NDArray[Any], value: float, h: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return gradient and Hessian of a function of two variables by central differences."""
    ex, ey = np.array([h, 0.0]), np.array([0.0, h])
    xp, xm, yp, ym = f(p + ex), f(p - ex), f(p + ey), f(p - ey)
    mixed = (f(p + ex + ey) - f(p + ex - ey) - f(p - ex + ey) + f(p - ex - ey)) / (4 * h * h)
    gradient = np.array([xp - xm, yp - ym]) / (2 * h)
    hessian = np.array([[xp - 2 * value + xm, mixed * h * h], [mixed * h * h, yp - 2 * value + ym]]) / (h * h)
    return gradient, hessian
