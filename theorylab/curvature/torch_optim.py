"""The M-FAC optimiser for PyTorch: gradients times the inverse Fisher matrix of the recent ones.

Needs the extra ``torch``; nothing else in :mod:`theorylab.curvature` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._lib.checks import check_choice, check_int, check_real
from ._sliding import SlidingFisherInverse
from ._storage import storage_name

try:
    import torch
except ImportError as error:
    message = "theorylab.curvature.torch_optim needs PyTorch: pip install theorylab[torch]"
    raise ImportError(message, name="torch") from error

__all__ = ["MFAC"]


class MFAC(torch.optim.Optimizer):
    """Precondition stochastic gradients by the inverse empirical Fisher matrix of a sliding window.

    Parameters
    ----------
    params : iterable of tensors or of parameter groups
        Real, dense parameters. All groups share one window.
    lr : float
        Learning rate; may differ between groups.
    window : int
        Number m of recent gradients that are kept.
    damping : float
        lam in ``A = lam I + (1/N) sum g g^T``.
    momentum : float in [0, 1)
        beta in ``v = beta v + (1 - beta) A^-1 g``; may differ between groups.
    weight_decay : float
        May differ between groups.
    decoupled_weight_decay : bool
        False: the decay is added to the gradient before the window, as
        published. True: the parameters are multiplied by
        ``1 - lr weight_decay`` instead. May differ between groups.
    clip : None or "kl"
        "kl" shortens the step so that ``sum lr^2 g . A^-1 g <= kl_delta``, twice
        the change of the model's distribution in the quadratic approximation.
    kl_delta : float
        Bound for `clip`.
    norm : {"window", "count"}
        N = m from the first step on (published), or the number of gradients
        seen while the window fills. With "window" the first steps are up to m
        times longer: the very first is ``m g / (m lam + |g|^2)``.
    maximize : bool
        Ascend. May differ between groups.
    dtype : {"float32", "float64", "float16", "bfloat16"}, torch or NumPy dtype, optional
        Storage of the window. Default float32, or float64 if a parameter is.

    Raises
    ------
    RuntimeError
        In ``step``: for sparse gradients, and when parameters were added or
        changed their shape after the first step.
    ValueError
        In ``step``: for a NaN or infinity in a gradient. Window and
        parameters are then unchanged.

    Notes
    -----
    ``step`` is sec. 3.2 of [1]_ with the window's factor slid in O(m^2) instead of
    recomputed in O(m^3), and the product with the newest gradient taken from
    its row coefficients, which does not cancel at small damping. Parameters
    without a gradient contribute zeros and are not moved. A gradient of zeros
    still enters the window.

    Cost: two passes over the window, 4 d m flops, and m d numbers of memory.

    References
    ----------
    .. [1] E. Frantar, E. Kurtic, D. Alistarh, "M-FAC: Efficient matrix-free
       approximations of second-order information", NeurIPS 2021.

    Examples
    --------
    >>> import torch
    >>> from theorylab.curvature.torch_optim import MFAC
    >>> w = torch.tensor([3.0, -2.0], requires_grad=True)
    >>> optimizer = MFAC([w], lr=1.0, window=4, damping=1.0)
    >>> (w * torch.tensor([2.0, 0.0])).sum().backward()
    >>> _ = optimizer.step()             # m g / (m lam + |g|^2) = 4 * 2 / (4 + 4) = 1
    >>> w.detach()
    tensor([ 2., -2.])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        window: int = 128,
        damping: float = 1e-5,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        *,
        decoupled_weight_decay: bool = False,
        clip: Literal["kl"] | None = None,
        kl_delta: float = 1e-3,
        norm: Literal["window", "count"] = "window",
        maximize: bool = False,
        dtype: Any = None,
    ) -> None:
        check_int(window, "window", low=1)
        check_real(damping, "damping", low=0, open_low=True)
        check_choice(clip, "clip", (None, "kl"))
        check_real(kl_delta, "kl_delta", low=0, open_low=True)
        check_choice(norm, "norm", ("window", "count"))
        self._shared: dict[str, Any] = {
            "window": int(window),
            "damping": float(damping),
            "clip": clip,
            "kl_delta": float(kl_delta),
            "norm": norm,
            "dtype": None if dtype is None else storage_name(dtype),
        }
        self._inverse: SlidingFisherInverse | None = None
        self._shapes: list[tuple[int, ...]] = []
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "decoupled_weight_decay": bool(decoupled_weight_decay),
                "maximize": bool(maximize),
            },
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; only before the first step, since the window's length is fixed by it."""
        if self._inverse is not None:
            raise RuntimeError(
                "parameters cannot be added after the first step: the window's rows have a fixed length"
            )
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            check_real(float(group["lr"]), "lr", low=0)
            check_real(group["momentum"], "momentum", low=0, high=1, open_high=True)
            check_real(group["weight_decay"], "weight_decay", low=0)
            for p in group["params"]:
                if p.is_complex():
                    raise TypeError("parameters must be real; pass torch.view_as_real(p) for complex ones")
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Parameters
        ----------
        closure : callable, optional
            Evaluates the model, calls ``backward`` and returns the loss.

        Returns
        -------
        The loss that `closure` returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        pieces = [(group, p) for group in self.param_groups for p in group["params"]]
        if all(p.grad is None for _, p in pieces):
            return loss
        inverse = self._ready([p for _, p in pieces])
        gradient = self._flatten(pieces, inverse.d)
        step = np.asarray(inverse.update_solve(gradient), dtype=np.float64)
        scale = self._clip(pieces, gradient, step)
        start = 0
        for group, p in pieces:
            stop = start + p.numel()
            if p.grad is not None:
                self._move(group, p, step[start:stop], scale)
            start = stop
        return loss

    def _ready(self, params: list[Any]) -> SlidingFisherInverse:
        """Return the window, made at the first step; refuse parameters whose shapes changed since."""
        shapes = [tuple(p.shape) for p in params]
        if self._inverse is None:
            dtype = self._shared["dtype"]
            if dtype is None:
                dtype = "float64" if any(p.dtype == torch.float64 for p in params) else "float32"
            self._inverse = SlidingFisherInverse(
                sum(p.numel() for p in params),
                self._shared["window"],
                self._shared["damping"],
                dtype=dtype,
                norm=self._shared["norm"],
            )
            self._shapes = shapes
        elif shapes != self._shapes:
            raise RuntimeError(
                f"parameters have shapes {shapes}, but the window was built for {self._shapes}; "
                "make a new optimiser after changing parameters"
            )
        return self._inverse

    def _flatten(self, pieces: list[tuple[dict[str, Any], Any]], d: int) -> NDArray[np.float64]:
        """Collect the gradients, with decay and sign, in one vector; None counts as zeros."""
        flat = np.zeros(d)
        start = 0
        for group, p in pieces:
            stop = start + p.numel()
            g = p.grad
            if g is not None:
                if g.is_sparse or g.layout != torch.strided:
                    raise RuntimeError(
                        "MFAC does not support sparse gradients; use dense ones (sparse=False)"
                    )
                g = -g if group["maximize"] else g
                if group["weight_decay"] and not group["decoupled_weight_decay"]:
                    g = g.add(p, alpha=group["weight_decay"])
                flat[start:stop] = g.detach().double().cpu().reshape(-1).numpy()
            start = stop
        return flat

    def _clip(self, pieces: list[tuple[dict[str, Any], Any]], gradient: Any, step: Any) -> float:
        """Return the factor on all learning rates that keeps the quadratic change below its bound."""
        if self._shared["clip"] is None:
            return 1.0
        change, start = 0.0, 0
        for group, p in pieces:
            stop = start + p.numel()
            change += float(group["lr"]) ** 2 * float(gradient[start:stop] @ step[start:stop])
            start = stop
        return min(1.0, math.sqrt(self._shared["kl_delta"] / change)) if change > 0 else 1.0

    def _move(self, group: dict[str, Any], p: Any, step: NDArray[np.float64], scale: float) -> None:
        """Apply momentum, decoupled decay and the step to one parameter."""
        y = torch.from_numpy(step).to(device=p.device, dtype=p.dtype).reshape(p.shape)
        beta = group["momentum"]
        if beta:
            state = self.state[p]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(p)
            y = state["momentum_buffer"].mul_(beta).add_(y, alpha=1.0 - beta)
        lr = float(group["lr"]) * scale
        if group["weight_decay"] and group["decoupled_weight_decay"]:
            p.mul_(1.0 - lr * group["weight_decay"])
        p.add_(y, alpha=-lr)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as of any optimiser, and the window under the key ``"mfac"``, all as tensors."""
        state: dict[str, Any] = super().state_dict()
        state["mfac"] = self._window_state()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state; the steps that follow have the same bits as without the interruption."""
        if "mfac" not in state_dict:
            raise ValueError("state_dict has no key 'mfac', expected the state of an MFAC optimiser")
        window = state_dict["mfac"]
        sizes = [tuple(p.shape) for group in self.param_groups for p in group["params"]]
        if window["shapes"] and [tuple(s) for s in window["shapes"]] != sizes:
            raise ValueError(
                f"state_dict is for parameters of shapes {window['shapes']}, this optimiser has {sizes}"
            )
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "mfac"})
        self._restore_window(window)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        state["mfac"] = self._window_state()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        window = state.pop("mfac", None)
        super().__setstate__(state)
        if window is not None:
            self._restore_window(window)

    def _window_state(self) -> dict[str, Any]:
        inverse = (
            None
            if self._inverse is None
            else {k: _to_tensor(v) for k, v in self._inverse.state_dict().items()}
        )
        return {"shared": dict(self._shared), "shapes": list(self._shapes), "inverse": inverse}

    def _restore_window(self, window: dict[str, Any]) -> None:
        self._shared = dict(window["shared"])
        self._shapes = [tuple(shape) for shape in window["shapes"]]
        stored = window["inverse"]
        self._inverse = None
        if stored is not None:
            self._inverse = SlidingFisherInverse.from_state_dict({k: _to_array(v) for k, v in stored.items()})


def _to_tensor(value: Any) -> Any:
    """Copy arrays to tensors and NumPy scalars to Python's, which ``torch.load(weights_only=True)`` reads."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value))
    return value.item() if isinstance(value, np.generic) else value


def _to_array(value: Any) -> Any:
    return value.cpu().numpy().copy() if isinstance(value, torch.Tensor) else value
