"""The test error of a Gaussian hypothesis space: its law, its floor, and what more data does to it."""

import warnings

import numpy as np
from _inductive_bias import posterior, problem, rbf

from theorylab.inductive_bias import (
    GeneralizedChi2,
    gaussian_test_error,
    inductive_bias,
    inductive_bias_from_errors,
)
from theorylab.validation import AtLeast, Claim, Exact, FollowsLaw, Samples, grid, main

law_of_error = Claim(
    id="inductive_bias.error-law",
    statement="The test error of a sample from a Gaussian-process posterior is generalised chi-squared.",
    source="IJCAI 2024, section on Gaussian hypothesis spaces; exact",
    criterion=FollowsLaw(distance=0.05, law="uniform"),
    quick=grid(replicates=5),
    full=grid(replicates=50),
)


def sampled_errors(rng, n=1200):
    """Errors of sampled functions (not of the spectrum), and the exact law."""
    mean, cov, y = problem(rbf(0.7), 3, rng)
    values, basis = np.linalg.eigh(cov)
    root = basis * np.sqrt(np.maximum(values, 0.0))
    f = mean + rng.standard_normal((n, len(mean))) @ root.T
    return np.mean((f - y) ** 2, axis=1), gaussian_test_error(mean, cov, y)


@law_of_error.measure
def probability_integral(rng):
    errors, law = sampled_errors(rng)
    return law.cdf(errors)


@law_of_error.control("without the offsets B of the posterior mean from the labels")
def without_offsets(rng):
    errors, law = sampled_errors(rng)
    return GeneralizedChi2(law.weights, law.dofs).cdf(errors)


@law_of_error.figure
def draw_law(ax, result):
    for branch, style, label in (
        (None, {"color": "C0"}, "posterior samples"),
        ("without_offsets", {"color": "0.6"}, "control: no offsets"),
    ):
        p = np.sort(result.samples(branch))
        ax.plot(p, np.arange(1, len(p) + 1) / len(p), label=label, **style)
    ax.plot([0, 1], [0, 1], "--", color="k", label="exact law")
    ax.set(xlabel="exact probability of a smaller error", ylabel="fraction of samples")
    ax.legend()


floor = Claim(
    id="inductive_bias.unattainable",
    statement=(
        "Below the error that no hypothesis can remove I is infinite, while the fitted law reports "
        "a finite number."
    ),
    source="IJCAI 2024, estimator; rank deficiency of 80 random features with 50 training points",
    criterion=Exact(target=1.0),
    quick=grid(replicates=5),
    full=grid(replicates=40),
)


class ReluFeatures:
    """p random ReLU features of d inputs."""

    def __init__(self, p, d, rng):
        self.weights = rng.standard_normal((d, p)) / np.sqrt(d)
        self.n_features = p

    def __call__(self, X):
        return np.maximum(X @ self.weights, 0.0) * np.sqrt(2.0 / self.n_features)


def exact_and_fit(p, rng):
    """I by both methods at fractions of the mean error, and whether only the exact one is infinite."""
    X, Z = rng.standard_normal((50, 20)), rng.standard_normal((100, 20))
    y, t = np.tanh(X[:, 0] + X[:, 1]), np.tanh(Z[:, 0] + Z[:, 1])
    phi = ReluFeatures(p, 20, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = inductive_bias(phi, X, y, Z, t, [])
        # Half the floor; where there is none, a hundredth of the mean.
        eps = first.mean_error * np.concatenate([[0.01], np.geomspace(0.05, 1.2, 40)])
        if first.irreducible_error > 0:
            eps[0] = 0.5 * first.irreducible_error
        exact = first.distribution.logcdf(eps)
        fit = inductive_bias_from_errors(first.distribution.rvs(2000, rng), eps, method="ncx2_fit")
    unnoticed = float(np.isinf(exact[0]) and np.isfinite(fit.estimate[0]))
    return Samples([unnoticed], eps=eps / first.mean_error, exact=-exact, fit=fit.estimate)


@floor.measure
def few_features(rng):
    return exact_and_fit(80, rng)


@floor.control("with 400 features every test label can be reached: the exact value is finite")
def many_features(rng):
    return exact_and_fit(400, rng)


@floor.figure
def draw_floor(ax, result):
    for branch, colour, name in (
        (None, "C0", "80 features"),
        ("many_features", "0.6", "400 features (control)"),
    ):
        eps, exact, fit = (result.extras(key, branch)[0] for key in ("eps", "exact", "fit"))
        order = np.argsort(eps)
        ax.plot(eps[order], exact[order], color=colour, label=f"exact, {name}")
        ax.plot(eps[order], fit[order], "--", color=colour, label=f"fitted law, {name}")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="target error / mean error",
        ylabel="inductive bias, nats",
        ylim=(0.1, 1e3),
    )
    ax.legend()


data = Claim(
    id="inductive_bias.more-data",
    statement="More training data leave less inductive bias to be supplied.",
    source="IJCAI 2024, qualitative; I(n = 50) - I(n = 200) at eps = 0.01",
    criterion=AtLeast(10.0),
    quick=grid(replicates=6),
    full=grid(replicates=40),
)


def difference(rng, permute):
    """I at 50 minus I at 200 training points, the same test set."""
    X, Z = rng.uniform(-1, 1, (200, 6)), rng.uniform(-1, 1, (200, 6))
    y, t = np.sin(2 * X.sum(1) / np.sqrt(6)), np.sin(2 * Z.sum(1) / np.sqrt(6))
    t = rng.permutation(t) if permute else t
    values = [
        -float(gaussian_test_error(*posterior(rbf(1.0), X[:n], y[:n], Z), t).logcdf(0.01)) for n in (50, 200)
    ]
    return Samples([values[0] - values[1]], values=values)


@data.measure
def true_labels(rng):
    return difference(rng, False)


@data.control("with permuted test labels more data fit the wrong function harder")
def permuted_labels(rng):
    return difference(rng, True)


@data.figure
def draw_data(ax, result):
    for branch, colour, label in (
        (None, "C0", "true test labels"),
        ("permuted_labels", "0.6", "control: permuted"),
    ):
        for i, values in enumerate(result.extras("values", branch)):
            ax.plot([50, 200], values, "o-", color=colour, label=label if i == 0 else None)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="training points",
        ylabel="inductive bias at eps = 0.01, nats",
        xticks=[50, 200],
        xticklabels=["50", "200"],
    )
    ax.minorticks_off()
    ax.legend()


if __name__ == "__main__":
    main()
