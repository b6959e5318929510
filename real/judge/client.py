"""One call to a judge over HTTP, any OpenAI-compatible server. Its key, OPENAI_API_KEY, is in no file or message."""

import asyncio
import random
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from real.judge import forms
from real.judge.replies import AGAIN, ALL, PRICES, ROW, Fault, Replies, api_key, fault, paid, read
from real.judge.rubric import Judging
from shared.errors import InputError
from shared.records import digest

OPENAI = "https://api.openai.com/v1"
TRIES, FIRST_TRIES = 8, 4  # of one call; of the first, where a mistyped address should not take a minute
PATIENT_TRIES = 10  # who asks for patience (429) gets it: four minutes in which nobody is answered
QUEUE = 600.0  # seconds that a call may wait in the queue of a server of one's own
LONGEST = 60  # seconds between two tries, whatever the server asks for


class JudgeError(InputError):
    """Why no score can be had. What was received is on disk; a run goes on without the rest."""


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

    def address(self, path: str) -> str:
        """Of what is at `path` below /v1, of any one of the servers; a query stays last."""
        at = urlsplit(random.choice(self.url.split(",")) or OPENAI)
        return at._replace(path=at.path.rstrip("/").removesuffix("/chat/completions") + path).geturl()


def judges(judging: Judging) -> list[Judge]:
    """In the order of JUDGE: the first one's scores are reported, a second one's agreement with it."""
    patience = QUEUE if judging.judge_url else Judge.timeout
    models = dict.fromkeys(model.strip() for model in judging.judge.split(","))
    return [Judge(model, judging.judge_url, max_usd=judging.max_usd, timeout=patience) for model in models if model]


async def ask(judge: Judge, client: Any, body: dict, replies: Replies, probing: bool = False) -> dict:
    """A reply, {"text", "top", "usd"}, after as many tries as it takes; `replies` shows whether others are answered.

    Raises Fault of this request alone, JudgeError when no other would fare better.
    """
    failed, before = 0, len(replies)
    while True:
        try:
            return await _try(judge, client, body)
        except Fault as error:
            found = error
        if found.of == ROW:
            raise found
        limited, others, before = found.status == 429, len(replies) > before, len(replies)
        failed = min(failed, PATIENT_TRIES // 2) + 1 if limited and others else failed + 1
        tries = PATIENT_TRIES if limited else FIRST_TRIES if probing or not replies else TRIES
        if found.of == ALL or failed >= tries:
            break
        pause = judge.pause * 2 ** (failed - 1) * random.uniform(1, 1.5)
        await asyncio.sleep(min(LONGEST, max(found.wait, pause)))
    if limited or probing:
        times = "" if found.of == ALL else f" failed {failed} times"
        lost = found.status in (200, 404, 405) and judge.url and not re.search(r"/v[0-9]", judge.url)
        hint = " (most addresses end in /v1: JUDGE_URL=.../v1)" if lost else ""
        raise JudgeError(f"{judge.where}{times}: {found}{hint}")
    harmless = [{"role": "user", "content": forms.PROBE}]  # is it this request? If this one fails too: JudgeError
    with suppress(Fault):  # to refuse the form of this request is an answer
        await ask(judge, client, {**body, "messages": harmless}, replies, probing=True)
    raise Fault(ROW, str(found))


async def _try(judge: Judge, client: Any, body: dict) -> dict:
    import openai

    try:
        where = judge.address("/chat/completions")  # another try may be another server's
        async with asyncio.timeout(judge.timeout):  # the client's own begins anew with every byte
            said = await client.post(where, cast_to=object, body={"model": judge.model, **body})
        text, top, used, cut = read(said)
        return {"text": text, "top": top, "cut": cut, "usd": paid(judge.model, body, used)}
    except openai.APIStatusError as error:
        wait = error.response.headers.get("retry-after", "")
        raise fault(error.status_code, error.body, float(wait) if wait.isdecimal() else 0.0) from None
    except (TimeoutError, openai.APIConnectionError):
        raise Fault(AGAIN, f"it cannot be reached, breaks off or takes more than {judge.timeout:g} s") from None
    except (ValueError, RecursionError, openai.OpenAIError):
        raise Fault(AGAIN, "its replies are broken", 200) from None


def connect(judge: Judge) -> Any:
    """To be opened with `async with`. Raises JudgeError where not even a first call can be made."""
    import openai

    if not all(re.fullmatch(r"(https?://[^\s@]+)?", url) for url in judge.url.split(",")):
        raise JudgeError("the judge's address must be http://... or https://..., without a password")
    if not api_key() and not judge.url:
        raise JudgeError(f"OPENAI_API_KEY is not set: {judge.where} needs it (a server of your own: JUDGE_URL)")
    if not re.fullmatch(r"[!-~]*", api_key()):
        raise JudgeError("OPENAI_API_KEY holds a character that no key has")
    if judge.max_usd and judge.model not in PRICES:
        raise JudgeError(f"MAX_USD={judge.max_usd:g} cannot be kept: no price of {judge.model} in replies.py")
    try:
        judge.where.encode()
        return openai.AsyncOpenAI(
            api_key=api_key() or "none",
            base_url=judge.address(""),
            timeout=judge.timeout,
            max_retries=0,  # broken replies are to be repeated too: see `ask`
            http_client=openai.DefaultAioHttpClient(),  # half the time per call of the default one
        )
    except Exception as error:  # of four libraries: an address, a name or a proxy that cannot be
        raise JudgeError(f"{ascii(judge.where)[1:-1]} cannot be asked: {ascii(str(error))[1:-1]}") from None


async def echo(judge: Judge, ids: list[int]) -> list[float] | None:
    """Log-probability of every token but the first, nats, by a server whose completions echo a prompt, as vLLM's do."""
    import openai

    body = {"model": judge.model, "prompt": ids, "max_tokens": 1, "echo": True, "logprobs": 1, "temperature": 0}
    with suppress(openai.OpenAIError, ValueError, KeyError, IndexError, TypeError):
        async with connect(judge) as client:
            said = await client.post(judge.address("/completions"), cast_to=object, body=body)
        found = said["choices"][0]["logprobs"]["token_logprobs"][: len(ids)]
        return [float(p) for p in found[1:]] if len(found) == len(ids) else None
