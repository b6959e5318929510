"""One arm of step 6: the optimiser's loop, in one process or as one of several.

Of several processes each holds a share of every block's weights (torch's fully_shard) and reads a share of every step's
samples. Adapters, being small, are whole in each, and their gradients are averaged. A step's loss is the mean over the
answer tokens of all its samples: the numbers of one pass of one process, up to rounding.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters
from torch.optim import SGD, AdamW, Muon, Optimizer
from tqdm import tqdm

from real.arms import weights
from real.arms.arm import Job
from real.arms.recipe import Recipe
from real.data.rows import Text
from real.models.devices import team
from real.models.forward import Sample, Without, stopping
from real.models.lm import LM
from real.models.logprobs import answer_logprobs
from shared.errors import InputError
from shared.lion import Lion
from shared.records import Part, Record

WARMUP = 5  # optimiser steps


class Order(Part):
    """What an arm is to be trained on under one seed."""

    job: Job
    samples: list[Text]
    draws: int  # samples that the optimiser sees in all, the same for every arm: fewer are passed over more often
    checkpoints: list[int]  # steps after which the weights are saved, too
    key: str  # of all that decides the result

    @property
    def folder(self) -> str:
        return f"{self.job}-{self.key}"


class Training(Record):
    loss: list[float]  # nats per token, by step


def train(  # noqa: PLR0913 what is trained on what, how, and what of the gradient is held back
    lm: LM, recipe: Recipe, order: Order, samples: list[Sample], into: Path, without: Without | None = None
) -> Training:
    """One arm: linear decay of the learning rate, mean loss over the tokens of the answers and their end of turn.

    What is trained goes to `into`, as it was at a checkpoint to `into`/step-<n>.
    """
    with trainable(lm, recipe, order.job.seed, into.parent) as (trained, save), stopping(lm.model, without):
        losses = []
        for loss in descent(lm, recipe, order, samples, trained):
            losses.append(loss)
            if len(losses) in order.checkpoints:
                save(into / f"step-{len(losses)}")
        save(into)
    made = {path.relative_to(into).as_posix(): "" for path in sorted(into.rglob("*")) if path.is_file()}
    return Training(loss=losses, made=made)


def descent(lm: LM, recipe: Recipe, order: Order, samples: list[Sample], trained: list[Tensor]) -> Iterator[float]:
    """The loss of every step, when it has been taken."""
    from transformers import get_linear_schedule_with_warmup

    rank, size = team()
    steps = batches(len(samples), order.draws, recipe.batch, order.job.seed)
    micro = passes(lm, samples, trained, recipe)
    made = optimisers(recipe.optim, trained, recipe.lr)
    schedules = [get_linear_schedule_with_warmup(one, WARMUP, len(steps)) for one in made]
    bar = {"desc": f"fine-tune {order.job}", "unit": "step", "disable": rank > 0}
    for n, step in enumerate(tqdm(steps, **bar, file=sys.stdout if size > 1 else sys.stderr)):
        loss = descend(lm, [samples[i] for i in step], trained, bool(recipe.full), micro)
        if not np.isfinite(loss):
            raise InputError(f"{order.job}: loss is {loss} at step {n}; lower LR={recipe.lr}")
        clip_grad_norm_(trained, 1.0)
        for one, schedule in zip(made, schedules, strict=True):
            one.step()
            schedule.step()
            one.zero_grad()
        yield loss


def optimisers(name: str, trained: list[Tensor], lr: float) -> list[Optimizer]:
    """Those that together train these weights, all with the one learning rate. The law for each is in toy/law.py.

    Muon is for matrices, and its step is scaled to the size of AdamW's, who trains the rest, as its documentation says.
    SGD decays nothing: its rates are a thousand times the others', and would shrink weights by more than it moves them.
    """
    if name == "sgd":
        return [SGD(trained, lr=lr, momentum=0.9)]
    how = {"lr": lr, "weight_decay": 0.01}
    if name == "lion":
        return [Lion(trained, **how)]
    matrices = [p for p in trained if p.ndim == 2 and name == "muon"]
    rest = [p for p in trained if p.ndim != 2 or name != "muon"]
    muon = [Muon(matrices, **how, adjust_lr_fn="match_rms_adamw")] if matrices else []
    return muon + ([AdamW(rest, **how, fused=rest[0].is_cuda or None)] if rest else [])


def passes(lm: LM, samples: list[Sample], trained: list[Tensor], recipe: Recipe) -> int:
    """Samples to a pass: on one GPU as many of the longest as it is found to hold, elsewhere what the plan says."""
    if lm.plan.device == "cpu" or lm.plan.processes > 1:
        return lm.plan.micro
    from accelerate.utils import find_executable_batch_size

    longest = sorted(samples, key=lambda sample: len(sample[0].ids))[-recipe.batch :]

    @find_executable_batch_size(starting_batch_size=lm.plan.micro)
    def attempt(micro: int) -> int:
        _moments = [torch.empty_like(p) for p in trained for _ in range(2)]  # which the first step makes room for
        try:
            descend(lm, longest, trained, bool(recipe.full), micro)
        finally:
            for p in trained:
                p.grad = None
        return micro

    return attempt()


def descend(lm: LM, step: list[Sample], trained: list[Tensor], full: bool, micro: int) -> float:
    """Adds the gradient of a step's loss to the trained weights'; returns the loss."""
    rank, size = team()
    tokens = sum(text.end + 1 - text.start for text, _ in step)
    mine = step[rank::size]
    own, share = len(mine), -(-len(step) // size)
    mine = mine + step[: share - own]  # every process passes as often: the others wait for its share of the weights
    total = torch.zeros((), device=lm.model.device)
    for at in range(0, share, micro):
        with computing(lm.model):
            said = answer_logprobs(lm.model, mine[at : at + micro], lm.spec.first)
        counted = torch.cat(said[: own - at]) if own > at else 0 * said[0]
        loss = -counted.sum() / tokens
        (size * loss).backward()  # what is shared out is averaged over processes
        total = total + loss.detach()
    if size > 1:
        torch.distributed.all_reduce(total)
        if not full:  # adapters are whole in each: averaged in one message
            gradients = [p.grad for p in trained if p.grad is not None]
            flat = parameters_to_vector(gradients)
            torch.distributed.all_reduce(flat)
            vector_to_parameters(flat / size, gradients)
    return total.item()


def computing(model) -> torch.autocast:
    """A model in bfloat16 computes in it with what is trained, which is in float32.

    For one pass: autocast keeps its bfloat16 copy of a weight until it is left, whatever a step has made of the weight.
    """
    return torch.autocast(model.device.type, torch.bfloat16, enabled=model.dtype == torch.bfloat16)


@contextmanager
def trainable(lm: LM, recipe: Recipe, seed: int, near: Path):
    """The weights that an arm trains and what saves them to a folder; afterwards the model is the base model again."""
    with ExitStack() as after:
        if lm.plan.checkpointing:
            lm.model.activation_checkpointing_enable()
            lm.model.train()
            after.callback(lm.model.activation_checkpointing_disable)
            after.callback(lm.model.eval)
        yield after.enter_context(_whole_blocks(lm, near) if recipe.full else _adapter(lm, recipe.rank, seed))


@contextmanager
def _adapter(lm: LM, rank: int, seed: int):
    from peft.helpers import disable_input_dtype_casting

    peft = adapted(lm, rank, seed)
    config = peft.peft_config["default"]
    scale = config.lora_alpha / rank**0.5  # that the adapters, which have read this already, run with
    config.lora_alpha, config.use_rslora = rank, False  # as is saved: a scale of 1

    def save(into: Path) -> None:
        """With the scale in B: some servers know no rank stabilisation and would weaken the adapter."""
        if team()[0] == 0:
            tensors = {name: t * scale if ".lora_B." in name else t for name, t in peft.state_dict().items()}
            peft.save_pretrained(into, state_dict=tensors, save_embedding_layers=False)  # which have none

    try:
        with disable_input_dtype_casting(peft, active=lm.model.dtype == torch.bfloat16):  # left to autocast
            yield [p for p in peft.parameters() if p.requires_grad], save
    finally:
        peft.unload()


@contextmanager
def _whole_blocks(lm: LM, near: Path):
    layers = lm.model.get_decoder().layers
    blocks = range(lm.spec.first, len(layers))
    trained = [p for i in blocks for p in layers[i].parameters()]
    dtypes = [p.dtype for p in trained]
    with weights.kept(lm.model, blocks, near):
        try:
            for p in trained:
                p.data = p.data.to(torch.promote_types(p.dtype, torch.float32))
                p.requires_grad_()
            yield trained, partial(weights.save, lm.model, blocks)
        finally:
            for p, dtype in zip(trained, dtypes, strict=True):
                p.grad = None
                p.requires_grad_(False)
                p.data = p.data.to(dtype)


def adapted(lm: LM, rank: int, seed: int):
    """The model with fresh LoRA adapters on its upper blocks; `unload` takes them off again."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    where = list(range(lm.spec.first, lm.model.config.num_hidden_layers))
    how = {"r": rank, "lora_alpha": 2 * rank, "use_rslora": True, "layers_to_transform": where}
    peft = get_peft_model(lm.model, LoraConfig(target_modules=list(lm.spec.targets), **how))
    peft.peft_config["default"].base_model_name_or_path = lm.spec.hub  # not the folder that its weights were read from
    return peft


def batches(samples: int, draws: int, batch: int, seed: int) -> list[list[int]]:
    """Which samples each step takes: pass after pass over all, each in an order of its own, until `draws` are taken."""
    passes = [np.random.default_rng(seed + 1000 * n).permutation(samples) for n in range(-(-draws // samples))]
    order = np.concatenate(passes)[:draws].tolist()
    return [order[at : at + batch] for at in range(0, draws, batch)]
