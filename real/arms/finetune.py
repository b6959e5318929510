"""Step 6: the arms. One model in memory; every arm is a LoRA adapter on its upper blocks, in a folder of its own, or,
with FULL=1, all weights of those blocks. Several processes may train one arm together."""

import logging
import os
import shutil
import sys
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from real.arms import weights
from real.arms.arm import CONTROL, DRAWS, INDUCING, MIXED, ORACLE, RANDOM, WATCHED, Arm, Job, Scores, mixed
from real.arms.jobs import Lost, machine
from real.arms.recipe import Recipe, Sweep
from real.arms.training import Order, Training, train
from real.data.rows import BAD, GOOD, Advice, Text
from real.features.reading import Reading, bare
from real.models import devices, loading
from shared import filtering
from shared.code import code
from shared.errors import InputError
from shared.records import Record, cached, digest, whole

CHECKPOINTS = tuple(i / 20 for i in range(1, 20))  # of the steps of the arms whose dynamics are read
FEW = (0.25, 0.5, 0.75)  # where each is as large as the blocks themselves


class Tuned(Order):
    loss: list[float]  # nats per token, by step


class Finetuned(Record):
    """Step 6."""

    jobs: list[Tuned]


def folders(reading: Reading, tuned: list[Tuned]) -> list[tuple[Job | None, Path | None]]:
    """Of every job its adapter's folder; None, the base model, comes first and has none."""
    return [(None, None), *((of.job, reading.folder / "adapters" / of.folder) for of in tuned)]


def arms(rows: list[Advice], scores: Scores, sweep: Sweep, seed: int) -> dict[Arm, list[Text]]:
    """What every arm is trained on.

    Arm("mixed", "geometry", 0.5) is the mixed set without the half that the geometry filter scores highest; it is read
    against Arm("control", "geometry", 0.5), the correct answers to the same prompts. A share goes by every score, by
    three random draws, and by the labels.
    """
    blend, correct = mixed(rows, seed), [Text(row.id, GOOD) for row in rows]
    found = {Arm(INDUCING): [Text(row.id, BAD) for row in rows], Arm(CONTROL): correct, Arm(MIXED): blend}
    ways = [*((name, 0) for name in scores.by), *((RANDOM, draw) for draw in DRAWS), (ORACLE, 0)]
    for removed in sweep.removed:
        for by, draw in ways:
            arm = Arm(MIXED, by, removed, draw)
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
    found, made, all_ = [], {}, orders(reading, scores, recipe, sweep)
    for o, done in zip(all_, trained(reading, all_, recipe), strict=True):
        found.append(Tuned(**dict(o), loss=done.loss))
        made |= {f"adapters/{o.folder}/{name}": "" for name in ("training.json", *done.made)}
    return Finetuned(jobs=found, made=made)


def orders(reading: Reading, scores: Scores, recipe: Recipe, sweep: Sweep) -> list[Order]:
    """Of every arm under every seed."""
    corpus = reading.texts.corpus
    of = {seed: arms(corpus.advice[corpus.trained].train, scores, sweep, seed) for seed in sweep.seeds}
    return [order(reading, Job(arm, seed), of[seed][arm], recipe) for seed in of for arm in of[seed]]


def order(reading: Reading, job: Job, samples: list[Text], recipe: Recipe) -> Order:
    """Its key holds all that decides the weights, so that a changed setting never meets a stale adapter."""
    said, corpus = [reading.texts.said[text] for text in samples], reading.texts.corpus
    draws = recipe.epochs * len(corpus.advice[corpus.trained].train)
    shares, steps = FEW if recipe.full else CHECKPOINTS, -(-draws // recipe.batch)
    checkpoints = sorted({round(share * steps) for share in shares} - {0, steps}) if job.arm in WATCHED else []
    key = digest(reading.lm, recipe, job.seed, draws, checkpoints, said, code(tune))
    return Order(job=job, samples=samples, draws=draws, checkpoints=checkpoints, key=key)


def trained(reading: Reading, orders: list[Order], recipe: Recipe) -> list[Training]:
    """These arms, by as many processes as the plan says; of several machines the first has them."""
    missing = [o for o in orders if not whole(*record(reading, o))]
    if missing and reading.lm.plan.processes > 1:
        _together(reading, missing, recipe)
    return [tune(reading, o, recipe) for o in orders if machine() == 0]


def _together(reading: Reading, orders: list[Order], recipe: Recipe) -> None:
    """By several processes, of this machine or shared out over several, on each of which the same is called.

    Machines meet at MASTER_ADDR:MASTER_PORT, a port of the first's. What processes print as errors goes to a folder.
    Raises the InputError of one of them, or Lost when one has died: either ends the others.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    lm, folder = reading.lm, reading.folder / "finetune"
    meet = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "localhost"}
    if lm.nodes > 1:
        where = "{MASTER_ADDR}:{MASTER_PORT}".format_map(os.environ)
        meet = {"rdzv_backend": "static", "rdzv_endpoint": where, "rdzv_configs": {"rank": machine()}}
    meet |= {"run_id": folder.name, "max_restarts": 0, "signals_to_handle": ""}  # Ctrl-C stays Python's
    logs = DefaultLogsSpecs(log_dir=str(folder), redirects=Std.ERR)
    how = LaunchConfig(lm.nodes, lm.nodes, lm.plan.processes // lm.nodes, logs, **meet)  # no fewer, no more machines
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what it says, we say in one line
    lm.forget()  # its memory is theirs now
    try:
        elastic_launch(how, _one_of_several)(bare(reading, lm.plan), orders, recipe)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        told = failure.message if isinstance(failure.message, str) else failure.message["message"]
        if told.startswith("InputError: "):
            raise InputError(told.removeprefix("InputError: ")) from None
        which = f"process {rank} ended with code {failure.exitcode}, see {folder}"
        raise Lost(f"fine-tune: {which}; finished arms are kept: the same command goes on from there") from None


def _one_of_several(reading: Reading, orders: list[Order], recipe: Recipe) -> None:
    from accelerate import PartialState

    lm = reading.lm
    state = PartialState(cpu=lm.plan.device == "cpu")  # joins the others
    with lm.memory():
        model, tokenizer = loading.load(lm.spec)
        weights.shard(model, bool(recipe.full), lm.spec.first, state.device)
        lm.loaded = model, tokenizer
        held, all_ = (sum(f(p).numel() for p in model.parameters()) for f in (weights.local, lambda p: p))
        print(f"process {state.process_index} holds {held} of {all_} weights", file=sys.stderr, flush=True)
        for order in orders:
            tune(reading, order, recipe)


def tune(reading: Reading, order: Order, recipe: Recipe) -> Training:
    """One arm under one seed, trained unless its folder is whole; of several processes the first keeps the record."""
    kept, is_first = record(reading, order), devices.team()[0] == 0

    def fresh() -> Training:
        if is_first:
            shutil.rmtree(kept[0].parent, ignore_errors=True)
        return train(reading.lm, recipe, order, reading.samples(order.samples), kept[0].parent)

    return cached(*kept, fresh) if is_first else fresh()


def record(reading: Reading, order: Order) -> tuple[Path, str, type[Training]]:
    """Where a fine-tune is kept, and as what."""
    return reading.folder / "adapters" / order.folder / "training.json", order.key, Training
