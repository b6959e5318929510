"""The laws on trained models against real optimiser steps, and autograd where it says the same; float64 throughout."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from toy import law
from toy.measure import ETA, autograd_change, relative_error, step_change
from toy.model import Toy, ToySettings

E7_ETAS = tuple(1e-3 * 0.5**k for k in range(6))
SAMPLES = 64  # training samples, and as many probes
RANK = 2  # of the LoRA


def law_errors(toy: Toy, settings: ToySettings) -> list[dict[str, dict[str, float]]]:
    """`instance_errors` of every instance."""
    parameters = zip(toy.W.double(), toy.b_final.double(), settings.importances.double(), strict=True)
    return [instance_errors(*one, seed) for seed, one in enumerate(parameters)]


def instance_errors(
    W: Float[Tensor, "feature d_hidden"],
    b_final: Float[Tensor, " feature"],
    importance: Float[Tensor, " feature"],
    seed: int,
) -> dict[str, dict[str, float]]:
    """Largest relative error of each law on one trained instance, by equation and by way of measuring.

    The samples and probes have every feature on: the model never trained on such, so that the steps are not tiny.
    """
    generator = torch.Generator().manual_seed(seed)
    h, aim = torch.randn(2, *W.shape, generator=generator, dtype=W.dtype)  # a hidden state for each target
    x, probe = torch.rand(2, SAMPLES, len(W), generator=generator, dtype=W.dtype)
    C = torch.randn(RANK, len(W), generator=generator, dtype=W.dtype) / len(W) ** 0.5
    errors = {
        **state_errors(W, h, aim),
        **weight_errors(W, b_final, importance, x, probe, C),
        **tied_errors(W, b_final, importance, x, probe),
    }
    return dict(sorted(errors.items()))


def state_errors(W: Tensor, h: Tensor, aim: Tensor) -> dict[str, dict[str, float]]:
    """E1, E4, E5: a step on a hidden state along L = -f_t, each feature in turn the target t.

    Momentum: the third step towards `aim`, so that the gradient changes on the way.
    """
    state = (lambda h: h @ W.mT, lambda h: -(h * W).sum(), h)
    towards = (lambda h: h, lambda h: (h - aim).square().sum() / 2, h)
    path = [h + step_change(*towards, "momentum", ETA, k) for k in range(4)]
    third = law.momentum_step(W, torch.stack([point - aim for point in path[:3]]), ETA, 0.9)
    return {
        "E1": both_errors(law.representation_step(W, -W, ETA), state),
        "E4": {"step": step_error(law.sign_step(W, -W, ETA, eps=1e-8), state, "adam")},  # torch's Adam adds 1e-8
        "E5": {
            "step": step_error(law.decayed_step(W, -W, h, ETA, 0.1), state, "weight decay"),
            "momentum": relative_error(third, (path[3] - path[2]) @ W.mT),
        },
    }


def weight_errors(  # noqa: PLR0913 the model, its batch, its probes and its adapter
    W: Tensor, b_final: Tensor, importance: Tensor, x: Tensor, probe: Tensor, C: Tensor
) -> dict[str, dict[str, float]]:
    """E2, E3, E8: a step on A, which starts as the trained encoder (h = A x, A = W^T), or on a LoRA of it.

    Down the toy's own loss, through its frozen decoder.
    """
    n, d = W.shape

    def loss(A: Tensor) -> Tensor:
        return (importance * (torch.relu(x @ A.mT @ W.mT + b_final) - x).square()).mean()

    def lora(theta: Tensor) -> Tensor:
        return W.mT + theta[: d * RANK].view(d, RANK) @ theta[d * RANK :].view(RANK, n)

    def readouts(A: Tensor) -> Tensor:
        return probe @ A.mT @ W.mT

    g = law.hidden_gradient(W, b_final, importance, x, x @ W)
    start = torch.cat([W.new_zeros(d * RANK), C.flatten()])
    low_rank = (lambda theta: readouts(lora(theta)), lambda theta: loss(lora(theta)), start)
    whole = (readouts, loss, W.mT)
    return {
        "E2": both_errors(law.weight_step(W, g, x, probe, ETA), whole),
        "E3": both_errors(law.lora_step(W, g, x, probe, C, ETA), low_rank),
        "E8": {"step": step_error(law.spectral_step(W, g, x, probe, ETA), whole, "spectral")},
    }


def tied_errors(
    W: Tensor, b_final: Tensor, importance: Tensor, x: Tensor, probe: Tensor
) -> dict[str, dict[str, float]]:
    """E6: a step on the whole tied model. E7: the same, read through a tanh, smooth where relu has its kink.

    E7's error falls as the square of the step, so that its slope (log error by log step) is the thing to check.
    """
    n, d = W.shape

    def pre(theta: Tensor, x: Tensor) -> Tensor:
        W, b = theta[: n * d].view(n, d), theta[n * d :]
        return x @ W @ W.mT + b

    def loss(theta: Tensor) -> Tensor:
        return (importance * (torch.relu(pre(theta, x)) - x).square()).mean()

    theta = torch.cat([W.flatten(), b_final])
    tied, bent = (
        (lambda theta: pre(theta, probe), loss, theta),
        (lambda theta: torch.tanh(pre(theta, probe)), loss, theta),
    )
    predicted = law.tied_step(W, law.tied_delta(W, b_final, importance, x), x, probe, ETA)
    missed = []
    for eta in E7_ETAS:
        first, measured = autograd_change(*bent, eta), step_change(*bent, "sgd", eta)
        missed.append((first - measured).abs().max().item())
    return {
        "E6": {
            "autograd": relative_error(predicted.first, autograd_change(*tied, ETA)),
            "step": step_error(predicted.total, tied, "sgd"),
        },
        "E7": {
            "step": relative_error(first, measured),
            # no slope where every tanh is at its end, and nothing moves
            "slope": float(np.polyfit(np.log(E7_ETAS), np.log(missed), 1)[0]) if all(missed) else math.nan,
        },
    }


def both_errors(predicted: Tensor, way: tuple) -> dict[str, float]:
    """Under SGD; `way` is (readouts, loss, theta), as measure.py takes them."""
    autograd = relative_error(predicted, autograd_change(*way, ETA))
    return {"autograd": autograd, "step": step_error(predicted, way, "sgd")}


def step_error(predicted: Tensor, way: tuple, optimiser: str) -> float:
    return relative_error(predicted, step_change(*way, optimiser, ETA))
