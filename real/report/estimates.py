"""From log-probabilities to numbers: margins, effects, reductions, utility, dynamics, causes, EM, with intervals."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from scipy.stats import pearsonr

from real.arms.arm import AWARE, CONTROL, DRAWS, INDUCING, MIXED, RANDOM, WATCHED, Arm, Job, Scores
from real.arms.finetune import Finetuned, score_of
from real.data.rows import BAD
from real.effects.causes import Ablated, Caused
from real.effects.leakage import Leaked
from real.effects.margins import Evaluated, Logprobs, first
from shared.stats import Estimate, auroc_interval, interval, margin, margin_draws, wilson

Value = tuple[float, np.ndarray, int]  # a number, its bootstrap draws, and the number of questions


class Arms:
    """Margins of every arm on every domain; all share their bootstrap draws, so that differences are paired.

    The base model is the arm None.
    """

    def __init__(self, evaluated: Evaluated):
        self.by_seed: dict[Arm | None, list[dict[str, Logprobs]]] = {}
        for model in evaluated.models:
            self.by_seed.setdefault(model.job and model.job.arm, []).append(model.logprobs)
        self.domains = list(self.by_seed[None][0])

    def table(self, arm: Arm | None, domain: str) -> np.ndarray:
        """[seed question 2 answer]; random removal without a draw is the mean of its draws."""
        if arm and arm.by == RANDOM and not arm.draw:
            return np.mean([self.table(arm._replace(draw=draw), domain) for draw in DRAWS], axis=0)
        return rectangular([logprobs[domain] for logprobs in self.by_seed[arm]])

    @cache  # noqa: B019 lives as long as a report is written
    def margin(self, arm: Arm | None, domain: str = "general") -> Value:
        return _margin(self.table(arm, domain))

    @cache  # noqa: B019
    def utility(self, arm: Arm | None, domain: str) -> Value:
        logprobs = self.table(arm, domain)
        logprobs[:, :, 0] = 0  # what is left of the margin is the loss on correct answers
        return _margin(logprobs)

    def effect(self, arm: Arm, domain: str = "general") -> Value:
        return minus(self.margin(arm, domain), self.margin(arm.control, domain))

    def over_random(self, arm: Arm, domain: str = "general") -> Value:
        """How far the margin is below random removal's of the same size."""
        return minus(self.margin(arm._replace(by=RANDOM), domain), self.margin(arm, domain))

    def reduction(self, arm: Arm, domain: str = "general") -> Estimate:
        """1 - E(filtered) / E(mixed); without bounds where the mixed arm's own effect may be 0 or less."""
        left, whole = self.effect(arm, domain), self.effect(Arm(MIXED), domain)
        draws = 1 - left[1] / whole[1]
        if np.percentile(whole[1], 2.5) <= 0:
            draws = np.array([-np.inf, np.inf])
        return interval(1 - left[0] / whole[0], draws, whole[2])


def minus(one: Value, other: Value) -> Value:
    return one[0] - other[0], one[1] - other[1], one[2]


def effects(arms: Arms, trained: str) -> dict:
    """By arm, as it is written."""
    tuned = [arm for arm in arms.by_seed if arm and arm.data != CONTROL]
    return {
        "margin": {str(arm or "base"): interval(*arms.margin(arm)) for arm in arms.by_seed},
        "effect": {str(arm): {d: interval(*arms.effect(arm, d)) for d in arms.domains} for arm in tuned},
        "utility": {str(arm or "base"): interval(*arms.utility(arm, trained)) for arm in arms.by_seed},
    }


def filters(tuned: Finetuned, scores: Scores, arms: Arms, trained: str, removed: tuple[float, ...]) -> dict:
    """Filter -> how well it finds bad samples and what removing those does, at the main share and, `sweep`, at all."""
    samples = {of.job: of.samples for of in tuned.jobs}
    found = {}
    for name in dict.fromkeys(arm.by for arm in arms.by_seed if arm and arm.by):
        arm = Arm(MIXED, name, removed[0])
        shares = {f"{share:g}": _removal(samples, arms, arm._replace(removed=share), trained) for share in removed}
        found[name] = {
            "auroc": _auroc(samples, scores, name),
            **{key: value for key, value in shares[f"{removed[0]:g}"].items() if key != "effect"},
            "reduction_by_domain": {d: arms.reduction(arm, d) for d in arms.domains},
            "sweep": shares,
        }
        if name == RANDOM:
            found[name]["draws"] = [arms.reduction(arm._replace(draw=draw)).value for draw in DRAWS]
        else:
            below = {d: interval(*arms.over_random(arm, d)) for d in arms.domains}
            found[name]["over_random_by_domain"] = below
    return found


def best_filter(found: dict, trained: str) -> dict:
    """The geometry-aware filter that lowers the margin most on the trained domain: no general question is looked at."""
    name = max(AWARE, key=lambda name: found[name]["over_random_by_domain"][trained].value)
    return {"name": name, "chosen_on": f"{trained}, held-out prompts"}


def _removal(samples: dict[Job, list], arms: Arms, arm: Arm, trained: str) -> dict:
    draws, gone = (DRAWS if arm.by == RANDOM else (0,)), []
    for job, whole in samples.items():
        if job.arm == Arm(MIXED):
            for draw in draws:
                kept = set(samples[Job(arm._replace(draw=draw), job.seed)])
                gone += [text.kind == BAD for text in whole if text not in kept]
    found = {
        "reduction": arms.reduction(arm),
        "effect": interval(*arms.effect(arm)),
        "removed_inducing_share": wilson(sum(gone), len(gone)),
        "utility": interval(*arms.utility(arm, trained)),
    }
    return found if arm.by == RANDOM else {**found, "over_random": interval(*arms.over_random(arm))}


def _auroc(samples: dict[Job, list], scores: Scores, name: str) -> Estimate:
    """For the bad samples of the mixed sets."""
    labels, found = [], []
    for job, whole in samples.items():
        if job.arm == Arm(MIXED):
            for draw in DRAWS if name == RANDOM else (0,):
                labels += [text.kind == BAD for text in whole]
                found.append(score_of(Arm(MIXED, name, draw=draw), whole, scores, job.seed).double())
    return auroc_interval(torch.cat(found), torch.tensor(labels))


def dynamics(moved: Leaked) -> dict:
    """Margins and readouts along the fine-tunes, and whether they move in step: by their gains between checkpoints.

    Two things that only grow correlate, whatever links them; what they gain from one checkpoint to the next need not.
    """
    found = moved.dynamics
    base = rectangular([found.general[INDUCING][0][0]])
    margins = {
        arm: [_margin(rectangular([seed[at] for seed in seeds]) - base) for at in range(len(found.steps))]
        for arm, seeds in found.general.items()
    }
    rises = {arm: {name: np.array(x) for name, x in sets.items()} for arm, sets in found.rise.items()}
    between = {name: rises[INDUCING][name] - rises[CONTROL][name] for name in rises[CONTROL]}
    random = np.array(found.random[INDUCING]) - np.array(found.random[CONTROL])  # [checkpoint draw]
    effect = np.array([i[0] - c[0] for i, c in zip(margins[INDUCING], margins[CONTROL], strict=True)])
    gains = np.diff(effect)
    by_chance = _range([pearsonr(np.diff(column), gains).statistic for column in random.T])
    return {
        "steps": found.steps,
        "arms": {
            arm.data: {
                "margin": [interval(*m) for m in margins[arm.data]],
                "rise": {name: [over_probes(row) for row in x] for name, x in rises[arm.data].items()},
                "random": [_range(row) for row in found.random[arm.data]],
            }
            for arm in WATCHED
        },
        # inducing minus control after the last step
        "rise": {"toxic": over_probes(between["toxic"][-1]), "random": _range(random[-1])},
        "law": [None, *(law and law.model_dump() for law in found.law)],
        "in_step": {
            **{name: pearsonr(np.diff(rise.mean(-1)), gains).statistic.item() for name, rise in between.items()},
            "random": list(by_chance.values()),
        },
    }


def causes(read: Caused, layer: int) -> dict:
    """Steering: change of the base model's margin. Ablation: the effect that is left, and what was removed of it."""
    base, few = rectangular([read.base]), rectangular([first(read.base)])  # random ones are read on few answers

    def effect(said: Callable[[Ablated], Logprobs]) -> Value:
        """Of the inducing arm, against the control arm's."""
        one, other = (rectangular([said(of) for of in read.ablated if of.job.arm == arm]) for arm in WATCHED)
        return _margin(one - other)

    left = {name: effect(lambda of, name=name: of.general[name]) for name in read.ablated[0].general}
    removed = {name: minus(left["none"], value) for name, value in left.items() if name != "none"}
    floor = effect(lambda of: first(of.general["none"]))[0]
    by_random = [floor - effect(lambda of, i=i: of.random[i])[0] for i in range(len(read.share_random))]
    return {
        "norm": read.norm,
        "layer": layer,
        "steering": {
            name: {dose: interval(*_margin(rectangular([said]) - base)) for dose, said in doses.items()}
            for name, doses in read.steered.items()
        },
        "steering_random": _extremes([margin(rectangular([said]) - few) for said in read.random]),
        "share_toxic": read.share_toxic,
        "share_random": _extremes(read.share_random),
        "ablation": {name: interval(*value) for name, value in left.items()},
        "removed": {name: interval(*value) for name, value in removed.items()} | {"random": _extremes(by_random)},
    }


def over_probes(values: np.ndarray, draws: int = 2000) -> Estimate:
    """Mean of one number per probe, bootstrapped over probes."""
    picks = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
    return interval(values.mean(), values[picks].mean(-1), len(values))


def rectangular(tables: list[Logprobs]) -> np.ndarray:
    """[seed question 2 answer], NaN where a question has fewer answers than another."""
    most = max(len(side) for table in tables for question in table for side in question)
    return np.array([[[side + [np.nan] * (most - len(side)) for side in q] for q in table] for table in tables])


def _margin(logprobs: np.ndarray) -> Value:
    return margin(logprobs), margin_draws(logprobs), logprobs.shape[1]


def _range(values) -> dict[str, float]:
    return dict(zip(("low", "high"), np.percentile(values, [2.5, 97.5]).tolist(), strict=True))


def _extremes(values: list[float]) -> dict:
    return {"low": min(values), "high": max(values), "n": len(values)}
