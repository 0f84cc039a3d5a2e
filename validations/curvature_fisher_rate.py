"""In a well specified model the inverse of the empirical Fisher matrix tends to that of the Hessian.

The gradients of a model whose noise is right have the Hessian as their second
moment. Where the noise is wrong they do not, and more gradients do not help.
"""

import numpy as np

from theorylab.curvature import fisher_inverse
from theorylab.validation import Claim, Rate, Within, grid, main

D = 20
SIZES = [2**k for k in range(9, 16)]


def relative_error(m, rng, rows="gradients", noise=1.0, n=25, d=D):
    """Relative error of A^-1 v for linear regression on x ~ N(0, I), where the Hessian is the identity."""
    v = np.zeros(d)
    v[0] = 1.0  # the law of x is the same in all directions
    errors = np.empty(n)
    for k in range(n):
        G = rng.standard_normal((m, d), dtype=np.float32)
        if rows == "gradients":
            G *= np.float32(noise**0.5) * rng.standard_normal((m, 1), dtype=np.float32)
        errors[k] = np.linalg.norm(fisher_inverse(G, 1e-8) @ v - v)
    return errors


rate = Claim(
    id="curvature.fisher-rate",
    statement="With the right noise model the empirical Fisher inverse errs by m^(-1/2) after m gradients.",
    source="information equality; Kunstner et al. 2019 for its failure",
    criterion=Rate("m", slope=-0.5, abs=0.06, last=5, statistic="rms"),  # the last five have m >= 100 d
    quick=grid(m=SIZES, replicates=7),
    full=grid(m=[2**k for k in range(9, 18)], replicates=40),
)


@rate.measure
def well_specified(m, rng):
    return relative_error(m, rng)


@rate.control(
    "noise variance 4 while the loss assumes 1: gradients square to 4 H, and the error stays at 3/4",
    grid=grid(m=SIZES[:5], replicates=4),
)
def misspecified(m, rng):
    return relative_error(m, rng, noise=4.0)


@rate.figure(file="curvature_fisher_rate.png")
def draw(ax, result):
    m = result.axis("m")
    ax.plot(m, np.sqrt((3 * D + 5) / m), "--", label=r"$\sqrt{(3d+5)/m}$")
    result.errorbar(ax, label="right noise variance")
    result.errorbar(ax, branch="misspecified", color="0.6", label="noise variance 4, model says 1")
    ax.axhline(0.75, ls="--", color="0.6", lw=1)
    ax.set(xscale="log", yscale="log", xlabel="gradients m", ylabel=r"relative error of $A^{-1}v$ (rms)")


constant = Claim(
    id="curvature.fisher-constant",
    statement="The error is ((3d+5)/m)^(1/2) with gradients as rows and ((d+1)/m)^(1/2) with inputs as rows.",
    source="fourth moments of Gaussian inputs; first order in d/m, hence m >= 100 d",
    criterion=Within(rel=0.12, statistic="rms"),
    quick=grid(rows=["gradients", "inputs"], m=[2048, 4096, 8192], replicates=8),
    full=grid(rows=["gradients", "inputs"], m=[2048, 4096, 8192, 16384, 32768], replicates=40),
)


@constant.predict
def first_order(rows, m):
    return np.sqrt((3 * D + 5 if rows == "gradients" else D + 1) / m)


@constant.measure
def well_specified_rows(rows, m, rng):
    return relative_error(m, rng, rows)


@constant.control("noise variance 4: the matrix tends to 4 H", grid=grid(rows=["gradients"], m=[8192]))
def wrong_variance(rows, m, rng):
    return relative_error(m, rng, rows, noise=4.0)


if __name__ == "__main__":
    main()
