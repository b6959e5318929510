"""Memory of step "features", pooled feature activations and their correlation with a label, as the samples grow.

Each size runs in a process of its own, on the first samples of one file that is laid out as `harvest` leaves it.
Counted is anonymous memory (RssAnon, so Linux only), looked at every 2 ms, above what it was before the first sample.
Not ru_maxrss: the file is memory-mapped, and its pages in memory, which the kernel takes back at need, count there.
"""

import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

from real.features import dictionaries as saes
from real.features.activations import Activations, pooled
from shared.selection import point_biserial

SAMPLES = (500, 5_000, 50_000)
D_MODEL, D_SAE = 576, 2304
LENGTHS = np.random.default_rng(0).integers(1, 6, SAMPLES[-1], endpoint=True).tolist()  # answer tokens


def write(folder: Path) -> None:
    """Random activations and a random SAE."""
    torch.manual_seed(0)
    JumpReLUSAE(JumpReLUSAEConfig(d_in=D_MODEL, d_sae=D_SAE)).save_model(folder / "sae")
    shape, rng = (sum(LENGTHS), D_MODEL), np.random.default_rng(0)
    rows = np.lib.format.open_memmap(folder / "answers.npy", mode="w+", dtype=np.float32, shape=shape)
    for at in range(0, len(rows), 10_000):
        rows[at : at + 10_000] = rng.standard_normal(rows[at : at + 10_000].shape, dtype=np.float32)


def growth(folder: Path, samples: int) -> float:
    """MB at the peak."""
    sae = saes.load(folder / "sae")
    activations = Activations(folder / "answers.npy", 0, [(0, length) for length in LENGTHS[:samples]])
    labels = torch.arange(samples) % 2 == 0
    batches = zip(pooled(sae, activations, list(range(samples))), labels.split(64), strict=True)
    before, seen, done = anonymous(), [], threading.Event()

    def watch():
        while not done.wait(0.002):
            seen.append(anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    point_biserial(batches)
    done.set()
    watcher.join()
    return max(seen) - before


def anonymous() -> float:
    """MB."""
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) / 1024


def main() -> None:
    with TemporaryDirectory() as name:
        write(Path(name))
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
            peaks = list(fresh.map(partial(growth, Path(name)), SAMPLES))
    for samples, peak in zip(SAMPLES, peaks, strict=True):
        held = samples * D_SAE * 4 / 2**20
        print(f"features of {samples:6} samples: {peak:5.1f} MB more (their activations alone: {held:.0f} MB)")
    print(f"{SAMPLES[-1] // SAMPLES[0]} times the samples, {peaks[-1] / peaks[0]:.2f} times the memory")


if __name__ == "__main__":
    main()
