"""How likely a model finds an answer: log-probability of its tokens, nats, from the cached lower half of the model."""

import torch
from jaxtyping import Float
from torch import Tensor

from real.data.packing import Packed, pack, rows
from real.data.tokens import Encoded
from real.models.devices import row_size
from real.models.forward import Sample, blocks, entering, readers, spread
from shared.cores import shared_out


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
        said = model(**entering(model, packed, inputs), use_cache=False, logits_to_keep=nodes)
    logits = said.logits.squeeze(0)  # not [0], whose gradient is copied into zeros
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    targets = torch.tensor(targets, device=logits.device)
    found = -torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return list(found.split([len(nodes) for nodes in before]))


def mean_logprobs(model, samples: list[Sample], first: int) -> list[float]:
    """Mean log-probability per answer token of every sample."""

    @torch.no_grad()
    def read(own, ids: list[int]) -> list[float]:
        return means(answer_logprobs(own, [samples[i] for i in ids], first, end_of_turn=False))

    found, groups = {}, rows([text for text, _ in samples], row_size(model.device))
    for ids, said in zip(groups, shared_out(read, readers(model), groups), strict=True):
        found.update(zip(ids, said, strict=True))
    return [found[i] for i in range(len(samples))]


def means(logprobs: list[Float[Tensor, " _"]]) -> list[float]:
    """Of every text over its tokens."""
    return torch.stack([of_text.mean() for of_text in logprobs]).tolist()
