"""What a server may answer, what that costs, and how it is kept: a line as soon as it is there.

An answer is a reply, of which `forms` makes a score or "unclear", or a `Fault`: of this request alone (its answer is
unclear, the others go on), of this moment (another try), or of every request (the end).
"""

import errno
import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shared.records import digest

# USD per million tokens sent and received: OpenAI's list of May 2026, as third-party pages give it
PRICES = {
    **dict.fromkeys(("gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20"), (2.5, 10)),
    **dict.fromkeys(("gpt-4o-mini", "gpt-4o-mini-2024-07-18"), (0.15, 0.6)),
    "gpt-4.1": (2, 8),
    "gpt-4.1-mini": (0.4, 1.6),
    "gpt-4.1-nano": (0.1, 0.4),
}
LONG = 4096  # tokens of a reply, where a server takes no limit

ROW, AGAIN, ALL = "this request", "this moment", "every request"  # whose fault an error is
BUSY = (408, 409, 425, 429)  # of this moment, with all that is not 4xx
SAYS = {  # of every request; of the others, 4xx are the request's own
    **dict.fromkeys((401, 403), "refuses the key in OPENAI_API_KEY"),
    402: "the account has no credit left",
    **dict.fromkeys((404, 405), "no such model or address"),
}


class Fault(Exception):
    """A call that brought no reply: whose fault it is, in one line why, and seconds that the server asks to wait."""

    def __init__(self, of: str, why: str, status: int = 0, wait: float = 0.0):
        super().__init__(why)
        self.of, self.status, self.wait = of, status, wait


def read(said: Any) -> tuple[str, dict[str, float] | None, dict, bool]:
    """Of a server's reply: text, alternatives of the first token with their probabilities (None without), token counts,
    and whether the text was cut off at the limit.

    Raises Fault of an error that came as a reply, else ValueError of what is no whole one.
    """
    try:
        choice = (said.get("choices") or [{}])[0]
        if error := said.get("error") or choice.get("error") or (not said.get("choices") and told(said)):
            code = str(error.get("code")) if isinstance(error, dict) else ""
            raise fault(int(code) if re.fullmatch("[45][0-9][0-9]", code) else 400, error)
        text, top = _text(choice["message"].get("content")), _alternatives(choice.get("logprobs"))
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("not a whole reply") from None
    if top is None and choice.get("finish_reason") == "content_filter":  # it has no tokens
        top = {}
    used = said.get("usage")
    return text, top, used if isinstance(used, dict) else {}, choice.get("finish_reason") == "length"


def fault(status: int, said: Any, wait: float = 0.0) -> Fault:
    """What an error means: its status, or the code of one that came as a reply, and the server's own words."""
    words = clean(" ".join(told(said).split()))[:240]
    broke = isinstance(said, dict) and "insufficient_quota" in (said.get("code"), said.get("type"))
    says = SAYS.get(402 if broke else status)
    of = ALL if says else ROW if 400 <= status < 500 and status not in BUSY else AGAIN
    what = f"{says} ({status})" if says else f"status {status}"
    return Fault(of, f"{what}: {words}" if words else what, status, wait)


def told(said: Any, deep: int = 5) -> str:
    """The words of an error's body, whatever its shape; of FastAPI's, after what they are about."""
    if isinstance(said, list) and deep:
        return "; ".join(filter(None, (told(part, deep - 1) for part in said)))
    if not isinstance(said, dict) or not deep:
        return said if isinstance(said, str) else ""
    words = (told(said.get(name), deep - 1) for name in ("message", "msg", "detail", "error"))
    about = ".".join(map(str, said["loc"])) + ": " if isinstance(said.get("loc"), list) else ""
    return about + next(filter(None, words), "")


def _text(content: Any) -> str:
    """Of a message: as it is, or its parts that are no thinking."""
    parts = content if isinstance(content, list) else [content or ""]
    texts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return clean("".join(part["text"] for part in texts if part.get("type") in ("text", "output_text")))


def _alternatives(logprobs: Any) -> dict[str, float] | None:
    """Of the first token, with their probabilities; none of no token, None where they are not what was asked for."""
    top: dict[str, float] = defaultdict(float)
    try:
        if logprobs["content"] == []:
            return {}
        for each in logprobs["content"][0]["top_logprobs"]:
            p = math.exp(min(each["logprob"], 0.0))
            top[clean(each["token"])] += p if p == p else 0.0
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    return dict(top) or None


def api_key() -> str:
    return os.environ.get("OPENAI_API_KEY", "").strip()


def clean(text: str) -> str:
    """Without the key, which a server may echo, and lone surrogates, which no file or terminal can hold."""
    text = text.encode("utf-8", "replace").decode()
    return text.replace(api_key(), "[key]") if len(api_key()) > 7 else text


class Replies(dict[str, dict]):
    """Key -> reply, of the file at `path`, read once. A line that is torn or changed is passed over and asked again."""

    def __init__(self, path: Path):
        self.path, self._held = path, path.with_name(f".{path.name}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        for line in lines:
            with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                reply = json.loads(line)
                check, key = reply.pop("check"), reply.pop("key")
                if check == digest(key, reply):
                    self[key] = reply
        if lines[-1]:  # torn
            self._write(path, "ab", b"\n")

    @property
    def usd(self) -> float:
        return math.fsum(reply.get("usd", 0) for reply in self.values())

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Within, so many bytes are held for replies under way: should the disk be full, `add` writes there."""
        try:
            self._write(self._held, "wb", bytes(size))
            yield
        finally:
            self._held.unlink(missing_ok=True)

    def add(self, key: str, reply: dict) -> None:
        """One line in one write to the end. A full disk is an OSError that names the file, the reply kept in `room`."""
        line = json.dumps({"key": key, **reply, "check": digest(key, reply)}).encode() + b"\n"
        try:
            self._write(self.path, "ab", line)
        except OSError:
            self._held.unlink(missing_ok=True)
            self._write(self.path, "ab", b"\n" + line)  # after what the disk took of it
            raise
        self[key] = reply

    def _write(self, path: Path, mode: str, data: bytes) -> None:
        try:
            with path.open(mode, buffering=0) as file:
                if file.write(data) != len(data):  # the disk took a part of it
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from None


def tokens(body: dict) -> tuple[float, int]:
    """How many tokens a request sends and may get back, at most: English has four bytes a token, here it is three, and
    a template writes some around every message."""
    text = sum(len(message["content"].encode()) for message in body["messages"])
    return text / 3 + 20 * len(body["messages"]), body.get("max_tokens") or body.get("max_completion_tokens", LONG)


def usd(model: str, sent: float | int, received: float | int) -> float:
    """Of that many tokens; 0 where the model's price is not known."""
    prices = PRICES.get(model, (0, 0))
    return (prices[0] * sent + prices[1] * received) / 1e6


def paid(model: str, body: dict, used: dict) -> float:
    """USD, by the tokens that the server counts; where it does not, those sent as they are counted here."""
    counts = (used.get("prompt_tokens"), tokens(body)[0]), (used.get("completion_tokens"), 0)
    return usd(model, *(said if type(said) is int and said > 0 else ours for said, ours in counts))


def estimate(model: str, bodies: list[dict], concurrency: int, seconds: float) -> str:
    """One line: calls, tokens, USD and, with the time that one call takes (0: not known), the time of all."""
    sent, received = (sum(counts) for counts in zip(*map(tokens, bodies), strict=True))
    price = f"{usd(model, sent, received):.2f} USD" if model in PRICES else f"price of {model} unknown"
    time = f", about {math.ceil(len(bodies) / concurrency) * seconds:.0f} s" if seconds else ""
    return f"{len(bodies)} calls, at most about {sent:,.0f} tokens sent and {received:,.0f} received, {price}{time}"
