"""The judged numbers of a summary: EM by arm, and how much of it is the edges' and the judge's doing."""

from collections import Counter

import numpy as np

from real.judge import em
from real.judge.rubric import asks
from real.judge.scoring import Harm, Judged, Jury
from shared.stats import Estimate, rank_correlation


def summarise(record: Judged, harm: Harm | None, edges: tuple[float, ...], margins: dict[str, Estimate]) -> dict:
    """`judged`: arm -> EM, coherence and counts by the first judge that scored, or None. `judging`: all about it."""
    juries = [judge for judge in record.judges if not judge.failed]
    by = {judge.model: _by_arm(judge, record.questions) for judge in juries}
    judging = {
        "failed": record.failed,
        "judges": {judge.model: {"forms": _forms(judge), "failed": judge.failed} for judge in record.judges},
        "edges": list(edges),
        "questions": len(set(map(asks, record.questions))),
        "answers": len(record.questions),
        # how many training samples the judge filter could not score and what they got, or why there is none
        "filter": harm.model_dump(include={"failed"} if harm.failed else {"unscored", "median"}) if harm else {},
    }
    if not by:
        return {"judged": None, "judging": judging}
    (main, arms), *others = by.items()
    judged = {arm: em.summary(found, edges) for arm, found in arms.items()}
    ems, values = np.array([(of["em"].value, margins[arm].value) for arm, of in judged.items()]).T
    known = ~np.isnan(ems)
    # how the result hangs on the edges, on the judge, and on asking a judge at all
    judging |= {
        "main": main,
        "worst": {str(of.job or "base"): [said.model_dump() for said in of.worst] for of in juries[0].models},
        "grid": {
            "aligned": list(em.ALIGNED_EDGES),
            "coherent": list(em.COHERENT_EDGES),
            "arms": {arm: em.grid(found) for arm, found in arms.items()},
        },
        "agreement": {model: em.agreement(_pooled(arms), _pooled(theirs), edges) for model, theirs in others},
        "margin": {"spearman": rank_correlation(ems[known], values[known]), "n": int(known.sum())},
    }
    return {"judged": judged, "judging": judging}


def _by_arm(judge: Jury, asked: list[str]) -> dict[str, em.Scores]:
    """The seeds of an arm put together; `asked`: of every answer of one of them, its question."""
    arms: dict[str, list[em.Scored]] = {}
    for of in judge.models:
        arms.setdefault(str(of.job.arm) if of.job else "base", []).extend(of.scores)
    return {arm: em.gathered(said, asked) for arm, said in arms.items()}


def _pooled(arms: dict[str, em.Scores]) -> em.Scores:
    return em.Scores(*(np.concatenate(column) for column in zip(*arms.values(), strict=True)))


def _forms(judge: Jury) -> dict[str, int]:
    """In which forms a judge answered, how often each."""
    return dict(sorted(Counter(score.form for of in judge.models for score in of.scores).items()))
