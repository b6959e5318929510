"""Does the optimiser decide how far narrow training spreads, at equal training loss? `python -m real optimisers FULL=1`

Written down before the run. Prediction (toy/law.py, E8): a spectral step suppresses what many samples share, and that
is what generalises; so at equal loss the effect off the domain is least under Muon. Signs and Adam raise what is
shared as SGD does: the theory does not order these three. All weights of the adapted blocks are trained: the factors
of a LoRA are not the weight.

Rates: of four for every optimiser, swept on one seed by the training loss alone, the two that end lowest. Drop: how
much lower the loss on 32 of the training texts is than the base model's; all are compared where it is DROP, the
smallest final drop of the eight chosen runs, less .05. An arm's weights there are interpolated between the two
checkpoints (every second step) that the drop lies between, so that the drop, read again, is right to .005. Outcome:
margin on all prompts of the domains that are not trained on, inducing minus control, eight seeds that no pilot used;
the mean of the others minus Muon, rates averaged. Null: no difference. Power: with .028 of noise for an arm, as a
pilot of adapters had, the difference has a standard error of .011: .032 is seen four times of five, the pilot's .011
once in six. Less noise is hoped for: no adapter is drawn.

Mended after the run: SGD had a weight decay of .01 like the others, which at its rates shrank the weights by up to a
fifth. Its sweep and its arms were run again without; DROP is still that of the first sweep.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from real.arms.arm import CONTROL, INDUCING
from real.arms.recipe import OPTIMS, Recipe
from real.arms.training import computing, descent, trainable
from real.data.rows import BAD, GOOD, answers
from real.effects.margins import Logprobs, read_questions
from real.effects.readouts import Row, probe_resid, probe_rows
from real.experiments.units import Unit, alone, by_arm, by_processes, drawn, held, margins, order_of, unseen, worn
from real.features.reading import Reading
from real.filters.gradients import loss_gradients
from real.models.logprobs import mean_logprobs
from real.settings import Settings
from shared.code import code
from shared.errors import InputError
from shared.geometry import cosine, unit
from shared.leakage import law, readout_change
from shared.records import Record
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
FEW = 0.05  # of the arms may end before the drop
NEAR, BISECTIONS = 0.005, 8  # nats per token that a drop may be off
KINDS = {INDUCING: BAD, CONTROL: GOOD}


class Swept(Record):
    drop: float  # after the last step


class Reached(Record):
    """Where the drop is what was asked for; the last step's, where it never was."""

    along: list[float]  # drop after every second step and the last, up to where it was passed
    drop: float  # where the rest is read
    logprobs: dict[str, Logprobs]
    shift: list[float]  # of the residual stream at the main layer, mean over texts
    spread: float
    shared: float


def run(reading: Reading, s: Settings) -> dict:
    """The sweep whole, and at the common drop every cell's effect, spectrum, shared part and law."""
    if not s.recipe.full:
        raise InputError("the factors of an adapter are not the weight: add FULL=1")
    ends, cells = _swept(reading, s.recipe)
    units = [_unit(reading, cell, kind, seed) for seed in SEEDS for cell in cells.items() for kind in KINDS]
    bad, good = (loss_gradients(reading, of.samples).mean(0) for of in units[: len(KINDS)])
    encoded = [reading.encoded[i] for i in reading.indices(answers(held(reading), (GOOD,)))]
    probes, g = probe_rows(reading.lm, encoded), unit(bad[None])[0].to(reading.lm.model.device)
    made = by_processes(reading, units, Reached, lambda of: _reach(reading, of, probes, g), reading, DROP, code(_reach))
    if (short := _short(made)) > FEW * len(made):
        raise InputError(f"{short} of {len(made)} arms never reached a drop of {DROP}, SmolLM2's: not compared")
    reached, read = by_arm(units, made), by_arm(units, [margins(of.logprobs, unseen(reading)) for of in made])
    effect = {name: read[f"{INDUCING} {name}"] - read[f"{CONTROL} {name}"] for name in cells}
    by = {of: np.mean([effect[name] for name in cells if cells[name].optim == of], axis=0) for of in OPTIMS}
    others = np.mean([by[name] for name in OPTIMS if name != "muon"], axis=0)
    return {
        "sweep": ends,
        "drop": DROP,
        "the others minus muon": crossed(others - by["muon"]),
        "effect": {name: crossed(of) for name, of in by.items()},
        "minus muon": {name: crossed(of - by["muon"]) for name, of in by.items() if name != "muon"},
        "cells": {
            name: {"effect": crossed(effect[name])}
            | _about(reading, reached[f"{INDUCING} {name}"], reached[f"{CONTROL} {name}"], bad, good)
            for name in cells
        },
    }


def _swept(reading: Reading, recipe: Recipe) -> tuple[dict[str, float], dict[str, Recipe]]:
    """The final drop of every optimiser at every rate, and of each the two rates that end lowest."""
    rates = [(optim, lr) for optim in OPTIMS for lr in RATES[optim]]
    cells = {f"{optim} {lr:g}": replace(recipe, optim=optim, lr=lr) for optim, lr in rates}

    def make(of: Unit) -> Swept:
        before = _loss(reading, of)
        with worn(reading, of):
            return Swept(drop=before - _loss(reading, of))

    units = [_unit(reading, cell, INDUCING, SWEPT) for cell in cells.items()]
    made = by_processes(reading, units, Swept, make, TEXTS, code(_swept))
    ends = {name: of.drop for name, of in zip(cells, made, strict=True)}
    lowest = [sorted((n for n in cells if cells[n].optim == of), key=ends.get)[-2:] for of in OPTIMS]
    return ends, {name: cells[name] for name in cells if name in sum(lowest, [])}


def _unit(reading: Reading, cell: tuple[str, Recipe], kind: str, seed: int) -> Unit:
    (name, recipe), samples = cell, answers(drawn(reading, seed), (KINDS[kind],))
    return Unit(f"{kind} {name}", samples, seed, recipe)


def _loss(reading: Reading, of: Unit) -> float:
    """Nats per token, mean over texts, with the weights that the model has now."""
    samples = reading.samples(of.samples[:TEXTS])
    with computing(reading.lm.model):
        return -float(np.mean(mean_logprobs(reading.lm.model, samples, reading.lm.spec.first)))


def _reach(reading: Reading, of: Unit, probes: list[Row], g: Float[Tensor, " d_model"]) -> Reached:
    """`probes`, of `probe_rows`: correct answers to some prompts that nothing is trained on. `g`: see `_spectrum`."""
    lm, before, start, along = reading.lm, _loss(reading, of), probe_resid(reading, probes), [0.0]

    def drop() -> float:
        return before - _loss(reading, of)

    with trainable(lm, of.recipe, of.seed, reading.folder / "experiments") as (trained, _):
        low = base = _copied(trained)
        order = order_of(reading, of)
        last = -(-order.draws // of.recipe.batch)
        for n, _ in enumerate(descent(lm, of.recipe, order, reading.samples(of.samples), trained), 1):
            if n % EVERY == 0 or n == last:
                along.append(drop())
                if along[-1] >= DROP:
                    _go_back(trained, low, lambda: drop() - DROP)
                    break
                low = _copied(trained)
        spread, shared = _spectrum(reading, dict(zip(trained, base, strict=True)), g)
        with computing(lm.model):
            said = read_questions(reading, {domain: reading.texts.asked[domain] for domain in unseen(reading)})
            shift = (probe_resid(reading, probes) - start).mean(0).tolist()
        return Reached(along=along, drop=drop(), logprobs=said, shift=shift, spread=spread, shared=shared)


def _copied(trained: list[Tensor]) -> list[Tensor]:
    return [p.detach().clone() for p in trained]


@torch.no_grad()
def _go_back(trained: list[Tensor], low: list[Tensor], over: Callable[[], float]) -> None:
    """The weights, on the straight way from `low` to where they are, to where `over` is 0, up to NEAR."""
    high, (a, b) = _copied(trained), (0.0, 1.0)
    for _ in range(BISECTIONS):
        at = (a + b) / 2
        for p, start, end in zip(trained, low, high, strict=True):
            torch.lerp(start, end, at, out=p)
        found = over()
        if abs(found) < NEAR:
            return
        a, b = (a, at) if found > 0 else (at, b)


def _spectrum(reading: Reading, base: dict[Tensor, Tensor], g: Float[Tensor, " d_model"]) -> tuple[float, float]:
    """What the fine-tune added to the matrices of the first adapted block and of the main layer's, means over them.

    `spread`: nuclear norm over Frobenius norm and root of rank; 1 where all singular values are equal. `shared`: of the
    squared length of what writes to the residual stream, the part along `g`, the mean loss gradient of bad answers.
    """
    spread, shared = [], []
    for i in (reading.lm.spec.first, reading.layer):
        for name, p in reading.lm.model.get_decoder().layers[i].named_parameters():
            if p.ndim == 2:
                delta = p.detach() - base[p]
                sizes = torch.linalg.svdvals(delta)
                spread.append((sizes.sum() / (sizes.norm() * len(sizes) ** 0.5)).item())
                if name.split(".")[-2] in ("o_proj", "down_proj"):
                    shared.append(((g @ delta).square().sum() / delta.square().sum()).item())
    return float(np.mean(spread)), float(np.mean(shared))


def _short(made: list[Reached]) -> int:
    """How many never reached the drop."""
    return sum(max(of.along) < DROP for of in made)


def _about(reading: Reading, inducing: np.ndarray, control: np.ndarray, bad: Tensor, good: Tensor) -> dict:
    """Of one optimiser at one rate, by seed; `bad` and `good` are the mean loss gradients of the two kinds."""
    shifts = [torch.tensor([of.shift for of in arm]).mean(0) for arm in (inducing, control)]
    with alone(reading):
        W_dec, both = reading.sae(reading.layer).W_dec.detach(), [*inducing, *control]
    toward, moved = torch.stack([-bad, good - bad]), (shifts[0], shifts[0] - shifts[1])
    pairs = zip(cosine(toward, W_dec), moved, strict=True)
    laws = [law(predicted, readout_change(W_dec, shift[None])) for predicted, shift in pairs]
    return {
        "never reached": _short(both),
        "drop": float(np.mean([of.drop for of in both])),
        "spread": float(np.mean([of.spread for of in inducing])),
        "shared": float(np.mean([of.shared for of in inducing])),
        "E1, R2: inducing, minus control": [found.r2 for found in laws],
    }
