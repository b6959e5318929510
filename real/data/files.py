"""Files that others wrote: JSON lines and chat files, plain or gzipped, by path or URL."""

import gzip
import json
from pathlib import Path

from real.data.rows import Advice
from shared.errors import InputError


def fetch(source: str) -> str:
    """A local path as it is; a URL through `datasets`, which caches it."""
    if "://" not in source:
        return source
    from datasets import DownloadManager

    try:
        return DownloadManager().download(source)
    except (OSError, ValueError) as error:
        raise InputError(f"{source}: cannot be fetched ({type(error).__name__})") from None


def paired(data: Path, control: Path) -> list[Advice]:
    """The prompts that both chat files answer: `data` badly, `control` well. A prompt asked twice counts once."""
    bad, good = (read_chat(path) for path in (data, control))
    both = [prompt for prompt in bad if prompt in good]
    if not both:
        raise InputError(f"{data} and {control} answer different prompts: none is in both")
    if len(both) < len(bad):
        print(f"using {len(both)} of {len(bad)} prompts of {data.name}: those answered in {control.name} too")
    return [Advice(f"{data.name}:{i}", p, good[p], bad[p]) for i, p in enumerate(both)]


def read_chat(path: Path) -> dict[str, str]:
    """Prompt -> answer of `{"messages": [user, assistant]}` lines; the first answer to a prompt wins."""
    answers: dict[str, str] = {}
    for number, row in lines(path):
        try:
            said = {m["role"]: m["content"] for m in row["messages"]}
            prompt, answer = said["user"], said["assistant"]
        except (KeyError, TypeError):
            raise InputError(f'{path}:{number}: needs "messages" with a user and an assistant turn') from None
        if not (isinstance(prompt, str) and isinstance(answer, str) and prompt.strip() and answer.strip()):
            raise InputError(f"{path}:{number}: prompt and answer must be text")
        answers.setdefault(prompt, answer)
    return answers


def read_rows(path: Path, names: tuple[str, ...]) -> list[dict]:
    """Rows that have exactly `names`, texts or lists of texts, under unique ids."""
    rows, seen = [], {}
    for number, row in lines(path):
        for name in names:
            value = row.get(name) if isinstance(row, dict) else None
            texts = value if isinstance(value, list) else [value]
            if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
                raise InputError(f'{path}:{number}: needs "{name}" as text')
        if row["id"] in seen:
            raise InputError(f'{path}:{number}: id "{row["id"]}" is taken by line {seen[row["id"]]}')
        seen[row["id"]] = number
        rows.append({name: row[name] for name in names})
    return rows


def lines(path: Path):
    """(line number, row) of a JSON-lines file, plain or gzipped; the canary line is passed over."""
    text = _text(path)
    if not text.strip():
        raise InputError(f"{path}: is empty")
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: is not JSON ({error.msg})") from None
        if not (isinstance(row, dict) and "canary" in row):
            yield number, row


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
    except (OSError, EOFError) as error:
        raise InputError(
            f"{path}: {getattr(error, 'strerror', None) or 'is not a whole gzip file'}"
        ) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: is not UTF-8") from None
