"""A product with a single auxiliary vector, as found in public unlearning code, is not an inverse product.

The recursion for the inverse of a sum of m outer products needs m auxiliary
vectors. With one, only the first gradient's direction is ever subtracted.
"""

import numpy as np
from sklearn.datasets import load_diabetes

from theorylab.curvature import fisher_inverse
from theorylab.validation import AtLeast, Better, Claim, Exact, grid, main


def one_vector(G, v, N):
    """The recursion with one auxiliary vector o in place of the m that an inverse needs (damping 1)."""
    k, o = v.copy(), G[0].copy()
    for g in G:
        q = N + o @ g
        k -= (k @ g) / q * o
        o *= 1 - (o @ g) / q
    return k


def problem(rng):
    n, d = int(rng.integers(200, 501)), int(rng.integers(10, 31))
    return rng.standard_normal((n, d)), rng.standard_normal(d)


def outside_span(product, v, g):
    """Part of `product` outside span(v, g), relative."""
    Q = np.linalg.qr(np.column_stack([v, g]))[0]
    return np.linalg.norm(product - Q @ (Q.T @ product)) / np.linalg.norm(product)


span = Claim(
    id="curvature.one-vector-span",
    statement="The one-vector product never leaves the span of the right-hand side and the first gradient.",
    source="induction over the rows; it is a multiple of o that is subtracted every time",
    criterion=Exact(abs=1e-12),
    quick=grid(replicates=20),
    full=grid(replicates=500),
)


@span.measure
def one_auxiliary_vector(rng):
    G, v = problem(rng)
    return [outside_span(one_vector(G, v, len(G)), v, G[0])]


@span.control("the true product depends on all gradients")
def true_inverse(rng):
    G, v = problem(rng)
    return [outside_span(fisher_inverse(G, 1.0) @ v, v, G[0])]


order = Claim(
    id="curvature.one-vector-order",
    statement="Permuting the gradients changes the one-vector product by more than a tenth.",
    source="A is a sum over gradients, so its inverse cannot depend on their order",
    criterion=AtLeast(0.1),
    quick=grid(replicates=40),
    full=grid(replicates=500),
)


def change(product, G, v, rng):
    """Relative change of the product under a permutation of the rows."""
    before, after = product(G, v), product(G[rng.permutation(len(G))], v)
    return np.linalg.norm(after - before) / np.linalg.norm(before)


@order.measure
def permuted(rng):
    return [change(lambda G, v: one_vector(G, v, len(G)), *problem(rng), rng)]


@order.control("our product changes by rounding errors only")
def permuted_inverse(rng):
    return [change(lambda G, v: fisher_inverse(G, 1.0) @ v, *problem(rng), rng)]


@order.control("a single gradient: then one auxiliary vector is all that the inverse needs")
def single_gradient(rng):
    G, v = problem(rng)
    G = G[:1]
    return [np.linalg.norm(one_vector(G, v, 1) - fisher_inverse(G, 1.0) @ v) / np.linalg.norm(v)]


unlearning = Claim(
    id="curvature.one-vector-unlearning",
    statement="For ridge regression, forgetting 10% by the one-vector product is worse than doing nothing.",
    source="product as in public code of Jia et al. 2023; damping 1",
    criterion=Better(),
    quick=grid(data=["simulated", "diabetes"], replicates=20),
    full=grid(data=["simulated", "diabetes"], replicates=200),
)


def forget(data, rng, product):
    """Distance to exact retraining, relative to the distance of doing nothing: (nothing = 1, product)."""
    if data == "diabetes":
        X, y = load_diabetes(return_X_y=True)
        X, y = 2.0 * (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()
    else:
        X = 2.0 * rng.standard_normal((400, 20))
        y = X @ rng.standard_normal(20) + rng.standard_normal(400)
    n = len(y)
    gone = rng.permutation(n) < n // 10
    A = np.eye(X.shape[1]) + X.T @ X / n
    theta = np.linalg.solve(A, X.T @ y / n)
    v = X[gone].T @ (X[gone] @ theta - y[gone]) / n
    true = np.linalg.solve(np.eye(X.shape[1]) + X[~gone].T @ X[~gone] / n, X[~gone].T @ y[~gone] / n) - theta
    return [[1.0, np.linalg.norm(product(X[~gone], v, n) - true) / np.linalg.norm(true)]]


@unlearning.measure
def by_one_vector(data, rng):
    return forget(data, rng, one_vector)


@unlearning.control("with the true inverse the Newton step is exact")
def by_inverse(data, rng):
    return forget(data, rng, lambda G, v, n: fisher_inverse(G, 1.0, norm=n) @ v)


@unlearning.figure
def draw(ax, result):
    for k, data in enumerate(("simulated", "diabetes")):
        error = result.samples(data=data)[:, 1]
        ax.plot(
            k + np.linspace(-0.15, 0.15, error.size),
            np.sort(error),
            "o",
            ms=4,
            color="C0",
            label="one auxiliary vector" * (k == 0),
        )
        exact = result.samples(branch="by_inverse", data=data)[:, 1]
        ax.plot(
            k + np.linspace(-0.15, 0.15, exact.size),
            np.sort(exact),
            "o",
            ms=4,
            color="0.6",
            label="inverse (control)" * (k == 0),
        )
    ax.axhline(1.0, ls="--", lw=1, label="doing nothing")
    ax.set(
        yscale="log",
        ylabel="distance to retraining (relative)",
        xticks=[0, 1],
        xticklabels=["simulated", "diabetes"],
    )


if __name__ == "__main__":
    main()
