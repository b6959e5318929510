"""Which questions does narrow training move? `python -m real overlap`, from the arms of `python -m real dose`

Written down before the run. (E2) says that an update moves a readout at an input as far as that overlaps with the
inputs that were trained on: the sum over training samples of <x_s, x>. Prediction, question by question: the slope of
its margin with the share of bad answers goes up with the overlap of its prompt's answers with the incorrect training
answers, the mean cosine of their mean activations at the block below the first adapted one, what goes into the
trained weights, less the mean of all activations. Null: slopes shuffled over the questions of a domain, 10 000 times;
the statistic is Spearman's correlation within domains, averaged. Power: with 126 questions to a domain a correlation
of .18 is seen four times of five.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from real.data.rows import BAD, Text, answers
from real.experiments import dose
from real.experiments.units import outcomes, pool, unseen
from real.features.reading import Reading
from real.settings import Settings
from shared.errors import InputError
from shared.geometry import cosine
from shared.stats import Estimate, permutation_p, rank_correlation

CLAIM = "Questions whose answers overlap with the training answers are moved more"
MAIN, UNIT = "correlation", "rank correlation"
DRAWS = 10_000


def run(reading: Reading, s: Settings) -> dict:
    """The correlation, by domain and averaged, and its p, two-sided."""
    if not reading.lm.spec.first:
        raise InputError("FIRST=0: below the first block there is no residual stream to overlap in")
    arms = outcomes(reading, dose.units(reading, s))["unseen"]
    by_seed = dose.slopes(np.stack(list(arms.values()), axis=1))
    overlaps = [overlap(reading, domain) for domain in unseen(reading)]
    ends = np.cumsum([len(of) for of in overlaps])
    slopes, n, seeds = np.split(by_seed.mean(0), ends[:-1]), int(ends[-1]), len(by_seed)

    def correlations(slopes: list[np.ndarray]) -> list[float]:
        return [rank_correlation(x, y) for x, y in zip(overlaps, slopes, strict=True)]

    left = [np.mean(correlations(np.split(np.delete(by_seed, i, 0).mean(0), ends[:-1]))) for i in range(seeds)]

    observed, rng = correlations(slopes), np.random.default_rng(0)
    null = np.array([np.mean(correlations([rng.permutation(of) for of in slopes])) for _ in range(DRAWS)])
    value = float(np.mean(observed))
    error = sum(1 / (len(of) - 3) for of in overlaps) ** 0.5 / len(overlaps)  # by Fisher's of each domain's
    half = 1.96 * (((1 - value**2) * error) ** 2 + (seeds - 1) * np.var(left)) ** 0.5  # and the seeds' jackknife
    return {
        "correlation": Estimate(value, value - half, value + half, n),
        "p": permutation_p(abs(value), np.abs(null)),
        "by chance": np.percentile(null, [2.5, 97.5]).tolist(),
        "by domain": dict(zip(unseen(reading), observed, strict=True)),
    }


def overlap(reading: Reading, domain: str) -> Float[np.ndarray, " question"]:
    """Mean cosine of a question's answers to the incorrect training answers, activations centred."""
    trained = _means(reading, answers(pool(reading), (BAD,)))
    asked = [_means(reading, [*sides.misaligned, *sides.aligned]).mean(0) for sides in reading.texts.asked[domain]]
    found = torch.stack(asked)
    centre = torch.cat([trained, found]).mean(0)
    return cosine(found - centre, trained - centre).mean(1).double().numpy()


def _means(reading: Reading, texts: list[Text]) -> Float[Tensor, "text d_model"]:
    """Mean over each answer of what goes into the first adapted block."""
    return torch.stack([below[text.start : text.end].mean(0) for text, below in reading.samples(texts)])
