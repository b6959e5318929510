"""Seconds and mean loss reached: `toy.model.train` beside a plain autograd loop and tms-kit, in turn, with ranges.

All take the same number of steps from the same learning rate to 0.
"""

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from timing import peak, race, ratio
from tms_kit.data import IIDFeatureGenerator
from tms_kit.loss import ImportanceWeightedLoss
from tms_kit.model import Model
from tms_kit.optimize import linear_lr, optimize
from tms_kit.tms import TMS

from toy import model
from toy.model import Toy, ToySettings

RUNS = (
    ToySettings(10, 5, 2, feature_probability=0.05, batch_size=1024, steps=2000),
    ToySettings(20, 200, 20, feature_probability=0.01, batch_size=1024, steps=100),
    ToySettings(20, 200, 20, feature_probability=0.05, batch_size=1024, steps=100),
)


def plain(settings: ToySettings) -> Toy:
    """Two draws and a `where` for every feature, autograd, Adam: as the tutorials have it."""
    generator = torch.Generator().manual_seed(settings.seed)
    toy, importance = model.init(settings, generator), settings.importances
    optimiser = torch.optim.Adam([p.requires_grad_() for p in toy], lr=settings.learning_rate)
    shape = (settings.n_instances, settings.batch_size, settings.n_features)
    for step in range(settings.steps):
        optimiser.param_groups[0]["lr"] = settings.learning_rate * linear_lr(step, settings.steps)
        on = torch.rand(shape, generator=generator) <= settings.probabilities[:, None]
        x = torch.where(on, torch.rand(shape, generator=generator), 0.0)
        optimiser.zero_grad()
        model.loss(toy, x, importance).sum().backward()
        optimiser.step()
    return Toy(*(p.detach() for p in toy))


def tms_kit(settings: ToySettings) -> Toy:
    torch.manual_seed(settings.seed)
    system, size = TMS(), (settings.n_features, settings.n_instances)
    system.model = Model(*size, settings.d_hidden, device="cpu")
    system.data_gen = IIDFeatureGenerator(*size, settings.probabilities)
    system.loss_calc = ImportanceWeightedLoss(settings.n_features, settings.importances)
    how = {"batch_size": settings.batch_size, "steps": settings.steps, "lr": settings.learning_rate}
    optimize(system, disable_tqdm=True, log_freq=settings.steps, lr_scale=linear_lr, **how)
    return Toy(system.model.W.detach().mT.contiguous(), system.model.b_final.detach())


def product_seconds(settings: ToySettings) -> float:
    """The five matrix products of every step of `train`, at the rate of a large square product on all cores."""
    per_step = 5 * 2 * settings.n_instances * settings.batch_size * settings.n_features * settings.d_hidden
    return 0.75 * settings.steps * per_step / peak()  # half of the steps take half of the batch


def mean_loss(toy: Toy, settings: ToySettings) -> float:
    """Over instances, on 50 fresh batches."""
    return model.fresh_loss(toy, settings, batches=50).mean().item()


if __name__ == "__main__":
    model.train(ToySettings(steps=1))  # the first optimiser of a process imports for seconds
    for settings in RUNS:
        print(
            f"n={settings.n_features}, m={settings.d_hidden}, {settings.n_instances} instances, "
            f"p={settings.feature_probability}, {settings.steps} steps of {settings.batch_size}"
        )
        toys: dict[str, Toy] = {}

        def side(name: str, run, settings=settings, toys=toys):
            return lambda: lambda: toys.update({name: run(settings)})

        seconds = race(ours=side("ours", model.train), plain=side("plain", plain), tms_kit=side("tms_kit", tms_kit))
        losses = {name: mean_loss(toy, settings) for name, toy in toys.items()}
        for name, taken in seconds.items():
            worse = 100 * (losses["ours"] / losses[name] - 1)
            print(f"  {name:8} {statistics.median(taken):6.1f} s  {ratio(seconds['ours'], taken)}", end="  ")
            print(f"loss {losses[name]:.3e}, ours {worse:+.2f} %")
        limit = product_seconds(settings)
        print(f"  matrix products at the peak: {limit:.1f} s, {limit / statistics.median(seconds['ours']):.2f} times")
