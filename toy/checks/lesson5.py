"""Lesson 5, LoRA. Each check calls the student's function on inputs of its own."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from toy.checks.compare import compare, number, numbers, require, right_answer

ETA = 0.3


def check_5_1(lora_change: Callable[..., Tensor]) -> None:
    """(5.2), E3."""
    __tracebackhide__ = True
    W, g, x, probe, C = _drawn()
    read, alike = g @ W.T, (x @ C.T) @ (probe @ C.T).T  # [sample feature], [sample probe]
    right = -ETA * alike.T @ read / len(x)
    wrong = {
        "the mean over samples is forgotten: you added them up": right * len(x),
        "the sign is flipped: a step goes against the gradient": -right,
        "the step size is forgotten": right / ETA,
        "that is the full weight step (E2): inputs meet as <x, x'>, without C": -ETA * (probe @ x.T) @ read / len(x),
    }
    compare("5.1", lora_change(W, g, x, probe, C, ETA), right, wrong)


def check_5_2(first_step_factor: Callable[[float, int], float]) -> None:
    """The scale enters B's gradient, and then what B does."""
    __tracebackhide__ = True
    alpha, rank = 48, 16
    wrong = {
        "that is the scale alone: it stands in the gradient of B too, so that it counts twice": alpha / rank,
        "that is its root: the scale counts twice, so that it is squared": (alpha / rank) ** 0.5,
        "the rank is forgotten: the scale is alpha / r": alpha**2,
        "you divided the wrong way round": (rank / alpha) ** 2,
        "r is squared, alpha must be too": alpha / rank**2,
    }
    compare("5.2", first_step_factor(alpha, rank), (alpha / rank) ** 2, wrong)


def check_5_3(blind_adapter: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Any C [1, d_in] with C x = C x', not 0."""
    __tracebackhide__ = True
    x = torch.tensor([1.0, 2, 0, 0, 0], dtype=torch.float64)
    other = torch.tensor([0.0, 0, 3, 0, 1], dtype=torch.float64)
    answer = blind_adapter(x, other)
    C = number("5.3", answer)
    require("5.3", C.shape == (1, 5), f"C should have the shape [1, 5], a row, not {list(C.shape)}")
    own, spilled = (C @ x).item() ** 2, ((C @ x) * (C @ other)).item()
    near = 1e-9 * C.square().sum().item()
    require("5.3", own > near, "under this C the sample itself does not move: C x is 0")
    require("5.3", abs(spilled) > near, "under this C the other input does not move: C x' is 0")
    require("5.3", spilled > 0, "the other input falls as the sample rises: C x and C x' differ in sign")
    ratio = spilled / own
    require(
        "5.3",
        abs(ratio - 10 / 5) > 1e-9,
        "the lengths are forgotten: x + x' reads |x|^2 from one and |x'|^2 from the other",
    )
    require("5.3", abs(ratio - 1) < 1e-6, f"the other input rises {ratio:.3g} times as much as the sample")
    right_answer("5.3", answer)


def check_5_4(rank_needed: Callable[[float], int]) -> None:
    """1/sqrt(r) <= share."""
    __tracebackhide__ = True
    found = numbers("5.4", rank_needed(0.15), rank_needed(0.25))  # 1/share^2: 44.4, and 16
    wrong = {
        "noise falls as the root of the rank: 1/sqrt(r) must be below the share, so square": (7, 4),
        "that is not enough yet: a whole number *at least* 1/share^2, so round up": (44, 16),
        "where 1/share^2 is a whole number it is enough: round up, and no further": (45, 17),
        "the rank must be a whole number: round up": (1 / 0.15**2, 16),
        "you took half of the noise: the entries' variance is 1/r already": (23, 8),
        "that is in units of what the sample moves under the same C; the question asks for its mean": (47, 18),
    }
    compare("5.4", found, (45, 16), wrong)


def check_5_5(lora_gradients: Callable[..., tuple[Any, Any]]) -> None:
    """Of B and of C, at any B: against the chain rule."""
    __tracebackhide__ = True
    _, g, x, _, C = _drawn()
    B = torch.randn(3, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found = lora_gradients(B, C, g, x)
    require("5.5", isinstance(found, tuple | list) and len(found) == 2, "return two tensors, (of B, of C)")
    for name, answer, shape in (("B", found[0], B.shape), ("C", found[1], C.shape)):
        have = tuple(number("5.5", answer).shape)
        require("5.5", have == shape, f"the gradient of {name} has {name}'s shape {list(shape)}, not {list(have)}")
    of_b, of_c = g.T @ (x @ C.T) / len(x), B.T @ g.T @ x / len(x)
    both = torch.cat([of_b.flatten(), of_c.flatten()])
    wrong = {
        "the mean over samples is forgotten: you added them up": both * len(x),
        "the sign is flipped: these are the gradients, not the steps": -both,
        "C's gradient is 0 only while B is 0": torch.cat([of_b.flatten(), 0 * of_c.flatten()]),
    }
    answer = torch.cat([torch.as_tensor(one, dtype=torch.float64).flatten() for one in found])
    compare("5.5", answer, both, wrong)


def _drawn() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """W [4 3], g [5 3], x [5 6], probe [2 6], C [2 6]."""
    generator = torch.Generator().manual_seed(55)
    shapes = ((4, 3), (5, 3), (5, 6), (2, 6), (2, 6))
    W, g, x, probe, C = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in shapes)
    return W, g, x, probe, C
