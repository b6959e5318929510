"""Lesson 2, when sharing pays: two features in one dimension, whose expected loss can be minimised outright."""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from shared.geometry import cosine, dimensionality, unit
from toy.checks.compare import compare, number, require, right_answer

NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)
NODES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2  # of an integral from 0 to 1
IMPORTANCE, STEP = 0.5, 0.01  # of exercise 2.4


def expected_loss(wb: Float[np.ndarray, "4"], p: float, importance: float) -> float:
    """(2.1) for wb = (w_1, w_2, b_1, b_2), two features in one dimension; the second weighs `importance`."""
    on, off = np.ones_like(NODES), np.zeros_like(NODES)
    x = np.stack([np.outer(NODES, on), np.outer(on, NODES)])  # both on
    one, other = np.stack([NODES, off]), np.stack([off, NODES])
    none = np.zeros((2, 1))
    square = [_square(wb, at, importance) for at in (none, one, other, x.reshape(2, -1))]
    weights = (np.ones(1), WEIGHTS, WEIGHTS, np.outer(WEIGHTS, WEIGHTS).ravel())
    chances = ((1 - p) ** 2, p * (1 - p), p * (1 - p), p**2)
    return float(sum(chance * (w @ s) for chance, w, s in zip(chances, weights, square, strict=True)))


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
        "direction i in the sum has length 1 (the hat); you used it as long as it is": own
        / gram.square().sum(1),
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
        "the best constant is the mean over all samples, also those on which the feature is off": p / 12
        + (1 - p) / 4,
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
        "that is the mean of the smaller of the two, 1/3; the loss is its square, 1/6": (1 + importance)
        * p**2
        / 3,
        "both outputs are wrong when both are on, by the same amount; you counted one": p**2 / 6,
    }
    compare("2.3", shared(p, importance), right, wrong)


def check_2_4(answer: Any) -> None:
    """The first p, in hundredths, at which the minimum over w and b no longer shares."""
    __tracebackhide__ = True
    tried = np.arange(30, 80) * STEP
    by_hand = next(p for p in tried if _by_hand(p) > 0)
    wrong = {
        "you compared two fixed solutions: let W and b move too, and sharing pays for longer": by_hand,
        "b stayed at 0: a bias below 0 hides a part of the interference": _stops(tried, free=(0, 1)),
        "W stayed at (1, -1): a shorter second arrow leaks less": _stops(tried, free=(2, 3)),
        "that is the threshold at equal importance; here the second weighs half": _stops(
            tried, importance=1.0
        ),
    }
    compare("2.4", answer, _stops(tried), wrong, tolerance=0.004 / _stops(tried))


def check_2_5(answer: Any) -> None:
    """Five unit directions in two dimensions, an even share each, and no pentagon."""
    __tracebackhide__ = True
    W = number("2.5", answer)
    require(
        "2.5",
        W.shape == (5, 2),
        f"five directions in two dimensions are a 5 by 2 matrix, yours {list(W.shape)}",
    )
    require(
        "2.5",
        torch.allclose(W.norm(dim=1), torch.ones(5).double(), atol=1e-4),
        "make every direction length 1",
    )
    D = dimensionality(W)
    require(
        "2.5",
        (D - 2 / 5).abs().max() < 1e-3,
        f"not all shares are 2/5: D runs from {D.min():.3f} to {D.max():.3f}. Stack shapes that are even by themselves",
    )
    turn = cosine(W, W).arccos().rad2deg().sort(1).values[:, 1]
    require(
        "2.5",
        (turn - 72).abs().max() > 1,
        "every D is 2/5, but neighbours are 72 degrees apart: still a pentagon",
    )
    right_answer("2.5")


def _square(wb: np.ndarray, x: np.ndarray, importance: float) -> np.ndarray:
    w, b = wb[:2, None], wb[2:, None]
    error = (np.maximum(w * (w * x).sum(0) + b, 0) - x) ** 2
    return error[0] + importance * error[1]


def _by_hand(p: float) -> float:
    """Cost of the fixed pair less the cost of ignoring."""
    return (1 + IMPORTANCE) * p**2 / 6 - IMPORTANCE * (p / 3 - p**2 / 4)


def _stops(tried: np.ndarray, free: tuple[int, ...] = (0, 1, 2, 3), importance: float = IMPORTANCE) -> float:
    """The first p at which sharing, with the `free` ones of (w, b) at their best, no longer beats ignoring."""
    pair = np.array([1.0, -1, 0, 0])

    def loses(p: float) -> bool:
        def loss(part: np.ndarray) -> float:
            wb = pair.copy()
            wb[list(free)] = part
            return expected_loss(wb, p, importance)

        end = minimize(loss, pair[list(free)], method="BFGS")
        left = 1 in free and abs(end.x[1]) <= 0.5  # the descent ended where the second is ignored
        return bool(left or end.fun >= importance * (p / 3 - p**2 / 4))

    return float(tried[bisect_left(tried, True, key=loses)])
