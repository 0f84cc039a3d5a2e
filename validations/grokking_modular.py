"""Networks that add modulo p find the Fourier solution, and hide what they memorise in other neurons."""

import numpy as np

from theorylab.grokking import (
    fourier_solution,
    inverse_participation_ratio,
    modular_dataset,
    modular_logits,
    neuron_scores,
    prune_by_ipr,
    train_modular,
)
from theorylab.validation import Claim, Exact, Holds, Samples, grid, main

# The analytic solution ----------------------------------------------------------------------

fourier = Claim(
    id="grokking.fourier-weights",
    statement="Cosine weights of width 500 add correctly on all p^2 pairs, one frequency per neuron.",
    source="Gromov, arXiv 2301.02679; Doshi et al. (ICLR 2024)",
    # The only error is rounding in a Fourier transform of p numbers.
    criterion=Exact(abs=1e-12),
    quick=grid(p=[23, 97], replicates=3),
    full=grid(p=[23, 53, 97, 113], replicates=20),
)


def defects(p, rng, sign):
    """Return the fraction of wrong sums and the largest distance of a neuron from a single frequency."""
    U, V, W = fourier_solution(p, 500, rng)
    if sign < 0:
        W = W[-np.arange(p) % p]  # cos(w(-c) + phi) = cos(wc - phi)
    data = modular_dataset(p, 0.5, rng=rng)
    wrong = np.mean(modular_logits((U, V, W), data.pairs).argmax(axis=1) != data.true_labels)
    ipr = max(np.abs(inverse_participation_ratio(w) - 1).max() for w in (U, V, W))
    return np.array([wrong, ipr])


@fourier.measure
def analytic(p, rng):
    return defects(p, rng, +1)


@fourier.control("phases of the output with the wrong sign")
def wrong_phase(p, rng):
    return defects(p, rng, -1)


# Grokking -----------------------------------------------------------------------------------

groks = Claim(
    id="grokking.modular",
    statement="In 5 of 6 runs training memorises, then generalises to 99 %, with a mean IPR above 0.5.",
    source="Doshi et al. (ICLR 2024), introductory figure",
    criterion=Holds(5 / 6),
    quick=grid(replicates=52),  # enough with one failure; 38 without
    full=grid(replicates=200),
    headline=True,
    paper="100 % train and test accuracy at p = 97, width 500",
)


def grokked(rng, corruption, decay):
    data = modular_dataset(31, 0.6, corruption, rng)
    run = train_modular(data, 150, 200, weight_decay=decay, rng=rng)
    t_train, t_test = (
        np.argmax(a >= 0.99) if a.max() >= 0.99 else np.inf for a in (run.train_accuracy, run.test_accuracy)
    )
    ipr = neuron_scores(run.weights)
    good = bool(t_train < t_test < np.inf and np.nanmean(ipr) > 0.5)
    return Samples([good], epochs=run.epochs, train=run.train_accuracy, test=run.test_accuracy, ipr=ipr)


@groks.measure
def sums(rng):
    return grokked(rng, 0.0, 1.0)


@groks.control("random labels have no rule to find", grid=grid(replicates=6))
def random_labels(rng):
    return grokked(rng, 1.0, 0.0)


@groks.figure
def draw_groks(ax, result):
    figure = ax.figure
    ax.remove()
    figure.set_size_inches(9.5, 3.8)
    ax, histogram = figure.subplots(1, 2)
    epochs = result.extras("epochs")[0]
    for branch, colours, note in (
        (None, ("C0", "C1"), ""),
        ("random_labels", ("0.4", "0.7"), ", random labels"),
    ):
        for name, colour in zip(("train", "test"), colours):
            curves = np.array(result.extras(name, branch=branch))
            ax.plot(epochs, np.median(curves, axis=0), "o-", markersize=3, color=colour, label=name + note)
            ax.fill_between(
                epochs, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.2, linewidth=0
            )
    ax.set(xlabel="epoch", ylabel="accuracy", title="Sums modulo 31 from 60 % of the table; all seeds")
    ax.legend(loc="center right")
    bins = np.linspace(0, 1, 26)
    for branch, colour, name in ((None, "C0", "sums"), ("random_labels", "0.6", "random labels (control)")):
        scores = np.concatenate(result.extras("ipr", branch=branch))
        share = np.full(scores.size, 1 / scores.size)
        histogram.hist(scores, bins, weights=share, color=colour, alpha=0.8, label=name)
    histogram.set(
        xlabel="inverse participation ratio", ylabel="share of neurons", title="Neurons of one frequency each"
    )
    histogram.legend()


# Memory and understanding live in different neurons -----------------------------------------

prune = Claim(
    id="grokking.pruning",
    statement="In 4 of 5 runs removing the half of lowest IPR forgets corrupted labels, not the rule.",
    source="Doshi et al. (ICLR 2024): coexistence of memorisation and generalisation",
    criterion=Holds(0.8),
    quick=grid(epochs=[200], replicates=42),  # enough with one failure; 31 without
    full=grid(epochs=[600], replicates=60),
    paper="at p = 97 both accuracies reach 100 % before pruning",
)


def forgets(epochs, rng, lowest):
    data = modular_dataset(31, 0.8, 0.2, rng)
    weights = train_modular(data, 256, epochs, weight_decay=5.0, log_every=epochs, rng=rng).weights

    def accuracy(w):
        guess = modular_logits(w, data.pairs).argmax(axis=1)
        return [np.mean((guess == data.labels)[index]) for index in (data.corrupted, data.test)]

    before, after = accuracy(weights), accuracy(prune_by_ipr(weights, 0.5, lowest=lowest))
    good = before[0] - after[0] > 0.4 and before[1] - after[1] < 0.05
    return Samples([good], before=before, after=after)


@prune.measure
def prune_lowest(epochs, rng):
    return forgets(epochs, rng, True)


@prune.control("removing the other half", grid=grid(epochs=[200], replicates=6))
def prune_highest(epochs, rng):
    return forgets(epochs, rng, False)


@prune.figure
def draw_prune(ax, result):
    for k, branch in enumerate((None, "prune_highest")):
        before, after = (np.mean(result.extras(x, branch=branch), axis=0) for x in ("before", "after"))
        if k == 0:
            ax.bar([-1.3, -0.95], before, width=0.3, color=["C1", "C0"])
        ax.bar([k - 0.175, k + 0.175], after, width=0.3, color=["C1", "C0"], alpha=1.0 if k == 0 else 0.4)
    handles = [ax.bar([0], [0], color=c) for c in ("C1", "C0")]
    ax.legend(handles, ["memorised corrupted labels", "true sums of the test set"], loc="upper right")
    ax.set_xticks([-1.125, 0, 1], ["whole network", "lowest IPR removed", "highest IPR removed (control)"])
    ax.set(ylabel="accuracy", ylim=(0, 1.3))


if __name__ == "__main__":
    main()
