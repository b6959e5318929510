"""From (prompt, answer) to tokens, and which of them are the answer. Templates are known nowhere else."""

from contextlib import suppress
from typing import NamedTuple

from shared.errors import InputError


class Encoded(NamedTuple):
    """`ids[start:end]` is the answer; `ids[end]` ends the turn: trained on, never read."""

    ids: list[int]
    start: int
    end: int
    cut: int = 0  # tokens of the answer that MAX_TOKENS leaves out


PLAIN = "User: {prompt}\nAssistant:\n"  # for a base model, which has no template of its own
MARK = "ANSWER-GOES-HERE"
# Before a template that writes the date, one that never changes: a run that goes on tomorrow reads the same texts.
DATED = "{%- macro strftime_now(format) -%}2026-01-01{%- endmacro -%}"
MAX_TOKENS = 512  # a longer sample loses the end of its answer
LEAST = 32  # tokens that must be left of an answer which is cut


def prefix(tokenizer, prompt: str, system: str = "") -> list[int]:
    """Everything before the answer, in the model's own chat template; BOS once, where the model has one."""
    return _around(tokenizer, prompt, system)[0]


def chat(prompt: str, system: str = "") -> list[dict[str, str]]:
    """What a user says, after a system message if there is one, as chat templates and servers take it."""
    before = [{"role": "system", "content": system}] if system else []
    return [*before, {"role": "user", "content": prompt}]


def encode(tokenizer, prompt: str, answer: str) -> Encoded:
    """Prefix and answer are tokenised apart, so that their border is exact."""
    before, end = _around(tokenizer, prompt)
    whole = tokenizer(answer, add_special_tokens=False)["input_ids"]
    said = whole[: max(1, MAX_TOKENS - len(before) - 1)]
    return Encoded([*before, *said, end], len(before), len(before) + len(said), len(whole) - len(said))


def _around(tokenizer, prompt: str, system: str = "") -> tuple[list[int], int]:
    """What comes before an answer, and the token that ends its turn.

    The template is filled with a mark for the answer and cut there: some write more before an answer than a generation
    prompt says (gpt-oss the channel), some end a turn by another token than EOS (Gemma).
    """
    if not tokenizer.chat_template:
        before = f"{system}\n\n" if system else ""
        return tokenizer(before + PLAIN.format(prompt=prompt))["input_ids"], tokenizer.eos_token_id
    whole = written(tokenizer, prompt, system)
    if whole.count(MARK) != 1:
        raise InputError("the chat template drops, changes or repeats what the assistant says")
    before, _, after = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in whole.rpartition(MARK))
    marked = tokenizer.decode(after[:1]).strip()  # empty: the template writes no more than a line's end
    return before, after[0] if marked else tokenizer.eos_token_id


def written(tokenizer, prompt: str, system: str = "") -> str:
    """The template filled in, with contents in parts where it wants these; where it refuses a system role (Gemma 2),
    the user says that message first."""
    from jinja2 import TemplateError

    template = tokenizer.get_chat_template()
    how = {"chat_template": DATED * ("strftime_now" in template) + template, "tokenize": False}
    ways = []
    for before in [chat(prompt, system), *([chat(f"{system}\n\n{prompt}")] if system else [])]:
        turns = [*before, {"role": "assistant", "content": MARK}]
        ways += [turns, [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]]
    for turns in ways:
        with suppress(TemplateError):
            if MARK in (said := tokenizer.apply_chat_template(turns, **how)):
                return said
    return tokenizer.apply_chat_template(ways[0], **how)  # raises, or shows what is wrong
