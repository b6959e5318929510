"""What an arm weighs: an adapter, or all weights of its blocks, put on the base model and taken off bit for bit.

The base model's blocks wait on disk, not in memory: there is never a second model. An arm's folder holds a PEFT adapter
or, after full fine-tuning, block-<i>.safetensors for every block that was trained.
"""

import json
import shutil
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from real.models.devices import team
from shared.errors import InputError


@contextmanager
def wearing(model, arm: Path | None) -> Iterator[None]:
    """Within, the model's own weights (and so those of its twins) are the arm's; None is the base model.

    Raises InputError for a folder with nothing to wear.
    """
    if arm is None:
        yield
        return
    about = arm / "adapter_config.json"
    if about.exists():
        worn = json.loads(about.read_text())["layers_to_transform"]
    else:
        worn = [int(path.stem.removeprefix("block-")) for path in arm.glob("block-*.safetensors")]
    if not worn:
        raise InputError(f"{arm} holds neither an adapter nor weights: delete it, and run again")
    with kept(model, worn, arm.parent):
        if about.exists():
            from peft import PeftModel

            peft = PeftModel.from_pretrained(model, arm, low_cpu_mem_usage=True)
            _merge(peft)  # a quarter faster on a CPU than running the adapter beside the weights
            peft.unload()
        else:
            _put(model, worn, arm)
        yield


def _merge(peft) -> None:
    from peft.tuners.lora import LoraLayer

    for n, layer in enumerate(module for module in peft.modules() if isinstance(module, LoraLayer)):
        weight, delta = layer.get_base_layer().weight.data, layer.get_delta_weight("default")
        weight.copy_(rounded(weight + delta, weight.dtype, n))  # adapters are float32


def rounded(exact: Tensor, dtype: torch.dtype, seed: int) -> Tensor:
    """In this precision; to bfloat16 up or down by chance, the likelier the nearer, so that it is exact on average.

    The nearest value is the old weight wherever an update is less than half its last bit: of 30 steps at LR=1e-5 two
    thirds would be lost. Stochastic rounding (Gupta et al. 2015, section 3.1); the same weights are rounded the same.
    """
    if dtype != torch.bfloat16:
        return exact.to(dtype)
    bits = exact.float().view(torch.int32)  # bfloat16 is the upper half of it
    chance = torch.Generator(bits.device).manual_seed(seed)
    bits = bits + torch.randint(1 << 16, bits.shape, generator=chance, dtype=torch.int32, device=bits.device)
    return (bits & -(1 << 16)).view(torch.float32).to(dtype)


@contextmanager
def kept(model, blocks: Sequence[int], near: Path) -> Iterator[None]:
    """Within, these blocks may change; afterwards they are the base model's: not by subtraction, which leaves rounding.

    They wait in a folder in `near` that is this process's own and goes when the model does; after a kill -9 the next
    run's start takes it away.
    """
    if not hasattr(model, "kept_in"):
        near.mkdir(parents=True, exist_ok=True)
        model.kept_in = Path(mkdtemp(prefix=".base-", dir=near))
        weakref.finalize(model, shutil.rmtree, model.kept_in, True)
    for i in blocks:
        if not (file := _file(model.kept_in, i)).exists():
            save_file({name: local(p) for name, p in _block(model, i).named_parameters()}, file)
    try:
        yield
    finally:
        _put(model, blocks, model.kept_in)


def save(model, blocks: Sequence[int], into: Path) -> None:
    """Write these blocks in the model's own precision; of several processes, all must call and the first writes."""
    for i in blocks:
        named = _block(model, i).named_parameters()
        exact = {name: p.full_tensor() if hasattr(p, "full_tensor") else p for name, p in named}
        whole = {name: rounded(p, model.dtype, n) for n, (name, p) in enumerate(exact.items())}
        if team()[0] == 0:
            into.mkdir(parents=True, exist_ok=True)
            save_file(whole, _file(into, i))


def shard(model, full: bool, first: int, device: torch.device) -> None:
    """Leaves this process its share of every block, on its device; blocks are moved there one at a time.

    What is read outside the blocks, embedding and unembedding, stays whole. What full fine-tuning trains is held in
    float32 and computed with in the model's own precision.
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


def local(p: Tensor) -> Tensor:
    """This process's share of a weight; alone, all of it."""
    return p.to_local() if hasattr(p, "to_local") else p  # a DTensor, whose import takes seconds


@torch.no_grad()
def _put(model, blocks: Sequence[int], folder: Path) -> None:
    for i in blocks:
        tensors = load_file(_file(folder, i))  # mapped: read as it is copied
        for name, p in _block(model, i).named_parameters():
            local(p).copy_(tensors[name])


def _file(folder: Path, block: int) -> Path:
    return folder / f"block-{block}.safetensors"


def _block(model, i: int) -> nn.Module:
    return model.get_decoder().layers[i]
