"""The judge over HTTP: any OpenAI-compatible server, asked politely, paid once.

Every reply is in a file as soon as it is there (`replies.py`), under a digest of server, model and all that was sent:
nothing received is asked for again, after a kill -9 neither. Calls that were in flight at the kill are.
The key is read from OPENAI_API_KEY and is in no file and no message that leaves this module.
"""

import asyncio
import math
import os
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from real.judge import forms, prices, rubric
from real.judge.replies import Replies
from real.judge.rubric import Score
from shared.errors import InputError
from shared.records import digest

OPENAI = "https://api.openai.com/v1"
TRIES, FIRST_TRIES = 8, 4  # of one call; of the first, where a mistyped address should not take a minute
QUEUE = 600.0  # seconds that a call may wait in the queue of a server of one's own
LONGEST = 60  # seconds between two tries, whatever the server asks for


class JudgeError(InputError):
    """Why no score can be had: one line. What was received is on disk; a run goes on without the rest."""


class BudgetError(JudgeError):
    """The cap is reached: one line. A rerun with a higher one goes on where this stopped."""


class _Refused(Exception):
    """This request (400): what the server says of it, in one line."""


class _Again(Exception):
    """A call that failed and may not, the next time; the server may ask for a wait (a Retry-After header)."""

    def __init__(self, why: str, wait: str | None = None):
        super().__init__(why)
        self.wait = float(wait) if re.fullmatch(r"[0-9.]{1,6}", wait or "") else 0.0


@dataclass(frozen=True)
class Judge:
    model: str
    url: str = ""  # of an OpenAI-compatible server, up to /v1; empty: OpenAI's
    concurrency: int = 64  # calls in flight
    max_usd: float = 0.0  # cap on what all replies in the cache have cost; 0: none
    timeout: float = 60.0  # seconds, of one call
    pause: float = 0.5  # seconds before the first repeat of a failed call; twice as long before each next

    @property
    def where(self) -> str:
        return f"{self.model} at {self.url or OPENAI}"

    def key(self, *parts) -> str:
        """Under which a reply is kept. A local server answers to any name, so the address is part of it."""
        return digest(self.url.rstrip("/"), self.model, *parts)


def scores(
    judge: Judge, rubrics: list[tuple[str, str, str]], cache: Path, desc: str = "judge"
) -> list[Score]:
    """One score for each (template, question, answer), in their order; `rubric.Score` says what it holds.

    On first contact the form that the judge can answer in is found and kept in `cache`. An estimate of tokens, cost and
    time is printed, then a progress bar shown. The same triple twice is asked once. Ask for all arms in one call: if no
    reply at all holds a number, JudgeError. What the server refuses to judge (400) is an "unclear" score, not cached.

    Raises JudgeError (one line; InputError) when judging is impossible: no key, key refused, unknown model, unreachable
    server, a judge that never gives a number; BudgetError at the cap. What was received stays in `cache` (JSON lines,
    made with its folder). Not to be called where an event loop runs.
    """
    if not rubrics:
        return []
    replies = Replies(cache)
    first = _contact(judge, replies)
    bodies = [forms.body(first["form"], rubric.fill(*texts)) for texts in rubrics]
    said = _answers(judge, bodies, replies, desc, first["seconds"])
    found = [forms.FORMS[first["form"]].read(reply) for reply in said]
    if all(score.value is None for score in found):
        why = _quoted(said) or "it said nothing"
        raise JudgeError(f"{judge.where} gave no number for any of {len(found)} answers; {why}")
    return found


def complete(
    judge: Judge,
    chats: list[list[dict]],
    cache: Path,
    temperature: float = 1.0,
    max_tokens: int = 300,
    seed: int = 0,
) -> list[str]:
    """One answer to each chat (`{"role", "content"}` messages), in their order; "" where the server refuses (400).

    A chat that stands there n times gets n answers, drawn with seeds `seed`, `seed + 1`, ... Cached and resumed as
    `scores`; raises as it does.
    """
    times: dict[str, int] = {}
    bodies = []
    for chat in chats:
        name = digest(chat)
        times[name] = times.get(name, -1) + 1
        how = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed + times[name]}
        bodies.append({**how, "messages": chat})
    return [reply["text"] for reply in _answers(judge, bodies, Replies(cache), "sample")]


def _contact(judge: Judge, replies: Replies) -> dict:
    """{"form", "seconds"}: the form that this judge can answer in, and how long its first reply took."""
    key = judge.key("form", forms.PROBE)
    if key not in replies:
        found = asyncio.run(_probe(judge))
        print(f"judge {judge.where} is asked in the form {found['form']!r}", flush=True)
        replies.add(key, found)
    return replies[key]


async def _probe(judge: Judge) -> dict:
    said, usd = "", 0.0
    async with _client(judge) as client:
        for tried in forms.TRIED:
            start = time.perf_counter()
            try:
                reply = await _persist(client, judge, forms.body(tried, forms.PROBE), first=True)
            except _Refused as error:
                said = f"it refuses: {error}"
                continue
            seconds, usd = time.perf_counter() - start, usd + reply["usd"]
            if form := forms.settled(tried, reply):
                return {"form": form, "seconds": round(seconds, 3), "usd": usd}
            said = _quoted([reply]) or said
    raise JudgeError(f"{judge.where} gave no number when asked for one; {said or 'it said nothing'}")


def _answers(
    judge: Judge, bodies: list[dict], replies: Replies, desc: str, seconds: float | None = None
) -> list[dict]:
    """A reply to each, the missing ones asked for; NOTHING where the server refuses."""
    keys = [judge.key(body) for body in bodies]
    missing = {key: body for key, body in zip(keys, bodies, strict=True) if key not in replies}
    if missing:
        cost = prices.estimate(judge.model, list(missing.values()), judge.concurrency, seconds)
        print(f"{desc}: {len(keys) - len(missing)} of {len(keys)} are here; {cost}", flush=True)
        asyncio.run(_ask(judge, missing, replies, desc))
    return [replies.get(key, forms.NOTHING) for key in keys]


class _Calls:
    """Calls under way. After a failure, or at the cap, no more are made, but what is in flight is still received."""

    def __init__(self, judge: Judge, missing: dict[str, dict], replies: Replies, bar: tqdm):
        self.judge, self.replies, self.bar = judge, replies, bar
        self.waiting = iter(missing.items())
        self.flying: dict[str, float] = {}  # what each may cost, USD
        self.failures: list[JudgeError] = []
        self.refused: list[_Refused] = []

    async def work(self, client) -> None:
        """One of the workers that share what is waiting."""
        for key, body in self.waiting:
            await self._afford(key, body)
            if self.failures:
                return
            try:
                first = len(self.replies) == 0  # a server that samples meets no probe before
                self.replies.add(key, await _persist(client, self.judge, body, first))
            except _Refused as error:
                self.refused.append(error)
            except JudgeError as error:
                self.failures.append(error)
            del self.flying[key]
            self.bar.update()

    async def _afford(self, key: str, body: dict) -> None:
        """Reserve what this call may cost. Those in flight may turn out cheaper, so they are waited for."""
        cost = prices.usd(self.judge.model, *prices.tokens(body)) or 0
        cap = self.judge.max_usd or math.inf
        while self.replies.usd + sum(self.flying.values()) + cost > cap:
            if not self.flying:
                self.failures.append(BudgetError(_reached(self.judge, self.replies)))
                return
            await asyncio.sleep(0.02)
        self.flying[key] = cost


async def _ask(judge: Judge, missing: dict[str, dict], replies: Replies, desc: str) -> None:
    """Every missing reply into `replies`."""
    with tqdm(total=len(missing), desc=desc, unit="call") as bar:
        calls = _Calls(judge, missing, replies, bar)
        async with _client(judge) as client:
            await asyncio.gather(*(calls.work(client) for _ in range(min(judge.concurrency, len(missing)))))
    if calls.refused:
        first = f"{len(calls.refused)} of {len(missing)}; the first: {calls.refused[0]}"
        print(f"{desc}: {judge.where} refused {first}", flush=True)
    if calls.failures:
        raise calls.failures[0]


def _reached(judge: Judge, replies: Replies) -> str:
    kept = "what was received is kept, and a higher cap goes on from there"
    return f"MAX_USD={judge.max_usd:g} is reached: {judge.where} has cost {replies.usd:.4f} USD; {kept}"


async def _persist(client, judge: Judge, body: dict, first: bool = False) -> dict:
    """A whole reply, {"text", "top", "usd"}, after as many tries as it takes; on first contact these are fewer.

    Raises _Refused for this request alone, JudgeError when no other would fare better.
    """
    tries = FIRST_TRIES if first else TRIES
    for n in range(1, tries + 1):
        try:
            return await _try(client, judge, body, first)
        except _Again as failure:
            if n == tries:
                raise JudgeError(f"{judge.where} failed {tries} times: {failure}") from None
            pause = judge.pause * 2 ** (n - 1) * random.uniform(1, 1.5)
            await asyncio.sleep(min(LONGEST, max(failure.wait, pause)))


async def _try(client, judge: Judge, body: dict, first: bool) -> dict:
    import openai

    try:
        async with asyncio.timeout(judge.timeout):
            said = await client.post("/chat/completions", cast_to=object, body={"model": judge.model, **body})
        text, top, used = forms.read(said, probabilities="logprobs" in body and not first)
    except openai.APIStatusError as error:
        raise _failure(judge, error) from None
    except (TimeoutError, openai.APIConnectionError):
        raise _Again(f"it cannot be reached, breaks off or takes more than {judge.timeout:g} s") from None
    except ValueError:
        raise _Again("its replies are broken") from None
    usd = prices.usd(
        judge.model, used.get("prompt_tokens") or prices.tokens(body)[0], used.get("completion_tokens") or 0
    )
    return {"text": _clean(text), "top": {_clean(token): p for token, p in top.items()}, "usd": usd or 0}


def _failure(judge: Judge, error) -> Exception:
    """What an error status means: for all requests, for this one, or for this moment."""
    status = error.status_code
    if status in (401, 403):
        return JudgeError(f"{judge.where} refuses the key in OPENAI_API_KEY ({status})")
    if status == 404:
        return JudgeError(f"{judge.where}: no such model or address (404)")
    if status == 402 or error.code == "insufficient_quota":
        return JudgeError(f"{judge.where}: the account has no credit left ({status})")
    if status in (400, 413, 422):
        return _Refused(" ".join(_clean(str(error)).split())[:200])
    return _Again(f"status {status}", error.response.headers.get("retry-after"))


def _client(judge: Judge):
    """Raises JudgeError where not even a first call can be made."""
    import openai

    key = _key()
    if not re.fullmatch(r"(https?://[^\s@]+)?", judge.url):
        raise JudgeError("the judge's address must be http://... or https://..., without a password")
    if not key and not judge.url:
        raise JudgeError(
            f"OPENAI_API_KEY is not set: {judge.where} needs it (a server of your own: JUDGE_URL)"
        )
    if not re.fullmatch(r"[!-~]*", key):
        raise JudgeError("OPENAI_API_KEY holds a character that no key has")
    if judge.max_usd and prices.usd(judge.model, 0, 0) is None:
        raise JudgeError(
            f"MAX_USD={judge.max_usd:g} cannot be kept: no price of {judge.model} in real/judge/prices.py"
        )
    return openai.AsyncOpenAI(
        api_key=key or "none",
        base_url=judge.url or OPENAI,
        timeout=judge.timeout,
        max_retries=0,  # broken replies are to be repeated too: see _persist
        http_client=openai.DefaultAioHttpClient(),  # half the time per call of the default one
    )


def _key() -> str:
    return os.environ.get("OPENAI_API_KEY", "").strip()


def _clean(text: str) -> str:
    """Without the key, should a server echo it."""
    return text.replace(_key(), "[key]") if len(_key()) > 7 else text


def _quoted(said: list[dict]) -> str:
    text = next((reply["text"] for reply in said if reply["text"]), "")
    return f"it said {' '.join(text.split())[:80]!r}" if text else ""
