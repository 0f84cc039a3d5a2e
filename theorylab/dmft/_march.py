"""One forward pass through the data-site process and the weight equations.

Two-time matrices are stored with the composite index ``t K + r``, so each
update of a row of the theory is one product of a block row with a matrix.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _kernels
from ._losses import is_wick, row_losses, stacked_gram
from ._result import DMFTResult, pairs
from ._rows import Rows
from ._sampler import Basis, CholeskyPaths, RecursionPaths
from ._spec import Network, Task, apply

Array = NDArray[np.float64]

#: Growth of the train loss over its start (plus the target's variance scale) that counts as divergence.
BLOW_UP = 1e6


class March:
    """State of the march; `run` goes through all steps, `result` packs what they left."""

    def __init__(
        self, rows: Rows, prob: Task, kappa: Array, m: Array, gram: Array, n_samples: int,
        rng: np.random.Generator, dtype: np.dtype, memory: int | None, sampler: str, without: str | None,
    ) -> None:  # fmt: skip
        n_steps, largest = kappa.size, float(kappa.max())
        self.rows, self.prob, self.n, self.steps, self.K = rows, prob, n_samples, n_steps, rows.size
        self.k, self.c = largest / rows.spec.alpha, largest / (rows.spec.alpha * prob.nu)
        # Steps of unequal size are forces of unequal weight; the theory is otherwise the same.
        self.ratio, self.without = kappa / largest, without
        size, total = rows.size, rows.size * n_steps
        self.C, self.Rw, self.Rg, self.G = (np.zeros((total, total)) for _ in range(4))
        self.rho = np.zeros((n_steps, size))
        self.m = np.zeros((n_steps, size))
        self.m[0], self.C[:size, :size] = m, gram
        self.train, self.test = np.full(n_steps, np.nan), np.full(n_steps, np.nan)
        self.components = np.full((n_steps, 3), np.nan)
        self.diverged_at: int | None = None
        self.sweeps = 1
        self.largest_rise, self.rise_at, self.smallest_schur = 0.0, 0, math.inf
        self.rng, self.sampler = copy.deepcopy(rng), sampler
        self._start_paths(rng)
        self._allocate(dtype, memory)
        if rows.bulk:
            self.Cb, self.Rb, self.Rgb, self.Gb = (np.zeros((n_steps, n_steps)) for _ in range(4))
            self.Cb[0, 0] = 1.0

    def _start_paths(self, rng: np.random.Generator) -> None:
        """Draw what does not depend on time."""
        n, size = self.n, self.K
        basis = Basis(n, size * (self.steps if self.sampler == "cholesky" else 1), rng)
        self.u = basis.u
        self.y = apply(self.prob.target, basis.u, "target")
        self.dy = apply(self.prob.dtarget, basis.u, "dtarget")
        if self.prob.noise > 0:
            column = basis.orthonormal(rng.standard_normal(n))
            basis.fence(column)
            self.y = self.y + self.prob.noise * column
        self.paths: CholeskyPaths | RecursionPaths = (
            CholeskyPaths(basis, size)
            if self.sampler == "cholesky"
            else RecursionPaths(basis, size, self.prob.nu, self.k)
        )

    def _allocate(self, dtype: np.dtype, memory: int | None) -> None:
        """Allocate the samples' histories."""
        n, steps, size = self.n, self.steps, self.K
        self.chi, self.g = np.zeros((n, steps * size)), np.zeros((n, steps * size))
        self.delta = np.zeros((n, steps))
        window = steps if memory is None else min(memory, steps)
        times = np.arange(steps)
        self.firsts = np.maximum(1, times - window + 1)
        self.counts = times - self.firsts + 1
        full = window >= steps
        self.offsets = np.cumsum(self.counts) - self.counts if full else (times % window) * window
        words = int(self.counts.sum()) if full else window * window
        self.dg = np.empty((n, words * size * size), dtype=dtype)
        self.sums = _kernels.block_sums(n, size, window)
        # Tangents by u and by chi(0), which never leave the window.
        self.far_g = np.zeros((n, 1 + size, steps * size), dtype=dtype)
        bulk = self.rows.bulk
        self.dd = np.empty((n, words * size if bulk else 0), dtype=dtype)
        self.far_d = np.zeros((n, 1 + size, steps if bulk else 0), dtype=dtype)
        self.psi = np.empty((n, steps * (steps + 1) // 2 if bulk else 0), dtype=dtype)
        self.psi_offsets = times * (times + 1) // 2
        self.v_row = np.zeros((n, steps if bulk else 1))
        self.z_row = np.zeros((n, steps if bulk else 1))

    def run(self) -> None:
        """March through all steps; stop where the loss is no longer a number."""
        with self._pool() as pool:
            for t in range(self.steps):
                if not self._site(t, pool):
                    self.diverged_at = t
                    break
                self._losses(t)
                if t + 1 < self.steps:
                    self._weights(t)
        self.smallest_schur = self.paths.smallest

    def iterate(self, tolerance: float) -> None:
        """Alternate whole paths and whole order parameters until both agree.

        Sweep n is exact up to step n - 1, so as many sweeps as steps always suffice. Every sweep draws
        the same random numbers; without that there would be no fixed point to within rounding.
        """
        self._constant_guess()
        with self._pool() as pool:
            for sweep in range(1, self.steps + 1):
                before = self.C.copy()
                self._start_paths(copy.deepcopy(self.rng))
                self.largest_rise, self.diverged_at = 0.0, None
                for t in range(self.steps):
                    if not self._site(t, pool):
                        self.diverged_at = t
                        break
                # Beyond a sweep that was lost, the guess stays; a later sweep gets further.
                for t in range(self.steps if self.diverged_at is None else self.diverged_at):
                    self._losses(t)
                    if t + 1 < self.steps:
                        self._weights(t)
                self.sweeps, self.change = sweep, float(np.abs(self.C - before).max())
                settled = self.diverged_at is None or self.diverged_at < sweep
                if settled and self.change <= tolerance * float(np.abs(self.C).max()):
                    break
        self.smallest_schur = self.paths.smallest

    def _constant_guess(self) -> None:
        """Begin with weights that never move and kicks that stay."""
        size, steps = self.K, self.steps
        self.m[:] = self.m[0]
        self.C[:] = np.tile(self.C[:size, :size], (steps, steps))
        self.Rw[:] = np.kron(np.tri(steps, k=-1), np.eye(size))
        if self.rows.bulk:
            self.Cb[:], self.Rb[:] = 1.0, np.tri(steps, k=-1)

    @contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor | None]:
        """Lend threads where there are several, and enough samples."""
        workers = _kernels.threads()
        if workers == 1 or self.n <= _kernels.BLOCK:
            yield None
            return
        with ThreadPoolExecutor(workers) as pool:
            yield pool

    # The data site -------------------------------------------------------------------------

    def _site(self, t: int, pool: ThreadPoolExecutor | None) -> bool:
        """Advance the samples to step t, eqs. (4)-(6), and average; False where they diverge."""
        size, now, past = self.K, slice(t * self.K, (t + 1) * self.K), slice(0, t * self.K)
        chi = self._draw(t)
        self.chi[:, now] = chi
        h = chi - self.c * (self.g[:, past] @ self.Rw[now, past].T)
        output, pull = self.rows.output(h)
        if self.rows.bulk:
            self._bulk(t, pool)
            output = output + 0.5 * self.rows.quad_bulk * self.v_row[:, t]
        if t == 0:
            self.centre = output if self.rows.spec.center else np.zeros(self.n)
            self.first_pull = pull if self.rows.spec.center else np.zeros_like(pull)
        delta = output - self.centre - self.y
        self.train[t] = loss = float(np.mean(delta * delta))
        if not self._sound(t, loss):
            return False
        slope, curve = (self.ratio[t] * a for a in (self.rows.slope(h), self.rows.curve(h)))
        self.delta[:, t] = self.ratio[t] * delta
        self.g[:, now] = slope * delta[:, None]
        self._far_tangents(t, slope, curve * delta[:, None], pull)
        if t > 0:
            self._near_tangents(t, slope, curve, pull, delta, pool)
        row = self.g[:, now].T @ self.g[:, : (t + 1) * size] / self.n
        self.G[now, : (t + 1) * size] = row
        self.G[: (t + 1) * size, now] = row.T
        if self.rows.bulk:
            start = self.psi_offsets[t]
            e = self.rows.eps_bulk
            weighted = self.delta[:, t]
            self.Rgb[t, : t + 1] = e * (weighted @ self.psi[:, start : start + t + 1]) / self.n
            product = weighted[:, None] * self.delta[:, : t + 1] * self.v_row[:, : t + 1]
            self.Gb[t, : t + 1] = self.Gb[: t + 1, t] = e * e * product.mean(axis=0)
        return True

    def _draw(self, t: int) -> Array:
        """Return chi(t) by the chosen sampler."""
        now, seen = slice(t * self.K, (t + 1) * self.K), slice(0, t * self.K)
        if t == 0 or isinstance(self.paths, CholeskyPaths):
            return self.paths.draw(t, self.C[now, : (t + 1) * self.K], self.m[t])
        last = slice((t - 1) * self.K, t * self.K)
        memory = self.chi[:, seen] @ self.Rg[last, seen].T
        return self.paths.march(self.chi[:, last], memory, self.g[:, last], self.rho[t - 1])

    def _sound(self, t: int, loss: float) -> bool:
        """Watch the train loss."""
        if not math.isfinite(loss) or loss > BLOW_UP * max(1.0, float(self.train[0])):
            return False
        if t > 0 and loss > 1e-8 * max(1.0, float(self.train[0])):
            rise = loss / max(float(self.train[t - 1]), 1e-300)
            if rise > self.largest_rise:
                self.largest_rise, self.rise_at = rise, t
        return True

    def _bulk(self, t: int, pool: ThreadPoolExecutor | None) -> None:
        """Row t of Psi, V and Z; products with the shared matrices go to BLAS."""
        c_eps, seen = self.c * self.rows.eps_bulk, slice(0, t + 1)
        row, response = np.empty((self.n, t + 1)), self.Rb[t].copy()

        def first(lo: int, hi: int, _: int) -> None:
            _kernels.psi_rows(
                lo, hi, t, c_eps, response, self.delta, self.psi, self.psi_offsets, row
            )  # fmt: skip

        _kernels.over_blocks(first, self.n, pool)
        right = row @ self.Cb[seen, seen]

        def second(lo: int, hi: int, _: int) -> None:
            _kernels.v_rows(lo, hi, t, right, self.psi, self.psi_offsets, self.v_row)

        _kernels.over_blocks(second, self.n, pool)
        if self.without != "bulk":
            weight = -2.0 * c_eps * self.ratio[:t]
            self.z_row[:, :t] = (row @ (self.Rb[seen, :t] * weight)) * self.v_row[:, :t]

    def _far_tangents(self, t: int, slope: Array, bend: Array, pull: Array) -> None:
        """Derivatives by u and by chi(0), for all times."""
        size, past = self.K, slice(0, t * self.K)
        now = slice(t * size, (t + 1) * size)
        flat = self.far_g.reshape(self.n * (1 + size), -1)[:, past]  # a view, so that nothing is copied
        response = (-self.c * self.Rw[now, past].T).astype(self.far_g.dtype)
        dh = (flat @ response).reshape(self.n, 1 + size, size).astype(np.float64, copy=False)
        if t == 0:
            dh[:, 1:, :] += np.eye(size)
        ddelta = np.einsum("ner,nr->ne", dh, pull)
        ddelta[:, 0] -= self.dy
        ddelta[:, 1:] -= self.first_pull
        if self.rows.bulk:
            half = 0.5 * self.rows.quad_bulk
            ddelta += half * np.einsum("nes,ns->ne", self.far_d[:, :, :t], self.z_row[:, :t])
            self.far_d[:, :, t] = ddelta
        dg = ddelta[:, :, None] * slope[:, None, :] + dh * bend[:, None, :]
        self.far_g[:, :, now] = dg
        means = dg.mean(axis=0)
        self.rho[t] = means[0] if self.without != "target" else 0.0
        self.Rg[now, :size] = means[1:].T

    def _near_tangents(
        self, t: int, slope: Array, curve: Array, pull: Array, delta: Array, pool: ThreadPoolExecutor | None
    ) -> None:
        """Derivatives by chi(s) inside the window, and their averages."""
        size, first = self.K, int(self.firsts[t])
        response = np.ascontiguousarray(self.c * self.Rw[t * size : (t + 1) * size, : t * size])

        def block(lo: int, hi: int, k: int) -> None:
            _kernels.tangent_rows(
                lo, hi, k, t, first, size, response, slope, curve, pull, delta,
                0.5 * self.rows.quad_bulk, self.z_row, self.dg, self.dd,
                self.offsets, self.firsts, self.counts, self.sums,
            )  # fmt: skip

        _kernels.over_blocks(block, self.n, pool)
        count = t - first + 1
        means = self.sums[:, :, :, :count].sum(axis=0) / self.n
        block_row = means.transpose(0, 2, 1).reshape(size, count * size)
        self.Rg[t * size : (t + 1) * size, first * size : (t + 1) * size] = block_row

    # The weight site -----------------------------------------------------------------------

    def _weights(self, t: int) -> None:
        """Advance overlaps, responses and correlations to t + 1, eqs. (7)-(9)."""
        size, k = self.K, self.k
        now, after = slice(t * size, (t + 1) * size), slice((t + 1) * size, (t + 2) * size)
        seen = slice(0, (t + 1) * size)
        drive = self.Rg[now, seen]
        self.m[t + 1] = self.m[t] - k * (drive @ self.m[: t + 1].ravel() + self.rho[t])
        self.Rw[after, seen] = self.Rw[now, seen] - k * (drive @ self.Rw[seen, seen])
        self.Rw[after, now] = np.eye(size)
        if self.without == "response":
            self.Rw[after] = 0.0
        upto = slice(0, (t + 2) * size)
        noise = -(k / self.prob.nu) * (self.G[now, seen] @ self.Rw[upto, seen].T)
        flat = self.m[: t + 2].ravel()
        fresh = self.C[now, seen] - k * (
            noise[:, seen] + drive @ self.C[seen, seen] + np.outer(self.rho[t], flat[seen])
        )
        self.C[after, seen] = fresh
        self.C[seen, after] = fresh.T
        corner = self.C[now, after] - k * (
            noise[:, after] + drive @ self.C[seen, after] + np.outer(self.rho[t], self.m[t + 1])
        )
        self.C[after, after] = 0.5 * (corner + corner.T)
        if self.rows.bulk:
            self._bulk_weights(t)

    def _bulk_weights(self, t: int) -> None:
        """The same for one neuron of the bulk, which feels no target."""
        k, seen = self.k, slice(0, t + 1)
        drive, Rb, Cb = self.Rgb[t, seen], self.Rb, self.Cb
        Rb[t + 1, seen] = Rb[t, seen] - k * (drive @ Rb[seen, seen])
        Rb[t + 1, t] = 1.0
        noise = -(k / self.prob.nu) * (Rb[: t + 2, seen] @ self.Gb[t, seen])
        fresh = Cb[t, seen] - k * (noise[seen] + drive @ Cb[seen, seen])
        Cb[t + 1, seen] = Cb[seen, t + 1] = fresh
        Cb[t + 1, t + 1] = Cb[t, t + 1] - k * (noise[t + 1] + drive @ Cb[seen, t + 1])

    # What comes out ------------------------------------------------------------------------

    def _losses(self, t: int) -> None:
        """Evaluate the test loss at step t."""
        size = self.K
        now, start = slice(t * size, (t + 1) * size), slice(0, size)
        gram = stacked_gram(self.C[now, now], self.C[start, start], self.C[now, start], self.m[t], self.m[0])
        bulk = (self.Cb[t, t], self.Cb[0, 0]) if self.rows.bulk else (0.0, 0.0)
        self.test[t], parts = row_losses(self.rows, self.prob, gram, *bulk)
        if parts is not None:
            self.components[t] = parts

    def result(
        self, spec: Network, prob: Task, kappa: float | tuple[float, ...], settings: dict[str, Any],
        dtype: np.dtype,
    ) -> DMFTResult:  # fmt: skip
        """Pack the arrays; entries from the divergence on become NaN."""
        if self.diverged_at is not None:
            gone, size = self.diverged_at, self.K
            for curve in (self.train, self.test, self.components, self.m):
                curve[gone:] = np.nan
            tables = [(a, gone * size) for a in (self.C, self.Rw, self.Rg, self.G)]
            if self.rows.bulk:
                tables += [(self.Cb, gone), (self.Rb, gone)]
            for table, edge in tables:
                table[edge:] = np.nan
                table[:, edge:] = np.nan
        if self.ratio.min() < 1.0:  # forces are reported without the weight of their step
            weight = np.repeat(self.ratio, self.K)
            self.G /= weight[:, None] * weight
            self.Rg /= weight[:, None]
        rank = len(self.paths.pivots) if isinstance(self.paths, CholeskyPaths) else None
        diagnostics = {
            **settings, "smallest_schur": self.smallest_schur, "rank": rank,
            "largest_rise": self.largest_rise, "diverged_at": self.diverged_at, "sweeps": self.sweeps,
        }  # fmt: skip
        cast = partial(np.asarray, dtype=dtype)
        table4 = partial(pairs, size=self.K, dtype=dtype)
        return DMFTResult(
            spec, prob, kappa, cast(self.train), cast(self.test), cast(self.m),
            table4(self.C), table4(self.Rw), table4(self.G), table4(self.Rg),
            cast(self.components) if is_wick(spec, prob) else None,
            cast(self.Cb) if self.rows.bulk else None, cast(self.Rb) if self.rows.bulk else None,
            diagnostics,
        )  # fmt: skip
