"""Tone and length beside the effects: is an arm misaligned, or only surer, plainer, shorter, or broken?"""

import re
from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
from jaxtyping import Float

from real.arms.arm import CONTROL, Scores
from real.data.rows import ADVICE, Advice, Text
from real.data.texts import CHECKS, Sides, Texts
from real.report.estimates import Arms, Table
from shared.selection import rank_auroc
from shared.stats import FEWEST, Estimate, crossed, rank_correlation

TRAITS = ("words", "surprisal", "length")  # of an answer
SPLITS = 10  # of the training prompts into halves


def summarise(texts: Texts, arms: Arms, scores: Scores) -> dict:
    """By domain of questions: `auroc` of every trait for misaligned answers, how `reliable` words are, and of the arms
    whose set is whole the `effect`, as it is and `adjusted` for traits, and what becomes of either side. `checks`:
    margins on CHECKS. `filters`: how every score goes with the length of the answer (Spearman)."""
    base, whole = arms.by_seed[None][0], [arm for arm in arms.by_seed if not (arm and arm.removed)]
    rows, domains = texts.corpus.advice[texts.corpus.trained].train, {}
    odds, halves = bag_of_words(rows), [bag_of_words(half) for half in _halves(rows)]
    for domain in [name for name in base if name != CHECKS[1]]:  # mismatched: the same answer on either side
        read = list(zip(texts.asked[domain], base[domain], strict=True))
        bad, good = ([traits(texts, of[side], said[side], odds) for of, said in read] for side in (0, 1))
        auroc = rank_auroc(np.concatenate([*bad, *good]).T, sum(map(len, bad))).tolist()
        domains[domain] = found = {"auroc": dict(zip(TRAITS, auroc, strict=True)), "arms": {}}
        found["reliable"] = _reliability(texts, texts.asked[domain], halves)
        apart = np.array([one.mean(0) - other.mean(0) for one, other in zip(bad, good, strict=True)])
        for arm in [arm for arm in whole if arm and arm.data != CONTROL]:
            effect, change = arms.effect(arm, domain), arms.sides(arm, domain) - arms.sides(arm.control, domain)
            found["arms"][str(arm)] = {
                "effect": _mean(effect),
                "misaligned": _mean(change[..., 0]),
                "aligned": _mean(change[..., 1]),
                "adjusted": intercept(effect, apart),
            }
    lengths = np.array([len(texts.said[text][1].split()) for text in scores.samples], float)
    checks = [name for name in CHECKS if name in base]
    return {
        "domains": domains,
        "checks": {str(arm or "base"): {name: _mean(arms.margin(arm, name)) for name in checks} for arm in whole},
        "filters": {name: rank_correlation(np.array(values, float), lengths) for name, values in scores.by.items()},
    }


def bag_of_words(rows: list[Advice]) -> Callable[[str], float]:
    """How much an answer sounds like bad advice: naive Bayes, its words' mean log odds on these prompts."""
    bad, good = (Counter(word for row in rows for word in _words(getattr(row, kind))) for kind in ADVICE)
    odds = {word: np.log((bad[word] + 1) / (good[word] + 1)) for word in bad | good}
    return lambda answer: float(np.mean([odds.get(word, 0.0) for word in _words(answer)]))


def _halves(rows: list[Advice]) -> list[list[Advice]]:
    """Twice SPLITS halves, those of a split side by side."""
    orders = [np.random.default_rng(i).permutation(len(rows)) for i in range(SPLITS)]
    return [[rows[i] for i in half] for order in orders for half in np.array_split(order, 2)]


def _reliability(texts: Texts, questions: list[Sides], halves: list[Callable[[str], float]]) -> float:
    """Of the words' difference between a question's answers: what two halves of the prompts agree on (Pearson's r, mean
    over splits), stepped up to the whole (Spearman 1910, Brown 1910). An effect that is tone alone is taken off by
    hardly more than this share of it."""
    means = [
        [np.mean([odds(texts.said[text][1]) for text in side]) for q in questions for side in q] for odds in halves
    ]
    apart = np.subtract(np.array(means)[:, ::2], np.array(means)[:, 1::2])
    r = float(np.mean([np.corrcoef(pair)[0, 1] for pair in zip(apart[::2], apart[1::2], strict=True)]))
    return 2 * r / (1 + r)


def traits(
    texts: Texts, side: list[Text], logprobs: list[float], odds: Callable[[str], float]
) -> Float[np.ndarray, "answer trait"]:
    """TRAITS of answers: `odds`; surprisal to the base model, nats per token; log of the number of words."""
    said = [texts.said[text][1] for text in side]
    lengths = np.log([max(1, len(answer.split())) for answer in said])
    return np.column_stack([[odds(answer) for answer in said], np.negative(logprobs), lengths])


def intercept(values: Table, traits: Float[np.ndarray, "question trait"]) -> Estimate:
    """What a regression on `traits` gives where they are all 0, over seeds and questions.

    A question pulls the intercept by its weight in it times its residual, which is too small by its leverage (HC3,
    MacKinnon and White 1985): the interval is that of the mean of all pulls.
    """
    n = values.shape[1]
    X = np.column_stack([np.ones(n), traits])
    weights = np.linalg.pinv(X)  # [coefficient question]
    fit, leverage = weights @ values.mean(0), (X * weights.T).sum(1)
    pulls = n * weights[0] * (values - X @ fit) / np.maximum(1 - leverage, 1e-9)
    return _mean(fit[0] + pulls - pulls.mean())


def _mean(values: Table) -> Estimate:
    """NaN of too few questions."""
    n = values.shape[1]
    return crossed(values) if n >= FEWEST else Estimate(np.nan, np.nan, np.nan, n)


@cache
def _words(said: str) -> list[str]:
    """Each once, in an order that is every process's."""
    return sorted(set(re.findall(r"\w+", said.lower()))) or [""]
