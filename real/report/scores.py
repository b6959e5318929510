"""The judged numbers of a summary: EM by arm, and how much of it is the edges' and the judge's doing."""

from real.judge.scoring import Harm, Judged
from shared.stats import Estimate


def summarise(
    record: Judged, harm: Harm | None, edges: tuple[float, ...], margins: dict[str, Estimate]
) -> dict:
    """`judged`: arm -> EM, coherence and counts by the first judge that scored, or None. `judging`: all about it."""
    raise NotImplementedError
