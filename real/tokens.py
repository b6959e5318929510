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
MARK = "ANSWER-GOES-HERE"
# Before a template that writes the date, one that never changes: a run that goes on tomorrow reads the same texts.
DATED = "{%- macro strftime_now(format) -%}2026-01-01{%- endmacro -%}"
MAX_TOKENS = 512  # a longer sample loses the end of its answer
ROW = 384  # nodes: attention costs their square, a shared template once per row


def prefix(tokenizer, prompt: str, system: str = "") -> list[int]:
    """Everything before the answer, in the model's own chat template; BOS once, where the model has one."""
    return _around(tokenizer, prompt, system)[0]


def chat(prompt: str, system: str = "") -> list[dict[str, str]]:
    """What a user says, after a system message if there is one, as chat templates and servers take it."""
    said = {"system": system, "user": prompt}
    return [{"role": role, "content": content} for role, content in said.items() if content or role == "user"]


def encode(tokenizer, prompt: str, answer: str) -> Encoded:
    """Prefix and answer are tokenised apart, so that their border is exact."""
    before, end = _around(tokenizer, prompt)
    said = tokenizer(answer, add_special_tokens=False)["input_ids"][: max(1, MAX_TOKENS - len(before) - 1)]
    return Encoded([*before, *said, end], len(before), len(before) + len(said))


def _around(tokenizer, prompt: str, system: str = "") -> tuple[list[int], int]:
    """What comes before an answer, and the token that ends its turn.

    The template is filled with a mark for the answer and cut there: some write more before an answer than a generation
    prompt says (gpt-oss the channel), some end a turn by another token than EOS (Gemma).
    """
    if not tokenizer.chat_template:
        before = f"{system}\n\n" if system else ""
        return tokenizer(before + PLAIN.format(prompt=prompt))["input_ids"], tokenizer.eos_token_id
    before, _, after = (
        tokenizer(part, add_special_tokens=False)["input_ids"]
        for part in _written(tokenizer, prompt, system).rpartition(MARK)
    )
    marked = tokenizer.decode(after[:1]).strip()  # empty: the template writes no more than a line's end
    return before, after[0] if marked else tokenizer.eos_token_id


def _written(tokenizer, prompt: str, system: str) -> str:
    """The template filled in; where it refuses a system role (Gemma 2), the user says that message first."""
    from jinja2 import TemplateError

    template = tokenizer.get_chat_template()
    template = DATED * ("strftime_now" in template) + template

    def fill(turns: list[dict]) -> str:
        turns = [*turns, {"role": "assistant", "content": MARK}]
        return tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False)

    try:
        return fill(chat(prompt, system))
    except TemplateError:
        if not system:
            raise
        return fill(chat(f"{system}\n\n{prompt}"))


def pack(texts: list[Encoded]) -> Packed:
    """Shared templates, shared prompts and shared openings of answers become shared nodes; there is no padding."""
    nodes, depths, paths = {}, [], []
    for text in texts:
        path = [-1]
        for depth, token in enumerate(text.ids):
            node = nodes.setdefault((path[-1], token), len(nodes))
            if node == len(depths):
                depths.append(depth)
            path.append(node)
        paths.append(torch.tensor(path[1:]))
    sees = torch.zeros(len(nodes), len(nodes), dtype=torch.bool)
    for path in paths:  # no text gives a node another ancestor: the last to write is right
        sees[path[:, None], path] = torch.ones(len(path), len(path), dtype=torch.bool).tril()
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
