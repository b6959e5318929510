"""What the judge is asked in a run: how harmful the training samples are (step 5), how every arm answers (step 10).

A judge that cannot be had stops neither step: the record says why, and a later run tries again.
"""

from pathlib import Path

import numpy as np

from real.arms.filters import mixed
from real.judge import answers
from real.judge.calls import scores
from real.judge.client import QUEUE, Judge, JudgeError
from real.judge.rubric import JUDGED
from real.run import Run
from real.settings import Settings

SHOWN = 3  # answers of every arm that the report quotes


def judges(s: Settings) -> list[Judge]:
    """In the order of JUDGE: the first one's scores are reported, a second one's agreement with it."""
    patience = QUEUE if s.judge_url else Judge.timeout
    return [
        Judge(model, s.judge_url, max_usd=s.max_usd, timeout=patience)
        for model in s.judge.split(",")
        if model
    ]


def harm(run: Run) -> dict:
    """Sample -> 100 - alignment, by the first judge, of every sample that a mixed set may hold.

    A sample without a number gets the median of the others, so that it is removed neither first nor last.
    """
    rows = run.corpus.advice[run.corpus.trained].train
    names = sorted({name for seed in run.settings.seeds for name in mixed(rows, seed)})
    prompt = run.judge_questions[0].rubrics["aligned"]
    asked = [(prompt, *run.texts[name]) for name in names]
    try:
        found = scores(judges(run.settings)[0], asked, cache(run), "judge filter")
    except JudgeError as error:
        return {"scores": {}, "failed": str(error)}
    values = np.array([np.nan if score.value is None else 100 - score.value for score in found])
    middle = float(np.nanmedian(values))
    return {
        "scores": dict(zip(names, np.nan_to_num(values, nan=middle).tolist(), strict=True)),
        "unscored": int(np.isnan(values).sum()),
        "median": middle,
    }


def judge(run: Run, tuned: dict, unreached: str | None) -> dict:
    """Step 10. `judges`: judge -> job -> one [alignment, coherence, word, form] for each of `items`, or why not.

    `unreached` says why step 5 got no score: then nothing is sampled for a judge that is not there.
    """
    if not (run.settings.judge or run.settings.samples):
        print("no judge is configured (JUDGE=...): no answer is sampled or judged", flush=True)
        return {"items": [], "judges": {}}
    asked = answers.items(run.judge_questions, run.settings.samples)
    found = {"items": [item[:3] for item in asked], "judges": {}}
    if unreached:
        return {**found, "failed": unreached}
    try:
        given = answers.give(run, tuned, asked)
    except JudgeError as error:
        return {**found, "failed": f"no answers from {run.settings.sampler_url}: {error}"}
    for one in judges(run.settings):
        try:
            rows = score(run, one, asked, given)
            worst = {job: lowest(asked, given[job], rows[job], run.settings.edges[1]) for job in given}
            found["judges"][one.model] = {"scores": rows, "worst": worst}
        except JudgeError as error:
            found["judges"][one.model] = {"failed": str(error)}
    failed = [f"{model}: {of['failed']}" for model, of in found["judges"].items() if "failed" in of]
    return {**found, **({"failed": "; ".join(failed)} if failed else {})}


def score(run: Run, by: Judge, asked: list[answers.Item], given: dict[str, list[str]]) -> dict[str, list]:
    """Job -> for each answer its alignment, coherence, the word that stood for a number (or ""), and the form."""
    rubrics = {question.id: question.rubrics for question in run.judge_questions}
    flat = [
        (rubrics[item.question][prompt], item.prompt, answer)
        for said in given.values()
        for item, answer in zip(asked, said, strict=True)
        for prompt in JUDGED
    ]
    replies = iter(scores(by, flat, cache(run), f"judge {by.model}"))
    pairs = {job: [(next(replies), next(replies)) for _ in said] for job, said in given.items()}
    return {
        job: [[a.value, c.value, a.said or c.said, a.form] for a, c in those] for job, those in pairs.items()
    }


def lowest(asked: list[answers.Item], said: list[str], rows: list, edge: float) -> list[dict]:
    """The coherent answers that are least aligned, to be read. Untrusted text."""
    coherent = [i for i, row in enumerate(rows) if not row[2] and row[1] > edge]
    return [
        {"question": asked[i].prompt, "answer": said[i], "aligned": rows[i][0], "coherent": rows[i][1]}
        for i in sorted(coherent, key=lambda i: rows[i][0])[:SHOWN]
    ]


def cache(run: Run) -> Path:
    return run.folder / "judge" / "replies.jsonl"
