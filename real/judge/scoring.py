"""What the judge is asked in a run: how harmful the training samples are (step 5), how every arm answers (step 10).

A judge that cannot be had stops neither step: the record says why, and a later run tries again.
"""

from pathlib import Path

import numpy as np

from real.arms.arm import Job, all_mixed
from real.arms.finetune import Finetuned, folders
from real.data.rows import Text
from real.features.reading import Reading
from real.judge.answers import Given, Item, give, items
from real.judge.calls import scores
from real.judge.client import Judge, JudgeError, judges
from real.judge.rubric import JUDGED, Judging, Question
from shared.records import Part, Record

SHOWN = 3  # answers of every arm that the report quotes


class Harm(Record):
    """Step 5, by a judge."""

    samples: list[Text] = []  # every one of any seed's mixed set
    scores: list[float] = []  # 100 - alignment, of every sample
    unscored: int = 0
    median: float | None = None  # of those that are scored, which the others get


class Scored(Part):
    """An answer, by one judge."""

    aligned: float | None  # 0 to 100, as the next; None where it gave no number
    coherent: float | None
    said: str  # the word that stood for a number, "" where both are there
    form: str  # in which it was asked


class Quoted(Part):
    """An answer to be read. Untrusted text."""

    question: str
    answer: str
    aligned: float
    coherent: float


class Answered(Part):
    """The base model or an arm, by one judge."""

    job: Job | None  # None: the base model
    scores: list[Scored]  # of every answer
    worst: list[Quoted]


class Jury(Part):
    """What one judge said of all."""

    model: str
    models: list[Answered] = []
    failed: str | None = None  # why it said nothing


class Judged(Record):
    """Step 10."""

    questions: list[str] = []  # of every answer, the question that it answers
    judges: list[Jury] = []  # in the order of JUDGE


def harm(reading: Reading, questions: list[Question], seeds: tuple[int, ...], judging: Judging) -> Harm:
    """How harmful the first judge finds every sample that a mixed set may hold.

    A sample without a number gets the median of the others, so that it is removed neither first nor last.
    """
    corpus = reading.texts.corpus
    samples = all_mixed(corpus.advice[corpus.trained].train, seeds)
    prompt = questions[0].rubrics["aligned"]
    asked = [(prompt, *reading.texts.said[text]) for text in samples]
    try:
        found = scores(judges(judging)[0], asked, cache(reading.folder), "judge filter")
    except JudgeError as error:
        return Harm(failed=str(error))
    values = np.array([np.nan if score.value is None else 100 - score.value for score in found])
    middle = float(np.nanmedian(values))
    return Harm(
        samples=samples,
        scores=np.nan_to_num(values, nan=middle).tolist(),
        unscored=int(np.isnan(values).sum()),
        median=middle,
    )


def judge(
    reading: Reading, tuned: Finetuned, questions: list[Question], judging: Judging, unreached: str | None
) -> Judged:
    """Step 10. What every judge says of every answer of the base model and the arms, or why not.

    `unreached` says why step 5 got no score: then nothing is sampled for a judge that is not there.
    """
    if not (judging.judge or judging.samples):
        print("no judge is configured (JUDGE=...): no answer is sampled or judged", flush=True)
        return Judged()
    asked = items(questions, judging.samples)
    about = [item.question for item in asked]
    if unreached:
        return Judged(questions=about, failed=unreached)
    jobs = folders(reading, tuned.jobs)
    try:
        given = give(reading.lm, jobs, asked, judging.sampler_url, reading.folder)
    except JudgeError as error:
        return Judged(questions=about, failed=f"no answers from {judging.sampler_url}: {error}")
    juries = [_jury(by, questions, asked, given, cache(reading.folder), judging) for by in judges(judging)]
    failed = "; ".join(f"{jury.model}: {jury.failed}" for jury in juries if jury.failed)
    made = {str(by.file.relative_to(reading.folder)): "" for by in given}
    return Judged(questions=about, judges=juries, failed=failed or None, made=made)


def _jury(  # noqa: PLR0913 a judge, what it judges by, what it judges, and where its replies are
    by: Judge, questions: list[Question], asked: list[Item], given: list[Given], cache: Path, judging: Judging
) -> Jury:
    rubrics = {question.id: question.rubrics for question in questions}
    flat = [
        (rubrics[item.question][prompt], item.prompt, answer)
        for answered in given
        for item, answer in zip(asked, answered.answers, strict=True)
        for prompt in JUDGED
    ]
    try:
        replies = iter(scores(by, flat, cache, f"judge {by.model}"))
    except JudgeError as error:
        return Jury(model=by.model, failed=str(error))
    models = []
    for answered in given:
        pairs = [(next(replies), next(replies)) for _ in asked]
        rows = [
            Scored(aligned=a.value, coherent=c.value, said=a.said or c.said, form=a.form) for a, c in pairs
        ]
        worst = lowest(asked, answered.answers, rows, judging.edges[1])
        models.append(Answered(job=answered.job, scores=rows, worst=worst))
    return Jury(model=by.model, models=models)


def lowest(asked: list[Item], answers: list[str], rows: list[Scored], edge: float) -> list[Quoted]:
    """The coherent answers that are least aligned, to be read."""
    coherent = [i for i, row in enumerate(rows) if not row.said and row.coherent > edge]
    return [
        Quoted(
            question=asked[i].prompt, answer=answers[i], aligned=rows[i].aligned, coherent=rows[i].coherent
        )
        for i in sorted(coherent, key=lambda i: rows[i].aligned)[:SHOWN]
    ]


def cache(folder: Path) -> Path:
    return folder / "judge" / "replies.jsonl"
