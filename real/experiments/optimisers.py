"""Does the optimiser decide how far narrow training spreads, at equal training loss? `python -m real optimisers
FULL=1`

Written down before the run. Prediction (toy/law.py, E8): a spectral step suppresses what many samples share, and
that is what generalises; so at equal loss the effect off the domain is least under Muon. Signs and Adam raise what
is shared as SGD does: the theory does not order these three. All weights of the adapted blocks are trained, for the
factors of a LoRA are not the weight.

Rates: of four for every optimiser, swept on one seed by the training loss alone, the two that end lowest. Drop: how
much lower the loss on 32 of the training texts is than the base model's; the smallest final drop of the eight
chosen runs, less .05, is where all are compared. An arm's weights there are interpolated between the two
checkpoints (every five steps) that the drop lies between, and the drop is read again. Outcome: margin on all
prompts of the domains that are not trained on, inducing minus control, eight seeds that no pilot used; Muon minus
the mean of the others, rates averaged.

Null: no difference. Power: with .028 of noise for an arm, as a pilot of adapters had, the difference has a standard
error of .011: .032 is seen four times of five, the pilot's .011 once in six. Less noise is hoped for: no adapter is
drawn.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from real.arms.arm import CONTROL, INDUCING
from real.arms.recipe import OPTIMS, Recipe
from real.arms.weights import wearing
from real.data.packing import pack
from real.data.rows import BAD, GOOD, Text
from real.effects.margins import Logprobs, read_questions
from real.experiments.units import Unit, drawn, key, shared_out, tuned, unseen
from real.features.reading import Reading
from real.filters.gradients import loss_gradients
from real.models import forward
from real.models.logprobs import mean_logprobs
from real.settings import Settings
from shared.code import code
from shared.errors import InputError
from shared.geometry import cosine, unit
from shared.leakage import law, readout_change
from shared.records import Record, digest
from shared.stats import crossed

RATES = {
    "adamw": (3e-5, 1e-4, 3e-4, 1e-3),
    "sgd": (1e-2, 3e-2, 1e-1, 3e-1),
    "lion": (1e-5, 3e-5, 1e-4, 3e-4),
    "muon": (1e-4, 3e-4, 1e-3, 3e-3),
}
SWEPT, SEEDS = 100, tuple(range(20, 28))
TEXTS, SLACK = 32, 0.05  # whose loss is compared, and nats per token that the drop is short of the least
SHARES = tuple(i / 6 for i in range(1, 6))  # of the steps, after which weights are kept
KINDS = {INDUCING: BAD, CONTROL: GOOD}


class Swept(Record):
    drop: float  # after the last step


class Reached(Record):
    """Where the drop is what was asked for; the last step's, where it never was."""

    along: list[float]  # drop after every checkpoint
    drop: float  # read again, with the weights between two of them
    logprobs: dict[str, Logprobs]
    shift: list[float]  # of the residual stream at the main layer, mean over texts
    spread: float
    shared: float


class Cell(NamedTuple):
    optim: str
    lr: float


def run(reading: Reading, s: Settings) -> dict:
    """The sweep whole, and at the common drop every cell's effect, spectrum, shared part and law."""
    recipe = s.recipe
    if not recipe.full:
        raise InputError("the factors of an adapter are not the weight: add FULL=1")
    cells, ends = _swept(reading, recipe)
    drop = min(ends[cell] for cell in cells) - SLACK
    units = [_unit(reading, recipe, cell, kind, seed) for seed in SEEDS for cell in cells for kind in KINDS]
    bad, good = (loss_gradients(reading, of.samples).mean(0) for of in units[: len(KINDS)])
    g = unit(bad[None])[0]
    keys = [digest(key(reading, of), drop, code(_reach)) for of in units]
    made = shared_out(reading, units, keys, Reached, lambda of, scratch: _reach(reading, of, scratch, drop, g))
    grid = np.array(made, dtype=object).reshape(len(SEEDS), len(cells), len(KINDS))
    margins = np.array([_margins(of) for of in made]).reshape(*grid.shape, -1)
    effect = margins[:, :, 0] - margins[:, :, 1]  # [seed cell question]
    by = {name: effect[:, [cell.optim == name for cell in cells]].mean(1) for name in OPTIMS}
    others = np.mean([by[name] for name in OPTIMS if name != "muon"], axis=0)
    return {
        "sweep": {f"{cell.optim} {cell.lr:g}": end for cell, end in ends.items()},
        "drop": drop,
        "muon minus the others": crossed(by["muon"] - others),
        "effect": {name: crossed(of) for name, of in by.items()},
        "minus sgd": {name: crossed(of - by["sgd"]) for name, of in by.items() if name != "sgd"},
        "cells": {
            f"{cell.optim} {cell.lr:g}": {
                "effect": crossed(effect[:, i]),
                **_about(reading, grid[:, i], drop, bad, good),
            }
            for i, cell in enumerate(cells)
        },
    }


def _swept(reading: Reading, recipe: Recipe) -> tuple[list[Cell], dict[Cell, float]]:
    """The two rates of every optimiser that end lowest, and the final drop of all."""
    all_ = [Cell(optim, lr) for optim, rates in RATES.items() for lr in rates]
    units = [_unit(reading, recipe, cell, INDUCING, SWEPT) for cell in all_]

    def make(of: Unit, scratch: Path) -> Swept:
        before = _loss(reading, of)
        tuned(reading, of, scratch / "weights")
        return Swept(drop=_drop(reading, of, scratch / "weights", before))

    keys = [digest(key(reading, of), code(_swept)) for of in units]
    ends = dict(zip(all_, [of.drop for of in shared_out(reading, units, keys, Swept, make)], strict=True))
    best = {optim: sorted(rates, key=lambda lr: -ends[Cell(optim, lr)])[:2] for optim, rates in RATES.items()}
    return [Cell(optim, lr) for optim, rates in best.items() for lr in sorted(rates)], ends


def _unit(reading: Reading, recipe: Recipe, cell: Cell, kind: str, seed: int) -> Unit:
    samples = [Text(row.id, KINDS[kind]) for row in drawn(reading, seed)]
    return Unit(f"{kind} {cell.optim} {cell.lr:g}", samples, seed, replace(recipe, **cell._asdict()))


def _loss(reading: Reading, of: Unit) -> float:
    """Nats per token, mean over texts, of what the model wears now."""
    samples = reading.samples(of.samples[:TEXTS])
    return -float(np.mean(mean_logprobs(reading.lm.model, samples, reading.lm.spec.first)))


def _drop(reading: Reading, of: Unit, weights: Path, before: float) -> float:
    with wearing(reading.lm.model, weights):
        return before - _loss(reading, of)


def _reach(reading: Reading, of: Unit, scratch: Path, drop: float, g: Float[Tensor, " d_model"]) -> Reached:
    before, base, last = _loss(reading, of), _resid(reading), scratch / "weights"
    done = tuned(reading, of, last, SHARES)
    stops = [*(last / f"step-{n}" for n in done.checkpoints), last]
    along, there = [0.0, *(_drop(reading, of, folder, before) for folder in stops)], last
    for low, high, before_it, after_it in zip(along, along[1:], [None, *stops], stops, strict=False):
        if low < drop <= high:
            there = _between(reading, before_it, after_it, (drop - low) / (high - low), scratch / "between")
            break
    spread, shared = _spectrum(reading, there, g)
    with wearing(reading.lm.model, there):
        return Reached(
            along=along,
            drop=before - _loss(reading, of),
            logprobs=read_questions(reading, {d: reading.texts.asked[d] for d in unseen(reading)}),
            shift=(_resid(reading) - base).tolist(),
            spread=spread,
            shared=shared,
        )


def _between(reading: Reading, low: Path | None, high: Path, part: float, into: Path) -> Path:
    """Weights that are `part` of the way from one checkpoint (None: the base model) to the next."""
    into.mkdir(exist_ok=True)
    for file in high.glob("block-*.safetensors"):
        block, to = reading.lm.model.get_decoder().layers[int(file.stem.removeprefix("block-"))], load_file(file)
        start = load_file(low / file.name) if low else dict(block.named_parameters())
        mixed = {n: torch.lerp(start[n].detach().float(), t.float(), part).to(t.dtype) for n, t in to.items()}
        save_file(mixed, into / file.name)
    return into


def _spectrum(reading: Reading, weights: Path, g: Float[Tensor, " d_model"]) -> tuple[float, float]:
    """What the fine-tune added to the matrices of the first adapted block and of the main layer's, means over them.

    `spread`: nuclear norm over Frobenius norm and root of rank; 1 where all singular values are equal. `shared`: of the
    squared length of what writes to the residual stream, the part along `g`, the mean loss gradient of bad answers.
    """
    spread, shared = [], []
    for i in (reading.lm.spec.first, reading.layer):
        after = load_file(weights / f"block-{i}.safetensors")
        for name, p in reading.lm.model.get_decoder().layers[i].named_parameters():
            if p.ndim == 2:
                delta = after[name].float() - p.detach().float()
                sizes = torch.linalg.svdvals(delta)
                spread.append((sizes.sum() / (sizes.norm() * len(sizes) ** 0.5)).item())
                if name.split(".")[-2] in ("o_proj", "down_proj"):
                    shared.append(((g @ delta).square().sum() / delta.square().sum()).item())
    return float(np.mean(spread)), float(np.mean(shared))


def _resid(reading: Reading) -> Float[Tensor, " d_model"]:
    """Residual stream of the main layer: mean over the correct answers to some prompts that nothing is trained on."""
    corpus, first, layer = reading.texts.corpus, reading.lm.spec.first, reading.layer
    rows = [row for domain, split in corpus.advice.items() if domain != corpus.trained for row in split.held]
    means = []
    for text, inputs in reading.samples([Text(row.id, GOOD) for row in rows]):
        packed = pack([text])
        with forward.blocks(reading.lm.model, first):
            resid = forward.resid_post(reading.lm.model, packed, [layer], forward.spread(packed, [inputs]))[layer]
        means.append(resid[packed.paths[0][text.start : text.end]].mean(0))
    return torch.stack(means).mean(0).cpu()


def _margins(of: Reached) -> list[float]:
    return [bad[0] - good[0] for sides in of.logprobs.values() for bad, good in sides]


def _about(reading: Reading, made: np.ndarray, drop: float, bad: Tensor, good: Tensor) -> dict:
    """Of one optimiser at one rate, [seed kind]; `bad` and `good` are the mean loss gradients of the two kinds."""
    shifts = torch.tensor([[of.shift for of in row] for row in made]).mean(0)
    W_dec = reading.sae(reading.layer).W_dec.detach()
    toward, moved = torch.stack([-bad, good - bad]), torch.stack([shifts[0], shifts[0] - shifts[1]])
    pairs = zip(cosine(toward, W_dec), moved, strict=True)
    laws = [law(predicted, readout_change(W_dec, shift[None])) for predicted, shift in pairs]
    return {
        "never reached": sum(max(of.along) < drop for of in made.flat),
        "drop": float(np.mean([of.drop for of in made.flat])),
        "spread": float(np.mean([of.spread for of in made[:, 0]])),
        "shared": float(np.mean([of.shared for of in made[:, 0]])),
        "E1, R2: inducing, minus control": [found.r2 for found in laws],
    }
