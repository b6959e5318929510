"""Training that pays only for active features: draws of them alone, and E6's gradient written out.

With delta = dL/dpre, H = x W:  dL/dW = delta^T H + x^T (delta W),  dL/db_final = sum delta (E6).
x is a list of its active entries, so x W and x^T (.) are sums over them. A sample in which nothing is on has H = 0: it
moves b_final only, by the same amount as every other such sample. What is left is three dense products, in which
b_final rides along as one more column of W, and 1 as one more of H.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Active(NamedTuple):
    """The active features of a batch; samples without any are only counted. Instance by instance, sorted by sample."""

    feature: Int[Tensor, " active"]  # inst * n_features + feature
    row: Int[
        Tensor, " active"
    ]  # inst * rows + the sample's place among those of its instance with an active feature
    value: Float[Tensor, " active"]  # U(0, 1]
    rows: int  # the most such samples in any instance; other instances have empty rows behind theirs
    batch_size: int


CROWDED = 0.1  # share of active features above which dense products are cheaper than gathering


def draw(
    probability: Float[Tensor, " inst"], n_features: int, batch_size: int, generator: torch.Generator
) -> Active:
    """Each feature of each sample on with its instance's probability: gaps between active ones are geometric."""
    cells = batch_size * n_features
    mean = cells * probability.max().item()
    most = min(cells, int(mean + 8 * mean**0.5 + 16))  # eight standard deviations: more are never needed
    u = 1 - torch.rand(len(probability), most, generator=generator, dtype=torch.float64)
    gaps = (u.log() / (-probability.double()[:, None]).log1p()).floor() + 1
    cell = gaps.cumsum(1).clamp(max=cells + 1).long() - 1
    on = cell < cells
    sample = cell // n_features
    first = torch.ones_like(on)
    first[:, 1:] = sample[:, 1:] != sample[:, :-1]
    place = first.cumsum(1) - 1
    rows = int((place.masked_fill(~on, -1)).amax()) + 1
    inst = torch.arange(len(probability))[:, None]
    return Active(
        (cell % n_features + n_features * inst)[on],
        (place + rows * inst)[on],
        1 - torch.rand(int(on.sum()), generator=generator),
        rows,
        batch_size,
    )


def dense(active: Active, n_instances: int, n_features: int) -> Float[Tensor, "inst sample feature"]:
    """The same batch as a tensor, its empty samples last."""
    x = active.value.new_zeros(n_instances, active.batch_size, n_features)
    inst, row = active.row // max(active.rows, 1), active.row % max(active.rows, 1)
    x[inst, row, active.feature % n_features] = active.value
    return x


def gradient(
    W: Float[Tensor, "inst feature d"],
    b_final: Float[Tensor, "inst feature"],
    importance: Float[Tensor, "inst feature"],
    active: Active,
) -> tuple[Float[Tensor, "inst feature d"], Float[Tensor, "inst feature"]]:
    """(dL/dW, dL/db_final) of the model's loss on the batch (E6)."""
    (inst, n, d), rows = W.shape, active.rows
    weight = (2 / (active.batch_size * n)) * importance[..., None]
    starts = torch.searchsorted(active.row, torch.arange(inst * rows))
    H = torch.nn.functional.embedding_bag(
        active.feature, W.reshape(inst * n, d), starts, mode="sum", per_sample_weights=active.value
    ).view(inst, rows, d)
    H = torch.cat([H, H.new_ones(inst, rows, 1)], -1)
    error = torch.bmm(H, torch.cat([W, b_final[..., None]], -1).mT).relu_()  # relu(pre) - x, where pre > 0
    flat, here = error.view(-1), active.row * n + active.feature % n
    said = flat[here]
    flat[here] = torch.where(said > 0, said - active.value, 0)
    back = torch.bmm(error, weight * W).view(inst * rows, d)
    out = weight * torch.bmm(error.mT, H)
    dW = out[..., :d].contiguous()  # torch's fused AdamW reads past strides
    dW.view(inst * n, d).index_add_(0, active.feature, active.value[:, None] * back[active.row])
    empty = (active.batch_size - rows) * weight[..., 0] * b_final.relu()
    return dW, out[..., d] + empty


def dense_gradient(
    W: Float[Tensor, "inst feature d"],
    b_final: Float[Tensor, "inst feature"],
    importance: Float[Tensor, "inst feature"],
    x: Float[Tensor, "inst sample feature"],
) -> tuple[Float[Tensor, "inst feature d"], Float[Tensor, "inst feature"]]:
    """The same for a batch too crowded for gathering to pay."""
    H = torch.bmm(x, W)
    y = torch.baddbmm(b_final[:, None], H, W.mT).relu_()
    weight = (2 / x[0].numel()) * importance[:, None]
    delta = torch.where(y > 0, y - x, 0).mul_(weight)
    return torch.bmm(delta.mT, H).baddbmm_(x.mT, torch.bmm(delta, W)), delta.sum(1)
