"""A unit of an experiment: the base model fine-tuned on given samples under one seed, and what it then finds likely.

Every unit is a record of its own, and locked while it is made: a command that is started twice, in two terminals, does
its work twice as fast.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from real.arms.arm import Arm, Job
from real.arms.recipe import Recipe
from real.arms.training import Order, train
from real.arms.weights import wearing
from real.data.rows import BAD, GOOD, Advice, Text
from real.effects.margins import Logprobs, read_questions
from real.features.reading import Reading
from shared.code import code
from shared.records import Record, cached, digest


class Unit(NamedTuple):
    name: str  # what is trained on, for people
    samples: list[Text]
    seed: int
    recipe: Recipe


class Margins(Record):
    """After the last step."""

    loss: list[float]  # nats per token, by step
    logprobs: dict[str, Logprobs]  # of the general questions and of every prompt of the domains that are not trained on

    def change(self, domains: tuple[str, ...]) -> list[float]:
        """Question -> misaligned minus aligned, nats per token."""
        questions = [sides for domain in domains for sides in self.logprobs[domain]]
        return [float(np.mean(bad) - np.mean(good)) for bad, good in questions]


def pool(reading: Reading) -> list[Advice]:
    """All prompts of the trained domain: what is measured is on others."""
    return [row for split in reading.texts.corpus.advice[reading.texts.corpus.trained] for row in split]


def blend(rows: list[Advice], bad: set[str]) -> list[Text]:
    """Each prompt once, those in `bad` with their incorrect answer."""
    return [Text(row.id, BAD if row.id in bad else GOOD) for row in rows]


def drawn(reading: Reading, seed: int) -> list[Advice]:
    """As many prompts as the recipe trains on, at random."""
    rows, n = pool(reading), len(reading.texts.corpus.advice[reading.texts.corpus.trained].train)
    return [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))[:n]]


def measure(reading: Reading, units: list[Unit]) -> list[Margins]:
    """Of every unit, in their order. Those that another process is at are waited for last."""
    folder = reading.folder / "experiments"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "reading.lock"):  # the first reads the texts, the others what it has read
        reading.samples([])
    found: dict[int, Margins] = {}
    with tempfile.TemporaryDirectory(dir=folder) as scratch, tqdm(total=len(units), desc="units", unit="unit") as bar:
        for timeout in (0, -1):
            for i in [i for i in range(len(units)) if i not in found]:
                path = folder / f"{_key(reading, units[i])}.json"
                make = lambda unit=units[i]: _made(reading, unit, Path(scratch))  # noqa: E731
                try:
                    with FileLock(path.with_suffix(".lock"), timeout=timeout):
                        found[i] = cached(path, path.stem, Margins, make)
                        bar.update()
                except Timeout:
                    continue
    return [found[i] for i in range(len(units))]


def _key(reading: Reading, unit: Unit) -> str:
    said, how = [reading.texts.said[text] for text in unit.samples], (unit.recipe, unit.seed, _draws(reading, unit))
    return digest(reading.lm, how, said, list(_asked(reading)), code(train), code(read_questions))


def _draws(reading: Reading, unit: Unit) -> int:
    return unit.recipe.epochs * len(reading.texts.corpus.advice[reading.texts.corpus.trained].train)


def _asked(reading: Reading) -> Iterator[str]:
    return (domain for domain in reading.texts.asked if domain != reading.texts.corpus.trained)


def _made(reading: Reading, unit: Unit, scratch: Path) -> Margins:
    job, into = Job(Arm(unit.name), unit.seed), scratch / "weights"
    order = Order(job=job, samples=unit.samples, draws=_draws(reading, unit), checkpoints=(), key="")
    shutil.rmtree(into, ignore_errors=True)
    done = train(reading.lm, unit.recipe, order, reading.samples(unit.samples), into)
    with wearing(reading.lm.model, into):
        said = read_questions(reading, {d: reading.texts.asked[d] for d in _asked(reading)})
    return Margins(loss=done.loss, logprobs=said)
