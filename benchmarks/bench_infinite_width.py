r"""NNGP and NTK together against neural-tangents 0.6.5 on JAX 0.4.30, one thread each.

The peer does not import with current JAX; it runs in an environment of its own, as a child process:

    python -m venv nt && nt/bin/pip install neural-tangents==0.6.5 jax==0.4.30 jaxlib==0.4.30 \
        "numpy<2.1" "scipy<1.13"
    THEORYLAB_NT=nt/bin/python theorylab bench infinite_width

Without `THEORYLAB_NT` only our own times are taken. `THEORYLAB_N` sets the number of points (4000).
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from _harness import Benchmark

from theorylab.infinite_width import kernels

N, D = int(os.environ.get("THEORYLAB_N", "4000")), 784
W, B = 1.5, 0.1

CHILD = r"""
import json, sys, time
import numpy as np, jax
jax.config.update("jax_enable_x64", True)
from neural_tangents import stax
X = np.load(sys.argv[1])
known = {}
def network(act, depth, b):
    phi = {"relu": stax.Relu, "erf": stax.Erf}[act]
    layers = []
    for _ in range(depth):
        layers += [stax.Dense(1, W_std=float(np.sqrt(1.5)), b_std=float(np.sqrt(b)) or None), phi()]
    _, _, f = stax.serial(*layers, stax.Dense(1, W_std=1.0, b_std=None))
    return jax.jit(lambda x: tuple(f(x, None, ("nngp", "ntk"))))
for line in sys.stdin:
    act, depth, b, dtype, n, save = json.loads(line)
    key = (act, depth, b, dtype, n)
    if key not in known:
        f, x = network(act, depth, b), jax.numpy.asarray(X[:n].astype(dtype))
        jax.block_until_ready(f(x))
        known = {key: (f, x)}
    f, x = known[key]
    start = time.perf_counter()
    out = jax.block_until_ready(f(x))
    elapsed = time.perf_counter() - start
    if save:
        np.savez(save, K=np.asarray(out[0]), T=np.asarray(out[1]))
    print(json.dumps(elapsed), flush=True)
"""


class Peer:
    """The peer in its own process; a call is timed from here, the pipe costs microseconds."""

    def __init__(self, python: str, X: np.ndarray) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "x.npy"
        np.save(path, X)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
            "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
            "OMP_NUM_THREADS": "1",
        }
        command = [python, "-W", "ignore", "-c", CHILD, str(path)]
        if hasattr(os, "sched_setaffinity"):
            one = str(min(os.sched_getaffinity(0)))
            command = ["taskset", "-c", one, *command]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def __call__(self, *case: object, save: str = "") -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([*case, save]) + "\n")
        self.process.stdin.flush()
        if not self.process.stdout.readline():
            raise RuntimeError("the peer's process ended; run its command by hand to see why")

    def kernels(self, *case: object) -> tuple[np.ndarray, np.ndarray]:
        path = str(Path(self.folder.name) / "out.npz")
        self(*case, save=path)
        with np.load(path) as out:
            return out["K"], out["T"]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()


def reference(x, act, depth):
    """The textbook recursion in extended precision, which errors of both sides are measured against."""
    pi = np.longdouble("3.14159265358979323846")
    x = x.astype(np.longdouble)
    k = t = W * (x @ x.T / D) + B
    for layer in range(depth):
        w, b = (W, B) if layer < depth - 1 else (1.0, 0.0)
        q = np.diag(k)
        if act == "relu":
            norms = np.sqrt(np.outer(q, q))
            rho = np.clip(k / norms, -1, 1)
            np.fill_diagonal(rho, 1)
            angle = np.arccos(rho)
            k, slope = norms * (np.sin(angle) + (pi - angle) * rho) / (2 * pi), (pi - angle) / (2 * pi)
        else:
            p = np.outer(1 + 2 * q, 1 + 2 * q)
            k, slope = 2 / pi * np.arcsin(2 * k / np.sqrt(p)), 4 / pi / np.sqrt(p - 4 * k * k)
        k = w * k + b
        t = k + w * slope * t
    return k, t


def error(pair, exact):
    """Largest error of both kernels relative to their maxima."""
    return max(float(np.abs(a - e).max() / np.abs(e).max()) for a, e in zip(pair, exact))


def run() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D))
    bench = Benchmark("infinite_width")
    python = os.environ.get("THEORYLAB_NT", "")
    peer = Peer(python, X) if python else None
    targets = {("relu", 10, "float64"): ">= 10x", ("relu", 10, "float32"): ">= 14x"}
    targets |= {("erf", 10, "float64"): ">= 7x", ("erf", 10, "float32"): ">= 10x"}
    small = 200
    for dtype in ("float64", "float32"):
        x = X.astype(dtype)
        for act in ("relu", "erf"):
            for depth in (3, 10):
                options = {"depth": depth, "activation": act, "w_var": W, "b_var": B}
                exact = reference(x[:small], act, depth)
                ours = kernels.nngp_ntk(x[:small], **options)
                accuracy = None
                if peer is not None:
                    theirs = peer.kernels(act, depth, B, dtype, small)
                    accuracy = (error(ours, exact), error(theirs, exact))
                bench.compare(
                    f"{act}, depth {depth}, {dtype}, n={N}, d={D}",
                    ours=lambda x=x, o=options: kernels.nngp_ntk(x, **o),
                    peer=None if peer is None else (lambda a=act, l=depth, t=dtype: peer(a, l, B, t, N)),
                    peer_name="neural-tangents 0.6.5",
                    repeats=6,
                    accuracy=accuracy,
                    work=("dgemm" if dtype == "float64" else "sgemm", float(N) * N * D),
                    target=targets.get((act, depth, dtype), ">= 3x"),
                )
    if peer is not None:
        peer.close()
    bench.compare(
        "relu without biases, depth 100 against depth 3 of ours",
        ours=lambda: kernels.nngp_ntk(X, depth=100, w_var=2.0, b_var=0.0),
        peer=lambda: kernels.nngp_ntk(X, depth=3, w_var=2.0, b_var=0.0),
        peer_name="our own depth 3",
        repeats=6,
        target=">= 0.67x",
    )
    bench.finish()


if __name__ == "__main__":
    run()
