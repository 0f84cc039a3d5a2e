"""Small versions of the published benchmark tasks: few-shot episodes of digits, and a pendulum's policy."""

from functools import lru_cache

import numpy as np
from _inductive_bias import rbf
from scipy.linalg import solve_continuous_are
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

from theorylab.inductive_bias import inductive_bias
from theorylab.validation import AtLeast, Better, Claim, Samples, grid, main

WAYS = 5


@lru_cache
def digits():
    X, labels = load_digits(return_X_y=True)
    return X / 16.0, labels


def episodes(n, rng, fixed=False):
    """Support images of five classes in random order beside a query: inputs, and which one the query is.

    With `fixed` the support is one for all episodes, so that the query alone tells, as in plain
    classification.
    """
    X, labels = digits()
    members = [np.flatnonzero(labels == c) for c in range(10)]
    inputs, targets = np.empty((n, (WAYS + 1) * 64)), np.zeros((n, WAYS))
    for i in range(n):
        classes = np.arange(WAYS) if fixed else rng.permutation(10)[:WAYS]
        support = [members[c][0] if fixed else rng.choice(members[c]) for c in classes]
        answer = rng.integers(WAYS)
        inputs[i] = X[[*support, rng.choice(members[classes[answer]])]].ravel()
        targets[i, answer] = 1.0
    return inputs, targets


few_shot = Claim(
    id="inductive_bias.few-shot",
    statement="One-shot episodes need over 1.3 times the nats of plain classification of the same digits.",
    source=(
        "IJCAI 2024, Omniglot 5-way 1-shot, qualitative; here digits, 200 training and 200 test "
        "inputs, eps = 0.03"
    ),
    criterion=Better(by=1.3, larger=True),
    quick=grid(replicates=16),
    full=grid(replicates=40),
)


def episodes_and_plain(rng, fixed=False, n=200, eps=0.03):
    """Nats of one-shot episodes and of plain classification, in the same space of functions."""
    nats = []
    for plain in (fixed, True):
        X, Y = episodes(n, rng, plain)
        Z, T = episodes(n, rng, plain)
        nats.append(float(inductive_bias(rbf(1.0), X, Y, Z, T, eps, alpha=1e-6).estimate))
    return Samples([nats], nats=nats)


@few_shot.measure
def one_shot(rng):
    return episodes_and_plain(rng)


@few_shot.control("episodes that all share one support set")
def shared_support(rng):
    return episodes_and_plain(rng, fixed=True)


@few_shot.figure
def draw_few_shot(ax, result):
    rows = [("one-shot\nepisodes", None, 0, "C0"), ("plain", None, 1, "C1")]
    rows += [("shared support\n(control)", "shared_support", 0, "0.6")]
    for i, (_, branch, column, colour) in enumerate(rows):
        values = np.array(result.extras("nats", branch))[:, column]
        ax.bar(i, values.mean(), color=colour, alpha=0.5)
        ax.plot(i + np.linspace(-0.2, 0.2, len(values)), values, "o", color=colour, ms=3)
    ax.set(xticks=range(3), xticklabels=[row[0] for row in rows], ylabel="inductive bias at eps = 0.03, nats")


NOISE_DIMENSIONS = [0, 1, 2, 4, 8, 16]

pendulum = Claim(
    id="inductive_bias.pendulum",
    statement=(
        "The policy of a pendulum needs more nats the more noise dimensions surround its state: rank "
        "correlation above 0.95."
    ),
    source="IJCAI 2024, inverted pendulum, qualitative; optimal linear control, target 0.05 of its variance",
    criterion=AtLeast(0.95),
    quick=grid(replicates=10),
    full=grid(replicates=60),
)


@lru_cache
def gain():
    """Feedback of the linear-quadratic regulator of a pendulum of unit mass and length, upright."""
    A, B = np.array([[0.0, 1.0], [9.81, 0.0]]), np.array([[0.0], [1.0]])
    return (B.T @ solve_continuous_are(A, B, np.eye(2), np.eye(1)))[0]


def nats_of_policy(rng, scale):
    """Nats at 0.05 of the variance of the action, for growing numbers of noise dimensions."""
    most = 2 + NOISE_DIMENSIONS[-1]
    X, Z = rng.uniform(-1, 1, (60, most)), rng.uniform(-1, 1, (120, most))
    y, t = (A[:, :2] @ gain() for A in (X, Z))
    size = t.std()
    X[:, 2:] *= scale
    Z[:, 2:] *= scale
    values = [
        float(
            inductive_bias(
                rbf(1.0), X[:, : 2 + m], y / size, Z[:, : 2 + m], t / size, 0.05, alpha=1e-6
            ).estimate
        )
        for m in NOISE_DIMENSIONS
    ]
    steps = np.round(values, 9)
    moving = np.ptp(steps) > 0
    return Samples([spearmanr(NOISE_DIMENSIONS, steps)[0] if moving else 0.0], nats=values)


@pendulum.measure
def noise_dimensions(rng):
    return nats_of_policy(rng, 1.0)


@pendulum.control("dimensions that hold a constant")
def constant_dimensions(rng):
    return nats_of_policy(rng, 0.0)


@pendulum.figure
def draw_pendulum(ax, result):
    for branch, colour, label in (
        (None, "C0", "uniform noise"),
        ("constant_dimensions", "0.6", "control: constants"),
    ):
        for i, values in enumerate(result.extras("nats", branch)):
            ax.plot(
                NOISE_DIMENSIONS, values, "o-", ms=3, color=colour, alpha=0.7, label=label if i == 0 else None
            )
    ax.set(xlabel="noise dimensions beside angle and velocity", ylabel="inductive bias, nats")
    ax.legend()


if __name__ == "__main__":
    main()
