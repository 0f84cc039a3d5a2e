"""What infinitely wide networks become as their depth grows.

Nearest neighbour, singular kernel, majority vote.
"""

import numpy as np

from theorylab.infinite_width import deep_limit
from theorylab.infinite_width.deep_limit import InfiniteDepthClassifier
from theorylab.validation import Claim, Exact, Holds, grid, main

CASES = {
    "nearest": np.sqrt([0.0, 0.0, 0.5, 0.5]),
    "singular": deep_limit.optimal_hermite(3),
    "majority": np.sqrt([0.3, 0.3, 0.2, 0.2]),
}

limits = Claim(
    id="infinite_width.deep-limits",
    statement="A network of depth 100 classifies as the limit named by its first two Hermite "
    "coefficients, for 90 % of points.",
    source="Radhakrishnan, Belkin, Uhler 2023, Theorem 1",
    criterion=Holds(0.90),
    quick=grid(case=list(CASES), replicates=3),
    full=grid(case=list(CASES), replicates=30),
)


def data(n, rng):
    """Points of the positive orthant of the 3-sphere; labels by a plane, unbalanced, 30 % of them flipped."""
    x = np.abs(rng.standard_normal((n, 4)))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.where(x[:, 0] > x[:, 1] - 0.15, 1, -1)
    return x, np.where(rng.random(n) < 0.3, -y, y)


def network(h, x, y, z, depth=100):
    """Sign of ``T_* T^-1 y``; all in logarithms, scaled by the diagonal."""
    one = deep_limit.deep_kernels(np.zeros(1), h, depth)[1][0]
    gap = lambda p, q: np.clip(0.5 * ((p[:, None] - q[None]) ** 2).sum(-1), 0.0, 1.0)  # noqa: E731
    cross = deep_limit.deep_kernels(gap(z, x), h, depth)[1]
    train = deep_limit.deep_kernels(gap(x, x), h, depth)[1]
    weights = np.linalg.solve(np.exp(train - one), y.astype(float))
    return np.sign(np.exp(cross - cross.max(axis=1, keepdims=True)) @ weights)


def agreement(case, against, rng):
    x, y = data(220, rng)
    z, _ = data(200, rng)
    limit = InfiniteDepthClassifier(CASES[against]).fit(x, y).predict(z)
    return (network(CASES[case], x, y, z) == limit).astype(float)


@limits.measure
def deep_network(case, rng):
    return agreement(case, case, rng)


@limits.control("the limits are not interchangeable")
def swapped(case, rng):
    other = {"nearest": "majority", "singular": "majority", "majority": "nearest"}
    return agreement(case, other[case], rng)


@limits.figure
def draw_limits(ax, result):
    for k, case in enumerate(CASES):
        for branch, color, label in ((None, "C0", "its own limit"), ("swapped", "0.6", "another limit")):
            share = result.samples(branch=branch, case=case).mean()
            ax.bar(k + (0.2 if branch else -0.2), share, 0.38, color=color, label=label if k == 0 else None)
    ax.axhline(0.9, ls="--")
    ax.set(
        xticks=range(3), xticklabels=list(CASES), ylim=(0, 1.25), ylabel="agreement of the depth-100 network"
    )
    ax.legend(ncols=2, loc="upper center")


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
