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


class Packed(NamedTuple):
    """Several texts in one row, every beginning that they share computed once: a trie of tokens.

    A node sees itself and its ancestors, so what a model computes at `paths[i]` is what it computes on text i alone.
    """

    input_ids: Int[Tensor, "1 node"]
    position_ids: Int[Tensor, "1 node"]  # depth in the trie
    attention_mask: Bool[Tensor, "1 1 node node"]  # [.., i, j]: node i sees node j
    paths: list[Int[Tensor, " pos"]]  # of every text, the nodes of its tokens


PLAIN = "User: {prompt}\nAssistant:\n"  # for a base model, which has no template of its own
MAX_TOKENS = 512  # a longer sample loses the end of its answer
ROW = 384  # nodes: attention costs their square, a shared template once per row


def prefix(tokenizer, prompt: str, system: str = "") -> list[int]:
    """Everything before the answer, in the model's own chat template; `system` is what stands before the prompt."""
    if not tokenizer.chat_template:
        before = f"{system}\n\n" if system else ""
        return tokenizer(before + PLAIN.format(prompt=prompt))["input_ids"]
    turns = chat(prompt, system)
    return tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]


def chat(prompt: str, system: str = "") -> list[dict[str, str]]:
    """What a user says, after a system message if there is one, as chat templates and servers take it."""
    said = {"system": system, "user": prompt}
    return [{"role": role, "content": content} for role, content in said.items() if content or role == "user"]


def encode(tokenizer, prompt: str, answer: str) -> Encoded:
    """Prefix and answer are tokenised apart, so that their border is exact."""
    before = prefix(tokenizer, prompt)
    said = tokenizer(answer, add_special_tokens=False)["input_ids"][: max(1, MAX_TOKENS - len(before) - 1)]
    return Encoded([*before, *said, tokenizer.eos_token_id], len(before), len(before) + len(said))


def pack(texts: list[Encoded]) -> Packed:
    """Shared templates, shared prompts and shared openings of answers become shared nodes; there is no padding."""
    nodes, parents, depths, paths = {}, [], [], []
    for text in texts:
        path = [-1]
        for depth, token in enumerate(text.ids):
            node = nodes.setdefault((path[-1], token), len(nodes))
            if node == len(parents):
                parents.append(path[-1])
                depths.append(depth)
            path.append(node)
        paths.append(torch.tensor(path[1:]))
    sees = torch.eye(len(nodes), dtype=torch.bool)
    for node, parent in enumerate(parents):
        if parent >= 0:
            sees[node] |= sees[parent]
    ids = torch.tensor([token for _, token in nodes])
    return Packed(ids[None], torch.tensor(depths)[None], sees[None, None], paths)


def rows(texts: list[Encoded], most: int = ROW) -> list[list[int]]:
    """Indices of texts to pack together: neighbours in dictionary order, about `most` nodes to a row."""
    groups, size, last = [], most, []
    for i in sorted(range(len(texts)), key=lambda i: texts[i].ids):
        ids = texts[i].ids
        new = len(ids) - _shared(last, ids)
        if size + new > most:
            groups.append([])
            size, new = 0, len(ids)
        groups[-1].append(i)
        size, last = size + new, ids
    return groups


def _shared(one: list[int], other: list[int]) -> int:
    """Length of the common beginning."""
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
