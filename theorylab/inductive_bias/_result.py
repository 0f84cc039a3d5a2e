"""What every estimate of inductive bias returns, and the warnings that go with it."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._lib.checks import as_float_array, check_real


class UnattainableErrorWarning(UserWarning):
    """The target is not above the error that no hypothesis can remove: infinitely many nats."""


class ExtrapolationWarning(UserWarning):
    """The target lies below every sampled error: the estimate rests on the fitted law alone."""


@dataclass(frozen=True)
class InductiveBiasResult:
    """Inductive bias at one or several target errors.

    Attributes
    ----------
    estimate : ndarray
        Nats, -log P(error <= eps), in the shape of `eps`.
    confidence_interval : tuple of ndarray
        (low, high). Exact: estimate -+ numerical_error, or over test sets (bootstrap_test_points).
    numerical_error : ndarray
        Absolute error to expect of the exact logarithm, from quadrature, linear algebra and the
        irreducible error; NaN for sampled methods.
    method : str
    distribution : GeneralizedChi2 or None
        Law of the test error, exact or fitted.
    mean_error : float
    irreducible_error : float
        Part of the error that every hypothesis has (q0); NaN where only samples are known, or for losses
        other than the mean square.
    effective_dof : float
        k (sum w)^2 / sum w^2, or the dofs of the fit; NaN where there is no law.
    rank : int or None
        Number of test directions in which hypotheses differ.
    n_samples : int
        Sampled hypotheses; 0 for the exact method.
    lower_bound_nats : ndarray
        Certified. Exact: Chernoff's bound ``max_t t eps - K(t)`` of `distribution`, the law as computed; what
        rounding in the linear algebra may take away from it is in `numerical_error`. Samples:
        Clopper-Pearson (the rule of three), at the level asked for.
    extrapolation : ndarray
        estimate / log(n_samples): above 1, no sample has been there. 0 for the exact method.
    n_test, n_outputs : int
        The estimate depends on the finite test set: quote its size with it. 0 where only errors are known.
    warnings : tuple of str
    """

    estimate: NDArray[np.float64]
    confidence_interval: tuple[NDArray[np.float64], NDArray[np.float64]]
    numerical_error: NDArray[np.float64]
    method: str
    distribution: Any
    mean_error: float
    irreducible_error: float
    effective_dof: float
    rank: int | None
    n_samples: int
    lower_bound_nats: NDArray[np.float64]
    extrapolation: NDArray[np.float64]
    n_test: int = 0
    n_outputs: int = 0
    warnings: tuple[str, ...] = field(default=())

    @property
    def bits(self) -> NDArray[np.float64]:
        """The estimate in bits."""
        return np.asarray(self.estimate / math.log(2.0))

    def summary(self) -> str:
        """Return a few lines to read or to quote."""
        low, high = self.confidence_interval
        lines = [f"Inductive bias by {self.method}: mean error {self.mean_error:.6g}"]
        if self.n_test:
            lines[0] += f", {self.n_test} test points x {self.n_outputs} outputs"
        if self.rank is not None:
            lines.append(f"rank {self.rank}, irreducible error {self.irreducible_error:.6g}")
        if math.isfinite(self.effective_dof):
            lines.append(f"effective degrees of freedom {self.effective_dof:.4g}")
        if self.n_samples:
            lines.append(f"{self.n_samples} sampled hypotheses")
        rows = zip(*(np.ravel(a) for a in (self.estimate, self.bits, low, high, self.lower_bound_nats)))
        for estimate, bits, left, right, bound in rows:
            lines.append(
                f"  {estimate:.6g} nats ({bits:.6g} bits), interval [{left:.6g}, {right:.6g}], at "
                f"least {bound:.6g}"
            )
        return "\n".join([*lines, *(f"warning: {text}" for text in self.warnings)])


class Notes:
    """Collect messages and emit each as a warning at the caller's line."""

    def __init__(self, stacklevel: int) -> None:
        self.texts: list[str] = []
        self._stacklevel = stacklevel + 1

    def warn(self, text: str, category: type[Warning] = UserWarning, depth: int = 0) -> None:
        """Warn; `depth` counts the frames between the public function and this call."""
        self.texts.append(text)
        warnings.warn(text, category, stacklevel=self._stacklevel + depth)


def check_eps(eps: ArrayLike) -> NDArray[np.float64]:
    """Return the targets as float64, finite and not negative."""
    if eps is None:
        raise TypeError("eps must hold target errors, real numbers >= 0, got None")
    array = np.array(as_float_array(eps, "eps", dtype=np.float64))
    if np.any(array < 0.0):
        raise ValueError(f"eps must be >= 0, got {array.min():g}: errors are not negative")
    return array


def check_confidence(confidence: Any) -> float:
    """Return the confidence as a float inside (0, 1)."""
    return check_real(confidence, "confidence", low=0.0, high=1.0, open_low=True, open_high=True)
