"""The ten steps, in order. Each writes one record in the results folder and is skipped while its inputs stay."""

import resource
from pathlib import Path

from real import (
    activations,
    causes,
    data,
    devices,
    estimates,
    evaluate,
    features,
    figures,
    filters,
    finetune,
    html,
    logprobs,
    meaning,
    models,
    page,
    report,
    saes,
    sample,
    spill,
    training,
    verdicts,
    weights,
)
from real import run as base
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
    tuned = then(
        "6-finetune",
        [finetune, training, weights, logprobs],
        [scored, recipe],
        lambda: finetune.finetune(this, scored),
    )
    read = then("7-evaluate", [evaluate, logprobs, sample], [tuned], lambda: evaluate.evaluate(this, tuned))
    moved = then(
        "8-leakage",
        [spill, logprobs, sample],
        [selected, scored, tuned, read],
        lambda: spill.leakage(this, selected, scored, tuned, read),
    )
    then(
        "9-causes",
        [causes, logprobs],
        [selected, tuned, moved],
        lambda: causes.causes(this, selected, tuned, moved),
    )
    pages = [estimates, report, verdicts, page, html, figures]
    return step("10-report", pages, list(found), lambda: report.write(this, *found))


class _Steps:
    """Runs a step or passes over it; says which on the terminal. A record among the inputs counts by its key."""

    def __init__(self, run: Run):
        self.run = run

    def __call__(self, name: str, modules: list, inputs: list, compute) -> dict:
        path = self.run.folder / f"{name}.json"
        inputs = [i["key"] if isinstance(i, dict) else i for i in inputs]
        sources = [Path(module.__file__) for module in [base, models, *modules]]
        key = records.digest(name, inputs, sources, records.versions())
        ran = []

        def announced() -> dict:
            ran.append(name)
            print(f"{name} ...", flush=True)
            with devices.memory(self.run):
                return {**compute(), "peak_gb": peak_gb()}

        record = records.cached(path, key, announced)
        done = f"done in {record['seconds']:.1f} s" if ran else "unchanged, skipped"
        print(f"{name} {done}", flush=True)
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
