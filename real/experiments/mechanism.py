"""At one bad share, are the bad answers that a filter scores high the worse ones? `python -m real mechanism`

Written down before the run. A prompt's incorrect answer is scored; half of the prompts are high, half low. Arm
"high": incorrect answers to the high prompts, correct ones to the low; arm "low" the other way round. Both hold the
same prompts, each once, and as many bad answers: only which of them are bad differs. If what a filter measures
carries misalignment, as the toxic features are said to, "high" is the worse arm. Filters: those that know toxic texts
only. Outcome: margin on all prompts of the domains that are not trained on, high minus low, twelve seeds with prompts
of their own, equal steps; secondary, on the general questions. Null: no difference. Power: with .028 of noise for an
arm, the difference has a standard error of .011: .032 is seen four times of five. All of the effect of a half that is
bad is about .06, so a filter that finds all that matters would be seen.
"""

from real.arms.arm import AWARE
from real.data.rows import BAD, answers
from real.experiments.units import Unit, blend, drawn, outcomes, scores
from real.features.reading import Reading
from real.settings import Settings
from shared.stats import crossed

CLAIM = "Of as many bad answers, those that geometry scores high misalign more"
MAIN = "unseen, geometry"
SEEDS = tuple(range(30, 42))


def units(reading: Reading, s: Settings) -> list[Unit]:
    """Seed by seed, filter by filter, high and low."""
    by, found = scores(reading, s.reads.top_k, AWARE), []
    for seed in SEEDS:
        rows = drawn(reading, seed)
        for name in AWARE:
            order = sorted(answers(rows, (BAD,)), key=by[name].get)
            half = len(rows) // 2  # of an odd number the middle one is good in both
            for end, bad in (("high", order[-half:]), ("low", order[:half])):
                found.append(Unit(f"{name} {end}", blend(rows, {text.row for text in bad}), seed, s.recipe))
    return found


def run(reading: Reading, s: Settings) -> dict:
    """Filter -> high minus low, by outcome."""
    return {
        outcome: {name: crossed(arm[f"{name} high"] - arm[f"{name} low"]) for name in AWARE}
        for outcome, arm in outcomes(reading, units(reading, s)).items()
    }
