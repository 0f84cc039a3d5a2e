"""The training loop of direction networks; imports torch at the top and is imported lazily."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import irfftn, rfftn
from torch import Tensor

from .._version import __version__
from ._architecture import architecture
from ._domains import open_side
from ._grid_torch import FLUID, GridOperator, TorchNetwork, batch_loss, batch_solve
from ._samples import ritz_basis
from ._weights import digest

#: Held-out share of the samples, right-hand sides per domain that judge a checkpoint, and their solves.
HELD_OUT, JUDGES, JUDGED_ITERATIONS, DIRECTIONS = 0.1, 8, 15, 10
#: Length of the solves that on-trajectory samples come from.
RUN_LENGTH = 30


@dataclass
class Domain:
    """One training domain: operator, scale of the input, and pools of unit residuals."""

    A: GridOperator
    scale: float
    symmetries: list[tuple[tuple[int, ...], tuple[int, ...]]]
    train: Tensor
    held_out: Tensor
    judges: Tensor
    trajectory: Tensor | None = None


@dataclass
class Schedule:
    """How long and how fast to train."""

    steps: int
    batch: int
    lr: float
    n_ritz: int
    n_samples: int
    trajectory_from: float
    refreshes: int
    runs: int
    checks: int
    seed: int


@dataclass
class Log:
    """What the training saw; goes into the file of weights."""

    history: list[dict[str, float]] = field(default_factory=list)
    best: float = -math.inf
    best_step: int = 0


def right_hand_sides(fluid: NDArray[np.bool_], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw right-hand sides of all smoothnesses: white noise filtered with random widths."""
    axes = tuple(range(1, fluid.ndim + 1))
    b = rng.standard_normal((count, *fluid.shape))
    spectrum = rfftn(b, axes=axes)
    sigma = np.where(np.arange(count) % 3 == 0, 0.0, np.exp(rng.uniform(np.log(0.5), np.log(6.0), count)))
    for axis, n in zip(axes, fluid.shape):
        f = np.fft.rfftfreq(n) if axis == axes[-1] else np.fft.fftfreq(n)
        shape = [-1 if a == axis else 1 for a in axes]
        decay = np.exp(-2 * (np.pi * f.reshape(shape) * sigma.reshape(-1, *[1] * fluid.ndim)) ** 2)
        spectrum *= decay
    b = irfftn(spectrum, s=fluid.shape, axes=axes) * fluid
    b /= np.sqrt((b**2).sum(axis=axes, keepdims=True))
    return np.asarray(b, np.float32)


def _grids(vectors: NDArray[np.float32], fluid: NDArray[np.bool_]) -> Tensor:
    """Spread vectors over FLUID cells to grids (count, 1, *shape)."""
    grids = np.zeros((len(vectors), 1, *fluid.shape), np.float32)
    grids[:, 0, fluid] = vectors
    return torch.from_numpy(grids)


def _domain(
    flags: NDArray[Any], matrix: Any, n_train: int, plan: Schedule, rng: np.random.Generator
) -> Domain:
    """Prepare the pools of one domain; held-out samples and judges are draws of their own."""
    fluid = flags == FLUID
    basis = ritz_basis(matrix, plan.n_ritz, rng)
    held = max(1, round(HELD_OUT * plan.n_samples))
    train = _grids(basis.sample(plan.n_samples - held, rng), fluid)
    held_out = _grids(basis.sample(held, rng), fluid)
    judges = torch.from_numpy(right_hand_sides(fluid, JUDGES, rng)[:, None])
    scale = math.sqrt(fluid.sum() / n_train)
    return Domain(GridOperator(flags), scale, _symmetries(flags), train, held_out, judges)


def _symmetries(flags: NDArray[Any]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the orders of axes and sets of mirrored axes that leave the domain as it is."""
    d = flags.ndim
    return [
        (order, mirrored)
        for order in itertools.permutations(range(d))
        for count in range(d + 1)
        for mirrored in itertools.combinations(range(d), count)
        if np.array_equal(np.flip(flags.transpose(order), mirrored), flags)
    ]


def _turn(r: Tensor, symmetry: tuple[tuple[int, ...], tuple[int, ...]]) -> Tensor:
    """Apply a symmetry of the domain to a batch (batch, 1, *shape)."""
    order, mirrored = symmetry
    return r.permute(0, 1, *(k + 2 for k in order)).flip([k + 2 for k in mirrored])


def _batch(domain: Domain, plan: Schedule, rng: np.random.Generator) -> Tensor:
    """Draw a batch: Ritz samples, half of them replaced by residuals of actual solves once there are some."""
    half = 0 if domain.trajectory is None else plan.batch // 2
    parts = [domain.train[torch.from_numpy(rng.integers(0, len(domain.train), plan.batch - half))]]
    if domain.trajectory is not None:
        parts.append(domain.trajectory[torch.from_numpy(rng.integers(0, len(domain.trajectory), half))])
    r = torch.cat(parts)
    return r * torch.from_numpy(rng.choice([-1.0, 1.0], (plan.batch, *[1] * (r.ndim - 1))).astype(np.float32))


def _collect(network: TorchNetwork, domain: Domain, runs: int, rng: np.random.Generator) -> None:
    """Solve with the present network and keep the residuals met on the way."""
    fluid = domain.A.mask.numpy() > 0
    b = torch.from_numpy(right_hand_sides(fluid, runs, rng)[:, None])
    met, norms = batch_solve(network, domain.A, b, domain.scale, DIRECTIONS, RUN_LENGTH)
    useful = torch.from_numpy(np.isfinite(norms) & (norms > 1e-6))
    domain.trajectory = torch.cat([r[keep] for r, keep in zip(met, useful)])


@torch.no_grad()
def _judge(network: TorchNetwork, domains: list[Domain], plan: Schedule) -> dict[str, float]:
    """Return held-out loss, and decades per iteration in actual solves, for each domain."""
    entry: dict[str, float] = {}
    for k, domain in enumerate(domains):
        losses = [
            batch_loss(network, domain.A, part, domain.scale) for part in domain.held_out.split(plan.batch)
        ]
        _, norms = batch_solve(network, domain.A, domain.judges, domain.scale, DIRECTIONS, JUDGED_ITERATIONS)
        entry[f"held_out_{k}"] = float(torch.cat(losses).mean())
        rate = -np.log10(np.maximum(norms[-1], 1e-30)) / JUDGED_ITERATIONS
        entry[f"rate_{k}"] = float(np.mean(rate)) if np.isfinite(rate).all() else -math.inf
    entry["rate"] = min(v for key, v in entry.items() if key.startswith("rate_"))
    return entry


def _common(sides: list[tuple[int, int] | None]) -> tuple[int, int] | None:
    """Return the one open side of all domains, if there is one."""
    return sides[0] if len(set(sides)) == 1 else None


def _save(path: Path, network: TorchNetwork, meta: dict[str, Any]) -> None:
    """Write the weights in one step, so that a stop never leaves half a file."""
    arrays = network.arrays()
    temporary = path.with_suffix(".part.npz")
    meta = {**meta, "sha256": digest(arrays)}
    np.savez(temporary, meta=np.array(json.dumps(meta)), **arrays)  # type: ignore[arg-type]
    temporary.replace(path)


@contextlib.contextmanager
def _one_seed(seed: int) -> Iterator[None]:
    """Seed torch's global generator, and give the caller's state back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def train(
    name: str,
    flags: list[NDArray[Any]],
    matrices: list[Any],
    boundaries: list[str],
    plan: Schedule,
    path: Path,
    callback: Callable[[dict[str, float]], Any] | None,
    start: tuple[dict[str, NDArray[Any]], dict[str, Any]] | None = None,
) -> None:
    """Train, keeping the best weights seen and their provenance in a file."""
    began = time.process_time()
    rng = np.random.default_rng(plan.seed)
    n_train = int((flags[0] == FLUID).sum())
    domains = [_domain(f, A, n_train, plan, rng) for f, A in zip(flags, matrices)]
    ndim, log = flags[0].ndim, Log()
    with _one_seed(plan.seed):
        network = TorchNetwork(name, ndim)
        if start is not None:
            network.load_arrays(start[0])
    meta: dict[str, Any] = {
        "architecture": name,
        "ndim": ndim,
        "n_parameters": architecture(name).n_parameters(ndim),
        "boundaries": boundaries,
        "shapes": [list(f.shape) for f in flags],
        "n_train": n_train,
        "normalize": "unit",
        "crop": True,
        "open_side": _common([open_side(f) for f in flags]),
        "seed": plan.seed,
        "optimiser": f"Adam, lr {plan.lr:g} falling by a half cosine, batch {plan.batch}",
        "data": f"{plan.n_samples} combinations of {plan.n_ritz} Ritz vectors a domain, a tenth held out; "
        f"after {plan.trajectory_from:.2f} of the steps half of each batch from actual solves",
        "steps": plan.steps,
        "version": __version__,
    }
    if start is not None:
        told = ("best_step", "cpu_seconds", "optimiser", "data", "seed", "history", "earlier")
        meta["earlier"] = {key: start[1][key] for key in told if key in start[1]}
    best = network.arrays()
    optimiser = torch.optim.Adam(network.parameters(), lr=plan.lr, betas=(0.9, 0.99))
    running = math.nan
    first = math.ceil(plan.trajectory_from * plan.steps)
    refresh = max(1, (plan.steps - first) // max(1, plan.refreshes))
    check = max(1, plan.steps // plan.checks)
    for step in range(plan.steps):
        for group in optimiser.param_groups:
            group["lr"] = (
                plan.lr * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / plan.steps))
            )
        if step >= first and (step - first) % refresh == 0:
            for domain in domains:
                _collect(network, domain, plan.runs, rng)
        domain = domains[step % len(domains)]
        r = _turn(_batch(domain, plan, rng), domain.symmetries[rng.integers(len(domain.symmetries))])
        loss = batch_loss(network, domain.A, r, domain.scale).mean()
        value = float(loss.detach())
        if math.isfinite(value):  # a direction of zero energy has no loss; such a step is left out
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            running = value if math.isnan(running) else 0.98 * running + 0.02 * value
        if (step + 1) % check == 0 or step + 1 == plan.steps:
            entry = {"step": step + 1, "train": running, **_judge(network, domains, plan)}
            log.history.append(entry)
            if entry["rate"] > log.best:
                log.best, log.best_step, best = entry["rate"], step + 1, network.arrays()
                now = {"cpu_seconds": round(time.process_time() - began), "best_step": log.best_step}
                _save(path, network, {**meta, **now, "history": log.history})
            if callback is not None:
                callback(entry)
    meta |= {
        "cpu_seconds": round(time.process_time() - began),
        "best_step": log.best_step,
        "history": log.history,
    }
    network.load_arrays(best)
    _save(path, network, meta)
