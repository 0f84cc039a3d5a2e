"""How inductive bias grows: with the dimension of the data, with depth, and with test points."""

import numpy as np
from _inductive_bias import posterior, rbf
from scipy.stats import rankdata

from theorylab.inductive_bias import GeneralizedChi2, gaussian_test_error, generalization_difficulty
from theorylab.validation import AtLeast, Claim, Exact, Samples, Within, grid, main

DIMENSIONS = [3, 4, 5, 6, 8, 10, 15, 20, 40]
EPS = 0.01


def nats_in_dimension(d, rng, n=50, n_test=200):
    """I(0.01) for a wave in d dimensions, and its limit."""
    X, Z = rng.standard_normal((n, d)), rng.standard_normal((n_test, d))
    y, t = np.sin(2 * X.sum(1) / np.sqrt(d)), np.sin(2 * Z.sum(1) / np.sqrt(d))
    mean, cov = posterior(rbf(1.0), X, y, Z, alpha=1e-8)
    return -float(gaussian_test_error(mean, cov, t).logcdf(EPS)), -log_limit(t)


def log_limit(t):
    """Log-probability for the identity kernel and mean zero: one non-central chi-squared variable."""
    n = len(t)
    return float(GeneralizedChi2([1.0 / n], dofs=n, noncentralities=[np.sum(t**2)]).logcdf(EPS))


growth = Claim(
    id="inductive_bias.dimension-growth",
    statement="I grows with the input dimension: its rank correlation with d = 3 ... 40 exceeds 0.95.",
    source="ICML 2023 and IJCAI 2024, qualitative; I(0.01), mean of four problems",
    criterion=AtLeast(0.95),
    quick=grid(replicates=12),
    full=grid(replicates=40),
)


def rank_correlation(values):
    """Spearman's correlation with the dimension; 0 for values that are all equal."""
    ranks = rankdata(values) - rankdata(values).mean()
    order = np.arange(len(values)) - (len(values) - 1) / 2
    return float(ranks @ order / max(np.linalg.norm(ranks) * np.linalg.norm(order), 1e-300))


@growth.measure
def full_dimension(rng):
    pairs = np.array([[nats_in_dimension(d, rng) for d in DIMENSIONS] for _ in range(4)])
    values, limits = pairs.mean(axis=0).T
    return Samples([rank_correlation(values)], values=values, limits=limits)


@growth.control("the same three-dimensional data, embedded isometrically: the intrinsic dimension stays")
def embedded(rng):
    A, B = rng.uniform(-1, 1, (50, 3)), rng.uniform(-1, 1, (200, 3))
    values = []
    for d in DIMENSIONS:
        basis = np.linalg.qr(rng.standard_normal((d, 3)))[0].T
        mean, cov = posterior(rbf(1.0), A @ basis, np.sin(2 * A.sum(1)), B @ basis, alpha=1e-4)
        values.append(-float(gaussian_test_error(mean, cov, np.sin(2 * B.sum(1))).logcdf(EPS)))
    # Nine digits: the rest is rounding of the embedded inputs.
    return Samples([rank_correlation(np.round(values, 9))], values=np.array(values), limits=[np.nan])


@growth.figure
def draw_growth(ax, result):
    for branch, colour, label in (
        (None, "C0", "normal inputs"),
        ("embedded", "0.6", "control: embedded from d = 3"),
    ):
        for i, values in enumerate(result.extras("values", branch)):
            ax.plot(DIMENSIONS, values, "o-", ms=3, color=colour, alpha=0.7, label=label if i == 0 else None)
    limit = np.mean(result.extras("limits"))
    ax.axhline(limit, ls="--", color="k", label="limit: kernel = identity")
    formula = [
        generalization_difficulty(
            n_samples=50, error=EPS, intrinsic_dim=d, radius=np.sqrt(d), resolution=2.0
        ).log_bits
        for d in DIMENSIONS
    ]
    twin = ax.twinx()
    twin.plot(DIMENSIONS, np.array(formula) / np.log(10), ":", color="C1")
    twin.set_ylabel("log10 of bits, closed form of 2023 (dotted)", color="C1")
    ax.set(
        xscale="log",
        xlabel="input dimension",
        ylabel="inductive bias at eps = 0.01, nats",
        xticks=[3, 5, 10, 20, 40],
        xticklabels=["3", "5", "10", "20", "40"],
    )
    ax.minorticks_off()
    ax.legend(loc=(0.4, 0.3))


limit = Claim(
    id="inductive_bias.dimension-limit",
    statement="In high dimension I reaches the value of independent hypotheses at every test point.",
    source=(
        "derived here: the kernel tends to the identity, and the error to a scaled non-central chi- "
        "squared variable"
    ),
    criterion=Exact(abs=1e-10),
    quick=grid(d=[400], replicates=3),
    full=grid(d=[400, 1000], replicates=10),
)


def gap(d, rng):
    """Relative distance to the limit; the limit is judged without training noise."""
    X, Z = rng.standard_normal((50, d)), rng.standard_normal((200, d))
    t = np.sin(2 * Z.sum(1) / np.sqrt(d))
    mean, cov = posterior(rbf(1.0), X, np.sin(2 * X.sum(1) / np.sqrt(d)), Z, alpha=0.0)
    value, target = float(gaussian_test_error(mean, cov, t).logcdf(EPS)), log_limit(t)
    return [abs(value / target - 1.0)]


@limit.measure
def far_apart(d, rng):
    return gap(d, rng)


@limit.control("in 20 dimensions the points still see each other", grid=grid(d=[20], replicates=3))
def close(d, rng):
    return gap(d, rng)


EXPONENTS = [1.5, 2.0, 3.0]
DEEPEST = {1.5: 0.03, 2.0: 5.2e-3, 3.0: 3e-6}

power = Claim(
    id="inductive_bias.power-law",
    statement=(
        "A spectrum j^-A makes I grow like eps^(-1/(A-1)): exponentially in d at fixed smoothness, "
        "A = 1 + 2 nu / d."
    ),
    source=(
        "small-ball asymptotics of weighted sums; slope d/(2 nu) of log I in log 1/eps, within 3 % "
        "(8 % for A = 3)"
    ),
    criterion=Exact(abs=1.0),
    quick=grid(exponent=EXPONENTS),
    full=grid(exponent=EXPONENTS),
)


def power_law(exponent, terms=20000):
    """The law of sum_j j^-A Z_j^2; the terms left out enter by their mean and variance."""
    j = np.arange(1, terms + 1.0)
    rest = (terms + 0.5) ** (1 - exponent) / (exponent - 1)
    spread = 2 * (terms + 0.5) ** (1 - 2 * exponent) / (2 * exponent - 1)
    return GeneralizedChi2(j**-exponent, offset=rest, sigma=np.sqrt(spread))


def slope(law, eps):
    log_nats = np.log(-law.logcdf(eps * np.array([0.97, 1.03])))
    return float((log_nats[0] - log_nats[1]) / np.log(1.03 / 0.97))


def judged_slope(law, exponent):
    """Distance of the slope at the deepest target from 1 / (A - 1), in units of the tolerance."""
    tolerance = 0.03 if exponent <= 2 else 0.08
    eps = np.geomspace(DEEPEST[exponent], 0.3 * law.mean(), 12)
    found = slope(law, DEEPEST[exponent]) * (exponent - 1)
    return Samples([(found - 1.0) / tolerance], eps=eps, nats=-law.logcdf(eps))


@power.measure
def local_slope(exponent, rng):
    return judged_slope(power_law(exponent), exponent)


@power.control("a geometric spectrum has no power law: its local slope keeps falling")
def geometric(exponent, rng):
    return judged_slope(GeneralizedChi2(0.5 ** np.arange(200.0)), exponent)


@power.figure
def draw_power(ax, result):
    for i, a in enumerate(EXPONENTS):
        eps, nats = result.extras("eps", exponent=a)[0], result.extras("nats", exponent=a)[0]
        ax.plot(eps, nats, "o", ms=4, color=f"C{i}", label=f"w = 1/j^{a:g}")
        power_of = -1.0 / (a - 1)
        ax.plot(eps, nats[0] * (eps / eps[0]) ** power_of, "--", color=f"C{i}", label=f"slope {power_of:.3g}")
    eps, nats = (
        result.extras("eps", "geometric", exponent=2.0)[0],
        result.extras("nats", "geometric", exponent=2.0)[0],
    )
    ax.plot(eps, nats, "-", color="0.6", label="control: w = 1/2^j")
    ax.set(xscale="log", yscale="log", xlabel="target error", ylabel="inductive bias, nats", ylim=(0.3, None))
    ax.legend(ncols=2)


bridge = Claim(
    id="inductive_bias.brownian-constant",
    statement="For w = 1/j^2, I = pi^2 / (8 eps) - log(8 / pi) / 2 + o(1).",
    source="distribution of the squared norm of a Brownian bridge; at eps = 5.2e-3",
    criterion=Exact(abs=0.01, target=-0.5 * np.log(8 / np.pi)),
    quick=grid(),
    full=grid(),
)


@bridge.measure
def constant(rng):
    return [-float(power_law(2.0).logcdf(5.2e-3)) - np.pi**2 / (8 * 5.2e-3)]


@bridge.control("200 terms and nothing for the rest")
def truncated(rng):
    return [-float(GeneralizedChi2(np.arange(1, 201.0) ** -2).logcdf(5.2e-3)) - np.pi**2 / (8 * 5.2e-3)]


points = Claim(
    id="inductive_bias.test-points",
    statement="In three dimensions I converges as test points are added: I(1600) / I(800) is 1 to 0.1.",
    source="derived here: I converges iff the effective dof does; at 0.3 of the mean error",
    criterion=Within(abs=0.1, target=1.0),
    quick=grid(replicates=10),
    full=grid(replicates=20),
)


def white(A, B):
    """Independent hypotheses at different points."""
    return np.equal(A[:, None, 0], B[None, :, 0]).astype(float)


def ratio_of_sizes(d, rng, kernel=None, sizes=(100, 200, 400, 800, 1600)):
    """I(largest) / I(half of it), and the nats at all sizes."""
    most = sizes[-1]
    X, Z = rng.uniform(-1, 1, (50, d)), rng.uniform(-1, 1, (most, d))
    y, t = np.sin(X.sum(1)), np.sin(Z.sum(1))
    mean, cov = posterior(kernel or rbf(1.0), X, y, Z, alpha=1e-6)
    values = []
    for n in sizes:
        law = gaussian_test_error(mean[:n], cov[:n, :n], t[:n])
        values.append(-float(law.logcdf(0.3 * law.mean())))
    return Samples([values[-1] / values[-2]], sizes=sizes, values=values)


@points.measure
def three_dimensions(rng):
    return ratio_of_sizes(3, rng)


@points.control("a white-noise kernel: each new point is a new direction", grid=grid(replicates=3))
def white_noise(rng):
    return ratio_of_sizes(3, rng, white, sizes=(100, 200, 400))


many = Claim(
    id="inductive_bias.test-points-in-many-dimensions",
    statement="In twenty dimensions I keeps growing with test points: I(1600) / I(800) exceeds 1.6.",
    source="derived here: with many directions each new point is a new one; at 0.3 of the mean error",
    criterion=AtLeast(1.6),
    quick=grid(replicates=3),
    full=grid(replicates=10),
)


@many.measure
def twenty_dimensions(rng):
    return ratio_of_sizes(20, rng, sizes=(800, 1600))


@many.control("in three dimensions", grid=grid(replicates=4))
def three_dimensions_again(rng):
    return ratio_of_sizes(3, rng, sizes=(400, 800))


@points.figure
def draw_points(ax, result):
    for branch, colour, label in ((None, "C0", "d = 3"), ("white_noise", "0.6", "control: white noise")):
        for i, values in enumerate(result.extras("values", branch)):
            ax.plot(
                result.extras("sizes", branch)[0], values, "o-", color=colour, label=label if i == 0 else None
            )
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="test points",
        ylabel="inductive bias at 0.3 of the mean error, nats",
    )
    ax.legend()


if __name__ == "__main__":
    main()
