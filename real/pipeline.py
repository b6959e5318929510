"""The eleven steps, in order. Each writes one record in the results folder and is skipped while its inputs stay."""

import resource
from pathlib import Path

from real import run as base
from real.arms import filters, finetune, training, weights
from real.data import corpus as data
from real.effects import causes
from real.effects import leakage as spill
from real.effects import margins as evaluate
from real.features import activations, meaning
from real.features import dictionaries as saes
from real.features import selection as features
from real.judge import answers, em, forms, rubric
from real.judge import client as judge
from real.judge import scoring as judging
from real.models import devices, loading, logprobs
from real.models import sampling as sample
from real.report import estimates, figures, html, judged, judged_page, page, verdicts
from real.report import summary as report
from real.run import Run
from real.settings import Settings
from shared import records


def run(settings: Settings) -> dict:
    """Everything, from texts to report; returns the record of the last. Raises InputError."""
    this = Run(settings)
    s = settings
    step = _Steps(this)
    recipe = [s.seeds, s.train, s.epochs, s.batch, s.lr, s.rank, s.full, s.removed]
    found = [step("1-data", [data], [this.corpus], lambda: describe(this))]

    def then(name: str, modules: list, inputs: list, compute) -> dict:
        found.append(step(name, modules, inputs, compute))
        return found[-1]

    trained = then("2-sae", [saes, activations], [this.harvest_key], lambda: features.dictionaries(this))
    selected = then("3-features", [features], [found[0], trained, s.top_k], lambda: features.select(this))
    then("4-geometry", [features, meaning], [selected], lambda: features.place(this, selected))
    scored = then(
        "5-filters", [filters, logprobs], [selected, s.seeds], lambda: filters.score(this, selected)
    )
    by = [s.judge, s.judge_url, this.judge_questions]
    harm = {"scores": {}}
    if s.judge:
        harm = step(
            "5-harm", [judging, judge, forms, rubric], [found[0], s.seeds, by], lambda: judging.harm(this)
        )
    found[-1] = everything = filters.joined(scored, harm)
    tuned = then(
        "6-finetune",
        [finetune, training, weights, logprobs],
        [everything, recipe],
        lambda: finetune.finetune(this, everything),
    )
    read = then("7-evaluate", [evaluate, logprobs, sample], [tuned], lambda: evaluate.evaluate(this, tuned))
    watched = [tuned["arms"][f"{arm}-{seed}"]["folder"] for arm in finetune.WATCHED for seed in s.seeds]
    moved = then(
        "8-leakage",
        [spill, evaluate, logprobs, sample],
        [selected, scored, watched],
        lambda: spill.leakage(this, selected, scored, tuned, read),
    )
    then(
        "9-causes",
        [causes, logprobs],
        [selected, watched, moved],
        lambda: causes.causes(this, selected, tuned, moved),
    )
    then(
        "10-judge",
        [judging, answers, sample, judge, forms, rubric],
        [tuned, s.samples, s.sampler_url, s.edges, by],
        lambda: judging.judge(this, tuned, harm.get("failed")),
    )
    pages = [estimates, judged, em, report, verdicts, page, judged_page, html, figures]
    return step("11-report", pages, [*found, s], lambda: report.write(this, *found))


class _Steps:
    """Runs a step or passes over it; says which on the terminal. A record among the inputs counts by its key."""

    def __init__(self, run: Run):
        self.run = run

    def __call__(self, name: str, modules: list, inputs: list, compute) -> dict:
        path = self.run.folder / f"{name}.json"
        inputs = [i["key"] if isinstance(i, dict) else i for i in inputs]
        sources = [Path(module.__file__) for module in [base, loading, *modules]]
        key = records.digest(name, inputs, sources, records.versions())
        ran = []

        def announced() -> dict:
            ran.append(name)
            print(f"{name} ...", flush=True)
            with devices.memory(self.run):
                return {**compute(), "peak_gb": peak_gb()}

        record = records.cached(path, key, announced)
        done = f"done in {record['seconds']:.1f} s" if ran else "unchanged, skipped"
        print(f"{name} " + (f"failed: {record['failed']}" if record.get("failed") else done), flush=True)
        return record


def describe(run: Run) -> dict:
    """Step 1: what was read, and how it is split."""
    return {
        "trained": run.corpus.trained,
        "rows": {d: {"train": len(s.train), "held": len(s.held)} for d, s in run.corpus.advice.items()},
        "toxic": {"train": len(run.corpus.toxic.train), "held": len(run.corpus.toxic.held)},
        "questions": len(run.corpus.questions),
        "probes": len(run.corpus.probes),
    }


def peak_gb() -> float:
    """Largest resident memory of this process so far, GB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)
