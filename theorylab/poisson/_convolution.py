"""Convolutions of 16-channel grids, near the machine's peak, without any framework.

A stack of channels is one flat float32 array in the order (x, [y,] channel,
last axis), each grid with one ring of zeros around it. With the channel just
outside the contiguous axis, the rows that a stencil reads lie close together;
as the outermost axis, channels of power-of-two size would share cache lines.

The kernel holds a tile of 2 rows x one vector x several output channels in
registers while it walks over all input rows of the stencil: per 3 taps it
reads two rows thrice and broadcasts the weights. Numba's own vectoriser keeps
such accumulators in memory, so the tile is spelled out in LLVM's vector types.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from .._lib.jit import jit
from ._architecture import CHANNELS

Stack = NDArray[np.float32]


def _tile_shape() -> tuple[int, int]:
    """Return the vector length and the output channels of a tile that fill this machine's registers."""
    try:
        features = llvmlite.binding.get_host_cpu_features()
    except RuntimeError:
        features = {}
    if features.get("avx512f"):
        return 16, 8  # 16 of 32 registers of 16 floats
    if features.get("avx"):
        return 8, 4  # 8 of 16 registers of 8 floats
    return 4, 4


LANES, GROUP = _tile_shape()
ROWS = 2


class Geometry(NamedTuple):
    """Where the cells of a stack lie in its flat array; `planes` is 1 and without a ring in 2-D."""

    planes: int
    rows: int
    width: int
    plane: int  # distance between planes, and so on
    row: int
    channel: int
    origin: int  # first interior cell of channel 0
    size: int


def geometry(shape: tuple[int, ...], channels: int) -> Geometry:
    """Lay out a stack of grids; rows are long enough that a tile never leaves its own row."""
    *outer, width = shape
    channel = -(-width // LANES) * LANES + 2
    row = channels * channel
    rows = outer[-1]
    planes, rings = (outer[0], 2) if len(outer) == 2 else (1, 0)
    plane = (rows + 2) * row
    origin = (plane if rings else 0) + row + 1
    # The second row of the last tile may lie beyond the end.
    size = (planes + rings) * plane + row + LANES
    return Geometry(planes, rows, width, plane, row, channel, origin, size)


def pack_kernel(kernel: NDArray[Any]) -> Stack:
    """Order a kernel (x, [y,] z, in, out) as the tile reads it: group, input row, tap, output channel."""
    taps, width, n_in, n_out = kernel.shape[:-3], kernel.shape[-3], kernel.shape[-2], kernel.shape[-1]
    rows = kernel.reshape(*taps, width, n_in, n_out // GROUP, GROUP)
    d = len(taps)
    order = (d + 2, d + 1, *range(d), d, d + 3)
    return np.ascontiguousarray(rows.transpose(order), dtype=np.float32).reshape(n_out // GROUP, -1)


def row_offsets(g: Geometry, ndim: int, channels: int) -> NDArray[np.int64]:
    """Return the starts of all input rows of a stencil, from its first on, in the order of `pack_kernel`."""
    planes = 3 if ndim == 3 else 1
    c, p, i = np.ogrid[:channels, :planes, :3]
    return np.asarray(c * g.channel + p * g.plane + i * g.row, np.int64).ravel()


@intrinsic
def _tile(
    typingctx: Any, x: Any, base: Any, second: Any, offsets: Any, w: Any, bias: Any,
    out: Any, to: Any, out_second: Any, channel: Any, n: Any, n_second: Any, relu: Any, add: Any,
) -> Any:  # fmt: skip
    """Compute one tile: ``out = [relu](bias + sum w x) [+ out]`` for `n` columns of two rows of one group.

    `base` is the first cell that the tile reads and `to` the first that it writes; `second` and
    `out_second` lead from the first of its rows to the second, `channel` to the next output channel.
    `offsets` lists the input rows of the stencil, all channels of it, and `w` the weights in that order.
    In NumPy, for one row, with LANES columns from `base` on:

        acc = [bias[o] + sum(w[k, t, o] * x[base + offsets[k] + t + arange(LANES)] for k, t) for o in GROUP]
    """
    sig = types.void(
        x, base, second, offsets, w, bias, out, to, out_second, channel, n, n_second, relu, add
    )  # fmt: skip

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        f32, i32, i64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
        vector = ir.VectorType(f32, LANES)

        # Four shorthands of the builder: an argument's array, a pointer some steps on, a pointer to a
        # vector, and a vector whose lanes all hold one value.
        def data(k: int) -> Any:
            return context.make_array(signature.args[k])(context, builder, args[k])

        def at(pointer: Any, *steps: Any) -> Any:
            for step in steps:
                pointer = builder.gep(pointer, [ir.Constant(i64, step) if isinstance(step, int) else step])
            return pointer

        def wide(pointer: Any) -> Any:
            return builder.bitcast(pointer, vector.as_pointer())

        def splat(value: Any) -> Any:
            kind = ir.VectorType(value.type, LANES)
            nothing = ir.Constant(kind, ir.Undefined)
            one = builder.insert_element(nothing, value, ir.Constant(i32, 0))
            return builder.shuffle_vector(
                one, nothing, ir.Constant(ir.VectorType(i32, LANES), [ir.Constant(i32, 0)] * LANES)
            )

        offset_array = data(3)
        weights, bias_data = data(4).data, data(5).data
        # The accumulators start from the bias. LLVM keeps these 2 x GROUP vectors in registers.
        acc = [[cgutils.alloca_once(builder, vector) for _ in range(GROUP)] for _ in range(ROWS)]
        for o in range(GROUP):
            start = splat(builder.load(at(bias_data, o)))
            for r in range(ROWS):
                builder.store(start, acc[r][o])
        # For each input row of the stencil: three taps along the row, each for both rows and all outputs.
        corner = at(data(0).data, args[1])
        with cgutils.for_range(builder, builder.extract_value(offset_array.shape, 0)) as loop:
            first = at(corner, builder.load(at(offset_array.data, loop.index)))
            sources = [first, at(first, args[2])]
            taps = at(weights, builder.mul(loop.index, ir.Constant(i64, 3 * GROUP)))
            for t in range(3):
                values = [builder.load(wide(at(source, t)), align=4) for source in sources]
                for o in range(GROUP):
                    weight = splat(builder.load(at(taps, t * GROUP + o)))
                    for r in range(ROWS):
                        # "contract" lets LLVM fuse the pair where the machine can.
                        product = builder.fmul(weight, values[r], flags=("contract",))
                        total = builder.fadd(builder.load(acc[r][o]), product, flags=("contract",))
                        builder.store(total, acc[r][o])
        # Write back, with relu and addition as asked; lanes beyond the end of the row keep what they hold.
        zero = ir.Constant(vector, [ir.Constant(f32, 0.0)] * LANES)
        lane = ir.Constant(ir.VectorType(i64, LANES), [ir.Constant(i64, k) for k in range(LANES)])
        relu_on, add_on = (
            splat(context.cast(builder, args[k], signature.args[k], types.boolean)) for k in (12, 13)
        )
        target = at(data(6).data, args[7])
        for r, count in enumerate((args[10], args[11])):
            inside = builder.icmp_signed("<", lane, splat(count))
            for o in range(GROUP):
                here = wide(at(target, builder.mul(args[9], ir.Constant(i64, o))))
                value = builder.load(acc[r][o])
                # Ordered comparison: a NaN is not negative and stays.
                negative = builder.and_(relu_on, builder.fcmp_ordered("<", value, zero))
                value = builder.select(negative, zero, value)
                old = builder.load(here, align=4)
                value = builder.fadd(value, builder.select(add_on, old, zero))
                builder.store(builder.select(inside, value, old), here, align=4)
            target = at(target, args[8])
        return context.get_dummy_value()

    return sig, codegen


@jit
def _pair_of_rows(
    task: int,
    x: Stack,
    gx: Geometry,
    offsets: NDArray[np.int64],
    w: Stack,
    bias: Stack,
    out: Stack,
    g: Geometry,
    relu: bool,
    add: bool,
) -> None:
    """Convolve two neighbouring rows of all output channels."""
    pairs = (g.rows + 1) // 2
    p, i = task // pairs, 2 * (task % pairs)
    base = p * gx.plane + i * gx.row
    to = g.origin + p * g.plane + i * g.row
    second_exists = i + 1 < g.rows
    for group in range(len(w)):
        for j in range(0, g.width, LANES):
            n = min(LANES, g.width - j)
            _tile(
                x, base + j, gx.row, offsets, w[group], bias[group],
                out, to + group * GROUP * g.channel + j, g.row, g.channel,
                n, n if second_exists else 0, relu, add,
            )  # fmt: skip


@jit
def _convolve_serial(
    x: Stack,
    gx: Geometry,
    offsets: NDArray[np.int64],
    w: Stack,
    bias: Stack,
    out: Stack,
    g: Geometry,
    relu: bool,
    add: bool,
) -> None:
    """Convolve all rows, one after the other."""
    for task in range(g.planes * ((g.rows + 1) // 2)):
        _pair_of_rows(task, x, gx, offsets, w, bias, out, g, relu, add)


@jit(parallel=True)
def _convolve_parallel(
    x: Stack,
    gx: Geometry,
    offsets: NDArray[np.int64],
    w: Stack,
    bias: Stack,
    out: Stack,
    g: Geometry,
    relu: bool,
    add: bool,
) -> None:
    """Convolve all rows; each is written by one thread, in the same way."""
    for task in prange(g.planes * ((g.rows + 1) // 2)):
        _pair_of_rows(task, x, gx, offsets, w, bias, out, g, relu, add)


#: Below this many cells one thread is faster than starting several.
_PARALLEL_CELLS = 4096


def convolve(
    x: Stack, gx: Geometry, ndim: int, kernel: Stack, bias: Stack, out: Stack, g: Geometry,
    *, relu: bool = True, add: bool = False,
) -> None:  # fmt: skip
    """Write ``relu(bias + kernel * x)``, plus what `out` held if `add`; 3 taps per axis, zeros outside."""
    offsets = row_offsets(gx, ndim, gx.row // gx.channel)
    many = g.planes * g.rows * g.width >= _PARALLEL_CELLS and numba.get_num_threads() > 1
    run = _convolve_parallel if many else _convolve_serial
    run(x, gx, offsets, kernel, bias, out, g, relu, add)


@jit
def pool(x: Stack, g: Geometry, q: Stack, gq: Geometry, factor: int) -> None:
    """Average blocks of 2 cells per axis; `factor` is 2 for the planes of 3-D grids, 1 in 2-D."""
    share = np.float32(1.0 / (4 * factor))
    for p in range(gq.planes):
        for i in range(gq.rows):
            for c in range(CHANNELS):
                to = gq.origin + p * gq.plane + i * gq.row + c * gq.channel
                start = g.origin + factor * p * g.plane + 2 * i * g.row + c * g.channel
                for j in range(gq.width):
                    total = np.float32(0.0)
                    for k in range(factor):
                        here = start + k * g.plane + 2 * j
                        total += (x[here] + x[here + 1]) + (x[here + g.row] + x[here + g.row + 1])
                    q[to + j] = share * total


@jit
def add_upsampled(q: Stack, gq: Geometry, x: Stack, g: Geometry, factor: int) -> None:
    """Add to each cell of `x` the value of its block in `q`."""
    for p in range(g.planes):
        for i in range(g.rows):
            for c in range(CHANNELS):
                to = g.origin + p * g.plane + i * g.row + c * g.channel
                start = gq.origin + (p // factor) * gq.plane + (i // 2) * gq.row + c * gq.channel
                for j in range(gq.width):
                    value = q[start + j]
                    x[to + 2 * j] += value
                    x[to + 2 * j + 1] += value


@jit
def combine(x: Stack, g: Geometry, weights: Stack, bias: np.float32, out: NDArray[Any]) -> None:
    """Write the weighted sum of all channels, the 1x1 convolution to one channel, cropped to `out`."""
    planes, rows, width = out.shape
    for p in range(planes):
        for i in range(rows):
            line = out[p, i]
            start = g.origin + p * g.plane + i * g.row
            line[:] = bias
            for c in range(CHANNELS):
                weight = weights[c]
                here = start + c * g.channel
                source = x[here : here + width]
                for j in range(width):
                    line[j] += weight * source[j]


@jit
def fill(r: NDArray[Any], x: Stack, g: Geometry) -> None:
    """Copy a grid (planes, rows, width) into the interior of a one-channel stack."""
    planes, rows, width = r.shape
    for p in range(planes):
        for i in range(rows):
            start = g.origin + p * g.plane + i * g.row
            for j in range(width):
                x[start + j] = r[p, i, j]
