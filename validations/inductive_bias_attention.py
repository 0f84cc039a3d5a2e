"""Random-feature attention learns averages over keys that random-feature MLPs of equal size do not."""

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import eigsh

from theorylab.validation import AtLeast, AtMost, Better, Claim, Samples, grid, main

D = KEYS = 8
HEADS = 120
PENALTIES = 10.0 ** np.arange(-7, -1)


def inputs(n, rng):
    """Query and keys on the unit sphere, shape (n, 1 + KEYS, D)."""
    x = rng.standard_normal((n, KEYS + 1, D))
    return x / np.linalg.norm(x, axis=2, keepdims=True)


def targets(name, x, beta, signs):
    """Permutation-invariant T1, T2, or the alternating target that is not."""
    query, keys = x[:, 0], x[:, 1:]
    if name == "T1":
        return D / KEYS * np.sum((keys @ beta) ** 2, axis=1)
    if name == "T2":
        return D**1.5 / KEYS * np.sum(np.einsum("nkd,nd->nk", keys, query) ** 3, axis=1)
    return (keys @ beta) @ signs


def attention_features(x, W):
    """(1/N) sum_i relu(<W_m, x0~ xi~'>) xi~ for all heads m; no tensor over heads, keys and features."""
    ones = np.ones((*x.shape[:2], 1))
    x = np.concatenate([x, ones], axis=2)
    mixed = np.einsum("ne,mef->nmf", x[:, 0], W, optimize=True)
    weight = np.maximum(mixed @ x[:, 1:].transpose(0, 2, 1), 0.0)
    return (weight @ x[:, 1:]).reshape(len(x), -1) / KEYS


def mlp_features(x, V, b):
    return np.maximum(x.reshape(len(x), -1) @ V + b, 0.0) / np.sqrt(len(b))


def ridge_error(train, y, test, t):
    """Normalised test error of ridge regression; the penalty is chosen on a fifth of the training data."""
    held = len(y) // 5
    errors = ridge_errors(train[held:], y[held:], train[:held], y[:held], PENALTIES)
    penalty = PENALTIES[int(np.argmin(errors))]
    gram, mean = train @ train.T, y.mean()
    largest = eigsh(gram, k=1, v0=np.ones(len(y)), return_eigenvectors=False)[0]
    weights = cho_solve(cho_factor(gram + penalty * largest * np.eye(len(y))), y - mean)
    return np.mean((test @ (train.T @ weights) + mean - t) ** 2) / np.var(t)


def ridge_errors(train, y, test, t, penalties):
    """Mean squared errors at several penalties relative to the largest eigenvalue."""
    values, basis = np.linalg.eigh(train @ train.T)
    mean = y.mean()
    projected, cross = basis.T @ (y - mean), (test @ train.T) @ basis
    return [
        np.mean((cross @ (projected / (np.maximum(values, 0) + lam * values[-1])) + mean - t) ** 2)
        for lam in penalties
    ]


def errors_of(target, rng, models=("attention",), bias=0.0, n=800, n_test=1000):
    """Normalised test errors of the models named, on one random problem."""
    beta = rng.standard_normal(D)
    beta /= np.linalg.norm(beta)
    signs = rng.permutation(np.repeat([-1.0, 1.0], KEYS // 2))
    x, z = inputs(n, rng), inputs(n_test, rng)
    y, t = targets(target, x, beta, signs), targets(target, z, beta, signs)
    p = HEADS * (D + 1)
    found = []
    for model in models:
        if model == "attention":
            W = 0.5 * rng.standard_normal((HEADS, D + 1, D + 1)) + bias * np.eye(D + 1)
            found.append(ridge_error(attention_features(x, W), y, attention_features(z, W), t))
        else:
            V, b = rng.standard_normal(((KEYS + 1) * D, p)), rng.standard_normal(p)
            found.append(ridge_error(mlp_features(x, V, b), y, mlp_features(z, V, b), t))
    return found


learns = Claim(
    id="inductive_bias.attention-learns",
    statement=(
        "With 800 samples random-feature attention reaches a normalised error below 0.6 on both "
        "invariant targets."
    ),
    source="Fu et al., NeurIPS 2023: B(f) of averages over keys does not depend on their number",
    criterion=AtMost(0.6),
    quick=grid(target=["T1", "T2"], replicates=5),
    full=grid(target=["T1", "T2"], replicates=30),
)


@learns.measure
def attention(target, rng):
    pair = errors_of(target, rng, ("attention", "mlp"))
    return Samples(pair[:1], pair=pair)


@learns.control("a target that is not permutation-invariant", grid=grid(target=["signed"], replicates=5))
def not_invariant(target, rng):
    pair = errors_of(target, rng, ("attention", "mlp"))
    return Samples(pair[:1], pair=pair)


@learns.figure
def draw(ax, result):
    names = ["T1", "T2", "signed"]
    for i, name in enumerate(names):
        pairs = np.array(result.extras("pair", "not_invariant" if name == "signed" else None, target=name))
        for j, (label, colour) in enumerate((("attention", "C0"), ("MLP", "C1"))):
            ax.plot(
                np.full(len(pairs), i + 0.2 * j - 0.1),
                pairs[:, j],
                "o",
                color=colour,
                label=label if i == 0 else None,
            )
    ax.axhline(1.0, ls=":", color="k", label="nothing learned")
    ax.set(
        xticks=range(3),
        xticklabels=["squares of keys", "cubes of products", "signed keys\n(control)"],
        ylabel="normalised test error",
    )
    ax.legend()


comparator = Claim(
    id="inductive_bias.random-features-fail",
    statement=(
        "With 800 samples a random-feature MLP of the same number of features learns nothing of "
        "either target."
    ),
    source="Fu et al., NeurIPS 2023, comparison with random-feature MLPs",
    criterion=AtLeast(0.9),
    quick=grid(target=["T1", "T2"], replicates=5),
    full=grid(target=["T1", "T2"], replicates=30),
)


@comparator.measure
def mlp(target, rng):
    return errors_of(target, rng, ("mlp",))


@comparator.control("a linear target of the keys", grid=grid(target=["signed"], replicates=4))
def linear_target(target, rng):
    return errors_of(target, rng, ("mlp",))


biased = Claim(
    id="inductive_bias.attention-biased-weights",
    statement=(
        "Weights of non-zero mean (identity added) lower the error on a function of products of "
        "query and key by 5 %."
    ),
    source="Fu et al., NeurIPS 2023, biased transformers; T2, twice the identity",
    criterion=Better(by=1.05),
    quick=grid(replicates=16),
    full=grid(replicates=40),
)


def with_and_without(target, rng):
    """Errors with twice the identity added to the weights, and without; the same problem and weights."""
    seed = rng.integers(2**31)
    return [[errors_of(target, np.random.default_rng(seed), bias=bias)[0] for bias in (2.0, 0.0)]]


@biased.measure
def products(rng):
    return with_and_without("T2", rng)


@biased.control("a target that is not permutation-invariant", grid=grid(replicates=5))
def signed_target(rng):
    return with_and_without("signed", rng)


if __name__ == "__main__":
    main()
