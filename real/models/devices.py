"""Where a run computes. What the weights alone do not leave room for is refused, with a setting that would fit."""

import ctypes
import gc
from contextlib import suppress
from typing import NamedTuple

import psutil
import torch
from torch import nn

from real.data.packing import ROW, ROW_BF16, ROW_GPU
from real.data.tokens import MAX_TOKENS
from real.models.registry import ModelSpec
from shared.cores import cores
from shared.errors import InputError

USABLE = 0.9  # of the free memory: allocators leave gaps
PASS = 2e9  # bytes that a process of its own takes beside the weights and half as much again, as SmolLM2's do
TOKENS = 2048  # of a training pass where none is tried: on a CPU, and by several processes


class Plan(NamedTuple):
    device: str  # "cuda" or "cpu"
    processes: int  # that fine-tune together
    micro: int  # samples per pass and process, at most (a GPU tries how many); an optimiser step has BATCH
    checkpointing: bool  # keep each block's input only, and compute the block again in the backward pass
    spread: bool = False  # read by several GPUs, as one does not hold the model


def choose(spec: ModelSpec, batch: int, full: bool, gpus: int, nodes: int = 1) -> Plan:
    """The plan for this machine as it is now, and `nodes` like it. `gpus` 0: one GPU where there is one, else the CPU.

    Raises InputError when there are fewer GPUs than asked for, or the weights do not fit.
    """
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus > here:
        raise InputError(f"GPUS={gpus}, but this machine has {here}; GPUS={here} would use what there is")
    if here:
        free = float(min(torch.cuda.mem_get_info(device)[0] for device in range(max(1, gpus))))
        return plan(spec, batch, full, "cuda", nodes * max(1, gpus), free)
    return plan(spec, batch, full, "cpu", nodes, float(psutil.virtual_memory().available))


def plan(spec: ModelSpec, batch: int, full: bool, device: str, processes: int, free: float) -> Plan:
    """For a machine whose devices have `free` bytes each. Raises InputError, with a setting that would fit."""

    def share(full: bool, processes: int) -> float:
        """Of each process, and of the free memory: what it holds of the weights and of what trains them."""
        return held(spec, full) / processes / (USABLE * free)

    gpu, need = device == "cuda", share(full, processes)
    if need > 1:
        found = ["FULL=0"] * (full and share(False, processes) <= 1)
        found += [f"GPUS={n}" for n in (2, 4, 8) if gpu and n > processes and share(full, n) <= 1][:1]
        raise InputError(
            f"the weights need about {need * free / 1e9:.1f} GB of each {'GPU' if gpu else 'CPU'}, and "
            f"{free / 1e9:.1f} GB are free: {' or '.join(found) + ' would fit' if found else 'take a smaller MODEL'}"
        )
    own = -(-batch // processes)
    micro = own if gpu and processes == 1 else min(own, TOKENS // MAX_TOKENS)
    return Plan(device, processes, micro, need > 0.5, share(False, 1) > 1)


def held(spec: ModelSpec, full: bool) -> int:
    """Bytes of the weights, and with `full` of what trains the adapted blocks: a weight, a gradient and AdamW's two
    moments in float32. Adapters, and what a pass keeps, are not in it."""
    each, shape = 2 if spec.dtype == "bfloat16" else 4, spec.shape
    trained = shape.block * (shape.layers - spec.first) if full else 0
    return each * shape.parameters + (16 - each) * trained


def side_by_side(spec: ModelSpec, full: bool) -> int:
    """Processes that can each train an arm on this CPU, as its memory is now: a core to each, at most. 1 with a GPU."""
    if torch.cuda.is_available():
        return 1
    each = 1.5 * held(spec, full) + PASS
    return max(1, min(cores(), int(USABLE * psutil.virtual_memory().available / each)))


def row_size(model: nn.Module) -> int:
    """Nodes to a packed row that is only read: a GPU's matrix products want more of them."""
    if model.device.type != "cpu":
        return ROW_GPU
    return ROW_BF16 if model.dtype == torch.bfloat16 else ROW


def keep_memory() -> None:
    """glibc keeps what tensors free for the next ones, which else are mapped and zeroed anew: a tenth of a reading."""
    with suppress(AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: bytes that come from the heap, at its most
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: bytes that the heap keeps


def give_back_memory() -> None:
    """What nothing holds, of the CPU's and of the GPU's."""
    gc.collect()
    torch.cuda.empty_cache()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def team() -> tuple[int, int]:
    """(rank, size): this process, and how many train together; (0, 1) alone."""
    dist = torch.distributed
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
