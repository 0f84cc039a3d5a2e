"""Wide trained networks: ensembles are Student-t, and the kernels' errors fall like the root of the width."""

import numpy as np
from scipy import integrate, special, stats

from theorylab.infinite_width import kernels, predict_gradient_flow
from theorylab.validation import Claim, FollowsLaw, Rate, Within, grid, main

XT = np.array([-2.0, -1.2, 0.3, 1.1, 2.3])
YT = np.sin(XT)
ALPHA = 2.0
NET = {"depth": 1, "activation": "erf", "w_var": 2.25, "b_var": 0.25}


def hidden(n, width, points, rng):
    """Preactivations (n, width, points) of n random networks with inputs on the line."""
    w, b = rng.normal(0, 1.5, (n, width, 1)), rng.normal(0, 0.5, (n, width, 1))
    return w * points + b


def erf_slope(z):
    return 2 / np.sqrt(np.pi) * np.exp(-z * z)


POINTS = [-0.5, 3.0]


def law(x, method):
    """Limit law at the point x of networks trained to interpolation; alpha = beta."""
    P, Z = XT[:, None], np.array([[x]])
    K, T = kernels.nngp_ntk(P, **NET)
    Kc, Tc = kernels.nngp_ntk(Z, P, **NET)
    if method == "readout":
        T, Tc = K, Kc
    mean, cov = predict_gradient_flow(K, T, Kc, Tc, kernels.nngp(Z, **NET), YT)
    return stats.t(df=2 * ALPHA, loc=mean[0], scale=np.sqrt(cov[0, 0]))


def trained(method, width, rng, n):
    """Outputs at the two points after training, one row per network, linear in its parameters' change."""
    out = np.empty((n, 2))
    points = np.append(XT, POINTS)
    for k in range(0, n, 50):
        m = min(50, n - k)
        z = hidden(m, width, points, rng)
        f = special.erf(z)
        s = ALPHA / rng.gamma(ALPHA, size=m)
        kernel = np.swapaxes(f, 1, 2) @ f / width
        if method == "readout":
            tangent = kernel
            start = np.linalg.cholesky(kernel + 1e-12 * np.eye(7)) @ rng.standard_normal((m, 7, 1))
        else:
            v = rng.standard_normal((m, width, 1))
            start = np.swapaxes(f, 1, 2) @ v / np.sqrt(width)
            g = v * erf_slope(z)
            inner = np.swapaxes(g, 1, 2) @ g / width
            tangent = kernel + inner * (2.25 * np.outer(points, points) + 0.25)
        start = np.sqrt(s)[:, None] * start[:, :, 0]
        step = np.linalg.solve(tangent[:, :5, :5], (YT - start[:, :5])[..., None])
        out[k : k + m] = start[:, 5:] + (tangent[:, 5:, :5] @ step)[:, :, 0]
    return out


def make(name, statement, source, method, width, n, distance):
    claim = Claim(
        id=f"infinite_width.{name}",
        statement=statement,
        source=source,
        criterion=FollowsLaw(distance=distance),
        quick=grid(width=[width], replicates=2, joint={"x": POINTS}),
        full=grid(width=[8192], replicates=16, joint={"x": POINTS}),
    )

    @claim.predict
    def student(x, width):
        return law(x, method)

    @claim.measure
    def ensemble(width, rng):
        return trained(method, width, rng, n)

    def gaussian(x, width):
        t = law(x, method)
        return stats.norm(t.mean(), t.std())

    @claim.control(
        "a Gaussian of the same variance has lighter tails",
        predict=gaussian,
        grid=grid(width=[256], replicates=2, joint={"x": POINTS}),
    )
    def against_gaussian(width, rng):
        return trained(method, width, rng, n)

    @claim.control(
        "networks of width 16 are far from the limit",
        grid=grid(width=[16], replicates=2, joint={"x": POINTS}),
    )
    def narrow(width, rng):
        return trained(method, width, rng, n)

    @claim.figure
    def draw(ax, result):
        sample = result.samples(x=-0.5, width=result.axis("width")[0])
        t, g = law(-0.5, method), gaussian(-0.5, width)
        u = np.linspace(*t.ppf([0.002, 0.998]), 300)
        bins = np.linspace(u[0], u[-1], 60)
        label = f"trained networks, width {result.axis('width')[0]}"
        ax.hist(sample, bins=bins, density=True, color="C0", alpha=0.4, label=label)
        ax.plot(u, t.pdf(u), "--", label="Student t, 4 degrees of freedom")
        ax.plot(u, g.pdf(u), "-", color="0.6", label="Gaussian of the same variance")
        ax.set(xlabel="output at x = -0.5", ylabel="density")
        ax.legend()

    return claim


readout = make(
    "trained-readout",
    "Networks whose readout alone is trained form a Student-t ensemble whose degrees of freedom stay 2 "
    "alpha.",
    "Lee et al. 2022, Theorem 3.3",
    "readout",
    512,
    12_000,
    0.03,
)
full = make(
    "trained-network",
    "Fully trained networks form a Student-t ensemble around the prediction of the tangent kernel.",
    "Lee et al. 2022, Theorem 3.4",
    "ntk",
    2048,
    8_000,
    0.035,
)

degrees = Claim(
    id="infinite_width.trained-tail",
    statement="The tail index of networks whose readout alone is trained is that of 2 alpha = 4 degrees of "
    "freedom, not of the posterior's 9.",
    source="Lee et al. 2022, Theorem 3.3; Hill's estimator on the top 2 %, against the law's own value",
    criterion=Within(rel=0.2),
    quick=grid(width=[256], replicates=12),
    full=grid(width=[256, 2048], replicates=48),
)


def index(df):
    """What Hill's estimator tends to for ``|t|`` beyond its 98 % quantile."""
    t = stats.t(df)
    start = t.ppf(0.99)
    return t.sf(start) / integrate.quad(lambda u: t.sf(start * np.exp(u)), 0, 40)[0]


@degrees.predict
def four(width):
    return index(2 * ALPHA)


@degrees.measure
def trained_tail(width, rng, n=6000):
    top = np.sort(np.abs(trained("readout", width, rng, n)[:, 0] - law(-0.5, "readout").mean()))[-n // 50 :]
    return 1.0 / np.mean(np.log(top / top[0]))


@degrees.control(
    "the Bayesian posterior has 2 alpha + 5 degrees of freedom", predict=lambda width: index(9.0)
)
def against_posterior(width, rng):
    return trained_tail(width, rng)


@degrees.figure
def draw_degrees(ax, result):
    for k, width in enumerate(result.axis("width")):
        values = result.samples(width=width)
        ax.plot(np.full(values.size, k), values, "o", color="C0", label="networks" if k == 0 else None)
    ax.axhline(index(4.0), ls="--", label="4 degrees of freedom")
    ax.axhline(index(9.0), ls=":", color="0.6", label="9, the posterior")
    ticks = range(len(result.axis("width")))
    ax.set(xticks=ticks, xticklabels=result.axis("width"), xlabel="width", xlim=(-0.6, len(ticks) - 0.4))
    ax.set(ylabel="tail index of the output, top 2 %", ylim=(0, None))
    ax.legend()


tangent = Claim(
    id="infinite_width.tangent-rate",
    statement="The tangent kernel of networks of one or two hidden layers nears its limit like one over "
    "the root of the width.",
    source="Jacot et al. 2018, Theorem 1; rate by the central limit theorem",
    criterion=Rate(axis="width", slope=-0.5, abs=0.1, statistic="geomean"),
    quick=grid(depth=[1, 2], width=[64, 256, 1024], replicates=300),
    full=grid(depth=[1, 2], width=[64, 256, 1024, 4096], replicates=300),
)
LIMIT = kernels.ntk(XT[:, None], **NET)


def kernel_error(depth, width, rng, readout):
    """Frobenius distance of one network's tangent kernel from the limit."""
    z = hidden(1, width, XT, rng)[0]
    f, carried = special.erf(z), 2.25 * np.outer(XT, XT) + 0.25
    slopes, weights = [erf_slope(z)], []
    if depth == 2:
        weights.append(rng.normal(0, 1.5 / np.sqrt(width), (width, width)))
        carried_two = 2.25 / width * f.T @ f + 0.25
        z = weights[0] @ f + rng.normal(0, 0.5, (width, 1))
        f = special.erf(z)
        slopes.append(erf_slope(z))
    back = readout(width) * slopes[-1] / np.sqrt(width)
    T = f.T @ f / width
    if depth == 2:
        T += carried_two * (back.T @ back)
        back = (weights[0].T @ back) * slopes[0]
    T += carried * (back.T @ back)
    return np.linalg.norm(T - kernels.ntk(XT[:, None], **{**NET, "depth": depth}))


@tangent.measure
def gaussian_readout(depth, width, rng):
    return kernel_error(depth, width, rng, lambda n: rng.standard_normal((n, 1)))


@tangent.control(
    "readout weights of infinite variance, t with 2 degrees of freedom, never average out",
    grid=grid(depth=[1, 2], width=[64, 256, 1024], replicates=80),
)
def heavy_readout(depth, width, rng):
    return kernel_error(depth, width, rng, lambda n: rng.standard_t(2.0, (n, 1)) / 2)


@tangent.figure
def draw_tangent(ax, result):
    width = np.array(result.axis("width"), dtype=float)
    for k, depth in enumerate((1, 2)):
        errors = [stats.gmean(result.samples(depth=depth, width=n)) for n in result.axis("width")]
        ax.plot(width, errors, "os"[k], color=f"C{k}", label=f"{depth} hidden, Gaussian readout")
        ax.plot(width, errors[0] * (width / width[0]) ** -0.5, "--", color=f"C{k}")
    heavy = [stats.gmean(result.samples(branch="heavy_readout", depth=1, width=n)) for n in (64, 256, 1024)]
    ax.plot([64, 256, 1024], heavy, "o", color="0.6", label="1 hidden, heavy-tailed readout")
    ax.set(xscale="log", yscale="log", xlabel="width", ylabel="error of the tangent kernel")
    ax.legend()


descent = Claim(
    id="infinite_width.descent",
    statement="After 300 steps a wide network equals kernel regression, with an error like one over "
    "the root of the width.",
    source="Lee, Xiao et al. 2019, Theorem 2.1; same number of steps on both sides",
    criterion=Rate(axis="width", slope=-0.5, abs=0.15),
    quick=grid(width=[64, 512, 4096], replicates=12),
    full=grid(width=[64, 256, 1024, 4096, 16384], replicates=24),
)
TEST = np.array([-0.5, 3.0])
STEPS = 300
ETA = 1.0 / float(np.linalg.eigvalsh(LIMIT)[-1])


def largest_error(width, rng, power=0.5):
    """Largest difference at the test points between descent and its linear limit from the same start."""
    w, b, v = (rng.standard_normal((width, 1)) for _ in range(3))
    scale, speed = width**-power, ETA * width ** (2 * power - 1)

    def forward(points):
        z = 1.5 * w * points + 0.5 * b
        f = special.erf(z)
        return z, f, scale * (v.T @ f)[0]

    start, residual = forward(TEST)[2], YT - forward(XT)[2]
    for _ in range(STEPS):
        z, f, out = forward(XT)
        r = out - YT
        back = scale * v * erf_slope(z) * r
        v -= speed * scale * f @ r[:, None]
        w -= speed * 1.5 * (back @ XT[:, None])
        b -= speed * 0.5 * back.sum(axis=1, keepdims=True)
    e, U = np.linalg.eigh(LIMIT)
    filt = U * ((1 - (1 - ETA * e) ** STEPS) / e) @ U.T
    change = kernels.ntk(TEST[:, None], XT[:, None], **NET) @ filt @ residual
    return np.max(np.abs(forward(TEST)[2] - start - change))


def median_error(width, rng, power=0.5):
    return np.median([largest_error(width, rng, power) for _ in range(15)])


@descent.measure
def kernel_regime(width, rng):
    return median_error(width, rng)


@descent.control(
    "with a readout of size 1/n the hidden layer moves at every width",
    grid=grid(width=[64, 256, 1024], replicates=6),
)
def mean_field(width, rng):
    return median_error(width, rng, power=1.0)


@descent.figure
def draw_descent(ax, result):
    width = np.array(result.axis("width"), dtype=float)
    result.errorbar(ax, label="trained networks")
    result.errorbar(ax, branch="mean_field", color="0.6", label="readout of size 1/n")
    ax.plot(width, result.estimate[0] * (width / width[0]) ** -0.5, "--", label="slope -1/2")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="width",
        ylabel="distance to kernel regression",
    )
    ax.legend()


if __name__ == "__main__":
    main()
