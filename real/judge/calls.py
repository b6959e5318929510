"""Many calls to a judge: what they may cost, many at a time, none twice.

Every reply is in a file as soon as it is there (`replies.py`), under a digest of server, model and all that was sent:
nothing received is asked for again, after a kill -9 neither. Calls that were in flight at the kill are.
"""

import asyncio
import math
import re
import time
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from itertools import count, product
from pathlib import Path
from typing import Any

from tqdm import tqdm

from real.judge import forms, rubric
from real.judge.client import Judge, JudgeError, Line
from real.judge.forms import Score
from real.judge.replies import Fault, NoProbabilitiesError, Replies, estimate, tokens, usd
from shared.records import digest

LINE, BYTES = 4096, 16  # of a reply in the cache, bytes at most: as such, and per token


class BudgetError(JudgeError):
    """The cap is reached: one line. A rerun with a higher one goes on where this stopped."""


def scores(
    judge: Judge, rubrics: list[tuple[str, str, str]], cache: Path, desc: str = "judge"
) -> list[Score]:
    """One score for each (template, question, answer), in their order; `forms.Score` says what it holds.

    On first contact the form that the judge can answer in is found and kept in `cache`. An estimate of tokens, cost and
    time is printed, then a progress bar shown. The same triple twice is asked once. Ask for all arms in one call: if no
    reply at all holds a number, JudgeError. What the server refuses to judge is an "unclear" score, not cached.

    Raises JudgeError (one line; InputError) when judging is impossible: no key, key refused, unknown model, unreachable
    server, a judge that never gives a number; BudgetError at the cap; OSError when the disk is full. What was received
    stays in `cache` (JSON lines, made with its folder). Not to be called where an event loop runs.
    """
    if not rubrics:
        return []
    replies = Replies(cache)
    first = _contact(judge, replies)
    form, without = first["form"], tuple(first.get("without", ()))
    bodies = [forms.body(form, rubric.fill(*texts), without) for texts in rubrics]
    said = _answers(judge, bodies, replies, desc, first["seconds"])
    found = [forms.FORMS[reply.get("form", form)].read(reply) for reply in said]
    if all(score.value is None for score in found):
        raise JudgeError(f"{judge.where} gave no number for any of {len(found)} answers; {_quoted(said)}")
    return found


def complete(
    judge: Judge, chats: list[list[dict]], cache: Path, max_tokens: int = 300, seed: int = 0
) -> list[str]:
    """One answer at temperature 1 to each chat (`{"role", "content"}` messages), in order; "" where the server refuses.

    A chat that stands there n times gets n answers, drawn with seeds `seed`, `seed + 1`, ... Cached and resumed as
    `scores`; raises as it does.
    """
    seeds: dict[str, Iterator[int]] = defaultdict(lambda: count(seed))
    how = {"temperature": 1.0, "max_tokens": max_tokens}
    bodies = [{**how, "seed": next(seeds[digest(chat)]), "messages": chat} for chat in chats]
    return [reply["text"] for reply in _answers(judge, bodies, Replies(cache), "sample")]


def _contact(judge: Judge, replies: Replies) -> dict:
    """{"form", "without", "seconds"}: how this judge can be asked, and how long its first reply took."""
    key = judge.key("form", forms.PROBE)
    if key not in replies:
        found = _run(_probe(judge))
        print(f"judge {judge.where} is asked in the form {found['form']!r}", flush=True)
        replies.add(key, found)
    return replies[key]


async def _probe(judge: Judge) -> dict:
    """In every form; where one is refused, once more with as few parameters as can be."""
    said, cost, refused, without = _quoted([]), 0.0, False, set()
    async with Line(judge) as line:
        for least, form in product(((), forms.DISPENSABLE), forms.TRIED):
            if least and not refused:
                break
            without.update(least)
            start = time.perf_counter()
            try:
                reply = await _spared(line, form, without)
            except Fault as fault:
                said, refused = f"it refuses: {fault}", True
                continue
            seconds, cost = round(time.perf_counter() - start, 3), cost + reply["usd"]
            if found := forms.settled(form, reply):
                return {"form": found, "without": sorted(without), "seconds": seconds, "usd": cost}
            said = _quoted([reply], said)
    raise JudgeError(f"{judge.where} gave no number when asked for one; {said}")


async def _spared(line: Line, form: str, without: set[str]) -> dict:
    """A reply to PROBE; each parameter that the server's own words refuse goes to `without`. Raises Fault."""
    while True:
        body = forms.body(form, forms.PROBE, tuple(without))
        try:
            return _priced(line.judge, body, *await line.ask(body, probing=True))
        except Fault as fault:
            named = {name for name in forms.DISPENSABLE if re.search(rf"\b{name}\b", str(fault))}
            if not named & set(body):
                raise
            without |= named


def _answers(
    judge: Judge, bodies: list[dict], replies: Replies, desc: str, seconds: float | None = None
) -> list[dict]:
    """A reply to each, the missing ones asked for; NOTHING where the server refuses."""
    keys = [judge.key(body) for body in bodies]
    missing = {key: body for key, body in zip(keys, bodies, strict=True) if key not in replies}
    if missing:
        cost = estimate(judge.model, list(missing.values()), judge.concurrency, seconds)
        print(f"{desc}: {len(keys) - len(missing)} of {len(keys)} are here; {cost}", flush=True)
        _run(_ask(judge, missing, replies, desc))
    return [replies.get(key, forms.NOTHING) for key in keys]


class _Calls:
    """Calls under way. After a failure, or at the cap, no more are made, but what is in flight is still received."""

    def __init__(self, line: Line, replies: Replies):
        self.line, self.judge, self.replies = line, line.judge, replies
        self.flying: dict[str, float] = {}  # what each may cost, USD
        self.failures: list[JudgeError | OSError] = []
        self.refused: list[Fault] = []

    async def work(self, waiting: Iterator[tuple[str, dict]], bar: tqdm) -> None:
        """One of the workers that share what is waiting."""
        for key, body in waiting:
            try:
                if reply := await self._reply(key, body):
                    self.replies.add(key, reply)
            except Fault as fault:
                self.refused.append(fault)
            except (JudgeError, OSError) as error:
                self.failures.append(error)
            self.flying.pop(key, None)
            if self.failures:
                return
            bar.update()

    async def _reply(self, key: str, body: dict) -> dict | None:
        """None where no more calls are made. Where the probabilities of first contact are missing, another server may
        stand behind its address by now: it is asked in words."""
        try:
            return await self._afforded(key, body)
        except NoProbabilitiesError:
            self.flying.pop(key)
            reply = await self._afforded(key, forms.in_words(body))
            return reply and {**reply, "form": "text"}

    async def _afforded(self, key: str, body: dict) -> dict | None:
        """What this call may cost is reserved. Those in flight may turn out cheaper, so they are waited for."""
        cost = usd(self.judge.model, *tokens(body)) or 0
        cap = self.judge.max_usd or math.inf
        while (spent := self.replies.usd) + sum(self.flying.values()) + cost > cap:
            if not self.flying:
                reached = f"MAX_USD={cap:g} is reached: {self.judge.where} has cost {spent:.4f} USD"
                raise BudgetError(
                    f"{reached}; what was received is kept, and a higher cap goes on from there"
                )
            await asyncio.sleep(0.02)
        if self.failures:
            return None
        self.flying[key] = cost
        return _priced(self.judge, body, *await self.line.ask(body))


async def _ask(judge: Judge, missing: dict[str, dict], replies: Replies, desc: str) -> None:
    """Every missing reply into `replies`; no more are asked for than the disk can hold."""
    workers = min(judge.concurrency, len(missing))
    largest = max(LINE + BYTES * tokens(body)[1] for body in missing.values())
    with tqdm(total=len(missing), desc=desc, unit="call") as bar, replies.room(workers * largest):
        waiting = iter(missing.items())
        async with Line(judge, known=len(replies) > 0) as line:
            calls = _Calls(line, replies)
            await asyncio.gather(*(calls.work(waiting, bar) for _ in range(workers)))
    if calls.refused:
        first = f"{len(calls.refused)} of {len(missing)}; the first: {calls.refused[0]}"
        print(f"{desc}: {judge.where} refused {first}", flush=True)
    if calls.failures:
        raise calls.failures[0]


def _run(calls: Coroutine) -> Any:
    """Ctrl-C ends all calls, and is heard once."""
    try:
        return asyncio.run(calls)
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None


def _priced(judge: Judge, body: dict, text: str, top: dict[str, float], used: dict) -> dict:
    """As it is kept. What the server does not count is counted here, or is none."""
    counts = zip(
        (used.get("prompt_tokens"), used.get("completion_tokens")), (tokens(body)[0], 0), strict=True
    )
    sent, received = (said if type(said) is int and said > 0 else ours for said, ours in counts)
    return {"text": text, "top": top, "usd": usd(judge.model, sent, received) or 0}


def _quoted(said: list[dict], otherwise: str = "it said nothing") -> str:
    text = next((reply["text"] for reply in said if reply["text"]), "")
    return f"it said {' '.join(text.split())[:80]!r}" if text else otherwise
