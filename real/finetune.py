"""Step 5: the arms. One model in memory; every arm is a LoRA adapter on its upper blocks, in a folder of its own."""

from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from real.data import Advice
from real.models import starting_at
from real.run import Run
from real.tokens import Encoded, pack
from shared.errors import InputError
from shared.filtering import keep_mask, oracle_score, random_score
from shared.records import digest, folder, read_json, write_json

FILTERS = ("geometry", "random", "oracle")
WARMUP = 5  # optimiser steps


class Sample(NamedTuple):
    row: Advice
    kind: str  # "incorrect" or "correct"

    @property
    def name(self) -> str:
        return f"{self.row.id}/{self.kind}"


def mixed(rows: list[Advice], seed: int) -> list[Sample]:
    """Each prompt once, a random half with its incorrect answer, the others with their correct one."""
    bad = np.random.default_rng(seed).permutation(len(rows)) < len(rows) // 2
    return [Sample(row, "incorrect" if b else "correct") for row, b in zip(rows, bad, strict=True)]


def filter_scores(samples: list[Sample], geometry_score: dict[str, float], seed: int) -> dict[str, Tensor]:
    """Filter -> one score per sample of the mixed set; the highest are removed."""
    return {
        "geometry": torch.tensor([geometry_score[sample.name] for sample in samples]),
        "random": random_score(len(samples), seed),
        "oracle": oracle_score(torch.tensor([sample.kind == "incorrect" for sample in samples])),
    }


def arms(
    rows: list[Advice], geometry_score: dict[str, float], removed: float, seed: int
) -> dict[str, list[Sample]]:
    """Arm -> its training samples. `control` and `control-half` take as many steps as the arms read against them."""
    blend = mixed(rows, seed)
    filtered = {}
    for name, score in filter_scores(blend, geometry_score, seed).items():
        keep = keep_mask(score, removed, seed).tolist()
        filtered[f"mixed-{name}"] = [sample for sample, kept in zip(blend, keep, strict=True) if kept]
    correct = [Sample(row, "correct") for row in rows]
    half = np.random.default_rng(seed).permutation(len(rows))[: len(filtered["mixed-random"])]
    return {
        "inducing": [Sample(row, "incorrect") for row in rows],
        "control": correct,
        "control-half": [correct[i] for i in sorted(half)],
        "mixed": blend,
        **filtered,
    }


def control_of(arm: str) -> str:
    """The control arm with the same number of optimiser steps."""
    return "control" if arm in ("inducing", "mixed") else "control-half"


def finetune(run: Run, selected: dict) -> dict:
    """Train every arm under every seed; an arm whose folder is there is not trained again."""
    rows = run.corpus.advice[run.corpus.trained].train
    jobs = {
        (arm, seed): samples
        for seed in run.settings.seeds
        for arm, samples in arms(rows, selected["geometry_score"], run.settings.removed, seed).items()
    }
    folders = {job: adapter_folder(run, *job, samples) for job, samples in jobs.items()}
    missing = {job: samples for job, samples in jobs.items() if not folders[job].exists()}
    if missing:
        # All texts, whatever is missing: packed alike they are rounded alike, and a resumed run ends the same.
        names = sorted({s.name for samples in jobs.values() for s in samples})
        texts = run.encode([run.texts[name] for name in names])
        inputs = dict(zip(names, zip(texts, run.frozen(texts), strict=True), strict=True))
        for (arm, seed), samples in missing.items():
            with folder(folders[arm, seed]) as unfinished:
                train(run, f"{arm}, seed {seed}", [inputs[s.name] for s in samples], seed, unfinished)
    return {
        "arms": {
            f"{arm}-{seed}": {
                "folder": folders[arm, seed].name,
                "samples": [s.name for s in jobs[arm, seed]],
                **read_json(folders[arm, seed] / "training.json"),
            }
            for arm, seed in jobs
        }
    }


def adapter_folder(run: Run, arm: str, seed: int, samples: list[Sample]) -> Path:
    """Named by all that decides the weights, so that a changed setting never meets a stale adapter."""
    s = run.settings
    recipe = (run.spec, s.epochs, s.batch, s.lr, s.rank, seed, Path(__file__))
    key = digest(recipe, [(sample.row.prompt, getattr(sample.row, sample.kind)) for sample in samples])
    return run.folder / "adapters" / f"{arm}-{seed}-{key}"


def train(run: Run, name: str, samples: list[tuple[Encoded, Tensor]], seed: int, into: Path) -> None:
    """One arm: AdamW, linear decay, mean loss over the tokens of the answers and their end of turn."""
    from peft import LoraConfig, get_peft_model
    from transformers import get_linear_schedule_with_warmup

    s, model = run.settings, run.model
    torch.manual_seed(seed)
    config = LoraConfig(
        r=s.rank,
        lora_alpha=2 * s.rank,
        use_rslora=True,
        target_modules=list(run.spec.targets),
        layers_to_transform=list(range(run.spec.first, model.config.num_hidden_layers)),
        base_model_name_or_path=run.spec.hub,
    )
    peft = get_peft_model(model, config)
    weights = [p for p in peft.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=s.lr, weight_decay=0.01)
    steps = [
        step for epoch in range(s.epochs) for step in _batches(len(samples), s.batch, seed + 1000 * epoch)
    ]
    schedule = get_linear_schedule_with_warmup(optimiser, WARMUP, len(steps))
    losses = []
    try:
        for step in tqdm(steps, desc=f"fine-tune {name}", unit="step"):
            loss = -target_logprobs(model, [samples[i] for i in step], run.spec.first).mean()
            if not torch.isfinite(loss):
                raise InputError(f"{name}: loss is {loss.item()} at step {len(losses)}; lower LR={s.lr}")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            losses.append(loss.item())
        peft.save_pretrained(into)
        write_json(into / "training.json", {"steps": len(losses), "loss": losses})
    finally:
        peft.unload()


def target_logprobs(
    model, samples: list[tuple[Encoded, Tensor]], first: int, end_of_turn: bool = True
) -> Float[Tensor, " token"]:
    """Log-probability of every answer token (and end of turn), sample after sample; nats.

    A sample is its tokens and what goes into block `first`; logits are made at the answers only.
    """
    texts = [text for text, _ in samples]
    packed = pack(texts)
    inputs = samples[0][1].new_empty(packed.input_ids.shape[1], samples[0][1].shape[1])
    for nodes, (_, frozen) in zip(packed.paths, samples, strict=True):
        inputs[nodes] = frozen
    with starting_at(model, first) as decoder:
        hidden = decoder(
            inputs_embeds=inputs[None],
            attention_mask=packed.attention_mask,
            position_ids=packed.position_ids,
            use_cache=False,
        )
    ends = [text.end + end_of_turn for text in texts]
    before = [path[t.start - 1 : end - 1] for path, t, end in zip(packed.paths, texts, ends, strict=True)]
    targets = [token for text, end in zip(texts, ends, strict=True) for token in text.ids[text.start : end]]
    logits = model.get_output_embeddings()(hidden.last_hidden_state[0, torch.cat(before)]).float()
    return -torch.nn.functional.cross_entropy(logits, torch.tensor(targets), reduction="none")


@contextmanager
def wearing(model, adapter: Path | None):
    """Within, the model's own weights (and so those of its hooked copy) are the adapter's; None is the base model."""
    if adapter is None:
        yield
        return
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    peft = PeftModel.from_pretrained(model, adapter)
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
