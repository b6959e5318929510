"""The scores of a file's rows, a chunk at a time: what is scored is on disk, and no activation stays."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from real.data.rows import Text
from real.data.texts import Own
from real.data.tokens import LEAST, MAX_TOKENS
from real.features.reading import Reading
from real.filters.compare import Known
from real.filters.table import FILTERS
from real.models.lm import LM
from real.screening.rows import Row
from shared.records import write_text

# Without the two that run the model backwards: these cost more than all others together.
NAMES = tuple(name for name in FILTERS if name not in ("gradient", "influence"))
CHUNK = 128  # rows


def scored(known: Known, rows: list[Row], into: Path, key: str) -> Iterator[dict[str, Any]]:
    """Of every row {"id": its line, "tokens": of its answer, "cut": of them that were not read, filter: score, ...}.

    What `into`/scores.jsonl holds under this key is not computed again.
    """
    path, under = into / "scores.jsonl", into / "scores.key"
    if not (under.exists() and path.exists() and under.read_text() == key):
        write_text(path, "")
        write_text(under, key)
    found = whole(path.read_bytes())
    yield from (json.loads(line) for line in found)
    with path.open("r+b") as out:
        out.truncate(sum(map(len, found)))
        out.seek(0, os.SEEK_END)
        for at in range(len(found), len(rows), CHUNK):
            made = _chunk(known, rows[at : at + CHUNK], into / "chunk")
            out.write(b"".join(json.dumps(row).encode() + b"\n" for row in made))
            out.flush()
            os.fsync(out.fileno())
            print(f"{min(at + CHUNK, len(rows))} of {len(rows)} rows scored", flush=True)
            yield from made


def whole(written: bytes) -> list[bytes]:
    """The lines that a killed run has finished: all but what comes after the last line's end."""
    return written[: written.rfind(b"\n") + 1].splitlines(keepends=True)


def reading_of(known: Known, rows: Iterable[Row], folder: Path) -> tuple[Reading, list[int]]:
    """Of these rows only, and of each how many tokens of its prompt's beginning are not read."""
    lm, said, cut = known.reading.lm, {}, []
    for row in rows:
        prompt, lost = _fitted(lm, row)
        said[Text(f"line {row.line}", "row")] = prompt, row.answer
        cut.append(lost)
    return Reading(Own(known.reading.texts.corpus, said), lm, known.reading.layers, folder), cut


def _chunk(known: Known, rows: list[Row], folder: Path) -> list[dict[str, Any]]:
    shutil.rmtree(folder, ignore_errors=True)
    reading, cut = reading_of(known, rows, folder)
    texts = list(reading.texts.said)
    scores = {name: FILTERS[name].score(reading, known.of(name, "")[0], texts).tolist() for name in NAMES}
    shutil.rmtree(folder)
    return [
        {"id": row.line, "tokens": of.end - of.start, "cut": of.cut + cut[i]}
        | {name: float(f"{found[i]:.6g}") for name, found in scores.items()}
        for i, (row, of) in enumerate(zip(rows, reading.encoded, strict=True))
    ]


def _fitted(lm: LM, row: Row) -> tuple[str, int]:
    """The end of a prompt that leaves room for LEAST tokens of the answer, and how many tokens go for it."""
    (text,) = lm.encode([(row.prompt, row.answer)])
    over = text.start + 1 + LEAST - MAX_TOKENS
    if over <= 0:
        return row.prompt, 0
    ids = lm.tokenizer(row.prompt, add_special_tokens=False)["input_ids"]
    return lm.tokenizer.decode(ids[over:]), over
