"""How far two tensors are apart, beside the largest value compared: float32 rounds by its size, not by 1."""

import torch

ROUNDING = 256 * torch.finfo(torch.float32).eps  # 3e-5: what two orders of the same float32 sums may differ by


def apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference over the largest |wanted|."""
    return ((found - wanted).abs().max() / wanted.abs().max()).item()
