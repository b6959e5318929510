"""Lesson 3, leakage: one step on a hidden state (E1)."""

from collections.abc import Callable

import torch
from torch import Tensor

from shared.geometry import cosine, unit
from toy.checks.compare import compare, number, require, right_answer

T, K, ETA = 2, 4, 0.3  # the target, the feature to be spared, the step size


def check_3_1(changes: Callable[[Tensor, int, float], Tensor]) -> None:
    """(3.1) with L = -f_t."""
    __tracebackhide__ = True
    W = _drawn()
    answer, right = changes(W, T, ETA), ETA * (W @ W[T])
    wrong = {
        "the sign is flipped: L = -f_t has g = -d_t, and the step goes against g, so that f_t rises": -right,
        "the step size eta is forgotten": W @ W[T],
        "you used cosines: a change is an inner product, lengths and all": ETA * cosine(W, W[T : T + 1])[:, 0],
        "that is for a push along the unit direction; the gradient of -f_t is -d_t as long as it is": ETA
        * (W @ unit(W)[T]),
        "only feature t moves in your answer: every feature whose direction has a part along d_t does": right
        * (torch.arange(len(W)) == T),
    }
    compare("3.1", answer, right, wrong)


def check_3_2(ratios: Callable[[Tensor, int], Tensor]) -> None:
    """(3.2)."""
    __tracebackhide__ = True
    W = _drawn()
    answer, cosines, length = ratios(W, T), cosine(W, W[T : T + 1])[:, 0], W.norm(dim=1)
    wrong = {
        "the length factor is forgotten: that is the cosine alone": cosines,
        "the length factor is upside down: a long d_j reads more of the push": cosines * length[T] / length,
        "those are the changes; divide by the target's own": W @ W[T],
        "divide by <d_t, d_t>, the square of the length": W @ W[T] / length[T],
    }
    compare("3.2", answer, W @ W[T] / length[T] ** 2, wrong)


def check_3_3(changes: Callable[[Tensor, Tensor, Tensor, int, float], Tensor]) -> None:
    """(3.3), before and after: one unit switches on by the step, one off."""
    __tracebackhide__ = True
    W = torch.tensor([[1, 0], [0.6, 0.8], [0, 1], [-0.8, 0.6], [-1.2, 0], [0.9, -1.5]], dtype=torch.float64)
    b = torch.tensor([-0.1, -0.75, -0.2, -0.1, 0.4, -0.3], dtype=torch.float64)
    h, t, eta = torch.tensor([0.25, 0.5], dtype=torch.float64), 0, 0.3
    answer = changes(W, b, h, t, eta)
    before, step = W @ h, eta * (W @ W[t])
    right = torch.relu(before + step + b) - torch.relu(before + b)
    wrong = {
        "that is the change of the readouts: the output passes through the bias and the ReLU": step,
        "the ReLU of a change is not the change of a ReLU": torch.relu(step),
        "the bias is forgotten: it goes inside of the ReLU": torch.relu(before + step) - torch.relu(before),
        "you asked which outputs were on before the step; some switch on or off on the way": step * (before + b > 0),
        "that is the output after the step; take away the one before": torch.relu(before + step + b),
        "the sign is flipped: after less before": -right,
    }
    compare("3.3", answer, right, wrong)


def check_3_4(sparing: Callable[[Tensor, int, int], Tensor]) -> None:
    """g at right angles to d_k, and against d_t."""
    __tracebackhide__ = True
    W = _drawn()
    answer = sparing(W, T, K)
    g = number("3.4", answer)
    require("3.4", g.shape == W[0].shape, f"g should have the shape {list(W[0].shape)}, yours has {list(g.shape)}")
    require("3.4", g.norm() > 1e-9, "g is 0: nothing moves, the target neither")
    moved, along = (-(W @ g)).tolist(), W[T] @ W[K]
    require("3.4", abs(moved[T]) > 1e-6 * g.norm(), "feature t does not move: it is k that is to be spared")
    require("3.4", moved[T] > 0, "the sign is flipped: a step goes against g, so that this one lowers feature t")
    forgotten, plain, other = -(W[T] - along * W[K]), -W[T], -(W[T] - along / (W[T] @ W[T]) * W[K])
    require("3.4", not _parallel(g, plain), "that is the plain step: it spares nobody")
    require("3.4", not _parallel(g, forgotten), "the length factor is forgotten: divide <d_t, d_k> by |d_k|^2")
    require("3.4", not _parallel(g, other), "you divided by |d_t|^2; the part along d_k has |d_k|^2 below")
    off = abs(moved[K])
    require("3.4", off < 1e-6 * g.norm(), f"feature k still moves, by {off:.3g}: g must be at right angles to d_k")
    part = -(W[T] - along / (W[K] @ W[K]) * W[K])
    require("3.4", _parallel(g, part), "k is spared, but g holds more than a part of the plain gradient")
    right_answer("3.4", answer)


def check_3_5(least: Callable[[Tensor, int], Tensor]) -> None:
    """M^-1 d_t, scaled so that feature t rises by 1."""
    __tracebackhide__ = True
    W = _drawn()
    answer = least(W, T)
    others = torch.cat([W[:T], W[T + 1 :]])
    step = torch.linalg.solve(others.T @ others, W[T])
    wrong = {
        "that is the plain step, scaled: it rises by 1, but a turn away from crowded directions leaks less": W[T]
        / (W[T] @ W[T]),
        "the direction is right; scale it so that feature t rises by exactly 1": step,
        "least squares to 'feature t by 1, others by 0' falls short of 1 itself: scale it": torch.linalg.pinv(W)[:, T],
        "the sign is flipped: feature t falls by 1": -step / (W[T] @ step),
        "M is a sum over features, d by d; you inverted nothing: M d_t turns towards the crowd": others.T
        @ others
        @ W[T]
        / (W[T] @ (others.T @ others @ W[T])),
    }
    compare("3.5", answer, step / (W[T] @ step), wrong)


def _drawn() -> Tensor:
    """W [7 4], rows of many lengths."""
    generator = torch.Generator().manual_seed(3)
    W = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    return unit(W) * torch.tensor([1, 0.6, 1.7, 0.8, 1.3, 2, 0.5], dtype=torch.float64)[:, None]


def _parallel(a: Tensor, b: Tensor) -> bool:
    return bool(a @ b > (1 - 1e-9) * a.norm() * b.norm())
