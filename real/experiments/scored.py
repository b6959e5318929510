"""What every filter says of the answers that experiments train on, kept."""

from real.data.rows import ADVICE, Text, answers
from real.experiments.units import pool
from real.features.reading import Reading
from real.features.selection import Layer, Selected, select, sets
from real.filters.table import FILTERS, Context
from shared.code import code
from shared.records import Record, cached, digest


class Scores(Record):
    by_text: list[float]  # the highest are removed


def selected(reading: Reading, k: int) -> Layer:
    """The features of the main layer."""
    path, key = reading.folder / "experiments" / "selected.json", digest(reading, k, code(select))
    return cached(path, key, Selected, lambda: select(reading, k)).layers[reading.layer]


def scores(reading: Reading, k: int, name: str) -> dict[Text, float]:
    """A filter's, of both answers to every prompt of the trained domain."""
    texts, trained = answers(pool(reading), ADVICE), reading.texts.corpus.trained

    def made() -> Scores:
        context = Context(sets(selected(reading, k), trained, k)["toxic"], trained)
        return Scores(by_text=FILTERS[name](reading, context, texts).tolist())

    key = digest(reading, k, texts, name, code(scores))
    found = cached(reading.folder / "experiments" / f"scores-{name}.json", key, Scores, made)
    return dict(zip(texts, found.by_text, strict=True))
