"""Wrong answers that students of lesson 7 give, and a word of what the check has to say about each."""

import torch

from shared.geometry import cosine


def rises(W, change, probe):
    return (probe @ change.mT @ W.mT).mean(0)


def gradient(W, x, wanted=2.0):
    return torch.where(x > 0, x @ W @ W.mT - wanted * x, 0) @ W


def step(W, x, probe, eta, wanted=2.0):
    return torch.einsum("jd,sd,si,pi->pj", W, gradient(W, x, wanted), x, probe) * -eta / len(x)


def mean_cosine(W, a, b):
    return cosine(W[a], W[b]).mean()


WRONG = {
    "7_1": {
        "no control": (lambda W, t, a, c, p: rises(W, a, p)[t].mean(), "control is forgotten"),
        "sign": (lambda W, t, a, c, p: rises(W, c - a, p)[t].mean(), "sign"),
        "all features": (lambda W, t, a, c, p: rises(W, a - c, p).mean(), "all features"),
        "sum over toxic": (lambda W, t, a, c, p: rises(W, a - c, p)[t].sum(), "toxic features up"),
        "each feature": (lambda W, t, a, c, p: rises(W, a - c, p)[t], "shape"),
    },
    "7_2": {
        "inner products": (lambda W, i, c, t: (W[i] @ W[t].mT).mean() - (W[c] @ W[t].mT).mean(), "length factor"),
        "sign": (lambda W, i, c, t: mean_cosine(W, c, t) - mean_cosine(W, i, t), "sign"),
        "no control": (lambda W, i, c, t: mean_cosine(W, i, t), "control is forgotten"),
        "of each other": (lambda W, i, c, t: mean_cosine(W, i, c), "inducing with control"),
    },
    "7_3": {
        "sum": (lambda W, x, p, eta: len(x) * step(W, x, p, eta), "mean over samples"),
        "sign": (lambda W, x, p, eta: -step(W, x, p, eta), "sign"),
        "all features": (
            lambda W, x, p, eta: -eta * (p @ x.mT) @ ((x @ W @ W.mT - 2 * x) @ W @ W.mT) / len(x),
            "silent ones",
        ),
        "once": (lambda W, x, p, eta: step(W, x, p, eta, wanted=1.0), "twice what a sample says"),
        "no inputs": (
            lambda W, x, p, eta: (-eta * gradient(W, x).mean(0) @ W.mT).repeat(len(p), 1),
            "inputs must overlap",
        ),
    },
    "7_4": {
        "proportional": (lambda A: (A / 2) / 2**0.5, "in proportion"),
        "the nearest": (lambda A: A / (2 + 2 * A * A) ** 0.5, "nearest"),
        "at the mean": (lambda A: (A / 2) / (2 + A * A / 2) ** 0.5, "at the mean of a"),
        "no root of two": (lambda A: ((1 + A * A) ** 0.5 - 1) / A, "root of 2"),
        "the integral": (lambda A: ((1 + A * A) ** 0.5 - 1) / 2**0.5, "divide by A"),
    },
    "7_5": {
        "sum": (lambda acts, close: (acts * close).sum(1), "that is the sum"),
        "unweighted": (lambda acts, close: ((acts > 0) * close).sum(1) / (acts > 0).sum(1), "not equally"),
        "over all": (lambda acts, close: (acts * close).mean(1), "number of all features"),
        "over active": (lambda acts, close: (acts * close).sum(1) / (acts > 0).sum(1), "number of active"),
    },
    "7_6": {
        "sign": (lambda W, x, t: (gradient(W, x) @ W[t].mT).mean(), "sign"),
        "sum": (lambda W, x, t: -(gradient(W, x) @ W[t].mT).sum(), "mean is forgotten"),
        "all features": (lambda W, x, t: -(gradient(W, x) @ W.mT).mean(), "all features"),
        "each sample": (lambda W, x, t: -(gradient(W, x) @ W[t].mT).mean(1), "shape"),
        "no mean over samples": (lambda W, x, t: -(gradient(W, x) @ W[t].mT).sum(0).mean(), "mean over samples"),
    },
}
