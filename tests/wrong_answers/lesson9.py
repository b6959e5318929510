"""Wrong answers that students of lesson 9 give, and a word of what the check has to say about each."""

import math

import numpy as np
import torch
from scipy.stats import norm


def each(of):
    return lambda questions: torch.tensor([of(np.array(bad), np.array(good)) for bad, good in questions])


def pooled(questions):
    bad, good = (np.concatenate([question[side] for question in questions]) for side in (0, 1))
    return bad.mean() - good.mean()


def percentiles(values, low=2.5, high=97.5):
    return np.percentile(values.numpy(), [low, high])


def law(trained, asked, eta, control=1.0, aligned=1.0):
    return eta * ((trained[0] - control * trained[1]) @ (asked[0] - aligned * asked[1])).mean()


def needed(z):
    return lambda sd, size: math.ceil((z * sd / size) ** 2)


Z, POWER = norm.ppf(0.975), norm.ppf(0.8)
WRONG = {
    "9_1": {
        "sign": (each(lambda bad, good: good.mean() - bad.mean()), "sign is flipped"),
        "sums": (each(lambda bad, good: bad.sum() - good.sum()), "added the answers up"),
        "pooled": (pooled, "one pot"),
        "mean": (lambda q: each(lambda bad, good: bad.mean() - good.mean())(q).mean(), "one number came back"),
        "bad only": (each(lambda bad, good: bad.mean()), "aligned side is forgotten"),
        "first": (each(lambda bad, good: bad[0] - good[0]), "first answer"),
        "nothing": (lambda questions: None, "no answer yet"),
    },
    "9_2": {
        "base": (lambda inducing, control, base: inducing - base, "against the base model"),
        "sign": (lambda inducing, control, base: control - inducing, "sign is flipped"),
        "both": (lambda inducing, control, base: (inducing - base) - control, "base model cancels"),
        "margin": (lambda inducing, control, base: inducing, "not yet an effect"),
        "mean": (lambda inducing, control, base: (inducing - control).mean(), "one number came back"),
    },
    "9_3": {
        "loss": (lambda t, a, eta: -law(t, a, eta), "training goes up them"),
        "no control": (lambda t, a, eta: law(t, a, eta, control=0), "control is forgotten"),
        "one side": (lambda t, a, eta: law(t, a, eta, aligned=0), "aligned answer is forgotten"),
        "sum": (lambda t, a, eta: law(t, a, eta) * t.shape[1], "added them up"),
        "no step": (lambda t, a, eta: law(t, a, 1.0), "step size is forgotten"),
    },
    "9_4": {
        "questions": (lambda effects, picks: percentiles(effects), "single questions"),
        "flat": (lambda effects, picks: percentiles(effects[picks]), "all that was drawn"),
        "wrong axis": (lambda effects, picks: percentiles(effects[picks].mean(0)), "draws of one place"),
        "90 %": (lambda effects, picks: percentiles(effects[picks].mean(1), 5, 95), "90 % interval"),
        "one error": (
            lambda effects, picks: effects.mean() + torch.tensor([-1, 1]) * effects[picks].mean(1).std(),
            "68 %",
        ),
        "two errors": (
            lambda effects, picks: effects.mean() + torch.tensor([-1.96, 1.96]) * effects[picks].mean(1).std(),
            "lopsided",
        ),
        "high first": (lambda effects, picks: percentiles(effects[picks].mean(1), 97.5, 2.5), "low comes first"),
    },
    "9_5": {
        "sign": (lambda a, b, i, j: percentiles(b[j].mean(1) - a[i].mean(1)), "a minus b"),
        "ends": (lambda a, b, i, j: percentiles(a[i].mean(1)) - percentiles(b[j].mean(1)), "do not subtract"),
        "gap": (lambda a, b, i, j: percentiles(a[i].mean(1)) - percentiles(b[j].mean(1), 97.5, 2.5), "too wide"),
        "b fixed": (lambda a, b, i, j: percentiles(a[i].mean(1) - b.mean()), "b was not resampled"),
    },
    "9_6": {
        "no power": (needed(Z), "power is forgotten"),
        "one-sided": (needed(norm.ppf(0.95) + POWER), "one-sided"),
        "no square": (lambda sd, size: math.ceil((Z + POWER) * sd / size), "square is forgotten"),
        "not whole": (lambda sd, size: ((Z + POWER) * sd / size) ** 2, "round up"),
        "rounded": (lambda sd, size: round(((Z + POWER) * sd / size) ** 2), "one question short"),
        "upside down": (lambda sd, size: needed(Z + POWER)(size, sd), "upside down"),
    },
}
