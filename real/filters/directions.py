"""Filters that read activations: near which features, or how far along which direction, an answer lies."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from real.data.rows import ADVICE, TOXIC, Text, answers
from real.data.texts import sides
from real.features.activations import answer_means, pooled
from real.features.reading import Reading
from shared import filtering, geometry


class Direction(NamedTuple):
    layer: int
    vector: Float[Tensor, " d_model"]


class Near(NamedTuple):
    sae: Any
    cosine: Float[Tensor, " d_sae"]  # of every feature, its mean one to the toxic features


def toxic_features(reading: Reading, ids: Int[Tensor, " k"]) -> Near:
    sae = reading.sae(reading.layer)
    return Near(sae, geometry.affinity(sae.W_dec.detach(), ids))


def near(reading: Reading, known: Near, texts: list[Text]) -> Float[Tensor, " sample"]:
    """Mean cosine of an answer's active features to the toxic ones."""
    acts = pooled(known.sae, reading.activations(reading.layer), reading.indices(texts))
    return torch.cat([filtering.geometry_score(a, known.cosine) for a in acts])


def along(reading: Reading, known: Direction, texts: list[Text]) -> Float[Tensor, " sample"]:
    """Mean answer activation along a direction, in units of the activation."""
    return filtering.projection_score(_means(reading, known.layer, texts), known.vector)


def toxic(reading: Reading) -> Direction:
    """From the mean civil to the mean toxic remark, those of the training split."""
    remarks = reading.texts.corpus.toxic.train
    return _between(reading, reading.layer, *(answers(remarks, (kind,)) for kind in TOXIC))


def persona(reading: Reading) -> Direction:
    """From aligned to misaligned answers to every other question: persona vectors (Chen et al. 2025)."""
    asked = [sides(question) for question in reading.texts.corpus.questions[::2]]
    return _between(reading, reading.layer, *(sum(side, []) for side in zip(*asked, strict=True)))


def transfer(reading: Reading, domain: str) -> Direction:
    """From good to bad answers of every domain but this one, at the middle one of the blocks that are read."""
    others = [row for name, split in reading.texts.corpus.advice.items() if name != domain for row in split.train]
    layer = reading.layers[(len(reading.layers) - 1) // 2]
    return _between(reading, layer, *(answers(others, (kind,)) for kind in ADVICE))


def _between(reading: Reading, layer: int, to: list[Text], start: list[Text]) -> Direction:
    ends = [_means(reading, layer, texts).mean(0) for texts in (to, start)]
    return Direction(layer, ends[0] - ends[1])


def _means(reading: Reading, layer: int, texts: list[Text]) -> Float[Tensor, "text d_model"]:
    return answer_means(reading.activations(layer), reading.indices(texts))
