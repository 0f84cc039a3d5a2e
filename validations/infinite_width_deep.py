"""What infinitely wide networks become as their depth grows.

Nearest neighbour, singular kernel, majority vote.
"""

import functools

import numpy as np
from scipy import special
from scipy.interpolate import CubicSpline

from theorylab.infinite_width import deep_limit
from theorylab.infinite_width.deep_limit import InfiniteDepthClassifier
from theorylab.validation import AtLeast, AtMost, Claim, Exact, Samples, grid, main

CASES = {
    "nearest": np.sqrt([0.0, 0.0, 0.5, 0.5]),
    "singular": deep_limit.optimal_hermite(3),
    "majority": np.sqrt([0.3, 0.3, 0.2, 0.2]),
}

OTHER = {"nearest": "majority", "majority": "nearest"}

limits = Claim(
    id="infinite_width.deep-limits",
    statement="From some depth on networks classify as the limit named by their first two Hermite "
    "coefficients: nearest neighbour from 10, majority from 100 layers, on 99 % of points.",
    source="Radhakrishnan, Belkin, Uhler 2023, Theorem 1",
    criterion=AtMost(0.01),
    quick=grid(
        network=[("nearest", 10), ("nearest", 300), ("majority", 100), ("majority", 300)], replicates=12
    ),
    full=grid(
        network=[("nearest", 10), ("nearest", 300), ("majority", 100), ("majority", 300)], replicates=120
    ),
)


def data(n, rng, flips):
    """Points of the positive orthant of the 3-sphere, mostly of one class, with a share of flipped labels."""
    x = np.abs(rng.standard_normal((n, 4)))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.where(x[:, 0] > x[:, 1] - 0.3, 1, -1)
    return x, np.where(rng.random(n) < flips, -y, y)


@functools.cache
def log_kernel(case, depth):
    """``ln T_L`` as a function of ``ln(delta / (1 - delta))``, ``delta = 1 - rho``, and at rho = 1."""
    u = np.linspace(-32.0, 32.0, 8001)
    log_t = deep_limit.deep_kernels(special.expit(u), CASES[case], depth)[1]
    return CubicSpline(u, log_t), deep_limit.deep_kernels(np.zeros(1), CASES[case], depth)[1][0]


def log_odds(p, q):
    gap = np.maximum(1.0 - p @ q.T, 1e-13)
    return np.log(gap / np.maximum(1.0 - gap, 1e-13))


class Data:
    """250 training points, 300 new ones, and what networks and limits say there."""

    def __init__(self, rng, flips=0.0):
        self.x, self.y = data(250, rng, flips)
        self.z = data(300, rng, flips)[0]
        self.cross, self.train = log_odds(self.z, self.x), log_odds(self.x, self.x)

    def network(self, case, depth):
        """Sign of ``T_* T^-1 y``; all in logarithms, scaled by the diagonal."""
        curve, one = log_kernel(case, depth)
        cross, train = curve(self.cross), curve(self.train)
        np.fill_diagonal(train, one)
        weights = np.linalg.solve(np.exp(train - one), self.y.astype(float))
        return np.sign(np.exp(cross - cross.max(axis=1, keepdims=True)) @ weights)

    def limit(self, case):
        return InfiniteDepthClassifier(CASES[case]).fit(self.x, self.y).predict(self.z)


@limits.measure
def deep_network(network, rng):
    sample = Data(rng)
    return np.mean(sample.network(*network) != sample.limit(network[0]))


@limits.control("the limits are not interchangeable")
def swapped(network, rng):
    sample = Data(rng)
    return np.mean(sample.network(*network) != sample.limit(OTHER[network[0]]))


@limits.control(
    "ten layers are too few for the majority", grid=grid(network=[("majority", 10)], replicates=12)
)
def shallow(network, rng):
    return deep_network(network, rng)


@limits.figure
def draw_limits(ax, result):
    for k, network in enumerate(result.axis("network")):
        for branch, color, label in ((None, "C0", "its own limit"), ("swapped", "0.6", "the other limit")):
            share = result.samples(branch=branch, network=network).mean()
            ax.bar(k + (0.2 if branch else -0.2), share, 0.38, color=color, label=label if k == 0 else None)
    share = result.samples(branch="shallow", network=("majority", 10)).mean()
    ax.bar(4, share, 0.38, color="0.6", hatch="//", label="too shallow")
    names = [f"{case}\nL = {depth}" for case, depth in (*result.axis("network"), ("majority", 10))]
    ax.set(xticks=range(5), xticklabels=names, ylabel="share of points that differ", ylim=(0, 0.7))
    ax.legend()


singular = Claim(
    id="infinite_width.singular-limit",
    statement="With 30 % of labels flipped the singular network leaves the nearest neighbour and approaches "
    "the Koenigs kernel as its depth grows from 10 to 300.",
    source="Radhakrishnan, Belkin, Uhler 2023, Theorem 2; slow, for corrections are O(1/L)",
    criterion=AtLeast(0.02),
    quick=grid(replicates=24),
    full=grid(replicates=400),
)
DEPTHS = (10, 30, 100, 300)


def paths(rng, depths=DEPTHS):
    """Disagreement with psi and with the nearest neighbour at each depth, on the same data."""
    sample = Data(rng, flips=0.3)
    limits_ = [sample.limit("singular"), sample.limit("nearest")]
    return np.array([[np.mean(sample.network("singular", d) != l) for d in depths] for l in limits_])


@singular.measure
def approach(rng):
    table = paths(rng)
    return Samples(table[0, 0] - table[0, -1], table=table)


@singular.control("the nearest neighbour is not what it approaches", grid=grid(replicates=10))
def against_nearest(rng):
    table = paths(rng, (10, 300))
    return table[1, 0] - table[1, -1]


@singular.figure
def draw_singular(ax, result):
    mean = np.mean(result.extras("table"), axis=0)
    ax.plot(DEPTHS, mean[0], "o-", label="from the Koenigs kernel")
    ax.plot(DEPTHS, mean[1], "s-", color="0.6", label="from the nearest neighbour")
    ax.set(xscale="log", xlabel="depth", ylabel="share of points that differ", ylim=(0, None))
    ax.legend()


koenigs = Claim(
    id="infinite_width.koenigs",
    statement="T_L / (L A'^(2L)) tends to the Koenigs kernel with an error proportional to 1/L.",
    source="Radhakrishnan, Belkin, Uhler 2023, Lemma on the singular case; rate derived here",
    criterion=Exact(abs=0.05, target=1.0),
    quick=grid(depth=[50, 100, 200, 400], rho=[0.2, 0.8], replicates=1),
)


def excess(depth, rho, factor=1.0):
    h = CASES["singular"]
    log_t = deep_limit.deep_kernels(np.array([1 - rho]), h, depth)[1][0]
    log_psi = np.log(deep_limit.koenigs_kernel(rho, h))
    return factor * np.exp(log_t - np.log(depth) - 2 * depth * np.log(h[1]) - log_psi) - 1.0


@koenigs.measure
def halving(depth, rho, rng):
    return 2 * excess(2 * depth, rho) / excess(depth, rho)


@koenigs.control("without the factor L the ratio does not converge")
def without_depth(depth, rho, rng):
    return 2 * excess(2 * depth, rho, 2 * depth) / excess(depth, rho, depth)


@koenigs.figure
def draw_koenigs(ax, result):
    depth = np.unique(np.geomspace(5, 800, 25).astype(int))
    for k, rho in enumerate((0.2, 0.8)):
        error = [excess(int(l), rho) for l in depth]
        ax.plot(depth, error, "o", color=f"C{k}", label=f"correlation {rho}")
        ax.plot(depth, error[-1] * depth[-1] / depth, "--", color=f"C{k}")
    ax.set(xscale="log", yscale="log", xlabel="depth L", ylabel="T / (L A'^2L psi) - 1")
    ax.legend()


exponent = Claim(
    id="infinite_width.singular-exponent",
    statement="The limiting kernel is singular like |x - x'|^(-alpha) with alpha = -4 ln A' / ln B'.",
    source="Radhakrishnan, Belkin, Uhler 2023, Theorem 2; alpha = d is optimal",
    criterion=Exact(abs=0.01),
    quick=grid(d=[2, 3, 4, 6], replicates=1),
    paper="alpha = d",
)


@exponent.predict
def predicted(d):
    return deep_limit.singular_exponent(deep_limit.optimal_hermite(d))


def curve(d):
    delta = np.geomspace(1e-10, 1e-3, 40)
    h = deep_limit.optimal_hermite(d)
    return np.sqrt(2 * delta), deep_limit.log_koenigs(delta, h)[0]


@exponent.measure
def fitted(d, rng):
    distance, log_psi = curve(d)
    return -np.polyfit(np.log(distance), log_psi, 1)[0]


def halved(d):
    return predicted(d) / 2


@exponent.control("the factor is 4, not 2", predict=halved)
def wrong_factor(d, rng):
    return fitted(d, rng)


@exponent.figure
def draw_exponent(ax, result):
    for k, d in enumerate(result.axis("d")):
        distance, log_psi = curve(d)
        ax.plot(distance, np.exp(log_psi), "o", ms=3, color=f"C{k}", label=f"d = {d}")
        ax.plot(
            distance, np.exp(log_psi[-1]) * (distance / distance[-1]) ** -predicted(d), "--", color=f"C{k}"
        )
    ax.set(xscale="log", yscale="log", xlabel="distance |x - x'|", ylabel="limiting kernel psi")
    ax.legend()


if __name__ == "__main__":
    main()
