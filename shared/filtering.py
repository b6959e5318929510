"""Which training samples to leave out: one score per sample, and a keep mask that removes the highest."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from shared.geometry import unit


def geometry_score(
    feature_acts: Float[Tensor, "sample feature"], affinity: Float[Tensor, " feature"]
) -> Float[Tensor, " sample"]:
    """sum_i a_i c_i / sum_i a_i over a sample's active features (a_i > 0), c_i from `geometry.affinity`.

    A mean cosine, unitless; 0 for a sample with no active feature.
    """
    acts = feature_acts.clamp(min=0).to(affinity.dtype)
    total = acts.sum(-1)
    return (acts @ affinity) / torch.where(total > 0, total, 1)


def projection_score(
    activations: Float[Tensor, "sample d"], direction: Float[Tensor, " d"]
) -> Float[Tensor, " sample"]:
    """Mean answer activation along a direction (toxic minus civil), in units of the activation."""
    return activations @ unit(direction[None])[0]


def gradient_score(gradients: Float[Tensor, "sample d"], toxic: Float[Tensor, "toxic d"]) -> Float[Tensor, " sample"]:
    """How far a step on the sample pushes the toxic readouts: -mean over toxic features of <d_j/|d_j|, g_s> (E1).

    g_s is the gradient of the sample's loss at the hidden state; per unit of step size.
    """
    return -(gradients @ unit(toxic).mT).mean(-1)


def random_score(n: int, seed: int) -> Float[Tensor, " sample"]:
    """Uniform on [0, 1): the baseline every filter is read against."""
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def balanced_score(labels: Bool[Tensor, " sample"], seed: int) -> Float[Tensor, " sample"]:
    """Random, but removing a share of the highest removes that share of the harmful and of the harmless samples.

    A sample's rank among those of its label, drawn at random, over their number: in (0, 1).
    """
    generator = torch.Generator().manual_seed(seed)
    scores = torch.empty(len(labels), dtype=torch.float64)
    for those in (labels, ~labels):
        ranks = torch.randperm(int(those.sum()), generator=generator) + 0.5
        scores[those] = ranks.double() / max(len(ranks), 1)
    return scores


def oracle_score(labels: Bool[Tensor, " sample"]) -> Float[Tensor, " sample"]:
    """1 for a harmful sample, 0 for a harmless one: the upper bound, from the labels themselves."""
    return labels.double()


def keep_mask(scores: Float[Tensor, " sample"], fraction: float, seed: int) -> Bool[Tensor, " sample"]:
    """False for exactly round(fraction * n) samples, the highest; ties are broken at random by `seed`.

    With one seed, what a smaller fraction removes a larger one removes too.
    Raises ValueError for a fraction outside [0, 1) or a NaN score.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must be in [0, 1), not {fraction}")
    if scores.isnan().any():
        raise ValueError(f"scores must be numbers, {int(scores.isnan().sum())} of {len(scores)} are NaN")
    scores = scores.cpu()
    shuffle = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
    highest_first = shuffle[scores[shuffle].argsort(descending=True, stable=True)]
    keep = torch.ones(len(scores), dtype=torch.bool)
    keep[highest_first[: round(fraction * len(scores))]] = False
    return keep
