"""Step 6: the arms. One model in memory; every arm is a LoRA adapter on its upper blocks, in a folder of its own."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from real import filters
from real.logprobs import answer_logprobs
from real.run import Run, Sample
from shared.errors import InputError
from shared.filtering import keep_mask
from shared.records import digest, folder, read_json, write_json

WARMUP = 5  # optimiser steps
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
    found = {}
    for job, (arm, seed, samples) in jobs.items():
        where = adapter_folder(run, job, seed, samples)
        if not where.exists():
            with folder(where) as unfinished:
                train(run, job, run.samples(samples), seed, unfinished, CHECKPOINTS if arm in WATCHED else ())
        record = read_json(where / "training.json")
        found[job] = {"folder": where.name, "samples": samples, **record}
    return {"arms": found}


def adapter_folder(run: Run, job: str, seed: int, samples: list[str]) -> Path:
    """Named by all that decides the weights, so that a changed setting never meets a stale adapter."""
    s = run.settings
    recipe = (run.spec, s.epochs, s.batch, s.lr, s.rank, seed, Path(__file__))
    return run.folder / "adapters" / f"{job}-{digest(recipe, [run.texts[name] for name in samples])}"


def train(  # noqa: PLR0913 an arm is its samples, seed, folder and checkpoints
    run: Run, name: str, samples: list[Sample], seed: int, into: Path, checkpoints: tuple[float, ...] = ()
) -> None:
    """One arm: AdamW, linear decay, mean loss over the tokens of the answers and their end of turn.

    The adapter goes to `into`, as it was after a share of the steps to `into`/step-<n>.
    """
    from transformers import get_linear_schedule_with_warmup

    s, peft = run.settings, adapted(run, seed)
    weights = [p for p in peft.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=s.lr, weight_decay=0.01)
    steps = [
        step for epoch in range(s.epochs) for step in _batches(len(samples), s.batch, seed + 1000 * epoch)
    ]
    schedule = get_linear_schedule_with_warmup(optimiser, WARMUP, len(steps))
    saved, losses = {round(share * len(steps)) for share in checkpoints} - {0, len(steps)}, []
    try:
        for step in tqdm(steps, desc=f"fine-tune {name}", unit="step"):
            loss = -torch.cat(answer_logprobs(run.model, [samples[i] for i in step], run.spec.first)).mean()
            if not torch.isfinite(loss):
                raise InputError(f"{name}: loss is {loss.item()} at step {len(losses)}; lower LR={s.lr}")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            losses.append(loss.item())
            if len(losses) in saved:
                peft.save_pretrained(into / f"step-{len(losses)}")
        peft.save_pretrained(into)
        write_json(
            into / "training.json", {"steps": len(losses), "checkpoints": sorted(saved), "loss": losses}
        )
    finally:
        peft.unload()


def adapted(run: Run, seed: int):
    """The model with fresh LoRA adapters on its upper blocks; `unload` takes them off again."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=run.settings.rank,
        lora_alpha=2 * run.settings.rank,
        use_rslora=True,
        target_modules=list(run.spec.targets),
        layers_to_transform=list(range(run.spec.first, run.model.config.num_hidden_layers)),
        base_model_name_or_path=run.spec.hub,
    )
    return get_peft_model(run.model, config)


@contextmanager
def wearing(model, adapter: Path | None):
    """Within, the model's own weights (and so those of its hooked copy) are the adapter's; None is the base model."""
    if adapter is None:
        yield
        return
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    peft = PeftModel.from_pretrained(model, adapter, low_cpu_mem_usage=True)
    adapted = [m.get_base_layer().weight for m in peft.modules() if isinstance(m, BaseTunerLayer)]
    base = [weight.clone() for weight in adapted]
    peft.merge_and_unload()  # a quarter faster on a CPU than running the adapter beside the weights
    try:
        yield
    finally:
        for weight, was in zip(adapted, base, strict=True):
            weight.copy_(was)  # not a subtraction, which would leave its rounding


def _batches(samples: int, batch: int, seed: int) -> list[list[int]]:
    order = np.random.default_rng(seed).permutation(samples).tolist()
    return [order[at : at + batch] for at in range(0, samples, batch)]
