"""The real job: in a smoke simulation the tolerance of the solver is the divergence that is left."""

import numpy as np
from _poisson_smoke import Direct, run, stopped_cg

from theorylab.validation import AtMost, Claim, Exact, Samples, grid, main

# The divergence that is left ------------------------------------------------------------------

TOLERANCE = 1e-4
FRAMES = (45, 90, 135, 180, 225)

divergence = Claim(
    id="poisson.smoke-divergence",
    statement="In each step of a smoke simulation, with solids at rest or moving, the projection leaves "
    "at most 1e-4 of the divergence.",
    source="Kaneda et al. (ICML 2023), section 5: stop at 1e-4 of the initial residual",
    # The divergence after, over 1e-4 of that before; taken anew from the velocities, whose rounding adds
    # about 1e-12 / 1e-4.
    criterion=Exact(abs=1 + 1e-6),
    quick=grid(scene=["balls", "walls", "moving", "3-D"], replicates=1),
)


def left(result):
    before, after = result.divergence.T
    return after / (TOLERANCE * before)


@divergence.measure
def simulated(scene, rng):
    if scene != "balls":
        return left(run(scene, 128, 30, rtol=TOLERANCE))
    result = run(scene, 128, FRAMES[-1], rtol=TOLERANCE, advection="maccormack", cfl=2.0, frames=FRAMES)
    strip = np.round(255 * np.array(result.frames)).astype(np.uint8)
    return Samples(
        left(result), strip=strip, flags=result.flags, time=np.cumsum(result.dt), n=result.iterations
    )


@divergence.control("five iterations of plain CG reach only a few cells")
def five_iterations(scene, rng):
    return left(run(scene, 128, 10, rtol=TOLERANCE, solver=stopped_cg(5)))


@divergence.figure(file="poisson_smoke.png")
def draw_strip(ax, result):
    figure = ax.figure
    ax.remove()
    figure.set_size_inches(9.6, 4.9)
    grid_ = figure.add_gridspec(2, len(FRAMES), height_ratios=[3.2, 1])
    strip, flags, time = (result.extras(k, scene="balls")[0] for k in ("strip", "flags", "time"))
    for k, (step, smoke) in enumerate(zip(FRAMES, strip)):
        panel = figure.add_subplot(grid_[0, k])
        image = np.ma.masked_where(flags == 0, smoke / 255)
        panel.set_facecolor("0.75")
        panel.imshow(
            image.T, origin="lower", cmap="magma", vmin=0, vmax=1, interpolation="nearest", rasterized=True
        )
        panel.set(xticks=[], yticks=[])
        panel.grid(False)
        panel.set_title(f"step {step}, t = {time[step - 1]:.0f}", fontsize=9)
    panel = figure.add_subplot(grid_[1, :])
    for k, (name, samples) in enumerate(zip(result.axis("scene"), result.branch().pooled)):
        panel.semilogy(np.arange(1, len(samples) + 1), samples * TOLERANCE, ".-", color=f"C{k}", label=name)
    pooled = result.branch("five_iterations").pooled[0]
    panel.semilogy(
        np.arange(1, len(pooled) + 1), pooled * TOLERANCE, ".-", color="0.6", label="balls, 5 steps of CG"
    )
    panel.axhline(TOLERANCE, color="k", linestyle="--", linewidth=1)
    panel.set(xlabel="step", ylabel="divergence\nafter / before")
    panel.set_ylim(1e-6, 10)
    panel.legend(ncols=5, fontsize=8, loc=(0.36, 0.55))


# The same smoke as with a direct solver -------------------------------------------------------

fields = Claim(
    id="poisson.smoke-fields",
    statement="The smoke after 60 steps differs from that of a direct solver by less than the tolerance of "
    "each projection.",
    source="stability of the semi-Lagrangian step; measured for this package",
    criterion=Exact(abs=1.0),
    quick=grid(tolerance=[1e-3, 1e-4, 1e-6, 1e-8], replicates=1),
)


def difference(tolerance, **options):
    ours = run("square", 128, 60, rtol=tolerance, **options).smoke
    truth = run("square", 128, 60, solver=Direct()).smoke
    return np.linalg.norm(ours - truth) / np.linalg.norm(truth) / tolerance


@fields.measure
def learned(tolerance, rng):
    return difference(tolerance)


@fields.control("five iterations of plain CG a step give another flow")
def stopped(tolerance, rng):
    return difference(tolerance, solver=stopped_cg(5))


@fields.figure
def draw_fields(ax, result):
    x = np.array(result.axis("tolerance"))
    ax.loglog(x, x, "k--", label="equal to the tolerance")
    ax.loglog(x, x * result.estimate, "o-", label="learned multigrid")
    ax.loglog(
        x,
        x * result.branch("stopped").estimate,
        "s",
        color="0.6",
        label="plain CG, stopped after 5 iterations",
    )
    ax.set(xlabel="tolerance of each projection", ylabel="relative difference of the smoke")


# Iterations a step ------------------------------------------------------------------------------

iterations = Claim(
    id="poisson.smoke-iterations",
    statement="From the last pressure on, a projection to 1e-4 takes at most 6 iterations of the learned "
    "multigrid, whatever the size.",
    source="Kaneda et al. (ICML 2023), abstract: few iterations, independent of the size",
    criterion=AtMost(6.0),
    quick=grid(n=[32, 64, 128], replicates=1),
    full=grid(n=[32, 64, 128, 256, 512], replicates=1),
)


def mean_iterations(n, **options):
    # The first steps hold no plume: most of the iterations come later.
    return run("balls", n, 40, rtol=TOLERANCE, **options).iterations[10:]


@iterations.measure
def learned_iterations(n, rng):
    return mean_iterations(n)


@iterations.control("modified incomplete Cholesky needs more, the more the finer the grid")
def incomplete(n, rng):
    return mean_iterations(n, solver="mic0")


@iterations.figure
def draw_iterations(ax, result):
    result.errorbar(ax, label="learned multigrid")
    result.errorbar(ax, branch="incomplete", color="0.6", label="MIC(0)")
    ax.set(xscale="log", yscale="log", xlabel="cells along the shorter side", ylabel="iterations a step")
    ax.set_xticks(result.axis("n"), [str(n) for n in result.axis("n")])
    ax.set_yticks([3, 10, 30, 100], ["3", "10", "30", "100"])
    ax.minorticks_off()


if __name__ == "__main__":
    main()
