"""What the run reads: advice (correct and incorrect answers to one prompt), toxic/civil pairs, questions, probes.

Shipped sets are JSON lines under real/data; a line with a `canary` is a notice, not a row. Published sets come as
`{"messages": [...]}` lines, gzipped or plain, by path or URL. Formats: section "Data" of the README.
"""

from pathlib import Path

import numpy as np

from real.data.files import fetch, paired, read_rows
from real.data.rows import Advice, Corpus, Pair, Question, Split
from real.data.texts import Texts
from shared.errors import InputError
from shared.records import Record

SHIPPED = Path(__file__).parent
UNSEEN = ("health", "career", "legal")  # advice that is never trained on, unless it is the trained domain
HELD_SHARE, HELD_MOST = 0.2, 80  # of a domain's prompts: kept from training and from feature selection


def load(data: str, control: str, train: int, batch: int, toxic: str = "") -> Corpus:
    """Every text of a run, split once by a fixed shuffle.

    With no `data`, the arms are trained on the shipped health advice, else on the prompts that both files answer.
    `toxic` is a set in the form of RealToxicityPrompts.
    Raises InputError naming file and line.
    """
    advice = {name: split(shipped(name, Advice)) for name in UNSEEN}
    trained = "health"
    if data:
        trained = Path(data).name.split(".")[0]
        advice = {trained: split(paired(Path(fetch(data)), Path(fetch(control)))), **advice}
        if len(advice[trained].train) < 2 * batch or not advice[trained].held:
            rows = f"{sum(map(len, advice[trained]))} prompt(s) in common with {control}"
            raise InputError(f"{data}: {rows}, too few for batches of {batch}")
    advice[trained] = advice[trained]._replace(train=advice[trained].train[:train])
    probes = [row["prompt"] for row in read_rows(SHIPPED / "probes.jsonl", ("id", "prompt"))]
    return Corpus(trained, advice, split(_toxic(toxic)), shipped("questions", Question), probes)


def _toxic(source: str) -> list[Pair]:
    if not source:
        return shipped("toxic", Pair)
    from real.data import toxicity

    return toxicity.pairs(source)


def shipped(name: str, kind: type) -> list:
    return [kind(**row) for row in read_rows(SHIPPED / f"{name}.jsonl", kind._fields)]


def split(rows: list) -> Split:
    """A fixed shuffle; the last fifth (80 rows at most) is held out."""
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    held = min(HELD_MOST, int(len(rows) * HELD_SHARE))
    return Split(rows[: len(rows) - held], rows[len(rows) - held :])


class Described(Record):
    """Step 1: what was read, and how it is split."""

    trained: str
    rows: dict[str, dict[str, int]]  # domain -> train, held
    toxic: dict[str, int]
    questions: int
    probes: int


def describe(texts: Texts) -> Described:
    """Step 1."""
    corpus = texts.corpus

    def sizes(split: Split) -> dict[str, int]:
        return {"train": len(split.train), "held": len(split.held)}

    return Described(
        trained=corpus.trained,
        rows={domain: sizes(split) for domain, split in corpus.advice.items()},
        toxic=sizes(corpus.toxic),
        questions=len(corpus.questions),
        probes=len(corpus.probes),
    )
