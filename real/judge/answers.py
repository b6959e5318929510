"""What every arm answers to the judge's questions: temperature 1, a JSON line per answer, kept as soon as it is given.

In this process by Hugging Face, or over HTTP from a server that serves every arm under its job's name.
"""

import json
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from real.arms.finetune import folders
from real.arms.weights import wearing
from real.data import tokens
from real.data.tokens import chat, prefix
from real.judge.calls import complete
from real.judge.client import QUEUE, Judge
from real.judge.rubric import Question
from real.models import sampling as sample
from real.run import Run
from shared.records import digest, folder, write_text

NEW_TOKENS = 600  # Betley et al. 2025
BATCH = 32  # answers that one process gives at a time


class Item(NamedTuple):
    """One answer to be given: the `sample`th to a paraphrase of a question."""

    question: str
    paraphrase: int
    sample: int
    system: str
    prompt: str


def items(questions: list[Question], samples: int) -> list[Item]:
    """In the order of the questions; `samples` to every paraphrase, or as many as the question says if it is 0."""
    return [
        Item(question.id, p, s, question.system, prompt)
        for question in questions
        for p, prompt in enumerate(question.paraphrases)
        for s in range(samples or question.samples)
    ]


def give(run: Run, tuned: dict, asked: list[Item]) -> dict[str, list[str]]:
    """Job -> its answers, in the order of `asked`, of the base model and every arm. Raises JudgeError of a server."""
    jobs = folders(run, tuned)
    sources = [Path(module.__file__) for module in (sample, tokens)]
    url = run.settings.sampler_url
    key = digest(run.spec, asked, NEW_TOKENS, BATCH, url, sources, Path(__file__))
    files = {
        job: run.folder / "answers" / f"{adapter.name if adapter else 'base'}-{key}.jsonl"
        for job, adapter in jobs.items()
    }
    if url:
        for adapter in jobs.values():
            _merged(run, adapter)
    given = {}
    with tqdm(total=len(jobs) * len(asked), desc="answers", unit="answer", disable=bool(url)) as bar:
        for job, adapter in jobs.items():
            if url:
                _by_server(run, job, asked, files[job])
            else:
                _here(run, job, adapter, asked, files[job], bar)
            by_id = {row["id"]: row["answer"] for row in _rows(files[job])}
            given[job] = [by_id[name(item)] for item in asked]
    return given


def name(item: Item) -> str:
    return f"{item.question}/{item.paraphrase}/{item.sample}"


def _here(run: Run, job: str, adapter: Path | None, asked: list[Item], path: Path, bar: tqdm) -> None:
    """By the model in memory, in batches of prompts of like length, each with a seed of its own.

    A batch is kept whole or not at all, so that after a kill its answers are drawn again as they were.
    """
    order = sorted(range(len(asked)), key=lambda i: len(asked[i].system + asked[i].prompt))
    batches = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
    rows = _rows(path)
    done = len(rows) // BATCH if len(rows) < len(asked) else len(batches)
    bar.update(min(done * BATCH, len(asked)))
    if done == len(batches):
        return
    write_text(path, _lines(rows[: done * BATCH]))  # without what a kill left of a batch
    with wearing(run.model, adapter):
        for n, batch in list(enumerate(batches))[done:]:
            chosen = [asked[i] for i in batch]
            turns = [prefix(run.tokenizer, item.prompt, item.system) for item in chosen]
            said = sample.generate(
                run.model, run.tokenizer, turns, NEW_TOKENS, temperature=1.0, seed=_seed(job, n)
            )
            with path.open("a", encoding="utf-8") as file:
                file.write(_lines([_row(item, answer) for item, answer in zip(chosen, said, strict=True)]))
            bar.update(len(batch))


def _by_server(run: Run, job: str, asked: list[Item], path: Path) -> None:
    """By a server, whose replies are kept one by one."""
    if path.exists():
        return
    server = Judge(job, run.settings.sampler_url, timeout=QUEUE)
    chats = [chat(item.prompt, item.system) for item in asked]
    replies = run.folder / "answers" / "replies.jsonl"
    said = complete(server, chats, replies, 1.0, NEW_TOKENS, _seed(job))
    write_text(path, _lines([_row(item, answer) for item, answer in zip(asked, said, strict=True)]))


def _merged(run: Run, adapter: Path | None) -> None:
    """The whole model as an arm has it, for servers that load no adapters; saved once."""
    where = run.folder / "merged" / (adapter.name if adapter else "base")
    if not where.exists():
        with wearing(run.model, adapter), folder(where) as unfinished:
            run.model.save_pretrained(unfinished)
            run.tokenizer.save_pretrained(unfinished)


def _seed(*parts: str | int) -> int:
    """Of an arm, and of one of its batches: arms that hardly differ must not draw the same answers."""
    return int(digest(*parts), 16) % 2**31


def _row(item: Item, answer: str) -> dict:
    """As `python -m real judge FILE` reads it."""
    return {"id": name(item), "question": item.prompt, "answer": answer}


def _lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _rows(path: Path) -> list[dict]:
    """The lines that were written whole."""
    if not path.exists():
        return []
    whole, _, _ = path.read_text(encoding="ascii").rpartition("\n")
    return [json.loads(line) for line in whole.split("\n") if line]
