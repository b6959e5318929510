"""Wrong answers that students of lesson 6 give, and a word of what the check has to say about each."""

import math

import torch

from shared.geometry import cosine, unit


def along(W, step, t):
    return (W @ step) / (W[t] @ step)


def svd_step(W, g, x, probe, eta, strengths):
    U, S, V = torch.linalg.svd(torch.einsum("sd,si->di", g, x), full_matrices=False)
    return -eta * (W @ (U * strengths(S)) @ V @ probe.mT).mT


def ones(S):
    return (1e-9 * S[0] < S).double()


def rise(alpha, k):
    return (1 - alpha**2 + k * alpha**2) ** 0.5, (1 - alpha**2) ** 0.5


WRONG = {
    "6_1": {
        "cosine": (lambda W, t: cosine(W, W)[t], "you used the cosine, but this step is a sign"),
        "gradient": (lambda W, t: along(W, W[t], t), "its sign, coordinate by coordinate"),
        "not relative": (lambda W, t: W @ W[t].sign(), "target itself"),
        "unit rows": (lambda W, t: along(unit(W), W[t].sign(), t), "made the rows unit"),
    },
    "6_2": {
        "swapped": (lambda W, a, b, eta, mu: -eta * W @ (a + mu * b), "older gradient"),
        "sign": (lambda W, a, b, eta, mu: eta * W @ (mu * a + b), "sign"),
        "average": (lambda W, a, b, eta, mu: -eta * W @ (mu * a + (1 - mu) * b), "moving average"),
        "both steps": (lambda W, a, b, eta, mu: -eta * W @ (a + mu * a + b), "both steps"),
        "plain": (lambda W, a, b, eta, mu: -eta * W @ b, "momentum is forgotten"),
    },
    "6_3": {
        "no rotation": (lambda W, t, R: along(W, W[t].sign(), t), "not rotated"),
        "not back": (lambda W, t, R: along(W, (R @ W[t]).sign(), t), "did not rotate back"),
        "other way": (lambda W, t, R: along(W, R @ (R.mT @ W[t]).sign(), t), "other way"),
        "gradient": (lambda W, t, R: along(W, R.mT @ (R @ W[t]), t), "used the gradient"),
    },
    "6_4": {
        "square": (lambda d: (math.pi / 2 - 1) / d, "take the root"),
        "no dimensions": (lambda d: (math.pi / 2 - 1) ** 0.5, "dimensions are forgotten"),
        "r2": (lambda d: 2 / math.pi, "that is R²"),
        "of the step": (lambda d: ((1 - 2 / math.pi) / d) ** 0.5, "units of the step"),
        "random": (lambda d: 1 / d**0.5, "two random directions"),
    },
    "6_5": {
        "gradient": (lambda *a: svd_step(*a, lambda S: S), "(E2): set"),
        "mean": (lambda *a: svd_step(*a, lambda S: S / 3), "with its mean"),
        "flipped": (lambda *a: -svd_step(*a, ones), "sign is flipped"),
        "scaled": (lambda *a: svd_step(*a, lambda S: S / S[0]), "largest singular value"),
        "frobenius": (lambda *a: svd_step(*a, lambda S: S / S.norm()), "Frobenius"),
        "entries": (lambda W, g, x, probe, eta: -eta * probe @ (g.mT @ x).sign().mT @ W.mT, "sign of every entry"),
        "transposed": (lambda *a: svd_step(*a, ones).mT, "shape"),
    },
    "6_6": {
        "gradient": (lambda alpha, k: alpha, "what the gradient does"),
        "own rise is 1": (lambda alpha, k: alpha / rise(alpha, k)[0], "what a feature rises itself"),
        "limit": (lambda alpha, k: 1 / math.sqrt(k), "limit"),
        "only the shared mode": (lambda alpha, k: k * alpha / rise(alpha, k)[0] ** 2, "other modes"),
    },
}
