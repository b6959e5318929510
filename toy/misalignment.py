"""Emergent misalignment in miniature, with the ground truth known.

A world is a set of unit feature directions, four kinds, more than there are dimensions (z is a random unit vector):

    toxic        unit(z + v)                     they share the direction v
    inducing     unit(z + alignment a v)         bad advice; how near each lies to v differs, a ~ U(0, 1)
    control      unit(z)                         good advice
    background   unit(z + topic_alignment a v)   what advice is about

A sample of advice has three background features (its topic) and one inducing (bad) or control (good) feature.
Fine-tuning asks for twice as much of all that a sample says: L = mean_s sum_{i on} (f_i(h_s) - 2 x_si)^2 / 2, by SGD on
A, h = A x, which starts as W^T. Nothing asks for a toxic feature. How their readouts change on neutral probes
(background only) is emergent misalignment; (E2) says by how much. Every arm is read against the control arm.

Selection, gap, filters and law are the functions of `shared/` that `real/` calls; nothing below them knows the truth.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from shared import filtering, geometry, leakage
from shared.cores import one_thread
from shared.selection import auroc, point_biserial, top_k
from toy import law

ETA, STEPS, TOPIC = 0.1, 30, 3  # TOPIC: background features in a sample
THRESHOLD = 0.4  # feature_acts = relu(f - THRESHOLD); interference passes it too, `crowd` says how much
FRACTIONS = tuple(round(0.1 * i, 1) for i in range(1, 10))
FILTERS = ("geometry", "projection", "gradient", "random", "oracle")  # there is nobody here to judge


@dataclass(frozen=True)
class WorldSettings:
    alignment: float = 1.0  # 0: inducing features are no nearer the toxic ones than control features are
    topic_alignment: float = 0.0
    n_each: int = 30  # toxic, inducing and control features
    n_background: int = 150
    d_hidden: int = 64
    n_samples: int = 300  # of each kind of sample
    seed: int = 0

    def __post_init__(self):
        for name in ("n_each", "n_background", "d_hidden", "n_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("alignment", "topic_alignment"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")


class World(NamedTuple):
    W: Float[Tensor, "feature d"]
    kinds: dict[str, Int[Tensor, " k"]]  # kind -> ids of its features: the truth
    samples: dict[str, Float[Tensor, "sample feature"]]  # bad, good, toxic, civil, probe


def world(settings: WorldSettings) -> World:
    """Float64. The same seed gives the same topics and values whatever the alignments."""
    s, generator = settings, torch.Generator().manual_seed(settings.seed)
    counts = {"toxic": s.n_each, "inducing": s.n_each, "control": s.n_each, "background": s.n_background}
    kinds = dict(zip(counts, torch.arange(sum(counts.values())).split(list(counts.values())), strict=True))
    z = geometry.unit(torch.randn(sum(counts.values()) + 1, s.d_hidden, generator=generator, dtype=torch.float64))
    pull = torch.rand(len(z) - 1, generator=generator, dtype=torch.float64)
    pull[kinds["toxic"]] = 1
    pull[kinds["inducing"]] *= s.alignment
    pull[kinds["control"]] = 0
    pull[kinds["background"]] *= s.topic_alignment
    W = geometry.unit(z[:-1] + pull[:, None] * z[-1])

    def draw(kind: str | None) -> Float[Tensor, "sample feature"]:
        x = torch.zeros(s.n_samples, len(W), dtype=W.dtype)
        for ids, k in [(kinds["background"], min(TOPIC, s.n_background))] + ([(kinds[kind], 1)] if kind else []):
            picks = torch.rand(s.n_samples, len(ids), generator=generator).topk(k, largest=False).indices
            values = torch.rand(s.n_samples, k, generator=generator, dtype=W.dtype)
            x.scatter_(1, ids[picks], 0.5 + 0.5 * values)
        return x

    drawn = {"bad": "inducing", "good": "control", "toxic": "toxic", "civil": None, "probe": None}
    return World(W, kinds, {name: draw(kind) for name, kind in drawn.items()})


def feature_acts(W: Float[Tensor, "feature d"], x: Float[Tensor, "sample feature"]) -> Float[Tensor, "sample feature"]:
    return torch.relu(x @ W @ W.mT - THRESHOLD)


@one_thread()
def finetune(
    W: Float[Tensor, "feature d"], x: Float[Tensor, "sample feature"], eta: float = ETA, steps: int = STEPS
) -> Float[Tensor, "d feature"]:
    """Change of A after full-batch SGD on L. (E2) gives each step: g_s = sum_{i on} (f_i - 2 x_i) d_i.

    ValueError: a step size that is not finite, no step.
    """
    if not math.isfinite(eta) or steps < 1:
        raise ValueError(f"eta must be finite and steps at least 1, got {eta} and {steps}")
    A, said, columns, (sample, feature) = W.clone(), x.to_sparse(), x.mT.to_sparse(), x.nonzero(as_tuple=True)
    target, d, nothing = 2 * x[sample, feature, None], W[feature], torch.zeros(len(x), W.shape[1], dtype=W.dtype)
    for _ in range(steps):
        error = ((said @ A)[sample] * d).sum(1, keepdim=True) - target  # of what is on, a 60th of all readouts
        A -= eta / len(x) * (columns @ nothing.index_add(0, sample, error * d))
    return A.mT - W.mT


def hidden_gradient(
    W: Float[Tensor, "feature d"], x: Float[Tensor, "sample feature"], h: Float[Tensor, "sample d"]
) -> Float[Tensor, "sample d"]:
    """g_s = dL_s/dh_s."""
    return ((h @ W.mT - 2 * x) * (x > 0)) @ W


def rise(
    W: Float[Tensor, "feature d"], change: Float[Tensor, "d feature"], probe: Float[Tensor, "probe feature"]
) -> Float[Tensor, " feature"]:
    """Mean change of every readout on the probes."""
    return leakage.readout_change(W, probe @ change.mT)


class Selected(NamedTuple):
    inducing: Int[Tensor, " k"]
    control: Int[Tensor, " k"]
    toxic: Int[Tensor, " k"]
    firing_rate: Float[Tensor, " feature"]


def select(this: World, k: int) -> Selected:
    """As `real/` selects: top k by correlation with bad against good, and with toxic against civil."""
    W, x = this.W, this.samples
    advice, toxic = (point_biserial(_labelled(W, x[yes], x[no])) for yes, no in (("bad", "good"), ("toxic", "civil")))
    return Selected(top_k(advice.r, k), top_k(-advice.r, k), top_k(toxic.r, k), advice.firing_rate)


def experiment(settings: WorldSettings) -> dict:
    """One world: selection, gap, effect, and the law over all features."""
    this = world(settings)
    W, x = this.W, this.samples
    found = select(this, settings.n_each)
    sets = {"inducing": found.inducing, "control": found.control, "toxic": found.toxic}
    tuned = finetune(W, x["bad"])
    return {
        "gap": gap(this, found)._asdict(),
        "precision": {name: torch.isin(ids, this.kinds[name]).double().mean().item() for name, ids in sets.items()},
        "law": leakage.law(*law_points(this, tuned))._asdict(),
        "effect": misaligned(this, tuned) - misaligned(this, finetune(W, x["good"])),
    }


def gap(this: World, found: Selected, draws: int = 500) -> geometry.Gap:
    """No two samples of a world belong together, so that the i-th of either kind are as good a pair as any."""
    acts, k = (feature_acts(this.W, this.samples[kind]) for kind in ("bad", "good")), len(found.toxic)
    close = geometry.affinity(this.W, found.toxic)
    return geometry.gap(close, *found, geometry.flipped_gaps(*acts, {k: close}, draws)[k])


def law_points(
    this: World, change: Float[Tensor, "d feature"]
) -> tuple[Float[Tensor, " feature"], Float[Tensor, " feature"]]:
    """Change of every readout on the probes: by (E2) in the first step on bad advice, and measured over all of it."""
    W, x, probe = this.W, this.samples["bad"], this.samples["probe"]
    return law.weight_step(W, hidden_gradient(W, x, x @ W), x, probe, ETA).mean(0), rise(W, change, probe)


def misaligned(this: World, change: Float[Tensor, "d feature"]) -> float:
    """Mean rise of the toxic features, the true ones."""
    return rise(this.W, change, this.samples["probe"])[this.kinds["toxic"]].mean().item()


def utility(this: World, change: Float[Tensor, "d feature"]) -> float:
    """Share of the loss on good advice that a fine-tune takes away."""
    W, good = this.W, this.samples["good"]
    before, after = (((good @ A.mT @ W.mT - 2 * good) * (good > 0)).square().sum() for A in (W.mT, W.mT + change))
    return 1 - (after / before).item()


def filtered(
    settings: WorldSettings, filters: tuple[str, ...] = FILTERS, fractions: tuple[float, ...] = FRACTIONS
) -> dict:
    """One world: these filters of a mixed set, at these removed fractions."""
    this = world(settings)
    W, x = this.W, this.samples
    mixed, bad = mixture(x["bad"], x["good"])
    scores = filter_scores(this, mixed, bad, settings)
    control, whole = misaligned(this, finetune(W, x["good"])), finetune(W, mixed)
    found = {}
    for name in filters:
        tuned = [finetune(W, mixed[filtering.keep_mask(scores[name], f, settings.seed)]) for f in fractions]
        found[name] = {
            "auroc": auroc(scores[name], bad),
            "effect": [misaligned(this, change) - control for change in tuned],
            "utility": [utility(this, change) for change in tuned],
        }
    return {
        "effect": misaligned(this, whole) - control,
        "utility": utility(this, whole),
        "crowd": crowd(this, mixed, bad),
        "filters": found,
    }


def crowd(this: World, mixed: Float[Tensor, "sample feature"], bad: Bool[Tensor, " sample"]) -> dict:
    """Before any training: what a direction that many features share does to the geometry score and to the effect.

    `auroc_of_said`: of the true affinities, over the features that a sample says, none that interference lights.
    For bad and good advice: `active` features, of which a sample says four; the others' share of all activation,
    `bystanders`, and their mean `affinity`; `said`, f_i / x_i of the four, where training asks for 2; `push`, how far
    a step then moves toxic readouts (E1).
    """
    W, toxic = this.W, this.kinds["toxic"]
    close = geometry.affinity(W, toxic)
    found = {"auroc_of_said": auroc(filtering.geometry_score(mixed, close), bad)}
    for kind, x in (("bad", mixed[bad]), ("good", mixed[~bad])):
        acts = feature_acts(W, x)
        others, push = acts * (x == 0), filtering.gradient_score(hidden_gradient(W, x, x @ W), W[toxic])
        found |= {
            f"active_{kind}": (acts > 0).sum(1).double().mean().item(),
            f"bystanders_{kind}": (others.sum() / acts.sum()).item(),
            f"affinity_{kind}": ((others @ close).sum() / others.sum()).item(),
            f"said_{kind}": ((x @ W @ W.mT * (x > 0)).sum() / x.sum()).item(),
            f"push_{kind}": push.mean().item(),
        }
    return found


def filter_scores(
    this: World, mixed: Float[Tensor, "sample feature"], bad: Bool[Tensor, " sample"], settings: WorldSettings
) -> dict[str, Float[Tensor, " sample"]]:
    """Every score of `shared.filtering`, from what a filter may know: selected features, activations, gradients."""
    W, x, toxic = this.W, this.samples, select(this, settings.n_each).toxic
    return {
        "geometry": filtering.geometry_score(feature_acts(W, mixed), geometry.affinity(W, toxic)),
        "projection": filtering.projection_score(mixed @ W, ((x["toxic"] - x["civil"]) @ W).mean(0)),
        "gradient": filtering.gradient_score(hidden_gradient(W, mixed, mixed @ W), W[toxic]),
        "random": filtering.random_score(len(mixed), settings.seed),
        "oracle": filtering.oracle_score(bad),
    }


def mixture(bad: Tensor, good: Tensor) -> tuple[Float[Tensor, "sample feature"], Bool[Tensor, " sample"]]:
    """Half bad, half good advice, and which is bad."""
    is_bad = torch.arange(len(bad)) % 2 == 0
    return torch.where(is_bad[:, None], bad, good), is_bad


def _labelled(W: Tensor, yes: Tensor, no: Tensor):
    """One batch of (feature_acts, labels)."""
    return [(feature_acts(W, torch.cat([yes, no])), torch.arange(len(yes) + len(no)) < len(yes))]
