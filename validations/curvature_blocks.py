"""Larger blocks of the Fisher matrix prune better if the update is joint.

Block-diagonal matrices save memory. With the joint update every enlargement of
the blocks pays. The published update neglects how the removed weights interact,
which costs the more the larger the block, so that the gain peters out.
"""

import numpy as np
from _digits_mlp import D, train

from theorylab.curvature import fisher_inverse, obs_prune
from theorylab.validation import Better, Claim, Samples, grid, main

SIZES = (16, 74, 592, D)  # divisors of the 2368 weights; the last is the whole matrix


def losses(rng, update, sizes=SIZES):
    """Increase of the training loss at 80% sparsity for each block size, on one net."""
    net = train(int(rng.integers(2**31)))
    G = net.gradients(512, rng)
    return np.array(
        [
            net.increase(
                obs_prune(fisher_inverse(G, 1e-5, blocks=b), net.weights, sparsity=0.8, update=update).weights
            )
            for b in sizes
        ]
    )


def steps(increase):
    """Pairs (full, 592) and (full, 16)."""
    return [[[increase[3], increase[2]], [increase[3], increase[0]]]]


blocks = Claim(
    id="curvature.blocks",
    statement="With the joint update the full matrix beats blocks of 592, and blocks of 16 by a factor 4.",
    source="sec. 4 (block-wise estimates); users of the published update found blocks better than none",
    criterion=Better(),
    quick=grid(joint={"against": [592, 16]}, replicates=16),
    full=grid(joint={"against": [592, 16]}, replicates=60),
    level=0.01,
)


@blocks.predict
def factor(against):
    return {592: 1.0, 16: 4.0}[against]


@blocks.measure
def joint_update(rng):
    increase = losses(rng, "joint")
    return Samples(steps(increase), increase=increase)


@blocks.control(
    "the published update ignores how removed weights interact, so it cannot use the larger blocks",
    grid=grid(joint={"against": [592, 16]}, replicates=22),
)
def published_update(rng):
    increase = losses(rng, "independent")
    return Samples(steps(increase), increase=increase)


@blocks.figure(file="curvature_blocks.png")
def draw(ax, result):
    for branch, label, style in (
        (None, "joint update", {}),
        ("published_update", "published update (control)", {"color": "0.6"}),
    ):
        logs = np.log(np.array(result.extras("increase", branch=branch)))
        mean, error = logs.mean(axis=0), 1.96 * logs.std(axis=0, ddof=1) / np.sqrt(len(logs))
        spread = np.exp(mean) * np.array([1 - np.exp(-error), np.exp(error) - 1])
        ax.errorbar(SIZES, np.exp(mean), spread, fmt="o-", label=label, **style)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="block size b (weights)",
        ylabel="increase of the training loss (nats)",
    )


if __name__ == "__main__":
    main()
