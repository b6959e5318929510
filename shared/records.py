"""What a run leaves behind: digests of its inputs, and files that are either whole or not there."""

import hashlib
import json
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PINNED = (
    *("torch", "transformers", "transformer-lens", "sae-lens", "peft"),
    *("numpy", "scipy", "datasets", "accelerate"),
)


def digest(*parts: Any) -> str:
    """First 16 hex digits of the SHA-256 of the parts' canonical JSON.

    A Path, at any depth, stands for its file's bytes; dataclasses, NamedTuples and arrays for their values.
    Raises FileNotFoundError for a Path that is not there, TypeError for what JSON cannot say.
    """
    return hashlib.sha256(json.dumps(_plain(parts, _content), sort_keys=True).encode()).hexdigest()[:16]


def write_text(path: Path, text: str) -> None:
    """Write atomically: the old file or the new one, never half. Parents are made. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, obj: Any) -> None:
    """`write_text` of JSON. NamedTuples and dataclasses become objects, arrays lists, NaN and inf null."""
    write_text(path, json.dumps(_plain(obj, _printable), indent=2) + "\n")


def rounded(value: Any) -> Any:
    """Numbers to six digits, what is not finite to None, NamedTuples to dicts: what a summary holds."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def read_json(path: Path) -> Any:
    """What `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def cached(path: Path, key: str, compute: Callable[[], dict]) -> dict:
    """The record at `path` if its "key" is `key`, else compute it, add "key" and "seconds", and write it.

    A record that says "failed" (why) is written under another key: what uses it can, and the next run tries again.
    Both ways the result is as read from the file, so a first run and a resumed one see the same values.
    """
    with suppress(FileNotFoundError, ValueError):
        record = read_json(path)
        if isinstance(record, dict) and record.get("key") == key:
            return record
    start = time.perf_counter()
    record = compute()
    if record.get("failed"):
        key = digest(key, record["failed"])
    write_json(path, {**record, "key": key, "seconds": round(time.perf_counter() - start, 3)})
    return read_json(path)


@contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` that takes its place at a clean exit, and is removed on an error.

    What an earlier kill left is cleaned at entry. One process at a time.
    """
    partial, old = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():  # killed between the two renames below
        old.rename(path)
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.exists():
            path.rename(old)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def versions() -> dict[str, str | None]:
    """Python's and the pinned packages' versions, read without importing them; None for one not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PINNED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _content(leaf: Any) -> Any:
    return {"sha256": hashlib.sha256(leaf.read_bytes()).hexdigest()} if isinstance(leaf, Path) else leaf


def _printable(leaf: Any) -> Any:
    if isinstance(leaf, Path):
        return str(leaf)
    return None if isinstance(leaf, float) and not math.isfinite(leaf) else leaf


def _plain(obj: Any, of_leaf: Callable[[Any], Any]) -> Any:
    """`obj` in JSON's own types."""
    if hasattr(obj, "_asdict"):
        obj = obj._asdict()
    elif is_dataclass(obj):
        obj = asdict(obj)
    elif hasattr(obj, "tolist"):  # numpy and torch
        obj = obj.tolist()
    if isinstance(obj, dict):
        return {str(key): _plain(value, of_leaf) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [_plain(value, of_leaf) for value in obj]
    return of_leaf(obj)
