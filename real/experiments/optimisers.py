"""Does the optimiser decide how far narrow training spreads, at equal training loss? `python -m real optimisers FULL=1`

Written down before the run. Prediction (toy/law.py, E8): a spectral step suppresses what many samples share, and that
is what generalises; so at equal loss the effect off the domain is least under Muon. Signs and Adam raise what is
shared as SGD does: the theory does not order these three. All weights of the adapted blocks are trained, for the
factors of a LoRA are not the weight.

Rates: of four for every optimiser, swept on one seed by the training loss alone, the two that end lowest. Drop: how
much lower the loss on 32 of the training texts is than the base model's; all are compared where it is DROP, the
smallest final drop of the eight chosen runs, less .05. An arm's weights there are interpolated between the two
checkpoints (every second step) that the drop lies between, so that the drop, read again, is right to .005. Outcome:
margin on all prompts of the domains that are not trained on, inducing minus control, eight seeds that no pilot used;
the mean of the others minus Muon, rates averaged.

Null: no difference. Power: with .028 of noise for an arm, as a pilot of adapters had, the difference has a standard
error of .011: .032 is seen four times of five, the pilot's .011 once in six. Less noise is hoped for: no adapter is
drawn.

Mended after the run: SGD had a weight decay of .01 like the others, which at its rates shrank the weights by up to a
fifth. Its sweep and its arms were run again without; DROP is still that of the first sweep.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from real.arms.arm import CONTROL, INDUCING
from real.arms.recipe import OPTIMS, Recipe
from real.arms.training import computing, descent, trainable
from real.arms.weights import wearing
from real.data.rows import BAD, GOOD, Text
from real.data.tokens import Encoded
from real.effects.margins import Logprobs, read_questions
from real.effects.readouts import probe_resid, probe_rows
from real.experiments.units import Unit, by_processes, drawn, key, margins, order_of, tuned, unseen
from real.features.reading import Reading
from real.filters.gradients import loss_gradients
from real.models.logprobs import mean_logprobs
from real.settings import Settings
from shared.code import code
from shared.errors import InputError
from shared.geometry import cosine, unit
from shared.leakage import law, readout_change
from shared.records import Record, digest
from shared.stats import crossed

CLAIM = "At the same training loss, Muon spreads narrow training less than the other optimisers do"
MAIN = "the others minus muon"
RATES = {
    "adamw": (3e-5, 1e-4, 3e-4, 1e-3),
    "sgd": (1e-2, 3e-2, 1e-1, 3e-1),
    "lion": (1e-5, 3e-5, 1e-4, 3e-4),
    "muon": (1e-4, 3e-4, 1e-3, 3e-3),
}
SWEPT, SEEDS = 100, tuple(range(20, 28))
TEXTS, DROP = 32, 0.683  # whose loss is compared, and where: nats per token below the base model's
EVERY = 2  # steps, after which the drop is read
NEAR, BISECTIONS = 0.005, 8  # nats per token that a drop may be off
KINDS = {INDUCING: BAD, CONTROL: GOOD}


class Swept(Record):
    drop: float  # after the last step


class Reached(Record):
    """Where the drop is what was asked for; the last step's, where it never was."""

    along: list[float]  # drop after every second step, up to where it was passed
    drop: float  # where the rest is read
    logprobs: dict[str, Logprobs]
    shift: list[float]  # of the residual stream at the main layer, mean over texts
    spread: float
    shared: float


class Cell(NamedTuple):
    optim: str
    lr: float


class Beside(NamedTuple):
    """What is read beside the margins."""

    g: Float[Tensor, " d_model"]  # direction of the mean loss gradient of bad answers
    probes: list[tuple]  # of `probe_rows`: correct answers to some prompts that nothing is trained on


def run(reading: Reading, s: Settings) -> dict:
    """The sweep whole, and at the common drop every cell's effect, spectrum, shared part and law."""
    recipe = s.recipe
    if not recipe.full:
        raise InputError("the factors of an adapter are not the weight: add FULL=1")
    cells, ends = _swept(reading, recipe)
    units = [_unit(reading, recipe, cell, kind, seed) for seed in SEEDS for cell in cells for kind in KINDS]
    bad, good = (loss_gradients(reading, of.samples).mean(0) for of in units[: len(KINDS)])
    g = unit(bad[None])[0].to(reading.lm.model.device)
    beside = Beside(g, list(probe_rows(reading.lm, _unseen_answers(reading))))
    keys = [digest(key(reading, of), DROP, code(_reach)) for of in units]
    made = by_processes(reading, units, keys, Reached, lambda of, scratch: _reach(reading, of, scratch, beside))
    grid = np.array(made, dtype=object).reshape(len(SEEDS), len(cells), len(KINDS))
    read = margins([of.logprobs for of in made], unseen(reading), *grid.shape)
    effect = read[:, :, 0] - read[:, :, 1]  # [seed cell question]
    by = {name: effect[:, [cell.optim == name for cell in cells]].mean(1) for name in OPTIMS}
    others = np.mean([by[name] for name in OPTIMS if name != "muon"], axis=0)
    return {
        "sweep": {f"{cell.optim} {cell.lr:g}": end for cell, end in ends.items()},
        "drop": DROP,
        "the others minus muon": crossed(others - by["muon"]),
        "effect": {name: crossed(of) for name, of in by.items()},
        "minus muon": {name: crossed(of - by["muon"]) for name, of in by.items() if name != "muon"},
        "cells": {
            f"{cell.optim} {cell.lr:g}": {"effect": crossed(effect[:, i]), **_about(reading, grid[:, i], bad, good)}
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
        with wearing(reading.lm.model, scratch / "weights"):
            return Swept(drop=before - _loss(reading, of))

    keys = [digest(key(reading, of), TEXTS, code(tuned), code(_loss)) for of in units]
    ends = dict(zip(all_, [of.drop for of in by_processes(reading, units, keys, Swept, make)], strict=True))
    best = {optim: sorted(rates, key=lambda lr: -ends[Cell(optim, lr)])[:2] for optim, rates in RATES.items()}
    return [Cell(optim, lr) for optim, rates in best.items() for lr in sorted(rates)], ends


def _unit(reading: Reading, recipe: Recipe, cell: Cell, kind: str, seed: int) -> Unit:
    samples = [Text(row.id, KINDS[kind]) for row in drawn(reading, seed)]
    return Unit(f"{kind} {cell.optim} {cell.lr:g}", samples, seed, replace(recipe, **cell._asdict()))


def _loss(reading: Reading, of: Unit) -> float:
    """Nats per token, mean over texts, with the weights that the model has now."""
    samples = reading.samples(of.samples[:TEXTS])
    with computing(reading.lm.model):
        return -float(np.mean(mean_logprobs(reading.lm.model, samples, reading.lm.spec.first)))


def _unseen_answers(reading: Reading) -> list[Encoded]:
    corpus = reading.texts.corpus
    texts = [Text(row.id, GOOD) for domain in unseen(reading) for row in corpus.advice[domain].held]
    return [reading.encoded[i] for i in reading.indices(texts)]


def _reach(reading: Reading, of: Unit, scratch: Path, beside: Beside) -> Reached:
    lm, before, start = reading.lm, _loss(reading, of), probe_resid(reading, beside.probes)
    with trainable(lm, of.recipe, of.seed, scratch) as (trained, _):
        base = [p.detach().clone() for p in trained]
        low, along = base, [0.0]
        steps = descent(lm, of.recipe, order_of(reading, of), reading.samples(of.samples), trained)
        for n, _ in enumerate(steps, 1):
            if n % EVERY == 0:
                along.append(before - _loss(reading, of))
                if along[-1] >= DROP:
                    _go_back(reading, of, trained, low, before, DROP)
                    break
                low = [p.detach().clone() for p in trained]
        spread, shared = _spectrum(reading, dict(zip(map(id, trained), base, strict=True)), beside.g)
        with computing(lm.model):
            said = read_questions(reading, {d: reading.texts.asked[d] for d in unseen(reading)})
            shift = (probe_resid(reading, beside.probes) - start).mean(0).tolist()
        now = before - _loss(reading, of)
        return Reached(along=along, drop=now, logprobs=said, shift=shift, spread=spread, shared=shared)


@torch.no_grad()
def _go_back(reading: Reading, of: Unit, trained: list[Tensor], low: list[Tensor], before: float, drop: float) -> None:
    """The weights, on the straight way from `low` to where they are, to where the drop is what it should be."""
    high, (a, b) = [p.detach().clone() for p in trained], (0.0, 1.0)
    for _ in range(BISECTIONS):
        at = (a + b) / 2
        for p, start, end in zip(trained, low, high, strict=True):
            torch.lerp(start, end, at, out=p)
        over = before - _loss(reading, of) - drop
        if abs(over) < NEAR:
            return
        a, b = (a, at) if over > 0 else (at, b)


def _spectrum(reading: Reading, base: dict[int, Tensor], g: Float[Tensor, " d_model"]) -> tuple[float, float]:
    """What the fine-tune added to the matrices of the first adapted block and of the main layer's, means over them.

    `spread`: nuclear norm over Frobenius norm and root of rank; 1 where all singular values are equal. `shared`: of the
    squared length of what writes to the residual stream, the part along `g`, the mean loss gradient of bad answers.
    """
    spread, shared = [], []
    for i in (reading.lm.spec.first, reading.layer):
        for name, p in reading.lm.model.get_decoder().layers[i].named_parameters():
            if p.ndim == 2:
                delta = p.detach() - base[id(p)]
                sizes = torch.linalg.svdvals(delta)
                spread.append((sizes.sum() / (sizes.norm() * len(sizes) ** 0.5)).item())
                if name.split(".")[-2] in ("o_proj", "down_proj"):
                    shared.append(((g @ delta).square().sum() / delta.square().sum()).item())
    return float(np.mean(spread)), float(np.mean(shared))


def _about(reading: Reading, made: np.ndarray, bad: Tensor, good: Tensor) -> dict:
    """Of one optimiser at one rate, [seed kind]; `bad` and `good` are the mean loss gradients of the two kinds."""
    shifts = torch.tensor([[of.shift for of in row] for row in made]).mean(0)
    W_dec = reading.sae(reading.layer).W_dec.detach()
    toward, moved = torch.stack([-bad, good - bad]), torch.stack([shifts[0], shifts[0] - shifts[1]])
    pairs = zip(cosine(toward, W_dec), moved, strict=True)
    laws = [law(predicted, readout_change(W_dec, shift[None])) for predicted, shift in pairs]
    return {
        "never reached": sum(max(of.along) < DROP for of in made.flat),
        "drop": float(np.mean([of.drop for of in made.flat])),
        "spread": float(np.mean([of.spread for of in made[:, 0]])),
        "shared": float(np.mean([of.shared for of in made[:, 0]])),
        "E1, R2: inducing, minus control": [found.r2 for found in laws],
    }
