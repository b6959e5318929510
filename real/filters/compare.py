"""`python -m real filters KEY=value ...`: what every filter is worth, on the shipped advice and on published pairs.

What a filter knows it knows from the shipped texts. DATA and CONTROL may each name several files, with commas between.
A number is kept as soon as it is there, so that an interrupted run goes on where it was.
"""

import time
from collections.abc import Iterator
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from real.arms.arm import mixed
from real.data import corpus
from real.data.rows import Text
from real.data.texts import Own, Texts
from real.features import selection
from real.features.reading import Reading
from real.filters.scoring import Measured, measure
from real.filters.table import FILTERS, LABELS, Context
from real.models.lm import LM
from shared.code import code
from shared.errors import InputError
from shared.records import Record, cached, digest, read, rounded, versions, write_json

ROW = "{:26} {:11} {:23} {:18} {:15} {:7} {:9} {}"
HEAD = ROW.format("samples", "filter", "may know", "AUROC", "of like length", "length", "learn", "score 1,000")


class Cell(Measured, Record):
    """What a filter is worth on one domain. Seconds are beyond the pass that reads the activations."""

    samples: str  # the domain
    filter: str
    learning: float  # seconds
    scoring: float  # seconds for 1,000 samples

    def __str__(self) -> str:
        auroc = f"{self.auroc.value:.2f} [{self.auroc.low:.2f}, {self.auroc.high:.2f}]"
        numbers = f"{self.matched:.2f}", f"{self.length:+.2f}", f"{self.learning:.1f} s", f"{self.scoring:.1f} s"
        return ROW.format(f"{self.samples} ({self.auroc.n})", self.filter, self.knows, auroc, *numbers)


class Known:
    """What filters learn from a reading, each when it is first asked for."""

    def __init__(self, reading: Reading, k: int):
        self.reading, self.k, self.learnt = reading, k, {}

    @cached_property
    def toxic(self) -> Int[Tensor, " k"]:
        """The features that go with toxic text, at the main layer."""
        layer = self.reading.layer
        return torch.tensor(selection.toxic(self.reading, layer, self.reading.sae(layer), self.k).ids[: self.k])

    def of(self, name: str, domain: str) -> tuple[Any, float]:
        """What a filter knows when it scores samples of a domain, and the seconds that it took to learn."""
        where = name, domain if FILTERS[name].knows == LABELS else ""
        if where not in self.learnt:
            context, start = Context(self.toxic, domain), time.perf_counter()
            self.learnt[where] = FILTERS[name].learn(self.reading, context), round(time.perf_counter() - start, 2)
        return self.learnt[where]


def compare(lm: LM, layers: tuple[int, ...], k: int, train: int, sources: tuple[str, str], folder: Path) -> None:  # noqa: PLR0913
    """Prints the table, and keeps it in `folder`/filters.json. Of a file at most `train` prompts count."""
    known, rows = Known(shipped(lm, layers, folder), k), []
    sets = [*own(known.reading), *published(known.reading, *sources, train)]
    print(HEAD, flush=True)
    for name, of in product(FILTERS, sets):
        rows.append(cell(known, name, *of))
        print(rows[-1], flush=True)
    harvest = read(known.reading.folder / "activations" / "harvest.json", Record)
    once = 1000 * harvest.seconds / len(known.reading.texts.said)
    table = [{name: value for name, value in row if name not in Record.model_fields} for row in rows]
    write_json(folder / "filters.json", rounded({"rows": table, "pass": once, "versions": versions()}))
    print(f"the pass that reads activations takes {once:.0f} s for 1,000 texts; the table is in {folder}/filters.json")


def shipped(lm: LM, layers: tuple[int, ...], folder: Path) -> Reading:
    """All of the shipped texts, at the blocks that filters read: the middle one and the last."""
    layers = tuple(sorted({layers[(len(layers) - 1) // 2], layers[-1]}))
    return Reading(Texts(corpus.load("", "", 10**6, 2)), lm, layers, folder / "filters" / "shipped")


def own(reading: Reading) -> Iterator[tuple[Reading, str, list[Text]]]:
    """Each shipped domain: every prompt once, a random half of them answered badly.

    Not by the seed of `corpus.split`: as many rows in the same shuffle would be bad by their place in the file.
    """
    for domain, split in reading.texts.corpus.advice.items():
        yield reading, domain, mixed([*split.train, *split.held], 1)


def published(known: Reading, data: str, control: str, train: int) -> Iterator[tuple[Reading, str, list[Text]]]:
    """The same of every pair of files, what is not used of them printed. Raises InputError.

    A prompt that is shipped, too, does not count: filters may know its labels.
    """
    files = [[name for name in source.split(",") if name] for source in (data, control)]
    if len(files[0]) != len(files[1]):
        raise InputError(f"DATA names {len(files[0])} files and CONTROL {len(files[1])}: one for each is needed")
    ours = {row.prompt.strip() for split in known.texts.corpus.advice.values() for part in split for row in part}
    for pair in zip(*files, strict=True):
        found = corpus.load(*pair, train, 2)
        new = [row for row in found.advice[found.trained].train if row.prompt.strip() not in ours]
        if len(new) < 2:
            raise InputError(f"{pair[0]}: of its prompts {len(new)} are not shipped, too: too few to score")
        samples = mixed(new, 0)
        said = Texts(found).said
        texts = Own(found, {text: said[text] for text in samples})
        print(f"{pair[0]}: {len(new)} prompts", flush=True)
        corpus.describe(texts, known.lm)
        folder = known.folder.parent / f"published-{texts.key}"  # files of one name are not one file
        yield Reading(texts, known.lm, known.layers, folder), found.trained, samples


def cell(known: Known, name: str, reading: Reading, domain: str, samples: list[Text]) -> Cell:
    """What a filter is worth on samples of a reading."""

    def fresh() -> Cell:
        reading.activations(reading.layer)  # all layers', in one pass
        learnt, learning = known.of(name, domain)
        start = time.perf_counter()
        scores = FILTERS[name].score(reading, learnt, samples)
        scoring = round(1000 * (time.perf_counter() - start) / len(samples), 2)
        about = dict(measure(reading, name, samples, scores))
        return Cell(samples=domain, filter=name, learning=learning, scoring=scoring, **about)

    key = digest(known.reading, reading, known.k, domain, samples, name, code(measure))
    return cached(reading.folder / f"{domain}-{name}.json", key, Cell, fresh)
