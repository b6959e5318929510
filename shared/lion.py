"""The optimiser of both regimes that torch has not."""

import torch


class Lion(torch.optim.Optimizer):
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
