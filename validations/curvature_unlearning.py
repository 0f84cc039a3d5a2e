"""Removing training points: exact for squared loss, and to order 1/n for logistic regression.

The influence function keeps the curvature of all data; the Newton step takes that
of the data that remain. Both are compared with fitting again without the points,
in relation to how far the parameters move then.
"""

import numpy as np
from scipy.special import expit
from sklearn.datasets import load_diabetes

from theorylab.curvature import fisher_inverse, glm_rows, leave_one_out, remove_points
from theorylab.validation import Better, Claim, Exact, Rate, Samples, grid, main

LAM = 1e-2


def regression(data, rng):
    """Features with an intercept, and targets: scikit-learn's diabetes patients, or normal variables."""
    if data == "diabetes":
        X, y = load_diabetes(return_X_y=True)
        X, y = (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()
        order = rng.permutation(len(y))  # so that the group to be forgotten differs from seed to seed
        X, y = X[order], y[order]
    else:
        X = rng.standard_normal((200, 30))
        y = X @ rng.standard_normal(30) + rng.standard_normal(200)
    return np.column_stack([X, np.ones(len(y))]), y


def fit(X, y, n):
    """Ridge regression with the divisor n of the full data."""
    return np.linalg.solve(X.T @ X / n + LAM * np.eye(X.shape[1]), X.T @ y / n)


ridge = Claim(
    id="curvature.unlearning",
    statement="In ridge regression a Newton step forgets exactly; influence functions err by the leverage.",
    source="Sherman-Morrison on the normal equations; every point in turn and a group of 20",
    criterion=Exact(abs=1e-9),  # u kappa n = 1.1e-16 * 1e3 * 442 for changes of relative size 1/n, times 20
    quick=grid(data=["diabetes", "simulated"], joint={"quantity": ["influence", "newton", "group"]}),
    full=grid(
        data=["diabetes", "simulated"], joint={"quantity": ["influence", "newton", "group"]}, replicates=20
    ),
    headline=True,
)


def deviations(data, rng, shift=0):
    """Worst |influence error - leverage|, Newton error, Newton error of a group, relative to the change."""
    X, y = regression(data, rng)
    n = len(y)
    theta = fit(X, y, n)
    rows, grads = glm_rows(X, y, theta, "gaussian")
    h = fisher_inverse(rows, LAM, norm=n).leverages()

    def errors(S, method):
        true = fit(np.delete(X, S, axis=0), np.delete(y, S), n) - theta
        guess = remove_points(theta, rows, grads, (np.array(S) + shift) % n, LAM, method=method) - theta
        return np.linalg.norm(guess - true) / np.linalg.norm(true)

    influence = np.array([errors([i], "influence") for i in range(n)])
    newton = np.array([errors([i], "newton") for i in range(n)])
    group = list(range(20))
    worst = [np.abs(influence - h).max(), newton.max(), errors(group, "newton")]
    return Samples([worst], leverage=h, influence=influence, group=errors(group, "influence"))


@ridge.measure
def removal(data, rng):
    return deviations(data, rng)


@ridge.control("the neighbour i + 1 is forgotten in place of i")
def wrong_point(data, rng):
    return deviations(data, rng, shift=1)


@ridge.figure
def draw_ridge(ax, result):
    for data in ("diabetes", "simulated"):
        h, error = (result.extras(name, data=data)[0] for name in ("leverage", "influence"))
        ax.plot(h, error, "o", ms=3, label=f"{data}: influence function")
    ax.axline((0, 0), slope=1, ls="--", lw=1, label="error = leverage, exactly")
    worst = max(result.estimate[:, 1])
    ax.set(xlabel="leverage of the removed point", ylabel="error relative to the true change")
    ax.text(0.98, 0.04, f"Newton step: error at most {worst:.0e}", transform=ax.transAxes, ha="right")


def retrain(X, y, n, theta):
    """Minimise the penalised logistic loss by Newton's method from a near start."""
    for _ in range(20):
        p = expit(X @ theta)
        step = np.linalg.solve(
            (X.T * (p * (1 - p))) @ X / n + LAM * np.eye(X.shape[1]), X.T @ (p - y) / n + LAM * theta
        )
        theta = theta - step
        if np.abs(step).max() < 1e-13:
            return theta
    raise RuntimeError("Newton's method did not converge")


def logistic(n, rng, fisher=False, removals=60, d=10):
    """Mean relative error of (influence, Newton) over removals, against exact retraining."""
    X = rng.standard_normal((n, d))
    y = (rng.random(n) < expit(X @ rng.standard_normal(d))).astype(float)
    theta = retrain(X, y, n, np.zeros(d))
    rows, grads = glm_rows(X, y, theta, "binomial")
    if fisher:
        rows = grads
    newton = leave_one_out(theta, rows, grads, LAM)
    errors = np.empty((removals, 2))
    for k, i in enumerate(rng.choice(n, removals, replace=False)):
        guesses = [remove_points(theta, rows, grads, i, LAM, method="influence"), newton[i]]
        true = retrain(np.delete(X, i, axis=0), np.delete(y, i), n, theta)
        errors[k] = [np.linalg.norm(g - true) / np.linalg.norm(true - theta) for g in guesses]
    return errors.mean(axis=0)


METHODS = {"method": ["influence", "newton"]}
rate = Claim(
    id="curvature.removal-rate",
    statement="For logistic regression the errors of influence function and Newton step both fall like 1/n.",
    source="Taylor expansion of the optimality condition; Koh and Liang 2017",
    criterion=Rate("n", slope=-1.0, abs=0.15, statistic="geomean"),
    quick=grid(n=[100, 200, 400, 800, 1600, 3200], joint=METHODS, replicates=6),
    full=grid(n=[100, 200, 400, 800, 1600, 3200, 6400], joint=METHODS, replicates=40),
)


@rate.measure
def hessian_rows(n, rng):
    return [logistic(n, rng)]


@rate.control("gradients as rows: the empirical Fisher matrix is not the Hessian, and more data do not help")
def fisher_rows(n, rng):
    return [logistic(n, rng, fisher=True)]


@rate.figure(file="curvature_unlearning.png")
def draw_rate(ax, result):
    n = result.axis("n")
    for method, label in (("influence", "influence function"), ("newton", "Newton step")):
        result.errorbar(ax, method=method, label=label)
        _, value, _, _ = result.curve(method=method)
        ax.plot(n, value[-1] * n[-1] / n, "--", color="0.3", lw=1)
        result.errorbar(
            ax, branch="fisher_rows", method=method, color="0.6", label=f"{label}, empirical Fisher"
        )
    ax.set(xscale="log", yscale="log", xlabel="training points n", ylabel="error relative to the true change")


better = Claim(
    id="curvature.newton-removal",
    statement="In logistic regression a Newton step is at least 2.5 times closer than influence functions.",
    source="the influence function's error has the leverage as an additional first-order term",
    criterion=Better(by=2.5),
    quick=grid(n=[100, 400, 1600], replicates=6),
    full=grid(n=[100, 400, 1600, 6400], replicates=40),
)


@better.measure
def newton_against_influence(n, rng):
    influence, newton = logistic(n, rng)
    return [[newton, influence]]


@better.control("the empirical Fisher matrix in both: they are equally wrong")
def fisher_against_influence(n, rng):
    influence, newton = logistic(n, rng, fisher=True)
    return [[newton, influence]]


if __name__ == "__main__":
    main()
