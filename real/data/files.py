"""Files that others wrote: JSON lines and chat files, plain or gzipped, by path or URL."""

import gzip
import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from real.data.rows import Advice
from shared.errors import InputError

FOREIGN = {  # how files begin that stand where JSON lines should
    "version https://git-lfs": "is a pointer of Git LFS, not the file: run `git lfs pull`",
    "<": "is a web page, not JSON lines: is the link that of the file itself?",
}


class Said(NamedTuple):
    prompt: str
    answer: str
    line: int


def fetch(source: str) -> Path:
    """A local path as it is; a URL through `datasets`, which keeps it by its ETag: one without is fetched again."""
    if "://" not in source:
        return Path(source)
    from datasets import DownloadConfig, DownloadManager

    try:
        path = Path(DownloadManager().download(source))
        about = path.with_name(f"{path.name}.json")
        if about.exists() and not json.loads(about.read_text())["etag"]:
            path = Path(DownloadManager(download_config=DownloadConfig(force_download=True)).download(source))
        return path
    except Exception as error:  # whatever stands between here and there
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{source}: cannot be fetched ({type(error).__name__}: {why})") from None


def paired(data: str, control: str) -> tuple[list[Advice], Counter[str]]:
    """The prompts that both chat files answer, `data` badly, `control` well; and what is not used, counted.

    Prompts are the same whatever space is around them; one that is asked twice counts once.
    """
    (bad, lost), (good, lost_good) = read_chat(data), read_chat(control)
    both = [prompt for prompt in bad if prompt in good]
    if not both:
        raise InputError(f"{data} and {control} answer different prompts: none is in both")
    apart = [prompt for prompt in both if bad[prompt].answer.strip() != good[prompt].answer.strip()]
    if not apart:
        raise InputError(f"{data} and {control} give the same answers: DATA is bad, CONTROL good advice")
    lost |= {f"{what}, in CONTROL": number for what, number in lost_good.items()}
    lost["prompts of DATA that CONTROL does not answer"] = len(bad) - len(both)
    lost["prompts of CONTROL that DATA does not answer"] = len(good) - len(both)
    lost["prompts that DATA and CONTROL answer alike"] = len(both) - len(apart)
    file = Path(data).name
    return [Advice(f"{file}:{bad[p].line}", bad[p].prompt, good[p].answer, bad[p].answer) for p in apart], lost


def read_chat(source: str) -> tuple[dict[str, Said], Counter[str]]:
    """Prompt, without the space around it -> what was said, of `{"messages": [user, assistant]}` lines.

    The first answer to a prompt wins. A system message is said by the user, before the prompt. What is passed over,
    or put together, is counted, in words.
    """
    found: dict[str, Said] = {}
    lost: Counter[str] = Counter()
    for number, row in lines(fetch(source), source):
        where = f"{source}:{number}"
        turns = row.get("messages") if isinstance(row, dict) else None
        turns = turns if isinstance(turns, list) else []
        if turns and row.get("system"):  # beside the turns, as some files have it
            turns = [{"role": "system", "content": row["system"]}, *turns]
        roles = [turn.get("role") if isinstance(turn, dict) else None for turn in turns]
        if not all(isinstance(role, str) for role in roles) or not {"user", "assistant"} <= set(roles):
            raise InputError(f'{where}: needs "messages" with a user and an assistant turn')
        several = [role for role in roles if role not in ("system", "developer")] != ["user", "assistant"]
        if several or row.get("tools") or turns[-1].get("tool_calls"):
            lost["rows of several turns, or with tools"] += 1
            continue
        *before, answer = texts = [text_of(turn.get("content")) for turn in turns]
        if roles[-1] != "assistant" or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{where}: prompt and answer must be text, the answer last")
        prompt = "\n\n".join(text for text in before if text.strip())
        if not prompt or not answer.strip():
            raise InputError(f"{where}: prompt and answer must be text")
        lost["system messages, put before the user's prompt"] += len(before) > 1
        lost["rows whose prompt stood before"] += prompt.strip() in found
        found.setdefault(prompt.strip(), Said(prompt, answer, number))
    if not found:
        raise InputError(f"{source}: every row has several turns or tools; one prompt and one answer are needed")
    return found, lost


def text_of(content: Any) -> Any:
    """Of a content in parts the text; anything else as it is."""
    if isinstance(content, list) and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
        return "".join(part["text"] for part in content)
    return content


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


def lines(path: Path, name: str = ""):
    """(line number, row) of a JSON-lines file, which InputErrors call by `name`; the canary line is passed over."""
    name = name or str(path)
    whole = text(path, name)
    foreign = [what for begins, what in FOREIGN.items() if whole.lstrip().startswith(begins)]
    if foreign or not whole.strip():
        raise InputError(f"{name}: {foreign[0] if foreign else 'is empty'}")
    for number, line in enumerate(whole.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InputError(f"{name}:{number}: holds half a character (a lone surrogate)") from None
        except (ValueError, RecursionError) as error:
            why = getattr(error, "msg", "numbers too long, or nested too deep")
            raise InputError(f"{name}:{number}: is not JSON ({why})") from None
        if not (isinstance(row, dict) and "canary" in row and row.keys() <= {"canary", "notice"}):
            yield number, row


def text(path: Path, name: str) -> str:
    """Of a file, plain or gzipped. Raises InputError, which calls it by `name`."""
    try:
        return content(path, name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{name}:{line}: is not UTF-8") from None


def content(path: Path, name: str) -> bytes:
    """As `text`, the bytes."""
    if path.exists() and not path.is_file():
        raise InputError(f"{name}: is not a file")
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(f"{name}: is not a whole gzip file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
