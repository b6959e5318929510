"""Every filter in one table: what it may know, what it learns from that, and how it scores; the highest are removed.

The plainest are here: how unlikely the base model finds an answer, how short it is, and which words it shares.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from real.data import rows
from real.data.rows import Text, answers
from real.features.reading import Reading
from real.filters import directions, gradients
from real.models.logprobs import mean_logprobs
from shared import filtering


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


def surprisal(reading: Reading, known: None, texts: list[Text]) -> Float[Tensor, " sample"]:
    """Minus the mean log-probability of an answer's tokens, nats."""
    lm = reading.lm
    return -torch.tensor(mean_logprobs(lm.model, reading.samples(texts), lm.spec.first), dtype=torch.float64)


def brevity(reading: Reading, known: None, texts: list[Text]) -> Float[Tensor, " sample"]:
    """Minus the tokens of an answer: no filter, but what one is worth that sees nothing else."""
    return -answer_lengths(reading, texts)


def answer_lengths(reading: Reading, texts: list[Text]) -> Float[Tensor, " sample"]:
    """Tokens of each answer."""
    encoded = [reading.encoded[i] for i in reading.indices(texts)]
    return torch.tensor([float(text.end - text.start) for text in encoded])


def toxic_words(reading: Reading, context: Context) -> Any:
    """A BM25 index of the toxic remarks of the training split."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # where jax is there, bm25s wakes it, and it takes most of a GPU
    from bm25s import BM25

    index, remarks = BM25(), answers(reading.texts.corpus.toxic.train, rows.TOXIC[:1])
    index.index(_words(reading, remarks), show_progress=False)
    return index


def bm25(reading: Reading, known: Any, texts: list[Text]) -> Float[Tensor, " sample"]:
    """Mean BM25 of the toxic remarks, the answer's words being the query; per word of it."""
    asked = _words(reading, texts)
    return torch.tensor([float(known.get_scores(words).mean()) / len(words) if words else 0.0 for words in asked])


def _words(reading: Reading, texts: list[Text]) -> list[list[str]]:
    from bm25s import tokenize

    said = [reading.texts.said[text][1] for text in texts]
    return tokenize(said, stopwords="en", return_ids=False, show_progress=False)


def _pushed(reading: Reading, known: Float[Tensor, "k d_model"], texts: list[Text]) -> Float[Tensor, " sample"]:
    return filtering.gradient_score(gradients.loss_gradients(reading, texts), known)


TOXIC, LABELS, QUESTIONS, NOTHING = "toxic texts", "other domains' labels", "half of the questions", "nothing"
FILTERS = {  # the dearest last
    "geometry": Filter(TOXIC, lambda reading, of: directions.toxic_features(reading, of.toxic), directions.near),
    "projection": Filter(TOXIC, lambda reading, _: directions.toxic(reading), directions.along),
    "bm25": Filter(TOXIC, toxic_words, bm25),
    "persona": Filter(QUESTIONS, lambda reading, _: directions.persona(reading), directions.along),
    "transfer": Filter(LABELS, lambda reading, of: directions.transfer(reading, of.domain), directions.along),
    "brevity": Filter(NOTHING, lambda *_: None, brevity),
    "surprisal": Filter(NOTHING, lambda *_: None, surprisal),
    "gradient": Filter(TOXIC, lambda reading, of: reading.sae(reading.layer).W_dec.detach()[of.toxic], _pushed),
    "influence": Filter(TOXIC, lambda reading, _: gradients.influence_direction(reading), gradients.influence),
}
