"""Which optimisers keep the cosine law? Train one feature up by every rule and see where it leaks.

A trained toy's W gives the features' directions and starts the encoder, h = A x with A = W^T; then only A (or a LoRA on
it) is trained, for every feature t, on samples where t is on and others are on as often as they ever were:

    alone      L = mean_s (f_t(h_s) - 2 x_st)^2 / 2       "say twice as much of t": every g_s lies along d_t
    together   L = mean_s |y_s - x_s - x_st e_t|^2 / 2     the same through the frozen decoder, the others kept right

Leakage is read at the probe e_t: change of f_j per unit change of f_t, along unit directions, against cos(d_j, d_t).

Under `alone` the answer is known: dL/dA = d_t (sum_s c_s x_s)^T has rank one at every step. SGD, momentum, the spectral
step and both of LoRA's factors stay along d_t, so the cosine holds for ever; torch's Muon lifts the rounding of its
bfloat16 along with d_t. Adam and Lion divide every row by the size of its own history, so |d_t|'s entries cancel and
sign(d_t) is left, at every step and not at the first only (E4). What a spectral step does to many features at once is
another question: rescaling.py.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from shared.cores import one_thread
from shared.geometry import unit
from toy.measure import step_change

STEPS = 30
SAMPLES = 64  # per target
RANK = 4  # of the LoRA
# step sizes: small beside W, so that `together` keeps its units on
ETA = {
    **dict.fromkeys(("sgd", "momentum", "weight decay"), 0.03),
    **dict.fromkeys(("sign", "adam", "adam, decay", "lion", "lion, decay"), 0.003),
    **dict.fromkeys(("spectral", "muon", "muon, decay"), 0.01),
}


class Rule(NamedTuple):
    optimiser: str  # a key of measure.OPTIMISERS and of ETA
    steps: int
    lora: bool = False


RULES = {
    "sgd": Rule("sgd", STEPS),
    "momentum": Rule("momentum", STEPS),
    "weight decay": Rule("weight decay", STEPS),
    "lora": Rule("sgd", STEPS, lora=True),
    "sign": Rule("sign", 1),
    "adam": Rule("adam", 1),
    f"adam, {STEPS} steps": Rule("adam", STEPS),
    "lora, adam": Rule("adam", STEPS, lora=True),
    "adam, decay": Rule("adam, decay", STEPS),
    "lion, 1 step": Rule("lion", 1),
    "lion": Rule("lion", STEPS),
    "lion, decay": Rule("lion, decay", STEPS),
    "lora, lion": Rule("lion", STEPS, lora=True),
    "spectral, 1 step": Rule("spectral", 1),
    "spectral": Rule("spectral", STEPS),
    "muon, 1 step": Rule("muon", 1),
    "muon": Rule("muon", STEPS),
    "muon, decay": Rule("muon, decay", STEPS),
    "lora, spectral": Rule("spectral", STEPS, lora=True),
}
TASKS = ("alone", "together")


@one_thread()
def leakage_ratios(
    W: Float[Tensor, "feature d"],
    b_final: Float[Tensor, " feature"],
    feature_probability: float,
    rule: Rule,
    task: str,
    seed: int = 0,
) -> Float[Tensor, "target feature"]:
    """Δf_j / Δf_t at the probe e_t after the rule's steps, for every target t at once; 1 on the diagonal.

    ValueError: a probability outside (0, 1], an unknown task.
    """
    if not 0 < feature_probability <= 1:
        raise ValueError(f"feature_probability must be in (0, 1], got {feature_probability}")
    if task not in TASKS:
        raise ValueError(f"task must be one of {TASKS}, got {task}")
    n, d = W.shape
    generator = torch.Generator().manual_seed(seed)
    x = samples(n, feature_probability, generator).to(W)
    C = torch.randn(n, RANK, n, generator=generator, dtype=W.dtype) / n**0.5
    twice = x + x * torch.eye(n, dtype=W.dtype)[:, None]

    def encoder(*theta: Tensor) -> Float[Tensor, "target d feature"]:
        return W.mT + theta[0] @ theta[1] if rule.lora else theta[0]

    def loss(*theta: Tensor) -> Tensor:
        h = x @ encoder(*theta).mT
        if task == "alone":
            said, wanted = (h * W[:, None]).sum(-1), twice.diagonal(dim1=0, dim2=2).mT
        else:
            said, wanted = torch.relu(h @ W.mT + b_final), twice
        return (said - wanted).square().sum() / (2 * SAMPLES)

    def readouts(*theta: Tensor) -> Float[Tensor, "target feature"]:
        return encoder(*theta).diagonal(dim1=0, dim2=2).mT @ unit(W).mT  # h = A e_t

    start = (W.new_zeros(n, d, RANK), C) if rule.lora else W.mT.repeat(n, 1, 1)
    change = step_change(readouts, loss, start, rule.optimiser, ETA[rule.optimiser], rule.steps)
    return change / change.diagonal()[:, None]


def samples(n: int, p: float, generator: torch.Generator) -> Float[Tensor, "target sample feature"]:
    """For each target, samples on which it is on, and the others with probability p."""
    on = torch.rand(n, SAMPLES, n, generator=generator) < p
    on |= torch.eye(n, dtype=torch.bool)[:, None]
    return on * torch.rand(n, SAMPLES, n, generator=generator)
