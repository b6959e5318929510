"""A forward pass over packed rows, from any block to any block.

Layer convention, decided here: layer `L` is what `blocks.L.hook_resid_post` carries, the output of block L, which is
Hugging Face's `hidden_states[L + 1]` (but for the last block, whose HF state has been through the final norm).
"""

import copy
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from real.data.packing import ROW, ROW_GPU, Packed
from real.data.tokens import Encoded

FULL, SLIDING = "full_attention", "sliding_attention"  # kinds of layers, as transformers names them
Resid = Float[Tensor, "node d_model"]  # the residual stream of a packed row, between two blocks


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
    model: nn.Module, packed: Packed, layers: Sequence[int], inputs: Resid | None = None
) -> dict[int, Resid]:
    """Layer -> the residual stream after that block, float32 at least; no later block is run.

    Read by torch hooks on the model itself, with its fast attention: what TransformerLens has at `hook_name(layer)`.
    `inputs` go into block `first` of the enclosing `blocks`.
    """
    decoder, caught = model.get_decoder(), {}
    layer_of = {decoder.layers[layer]: layer for layer in layers}

    def hook(block, args, out):
        resid = (out[0] if isinstance(out, tuple) else out)[0]
        caught[layer_of[block]] = resid.to(torch.promote_types(resid.dtype, torch.float32))

    with ExitStack() as stack:
        for block in layer_of:
            stack.enter_context(block.register_forward_hook(hook))
        stack.enter_context(blocks(model, last=max(layers)))
        decoder(**entering(model, packed, inputs), use_cache=False)
    return caught


def below(model: nn.Module, packed: Packed, first: int) -> Resid | None:
    """What goes into block `first` at every node; None, the tokens themselves, where that is the lowest."""
    return resid_post(model, packed, [first - 1])[first - 1] if first else None


def spread(packed: Packed, values: Sequence[Float[Tensor, "_ d_model"] | None]) -> Resid | None:
    """Every text's vectors at its own nodes; what texts share, they share in value too. None stays None."""
    if values[0] is None:
        return None
    nodes = values[0].new_empty(packed.input_ids.shape[1], values[0].shape[1])
    for path, value in zip(packed.paths, values, strict=True):
        nodes[path] = value
    return nodes


def entering(model: nn.Module, packed: Packed, inputs: Resid | None = None) -> dict[str, Tensor | dict[str, Tensor]]:
    """What a forward pass over a packed row is given: tokens, where each stands, and whom it sees.

    `inputs` go straight into the lowest block that the enclosing `blocks` runs, past whatever a family does to its
    embeddings before the first (Granite scales them). A sliding-window layer sees ancestors less than its window back.
    """
    if inputs is not None:
        skipped = [block for block in model.get_decoder().layers if isinstance(block, _Skipped)]
        skipped[-1].instead = inputs[None].to(model.device, model.dtype)
    depth, sees = packed.position_ids[0], packed.attention_mask

    def form(mask: Tensor) -> Tensor:
        """As the model's attention takes it: True where it may look, or, eager, what is added to the scores."""
        if model.config._attn_implementation == "eager":
            mask = torch.where(mask, 0.0, torch.finfo(model.dtype).min).to(model.dtype)
        return mask.to(model.device)

    kinds, window = getattr(model.config, "layer_types", None), getattr(model.config, "sliding_window", None)
    masks = form(sees)
    if window and (not kinds or SLIDING in kinds):
        near = form(sees & (depth[:, None] - depth[None, :] < window))
        masks = {FULL: masks, SLIDING: near} if kinds else near  # with one kind of layers there is one mask
    tokens, places = packed.input_ids.to(model.device), packed.position_ids.to(model.device)
    return {"input_ids": tokens, "attention_mask": masks, "position_ids": places}


def norm(model: nn.Module) -> nn.Module | None:
    """What the residual stream goes through after the last block."""
    decoder = model.get_decoder()
    return getattr(decoder, "norm", None) or getattr(decoder, "final_layernorm", None)


class _Skipped(nn.Module):
    """In the place of a block that is not run; the last of them gives what goes into the next."""

    instead: Tensor | None = None

    def forward(self, hidden_states, *args, **kwargs):
        return hidden_states if self.instead is None else self.instead


@contextmanager
def blocks(model: nn.Module, first: int = 0, last: int | None = None):
    """Within, the decoder runs blocks `first` to `last` only: `entering` says what goes into `first`."""
    decoder = model.get_decoder()
    layers = decoder.layers
    kept = list(layers[: None if last is None else last + 1])
    decoder.layers = nn.ModuleList([_Skipped() for _ in kept[:first]] + kept[first:])
    try:
        yield decoder
    finally:
        decoder.layers = layers


class Without(NamedTuple):
    """A span along which no gradient flows back through a block's output."""

    layer: int
    P: Float[Tensor, "d_model d_model"]  # the orthogonal projection onto it


@contextmanager
def stopping(model, without: Without | None):
    """Within, the gradient of the block's output reaches what is below it without its component in the span.

    That component is what (E1) says moves the span's readouts, in a small step of SGD.
    """

    def project(block, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        gradient, P = gradients[0], without.P.to(gradients[0].device)
        return gradient - (gradient.to(P.dtype) @ P).to(gradient.dtype), *gradients[1:]

    block = without and model.get_decoder().layers[without.layer]
    with block.register_full_backward_pre_hook(project) if block else nullcontext():
        yield


# a text and what goes into the first adapted block; None, its tokens, where every block is adapted
Sample = tuple[Encoded, Float[Tensor, "_ d_model"] | None]
