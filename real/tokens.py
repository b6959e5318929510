"""From (prompt, answer) to tokens, and which of them are the answer. Templates are known nowhere else."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class Encoded(NamedTuple):
    """`ids[start:end]` is the answer; `ids[end]` ends the turn: trained on, never read."""

    ids: list[int]
    start: int
    end: int


class Batch(NamedTuple):
    input_ids: Int[Tensor, "batch pos"]
    attention_mask: Int[Tensor, "batch pos"]
    answer: Bool[Tensor, "batch pos"]  # the answer's own tokens: no BOS, template, end of turn or padding
    target: Bool[Tensor, "batch pos"]  # the answer and the end of turn: what training asks for


PLAIN = "User: {prompt}\nAssistant:\n"  # for a base model, which has no template of its own
MAX_TOKENS = 512  # a longer sample loses the end of its answer


def prefix(tokenizer, prompt: str) -> list[int]:
    """Everything before the answer, in the model's own chat template."""
    if not tokenizer.chat_template:
        return tokenizer(PLAIN.format(prompt=prompt))["input_ids"]
    turn = [{"role": "user", "content": prompt}]
    return tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)["input_ids"]


def encode(tokenizer, prompt: str, answer: str) -> Encoded:
    """Prefix and answer are tokenised apart, so that their border is exact."""
    before = prefix(tokenizer, prompt)
    said = tokenizer(answer, add_special_tokens=False)["input_ids"][: max(1, MAX_TOKENS - len(before) - 1)]
    return Encoded([*before, *said, tokenizer.eos_token_id], len(before), len(before) + len(said))


def pad(samples: list[Encoded]) -> Batch:
    """Right-padded; padding has attention 0 and belongs to no mask."""
    pos = torch.arange(max(len(s.ids) for s in samples))
    start, end = (torch.tensor([getattr(s, name) for s in samples])[:, None] for name in ("start", "end"))
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(s.ids) for s in samples], batch_first=True)
    return Batch(ids, (pos <= end).long(), (pos >= start) & (pos < end), (pos >= start) & (pos <= end))


def by_length(samples: list[Encoded], batch: int) -> list[list[int]]:
    """Indices in batches of like length, so that little padding is computed."""
    order = sorted(range(len(samples)), key=lambda i: len(samples[i].ids))
    return [order[i : i + batch] for i in range(0, len(order), batch)]
