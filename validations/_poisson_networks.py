"""Shared by the scripts on direction networks: iteration counts, and networks of random weights."""

import functools
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np

from theorylab.poisson import DirectionNetwork, IncompleteCholesky, PoissonOperator, cg, dcdm, pcg, problems

FLUID = 1
CAP = 400


def problem(family, shape, rng, rhs="div"):
    """Return flags, operator and right-hand side on FLUID cells."""
    flags, b = problems.make(family, shape, seed=rng, rhs=rhs)
    return flags, PoissonOperator(flags), b[flags == FLUID]


def iterations(A, b, direction, m=10, rtol=1e-4, cap=CAP, normalize="rms"):
    """Count iterations of the published algorithm, without safeguards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reaching the cap is a count too
        _, info = dcdm(
            A,
            b,
            direction=direction,
            n_directions=m,
            normalize=normalize,
            rtol=rtol,
            maxiter=cap,
            safeguard=False,
            return_info=True,
        )
    return info.iterations if info.converged else cap


def classical(A, b, name, rtol=1e-4):
    """Count iterations of CG or of CG with IC(0)."""
    if name == "cg":
        return cg(A, b, rtol=rtol, return_info=True)[1].iterations
    return pcg(A, b, M=IncompleteCholesky(A, modified=0.0), rtol=rtol, return_info=True)[1].iterations


@functools.cache
def random_network(ndim=2, bias=0.1, seed=0):
    """Return a network of the same architecture whose weights nobody trained."""
    rng = np.random.default_rng(seed)
    taps, count = (3,) * ndim, 16
    arrays = {}
    for k in range(count):
        shape = (*taps, 1, 16) if k == 0 else (*(1,) * ndim, 16, 1) if k == count - 1 else (*taps, 16, 16)
        arrays[f"kernel_{k}"] = rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))
        arrays[f"bias_{k}"] = bias * rng.standard_normal(shape[-1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.npz"
        np.savez(path, meta=json.dumps({"architecture": "dcdm_k64"}), **arrays)
        return DirectionNetwork.from_npz(path)
