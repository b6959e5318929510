"""From log-probabilities to numbers: margins, effects, reductions, utility, dynamics, causes, with intervals."""

from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import pearsonr

from real.arms.arm import CONTROL, DRAWS, INDUCING, MIXED, RANDOM, WATCHED, Arm, Job, Scores
from real.arms.finetune import Finetuned, score_of
from real.data.rows import BAD, Text
from real.data.texts import CHECKS
from real.effects.causes import Ablated, Caused
from real.effects.leakage import Leaked
from real.effects.margins import Evaluated, Logprobs
from shared.stats import Estimate, auroc_interval, crossed, question_margins, reduction, side_means, wilson

Table = Float[np.ndarray, "seed question"]  # a margin, or a difference of margins


class Arms:
    """Margins of every arm on every domain, question by question, so that differences are paired.

    The base model is the arm None.
    """

    def __init__(self, evaluated: Evaluated):
        self.by_seed: dict[Arm | None, list[dict[str, Logprobs]]] = {}
        for model in evaluated.models:
            self.by_seed.setdefault(model.job and model.job.arm, []).append(model.logprobs)
        self.domains = [domain for domain in self.by_seed[None][0] if domain not in CHECKS]

    @cache  # noqa: B019 lives as long as a report is written
    def sides(self, arm: Arm | None, domain: str) -> Float[np.ndarray, "seed question 2"]:
        """`side_means`; random removal without a draw is the mean of its draws."""
        if arm and arm.by == RANDOM and not arm.draw:
            return np.mean([self.sides(arm._replace(draw=draw), domain) for draw in DRAWS], axis=0)
        return np.stack([side_means(logprobs[domain]) for logprobs in self.by_seed[arm]])

    def margin(self, arm: Arm | None, domain: str = "general") -> Table:
        sides = self.sides(arm, domain)
        return sides[..., 0] - sides[..., 1]

    def effect(self, arm: Arm, domain: str = "general") -> Table:
        return self.margin(arm, domain) - self.margin(arm.control, domain)

    def over_random(self, arm: Arm, domain: str = "general") -> Estimate:
        """How far the effect is below random removal's of the same size; its draws tell how much an arm varies."""
        draws = self.draws(arm, domain)
        return crossed(draws.mean(0) - self.effect(arm, domain), draws[:, 0])

    def draws(self, arm: Arm, domain: str) -> Float[np.ndarray, "draw seed question"]:
        """Effects of random removals of the same size."""
        return np.stack([self.effect(arm._replace(by=RANDOM, draw=draw), domain) for draw in DRAWS])

    def reduction(self, arm: Arm, domain: str = "general") -> Estimate:
        """1 - E(filtered) / E(mixed), with draws as in `over_random`."""
        return reduction(self.effect(arm, domain), self.effect(Arm(MIXED), domain), self.draws(arm, domain)[:, 0])


def effects(arms: Arms, trained: str) -> dict:
    """By arm, as it is written. Utility is the loss on correct answers."""
    tuned = [arm for arm in arms.by_seed if arm and arm.data != CONTROL]
    return {
        "margin": {str(arm or "base"): crossed(arms.margin(arm)) for arm in arms.by_seed},
        "effect": {str(arm): {d: crossed(arms.effect(arm, d)) for d in arms.domains} for arm in tuned},
        "utility": {str(arm or "base"): crossed(-arms.sides(arm, trained)[..., 1]) for arm in arms.by_seed},
    }


def filters(tuned: Finetuned, scores: Scores, arms: Arms, trained: str, removed: tuple[float, ...]) -> dict:
    """Filter -> how well it finds bad samples and what removing those does, at the main share and, `sweep`, at all."""
    samples, found = {of.job: of.samples for of in tuned.jobs}, {}
    for name in dict.fromkeys(arm.by for arm in arms.by_seed if arm and arm.by):
        arm = Arm(MIXED, name, removed[0])
        shares = {share: _removal(samples, arms, arm._replace(removed=share), trained) for share in removed}
        bad = torch.tensor([text.kind == BAD for text in scores.samples])  # each once, whatever seeds draw it
        found[name] = {
            "auroc": auroc_interval(score_of(arm._replace(draw=1), scores.samples, scores, 0).double(), bad),
            **{key: value for key, value in shares[removed[0]].items() if key != "effect"},
            "reduction_by_domain": {d: arms.reduction(arm, d) for d in arms.domains},
            "sweep": {f"{share:g}": at for share, at in shares.items()},
        }
        if name == RANDOM:
            found[name]["draws"] = [arms.reduction(arm._replace(draw=draw)).value for draw in DRAWS]
        else:
            found[name]["over_random_by_domain"] = {d: arms.over_random(arm, d) for d in arms.domains}
    return found


def _removal(samples: dict[Job, list[Text]], arms: Arms, arm: Arm, trained: str) -> dict:
    mixed = {job.seed: set(of) for job, of in samples.items() if job.arm == Arm(MIXED)}
    draws = [arm._replace(draw=draw) for draw in (DRAWS if arm.by == RANDOM else (0,))]
    gone = [text for seed, whole in mixed.items() for of in draws for text in whole - set(samples[Job(of, seed)])]
    bad, n = float(np.mean([text.kind == BAD for text in gone])), len(set(gone))  # seeds and draws share samples
    found = {
        "reduction": arms.reduction(arm),
        "effect": crossed(arms.effect(arm)),
        "removed_inducing_share": wilson(bad * n, n),
        "utility": crossed(-arms.sides(arm, trained)[..., 1]),
    }
    return found if arm.by == RANDOM else {**found, "over_random": arms.over_random(arm)}


def dynamics(moved: Leaked) -> dict:
    """Margins and readouts along the fine-tunes, and whether they move in step: by their gains between checkpoints.

    Two things that only grow correlate, whatever links them; what they gain from one checkpoint to the next need not.
    """
    found = moved.dynamics
    base = question_margins(found.general[INDUCING][0][0])
    margins = {
        arm: [_by_seed(reads) - base for reads in zip(*seeds, strict=True)] for arm, seeds in found.general.items()
    }
    # set -> [checkpoint seed probe]
    between = {name: np.subtract(found.rise[INDUCING][name], x) for name, x in found.rise[CONTROL].items()}
    random = np.subtract(found.random[INDUCING], found.random[CONTROL])  # [checkpoint draw]
    gains = np.diff([(i - c).mean() for i, c in zip(margins[INDUCING], margins[CONTROL], strict=True)])

    def in_step(course: Float[np.ndarray, " checkpoint"]) -> float:
        return float(pearsonr(np.diff(course), gains).statistic)

    return {
        "steps": found.steps,
        "arms": {
            arm: {
                "margin": [crossed(margin) for margin in course],
                "rise": {name: [crossed(row) for row in np.array(x)] for name, x in found.rise[arm].items()},
                "random": [_range(row) for row in found.random[arm]],
            }
            for arm, course in margins.items()
        },
        # inducing minus control after the last step
        "rise": {"toxic": crossed(between["toxic"][-1]), "random": _range(random[-1])},
        "law": [None, *(law and law.model_dump() for law in found.law)],
        "in_step": {name: in_step(rise.mean((1, 2))) for name, rise in between.items()}
        | {"random": list(_range([in_step(draw) for draw in random.T]).values())},
    }


def causes(read: Caused, layer: int) -> dict:
    """Steering: change of the base model's margin. Ablation: the effect that is left, and what was removed of it."""
    base, few = (question_margins(of) for of in (read.base, _first(read.base)))

    def effect(said: Callable[[Ablated], Logprobs]) -> Table:
        """Of the inducing arm, against the control arm's."""
        inducing, control = (_by_seed([said(of) for of in read.ablated if of.job.arm == arm]) for arm in WATCHED)
        return inducing - control

    left = {name: effect(lambda of, name=name: of.general[name]) for name in read.ablated[0].general}
    removed = {name: left["none"] - table for name, table in left.items() if name != "none"}
    floor = effect(lambda of: _first(of.general["none"])).mean()
    by_random = [floor - effect(lambda of, i=i: of.random[i]).mean() for i in range(len(read.share_random))]
    return {
        "norm": read.norm,
        "layer": layer,
        "steering": {
            name: {dose: crossed(_by_seed([said]) - base) for dose, said in doses.items()}
            for name, doses in read.steered.items()
        },
        "steering_random": _extremes([(question_margins(said) - few).mean() for said in read.random]),
        "share_toxic": read.share_toxic,
        "share_random": _extremes(read.share_random),
        "ablation": {name: crossed(table) for name, table in left.items()},
        "removed": {name: crossed(table) for name, table in removed.items()} | {"random": _extremes(by_random)},
    }


def _first(said: Logprobs) -> Logprobs:
    """Of the first answers, which random interventions are read on."""
    return [(misaligned[:1], aligned[:1]) for misaligned, aligned in said]


def _by_seed(reads: Iterable[Logprobs]) -> Table:
    return np.stack([question_margins(read) for read in reads])


def _range(values) -> dict[str, float]:
    low, high = np.percentile(values, [2.5, 97.5]).tolist()
    return {"low": low, "high": high}


def _extremes(values: list[float]) -> dict:
    return {"low": min(values), "high": max(values), "n": len(values)}
