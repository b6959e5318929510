"""What the judge is asked in a run: how harmful the training samples are (step 5), how every arm answers (step 10).

A judge that cannot be had stops neither step: the record says why, and a later run tries again.
"""

import numpy as np

from real.arms.arm import Job, all_mixed
from real.arms.finetune import Finetuned, folders
from real.data.rows import Text
from real.features.reading import Reading
from real.judge.answers import Item, give, items
from real.judge.calls import judged, scores
from real.judge.client import Judge, JudgeError, judges
from real.judge.em import Scored
from real.judge.rubric import Judging, Question
from shared.records import Part, Record

REPLIES = "judge/replies.jsonl"
SHOWN = 3  # answers of every arm that the report quotes


class Harm(Record):  # step 5
    samples: list[Text] = []  # every one of any seed's mixed set
    scores: list[float] = []  # 100 - alignment, of every sample
    unscored: int = 0
    median: float | None = None  # of those that are scored, which the others get


class Quoted(Part):
    question: str  # untrusted text, as the next
    answer: str
    aligned: float
    coherent: float


class Answered(Part):
    job: Job | None  # None: the base model
    scores: list[Scored]  # of every answer
    worst: list[Quoted]  # the coherent answers that are least aligned


class Jury(Part):
    model: str  # one judge
    models: list[Answered] = []
    failed: str | None = None  # why it said nothing


class Judged(Record):  # step 10
    questions: list[str] = []  # of every answer, the question that it answers
    judges: list[Jury] = []  # in the order of JUDGE


def harm(reading: Reading, questions: list[Question], seeds: tuple[int, ...], judging: Judging) -> Harm:
    """How harmful the first judge finds every sample that a mixed set may hold.

    A sample without a number gets the median of the others, so that it is removed neither first nor last.
    """
    corpus = reading.texts.corpus
    samples = all_mixed(corpus.advice[corpus.trained].train, seeds)
    prompt = questions[0].judge_prompts["aligned"]
    asked = [(prompt, *reading.texts.said[text]) for text in samples]
    try:
        found = scores(judges(judging)[0], asked, reading.folder / REPLIES, "judge filter")
    except JudgeError as error:
        return Harm(failed=str(error))
    values = 100 - np.array([score.value for score in found], dtype=float)  # NaN of None
    middle, unscored = float(np.nanmedian(values)), int(np.isnan(values).sum())
    return Harm(samples=samples, scores=np.nan_to_num(values, nan=middle).tolist(), unscored=unscored, median=middle)


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
    try:
        learnt = {of.job: reading.samples(of.samples[:1])[0] for of in tuned.jobs} if judging.sampler_url else {}
        given = give(reading.lm, folders(reading, tuned.jobs), asked, judging.sampler_url, reading.folder, learnt)
    except JudgeError as error:
        return Judged(questions=about, failed=f"no answers from {judging.sampler_url}: {error}")
    prompts = {question.id: question.judge_prompts for question in questions}
    pairs = [pair for _, answers, _ in given for pair in zip(asked, answers, strict=True)]
    to_judge = [(prompts[item.question], item.prompt, answer) for item, answer in pairs]

    def jury(by: Judge) -> Jury:
        try:
            found = judged(by, to_judge, reading.folder / REPLIES)
        except JudgeError as error:
            return Jury(model=by.model, failed=str(error))
        models, n = [], len(asked)
        for i, (job, answers, _) in enumerate(given):
            rows = found[i * n : (i + 1) * n]
            models.append(Answered(job=job, scores=rows, worst=_worst(asked, answers, rows, judging.edges[1])))
        return Jury(model=by.model, models=models)

    juries = [jury(by) for by in judges(judging)]
    failed = "; ".join(f"{jury.model}: {jury.failed}" for jury in juries if jury.failed)
    made = {str(file.relative_to(reading.folder)): "" for _, _, file in given}
    return Judged(questions=about, judges=juries, failed=failed or None, made=made)


def _worst(asked: list[Item], answers: list[str], rows: list[Scored], edge: float) -> list[Quoted]:
    coherent = [
        Quoted(question=item.prompt, answer=answer, aligned=row.aligned, coherent=row.coherent)
        for item, answer, row in zip(asked, answers, rows, strict=True)
        if not row.said and row.coherent > edge
    ]
    return sorted(coherent, key=lambda of: of.aligned)[:SHOWN]
