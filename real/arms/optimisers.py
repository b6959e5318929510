"""OPTIM: what makes a step of a gradient. The law for each is in toy/law.py (E1, E4, E5, E8)."""

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Muon, Optimizer

DECAY, MOMENTUM = 0.01, 0.9


def optimisers(name: str, trained: list[Tensor], lr: float) -> list[Optimizer]:
    """Those that together train these weights, all with the one learning rate.

    Muon is for matrices, and its step is scaled to the size of AdamW's, who trains the rest, as its documentation says.
    SGD decays nothing: its rates are a thousand times the others', and would shrink weights by more than it moves them.
    """
    if name == "sgd":
        return [SGD(trained, lr=lr, momentum=MOMENTUM)]
    how = {"lr": lr, "weight_decay": DECAY}
    if name == "lion":
        return [Lion(trained, **how)]
    matrices = [p for p in trained if p.ndim == 2 and name == "muon"]
    rest = [p for p in trained if p.ndim != 2 or name != "muon"]
    muon = [Muon(matrices, **how, adjust_lr_fn="match_rms_adamw")] if matrices else []
    return muon + ([AdamW(rest, **how, fused=rest[0].is_cuda or None)] if rest else [])


class Lion(Optimizer):
    """Chen et al. 2023 (2302.06675): the sign of a gradient averaged with those before. Its first step is E4."""

    def __init__(self, params, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            lr, (now, later), decay = group["lr"], group["betas"], group["weight_decay"]
            for p in (p for p in group["params"] if p.grad is not None):
                past = self.state[p].setdefault("past", torch.zeros_like(p))
                p.mul_(1 - lr * decay).add_(past.lerp(p.grad, 1 - now).sign_(), alpha=-lr)
                past.lerp_(p.grad, 1 - later)
