"""Settings -> results/toy/summary.json and figures: train, check the law, compare optimisers, spread misalignment."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from shared import geometry, leakage, records
from shared.cores import in_processes, one_thread
from toy import (
    equal_loss,
    figures,
    misalignment,
    optimiser_figures,
    optimisers,
    rescaling,
    superposition,
    superposition_figure,
    worlds,
)
from toy.check import ETA, SAMPLES, law_errors
from toy.command import ready, writing
from toy.explore import page
from toy.measure import off_diagonal, state_leakage
from toy.model import Toy, ToySettings, best, train


@dataclass(frozen=True)
class RunSettings:
    pentagon: ToySettings = ToySettings()
    crowd: ToySettings = ToySettings(n_instances=4, n_features=40, d_hidden=10, seed=1)
    sharing: ToySettings = superposition.SHARING
    polytope_steps: int = 1500
    phase_steps: int = 1000
    world: misalignment.WorldSettings = misalignment.WorldSettings()
    worlds: int = 8  # one per seed


@one_thread()
def run(out: Path, settings: RunSettings = RunSettings()) -> dict:  # noqa: B008 frozen
    """Everything `python -m toy` does but print. InputError when `out` cannot be written."""
    started = time.perf_counter()
    ready(out)
    pentagon, crowd, world = settings.pentagon, settings.crowd, settings.world
    models = {"pentagon": train(pentagon), "crowd": train(crowd)}
    errors = law_errors(models["pentagon"], pentagon) + law_errors(models["crowd"], crowd)
    cosines = off_diagonal([geometry.cosine(W, W) for W in models["crowd"].W.double()])
    rules = in_processes(lambda rule: spilled(models["crowd"], crowd, rule), optimisers.RULES)
    measured = dict(zip(optimisers.RULES, rules, strict=True))
    rescaled, equal = (rescaling.summary(models["crowd"].W.double(), crowd), equal_loss.sweep(world, settings.worlds))
    space = {
        "polytopes": superposition.polytopes(settings.polytope_steps),
        "sharing": superposition.sharing(settings.sharing),
        "phases": superposition.phases(settings.phase_steps),
    }
    spread, shown = worlds.sweep(world, settings.worlds), misalignment.world(world)
    summary = {
        "law": {name: _worst([e[name] for e in errors]) for name in errors[0]},
        "optimisers": {
            rule: {**_fit(cosines, tasks["alone"]), "together": _fit(cosines, tasks["together"])}
            for rule, tasks in measured.items()
        },
        "rescaling": records.rounded(rescaled),
        "equal_loss": records.rounded(equal),
        "superposition": records.rounded({name: superposition.shares(toy) for name, toy in models.items()} | space),
        "misalignment": records.rounded(spread),
        "settings": asdict(settings) | {"eta": ETA, "samples": SAMPLES},
        "versions": records.versions(),
    }
    W = best(models["pentagon"], pentagon).double()
    one_step = {
        name: off_diagonal([state_leakage(W, name) for W in models["crowd"].W.double()]) for name in ("sgd", "adam")
    }
    drawn = {
        "law": figures.law_figure(W, state_leakage(W, "sgd"), cosines, one_step),
        "optimisers": figures.optimiser_figure(cosines, {rule: measured[rule] for rule in figures.RULE_TITLES}),
        "rescaling": optimiser_figures.rescaling_figure(rescaled, equal),
        "superposition": superposition_figure.superposition_figure(**space),
        "misalignment": figures.misalignment_figure(
            misalignment.law_points(shown, misalignment.finetune(shown.W, shown.samples["bad"])), shown.kinds, spread
        ),
    }
    with writing(out):
        for name, figure in drawn.items():
            figures.save(figure, out / f"{name}.png")
        records.write_text(out / "explore.html", page())
        summary["seconds"] = round(time.perf_counter() - started, 1)
        records.write_json(out / "summary.json", summary)
    return summary


def spilled(toy: Toy, settings: ToySettings, rule: str) -> dict[str, Float[Tensor, " pair"]]:
    """Task -> the leakage ratios of every pair of features, under one update rule."""
    parameters = list(zip(toy.W.double(), toy.b_final.double(), settings.probabilities[:, 0].tolist(), strict=True))
    return {
        task: off_diagonal([optimisers.leakage_ratios(*one, optimisers.RULES[rule], task) for one in parameters])
        for task in optimisers.TASKS
    }


def _fit(predicted: Tensor, measured: Tensor) -> dict[str, float]:
    """Of pairs of features."""
    fit = leakage.law(predicted, measured)._asdict()
    return {name: _round(fit[name]) for name in ("slope", "r2", "pearson", "spearman")} | {"pairs": fit["n"]}


def _worst(errors: list[dict[str, float]]) -> dict[str, float]:
    """Over instances and ways; of E7's slopes the one farthest from 2."""
    worst = {way: _round(np.max([e[way] for e in errors])) for way in errors[0] if way != "slope"}
    slope = (
        {"slope": _round(max((e["slope"] for e in errors), key=lambda s: abs(s - 2)))} if "slope" in errors[0] else {}
    )
    return {"max_relative_error": float(np.max(list(worst.values()))), **worst, **slope}


def _round(value: float | Tensor) -> float:
    return float(f"{float(value):.6g}")
