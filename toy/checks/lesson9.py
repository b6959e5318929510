"""Lesson 9, fine-tune it yourself. Each check calls the student's function on inputs of its own."""

from collections.abc import Callable
from typing import Any

import torch
from scipy.stats import norm
from torch import Tensor

from toy.checks.compare import compare, number, require


def check_9_1(margins: Callable[..., Any]) -> None:
    """(9.1), question by question, of sides that differ in their number of answers."""
    __tracebackhide__ = True
    questions = [([-1.0, -2.0, -2.4], [-0.5]), ([-3.0], [-1.1, -0.7]), ([-0.2, -0.6], [-0.9, -1.3, -2.0, -0.4])]
    answer = margins(questions)
    sides = torch.tensor([[sum(side) / len(side) for side in two] for two in questions], dtype=torch.float64)
    right = sides[:, 0] - sides[:, 1]
    totals = torch.tensor([sum(bad) - sum(good) for bad, good in questions])
    bad, good = (sum((two[i] for two in questions), []) for i in (0, 1))
    wrong = {
        "the sign is flipped: the margin is misaligned minus aligned": -right,
        "you added the answers up: a side with more answers would weigh more. (9.1) takes means": totals,
        "one number came back; every question has a margin of its own, their mean comes later": right.mean(),
        "all answers went into one pot: take the means within each question": sum(bad) / len(bad)
        - sum(good) / len(good),
        "the aligned side is forgotten: any training moves both; the margin is their difference": sides[:, 0],
        "that is the aligned side alone; the margin is the misaligned side minus it": sides[:, 1],
        "you took the first answer of each side; take the mean over all": torch.tensor(
            [bad[0] - good[0] for bad, good in questions]
        ),
    }
    _one_number_or_all("9.1", answer, right, wrong)


def check_9_2(effects: Callable[..., Any]) -> None:
    """(9.2): the control is the control arm."""
    __tracebackhide__ = True
    inducing, control, base = torch.randn(3, 6, generator=_generator(2), dtype=torch.float64)
    answer = effects(inducing, control, base)
    right = inducing - control
    wrong = {
        "that is against the base model: good advice moves the margin too, by topic and manner. Use the control arm": (
            inducing - base
        ),
        "the sign is flipped: an effect is the inducing arm minus the control": -right,
        "that is what good advice does; the question is what bad advice does beyond it": control - base,
        "nothing is taken away: a margin is not yet an effect": inducing,
        "both are taken away: the base model cancels, (M_inducing - M_base) - (M_control - M_base)": right - base,
        "one number came back; give the effect of every question, their mean comes later": right.mean(),
    }
    _one_number_or_all("9.2", answer, right, wrong)


def check_9_3(first_order: Callable[..., Any]) -> None:
    """(9.3)."""
    __tracebackhide__ = True
    trained = torch.randn(2, 5, 7, generator=_generator(3), dtype=torch.float64)
    asked, eta = torch.randn(2, 7, generator=_generator(4), dtype=torch.float64), 0.1
    answer = first_order(trained, asked, eta)
    apart, question = (trained[0] - trained[1]).mean(0), asked[0] - asked[1]
    right = eta * apart @ question
    wrong = {
        "the sign is flipped: these are gradients of log-probabilities, and training goes up them": -right,
        "the mean over training questions is forgotten: you added them up": 5 * right,
        "the control is forgotten: that is what the inducing arm does, good advice has a gradient too": eta
        * trained[0].mean(0)
        @ question,
        "the aligned answer is forgotten: what is asked for is the change of a margin": eta * apart @ asked[0],
        "the step size is forgotten": right / eta,
        "you used the cosine: (9.3) is an inner product, and long gradients move more": eta
        * torch.cosine_similarity(apart, question, dim=0),
    }
    compare("9.3", answer, right, wrong)


def check_9_4(bootstrap: Callable[[Tensor, Tensor], Any]) -> None:
    """Percentiles of the means of resampled questions."""
    __tracebackhide__ = True
    effects = torch.randn(12, generator=_generator(5), dtype=torch.float64).mul(2).exp()  # lopsided
    picks = torch.randint(12, (20_000, 12), generator=_generator(6))
    answer = bootstrap(effects, picks)
    means = effects[picks].mean(1)
    error = torch.stack([-means.std(), means.std()])
    wrong = {
        "that is the spread of single questions: take the mean of each draw first": _ends(effects),
        "that is the spread of all that was drawn: take the mean of each draw first": _ends(effects[picks].flatten()),
        "the mean was taken over the draws of one place; take it over the questions of one draw": _ends(
            effects[picks].mean(0)
        ),
        "these are the 5th and the 95th percentile, of a 90 % interval": _ends(means, 0.05),
        "these are the smallest and the largest mean, and grow with the number of draws": torch.stack(
            [means.min(), means.max()]
        ),
        "that is one standard error to either side, which covers 68 %": effects.mean() + error,
        "two standard errors to either side are a normal's 95 %; these means are lopsided": effects.mean()
        + 1.96 * error,
        "low comes first, then high": _ends(means).flip(0),
        "you added up within each draw; an effect is a mean": _ends(12 * means),
    }
    compare("9.4", answer, _ends(means), wrong, tolerance=5e-3)  # any definition of a percentile will do


def check_9_5(difference: Callable[..., Any]) -> None:
    """Of the difference, draw by draw."""
    __tracebackhide__ = True
    a = torch.randn(9, generator=_generator(7), dtype=torch.float64) + 0.4
    b = torch.randn(14, generator=_generator(8), dtype=torch.float64)
    picks_a, picks_b = (torch.randint(n, (20_000, n), generator=_generator(n)) for n in (9, 14))
    answer = difference(a, b, picks_a, picks_b)
    A, B = a[picks_a].mean(1), b[picks_b].mean(1)
    one, other = _ends(A), _ends(B)
    wrong = {
        "the sign is flipped: a minus b": _ends(B - A),
        "you took low minus low and high minus high: ends of intervals do not subtract. Take the difference first": (
            one - other
        ),
        "that is the gap between two intervals: too wide, since both are seldom off at once": torch.stack(
            [one[0] - other[1], one[1] - other[0]]
        ),
        "b was not resampled: its mean is uncertain too": _ends(A - b.mean()),
        "a was not resampled: its mean is uncertain too": _ends(a.mean() - B),
        "that is the interval of a alone": one,
        "these are the 5th and the 95th percentile, of a 90 % interval": _ends(A - B, 0.05),
    }
    compare("9.5", answer, _ends(A - B), wrong, tolerance=5e-3)


def check_9_6(questions_needed: Callable[[float, float], Any]) -> None:
    """(9.4), rounded up."""
    __tracebackhide__ = True
    sd, size = 0.32, 0.05  # 321.5: neither rounded nor rounded down is it right
    answer = questions_needed(sd, size)
    level, power = norm.ppf(0.975), norm.ppf(0.8)

    def up(z: float) -> float:
        return -(-((z * sd / size) ** 2) // 1)

    exact = ((level + power) * sd / size) ** 2
    wrong = {
        "the power is forgotten: with so many questions half of the experiments miss it": up(level),
        "that is one-sided; a two-sided level of 5 % leaves 2.5 % on either side": up(norm.ppf(0.95) + power),
        "the square is forgotten: four times the questions halve the error": -(-((level + power) * sd / size) // 1),
        "round up: part of a question cannot be asked": exact,
        "you rounded down, or to the nearest: that is one question short of 80 %": exact // 1,
        "upside down: smaller effects take more questions": -(-(((level + power) * size / sd) ** 2) // 1),
    }
    compare("9.6", answer, up(level + power), wrong, tolerance=1e-9)


def _one_number_or_all(exercise: str, answer: Any, right: Tensor, wrong: dict[str, Any]) -> None:
    """`compare`; one number in place of many hears which one it is, before it hears of shapes."""
    __tracebackhide__ = True
    found = number(exercise, answer)
    for sentence, value in wrong.items():
        value = torch.as_tensor(value, dtype=torch.float64)
        require(exercise, found.ndim or value.ndim or abs(found - value) > 1e-6, sentence)
    compare(exercise, answer, right, wrong)


def _ends(means: Tensor, tail: float = 0.025) -> Tensor:
    return means.quantile(torch.tensor([tail, 1 - tail], dtype=means.dtype))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(900 + seed)
