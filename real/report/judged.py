"""The judged numbers of a run's summary: EM by arm, and how much of it is the edges' and the judge's doing."""

import numpy as np

from real.judge import em
from real.run import Run
from shared.stats import Estimate


def summarise(run: Run, record: dict, harm: dict, margins: dict[str, Estimate]) -> dict:
    """`judged`: arm -> EM, coherence and counts by the first judge that scored, or None. `judging`: all about it.

    `harm`: how many training samples the judge filter could not score and what they got, or why there is none.
    """
    edges, names = run.settings.edges, list(dict.fromkeys(item[0] for item in record["items"]))
    by = {
        model: _by_arm(of["scores"], [names.index(item[0]) for item in record["items"]])
        for model, of in record["judges"].items()
        if "scores" in of
    }
    judging = {
        "failed": record.get("failed"),
        "judges": {model: _judge(of) for model, of in record["judges"].items()},
        "edges": list(edges),
        "questions": len(names),
        "answers": len(record["items"]),
        "filter": harm,
    }
    if not by:
        return {"judged": None, "judging": judging}
    main, arms = next(iter(by.items()))
    judged = {
        arm: {
            "em": em.em(found, edges),
            "coherent": em.coherence(found, edges[1]),
            "counts": em.counts(found, edges),
        }
        for arm, found in arms.items()
    }
    return {
        "judged": judged,
        "judging": {
            **judging,
            "main": main,
            "worst": record["judges"][main]["worst"],
            **_sensitivity(by, judged, edges, margins),
        },
    }


def _sensitivity(by: dict, judged: dict, edges: tuple, margins: dict[str, Estimate]) -> dict:
    """How the result hangs on the edges, on the judge, and on asking a judge at all."""
    (main, arms), *others = by.items()
    ems = np.array([of["em"].value for of in judged.values()])
    known = ~np.isnan(ems)
    values = np.array([margins[arm].value for arm in judged])
    return {
        "grid": {
            "aligned": list(em.ALIGNED_EDGES),
            "coherent": list(em.COHERENT_EDGES),
            "arms": {arm: em.grid(found) for arm, found in arms.items()},
        },
        "agreement": {model: em.agreement(_pooled(arms), _pooled(theirs), edges) for model, theirs in others},
        "margin": {"spearman": em.rank_correlation(ems[known], values[known]), "n": int(known.sum())},
    }


def _by_arm(scores_of: dict[str, list], question: list[int]) -> dict[str, em.Scores]:
    """The seeds of an arm put together."""
    jobs: dict[str, list] = {}
    for job, rows in scores_of.items():
        jobs.setdefault("base" if job == "base" else job.rsplit("-", 1)[0], []).append(rows)
    return {
        arm: em.Scores(
            *(np.array([row[i] for rows in seeds for row in rows], dtype=float) for i in (0, 1)),
            np.array([row[2] for rows in seeds for row in rows]),
            np.repeat(np.arange(len(seeds)), len(question)),
            np.tile(question, len(seeds)),
        )
        for arm, seeds in jobs.items()
    }


def _pooled(arms: dict[str, em.Scores]) -> em.Scores:
    return em.Scores(*(np.concatenate(column) for column in zip(*arms.values(), strict=True)))


def _judge(of: dict) -> dict:
    """In which forms a judge answered, how often each; or why it did not."""
    forms = [row[3] for rows in of.get("scores", {}).values() for row in rows]
    return {"forms": {form: forms.count(form) for form in sorted(set(forms))}, "failed": of.get("failed")}
