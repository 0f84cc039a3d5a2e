"""A network sees so far and no farther: after k iterations the iterate vanishes beyond k (R + 1) cells.

No fixed network can therefore need the same number of iterations at all sizes:
an error at distance L from the source stands untouched for L / (R + 1) of them.
"""

import warnings

import numpy as np
from _poisson_networks import problem, random_network

from theorylab.poisson import dcdm
from theorylab.validation import Claim, Exact, Samples, grid

N, SOURCE = 96, (8, 20)
RADIUS = 22  # of the K = 64 network: 5 + 12 + 4 cells of convolutions and 1 of pooling

claim = Claim(
    id="poisson.locality",
    statement="Without biases, x_k of DCDM is exactly zero beyond k (R + 1) cells from the source, R = 22.",
    source="receptive field of the network; it bounds the paper's claim of size independence",
    criterion=Exact(),
    quick=grid(k=[1, 2, 3], m=[0, 2, 10]),
    full=grid(k=[1, 2, 3], m=[0, 1, 2, 10]),
)


def iterate(k, m, bias):
    """Return x_k on the grid, and the distance of each cell from the source."""
    flags, A, _ = problem("empty", (N, N), 0)
    b = np.zeros((N, N))
    b[SOURCE] = 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # k iterations are not meant to converge
        x, _ = dcdm(
            A, b[flags == 1], direction=random_network(bias=bias).direction(flags), n_directions=m, maxiter=k,
            normalize="unit", safeguard=False,
        )  # fmt: skip
    grid_x = np.zeros((N, N))
    grid_x[flags == 1] = x
    i, j = np.ogrid[:N, :N]
    return grid_x, np.maximum(abs(i - SOURCE[0]), abs(j - SOURCE[1]))


def profile(k, m, bias):
    x, distance = iterate(k, m, bias)
    return np.array([np.abs(x[distance == d]).max() for d in range(distance.max() + 1)])


def beyond(k, m, bias):
    reach = profile(k, m, bias)
    return Samples(np.array([np.abs(reach[k * (RADIUS + 1) + 1 :]).max(initial=0.0)]), profile=reach)


@claim.measure
def without_biases(k, m, rng):
    return beyond(k, m, 0.0)


@claim.control("with biases the network answers to zeros, and x_1 is full already", grid=grid(k=[1], m=[2]))
def with_biases(k, m, rng):
    return beyond(k, m, 0.1)


@claim.figure
def draw(ax, result):
    for k in (1, 2, 3):
        reach = result.extras("profile", k=k, m=10)[0]
        (line,) = ax.plot(np.where(reach > 0, reach, np.nan), ".-", ms=3, label=f"after {k}")
        ax.axvline(k * (RADIUS + 1), ls="--", color=line.get_color(), lw=1)
    ax.plot(
        result.extras("profile", branch="with_biases", k=1, m=2)[0], color="0.6", label="with biases, after 1"
    )
    ax.set(
        yscale="log", xlabel="distance from the point source (cells)", ylabel="largest |x| at that distance"
    )
    ax.set_title("The bounds k (R + 1), dashed")


if __name__ == "__main__":
    claim.main()
