"""The ReLU-output model of Elhage et al. 2022 ("Toy Models of Superposition"), batched over instances.

    x_i ~ U(0, 1] with probability p, else 0          the features
    h   = x W                                         d_hidden < n_features: they must share the space
    y   = relu(h W^T + b_final)                       W is used twice: its gradient is the sum of both uses
    L   = mean over samples and features of importance * (y - x)^2

W is [inst, n_features, d_hidden] and its rows are the features' directions. Instances never meet.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from shared.errors import InputError
from toy.sparse import draw, gradient


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
    learning_rate: float = 1e-2  # falls linearly to 0, which settles the polygons
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
        _require(
            len(values) == self.n_instances, name, value, f"one number or {self.n_instances} (n_instances)"
        )
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
    """Each feature on with its probability, and then U(0, 1]; batch_size fresh samples for every instance.

    One uniform draw serves for both: 1 - u/p is positive exactly when u < p, and is then itself uniform.
    """
    shape = (settings.n_instances, settings.batch_size, settings.n_features)
    u = torch.rand(shape, generator=generator)
    return u.div_(settings.probabilities[:, None]).neg_().add_(1).relu_()


def forward(toy: Toy, x: Float[Tensor, "inst sample feature"]) -> Float[Tensor, "inst sample feature"]:
    """y = relu(x W W^T + b_final). ValueError when x does not fit W."""
    inst, feature, _ = toy.W.shape
    fits = x.ndim == 3 and (x.shape[0], x.shape[2]) == (inst, feature)
    _require(fits, "x", tuple(x.shape), f"[inst={inst}, sample, feature={feature}]")
    return torch.relu(x @ toy.W @ toy.W.mT + toy.b_final[:, None])


def loss(
    toy: Toy, x: Float[Tensor, "inst sample feature"], importance: Float[Tensor, "inst feature"]
) -> Float[Tensor, " inst"]:
    """Importance-weighted squared error, mean over samples and features, for each instance by itself."""
    error = importance[:, None] * (forward(toy, x) - x).square()
    return error.mean(dim=(1, 2))


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrices this small gain nothing from a second core; when others use it they wait, 20 times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def train(settings: ToySettings) -> Toy:
    """Train all instances at once with AdamW. InputError when the loss is no longer finite."""
    generator = torch.Generator().manual_seed(settings.seed)
    toy, importance = init(settings, generator), settings.importances
    optimiser = torch.optim.AdamW([p.requires_grad_() for p in toy], lr=settings.learning_rate, fused=True)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0, settings.steps)
    name = f"{settings.n_features} features in {settings.d_hidden} dimensions"
    with torch.no_grad():
        for step in tqdm(range(settings.steps), desc=name, disable=None, leave=False):
            active = draw(settings.probabilities[:, 0], settings.n_features, settings.batch_size, generator)
            toy.W.grad, toy.b_final.grad = gradient(*toy, importance, active)
            optimiser.step()
            decay.step()
            if step % 100 == 0 and not toy.W.isfinite().all():
                raise InputError(
                    f"W is no longer finite at step {step}: learning_rate {settings.learning_rate} is too high"
                )
    return Toy(*(p.detach() for p in toy))


def best(toy: Toy, settings: ToySettings) -> Float[Tensor, "feature d_hidden"]:
    """W of the instance that does best on fresh data: training now and then rests in a poorer arrangement."""
    x = sample_batch(settings, torch.Generator().manual_seed(settings.seed + 1))
    return toy.W[loss(toy, x, settings.importances).argmin()]


def _require(ok: bool, name: str, value, wanted: str) -> None:
    if not ok:
        raise ValueError(f"{name} must be {wanted}, got {value}")
