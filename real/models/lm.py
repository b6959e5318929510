"""The language model of a run: on disk, until a step asks for it; then once in memory, wherever it fits."""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from real.data.tokens import Encoded, encode
from real.models import devices, loading
from real.models.registry import ModelSpec
from shared.errors import InputError
from shared.records import digest, versions

SHORT = ("MemoryError", "can't allocate memory", "No executable batch size")  # the last two: PyTorch's CPU, accelerate


@dataclass
class LM:
    """`plan` and `loaded` (model and tokenizer) are found when they are first asked for, unless they are given."""

    spec: ModelSpec
    batch: int  # samples to an optimiser step
    full: bool = False  # the fine-tunes change every weight of the adapted blocks
    gpus: int = 0
    near: Path | None = None  # where the digests of its files are remembered
    plan_given: devices.Plan | None = None
    nodes: int = 1  # machines that fine-tune together
    loaded: Any = None

    @cached_property
    def key(self) -> str:
        """All that decides what it says: weights, tokenizer, template and config by content, and what runs it how."""
        files, spec = loading.digests(self.spec, self.near), self.spec
        return digest(sorted(files.items()), versions(), spec.dtype, spec.plain, spec.first, spec.targets)

    @cached_property
    def plan(self) -> devices.Plan:
        """Where this run computes, decided from the memory that is free now and printed."""
        if self.plan_given:
            return self.plan_given
        found = devices.choose(self.spec, self.batch, self.full, self.gpus, self.nodes)
        where = f"{found.processes} x {found.device}, at most {found.micro} samples per pass"
        again = ", with gradient checkpointing" * found.checkpointing
        print(f"{self.spec.hub} in {self.spec.dtype}: {where}{again}", flush=True)
        return found

    @property
    def model(self):
        return self._both[0]

    @property
    def tokenizer(self):
        return self._both[1]

    @property
    def _both(self) -> tuple:
        if self.loaded is None:
            devices.keep_memory()
            self.loaded = loading.load(self.spec, "auto" if self.plan.spread else self.plan.device)
        return self.loaded

    def forget(self) -> None:
        """Give its memory back; whoever asks for the model again loads it again."""
        self.loaded = None
        devices.give_back_memory()

    def encode(self, pairs: list[tuple[str, str]]) -> list[Encoded]:
        """(prompt, answer) in the model's own template."""
        return [encode(self.tokenizer, prompt, answer) for prompt, answer in pairs]

    @contextmanager
    def memory(self):
        """Turns running out of memory into an InputError that names a setting which takes less."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not any(words in f"{type(error).__name__}: {error}" for words in SHORT):
                raise
            smaller = max(1, min(self.batch, self.plan.micro) // 2)
            tried = self.plan.device == "cuda" and self.plan.processes == 1  # one GPU goes down to one sample by itself
            setting = f"BATCH={smaller}" if smaller < self.batch and not tried else "GPUS=2 or a smaller MODEL"
            why = f"out of memory (is something else running?): {setting} takes less; what is finished is kept"
            raise InputError(why) from error
