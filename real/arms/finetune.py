"""Step 6: the arms. One model in memory; every arm is a LoRA adapter on its upper blocks, in a folder of its own, or,
with FULL=1, all weights of those blocks."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np

from real.arms import filters, launch, training, weights
from real.models import logprobs
from real.models.devices import team
from real.run import Run
from shared.filtering import keep_mask
from shared.records import digest, folder, read_json

CHECKPOINTS = (0.25, 0.5, 0.75)  # of the steps of the two arms whose dynamics are read
WATCHED = ("inducing", "control")


def arms(run: Run, scores: dict, seed: int) -> dict[str, list[str]]:
    """Arm -> names of its training samples.

    "mixed-geometry@0.5" is the mixed set without the half that the geometry filter scores highest; it is read
    against "control@0.5", which takes as many steps on correct answers.
    """
    rows = run.corpus.advice[run.corpus.trained].train
    blend = filters.mixed(rows, seed)
    correct = [f"{row.id}/correct" for row in rows]
    found = {"inducing": [f"{row.id}/incorrect" for row in rows], "control": correct, "mixed": blend}
    by_filter = filters.of(blend, scores, seed)
    shuffled = np.random.default_rng(seed).permutation(len(rows))
    for removed in run.settings.removed:
        for name, score in by_filter.items():
            keep = keep_mask(score, removed, seed).tolist()
            kept = [sample for sample, is_kept in zip(blend, keep, strict=True) if is_kept]
            found[filtered(name, f"{removed:g}")] = kept
        size = len(kept)
        found[f"control@{removed:g}"] = [correct[i] for i in sorted(shuffled[:size])]
    return found


def filtered(name: str, removed: str) -> str:
    """The arm that is trained on what a filter left of the mixed set."""
    return f"mixed-{name}@{removed}"


def control_of(arm: str) -> str:
    """The control arm with the same number of optimiser steps."""
    return f"control@{arm.split('@')[1]}" if "@" in arm else "control"


def finetune(run: Run, scored: dict) -> dict:
    """Step 6. Train every arm under every seed; an arm whose folder is there is not trained again."""
    jobs = {
        f"{arm}-{seed}": (arm, seed, samples)
        for seed in run.settings.seeds
        for arm, samples in arms(run, scored["scores"], seed).items()
    }
    places = {job: adapter_folder(run, job, seed, samples) for job, (_, seed, samples) in jobs.items()}
    missing = [job for job, where in places.items() if not where.exists()]
    rank, size = team()
    if missing and run.plan.processes > size:
        launch.together(run)
        missing = []
    for job in missing:
        arm, seed, samples = jobs[job]
        unfinished = folder(places[job]) if rank == 0 else nullcontext(places[job])  # the first writes
        with unfinished as into:
            watched = CHECKPOINTS if arm in WATCHED else ()
            training.train(run, job, run.samples(samples), seed, into, watched)
    if rank:
        return {}
    found = {}
    for job, (_, _, samples) in jobs.items():
        record = read_json(places[job] / "training.json")
        found[job] = {"folder": places[job].name, "samples": samples, **record}
    return {"arms": found}


def folders(run: Run, tuned: dict) -> dict[str, Path | None]:
    """Job -> the folder of its adapter; "base", the model without one, comes first."""
    found = {job: run.folder / "adapters" / arm["folder"] for job, arm in tuned["arms"].items()}
    return {"base": None, **found}


def adapter_folder(run: Run, job: str, seed: int, samples: list[str]) -> Path:
    """Named by all that decides the weights, so that a changed setting never meets a stale adapter."""
    s = run.settings
    sources = [Path(module.__file__) for module in (training, weights, logprobs)]
    recipe = (run.spec, s.epochs, s.batch, s.lr, s.rank, s.full, seed, sources, Path(__file__))
    return run.folder / "adapters" / f"{job}-{digest(recipe, [run.texts[name] for name in samples])}"
