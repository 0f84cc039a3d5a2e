"""Mean field theory against ensembles of torch networks, and modular training against a torch loop.

The theory replaces an ensemble of simulations: both sides are held to one
relative standard error of the test loss, and the time of the ensemble follows
from the scatter of its members, which is measured here.
"""

import math

import numpy as np
import torch
from _harness import Benchmark

from theorylab.dmft import PolynomialTask, QuadraticNetwork, dmft_solve, simulate
from theorylab.grokking import modular_dataset, perp_grad, train_modular

STEPS, KAPPA = 60, 0.1


def torch_infinite(count, dim, nu, alpha, eps, spike, seed, dtype, batch=16):
    """Infinitely wide networks by their moment equations, a batch at a time; return the last test losses."""
    made = torch.Generator().manual_seed(seed)
    n, losses = int(nu * dim), []
    eye = torch.eye(dim, dtype=dtype)
    for lo in range(0, count, batch):
        b = min(batch, count - lo)
        x = torch.randn(b, n, dim, generator=made, dtype=dtype) / math.sqrt(dim)
        beta = torch.randn(b, dim, 1, generator=made, dtype=dtype)
        beta *= math.sqrt(dim) / torch.linalg.norm(beta, dim=1, keepdim=True)
        y = 0.5 * (x @ beta)[:, :, 0] ** 2
        z = torch.cat([torch.zeros_like(beta), spike * beta, eye.expand(b, dim, dim)], 2)
        for _ in range(STEPS - 1):
            h = x @ z
            delta = alpha * (h[:, :, 0] + 0.5 * eps * (h * h).sum(2)) - y
            h *= eps
            h[:, :, 0] += 1
            h *= delta[:, :, None]
            z = torch.baddbmm(z, x.transpose(1, 2), h, alpha=-KAPPA / (alpha * nu))
        matrix = alpha * eps * (z @ z.transpose(1, 2)) - beta @ beta.transpose(1, 2)
        power = alpha**2 * (z[:, :, 0] ** 2).sum(1) / dim
        trace = matrix.diagonal(dim1=1, dim2=2).sum(1) / dim
        losses.append(power + (matrix**2).sum((1, 2)) / (2 * dim**2) + 0.25 * trace**2)
    return torch.cat(losses).numpy()


def torch_pair(dim, nu, alpha, eps, start, seeds, rng):
    """An ensemble of two-neuron networks in torch with autograd; return train losses."""
    n = int(nu * dim)
    for _ in range(seeds):
        x = torch.from_numpy(rng.standard_normal((n, dim)) / math.sqrt(dim))
        beta = torch.from_numpy(rng.standard_normal(dim))
        y = 0.5 * (x @ beta) ** 2
        w = torch.from_numpy(np.outer(start, beta.numpy()) + rng.standard_normal((2, dim))).requires_grad_()
        optimiser = torch.optim.SGD([w], lr=KAPPA * 2 * dim / alpha**2)
        for _ in range(STEPS):
            optimiser.zero_grad()
            h = x @ w.T
            loss = 0.5 * ((alpha / 2 * (h + 0.5 * eps * h**2).sum(1) - y) ** 2).mean()
            loss.backward()
            optimiser.step()


def torch_modular(data, width, epochs):
    """The modular network with embeddings, mean squared error and AdamW."""
    p = data.p
    a, b = (torch.from_numpy(data.pairs[data.train, k]) for k in range(2))
    target = torch.nn.functional.one_hot(torch.from_numpy(data.labels[data.train]), p).float()
    scale = 0.5 / (2 * width) ** (1 / 3)
    U, V, W = (torch.nn.Parameter(scale * torch.randn(p, width)) for _ in range(3))
    optimiser = torch.optim.AdamW([U, V, W], lr=1e-2, betas=(0.9, 0.98), weight_decay=5.0)
    for _ in range(epochs):
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss((U[a] + V[b]) ** 2 @ W.T, target)
        loss.backward()
        optimiser.step()
    return float(loss.detach())


def torch_modular_one_hot(data, width, epochs):
    """The same as the authors of the paper write it: one-hot inputs and matrix products."""
    p = data.p
    one = torch.nn.functional.one_hot
    a, b = (one(torch.from_numpy(data.pairs[data.train, k]), p).float() for k in range(2))
    x = torch.cat([a, b], 1)
    target = one(torch.from_numpy(data.labels[data.train]), p).float()
    scale = 0.5 / (2 * width) ** (1 / 3)
    UV, W = (
        torch.nn.Parameter(scale * torch.randn(2 * p, width)),
        torch.nn.Parameter(scale * torch.randn(p, width)),
    )
    optimiser = torch.optim.AdamW([UV, W], lr=1e-2, betas=(0.9, 0.98), weight_decay=5.0)
    for _ in range(epochs):
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss((x @ UV) ** 2 @ W.T, target)
        loss.backward()
        optimiser.step()
    return float(loss.detach())


def torch_perp(params, grads):
    """Perpendicular gradients in torch, tensor by tensor."""
    out = []
    for w, g in zip(params, grads):
        kept = g - (w.ravel() @ g.ravel()) / (w.ravel() @ w.ravel() + 1e-30) * w
        out.append(kept * torch.linalg.norm(g) / (torch.linalg.norm(kept) + 1e-30))
    return out


def theory_rows(bench):
    """Infinite width, S = 1000, T = 60, against as many torch networks as reach the theory's accuracy."""
    net, task, dim, timed = QuadraticNetwork(np.inf, 1.0, 1.0), PolynomialTask(2.0), 160, 48
    curves = [dmft_solve(net, task, KAPPA, STEPS, 0.5, rng=k).test_loss[-1] for k in range(32)]
    theory_error = float(np.std(curves, ddof=1) / np.mean(curves))
    losses = torch_infinite(80, dim, 2.0, 1.0, 1.0, 0.5, 1, torch.float32)
    scatter = float(losses.std(ddof=1) / losses.mean())
    # The ensemble whose mean is as well known as one solution of the theory.
    needed = math.ceil((scatter / theory_error) ** 2)
    print(f"one solution: {theory_error:.2%}; one network: {scatter:.2%}; {needed} networks, {timed} timed")
    # Squares of standard deviations from n values are known to 1 part in sqrt(n / 2).
    doubt = math.sqrt(2 / (len(curves) - 1) + 2 / (losses.size - 1))
    for name in ("float64", "float32"):
        row = bench.compare(
            f"dmft_solve, {name}, width inf, S=1000, T=60 (peer: {timed} of the {needed} networks)",
            ours=lambda name=name: dmft_solve(net, task, KAPPA, STEPS, 0.5, rng=0, dtype=name),
            peer=lambda name=name: torch_infinite(timed, dim, 2.0, 1.0, 1.0, 0.5, 2, getattr(torch, name)),
            peer_name=f"torch, D = 160, {name}, batches of 16",
            repeats=3,  # of 48 networks each; a pair takes seconds, so that its ratio hardly scatters
            accuracy=(theory_error, scatter / math.sqrt(needed)),
            target=f">= {30 * timed / needed:.2g} (30 x {timed} / {needed})",
        )
        print(f"ratio for the whole ensemble: {row.ratio * needed / timed:.3g}, size +- {doubt:.0%}")


def main():
    bench = Benchmark("dmft")
    theory_rows(bench)
    pair, task = QuadraticNetwork(2, 1.0, 0.5), PolynomialTask(2.0)
    rng = np.random.default_rng(0)
    bench.compare(
        "simulate, N=2, D=400, 8 seeds, T=60",
        ours=lambda: simulate(pair, task, KAPPA, STEPS, 400, [0.3, -0.4], n_seeds=8, rng=0),
        peer=lambda: torch_pair(400, 2.0, 1.0, 0.5, [0.3, -0.4], 8, rng),
        peer_name="torch autograd, no test loss",
        repeats=7,
    )
    data, epochs = modular_dataset(97, 0.5, rng=0), 10
    for name, peer in (("torch, embeddings", torch_modular), ("torch, one-hot", torch_modular_one_hot)):
        for threads in (1, 2):
            bench.compare(
                f"train_modular, p=97, N=500, {epochs} epochs",
                ours=lambda: train_modular(data, 500, epochs, weight_decay=5.0, log_every=epochs, rng=0),
                peer=lambda peer=peer: peer(data, 500, epochs),
                peer_name=name,
                repeats=7,
                threads=threads,
                work=("sgemm", 3 * 2.0 * data.train.size * 97 * 500 * epochs),
                target=">= 1.5",
            )
    params = [rng.standard_normal((512, 512)).astype(np.float32) for _ in range(4)]
    grads = [rng.standard_normal((512, 512)).astype(np.float32) for _ in range(4)]
    torch_params, torch_grads = ([torch.from_numpy(a) for a in arrays] for arrays in (params, grads))
    bench.compare(
        "perp_grad, 4 tensors of 512 x 512",
        ours=lambda: perp_grad(params, grads),
        peer=lambda: torch_perp(torch_params, torch_grads),
        peer_name="torch",
        repeats=7,
    )
    bench.finish()


if __name__ == "__main__":
    main()
