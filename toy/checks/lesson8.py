"""Lesson 8, from toy to language model. Each check calls the student's function on inputs of its own."""

from collections.abc import Callable
from typing import Any

import torch
from scipy.stats import norm
from torch import Tensor

from toy.checks.compare import compare


def check_8_1(kept: Callable[[float], Any]) -> None:
    """(8.1): the square of the cosine."""
    __tracebackhide__ = True
    c = 0.6
    wrong = {
        "that is c: an error in each of *two* directions is squared": c,
        "that is what is lost, not what is kept": 1 - c**2,
        "that is the size of the error: a direction at cosine c has sqrt(1 - c^2) of it": (1 - c**2) ** 0.5,
        "you squared twice: there are two directions, each with a factor c": c**4,
        "that is the root; two factors c make a square": c**0.5,
    }
    compare("8.1", kept(c), c**2, wrong)


def check_8_2(worth: Callable[[Tensor, Tensor], Any]) -> None:
    """The lower end of one above the upper end of the other."""
    __tracebackhide__ = True
    rows = [  # trained and untrained: value, low, high
        ((0.7, 0.6, 0.8), (0.1, 0.0, 0.2)),
        ((0.4, 0.2, 0.5), (0.35, 0.25, 0.45)),  # higher, but the intervals overlap
        ((0.4, 0.35, 0.5), (0.45, 0.3, 0.6)),
        ((0.2, 0.1, 0.3), (0.6, 0.5, 0.7)),  # above 0 and worse than its control
        ((0.05, -0.1, 0.2), (-0.4, -0.5, -0.3)),  # beyond its control and not above 0
        ((-0.2, -0.3, -0.1), (-0.2, -0.25, -0.15)),
        ((0.5, 0.3, 0.7), (0.2, 0.1, 0.4)),  # its value lies above the other interval, its lower end within
    ]
    trained, untrained = torch.tensor(rows, dtype=torch.float64).unbind(1)
    right = trained[:, 1] > untrained[:, 2]
    wrong = {
        "control is forgotten: above 0 is not yet above an untrained dictionary": trained[:, 1] > 0,
        "these are points alone; the intervals must not overlap": trained[:, 0] > untrained[:, 0],
        "the trained one's value is not enough: its *lower end* must lie above the other's upper end": trained[:, 0]
        > untrained[:, 2],
        "you asked where the untrained one is better": untrained[:, 1] > trained[:, 2],
        "you asked where they differ; the trained one must be the higher": right | (untrained[:, 1] > trained[:, 2]),
        "compare the trained one's lower end with the untrained one's *upper* end": trained[:, 1] > untrained[:, 0],
        "you compared lower ends: an interval may begin higher and overlap": trained[:, 1] > untrained[:, 1],
    }
    compare("8.2", worth(trained, untrained), right.double(), wrong)


def check_8_3(holm: Callable[[Tensor], Any]) -> None:
    """Step down: the smallest times m, the next times m - 1, never less than one before it, at most 1."""
    __tracebackhide__ = True
    p = torch.tensor([0.03, 0.01, 0.8, 0.012, 0.6], dtype=torch.float64)
    order, m = p.argsort(), len(p)
    raw = p[order] * torch.arange(m, 0, -1)
    rising = raw.cummax(0).values
    up = (p[order] * m / torch.arange(1, m + 1)).flip(0).cummin(0).values.flip(0)

    def back(values: Tensor) -> Tensor:
        return torch.zeros_like(p).scatter(0, order, values)

    wrong = {
        "nothing is corrected: with five tests something falls below 0.05 by chance": p,
        "that is Bonferroni, right but wasteful: only the smallest p is multiplied by all m": (p * m).clamp(max=1),
        "an adjusted p may not be smaller than that of a smaller p: take the running maximum": back(raw.clamp(max=1)),
        "a probability is at most 1": back(rising),
        "the order is lost: give them back as they came": rising.clamp(max=1),
        "that is Benjamini and Hochberg: it bounds the share of false finds, not the chance of one": back(up),
        "the largest p was multiplied by m; the smallest must be": back(
            (p[order] * torch.arange(1, m + 1)).cummax(0).values.clamp(max=1)
        ),
    }
    compare("8.3", holm(p), back(rising.clamp(max=1)), wrong)


def check_8_4(reduction: Callable[..., Any]) -> None:
    """A ratio of means, of effects."""
    __tracebackhide__ = True
    filtered, mixed, control = torch.tensor([[0.5, 0.9, 0.7], [0.8, 1.0, 1.5], [0.4, 0.1, 0.3]], dtype=torch.float64)
    effect = {"filtered": filtered - control, "mixed": mixed - control}
    right = 1 - effect["filtered"].mean() / effect["mixed"].mean()
    wrong = {
        "the control is forgotten: an effect is a margin minus the control's": 1 - filtered.mean() / mixed.mean(),
        "that is what is left; the reduction is 1 minus it": 1 - right,
        "you took the mean of ratios: one seed with a small effect decides it. Take the ratio of means": 1
        - (effect["filtered"] / effect["mixed"]).mean(),
        "that is a difference in nats; a reduction is a share of the mixed arm's effect": (mixed - filtered).mean(),
        "upside down: divide by the mixed arm's effect": 1 - 1 / (1 - right),
    }
    compare("8.4", reduction(filtered, mixed, control), right, wrong)


def check_8_5(gain: Callable[[float], Any]) -> None:
    """(8.3)."""
    __tracebackhide__ = True
    A = 0.7
    z = norm.ppf(A)
    wrong = {
        "that is twice AUROC minus 1: the root of 2 is forgotten": 2 * A - 1,
        "that is AUROC itself": A,
        "that is the share of the bad that is removed; the question is what it gains over random": norm.cdf(z / 2**0.5),
        "the threshold lies in the middle, delta/2 from either mean: you used all of delta": 2 * norm.cdf(z * 2**0.5)
        - 1,
        "random removal leaves half of the bad: the gain is relative to that half, twice as large": norm.cdf(z / 2**0.5)
        - 0.5,
    }
    compare("8.5", gain(A), 2 * norm.cdf(z / 2**0.5) - 1, wrong)
