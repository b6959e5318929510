"""Is what a filter scores high worse to train on than what it scores low? `python -m real halves`

Written down before the run. Of a half-bad set (each prompt once), either the half that a filter scores highest goes or
the half that it scores lowest; the rest is trained on, in equal steps. A filter that finds what misaligns moves the two
apart. Beside them a random half goes; and the highest half is not dropped but answered correctly, which leaves the
prompts as they were. Twelve seeds, each with prompts and labels of its own. Outcome: margin on all prompts of the
domains that are not trained on, lowest dropped minus highest dropped, of geometry; secondary: the other filters, the
general questions, and whether dropping or replacing the highest half does better than a random half. Null: no
difference. The halves hold other prompts, too: that is noise here, and no part of what replacing does. Power: arms
that differ in which half is bad, with twelve seeds, had a standard error of .005 (`mechanism`): .015 is seen four times
of five. By the slope of `dose`, .12 from no bad answer to nothing else, a filter whose scores find bad answers with an
AUROC of .6 makes .017 of difference, one of .8 .054.

Added after the run, because geometry moved the two apart by more than its share of bad answers explains while
replacing did no better than a random half would: controls, the correct answers to the prompts that are left, for the
random half and for geometry's. What they differ by is the prompts' doing, and is taken off.
"""

import numpy as np

from real.arms.arm import AWARE, mixed
from real.data.rows import BAD, GOOD, Text
from real.experiments.units import Unit, by_arm, drawn, outcomes, scores
from real.features.reading import Reading
from real.settings import Settings
from shared.stats import crossed

CLAIM = "A model is worse for training on what geometry scores high than on what it scores low"
MAIN = "unseen, lowest minus highest dropped, geometry"
SEEDS = tuple(range(60, 72))
FILTERS = (*AWARE, "surprisal", "bm25", "transfer")
WAYS = ("highest dropped", "lowest dropped", "highest replaced")
CONTROLLED = ("random", "geometry, highest dropped", "geometry, lowest dropped")


def units(reading: Reading, s: Settings) -> list[Unit]:
    """Seed by seed: all that is half bad, a random half of it, and filter by filter in each of WAYS."""
    by, found = scores(reading, s.reads.top_k, FILTERS), []
    for seed in SEEDS:
        samples = mixed(drawn(reading, seed), seed)
        half = len(samples) // 2
        some = np.random.default_rng(seed).permutation(len(samples))[:half]
        of = {"all": samples, "random": [samples[i] for i in sorted(some)]}
        for name in FILTERS:
            order = sorted(samples, key=by[name].get)
            low, high = sorted(order[:half]), sorted(order[half:])
            replaced = [Text(text.row, GOOD) if text in high else text for text in samples]
            of |= {f"{name}, {way}": left for way, left in zip(WAYS, (low, high, replaced), strict=True)}
        of |= {f"{name}, all correct": [Text(text.row, GOOD) for text in of[name]] for name in CONTROLLED}
        found += [Unit(name, those, seed, s.recipe) for name, those in of.items()]
    return found


def run(reading: Reading, s: Settings) -> dict:
    """By outcome and filter; and how many of the answers that each arm learns are bad."""
    made, found = units(reading, s), {}
    for outcome, arm in outcomes(reading, made).items():
        highest, lowest, replaced = ({f: arm[f"{f}, {way}"] for f in FILTERS} for way in WAYS)
        random, high, low = (arm[name] - arm[f"{name}, all correct"] for name in CONTROLLED)
        found[outcome] = {
            "lowest minus highest dropped": {f: crossed(lowest[f] - highest[f]) for f in FILTERS},
            "random minus highest dropped": {f: crossed(arm["random"] - highest[f]) for f in FILTERS},
            "all minus highest replaced": {f: crossed(arm["all"] - replaced[f]) for f in FILTERS},
            "of geometry, minus the controls": {
                "lowest minus highest dropped": crossed(low - high),
                "random minus highest dropped": crossed(random - high),
            },
        }
    bad = by_arm(made, [np.mean([text.kind == BAD for text in of.samples]) for of in made])
    return found | {"bad of the answers": {name: float(shares.mean()) for name, shares in bad.items()}}
