"""Every filter in one table: what it may know, what it learns from that, and how it scores; the highest are removed."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from real.data.rows import Text
from real.features.reading import Reading
from real.filters import directions, gradients, plain
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


TOXIC, LABELS, QUESTIONS, NOTHING = "toxic texts", "other domains' labels", "half of the questions", "nothing"


def _pushed(reading: Reading, known: Float[Tensor, "k d_model"], texts: list[Text]) -> Float[Tensor, " sample"]:
    return filtering.gradient_score(gradients.loss_gradients(reading, texts), known)


FILTERS = {  # the dearest last
    "geometry": Filter(TOXIC, lambda reading, of: directions.toxic_features(reading, of.toxic), directions.near),
    "projection": Filter(TOXIC, lambda reading, _: directions.toxic(reading), directions.along),
    "bm25": Filter(TOXIC, lambda reading, _: plain.toxic_words(reading), plain.bm25),
    "persona": Filter(QUESTIONS, lambda reading, _: directions.persona(reading), directions.along),
    "transfer": Filter(LABELS, lambda reading, of: directions.transfer(reading, of.domain), directions.along),
    "brevity": Filter(NOTHING, lambda *_: None, plain.brevity),
    "surprisal": Filter(NOTHING, lambda *_: None, plain.surprisal),
    "gradient": Filter(TOXIC, lambda reading, of: reading.sae(reading.layer).W_dec.detach()[of.toxic], _pushed),
    "influence": Filter(TOXIC, lambda reading, _: gradients.influence_direction(reading), gradients.influence),
}
