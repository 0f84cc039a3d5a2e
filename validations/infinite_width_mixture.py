"""A random variance of the readout turns the Gaussian process into a Student-t process."""

import math

import mpmath as mp
import numpy as np
from scipy import stats

from theorylab.infinite_width import InfiniteWidthRegressor, NNGPKernel, criticality, kernels
from theorylab.validation import Claim, Exact, FollowsLaw, Holds, Samples, Within, grid, main

NET = {"depth": 3, "activation": "erf", "w_var": 2.25, "b_var": 0.0025}
X = np.array([[0.7]])
K = float(kernels.nngp(X, **NET)[0, 0])

marginal = Claim(
    id="infinite_width.student-t",
    statement="With an inverse-gamma variance of the readout the output of a wide network follows a "
    "Student-t law.",
    source="Lee et al. 2022, Theorem 3.1: f ~ t with 2 alpha degrees of freedom and scale (beta / alpha) K",
    criterion=FollowsLaw(distance=0.01),
    quick=grid(width=[64], alpha=[1.0, 2.0], replicates=4),
    full=grid(width=[64, 256, 1024], alpha=[1.0, 2.0], replicates=16),
)


def outputs(width, alpha, rng, random_scale=True, n=50_000):
    s = alpha / rng.gamma(alpha, size=n) if random_scale else np.ones(n)
    return criticality.exact_sampler(X, width=width, last_w_var=s, n_samples=n, rng=rng, **NET)[:, 0]


@marginal.predict
def student(width, alpha):
    return stats.t(df=2 * alpha, scale=math.sqrt(K))  # alpha = beta


@marginal.measure
def random_scale(width, alpha, rng):
    return outputs(width, alpha, rng)


def gaussian_law(width, alpha):
    return stats.norm(scale=math.sqrt(K * alpha / (alpha - 1.0)))


@marginal.control(
    "a Gaussian of the same variance has lighter tails",
    grid=grid(width=[64], alpha=[2.0], replicates=1),
    predict=gaussian_law,
)
def against_gaussian(width, alpha, rng):
    return outputs(width, alpha, rng)


@marginal.control(
    "without a random scale the output is Gaussian", grid=grid(width=[64], alpha=[2.0], replicates=1)
)
def fixed_scale(width, alpha, rng):
    return outputs(width, alpha, rng, random_scale=False)


@marginal.control("four neurons are too few", grid=grid(width=[4], alpha=[1.0, 2.0], replicates=4))
def narrow(width, alpha, rng):
    return outputs(width, alpha, rng)


@marginal.figure
def draw_tail(ax, result):
    x = np.sort(np.abs(result.samples(width=64, alpha=2.0)))
    tail = 1.0 - (np.arange(x.size) + 0.5) / x.size
    keep = np.unique(np.geomspace(1, x.size, 300).astype(int)) - 1
    keep = x.size - 1 - keep
    u = np.linspace(0.05, x.max(), 400)
    ax.plot(u, 2 * stats.t(df=4.0, scale=math.sqrt(K)).sf(u), "--", label="Student t, 4 degrees of freedom")
    ax.plot(u, 2 * gaussian_law(64, 2.0).sf(u), "-", color="0.6", label="Gaussian of the same variance")
    ax.plot(x[keep], tail[keep], ".", label="networks of width 64")
    ax.set(
        xscale="log",
        yscale="log",
        xlim=(0.05, 1.2 * x[-1]),
        ylim=(1 / x.size, 2),
        xlabel="size of the output |f|",
        ylabel="P(|output| > |f|)",
    )
    ax.legend()


tail = Claim(
    id="infinite_width.tail-index",
    statement="The largest outputs of networks of width 64 fall off with tail index 2 alpha, within 20 %.",
    source="Lee et al. 2022, Theorem 3.1; Hill's estimator on the top 1 %",
    criterion=Within(rel=0.2),
    quick=grid(alpha=[1.0, 2.0], replicates=12),
    full=grid(alpha=[1.0, 2.0], replicates=100),
)


@tail.predict
def index(alpha):
    return 2 * alpha


def hill(f):
    top = np.sort(np.abs(f))[-(len(f) // 100) :]
    return 1.0 / np.mean(np.log(top / top[0]))


@tail.measure
def random_tail(alpha, rng):
    return hill(outputs(64, alpha, rng, n=20_000))


@tail.control("without a random scale the tail is Gaussian", grid=grid(alpha=[1.0, 2.0], replicates=4))
def fixed_tail(alpha, rng):
    return hill(outputs(64, alpha, rng, random_scale=False, n=20_000))


@tail.figure
def draw_index(ax, result):
    result.errorbar(ax, label="random scale")
    result.errorbar(ax, branch="fixed_tail", color="0.6", label="fixed scale")
    ax.plot([1, 2], [2, 4], "--", label="2 alpha")
    ax.set(xlabel="alpha", ylabel="tail index of the output, top 1 %", ylim=(0, None))
    ax.legend()


gaussian = Claim(
    id="infinite_width.gaussian-limit",
    statement="With a fixed variance of the readout networks of width 64 are Gaussian with covariance K.",
    source="Lee et al. 2018; the case s = 1 of Lee et al. 2022",
    criterion=FollowsLaw(distance=0.015),
    quick=grid(width=[64], replicates=4),
    full=grid(width=[64, 256, 1024], replicates=16),
)


@gaussian.predict
def normal(width):
    return stats.norm(scale=math.sqrt(K))


@gaussian.measure
def fixed_networks(width, rng):
    return outputs(width, 2.0, rng, random_scale=False, n=20_000)


@gaussian.control("the t law has heavier tails", predict=lambda width: stats.t(4, scale=math.sqrt(K)))
def against_t(width, rng):
    return fixed_networks(width, rng)


@gaussian.figure
def draw_gaussian(ax, result):
    f = result.samples(width=64)
    u = np.linspace(-4 * math.sqrt(K), 4 * math.sqrt(K), 300)
    ax.hist(f, bins=80, density=True, color="C0", alpha=0.4, label="networks of width 64")
    ax.plot(u, normal(64).pdf(u), "--", label="N(0, K)")
    ax.plot(u, stats.t(4, scale=math.sqrt(K)).pdf(u), color="0.6", label="Student t, 4 degrees of freedom")
    ax.set(xlabel="output f", ylabel="density")
    ax.legend()


joint = Claim(
    id="infinite_width.shared-scale",
    statement="All outputs of a network share one random scale, so whitened outputs are dependent.",
    source="Lee et al. 2022, eq. (2): a multivariate t, not independent t variables",
    criterion=Within(abs=0.04),
    quick=grid(width=[64], replicates=24),
    full=grid(width=[64, 256, 1024], replicates=96),
)
PAIR = np.array([[0.7], [-1.1]])


def correlation(f):
    a = np.abs(f)
    return np.corrcoef(a[:, 0], a[:, 1])[0, 1]


@joint.predict
def shared(width):
    mean, root = 1.5, math.sqrt(3.0) * math.gamma(2.5) / math.gamma(3.0)  # alpha = beta = 3
    return 2 / math.pi * (mean - root**2) / (mean - 2 / math.pi * root**2)


@joint.measure
def networks(width, rng, n=6000):
    s = 3.0 / rng.gamma(3.0, size=n)
    f = criticality.exact_sampler(PAIR, width=width, last_w_var=s, n_samples=n, rng=rng, **NET)
    return correlation(np.linalg.solve(np.linalg.cholesky(kernels.nngp(PAIR, **NET)), f.T).T)


@joint.control("independent t variables, which a common sampler draws instead, are uncorrelated")
def independent(width, rng, n=6000):
    return correlation(rng.standard_t(6.0, size=(n, 2)))


@joint.figure
def draw_correlation(ax, result):
    for offset, branch, label in ((0, None, "networks"), (1, "independent", "independent t variables")):
        values = result.samples(branch=branch, width=64)
        ax.plot(np.full(values.size, offset), values, ".", color="0.6" if branch else None, label=label)
    ax.axhline(shared(64), ls="--", label="one shared scale, exact")
    ax.set(
        xlim=(-0.7, 1.7),
        xticks=[0, 1],
        xticklabels=["networks, width 64", "independent"],
        ylabel="corr(|f1|, |f2|), whitened",
    )
    ax.legend()


interval = Claim(
    id="infinite_width.shared-scale-bootstrap",
    statement="Bootstrap intervals (99.9 %) of it from 20 000 exact draws hold 0.1694 and not 0, "
    "four times in five at least.",
    source="Lee et al. 2022, eq. (2)",
    criterion=Holds(0.8),
    quick=grid(replicates=48),
    full=grid(replicates=480),
)


def bootstrap(f, rng, resamples=1000):
    """Percentile interval of corr(|f1|, |f2|); blocks of 40 rows are resampled."""
    a = np.abs(f)
    columns = np.stack([a[:, 0], a[:, 1], a[:, 0] ** 2, a[:, 1] ** 2, a[:, 0] * a[:, 1]], axis=1)
    blocks = columns.reshape(-1, 40, 5).mean(axis=1)
    weights = rng.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), size=resamples)
    x, y, xx, yy, xy = (weights @ blocks / len(blocks)).T
    draws = (xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y))
    return np.quantile(draws, [0.0005, 0.9995])


def holds(f, rng):
    low, high = bootstrap(f, rng)
    return Samples(low <= shared(0) <= high and low > 0, interval=[low, high])


@interval.measure
def one_scale(rng, n=20_000):
    return holds(rng.standard_normal((n, 2)) * np.sqrt(3.0 / rng.gamma(3.0, size=n))[:, None], rng)


@interval.control("independent t variables are uncorrelated")
def two_scales(rng, n=20_000):
    return holds(rng.standard_t(6.0, size=(n, 2)), rng)


@interval.figure
def draw_intervals(ax, result):
    for branch, color, label in ((None, "C0", "one shared scale"), ("two_scales", "0.6", "independent")):
        for k, (low, high) in enumerate(result.extras("interval", branch=branch)):
            ax.plot([k, k], [low, high], color=color, label=label if k == 0 else None)
    ax.axhline(shared(0), ls="--", label="0.1694, exact")
    ax.set(xlabel="replicate", ylabel="corr(|f1|, |f2|), 99.9 % bootstrap", ylim=(-0.05, 0.36))
    ax.legend()


quadrature = Claim(
    id="infinite_width.any-prior",
    statement="Quadrature over ln s gives the evidence to 1e-10, by the closed form for the inverse gamma "
    "and 30 digits for Burr XII.",
    source="Lee et al. 2022, section 4 computes the same integral by importance sampling",
    criterion=Exact(abs=1e-10),
    quick=grid(prior=["invgamma", "burr12"], n=[5, 20, 100, 450], replicates=2),
    full=grid(prior=["invgamma", "burr12"], n=[5, 20, 100, 450, 1000], replicates=8),
    paper="1000 draws from the prior",
)
LAWS = {"invgamma": stats.invgamma(2.0, scale=2.0), "burr12": stats.burr12(2.0, 1.5)}


def problem(n, rng):
    x = rng.standard_normal((n, 3))
    return x, np.sin(x[:, 0]) + 0.1 * rng.standard_normal(n)


def evidence(prior, x, y):
    kernel = NNGPKernel(depth=2, activation="erf", w_var=2.0, b_var=0.1)
    return InfiniteWidthRegressor(kernel, prior=prior, noise=0.1).fit(x, y)


def in_digits(model, y):
    """Log evidence of the Burr XII law, 3 s (1 + s^2)^(-5/2), by quadrature in 30 digits."""
    n, C = len(y), model.L_ @ model.L_.T
    d = float(y @ np.linalg.solve(C, y))
    top = math.log(d / n)
    cuts = [top + k * 4 / math.sqrt(n) for k in range(-6, 7)]
    with mp.workdps(30):
        half, dd, shift = mp.mpf(n) / 2, mp.mpf(d) / 2, -mp.mpf(n) / 2 * (top + 1)

        def integrand(u):
            s = mp.exp(u)
            return mp.exp(-half * u - dd / s - shift) * 3 * s**2 / (1 + s * s) ** mp.mpf("2.5")

        total = mp.quad(integrand, [-30, *cuts, 60])
        return float(mp.log(total) + shift - half * mp.log(2 * mp.pi)) - np.log(np.diag(model.L_)).sum()


@quadrature.measure
def difference(prior, n, rng):
    x, y = problem(n, rng)
    model = evidence(LAWS[prior], x, y)
    if prior == "burr12":
        return model.log_marginal_likelihood_value_ - in_digits(model, y)
    return model.log_marginal_likelihood_value_ - evidence(prior, x, y).log_marginal_likelihood_value_


@quadrature.control("a thousand draws from the prior rarely meet the posterior")
def importance_sampling(prior, n, rng):
    x, y = problem(n, rng)
    model = evidence(LAWS[prior], x, y)
    d = float(y @ np.linalg.solve(model.L_ @ model.L_.T, y))
    s = LAWS[prior].rvs(1000, random_state=rng)
    terms = -0.5 * n * np.log(2 * math.pi * s) - np.log(np.diag(model.L_)).sum() - 0.5 * d / s
    w = np.exp(terms - terms.max())
    estimate = np.log(np.mean(w)) + terms.max()
    return Samples(estimate - model.log_marginal_likelihood_value_, ess=w.sum() ** 2 / (w * w).sum())


@quadrature.figure
def draw_errors(ax, result):
    for branch, label, color in (
        (None, "quadrature", None),
        ("importance_sampling", "1000 draws from the prior", "0.6"),
    ):
        for prior, marker in (("invgamma", "o"), ("burr12", "s")):
            for k, n in enumerate(result.axis("n")):
                error = np.maximum(np.abs(result.samples(branch=branch, prior=prior, n=n)), 1e-16)
                name = f"{label}, {prior}" if k == 0 else None
                ax.plot(np.full(error.size, n), error, marker, color=color or "C0", label=name)
    ess = [
        np.mean(result.extras("ess", branch="importance_sampling", prior="invgamma", n=n)) for n in (5, 450)
    ]
    ax.set_title(
        f"effective draws: {ess[0]:.0f} of 1000 at n = 5, {ess[1]:.0f} at n = 450", fontsize="medium"
    )
    ax.axhline(1e-10, ls="--", label="tolerance")
    ax.set(xscale="log", yscale="log", xlabel="training points n", ylabel="error of the log evidence")
    ax.legend()


if __name__ == "__main__":
    main()
