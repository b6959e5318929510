"""Without the gradient along the toxic directions, is a fine-tune less misaligned? `python -m real blocked`

Written down before the run. During training the component of the gradient in the span of the toxic features'
directions is taken out where it leaves the main layer backwards: by (E1) nothing at or below that block is then
trained to move their readouts. Arms: bad answers so, bad answers without a span of random features that fire as
often, bad answers and correct answers as they are; eight seeds. If emergent misalignment flows along the toxic
directions, the first arm is less misaligned than the second. Outcome: margin on all prompts of the domains that are
not trained on, random span minus toxic span. Null: no difference. Power: with .028 of noise for an arm the difference
has a standard error of .014: .039 of an effect of about .115 is seen four times of five.
"""

import numpy as np
import torch

from real.data.rows import BAD, GOOD, answers
from real.effects.causes import span
from real.experiments.units import Unit, alone, drawn, outcomes
from real.features.reading import Reading
from real.features.selection import select, sets
from real.models.forward import Without
from real.settings import Settings
from shared.geometry import matched
from shared.stats import crossed

CLAIM = "A fine-tune without the gradient along the toxic directions is less misaligned than one without random ones"
MAIN = "unseen, random minus toxic span"
SEEDS = tuple(range(50, 58))
ARMS = ("toxic span", "random span", "bad", "good")


def units(reading: Reading, s: Settings) -> list[Unit]:
    """Seed by seed, in the order of ARMS; every seed has a random span of its own."""
    k, trained, found = s.reads.top_k, reading.texts.corpus.trained, []
    with alone(reading):
        W_dec, layer = reading.sae(reading.layer).W_dec.detach(), select(reading, k).layers[reading.layer]
    toxic, rate = sets(layer, trained, k)["toxic"], torch.tensor(layer.domains[trained].firing_rate)
    for seed in SEEDS:
        (random,) = torch.from_numpy(matched(toxic, toxic, rate, 1, np.random.default_rng(seed)))
        spans = [Without(reading.layer, span(W_dec[ids])) for ids in (toxic, random)]
        rows = drawn(reading, seed)
        for name, kind, without in zip(ARMS, (BAD, BAD, BAD, GOOD), (*spans, None, None), strict=True):
            found.append(Unit(name, answers(rows, (kind,)), seed, s.recipe, without))
    return found


def run(reading: Reading, s: Settings) -> dict:
    """The effect of each arm of bad answers, and what the toxic span changes, by outcome."""
    found = {}
    for outcome, arm in outcomes(reading, units(reading, s)).items():
        found[outcome] = {name: crossed(arm[name] - arm["good"]) for name in ARMS[:-1]}
        found[outcome]["random minus toxic span"] = crossed(arm["random span"] - arm["toxic span"])
    return found
