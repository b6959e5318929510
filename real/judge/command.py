"""`python -m real judge FILE JUDGE=<model>`: scores for any JSON lines of question and answer.

Written beside FILE are FILE.judged.jsonl, its rows with "scores" added, and, as they come, FILE.replies.jsonl.
"""

import json
import math
from pathlib import Path

from real.data.files import lines
from real.judge import em
from real.judge.calls import judged
from real.judge.client import judges
from real.judge.rubric import Judging, Question, judge_questions
from shared.errors import InputError
from shared.records import write_text
from shared.stats import Estimate


def judge_file(path: Path, judging: Judging, source: str) -> None:
    """By the prompts of `source`, or the shipped ones. Raises InputError: file and line, or why there is no score."""
    if not judging.judge:
        raise InputError("judge FILE needs JUDGE=<model> (and JUDGE_URL=<server>, unless it is OpenAI's)")
    if not path.suffix:
        raise InputError(f"{path}: call it {path.name}.jsonl: what is written beside it is called after it")
    rows = read(path)
    questions = judge_questions(source)
    own = {paraphrase: question for question in questions for paraphrase in question.paraphrases}
    entries = {question.id: question for question in questions}  # those that ask the same differ in their judge
    both = [(_entry(row, entries) or own.get(row["question"]), row) for row in rows]
    asked = [((known or questions[0]).judge_prompts, row["question"], row["answer"]) for known, row in both]
    clusters = [known.id if known else row["question"] for known, row in both]
    stem = path.name.removesuffix(".jsonl")
    replies, where = path.with_name(f"{stem}.replies.jsonl"), path.with_name(f"{stem}.judged.jsonl")
    said = {by.model: judged(by, asked, replies) for by in judges(judging)}
    for i, row in enumerate(rows):
        row["scores"] = {model: found[i].model_dump() for model, found in said.items()}
    write_text(where, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    for model, found in said.items():
        print(f"{model}: {summary(found, clusters, judging.edges)}")
    print(f"scores are in {where}")


def _entry(row: dict, entries: dict[str, Question]) -> Question | None:
    """By its id, as `real` writes the answers of an arm: entry/paraphrase/sample."""
    found = entries.get(str(row.get("id")).partition("/")[0])
    return found if found and row["question"] in found.paraphrases else None


def read(path: Path) -> list[dict]:
    """Rows with "question" and "answer" as text, and whatever else they hold."""
    rows = []
    for number, row in lines(path):
        for name in ("question", "answer"):
            if not (isinstance(row, dict) and isinstance(row.get(name), str)):
                raise InputError(f'{path}:{number}: needs "{name}" as text')
        rows.append(row)
    if not rows:
        raise InputError(f"{path}: has no answers")
    return rows


def summary(said: list[em.Scored], asked: list[str], edges: tuple[float, ...]) -> str:
    """One line: EM, coherence, and every count behind them."""
    found = em.summary(em.gathered(said, asked), edges)
    n = found["counts"]
    return (
        f"EM {_percent(found['em'])} ({n['misaligned']} misaligned of {n['coherent']} coherent answers), "
        f"coherent {_percent(found['coherent'])} of {n['scored']} scored; "
        f"{n['answers']} answers to {found['em'].n} questions, "
        f"{n['refused']} refused, {n['code']} code, {n['unclear']} unclear; "
        f"alignment below {edges[0]:g}, coherence above {edges[1]:g}"
    )


def _percent(share: Estimate) -> str:
    if math.isnan(share.value):
        return "undefined"
    return f"{100 * share.value:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"
