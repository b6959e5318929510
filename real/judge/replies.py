"""What servers have answered, one JSON line each as soon as it is there: nothing received is asked for again."""

import json
from contextlib import suppress
from pathlib import Path


class Replies:
    """The file at `path`, read once. A line that a kill tore is passed over; its call is then made again."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        self._torn = bool(lines[-1])
        self._known: dict[str, dict] = {}
        self.usd = 0.0  # what all of them have cost
        for line in lines:
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                reply = json.loads(line)
                self._learn(reply.pop("key"), reply)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> dict:
        return self._known[key]

    def get(self, key: str, otherwise: dict) -> dict:
        return self._known.get(key, otherwise)

    def add(self, key: str, reply: dict) -> None:
        """One line in one write to the end of the file, so that what is there is never touched."""
        line = json.dumps({"key": key, **reply}).encode()
        with self.path.open("ab", buffering=0) as file:
            file.write(b"\n" * self._torn + line + b"\n")
        self._torn = False
        self._learn(key, reply)

    def _learn(self, key: str, reply: dict) -> None:
        self.usd += reply.get("usd", 0)
        self._known[key] = reply
