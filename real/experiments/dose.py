"""How much more misaligned does a larger share of bad answers make the model?  `python -m real dose`

Written down before the run. Arms: the same prompts in the same order, 0, 1/4, 1/2, 3/4 and all of them with their
incorrect answer (each share holds those before it), eight seeds with prompts of their own, equal steps. Outcome: the
margin on all prompts of the domains that are not trained on; secondary, on the general questions. Prediction: it rises
in a straight line with the share. Null: no slope. Power: a pilot has a standard error of .013 for a slope of .115, so
that a slope of .037 would be seen four times of five.

What a filter can do follows (E = slope x share): of half bad samples, a random half leaves half bad, a filter with an
AUROC of A leaves G = 2 Phi(Phi^-1(A) / sqrt 2) - 1 less of them, relatively, if its scores are normal.
"""

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from real.experiments.units import Unit, blend, drawn, outcomes
from real.features.reading import Reading
from real.settings import Settings
from shared.stats import Estimate, crossed

CLAIM = "More bad answers among the training samples, more misalignment"
MAIN = "unseen, slope"
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
LINE = np.array(SHARES) - np.mean(SHARES)
BEND = LINE**2 - (LINE**2).mean()  # what a straight line knows nothing of
SEEDS = tuple(range(10, 18))
AUROCS = (0.6, 0.65, 0.7, 0.8, 0.9, 1.0)


def units(reading: Reading, s: Settings) -> list[Unit]:
    """Seed by seed, share by share."""
    found = []
    for seed in SEEDS:
        rows = drawn(reading, seed)
        for share in SHARES:
            bad = {row.id for row in rows[: round(share * len(rows))]}
            found.append(Unit(f"bad {share:g}", sorted(blend(rows, bad)), seed, s.recipe))
    return found


def run(reading: Reading, s: Settings) -> dict:
    """By outcome: the margin at every share, the slope, its curvature, and what filters could then do."""
    found = outcomes(reading, units(reading, s))
    return {outcome: _about(np.stack(list(arms.values()), axis=1)) for outcome, arms in found.items()}


def _about(table: Float[np.ndarray, "seed share question"]) -> dict:
    slope = crossed(slopes(table))
    return {
        "effect of a share": {f"{q:g}": crossed(table[:, i] - table[:, 0]) for i, q in enumerate(SHARES) if i},
        "slope": slope,
        "curvature": crossed(slopes(table, BEND)),
        "removed by a filter of AUROC": {
            f"{auroc:g}": Estimate(*(0.5 * gained(auroc) * x for x in slope[:3]), slope.n) for auroc in AUROCS
        },
    }


def slopes(
    table: Float[np.ndarray, "seed share question"], along: Float[np.ndarray, " share"] = LINE
) -> Float[np.ndarray, "seed question"]:
    """By least squares, nats per token from no bad answer to nothing else."""
    return np.einsum("sdq,d->sq", table, along / (along @ along))


def gained(auroc: float) -> float:
    """Of the bad samples that removing a random half would leave, the share that a filter takes away as well."""
    return 2 * norm.cdf(norm.ppf(auroc) / np.sqrt(2)) - 1
