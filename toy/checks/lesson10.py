"""Lesson 10, break this claim. Each check calls the student's function on inputs of its own."""

from collections.abc import Callable
from typing import Any

import torch
from scipy.stats import norm
from torch import Tensor

from shared.selection import auroc, point_biserial, score, top_k
from toy.checks.compare import compare, number, require, right_answer


def check_10_1(flipped_gaps: Callable[..., Any]) -> None:
    """Labels flipped within pairs, features chosen again in every draw."""
    __tracebackhide__ = True
    z = torch.randn(7, 20, generator=_generator(1), dtype=torch.float64)
    close, k = torch.randn(20, generator=_generator(2), dtype=torch.float64), 3
    signs = torch.randint(2, (9, 7), generator=_generator(3)).double() * 2 - 1
    answer = flipped_gaps(z, close, k, signs)
    r = signs @ z
    top, bottom = (close[x.topk(k, dim=1).indices].mean(1) for x in (r, -r))
    seen = z.mean(0)
    fixed = close[seen.topk(k).indices].mean() - close[(-seen).topk(k).indices].mean()
    wrong = {
        "the same features in every draw: choosing them is what chance decided, so choose again": fixed.expand(9),
        "the sign is flipped: those that fire for bad answers minus those that fire for good ones": bottom - top,
        "control is forgotten: the gap is a difference of two sets": top,
        "you added up; the gap is a difference of means": k * (top - bottom),
        "you chose by the size of the correlation: the second set fires least for bad answers, not least at all": (
            close[r.abs().topk(k, dim=1).indices].mean(1) - close[(-r.abs()).topk(k, dim=1).indices].mean(1)
        ),
        "that is the gap's absolute value: a null has both signs": (top - bottom).abs(),
    }
    compare("10.1", answer, top - bottom, wrong)


def check_10_2(held_out: Callable[..., Any]) -> None:
    """Chosen on some rows, judged on the others."""
    __tracebackhide__ = True
    labels, train = torch.arange(60) % 2 == 0, torch.arange(60) % 3 > 0
    acts = torch.randn(60, 80, generator=_generator(4), dtype=torch.float64)
    acts[:, :4] += 0.8 * labels[:, None]
    answer = held_out(acts, labels, 6, train)
    every = torch.ones_like(train)

    def found(choose: Tensor, judge: Tensor) -> float:
        c = point_biserial([(acts[choose], labels[choose])])
        return auroc(score(acts[judge], top_k(c.r, 6), c), labels[judge])

    right = found(train, ~train)
    wrong = {
        "the rows that chose the features judge them: that is the fault, not its mend": found(train, train),
        "all rows chose the features, the held-out ones among them": found(every, ~train),
        "all rows judge, and among them are those that chose": found(train, every),
        "nothing is held out": found(every, every),
        "turned around: you chose on the held-out rows and judged on the training rows": found(~train, train),
        "the held-out rows chose for themselves": found(~train, ~train),
        "the sign is flipped: below one half is a score turned around": 1 - right,
    }
    compare("10.2", answer, right, wrong)


def check_10_3(schedule: Callable[..., Any]) -> None:
    """Any order will do; the number of steps and how often a row is used will not."""
    __tracebackhide__ = True
    rows, batch, steps = 14, 4, 9
    given = schedule(rows, batch, steps, _generator(5))
    answer = number("10.3", given)
    shape = list(answer.shape)
    require("10.3", answer.ndim == 2, "the answer should have two axes, step and row of the batch")
    few = f"you give {shape[0]} steps where {steps} were asked for: that is the fault, an arm that was trained less"
    require("10.3", shape[0] >= steps, few)
    more = f"you give {shape[0]} steps where {steps} were asked for: more than any other arm takes is no better"
    require("10.3", shape[0] == steps, more)
    require("10.3", shape[1] == batch, f"a batch has {batch} rows, yours has {shape[1]}: the dose of a step differs")
    inside = ((answer >= 0) & (answer < rows)).all()
    require("10.3", inside, f"row numbers run from 0 to {rows - 1}, yours from {answer.min():g} to {answer.max():g}")
    used = torch.bincount(answer.long().flatten(), minlength=rows)
    require("10.3", used.min() > 0, "some rows are never used: that removes more than the filter did")
    fair = used.max() - used.min() <= 1
    uneven = f"one row is used {used.max()} times, another {used.min()}: go through all rows before one comes again"
    require("10.3", fair, uneven)
    first, second = answer.flatten()[: 2 * rows].view(2, rows)
    turned = [by for by in range(rows) if torch.equal(first, second.roll(by))]
    require("10.3", 0 not in turned, "every pass has the same order: the same rows would share a batch each time")
    require("10.3", not turned, "every pass is the first one turned round: the same rows are still neighbours")
    whole = (torch.stack([first, second]).sort(1).values == torch.arange(rows)).all()
    require("10.3", whole, "within a pass every row comes once: line up whole passes, then cut the line into batches")
    right_answer("10.3", given)


def check_10_4(matched_auroc: Callable[..., Any]) -> None:
    """Pairs of about the same length."""
    __tracebackhide__ = True
    is_bad = torch.arange(24) % 2 == 0
    length = torch.randint(5, 15, (24,), generator=_generator(6)).double() + 3 * is_bad
    scores = (length / 4 + 2 * torch.rand(24, generator=_generator(7), dtype=torch.float64) + is_bad).round()
    answer = matched_auroc(scores, is_bad, length, 2)
    apart = scores[is_bad][:, None] - scores[~is_bad]
    longer = length[is_bad][:, None] - length[~is_bad]
    near = longer.abs() <= 2
    wins = (apart > 0) + 0.5 * (apart == 0)
    right = wins[near].mean()
    wrong = {
        "these are all pairs: keep those of about the same length": wins.mean(),
        "ties are forgotten: they count one half": (apart > 0).double()[near].mean(),
        "ties count one half, not a whole": (apart >= 0).double()[near].mean(),
        "the sign is flipped: the chance that the *bad* answer scores higher": 1 - right,
        "you kept pairs in which the bad answer is shorter, however much: the difference counts in size": wins[
            longer <= 2
        ].mean(),
        "the edge belongs to it: lengths may differ by `within` itself": wins[longer.abs() < 2].mean(),
        "you divided by the number of all pairs; divide by those that are left": wins[near].sum() / wins.numel(),
        "those are the pairs of different lengths": wins[~near].mean(),
        "you divided the scores by the lengths: that is another filter, and its AUROC is over all pairs": auroc(
            scores / length, is_bad
        ),
    }
    compare("10.4", answer, right, wrong)


def check_10_5(power: Callable[..., Any]) -> None:
    """(10.3)."""
    __tracebackhide__ = True
    delta, sd, n = 0.01, 0.02, 5
    answer = power(delta, sd, n)

    def of(shift: float, level: float = 0.975) -> float:
        z = norm.ppf(level)
        return float(norm.cdf(shift - z) + norm.cdf(-shift - z))

    shift, z = delta / (sd * (2 / n) ** 0.5), norm.ppf(0.975)
    right = of(shift)
    wrong = {
        "that is one-sided; a two-sided test at 5 % leaves 2.5 % on either side": float(
            norm.cdf(shift - norm.ppf(0.95))
        ),
        "both sides at 5 % each make a test at 10 %": of(shift, 0.95),
        "the second arm is forgotten: its mean varies too, and the variance is twice as large": of(shift / 0.5**0.5),
        "the number of seeds is forgotten: the mean of n varies less than one": of(delta / (sd * 2**0.5)),
        "the root is forgotten: a standard error falls with the root of n": of(delta / (sd * 2 / n)),
        "the other side is forgotten: a difference can be significant and have the wrong sign": float(
            norm.cdf(shift - z)
        ),
        "that is the chance to miss it; power is the chance to find it": 1 - right,
    }
    compare("10.5", answer, right, wrong, tolerance=1e-3)  # 1.96 will do for z


def check_10_6(verdict: Callable[..., Any]) -> None:
    """One verdict for each of eight intervals."""
    __tracebackhide__ = True
    smallest = 0.1
    intervals = [
        (0.02, 0.3), (0.15, 0.4), (-0.1, 0.3), (-0.2, 0.05), (-0.3, -0.1), (0.01, 0.08), (-0.05, 0.1), (0.0, 0.2),
    ]  # fmt: skip
    said = list(map(verdict, *zip(*intervals, strict=True), [smallest] * len(intervals)))  # a loop would show its line
    answer = torch.stack([number("10.6", one) for one in said])

    def of(rule: Callable[[float, float], int]) -> Tensor:
        return torch.tensor([rule(*ends) for ends in intervals], dtype=torch.float64)

    wrong = {
        "an interval that holds 0 may hold what matters too: that is open, not refuted": of(
            lambda low, high: 1 if low > 0 else -1
        ),
        "shown asks for the lower end above 0; yours asks for it above `smallest`": of(
            lambda low, high: 1 if low > smallest else -1 if high < smallest else 0
        ),
        "you asked the middle of the interval: the ends decide": of(
            lambda low, high: 1 if low + high > 0 else -1 if high < smallest else 0
        ),
        "too small is below `smallest`, not below 0: a harmful filter is not the only one that fails to help": of(
            lambda low, high: 1 if low > 0 else -1 if high < 0 else 0
        ),
        "all of it above 0 is shown, however small; ask about the lower end first": of(
            lambda low, high: -1 if high < smallest else 1 if low > 0 else 0
        ),
        "the verdicts are turned around: +1 is shown, -1 too small": of(
            lambda low, high: -1 if low > 0 else 1 if high < smallest else 0
        ),
        "an interval that begins at 0 holds 0, and one that ends at `smallest` holds what matters: > and <": of(
            lambda low, high: 1 if low >= 0 else -1 if high <= smallest else 0
        ),
        "an interval that begins at 0 holds 0: shown asks for more than 0": of(
            lambda low, high: 1 if low >= 0 else -1 if high < smallest else 0
        ),
        "an interval that ends at `smallest` holds what matters: too small asks for less than that": of(
            lambda low, high: 1 if low > 0 else -1 if high <= smallest else 0
        ),
        "nothing is ever too small for you: an interval can exclude what would matter": of(
            lambda low, high: int(low > 0)
        ),
    }
    compare("10.6", answer, of(lambda low, high: 1 if low > 0 else -1 if high < smallest else 0), wrong)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + seed)
