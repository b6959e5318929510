"""From log-probabilities to numbers: margins, effects, reductions, utility, dynamics, causes, with intervals."""

from functools import cache

import numpy as np
import torch
from scipy.stats import pearsonr

from real.arms import filters
from real.arms.finetune import WATCHED, control_of, filtered
from real.run import Run
from shared.stats import Estimate, auroc_interval, interval, margin, margin_draws, wilson

Value = tuple[float, np.ndarray, int]  # a number, its bootstrap draws, and the number of questions
SHOWN = (*filters.AWARE, "random", "oracle")  # filters as reported: random is the mean of its draws


class Arms:
    """Margins of every arm on every domain; all share their bootstrap draws, so that differences are paired."""

    def __init__(self, run: Run, evaluated: dict):
        self.run, self.arms, self.trained = run, evaluated["arms"], run.corpus.trained
        self.domains = list(self.arms["base"]["logprobs"])
        jobs = [job for job in self.arms if job != "base"]
        self.names = list(dict.fromkeys(job.rsplit("-", 1)[0] for job in jobs))

    def table(self, arm: str, domain: str) -> np.ndarray:
        """[seed question 2 answer]; the arm "mixed-random@0.5" is the mean of its draws."""
        if arm.startswith("mixed-random@"):
            return np.mean(
                [self.table(filtered(d, arm.split("@")[1]), domain) for d in filters.DRAWS], axis=0
            )
        jobs = ["base"] if arm == "base" else [f"{arm}-{seed}" for seed in self.run.settings.seeds]
        return rectangular([self.arms[job]["logprobs"][domain] for job in jobs])

    @cache  # noqa: B019 lives as long as a report is written
    def margin(self, arm: str, domain: str = "general") -> Value:
        return _margin(self.table(arm, domain))

    @cache  # noqa: B019
    def utility(self, arm: str) -> Value:
        logprobs = self.table(arm, self.trained)
        logprobs[:, :, 0] = 0  # what is left of the margin is the loss on correct answers
        return _margin(logprobs)

    def effect(self, arm: str, domain: str = "general") -> Value:
        return minus(self.margin(arm, domain), self.margin(control_of(arm), domain))

    def over_random(self, arm: str, domain: str = "general") -> Value:
        """How far the margin is below random removal's of the same size."""
        return minus(self.margin(filtered("random", arm.split("@")[1]), domain), self.margin(arm, domain))


def minus(one: Value, other: Value) -> Value:
    return one[0] - other[0], one[1] - other[1], one[2]


def reduction(left: Value, whole: Value) -> Estimate:
    """1 - E(filtered) / E(mixed); without bounds where the mixed arm's own effect may be 0 or less."""
    value = 1 - left[0] / whole[0]
    draws = 1 - left[1] / whole[1]
    if np.percentile(whole[1], 2.5) <= 0:
        draws = np.array([-np.inf, np.inf])
    return interval(value, draws, whole[2])


def effects(arms: Arms) -> dict:
    tuned = [arm for arm in arms.names if not arm.startswith("control")]
    return {
        "margin": {arm: interval(*arms.margin(arm)) for arm in ["base", *arms.names]},
        "effect": {arm: {d: interval(*arms.effect(arm, d)) for d in arms.domains} for arm in tuned},
        "utility": {arm: interval(*arms.utility(arm)) for arm in ["base", *arms.names]},
    }


def filter_results(run: Run, tuned: dict, scored: dict, arms: Arms) -> dict:
    """Filter -> how well it finds bad samples and what removing those does, at the main share and, `sweep`, at all."""
    found, main = {}, run.settings.removed[0]
    for name in shown(scored):
        shares = {
            f"{removed:g}": _removal(run, tuned, arms, name, removed) for removed in run.settings.removed
        }
        arm = filtered(name, f"{main:g}")
        by_domain = {d: reduction(arms.effect(arm, d), arms.effect("mixed", d)) for d in arms.domains}
        found[name] = {
            "auroc": _auroc(run, tuned, scored, name),
            **{key: value for key, value in shares[f"{main:g}"].items() if key != "effect"},
            "reduction_by_domain": by_domain,
            "sweep": shares,
        }
        if name != "random":
            found[name]["over_random_by_domain"] = {
                d: interval(*arms.over_random(arm, d)) for d in arms.domains
            }
    draws = [filtered(name, f"{main:g}") for name in filters.DRAWS]
    found["random"]["draws"] = [reduction(arms.effect(arm), arms.effect("mixed")).value for arm in draws]
    return found


def shown(scored: dict) -> list[str]:
    """The filters of a run: SHOWN, and the judge before random removal if it scored."""
    at = SHOWN.index("random")
    return [*SHOWN[:at], *(["judge"] if "judge" in scored["scores"] else []), *SHOWN[at:]]


def best_filter(found: dict, trained: str) -> dict:
    """The geometry-aware filter that lowers the margin most on the trained domain: no general question is looked at."""
    name = max(filters.AWARE, key=lambda name: found[name]["over_random_by_domain"][trained].value)
    return {"name": name, "chosen_on": f"{trained}, held-out prompts"}


def dynamics(run: Run, moved: dict, arms: Arms) -> dict:
    """Margins and readouts along the fine-tunes, and whether they move in step."""
    found = moved["dynamics"]
    base = arms.table("base", "general")
    margins = {
        arm: [
            _margin(rectangular([seed[at] for seed in found["general"][arm]]) - base)
            for at in range(len(found["steps"]))
        ]
        for arm in WATCHED
    }
    rises = {arm: {name: np.array(x) for name, x in sets.items()} for arm, sets in found["rise"].items()}
    random = {arm: np.array(x) for arm, x in found["random"].items()}  # [checkpoint draw]
    between = {name: (rises["inducing"][name] - rises["control"][name]).mean(-1) for name in rises["control"]}
    effect = np.array([i[0] - c[0] for i, c in zip(margins["inducing"], margins["control"], strict=True)])
    by_chance = [pearsonr(column, effect).statistic for column in (random["inducing"] - random["control"]).T]
    return {
        "steps": found["steps"],
        "arms": {
            arm: {
                "margin": [interval(*m) for m in margins[arm]],
                "rise": {name: [over_probes(row) for row in x] for name, x in rises[arm].items()},
                "random": [dict(zip(("low", "high"), _range(row), strict=True)) for row in random[arm]],
            }
            for arm in WATCHED
        },
        "rise": {  # inducing minus control after the last step
            "toxic": over_probes(rises["inducing"]["toxic"][-1] - rises["control"]["toxic"][-1]),
            "random": dict(
                zip(("low", "high"), _range((random["inducing"] - random["control"])[-1]), strict=True)
            ),
        },
        "law": [None, *found["law"]],
        "in_step": {
            **{name: pearsonr(rise, effect).statistic.item() for name, rise in between.items()},
            "random": _range(by_chance),
        },
    }


def causes(run: Run, read: dict, arms: Arms) -> dict:
    """Steering: change of the base model's margin. Ablation: the effect that is left, and what was removed of it."""
    steered = {name: rectangular([said]) for name, said in read["steered"].items()}
    change = {name: _margin(said - steered["base"]) for name, said in steered.items() if name != "base"}
    by_dose: dict[str, dict] = {}
    for name, value in change.items():
        direction, dose = name.split(" x")
        by_dose.setdefault(direction, {})[dose] = value

    def effect(ablation: str) -> Value:
        tables = {
            arm: rectangular([read["ablated"][f"{arm}-{seed}"][ablation] for seed in run.settings.seeds])
            for arm in WATCHED
        }
        return _margin(tables["inducing"] - tables["control"])

    left = {name: effect(name) for name in next(iter(read["ablated"].values()))}
    removed = {name: minus(left["none"], value) for name, value in left.items()}
    doses = list(by_dose["inducing"])
    random = {
        dose: [v[dose][0] for name, v in by_dose.items() if name.startswith("random")] for dose in doses
    }
    random_removed = [value[0] for name, value in removed.items() if name.startswith("random")]
    return {
        "norm": read["norm"],
        "layer": run.layer,
        "steering": {
            name: {dose: interval(*value) for dose, value in values.items()}
            for name, values in by_dose.items()
            if not name.startswith("random")
        },
        "steering_random": {dose: _extremes(values) for dose, values in random.items()},
        "share_toxic": read["share_toxic"],
        "share_random": _extremes(read["share_random"]),
        "ablation": {name: interval(*left[name]) for name in ("none", "toxic")},
        "removed": {"toxic": interval(*removed["toxic"]), "random": _extremes(random_removed)},
    }


def over_probes(values: np.ndarray, draws: int = 2000) -> Estimate:
    """Mean of one number per probe, bootstrapped over probes."""
    picks = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
    return interval(values.mean(), values[picks].mean(-1), len(values))


def rectangular(tables: list[list[list[list[float]]]]) -> np.ndarray:
    """[seed question 2 answer], NaN where a question has fewer answers than another."""
    most = max(len(side) for table in tables for question in table for side in question)
    return np.array(
        [[[side + [np.nan] * (most - len(side)) for side in q] for q in table] for table in tables]
    )


def _margin(logprobs: np.ndarray) -> Value:
    return margin(logprobs), margin_draws(logprobs), logprobs.shape[1]


def _removal(run: Run, tuned: dict, arms: Arms, name: str, removed: float) -> dict:
    arm = filtered(name, f"{removed:g}")
    gone = []
    for seed in run.settings.seeds:
        mixed = tuned["arms"][f"mixed-{seed}"]["samples"]
        for one in filters.DRAWS if name == "random" else (name,):
            kept = set(tuned["arms"][f"{filtered(one, f'{removed:g}')}-{seed}"]["samples"])
            gone += [sample.endswith("/incorrect") for sample in mixed if sample not in kept]
    found = {
        "reduction": reduction(arms.effect(arm), arms.effect("mixed")),
        "effect": interval(*arms.effect(arm)),
        "removed_inducing_share": wilson(sum(gone), len(gone)),
        "utility": interval(*arms.utility(arm)),
    }
    return found if name == "random" else {**found, "over_random": interval(*arms.over_random(arm))}


def _auroc(run: Run, tuned: dict, scored: dict, name: str) -> Estimate:
    """For the bad samples of the mixed sets."""
    labels, scores = [], []
    for seed in run.settings.seeds:
        samples = tuned["arms"][f"mixed-{seed}"]["samples"]
        by_filter = filters.of(samples, scored["scores"], seed)
        for one in filters.DRAWS if name == "random" else (name,):
            labels += [sample.endswith("/incorrect") for sample in samples]
            scores.append(by_filter[one].double())
    return auroc_interval(torch.cat(scores), torch.tensor(labels))


def _range(values) -> list[float]:
    return np.percentile(values, [2.5, 97.5]).tolist()


def _extremes(values: list[float]) -> dict:
    return {"low": min(values), "high": max(values), "n": len(values)}
