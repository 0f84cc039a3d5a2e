"""Pressure steps of the smoke simulation against PyAMG and SciPy, and the time of each phase.

Both sides solve the problems that a simulation passes to its solver, one after
another, to 1e-4 and from the last pressure. "Pressure step" counts divergence,
set-up, solve and gradient. PyAMG is used where it is installed (``pip install
pyamg``); its hierarchy is made once where solids rest, ours as well.
"""

import numpy as np
from _harness import Benchmark
from scipy.sparse.linalg import cg

from theorylab._lib.threads import limit_threads
from theorylab.poisson import LearnedMultigrid, PoissonOperator, project
from theorylab.poisson.smoke import Ball, compare_solvers, phase_table, simulate_smoke

RTOL = 1e-4
SCENES = {
    "256 x 512": ((256, 512), [Ball((100, 180), 26), Ball((170, 300), 22)]),
    "64 x 128 x 64": ((64, 128, 64), [Ball((28, 50, 30), 10)]),
}


class Pyamg:
    """CG with a PyAMG hierarchy as the solver of a simulation; made again where the flags change."""

    def __init__(self, kind):
        import pyamg

        self.build = {
            "RS": pyamg.ruge_stuben_solver,
            "SA": pyamg.smoothed_aggregation_solver,
        }[kind]
        self.flags = None

    def __call__(self, flags, b, x0, rtol):
        fluid = flags == 1
        if self.flags is None or (flags != self.flags).any():
            self.flags, self.A = flags.copy(), PoissonOperator(flags).to_csr()
            self.M = self.build(self.A).aspreconditioner()
        p = np.zeros(flags.shape)
        # The tolerance of SciPy is relative to ||b||, as ours.
        p[fluid] = cg(self.A, b[fluid], x0=x0[fluid], rtol=rtol, M=self.M)[0]
        return p


def velocity_of(shape, solids, steps):
    """Return flags, velocity with the divergence of a step, and the last pressure of a simulation."""
    result = simulate_smoke(shape, solids, steps)
    rng = np.random.default_rng(0)
    velocity = [u + 0.02 * np.abs(u).max() * rng.standard_normal(u.shape) for u in result.velocity]
    return result.flags, velocity, result.pressure


def left_over(result):
    """Return the largest divergence after the projection, relative to that before."""
    return float((result.divergence[:, 1] / result.divergence[:, 0]).max())


def simulation_rows(bench, name, steps, peers):
    """Whole simulations: the same scene with our solver and with PyAMG."""
    shape, solids = SCENES[name]
    drift = (0.5,) + (0.0,) * (len(shape) - 1)
    moving = [Ball(solids[0].center, solids[0].radius, velocity=drift), *solids[1:]]
    scenes = {"solids at rest": solids, "a moving solid": moving}
    for what, scene in scenes.items():
        for peer_name, peer in peers.items():
            solver = peer()
            bench.compare(
                f"simulate_smoke, {name}, {what}, {steps} steps",
                ours=lambda scene=scene: simulate_smoke(shape, scene, steps, rtol=RTOL),
                peer=lambda scene=scene, solver=solver: simulate_smoke(
                    shape, scene, steps, rtol=RTOL, solver=solver
                ),
                peer_name=peer_name,
                repeats=5,
                accuracy=(
                    left_over(simulate_smoke(shape, scene, 3, rtol=RTOL)),
                    left_over(simulate_smoke(shape, scene, 3, rtol=RTOL, solver=solver)),
                ),
            )


def step_rows(bench, name):
    """One pressure step, on one and on two threads, with a new hierarchy and with a kept one."""
    shape, solids = SCENES[name]
    flags, velocity, p = velocity_of(shape, solids, 40 if len(shape) == 2 else 15)
    kept = LearnedMultigrid(flags, recipe="learned")
    target = "<= 15 ms on 2 threads" if name == "256 x 512" else ""
    for threads in (1, 2):
        for what, method in (("set up anew", "learned-mg"), ("hierarchy kept", kept)):
            bench.compare(
                f"pressure step, {name}, to 1e-4, {what}",
                ours=lambda method=method: project(*velocity, flags, method=method, rtol=RTOL, x0=p),
                repeats=15,
                threads=threads,
                target=target,
            )


def main():
    bench = Benchmark("poisson_smoke")
    for name in SCENES:
        step_rows(bench, name)
    try:
        import pyamg  # noqa: F401

        peers = {"PyAMG Ruge-Stuben + CG": lambda: Pyamg("RS"), "PyAMG aggregation + CG": lambda: Pyamg("SA")}
    except ImportError:
        print("PyAMG is not installed: only our own rows")
        peers = {}
    simulation_rows(bench, "256 x 512", 10, peers)
    simulation_rows(bench, "64 x 128 x 64", 4, peers)
    bench.finish()
    for name, (shape, solids) in SCENES.items():
        for threads in (1, 2):
            with limit_threads(threads):
                print(f"\n{name}, {threads} threads, milliseconds a step\n")
                print(phase_table(compare_solvers(shape, solids, 8, rtol=RTOL)))


if __name__ == "__main__":
    main()
