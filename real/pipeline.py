"""The eleven steps, in order: each writes one record, from what stands in its brackets and from nothing else."""

from functools import partial
from pathlib import Path
from time import perf_counter

from real.arms import finetune, jobs
from real.arms.arm import Job, is_watched
from real.arms.recipe import Recipe, least
from real.arms.training import Order
from real.data import corpus
from real.data.texts import Texts
from real.effects import causes, leakage, margins, readouts
from real.features import gaps, reading, selection
from real.features.reading import Reading, bare
from real.filters import compare as comparing
from real.filters import scoring as filters
from real.judge import answers, rubric, scoring
from real.judge.answers import Item
from real.models import devices
from real.models.lm import LM
from real.models.registry import KNOWN, fastest
from real.report import summary
from real.screening import screen
from real.settings import Settings
from real.steps import Steps, alone, clean
from shared import records
from shared.errors import InputError
from shared.records import Record, whole


def run(s: Settings) -> None:
    """Everything, from texts to report. Raises InputError."""
    k, seeds, j, drawn = s.reads.top_k, s.sweep.seeds, s.judging, summary.Drawn()

    def grown(made: dict[str, Record]) -> None:
        if "11-report" not in made:
            summary.grow(read, s, made, drawn.png)

    with alone(s.folder, tidy=not jobs.at_work(s.folder / "jobs")):
        questions, read = rubric.judge_questions(s.reads.questions), reading_of(s)
        step = Steps(s.folder, read.lm, grown)
        step("1-data", corpus.describe, read.texts, read.lm)
        step("2-sae", reading.learn, read)
        selected = step("3-features", selection.select, read, k)
        step("4-geometry", gaps.place, read, selected, k)
        scored = step("5-filters", filters.score, read, selected, k, seeds)
        harm = step("5-harm", scoring.harm, read, questions, seeds, j) if j.judge else None
        scores = filters.joined(scored, {"judge": harm.scores} if harm and harm.scores else {})
        if queue := _queue(s, read.lm):
            sampled = (j.judge or j.samples) and not j.sampler_url and not (harm and harm.failed)
            asked = answers.items(questions, j.samples) if sampled else []
            orders = finetune.orders(read, scores, s.recipe, s.sweep)
            step.records["6-jobs"] = _fan_out(queue, s, read, orders, asked)
        tuned = step("6-finetune", finetune.finetune, read, scores, s.recipe, s.sweep)
        step("7-evaluate", margins.evaluate, read, tuned)
        watched = [of for of in tuned.jobs if is_watched(of.job)]
        moved = step("8-leakage", leakage.leakage, read, selected, watched, k)
        step("9-causes", causes.causes, read, selected, watched, moved.norm, k)
        step("10-judge", scoring.judge, read, tuned, questions, j, harm and harm.failed)
        step("11-report", summary.write, read, s, step.records, drawn)
    print(f"read {s.folder / 'report.html'}")


def compare(s: Settings) -> None:
    """What every filter is worth, on the shipped advice and on what DATA and CONTROL name."""
    lm, sources = _screener(s), (s.reads.data, s.reads.control)
    with alone(s.folder), lm.memory():
        comparing.compare(lm, s.layers, s.reads.top_k, s.recipe.train, sources, s.folder)


def clean_data(s: Settings, data: str, by: str = screen.BY) -> None:
    """The rows of one unlabelled file, by their scores in two files."""
    lm = _screener(s)
    with alone(s.folder), lm.memory():
        screen.clean(data, by, s.sweep.removed[0], lm, s.layers, s.reads.top_k, s.folder)


def _screener(s: Settings) -> LM:
    if s.reads.toxic:
        print(f"TOXIC={s.reads.toxic} is not read here: filters know the shipped remarks", flush=True)
    return _lm(s)


def _lm(s: Settings) -> LM:
    free = s.reads.model in KNOWN and not s.reads.dtype and not s.recipe.full  # which is kept in its dtype
    spec = fastest(s.spec) if free else s.spec
    return LM(spec, s.recipe.batch, bool(s.recipe.full), s.gpus, s.folder, nodes=s.nodes)


def reading_of(s: Settings) -> Reading:
    data, control, toxic = s.reads.data, s.reads.control, s.reads.toxic
    texts = Texts(corpus.load(data, control, s.recipe.train, least(s.recipe, s.sweep), toxic))
    return Reading(texts, _lm(s), s.layers, s.folder)


def _queue(s: Settings, lm: LM) -> jobs.Local | jobs.Slurm | None:
    """Who makes the arms. None: this process, but for a known model on a CPU, whose arms are made side by side."""
    folder = s.folder / "jobs"
    if s.cluster == "slurm":
        return jobs.Slurm(folder, s.slurm, s.nodes)
    most = devices.side_by_side(lm.spec, lm.full)
    return jobs.Local(folder, s.gpus, most) if s.cluster or s.reads.model in KNOWN and most > 1 else None


Arms = dict[str, tuple[Order | None, Job | None, Path | None]]  # by its folder's name; the base model has none of these


def _fan_out(
    queue: jobs.Local | jobs.Slurm, s: Settings, reading: Reading, orders: list[Order], asked: list[Item]
) -> Record:
    """Steps 6, 7 and 10 find done what jobs have done. How long the jobs took, when there were any, is kept."""
    arms: Arms = {"base": (None, None, None)}  # what it says to the probes others ask for
    arms |= {order.folder: (order, order.job, s.folder / "adapters" / order.folder) for order in orders}
    given = (bare(reading), s.recipe, arms, asked)
    done, kept = partial(_is_done, *given), s.folder / "6-jobs.json"
    if left := [name for name in arms if not done(name)]:
        start = perf_counter()
        reading.lm.forget()  # its memory is theirs now
        jobs.fan_out(queue, partial(_job, *given), done, left)
        clean(s.folder)
        records.write(kept, Record(seconds=round(perf_counter() - start, 3)))
    return records.read(kept, Record) or Record()


def _job(reading: Reading, recipe: Recipe, arms: Arms, asked: list[Item], name: str) -> None:
    """One arm under one seed: trained, evaluated, its readouts read where they are, and its answers given."""
    order, job, adapter = arms[name]
    if order and finetune.order(reading, order.job, order.samples, recipe) != order:
        raise InputError("the code or the model has changed since this was asked for: run again")
    with reading.lm.memory():
        if order:
            finetune.trained(reading, [order], recipe)
        if jobs.machine() > 0:  # which has helped to train
            return
        margins.evaluation(reading, job, adapter)
        if is_watched(job):
            readouts.watch(reading, adapter)
        if asked:
            answers.give(reading.lm, [(job, adapter)], asked, "", reading.folder)


def _is_done(reading: Reading, _: Recipe, arms: Arms, asked: list[Item], name: str) -> bool:
    order, job, adapter = arms[name]
    return (
        (not order or whole(*finetune.record(reading, order)) is not None)
        and whole(*margins.record(reading, adapter)) is not None
        and (not is_watched(job) or whole(*readouts.record(reading, adapter)) is not None)
        and (not asked or answers.are_given(reading.lm, adapter, asked, reading.folder))
    )
