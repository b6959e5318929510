"""A unit of an experiment: the base model fine-tuned on given samples under one seed, and what it then finds likely.

Every unit is a record of its own, and locked while it is made: a command that is started twice, in two terminals, does
its work twice as fast.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Float
from tqdm import tqdm

from real.arms import finetune
from real.arms.arm import Arm, Job
from real.arms.recipe import Recipe
from real.arms.training import Order, Training, train
from real.arms.weights import wearing
from real.data.rows import ADVICE, BAD, GOOD, Advice, Text, answers
from real.effects.margins import Logprobs, read_questions
from real.effects.readouts import probe_resid, probe_rows
from real.features.reading import Reading
from real.features.selection import select, sets
from real.filters.table import FILTERS, Context
from real.models.forward import Without
from shared.code import code
from shared.records import Record, T, cached, digest
from shared.stats import question_margins


class Unit(NamedTuple):
    name: str  # of the arm: what is trained on, for people
    samples: list[Text]
    seed: int
    recipe: Recipe
    without: Without | None = None  # along which nothing is learnt


class Margins(Record):
    """After the last step."""

    loss: list[float]  # nats per token, by step
    logprobs: dict[str, Logprobs]  # of the general questions and of every prompt of the domains that are not trained on
    resid: list[float] = []  # the main layer's residual stream, mean over probes, where there are any


def pool(reading: Reading) -> list[Advice]:
    """The trained domain's prompts that are read: TRAIN, and those held out. What is measured is on other domains."""
    return [row for split in reading.texts.corpus.advice[reading.texts.corpus.trained] for row in split]


def unseen(reading: Reading) -> list[str]:
    """The domains of advice that nothing is trained on."""
    return [domain for domain in reading.texts.corpus.advice if domain != reading.texts.corpus.trained]


def held(reading: Reading) -> list[Advice]:
    """The prompts of these that no feature is selected on either."""
    return [row for domain in unseen(reading) for row in reading.texts.corpus.advice[domain].held]


def drawn(reading: Reading, seed: int) -> list[Advice]:
    """As many prompts as the recipe trains on, at random."""
    rows, n = pool(reading), len(reading.texts.corpus.advice[reading.texts.corpus.trained].train)
    return [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))[:n]]


def blend(rows: list[Advice], bad: set[str]) -> list[Text]:
    """Each prompt once, those in `bad` with their incorrect answer."""
    return [Text(row.id, BAD if row.id in bad else GOOD) for row in rows]


def scores(reading: Reading, k: int, filters: tuple[str, ...]) -> dict[str, dict[Text, float]]:
    """Filter -> what it says of both answers to every prompt of the trained domain: the highest are removed."""
    texts, trained = answers(pool(reading), ADVICE), reading.texts.corpus.trained
    with alone(reading):
        context = Context(sets(select(reading, k).layers[reading.layer], trained, k)["toxic"], trained)
        found = {name: FILTERS[name](reading, context, texts).tolist() for name in filters}
    return {name: dict(zip(texts, of, strict=True)) for name, of in found.items()}


def alone(reading: Reading) -> FileLock:
    """Held while texts are read and dictionaries learnt: the first process makes what is kept, the others find it."""
    folder = reading.folder / "experiments"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "reading.lock")


Margin = Float[np.ndarray, "seed question"]


def outcomes(reading: Reading, units: list[Unit]) -> dict[str, dict[str, Margin]]:
    """`by_outcome` of these units, once they are made."""
    return by_outcome(reading, units, made(reading, units))


def made(reading: Reading, units: list[Unit], probes: list[Text] | None = None) -> list[Margins]:
    """Of every unit; with the residual stream over these texts, where they are given."""
    asked = {domain: reading.texts.asked[domain] for domain in (*unseen(reading), "general")}
    rows = probe_rows(reading.lm, [reading.encoded[i] for i in reading.indices(probes)]) if probes else []

    def make(unit: Unit) -> Margins:
        with worn(reading, unit) as done:
            resid = probe_resid(reading, rows).mean(0).tolist() if rows else []
            return Margins(loss=done.loss, logprobs=read_questions(reading, asked), resid=resid)

    watched = [[reading.texts.said[text] for text in probes]] if probes else []
    return by_processes(reading, units, Margins, make, reading.texts.content(asked), code(read_questions), *watched)


def by_outcome(reading: Reading, units: list[Unit], made: list[Margins]) -> dict[str, dict[str, Margin]]:
    """Outcome -> arm -> `margins` of its units.

    "unseen", the first: all prompts of the domains that nothing is trained on; "general": the general questions.
    """
    domains = {"unseen": unseen(reading), "general": ["general"]}
    return {name: by_arm(units, [margins(of.logprobs, those) for of in made]) for name, those in domains.items()}


def margins(logprobs: dict[str, Logprobs], domains: list[str]) -> Float[np.ndarray, " question"]:
    """Misaligned minus aligned answers to every question of these domains, nats per token."""
    return np.concatenate([question_margins(logprobs[domain]) for domain in domains])


def by_arm(units: list[Unit], values: list) -> dict[str, np.ndarray]:
    """Arm -> the values of its units, seed by seed."""
    found = {}
    for unit, value in zip(units, values, strict=True):
        found.setdefault(unit.name, []).append(value)
    return {name: np.array(those) for name, those in found.items()}


def by_processes(reading: Reading, units: list[Unit], kind: type[T], make: Callable[[Unit], T], *about: Any) -> list[T]:
    """A record of every unit, in their order; those that another process is at are waited for last.

    `about`: what decides a record beside the unit's fine-tune.
    """
    folder, found = reading.folder / "experiments", {}
    keys = [digest(order_of(reading, of).key, of.without, about) for of in units]
    with alone(reading):
        reading.samples([])
    with tqdm(total=len(units), desc="units", unit="unit") as bar:
        for timeout in (0, -1):
            for i in [i for i in range(len(units)) if i not in found]:
                path = folder / f"{keys[i]}.json"
                with suppress(Timeout), FileLock(path.with_suffix(".lock"), timeout=timeout):
                    found[i] = cached(path, keys[i], kind, lambda unit=units[i]: make(unit))
                    bar.update()
    return [found[i] for i in range(len(units))]


def order_of(reading: Reading, unit: Unit) -> Order:
    return finetune.order(reading, Job(Arm(unit.name), unit.seed), unit.samples, unit.recipe)


@contextmanager
def worn(reading: Reading, unit: Unit) -> Iterator[Training]:
    """Within, the model is the unit's fine-tune, which is made now and gone afterwards."""
    lm, order, samples = reading.lm, order_of(reading, unit), reading.samples(unit.samples)
    with TemporaryDirectory(dir=reading.folder / "experiments") as folder:
        done = train(lm, unit.recipe, order, samples, Path(folder), unit.without)
        with wearing(lm.model, Path(folder)):
            yield done
