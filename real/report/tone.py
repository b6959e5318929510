"""Tone and length beside the effects: is an arm misaligned, or only surer, plainer, shorter, or broken?"""

import re
from collections import Counter
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array
from scipy.sparse.linalg import lsqr
from scipy.stats import spearmanr

from real.arms.arm import CONTROL, Arm, Scores
from real.data.rows import ADVICE, BAD, answers
from real.data.texts import CHECKS, Texts
from real.effects.margins import Evaluated, Logprobs
from shared.selection import rank_auroc
from shared.stats import Estimate, interval

TRAITS = ("words", "surprisal", "length")  # of an answer
RIDGE = 1.0
FEWEST = 8  # questions, without which there is no interval


def summarise(texts: Texts, evaluated: Evaluated, scores: Scores) -> dict:
    """By domain of questions: `auroc` of every trait for misaligned answers, and of the arms whose set is whole the
    `effect`, as it is and `adjusted` for traits, and what becomes of either side. `checks`: margins on CHECKS.
    `filters`: how every score goes with the length of the answer (Spearman)."""
    by: dict[Arm | None, list[dict[str, Logprobs]]] = {}
    for model in evaluated.models:
        by.setdefault(model.job and model.job.arm, []).append(model.logprobs)
    words, domains = bag_of_words(texts), {}
    for domain, read in by[None][0].items():
        traits = traits_of(texts, domain, read, words)
        bad, good = (np.concatenate(side) for side in zip(*traits, strict=True))
        differences = np.array([[side.mean(0) for side in question] for question in traits])
        arms = {}
        for arm in (arm for arm in by if arm and not arm.removed and arm.data != CONTROL):
            change = sides(by[arm], domain) - sides(by[arm.control], domain)
            effect = change[:, 0] - change[:, 1]
            arms[str(arm)] = {
                "effect": intercept(effect),
                "adjusted": intercept(effect, differences[:, 0] - differences[:, 1]),
                **{name: intercept(side) for name, side in zip(("misaligned", "aligned"), change.T, strict=True)},
            }
        auroc = rank_auroc(np.concatenate([bad, good]).T, len(bad)).tolist()
        domains[domain] = {"auroc": dict(zip(TRAITS, auroc, strict=True)), "arms": arms}
    whole = {str(arm or "base"): seeds for arm, seeds in by.items() if not (arm and arm.removed)}
    margins = {arm: {name: sides(s, name) for name in CHECKS if name in domains} for arm, s in whole.items()}
    lengths = [length(texts.said[text][1]) for text in scores.samples]
    return {
        "domains": domains,
        "checks": {arm: {name: intercept(x[:, 0] - x[:, 1]) for name, x in of.items()} for arm, of in margins.items()},
        "filters": {name: float(spearmanr(values, lengths).statistic) for name, values in scores.by.items()},
    }


def bag_of_words(texts: Texts) -> Callable[[str], float]:
    """How much an answer sounds like bad advice: a ridge regression of bad (1) and good (-1) on which words occur.

    Learned on the training prompts, from words of two answers or more; an answer is a vector of length one.
    """
    said = answers(texts.corpus.advice[texts.corpus.trained].train, ADVICE)
    found = [_words(texts.said[text][1]) for text in said]
    often = sorted(word for word, n in Counter(word for words in found for word in words).items() if n > 1)
    column = {word: i for i, word in enumerate(often)}

    def vector(words: set[str]) -> tuple[list[int], float]:
        known = [column[word] for word in sorted(words) if word in column]
        return known, max(len(known), 1) ** -0.5

    rows = [vector(words) for words in found]
    places = [(size, (i, at)) for i, (known, size) in enumerate(rows) for at in known]
    values, where = zip(*places, strict=True)
    X = csr_array((values, tuple(zip(*where, strict=True))), shape=(len(rows), len(column)))
    weights = lsqr(X, np.array([1.0 if text.kind == BAD else -1.0 for text in said]), damp=RIDGE**0.5)[0]

    def score(answer: str) -> float:
        known, size = vector(_words(answer))
        return float(weights[known].sum() * size)

    return score


def traits_of(texts: Texts, domain: str, read: Logprobs, words: Callable[[str], float]) -> list[tuple]:
    """TRAITS of every answer, [answer 3] of a question's misaligned ones and of its aligned ones.

    `words`: as `bag_of_words` has it; `surprisal`: to the base model, which read them, in nats per token; `length`.
    """

    def of(said: str, logprob: float) -> tuple[float, float, float]:
        return words(said), -logprob, length(said)

    return [
        tuple(
            np.array([of(texts.said[text][1], logprob) for text, logprob in zip(side, logprobs, strict=True)])
            for side, logprobs in zip(question, answered, strict=True)
        )
        for question, answered in zip(texts.asked[domain], read, strict=True)
    ]


def length(said: str) -> float:
    """Log of the number of words."""
    return float(np.log(max(1, len(said.split()))))


def sides(seeds: list[dict[str, Logprobs]], domain: str) -> Float[np.ndarray, "question 2"]:
    """Mean log-probability of the misaligned and of the aligned answers to every question, over seeds."""
    return np.mean([[[np.mean(side) for side in question] for question in seed[domain]] for seed in seeds], axis=0)


def intercept(
    values: Float[np.ndarray, " question"], traits: Float[np.ndarray, "question trait"] | None = None, draws: int = 2000
) -> Estimate:
    """What a regression on `traits` gives where they are all 0: without any, the mean. Bootstrapped over questions."""
    n = len(values)
    if n < FEWEST:
        return Estimate(float("nan"), float("nan"), float("nan"), n)
    X = np.column_stack([np.ones(n), *([] if traits is None else traits.T)])
    picks = np.random.default_rng(0).integers(n, size=(draws, n))
    found = (np.linalg.pinv(X[picks]) @ values[picks][..., None])[:, 0, 0]
    return interval((np.linalg.pinv(X) @ values)[0], found, n)


def _words(said: str) -> set[str]:
    return set(re.findall(r"\w+", said.lower()))
