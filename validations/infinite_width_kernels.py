"""Kernels and distances of near duplicates keep their digits at any depth."""

import mpmath as mp
import numpy as np
from sklearn.datasets import load_digits

from theorylab.infinite_width import kernels
from theorylab.validation import Claim, Exact, grid, main

DIGITS = load_digits().data / 16.0

claim = Claim(
    id="infinite_width.near-duplicates",
    statement="Distances between nearly equal images in the feature space of a ReLU network are exact to "
    "2e-14 relative.",
    source="the arc-cosine recursion in z = (1 - rho) / 2, against the same recursion in 60 digits",
    criterion=Exact(abs=2e-14),
    quick=grid(separation=[1e-2, 1e-4, 1e-6, 1e-8], depth=[3, 30], replicates=2),
    full=grid(
        separation=[1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8], depth=[3, 10, 30, 100], replicates=4
    ),
    headline=True,
)
W, B = 2.0, 0.01


def pair(separation, rng):
    x = DIGITS[int(rng.integers(len(DIGITS)))]
    step = rng.standard_normal(x.size)
    return x[None], (x + separation * step / np.linalg.norm(step))[None]


def exact_distance(x, y, depth):
    """Squared distance by the textbook recursion in 60 digits."""
    with mp.workdps(60):
        x, y = ([mp.mpf(float(v)) for v in row[0]] for row in (x, y))
        a, b, c = (sum(p * q for p, q in zip(u, v)) / len(x) for u, v in ((x, x), (y, y), (x, y)))
        for _ in range(depth):
            a, b, c = (mp.mpf(W) * v + mp.mpf(B) for v in (a, b, c))
            g = mp.sqrt(a * b)
            theta = mp.acos(c / g)
            c = g * (mp.sin(theta) + (mp.pi - theta) * c / g) / (2 * mp.pi)
            a, b = a / 2, b / 2
        return float(a + b - 2 * c)


@claim.measure
def safe(separation, depth, rng):
    x, y = pair(separation, rng)
    value = kernels.rkhs_sqdist(x, y, depth=depth, w_var=W, b_var=B)[0, 0]
    return value / exact_distance(x, y, depth) - 1.0


@claim.control("the difference of three kernel values loses all digits")
def naive(separation, depth, rng):
    x, y = pair(separation, rng)
    both = np.concatenate([x, y])
    k = kernels.nngp(both, depth=depth, w_var=W, b_var=B)
    return (k[0, 0] + k[1, 1] - 2 * k[0, 1]) / exact_distance(x, y, depth) - 1.0


@claim.figure
def draw(ax, result):
    for branch, color, label in (
        (None, "C0", "safe recursion"),
        ("naive", "0.6", "K(x,x) + K(y,y) - 2 K(x,y)"),
    ):
        for marker, depth in (("o", 3), ("s", 30)):
            points = [
                (h, max(abs(e), 1e-17))
                for h in result.axis("separation")
                for e in result.samples(branch=branch, separation=h, depth=depth)
            ]
            ax.plot(*zip(*points), marker, color=color, label=f"{label}, depth {depth}")
    ax.axhline(2e-14, ls="--", label="tolerance")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="distance of the images",
        ylabel="relative error of the feature distance",
    )
    ax.legend()


if __name__ == "__main__":
    main()
