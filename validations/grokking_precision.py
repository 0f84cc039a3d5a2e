"""At the edge of numerical stability: when the softmax collapses."""

import numpy as np
from _mlp import train_mlp

from theorylab.grokking import (
    collapse_gap,
    log_stablemax,
    modular_dataset,
    softmax_losses,
    stablemax_cross_entropy,
    steps_to_collapse,
)
from theorylab.validation import Claim, Exact, Samples, grid, main

SOURCE = "Prieto, Barsbey, Mediano, Birdal (ICLR 2025)"

# Softmax collapse ---------------------------------------------------------------------------

collapse = Claim(
    id="grokking.softmax-collapse",
    statement="The loss is exactly 0 from a logit gap of -ln(eps/2) + ln(K-1) on, in every precision.",
    source=f"{SOURCE}, softmax collapse; threshold derived for this package",
    # Half precision rounds a logit of 8 by 0.004 and small exponentials by a few per cent.
    criterion=Exact(rel=0.02),
    quick=grid(precision=["float16", "float32", "float64"], classes=[2, 11], replicates=1),
    full=grid(precision=["float16", "float32", "float64"], classes=[2, 3, 11, 101], replicates=1),
    headline=True,
)
LARGEST = 1e4


@collapse.predict
def threshold(precision, classes):
    return collapse_gap(precision, classes)


def onset(loss):
    """Bisect for the gap at which the loss becomes 0; the largest one tried where it never does."""
    low, high = 0.0, LARGEST
    if loss(high) > 0:
        return [LARGEST]
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if loss(middle) > 0 else (low, middle)
    return [high]


def logits(gap, classes):
    return np.concatenate([[gap], np.zeros(classes - 1)])[None, :]


@collapse.measure
def softmax(precision, classes, rng):
    return onset(lambda gap: softmax_losses(logits(gap, classes), [0], precision)[0])


@collapse.control("stablemax falls like a power, and never reaches 0")
def stablemax(precision, classes, rng):
    return onset(lambda gap: stablemax_cross_entropy(logits(gap, classes).astype(precision), [0]))


@collapse.figure
def draw_collapse(ax, result):
    gaps = np.linspace(0, 42, 400)
    for k, precision in enumerate(result.axis("precision")):
        losses = softmax_losses(np.stack([gaps, 0 * gaps], axis=1), np.zeros(gaps.size, dtype=int), precision)
        seen = losses > 0
        ax.semilogy(gaps[seen], losses[seen].astype(float), color=f"C{k}", label=precision)
        ax.axvline(collapse_gap(precision), color=f"C{k}", linestyle="--")
    stable = [stablemax_cross_entropy([[g, 0.0]], [0]) for g in gaps]
    ax.semilogy(gaps, stable, color="0.6", label="stablemax (control)")
    ax.set(xlabel="logit gap", ylabel="loss", title="The loss vanishes where theory (dashed) says")
    ax.legend()


# Collapse while training -------------------------------------------------------------------------

PRECISIONS, FACTORS = ["float16", "float32", "float64"], [1, 2, 4, 8]
JOINT = dict(precision=PRECISIONS, factor=FACTORS)
JUDGED = 4  # epoch 80, when some samples have collapsed in half precision and some have not

training = Claim(
    id="grokking.collapse-in-training",
    statement="In trained networks the samples of zero loss are those whose logit gap exceeds the threshold.",
    source=f"{SOURCE}, figure 1; at epoch 80, logits also scaled by 2, 4, 8 as late training does",
    # Shares of samples; half precision rounds logits of 10 by 0.005 and sums of small exponentials more.
    criterion=Exact(abs=0.03),
    quick=grid(replicates=2, joint=JOINT),
    full=grid(replicates=20, joint=JOINT),
    paper="p = 113: collapse in half precision first, single next, double last",
)


def zero_share(logits, labels, precision):
    return np.mean(softmax_losses(logits, labels, precision) == 0)


def predicted_share(logits, labels, precision):
    return np.mean(steps_to_collapse(logits, labels, precision) == 0)


def differences(course, labels, share):
    last = course.logits[JUDGED].astype(float)
    return [
        [
            share(f * last, labels, k) - predicted_share(f * last, labels, k)
            for k in PRECISIONS
            for f in FACTORS
        ]
    ]


def course_of(rng):
    data = modular_dataset(31, 0.6, rng=rng)
    course = train_mlp(data, 128, 240, 1e-2, rng, every=20, keep_logits=True)
    return course, data.labels[data.train]


@training.measure
def softmax_in_each_precision(rng):
    course, labels = course_of(rng)
    curves = [
        [[share(z, labels, k) for z in course.logits] for k in PRECISIONS]
        for share in (zero_share, predicted_share)
    ]
    return Samples(
        differences(course, labels, zero_share),
        epochs=course.epochs, train=course.train, test=course.test, seen=curves[0], predicted=curves[1],
    )  # fmt: skip


@training.control(
    "StableMax of the same logits never has a loss of zero", grid=grid(replicates=1, joint=JOINT)
)
def stablemax_losses(rng):
    def share(logits, labels, precision):
        return np.mean(log_stablemax(logits.astype(np.float32))[np.arange(labels.size), labels] == 0)

    return differences(*course_of(rng), share)


@training.figure
def draw_training(ax, result):
    epochs, train_accuracy, test_accuracy, seen, predicted = (
        result.extras(name)[0] for name in ("epochs", "train", "test", "seen", "predicted")
    )
    ax.plot(epochs, train_accuracy, color="0.2", label="train accuracy")
    ax.plot(epochs, test_accuracy, color="0.6", label="test accuracy")
    for k, precision in enumerate(PRECISIONS):
        ax.plot(epochs, predicted[k], "--", color=f"C{k}", label="_")
        ax.plot(epochs, seen[k], "o", markersize=4, color=f"C{k}", label=f"loss 0 in {precision}")
    ax.set(
        xlabel="epoch",
        ylabel="share of samples",
        title="Learning stops where the loss rounds to 0 (prediction dashed)",
    )
    ax.legend(loc="center right", fontsize=9)


if __name__ == "__main__":
    main()
