"""How many nats the errors of common model classes on handwritten digits are worth, in one common space."""

import warnings
from functools import lru_cache

import numpy as np
from _inductive_bias import posterior, rbf
from sklearn.datasets import load_digits
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.tree import DecisionTreeRegressor

from theorylab.inductive_bias import gaussian_test_error
from theorylab.validation import AtLeast, Claim, Samples, grid, main

OTHERS = ["mean", "linear", "ridge", "tree", "forest"]


@lru_cache
def digits():
    X, labels = load_digits(return_X_y=True)
    return X / 16.0, np.eye(10)[labels]


def network(seed):
    return MLPRegressor(hidden_layer_sizes=(256, 256), max_iter=80, early_stopping=False, random_state=seed)


def models(seed):
    return {
        "mean": DummyRegressor(),
        "linear": LinearRegression(),
        "ridge": Ridge(10.0),
        "tree": DecisionTreeRegressor(random_state=seed),
        "forest": RandomForestRegressor(30, random_state=seed),
        "5-NN": KNeighborsRegressor(5),
    }


def nats(rng, others, shuffle=False, n=400):
    """I(test error) of each class for one split, in the posterior of an RBF process with unit length."""
    X, Y = digits()
    rows = rng.permutation(len(X))[: 2 * n]
    train, test = rows[:n], rows[n:]
    mean, cov = posterior(rbf(1.0), X[train], Y[train], X[test], alpha=0.0)
    law = gaussian_test_error(mean, cov, Y[test])
    seed = int(rng.integers(2**31))
    fitted = {name: model.fit(X[train], Y[train]) for name, model in models(seed).items() if name in others}
    labels = rng.permutation(train) if shuffle else train
    with warnings.catch_warnings():
        # The number of epochs is part of the recipe, not a failure to converge.
        warnings.simplefilter("ignore")
        fitted["network"] = network(seed).fit(X[train], Y[labels])
    errors = {name: np.mean((model.predict(X[test]) - Y[test]) ** 2) for name, model in fitted.items()}
    errors["GP mean"] = np.mean((mean - Y[test]) ** 2)
    return {name: -float(law.logcdf(error)) for name, error in errors.items()}


classes = Claim(
    id="inductive_bias.networks-on-digits",
    statement=(
        "A trained network supplies more inductive bias than the mean, linear models, trees and forests do."
    ),
    source=(
        "IJCAI 2024, comparison of model classes, qualitative; here digits, 400 training and 400 test points"
    ),
    criterion=AtLeast(0.0),
    quick=grid(replicates=6, joint=dict(model=OTHERS)),
    full=grid(replicates=20, joint=dict(model=OTHERS)),
    headline=True,
)


def advantage(rng, others, shuffle=False, judged=None):
    values = nats(rng, others, shuffle)
    names = list(values)
    return Samples(
        [values["network"] - values[name] for name in judged or others],
        nats=[values[name] for name in names],
        names=names,
    )


@classes.measure
def network_minus_others(rng):
    return advantage(rng, [*OTHERS, "5-NN"], judged=OTHERS)


@classes.control(
    "a network trained on shuffled labels supplies less than the mean",
    grid=grid(replicates=5, joint=dict(model=OTHERS)),
)
def shuffled_labels(rng):
    return advantage(rng, OTHERS, shuffle=True)


@classes.figure
def draw_classes(ax, result):
    names = [str(name) for name in result.extras("names")[0]]
    values = np.array(result.extras("nats"))
    order = np.argsort(values.mean(axis=0))
    colours = ["C1" if names[i] == "network" else "C0" for i in order]
    ax.barh(
        [names[i] for i in order],
        values.mean(axis=0)[order],
        xerr=values.std(axis=0, ddof=1)[order],
        color=colours,
    )
    column = [str(name) for name in result.extras("names", "shuffled_labels")[0]].index("network")
    shuffled = np.array(result.extras("nats", "shuffled_labels"))[:, column]
    ax.barh(["network, shuffled (control)"], [shuffled.mean()], color="0.6")
    ax.set(xlabel="inductive bias of the reached test error, nats")


neighbours = Claim(
    id="inductive_bias.networks-and-neighbours",
    statement="A trained network supplies more inductive bias than five nearest neighbours do.",
    source="IJCAI 2024, comparison of model classes, read literally",
    criterion=AtLeast(0.0),
    quick=grid(replicates=5, joint=dict(model=["5-NN"])),
    full=grid(replicates=20, joint=dict(model=["5-NN"])),
    expected="refuted",
    reason="on 400 digits nearest neighbours reach the smaller squared error, and I only restates the error",
)


@neighbours.measure
def network_minus_neighbours(rng):
    return advantage(rng, ["5-NN"])


@neighbours.control(
    "a network trained on shuffled labels", grid=grid(replicates=3, joint=dict(model=["5-NN"]))
)
def shuffled_labels_again(rng):
    return advantage(rng, ["5-NN"], shuffle=True)


if __name__ == "__main__":
    main()
