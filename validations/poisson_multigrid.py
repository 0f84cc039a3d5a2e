"""Iterations of the learned multigrid: whatever the size, the geometry, and thin walls."""

import numpy as np
from _poisson_multigrid import SparseCycle, iterations
from scipy.ndimage import label

from theorylab.poisson import LearnedMultigrid, problems, solve_pressure
from theorylab.validation import AtMost, Better, Claim, Holds, Samples, grid, main

# Piecewise-constant transfer without over-correction: with halved couplings, that is half the correction.
PLAIN = (0.6, 1.1, 0.6, 1.1, 0.0, 0.0, 0.5, 1.0)


def count(flags, b, method="learned-mg"):
    return solve_pressure(flags, b, method=method, return_info=True)[1].iterations


# C8 -------------------------------------------------------------------------------------------------------

growth = Claim(
    id="poisson.multigrid-growth",
    statement="Iterations of the learned multigrid grow at most like n^0.1 on domains of every family.",
    source="ours; the classical multigrid is that of McAdams, Sifakis and Teran 2010",
    criterion=AtMost(0.1),
    quick=grid(largest=[512], replicates=16, joint={"family": list(problems.FAMILIES)}),
    full=grid(largest=[512, 1024], replicates=40, joint={"family": list(problems.FAMILIES)}),
)


def counts_of(families, largest, rng, solve):
    """Iterations for each family and size."""
    sizes = [n for n in (64, 128, 256, 512, 1024) if n <= largest]
    return np.array([[solve(*problems.make(f, (n, n), rng)) for n in sizes] for f in families])


def slopes(counts):
    return np.polyfit(np.log(2.0) * np.arange(counts.shape[1]), np.log(counts.T), 1)[0]


@growth.measure
def learned_slope(largest, rng):
    counts = counts_of(problems.FAMILIES, largest, rng, count)
    return Samples(slopes(counts), counts=counts)


@growth.control(
    "a piecewise-constant transfer without over-correction", grid=grid(largest=[256], replicates=10)
)
def plain_slope(largest, rng):
    def solve(flags, b):
        return LearnedMultigrid(flags, recipe=PLAIN)._solve(b, None, 1e-6, 0.0, 500, True)[2]

    counts = counts_of(["smoke", "empty"], largest, rng, solve)
    return Samples([slopes(counts).mean()], counts=counts)


@growth.figure
def draw_growth(ax, result):
    largest = result.axis("largest")[-1]
    counts = np.mean(result.extras("counts", largest=largest), axis=0)
    sizes = 64 * 2 ** np.arange(counts.shape[1])
    for family, line in zip(problems.FAMILIES, counts):
        ax.plot(sizes, line, "o-", label=family)
    plain = np.mean(result.extras("counts", branch="plain_slope", largest=256), axis=0)[0]
    ax.plot(64 * 2 ** np.arange(len(plain)), plain, "s-", color="0.6", label="smoke, plain transfer")
    ax.set(xscale="log", yscale="log", xlabel="cells along a side, n", ylabel="iterations to 1e-6")
    ax.set_xticks(sizes, sizes)
    ax.set_yticks([5, 10, 20, 50], [5, 10, 20, 50])
    ax.minorticks_off()
    ax.legend(fontsize="small")


# C9 -------------------------------------------------------------------------------------------------------

walls = Claim(
    id="poisson.thin-walls",
    statement="Thin walls cost less than 1.5 times the iterations of balls, when blocks are split.",
    source="ours: aggregates are the connected parts of blocks of cells",
    criterion=AtMost(1.5, statistic="geomean"),
    quick=grid(side=[256], replicates=60),
    full=grid(side=[128, 256, 512], replicates=100),
)


@walls.measure
def split_ratio(side, rng):
    hard, easy = (problems.make(family, (side, side), rng) for family in ("walls", "smoke"))
    counts = np.array([count(*hard), count(*easy)])
    return Samples([counts[0] / counts[1]], counts=counts)


@walls.control("blocks that are not split leak through the walls", grid=grid(side=[128], replicates=24))
def unsplit_ratio(side, rng):
    counts = []
    for family in ("walls", "smoke"):
        flags, b = problems.make(family, (side, side), rng)
        recipe = LearnedMultigrid(flags, recipe="learned").recipe
        counts.append(iterations(flags, b, SparseCycle(flags, recipe, split=False)))
    return Samples([counts[0] / counts[1]], counts=np.array(counts))


@walls.figure
def draw_walls(ax, result):
    cells = {None: result.axis("side")[0], "unsplit_ratio": 128}
    split, plain = (np.array(result.extras("counts", branch=b, side=n)) for b, n in cells.items())
    ax.plot(plain[:, 1], plain[:, 0], "s", color="0.6", label="whole blocks")
    ax.plot(split[:, 1], split[:, 0], "o", label="split blocks")
    top = 1.05 * plain.max()
    ax.plot([0, top], [0, top], "--", color="k", lw=1, label="equal")
    ax.set(xlabel="iterations, balls and boxes", ylabel="iterations, thin walls", xlim=(0, 20), ylim=(0, top))
    ax.legend()


# C10 ------------------------------------------------------------------------------------------------------

definite = Claim(
    id="poisson.certificate",
    statement="Where the certificate holds, the preconditioner is symmetric and positive definite.",
    source="ours: |(1 - w1 t)(1 - w2 t)| < 1 on (0, 2]",
    criterion=Holds(0.95),
    quick=grid(side=[10], replicates=140),
    full=grid(side=[10, 16, 24], replicates=400),
)


def lowest(flags, recipe):
    """Smallest eigenvalue of B, and its asymmetry, relative to the largest."""
    B = LearnedMultigrid(flags, recipe=recipe, precision="float64")
    full = B @ np.eye(B.shape[0])
    values = np.linalg.eigvalsh(full)
    return values[0], np.abs(full - full.T).max() / values[-1]


def random_recipe(rng):
    """Eight numbers far from any optimum, whose certificate holds."""
    while True:
        recipe = np.concatenate([rng.uniform(0.2, 2.5, 4), rng.uniform(0, 2, 2), rng.uniform(0.3, 2, 2)])
        if LearnedMultigrid([[1, 2]], recipe=recipe).certificate().holds:
            return recipe


@definite.measure
def certified(side, rng):
    family = problems.FAMILIES[rng.choice([0, 1, 3, 4, 5])]
    shape = (side, side) if rng.integers(2) else (side // 2,) * 3
    value, asymmetry = lowest(problems.domain(family, shape, rng), random_recipe(rng))
    return Samples([float(value > 0 and asymmetry < 1e-12)], lowest=np.array([value]))


@definite.control("weights (1.3, 1.3): the inequality fails, 2.56", grid=grid(side=[16], replicates=40))
def overrelaxed(side, rng):
    recipe = (1.3, 1.3, 1.3, 1.3, 1.0, 1.0, 1.0, 1.0)
    value, asymmetry = lowest(problems.domain("smoke", (side, side), rng), recipe)
    return Samples([float(value > 0 and asymmetry < 1e-12)], lowest=np.array([value]))


@definite.figure
def draw_definite(ax, result):
    draw_lowest(ax, result, "overrelaxed", 16)


def draw_lowest(ax, result, control, side):
    good = np.concatenate(result.extras("lowest", side=result.axis("side")[0]))
    bad = np.concatenate(result.extras("lowest", branch=control, side=side))
    bins = np.linspace(-1.5, 1.0, 51)
    ax.hist(good, bins, label="certificate holds", color="C0")
    ax.hist(bad, bins, label="weights (1.3, 1.3)", color="0.6")
    ax.axvline(0, color="k", lw=1)
    ax.set(xlabel="smallest eigenvalue of B", ylabel="recipes")
    ax.legend()


visits = Claim(
    id="poisson.second-visits",
    statement="The preconditioner stays definite where the small levels are visited twice in a cycle.",
    source="ours: two visits are (1 + w) B - w B A B, with w from a bound for the recipe",
    criterion=Holds(0.95),
    quick=grid(side=[13], replicates=140),
    full=grid(side=[13, 15], replicates=400),
)


def maze(shape, rng):
    """Corridors one cell wide below AIR, in which even small levels have many unknowns."""
    odd = sum(i % 2 for i in np.indices(shape))
    flags = ((odd == 0) | ((odd == 1) & (rng.random(shape) < 0.6))).astype(np.uint8)
    flags[..., -1] = 2
    parts = label(flags == 1)[0]
    flags[(flags == 1) & (parts != np.bincount(parts[parts > 0]).argmax())] = 0
    return flags


@visits.measure
def visited_twice(side, rng):
    # Second visits are for tF <= tD <= alphaD tF and oc < 4/3, on levels with more than 64 unknowns.
    tf, alpha = rng.uniform(0.1, 0.98), rng.uniform(1.0, 2.5)
    recipe = (*random_recipe(rng)[:4], tf, tf * rng.uniform(1, alpha), rng.uniform(0.3, 4 / 3), alpha)
    value, asymmetry = lowest(maze((side,) * 3 if rng.integers(2) else (4 * side,) * 2, rng), recipe)
    return Samples([float(value > 0 and asymmetry < 1e-12)], lowest=np.array([value]))


@visits.control("weights (1.3, 1.3): the inequality fails, 2.56", grid=grid(side=[13], replicates=20))
def overrelaxed_below(side, rng):
    value, asymmetry = lowest(maze((side,) * 3, rng), (1.3, 1.3, 1.3, 1.3, 0.9, 0.9, 1.0, 1.0))
    return Samples([float(value > 0 and asymmetry < 1e-12)], lowest=np.array([value]))


@visits.figure
def draw_visits(ax, result):
    draw_lowest(ax, result, "overrelaxed_below", 13)


# C11 ------------------------------------------------------------------------------------------------------

learned = Claim(
    id="poisson.learned-recipe",
    statement="On unseen domains the learned recipe needs less than 0.85 of the iterations of the untrained.",
    source="ours: trained on 160 x 160 cells, used on 256 x 256",
    criterion=Better(by=1 / 0.85),
    quick=grid(replicates=6),
    full=grid(replicates=40),
)
SIDE = 256


@learned.measure
def learned_against_default(rng):
    pairs = []
    for family in problems.FAMILIES:
        flags, b = problems.make(family, (SIDE, SIDE), rng)
        pairs.append([count(flags, b), count(flags, b, "mg")])
    return Samples(np.array(pairs, float), counts=np.array(pairs))


@learned.control("random recipes whose certificate holds", grid=grid(replicates=6))
def random_against_default(rng):
    pairs = []
    for family in problems.FAMILIES:
        flags, b = problems.make(family, (64, 64), rng)
        B = LearnedMultigrid(flags, recipe=random_recipe(rng))
        pairs.append([B._solve(b, None, 1e-6, 0.0, 300, True)[2], count(flags, b, "mg")])
    return Samples(np.array(pairs, float), counts=np.array(pairs))


@learned.figure
def draw_learned(ax, result):
    pairs = np.array(result.extras("counts"))
    for k in range(len(problems.FAMILIES)):
        at = np.full(len(pairs), k)
        ax.plot(at - 0.12, pairs[:, k, 1], "s", color="0.6", label="untrained" if k == 0 else None)
        ax.plot(at + 0.12, pairs[:, k, 0], "o", color="C0", label="learned" if k == 0 else None)
    ax.set_xticks(range(len(problems.FAMILIES)), problems.FAMILIES)
    ax.set(ylabel="iterations to 1e-6, 256 x 256 cells", ylim=(0, None))
    ax.legend()


if __name__ == "__main__":
    main()
