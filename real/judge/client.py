"""One call to a judge over HTTP: any OpenAI-compatible server, asked politely, as often as it takes.

What a server may answer, and what follows from it, is the table of `replies.py`. The key is read from OPENAI_API_KEY,
and is in no file and no message that leaves this module.
"""

import asyncio
import os
import random
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from real.judge import forms
from real.judge.replies import AGAIN, ALL, ROW, Fault, NoProbabilitiesError, counted, fault, read, usd
from real.judge.rubric import Judging
from shared.errors import InputError
from shared.records import digest

OPENAI = "https://api.openai.com/v1"
TRIES, FIRST_TRIES = 8, 4  # of one call; of the first, where a mistyped address should not take a minute
TOO_MANY, PATIENT_TRIES = 429, 10  # who asks for patience gets it: four minutes in which nobody is answered
QUEUE = 600.0  # seconds that a call may wait in the queue of a server of one's own
LONGEST = 60  # seconds between two tries, whatever the server asks for


class JudgeError(InputError):
    """Why no score can be had: one line. What was received is on disk; a run goes on without the rest."""


@dataclass(frozen=True)
class Judge:
    model: str
    url: str = ""  # of an OpenAI-compatible server, up to /v1, or of several, comma between; empty: OpenAI's
    concurrency: int = 64  # calls in flight
    max_usd: float = 0.0  # cap on what all replies in the cache have cost; 0: none
    timeout: float = 60.0  # seconds, of one call
    pause: float = 0.5  # seconds before the first repeat of a failed call; twice as long before each next

    @property
    def where(self) -> str:
        return f"{self.model} at {self.url.partition('?')[0] or OPENAI}"

    def key(self, *parts) -> str:
        """Under which a reply is kept. A local server answers to any name, so the address is part of it."""
        return digest(self.url.rstrip("/"), self.model, *parts)


def judges(judging: Judging) -> list[Judge]:
    """In the order of JUDGE: the first one's scores are reported, a second one's agreement with it."""
    patience = QUEUE if judging.judge_url else Judge.timeout
    models = dict.fromkeys(model.strip() for model in judging.judge.split(","))
    return [Judge(model, judging.judge_url, max_usd=judging.max_usd, timeout=patience) for model in models if model]


@dataclass
class Line:
    """To a judge, by its client while that is open."""

    judge: Judge
    client: Any
    known: bool = False  # it has answered before, so that a failure is worth more tries
    answered: int = 0  # calls

    async def ask(self, body: dict, probing: bool = False) -> dict:
        """A whole reply, {"text", "top", "usd"}, after as many tries as it takes; fewer on first contact.

        Raises Fault of this request alone, JudgeError when no other would fare better, and, unless it is `probing`,
        NoProbabilitiesError.
        """
        tries = TRIES if (self.known or self.answered) and not probing else FIRST_TRIES
        failed, before = 0, self.answered
        while True:
            try:
                reply = await _try(self.client, self.judge, body, probing)
                self.answered += 1
                return reply
            except Fault as error:
                if error.of == ROW:
                    raise
                limited, others, before = error.status == TOO_MANY, self.answered > before, self.answered
                failed = min(failed, PATIENT_TRIES // 2) + 1 if limited and others else failed + 1
                if error.of == ALL or failed >= (PATIENT_TRIES if limited else tries):
                    if limited or probing:
                        times = "" if error.of == ALL else f" failed {failed} times"
                        raise JudgeError(f"{self.judge.where}{times}: {error}") from None
                    if error.of == ALL or not others:  # is it this request? If a harmless one fails too: JudgeError
                        harmless = [{"role": "user", "content": forms.PROBE}]
                        with suppress(Fault):  # to refuse the form of this request is an answer
                            await self.ask({**body, "messages": harmless}, probing=True)
                    raise Fault(ROW, str(error)) from None
                pause = self.judge.pause * 2 ** (failed - 1) * random.uniform(1, 1.5)
                await asyncio.sleep(min(LONGEST, max(error.wait, pause)))


async def _try(client: Any, judge: Judge, body: dict, probing: bool) -> dict:
    import openai

    try:
        async with asyncio.timeout(judge.timeout):
            where = random.choice(bases(judge.url)) + "/chat/completions"  # another try is another server's
            said = await client.post(where, cast_to=object, body={"model": judge.model, **body})
        text, top, used = read(said, probabilities="logprobs" in body and not probing)
        top = {_clean(token): p for token, p in top.items()}
        return {"text": _clean(text), "top": top, "usd": usd(judge.model, *counted(body, used)) or 0}
    except NoProbabilitiesError:
        raise
    except Fault as error:
        found = error
    except openai.APIStatusError as error:
        asked = re.fullmatch(r"[0-9]{1,6}(\.[0-9]*)?", error.response.headers.get("retry-after") or "")
        found = fault(error.status_code, error.body, float(asked[0]) if asked else 0.0)
    except (TimeoutError, openai.APIConnectionError):
        found = Fault(AGAIN, f"it cannot be reached, breaks off or takes more than {judge.timeout:g} s")
    except (ValueError, RecursionError, openai.OpenAIError):
        found = Fault(AGAIN, "its replies are broken", 200)
    lost = found.status in (200, 404, 405) and judge.url and not re.search(r"/v[0-9]", judge.url)
    hint = " (most addresses end in /v1: JUDGE_URL=.../v1)" if lost else ""
    raise Fault(found.of, _clean(str(found))[:240] + hint, found.status, found.wait)


def connect(judge: Judge) -> Any:
    """To be opened with `async with`. Raises JudgeError where not even a first call can be made."""
    import openai

    key = _key()
    if not all(re.fullmatch(r"(https?://[^\s@]+)?", url) for url in judge.url.split(",")):
        raise JudgeError("the judge's address must be http://... or https://..., without a password")
    if not key and not judge.url:
        raise JudgeError(f"OPENAI_API_KEY is not set: {judge.where} needs it (a server of your own: JUDGE_URL)")
    if not re.fullmatch(r"[!-~]*", key):
        raise JudgeError("OPENAI_API_KEY holds a character that no key has")
    if judge.max_usd and usd(judge.model, 0, 0) is None:
        raise JudgeError(f"MAX_USD={judge.max_usd:g} cannot be kept: no price of {judge.model} in replies.py")
    try:
        judge.where.encode()
        parts = urlsplit(judge.url or OPENAI)
        return openai.AsyncOpenAI(
            api_key=key or "none",
            base_url=bases(judge.url)[0],
            default_query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            timeout=judge.timeout,
            max_retries=0,  # broken replies are to be repeated too: see Line.ask
            http_client=openai.DefaultAioHttpClient(),  # half the time per call of the default one
        )
    except Exception as error:  # of four libraries: an address, a name or a proxy that cannot be
        raise JudgeError(f"{ascii(judge.where)[1:-1]} cannot be asked: {ascii(str(error))[1:-1]}") from None


def bases(urls: str) -> list[str]:
    """The address of each server, up to /v1."""
    parts = [urlsplit(url or OPENAI) for url in urls.split(",")]
    paths = [part.path.rstrip("/").removesuffix("/chat/completions") for part in parts]
    return [p._replace(path=path, query="", fragment="").geturl() for p, path in zip(parts, paths, strict=True)]


def echo(judge: Judge, base: str, ids: list[int]) -> list[float | None] | None:
    """Log-probability that a server gives every token but the first after those before it, nats; None if it says none.

    By the completions of vLLM and of OpenAI's older models, which echo a prompt of tokens.
    """
    import openai

    body = {"model": judge.model, "prompt": ids, "max_tokens": 1, "echo": True, "logprobs": 1, "temperature": 0}

    async def ask() -> Any:
        async with connect(judge) as client:
            return await client.post(base + "/completions", cast_to=object, body=body)

    with suppress(openai.OpenAIError, ValueError, KeyError, IndexError, TypeError):
        said = asyncio.run(ask())["choices"][0]["logprobs"]["token_logprobs"][: len(ids)]
        return [float(p) for p in said[1:]] if len(said) == len(ids) else None


def _key() -> str:
    return os.environ.get("OPENAI_API_KEY", "").strip()


def _clean(text: str) -> str:
    """Without the key, should a server echo it."""
    return text.replace(_key(), "[key]") if len(_key()) > 7 else text
