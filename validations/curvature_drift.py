"""A window that slides for ever: the factor is as good after 20 000 slides as after 100.

Each slide drops the oldest row by a stable rank-one update of the factor and
appends the newest by a forward substitution. Every entry of the factored matrix
leaves with its gradient after at most m slides, so that errors do not add up.
"""

import numpy as np
from _curvature import U64

from theorylab import curvature as cv
from theorylab.validation import Claim, Exact, Rate, grid, main

SLIDES = [100, 300, 1000, 3000, 10_000, 20_000]
SHORT = [100, 1000, 5000]
LAM = 1e-3


def backward_error(inv):
    """Return |U^T U - K| / |K|, with K from the rows that the window holds."""
    state = inv.state_dict()
    G, U = state["rows"][state["slots"]], state["factor"]
    K = len(G) * LAM * np.eye(len(G)) + G @ G.T
    return np.linalg.norm(U.T @ U - K, 2) / np.linalg.norm(K, 2)


def window_errors(slides, rng, m, d, pool, decades=0.0):
    """Return the backward error for each number of slides, pooled from twenty looks at the half before it."""
    inv = cv.SlidingFisherInverse(d, m, LAM, dtype="float64")
    inv.extend(rng.standard_normal((m, d)))
    looks = [np.linspace(T // 2, T, 20).astype(int) for T in slides]
    at = {t: [k for k, times in enumerate(looks) if t in times] for t in np.unique(looks).tolist()}
    found = [[] for _ in slides]
    for t in range(1, max(slides) + 1):
        inv.update(rng.standard_normal(d) * 10 ** rng.uniform(-decades / 2, decades / 2))
        if t in at:
            error = backward_error(inv)
            for k in at[t]:
                found[k].append(error)
    return np.array([pool(errors) for errors in found])


drift = Claim(
    id="curvature.no-drift",
    statement="The backward error of the sliding factor does not grow with the number of slides.",
    source="drift theorem of the window: every entry lives for at most m slides",
    criterion=Rate("slides", slope=0.0, abs=0.1),
    quick=grid(replicates=8, joint={"slides": SLIDES}),
    full=grid(replicates=32, joint={"slides": SLIDES}),
)


@drift.measure
def sliding_factor(rng):
    return window_errors(SLIDES, rng, 48, 96, np.mean)


def sherman_morrison_errors(slides, rng, m=48, d=96):
    """Return the errors of an explicit float32 inverse kept by adding and removing rows."""
    lam, one = np.float32(LAM), np.float32(1)
    rows = rng.standard_normal((m, d)).astype(np.float32)
    inverse = np.linalg.inv(lam * np.eye(d) + rows.T.astype(float) @ rows / m).astype(np.float32)
    errors = []
    for t in range(1, max(slides) + 1):
        new, slot = rng.standard_normal(d).astype(np.float32), t % m
        for g, sign in ((new, one), (rows[slot].copy(), -one)):
            p = inverse @ g
            inverse -= sign * np.outer(p, p) / (np.float32(m) + sign * (g @ p))
        rows[slot] = new
        if t in slides:
            A = LAM * np.eye(d) + rows.T.astype(float) @ rows / m
            truth = np.linalg.inv(A)
            errors.append(np.linalg.norm(inverse - truth, 2) / np.linalg.norm(truth, 2))
    return np.array(errors)


@drift.control(
    "an explicit float32 inverse, kept by Sherman-Morrison formulas, loses everything within 100 slides",
    grid=grid(replicates=20, joint={"slides": [1, 3, 10, 30, 100]}),
)
def explicit_inverse(rng):
    with np.errstate(over="ignore", invalid="ignore"):
        return sherman_morrison_errors([1, 3, 10, 30, 100], rng)


@drift.figure(file="curvature_drift.png")
def draw(ax, result):
    result.errorbar(ax, fmt="o", label="factor of the window, m = 48")
    result.errorbar(ax, branch="explicit_inverse", fmt="s", color="0.6", label="explicit inverse, float32")
    ax.axhline(20 * 48 * U64, ls="--", color="k", lw=1, label="20 m u")
    ax.set(xscale="log", yscale="log", xlabel="slides", ylabel="relative error",
           title="The window does not drift", ylim=(1e-17, 1e3))  # fmt: skip
    ax.legend()


bound = Claim(
    id="curvature.window-error",
    statement="After any number of slides |U^T U - K| <= 20 m u |K|, with gradient norms over four decades.",
    source="drift theorem of the window",
    criterion=Exact(abs=1.0),  # in units of 20 m u
    quick=grid(m=[1, 8, 48], joint={"slides": SHORT}),
    full=grid(m=[1, 8, 48, 256], replicates=16, joint={"slides": SHORT}),
)


@bound.measure
def in_units_of_the_bound(m, rng):
    return window_errors(SHORT, rng, m, 2 * m, np.max, decades=4.0) / (20 * m * U64)


@bound.control("a factor rounded to float32 once")
def rounded_once(m, rng):
    G = rng.standard_normal((m, 2 * m))
    K = m * LAM * np.eye(m) + G @ G.T
    U = np.linalg.cholesky(K).T.astype(np.float32).astype(float)
    error = np.linalg.norm(U.T @ U - K, 2) / np.linalg.norm(K, 2)
    return np.full(len(SHORT), error / (20 * m * U64))


if __name__ == "__main__":
    main()
