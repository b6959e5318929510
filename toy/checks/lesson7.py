"""Lesson 7, emergent misalignment in miniature. Each check calls the student's function on inputs of its own."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from shared.geometry import unit
from toy.checks.compare import compare

ETA = 0.2


def check_7_1(effect: Callable[..., Any]) -> None:
    """Mean over toxic features and probes, above control."""
    __tracebackhide__ = True
    W, x, probe = _drawn()
    change, control = torch.randn(2, 4, 8, generator=_generator(1), dtype=torch.float64)
    toxic = torch.tensor([1, 4, 6])
    rise = {name: W @ (probe @ one.T).mean(0) for name, one in (("arm", change), ("control", control))}
    right = (rise["arm"] - rise["control"])[toxic].mean()
    wrong = {
        "the control is forgotten: good advice moves toxic readouts too, so take that away": rise["arm"][toxic].mean(),
        "the sign is flipped: an effect is the arm's rise minus the control's": -right,
        "that is the mean over all features; the effect is the toxic ones'": (rise["arm"] - rise["control"]).mean(),
        "you added the toxic features up; the effect is their mean": right * len(toxic),
        "you added the probes up; the effect is their mean": right * len(probe),
    }
    compare("7.1", effect(W, toxic, change, control, probe), right, wrong)


def check_7_2(gap: Callable[..., Any]) -> None:
    """Cosines, and no feature with itself."""
    __tracebackhide__ = True
    W = torch.randn(8, 4, generator=_generator(2), dtype=torch.float64) * torch.arange(1.0, 9)[:, None]
    inducing, control, toxic = (torch.tensor(ids) for ids in ([0, 2], [3, 5], [1, 4, 6]))
    C = unit(W) @ unit(W).T
    near, far = C[inducing][:, toxic].mean(), C[control][:, toxic].mean()
    plain = W @ W.T
    wrong = {
        "the length factor is forgotten: these are inner products, not cosines": plain[inducing][:, toxic].mean()
        - plain[control][:, toxic].mean(),
        "the sign is flipped: inducing minus control": far - near,
        "control is forgotten: any two sets have some cosine; the gap is a difference": near,
        "you added up; the gap is a difference of means": 6 * (near - far),
        "you compared inducing with control: both are to be compared with the toxic ones": C[inducing][
            :, control
        ].mean(),
    }
    compare("7.2", gap(W, inducing, control, toxic), near - far, wrong)


def check_7_3(first_step: Callable[..., Any]) -> None:
    """(7.2) in (7.3)."""
    __tracebackhide__ = True
    W, x, probe = _drawn()

    def step(wanted: float, on: Tensor) -> Tensor:
        g = ((x @ W @ W.T - wanted * x) * on) @ W
        return -ETA * (probe @ x.T) @ (g @ W.T) / len(x)

    on = (x > 0).double()
    right = step(2.0, on)
    wrong = {
        "the mean over samples is forgotten: you added them up": right * len(x),
        "the sign is flipped: a step goes against the gradient": -right,
        "the sum in (7.2) runs over the features that are on; yours asks silent ones to stay 0": step(
            2.0, torch.ones_like(x)
        ),
        "training asks for twice what a sample says, 2 x, not for x": step(1.0, on),
        "inputs must overlap too: <x_s, x'> is missing": (
            -ETA * (((x @ W @ W.T - 2 * x) * on) @ W @ W.T).mean(0)
        ).expand(len(probe), -1),
    }
    compare("7.3", first_step(W, x, probe, ETA), right, wrong)


def check_7_4(expected_cosine: Callable[[float], Any]) -> None:
    """(7.5): the mean over a of (7.4)."""
    __tracebackhide__ = True
    A = 1.5
    wrong = {
        "you left the length of z + a v out: that is in proportion to a, and (7.4) is not": A / 8**0.5,
        "that is the nearest feature's cosine, at a = A: take the mean over a from 0 to A": A / (2 * (1 + A**2)) ** 0.5,
        "that is the cosine at the mean of a; it is not the mean of the cosine": A / 2 / (2 * (1 + A**2 / 4)) ** 0.5,
        "the toxic directions have a z of their own: their length is the root of 2": ((1 + A**2) ** 0.5 - 1) / A,
        "that is the integral; for the mean divide by A": ((1 + A**2) ** 0.5 - 1) / 2**0.5,
    }
    compare("7.4", expected_cosine(A), ((1 + A**2) ** 0.5 - 1) / (A * 2**0.5), wrong)


def check_7_5(score: Callable[[Tensor, Tensor], Any]) -> None:
    """A weighted mean over a sample's features."""
    __tracebackhide__ = True
    acts = torch.relu(torch.randn(6, 9, generator=_generator(5), dtype=torch.float64))
    close = torch.rand(9, generator=_generator(6), dtype=torch.float64) - 0.3
    wrong = {
        "that is the sum: a long or loud sample would score high for that alone. Divide by its activation": acts
        @ close,
        "each active feature counts by its activation, not equally": ((acts > 0).double() @ close) / (acts > 0).sum(1),
        "you divided by the number of all features; divide by the sample's own activation": acts @ close / 9,
        "you divided by the number of active features; divide by their activation": acts @ close / (acts > 0).sum(1),
    }
    compare("7.5", score(acts, close), acts @ close / acts.sum(1), wrong)


def check_7_6(push: Callable[..., Any]) -> None:
    """(E1), per unit of step size."""
    __tracebackhide__ = True
    W, x, _ = _drawn()
    toxic = torch.tensor([1, 4, 6])
    g = ((x @ W @ W.T - 2 * x) * (x > 0)) @ W
    right = -(g @ W[toxic].T).mean()
    wrong = {
        "the sign is flipped: a step goes against the gradient": -right,
        "the mean is forgotten: over samples, and over the toxic features": right * len(x) * 3,
        "the mean over the toxic features is forgotten": right * 3,
        "the mean over samples is forgotten": right * len(x),
        "that is the push on all features; take the toxic ones": -(g @ W.T).mean(),
        "that is how far the readouts are from 2 x, not yet how a step moves the toxic ones": -(
            (x @ W @ W.T - 2 * x) * (x > 0)
        ).mean(),
    }
    compare("7.6", push(W, x, toxic), right, wrong)


def _drawn() -> tuple[Tensor, Tensor, Tensor]:
    """W [8 4] of unit rows, x [5 8] and probe [3 8], about half of each off."""
    W = unit(torch.randn(8, 4, generator=_generator(3), dtype=torch.float64))
    x = torch.relu(torch.randn(8, 8, generator=_generator(4), dtype=torch.float64))
    return W, x[:5], x[5:]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(700 + seed)
