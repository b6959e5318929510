"""The judge over HTTP: any OpenAI-compatible server, asked politely, paid once.

Every reply is one line of a JSON-lines file as soon as it is there, under a digest of server, model and all that was
sent: nothing received is asked for again, after a kill -9 neither. Calls that were in flight at the kill are.
The key is read from OPENAI_API_KEY and is in no file, message or reply that leaves this module.
"""

from dataclasses import dataclass
from pathlib import Path

from real.rubric import Score
from shared.errors import InputError


class JudgeError(InputError):
    """Why no score can be had: one line. What was scored is on disk; a run goes on without the rest."""


class BudgetError(JudgeError):
    """The cap is reached: one line. A rerun with a higher one goes on where this stopped."""


@dataclass(frozen=True)
class Judge:
    model: str
    url: str = ""  # of an OpenAI-compatible server, up to /v1; empty: OpenAI's
    concurrency: int = 64  # calls in flight
    max_usd: float = 0  # cap on what all replies in the cache have cost; 0: none
    timeout: float = 60  # seconds, of one call
    pause: float = 0.5  # seconds before the first repeat of a failed call; twice as long before each next


def scores(
    judge: Judge, rubrics: list[tuple[str, str, str]], cache: Path, desc: str = "judge"
) -> list[Score]:
    """One score for each (template, question, answer), in their order; `rubric.Score` says what it holds.

    On first contact the form that the judge can answer in is found and kept in `cache`. An estimate of tokens, cost and
    time is printed, then a progress bar shown. The same triple twice is asked once. Ask for all arms in one call: if no
    reply at all holds a number, JudgeError. What the server refuses to
    judge (400) is an "unclear" score, not cached.

    Raises JudgeError (one line; InputError) when judging is impossible: no key, key refused, unknown model, unreachable
    server, a judge that never gives a number; BudgetError at the cap. What was received stays in `cache` (JSON lines,
    made with its folder).
    """
    raise NotImplementedError


def complete(
    judge: Judge,
    chats: list[list[dict]],
    cache: Path,
    temperature: float = 1,
    max_tokens: int = 300,
    seed: int = 0,
) -> list[str]:
    """One answer to each chat (`{"role", "content"}` messages), in their order; "" where the server refuses (400).

    A chat that stands there n times gets n answers, drawn with seeds `seed`, `seed + 1`, ... Cached and resumed as
    `scores`; raises as it does.
    """
    raise NotImplementedError
