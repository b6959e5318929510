"""Step 6: the arms. One model in memory; every arm is a LoRA adapter on its upper blocks, in a folder of its own, or,
with FULL=1, all weights of those blocks."""

import shutil
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from real.arms import launch
from real.arms.arm import CONTROL, INDUCING, MIXED, ORACLE, RANDOM, WATCHED, Arm, Job, Scores, filtered, mixed
from real.arms.recipe import Recipe, Sweep
from real.arms.training import Order, Training, train
from real.data.rows import BAD, GOOD, Advice, Text
from real.features.reading import Reading
from real.models.forward import Without
from shared import filtering
from shared.code import code
from shared.records import Part, Record, cached, digest, whole

CHECKPOINTS = tuple(i / 20 for i in range(1, 20))  # of the steps of the arms whose dynamics are read
FEW = (0.25, 0.5, 0.75)  # where each is as large as the blocks themselves


class Tuned(Part):
    job: Job
    folder: str  # below adapters/
    samples: list[Text]
    steps: int
    checkpoints: list[int]  # steps after which step-<n>/ was saved
    loss: list[float]  # nats per token, by step


class Finetuned(Record):
    """Step 6."""

    jobs: list[Tuned]


def watched(tuned: Finetuned) -> list[Tuned]:
    """The jobs whose dynamics are read."""
    return [of for of in tuned.jobs if of.job.arm in WATCHED]


def folders(reading: Reading, tuned: list[Tuned]) -> list[tuple[Job | None, Path | None]]:
    """Of every job its adapter's folder; None, the base model, comes first and has none."""
    return [(None, None), *((of.job, reading.folder / "adapters" / of.folder) for of in tuned)]


def arms(rows: list[Advice], scores: Scores, sweep: Sweep, seed: int) -> dict[Arm, list[Text]]:
    """What every arm is trained on.

    Arm("mixed", "geometry", 0.5) is the mixed set without the half that the geometry filter scores highest; it is read
    against Arm("control", "geometry", 0.5), the correct answers to the same prompts.
    """
    blend, correct = mixed(rows, seed), [Text(row.id, GOOD) for row in rows]
    found = {Arm(INDUCING): [Text(row.id, BAD) for row in rows], Arm(CONTROL): correct, Arm(MIXED): blend}
    for removed in sweep.removed:
        for arm in filtered(scores, removed):
            keep = filtering.keep_mask(score_of(arm, blend, scores, seed), removed, seed).tolist()
            found[arm] = [text for text, is_kept in zip(blend, keep, strict=True) if is_kept]
            found[arm.control] = [Text(text.row, GOOD) for text in found[arm]]
    return found


def score_of(arm: Arm, samples: list[Text], scores: Scores, seed: int) -> Float[Tensor, " sample"]:
    bad = torch.tensor([text.kind == BAD for text in samples])
    if arm.by == RANDOM:
        return filtering.balanced_score(bad, 1000 * (arm.draw - 1) + seed)
    if arm.by == ORACLE:
        return filtering.oracle_score(bad)
    known = dict(zip(scores.samples, scores.by[arm.by], strict=True))
    return torch.tensor([known[text] for text in samples])


def finetune(reading: Reading, scores: Scores, recipe: Recipe, sweep: Sweep) -> Finetuned:
    """Step 6. Train every arm under every seed; an arm whose folder is whole is not trained again."""
    corpus = reading.texts.corpus
    rows = corpus.advice[corpus.trained].train
    orders = [
        order(reading, Job(arm, seed), texts, recipe)
        for seed in sweep.seeds
        for arm, texts in arms(rows, scores, sweep, seed).items()
    ]
    missing = [o for o in orders if not whole(_record(reading, o), o.key, Training)]
    if missing and reading.lm.plan.processes > 1:
        launch.together(reading.lm, reading.folder, missing)
    found, made = [], {}
    for o in orders:
        done = tune(reading, o, recipe)
        what = {"steps": done.steps, "checkpoints": done.checkpoints, "loss": done.loss}
        found.append(Tuned(job=o.job, folder=o.folder, samples=o.samples, **what))
        made |= {f"adapters/{o.folder}/{name}": "" for name in ("training.json", *done.made)}
    return Finetuned(jobs=found, made=made)


def order(reading: Reading, job: Job, samples: list[Text], recipe: Recipe, without: Without | None = None) -> Order:
    """Its key holds all that decides the weights, so that a changed setting never meets a stale adapter."""
    checkpoints = (FEW if recipe.full else CHECKPOINTS) if job.arm in WATCHED else ()
    said = [reading.texts.said[text] for text in samples]
    corpus = reading.texts.corpus
    draws = recipe.epochs * len(corpus.advice[corpus.trained].train)
    how = (recipe, job.seed, draws, checkpoints, *([without] if without else []))
    key = digest(reading.lm, how, said, code(train))
    return Order(job=job, samples=samples, draws=draws, checkpoints=checkpoints, key=key)


def tune(reading: Reading, order: Order, recipe: Recipe, without: Without | None = None) -> Training:
    """One arm under one seed, trained unless its folder is whole."""
    path = _record(reading, order)

    def fresh() -> Training:
        shutil.rmtree(path.parent, ignore_errors=True)
        return train(reading.lm, recipe, order, reading.samples(order.samples), path.parent, without)

    return cached(path, order.key, Training, fresh)


def _record(reading: Reading, order: Order) -> Path:
    return reading.folder / "adapters" / order.folder / "training.json"
