"""Grokking is delayed feature learning: lazier, less aligned, fewer samples, each delays the test loss."""

from functools import lru_cache

import numpy as np

from theorylab.dmft import PolynomialTask, QuadraticNetwork, dmft_solve, grokking_times, simulate_moments
from theorylab.validation import AtLeast, Better, Claim, Holds, Samples, grid, main

# What delays generalisation -----------------------------------------------------------------

KAPPA, T, SPIKE = 0.2, 90, 0.3
BASE = dict(alpha=0.3, eps=0.6, nu=16.0)
HARDER = {
    "lazier": BASE | dict(alpha=3.0),
    "less aligned": BASE | dict(eps=0.15),
    "fewer samples": BASE | dict(nu=6.0),
}


def problem(alpha, eps, nu):
    return QuadraticNetwork(np.inf, alpha, eps, center=True), PolynomialTask(nu)


@lru_cache
def theory(alpha, eps, nu):
    import warnings

    spec, task = problem(alpha, eps, nu)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first large step raises the train loss, in networks too
        return dmft_solve(spec, task, KAPPA, T, SPIKE, n_samples=400, rng=0)


def train(setting, rng, n, dim):
    spec, task = problem(**setting)
    return simulate_moments(spec, task, KAPPA, T, dim, SPIKE, n_seeds=n, rng=rng)


def delay(run):
    t_train, t_test = grokking_times(run.train_loss, run.test_loss)
    return np.fmin(t_test, T) - t_train


grokking = Claim(
    id="dmft.grokking-delay",
    statement="Laziness, misalignment, scarce data each stretch the wait from memory to insight 1.5 times.",
    source="Kumar et al. (ICLR 2024): three determinants of grokking",
    criterion=Better(by=1.5, larger=True),
    quick=grid(change=list(HARDER), replicates=1),
    full=grid(change=list(HARDER), replicates=4),
    headline=True,
)


@grokking.measure
def harder_against_base(change, rng, n=8, dim=80):
    easy, hard = train(BASE, rng, n, dim), train(HARDER[change], rng, n, dim)
    curves = [np.median(c, axis=0) for run in (easy, hard) for c in (run.train_loss, run.test_loss)]
    return Samples(np.stack([delay(hard), delay(easy)], axis=1), curves=np.array(curves))


@grokking.control("nothing changed", grid=grid(change=["nothing"], replicates=3))
def base_against_base(change, rng, n=24, dim=40):
    return np.stack([delay(train(BASE, rng, n, dim)) for _ in range(2)], axis=1)


@grokking.figure
def draw_delay(ax, result):
    figure = ax.figure
    ax.remove()
    figure.set_size_inches(11.0, 3.6)
    panels = figure.subplots(1, 4, sharey=True)
    steps, marks = np.arange(1, T), np.unique(np.geomspace(1, T - 1, 14).astype(int))
    first = result.extras("curves", change="lazier")[0]
    stories = [("fast features: no grokking", BASE, first[:2])]
    for change, setting in HARDER.items():
        name = next(f"{k} {BASE[k]:g} to {setting[k]:g}" for k in BASE if BASE[k] != setting[k])
        stories.append((f"{change}: {name}", setting, result.extras("curves", change=change)[0][2:]))
    for panel, (title, setting, curves) in zip(panels, stories):
        tell = "" if panel is panels[0] else "_"  # one legend is enough
        solution = theory(**setting)
        for k, (name, line) in enumerate((("train", solution.train_loss), ("test", solution.test_loss))):
            panel.plot(steps, line[1:] / line[0], "--", color=f"C{k}", label=f"{tell}{name}, theory")
            panel.plot(
                marks, curves[k][marks] / curves[k][0], "o", color=f"C{k}", label=f"{tell}{name}, networks"
            )
        t_train, t_test = grokking_times(solution.train_loss, solution.test_loss)
        end = T if np.isnan(t_test) else t_test
        panel.axvspan(t_train, end, color="C4", alpha=0.25, linewidth=0)
        panel.text(
            np.sqrt(t_train * end), 1.5, f"{end - t_train:.0f} steps", ha="center", color="C4", weight="bold"
        )
        panel.axhline(0.1, color="0.6", linewidth=1)
        panel.set(xscale="log", yscale="log", ylim=(1e-3, 2.5), xlabel="gradient step")
        panel.set_title(title, fontsize=9.5)
    panels[0].set_ylabel("loss, relative to its start")
    panels[0].legend(loc="lower left", fontsize=8)


# Laziness: the ratio of the two times -------------------------------------------------------

ratio = Claim(
    id="dmft.laziness",
    statement="Ten times the output scale raises the ratio of test to train time 1.2 times at P/D = 8.",
    source="Kumar et al. (ICLR 2024); measured for this package",
    criterion=Better(by=1.2, larger=True),
    quick=grid(replicates=1),
    full=grid(replicates=10),
)


def time_ratios(alpha, nu, steps, dim, rng, n, eps=0.3):
    spec, task = QuadraticNetwork(np.inf, alpha, eps, center=True), PolynomialTask(nu)
    run = simulate_moments(spec, task, 0.2, steps, dim, 0.0, n_seeds=n, rng=rng)
    t_train, t_test = grokking_times(run.train_loss, run.test_loss)
    return t_train, t_test, np.fmin(t_test, steps) / t_train  # a time that never comes counts as the last


@ratio.measure
def lazy_against_rich(rng, n=16):
    return np.stack([time_ratios(alpha, 8.0, 600, 40, rng, n)[2] for alpha in (3.0, 0.3)], axis=1)


@ratio.control("with 64 samples per dimension kernel regression learns the target too")
def plenty_of_data(rng, n=8):
    return np.stack([time_ratios(alpha, 64.0, 250, 30, rng, n)[2] for alpha in (3.0, 0.3)], axis=1)


# How much data ------------------------------------------------------------------------------

goldilocks = Claim(
    id="dmft.goldilocks",
    statement="One sample per dimension never generalises, eight grok, and 64 close the gap, lazy or rich.",
    source="Kumar et al. (ICLR 2024): grokking needs neither too few nor too many samples",
    criterion=Holds(0.5),
    quick=grid(alpha=[0.5, 1.0, 3.0], nu=[1, 8, 64], replicates=1),
    full=grid(alpha=[0.5, 1.0, 2.0, 3.0], nu=[1, 8, 64], replicates=8),
)
STEPS = {1: 300, 8: 700, 64: 160}


@goldilocks.measure
def phase_is_as_told(alpha, nu, rng, eps=0.3, n=12):
    t_train, t_test, ratios = time_ratios(alpha, float(nu), STEPS[nu], 30, rng, n, eps)
    never = np.isnan(t_test)
    good = never if nu == 1 else ratios >= 1.5 if nu == 8 else t_test < 1.5 * t_train
    return Samples(good, gap=np.median(np.where(never, np.inf, t_test / t_train)))


@goldilocks.control(
    "a linear activation never learns the features of the target",
    grid=grid(alpha=[1.0], nu=[1, 8, 64], replicates=1),
)
def linear(alpha, nu, rng):
    return phase_is_as_told(alpha, nu, rng, eps=0.0)


@goldilocks.figure
def draw_phases(ax, result):
    alphas, ratios = result.axis("alpha"), result.axis("nu")
    gaps = np.array([[result.extras("gap", alpha=a, nu=r)[0] for r in ratios] for a in alphas])
    shown = np.where(np.isfinite(gaps), np.log(gaps), np.nan)
    ax.imshow(shown, cmap="YlOrBr", origin="lower", aspect="auto", vmin=0, vmax=np.log(10))
    for (i, j), gap in np.ndenumerate(gaps):
        phase = "never\ngeneralises" if np.isinf(gap) else "no gap" if gap < 1.5 else "groks"
        note = "" if np.isinf(gap) else f"\ntest {gap:.1f} x later"
        ax.text(j, i, phase + note, ha="center", va="center")
    ax.set_xticks(range(len(ratios)), [f"{r}" for r in ratios])
    ax.set_yticks(range(len(alphas)), [f"{a:g}" for a in alphas])
    ax.grid(False)
    ax.set(xlabel="samples per dimension P/D", ylabel="laziness (output scale)")


# The start ----------------------------------------------------------------------------------

start = Claim(
    id="dmft.misaligned-start",
    statement="The time to half the test loss grows with log(1/m0) without exception, nearly in proportion.",
    source="escape from the saddle at m0 = 0; the curve is convex, no exact logarithm",
    criterion=AtLeast(0.97),
    quick=grid(replicates=8),
    full=grid(replicates=32),
)
SPIKES = (0.1, 0.15, 0.2, 0.3, 0.45, 0.6)


def half_times(eps, rng):
    spec, times = QuadraticNetwork(np.inf, 0.3, eps, center=True), []
    for spike in SPIKES:
        loss = dmft_solve(spec, PolynomialTask(8.0), 0.2, 24, spike, n_samples=300, rng=rng).test_loss
        below = np.flatnonzero(loss <= 0.5 * loss[0])
        if below.size == 0:
            return np.full(len(SPIKES), np.nan)
        t = below[0]  # interpolated between steps
        times.append(t - (0.5 * loss[0] - loss[t]) / (loss[t - 1] - loss[t]))
    return np.array(times)


def straightness(times):
    """Return R^2 of the line through (log 1/m0, t), or 0 where times do not fall strictly with m0."""
    if not np.all(np.diff(times) < 0):
        return 0.0
    return np.corrcoef(np.log(SPIKES), times)[0, 1] ** 2


@start.measure
def delays(rng):
    times = half_times(0.3, rng)
    return Samples([straightness(times)], times=times)


@start.control("without curvature of the activation there is no escape")
def no_curvature(rng):
    return [straightness(half_times(0.0, rng))]


@start.figure
def draw_start(ax, result):
    times = np.mean(result.extras("times"), axis=0)
    x = np.log(1 / np.array(SPIKES))
    ax.plot(x, np.polyval(np.polyfit(x, times, 1), x), "--", label="straight line")
    ax.plot(x, times, "o", label="mean field theory")
    ax.set(xlabel="log(1 / initial overlap)", ylabel="step of half the test loss")
    ax.legend()


if __name__ == "__main__":
    main()
