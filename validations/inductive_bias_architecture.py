"""Width changes inductive bias, in a common space and in the space that the networks themselves span."""

import warnings
from functools import lru_cache

import numpy as np
from _inductive_bias import posterior, rbf
from sklearn.datasets import load_digits

from theorylab.inductive_bias import gaussian_test_error, inductive_bias_from_errors
from theorylab.validation import AtLeast, Claim, Exact, Samples, grid, main


@lru_cache
def digits():
    return load_digits(return_X_y=True)


def split(rng, n=100, n_test=300):
    X, labels = digits()
    rows = rng.permutation(len(X))[: n + n_test]
    X, Y = X[rows].astype(np.float32) / 16, np.eye(10, dtype=np.float32)[labels[rows]]
    return X[:n], Y[:n], X[n:], Y[n:]


def train_many(data, width, count, rng, steps=250, rate=3e-3):
    """Test errors of `count` one-hidden-layer ReLU networks, trained at once by full-batch Adam."""
    X, Y, Z, T = data
    d, k = X.shape[1], Y.shape[1]
    parameters = [
        rng.standard_normal((count, d, width), dtype=np.float32) * np.sqrt(2 / d, dtype=np.float32),
        np.zeros((count, 1, width), np.float32),
        rng.standard_normal((count, width, k), dtype=np.float32) * np.sqrt(1 / width, dtype=np.float32),
        np.zeros((count, 1, k), np.float32),
    ]
    first, second = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    for step in range(1, steps + 1):
        w, b, v, c = parameters
        hidden = np.maximum(X @ w + b, 0)
        residual = (hidden @ v + c - Y) * np.float32(2 / Y.size)
        back = (residual @ v.transpose(0, 2, 1)) * (hidden > 0)
        gradients = [
            X.T @ back,
            back.sum(1, keepdims=True),
            hidden.transpose(0, 2, 1) @ residual,
            residual.sum(1, keepdims=True),
        ]
        scale = np.float32(rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step))
        for p, g, m, s in zip(parameters, gradients, first, second):
            m += np.float32(0.1) * (g - m)
            s += np.float32(0.001) * (g * g - s)
            p -= scale * m / (np.sqrt(s) + np.float32(1e-8))
    w, b, v, c = parameters
    return np.mean((np.maximum(Z @ w + b, 0) @ v + c - T) ** 2, axis=(1, 2), dtype=np.float64)


def both_widths(rng, wide, count):
    data = split(rng)
    return data, train_many(data, 16, count, rng), train_many(data, wide, count, rng)


common = Claim(
    id="inductive_bias.width-in-a-common-space",
    statement="Networks of width 64 supply over 200 nats more than networks of width 16 in one common space.",
    source="IJCAI 2024, comparison of architectures, qualitative; digits, 100 training and 300 test points",
    criterion=AtLeast(200.0),
    quick=grid(replicates=12),
    full=grid(replicates=16),
)


def in_a_common_space(rng, wide, count=8):
    (X, Y, Z, T), narrow_errors, wide_errors = both_widths(rng, wide, count)
    mean, cov = posterior(rbf(1.0), *(a.astype(np.float64) for a in (X, Y, Z)), alpha=0.0)
    law = gaussian_test_error(mean, cov, T.astype(np.float64))
    narrow, broad = -law.logcdf(narrow_errors), -law.logcdf(wide_errors)
    # One sample for each split: networks of one split share its data.
    return Samples([broad.mean() - narrow.mean()], narrow=narrow, wide=broad)


@common.measure
def width_64(rng):
    return in_a_common_space(rng, 64)


@common.control("width 16 against width 16")
def width_16(rng):
    return in_a_common_space(rng, 16)


@common.figure
def draw_common(ax, result):
    rows = [
        ("width 16", None, "narrow", "C0"),
        ("width 64", None, "wide", "C1"),
        ("width 16 again (control)", "width_16", "wide", "0.6"),
    ]
    for i, (_, branch, key, colour) in enumerate(rows):
        values = np.concatenate(result.extras(key, branch))
        ax.barh(i, values.mean(), color=colour, alpha=0.5)
        ax.plot(values, i + np.linspace(-0.3, 0.3, len(values)), ".", color=colour, ms=3)
    ax.set(
        yticks=range(3),
        yticklabels=[row[0] for row in rows],
        xlabel="inductive bias of each network's test error, nats",
    )


TARGET = 0.015

own = Claim(
    id="inductive_bias.width-in-its-own-space",
    statement=(
        "At a target of 0.015 the 95 % bootstrap intervals of the nats of widths 64 and 16, each in its own "
        "space, are disjoint on every split, the wider one above."
    ),
    source="IJCAI 2024, sampled hypothesis spaces; 256 networks each, gamma fits",
    criterion=Exact(target=1.0),
    quick=grid(replicates=2),
    full=grid(replicates=12),
)


def resampled(errors, rng, count=200):
    """95 % bootstrap interval of the nats at the target."""
    drawn = [
        inductive_bias_from_errors(rng.choice(errors, errors.size), TARGET).estimate for _ in range(count)
    ]
    return np.quantile(drawn, [0.025, 0.975])


def in_their_own_space(rng, wide, count=256):
    _, narrow_errors, wide_errors = both_widths(rng, wide, count)
    with warnings.catch_warnings():
        # The target lies below the smallest error of some samples: that a fit extrapolates is the point.
        warnings.simplefilter("ignore")
        narrow, broad = (resampled(errors, rng) for errors in (narrow_errors, wide_errors))
    apart = float(broad[0] > narrow[1])
    return Samples(
        [apart], narrow=narrow_errors, wide=wide_errors, narrow_interval=narrow, wide_interval=broad
    )


@own.measure
def width_64_itself(rng):
    return in_their_own_space(rng, 64)


@own.control("width 16 with other seeds: the intervals overlap", grid=grid(replicates=1))
def width_16_itself(rng):
    return in_their_own_space(rng, 16)


@own.figure
def draw_own(ax, result):
    curves = [(None, "narrow", "width 16", "C0"), (None, "wide", "width 64", "C1")]
    curves.append(("width_16_itself", "wide", "control: width 16 again", "0.6"))
    eps = np.linspace(0.012, 0.045, 40)
    for branch, key, label, colour in curves:
        for i, errors in enumerate(result.extras(key, branch)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                nats = inductive_bias_from_errors(errors, eps).estimate
            ax.plot(eps, nats, color=colour, lw=0.8, label=label if i == 0 else None)
        for i, (low, high) in enumerate(result.extras(f"{key}_interval", branch)):
            ax.vlines(TARGET + 2e-4 * (2 * i - 1), low, high, color=colour, lw=3)
    ax.axvline(TARGET, ls="--", color="k", lw=0.8, label="target; bars: 95 % intervals")
    ax.set(
        yscale="log", xlabel="target error", ylabel="inductive bias in its own space, nats", ylim=(0.1, None)
    )
    ax.legend()


if __name__ == "__main__":
    main()
