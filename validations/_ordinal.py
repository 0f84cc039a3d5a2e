"""Designs shared by the validations of proportional odds and PRESTO."""

import warnings
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning

from theorylab.ordinal import PrestoClassifierCV, ProportionalOddsClassifier

BETA = np.array([1.0, -0.5, 0.25])  # slopes of the variance study; x ~ U(-1, 1)^3, alpha = (0, c)


def draw_classes(eta, rng):
    """Draw classes 0..K-1 from ordered cumulative logits, shape (n, K - 1)."""
    return np.sum(rng.logistic(size=len(eta))[:, None] > eta, axis=1)


def draw_odds(n, c, rng, beta=BETA, beta_2=None):
    """Draw the variance study: one slope vector, or a second one for the rare boundary."""
    X = rng.uniform(-1, 1, (n, beta.size))
    second = beta if beta_2 is None else np.asarray(beta_2)
    return X, draw_classes(np.column_stack((X @ beta, c + X @ second)), rng)


@lru_cache
def intercept_for(pi):
    """Return c with mean P(y = 3) = pi in the variance study."""
    x = np.random.default_rng(0).uniform(-1, 1, (20_000, BETA.size)) @ BETA
    return float(brentq(lambda c: np.mean(expit(-(c + x))) - pi, 0, 15))


def fit_both(X, y):
    """Return fitted proportional odds and the logistic fit of the last class against the rest.

    The second has the sign of ours: the logit of "not rare", so that both estimate (alpha_{K-1}, beta).
    """
    rare = (y == y.max()).astype(int)
    odds = ProportionalOddsClassifier().fit(X, y)
    with warnings.catch_warnings():
        # A handful of rare events may be separable; the usual software returns its last iterate as well.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return odds, ProportionalOddsClassifier().fit(X, rare)


def draw_paper(kind, alpha, rng, *, q=0.5, size=0.5, n=2500, p=10):
    """Draw one data set of the paper's section 4 and its true P(y = K | x); redraw all while logits cross.

    kind "sparse": beta_1 is .5 with probability q, differences +-size with probability q. "dense": beta_1
    uniform on (-.5, .5), differences uniform on (-size, size).
    """
    alpha = np.asarray(alpha)
    while True:
        if kind == "sparse":
            psi = size * rng.choice([-1, 1], (alpha.size, p)) * (rng.uniform(size=(alpha.size, p)) < q)
            psi[0] = 0.5 * (rng.uniform(size=p) < q)
        else:
            psi = rng.uniform(-size, size, (alpha.size, p))
            psi[0] = rng.uniform(-0.5, 0.5, p)
        X = rng.uniform(-1, 1, (n, p))
        eta = alpha + X @ np.cumsum(psi, axis=0).T
        if np.any(np.diff(eta, axis=1) <= 0):
            continue
        y = draw_classes(eta, rng)
        if np.unique(y).size == alpha.size + 1:
            return X, y, expit(-eta[:, -1])


def rare_errors(X, y, truth, rng):
    """Return the mean squared errors of P(y = K | x): PRESTO, logistic, proportional odds."""
    presto = PrestoClassifierCV(cv=5, random_state=int(rng.integers(2**31))).fit(X, y)
    odds, logistic = fit_both(X, y)
    return np.array([np.mean((m.predict_proba(X)[:, -1] - truth) ** 2) for m in (presto, logistic, odds)])


def show_errors(ax, result, title, paper):
    """Draw the errors of the three methods on a log axis, the paper's medians as dashed marks."""
    names = ["PRESTO", "logistic", "prop. odds"]
    cells = result.branch().grid.cells
    for i, cell in enumerate(cells):
        errors = np.concatenate([np.atleast_2d(e) for e in result.extras("mse", **cell)])
        for j in range(3):
            at = i * 4 + j
            spread = at + np.linspace(-0.25, 0.25, len(errors))
            ax.plot(spread, errors[:, j], ".", ms=3, alpha=0.5, color=f"C{j}")
            label = names[j] if i == 0 else None
            ax.plot([at - 0.35, at + 0.35], [np.median(errors[:, j])] * 2, color=f"C{j}", lw=2.5, label=label)
            value = paper.get((*cell.values(), j))
            if value:
                ax.plot([at - 0.35, at + 0.35], [value] * 2, "k--", lw=1.2,
                        label="median in the paper" if i == j == 0 else None)  # fmt: skip
    ax.set_xticks(
        [4 * i + 1 for i in range(len(cells))],
        [", ".join(f"{k} = {v:g}" for k, v in c.items()) for c in cells],
    )
    ax.set(yscale="log", ylabel="mean squared error of P(rare | x)", title=title)
    ax.legend(loc="lower left", fontsize=8)
