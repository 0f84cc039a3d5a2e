"""A random variance of the readout turns the Gaussian process into a Student-t process."""

import math

import numpy as np
from scipy import stats

from theorylab.infinite_width import InfiniteWidthRegressor, NNGPKernel, criticality, kernels
from theorylab.validation import Claim, Exact, FollowsLaw, Within, grid, main

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


joint = Claim(
    id="infinite_width.shared-scale",
    statement="All outputs of a network share one random scale, so whitened outputs are dependent.",
    source="Lee et al. 2022, eq. (2): a multivariate t, not independent t variables",
    criterion=Within(abs=0.04),
    quick=grid(width=[64], replicates=24),
    full=grid(width=[64, 256], replicates=96),
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


quadrature = Claim(
    id="infinite_width.any-prior",
    statement="Quadrature over ln s gives the evidence of the closed form to 1e-10, and serves every prior.",
    source="Lee et al. 2022, section 4 computes the same integral by importance sampling",
    criterion=Exact(abs=1e-10),
    quick=grid(n=[5, 20, 100, 450], replicates=2),
    full=grid(n=[5, 20, 100, 450, 1000], replicates=8),
    paper="1000 draws from the prior",
)
LAW = stats.invgamma(2.0, scale=2.0)


def problem(n, rng):
    x = rng.standard_normal((n, 3))
    return x, np.sin(x[:, 0]) + 0.1 * rng.standard_normal(n)


def evidence(prior, x, y):
    kernel = NNGPKernel(depth=2, activation="erf", w_var=2.0, b_var=0.1)
    return InfiniteWidthRegressor(kernel, prior=prior, noise=0.1).fit(x, y)


@quadrature.measure
def difference(n, rng):
    x, y = problem(n, rng)
    closed = evidence("invgamma", x, y).log_marginal_likelihood_value_
    return evidence(LAW, x, y).log_marginal_likelihood_value_ - closed


@quadrature.control("a thousand draws from the prior rarely meet the posterior")
def importance_sampling(n, rng):
    x, y = problem(n, rng)
    model = evidence("invgamma", x, y)
    d = float(y @ np.linalg.solve(model.L_ @ model.L_.T, y))
    s = LAW.rvs(1000, random_state=rng)
    terms = -0.5 * n * np.log(2 * math.pi * s) - np.log(np.diag(model.L_)).sum() - 0.5 * d / s
    estimate = np.log(np.mean(np.exp(terms - terms.max()))) + terms.max()
    return estimate - model.log_marginal_likelihood_value_


@quadrature.figure
def draw_errors(ax, result):
    for branch, label, color in (
        (None, "quadrature", None),
        ("importance_sampling", "1000 draws from the prior", "0.6"),
    ):
        for k, n in enumerate(result.axis("n")):
            error = np.maximum(np.abs(result.samples(branch=branch, n=n)), 1e-16)
            ax.plot(np.full(error.size, n), error, "o", color=color or "C0", label=label if k == 0 else None)
    ax.axhline(1e-10, ls="--", label="tolerance")
    ax.set(xscale="log", yscale="log", xlabel="training points n", ylabel="error of the log evidence")
    ax.legend()


if __name__ == "__main__":
    main()
