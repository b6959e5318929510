"""What a run leaves behind: records that know their inputs and their files, and files that are whole or not there.

A record is done when its key is that of its inputs, its own digest fits, and every file that it made is as it was.
"""

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

PINNED = ("torch", "transformers", "sae-lens", "peft", "numpy", "scipy", "datasets", "accelerate")
BLOCK = 2**22  # bytes read at a time


class Part(BaseModel):
    """Of a record: fields with names and types."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Record(Part):
    """What a step found, with what `cached` says of it."""

    failed: str | None = None  # why there is no more in it; the next run tries again
    made: dict[str, str] = {}  # file, relative to the record's folder -> digest
    key: str = ""
    digest: str = ""
    seconds: float = 0.0
    peak_gb: float = 0.0

    @property
    def content(self) -> str:
        """Digest of the fields that the subclass names."""
        about = {"made", "key", "digest", "seconds", "peak_gb"}
        return _digest([self.model_dump(mode="json", exclude=about)])


T = TypeVar("T", bound=Record)


def digest(*parts: Any) -> str:
    """First 16 hex digits of the SHA-256 of the parts' canonical JSON.

    At any depth: what has a `key` stands for it, a Record for its content, a Path for its file's bytes; dataclasses,
    NamedTuples and arrays for their values. Raises FileNotFoundError for a Path that is not there, TypeError for what
    JSON cannot say.
    """
    return _digest(_plain(parts, _content))


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hex. Raises FileNotFoundError."""
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            whole.update(block)
    return whole.hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Write atomically: the old file or the new one, never half. Parents are made. OSError names it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:  # a full disk does not say where
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8; a lone surrogate, which it cannot say, becomes a question mark."""
    write_bytes(path, text.encode("utf-8", "replace"))


def write_json(path: Path, obj: Any) -> None:
    """`write_text` of JSON. NamedTuples, dataclasses and Records become objects, arrays lists, NaN and inf null."""
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


def cached(path: Path, key: str, kind: type[T], compute: Callable[[], T]) -> T:
    """The record at `path` if it is whole and its key is `key`, else what `compute` makes, written there.

    One that says "failed" is written under another key: what uses it can, and the next run tries again. Both ways the
    result is as read from the file, so a first run and a resumed one see the same values.
    """
    known = whole(path, key, kind)
    if known is not None:
        return known
    start = time.perf_counter()
    record = compute()
    about = {
        "key": digest(key, record.failed) if record.failed else key,
        "made": {name: file_digest(path.parent / name) for name in record.made},
        "seconds": round(time.perf_counter() - start, 3),
    }
    write(path, record.model_copy(update=about))
    return read(path, kind)


def whole(path: Path, key: str, kind: type[T]) -> T | None:
    """The record at `path` if it and all its files are as they were written and its key is `key`, else None.

    What was there under this key and is no longer whole is said in a printed line.
    """
    known = read(path, kind)
    if known is None or known.key != key:
        return None
    why = lacking(path.parent, known.made)
    if why:
        print(f"{why}: made again", flush=True)
    return None if why else known


def write(path: Path, record: Record) -> None:
    """With its own digest, under which `read` finds it whole."""
    text = record.model_copy(update={"digest": ""}).model_dump_json()
    write_text(path, record.model_copy(update={"digest": _own(text)}).model_dump_json() + "\n")


def read(path: Path, kind: type[T]) -> T | None:
    """The record at `path`; None where there is none, or, with a printed line, none of this kind that is whole."""
    try:
        found = kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, ValueError):
        print(f"{path}: cut off, or of another version: made again", flush=True)
        return None
    if found.digest != _own(found.model_copy(update={"digest": ""}).model_dump_json()):
        print(f"{path}: changed since it was written: made again", flush=True)
        return None
    return found


def lacking(folder: Path, made: dict[str, str]) -> str | None:
    """The first of these files that is not there, or not as it was, in words; None where all are whole."""
    for name, known in made.items():
        try:
            if file_digest(folder / name) != known:
                return f"{folder / name} has changed since it was written"
        except OSError:
            return f"{folder / name} is gone"
    return None


def versions() -> dict[str, str | None]:
    """Python's and the pinned packages' versions, read without importing them; None for one not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PINNED}}


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _digest(plain: Any) -> str:
    return _own(json.dumps(plain, sort_keys=True))


def _own(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def _content(leaf: Any) -> Any:
    if isinstance(leaf, Path):
        return {"sha256": file_digest(leaf)}
    if isinstance(leaf, Record):
        return leaf.content
    return leaf.key if hasattr(leaf, "key") else leaf


def _printable(leaf: Any) -> Any:
    if isinstance(leaf, Path):
        return str(leaf)
    return None if isinstance(leaf, float) and not math.isfinite(leaf) else leaf


def _plain(obj: Any, of_leaf: Callable[[Any], Any]) -> Any:
    """`obj` in JSON's own types."""
    if isinstance(obj, str | int | float):  # nearly all: not to be asked what else they might be
        return of_leaf(obj)
    if isinstance(obj, Part) and not (isinstance(obj, Record) and of_leaf is _content):
        obj = obj.model_dump(mode="json")
    elif hasattr(obj, "_asdict"):
        obj = obj._asdict()
    elif is_dataclass(obj) and not hasattr(obj, "key"):
        obj = asdict(obj)
    elif hasattr(obj, "tolist"):  # numpy and torch
        obj = obj.tolist()
    if isinstance(obj, dict):
        return {str(key): _plain(value, of_leaf) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [_plain(value, of_leaf) for value in obj]
    return of_leaf(obj)
