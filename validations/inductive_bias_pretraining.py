"""Unsupervised pretraining of a factor model: the risk of regression on the factors, until m runs out."""

import numpy as np

from theorylab.validation import AtLeast, Better, Claim, Samples, Within, grid, main

D, R, NOISE = 50, 3, 0.5
LABELLED = [100, 400, 1600]


class FactorModel:
    """x = L z + e; y is linear in the factors, or in a direction that they do not touch."""

    def __init__(self, rng, informative=True):
        basis = np.linalg.qr(rng.standard_normal((D, R + 1)))[0]
        self.loadings = basis[:, :R] * 0.6 * np.sqrt(D / R)
        cov = self.loadings @ self.loadings.T + np.eye(D)
        if informative:
            beta = np.ones(R) / np.sqrt(R)
            self.coefficients = np.linalg.solve(cov, self.loadings @ beta)
            self.residual = NOISE**2 + 1 - self.coefficients @ self.loadings @ beta
            self.beta = beta
        else:
            self.coefficients, self.residual, self.beta = basis[:, R], NOISE**2, None
        self.cov = cov

    def inputs(self, n, rng):
        z = rng.standard_normal((n, R))
        return z, z @ self.loadings.T + rng.standard_normal((n, D))

    def gram(self, m, rng):
        """x'x of m unlabelled inputs, by Bartlett's decomposition of its Wishart law."""
        factor = np.tril(rng.standard_normal((D, D)), -1)
        factor[np.diag_indices(D)] = np.sqrt(rng.chisquare(m - np.arange(D)))
        root = np.linalg.cholesky(self.cov) @ factor
        return root @ root.T

    def labelled(self, n, rng):
        z, x = self.inputs(n, rng)
        signal = x @ self.coefficients if self.beta is None else z @ self.beta
        return x, signal + NOISE * rng.standard_normal(n)

    def excess(self, theta):
        gap = theta - self.coefficients
        return float(gap @ self.cov @ gap)


def least_squares_fit(x, y):
    return np.linalg.solve(x.T @ x, x.T @ y)


def supervised(model, n, rng):
    x, y = model.labelled(n, rng)
    return model.excess(least_squares_fit(x, y))


def pretrained(model, n, m, rng):
    """Regress on the leading eigenvectors of m unlabelled inputs."""
    basis = np.linalg.eigh(model.gram(m, rng))[1][:, -R:]
    x, y = model.labelled(n, rng)
    return model.excess(basis @ least_squares_fit(x @ basis, y))


def repeat(function, repeats=150):
    return np.array([function() for _ in range(repeats)])


least_squares = Claim(
    id="inductive_bias.supervised-risk",
    statement="Least squares alone has the excess risk tau^2 d / (n - d - 1).",
    source="exact for normal inputs; the supervised rate of Ge et al., ICLR 2024",
    criterion=Within(rel=0.05),
    quick=grid(n=LABELLED, replicates=6),
    full=grid(n=LABELLED, replicates=10),
)


@least_squares.predict
def inverse_wishart(n):
    return FactorModel(np.random.default_rng(0)).residual * D / (n - D - 1)


@least_squares.measure
def all_coordinates(n, rng):
    return repeat(lambda: supervised(FactorModel(rng), n, rng), 200)


@least_squares.control("the regression on pretrained factors")
def factors_only(n, rng):
    return repeat(lambda: pretrained(FactorModel(rng), n, 1000, rng), 40)


pretraining = Claim(
    id="inductive_bias.pretraining-risk",
    statement="With 10000 unlabelled inputs the excess risk is tau^2 r / (n - r - 1), to 10 %.",
    source=(
        "Ge et al., ICLR 2024: sqrt(C_Phi / m) + sqrt(C_Psi / n); the limit of m is exact for the "
        "factor model"
    ),
    criterion=Within(rel=0.1),
    quick=grid(n=[100, 400], replicates=8),
    full=grid(n=[100, 400], replicates=10),
)


@pretraining.predict
def oracle(n):
    return FactorModel(np.random.default_rng(0)).residual * R / (n - R - 1)


def with_unlabelled(n, rng, informative=True, bases=50):
    """Mean excess over 20 labelled samples for each basis: pretraining does not see the labels."""
    values = []
    for _ in range(bases):
        model = FactorModel(rng, informative)
        basis = np.linalg.eigh(model.gram(10000, rng))[1][:, -R:]
        excess = []
        for _ in range(20):
            x, y = model.labelled(n, rng)
            excess.append(model.excess(basis @ least_squares_fit(x @ basis, y)))
        values.append(np.mean(excess))
    return np.array(values)


@pretraining.measure
def ten_thousand(n, rng):
    return with_unlabelled(n, rng)


@pretraining.control("labels that depend on a direction orthogonal to the factors")
def uninformative(n, rng):
    return with_unlabelled(n, rng, informative=False, bases=4)


@pretraining.figure
def draw(ax, result):
    n = np.array([100, 200, 400, 800, 1600])
    tau = FactorModel(np.random.default_rng(0)).residual
    ax.plot(n, tau * D / (n - D - 1), ":", color="k", label="all 50 coordinates, exact")
    ax.plot(n, tau * R / (n - R - 1), "--", color="k", label="3 factors, exact")
    result.errorbar(ax, label="pretrained on 10000")
    result.errorbar(
        ax, branch="uninformative", color="0.6", label="control: labels orthogonal to the factors"
    )
    ax.set(xscale="log", yscale="log", xlabel="labelled samples", ylabel="excess risk")
    ax.legend()


gain = Claim(
    id="inductive_bias.pretraining-gain",
    statement="Least squares alone has over ten times the excess risk of the pretrained regression.",
    source="Ge et al., ICLR 2024; for the factor model the ratio is 32 at n = 100 and 19 at n = 400",
    criterion=Better(by=10.0),
    quick=grid(n=[100, 400], replicates=16),
    full=grid(n=[100, 400], replicates=60),
)


def both_risks(n, rng, informative):
    model = FactorModel(rng, informative)
    ours, theirs = (
        np.mean(repeat(risk, 6))
        for risk in (lambda: pretrained(model, n, 10000, rng), lambda: supervised(model, n, rng))
    )
    return [[ours, theirs]]


@gain.measure
def with_informative_factors(n, rng):
    return both_risks(n, rng, True)


@gain.control("labels orthogonal to the factors", grid=grid(n=[400], replicates=4))
def with_orthogonal_labels(n, rng):
    return both_risks(n, rng, False)


unlabelled = Claim(
    id="inductive_bias.unlabelled-samples",
    statement="The excess over the oracle falls at least threefold from 100 to 10000 unlabelled inputs.",
    source="Ge et al., ICLR 2024, the term in m, at n = 400",
    criterion=AtLeast(3.0),
    quick=grid(replicates=6),
    full=grid(replicates=30),
)


def fall(rng, informative):
    oracle_risk = FactorModel(np.random.default_rng(0)).residual * R / (400 - R - 1) if informative else 0.0
    few, many = (
        np.mean(repeat(lambda m=m: pretrained(FactorModel(rng, informative), 400, m, rng), 25)) - oracle_risk
        for m in (100, 10000)
    )
    return Samples([few / max(many, 1e-3)], few=few, many=many)


@unlabelled.measure
def informative_factors(rng):
    return fall(rng, True)


@unlabelled.control("labels orthogonal to the factors", grid=grid(replicates=3))
def orthogonal_labels(rng):
    return fall(rng, False)


if __name__ == "__main__":
    main()
