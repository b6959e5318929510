"""What every filter says of the answers that experiments train on, kept."""

from jaxtyping import Int
from torch import Tensor

from real.data.rows import ADVICE, Text, answers
from real.experiments.units import pool
from real.features.reading import Reading
from real.features.selection import Selected, select, sets
from real.filters.table import FILTERS, Context
from shared.code import code
from shared.records import Record, cached, digest


class Scores(Record):
    by_text: list[float]  # the highest are removed


def selected(reading: Reading, k: int) -> Selected:
    key = digest(reading, k, code(select))
    return cached(reading.folder / "experiments" / "selected.json", key, Selected, lambda: select(reading, k))


def toxic_features(reading: Reading, k: int) -> Int[Tensor, " k"]:
    return sets(selected(reading, k).layers[reading.layer], reading.texts.corpus.trained, k)["toxic"]


def scores(reading: Reading, k: int, name: str) -> dict[Text, float]:
    """A filter's, of both answers to every prompt of the trained domain."""
    texts = answers(pool(reading), ADVICE)

    def made() -> Scores:
        context = Context(toxic_features(reading, k), reading.texts.corpus.trained)
        return Scores(by_text=FILTERS[name](reading, context, texts).tolist())

    key = digest(reading, k, texts, name, code(scores))
    found = cached(reading.folder / "experiments" / f"scores-{name}.json", key, Scores, made)
    return dict(zip(texts, found.by_text, strict=True))
