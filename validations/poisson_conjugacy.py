"""What DCDM inherits from conjugate gradients, whatever the direction: conjugacy, line search, energy.

With the residual as direction the method is CG; with any other, each step lowers the squared
A-norm of the error by (d.r)^2 / d.Ad and leaves a residual orthogonal to the last m + 1 directions.
"""

import warnings

import numpy as np
import scipy.sparse.linalg as scipy_linalg
from scipy import ndimage

from theorylab.poisson import ConvergenceWarning, IncompleteCholesky, PoissonOperator, dcdm, problems
from theorylab.validation import Claim, Exact, Samples, grid, main

# DCDM with f(r) = r is CG ---------------------------------------------------------------------

STEPS = 40
JUDGED = 20  # later the two roundings of CG drift apart as those of any two programs do

special = Claim(
    id="poisson.conjugate-gradients",
    statement="With kept directions DCDM is CG for f(r) = r and preconditioned CG for f(r) = M r.",
    source="Kaneda et al. (ICML 2023), algorithm 1; conjugacy of CG's directions",
    criterion=Exact(abs=1e-6),
    quick=grid(family=["empty", "walls", "liquid"], direction=["r", "M r"], m=[1, 2, 10]),
    full=grid(family=list(problems.FAMILIES), direction=["r", "M r"], m=[1, 2, 5, 10, 50], replicates=5),
)


def iterates(solver, *arguments, **options):
    """Return the first iterates, from zero."""
    seen = [np.zeros_like(arguments[1])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        solver(*arguments, maxiter=STEPS, callback=lambda x: seen.append(x.copy()), **options)
    return seen


def histories(family, direction, m, rng):
    """Return residual norms of DCDM and of SciPy's CG, each from its definition."""
    flags, b = problems.make(family, (64, 64), seed=rng)
    A, b = PoissonOperator(flags), b[flags == 1]
    matrix = A.to_csr()
    M = IncompleteCholesky(A, modified=0.0) if direction == "M r" else None
    f = (lambda r: r) if M is None else M.matvec
    ours = iterates(dcdm, A, b, direction=f, n_directions=m, normalize="unit", safeguard=False, rtol=1e-14)
    theirs = iterates(scipy_linalg.cg, matrix, b, M=M, rtol=1e-14)
    return ([np.linalg.norm(b - matrix @ x) for x in run] for run in (ours, theirs))


@special.measure
def deviation(family, direction, m, rng):
    ours, theirs = (np.array(h) for h in histories(family, direction, m, rng))
    return Samples([np.abs(ours / theirs - 1)[: JUDGED + 1].max()], ours=ours, theirs=theirs)


@special.control(
    "no kept direction: steepest descent", grid=grid(family=["empty"], direction=["r", "M r"], m=[0])
)
def steepest_descent(family, direction, m, rng):
    return deviation(family, direction, m, rng)


@special.figure
def draw_special(ax, result):
    cell = dict(family="empty", direction="r")
    ours = result.extras("ours", m=2, **cell)[0]
    ax.semilogy(result.extras("theirs", m=2, **cell)[0], "--", label="CG (SciPy)")
    ax.semilogy(ours, ".", label="DCDM, f(r) = r, m = 2")
    ax.semilogy(result.extras("ours", branch="steepest_descent", m=0, **cell)[0], color="0.6", label="m = 0")
    ax.set(xlabel="iteration", ylabel="||b - A x||", title="DCDM with the residual as direction is CG")
    ax.legend()


# Identities for any direction ------------------------------------------------------------------

KEPT = 2

identities = Claim(
    id="poisson.energy-identity",
    statement="For a nonlinear direction each step lowers the squared A-norm of the error by (d.r)^2 / d.Ad, "
    "and the residual after it is orthogonal to the last m + 1 directions.",
    source="exact line search along A-orthogonalised directions; Kaneda et al. (ICML 2023), section 4",
    # Residuals and energies come from iterates rounded at 1e-16 |x|; measured below 1e-12.
    criterion=Exact(abs=1e-10),
    quick=grid(quantity=["energy", "orthogonality"], family=["smoke", "porous"], replicates=10),
    full=grid(quantity=["energy", "orthogonality"], family=list(problems.FAMILIES), replicates=100),
)


def random_network(flags, rng):
    """Return r plus a random two-layer convolutional network with ReLU, no biases, on FLUID vectors."""
    first, second = rng.standard_normal((2, 4, 3, 3)) / 3
    fluid = flags == 1

    def f(r):
        image = np.zeros(flags.shape)
        image[fluid] = r
        hidden = [np.maximum(ndimage.convolve(image, k, mode="constant"), 0) for k in first]
        out = sum(ndimage.convolve(h, k, mode="constant") for h, k in zip(hidden, second))
        return r + 0.3 * out[fluid]

    return f


def conjugated(raw, A, m):
    """Return the directions made A-orthogonal to the last m before them, straight from the definition."""
    kept, directions = [], []
    for f in raw:
        d = f - sum(((f @ q) / (p @ q) * p for p, q in kept), np.zeros_like(f))
        directions.append(d)
        kept = [*kept, (d, A @ d)][-m:] if m else []
    return directions


def defects(family, rng, m):
    """Return the largest defects of the energy identity and of the angles to KEPT + 1 directions."""
    flags = problems.domain(family, (64, 64), seed=rng)
    A = PoissonOperator(flags)
    exact = rng.standard_normal(A.shape[0])
    b = A @ exact
    f, raw = random_network(flags, rng), []

    def recorded(r):
        raw.append(f(r))
        return raw[-1]

    x = iterates(
        dcdm, A, b, direction=recorded, n_directions=m, normalize="unit", safeguard=False, rtol=1e-14
    )
    d = conjugated(raw, A, m)
    r = [b - A @ v for v in x]
    energy = [(v - exact) @ (A @ (v - exact)) for v in x]
    gain = [(s @ t) ** 2 / (s @ (A @ s)) for s, t in zip(d, r)]
    identity = max(abs(energy[k] - energy[k + 1] - gain[k]) / energy[k] for k in range(len(d)))
    angles = [
        abs(d[j] @ r[k + 1]) / (np.linalg.norm(d[j]) * np.linalg.norm(r[k + 1]))
        for k in range(len(d))
        for j in range(max(0, k - KEPT), k + 1)
    ]
    return {"energy": identity, "orthogonality": max(angles)}


@identities.measure
def kept_directions(quantity, family, rng):
    return defects(family, rng, KEPT)[quantity]


@identities.control(
    "directions are not orthogonalised: older ones are lost",
    grid=grid(quantity=["orthogonality"], family=["smoke", "porous"], replicates=5),
    criterion=Exact(abs=1e-3),
)
def no_orthogonalisation(quantity, family, rng):
    return defects(family, rng, 0)[quantity]


if __name__ == "__main__":
    main()
