"""`python -m real KEY=value ...`: the whole experiment. `python -m real models`: what it can be run on.
`python -m real judge FILE KEY=value ...`: scores for answers. `python -m real filters ...`: what filters are worth.
`python -m real dose KEY=value ...`, and the other EXPERIMENTS: what real/experiments asks.

Bad input is one line and exit code 2; Ctrl-C is one line and 130, and a reader who goes away is none and 141.
"""

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from safetensors import SafetensorError

from shared.errors import InputError

EXPERIMENTS = ("dose", "mechanism", "blocked", "overlap", "halves", "optimisers")
COMMANDS = ("models", "judge", "filters", "clean-data", *EXPERIMENTS)
STOPPED = "stopped: what is finished is kept, and the same command goes on from there"


def main(words: list[str]) -> int:
    gc.set_threshold(700, 10, 1000)  # else a fifth of all importing is looking through what was imported before
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a path may hold what the terminal cannot show
    try:
        _do(words)
        sys.stdout.flush()
    except InputError as error:
        return _end(f"error: {error}", 2)
    except KeyboardInterrupt:
        ctypes.pythonapi.PyRun_SimpleString(b"")  # or Python dies of the signal in the end, if it came through C code
        return _end(STOPPED, 130)
    except BrokenPipeError:
        return _end("", 141)
    except (OSError, SafetensorError) as error:  # a full disk, a folder that cannot be written
        where = getattr(error, "filename", None) or _where()
        return _end(f"error: {where}: {getattr(error, 'strerror', None) or error}", 2)
    return 0


def _do(words: list[str]) -> None:
    """Imports as it goes: torch takes seconds, a typo in a setting should not."""
    from real.settings import from_make, parse, value

    command, words = (words[0], words[1:]) if words[:1] and words[0] in COMMANDS else ("run", words)
    if words[-1:] == ["make"]:  # as the Makefile asks
        words = [*words[:-1], *from_make(os.environ)]
    own = {}
    if command == "clean-data":  # DATA and BY are its own; a tenth goes unless REMOVED is set
        given = [word.partition("=") for word in words]
        own = {key.lower(): value(key, text) for key, _, text in given if key in ("DATA", "BY")}
        if not own.get("data"):
            raise InputError("clean-data needs DATA=<file>: a chat file, one JSON row a line")
        words = ["REMOVED=0.1", *(word for word in words if not word.startswith(("DATA=", "BY=")))]
    elif command == "judge":
        if not words:
            raise InputError("judge needs a file: python -m real judge answers.jsonl JUDGE=...")
        own, words = {"file": words[0]}, words[1:]
    settings = parse(words)
    with _importing():
        function = _function(command)
    function(settings, **own)


def _function(command: str) -> Callable[..., None]:
    """What is given the settings, and what else stands on the command line."""
    if command == "models":
        from real.catalogue import listing

        return lambda _: print(listing())
    if command == "judge":
        from real.judge.command import judge_file

        return lambda s, file: judge_file(Path(file), s.judging, s.reads.questions)
    if command in EXPERIMENTS:
        from real.experiments.command import perform

        return partial(perform, command)
    from real.pipeline import clean_data, compare, run

    return {"run": run, "filters": compare, "clean-data": clean_data}[command]


@contextmanager
def _importing() -> Iterator[None]:
    """Ctrl-C waits until this is left: a module that is half imported may make anything of one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _where() -> str:
    """What an error is about that does not say: standard output, where that is full, or the results."""
    try:
        print(flush=True)
    except OSError:
        return "standard output"
    return "the results folder"


def _end(line: str, code: int) -> int:
    """Says this one line, its control characters written out; whatever waits for a lost reader goes nowhere."""
    with suppress(OSError):
        if line:
            print("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line), file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
