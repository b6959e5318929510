"""One of the processes of a fine-tune, started by launch.py as `python -m real join PLAN KEY=value`.

Each holds a share of every block's weights, by torch's fully_shard over the devices that accelerate gives it (GPUs, or
CPU processes over gloo). Embedding and unembedding, which are read outside the blocks, stay whole in each.
"""

import os
import sys
import threading
import time

import torch

from real.arms.finetune import tune
from real.arms.recipe import Recipe
from real.arms.training import Order, train
from real.arms.weights import local
from real.features.reading import Reading
from real.models import loading


def work(reading: Reading, recipe: Recipe) -> None:
    """Trains what stands in orders.jsonl, together with the others."""
    from accelerate import PartialState

    threading.Thread(target=_follow, args=[int(os.environ["SPILLOVER_MAIN"])], daemon=True).start()
    lm = reading.lm
    state = PartialState(cpu=lm.plan.device == "cpu")  # joins the others
    with lm.memory():
        model, tokenizer = loading.load(lm.spec)
        lm.loaded = shard(model, bool(recipe.full), lm.spec.first, state.device), tokenizer
        held, all_ = (sum(f(p).numel() for p in model.parameters()) for f in (local, lambda p: p))
        print(f"process {state.process_index} holds {held} of {all_} weights", file=sys.stderr, flush=True)
        for line in (reading.folder / "orders.jsonl").read_text(encoding="utf-8").splitlines():
            order = Order.model_validate_json(line)
            if state.process_index == 0:  # the first writes
                tune(reading, order, recipe)
            else:
                folder = reading.folder / "adapters" / order.folder
                train(lm, recipe, order, reading.samples(order.samples), folder)


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
