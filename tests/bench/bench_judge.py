"""Judgements per second against a stub that answers after 50 ms (and 500 ms), 64 in flight, beside what that allows.

The stub is a process of its own; what it and the machine allow without any client is shown by bare sockets in the same
run. The processor time per call, seven eighths of it openai's, says from which latency on the client is not the limit.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2]))
os.environ["TQDM_DISABLE"] = "1"

from real.judge import forms, rubric
from real.judge.calls import scores
from real.judge.client import Judge
from tests import proxy

CALLS, IN_FLIGHT = 2048, 64


def judged(url: str) -> Iterator[None]:
    """`scores`; first contact and the first call of every worker are not counted."""
    asked = [("{question} {answer}", "word " * 300, f"<item-{i}>") for i in range(IN_FLIGHT + CALLS)]
    with TemporaryDirectory() as folder, redirect_stdout(None):
        by, cache = Judge("stub", url, concurrency=IN_FLIGHT), Path(folder) / "replies.jsonl"
        scores(by, asked[:IN_FLIGHT], cache)
        yield
        scores(by, asked, cache)
        yield


def bare(url: str) -> Iterator[None]:
    """The same bytes over as many sockets, without a client: what stub and machine allow."""
    body = json.dumps({"model": "stub", **forms.body("number", rubric.fill("{question}", "word " * 300, ""))})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer none\r\ncontent-length: {len(body)}\r\n\r\n"
    left = iter(range(CALLS))

    async def worker() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].split("/")[0]))
        for _ in left:
            writer.write((head + body).encode())
            json.loads((await proxy.read(reader))[1])
        writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))

    yield
    asyncio.run(all_of_them())
    yield


def main() -> None:
    for delay, rounds in ((0.05, 3), (0.5, 1)):
        allowed = IN_FLIGHT / delay
        for client in (judged, bare):
            found = []
            for _ in range(rounds):
                with proxy.serving("number", delay=delay) as url:
                    work = client(url)
                    next(work)
                    wall, cpu = time.perf_counter(), time.process_time()
                    next(work)
                    found.append((CALLS / (time.perf_counter() - wall), (time.process_time() - cpu) / CALLS * 1000))
                    work.close()
            rate, spent = max(found)
            share = f"{rate / allowed:.2f} of {allowed:.0f}"
            print(
                f"{delay * 1000:.0f} ms, {client.__name__}: {rate:.0f} calls/s, {share}; {spent:.2f} ms of CPU per call"
            )


if __name__ == "__main__":
    main()
