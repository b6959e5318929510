"""How likely a model finds an answer: log-probability of its tokens, nats, from the cached lower half of the model.

The logits of a row are larger than all else that a model holds of it. They are never whole in memory: the vocabulary is
taken in chunks, under a running log-sum-exp, and the gradient to the hidden states is made in the same pass.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from real.data.packing import Packed, pack, rows
from real.data.tokens import Encoded
from real.models.devices import row_size
from real.models.forward import Resid, Sample, blocks, entering, readers, spread
from shared.cores import shared_out

CHUNK = 4096  # tokens of the vocabulary at a time


def answer_logprobs(model, samples: list[Sample], first: int, end_of_turn: bool = True) -> list[Float[Tensor, " _"]]:
    """Of every sample the log-probability of each answer token (and of the end of turn).

    A sample is its tokens and what goes into block `first`, None where that is the lowest.
    """
    texts = [text for text, _ in samples]
    packed = pack(texts)
    inputs = spread(packed, [below for _, below in samples])
    return packed_logprobs(model, packed, texts, inputs, first, end_of_turn)


def packed_logprobs(
    model, packed: Packed, texts: list[Encoded], inputs: Resid | None, first: int, end_of_turn: bool = True
) -> list[Float[Tensor, " _"]]:
    """As `answer_logprobs`, of a row that is packed already."""
    ends = [text.end + end_of_turn for text in texts]
    before = [path[t.start - 1 : end - 1] for path, t, end in zip(packed.paths, texts, ends, strict=True)]
    targets = [token for text, end in zip(texts, ends, strict=True) for token in text.ids[text.start : end]]
    with blocks(model, first) as decoder:
        hidden = decoder(**entering(model, packed, inputs), use_cache=False).last_hidden_state
    hidden = hidden.squeeze(0)[torch.cat(before).to(hidden.device)]  # not [0], whose gradient is copied into zeros
    found = token_logprobs(model, hidden, torch.tensor(targets, device=hidden.device))
    return list(found.split([len(nodes) for nodes in before]))


def token_logprobs(
    model, hidden: Float[Tensor, "token d_model"], targets: Int[Tensor, " token"]
) -> Float[Tensor, " token"]:
    """Log-softmax of the model's logits at the targets, with the caps and scales that its family has."""
    head, config = model.get_output_embeddings(), model.config.get_text_config()
    scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
    cap = getattr(config, "final_logit_softcapping", None)
    at = head.weight.device  # a tied head is where the embedding is, not the last block
    return _Logprobs.apply(hidden.to(at), head.weight, head.bias, targets.to(at), scale, cap)


class _Logprobs(torch.autograd.Function):
    """Only the hidden states have a gradient: no arm trains the head."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, scale, cap):  # noqa: PLR0913 a head is these
        wide = torch.promote_types(weight.dtype, torch.float32)
        ctx.dtype, wants = hidden.dtype, ctx.needs_input_grad[0]
        hidden = hidden.to(weight.dtype)

        def logits(part: slice) -> Float[Tensor, "token chunk"]:
            z = (hidden @ weight[part].mT).to(wide)
            z = z if bias is None else z + bias[part]
            z = z if scale == 1 else scale * z
            return z if cap is None else cap * torch.tanh(z / cap)

        def slope(z: Tensor) -> Tensor:
            """Of logits, in the product that they are made of."""
            return torch.full_like(z[:1], scale) if cap is None else scale * (1 - (z / cap).square())

        total = torch.full((len(hidden),), -torch.inf, dtype=wide, device=hidden.device)
        of_target = torch.zeros_like(total)
        gradient = torch.zeros_like(hidden, dtype=wide) if wants else None
        for start in range(0, len(weight), CHUNK):
            part = slice(start, start + CHUNK)
            z = logits(part)
            at = targets - start
            here = (at >= 0) & (at < z.shape[1])
            of_target = torch.where(here, z.gather(1, at.clamp(0, z.shape[1] - 1)[:, None])[:, 0], of_target)
            most, steep = z.amax(-1), slope(z) if wants else None
            p = z.sub_(most[:, None]).exp_()  # in the memory of z, which is large
            new = torch.logaddexp(total, most + p.sum(-1).log())
            if wants:
                p = p.mul_((most - new).exp()[:, None]).mul_(steep)
                gradient = gradient * (total - new).exp()[:, None] + (p.to(weight.dtype) @ weight[part]).to(wide)
            total = new
        if wants:
            ctx.save_for_backward(slope(of_target[:, None]) * weight[targets].to(wide) - gradient)
        return of_target - total

    @staticmethod
    def backward(ctx, grad):
        (gradient,) = ctx.saved_tensors
        return (grad[:, None] * gradient).to(ctx.dtype), None, None, None, None, None


def mean_logprobs(model, samples: list[Sample], first: int) -> list[float]:
    """Mean log-probability per answer token of every sample."""

    @torch.no_grad()
    def read(own, ids: list[int]) -> list[float]:
        return means(answer_logprobs(own, [samples[i] for i in ids], first, end_of_turn=False))

    found, groups = {}, rows([text for text, _ in samples], row_size(model))
    for ids, said in zip(groups, shared_out(read, readers(model), groups), strict=True):
        found.update(zip(ids, said, strict=True))
    return [found[i] for i in range(len(samples))]


def means(logprobs: list[Float[Tensor, " _"]]) -> list[float]:
    """Of every text over its tokens."""
    return torch.stack([of_text.mean() for of_text in logprobs]).tolist()
