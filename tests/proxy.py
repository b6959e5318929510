"""A stub judge, and a proxy that spoils a share of what passes through it, in a process of their own.

    with serving("number", faults=0.2, log=path) as url: ...

The stub's reply follows from the text between < and > in the prompt, so that a test knows every right score. The proxy
passes a call on to the stub, or to any server given as `upstream`. Its log has one line per call: the name
between < and >, then "good" where the whole reply is handed over, or the fault; written before the reply goes out.
"""

import asyncio
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from math import log

FAULTS = ("429", "500", "cut off", "time-out", "malformed")


@contextmanager
def serving(kind: str, **options) -> Iterator[str]:
    """Address up to /v1. Options: `delay` (s) of the stub; `faults` (share), `of` (which), `log` (path), `upstream`."""
    process = subprocess.Popen(
        [sys.executable, __file__, json.dumps({"kind": kind, **options}, default=str)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


def name_in(text: str) -> str:
    """What stands between < and > last."""
    return (re.findall(r"<([\w-]+)>", text) or [""])[-1]


def numbers(name: str) -> tuple[int, int]:
    """What the stub thinks of a prompt of this name: a number with probability 0.7, another with 0.1."""
    drawn = sha256(name.encode()).digest()
    return drawn[0] % 101, drawn[1] % 101


def answer(kind: str, asked: dict, head: str) -> tuple[int, dict]:
    """Status and reply of a judge of this kind."""
    prompt = asked["messages"][-1]["content"]
    first, second = (73, 73) if "follows 72" in prompt else numbers(name_in(prompt))
    top = {str(first): 0.4, f" {first}": 0.3, f"{second}\n": 0.1, "Sure": 0.1, "I": 0.05}
    if kind == "digit":
        top = {str(first)[0]: 0.7, f" {str(second)[0]}": 0.1, "Sure": 0.1}
    key = re.search(r"authorization: bearer (.*)\r", head, re.IGNORECASE)[1]
    refusals = {
        "no key": (401, f"the key {key} is unknown"),
        "no model": (404, "no such model"),
        "no request": (400, f"{key} may not ask this"),
        "no credit": (429, "You exceeded your current quota"),
    }
    if kind in refusals:
        status, message = refusals[kind]
        return status, {"error": {"message": message, "code": "insufficient_quota" if status == 429 else None}}
    if kind == "reasoning" and ("max_tokens" in asked or "temperature" in asked):
        return 400, {"error": {"message": "Unsupported parameter"}}
    text = {"refusing": f"I cannot help with that, {key}.", "reasoning": f"<think>5 or 6?</think>{first}"}.get(kind)
    if kind in ("refusing", "text", "reasoning"):
        top = {"I": 0.9} if kind == "refusing" else None
    return 200, reply(text or f"{first}", top, len(prompt) // 4)


def reply(text: str, top: dict[str, float] | None, tokens: int) -> dict:
    listed = [{"token": token, "logprob": log(p), "bytes": None} for token, p in (top or {}).items()]
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    if top:
        choice["logprobs"] = {"content": [{**listed[0], "top_logprobs": listed}]}
    return {"choices": [choice], "usage": {"prompt_tokens": tokens, "completion_tokens": 1}}


async def read(stream: asyncio.StreamReader) -> tuple[str, bytes]:
    """Head and body of one HTTP message."""
    head = (await stream.readuntil(b"\r\n\r\n")).decode()
    length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
    return head, await stream.readexactly(int(length[1])) if length else await stream.read()


def message(status: int, said: dict | bytes) -> bytes:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def stub(options: dict):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head, body = await read(reader)
                said = message(*answer(options["kind"], json.loads(body), head))
                if options.get("delay"):
                    await asyncio.sleep(options["delay"])
                writer.write(said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return serve


class Proxy:
    def __init__(self, options: dict, port: int):
        self.share, self.log, self.port = options["faults"], options["log"], port
        self.faults = options.get("of", FAULTS)
        self.rng = random.Random(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head, body = await read(reader)
                fault = self.rng.choice(self.faults) if self.rng.random() < self.share else "good"
                said = await self.spoilt(fault, head, body)
                with open(self.log, "a") as file:
                    file.write(f"{name_in(body.decode())} {fault}\n")
                if fault == "time-out":
                    await asyncio.sleep(3600)
                writer.write(said)
                await writer.drain()
                if fault == "cut off":
                    raise ConnectionError
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def spoilt(self, fault: str, head: str, body: bytes) -> bytes:
        if fault.isdigit():
            return message(int(fault), {"error": {"message": head}})
        if fault == "malformed":
            broken = [b"{}", b'{"choices": []}', b'{"choices": [{"mess', b"<html>"]
            return message(200, self.rng.choice(broken))
        whole = await passed_on(head, body, self.port)
        return whole[: -len(whole) // 3] if fault == "cut off" else whole


async def passed_on(head: str, body: bytes, port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    kept = [line for line in head.split("\r\n") if not line.lower().startswith("connection:")]
    writer.write("\r\n".join([kept[0], "connection: close", *kept[1:]]).encode() + body)
    head, body = await read(reader)
    writer.close()
    return message(int(head.split()[1]), body)


async def main(options: dict) -> None:
    server = await asyncio.start_server(stub(options), "127.0.0.1", 0)
    if "faults" in options:
        upstream = options.get("upstream")
        port = int(re.search(r":(\d+)", upstream[5:])[1]) if upstream else server.sockets[0].getsockname()[1]
        server = await asyncio.start_server(Proxy(options, port).serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the parent goes
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
