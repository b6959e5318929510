"""How sure: intervals over seeds and questions, permutation p, shares. Every estimate carries its n."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm, spearmanr, t
from torch import Tensor

from shared.selection import rank_auroc, true_first

FEWEST = 8  # questions, probes or random directions: the range of fewer says nothing


class Estimate(NamedTuple):
    """A value with its 95 % interval and the number of independent units behind it."""

    value: float
    low: float
    high: float
    n: int


def side_means(logprobs: Sequence[Sequence[Sequence[float]]]) -> Float[np.ndarray, "question 2"]:
    """Mean log-probability of the misaligned and of the aligned answers to every question, nats per token.

    `logprobs`: question -> (misaligned, aligned) -> a number for every answer.
    Raises ValueError when a question has no answer of one kind.
    """
    return np.array([[fmean(side) for side in question] for question in logprobs])


def question_margins(logprobs: Sequence[Sequence[Sequence[float]]]) -> Float[np.ndarray, " question"]:
    """Of `side_means`, misaligned minus aligned. Raises as that."""
    misaligned, aligned = side_means(logprobs).T
    return misaligned - aligned


def crossed(
    values: Float[np.ndarray, "seed question"], draws: Float[np.ndarray, "draw question"] | None = None
) -> Estimate:
    """Mean of a table whose rows and whose columns are both drawn at random, with its 95 % t interval; n is questions.

    Of the variance of the mean, (MS_seed + MS_question - MS_rest) / cells is unbiased; degrees of freedom by
    Satterthwaite (1946), but never fewer than any part has: where something is subtracted, his can be next to none.
    With one seed the interval is over questions, for that seed. `draws`: of one seed, when the values are something's
    differences from the draws' mean, and another training would change it as much as a draw differs from the next:
    that variance, (MS_draw - MS_rest) / questions, is added for all of them.
    """
    (seeds, questions), value = values.shape, float(values.mean())
    by_question = seeds * values.mean(0).var(ddof=1)
    parts = [(by_question, questions - 1)]
    if seeds > 1:
        by_seed, rest = _row_squares(values)
        parts += [(by_seed, seeds - 1), (-rest, (seeds - 1) * (questions - 1))]
    elif draws is not None:
        (by_draw, rest), n = _row_squares(draws), len(draws)
        if by_draw > rest:
            parts += [((1 + 1 / n) * by_draw, n - 1), (-(1 + 1 / n) * rest, (n - 1) * (questions - 1))]
    whole = sum(part for part, _ in parts)
    if whole <= 0:  # seeds and questions vary less than chance would have it: then what is left is all there is
        parts = [(-part, free) for part, free in parts[-1:]]
        whole = parts[0][0]
    if whole == 0:
        return Estimate(value, value, value, questions)
    free = max(whole**2 / sum(part**2 / free for part, free in parts), min(free for _, free in parts))
    half = float(t.ppf(0.975, free)) * (whole / values.size) ** 0.5
    return Estimate(value, value - half, value + half, questions)


def _row_squares(table: Float[np.ndarray, "row question"]) -> tuple[float, float]:
    """Mean squares of the rows, and of what neither rows nor columns explain."""
    rows, questions = table.shape
    left = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    return questions * table.mean(1).var(ddof=1), (left**2).sum() / ((rows - 1) * (questions - 1))


def reduction(
    left: Float[np.ndarray, "seed question"],
    whole: Float[np.ndarray, "seed question"],
    draws: Float[np.ndarray, "draw question"] | None = None,
) -> Estimate:
    """1 - mean left / mean whole with its 95 % interval, infinite where `whole` may be 0 or less; n is questions.

    Its ends are the r at which the interval of left - (1 - r) whole, whose mean should be 0, just holds 0 (Fieller
    1954). `draws`: of one seed, as in `crossed`: how much another training would change `left`.
    """
    value, questions = float(1 - left.mean() / whole.mean()), whole.shape[1]

    def outside(r: float) -> float:
        """Below 0."""
        luck = None if draws is None or len(whole) > 1 else draws - (1 - r) * whole
        rest = crossed(left - (1 - r) * whole, luck)
        return min(-rest.low, rest.high)

    def end(side: int) -> float:
        far = next((far for far in 2.0 ** np.arange(-3, 20) if outside(value + side * far) < 0), None)
        return float(brentq(outside, value, value + side * far)) if far else side * np.inf

    low, high = (end(-1), end(1)) if crossed(whole).low > 0 else (-np.inf, np.inf)
    return Estimate(value, low, high, questions)


def over_seeds(
    *columns: list[float], statistic: Callable[..., np.floating | np.ndarray] = lambda values: values.mean(-1)
) -> Estimate:
    """A statistic of columns that have one number for each seed (their mean), with its 95 % jackknife t interval.

    `statistic` maps arrays [... seed] to [...]. Each seed is left out in turn (Tukey 1958); of a mean this is Student's
    interval. A bootstrap over 4 or 8 seeds covers 78 or 89 %. The bounds of one seed are NaN.
    Raises ValueError for columns that are empty or of unequal length.
    """
    n = len(columns[0])
    if n == 0 or any(len(column) != n for column in columns):
        raise ValueError(f"columns must have one number for each seed, their lengths are {[*map(len, columns)]}")
    table, half = np.array(columns), float("nan")
    value = float(statistic(*table))
    if n > 1:
        left = np.array([statistic(*np.delete(table, seed, axis=1)) for seed in range(n)])
        half = float(t.ppf(0.975, n - 1) * ((n - 1) * left.var()) ** 0.5)
    return Estimate(value, value - half, value + half, n)


def auroc_interval(scores: Float[Tensor, " sample"], labels: Bool[Tensor, " sample"]) -> Estimate:
    """`selection.auroc` with its 95 % interval (Newcombe 2006, method 5). Raises as `auroc`.

    The ends are the AUROCs from which the one that was found is 1.96 standard errors away, their own ones, by the
    variance of Hanley & McNeil 1982. A bootstrap is too narrow near 1, and a point where nothing is confused.
    """
    x, yes = true_first(scores, labels)
    value, n, no = float(rank_auroc(x, yes)), len(x), len(x) - yes

    def beyond(auroc: float, found: float) -> float:
        several = (n / 2 - 1) * ((1 - auroc) / (2 - auroc) + auroc / (1 + auroc))
        return (found - auroc) ** 2 - norm.isf(0.025) ** 2 * auroc * (1 - auroc) * (1 + several) / (yes * no)

    def lowest(found: float) -> float:
        return float(brentq(beyond, 0, found * (1 - 1e-9), args=(found,))) if found else 0.0

    return Estimate(value, lowest(value), 1 - lowest(1 - value), n)


def rank_correlation(one: Float[np.ndarray, " n"], other: Float[np.ndarray, " n"]) -> float:
    """Spearman's; NaN of fewer than three pairs, or where one side never varies."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(spearmanr(one, other).statistic)


def permutation_p(observed: float, null: Float[np.ndarray, " draw"]) -> float:
    """(1 + #{null >= observed}) / (1 + draws): never 0, one-sided. Raises ValueError for NaN.

    Draws equal to `observed` up to rounding count: the same values summed in another order.
    """
    if np.isnan(observed) or np.isnan(null).any():
        raise ValueError(f"observed ({observed}) and null must be numbers, {int(np.isnan(null).sum())} draws are NaN")
    slack = 1e-12 * max(1.0, abs(observed))
    return float((1 + np.sum(null >= observed - slack)) / (1 + len(null)))


def holm(ps: list[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): at most 5 % chance that any true null falls below .05.

    In the order given. Raises ValueError for a p outside [0, 1].
    """
    p = np.array(ps, dtype=float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values must lie in [0, 1], not {ps}")
    order = p.argsort(kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    corrected = np.empty_like(p)
    corrected[order] = stepped
    return corrected.tolist()


def wilson(successes: int | float, n: int) -> Estimate:
    """Share with its 95 % interval (Wilson 1927); NaN in [0, 1] of no trials.

    Raises ValueError unless 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be in [0, {n}], not {successes}")
    if n == 0:
        return Estimate(float("nan"), 0.0, 1.0, 0)
    share, z2 = successes / n, norm.isf(0.025) ** 2 / n
    centre, half = share + z2 / 2, (z2 * (share * (1 - share) + z2 / 4)) ** 0.5
    low, high = np.clip([(centre - half) / (1 + z2), (centre + half) / (1 + z2)], 0, 1)  # rounding passes 0 and 1
    return Estimate(share, float(low), float(high), n)


def share(hits: Int[np.ndarray, "seed question"], trials: Int[np.ndarray, "seed question"]) -> Estimate:
    """All hits / all trials with its 95 % interval: answers clustered by question, crossed with seeds; n is questions.

    The variance is that of the ratio's influences, hits - share x trials, by `crossed`; its t interval lies on the
    scale of log odds (Korn & Graubard 1998), and is at least Wilson's, which takes answers for independent. Where all
    trials agree, questions are Wilson's trials. Of 8 questions whose own shares are near 0 but for one or two it covers
    83 to 93 %, where those are alike 93 to 99 %; what it misses is mostly a share that is higher.
    NaN in [0, 1] of no trials. Raises ValueError unless 0 <= hits <= trials.
    """
    if not ((hits >= 0) & (hits <= trials)).all():
        raise ValueError("hits and trials must be counts, hits at most the trials")
    hit, n, questions = int(hits.sum()), int(trials.sum()), hits.shape[1]
    told = int(trials.any(0).sum())  # questions with a trial
    if hit in (0, n):
        return wilson(told if hit else 0, told)._replace(n=questions)
    alone = wilson(hit, n)._replace(n=questions)
    if told == 1:
        return alone
    around = crossed((hits - alone.value * trials) / trials.mean())
    half = (around.high - around.low) / 2 / (alone.value * (1 - alone.value))
    low, high = expit(logit(alone.value) + np.array([-half, half]))
    return alone._replace(low=min(float(low), alone.low), high=max(float(high), alone.high))
