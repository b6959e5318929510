"""One unlabelled chat file: its lines as they are, and of each row the answer that is scored."""

from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from real.data.files import content, fetch, lines, text_of
from shared.errors import InputError

ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant"}  # ShareGPT's names
FORM = '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}'
READ = f'{FORM} is wanted ("conversations" of ShareGPT and "prompt" with "completion" are read too)'


class Row(NamedTuple):
    line: int  # from 1
    prompt: str  # all that was said before the answer, turns apart by an empty line
    answer: str  # the last one
    answers: int  # of which it is the last


class File(NamedTuple):
    lines: list[bytes]  # together the file; of a gzipped one, what is in it
    rows: list[Row]  # of some lines there is none: empty ones, a canary


def read(source: str) -> File:
    """A path or URL. Raises InputError: file, line, and the form that is wanted."""
    path = Path(fetch(source))
    rows = [_row(number, row, f"{source}:{number}") for number, row in lines(path, source)]
    if not rows:
        raise InputError(f"{source}: has no rows; {READ}")
    return File(list(BytesIO(content(path, source))), rows)


def _row(number: int, row: Any, where: str) -> Row:
    said = _turns(row)
    if said and row.get("system"):  # beside the turns, as some files have it
        said.insert(0, ("system", row["system"]))
    if not said or any(not isinstance(part, str) for turn in said for part in turn):
        raise InputError(f"{where}: {READ}")
    roles = [ROLES.get(role, role) for role, _ in said]
    if roles[-1] != "assistant":
        raise InputError(f"{where}: ends with {roles[-1]!r}; what is scored is an assistant's answer at its end")
    *before, answer = [text for _, text in said]
    prompt = "\n\n".join(text for text in before if text.strip())
    if "user" not in roles or not prompt.strip() or not answer.strip():
        raise InputError(f"{where}: prompt and answer must be text that is not empty")
    return Row(number, prompt, answer, roles.count("assistant"))


def _turns(row: Any) -> list[tuple[Any, Any]]:
    """(role, text) in the published forms; what is neither is left as it is, or empty."""
    if not isinstance(row, dict):
        return []
    for name, role, text in (("messages", "role", "content"), ("conversations", "from", "value")):
        if isinstance(turns := row.get(name), list) and all(isinstance(turn, dict) for turn in turns):
            return [(turn.get(role), text_of(turn.get(text))) for turn in turns]
    both = [row.get(name) for name in ("prompt", "completion")]
    if all(isinstance(part, list) for part in both):  # TRL's: messages on either side
        return _turns({"messages": both[0] + both[1]})
    return [("user", both[0]), ("assistant", both[1])] if None not in both else []
