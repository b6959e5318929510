"""The cores of a CPU: a product of small matrices hardly gains from a second one, two products, one to a core, do."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import joblib
import torch


def cores() -> int:
    """Those that this process may use: a container or a job of a cluster has fewer than its machine."""
    return joblib.cpu_count()


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Within, torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread():
    """Matrices this small gain nothing from a second core; when others use it they wait, 20 times slower."""
    return threads(1)


def in_parallel(function: Callable, *items: Iterable) -> list:
    """`function` of every item, a core to each, one thread to each. When one fails, what has not begun never does."""
    with one_thread(), ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(function, *items))


def in_processes(function: Callable, *items: Iterable) -> list:
    """As `in_parallel`, for much Python around small tensors: threads would wait for each other's Python."""
    with one_thread():
        return joblib.Parallel(cores())(joblib.delayed(function)(*each) for each in zip(*items, strict=True))


def shared_out(function: Callable, workers: Sequence, items: Iterable) -> Iterator[Any]:
    """`function(worker, item)` of every item, in their order, by whichever worker is free, a few items ahead.

    The workers share torch's threads; one alone keeps them all, and takes an item when its result is asked for.
    """
    if len(workers) == 1:
        yield from (function(workers[0], item) for item in items)
        return
    free = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def job(item):
        worker = free.get()
        try:
            return function(worker, item)
        finally:
            free.put(worker)

    waiting = deque()
    with threads(max(1, torch.get_num_threads() // len(workers))), ThreadPoolExecutor(len(workers)) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(job, item))
                if len(waiting) > len(workers):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # one has failed, or nobody takes the rest
            for future in waiting:
                future.cancel()
