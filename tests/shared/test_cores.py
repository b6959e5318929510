"""Work shared out over cores: every result, in order, one item to a worker at a time; the model's readers agree."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from real.features import activations
from real.features.activations import Activations
from real.filters import gradients as filters
from real.models import forward, logprobs
from shared.cores import shared_out, threads

ROOT = Path(__file__).parents[2]


def python(code: str, **env: str) -> str:
    """What it prints, in a process of its own that may use every core."""
    env = {name: value for name, value in os.environ.items() if name != "LOKY_MAX_CPU_COUNT"} | env
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="an affinity is Linux's")
def test_a_process_that_is_held_to_one_core_counts_one():
    asked = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    said = "from shared.cores import cores; print(cores())"
    for before, found in (("", len(os.sched_getaffinity(0))), (f"{asked}; ", 1)):
        assert python(before + said) == f"{found}\n"


PROCESSES = """
import os, time, torch
from shared.cores import in_processes
from shared.errors import InputError

def task(item, power):
    time.sleep(1)  # long enough for the other process to take one
    if power == 9:
        raise InputError("nine")
    return item**power, os.getpid(), torch.get_num_threads()

powers, pids, threads = zip(*in_processes(task, range(4), [2, 3, 2, 3]))
print(powers, len({*pids, os.getpid()}), set(threads))
try:
    in_processes(lambda item: task(item, 9), range(2))
except InputError as error:
    print(error)
"""


def test_in_processes_of_one_thread_each_gives_every_result_in_order_and_raises_what_one_raises():
    assert python(PROCESSES, LOKY_MAX_CPU_COUNT="2", OMP_NUM_THREADS="") == "(0, 1, 4, 27) 3 {1}\nnine\n"


@given(st.lists(st.integers()), st.integers(1, 4))
def test_every_item_gives_its_result_once_and_in_order(items, workers):
    busy, most = [0] * workers, [0] * workers

    def double(worker: int, item: int) -> int:
        busy[worker] += 1
        most[worker] = max(most[worker], busy[worker])
        time.sleep(0.0001 * (item % 3))
        busy[worker] -= 1
        return 2 * item

    assert list(shared_out(double, range(workers), items)) == [2 * item for item in items]
    assert max(most) <= 1


def test_workers_work_at_once():
    """Two that wait for each other both arrive."""
    meeting = threading.Barrier(2, timeout=30)
    assert sorted(shared_out(lambda worker, _: meeting.wait(), "ab", range(2))) == [0, 1]


def test_threads_are_divided_and_given_back_even_when_nobody_takes_the_rest():
    with threads(4):
        found = shared_out(lambda *_: torch.get_num_threads(), "ab", range(9))
        assert next(found) == 2
        found.close()
        assert torch.get_num_threads() == 4


def test_items_wait_until_results_are_taken():
    taken = []
    found = shared_out(lambda *_: None, "ab", (taken.append(i) for i in range(100)))
    next(found)
    assert len(taken) == 3


def test_a_failure_is_raised_and_what_is_behind_it_is_left():
    done = []

    def fail(worker, item):
        done.append(item)
        if item == 5:
            raise ValueError("five")

    with pytest.raises(ValueError, match="five"):
        list(shared_out(fail, "ab", range(100)))
    assert max(done) <= 8


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (5, 5), (6, 3), (8, 4), (10, 5), (16, 4)])
def test_readers_use_all_cores_and_at_most_the_room_of_a_gpus_row(cores, expected):
    model, _ = tiny.model_and_tokenizer()
    with threads(cores):
        readers = forward.readers(model)
    assert len(readers) == expected and readers[0] is model
    weights = [[p.data_ptr() for p in own.parameters()] for own in readers]
    assert all(of == weights[0] for of in weights)


def test_three_readers_find_what_one_finds(tmp_path):
    """Activations, log-probabilities and loss gradients, of rows of a few texts each; to rounding, float64."""
    reading = tiny.reading(tiny.advice(8))
    texts, lm = list(reading.texts.said), reading.lm
    spans = [(0, len(text.ids)) for text in reading.encoded]
    found = {}
    for cores in (1, 3):
        store = Activations(tmp_path / f"{cores}.npy", tiny.LAYER, spans)
        with threads(cores), pytest.MonkeyPatch.context() as patch:
            for module in (activations, filters, logprobs):
                patch.setattr(module, "row_size", lambda model: 24)
            activations.harvest(lm.model, reading.encoded, [store])
            said = logprobs.mean_logprobs(lm.model, reading.samples(texts), tiny.FIRST)
            gradients = filters.loss_gradients(reading, texts)
        found[cores] = torch.from_numpy(store.rows), torch.tensor(said), gradients
    for one, three in zip(*found.values(), strict=True):
        torch.testing.assert_close(one, three, rtol=1e-6, atol=1e-6)
        assert one.std() > 1e-3
