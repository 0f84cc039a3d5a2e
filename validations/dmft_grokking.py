"""Grokking is delayed feature learning: lazier, less aligned, fewer samples, each delays the test loss."""

from functools import lru_cache

import numpy as np

from theorylab.dmft import PolynomialTask, QuadraticNetwork, dmft_solve, grokking_times, simulate_moments
from theorylab.validation import AtLeast, Better, Claim, Exact, Samples, grid, main

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
    # Rounding moves a time only where a loss is within 1e-5 of its mark.
    return simulate_moments(spec, task, KAPPA, T, dim, SPIKE, n_seeds=n, rng=rng, dtype=np.float32)


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


def time_ratios(alpha, nu, steps, dim, rng, n, spike=0.0):
    """Return times, their ratio (a time that never comes counts as the last), and the curves."""
    spec, task = problem(alpha, 0.3, nu)
    run = simulate_moments(spec, task, KAPPA, steps, dim, spike, n_seeds=n, rng=rng)
    t_train, t_test = grokking_times(run.train_loss, run.test_loss)
    return t_train, t_test, np.fmin(t_test, steps) / t_train, run


laziness = Claim(
    id="dmft.laziness",
    statement="The ratio of test to train time rises with the output scale, over 1.5-fold from 0.3 to 3.",
    source="Kumar et al. (ICLR 2024); measured for this package",
    # Of the p-value .01 of Spearman's one-sided test, and of the inverse 1/1.5 of the ratio of medians.
    criterion=Exact(abs=1.0),
    quick=grid(replicates=1, joint=dict(share=["p-value of ranks / 0.01", "1.5 / ratio of medians"])),
    full=grid(replicates=4, joint=dict(share=["p-value of ranks / 0.01", "1.5 / ratio of medians"])),
)
SWEEP = {0.1: 80, 0.3: 160, 1.0: 300, 3.0: 800}


def sweep(nu, shorter, dim, rng, n):
    from scipy.stats import spearmanr

    alphas, logs, curves = [], [], {}
    for alpha, steps in SWEEP.items():
        ratio, run = time_ratios(alpha, nu, steps // shorter, dim, rng, n)[2:]
        alphas += [alpha] * n
        logs += list(np.log(ratio))
        curves[f"a{alpha:g}"] = np.median([run.train_loss, run.test_loss], axis=1)
    p = spearmanr(alphas, logs, alternative="greater").pvalue
    gaps = np.exp([np.median(np.array(logs)[np.array(alphas) == a]) for a in (0.3, 3.0)])
    return Samples([[p / 0.01, 1.5 * gaps[0] / gaps[1]]], **curves)


@laziness.measure
def eight_samples_per_dimension(rng):
    return sweep(8.0, 1, 40, rng, 10)


@laziness.control("with 64 samples per dimension kernel regression learns the target too")
def plenty_of_data(rng):
    return sweep(64.0, 4, 30, rng, 4)


@laziness.figure
def draw_sweep(ax, result):
    figure = ax.figure
    ax.remove()
    figure.set_size_inches(11.0, 3.4)
    panels = figure.subplots(1, 4, sharey=True)
    for panel, alpha in zip(panels, SWEEP):
        train_loss, test_loss = result.extras(f"a{alpha:g}")[0]
        for k, (name, curve) in enumerate((("train", train_loss), ("test", test_loss))):
            label = name if panel is panels[0] else f"_{name}"  # one legend is enough
            panel.plot(np.arange(1, curve.size), curve[1:] / curve[0], color=f"C{k}", label=label)
        t_train, t_test = grokking_times(train_loss, test_loss)
        end = t_test if t_test > 0 else train_loss.size
        panel.axvspan(t_train, end, color="C4", alpha=0.25, linewidth=0)
        panel.axhline(0.1, color="0.6", linewidth=1)
        panel.text(
            np.sqrt(t_train * end), 2.2, f"x {end / t_train:.1f}", ha="center", color="C4", weight="bold"
        )
        panel.set(xscale="log", yscale="log", ylim=(1e-3, 4), xlabel="gradient step")
        panel.set_title(f"output scale {alpha:g}", fontsize=10)
    panels[0].set_ylabel("loss, relative to its start")
    panels[0].legend(loc="lower left", fontsize=8)


# How much data ------------------------------------------------------------------------------

goldilocks = Claim(
    id="dmft.goldilocks",
    statement="Networks grok at 8 samples per dimension and not at 1 or at 64, rich or lazy.",
    source="Kumar et al. (ICLR 2024): grokking needs neither too few nor too many samples",
    # Of the p-value .01 of Fisher's exact test of the numbers of networks that grok.
    criterion=Exact(abs=1.0),
    quick=grid(alpha=[0.3, 1.0, 3.0], replicates=1, joint=dict(against=[1, 64])),
    full=grid(alpha=[0.3, 0.5, 1.0, 2.0, 3.0], replicates=4, joint=dict(against=[1, 64])),
)
#: Steps at output scale 3; richer networks need fewer.
DATA = {1: 600, 2: 900, 4: 900, 8: 880, 16: 300, 64: 120}


def phases(alpha, rng, judged, n=10, others=3):
    """Compare how many networks grok, at least 1.5 times later on test data, with those at 1 and 64."""
    from scipy.stats import fisher_exact

    groks, gaps = {}, []
    for nu, steps in DATA.items():
        many = n if nu in (1, 8, 64) else others
        t_train, t_test, ratio, _ = time_ratios(
            alpha, nu, int(steps * max(alpha, 0.5) ** 0.8 / 2.4) + 20, 30, rng, many
        )
        groks[nu] = int(np.sum((t_test > 0) & (ratio >= 1.5)))
        gaps.append(np.median(np.where(np.isnan(t_test), np.inf, t_test / t_train)))
    yes = groks[judged]
    shares = [
        fisher_exact([[yes, n - yes], [groks[nu], n - groks[nu]]], alternative="greater").pvalue / 0.01
        for nu in (1, 64)
    ]
    return Samples([shares], gaps=gaps)


@goldilocks.measure
def eight(alpha, rng):
    return phases(alpha, rng, 8)


@goldilocks.control(
    "64 samples per dimension in place of 8: train and test loss fall together",
    grid=grid(alpha=[1.0], replicates=1, joint=dict(against=[1, 64])),
)
def sixty_four(alpha, rng):
    return phases(alpha, rng, 64, others=1)


@goldilocks.figure
def draw_phases(ax, result):
    alphas, ratios = result.axis("alpha"), list(DATA)
    gaps = np.array([np.median(result.extras("gaps", alpha=a), axis=0) for a in alphas])
    shown = np.log(np.where(np.isinf(gaps), np.nan, gaps))
    ax.set_facecolor("0.85")
    ax.imshow(shown, cmap="Purples", vmin=0.0, vmax=1.8, origin="lower", aspect="auto")
    for (i, j), gap in np.ndenumerate(gaps):
        phase = "never" if np.isinf(gap) else "no gap" if gap < 1.5 else "groks"
        note = "" if np.isinf(gap) else f"\n{gap:.1f} x"
        ax.text(j, i, phase + note, ha="center", va="center", color="w" if 4 < gap < np.inf else "k")
    ax.set_xticks(range(len(ratios)), [f"{r}" for r in ratios])
    ax.set_yticks(range(len(alphas)), [f"{a:g}" for a in alphas])
    ax.grid(False)
    ax.set(
        xlabel="samples per dimension P/D",
        ylabel="laziness (output scale)",
        title="How many times later the test loss falls",
    )


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
