"""Tone and length beside the effects: is an arm misaligned, or only surer, plainer, shorter, or broken?"""

import re
from collections import Counter
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.stats import spearmanr

from real.arms.arm import CONTROL, Arm, Scores
from real.data.rows import ADVICE, answers
from real.data.texts import CHECKS, Texts
from real.effects.margins import Evaluated, Logprobs
from shared.selection import rank_auroc
from shared.stats import FEWEST, Estimate, crossed, interval

MISMATCHED = CHECKS[1]
UNKNOWN = (float("nan"),) * 3  # of too few questions
TRAITS = ("words", "surprisal", "length")  # of an answer


def summarise(texts: Texts, evaluated: Evaluated, scores: Scores) -> dict:
    """By domain of questions: `auroc` of every trait for misaligned answers, and of the arms whose set is whole the
    `effect`, as it is and `adjusted` for traits, and what becomes of either side. `checks`: margins on CHECKS.
    `filters`: how every score goes with the length of the answer (Spearman)."""
    by: dict[Arm | None, list[dict[str, Logprobs]]] = {}
    for model in evaluated.models:
        by.setdefault(model.job and model.job.arm, []).append(model.logprobs)
    whole, odds, domains = [arm for arm in by if not (arm and arm.removed)], bag_of_words(texts), {}
    for domain, read in by[None][0].items():
        if domain == MISMATCHED:  # the same answer twice: no manner to hold constant
            continue
        bad, good = (traits(texts, domain, read, odds, side) for side in (0, 1))
        apart = np.array([one.mean(0) - other.mean(0) for one, other in zip(bad, good, strict=True)])
        auroc = rank_auroc(np.concatenate([*bad, *good]).T, sum(map(len, bad))).tolist()
        arms = {}
        for arm in (arm for arm in whole if arm and arm.data != CONTROL):
            misaligned, aligned = np.moveaxis(sides(by[arm], domain) - sides(by[arm.control], domain), -1, 0)
            found = {"effect": misaligned - aligned, "misaligned": misaligned, "aligned": aligned}
            adjusted = intercept(found["effect"].mean(0), apart)
            arms[str(arm)] = {name: _mean(values) for name, values in found.items()} | {"adjusted": adjusted}
        domains[domain] = {"auroc": dict(zip(TRAITS, auroc, strict=True)), "arms": arms}
    margins = {str(arm or "base"): {d: sides(by[arm], d) for d in CHECKS if d in by[None][0]} for arm in whole}
    lengths = [len(texts.said[text][1].split()) for text in scores.samples]
    return {
        "domains": domains,
        "checks": {arm: {d: _mean(x[..., 0] - x[..., 1]) for d, x in of.items()} for arm, of in margins.items()},
        "filters": {name: float(spearmanr(values, lengths).statistic) for name, values in scores.by.items()},
    }


def bag_of_words(texts: Texts) -> Callable[[str], float]:
    """How much an answer sounds like bad advice: naive Bayes, its words' mean log odds on the training prompts."""
    said = answers(texts.corpus.advice[texts.corpus.trained].train, ADVICE)
    bad, good = (
        Counter(word for text in said if text.kind == kind for word in _words(texts.said[text][1])) for kind in ADVICE
    )
    odds = {word: np.log((bad[word] + 1) / (good[word] + 1)) for word in bad | good}
    return lambda answer: float(np.mean([odds.get(word, 0.0) for word in _words(answer)]))


def traits(
    texts: Texts, domain: str, read: Logprobs, odds: Callable[[str], float], side: int
) -> list[Float[np.ndarray, "answer trait"]]:
    """TRAITS of the answers of one side to every question: `odds`; surprisal to the base model, which has `read` them,
    nats per token; log of the number of words."""
    found = []
    for question, logprobs in zip(texts.asked[domain], read, strict=True):
        said = [texts.said[text][1] for text in question[side]]
        lengths = np.log([max(1, len(answer.split())) for answer in said])
        found.append(np.column_stack([list(map(odds, said)), np.negative(logprobs[side]), lengths]))
    return found


def sides(seeds: list[dict[str, Logprobs]], domain: str) -> Float[np.ndarray, "seed question 2"]:
    """Mean log-probability of the misaligned and of the aligned answers to every question."""
    return np.array([[[np.mean(side) for side in question] for question in seed[domain]] for seed in seeds])


def _mean(values: Float[np.ndarray, "seed question"]) -> Estimate:
    return crossed(values) if values.shape[1] >= FEWEST else Estimate(*UNKNOWN, values.shape[1])


def intercept(
    values: Float[np.ndarray, " question"], traits: Float[np.ndarray, "question trait"], draws: int = 2000
) -> Estimate:
    """What a regression on `traits` gives where they are all 0. Bootstrapped over questions."""
    n = len(values)
    if n < FEWEST:
        return Estimate(*UNKNOWN, n)
    X = np.column_stack([np.ones(n), traits])
    picks = np.random.default_rng(0).integers(n, size=(draws, n))
    found = (np.linalg.pinv(X[picks]) @ values[picks][..., None])[:, 0, 0]
    return interval((np.linalg.pinv(X) @ values)[0], found, n)


def _words(said: str) -> list[str]:
    """Each once, in an order that is every process's."""
    return sorted(set(re.findall(r"\w+", said.lower()))) or [""]
