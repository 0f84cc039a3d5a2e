"""Two exact checks: the lazy limit has a closed form, and the test loss needs no test set."""

import warnings
from functools import lru_cache

import numpy as np

from theorylab.dmft import (
    PolynomialTask,
    QuadraticNetwork,
    dmft_solve,
    lazy_limit,
    simulate_moments,
    test_loss_components,
)
from theorylab.validation import Claim, Exact, Within, grid, main

# The lazy limit -----------------------------------------------------------------------------

LAZY = QuadraticNetwork(np.inf, alpha=1e4, eps=0.3, center=True)
STEPS = [5, 20, 59]

LOSSES = ["train", "test"]

lazy = Claim(
    id="dmft.lazy-limit",
    statement="For large output scale the theory reduces to ridge regression with Marchenko-Pastur spectra.",
    source="Kumar et al. (ICLR 2024): lazy training is kernel regression; closed form ours",
    # Corrections are of order 1/alpha = 1e-4, and the samples add about as much.
    criterion=Exact(abs=1e-3),
    quick=grid(nu=[0.5, 2.0, 4.0], replicates=1, joint=dict(loss=LOSSES, step=STEPS)),
    full=grid(nu=[0.25, 0.5, 1.0, 2.0, 4.0, 8.0], replicates=4, joint=dict(loss=LOSSES, step=STEPS)),
)


@lazy.predict
def closed_form(nu, loss, step):
    return lazy_limit(nu, 0.3, 0.1, step)[LOSSES.index(loss)]


def both_losses(nu, rng, spike, n_samples):
    task = PolynomialTask(nu, offset=1.0)
    run = dmft_solve(LAZY, task, 0.1, 60, spike, n_samples=n_samples, rng=rng)
    return np.concatenate([run.train_loss[STEPS], run.test_loss[STEPS]])[None, :]


@lazy.measure
def mean_field(nu, rng):
    return both_losses(nu, rng, 0.0, 600)


@lazy.control("a spike of the initial weights aligns the kernel with the target")
def spiked(nu, rng):
    return both_losses(nu, rng, 0.3, 400)


@lazy.figure
def draw_lazy(ax, result):
    steps = np.arange(60)
    for k, nu in enumerate(result.axis("nu")):
        ax.plot(
            steps, lazy_limit(nu, 0.3, 0.1, steps)[1], "--", color=f"C{k}", label=f"closed form, P/D = {nu:g}"
        )
        result.errorbar(
            ax, color=f"C{k}", nu=nu, loss="test", label="theory, alpha = 1e4" if k == 0 else "_theory"
        )
    ax.axhline(0.5, color="0.6", linewidth=1)
    ax.text(2, 0.485, "predicting nothing", color="0.5")
    ax.set(xlabel="gradient step", ylabel="test loss", title="A lazy network never beats predicting nothing")
    ax.legend()


AT = dict(loss=LOSSES, step=[5, 20, 39])

networks = Claim(
    id="dmft.lazy-networks",
    statement="Both losses of lazy networks of infinite width meet the closed form within 3 standard errors.",
    source="as dmft.lazy-limit",
    # Corrections are of order 1/D, below a third of the 3 errors of so few networks.
    criterion=Exact(abs=1.0),
    quick=grid(dim=[200], nu=[0.5, 2.0], joint=AT),
    full=grid(dim=[640], nu=[0.5, 1.0, 2.0, 4.0], joint=AT),
)


def share_of_three_errors(dim, nu, rng, eps=0.3, spike=0.0):
    """Return (mean - closed form) / (3 standard errors), train losses first."""
    net, task = QuadraticNetwork(np.inf, 1e4, eps, center=True), PolynomialTask(nu, offset=1.0)
    n = 24 if nu < 1 else 12  # fewer samples scatter more
    run = simulate_moments(net, task, 0.1, 40, dim, spike, n_seeds=n, rng=rng)
    steps, used = np.array([5, 20, 39]), []
    for curves, exact in zip((run.train_loss, run.test_loss), lazy_limit(nu, 0.3, 0.1, steps)):
        seen = curves[:, steps]
        used.append((seen.mean(axis=0) - exact) / (3 * seen.std(axis=0, ddof=1) / np.sqrt(n)))
    return np.concatenate(used)[None, :]


@networks.measure
def lazy_networks(dim, nu, rng):
    return share_of_three_errors(dim, nu, rng)


@networks.control("a spike aligns the kernel", grid=grid(dim=[200], nu=[2.0], joint=AT))
def spiked_networks(dim, nu, rng):
    return share_of_three_errors(dim, nu, rng, spike=0.3)


@networks.control(
    "three times the curvature makes nine times the ridge",
    grid=grid(dim=[120], nu=[2.0], joint=AT),
)
def more_curvature(dim, nu, rng):
    return share_of_three_errors(dim, nu, rng, eps=0.9)


# Sufficient statistics ----------------------------------------------------------------------

statistics = Claim(
    id="dmft.sufficient-statistics",
    statement="Linear power, misalignment and trace add up to the loss on fresh points, for every D.",
    source="Kumar et al. (ICLR 2024), decomposition of the test loss; exact form derived for this package",
    criterion=Within(abs=0.02, target=1.0),
    quick=grid(replicates=2),
    full=grid(replicates=20),
)


def fresh_points(rng, misalignment_weight):
    """Return ratios of batch losses to the decomposition for one random network of 20 neurons."""
    net, task = QuadraticNetwork(20, alpha=2.0, eps=0.5), PolynomialTask(2.0, offset=1.0)
    weights, beta = rng.standard_normal((20, 50)), rng.standard_normal(50)
    linear, misalignment, trace = test_loss_components(weights, beta, net, task)
    predicted = linear + misalignment_weight * misalignment + trace
    ratios = np.empty(60)
    for k in range(ratios.size):
        x = rng.standard_normal((3000, 50)) / np.sqrt(50)
        delta = 2.0 * net.phi(x @ weights.T).mean(axis=1) - task.target(x @ beta)
        ratios[k] = np.mean(delta**2) / predicted
    return ratios


@statistics.measure
def decomposition(rng):
    return fresh_points(rng, 1.0)


@statistics.control("half of the misalignment term, a factor that is easy to lose")
def half_the_misalignment(rng):
    return fresh_points(rng, 0.5)


@lru_cache
def parts_over_time(alpha):
    """Return components and losses of the theory and of eight networks."""
    spec, task = QuadraticNetwork(np.inf, alpha, 0.5, center=True), PolynomialTask(8.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first large step raises the train loss, in networks too
        theory = dmft_solve(spec, task, 0.2, 60, 0.3, n_samples=500, rng=0)
    return theory, simulate_moments(spec, task, 0.2, 60, 120, 0.3, n_seeds=8, rng=0)


@statistics.figure
def draw_parts(ax, result):
    figure = ax.figure
    ax.remove()
    figure.set_size_inches(8.5, 3.8)
    panels = figure.subplots(1, 2, sharey=True)
    steps, marks = np.arange(60), np.arange(1, 60, 5)
    names = ("linear modes", "misalignment", "trace")
    for panel, (title, alpha) in zip(
        panels, (("rich, output scale 0.3", 0.3), ("lazy, output scale 3", 3.0))
    ):
        theory, networks = parts_over_time(alpha)
        tell = "" if panel is panels[0] else "_"  # one legend is enough
        panel.plot(steps, theory.test_loss, "--", color="0.2", label=f"{tell}test loss")
        panel.plot(steps, theory.train_loss, "--", color="0.6", label=f"{tell}train loss")
        for k, name in enumerate(names):
            panel.plot(steps, theory.components[:, k], "--", color=f"C{k}", label=f"{tell}{name}")
            panel.plot(marks, networks.components[:, marks, k].mean(axis=0), "o", markersize=4, color=f"C{k}")
        panel.set(yscale="log", ylim=(2e-4, 1.2), xlabel="gradient step", title=title)
    panels[0].set_ylabel("part of the test loss")
    panels[0].legend(fontsize=8, title="theory dashed, networks dots", title_fontsize=8)


if __name__ == "__main__":
    main()
