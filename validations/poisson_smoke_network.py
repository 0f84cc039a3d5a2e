"""The paper's experiment: pressure of a smoke simulation, around obstacles that training never saw."""

import numpy as np
from _poisson_networks import classical, iterations, random_network

from theorylab.poisson import DirectionNetwork, PoissonOperator, problems, solve_pressure
from theorylab.poisson.smoke import simulate_smoke
from theorylab.validation import Better, Claim, Samples, grid

SIDE = 64  # the network was trained on an empty box of this side, with walls and an open top
STEPS, EVERY = 24, 12

claim = Claim(
    id="poisson.smoke-network",
    statement="In a smoke simulation around obstacles that training never saw, DCDM with the shipped network "
    "needs fewer iterations to 1e-4 than CG with IC(0).",
    source="Kaneda et al. (ICML 2023), section 6: smoke plumes, with and without an obstacle, to 1e-4",
    criterion=Better(by=1.0),
    quick=grid(replicates=20),
    full=grid(replicates=100),
    headline=True,
)


def simulated(rng, network, every=EVERY, steps=STEPS, cap=400):
    """Return iterations of (DCDM, IC(0), CG), summed over some projections of one run, and its smoke."""
    flags = problems.domain("smoke", (SIDE, SIDE), seed=rng)
    A, f, fluid = PoissonOperator(flags), network.direction(flags), flags == 1
    counts, seen = np.zeros(3), 0

    def solver(flags, b, x0, rtol):
        nonlocal counts, seen
        seen += 1
        if seen % every == 0:
            right = b[fluid]
            dcdm = iterations(A, right, f, cap=cap)
            counts += dcdm, classical(A, right, "ic0"), classical(A, right, "cg")
        # The flow itself goes on with an accurate pressure, the same for all.
        return solve_pressure(flags, b, method="mic0", rtol=1e-6, x0=x0)

    result = simulate_smoke(flags.shape, flags, steps, solver=solver, buoyancy=0.2)
    smoke = np.round(255 * np.clip(result.smoke, 0, 1)).astype(np.uint8)
    # One pair a run: the projections of a run are no independent samples.
    return Samples([counts[:2]], counts=counts / (steps // every), smoke=smoke, flags=flags)


@claim.measure
def shipped(rng):
    return simulated(rng, DirectionNetwork.load("dcdm_2d"))


@claim.control("the same architecture with weights that nobody trained", grid=grid(replicates=4))
def untrained(rng):
    return simulated(rng, random_network(), steps=8, every=8, cap=160)


@claim.figure
def draw(ax, result):
    figure = ax.figure
    ax.remove()
    figure.set_size_inches(8.8, 3.9)
    image, panel = figure.subplots(1, 2, width_ratios=[1, 1.5])
    smoke, flags = (result.extras(name)[0] for name in ("smoke", "flags"))
    image.set_facecolor("0.75")
    image.imshow(np.ma.masked_where(flags == 0, smoke / 255).T, origin="lower", cmap="magma", vmin=0, vmax=1,
                 interpolation="nearest", rasterized=True)  # fmt: skip
    image.set(xticks=[], yticks=[], title=f"smoke of the first run, step {STEPS}")
    image.grid(False)
    counts = np.array(result.extras("counts"))
    runs = np.arange(1, len(counts) + 1)
    for k, (name, style) in enumerate({"DCDM, shipped network": "o", "IC(0)-CG": "s", "CG": "^"}.items()):
        panel.semilogy(
            runs, counts[:, k], style, ms=4, color="C0" if k == 0 else str(0.25 + 0.2 * k), label=name
        )
    panel.set(xlabel="run, each with obstacles of its own", ylabel="iterations to a residual of 1e-4")
    panel.set_ylim(20, 700)
    panel.set_xticks(runs[4::5])
    panel.set_yticks([30, 100, 300], ["30", "100", "300"])
    panel.minorticks_off()
    panel.legend(ncols=3, loc="upper center", fontsize=8)


if __name__ == "__main__":
    claim.main()
