"""What a step really does to the readouts, measured twice. Nothing here knows the equations of law.py but E7.

theta is whatever the step moves (a hidden state, a weight matrix, both factors of a LoRA); readouts(theta) are the
features' values. Optimisers are torch's own, but for the two that it has not: `Lion` (shared) and `Spectral`.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from shared import leakage
from shared.lion import Lion
from toy.law import first_order, polar

ETA = 0.1  # step size; the laws hold at any, but for E7


class Spectral(torch.optim.Optimizer):
    """Muon without momentum and without approximation: theta - lr U V^T, for each matrix of a batch by itself."""

    def __init__(self, params, lr: float):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * polar(p.grad))


class Muon:
    """torch.optim.Muon, momentum 0.95, bfloat16 and all, on each matrix of a batch, which torch's own does not take."""

    def __init__(self, params: list[Tensor], lr: float, weight_decay: float = 0.0):
        self.params = params
        self.matrices = [matrix for p in params for matrix in p.detach().view(-1, *p.shape[-2:])]
        self.torchs = torch.optim.Muon(self.matrices, lr=lr, weight_decay=weight_decay)

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None

    def step(self) -> None:
        gradients = [one for p in self.params for one in p.grad.reshape(-1, *p.shape[-2:])]
        for matrix, gradient in zip(self.matrices, gradients, strict=True):
            matrix.grad = gradient
        self.torchs.step()


OPTIMISERS = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "weight decay": partial(torch.optim.SGD, weight_decay=0.1),
    "sign": torch.optim.Rprop,  # its first step is lr * sign(g); later ones adapt, so that only the first is asked for
    "adam": torch.optim.Adam,
    "adam, decay": partial(torch.optim.AdamW, weight_decay=0.1),
    "lion": Lion,
    "lion, decay": partial(Lion, weight_decay=0.1),
    "spectral": Spectral,
    "muon": Muon,
    "muon, decay": partial(Muon, weight_decay=0.1),
}


def autograd_change(
    readouts: Callable[[Tensor], Tensor], loss: Callable[[Tensor], Tensor], theta: Tensor, eta: float
) -> Tensor:
    """Change of the readouts along -eta dL/dtheta, both derivatives by autograd (E7).

    First order in general; exact where the readouts are linear in theta, as in E1 and E2.
    """
    start = theta.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(start), start)
    return first_order(readouts, theta.detach(), -eta * gradient)


def step_change(
    readouts: Callable[..., Tensor],
    loss: Callable[..., Tensor],
    theta: Tensor | tuple[Tensor, ...],
    optimiser: str,
    eta: float,
    steps: int = 1,
) -> Tensor:
    """Readouts after real optimiser steps from a fresh optimiser state, minus before. Exact.

    A tuple theta is that many parameters, each with a step of its own, and readouts and loss take as many.
    ValueError: a step size that is not finite, fewer than no steps, more than one of sign descent.
    """
    most = 1 if optimiser == "sign" else math.inf
    if not (math.isfinite(eta) and 0 <= steps <= most):
        raise ValueError(f"eta must be finite and steps in [0, {most}], got {eta} and {steps}")
    start, moved = _parameters(theta)
    stepper = OPTIMISERS[optimiser](moved, lr=eta)
    for _ in range(steps):
        stepper.zero_grad()
        loss(*moved).backward()
        stepper.step()
    return readouts(*(part.detach() for part in moved)) - readouts(*start)


def change_at_loss(  # noqa: PLR0913 what step_change takes, and the shares of the loss
    readouts: Callable[..., Tensor],
    loss: Callable[..., Tensor],
    theta: Tensor | tuple[Tensor, ...],
    optimiser: str,
    eta: float,
    shares: tuple[float, ...],
    most: int = 2000,
) -> Float[Tensor, "share ..."]:
    """As step_change, but where the loss has fallen to each of these shares of its start; linear between two steps.

    ValueError: shares that do not fall from 1 to 0, a share that is not reached in `most` steps.
    """
    if not (list(shares) == sorted(shares, reverse=True) and shares[-1] > 0 and shares[0] < 1):
        raise ValueError(f"shares must fall between 1 and 0, got {shares}")
    start, moved = _parameters(theta)
    stepper, origin, found = OPTIMISERS[optimiser](moved, lr=eta), readouts(*start), []
    now, first = None, loss(*start).item()
    for _ in range(most):
        stepper.zero_grad()
        value = loss(*moved)
        before, now = now, (value.item() / first, readouts(*(part.detach() for part in moved)) - origin)
        while len(found) < len(shares) and now[0] <= shares[len(found)]:
            way = (before[0] - shares[len(found)]) / (before[0] - now[0])
            found.append(torch.lerp(before[1], now[1], way))
        if len(found) == len(shares):
            return torch.stack(found)
        value.backward()
        stepper.step()
    raise ValueError(f"{optimiser} at {eta} does not reach {shares[len(found)]} of its loss in {most} steps")


def _parameters(theta: Tensor | tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """Where theta starts, and a copy that an optimiser may move."""
    start = [part.detach() for part in (theta if isinstance(theta, tuple) else (theta,))]
    return start, [part.clone(memory_format=torch.contiguous_format).requires_grad_() for part in start]


def state_leakage(W: Float[Tensor, "feature d"], optimiser: str) -> Float[Tensor, "target feature"]:
    """Δf_j / Δf_t after one real step on a hidden state along L = -f_t, for every target t.

    Readouts are along unit directions, as in `shared.leakage`: under SGD the ratio should be cos(d_j, d_t).
    ValueError: a feature without a direction.
    """
    if not (there := W.any(-1)).all():
        raise ValueError(f"rows of W must not be zero, features {(~there).nonzero()[:5, 0].tolist()} are")
    delta = step_change(lambda h: h, lambda h: -(h * W).sum(), torch.zeros_like(W), optimiser, ETA)
    change = torch.stack([leakage.readout_change(W, row) for row in delta])
    return change / change.diagonal()[:, None]


def off_diagonal(matrices: list[Float[Tensor, "target feature"]]) -> Float[Tensor, " pair"]:
    """The pairs of all instances: a feature's effect on itself is no leakage."""
    return torch.cat([m[~torch.eye(len(m), dtype=torch.bool)] for m in matrices])


def relative_error(predicted: Tensor, measured: Tensor) -> float:
    """max |predicted - measured| / max |measured|; 0 when both are zero everywhere."""
    scale = measured.abs().max().item()
    error = (predicted - measured).abs().max().item()
    return error / scale if scale else (0.0 if error == 0 else float("inf"))
