"""report.html of one screened file: how its rows score, which score highest and why, and what such scores are worth."""

import math
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from real.features import meaning
from real.filters.compare import Cell, Known
from real.filters.directions import Direction
from real.filters.scoring import rank_correlation
from real.filters.table import FILTERS
from real.report.page import templates
from real.report.text import number
from real.screening.rows import Row
from real.screening.scores import NAMES, reading_of
from shared.geometry import unit

SHOWN, MARKED, FEATURES, BINS = 12, 8, 3, 40  # rows, the tokens and features of each, bars


class Token(NamedTuple):
    text: str
    marked: bool


class Feature(NamedTuple):
    id: int
    share: float  # of the sum, over the row's active features, of activation times cosine where that is above 0
    tokens: list[str]


class Shown(NamedTuple):
    line: int
    score: float
    removed: bool
    prompt: str
    tokens: list[Token]  # of the answer
    features: list[Feature]


def render(  # noqa: PLR0913 a page about all of these
    name: str, known: Known, rows: list[Row], scores: list[dict], keep: list[bool], by: str, worth: list[Cell], at: Path
) -> str:
    """`at`: a folder for the activations of the rows that are shown; it is gone afterwards."""
    template = templates(Path(__file__).parent).get_template("screening.html.j2")
    of = np.array([row[by] for row in scores])

    def column(name: str) -> Float[Tensor, " row"]:
        return torch.tensor([float(row[name]) for row in scores])

    return template.render(
        file=name,
        by=by,
        model=known.reading.lm.spec.hub.split("/")[-1],
        rows=len(rows),
        removed=keep.count(False),
        several=sum(row.answers > 1 for row in rows),
        cut=sum(row["cut"] > 0 for row in scores),
        bars=bars(of, np.array(keep)),
        most=int(np.histogram(of, BINS)[0].max()),
        ends=(float(of.min()), float(of.max())),
        border=min((float(s) for s, stays in zip(of, keep, strict=True) if not stays), default=None),
        shown=_shown(known, rows, of, keep, by, at),
        knows={name: FILTERS[name].knows for name in NAMES},
        lengths={name: _finite(rank_correlation(column(name), column("tokens"))) for name in NAMES},
        worth={name: {cell.domain: _auroc(cell) for cell in worth if cell.name == name} for name in NAMES},
    )


def _auroc(cell: Cell) -> str:
    measured = cell.measured
    return f"{number(measured.auroc.value, 2)} ({number(_finite(measured.matched), 2)})"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def bars(scores: np.ndarray, keep: np.ndarray) -> list[tuple[float, float]]:
    """(kept, removed) rows of every bar, as shares of the highest bar."""
    edges = np.histogram_bin_edges(scores, BINS)
    both = [np.histogram(scores[those], edges)[0] for those in (keep, ~keep)]
    most = sum(both).max()
    return [(float(stays / most), float(gone / most)) for stays, gone in zip(*both, strict=True)]


def _shown(known: Known, rows: list[Row], scores: np.ndarray, keep: list[bool], by: str, at: Path) -> list[Shown]:
    """The highest rows. Tokens are marked along the direction of the filter, or, where it has none, the toxic one."""
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
        tokens = [Token(decode([t]), place in marked) for place, t in enumerate(of.ids[of.start : of.end])]
        with torch.no_grad():
            pull = close.sae.encode(reading.activations(reading.layer).text(n)).mean(0).float() * close.cosine
        pull = pull.clamp(min=0)
        best = [(int(f), float(pull[f] / pull.sum())) for f in pull.topk(FEATURES).indices if pull[f] > 0]
        said = meaning.promoted(known.reading, torch.tensor([f for f, _ in best])) if best else []
        features = [Feature(*both, said_of) for both, said_of in zip(best, said, strict=True)]
        found.append(Shown(rows[i].line, float(scores[i]), not keep[i], rows[i].prompt, tokens, features))
    shutil.rmtree(at)
    return found
