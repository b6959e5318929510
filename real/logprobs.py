"""How likely a model finds an answer: log-probability of its tokens, nats, from the cached lower half of the model."""

from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

from real.devices import row_size
from real.models import blocks, entering, spread
from real.run import Sample
from real.tokens import Encoded, Packed, pack, rows


def answer_logprobs(
    model, samples: list[Sample], first: int, end_of_turn: bool = True
) -> list[Float[Tensor, " _"]]:
    """Of every sample the log-probability of each answer token (and of the end of turn).

    A sample is its tokens and what goes into block `first`, None where that is the lowest.
    """
    texts = [text for text, _ in samples]
    packed = pack(texts)
    inputs = spread(packed, [below for _, below in samples])
    return packed_logprobs(model, packed, texts, inputs, first, end_of_turn)


def packed_logprobs(  # noqa: PLR0913 a packed row, where it enters the model, and how far an answer goes
    model,
    packed: Packed,
    texts: list[Encoded],
    inputs: Float[Tensor, "node d_model"] | None,
    first: int,
    end_of_turn: bool = True,
) -> list[Float[Tensor, " _"]]:
    """As `answer_logprobs`, of a row that is packed already; logits are made at the answers only."""
    ends = [text.end + end_of_turn for text in texts]
    before = [path[t.start - 1 : end - 1] for path, t, end in zip(packed.paths, texts, ends, strict=True)]
    targets = [token for text, end in zip(texts, ends, strict=True) for token in text.ids[text.start : end]]
    nodes = torch.cat(before).to(model.device)
    with blocks(model, first):  # the model's own head: some families cap or scale their logits
        logits = model(**entering(model, packed, inputs), use_cache=False, logits_to_keep=nodes).logits[0]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    targets = torch.tensor(targets, device=logits.device)
    found = -torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return list(found.split([len(nodes) for nodes in before]))


@torch.no_grad()
def mean_logprobs(model, samples: list[Sample], first: int, within=lambda ids: nullcontext()) -> list[float]:
    """Mean log-probability per answer token of every sample; samples `ids` share a pass, run inside `within(ids)`."""
    means = [0.0] * len(samples)
    for ids in rows([text for text, _ in samples], row_size(model.device)):
        with within(ids):
            said = answer_logprobs(model, [samples[i] for i in ids], first, end_of_turn=False)
        for i, mean in zip(ids, torch.stack([logprobs.mean() for logprobs in said]).tolist(), strict=True):
            means[i] = mean
    return means
