"""How feature directions lie: cosines, interference, dimensionality, the gap between two sets of features.

Rows are features: `W [feature d]` is a toy's `W` or an SAE's `W_dec`; leading `inst` axes are models.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from shared.selection import flipped
from shared.stats import permutation_p

CHUNK = 1024  # rows of the Gram matrix held at once: a dictionary of 100 000 features would not fit whole
CELLS = 2**24  # draws x features held at once
TRIES = 100  # to draw anew what is drawn twice
NEIGHBOURS = 10  # matched features are drawn among this many on either side in firing rate, and all that tie


class Gap(NamedTuple):
    """`gap` = `inducing` - `control`, the two sets' mean affinity to the toxic features (unitless)."""

    gap: float
    p: float  # one-sided, labels flipped within pairs and both sets chosen again
    p_null: float  # one-sided, both sets replaced by random features that fire as often
    inducing: float
    control: float
    null_low: float  # 95 % range of the gap between such random sets
    null_high: float


def unit(W: Float[Tensor, "*inst feature d"]) -> Float[Tensor, "*inst feature d"]:
    """Rows scaled to length one; zero rows stay zero."""
    largest = W.abs().amax(-1, keepdim=True)
    W = W / torch.where(largest > 0, largest, 1)  # first, so that the squares of a tiny row do not underflow
    length = W.norm(dim=-1, keepdim=True)
    return W / torch.where(length > 0, length, 1)


def cosine(A: Float[Tensor, "*inst a d"], B: Float[Tensor, "*inst b d"]) -> Float[Tensor, "*inst a b"]:
    """Cosine of every row of A with every row of B, in [-1, 1]; 0 where either row is zero."""
    return einsum(unit(A), unit(B), "... a d, ... b d -> ... a b").clamp(-1, 1)


def interference(W: Float[Tensor, "*inst feature d"]) -> Float[Tensor, "*inst feature"]:
    """sum_{j != i} (Ŵ_i . W_j)^2, what the others put on feature i's direction (Elhage et al. 2022).

    In squared units of W; 0 when feature i is orthogonal to the others.
    """
    directions, sums = unit(W), []
    for start in range(0, W.shape[-2], CHUNK):
        gram = einsum(directions[..., start : start + CHUNK, :], W, "... i d, ... j d -> ... i j")
        gram.diagonal(offset=start, dim1=-2, dim2=-1).zero_()
        sums.append(gram.square().sum(-1))
    return torch.cat(sums, -1)


def dimensionality(W: Float[Tensor, "*inst feature d"]) -> Float[Tensor, "*inst feature"]:
    """D_i = |W_i|^2 / sum_j (Ŵ_i . W_j)^2, in [0, 1] (Elhage et al. 2022).

    1 for a feature orthogonal to all others, 1/n for each of n identical ones, 0 for a zero row (or one
    whose square underflows).
    """
    own = W.square().sum(-1)
    total = own + interference(W)
    return own / torch.where(total > 0, total, 1)


def affinity(W: Float[Tensor, "feature d"], toxic: Int[Tensor, " toxic"]) -> Float[Tensor, " feature"]:
    """Mean cosine of each feature to the toxic ones, itself excluded; 0 for the toxic one when it is alone.

    Raises ValueError when `toxic` is empty, repeats an id, or names a feature that is not there.
    """
    return affinities(W, toxic, [len(toxic)])[len(toxic)]


def affinities(
    W: Float[Tensor, "feature d"], toxic: Int[Tensor, " toxic"], ks: Iterable[int]
) -> dict[int, Float[Tensor, " feature"]]:
    """k -> affinity to the first k of `toxic`, for every k of `ks`.

    Raises ValueError as `affinity` does, and for a k that is not in [1, toxic].
    """
    _check_ids("toxic", toxic, len(W))
    _check_sizes(ks := list(ks), len(toxic))
    cosines, found = cosine(W, W[toxic]), {}
    cosines[toxic, torch.arange(len(toxic), device=toxic.device)] = 0
    for k in ks:
        others = torch.full_like(cosines[:, 0], k)
        others[toxic[:k]] -= 1
        found[k] = cosines[:, :k].sum(-1) / others.clamp(min=1)
    return found


def gap(  # noqa: PLR0913 three sets of features, and what the two tests need
    close: Float[Tensor, " feature"],
    inducing: Int[Tensor, " inducing"],
    control: Int[Tensor, " control"],
    toxic: Int[Tensor, " toxic"],
    firing_rate: Float[Tensor, " feature"],
    flips: Float[np.ndarray, " draw"],
    seed: int = 0,
) -> Gap:
    """Are the inducing features closer to the toxic ones than the control features are? (arXiv 2605.00842)

    `close`: every feature's `affinity` to the toxic ones. `firing_rate`: the share of samples on which each is active.
    `flips` are of `flipped_gaps`: the other null has as many draws. Raises ValueError for an id list as in `affinity`,
    or when no feature outside `toxic` ever fires.
    """
    for name, ids in {"inducing": inducing, "control": control, "toxic": toxic}.items():
        _check_ids(name, ids, len(close))
    close = close.double().cpu().numpy()
    ids, k = torch.cat([inducing, control]).cpu().numpy(), len(inducing)
    observed = float(_difference(close[ids], k))
    rng = np.random.default_rng(seed)
    null = _difference(close[matched(torch.cat([inducing, control]), toxic, firing_rate, len(flips), rng)], k)
    low, high = np.percentile(null, [2.5, 97.5])
    return Gap(
        gap=observed,
        p=permutation_p(observed, flips),
        p_null=permutation_p(observed, null),
        inducing=float(close[ids[:k]].mean()),
        control=float(close[ids[k:]].mean()),
        null_low=float(low),
        null_high=float(high),
    )


def flipped_gaps(
    bad: Float[Tensor, "pair feature"],
    good: Float[Tensor, "pair feature"],
    close: dict[int, Float[Tensor, " feature"]],
    draws: int,
    seed: int = 0,
) -> dict[int, Float[np.ndarray, " draw"]]:
    """k -> the gap where labels say nothing. `close`: k -> every feature's affinity to the k toxic ones.

    In each draw a fair coin decides for every pair which of its answers is called bad (Nichols & Holmes 2002), and both
    sets of k features are chosen again: features that fire together are chosen together, so that sets vary more than
    features drawn one by one (Kriegeskorte et al. 2009). `bad`, `good`: mean activations of a pair's answers.
    Raises ValueError for no draw, and for a k that is not in [1, features].
    """
    _check_sizes(list(close), bad.shape[1])
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    rng, found = np.random.default_rng(seed), {k: [] for k in close}
    chunk, first = max(1, CELLS // bad.shape[1]), torch.arange(bad.shape[1], device=bad.device) * 1e-6  # as in `top_k`
    for at in range(0, draws, chunk):
        signs = 2.0 * torch.from_numpy(rng.integers(2, size=(min(chunk, draws - at), len(bad)))) - 1
        r = (flipped(bad, good, signs).double() * 1e9).round()
        most, least = ((of - first).topk(max(close)).indices for of in (r, -r))
        for k, affinities in close.items():
            found[k].append(affinities[most[:, :k]].mean(1) - affinities[least[:, :k]].mean(1))
    return {k: torch.cat(gaps).double().cpu().numpy() for k, gaps in found.items()}


def matched(
    ids: Int[Tensor, " set"],
    excluded: Int[Tensor, " excluded"],
    firing_rate: Float[Tensor, " feature"],
    draws: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, "draw set"]:
    """For every id and draw a random feature that fires about as often, is not excluded and fires at all.

    None stands twice in a draw, unless too few fire about as often. Raises ValueError when there is none.
    """
    live = firing_rate > 0
    live[excluded] = False
    if not live.any():
        raise ValueError(f"firing_rate: none of the {len(live)} features outside the excluded fires")
    order = firing_rate.argsort(stable=True)
    pool = order[live[order]].cpu().numpy()  # rarest first
    rate = firing_rate.double().cpu().numpy()
    wanted = rate[ids.cpu().numpy()]
    low = np.searchsorted(rate[pool], wanted, "left") - NEIGHBOURS
    high = np.searchsorted(rate[pool], wanted, "right") + NEIGHBOURS
    low, high = low.clip(min=0), high.clip(max=len(pool))
    found, rows = rng.integers(low, high, size=(draws, len(ids))), np.arange(draws)
    for _ in range(TRIES):
        held = found[rows]
        order, again = held.argsort(axis=1, kind="stable"), np.zeros(held.shape, bool)
        np.put_along_axis(again, order[:, 1:], np.diff(np.take_along_axis(held, order, 1)) == 0, 1)
        held[again] = rng.integers(*(np.broadcast_to(end, held.shape)[again] for end in (low, high)))
        found[rows], rows = held, rows[again.any(1)]
        if not len(rows):
            break
    return pool[found]


def _difference(values: Float[np.ndarray, "*draw set"], k: int) -> Float[np.ndarray, "*draw"] | np.floating:
    """Mean of the first k minus mean of the rest."""
    return values[..., :k].mean(-1) - values[..., k:].mean(-1)


def _check_sizes(ks: list[int], most: int) -> None:
    if not all(1 <= k <= most for k in ks):
        raise ValueError(f"k must be in [1, {most}], not {ks}")


def _check_ids(name: str, ids: Int[Tensor, " k"], n_features: int) -> None:
    found = ids.tolist()
    if not found or len(set(found)) < len(found) or min(found) < 0 or max(found) >= n_features:
        raise ValueError(f"{name} must be distinct feature ids in [0, {n_features}), at least one, not {found[:10]}")
