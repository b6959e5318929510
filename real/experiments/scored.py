"""What every filter says of the answers that experiments train on, kept."""

import torch

from real.data.rows import ADVICE, Text, answers
from real.experiments.units import pool
from real.features.reading import Reading
from real.features.selection import Selected, select, sets
from real.filters.table import FILTERS, Context
from shared.code import code
from shared.records import Record, cached, digest


class Scores(Record):
    texts: list[Text]
    by: dict[str, list[float]]  # filter -> of every text; the highest are removed


def selected(reading: Reading, k: int) -> Selected:
    key = digest(reading, k, code(select))
    return cached(reading.folder / "experiments" / "selected.json", key, Selected, lambda: select(reading, k))


def toxic_features(reading: Reading, k: int) -> torch.Tensor:
    layer = selected(reading, k).layers[reading.layer]
    return sets(layer, reading.texts.corpus.trained, k)["toxic"]


def scores(reading: Reading, k: int, names: tuple[str, ...]) -> dict[str, dict[Text, float]]:
    """Filter -> answer -> score, of both answers to every prompt of the trained domain."""
    texts = answers(pool(reading), ADVICE)

    def made() -> Scores:
        context = Context(toxic_features(reading, k), reading.texts.corpus.trained)
        return Scores(texts=texts, by={name: FILTERS[name](reading, context, texts).tolist() for name in names})

    key = digest(reading, k, texts, code(scores))
    found = cached(reading.folder / "experiments" / f"scores-{'-'.join(names)}.json", key, Scores, made)
    return {name: dict(zip(found.texts, values, strict=True)) for name, values in found.by.items()}
