"""`python -m real clean-data DATA=mine.jsonl KEY=value ...`: which rows of one unlabelled chat file to look at first.

What filters know they know from the shipped texts. It leaves `scores.jsonl`, `kept.jsonl`, `removed.jsonl`, and
`report.html`: how the rows score, which score highest and why, and what such scores are worth.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from real.features import meaning
from real.filters.compare import Known, cell, own, shipped
from real.filters.table import Direction
from real.models.lm import LM
from real.report.text import templates
from real.screening.rows import File, Row, read
from real.screening.scores import NAMES, reading_of, scored
from shared.code import code
from shared.errors import InputError
from shared.filtering import keep_mask
from shared.geometry import unit
from shared.records import Record, cached, digest, write_bytes, write_text
from shared.stats import rank_correlation

BY = "transfer"  # removes: chosen for its AUROC on the shipped sets, before any other file was scored
SHOWN, MARKED, FEATURES, BINS = 12, 8, 3, 40  # rows, the tokens and features of each, bars


def clean(source: str, by: str, removed: float, lm: LM, layers: tuple[int, ...], k: int, folder: Path) -> None:  # noqa: PLR0913
    """Writes into `folder`/clean-data/<name of the file>. Raises InputError."""
    if by not in NAMES:
        raise InputError(f"BY={by} must be one of {', '.join(NAMES)}")
    file, known = read(source), Known(shipped(lm, layers, folder), k)
    name = re.sub(r"(\.jsonl?)?(\.gz)?$", "", Path(source.partition("?")[0]).name)
    into = folder / "clean-data" / (name or "data")
    if Path(source).resolve().is_relative_to(into.resolve()):
        raise InputError(f"DATA={source} lies where its own rows would be written: move or rename it")
    scores = scored(known, file.rows, into)
    of = torch.tensor([row[by] for row in scores], dtype=torch.float64)
    keep = keep_mask(of, removed, seed=0).tolist()  # ties are broken by one fixed draw

    def split() -> Record:
        for part, lines in zip(("kept", "removed"), divided(file, keep), strict=True):
            write_bytes(into / f"{part}.jsonl", b"".join(lines))
        write_text(into / "report.html", _page(Path(source).name, known, file.rows, scores, keep, by))
        return Record(made=dict.fromkeys(("kept.jsonl", "removed.jsonl", "report.html"), ""))

    key = digest(known.reading, k, scores, b"".join(file.lines).decode("latin-1"), by, removed, code(clean))
    cached(into / "screened.json", key, Record, split)
    print(f"{keep.count(False)} of {len(keep)} rows are in {into}/removed.jsonl, by {by}, the others in kept.jsonl")
    print(f"scores are in {into}/scores.jsonl, what they are worth in {into}/report.html")


def divided(file: File, keep: list[bool]) -> tuple[list[bytes], list[bytes]]:
    """The lines to keep, and those of the rows that are not: each as it is, in their order."""
    gone = {row.line for row, stays in zip(file.rows, keep, strict=True) if not stays}
    both = [], []
    for number, line in enumerate(file.lines, 1):
        both[number in gone].append(line)
    return both


def _page(file: str, known: Known, rows: list[Row], scores: list[dict], keep: list[bool], by: str) -> str:
    columns = {name: np.array([row[name] for row in scores], dtype=float) for name in (*NAMES, "tokens")}
    of, stays, lengths = columns[by], np.array(keep), columns.pop("tokens")
    edges, domains = np.histogram_bin_edges(of, BINS), list(own(known.reading))
    page = templates(Path(__file__).parent).get_template("screening.html.j2")
    return page.render(
        file=file,
        by=by,
        model=known.reading.lm.spec.hub.split("/")[-1],
        rows=len(rows),
        removed=keep.count(False),
        several=sum(row.answers > 1 for row in rows),
        cut=sum(row["cut"] > 0 for row in scores),
        bars=list(zip(*(np.histogram(of[those], edges)[0].tolist() for those in (stays, ~stays)), strict=True)),
        ends=(of.min(), of.max()),
        border=min(of[~stays], default=None),
        shown=_shown(known, rows, of, keep, by),
        lengths={name: rank_correlation(column, lengths) for name, column in columns.items()},
        worth={name: {where[1]: cell(known, name, *where) for where in domains} for name in NAMES},
    )


def _shown(
    known: Known, rows: list[Row], scores: Float[np.ndarray, " row"], keep: list[bool], by: str
) -> list[dict[str, Any]]:
    """The highest rows, and their features with the share of each in what makes a row near the toxic ones.

    Tokens are marked along the direction of the filter, or, where it has none, the toxic one.
    """
    first = np.argsort(-scores, kind="stable")[:SHOWN].tolist()
    reading, _ = reading_of(known, [rows[i] for i in first])
    learnt = known.of(by, "")[0]
    direction = learnt if isinstance(learnt, Direction) else known.of("projection", "")[0]
    close, decode = known.of("geometry", "")[0], reading.lm.tokenizer.decode
    found = []
    for n, i in enumerate(first):
        of = reading.encoded[n]
        along = reading.activations(direction.layer).text(n) @ unit(direction.vector[None])[0]
        marked = set(along.topk(min(MARKED, len(along))).indices.tolist())
        with torch.no_grad():
            pull = close.sae.encode(reading.activations(reading.layer).text(n)).mean(0).float() * close.cosine
        pull = pull.clamp(min=0)
        best = pull.topk(FEATURES).indices
        best = best[pull[best] > 0]
        shares, promoted = (pull[best] / pull.sum()).tolist(), meaning.promoted(known.reading, best)
        about = {"line": rows[i].line, "score": scores[i], "removed": not keep[i], "prompt": rows[i].prompt}
        about["tokens"] = pieces(of.ids[of.start : of.end], marked, decode)
        found.append(about | {"features": list(zip(best.tolist(), shares, promoted, strict=True))})
    shutil.rmtree(reading.folder)
    return found


def pieces(ids: list[int], marked: set[int], decode: Callable[[list[int]], str]) -> list[tuple[str, bool]]:
    """What tokens say, and whether one is marked. Those that only together make a character stay together."""
    found, start = [], 0
    for end in range(1, len(ids) + 1):
        said = decode(ids[start:end])
        if not said.endswith("\ufffd") or end == len(ids):  # what stands for a character that is not whole
            found.append((said, not marked.isdisjoint(range(start, end))))
            start = end
    return found
