"""Wrong answers that students of lesson 8 give, and a word of what the check has to say about each."""

import torch
from scipy.stats import norm


def step_down(p, cap=True, cumulative=True, restore=True):
    order = torch.argsort(p)
    values = p[order] * torch.arange(len(p), 0, -1)
    if cumulative:
        values = torch.cummax(values, 0).values
    values = values.clamp(max=1) if cap else values
    return values[torch.argsort(order)] if restore else values


WRONG = {
    "8_1": {
        "once": (lambda c: c, "is squared"),
        "lost": (lambda c: 1 - c * c, "what is lost"),
        "twice": (lambda c: c**2 * c**2, "squared twice"),
        "sine": (lambda c: (1 - c * c) ** 0.5, "size of the error"),
    },
    "8_2": {
        "above 0": (lambda trained, untrained: trained[:, 1] > 0, "control is forgotten"),
        "points": (lambda trained, untrained: trained[:, 0] > untrained[:, 0], "points alone"),
        "value above": (lambda trained, untrained: trained[:, 0] > untrained[:, 2], "value is not enough"),
        "reversed": (lambda trained, untrained: untrained[:, 1] > trained[:, 2], "untrained one is better"),
        "lower ends": (lambda trained, untrained: trained[:, 1] > untrained[:, 1], "lower ends"),
    },
    "8_3": {
        "none": (lambda p: p, "nothing is corrected"),
        "bonferroni": (lambda p: torch.clamp(len(p) * p, max=1), "Bonferroni"),
        "not monotone": (lambda p: step_down(p, cumulative=False), "running maximum"),
        "above 1": (lambda p: step_down(p, cap=False), "at most 1"),
        "sorted": (lambda p: step_down(p, restore=False), "order is lost"),
    },
    "8_4": {
        "margins": (lambda f, m, c: 1 - f.mean() / m.mean(), "control is forgotten"),
        "left": (lambda f, m, c: (f - c).mean() / (m - c).mean(), "what is left"),
        "mean of ratios": (lambda f, m, c: (1 - (f - c) / (m - c)).mean(), "mean of ratios"),
        "difference": (lambda f, m, c: m.mean() - f.mean(), "nats"),
    },
    "8_5": {
        "gini": (lambda A: 2 * A - 1, "root of 2 is forgotten"),
        "auroc": (lambda A: A, "AUROC itself"),
        "removed": (lambda A: norm.cdf(norm.ppf(A) / 2**0.5), "share of the bad"),
        "whole distance": (lambda A: 2 * norm.cdf(2**0.5 * norm.ppf(A)) - 1, "all of delta"),
    },
}
