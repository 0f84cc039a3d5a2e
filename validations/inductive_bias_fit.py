"""What the fitted law knows of the tail (little, unless the spectrum is flat), and its sampling error."""

import warnings

import numpy as np
from _inductive_bias import laplace, rbf, wave
from scipy import special

from theorylab.inductive_bias import gaussian_test_error, inductive_bias, inductive_bias_from_errors
from theorylab.validation import AtLeast, AtMost, Claim, Samples, Within, grid, main

SPACES = {
    "RBF d=1": (rbf(0.3), 1),
    "RBF d=3": (rbf(0.7), 3),
    "RBF d=10": (rbf(1.0), 10),
    "RBF d=30": (rbf(1.0), 30),
    "Matern-1/2 d=3": (laplace(1.0), 3),
}
CURVE = np.geomspace(3e-3, 0.95, 25)


def fit_over_exact(space, rng, ratio, flat=False, method="gamma_fit", n_samples=2000):
    """Ratio of the fitted to the exact I at one fraction of the mean error, and both curves."""
    kernel, d = SPACES[space]
    X, Z = rng.uniform(-1, 1, (50, d)), rng.uniform(-1, 1, (100, d))
    if flat:
        law = gaussian_test_error(np.zeros(100), np.eye(100), np.zeros(100))
    else:
        law = inductive_bias(kernel, X, wave(X), Z, wave(Z), [], alpha=1e-8).distribution
    errors = law.rvs(n_samples, rng)
    eps = law.mean() * np.concatenate([[ratio], CURVE])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = inductive_bias_from_errors(errors, eps, method=method).estimate
    exact = -law.logcdf(eps)
    return Samples([fit[0] / exact[0]], exact=exact[1:], fit=fit[1:])


bulk = Claim(
    id="inductive_bias.fit-in-the-bulk",
    statement=(
        "With 50 or more effective dofs the fitted law is within 10 % of the exact I at 0.7 of the "
        "mean error."
    ),
    source="IJCAI 2024, estimator: maximum likelihood of a scaled chi-squared law on sampled errors",
    criterion=Within(rel=0.1, target=1.0),
    quick=grid(space=["RBF d=10", "RBF d=30", "Matern-1/2 d=3"], replicates=30),
    full=grid(space=["RBF d=10", "RBF d=30", "Matern-1/2 d=3"], replicates=200),
)


@bulk.measure
def flat_enough(space, rng):
    return fit_over_exact(space, rng, 0.7)


@bulk.control("at 0.01 of the mean error, not in the bulk", grid=grid(space=["RBF d=10"], replicates=12))
def in_the_tail(space, rng):
    return fit_over_exact(space, rng, 0.01)


@bulk.figure
def draw_bulk(ax, result):
    names = list(result.axis("space"))
    for i, space in enumerate(names):
        for branch, colour, label in (
            (None, "C0", "at 0.7 of the mean"),
            ("in_the_tail", "0.6", "control: at 0.01"),
        ):
            if branch is not None and space != "RBF d=10":
                continue
            part = result.samples(branch, space=space)
            ax.plot(part, np.full(len(part), i), ".", color=colour, label=label if i == 0 else None)
    ax.axvspan(0.9, 1.1, color="k", alpha=0.1, label="within 10 %")
    ax.axvline(1.0, ls="--", color="k", label="exact")
    ax.set(yticks=range(len(names)), yticklabels=names, xlabel="fitted / exact nats")
    ax.legend()


tail = Claim(
    id="inductive_bias.fit-in-the-tail",
    statement=(
        "Where the spectrum is not flat the fitted law is off by a quarter or more at 0.01 of the mean error."
    ),
    source="IJCAI 2024, estimator; exact values from the law of the quadratic form",
    criterion=AtLeast(0.25),
    quick=grid(space=["RBF d=1", "RBF d=3", "RBF d=10", "Matern-1/2 d=3"], replicates=120),
    full=grid(space=["RBF d=1", "RBF d=3", "RBF d=10", "Matern-1/2 d=3"], replicates=200),
    headline=True,
)


def distance(samples):
    """Relative distance of the fit from the exact value."""
    return Samples(np.abs(samples.values - 1.0), **samples.extras)


@tail.measure
def fitted(space, rng):
    return distance(fit_over_exact(space, rng, 0.01))


@tail.control(
    "flat spectrum, no offsets: then the gamma law is exact", grid=grid(space=["RBF d=30"], replicates=12)
)
def flat(space, rng):
    return distance(fit_over_exact(space, rng, 0.01, flat=True))


@tail.figure
def draw_tail(ax, result):
    shown = [
        (s, result.extras("exact", space=s)[0], result.extras("fit", space=s)[0])
        for s in result.axis("space")
    ]
    for i, (space, exact, fit) in enumerate(shown):
        ax.plot(CURVE, exact, color=f"C{i}", label=space)
        ax.plot(CURVE, fit, ":", color=f"C{i}", lw=2)
    exact, fit = (
        result.extras("exact", "flat", space="RBF d=30")[0],
        result.extras("fit", "flat", space="RBF d=30")[0],
    )
    ax.plot(CURVE, exact, color="0.6", label="flat (control)")
    ax.plot(CURVE, fit, ":", color="0.6", lw=2)
    ax.plot([], [], "k-", label="exact")
    ax.plot([], [], "k:", lw=2, label="fitted to 2000 samples")
    ax.set(xscale="log", yscale="log", xlabel="target error / mean error", ylabel="inductive bias, nats")
    ax.legend(ncols=2)


DEPTHS = [0.5, 0.01]

spread = Claim(
    id="inductive_bias.sampling-error",
    statement=(
        "The fitted I has the standard deviation sqrt(v / S) of the delta method, sqrt(2 / S) I in "
        "the deep tail."
    ),
    source="derived here: asymptotic covariance of the maximum-likelihood gamma law",
    criterion=Within(rel=0.15, target=1.0, statistic="rms"),
    quick=grid(shape=[2, 10, 50], replicates=1, joint=dict(ratio=DEPTHS)),
    full=grid(shape=[0.5, 2, 10, 50, 500], replicates=10, joint=dict(ratio=DEPTHS)),
)


def nats(shape, theta, eps):
    return -np.log(special.gammainc(shape, eps / theta))


def standardised(shape, rng, law, repeats=1000, n_samples=1000):
    """(I^ - I) over a predicted standard deviation, one column for each depth."""
    columns = []
    for ratio in DEPTHS:
        eps = ratio * shape
        h = 1e-4
        g_a = (nats(shape + h, 1.0, eps) - nats(shape - h, 1.0, eps)) / (2 * h)
        g_t = (nats(shape, 1 + h, eps) - nats(shape, 1 - h, eps)) / (2 * h)
        psi = float(special.polygamma(1, shape))
        v = (shape * g_a**2 - 2 * g_a * g_t + psi * g_t**2) / (shape * psi - 1)
        columns.append(
            (
                nats(shape, 1.0, eps),
                np.sqrt(v / n_samples) if law == "delta" else nats(shape, 1.0, eps) / np.sqrt(n_samples),
            )
        )
    out = np.empty((repeats, len(DEPTHS)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(repeats):
            fit = inductive_bias_from_errors(rng.gamma(shape, size=n_samples), shape * np.array(DEPTHS))
            out[i] = [(value - exact) / sd for value, (exact, sd) in zip(fit.estimate, columns)]
    return out


@spread.measure
def delta_method(shape, rng):
    return standardised(shape, rng, "delta")


@spread.control("the law SD / I = 1 / sqrt(S)", grid=grid(shape=[50], replicates=1, joint=dict(ratio=DEPTHS)))
def one_over_root(shape, rng):
    return standardised(shape, rng, "root", repeats=300)


@spread.figure
def draw_spread(ax, result):
    for i, ratio in enumerate(DEPTHS):
        result.errorbar(ax, ratio=ratio, color=f"C{i}", label=f"delta method, eps = {ratio} mean")
        result.errorbar(
            ax,
            branch="one_over_root",
            ratio=ratio,
            color="0.6",
            fmt="os"[i],
            label=f"control: 1/sqrt(S), {ratio}",
        )
    ax.axhline(1.0, ls="--", color="k")
    ax.set(xscale="log", xlabel="shape of the gamma law", ylabel="measured / predicted standard deviation")
    ax.legend()


small_samples = Claim(
    id="inductive_bias.sampling-error-of-small-samples",
    statement="With 100 samples the spread of the fitted I is at most 1.2 times that of the delta method.",
    source="derived here: terms of order 1 / S that the asymptotic law leaves out",
    criterion=AtMost(1.2, statistic="rms"),
    quick=grid(shape=[2, 10, 50], replicates=1, joint=dict(ratio=DEPTHS)),
    full=grid(shape=[2, 10, 50], replicates=10, joint=dict(ratio=DEPTHS)),
)


@small_samples.measure
def hundred(shape, rng):
    values = standardised(shape, rng, "delta", repeats=800, n_samples=100)
    # The spread is about the mean: the estimate itself is biased by 3 / S.
    return values - values.mean(axis=0)


@small_samples.control("the law SD / I = 1 / sqrt(S)", grid=grid(shape=[50], joint=dict(ratio=DEPTHS)))
def one_over_root_of_hundred(shape, rng):
    values = standardised(shape, rng, "root", repeats=400, n_samples=100)
    return values - values.mean(axis=0)


if __name__ == "__main__":
    main()
