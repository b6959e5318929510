"""Without the gradient along the toxic directions, is a fine-tune less misaligned? `python -m real blocked`

Written down before the run. During training the component of the gradient in the span of the toxic features'
directions is taken out where it leaves the main layer backwards: by (E1) nothing at or below that block is then
trained to move their readouts. Arms: bad answers so, bad answers without a span of random features that fire as
often, bad answers and correct answers as they are; eight seeds. If emergent misalignment flows along the toxic
directions, the first arm is less misaligned than the second. Outcome: margin on all prompts of the domains that are
not trained on, random span minus toxic span. Null: no difference. Power: with .028 of noise for an arm the difference
has a standard error of .014: .039 of an effect of about .115 is seen four times of five.

Added after the run: how far bad answers move the residual stream at the main layer from where correct answers move it,
along the toxic span, by arm. If that is no shorter in the first arm, then nothing was blocked, and the comparison says
nothing: (E1) is of one step of SGD, a step of Adam is not along its gradient (E4), and a weight that is trained at one
input moves others.
"""

import numpy as np
import torch
from jaxtyping import Float

from real.data.rows import BAD, GOOD, answers
from real.effects.causes import span
from real.experiments.units import Unit, alone, by_arm, by_outcome, drawn, held, made
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
    """The effect of each arm of bad answers, what the toxic span changes, by outcome; and whether it was blocked."""
    those, found = units(reading, s), {}
    done = made(reading, those, answers(held(reading), (BAD,)))
    for outcome, arm in by_outcome(reading, those, done).items():
        found[outcome] = {name: crossed(arm[name] - arm["good"]) for name in ARMS[:-1]}
        found[outcome]["random minus toxic span"] = crossed(arm["random span"] - arm["toxic span"])
    resid, P = by_arm(those, [of.resid for of in done]), those[0].without.P.double().numpy()
    shifts = {name: resid[name] - resid["good"] for name in ARMS[:-1]}
    return found | {
        "length of the shift (mean over seeds, least, most)": {name: _length(shift) for name, shift in shifts.items()},
        "the same along the toxic span": {name: _length(shift @ P) for name, shift in shifts.items()},
    }


def _length(shifts: Float[np.ndarray, "seed d_model"]) -> list[float]:
    """Mean over seeds, least, most."""
    lengths = np.linalg.norm(shifts, axis=1)
    return [float(f(lengths)) for f in (np.mean, np.min, np.max)]
