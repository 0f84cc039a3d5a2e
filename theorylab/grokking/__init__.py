"""Grokking in three small worlds: modular sums, finite precision, XOR clusters.

A network groks when it fits its training data long before it generalises.
`train_modular` watches a quadratic network find the Fourier solution of
modular addition (`fourier_solution` writes it down, `inverse_participation_ratio`
recognises it, `prune_by_ipr` separates it from memorisation); `stablemax` and
`perp_grad` undo what rounding and logit scaling do to late training, which
`collapse_gap` and `steps_to_collapse` predict; `train_xor` shows a ReLU network
that memorises in one step and understands a few steps later.

>>> import numpy as np
>>> from theorylab.grokking import fourier_solution, modular_dataset, modular_logits
>>> data = modular_dataset(23, 0.5, rng=0)
>>> logits = modular_logits(fourier_solution(23, 200, rng=0), data.pairs)
>>> float(np.mean(logits.argmax(axis=1) == data.true_labels))
1.0

The mean field theory of grokking is in :mod:`theorylab.dmft`; both share the
command ``python -m theorylab.grokking``.
"""

from ._modular import (
    ModularData,
    fourier_solution,
    inverse_participation_ratio,
    modular_dataset,
    modular_logits,
    neuron_scores,
    prune_by_ipr,
)
from ._stability import (
    collapse_gap,
    log_stablemax,
    perp_grad,
    softmax_losses,
    stablemax,
    stablemax_cross_entropy,
    steps_to_collapse,
)
from ._training import ModularTraining, train_modular
from ._xor import XORTraining, train_xor, xor_cluster_data

__all__ = [
    "ModularData",
    "ModularTraining",
    "XORTraining",
    "collapse_gap",
    "fourier_solution",
    "inverse_participation_ratio",
    "log_stablemax",
    "modular_dataset",
    "modular_logits",
    "neuron_scores",
    "perp_grad",
    "prune_by_ipr",
    "softmax_losses",
    "stablemax",
    "stablemax_cross_entropy",
    "steps_to_collapse",
    "train_modular",
    "train_xor",
    "xor_cluster_data",
]
