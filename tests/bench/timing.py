"""Contenders in one process and in turn, A B A B: a ratio with its range over the turns, beside the machine's peak."""

import statistics
import time
from collections.abc import Callable

import torch

TURNS = 5

Side = Callable[[], Callable[[], object]]  # prepares, untimed, the job that is timed


def race(**sides: Side) -> dict[str, list[float]]:
    """Seconds of every side in each turn, after one that warms up."""
    seconds = {name: [] for name in sides}
    for turn in range(TURNS + 1):
        for name, prepare in sides.items():
            job = prepare()
            start = time.perf_counter()
            job()
            seconds[name] += [time.perf_counter() - start] if turn else []
    return seconds


def ratio(ours: list[float], theirs: list[float]) -> str:
    """Their seconds over ours: the median over turns, and the range."""
    found = [b / a for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(found):.2f} times [{min(found):.2f}, {max(found):.2f}]"


def peak() -> float:
    """Operations a second of a large square product in float32 on all cores: the machine's fused multiply-adds."""
    a, found = torch.randn(2048, 2048), []
    for _ in range(TURNS + 1):
        start = time.perf_counter()
        a @ a
        found.append(2 * 2048**3 / (time.perf_counter() - start))
    return max(found)
