"""Domains without an opening: the pressure is fixed up to a constant, and b must have mean zero.

Means over closed components are removed from the right-hand side, from each residual and from the
pressure. Without that no iterate has a residual below |mean b| sqrt(N), the part that A cannot reach.
"""

import warnings

import numpy as np
from scipy.sparse.linalg import minres

from theorylab.poisson import (
    ConvergenceWarning,
    IncompatibleRightHandSideWarning,
    PoissonOperator,
    cg,
    components,
    problems,
    solve_pressure,
)
from theorylab.validation import AtLeast, Claim, Exact, Samples, grid, main

METHODS = ["learned-mg", "mg", "cg", "jacobi", "ic0", "mic0", "deflated"]
RTOL = 1e-11


def closed_domain(kind, n, rng):
    """Return flags and an incompatible right-hand side; "pockets" has a closed room beside an open one."""
    flags = problems.domain("closed" if kind != "walls" else "walls", (n, n), seed=rng)
    if kind != "walls":
        flags = flags.copy()
    if kind == "pockets":
        flags[n // 3], flags[:, n // 2], flags[n - 5] = 0, 0, 0
        flags[0] = 2
    if kind == "walls":
        flags = np.where(flags == 2, 0, flags)
    return flags, rng.standard_normal(flags.shape) + 0.3


projected = Claim(
    id="poisson.null-space",
    statement="On closed domains with an incompatible right-hand side every method solves the projected "
    "system, with a pressure of mean zero on each closed component.",
    source="Fredholm alternative; null vectors are the indicators of closed components",
    criterion=Exact(abs=1e-10),
    quick=grid(method=METHODS, domain=["closed", "pockets", "walls"], replicates=1,
               joint=dict(quantity=["residual", "mean"])),
    full=grid(method=METHODS, domain=["closed", "pockets", "walls"], replicates=10,
              joint=dict(quantity=["residual", "mean"])),
)  # fmt: skip


def defects(flags, b, p):
    """Return the residual of the projected system, relative, and the largest mean over max |p|."""
    labels, _, _, closed = components(flags)
    right = b.copy()
    means = [0.0]
    for k in np.flatnonzero(closed):
        right[labels == k] -= right[labels == k].mean()
        means.append(abs(p[labels == k].mean()) / np.abs(p).max())
    fluid = flags == 1
    r = right[fluid] - PoissonOperator(flags) @ p[fluid]
    return [np.linalg.norm(r) / np.linalg.norm(right[fluid]), max(means)]


@projected.measure
def with_projection(method, domain, rng):
    flags, b = closed_domain(domain, 128, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompatibleRightHandSideWarning)
        return [defects(flags, b, solve_pressure(flags, b, method=method, rtol=RTOL))]


@projected.control(
    "CG on the system as it is",
    grid=grid(method=["cg"], domain=["closed"], joint=dict(quantity=["residual", "mean"])),
)
def without_projection(method, domain, rng):
    flags, b = closed_domain(domain, 128, rng)
    p = np.zeros(flags.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        p[flags == 1] = cg(PoissonOperator(flags), b[flags == 1], rtol=RTOL, maxiter=600)[0]
    return [defects(flags, b, p)]


floor = Claim(
    id="poisson.null-space-floor",
    statement="Without projection no iterate's residual is below |mean b| sqrt(N).",
    source="A maps onto the vectors of mean zero",
    criterion=AtLeast(1.0, abs=1e-9),
    quick=grid(mean=[0.1, 0.3, 1.0], replicates=5),
    full=grid(mean=[0.03, 0.1, 0.3, 1.0], replicates=20),
)


def history(mean, rng, project):
    """Return residual norms of MINRES, the smallest of any Krylov method, over |mean b| sqrt(N)."""
    flags = problems.domain("closed", (64, 64), seed=rng)
    A = PoissonOperator(flags).to_csr()
    b = rng.standard_normal(A.shape[0])
    b += mean - b.mean()
    right = b - mean if project else b
    norms = []
    minres(A, right, rtol=1e-12, maxiter=500, callback=lambda x: norms.append(np.linalg.norm(right - A @ x)))
    norms = np.array(norms) / (mean * np.sqrt(b.size))
    return Samples([norms.min()], norms=norms)


@floor.measure
def as_it_is(mean, rng):
    return history(mean, rng, False)


@floor.control("the mean is removed first")
def mean_removed(mean, rng):
    return history(mean, rng, True)


@floor.figure
def draw(ax, result):
    for k, mean in enumerate(result.axis("mean")):
        ax.semilogy(result.extras("norms", mean=mean)[0], color=f"C{k}", label=f"MINRES, mean b = {mean:g}")
    ax.semilogy(result.extras("norms", branch="mean_removed", mean=0.3)[0], color="0.6", label="mean removed")
    ax.axhline(1.0, color="k", linestyle="--", label="|mean b| sqrt(N)")
    ax.set(xlabel="iteration", ylabel="||r|| / (|mean b| sqrt(N))", ylim=(1e-6, None),
           title="A closed domain cannot match a mean")  # fmt: skip
    ax.legend()


if __name__ == "__main__":
    main()
