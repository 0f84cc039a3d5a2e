"""Log-tails against a NumPy contour and Imhof's integral; exact bias against the fitted pipeline."""

import warnings

import numpy as np
from _harness import Benchmark
from scipy import integrate, stats

from theorylab.inductive_bias import GeneralizedChi2, generalized_chi2_logcdf, inductive_bias


def numpy_logcdf(law, x):
    """The same contour for one positive spectrum in vectorised NumPy: nodes x weights for each value."""
    w, k, b = law.weights, law.dofs, law.shifts
    values = np.empty(len(x))
    for i, xi in enumerate(x):
        t = -0.5 * k.sum() / xi
        for _ in range(100):
            y = 2 * w * t / (1 - 2 * w * t)
            beta = b * t / (1 - 2 * w * t) ** 2
            first, second = np.sum(0.5 * k * y + beta), np.sum((0.5 * k * y + 2 * beta) * y)
            step = -np.log(first / (t * xi)) * first / second
            t *= np.exp(step)
            if abs(step) < 1e-6:
                break
        c = min(t, -1 / law.std())
        u = 1 - 2 * w * c
        y, beta = 2 * w * c / u, b * c / u**2
        second = np.sum((0.5 * k * y + 2 * beta) * y)
        bend = np.sum((k * y + 6 * beta) * y * y) / (6 * second)
        width = min(second**-0.5, 1.0)
        a = min(8 * width, 1 / abs(bend))
        h, total, previous = 0.75 * width / a, 0.0, np.inf
        for level in range(12):
            v = h * (np.arange(16 * 2**level) if level == 0 else np.arange(1, 16 * 2**level, 2))
            d = 1j * a * np.sinh(v) + 2 * a * a * bend * (np.cosh(v) - 1)
            factor = 1 - d[:, None] * y
            phi = np.sum(beta * d[:, None] / factor - 0.5 * k * np.log(factor), axis=1) - c * xi * d
            dz = 1j * a * np.cosh(v) + 2 * a * a * bend * np.sinh(v)
            f = np.imag(np.exp(phi) * dz / (1 + d))
            total += f.sum() - (0.5 * f[0] if level == 0 else 0.0)
            change = abs(total * h / previous - 1)
            previous = total * h
            if change**1.5 < 1e-13:
                break
            h /= 2
        height = np.sum(-0.5 * k * np.log1p(-2 * w * c) + b * c / u) - c * xi
        values[i] = height + np.log(previous / np.pi)
    return values


def imhof_cdf(law, x):
    """Imhof's integral by adaptive quadrature: absolute accuracy only."""
    w, k = law.weights, law.dofs

    def integrand(u):
        return np.sin(0.5 * np.sum(k * np.arctan(w * u)) - 0.5 * x * u) * np.exp(
            -0.25 * np.sum(k * np.log1p((w * u) ** 2))
        ) / u  # fmt: skip

    return 0.5 - integrate.quad(integrand, 0, np.inf, limit=500, epsabs=1e-9)[0] / np.pi


def fitted_pipeline(law, eps, rng, n_samples=10000):
    """Sample errors, fit a scaled non-central chi-squared law with the library's own start, extrapolate."""
    errors = law.rvs(n_samples, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        df, nc, _, scale = stats.ncx2.fit(errors, floc=0)
        return -stats.ncx2.logcdf(eps, df, nc, scale=scale)


def main():
    bench = Benchmark("inductive_bias")
    rng = np.random.default_rng(0)

    w = rng.exponential(size=2000) * np.arange(1, 2001) ** -1.2
    for name, shifts in (("central", 0 * w), ("with shifts", w * rng.exponential(size=2000))):
        law = GeneralizedChi2(w, shifts=shifts)
        x = law.mean() * np.geomspace(1e-3, 0.9, 64)
        exact = law.logcdf(x, tol=1e-15)

        def error(values, exact=exact):
            return float(np.max(np.abs(values - exact) / np.maximum(1, -exact)))

        bench.compare(
            f"64 log-tails, 2000 weights, {name}",
            ours=lambda law=law, x=x: law.logcdf(x),
            peer=lambda law=law, x=x: numpy_logcdf(law, x),
            peer_name="NumPy, same contour",
            accuracy=(error(law.logcdf(x)), error(numpy_logcdf(law, x))),
            target=">= 50",
        )

    small = GeneralizedChi2(0.9 ** np.arange(30.0))
    points = small.mean() * np.array([0.05, 0.3, 0.8])
    imhof = np.array([imhof_cdf(small, x) for x in points])
    bench.compare(
        "3 tails, 30 weights",
        ours=lambda: small.cdf(points),
        peer=lambda: [imhof_cdf(small, x) for x in points],
        peer_name="Imhof by scipy.quad",
        accuracy=(1e-14, float(np.max(np.abs(imhof / small.cdf(points) - 1)))),
    )

    batch = rng.exponential(size=(200, 50)) + 0.1
    at = 0.1 * batch.sum(axis=1)
    bench.compare(
        "200 laws of 50 weights",
        ours=lambda: generalized_chi2_logcdf(at, batch, 1.0, 0.0, 0.0),
        peer=lambda: [GeneralizedChi2(row).logcdf(v) for row, v in zip(batch, at)],
        peer_name="one law at a time",
    )

    X, Z = rng.standard_normal((50, 3)), rng.standard_normal((100, 3))
    y, t = np.sin(X.sum(1)), np.sin(Z.sum(1))

    def kernel(A, B):
        return np.exp(-np.maximum(np.sum(A**2, 1)[:, None] + np.sum(B**2, 1) - 2 * A @ B.T, 0))

    law = inductive_bias(kernel, X, y, Z, t, [], alpha=1e-8).distribution
    eps = 0.01 * law.mean()
    result = inductive_bias(kernel, X, y, Z, t, eps, alpha=1e-8)
    exact = float(result.estimate)
    fitted = float(fitted_pipeline(law, eps, np.random.default_rng(1)))
    bench.compare(
        "bias at 1 % of the mean error, 100 test points",
        ours=lambda: inductive_bias(kernel, X, y, Z, t, eps, alpha=1e-8),
        peer=lambda: fitted_pipeline(law, eps, np.random.default_rng(1)),
        peer_name="10000 samples, scipy ncx2.fit",
        repeats=6,
        accuracy=(float(result.numerical_error) / exact, abs(fitted / exact - 1)),
        target=">= 50, error >= 10 times smaller",
    )
    bench.finish()


if __name__ == "__main__":
    main()
