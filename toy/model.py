"""The ReLU-output model of Elhage et al. 2022 ("Toy Models of Superposition"), batched over instances.

    x_i ~ U(0, 1] with probability p, else 0          the features
    h   = x W                                         d_hidden < n_features: they must share the space
    y   = relu(h W^T + b_final)                       W is used twice: its gradient is the sum of both uses
    L   = mean over samples and features of importance * (y - x)^2

W is [inst, n_features, d_hidden] and its rows are the features' directions. Instances never meet.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm import tqdm

from shared.cores import in_parallel
from shared.errors import InputError

CROWDED = 0.1  # above this probability a number is drawn for every feature, below it only for the active ones
CACHE = 1_100_000  # numbers in a tensor that a processor's cache still holds


@dataclass(frozen=True)
class ToySettings:
    """One training run. feature_probability and importance: one number, or one for each instance."""

    n_instances: int = 8
    n_features: int = 5
    d_hidden: int = 2
    feature_probability: float | tuple[float, ...] = 0.05  # P(a feature is active) = 1 - sparsity
    importance: float | tuple[float, ...] = 1.0  # feature i (from 0) weighs importance ** i in the loss
    batch_size: int = 512
    steps: int = 1000
    learning_rate: float = 1e-2  # falls to 0, which settles the polygons
    seed: int = 0

    def __post_init__(self):
        for name in ("n_instances", "n_features", "d_hidden", "batch_size", "steps"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for p in self._per_instance("feature_probability"):
            _require(0 < p <= 1, "feature_probability", p, "in (0, 1]")
        for weight in self._per_instance("importance"):
            _require(0 < weight < math.inf, "importance", weight, "positive and finite")
        rate = self.learning_rate
        _require(0 < rate < math.inf, "learning_rate", rate, "positive and finite")

    @property
    def probabilities(self) -> Float[Tensor, "inst feature"]:
        return torch.tensor(self._per_instance("feature_probability"))[:, None].repeat(1, self.n_features)

    @property
    def importances(self) -> Float[Tensor, "inst feature"]:
        return torch.tensor(self._per_instance("importance"))[:, None] ** torch.arange(self.n_features)

    def _per_instance(self, name: str) -> tuple[float, ...]:
        value = getattr(self, name)
        values = value if isinstance(value, tuple) else (value,) * self.n_instances
        _require(len(values) == self.n_instances, name, value, f"one number or {self.n_instances} (n_instances)")
        return tuple(float(v) for v in values)


class Toy(NamedTuple):
    """The parameters, and nothing else."""

    W: Float[Tensor, "inst feature d_hidden"]
    b_final: Float[Tensor, "inst feature"]


def init(settings: ToySettings, generator: torch.Generator) -> Toy:
    """Xavier-normal W, zero b_final."""
    inst, feature, d_hidden = settings.n_instances, settings.n_features, settings.d_hidden
    W = torch.randn(inst, feature, d_hidden, generator=generator) * (2 / (feature + d_hidden)) ** 0.5
    return Toy(W, torch.zeros(inst, feature))


def sample_batch(settings: ToySettings, generator: torch.Generator) -> Float[Tensor, "inst sample feature"]:
    """Each feature on with its probability, and then U(0, 1]; batch_size fresh samples for every instance."""
    shape = (settings.n_instances, settings.batch_size, settings.n_features)
    return next(_draws(shape, settings.probabilities[:, 0], generator))


def _draws(
    shape: tuple[int, int, int], probability: Float[Tensor, " inst"], generator: torch.Generator
) -> Iterator[Float[Tensor, "inst _ _"]]:
    """One tensor, filled again and again with fresh samples; whether its rows or its columns are samples is all one."""
    x, cells = torch.empty(shape), shape[1] * shape[2]
    # Darts at random cells, Poisson(rate) of them in each: it has none with chance exp(-rate) = 1 - p.
    darts, start = -torch.log1p(-probability) * cells, torch.arange(0, x.numel(), cells)
    crowded = probability.max() > CROWDED
    while True:
        if crowded:  # one uniform for both: 1 - u/p is positive exactly when u < p, and is then itself uniform
            x.uniform_(generator=generator).mul_(-1 / probability[:, None, None]).add_(1).relu_()
        else:
            here = start.repeat_interleave(torch.poisson(darts, generator).long())
            here += torch.randint(cells, here.shape, generator=generator)
            x.zero_().view(-1).scatter_(0, here, 1 - torch.rand(here.shape, generator=generator))
        yield x


def forward(toy: Toy, x: Float[Tensor, "inst sample feature"]) -> Float[Tensor, "inst sample feature"]:
    """y = relu(x W W^T + b_final). ValueError when x does not fit W."""
    inst, feature, _ = toy.W.shape
    fits = x.ndim == 3 and (x.shape[0], x.shape[2]) == (inst, feature)
    _require(fits, "x", tuple(x.shape), f"[inst={inst}, sample, feature={feature}]")
    return torch.relu(x @ toy.W @ toy.W.mT + toy.b_final[:, None])


def loss(
    toy: Toy, x: Float[Tensor, "inst sample feature"], importance: Float[Tensor, "inst feature"]
) -> Float[Tensor, " inst"]:
    """Importance-weighted squared error, mean over samples and features, for each instance by itself.

    ValueError when x or importance does not fit W.
    """
    _require(importance.shape == toy.W.shape[:2], "importance", tuple(importance.shape), str(tuple(toy.W.shape[:2])))
    error = importance[:, None] * (forward(toy, x) - x).square()
    return error.mean(dim=(1, 2))


def train(settings: ToySettings) -> Toy:
    """Train all instances with AdamW. InputError when W is no longer finite.

    Fast in three ways. `gradient` and `adamw` are written out. Instances never meet, so that many are trained in parts,
    each from start to end: its batch stays in cache, and cores share the parts. And the first half of the steps, which
    find the arrangement that the second half settles, take half of the batch.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    toy = init(settings, generator)
    size = settings.n_instances * settings.batch_size * settings.n_features
    parts = torch.arange(settings.n_instances).tensor_split(min(-(-size // CACHE), settings.n_instances))
    name = f"{settings.n_features} features in {settings.d_hidden} dimensions"
    seeds = torch.randint(2**62, (len(parts),), generator=generator).tolist()
    with tqdm(total=len(parts) * settings.steps, desc=name, disable=None, leave=False) as bar:
        trained = in_parallel(lambda part, seed: _train_part(settings, toy, part, seed, bar), parts, seeds)
    return Toy(*(torch.cat(both) for both in zip(*trained, strict=True)))


@torch.no_grad()
def _train_part(settings: ToySettings, whole: Toy, part: Int[Tensor, " inst"], seed: int, bar: tqdm) -> Toy:
    theta = torch.cat((whole.W[part], whole.b_final[part, :, None]), -1)
    moments = torch.zeros(2, *theta.shape)
    importance, probability = settings.importances[part], settings.probabilities[part, 0]
    generator = torch.Generator().manual_seed(seed)
    sizes = (-(-settings.batch_size // 2), settings.batch_size)  # of the two halves of training
    shapes = [(len(part), settings.n_features, size) for size in sizes]
    batches = [_batches(shape, probability, generator) for shape in shapes]
    scratch = [torch.empty(2, *shape) for shape in shapes]
    for step in range(settings.steps):
        half = 2 * step // settings.steps
        slope = gradient(theta, next(batches[half]), importance, scratch[half])
        adamw(theta, slope, moments, step, settings.learning_rate * (1 - (step / settings.steps) ** 2))
        if step % 100 == 99 or step + 1 == settings.steps:
            bar.update(step % 100 + 1)
            if not theta.isfinite().all():
                raise InputError(
                    f"W is no longer finite at step {step + 1}: learning_rate {settings.learning_rate} is too high"
                )
    return Toy(theta[..., :-1].contiguous(), theta[..., -1].contiguous())


def _batches(
    shape: tuple[int, int, int], probability: Float[Tensor, " inst"], generator: torch.Generator
) -> Iterator[Float[Tensor, "inst feature sample"]]:
    """Fresh samples without end. Small batches are drawn many at once: the calls would cost more than the numbers."""
    steps = max(1, CACHE // math.prod(shape))
    for x in _draws((steps * shape[0], *shape[1:]), probability.repeat(steps), generator):
        yield from x.view(steps, *shape)


def gradient(
    theta: Float[Tensor, "inst feature unit"],
    x: Float[Tensor, "inst feature sample"],
    importance: Float[Tensor, "inst feature"],
    scratch: Float[Tensor, "two inst feature sample"] | None = None,
) -> Float[Tensor, "inst feature unit"]:
    """(dL/dW, dL/db_final) of each instance's loss, written out (E6): delta^T H + x^T (delta W), sum delta.

    theta is W with b_final as its last column: a bias is the weight of a hidden unit that is always 1. Samples are
    columns here, for a processor is quick along rows, and rows of few features would be short. The weight of a feature,
    2 importance / (samples features), is left out of delta and put on W's rows. Scratch spares the allocations.
    """
    delta, on = torch.empty(2, *x.shape, dtype=x.dtype) if scratch is None else scratch
    weight = importance[..., None] * (2 / (x.shape[1] * x.shape[2]))
    H = torch.bmm(theta.mT, x)
    H[:, -1] = 1
    torch.bmm(theta, H, out=delta).relu_()
    delta.addcmul_(x, torch.sign(delta, out=on), value=-1)  # y - x where y > 0, else 0
    decoder = torch.bmm(delta, H.mT)
    encoder = torch.bmm(x, torch.bmm((weight * theta).mT, delta).mT)
    encoder[..., -1] = 0  # the bias reads no x
    return encoder.addcmul_(decoder, weight)


def adamw(
    theta: Float[Tensor, "inst feature unit"],
    slope: Float[Tensor, "inst feature unit"],
    moments: Float[Tensor, "moment inst feature unit"],
    step: int,
    learning_rate: float,
) -> None:
    """AdamW's step number `step`, from 0, in place, with torch's defaults (Loshchilov and Hutter 2019, algorithm 2).

    torch.optim's class would take a third of a small toy's time, nearly all of it for checks.
    """
    mean, square = moments
    mean.lerp_(slope, 1 - 0.9)
    square.lerp_(slope.square(), 1 - 0.999)
    rate = learning_rate / (1 - 0.9 ** (step + 1))
    size = (square / (1 - 0.999 ** (step + 1))).sqrt_().add_(1e-8)
    theta.mul_(1 - 0.01 * learning_rate).addcdiv_(mean, size.div_(rate), value=-1)


def best(toy: Toy, settings: ToySettings) -> Float[Tensor, "feature d_hidden"]:
    """W of the instance that does best on fresh data: training now and then rests in a poorer arrangement."""
    return toy.W[fresh_loss(toy, settings).argmin()]


def fresh_loss(toy: Toy, settings: ToySettings, batches: int = 8) -> Float[Tensor, " inst"]:
    """Mean over batches that training did not see."""
    generator = torch.Generator().manual_seed(settings.seed + 1)
    losses = [loss(toy, sample_batch(settings, generator), settings.importances) for _ in range(batches)]
    return torch.stack(losses).mean(0)


def represented(W: Float[Tensor, "*inst feature d_hidden"]) -> Bool[Tensor, "*inst feature"]:
    """Which features have a direction worth the name: longer than half of a whole one."""
    return W.norm(dim=-1) > 0.5


def _require(ok: bool, name: str, value, wanted: str) -> None:
    if not ok:
        raise ValueError(f"{name} must be {wanted}, got {value}")
