"""Which optimiser leaves a model most misaligned, at equal loss? The miniature of misalignment.py, each in turn.

A world's bad advice, and its good advice as the control arm, train A = W^T by each rule until the loss has fallen to
the same share of its start; the effect is the rise of the toxic readouts, bad minus good, there. Two rates for every
rule: equal loss must not be one rate's accident.

Three predictions of the spectral rule's effect in units of SGD's, read against the measured ratio:

    formula      consequences.shared_rise: k inducing features share v and nothing else, each with an input of its own
    directions   the same from the world's own directions (E8's root of their cosines), inputs still apart
    first step   (E8) against (E2) on the world's own samples: toxic rise for each unit of loss, in the first step

In the miniature inputs are not apart: samples share topics. `bare` samples have none. There the formula's assumption
holds, and as nothing then reaches a neutral probe, the toxic readouts are read on the samples themselves.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shared.cores import in_processes, one_thread
from shared.stats import Estimate, over_seeds
from toy import consequences, law
from toy.measure import change_at_loss
from toy.misalignment import World, WorldSettings, hidden_gradient, world

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # of the loss before training
HALF = SHARES.index(0.5)
RATES = {
    "sgd": (0.5, 1.0),
    "momentum": (0.05, 0.1),
    "adam": (0.003, 0.01),
    "lion": (0.003, 0.01),
    "muon": (0.03, 0.1),
    "spectral": (0.03, 0.1),
}
COUNTS = (4, 8, 16, 30, 60)  # inducing features that share v, for the reading against the formula


class Arm(NamedTuple):
    """What a fine-tune is trained on, and where its toxic readouts are read."""

    W: Float[Tensor, "feature d"]
    x: Float[Tensor, "sample feature"]
    probe: Float[Tensor, " feature"]  # the probes' mean: readouts are linear
    toxic: Float[Tensor, " feature"]  # weights of the readouts: the toxic ones' mean


def arms(this: World, bare: bool = False) -> tuple[Arm, Arm]:
    """Bad, good: read on neutral probes, or without topics on the samples themselves."""
    toxic = torch.zeros(len(this.W), dtype=this.W.dtype)
    toxic[this.kinds["toxic"]] = 1 / len(this.kinds["toxic"])
    found = []
    for name in ("bad", "good"):
        x = this.samples[name].clone()
        if bare:
            x[:, this.kinds["background"]] = 0
        probe = x if bare else this.samples["probe"]
        found.append(Arm(this.W, x, probe.mean(0), toxic))
    return tuple(found)


@one_thread()
def effects(both: tuple[Arm, Arm], rule: str, eta: float, shares: tuple[float, ...] = SHARES) -> list[float]:
    """Rise of the toxic readouts, bad minus good, at each of these shares of the loss."""
    bad, good = (_rise(arm, rule, eta, shares) for arm in both)
    return (bad - good).tolist()


def _rise(arm: Arm, rule: str, eta: float, shares: tuple[float, ...]) -> Float[Tensor, " share"]:
    W, said = arm.W, arm.x.to_sparse()
    sample, feature = said.indices()
    d, target = W[feature], 2 * said.values()

    def loss(A: Tensor) -> Tensor:
        """Of what is on: the only readouts that are computed."""
        f = ((said @ A.mT)[sample] * d).sum(1)
        return (f - target).square().sum() / 2 / len(arm.x)

    return change_at_loss(lambda A: arm.probe @ A.mT @ (arm.toxic @ W), loss, W.mT, rule, eta, shares)


def first_step(arm: Arm, step: Callable[..., Tensor]) -> float:
    """Rise of the toxic readouts for each share of the loss that a small step takes away; `step` as law.weight_step."""
    W, x = arm.W, arm.x
    error = (x @ W @ W.mT - 2 * x) * (x > 0)  # dL/df
    g = hidden_gradient(W, x, x @ W)
    down = (error * step(W, g, x, x, 1.0)).sum() / (error.square().sum() / 2)
    return (step(W, g, x, arm.probe[None], 1.0)[0] @ arm.toxic / -down).item()


def predicted_effects(this: World, both: tuple[Arm, Arm], settings: WorldSettings) -> dict[str, tuple[float, float]]:
    """The spectral rule's effect and SGD's, in a unit that they share, three ways."""
    inducing, toxic = this.W[this.kinds["inducing"]], this.W[this.kinds["toxic"]]
    C = inducing @ inducing.mT
    L = consequences.spectral_leakage(C, torch.eye(len(C), dtype=C.dtype))
    cross = toxic @ inducing.mT
    alpha = _root_mean_square_alpha(settings.alignment)
    steps = (law.spectral_step, law.weight_step)
    return {
        "formula": (consequences.shared_rise(alpha, len(C), True), alpha),
        "directions": ((consequences.untrained(cross, C, L).mean() / L.diagonal().mean()).item(), cross.mean().item()),
        "first step": tuple(first_step(both[0], step) - first_step(both[1], step) for step in steps),
    }


def _root_mean_square_alpha(alignment: float) -> float:
    """Of alpha = a/sqrt(1 + a^2), a ~ U(0, alignment): the mean of a^2/(1 + a^2) is 1 - arctan(alignment)/alignment."""
    return math.sqrt(1 - math.atan(alignment) / alignment)


def sweep(base: WorldSettings, worlds: int) -> dict:
    """`rules`: rule -> rate -> effect; `ratios`: k -> topics or bare -> effects in units of SGD's, and predictions.

    ValueError: no alignment, for then nothing toxic rises and there is no unit.
    """
    if not base.alignment > 0:
        raise ValueError(f"alignment must be above 0, got {base.alignment}")
    seeds = [replace(base, seed=seed) for seed in range(worlds)]
    cells = [(rule, eta) for rule, etas in RATES.items() for eta in etas]
    found = in_processes(lambda one: _curves(arms(world(one)), cells), seeds)
    sgds = [one["sgd", RATES["sgd"][0]][HALF] for one in found]

    def over_worlds(cell: tuple[str, float]) -> dict:
        of = [one[cell] for one in found]
        return {
            "effect": [over_seeds(list(at)) for at in zip(*of, strict=True)],  # at each of SHARES
            "times_sgd": _ratio([one[HALF] for one in of], sgds),
        }

    counts = in_processes(lambda k: _ratios([replace(one, n_each=k) for one in seeds]), COUNTS)
    return {
        "shares": SHARES,
        "rules": {rule: {eta: over_worlds((rule, eta)) for eta in etas} for rule, etas in RATES.items()},
        "ratios": dict(zip(COUNTS, counts, strict=True)),
    }


def _curves(both: tuple[Arm, Arm], cells: list[tuple[str, float]]) -> dict[tuple[str, float], list[float]]:
    return {cell: effects(both, *cell) for cell in cells}


def _ratios(seeds: list[WorldSettings]) -> dict[str, dict]:
    """Over worlds with so many inducing features: measured ratios of rules to SGD, predicted ones of the spectral."""
    found = {}
    for name, bare in (("topics", False), ("bare", True)):
        predicted, effect = [], {"sgd": [], "spectral": [], "lion": []}
        for settings in seeds:
            this = world(settings)
            both = arms(this, bare)
            predicted.append(predicted_effects(this, both, settings))
            for rule, at in effect.items():
                at += effects(both, rule, RATES[rule][1], SHARES[HALF : HALF + 1])
        sgds = effect.pop("sgd")
        found[name] = {
            "measured": {rule: _ratio(at, sgds) for rule, at in effect.items()},
            **{way: np.divide(*np.mean([one[way] for one in predicted], 0)).item() for way in predicted[0]},
        }
    return found


def _ratio(effect: list[float], sgds: list[float]) -> Estimate:
    return over_seeds(effect, sgds, statistic=lambda a, b: a.mean(-1) / b.mean(-1))
