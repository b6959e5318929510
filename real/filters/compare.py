"""`python -m real filters KEY=value ...`: what every filter is worth, on the shipped advice and on published pairs.

DATA and CONTROL may each name several files, with commas between. A number is kept as soon as it is known, so that an
interrupted run goes on where it was.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from real.arms.arm import mixed
from real.data import corpus
from real.data.texts import Texts
from real.features import selection
from real.features.reading import Harvest, Reading
from real.filters.scoring import Measured, measure
from real.filters.table import FILTERS, LABELS, Context
from real.models.lm import LM
from shared.code import code
from shared.errors import InputError
from shared.records import Record, cached, digest, read, rounded, versions, write_json

HEAD = ("samples", "filter", "may know", "AUROC", "of like length", "length", "learn", "score 1,000")


class Worth(Record):
    """Of one filter on one domain. Seconds are beyond the pass that reads the activations."""

    measured: Measured
    learning: float  # seconds
    scoring: float  # seconds for 1,000 samples


class Cell(NamedTuple):
    domain: str
    name: str
    worth: Worth


def pairs(data: str, control: str) -> list[tuple[str, str]]:
    """The shipped advice, which no file names, and every pair of files."""
    files = [[name for name in source.split(",") if name] for source in (data, control)]
    if len(files[0]) != len(files[1]):
        raise InputError(f"DATA names {len(files[0])} files and CONTROL {len(files[1])}: one for each is needed")
    return [("", ""), *zip(*files, strict=True)]


def compare(lm: LM, layers: tuple[int, ...], k: int, train: int, sources: list[tuple[str, str]], folder: Path) -> None:  # noqa: PLR0913
    """Prints the table, and keeps it in `folder`/filters.json. Of a file `train` prompts and those held out count."""
    rows, passes = [], {}
    print(_row(HEAD), flush=True)
    for data, control in sources:
        texts = Texts(corpus.load(data, control, train if data else 10**6, 2))
        here = folder / "filters" / (texts.corpus.trained if data else "shipped")
        reading = Reading(texts, lm, watched(layers), here)
        for cell in cells(reading, k, [texts.corpus.trained] if data else list(texts.corpus.advice)):
            print(_row(_written(cell)), flush=True)
            seconds = {"learning": cell.worth.learning, "scoring": cell.worth.scoring}
            rows.append({"samples": cell.domain, "filter": cell.name, **dict(cell.worth.measured), **seconds})
        harvest = read(here / "activations" / "harvest.json", Harvest)
        passes[here.name] = 1000 * harvest.seconds / len(texts.said)
    print(f"the pass that reads activations, seconds for 1,000 texts: {', '.join(f'{s:.0f}' for s in passes.values())}")
    write_json(folder / "filters.json", rounded({"rows": rows, "pass": passes, "versions": versions()}))
    print(f"the table is in {folder / 'filters.json'}")


def watched(layers: tuple[int, ...]) -> tuple[int, ...]:
    """Of the blocks that are read those that filters read: the middle one, and the last."""
    return tuple(sorted({layers[(len(layers) - 1) // 2], layers[-1]}))


def cells(reading: Reading, k: int, domains: list[str]) -> Iterator[Cell]:
    """Every filter on every domain: each prompt once, a random half of them answered badly."""
    toxic = torch.tensor(selection.toxic(reading, reading.layer, k).ids[:k])
    known = {}
    for domain in domains:
        split, context = reading.texts.corpus.advice[domain], Context(toxic, domain)
        samples = mixed([*split.train, *split.held], 0)
        for name in FILTERS:
            key = digest(reading, k, domain, name, code(measure))
            path = reading.folder / f"{domain}-{name}.json"
            worth = cached(path, key, Worth, lambda of=(name, context, samples): _worth(reading, known, *of))
            yield Cell(domain, name, worth)


def _worth(reading: Reading, known: dict, name: str, context: Context, samples: list) -> Worth:
    """`known`: filter -> what it learnt, and how long that took."""
    of = FILTERS[name]
    start = time.perf_counter()
    if name not in known or of.knows == LABELS:  # the only thing that hangs on the domain
        learnt = of.learn(reading, context)
        known[name] = learnt, time.perf_counter() - start
    start = time.perf_counter()
    scores = of.score(reading, known[name][0], samples)
    scoring = 1000 * (time.perf_counter() - start) / len(samples)
    measured = measure(reading, name, samples, scores)
    return Worth(measured=measured, learning=round(known[name][1], 2), scoring=round(scoring, 2))


def _written(cell: Cell) -> tuple[str, ...]:
    m, worth = cell.worth.measured, cell.worth
    auroc = f"{m.auroc.value:.2f} [{m.auroc.low:.2f}, {m.auroc.high:.2f}]"
    numbers = f"{m.matched:.2f}", f"{m.length:+.2f}", f"{worth.learning:.1f} s", f"{worth.scoring:.1f} s"
    return f"{cell.domain} ({m.auroc.n})", cell.name, m.knows, auroc, *numbers


def _row(cells: tuple[str, ...]) -> str:
    widths = (26, 11, 23, 18, 15, 7, 9, 12)
    return " ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
