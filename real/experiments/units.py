"""A unit of an experiment: the base model fine-tuned on given samples under one seed, and what it then finds likely.

Every unit is a record of its own, and locked while it is made: a command that is started twice, in two terminals, does
its work twice as fast.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Float
from tqdm import tqdm

from real.arms.arm import Arm, Job
from real.arms.recipe import Recipe
from real.arms.training import Order, Training, train
from real.arms.weights import wearing
from real.data.rows import BAD, GOOD, Advice, Text
from real.effects.margins import Logprobs, read_questions
from real.features.reading import Reading
from real.models.forward import Without
from shared.code import code
from shared.records import Record, cached, digest, versions


class Unit(NamedTuple):
    name: str  # what is trained on, for people
    samples: list[Text]
    seed: int
    recipe: Recipe
    without: Without | None = None  # along which nothing is learnt


class Margins(Record):
    """After the last step."""

    loss: list[float]  # nats per token, by step
    logprobs: dict[str, Logprobs]  # of the general questions and of every prompt of the domains that are not trained on


T = TypeVar("T", bound=Record)


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
    """Of every unit, in their order."""
    keys = [digest(key(reading, of), code(train), code(read_questions)) for of in units]
    return by_processes(reading, units, keys, Margins, lambda unit, scratch: _made(reading, unit, scratch))


def outcomes(reading: Reading, made: list[Margins], *shape: int) -> dict[str, Float[np.ndarray, "... question"]]:
    """Outcome -> `margins` of units in this order.

    "unseen", the first: all prompts of the domains that nothing is trained on; "general": the general questions.
    """
    domains = {"unseen": unseen(reading), "general": ["general"]}
    return {name: margins([of.logprobs for of in made], asked, *shape) for name, asked in domains.items()}


def margins(made: list[dict[str, Logprobs]], domains: list[str], *shape: int) -> Float[np.ndarray, "... question"]:
    """Misaligned minus aligned answers to every question of these domains, nats per token."""
    asked = [[sides for domain in domains for sides in of[domain]] for of in made]
    values = [[np.mean(bad) - np.mean(good) for bad, good in questions] for questions in asked]
    return np.array(values).reshape(*shape, -1)


def by_processes(
    reading: Reading, units: list[Unit], keys: list[str], kind: type[T], make: Callable[[Unit, Path], T]
) -> list[T]:
    """A record of every unit, in their order; `make` is given a folder for its weights.

    Those that another process is at are waited for last.
    """
    keys = [digest(of, versions()) for of in keys]
    folder = reading.folder / "experiments"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "reading.lock"):  # the first reads the texts, the others what it has read
        reading.samples([])
    found: dict[int, T] = {}
    with tempfile.TemporaryDirectory(dir=folder) as scratch, tqdm(total=len(units), desc="units", unit="unit") as bar:
        for timeout in (0, -1):
            for i in [i for i in range(len(units)) if i not in found]:
                path = folder / f"{keys[i]}.json"
                fresh = lambda unit=units[i]: make(unit, Path(scratch))  # noqa: E731
                try:
                    with FileLock(path.with_suffix(".lock"), timeout=timeout):
                        found[i] = cached(path, keys[i], kind, fresh)
                        bar.update()
                except Timeout:
                    continue
    return [found[i] for i in range(len(units))]


def key(reading: Reading, unit: Unit) -> str:
    """All that decides a fine-tune, but the code."""
    said = [reading.texts.said[text] for text in unit.samples]
    how = (unit.recipe, unit.seed, draws(reading, unit.recipe), *([unit.without] if unit.without else []))
    return digest(reading.lm, how, said)


def draws(reading: Reading, recipe: Recipe) -> int:
    """Samples that the optimiser sees in all."""
    return recipe.epochs * len(reading.texts.corpus.advice[reading.texts.corpus.trained].train)


def unseen(reading: Reading) -> list[str]:
    """The domains of advice that nothing is trained on."""
    return [domain for domain in reading.texts.corpus.advice if domain != reading.texts.corpus.trained]


def order_of(reading: Reading, unit: Unit) -> Order:
    job, n = Job(Arm(unit.name), unit.seed), draws(reading, unit.recipe)
    return Order(job=job, samples=unit.samples, draws=n, checkpoints=(), key="")


def tuned(reading: Reading, unit: Unit, into: Path) -> Training:
    """The unit's fine-tune, in a folder that is emptied first."""
    shutil.rmtree(into, ignore_errors=True)
    samples = reading.samples(unit.samples)
    return train(reading.lm, unit.recipe, order_of(reading, unit), samples, into, unit.without)


def _made(reading: Reading, unit: Unit, scratch: Path) -> Margins:
    done = tuned(reading, unit, scratch / "weights")
    with wearing(reading.lm.model, scratch / "weights"):
        said = read_questions(
            reading, {domain: reading.texts.asked[domain] for domain in ("general", *unseen(reading))}
        )
    return Margins(loss=done.loss, logprobs=said)
