"""Simplicity bias: a trained network uses the simplest predictive block of its input, and nothing else."""

import numpy as np

from theorylab.validation import AtLeast, Claim, Samples, Within, grid, main

GAP = 0.1


def linear_block(y, rng):
    """One coordinate that separates the classes by its sign, with a margin."""
    return y * (GAP + (1 - GAP) * rng.random(len(y)))


def slab_block(y, slabs, rng):
    """One coordinate in `slabs` intervals of alternating label, the central one positive."""
    width = (2 - (slabs - 1) * GAP) / slabs
    index = np.arange(slabs)
    label = np.where((index - slabs // 2) % 2 == 0, 1, -1)
    choice = np.empty(len(y), dtype=int)
    for sign in (1, -1):
        here = y == sign
        choice[here] = rng.choice(index[label == sign], here.sum())
    return -1 + choice * (width + GAP) + width * rng.random(len(y))


def data(n, d, rng, simple, slabs):
    """Labels, a first block (`simple`: "linear", "5-slab" or "noise"), and d - 1 slab blocks."""
    y = rng.choice([-1.0, 1.0], n)
    first = {
        "linear": lambda: linear_block(y, rng),
        "5-slab": lambda: slab_block(y, 5, rng),
        "noise": lambda: rng.uniform(-1, 1, n),
    }[simple]()
    return np.column_stack([first, *(slab_block(y, slabs, rng) for _ in range(d - 1))]).astype(np.float32), y


def train(X, y, rng, width=100, epochs=60, batch=256, rate=0.1, momentum=0.9, decay=5e-5):
    """One hidden ReLU layer, logistic loss, SGD with momentum; returns the decision function."""
    n, d = X.shape
    p = [
        (rng.standard_normal((d, width)) * np.sqrt(2 / d)).astype(np.float32),
        np.zeros(width, np.float32),
        (rng.standard_normal(width) * np.sqrt(1 / width)).astype(np.float32),
        np.zeros(1, np.float32),
    ]
    velocity = [np.zeros_like(q) for q in p]
    y = y.astype(np.float32)
    for _ in range(epochs):
        order = rng.permutation(n)
        for start in range(0, n, batch):
            rows = order[start : start + batch]
            x, t = X[rows], y[rows]
            hidden = np.maximum(x @ p[0] + p[1], 0)
            margin = np.clip(t * (hidden @ p[2] + p[3]), -30, 30)
            slope = -t / (1 + np.exp(margin)) / len(rows)
            back = np.outer(slope, p[2]) * (hidden > 0)
            gradients = [x.T @ back, back.sum(0), hidden.T @ slope, slope.sum(keepdims=True)]
            for q, v, g in zip(p, velocity, gradients):
                v *= momentum
                v += g + decay * q
                q -= rate * v
    return lambda x: np.maximum(x @ p[0] + p[1], 0) @ p[2] + p[3]


def auc(scores, y):
    ranks = np.argsort(np.argsort(scores)) + 1.0
    n1 = np.sum(y > 0)
    return (ranks[y > 0].sum() - n1 * (n1 + 1) / 2) / (n1 * (len(y) - n1))


def three_aucs(rng, simple, slabs=5, n=5000, d=6, n_test=4000, epochs=60):
    """AUC as trained, with the first block permuted across test points, and with all others permuted."""
    X, y = data(n, d, rng, simple, slabs)
    Z, t = data(n_test, d, rng, simple, slabs)
    decide = train(X, y, rng, epochs=epochs)
    without_first, only_first = Z.copy(), Z.copy()
    without_first[:, 0] = rng.permutation(Z[:, 0])
    only_first[:, 1:] = only_first[rng.permutation(n_test), 1:]
    return [auc(decide(z), t) for z in (Z, without_first, only_first)]


claim = Claim(
    id="inductive_bias.simplicity",
    statement=(
        "Trained on a linear and several five-slab blocks, a network loses all skill without the linear one."
    ),
    source=(
        "Shah et al., NeurIPS 2020, LMS-5: AUC with the simple block randomised 0.5, with all "
        "others randomised 1"
    ),
    criterion=Within(abs=0.05),
    quick=grid(replicates=14, joint=dict(randomised=["simple block", "all others"])),
    full=grid(replicates=10, joint=dict(randomised=["simple block", "all others"])),
)


@claim.predict
def reliance(randomised):
    return 0.5 if randomised == "simple block" else 1.0


@claim.measure
def linear_and_slabs(rng):
    values = three_aucs(rng, "linear")
    return Samples(values[1:], all=values)


@claim.control(
    "noise in place of the linear block: the slabs are learned",
    grid=grid(replicates=3, joint=dict(randomised=["simple block", "all others"])),
)
def noise_and_slabs(rng):
    values = three_aucs(rng, "noise")
    return Samples(values[1:], all=values)


@claim.figure
def draw(ax, result):
    names = ["as trained", "simple block\nrandomised", "all others\nrandomised"]
    for branch, colour, label, shift in (
        (None, "C0", "linear + 5-slabs", -0.1),
        ("noise_and_slabs", "0.6", "control: noise + 5-slabs", 0.1),
    ):
        for i, values in enumerate(result.extras("all", branch)):
            ax.plot(np.arange(3) + shift, values, "o", color=colour, label=label if i == 0 else None)
    ax.plot(range(3), [1, 0.5, 1], "k_", ms=30, label="prediction")
    ax.set(xticks=range(3), xticklabels=names, ylabel="test AUC", ylim=(0.4, 1.05))
    ax.legend(loc="lower right")


enough = Claim(
    id="inductive_bias.simplicity-is-enough",
    statement="With all blocks but the linear one randomised, the network keeps an AUC above 0.99.",
    source="Shah et al., NeurIPS 2020, LMS-5: AUC with all other blocks randomised 1",
    criterion=AtLeast(0.99),
    quick=grid(replicates=5),
    full=grid(replicates=10),
)


@enough.measure
def linear_alone(rng):
    values = three_aucs(rng, "linear")
    return Samples([values[2]], all=values)


@enough.control("noise in place of the linear block", grid=grid(replicates=3))
def noise_alone(rng):
    values = three_aucs(rng, "noise")
    return Samples([values[2]], all=values)


@enough.figure
def draw_enough(ax, result):
    for branch, colour, label in (
        (None, "C0", "linear + 5-slabs"),
        ("noise_alone", "0.6", "control: noise + 5-slabs"),
    ):
        for i, (standard, _, alone) in enumerate(result.extras("all", branch)):
            ax.plot([0, 1], [standard, alone], "o-", color=colour, label=label if i == 0 else None)
    ax.axhline(0.99, ls="--", color="k", label="0.99")
    ax.set(
        xticks=[0, 1],
        xticklabels=["as trained", "all blocks but\nthe first randomised"],
        xlim=(-0.3, 1.3),
        ylabel="test AUC",
    )
    ax.legend(loc="lower left")


slabs_only = Claim(
    id="inductive_bias.simplicity-of-slabs",
    statement="Trained on a five-slab and several seven-slab blocks, a network relies on the five slabs.",
    source="Shah et al., NeurIPS 2020, MS-(5,7); a looser tolerance than theirs at this size",
    criterion=Within(abs=0.2),
    quick=grid(replicates=8, joint=dict(randomised=["simple block", "all others"])),
    full=grid(replicates=10, joint=dict(randomised=["simple block", "all others"])),
)
slabs_only.predict(reliance)


@slabs_only.measure
def five_and_seven(rng):
    return three_aucs(rng, "5-slab", slabs=7, epochs=150)[1:]


@slabs_only.control(
    "noise in place of the five slabs",
    grid=grid(replicates=3, joint=dict(randomised=["simple block", "all others"])),
)
def noise_and_seven(rng):
    return three_aucs(rng, "noise", slabs=7, epochs=150)[1:]


if __name__ == "__main__":
    main()
