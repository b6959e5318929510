"""The plainest filters: how unlikely the base model finds an answer, and how many words it shares with toxic text."""

import os
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from real.data.rows import TOXIC, Text, answers
from real.features.reading import Reading
from real.models.logprobs import mean_logprobs


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


def toxic_words(reading: Reading) -> Any:
    """An index of the toxic remarks of the training split."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # where jax is there, bm25s wakes it, and it takes most of a GPU
    from bm25s import BM25

    index = BM25()
    remarks = answers(reading.texts.corpus.toxic.train, TOXIC[:1])
    index.index(_words([reading.texts.said[text][1] for text in remarks]), show_progress=False)
    return index


def bm25(reading: Reading, known: Any, texts: list[Text]) -> Float[Tensor, " sample"]:
    """Mean BM25 of the toxic remarks, the answer's words being the query; per word of it."""
    asked = _words([reading.texts.said[text][1] for text in texts])
    return torch.tensor([float(known.get_scores(words).mean()) / len(words) if words else 0.0 for words in asked])


def _words(texts: list[str]) -> list[list[str]]:
    from bm25s import tokenize

    return tokenize(texts, stopwords="en", return_ids=False, show_progress=False)
