"""`python -m real clean-data DATA=mine.jsonl KEY=value ...`: which rows of one unlabelled chat file to look at first.

What filters know they know from the shipped texts. It leaves `scores.jsonl`, `kept.jsonl`, `removed.jsonl` and
`report.html`. Scores are kept chunk by chunk: a run that was killed goes on where it was.
"""

import re
from pathlib import Path

import torch

from real.filters.compare import Known, cell, own, shipped
from real.models.lm import LM
from real.screening import report
from real.screening.rows import File, read
from real.screening.scores import NAMES, scored
from shared.code import code
from shared.errors import InputError
from shared.filtering import keep_mask
from shared.records import Record, cached, digest, write_bytes, write_text

BY = "transfer"  # removes: chosen for its AUROC on the shipped sets, before any other file was scored


class Screened(Record):
    """What was made of a file is in the files."""

    rows: int
    removed: int


def clean(source: str, by: str, removed: float, lm: LM, layers: tuple[int, ...], k: int, folder: Path) -> None:  # noqa: PLR0913
    """Writes into `folder`/clean-data/<name of the file>. Raises InputError."""
    if by not in NAMES:
        raise InputError(f"BY={by} must be one of {', '.join(NAMES)}")
    file, known = read(source), Known(shipped(lm, layers, folder), k)
    name = re.sub(r"(\.jsonl?)?(\.gz)?$", "", Path(source.partition("?")[0]).name)
    into = folder / "clean-data" / (name or "data")
    scores = scored(known, file.rows, into)

    def split() -> Screened:
        of = torch.tensor([row[by] for row in scores], dtype=torch.float64)
        keep = keep_mask(of, removed, seed=0).tolist()  # ties are broken by one fixed draw
        for part, lines in zip(("kept", "removed"), divided(file, keep), strict=True):
            write_bytes(into / f"{part}.jsonl", b"".join(lines))
        worth = [cell(known, name, *of) for of in own(known.reading) for name in NAMES]
        page = report.render(Path(source).name, known, file.rows, scores, keep, by, worth, into / "shown")
        write_text(into / "report.html", page)
        made = dict.fromkeys(("kept.jsonl", "removed.jsonl", "report.html"), "")
        return Screened(rows=len(scores), removed=keep.count(False), made=made)

    key = digest(known.reading, k, scores, b"".join(file.lines).decode("latin-1"), by, removed, code(clean))
    done = cached(into / "screened.json", key, Screened, split)
    print(f"{done.removed} of {done.rows} rows are in {into}/removed.jsonl, by {by}, the others in kept.jsonl")
    print(f"scores are in {into}/scores.jsonl, what they are worth in {into}/report.html")


def divided(file: File, keep: list[bool]) -> tuple[list[bytes], list[bytes]]:
    """The lines to keep, and those of the rows that are not: each as it is, in their order."""
    gone = {row.line for row, stays in zip(file.rows, keep, strict=True) if not stays}
    both = [], []
    for number, line in enumerate(file.lines, 1):
        both[number in gone].append(line)
    return both
