"""Inference of direction networks against PyTorch, and against the rate of a matrix product."""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from _harness import Benchmark

from theorylab.poisson import DirectionNetwork
from theorylab.poisson._architecture import ARCHITECTURES
from theorylab.poisson._grid_torch import TorchNetwork
from theorylab.testing import relative_error


def pair(name, ndim):
    """Return our network and theirs with equal weights; channels last, which is faster for torch here."""
    torch.manual_seed(0)
    theirs = TorchNetwork(name, ndim)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.npz"
        np.savez(path, meta=json.dumps({"architecture": name}), **theirs.arrays())
        return DirectionNetwork.from_npz(path), theirs


def double(theirs, x):
    """Evaluate theirs in float64."""
    exact = TorchNetwork("dcdm_k64", theirs.ndim).load_arrays(theirs.arrays()).double()
    return exact(x.double())[0, 0].numpy()


def compare(bench, shape, repeats, threads=1):
    ours, theirs = pair("dcdm_k64", len(shape))
    r = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x = torch.from_numpy(r)[None, None]
    exact = double(theirs, x)
    errors = tuple(relative_error(f.astype(float), exact) for f in (ours(r), theirs(x)[0, 0].numpy()))
    bench.compare(
        f"direction, K=64, {' x '.join(map(str, shape))}",
        ours=lambda: ours(r),
        peer=lambda: theirs(x),
        peer_name="torch",
        repeats=repeats,
        threads=threads,
        accuracy=errors,
        work=("sgemm", ARCHITECTURES["dcdm_k64"].flops_per_cell(len(shape)) * r.size),
        target=">= 0.5 of sgemm",
    )


def main():
    bench = Benchmark("poisson_network")
    with torch.no_grad():
        for shape, repeats in (((64, 64), 21), ((256, 256), 15), ((32, 32, 32), 15), ((64, 64, 64), 6)):
            compare(bench, shape, repeats)
        compare(bench, (256, 256), 15, threads=2)
    bench.finish()


if __name__ == "__main__":
    main()
