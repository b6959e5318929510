"""Many calls to a judge: what they may cost, many at a time, none twice.

Every reply is kept as soon as it is there, under server, model and all that was sent: nothing received is asked again.
"""

import asyncio
import math
import re
import time
from collections import defaultdict, deque
from collections.abc import Coroutine, Iterable, Iterator
from itertools import accumulate, count
from pathlib import Path
from typing import Any

from tqdm import tqdm

from real.judge import forms, rubric
from real.judge.client import Judge, JudgeError, ask, connect
from real.judge.em import Scored
from real.judge.forms import Score
from real.judge.replies import Fault, Replies, estimate, tokens, usd
from real.judge.rubric import JUDGED
from shared.records import digest

# Servers have habits of their own
PLAIN = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


def scores(judge: Judge, rubrics: list[tuple[str, str, str]], cache: Path, desc: str = "judge") -> list[Score]:
    """One score for each (template, question, answer), in their order. What the server refuses is "unclear".

    `cache` (JSON lines) keeps every reply, and the form that on first contact the judge was found to answer in. Raises
    JudgeError when judging is impossible, at the cap, and when no reply at all holds a number; OSError of a full disk.
    """
    replies, contact = Replies(cache), judge.key("form", forms.PROBE)

    async def asked() -> list[dict]:
        if contact not in replies:
            replies.add(contact, await _probe(judge, replies))
            print(f"judge {judge.where} is asked in the form {replies[contact]['form']!r}", flush=True)
        first = replies[contact]
        bodies = [forms.body(first["form"], rubric.fill(*texts), first.get("without", ())) for texts in rubrics]
        return await _answers(judge, bodies, replies, desc, first["seconds"])

    said = _run(asked())
    found = [forms.score(replies[contact]["form"], reply) for reply in said]
    if all(score.value is None for score in found):
        raise JudgeError(f"{judge.where} gave no number for any of {len(found)} answers; {_quoted(said)}")
    return found


def judged(judge: Judge, answers: Iterable[tuple[dict[str, str], str, str]], cache: Path) -> list[Scored]:
    """What it says of each answer, asked by (prompts by name, question, answer); otherwise as `scores`."""
    asked = [(prompts[name], question, answer) for prompts, question, answer in answers for name in JUDGED]
    said = scores(judge, asked, cache, f"judge {judge.model}")
    pairs = zip(said[::2], said[1::2], strict=True)
    return [Scored(aligned=a.value, coherent=c.value, said=a.said or c.said, form=a.form) for a, c in pairs]


def complete(judge: Judge, chats: list[list[dict]], cache: Path, max_tokens: int = 300, seed: int = 0) -> list[str]:
    """One answer at temperature 1 to each chat, in order; "" where the server refuses. Otherwise as `scores`.

    A chat that stands there n times gets n answers, of seeds `seed`, `seed + 1`, ...
    """
    seeds: dict[str, Iterator[int]] = defaultdict(lambda: count(seed))
    how = {**PLAIN, "max_tokens": max_tokens}
    bodies = [{**how, "seed": next(seeds[digest(chat)]), "messages": chat} for chat in chats]
    return [reply["text"] for reply in _run(_answers(judge, bodies, Replies(cache), "sample"))]


async def _probe(judge: Judge, replies: Replies) -> dict:
    """How this judge can be asked: in which form, without which parameters; and how long its reply to PROBE took.

    A form that is refused is tried without the parameters that the server's words name; if none, last, with the fewest.
    """
    said, cost, without = _quoted([]), 0.0, set()
    todo = [(form, ()) for form in forms.TRIED]
    async with connect(judge) as client:
        while todo:
            (form, least), start = todo.pop(0), time.perf_counter()
            body = forms.body(form, forms.PROBE, (*without, *least))
            try:
                reply = await ask(judge, client, body, replies, probing=True)
            except Fault as fault:
                said = f"it refuses: {fault}"
                if named := {name for name in forms.DISPENSABLE if name in body and re.search(rf"\b{name}\b", said)}:
                    without |= named
                    todo.insert(0, (form, least))
                elif not least:
                    todo.append((form, forms.DISPENSABLE))
                continue
            seconds, cost = round(time.perf_counter() - start, 3), cost + reply["usd"]
            if found := forms.settled(form, reply):
                return {"form": found, "without": sorted({*without, *least}), "seconds": seconds, "usd": cost}
            said = _quoted([reply], said)
    raise JudgeError(f"{judge.where} gave no number when asked for one; {said}")


async def _answers(judge: Judge, bodies: list[dict], replies: Replies, desc: str, seconds: float = 0.0) -> list[dict]:
    """A reply to each, the missing ones asked for; NOTHING where the server refuses."""
    keys, refused = [judge.key(body) for body in bodies], []
    missing = {key: body for key, body in zip(keys, bodies, strict=True) if key not in replies}
    if missing:
        cost = estimate(judge.model, list(missing.values()), judge.concurrency, seconds)
        print(f"{desc}: {len({*keys} - {*missing})} of {len({*keys})} are here; {cost}", flush=True)
    while missing:
        refused += await _round(judge, missing, replies, desc)
    if refused:
        print(f"{desc}: {judge.where} refused {len(refused)} of {len(keys)}; the first: {refused[0]}", flush=True)
    return [replies.get(key, forms.NOTHING) for key in keys]


async def _round(judge: Judge, missing: dict[str, dict], replies: Replies, desc: str) -> list[Fault]:
    """As many replies as surely keep the cap: into `replies`, out of `missing`. What is refused.

    After a failure no more calls are made, but what is in flight is still received.
    """
    costs = accumulate(usd(judge.model, *tokens(body)) for body in missing.values())
    spent, cap = replies.usd, judge.max_usd or math.inf
    waiting, refused = deque(key for key, cost in zip(missing, costs, strict=True) if spent + cost <= cap), []
    if not waiting:
        reached = f"MAX_USD={judge.max_usd:g} is reached: {judge.where} has cost {spent:.4f} USD"
        raise JudgeError(f"{reached}; what was received is kept, and a higher cap goes on from there")
    workers = min(judge.concurrency, len(waiting))
    largest = max(4096 + 16 * tokens(missing[key])[1] for key in waiting)  # bytes of a reply in the cache

    async def work() -> None:
        while waiting:
            key = waiting.popleft()
            body = missing.pop(key)
            try:
                reply = await ask(judge, client, body, replies)
                if reply["top"] is None and "logprobs" in body:  # another server may stand behind the address by now
                    missing[key] = forms.in_words(body)
                else:
                    replies.add(key, reply)
            except Fault as fault:
                refused.append(fault)
            except Exception:
                waiting.clear()
                raise
            bar.update()

    with tqdm(total=len(waiting), desc=desc, unit="call") as bar, replies.room(workers * largest):
        async with connect(judge) as client:
            ends = await asyncio.gather(*(work() for _ in range(workers)), return_exceptions=True)
    for failure in filter(None, ends):
        raise failure
    return refused


def _run(calls: Coroutine) -> Any:
    """All in one loop: a Ctrl-C that comes while the sockets of a closed one are freed is lost. It is raised once all
    calls have ended."""
    try:
        return asyncio.run(calls)
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None


def _quoted(said: list[dict], otherwise: str = "it said nothing") -> str:
    text = next((reply["text"] for reply in said if reply["text"]), "")
    return f"it said {' '.join(text.split())[:80]!r}" if text else otherwise
