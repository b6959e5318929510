"""What a step really does to the readouts, measured twice. Nothing here knows the equations of law.py but E7.

theta is whatever the step moves (a hidden state, a weight matrix); readouts(theta) are the features' values.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from shared import leakage
from toy.law import first_order

ETA = 0.1  # step size; the laws hold at any, but for E7
OPTIMISERS = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "weight decay": partial(torch.optim.SGD, weight_decay=0.1),
    "sign": torch.optim.Rprop,  # its first step is lr * sign(g); later ones adapt, so that only the first is asked for
    "adam": torch.optim.Adam,
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
    readouts: Callable[[Tensor], Tensor],
    loss: Callable[[Tensor], Tensor],
    theta: Tensor,
    optimiser: str,
    eta: float,
    steps: int = 1,
) -> Tensor:
    """Readouts after real torch.optim steps from a fresh optimiser state, minus before. Exact.

    ValueError: a step size that is not finite, fewer than no steps, more than one of sign descent.
    """
    most = 1 if optimiser == "sign" else math.inf
    if not (math.isfinite(eta) and 0 <= steps <= most):
        raise ValueError(f"eta must be finite and steps in [0, {most}], got {eta} and {steps}")
    moved = theta.detach().clone().requires_grad_()
    stepper = OPTIMISERS[optimiser]([moved], lr=eta)
    for _ in range(steps):
        stepper.zero_grad()
        loss(moved).backward()
        stepper.step()
    return readouts(moved.detach()) - readouts(theta.detach())


def state_leakage(W: Float[Tensor, "feature d"], optimiser: str) -> Float[Tensor, "target feature"]:
    """Δf_j / Δf_t after one real step on a hidden state along L = -f_t, for every target t.

    Readouts are along unit directions, as in `shared.leakage`: under SGD the ratio should be cos(d_j, d_t).
    """
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
