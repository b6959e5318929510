"""From log-probabilities to numbers: margins, effects, reductions, utility; and which samples each filter found."""

from functools import cache

import numpy as np
import torch

from real.finetune import FILTERS, control_of
from real.run import Run
from shared.stats import Estimate, auroc_interval, interval, margin, margin_draws, wilson


def estimates(run: Run, evaluated: dict) -> dict:
    """With 95 % intervals over seeds, questions and answers; all arms share the draws, so differences are paired."""
    seeds, arms, trained = run.settings.seeds, evaluated["arms"], run.corpus.trained
    names = list(dict.fromkeys(job.rsplit("-", 1)[0] for job in arms if job != "base"))
    tuned = [name for name in names if not name.startswith("control")]
    domains = list(arms["base"]["logprobs"])

    def table(arm: str, domain: str) -> np.ndarray:
        jobs = ["base"] if arm == "base" else [f"{arm}-{seed}" for seed in seeds]
        return _rectangular([arms[job]["logprobs"][domain] for job in jobs])

    @cache
    def margins(arm: str, domain: str) -> tuple[float, np.ndarray, int]:
        logprobs = table(arm, domain)
        return margin(logprobs), margin_draws(logprobs), logprobs.shape[1]

    def minus(arm: str, other: str, domain: str) -> tuple[float, np.ndarray, int]:
        (one, draws, n), (two, others, _) = margins(arm, domain), margins(other, domain)
        return one - two, draws - others, n

    def effect(arm: str, domain: str) -> tuple[float, np.ndarray, int]:
        return minus(arm, control_of(arm), domain)

    def utility(arm: str) -> Estimate:
        logprobs = table(arm, trained)
        logprobs[:, :, 0] = 0  # what is left of the margin is the loss on correct answers
        return interval(margin(logprobs), margin_draws(logprobs), logprobs.shape[1])

    return {
        "margin": {arm: interval(*margins(arm, "general")) for arm in ["base", *names]},
        "effect": {arm: {d: interval(*effect(arm, d)) for d in domains} for arm in tuned},
        "reduction": {
            name: {d: reduction(effect(f"mixed-{name}", d), effect("mixed", d)) for d in domains}
            for name in FILTERS
        },
        "over_random": {
            name: interval(*minus("mixed-random", f"mixed-{name}", "general"))
            for name in FILTERS
            if name != "random"
        },
        "utility": {arm: utility(arm) for arm in ["base", *names]},
    }


def reduction(filtered: tuple[float, np.ndarray, int], whole: tuple[float, np.ndarray, int]) -> Estimate:
    """1 - E(filtered) / E(mixed); without bounds where the mixed arm's own effect may be 0 or less."""
    value = 1 - filtered[0] / whole[0]
    draws = 1 - filtered[1] / whole[1]
    if np.percentile(whole[1], 2.5) <= 0:
        draws = np.array([-np.inf, np.inf])
    return interval(value, draws, whole[2])


def filter_quality(run: Run, tuned: dict, scores: dict[int, dict]) -> dict:
    """Does the filter find the inducing samples? AUROC on the mixed set, and their share among the removed."""
    found = {}
    for name in FILTERS:
        labels, scored, removed = [], [], []
        for seed in run.settings.seeds:
            samples = tuned["arms"][f"mixed-{seed}"]["samples"]
            kept = set(tuned["arms"][f"mixed-{name}-{seed}"]["samples"])
            labels += [sample.endswith("/incorrect") for sample in samples]
            scored.append(scores[seed][name])
            removed += [sample.endswith("/incorrect") for sample in samples if sample not in kept]
        found[name] = {
            "auroc": auroc_interval(torch.cat(scored).double(), torch.tensor(labels)),
            "removed_inducing_share": wilson(sum(removed), len(removed)),
        }
    return found


def _rectangular(tables: list[list[list[list[float]]]]) -> np.ndarray:
    """[seed question 2 answer], NaN where a question has fewer answers than another."""
    most = max(len(side) for table in tables for question in table for side in question)
    return np.array(
        [[[side + [np.nan] * (most - len(side)) for side in q] for q in table] for table in tables]
    )
