"""A direction network in obvious NumPy, and files of random weights."""

import json

import numpy as np

BLOCKS = {"dcdm_k64": (2, 3, 2), "dcdm_k128": (3, 5, 3)}


def random_arrays(name, ndim, seed=0, bias=0.1, dtype=np.float32):
    """Weights of the size that keeps the activations moderate."""
    rng = np.random.default_rng(seed)
    pre, low, up = BLOCKS[name]
    n = 2 + 2 * (pre + low + up)
    taps = (3,) * ndim
    arrays = {}
    for k in range(n):
        shape = (*taps, 1, 16) if k == 0 else (*(1,) * ndim, 16, 1) if k == n - 1 else (*taps, 16, 16)
        fan_in = np.prod(shape[:-1])
        arrays[f"kernel_{k}"] = (rng.standard_normal(shape) / np.sqrt(fan_in)).astype(dtype)
        arrays[f"bias_{k}"] = (bias * rng.standard_normal(shape[-1])).astype(dtype)
    return arrays


def write(path, arrays, name="dcdm_k64", **meta):
    """Store weights as a user would."""
    np.savez(path, meta=json.dumps({"architecture": name, **meta}), **arrays)
    return path


def convolve(x, kernel, bias):
    """Correlate (in, *shape) with (x, y, [z,] in, out), zeros outside; every tap on its own."""
    taps = kernel.shape[:-2]
    padded = np.pad(x, [(0, 0)] + [(t // 2, t // 2) for t in taps])
    out = np.zeros((kernel.shape[-1], *x.shape[1:]))
    for tap in np.ndindex(*taps):
        window = padded[(slice(None), *(slice(t, t + n) for t, n in zip(tap, x.shape[1:])))]
        out += np.einsum("io,i...->o...", kernel[tap], window)
    return out + bias.reshape(-1, *[1] * (x.ndim - 1))


def evaluate(arrays, name, r):
    """Follow the layer list of the paper in float64."""
    pre, low, up = BLOCKS[name]
    ndim, k = r.ndim, iter(range(99))

    def C(x):
        i = next(k)
        return convolve(x, arrays[f"kernel_{i}"].astype(float), arrays[f"bias_{i}"].astype(float))

    def R(x):
        return np.maximum(x, 0.0)

    r = np.asarray(r, float)
    shape = r.shape
    r = np.pad(r, [(0, n % 2) for n in shape])
    h = C(r[None])
    a = R(C(h))
    b = R(C(a))
    for _ in range(pre - 1):
        a = R(C(b)) + a
        b = R(C(a))
    q = b
    for axis in range(1, ndim + 1):
        q = 0.5 * (q.take(range(0, q.shape[axis], 2), axis) + q.take(range(1, q.shape[axis], 2), axis))
    for _ in range(low):
        q = R(C(R(C(q)))) + q
    u = q
    for axis in range(1, ndim + 1):
        u = np.repeat(u, 2, axis)
    u = u + b
    for _ in range(up):
        u = R(C(R(C(u)))) + u
    return C(u)[0][tuple(slice(0, n) for n in shape)]
