"""What a random scale buys in regression: calibrated scale from few data, and no more than that."""

import numpy as np
from scipy import stats
from sklearn.datasets import load_diabetes

from theorylab.infinite_width import InfiniteWidthRegressor, NNGPKernel
from theorylab.validation import AtLeast, Claim, Exact, Within, grid, main

KERNEL = NNGPKernel(depth=2, activation="erf", w_var=2.25, b_var=0.09)
NOISE = 0.05
M = 20  # test points of a task


def task(n, rng, scale=1.0, s=None):
    """Inputs on the line and a draw of the process with its noise, test points last."""
    x = np.column_stack([rng.uniform(-2, 2, n + M), np.ones(n + M)])
    root = np.linalg.cholesky(KERNEL(x) + NOISE * np.eye(n + M))
    s = 1.0 if s is None else s
    y = scale * np.sqrt(s) * (root @ rng.standard_normal(n + M))
    return x[:n], y[:n], x[n:], y[n:]


def fit(x, y, prior="invgamma", alpha=2.0):
    return InfiniteWidthRegressor(KERNEL, prior=prior, alpha=alpha, beta=alpha, noise=NOISE).fit(x, y)


def compare(model, z, t, variance=None):
    """Negative log likelihood of a Gaussian process minus that of the Student-t process.

    The Gaussian process has the same kernel and amplitude `variance`, or that of maximum likelihood, d / n.
    """
    law = model.predict_distribution(z, observed=True)
    if variance is None:
        variance = 2.0 * (model.beta_ - model.beta) / model.y_train_.size
    # the t's squared scale is beta_ / alpha_ times the Gaussian's variance at amplitude 1
    square = law.kwds["scale"] ** 2 * variance * model.alpha_ / model.beta_
    nll = 0.5 * np.mean(np.log(2 * np.pi * square) + (t - law.kwds["loc"]) ** 2 / square)
    return nll + law.logpdf(t).mean()


def scales(alpha, sets, rng):
    """Draws from the inverse-gamma law with alpha = beta, one from each of `sets` equally likely strata."""
    return stats.invgamma.ppf((np.arange(sets) + rng.random(sets)) / sets, alpha, scale=alpha)


calibration = Claim(
    id="infinite_width.calibration",
    statement="When the scale is inverse gamma, 95 % intervals of the Student-t process cover 95 % of new "
    "observations.",
    source="Lee et al. 2022, section 3.1",
    criterion=Within(abs=0.025, target=0.95),
    quick=grid(n=[5, 20, 60], replicates=12),
    full=grid(n=[5, 20, 60], replicates=120),
)


def coverage(n, rng, prior, sets=40):
    share = []
    for s in scales(2.0, sets, rng):
        x, y, z, t = task(n, rng, s=s)
        low, high = fit(x, y, prior).predict_distribution(z, observed=True).interval(0.95)
        share.append(np.mean((low < t) & (t < high)))
    return np.mean(share)


@calibration.measure
def student(n, rng):
    return coverage(n, rng, "invgamma")


@calibration.control(
    "a Gaussian process of the most likely scale a priori does not adapt",
    grid=grid(n=[5, 20, 60], replicates=10),
)
def fixed(n, rng):
    return coverage(n, rng, None)


@calibration.figure
def draw_coverage(ax, result):
    result.errorbar(ax, label="Student-t process")
    result.errorbar(ax, branch="fixed", color="0.6", label="Gaussian process, s = 1")
    ax.axhline(0.95, ls="--", label="95 %")
    ax.set(xlabel="training points n", ylabel="coverage of 95 % intervals")
    ax.legend()


gain = Claim(
    id="infinite_width.likelihood-gain",
    statement="On such data the Student-t process predicts better than the Gaussian process of the "
    "prior's variance, by more than 0.05 nat a point.",
    source="Lee et al. 2022, section 5.1",
    criterion=AtLeast(0.05),
    quick=grid(n=[5, 20, 60], replicates=12),
    full=grid(n=[5, 20, 60], replicates=400),
)


def advantage(n, rng, alpha, sets=60, fitted=None):
    """Mean over scales at levels 1 - v^2 with weights 2 v: large scales are rare and cost much."""
    v = (np.arange(sets) + rng.random(sets)) / sets
    out = []
    for s in stats.invgamma.isf(v**2, alpha, scale=alpha):
        x, y, z, t = task(n, rng, s=s)
        out.append(compare(fit(x, y, alpha=fitted or alpha), z, t, alpha / (alpha - 1)))
    return np.mean(2 * v * out)


@gain.measure
def heavy(n, rng):
    return advantage(n, rng, 2.0)


@gain.control("with a nearly fixed scale there is nothing to gain", grid=grid(n=[5, 20, 60], replicates=5))
def light(n, rng):
    return advantage(n, rng, 200.0, sets=20)


@gain.control(
    "a random scale assumed where there is none costs likelihood", grid=grid(n=[5, 20], replicates=6)
)
def misspecified(n, rng):
    return advantage(n, rng, 200.0, sets=20, fitted=2.0)


@gain.figure
def draw_gain(ax, result):
    result.errorbar(ax, label="random scale, alpha = beta = 2")
    result.errorbar(ax, branch="light", color="0.6", label="nearly fixed scale, alpha = beta = 200")
    ax.axhline(0.05, ls="--", label="claimed gain")
    ax.set(xlabel="training points n", ylabel="gain in log likelihood per point [nat]")
    ax.legend()


tuned = Claim(
    id="infinite_width.tuned-amplitude",
    statement="With 300 diabetes patients the Student-t process gains less than 0.005 nat over a Gaussian "
    "process of tuned amplitude.",
    source="with shared noise both have the same mean, and scales that differ by O(1/n); against Lee et "
    "al. 2022, Table 1",
    criterion=Exact(abs=0.005),
    quick=grid(n=[300], replicates=4),
    full=grid(n=[300], replicates=50),
    headline=True,
    paper="gains on most sets",
)
X, Y = load_diabetes(return_X_y=True)
X, Y = X / X.std(axis=0), (Y - Y.mean()) / Y.std()
RIDGES = np.geomspace(0.3, 100.0, 11)


@tuned.measure
def diabetes(n, rng):
    order = rng.permutation(len(Y))
    train, test = order[:n], order[n:]
    kernel = NNGPKernel(depth=2, activation="relu", w_var=2.0, b_var=0.1)
    models = [InfiniteWidthRegressor(kernel, noise=r).fit(X[train], Y[train]) for r in RIDGES]
    best = max(models, key=lambda m: m.log_marginal_likelihood_value_)
    return compare(best, X[test], Y[test])


@tuned.control(
    "with five observations the amplitude of maximum likelihood is overconfident",
    grid=grid(n=[5], replicates=4),
)
def five(n, rng):
    return np.mean([compare(fit(x, y), z, t) for x, y, z, t in (task(n, rng) for _ in range(100))])


@tuned.figure
def draw_tuned(ax, result):
    for k, (branch, n, label) in enumerate(
        ((None, 300, "diabetes, n = 300"), ("five", 5, "synthetic, n = 5"))
    ):
        values = result.samples(branch=branch, n=n)
        ax.plot(np.full(values.size, k), values, "o", color="0.6" if branch else "C0", label=label)
    ax.axhspan(-0.005, 0.005, color="C1", alpha=0.3, label="claimed: within 0.005")
    ax.set(
        xlim=(-0.6, 1.6),
        xticks=[0, 1],
        xticklabels=["n = 300", "n = 5"],
        ylabel="NLL of tuned GP - NLL of t process [nat]",
    )
    ax.legend()


shifted = Claim(
    id="infinite_width.scale-shift",
    statement="When the data are three times larger than assumed the Student-t process adapts and a fixed "
    "Gaussian process does not.",
    source="Lee et al. 2022, section 5.1 (robustness), read as adaptation of the scale",
    criterion=AtLeast(0.5),
    quick=grid(n=[5, 10, 30], replicates=8),
    full=grid(n=[5, 10, 30], replicates=80),
)


def difference(n, rng, scale, variance=1.0, sets=20):
    tasks = (task(n, rng, scale=scale) for _ in range(sets))
    return np.array([compare(fit(x, y), z, t, variance) for x, y, z, t in tasks])


@shifted.measure
def three_times(n, rng):
    return difference(n, rng, 3.0)


@shifted.control("on data of the assumed scale the fixed Gaussian process is right, and slightly better")
def well_specified(n, rng):
    return difference(n, rng, 1.0)


@shifted.control(
    "against the amplitude of maximum likelihood there is no advantage", grid=grid(n=[10, 30], replicates=4)
)
def tuned_amplitude(n, rng):
    return difference(n, rng, 3.0, variance=None)


@shifted.figure
def draw_shifted(ax, result):
    result.errorbar(ax, label="data three times larger")
    result.errorbar(ax, branch="well_specified", color="0.6", label="data as assumed")
    result.errorbar(
        ax, branch="tuned_amplitude", color="0.3", label="three times larger, amplitude by maximum likelihood"
    )
    ax.axhline(0.5, ls="--", label="claimed gain")
    ax.set(xlabel="training points n", ylabel="NLL of fixed GP - NLL of t process [nat]")
    ax.legend()


heavy_noise = Claim(
    id="infinite_width.heavy-noise",
    statement="With five observations of heavy-tailed (t_2) noise the Student-t process predicts better than "
    "a Gaussian process of fixed amplitude.",
    source="Lee et al. 2022, section 5.1 (robustness), read as adaptation of the scale",
    criterion=AtLeast(0.0),
    quick=grid(n=[5], replicates=8),
    full=grid(n=[5], replicates=40),
)


def noisy(n, rng, freedom, sets=400):
    """Likelihood gains per task where the noise has `freedom` degrees of freedom and the usual scale.

    Inputs of all tasks come from one pool of 500; closed forms, since thousands of tasks are needed.
    """
    pool = np.column_stack([rng.uniform(-2, 2, 500), np.ones(500)])
    K, alpha = KERNEL(pool), 2.0
    out = []
    for _ in range(sets):
        pick = rng.choice(500, n + M, replace=False)
        k = K[np.ix_(pick, pick)]
        noise = rng.standard_t(freedom, n + M) if freedom else rng.standard_normal(n + M)
        y = (
            np.linalg.cholesky(k + 1e-10 * np.eye(n + M)) @ rng.standard_normal(n + M)
            + np.sqrt(NOISE) * noise
        )
        C, cross = k[:n, :n] + NOISE * np.eye(n), k[n:, :n]
        half = np.linalg.solve(C, np.column_stack([y[:n], cross.T]))
        mean, square = cross @ half[:, 0], np.diag(k)[n:] + NOISE - np.sum(cross * half[:, 1:].T, axis=1)
        freedoms, off = 2 * alpha + n, (y[n:] - mean) ** 2 / square
        inflation = (2 * alpha + y[:n] @ half[:, 0]) / freedoms
        gaussian = -0.5 * np.log(2 * np.pi * square) - 0.5 * off
        student = stats.t.logpdf(np.sqrt(off / inflation), freedoms) - 0.5 * np.log(square * inflation)
        out.append(np.mean(student - gaussian))
    return np.array(out)


@heavy_noise.measure
def two_degrees(n, rng):
    return noisy(n, rng, 2)


@heavy_noise.control(
    "with Gaussian noise the fixed process is right, and slightly better", grid=grid(n=[5], replicates=4)
)
def gaussian_noise(n, rng):
    return noisy(n, rng, 0)


@heavy_noise.figure
def draw_heavy_noise(ax, result):
    for k, (branch, label) in enumerate(((None, "t_2 noise"), ("gaussian_noise", "Gaussian noise"))):
        v = result.samples(branch=branch, n=5)
        half = 3.3 * v.std() / np.sqrt(v.size)
        ax.errorbar([k], [v.mean()], yerr=[half], fmt="o", color="0.6" if branch else "C0", label=label)
    ax.axhline(0.0, ls="--", color="k", label="no gain")
    ax.set(
        xlim=(-0.6, 1.6),
        xticks=[0, 1],
        xticklabels=["t_2", "Gaussian"],
        ylabel="mean gain of the t process [nat]",
    )
    ax.legend()


if __name__ == "__main__":
    main()
