"""Several processes that fine-tune one arm together, under torch's elastic launcher.

Each holds a share of every block's weights, by torch's fully_shard over the devices that accelerate gives it (GPUs, or
CPU processes over gloo). Embedding and unembedding, which are read outside the blocks, stay whole in each.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from real.arms.jobs import Lost, machine
from shared.errors import InputError


def together(processes: int, nodes: int, folder: Path, work: Callable[..., None], *given: Any) -> None:
    """`work(*given)` by as many processes, on this machine or shared out over several, where the same is called.

    Several machines meet at MASTER_ADDR:MASTER_PORT, a port of the first's. What processes print as errors goes to
    `folder`. Raises the InputError of one of them, or Lost when one has died: either ends the others.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    meet = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "localhost"}
    if nodes > 1:
        where = "{MASTER_ADDR}:{MASTER_PORT}".format_map(os.environ)
        meet = {"rdzv_backend": "static", "rdzv_endpoint": where, "rdzv_configs": {"rank": machine()}}
    logs = DefaultLogsSpecs(log_dir=str(folder), redirects=Std.ERR)
    meet |= {"run_id": folder.name, "max_restarts": 0, "signals_to_handle": ""}  # Ctrl-C stays Python's
    how = LaunchConfig(nodes, nodes, processes // nodes, logs, **meet)  # so many machines, no fewer and no more
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what it says, we say in one line
    try:
        elastic_launch(how, work)(*given)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        told = failure.message if isinstance(failure.message, str) else failure.message["message"]
        if told.startswith("InputError: "):
            raise InputError(told.removeprefix("InputError: ")) from None
        which = f"process {rank} ended with code {failure.exitcode}, see {folder}"
        raise Lost(f"fine-tune: {which}; finished arms are kept: the same command goes on from there") from None


def shard(model, full: bool, first: int, device: torch.device):
    """Leaves this process its share of every block, on its device; blocks are moved there one at a time.

    What full fine-tuning trains is held in float32 and computed with in the model's own precision.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    decoder, policy = model.get_decoder(), MixedPrecisionPolicy(param_dtype=model.dtype)
    for i, layer in enumerate(decoder.layers):
        if full and i >= first:
            layer.to(torch.promote_types(model.dtype, torch.float32))
        fully_shard(layer, mp_policy=policy)
    outside = set(model.parameters()) - {p for layer in decoder.layers for p in layer.parameters()}
    fully_shard(decoder, ignored_params=outside)
    for tensor in [*outside, *model.buffers()]:
        tensor.data = tensor.data.to(device)
    return model
