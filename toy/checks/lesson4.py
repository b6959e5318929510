"""Lesson 4, weights: one step on a weight matrix (E2), any network (E7)."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from shared.geometry import unit
from toy import law
from toy.checks.compare import compare, require

ETA = 0.3


def check_4_1(share: Callable[[Tensor, Tensor], float]) -> None:
    """Of (4.2), what the directions leave."""
    __tracebackhide__ = True
    x, probe = torch.tensor([[1.0, 2, 0, 0.5], [0.5, 1, 3, 0]], dtype=torch.float64)
    answer, overlap = share(x, probe), x @ probe
    wrong = {
        "that is a cosine: by (4.2) a long probe feels more, and only the sample's own length is divided out": overlap
        / (x.norm() * probe.norm()),
        "divide by the overlap of the sample with itself, not of the probe with itself": overlap / (probe @ probe),
        "that is the overlap; a share divides by the overlap of the sample with itself": overlap,
        "divide by <x, x>, the square of the length": overlap / x.norm(),
        "you counted inputs that are on in both; their values matter": ((x > 0) & (probe > 0)).sum() / (x > 0).sum(),
    }
    compare("4.1", answer, overlap / (x @ x), wrong)


def check_4_2(step: Callable[..., Tensor]) -> None:
    """(4.2)."""
    __tracebackhide__ = True
    W, g, x, probes = _drawn()
    answer = step(W, g, x, probes, ETA)
    compare("4.2", answer, law.weight_step(W, g, x, probes, ETA), _wrong(W, g, x, probes))


def check_4_3(step: Callable[..., Tensor]) -> None:
    """(4.2) with an input that is always 1."""
    __tracebackhide__ = True
    W, g, x, probes = _drawn()
    answer = step(W, g, x, probes, ETA)
    always = partial(torch.nn.functional.pad, pad=(0, 1), value=1.0)
    alone, own = law.weight_step(W, g, x, probes, ETA), -ETA * (g @ W.T).mean(0)
    wrong = {
        "that is the step without the bias": alone,
        "that is the bias alone: the weights move too": own.expand_as(alone),
        "the mean is forgotten in the bias: it moves by the mean of the g, not by their sum": alone + len(g) * own,
        "the 1 belongs to the overlap of inputs, in the brackets; you added it to the change": alone + 1,
        "the bias moves against the gradient as well: its sign is flipped": alone - own,
        "the step size is forgotten in the bias": alone + own / ETA,
    } | _wrong(W, g, always(x), always(probes))
    compare("4.3", answer, law.weight_step(W, g, always(x), always(probes), ETA), wrong)


def check_4_4(first_order: Callable[..., Tensor]) -> None:
    """(4.3): a Jacobian-vector product."""
    __tracebackhide__ = True
    W, _, x, _ = _drawn()
    generator = torch.Generator().manual_seed(8)
    theta, step = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)

    def readouts(theta: Tensor) -> Tensor:
        return torch.tanh(x @ theta.T) @ W.T

    answer, right = first_order(readouts, theta, step), law.first_order(readouts, theta, step)
    require(
        "4.4", not isinstance(answer, tuple), "jvp returns a pair: its second part is the change; return that alone"
    )
    wrong = {
        "that is the real change, measured at the new place; predict it from the slope at the old one": readouts(
            theta + step
        )
        - readouts(theta),
        "that is the slope at the new place: it belongs to where training starts": law.first_order(
            readouts, theta + step, step
        ),
        "that is the value and the change together: jvp returns a pair, and only its second part is the change": right
        + readouts(theta),
        "that is the value at the start: jvp returns a pair, value first": readouts(theta),
        "the sign is flipped: the step already points where the parameters go": -right,
    }
    compare("4.4", answer, right, wrong)


def check_4_5(overlap: Callable[[float], float]) -> None:
    """3 p / 4."""
    __tracebackhide__ = True
    p = 0.3
    wrong = {
        "the samples are independent: the mean of the product is the square of the mean, (p/2)^2, not p^2/3 or p/3": p,
        "that is the overlap of two samples, for each input; divide by that of one with itself": p**2 / 4,
        "you counted both as on: a stranger's input is on only with probability p": 3 / 4,
        "the mean is over all samples, also those where the input is off: p^2, not p, in the overlap of two": 1.0,
        "the share is upside down": 4 / (3 * p),
        "a sample's overlap with itself is the mean of the square, p/3, not the square of the mean": p / 2,
    }
    compare("4.5", overlap(p), 3 * p / 4, wrong)


def _wrong(W: Tensor, g: Tensor, x: Tensor, probes: Tensor) -> dict[str, Tensor]:
    """What people do with (4.2)."""
    right = law.weight_step(W, g, x, probes, ETA)
    means = law.weight_step(W, g.mean(0, keepdim=True), x.mean(0, keepdim=True), probes, ETA)
    return {
        "the mean is forgotten: that is the sum over samples": right * len(g),
        "the sign is flipped: the step goes against the gradient": -right,
        "the step size eta is forgotten": right / ETA,
        "the overlap of inputs is missing: that is lesson 3, the same at every probe": (
            -ETA * (g @ W.T).mean(0)
        ).expand_as(right),
        "you averaged g and x apart: a sample's direction goes with its own input; multiply, then average": means,
        "you used cosines of inputs; the overlap is an inner product": law.weight_step(
            W, g, unit(x), unit(probes), ETA
        ),
        "you used cosines of directions; (4.2) has the rows of W as long as they are": law.weight_step(
            unit(W), g, x, probes, ETA
        ),
        "transposed: a row for each probe, a column for each feature": right.T,
    }


def _drawn() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """W [4 3], g [6 3], x [6 5], probes [4 5]: as many probes as features, so that a transposed answer is told so."""
    generator = torch.Generator().manual_seed(2)
    return tuple(
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((4, 3), (6, 3), (6, 5), (4, 5))
    )
