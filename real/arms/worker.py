"""`python -m real.arms.worker PLAN KEY=value ...`: one of the processes of a fine-tune, started by real/arms/launch.py.

Each holds a share of every block's weights, by torch's fully_shard over the devices that accelerate gives it (GPUs, or
CPU processes over gloo). Embedding and unembedding, which are read outside the blocks, stay whole in each.
"""

import json
import os
import sys
import threading
import time

import torch

from real.arms import filters, finetune
from real.arms.weights import local
from real.models import devices
from real.models import loading as models
from real.run import Run
from real.settings import parse
from shared.errors import InputError


def main(words: list[str]) -> int:
    from accelerate import PartialState

    threading.Thread(target=_follow, args=[int(os.environ["SPILLOVER_MAIN"])], daemon=True).start()
    plan = devices.Plan(*json.loads(words[0]))
    state = PartialState(cpu=plan.device == "cpu")  # joins the others
    try:
        run = Run(parse(words[1:]))
        run.plan = plan
        with devices.memory(run):
            model, tokenizer = models.load(run.spec)
            run._loaded = shard(model, run.settings.full, run.spec.first, state.device), tokenizer
            held, whole = (sum(f(p).numel() for p in model.parameters()) for f in (local, lambda p: p))
            print(
                f"process {state.process_index} holds {held} of {whole} weights", file=sys.stderr, flush=True
            )
            finetune.finetune(run, filters.recorded(run))
    except InputError as error:  # the launcher reads it
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


def shard(model, full: bool, first: int, device: torch.device):
    """Leaves this process its share of every block, on its device; blocks are moved there one at a time.

    What full fine-tuning trains is held in float32 and computed with in the model's own precision.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    decoder, size = model.get_decoder(), torch.distributed.get_world_size()
    mesh = torch.distributed.init_device_mesh(device.type, (size,))
    policy = MixedPrecisionPolicy(param_dtype=model.dtype)
    for i, layer in enumerate(decoder.layers):
        if full and i >= first:
            layer.to(torch.promote_types(model.dtype, torch.float32))
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    blocks = {p for layer in decoder.layers for p in layer.parameters()}
    outside = {p for p in model.parameters() if p not in blocks}
    fully_shard(decoder, mesh=mesh, ignored_params=outside)
    for tensor in [*outside, *model.buffers()]:
        tensor.data = tensor.data.to(device)
    return model


def _follow(main: int) -> None:
    """Ends with the process that asked for this one, even where that was killed."""
    while True:
        try:
            os.kill(main, 0)
        except ProcessLookupError:
            os._exit(2)
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
