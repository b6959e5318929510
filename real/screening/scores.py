"""The scores of a file's rows, a chunk at a time: what is scored is on disk, and no activation stays."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from real.data.rows import Text
from real.data.texts import Own
from real.data.tokens import LEAST, MAX_TOKENS
from real.features.reading import Reading
from real.filters.compare import Known
from real.filters.table import FILTERS
from real.screening.rows import Row
from shared.code import code
from shared.records import Record, cached, digest, write_text

# Without the two that run the model backwards: these cost more than all others together.
NAMES = tuple(name for name in FILTERS if name not in ("gradient", "influence"))
CHUNK = 128  # rows


class Chunk(Record):
    # Of every row {"id": its line, "tokens": of its answer, "cut": of them that were not read, filter: score, ...}
    scores: list[dict[str, int | float]]


def scored(known: Known, rows: list[Row], into: Path) -> list[dict[str, Any]]:
    """As a Chunk has them, of all rows; and `into`/scores.jsonl. Chunks that are there are not scored again."""
    found = []
    for at in range(0, len(rows), CHUNK):
        some = rows[at : at + CHUNK]
        make = partial(_chunk, known, some, f"{at + len(some)} of {len(rows)} rows scored")
        key = digest(known.reading, known.k, some, code(scored))
        found += cached(into / "chunks" / f"{at}.json", key, Chunk, make).scores
    write_text(into / "scores.jsonl", "".join(json.dumps(row) + "\n" for row in found))
    return found


def _chunk(known: Known, rows: list[Row], done: str) -> Chunk:
    reading, cut = reading_of(known, rows)
    texts = list(reading.texts.said)
    scores = {name: FILTERS[name].score(reading, known.of(name, "")[0], texts).tolist() for name in NAMES}
    shutil.rmtree(reading.folder)
    print(done, flush=True)
    found = []
    for i, (row, of) in enumerate(zip(rows, reading.encoded, strict=True)):
        counts = {"id": row.line, "tokens": of.end - of.start, "cut": of.cut + cut[i]}
        found.append(counts | {name: float(f"{column[i]:.6g}") for name, column in scores.items()})
    return Chunk(scores=found)


def reading_of(known: Known, rows: list[Row]) -> tuple[Reading, list[int]]:
    """Of these rows only, and of each how many tokens of its prompt's beginning make room for LEAST of the answer.

    Its folder is to be deleted; what a kill leaves there the next run's start takes away.
    """
    lm, said, cut = known.reading.lm, {}, []
    for row in rows:
        (text,), prompt = lm.encode([(row.prompt, row.answer)]), row.prompt
        over = max(0, text.start + 1 + min(LEAST, text.end - text.start + text.cut) - MAX_TOKENS)
        if over:
            prompt = lm.tokenizer.decode(lm.tokenizer(prompt, add_special_tokens=False)["input_ids"][over:])
        said[Text(f"line {row.line}", "row")] = prompt, row.answer
        cut.append(over)
    texts, folder = Own(known.reading.texts.corpus, said), known.reading.folder / ".rows.tmp"
    return replace(known.reading, texts=texts, folder=folder), cut
