"""Where a run computes: the plan that follows from the free memory, by the formulas of real/models/costs.py.

The plan is printed when the model is loaded. What does not fit is refused, with a setting that would.
"""

from typing import NamedTuple

import torch

from real.data.packing import ROW
from real.models.costs import ROW_GPU, Shape, Work, reading, training
from shared.errors import InputError

USABLE = 0.9  # of the free memory: allocators leave gaps


class Plan(NamedTuple):
    device: str  # "cuda" or "cpu"
    processes: int  # that fine-tune together
    micro: int  # samples per pass and process; an optimiser step has BATCH whatever this is
    checkpointing: bool  # keep each block's input only, and compute the block again in the backward pass
    training: float  # bytes of each process at the peak
    reading: float  # bytes at the peak of harvest and evaluation, all devices together
    budget: float  # bytes that each device has

    @property
    def map(self) -> str:
        """Where the whole model goes to be read: one device, or several ("auto" is accelerate's word)."""
        return self.device if self.reading <= USABLE * self.budget else "auto"

    def __str__(self) -> str:
        where = "CPU" if self.device == "cpu" else f"{self.processes} GPU{'s' * (self.processes > 1)}"
        again = "with" if self.checkpointing else "no"
        peak, has = max(self.training, self.reading / self.processes) / 1e9, self.budget / 1e9
        return (
            f"{where}, {self.micro} samples per pass, {again} gradient checkpointing: "
            f"at most about {peak:.1f} of {has:.1f} GB{' each' * (self.processes > 1)}"
        )


def plan(shape: Shape, work: Work, device: str, processes: int, budget: float) -> Plan:
    """The largest pass that fits, without checkpointing if any does. Raises InputError, with a setting that would."""
    share = -(-work.batch // processes)
    sizes = sorted({-(-share // 2**n) for n in range(share.bit_length() + 1)}, reverse=True)
    for checkpointing in (False, True):
        for micro in sizes:
            peak = _peak(shape, work, processes, micro, checkpointing)
            if peak <= USABLE * budget:
                train = training(shape, work, processes, micro, checkpointing)
                whole = reading(shape, work, processes)
                return Plan(device, processes, micro, checkpointing, train, whole, budget)
    need = _peak(shape, work, processes, 1, True) / USABLE
    where = (
        "on the CPU" if device == "cpu" else f"on each of {processes} GPUs" if processes > 1 else "on one GPU"
    )
    raise InputError(
        f"this needs about {need / 1e9:.1f} GB {where}, and {budget / 1e9:.1f} GB are free: "
        f"{remedy(shape, work, device, processes, budget)}"
    )


def remedy(shape: Shape, work: Work, device: str, processes: int, budget: float) -> str:
    """Settings, each of which would bring the peak within the budget, by the same formulas."""

    def fits(work: Work, processes: int) -> bool:
        return _peak(shape, work, processes, 1, True) <= USABLE * budget

    more = [n for n in (2, 4, 8) if n > processes and device == "cuda" and fits(work, n)]
    found = [f"GPUS={n}" for n in more[:1]]
    found += ["FULL=0"] * (work.full and fits(work._replace(full=False), processes))
    found += ["RANK=4"] * (work.rank > 4 and fits(work._replace(rank=4), processes))
    return f"{' or '.join(found)} would fit" if found else "take a smaller MODEL"


def choose(shape: Shape, work: Work, gpus: int) -> Plan:
    """The plan for this machine as it is now. `gpus` 0: one GPU where there is one, else the CPU.

    Raises InputError when there are fewer GPUs than asked for, or nothing fits.
    """
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus > here:
        raise InputError(f"GPUS={gpus}, but this machine has {here}; GPUS={here} would use what there is")
    if not here:
        import psutil

        return plan(shape, work, "cpu", 1, float(psutil.virtual_memory().available))
    processes = max(1, gpus)
    free = float(min(torch.cuda.mem_get_info(device)[0] for device in range(processes)))
    return plan(shape, work, "cuda", processes, free)


def less(plan: Plan, batch: int) -> str:
    """What to say when memory ran out all the same: a setting which takes less."""
    smaller = max(1, min(batch, plan.micro * plan.processes) // 2)
    setting = f"BATCH={smaller}" if smaller < batch else f"GPUS={2 * plan.processes} or a smaller MODEL"
    return (
        f"out of memory, though the plan was for {plan.budget / 1e9:.1f} GB (is something else running?): "
        f"{setting} takes less; what is finished is kept"
    )


def row_size(device: torch.device) -> int:
    """Nodes to a packed row that is only read: a GPU's matrix products want more of them."""
    return ROW if device.type == "cpu" else ROW_GPU


def team() -> tuple[int, int]:
    """(rank, size): this process, and how many train together; (0, 1) alone."""
    dist = torch.distributed
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def _peak(shape: Shape, work: Work, processes: int, micro: int, checkpointing: bool) -> float:
    """Bytes that each device must have."""
    train = training(shape, work, processes, micro, checkpointing)
    return max(train, reading(shape, work, processes) / processes)
