"""Lesson 2, when sharing pays: two features in one dimension, whose expected loss can be minimised outright."""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from shared.geometry import cosine, dimensionality, unit
from toy.checks.compare import compare, number, require, right_answer
from toy.superposition import expected_loss

IMPORTANCE = 0.5  # of exercise 2.4's second feature


def check_2_1(dimension: Callable[[Tensor], Tensor]) -> None:
    """(2.2)."""
    __tracebackhide__ = True
    generator = torch.Generator().manual_seed(5)
    W = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    answer = dimension(W)
    own, gram = W.square().sum(1), W @ W.T
    wrong = {
        "you left the feature's own term out of the sum: it runs over all j, i among them": own
        / ((unit(W) @ W.T).square().sum(1) - own),
        "direction i in the sum has length 1 (the hat); you used it as long as it is": own / gram.square().sum(1),
        "in the sum only direction i is made unit, W_j keeps its length": own / cosine(W, W).square().sum(1),
        "the square inside the sum is missing": own / (unit(W) @ W.T).sum(1),
        "you summed over the wrong index: the unit direction belongs to i, the feature you ask about": own
        / (W @ unit(W).T).square().sum(1),
    }
    compare("2.1", answer, dimensionality(W), wrong)


def check_2_2(ignored: Callable[[float], float]) -> None:
    """The variance of a feature."""
    __tracebackhide__ = True
    p = 0.3
    wrong = {
        "the mean is forgotten: the model may answer a constant, and the best one is the mean, not 0": p / 3,
        "that is the mean of x itself; the loss is a square": p / 2,
        "that is the variance of a feature that is always on": 1 / 12,
        "E x^2 is right, but the mean of x is p/2, and its square has p^2": p / 3 - p / 4,
        "the best constant is the mean over all samples, also those on which the feature is off": p / 12 + (1 - p) / 4,
    }
    compare("2.2", ignored(p), p / 3 - p**2 / 4, wrong)


def check_2_3(shared: Callable[[float, float], float]) -> None:
    """Both are wrong by the smaller of the two, when both are on."""
    __tracebackhide__ = True
    p, importance = 0.3, 0.4
    right = (1 + importance) * p**2 / 6
    wrong = {
        "the importance is forgotten: the second feature's error weighs `importance`": 2 * p**2 / 6,
        "both must be on at once: that happens with probability p^2, not p": (1 + importance) * p / 6,
        "that is the mean of the smaller of the two, 1/3; the loss is its square, 1/6": (1 + importance) * p**2 / 3,
        "both outputs are wrong when both are on, by the same amount; you counted one": p**2 / 6,
    }
    compare("2.3", shared(p, importance), right, wrong)


def check_2_4(answer: Any) -> None:
    """The first p, in hundredths, at which the minimum over w and b no longer shares."""
    __tracebackhide__ = True
    tried = np.arange(30, 101) / 100
    by_hand = next(p for p in tried if _by_hand(p) > 0)
    wrong = {
        "you compared two fixed solutions: let W and b move too, and sharing pays for longer": by_hand,
        "b stayed at 0: let the biases move too": _stops(tried, free=(0, 1)),
        "W stayed at (1, -1): let the arrows grow and shrink too": _stops(tried, free=(2, 3)),
        "that is the threshold at equal importance; here the second weighs half": _stops(tried, importance=1.0),
        "that is the last at which it pays; the question asks for the first at which it no longer does": _stops(tried)
        - 0.01,
        "the cost of ignoring is weighed by the importance too, by (2.3)": _stops(tried, weight=1.0),
    }
    compare("2.4", answer, _stops(tried), wrong, tolerance=0.004 / _stops(tried))


def check_2_5(answer: Any) -> None:
    """Five unit directions in two dimensions, an even share each, and no pentagon."""
    __tracebackhide__ = True
    W = number("2.5", answer)
    require("2.5", W.shape == (5, 2), f"five directions in two dimensions are a 5 by 2 matrix, yours {list(W.shape)}")
    require("2.5", torch.allclose(W.norm(dim=1), torch.ones(5).double(), atol=1e-4), "make every direction length 1")
    D = dimensionality(W)
    require(
        "2.5",
        (D - 2 / 5).abs().max() < 1e-3,
        f"not all shares are 2/5: D runs from {D.min():.3f} to {D.max():.3f}. Stack shapes that are even by themselves",
    )
    turn = cosine(W, W).arccos().rad2deg().sort(1).values[:, 1]
    require("2.5", (turn - 72).abs().max() > 1, "every D is 2/5, but neighbours are 72 degrees apart: still a pentagon")
    right_answer("2.5", answer)


def _by_hand(p: float) -> float:
    """Cost of the fixed pair less the cost of ignoring."""
    return (1 + IMPORTANCE) * p**2 / 6 - IMPORTANCE * (p / 3 - p**2 / 4)


def _stops(
    tried: np.ndarray, free: tuple[int, ...] = (0, 1, 2, 3), importance: float = IMPORTANCE, weight: float | None = None
) -> float:
    """The first p at which sharing, with the `free` ones of (w, b) at their best, no longer beats ignoring.

    `weight`: of the cost of ignoring, the importance if none is given.
    """
    pair = np.array([1.0, -1, 0, 0])

    def loses(p: float) -> bool:
        def loss(part: np.ndarray) -> float:
            wb = pair.copy()
            wb[list(free)] = part
            return expected_loss(wb, p, importance)

        end = minimize(loss, pair[list(free)], method="BFGS")
        left = 1 in free and abs(end.x[1]) <= 0.5  # the descent ended where the second is ignored
        return bool(left or end.fun >= (weight or importance) * (p / 3 - p**2 / 4))

    return float(tried[bisect_left(tried, True, key=loses)])
