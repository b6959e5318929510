"""Lesson 6, optimisers. Each check calls the student's function on inputs of its own."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from shared.geometry import cosine, unit
from toy.checks.compare import compare
from toy.law import polar

ETA, MU = 0.3, 0.8


def check_6_1(sign_ratios: Callable[[Tensor, int], Any]) -> None:
    """(6.1), relative to the target."""
    __tracebackhide__ = True
    W = _rows(7, 4)
    moved = W @ W[2].sign()
    wrong = {
        "you used the cosine, but this step is a sign": cosine(W[2:3], W)[0],
        "you stepped along the gradient (E1); this step is its sign, coordinate by coordinate": W
        @ W[2]
        / (W[2] @ W[2]),
        "divide by the change of the target itself": moved,
        "you took the sign of what moved; the step is the sign, the readouts are not": moved.sign(),
        "you stepped along the sign of every row; only the target's gradient makes the step": (W.sign() @ W.sign()[2])
        / (W.sign()[2] @ W.sign()[2]),
        "the directions are as long as they are: you made the rows unit": unit(W)
        @ W[2].sign()
        / (unit(W)[2] @ W[2].sign()),
    }
    compare("6.1", sign_ratios(W, 2), moved / moved[2], wrong)


def check_6_2(second_step: Callable[..., Any]) -> None:
    """(6.2), without decay."""
    __tracebackhide__ = True
    W, (first, second) = _rows(7, 4), _rows(2, 4, seed=2)

    def step(a: float, b: float) -> Tensor:
        return -ETA * W @ (a * first + b * second)

    wrong = {
        "the older gradient is the damped one, not the newer": step(1.0, MU),
        "the sign is flipped: a step goes against the gradients": -step(MU, 1.0),
        "that is a moving average; SGD's momentum in PyTorch adds the new gradient whole": step(MU, 1 - MU),
        "that is both steps together: the question is for the second": step(1 + MU, 1.0),
        "momentum is forgotten: the first gradient still pushes": step(0.0, 1.0),
        "the step size is forgotten": step(MU, 1.0) / ETA,
    }
    compare("6.2", second_step(W, first, second, ETA, MU), step(MU, 1.0), wrong)


def check_6_3(rotated_ratios: Callable[..., Any]) -> None:
    """The optimiser sees R h."""
    __tracebackhide__ = True
    W = _rows(7, 4)
    R = torch.linalg.qr(_rows(4, 4, seed=5)).Q

    def ratios(step: Tensor) -> Tensor:
        return W @ step / (W[2] @ step)

    wrong = {
        "the basis is not rotated: that is the sign step of exercise 6.1": ratios(W[2].sign()),
        "you rotated, took the sign, and did not rotate back: the readouts live in the old coordinates": ratios(
            (R @ W[2]).sign()
        ),
        "you rotated the other way: the optimiser sees R h, so the gradient there is R g": ratios(
            R @ (R.T @ W[2]).sign()
        ),
        "you used the gradient; it is the same in every basis, but this step is a sign": ratios(W[2]),
        "divide by the change of the target itself": W @ R.T @ (R @ W[2]).sign(),
    }
    compare("6.3", rotated_ratios(W, 2, R), ratios(R.T @ (R @ W[2]).sign()), wrong)


def check_6_4(scatter: Callable[[int], Any]) -> None:
    """Of features at right angles to the target, in units of its rise."""
    __tracebackhide__ = True
    d = 50
    wrong = {
        "that is its square: take the root": (math.pi / 2 - 1) / d,
        "the dimensions are forgotten: the rest of the step spreads over all of them": (math.pi / 2 - 1) ** 0.5,
        "that is R²; the question is what the part that is not along d_t does to others": 2 / math.pi,
        "that is in units of the step's length: divide by what the target rises, sqrt(2/pi) of it": (
            (1 - 2 / math.pi) / d
        )
        ** 0.5,
        "that is the cosine of two random directions; a sign step has less than all of its length left": d**-0.5,
        "you kept the part along d_t: pi/2 is all that leaks, take 1 from it": (math.pi / 2 / d) ** 0.5,
    }
    compare("6.4", scatter(d), ((math.pi / 2 - 1) / d) ** 0.5, wrong, tolerance=0.03)


def check_6_5(spectral_change: Callable[..., Any]) -> None:
    """(6.4), E8."""
    __tracebackhide__ = True
    W, g, x, probe = _rows(7, 4), _rows(3, 4, seed=4), _rows(3, 6, seed=5), _rows(2, 6, seed=6)
    G = g.T @ x

    def change(step: Tensor) -> Tensor:
        return -ETA * probe @ step.T @ W.T

    U, S, Vh = torch.linalg.svd(G, full_matrices=False)
    wrong = {
        "that is the gradient's step (E2): set its singular values to 1": change(G),
        "that is the gradient's step (E2), with its mean: set the singular values to 1": change(G / len(x)),
        "the sign is flipped: a step goes against the gradient": -change(polar(G)),
        "you took the sign of every entry; here every singular value becomes 1": change(G.sign()),
        "the step size is forgotten": change(polar(G)) / ETA,
        "you divided by the largest singular value: each becomes 1 by itself": change(G / S[0]),
        "you divided by the Frobenius norm: each singular value becomes 1 by itself": change(G / G.norm()),
        "your singular vectors are paired wrongly: G is U S V^T": change(U @ Vh.flip(0)),
        "rank: singular values that are 0 stay 0; leave their vectors out": change(
            torch.linalg.svd(G).U @ torch.eye(4, 6, dtype=G.dtype) @ torch.linalg.svd(G).Vh
        ),
    }
    compare("6.5", spectral_change(W, g, x, probe, ETA), change(polar(G)), wrong)


def check_6_6(spectral_rise: Callable[[float, int], Any]) -> None:
    """The root of C's eigenvalues, for the directions of (6.6)."""
    __tracebackhide__ = True
    alpha, k = 0.3, 9
    q2 = 1 - alpha**2
    r, q = (q2 + k * alpha**2) ** 0.5, q2**0.5
    wrong = {
        "that is alpha, what the gradient does: the spectral step takes the root of C's eigenvalues": alpha,
        "divide by what a feature rises itself: the diagonal of L, q + (r - q)/k": alpha / r,
        "that is the limit of many features; the formula holds for any k": k**-0.5,
        "the other modes are missing in a feature's own rise: it is q + (r - q)/k": (alpha / r) / (r / k),
        "an eigenvalue becomes its root: r and q, not their squares": (alpha / r**2) / (q2 + (r**2 - q2) / k),
        "the shared mode's eigenvalue is 1 - alpha^2 + k alpha^2; you used the other": (alpha / q) / (q + (r - q) / k),
        "a feature holds the shared mode in the share 1/k": (alpha / r) / (q + (r - q)),
    }
    compare("6.6", spectral_rise(alpha, k), (alpha / r) / (q + (r - q) / k), wrong)


def _rows(n: int, d: int, seed: int = 1) -> Tensor:
    """Rows of many lengths."""
    generator = torch.Generator().manual_seed(600 + seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) * torch.arange(1, n + 1)[:, None]
