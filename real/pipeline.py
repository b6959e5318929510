"""The eleven steps, in order: each writes one record, from what stands in its brackets and from nothing else."""

import json

from real.arms import finetune, worker
from real.arms import recipe as recipes
from real.data import corpus
from real.data.texts import Texts
from real.effects import causes, leakage, margins
from real.features import gaps, reading, selection
from real.features.reading import Reading
from real.filters import compare as comparing
from real.filters import scoring as filters
from real.judge import rubric, scoring
from real.models.devices import Plan
from real.models.lm import LM
from real.report import summary
from real.screening import screen
from real.settings import Settings, words
from real.steps import Steps, alone
from shared.records import Record


def run(s: Settings) -> None:
    """Everything, from texts to report. Raises InputError."""
    with alone(s.folder):
        _run(s)


def join(plan: str, s: Settings) -> None:
    """Fine-tune as one of several processes, which the run of the same settings has started."""
    reading = _reading(s, Plan(*json.loads(plan)))
    worker.work(reading, s.recipe)


def compare(s: Settings) -> None:
    """What every filter is worth, on the shipped advice and on what DATA and CONTROL name."""
    with alone(s.folder):
        lm, sources = _lm(s), (s.sources.data, s.sources.control)
        with lm.memory():
            comparing.compare(lm, s.layers, s.reads.top_k, s.recipe.train, sources, s.folder)


def clean(s: Settings, data: str, by: str = screen.BY) -> None:
    """The rows of one unlabelled file, by their scores in two files."""
    with alone(s.folder):
        lm = _lm(s)
        with lm.memory():
            screen.clean(data, by, s.sweep.removed[0], lm, s.layers, s.reads.top_k, s.folder)


def _lm(s: Settings, plan: Plan | None = None) -> LM:
    return LM(s.spec, s.recipe.batch, bool(s.recipe.full), s.gpus, s.folder, plan, tuple(words(s)))


def _reading(s: Settings, plan: Plan | None = None) -> Reading:
    sources, recipe = s.sources, s.recipe
    least = recipes.least(recipe, s.sweep)
    texts = Texts(corpus.load(sources.data, sources.control, recipe.train, least, sources.toxic))
    return Reading(texts, _lm(s, plan), s.layers, s.folder)


def _run(s: Settings) -> None:
    questions, read = rubric.judge_questions(s.sources.questions), _reading(s)
    k, seeds, j, drawn = s.reads.top_k, s.sweep.seeds, s.judging, {}

    def grown(records: dict[str, Record]) -> None:
        if "11-report" not in records:
            summary.grow(read, s, records, drawn)

    step = Steps(s.folder, read.lm, grown)
    step("1-data", corpus.describe, read.texts, read.lm)
    step("2-sae", reading.learn, read)
    selected = step("3-features", selection.select, read, k)
    step("4-geometry", gaps.place, read, selected, k)
    scored = step("5-filters", filters.score, read, selected, k, seeds)
    harm = step("5-harm", scoring.harm, read, questions, seeds, j) if j.judge else None
    scores = filters.joined(scored, {"judge": harm.scores} if harm and harm.scores else {})
    tuned = step("6-finetune", finetune.finetune, read, scores, s.recipe, s.sweep)
    measured = step("7-evaluate", margins.evaluate, read, tuned)
    watched = finetune.watched(tuned)
    known = margins.general(measured, [of.job for of in watched])
    moved = step("8-leakage", leakage.leakage, read, selected, scored.gradient, watched, known, k)
    step("9-causes", causes.causes, read, selected, watched, moved.norm, k)
    step("10-judge", scoring.judge, read, tuned, questions, j, harm and harm.failed)
    step("11-report", summary.write, read, s, step.records)
