"""Wrong answers that students of lesson 10 give, and a word of what the check has to say about each."""

import torch
from scipy.stats import norm

from shared.selection import auroc, point_biserial, score, top_k


def gap(r, close, k, both=True):
    order = r.argsort(descending=True)
    return close[order[:k]].mean() - both * close[order[-k:]].mean()


def every_draw(of):
    return lambda z, close, k, signs: torch.stack([of(row[:, None] * z, close, k) for row in signs])


def judged(choose, judge):
    def answer(acts, labels, k, train):
        rows = {"train": train, "held": ~train, "all": train | ~train}
        c = point_biserial([(acts[rows[choose]], labels[rows[choose]])])
        return auroc(score(acts[rows[judge]], top_k(c.r, k), c), labels[rows[judge]])

    return answer


def pass_by_pass(number, batch, steps, generator):
    return torch.randperm(number, generator=generator)[: number // batch * batch].view(-1, batch)


def pairs(keep, tie=0.5):
    """Over the pairs that `keep(longer, within)` keeps, one by one."""

    def answer(scores, is_bad, length, within):
        wins = [
            1.0 if b > g else tie if b == g else 0.0
            for b, n in zip(scores[is_bad].tolist(), length[is_bad].tolist(), strict=True)
            for g, m in zip(scores[~is_bad].tolist(), length[~is_bad].tolist(), strict=True)
            if keep(n - m, within)
        ]
        return sum(wins) / len(wins)

    return answer


def tail(z, *, arms=2, root=0.5, sides=2):
    def answer(delta, sd, n):
        alternative = torch.distributions.Normal(delta / (sd * (arms / n) ** root), 1)
        above = 1 - alternative.cdf(torch.tensor(z))
        return above + alternative.cdf(torch.tensor(-z)) if sides == 2 else above

    return answer


Z = float(norm.ppf(0.975))
near = lambda longer, within: abs(longer) <= within  # noqa: E731
WRONG = {
    "10_1": {
        "not chosen again": (
            lambda z, close, k, signs: torch.full((len(signs),), gap(z.sum(0), close, k).item()),
            "choose again",
        ),
        "sign": (every_draw(lambda z, close, k: -gap(z.mean(0), close, k)), "sign is flipped"),
        "one set": (every_draw(lambda z, close, k: gap(z.mean(0), close, k, both=False)), "control is forgotten"),
        "size": (every_draw(lambda z, close, k: gap(z.mean(0).abs(), close, k)), "size of the correlation"),
        "absolute": (every_draw(lambda z, close, k: gap(z.mean(0), close, k).abs()), "both signs"),
    },
    "10_2": {
        "same rows": (judged("train", "train"), "not its mend"),
        "all choose": (judged("all", "held"), "all rows chose"),
        "all judge": (judged("train", "all"), "all rows judge"),
        "none": (judged("all", "all"), "nothing is held out"),
        "swapped": (judged("held", "train"), "turned around"),
    },
    "10_3": {
        "one pass": (pass_by_pass, "trained less"),
        "first batch again": (
            lambda number, batch, steps, generator: torch.arange(batch).repeat(steps, 1),
            "never used",
        ),
        "with replacement": (
            lambda number, batch, steps, generator: torch.cat(
                [torch.arange(number), torch.arange(number - 1), torch.zeros(100, dtype=int)]
            )[: steps * batch].view(steps, batch),
            "before one comes again",
        ),
        "same order": (
            lambda number, batch, steps, generator: (torch.arange(steps * batch) % number).view(steps, batch),
            "same order",
        ),
        "batches shuffled": (
            lambda number, batch, steps, generator: (torch.arange(steps * batch) % number).view(steps, batch)[
                torch.randperm(steps, generator=generator)
            ],
            "within a pass",
        ),
        "turned": (
            lambda number, batch, steps, generator: torch.cat([torch.arange(number).roll(i) for i in range(steps)])[
                : steps * batch
            ].view(steps, batch),
            "turned round",
        ),
        "larger batches": (
            lambda number, batch, steps, generator: torch.arange(steps * (batch + 1)).view(steps, -1) % number,
            "dose of a step",
        ),
        "flat": (lambda number, batch, steps, generator: torch.arange(steps * batch) % number, "two axes"),
    },
    "10_4": {
        "all pairs": (pairs(lambda longer, within: True), "all pairs"),
        "no ties": (pairs(near, tie=0.0), "ties are forgotten"),
        "whole ties": (pairs(near, tie=1.0), "not a whole"),
        "one side": (pairs(lambda longer, within: longer <= within), "however much"),
        "edge": (pairs(lambda longer, within: abs(longer) < within), "edge belongs"),
        "per token": (lambda scores, is_bad, length, within: auroc(scores / length, is_bad), "another filter"),
    },
    "10_5": {
        "one-sided": (tail(float(norm.ppf(0.95)), sides=1), "one-sided"),
        "one arm": (tail(Z, arms=1), "second arm is forgotten"),
        "no root": (tail(Z, root=1), "root is forgotten"),
        "one tail": (tail(Z, sides=1), "other side is forgotten"),
        "missed": (lambda delta, sd, n: 1 - tail(Z)(delta, sd, n), "chance to miss"),
    },
    "10_6": {
        "not shown is refuted": (lambda low, high, smallest: 1 if low > 0 else -1, "open, not refuted"),
        "beyond smallest": (
            lambda low, high, smallest: (low > smallest) - (low <= smallest and high < smallest),
            "yours asks for it above",
        ),
        "both edges": (lambda low, high, smallest: 1 if low >= 0 else -int(high <= smallest), "> and <"),
        "from 0": (lambda low, high, smallest: 1 if low >= 0 else -int(high < smallest), "more than 0"),
        "to smallest": (lambda low, high, smallest: 1 if low > 0 else -int(high <= smallest), "less than that"),
        "below 0": (lambda low, high, smallest: (low > 0) - (high < 0), "not below 0"),
        "two": (lambda low, high, smallest: int(low > 0), "ever too small"),
        "turned": (lambda low, high, smallest: -1 if low > 0 else int(high < smallest), "turned around"),
    },
}
