"""Which features go with a label: streamed point-biserial correlation, top k, held-out score."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata
from torch import Tensor


class Correlation(NamedTuple):
    """Per feature, over `n` samples, float64. `std` is the population's (divided by n)."""

    r: Float[Tensor, " feature"]  # in [-1, 1]; 0 for a feature that never varies
    mean: Float[Tensor, " feature"]
    std: Float[Tensor, " feature"]
    firing_rate: Float[Tensor, " feature"]  # share of samples with a positive activation
    n: int


class _Moments(NamedTuple):
    n: int
    mean: Float[Tensor, " feature"]
    squares: Float[Tensor, " feature"]  # sum of squared deviations from the mean
    fired: Float[Tensor, " feature"]


def point_biserial(batches: Iterable[tuple[Float[Tensor, "_ feature"], Bool[Tensor, " _"]]]) -> Correlation:
    """Correlation of each feature's activation with a yes/no label; memory does not grow with the samples.

    A batch is (acts [sample feature], labels [sample]); batches may differ in size (hence the axis `_`).
    Moments are kept per label and merged (Chan et al. 1979), exact where sums of squares would cancel.
    Raises ValueError when a label is absent or an activation is not finite.
    """
    sides = {}
    for acts, labels in batches:
        for side in (False, True):
            rows = acts[labels == side].double()
            if len(rows):
                new = _moments(rows)
                sides[side] = _merge(sides[side], new) if side in sides else new
    if len(sides) < 2:
        seen = {side: moments.n for side, moments in sides.items()}
        raise ValueError(f"labels must hold both True and False, counts are {seen}")
    no, yes = sides[False], sides[True]
    both = _merge(no, yes)
    if not both.squares.isfinite().all():
        raise ValueError(f"activations of features {_first(~both.squares.isfinite())} are not finite")
    # a constant feature leaves only the rounding of its own mean
    varies = both.squares > both.n * (1e-13 * both.mean).square()
    spread = torch.where(varies, both.squares, 1).sqrt()
    r = (yes.mean - no.mean) * (yes.n * no.n / both.n) ** 0.5 / spread
    std = torch.where(varies, spread / both.n**0.5, 0)
    return Correlation(torch.where(varies, r, 0).clamp(-1, 1), both.mean, std, both.fired / both.n, both.n)


def flipped(
    yes: Float[Tensor, "pair feature"], no: Float[Tensor, "pair feature"], signs: Float[Tensor, "draw pair"]
) -> Float[Tensor, "draw feature"]:
    """`point_biserial`'s r of every feature, were the labels of the pairs whose sign is -1 the other way round.

    Exactly: with n pairs r = sum_i s_i (yes_i - no_i) / (2 n std), and std, over all 2 n, is the same in every draw.
    """
    std = torch.cat([yes, no]).double().std(0, correction=0)
    each = (yes - no) / torch.where(std > 0, 2 * len(yes) * std, torch.inf).to(yes.dtype)
    return signs.to(yes.dtype) @ each


def top_k(r: Float[Tensor, " feature"], k: int) -> Int[Tensor, " k"]:
    """Ids of the k largest, largest first, ties to the lower id.

    Raises ValueError unless 1 <= k <= features, or for NaN.
    """
    if not 1 <= k <= len(r):
        raise ValueError(f"k must be in [1, {len(r)}], the number of features, not {k}")
    if r.isnan().any():
        raise ValueError(f"r of features {_first(r.isnan())} is NaN")
    return r.sort(descending=True, stable=True).indices[:k]


def score(
    feature_acts: Float[Tensor, "sample feature"], ids: Int[Tensor, " k"], c: Correlation
) -> Float[Tensor, " sample"]:
    """Mean over `ids` of (activation - mean) / std, the moments being those of `c`; unitless.

    A feature that never varied in `c` counts 0.
    """
    std = c.std[ids]
    z = (feature_acts[:, ids] - c.mean[ids]) / torch.where(std > 0, std, torch.inf)
    return z.mean(-1)


def auroc(scores: Float[Tensor, " sample"], labels: Bool[Tensor, " sample"]) -> float:
    """Chance that a True sample scores above a False one, ties half: 0.5 says nothing, 1 separates.

    Raises ValueError when a label is absent or a score is NaN.
    """
    return float(rank_auroc(*true_first(scores, labels)))


def true_first(
    scores: Float[Tensor, " sample"], labels: Bool[Tensor, " sample"]
) -> tuple[Float[np.ndarray, " sample"], int]:
    """The scores of the True samples, then of the False ones, and how many are True. Raises as `auroc`."""
    labels = labels.bool()  # as numbers 0 and 1 would pick samples
    if labels.all() or not labels.any():
        raise ValueError(f"labels must hold both True and False, {int(labels.sum())} of {len(labels)} are True")
    if scores.isnan().any():
        raise ValueError(f"scores of samples {_first(scores.isnan())} are NaN")
    return torch.cat([scores[labels], scores[~labels]]).double().cpu().numpy(), int(labels.sum())


def rank_auroc(scores: Float[np.ndarray, "*draw sample"], yes: int) -> Float[np.ndarray, "*draw"] | np.floating:
    """AUROC of every row of scores, the first `yes` of which are the True samples'."""
    no = scores.shape[-1] - yes
    return (rankdata(scores, axis=-1)[..., :yes].sum(-1) - yes * (yes + 1) / 2) / (yes * no)


def _moments(rows: Float[Tensor, "sample feature"]) -> _Moments:
    mean = rows.mean(0)
    return _Moments(len(rows), mean, (rows - mean).square().sum(0), (rows > 0).sum(0).double())


def _merge(a: _Moments, b: _Moments) -> _Moments:
    n, delta = a.n + b.n, b.mean - a.mean
    squares = a.squares + b.squares + delta.square() * (a.n * b.n / n)
    return _Moments(n, a.mean + delta * (b.n / n), squares, a.fired + b.fired)


def _first(wrong: Bool[Tensor, " n"]) -> list[int]:
    return wrong.nonzero()[:5, 0].tolist()
