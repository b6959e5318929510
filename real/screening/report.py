"""report.html of one screened file: how its rows score, which score highest and why, and what such scores are worth."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from real.features import meaning
from real.filters.compare import Cell, Known
from real.filters.scoring import rank_correlation
from real.filters.table import Direction
from real.report.text import templates
from real.screening.rows import Row
from real.screening.scores import NAMES, reading_of
from shared.geometry import unit

SHOWN, MARKED, FEATURES, BINS = 12, 8, 3, 40  # rows, the tokens and features of each, bars


def render(  # noqa: PLR0913 a page about all of these
    name: str, known: Known, rows: list[Row], scores: list[dict], keep: list[bool], by: str, worth: list[Cell], at: Path
) -> str:
    """`at`: a folder for the activations of the rows that are shown; it is gone afterwards."""
    columns = {name: np.array([row[name] for row in scores], dtype=float) for name in (*NAMES, "tokens")}
    of, lengths = columns[by], torch.from_numpy(columns.pop("tokens"))
    page = templates(Path(__file__).parent).get_template("screening.html.j2")
    return page.render(
        file=name,
        by=by,
        model=known.reading.lm.spec.hub.split("/")[-1],
        rows=len(rows),
        removed=keep.count(False),
        several=sum(row.answers > 1 for row in rows),
        cut=sum(row["cut"] > 0 for row in scores),
        bars=bars(of, np.array(keep)),
        ends=(of.min(), of.max()),
        border=min(of[~np.array(keep)], default=None),
        shown=_shown(known, rows, of, keep, by, at),
        lengths={name: rank_correlation(torch.from_numpy(column), lengths) for name, column in columns.items()},
        worth={name: {cell.domain: cell.measured for cell in worth if cell.name == name} for name in NAMES},
    )


def bars(scores: Float[np.ndarray, " row"], keep: Bool[np.ndarray, " row"]) -> list[tuple[int, int]]:
    """How many rows of every bar are kept, and removed."""
    edges = np.histogram_bin_edges(scores, BINS)
    return list(zip(*(np.histogram(scores[those], edges)[0].tolist() for those in (keep, ~keep)), strict=True))


def _shown(
    known: Known, rows: list[Row], scores: Float[np.ndarray, " row"], keep: list[bool], by: str, at: Path
) -> list[dict[str, Any]]:
    """The highest rows, and their features with the share of each in what makes a row near the toxic ones.

    Tokens are marked along the direction of the filter, or, where it has none, the toxic one.
    """
    first = np.argsort(-scores, kind="stable")[:SHOWN].tolist()
    reading, _ = reading_of(known, [rows[i] for i in first], at)
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
        about["tokens"] = [(decode([t]), place in marked) for place, t in enumerate(of.ids[of.start : of.end])]
        found.append(about | {"features": list(zip(best.tolist(), shares, promoted, strict=True))})
    shutil.rmtree(at)
    return found
