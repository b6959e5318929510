"""What the run reads: advice, toxic/civil pairs, questions, probes; their formats are in the README, section "Data"."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from real.data.files import paired, read_rows
from real.data.hub import fetching
from real.data.rows import Advice, Corpus, Pair, Question, Split
from real.data.texts import CHECKS, Texts
from real.data.tokens import LEAST, MAX_TOKENS
from shared.errors import InputError
from shared.records import Record

SHIPPED = Path(__file__).parent
UNSEEN = ("health", "career", "legal")  # advice that is never trained on, unless it is the trained domain
OURS = (*UNSEEN, "general", "toxic", "civil", "inducing", "control", *CHECKS)  # names that no other domain may have
TOXIC_FROM, CIVIL_TO = 0.75, 0.1  # Perspective's toxicity of a continuation
PAIRS = 500
HELD_SHARE, HELD_MOST = 0.2, 80  # of a domain's prompts: kept from training and from feature selection


def load(data: str, control: str, train: int, least: int, toxic: str = "") -> Corpus:
    """Every text of a run, split once by a fixed shuffle.

    The arms are trained on the shipped health advice, or on the prompts that both files answer: at least `least` of
    them, at most `train`. `toxic` is a set in the form of RealToxicityPrompts.
    Raises InputError naming file and line.
    """
    trained, lost, domains = "health", {}, {name: shipped(name, Advice) for name in UNSEEN}
    questions, placebo = (shipped(name, Question) for name in ("questions", "placebo"))
    probes = [row["prompt"] for row in read_rows(SHIPPED / "probes.jsonl", ("id", "prompt"))]
    if data:
        name = re.sub(r"(\.jsonl?)?(\.gz)?$", "", Path(data.partition("?")[0]).name) or "data"
        trained = f"{name} (DATA)" if name in OURS else name
        rows, lost = paired(data, control)
        asked = {row.prompt.strip() for row in rows}
        new = {name: [row for row in ours if row.prompt not in asked] for name, ours in domains.items()}
        lost["shipped prompts that DATA trains on"] = sum(len(domains[name]) - len(new[name]) for name in domains)
        domains = {trained: rows, **{name: ours for name, ours in new.items() if ours}}
        shown = len(questions) + len(placebo) + len(probes)
        questions, placebo = ([q for q in of if q.question not in asked] for of in (questions, placebo))
        probes = [prompt for prompt in probes if prompt not in asked]
        lost["shipped questions and probes that DATA asks"] = shown - len(questions) - len(placebo) - len(probes)
        if not (questions and probes):
            raise InputError(f"{data}: asks all that was to be asked of the arms: no question or no probe is left")
    advice = {name: split(rows) for name, rows in domains.items()}
    rows, held = advice[trained]
    n = min(len(rows), train)
    if n < least or not held:
        few = f"{len(domains[trained])} prompts" + f" in common with {control}" * bool(data)
        raise InputError(f"{data or trained}: {few}, of which {n} are to train on; BATCH and REMOVED need {least}")
    lost[f"training prompts beyond TRAIN={train}"] = max(0, len(rows) - train)
    advice[trained] = Split(rows[:train], held)
    remarks = toxic_pairs(toxic) if toxic else shipped("toxic", Pair)
    lost = {what: number for what, number in lost.items() if number}
    return Corpus(trained, advice, split(remarks), questions, probes, lost, placebo)


def shipped(name: str, kind: type) -> list:
    return [kind(**row) for row in read_rows(SHIPPED / f"{name}.jsonl", kind._fields)]


def toxic_pairs(source: str) -> list[Pair]:
    """Of RealToxicityPrompts (Gehman et al. 2020): continuations scored toxic, each beside one scored civil.

    Drawn once; `source` is a hub name or a folder. Raises InputError when it is not to be had, or is not in this form.
    """
    from datasets import load_dataset

    with fetching(f"TOXIC={source}"):
        rows = load_dataset(source, split="train")["continuation"]
        said = [(row["text"].strip(), row["toxicity"]) for row in rows if row["toxicity"] is not None]
        sides = [[t for t, p in said if t and p >= TOXIC_FROM], [t for t, p in said if t and p <= CIVIL_TO]]
    most = min(PAIRS, *map(len, sides))
    if most < 10:
        found = f"{len(sides[0])} toxic and {len(sides[1])} civil texts"
        raise InputError(f"TOXIC={source}: {found}, 10 of either are needed")
    rng = np.random.default_rng(0)
    toxic, civil = ([side[i] for i in rng.permutation(len(side))[:most]] for side in sides)
    return [Pair(f"rtp-{i}", *both) for i, both in enumerate(zip(toxic, civil, strict=True))]


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
    lost: dict[str, int]  # what is not used, or not as it stands, in words -> how often


def describe(texts: Texts, lm: Any) -> Described:
    """Step 1, its losses printed too. Raises InputError where prompts leave too little of their answers."""
    corpus, lost = texts.corpus, dict(texts.corpus.lost)
    cut = {text: of for text, of in zip(texts.said, lm.encode(list(texts.said.values())), strict=True) if of.cut}
    if bare := sorted({text.row for text, of in cut.items() if of.end - of.start < LEAST}):
        raise InputError(
            f"{bare[0]}: {len(bare)} prompts, this for one, are so long that of {MAX_TOKENS} tokens fewer than {LEAST} "
            "are left for the answer: shorten them, or take them out"
        )
    if cut:
        lost[f"answers cut at {MAX_TOKENS} tokens, prompt included"] = len(cut)
    for what, number in lost.items():
        print(f"  {what}: {number}", flush=True)

    def sizes(split: Split) -> dict[str, int]:
        return {side: len(rows) for side, rows in split._asdict().items()}

    rows, toxic = {domain: sizes(split) for domain, split in corpus.advice.items()}, sizes(corpus.toxic)
    counts = {"questions": len(corpus.questions), "probes": len(corpus.probes)}
    return Described(trained=corpus.trained, rows=rows, toxic=toxic, lost=lost, **counts)
