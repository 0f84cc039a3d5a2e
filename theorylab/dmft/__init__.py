"""Dynamical mean field theory of two-layer networks, and the networks that test it.

Gradient descent on a network with ``D`` inputs and ``P = nu D`` samples has,
for large D, a deterministic course: losses, overlaps with the target,
correlations and responses between any two times. `dmft_solve` computes it in
one forward pass; `simulate` and `simulate_moments` train networks of finite
and of infinite width with the same steps; `compare` puts both side by side, and
`finite_size_slope` measures how fast they meet as D grows.

>>> from theorylab.dmft import PolynomialTask, QuadraticNetwork, dmft_solve, grokking_times
>>> net = QuadraticNetwork(float("inf"), alpha=0.3, eps=0.6, center=True)
>>> theory = dmft_solve(net, PolynomialTask(nu=8.0), 0.2, 30, init_overlap=0.3, n_samples=300, rng=0)
>>> t_train, t_test = grokking_times(theory.train_loss, theory.test_loss, q=0.5)
>>> t_train < t_test
True

Symbols: `alpha` output scale (large: lazy), `eps` curvature of the activation
(alignment of the initial kernel with the target), `nu` samples per dimension,
`kappa` step size, `m0` initial overlap with the target.
"""

from ._compare import Comparison, compare, finite_size_slope
from ._limits import grokking_times, lazy_limit, ntk
from ._losses import test_loss_components
from ._result import DMFTResult, SimulationResult
from ._simulate import simulate, simulate_moments
from ._solve import dmft_solve, predict_memory
from ._spec import PolynomialTask, QuadraticNetwork, SmoothNetwork, SmoothTask
from ._steps import doubling_steps

__all__ = [
    "Comparison",
    "DMFTResult",
    "PolynomialTask",
    "QuadraticNetwork",
    "SimulationResult",
    "SmoothNetwork",
    "SmoothTask",
    "compare",
    "dmft_solve",
    "doubling_steps",
    "finite_size_slope",
    "grokking_times",
    "lazy_limit",
    "ntk",
    "predict_memory",
    "simulate",
    "simulate_moments",
    "test_loss_components",
]
