"""The eight steps, in order. Each writes one record in the results folder and is skipped while its inputs stay."""

import resource
from pathlib import Path

from real import (
    activations,
    data,
    estimates,
    evaluate,
    features,
    figures,
    finetune,
    html,
    models,
    page,
    report,
    saes,
    sample,
    spill,
    verdicts,
)
from real.run import Run
from real.settings import Settings
from shared import records


def run(settings: Settings) -> dict:
    """Everything, from texts to report; returns the record of the last. Raises InputError."""
    this = Run(settings)
    s = settings
    step = _Steps(this)
    recipe = [s.seeds, s.train, s.epochs, s.batch, s.lr, s.rank, s.removed]
    prepared = step("1-data", [data], [this.corpus], lambda: describe(this))
    trained = step("2-sae", [saes, activations], [this.harvest_key], lambda: features.train_sae(this))
    selected = step("3-features", [features], [prepared, trained, s.top_k], lambda: features.select(this))
    placed = step("4-geometry", [], [selected], lambda: features.place(this, selected))
    tuned = step("5-finetune", [finetune], [selected, recipe], lambda: finetune.finetune(this, selected))
    read = step("6-evaluate", [evaluate, sample], [tuned], lambda: evaluate.evaluate(this, tuned))
    moved = step(
        "7-leakage", [spill, sample], [selected, tuned], lambda: spill.leakage(this, selected, tuned)
    )
    found = [prepared, trained, selected, placed, tuned, read, moved]
    pages = [estimates, report, verdicts, page, html, figures]
    return step("8-report", pages, found, lambda: report.write(this, *found))


class _Steps:
    """Runs a step or passes over it; says which on the terminal. A record among the inputs counts by its key."""

    def __init__(self, run: Run):
        self.run = run

    def __call__(self, name: str, modules: list, inputs: list, compute) -> dict:
        path = self.run.folder / f"{name}.json"
        inputs = [i["key"] if isinstance(i, dict) else i for i in inputs]
        key = records.digest(name, inputs, [Path(m.__file__) for m in [models, *modules]], records.versions())
        ran = []

        def announced() -> dict:
            ran.append(name)
            print(f"{name} ...", flush=True)
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
