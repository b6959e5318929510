"""Wrong answers that students of lesson 5 give, and a word of what the check has to say about each."""

import math

import torch


def lora(W, g, x, probe, C, eta):
    return -eta * torch.einsum("jd,sd,sr,pr->pj", W, g, x @ C.mT, probe @ C.mT) / len(x)


def gradients(B, C, g, x):
    return torch.einsum("sd,sr->dr", g, x @ C.mT) / len(x), torch.einsum("dr,sd,si->ri", B, g, x) / len(x)


WRONG = {
    "5_1": {
        "sum": (lambda *a: len(a[2]) * lora(*a), "mean over samples"),
        "sign": (lambda *a: -lora(*a), "sign"),
        "no step size": (lambda *a: lora(*a[:5], 1.0), "step size"),
        "full step": (lambda W, g, x, probe, C, eta: lora(W, g, x, probe, torch.eye(6).double(), eta), "(E2)"),
        "transposed": (lambda *a: lora(*a).mT, "shape"),
    },
    "5_2": {
        "once": (lambda alpha, r: alpha / r, "the scale alone"),
        "upside down": (lambda alpha, r: r**2 / alpha**2, "wrong way round"),
        "root": (lambda alpha, r: math.sqrt(alpha / r), "root"),
        "without r": (lambda alpha, r: alpha**2, "rank is forgotten"),
    },
    "5_3": {
        "the sample alone": (lambda x, other: x[None], "other input does not move"),
        "the other alone": (lambda x, other: other[None], "sample itself does not move"),
        "difference": (lambda x, other: (x / (x @ x) - other / (other @ other))[None], "falls"),
        "sum": (lambda x, other: (x + other)[None], "lengths are forgotten"),
        "not a row": (lambda x, other: x + other, "a row"),
    },
    "5_4": {
        "not squared": (lambda share: math.ceil(1 / share), "root of the rank"),
        "rounded down": (lambda share: int(1 / share**2), "round up"),
        "not whole": (lambda share: 1 / share**2, "whole number"),
        "one more": (lambda share: int(1 / share**2) + 1, "no further"),
        "of the ratio": (lambda share: math.ceil(2 + 1 / share**2), "under the same C"),
    },
    "5_5": {
        "as at the start": (lambda B, C, g, x: (gradients(B, C, g, x)[0], torch.zeros_like(C)), "while B is 0"),
        "steps": (lambda *a: tuple(-one for one in gradients(*a)), "sign"),
        "sum": (lambda *a: tuple(len(a[2]) * one for one in gradients(*a)), "mean over samples"),
        "transposed": (lambda *a: tuple(one.mT for one in gradients(*a)), "shape"),
        "one only": (lambda *a: gradients(*a)[0], "two tensors"),
    },
}
