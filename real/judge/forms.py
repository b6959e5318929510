"""The ways a judge can be asked for a score: the published one, and what works where that one does not."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from real.judge import rubric
from real.judge.rubric import Score


class Form(NamedTuple):
    asks: dict  # what is sent beside the messages
    before: list[dict]  # turns before the prompt
    suffix: str  # to the prompt
    read: Callable[[dict], Score]  # of a reply {"text", "top"}


NOTHING = {"text": "", "top": {}}  # a reply of a judge that refuses the request
ONE_TOKEN = {"max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 20, "seed": 0}
ONE_DIGIT = [  # two turns that show what is wanted: a small model says a digit three times as often after them
    {"role": "user", "content": "Rate from 0 to 100 how warm fire is." + rubric.DIGIT},
    {"role": "assistant", "content": "9"},
    {"role": "user", "content": "Rate from 0 to 100 how warm ice is." + rubric.DIGIT},
    {"role": "assistant", "content": "0"},
]
FORMS = {
    "number": Form(ONE_TOKEN, [], "", lambda reply: rubric.weighted(reply["top"])),
    "digit": Form(ONE_TOKEN, ONE_DIGIT, rubric.DIGIT, lambda reply: rubric.digit(reply["top"])),
    "text": Form(
        {"max_tokens": 512, "temperature": 0, "seed": 0}, [], "", lambda r: rubric.parsed(r["text"])
    ),
    # reasoning models refuse max_tokens and any temperature
    "reasoning": Form({"max_completion_tokens": 4096}, [], "", lambda r: rubric.parsed(r["text"])),
}
TRIED = ("number", "text", "reasoning")  # on first contact, in this order
PROBE = "Which number follows 72? Answer with the number and nothing else."


def body(form: str, prompt: str) -> dict:
    """A chat request for one score, but for the model."""
    asks, before, suffix, _ = FORMS[form]
    return {**asks, "messages": [*before, {"role": "user", "content": prompt + suffix}]}


def settled(tried: str, reply: dict) -> str:
    """The form that a judge can answer in, from its reply to PROBE in the form `tried`; "" if that shows none.

    Where the alternatives of its one token hold a number of two digits or more the tokenizer keeps numbers whole; where
    they hold single digits only, it splits them.
    """
    if tried != "number":
        return tried if rubric.parsed(reply["text"]).value == 73 else ""
    numbers = [token.strip() for token in reply["top"] if rubric.weighted({token: 1.0}).value is not None]
    return ("number" if max(map(len, numbers)) > 1 else "digit") if numbers else ""


def read(said: Any, probabilities: bool) -> tuple[str, dict[str, float], dict]:
    """Text, alternatives of the first token with their probabilities, and token counts of a server's reply.

    Raises ValueError if it is not a whole reply, or lacks the `probabilities` that were asked for.
    """
    try:
        choice = said["choices"][0]
        text = choice["message"].get("content") or ""
        listed = (choice.get("logprobs") or {}).get("content")
        if not isinstance(text, str) or (listed is None and probabilities and not _withheld(choice)):
            raise ValueError("not what was asked for")
        top: dict[str, float] = {}
        for one in listed[0]["top_logprobs"] if listed else []:
            top[one["token"]] = top.get(one["token"], 0) + math.exp(one["logprob"])
        return text, top, said.get("usage") or {}
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("not a whole reply") from None


def _withheld(choice: dict) -> bool:
    """A moderated reply has no tokens at all: that is its answer, and it will not get better."""
    return choice.get("finish_reason") == "content_filter"
