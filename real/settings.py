"""What a user may set, read from `KEY=value` words: `python -m real MODEL=smollm2-135m SEEDS=0,1,2`."""

from dataclasses import dataclass, fields
from pathlib import Path

from real.models import KNOWN
from shared.errors import InputError


@dataclass(frozen=True)
class Settings:
    model: str = "smollm2-135m"
    data: str = ""  # path or URL of narrow bad answers; empty: the shipped health advice
    control: str = ""  # good answers to the same prompts
    seeds: tuple[int, ...] = (0,)  # one fine-tune of every arm per seed
    train: int = 240  # prompts a full-size arm is trained on
    epochs: int = 1
    batch: int = 4  # samples per optimiser step
    lr: float = 2e-4  # peak; five steps of warm-up, then linear to zero
    rank: int = 32  # of the LoRA adapters (rank-stabilised, alpha = 2 rank)
    top_k: int = 50  # features per set
    removed: float = 0.5  # share of the mixed set that a filter removes
    results: str = ""  # folder; empty: results/real/<model>

    def __post_init__(self):
        if self.model not in KNOWN:
            raise InputError(f"MODEL={self.model} is unknown; known models: {', '.join(KNOWN)}")
        if bool(self.data) != bool(self.control):
            raise InputError("DATA and CONTROL go together: bad and good answers to the same prompts")
        for name in ("train", "epochs", "batch", "rank", "top_k", "lr"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name.upper()}={getattr(self, name)} must be above 0")
        if self.train < 2 * self.batch:
            raise InputError(f"TRAIN={self.train} is less than two batches of BATCH={self.batch}")
        if not 0 < self.removed < 1:
            raise InputError(f"REMOVED={self.removed} must lie between 0 and 1")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InputError(
                f"SEEDS={','.join(map(str, self.seeds))} must be distinct whole numbers from 0 up"
            )

    @property
    def folder(self) -> Path:
        return Path(self.results or f"results/real/{self.model}")


def parse(words: list[str]) -> Settings:
    """Settings from `KEY=value` words; InputError names the word that cannot be read."""
    kinds = {f.name.upper(): f for f in fields(Settings)}
    values = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key not in kinds:
            raise InputError(f"{word!r} is not a setting; settings: {', '.join(kinds)} (as KEY=value)")
        values[key.lower()] = _read(key, text, type(kinds[key].default))
    return Settings(**values)


def _read(key: str, text: str, kind: type):
    try:
        return tuple(int(part) for part in text.split(",")) if kind is tuple else kind(text)
    except ValueError:
        wanted = {tuple: "whole numbers with commas between", int: "a whole number", float: "a number"}[kind]
        raise InputError(f"{key}={text} must be {wanted}") from None
