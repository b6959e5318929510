"""Lesson 1, directions. Each check calls the student's function on inputs of its own."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from shared.geometry import unit
from toy.checks.compare import compare, numbers


def check_1_1(readouts: Callable[[Tensor, Tensor], Tensor]) -> None:
    """(1.2)."""
    __tracebackhide__ = True
    W, h = _drawn()
    right = W @ h
    wrong = {
        "you divided by lengths: that is a cosine. A readout is the inner product alone": unit(W) @ h / h.norm(),
        "you made the directions unit first, but (1.2) reads along d_j as long as it is": unit(W) @ h,
        "the sign is flipped: (1.2) has no minus": -right,
    }
    compare("1.1", readouts(W, h), right, wrong)


def check_1_2(interference: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The second part of (1.3)."""
    __tracebackhide__ = True
    W, _ = _drawn()
    x = torch.tensor([0.5, 0.0, 1.0, 0.0, 0.25, 0.75], dtype=torch.float64)
    read, square = W @ (x @ W), W.square().sum(1)
    wrong = {
        "that is the whole readout: take away what each feature put there itself": read,
        "the length factor is forgotten: a feature's own part is x_j |d_j|^2, not x_j": read - x,
        "a feature's own part has the squared length, you used the length": read - x * square.sqrt(),
        "that is the own part, not the interference": x * square,
        "the sign is flipped: interference is the readout minus the own part": x * square - read,
    }
    compare("1.2", interference(W, x), read - x * square, wrong)


def check_1_3(least: Callable[[int, int], float]) -> None:
    """Welch's bound on the mean squared cosine."""
    __tracebackhide__ = True
    n, d = 8, 3  # of 7 in 3 dimensions n + 2 is d^2, and an answer without n would pass
    wrong = {
        "that is 1/d, the mean over all i and j: a feature's cosine with itself, 1, is no interference": 1 / d,
        "you took the diagonal out of the sum, but divided by n^2: only n (n - 1) pairs are left": (n - d) / (d * n),
        "that is the sum; the question asks for the mean": n**2 / d - n,
        "n (n - 1) / 2 are pairs without an order; the sum in (1.4) has i j and j i: n (n - 1) terms": (
            2 * (n - d) / (d * (n - 1))
        ),
        "that is the root: the question asks for the mean of the squares": ((n - d) / (d * (n - 1))) ** 0.5,
        "n^2/d still holds the n cosines of features with themselves": n / (d * (n - 1)),
    }
    compare("1.3", least(n, d), (n - d) / (d * (n - 1)), wrong)


def check_1_4(most: Callable[[int, float], int]) -> None:
    """The largest k with k / (3 d) <= threshold^2."""
    __tracebackhide__ = True
    cases = ((100, 0.36), (12, 0.5))  # in the second a whole k stands just at the threshold
    found = numbers("1.4", most(*cases[0]), most(*cases[1]))

    def each(of: Callable[[int, float], float]) -> Tensor:
        return numbers("1.4", *(of(d, threshold) for d, threshold in cases))

    wrong = {
        "E x^2 is forgotten: values between 0 and 1 are not all 1, so that each adds less": lambda d, h: int(d * h**2),
        "you used the square of the mean, 1/4; noise adds up by the mean of the square, 1/3": lambda d, h: int(
            4 * d * h**2
        ),
        "the threshold is for the root mean square: square it before you compare": lambda d, h: int(3 * d * h),
        "you added sizes, k times a typical term; random signs cancel, so that squares add up": lambda d, h: int(
            h * (3 * d) ** 0.5
        ),
        "rounded up, k is over the threshold: the largest that still fits": lambda d, h: math.ceil(3 * d * h**2),
        "a k that stands at the threshold still fits": lambda d, h: math.ceil(3 * d * h**2) - 1,
        "k must be a whole number, the largest that still fits": lambda d, h: 3 * d * h**2,
    }
    right = each(lambda d, h: int(3 * d * h**2))
    compare("1.4", found, right, {sentence: each(of) for sentence, of in wrong.items()})


def _drawn() -> tuple[Tensor, Tensor]:
    """W [6 3] with rows of many lengths, h [3]."""
    generator = torch.Generator().manual_seed(11)
    W = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    return W * torch.tensor([0.5, 1, 2, 0.8, 1.5, 3])[:, None], torch.randn(3, generator=generator, dtype=torch.float64)
