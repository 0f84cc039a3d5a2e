"""Small validation scripts that the tests write to disk and run."""

MEAN = '''
"""The mean of a uniform variable."""
import numpy as np
from theorylab.validation import Claim, Within, grid

claim = Claim(
    id="demo.mean",
    statement="The mean of a uniform variable on [0, a] is a/2.",
    source="calculus",
    criterion=Within(rel=0.05),
    quick=grid(a=[1.0, 2.0, 5.0], replicates=4),
    full=grid(a=[1.0, 2.0, 5.0], replicates=16),
)


@claim.predict
def half(a):
    return a / 2


@claim.measure
def uniform(a, rng, n=2000):
    {before}
    return a * rng.random(n)


@claim.control("a squared uniform variable has mean a/3")
def squared(a, rng, n=2000):
    return a * rng.random(n) ** 2


@claim.figure
def draw(ax, result):
    ax.plot(result.axis("a"), result.prediction, "--", label="a/2")
    result.errorbar(ax)
    result.errorbar(ax, branch="squared", color="0.6")
    ax.set(xlabel="a", ylabel="mean")


if __name__ == "__main__":
    claim.main()
'''


def write_mean(folder, name="demo_mean.py", before="", id="demo.mean"):
    """Write the script; `before` is a line that runs before each measurement of the claim."""
    path = folder / name
    path.write_text(MEAN.replace("{before}", before).replace("demo.mean", id))
    return path
