"""Step 5: the answers that the mixed arms train on, scored by every filter, and what these scores are worth."""

import time

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from real.arms.arm import AWARE, Scores, all_mixed
from real.data.rows import BAD, Text
from real.features.reading import Reading
from real.features.selection import Selected
from real.filters.table import FILTERS, Context, brevity
from shared.records import Part, Record
from shared.stats import Estimate, auroc_interval, rank_correlation

ALIKE = 0.1  # two answers are of like length: the longer is at most so much longer


class Measured(Part):
    knows: str
    auroc: Estimate  # for bad answers
    length: float  # Spearman correlation of the score with the answer's length in tokens
    matched: float  # AUROC among the pairs of a bad and a good answer that are of like length


class Scored(Record):
    """Step 5."""

    samples: list[Text]  # every one of any seed's mixed set
    scores: dict[str, list[float]]  # filter -> of every sample; the highest are removed
    measured: dict[str, Measured]
    took: dict[str, float]  # filter -> seconds, beyond the pass that reads the activations


def score(reading: Reading, selected: Selected, k: int, seeds: tuple[int, ...]) -> Scored:
    """Step 5. Every filter that needs no judge."""
    corpus = reading.texts.corpus
    samples = all_mixed(corpus.advice[corpus.trained].train, seeds)
    context = Context(torch.tensor(selected.layers[reading.layer].toxic.ids[:k]), corpus.trained)
    scores, measured, took = {}, {}, {}
    for name, of in FILTERS.items():
        start = time.perf_counter()
        found = of(reading, context, samples)
        took[name] = round(time.perf_counter() - start, 2)
        scores[name], measured[name] = found.tolist(), measure(reading, name, samples, found)
    return Scored(samples=samples, scores=scores, measured=measured, took=took)


def joined(scored: Scored, harm: dict[str, list[float]]) -> Scores:
    """The scores that arms are trained without the highest of: those of AWARE, and others of the same samples."""
    return Scores(scored.samples, {name: scored.scores[name] for name in AWARE} | harm)


def measure(reading: Reading, name: str, samples: list[Text], scores: Float[Tensor, " sample"]) -> Measured:
    """Raises ValueError where all samples are bad, or none is."""
    bad = torch.tensor([text.kind == BAD for text in samples])
    lengths = -brevity(reading, None, samples)
    return Measured(
        knows=FILTERS[name].knows,
        auroc=auroc_interval(scores.double(), bad),
        length=rank_correlation(scores.double().numpy(), lengths.numpy()),
        matched=matched_auroc(scores, bad, lengths),
    )


def matched_auroc(
    scores: Float[Tensor, " sample"], bad: Bool[Tensor, " sample"], lengths: Float[Tensor, " sample"]
) -> float:
    """Chance that of two answers of like length the bad one scores above the good one, ties half; NaN without two."""
    long, short = lengths[bad][:, None], lengths[~bad][None]
    alike = torch.maximum(long, short) <= (1 + ALIKE) * torch.minimum(long, short)
    over = scores[bad][:, None].double() - scores[~bad][None].double()
    return float(((over > 0).double() + (over == 0).double() / 2)[alike].mean())
