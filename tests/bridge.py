"""TransformerLens's hooks on a model of ours: an oracle of what is read and changed where."""

import copy

from torch import nn
from transformer_lens.model_bridge import TransformerBridge

from real.data.packing import Packed
from real.models.forward import entering, twin
from real.models.registry import ModelSpec


def hooked(model: nn.Module, tokenizer, spec: ModelSpec) -> TransformerBridge:
    """On the very same weights. The bridge rewires the modules that it is given, so it gets a twin."""
    own = copy.deepcopy(tokenizer)  # the bridge is given tokens, never text, but it changes its tokenizer,
    own.init_kwargs["add_bos_token"] = True  # and would fetch one again to have this set
    return TransformerBridge.boot_transformers(
        spec.hub, hf_model=twin(model), tokenizer=own, device=str(model.device), dtype=model.dtype
    )


def run(bridge: TransformerBridge, packed: Packed, hooks: list):
    """Logits of a packed row, read under these hooks."""
    given = entering(bridge.original_model, packed)
    return bridge.run_with_hooks(given.pop("input_ids"), **given, fwd_hooks=hooks)
