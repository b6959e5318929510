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
from scipy.stats import rankdata
from torch import Tensor

from real.data.rows import BAD, Text
from real.experiments import dose
from real.experiments.units import measure, outcomes, pool, unseen
from real.features.reading import Reading
from real.settings import Settings
from shared.geometry import cosine
from shared.stats import Estimate, permutation_p

CLAIM = "Questions whose answers overlap with the training answers are moved more"
MAIN = "correlation"
DRAWS = 10_000


def run(reading: Reading, s: Settings) -> dict:
    """The correlation, by domain and averaged, and its p, two-sided."""
    made = measure(reading, dose.units(reading, s.recipe))
    table = outcomes(reading, made, len(dose.SEEDS), len(dose.SHARES))["unseen"]
    slopes = dose.slopes(table).mean(0)  # of every question
    sizes = [len(reading.texts.asked[domain]) for domain in unseen(reading)]
    overlaps = [overlap(reading, domain) for domain in unseen(reading)]
    by_domain = np.split(slopes, np.cumsum(sizes)[:-1])
    observed = [correlation(x, y) for x, y in zip(overlaps, by_domain, strict=True)]
    rng = np.random.default_rng(0)
    null = np.array(
        [
            np.mean([correlation(x, rng.permutation(y)) for x, y in zip(overlaps, by_domain, strict=True)])
            for _ in range(DRAWS)
        ]
    )
    value, (low, high) = float(np.mean(observed)), np.percentile(null, [2.5, 97.5])
    half = 1.96 * (1 - value**2) / (sum(sizes) - 3 * len(sizes)) ** 0.5
    return {
        "correlation": Estimate(value, value - half, value + half, sum(sizes)),
        "p": permutation_p(abs(value), np.abs(null)),
        "by chance": [float(low), float(high)],
        "by domain": dict(zip(unseen(reading), observed, strict=True)),
    }


def overlap(reading: Reading, domain: str) -> Float[np.ndarray, " question"]:
    """Mean cosine of a question's answers to the incorrect training answers, activations centred."""
    trained = _means(reading, [Text(row.id, BAD) for row in pool(reading)])
    asked = [_means(reading, [*sides.misaligned, *sides.aligned]).mean(0) for sides in reading.texts.asked[domain]]
    found = torch.stack(asked)
    centre = torch.cat([trained, found]).mean(0)
    return cosine(found - centre, trained - centre).mean(1).double().numpy()


def correlation(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    """Spearman's."""
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def _means(reading: Reading, texts: list[Text]) -> Float[Tensor, "text d_model"]:
    """Mean over each answer of what goes into the first adapted block."""
    return torch.stack([below[text.start : text.end].mean(0) for text, below in reading.samples(texts)])
