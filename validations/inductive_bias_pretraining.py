"""Unsupervised pretraining of a factor model: the risk of regression on the factors, until m runs out."""

import numpy as np

from theorylab.validation import AtLeast, Claim, Samples, Within, grid, main

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

    def labelled(self, n, rng):
        z, x = self.inputs(n, rng)
        signal = x @ self.coefficients if self.beta is None else z @ self.beta
        return x, signal + NOISE * rng.standard_normal(n)

    def excess(self, theta):
        gap = theta - self.coefficients
        return float(gap @ self.cov @ gap)


def supervised(model, n, rng):
    x, y = model.labelled(n, rng)
    return model.excess(np.linalg.lstsq(x, y, rcond=None)[0])


def pretrained(model, n, m, rng):
    """Regress on the leading eigenvectors of m unlabelled inputs."""
    _, unlabelled = model.inputs(m, rng)
    basis = np.linalg.eigh(unlabelled.T @ unlabelled)[1][:, -R:]
    x, y = model.labelled(n, rng)
    return model.excess(basis @ np.linalg.lstsq(x @ basis, y, rcond=None)[0])


def repeat(function, repeats=150):
    return np.array([function() for _ in range(repeats)])


least_squares = Claim(
    id="inductive_bias.supervised-risk",
    statement="Least squares alone has the excess risk tau^2 d / (n - d - 1).",
    source="exact for normal inputs; the supervised rate of Ge et al., ICLR 2024",
    criterion=Within(rel=0.12),
    quick=grid(n=LABELLED, replicates=2),
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
    statement="With 30000 unlabelled inputs the excess risk is tau^2 r / (n - r - 1), over ten times less.",
    source=(
        "Ge et al., ICLR 2024: sqrt(C_Phi / m) + sqrt(C_Psi / n); the limit of m is exact for the "
        "factor model"
    ),
    criterion=Within(rel=0.25),
    quick=grid(n=[100, 400], replicates=2),
    full=grid(n=[100, 400], replicates=10),
)


@pretraining.predict
def oracle(n):
    return FactorModel(np.random.default_rng(0)).residual * R / (n - R - 1)


def with_unlabelled(n, rng, informative=True, repeats=400):
    """Pretraining does not see the labels, so one basis serves several labelled samples."""
    values = []
    for _ in range(repeats // 20):
        model = FactorModel(rng, informative)
        _, unlabelled = model.inputs(30000, rng)
        basis = np.linalg.eigh(unlabelled.T @ unlabelled)[1][:, -R:]
        for _ in range(20):
            x, y = model.labelled(n, rng)
            values.append(model.excess(basis @ np.linalg.lstsq(x @ basis, y, rcond=None)[0]))
    return np.array(values)


@pretraining.measure
def thirty_thousand(n, rng):
    return with_unlabelled(n, rng)


@pretraining.control("labels that depend on a direction orthogonal to the factors")
def uninformative(n, rng):
    return with_unlabelled(n, rng, informative=False, repeats=40)


@pretraining.figure
def draw(ax, result):
    n = np.array([100, 200, 400, 800, 1600])
    tau = FactorModel(np.random.default_rng(0)).residual
    ax.plot(n, tau * D / (n - D - 1), ":", color="k", label="all 50 coordinates, exact")
    ax.plot(n, tau * R / (n - R - 1), "--", color="k", label="3 factors, exact")
    result.errorbar(ax, label="pretrained on 30000")
    result.errorbar(
        ax, branch="uninformative", color="0.6", label="control: labels orthogonal to the factors"
    )
    ax.set(xscale="log", yscale="log", xlabel="labelled samples", ylabel="excess risk")
    ax.legend()


unlabelled = Claim(
    id="inductive_bias.unlabelled-samples",
    statement="The excess over the oracle falls at least threefold from 100 to 10000 unlabelled inputs.",
    source="Ge et al., ICLR 2024, the term in m, at n = 400",
    criterion=AtLeast(3.0),
    quick=grid(replicates=6),
    full=grid(replicates=30),
    level=1e-2,
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
