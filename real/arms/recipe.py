"""How arms are trained, and which there are: what a user may set of it."""

import math
from dataclasses import dataclass
from typing import Any

from shared.errors import InputError

SEEDS = 2**31  # what every generator takes
OPTIMS = ("adamw", "sgd", "lion", "muon")
RANGES = {"train": (1, 10**7), "epochs": (1, 1000), "batch": (1, 10**5), "lr": (1e-9, 1.0)}
RANGES |= {"rank": (1, 10**5), "full": (0, 1)}


@dataclass(frozen=True)
class Recipe:
    """How every arm is trained."""

    train: int = 120  # prompts a full-size arm is trained on
    epochs: int = 1
    batch: int = 4  # samples per optimiser step
    optim: str = "adamw"  # adamw, sgd, lion or muon
    lr: float = 1e-3  # peak; five steps of warm-up, then linear to zero
    rank: int = 32  # of the LoRA adapters (rank-stabilised, alpha = 2 rank)
    full: int = 0  # 1: the fine-tunes change every weight of the adapted blocks, with no adapter
    first: int = -1  # adapters sit on this block and up, 0 being all; -1: the model's

    def __post_init__(self):
        for name, ends in RANGES.items():
            between(self, name, *ends)
        if self.optim not in OPTIMS:
            raise InputError(f"OPTIM={self.optim} must be one of {', '.join(OPTIMS)}")


@dataclass(frozen=True)
class Sweep:
    """Which arms there are."""

    seeds: tuple[int, ...] = (0,)  # one fine-tune of every arm per seed
    removed: tuple[float, ...] = (0.5,)  # shares of the mixed set that filters remove, the main one first

    def __post_init__(self):
        names = {f"{share:g}" for share in self.removed}  # of folders, and in tables
        if len(names) < len(self.removed) or not all(0 < share < 1 for share in self.removed):
            raise InputError(f"REMOVED={listed(self.removed)} must be distinct shares between 0 and 1, to six digits")
        if len(set(self.seeds)) < len(self.seeds) or not all(0 <= seed < SEEDS for seed in self.seeds):
            raise InputError(f"SEEDS={listed(self.seeds)} must be distinct whole numbers from 0 to {SEEDS - 1}")


def least(recipe: Recipe, sweep: Sweep) -> int:
    """Prompts that leave two batches to the smallest arm."""
    return math.ceil(2 * recipe.batch / (1 - max(sweep.removed)))


def between(group: Any, name: str, low: int | float, high: int | float) -> None:
    """Raises InputError for a value outside, a NaN too."""
    value = getattr(group, name)
    if not low <= value <= high:
        raise InputError(f"{name.upper()}={value} must lie between {low:g} and {high:g}")


def listed(values: tuple) -> str:
    return ",".join(map(str, values))
