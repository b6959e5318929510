"""Wrong answers that students of lesson 1 give, and a word of what the check has to say about each."""

import math

from shared.geometry import unit

WRONG = {
    "1_1": {
        "a cosine": (lambda W, h: unit(W) @ h / h.norm(), "a cosine"),
        "unit rows": (lambda W, h: unit(W) @ h, "unit first"),
        "sign": (lambda W, h: -(W @ h), "sign"),
        "no answer": (lambda W, h: None, "no answer"),
        "shape": (lambda W, h: (W @ h)[:3], "shape"),
    },
    "1_2": {
        "own part kept": (lambda W, x: W @ W.T @ x, "whole readout"),
        "length factor": (lambda W, x: W @ W.T @ x - x, "length factor"),
        "length, not squared": (lambda W, x: W @ W.T @ x - x * W.norm(dim=1), "squared length"),
    },
    "1_3": {
        "with itself": (lambda n, d: 1 / d, "itself"),
        "over n^2": (lambda n, d: (n**2 / d - n) / n**2, "divided by n"),
        "half the pairs": (lambda n, d: (n**2 / d - n) / (n * (n - 1) / 2), "without an order"),
        "the root": (lambda n, d: ((n - d) / (d * (n - 1))) ** 0.5, "root"),
        "without n": (lambda n, d: (d - 1) / d**2, "not yet"),
    },
    "1_4": {
        "all are 1": (lambda d, threshold: int(d * threshold**2), "not all 1"),
        "square of the mean": (lambda d, threshold: int(d * threshold**2 / 0.5**2), "mean of the square"),
        "not squared": (lambda d, threshold: int(3 * d * threshold), "square it"),
        "rounded": (lambda d, threshold: round(3 * d * threshold**2), "rounded up"),
        "not whole": (lambda d, threshold: 3 * d * threshold**2, "whole number"),
        "below it": (lambda d, threshold: math.ceil(3 * d * threshold**2) - 1, "at the threshold"),
    },
}
