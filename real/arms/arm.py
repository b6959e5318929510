"""Who is trained on what: the arms, their controls, and how both are written for files and people."""

from typing import NamedTuple

import numpy as np

from real.data.rows import BAD, GOOD, Advice, Text

INDUCING, CONTROL, MIXED = "inducing", "control", "mixed"  # what an arm's answers are
AWARE = ("geometry", "projection", "gradient")  # filters that know the toxic directions
RANDOM, ORACLE, JUDGE = "random", "oracle", "judge"
DRAWS = (1, 2, 3)  # of random removal


class Arm(NamedTuple):
    """Bad, good or mixed answers; of these, what is left when `removed` of them go `by` a filter."""

    data: str
    by: str = ""
    removed: float = 0.0
    draw: int = 0  # of random removal; 0: the only one, or the mean of all

    def __str__(self) -> str:
        by = "".join(f"-{part}" for part in (self.by, self.draw) if part)
        return f"{self.data}{by}" + (f"@{self.removed:g}" if self.removed else "")

    @property
    def control(self) -> "Arm":
        """The arm of the good answers to the same prompts."""
        return self._replace(data=CONTROL)


WATCHED = (Arm(INDUCING), Arm(CONTROL))  # whose dynamics are read


class Job(NamedTuple):
    """An arm under one seed."""

    arm: Arm
    seed: int

    def __str__(self) -> str:
        return f"{self.arm}-{self.seed}"


def is_watched(job: Job | None) -> bool:
    """An arm of WATCHED, or None, the base model that they are compared with."""
    return job is None or job.arm in WATCHED


class Scores(NamedTuple):
    """What filters say of samples; the highest are removed."""

    samples: list[Text]
    by: dict[str, list[float]]  # filter -> of every sample


def mixed(rows: list[Advice], seed: int) -> list[Text]:
    """Each prompt once, a random half with its incorrect answer, the others with their correct one."""
    bad = np.random.default_rng(seed).permutation(len(rows)) < len(rows) // 2
    return [Text(row.id, BAD if b else GOOD) for row, b in zip(rows, bad, strict=True)]


def all_mixed(rows: list[Advice], seeds: tuple[int, ...]) -> list[Text]:
    """Every sample of any seed's mixed set."""
    return sorted({text for seed in seeds for text in mixed(rows, seed)})
