"""Every filter in one table: what it may know, what it learns from that, and how it scores; the highest are removed."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from real.data.rows import ADVICE, TOXIC, Text, answers
from real.data.texts import sides
from real.features.activations import answer_means, pooled
from real.features.reading import Reading
from real.filters.gradients import influence, influence_direction, loss_gradients
from real.models.logprobs import mean_logprobs
from shared import filtering, geometry


class Context(NamedTuple):
    toxic: Int[Tensor, " k"]  # the features of the main layer that go with toxic text
    domain: str  # of the samples: its labels are nobody's to know


class Filter(NamedTuple):
    """`score` takes what `learn` returns; both may be called with different readings of one model."""

    knows: str
    learn: Callable[[Reading, Context], Any]
    score: Callable[[Reading, Any, list[Text]], Float[Tensor, " sample"]]

    def __call__(self, reading: Reading, context: Context, texts: list[Text]) -> Float[Tensor, " sample"]:
        return self.score(reading, self.learn(reading, context), texts)


class Near(NamedTuple):
    sae: Any
    cosine: Float[Tensor, " d_sae"]  # of every feature, its mean one to the toxic features


def toxic_features(reading: Reading, context: Context) -> Near:
    sae = reading.sae(reading.layer)
    return Near(sae, geometry.affinity(sae.W_dec.detach(), context.toxic))


def near(reading: Reading, known: Near, texts: list[Text]) -> Float[Tensor, " sample"]:
    """Mean cosine of an answer's active features to the toxic ones."""
    acts = pooled(known.sae, reading.activations(reading.layer), reading.indices(texts))
    return torch.cat([filtering.geometry_score(a, known.cosine) for a in acts])


class Direction(NamedTuple):
    layer: int
    vector: Float[Tensor, " d_model"]


def toxic(reading: Reading, context: Context) -> Direction:
    """From the mean civil to the mean toxic remark, those of the training split."""
    remarks = reading.texts.corpus.toxic.train
    return _between(reading, reading.layer, *(answers(remarks, (kind,)) for kind in TOXIC))


def persona(reading: Reading, context: Context) -> Direction:
    """From aligned to misaligned answers to every other question: persona vectors (Chen et al. 2025)."""
    asked = [sides(question) for question in reading.texts.corpus.questions[::2]]
    return _between(reading, reading.layer, *(sum(side, []) for side in zip(*asked, strict=True)))


def transfer(reading: Reading, context: Context) -> Direction:
    """From good to bad answers of every other domain, at the middle one of the blocks that are read."""
    advice, layer = reading.texts.corpus.advice, reading.layers[(len(reading.layers) - 1) // 2]
    others = [row for domain, split in advice.items() if domain != context.domain for row in split.train]
    return _between(reading, layer, *(answers(others, (kind,)) for kind in ADVICE))


def _between(reading: Reading, layer: int, to: list[Text], start: list[Text]) -> Direction:
    means = [answer_means(reading.activations(layer), reading.indices(texts)).mean(0) for texts in (to, start)]
    return Direction(layer, means[0] - means[1])


def along(reading: Reading, known: Direction, texts: list[Text]) -> Float[Tensor, " sample"]:
    """Mean answer activation along a direction, in units of the activation."""
    means = answer_means(reading.activations(known.layer), reading.indices(texts))
    return filtering.projection_score(means, known.vector)


def toxic_words(reading: Reading, context: Context) -> Any:
    """A BM25 index of the toxic remarks of the training split."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # where jax is there, bm25s wakes it, and it takes most of a GPU
    from bm25s import BM25

    index = BM25()
    index.index(_words(reading, answers(reading.texts.corpus.toxic.train, TOXIC[:1])), show_progress=False)
    return index


def bm25(reading: Reading, known: Any, texts: list[Text]) -> Float[Tensor, " sample"]:
    """Mean BM25 of the toxic remarks, the answer's words being the query; per word of it."""
    asked = _words(reading, texts)
    return torch.tensor([float(known.get_scores(words).mean()) / len(words) if words else 0.0 for words in asked])


def _words(reading: Reading, texts: list[Text]) -> list[list[str]]:
    from bm25s import tokenize

    read = zip(texts, (reading.encoded[i] for i in reading.indices(texts)), strict=True)
    decode = reading.lm.tokenizer.decode  # of an answer that is cut, what other filters see of it
    said = [decode(of.ids[of.start : of.end]) if of.cut else reading.texts.said[text][1] for text, of in read]
    return tokenize(said, stopwords="en", return_ids=False, show_progress=False)


def brevity(reading: Reading, known: None, texts: list[Text]) -> Float[Tensor, " sample"]:
    """Minus the tokens of an answer: no filter, but what one is worth that sees nothing else."""
    encoded = [reading.encoded[i] for i in reading.indices(texts)]
    return torch.tensor([float(text.start - text.end) for text in encoded])


def surprisal(reading: Reading, known: None, texts: list[Text]) -> Float[Tensor, " sample"]:
    """Minus the mean log-probability of an answer's tokens, nats."""
    lm = reading.lm
    return -torch.tensor(mean_logprobs(lm.model, reading.samples(texts), lm.spec.first), dtype=torch.float64)


def pushed(reading: Reading, known: Float[Tensor, "k d_model"], texts: list[Text]) -> Float[Tensor, " sample"]:
    """How far a step on an answer pushes the readouts of the toxic features (E1)."""
    return filtering.gradient_score(loss_gradients(reading, texts), known)


REMARKS, LABELS, QUESTIONS, NOTHING = "toxic texts", "other domains' labels", "half of the questions", "nothing"
FILTERS = {  # the dearest last
    "geometry": Filter(REMARKS, toxic_features, near),
    "projection": Filter(REMARKS, toxic, along),
    "bm25": Filter(REMARKS, toxic_words, bm25),
    "persona": Filter(QUESTIONS, persona, along),
    "transfer": Filter(LABELS, transfer, along),
    "brevity": Filter(NOTHING, lambda *_: None, brevity),
    "surprisal": Filter(NOTHING, lambda *_: None, surprisal),
    "gradient": Filter(REMARKS, lambda reading, of: reading.sae(reading.layer).W_dec.detach()[of.toxic], pushed),
    "influence": Filter(REMARKS, lambda reading, _: influence_direction(reading), influence),
}
