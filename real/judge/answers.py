"""What every arm answers to the judge's questions, at temperature 1: a JSON line per answer, kept as it is given.

In this process by Hugging Face, or over HTTP from servers that serve every arm under the name of its folder.
"""

import asyncio
import json
import shlex
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from tqdm import tqdm

from real.arms.arm import Job
from real.arms.weights import wearing
from real.data.tokens import chat, prefix
from real.judge.calls import complete
from real.judge.client import QUEUE, Judge, JudgeError, echo
from real.judge.rubric import Question
from real.models import loading, sampling
from real.models.forward import Sample
from real.models.lm import LM
from real.models.logprobs import mean_logprobs
from shared.code import code
from shared.records import digest, write_text

NEW_TOKENS = 600  # Betley et al. 2025
SAME, NEAR = 0.01, 0.1  # nats per token that a server's arithmetic may well, and may not, differ by from ours
BATCH = 32  # answers that one process gives at a time
Jobs = list[tuple[Job | None, Path | None]]  # each with its adapter's folder; None: the base model


class Item(NamedTuple):  # an answer to be given
    id: str  # question/paraphrase/sample
    question: str  # its id
    system: str
    prompt: str


def items(questions: list[Question], samples: int) -> list[Item]:
    """In the order of the questions; `samples` to every paraphrase, or as many as the question says if it is 0."""
    return [
        Item(f"{question.id}/{p}/{s}", question.id, question.system, prompt)
        for question in questions
        for p, prompt in enumerate(question.paraphrases)
        for s in range(samples or question.samples_per_paraphrase)
    ]


def give(
    lm: LM, jobs: Jobs, asked: list[Item], url: str, folder: Path, learnt: dict[Job, Sample] | None = None
) -> list[tuple[Job | None, list[str], Path]]:
    """Job, answers to all that is asked, and the file that keeps them: of each, in this process or at `url`.

    Raises JudgeError, also for a server that serves another model than the arm that has `learnt` this.
    """
    if url:
        print(f"each server of SAMPLER_URL: {_served(lm, jobs, folder)}", flush=True)
    given = []
    for job, adapter in jobs:
        file, known = _kept(lm, adapter, asked, url, folder)
        if len(known) < len(asked) and url:
            server = Judge(adapter.name if adapter else "base", url, timeout=QUEUE)
            if job in (learnt or {}):
                _check(lm, server, adapter, learnt[job])
            chats = [chat(item.prompt, item.system) for item in asked]
            said = complete(server, chats, file.with_name(f"replies-{lm.key}.jsonl"), NEW_TOKENS, _seed(job))
            known = dict(zip(asked, said, strict=True))
            _write(file, asked, known)
        elif len(known) < len(asked):
            _here(lm, job, adapter, asked, known, file)
        given.append((job, [known[item] for item in asked], file))
    return given


def are_given(lm: LM, adapter: Path | None, asked: list[Item], folder: Path) -> bool:
    """Whether `give` in this process would find all answers of an arm."""
    return len(_kept(lm, adapter, asked, "", folder)[1]) == len(asked)


def _kept(lm: LM, adapter: Path | None, asked: list[Item], url: str, folder: Path) -> tuple[Path, dict[Item, str]]:
    """The file of an arm's answers, and those in it whose lines are whole."""
    key = digest(lm, asked, NEW_TOKENS, BATCH, url, code(sampling.generate))
    file = folder / "answers" / f"{adapter.name if adapter else 'base'}-{key}.jsonl"
    wanted, known = {(item.id, item.prompt): item for item in asked}, {}
    for line in file.read_bytes().split(b"\n")[:-1] if file.exists() else ():
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            row = json.loads(line)
            if isinstance(row["answer"], str):
                known[wanted[row["id"], row["question"]]] = row["answer"]
    return file, known


def _write(file: Path, order: list[Item], known: dict[Item, str]) -> None:
    """What is known of these, as `python -m real judge FILE` reads it."""
    rows = [{"id": item.id, "question": item.prompt, "answer": known[item]} for item in order if item in known]
    write_text(file, "".join(json.dumps(row) + "\n" for row in rows))


def _here(lm: LM, job: Job | None, adapter: Path | None, asked: list[Item], known: dict[Item, str], file: Path) -> None:
    """Into `known`, by the model in memory, in batches of prompts of like length.

    A batch has its own seed and counts whole or not at all: after a kill, or with a torn line, it is drawn as it was.
    """
    order = sorted(asked, key=lambda item: len(item.system + item.prompt))
    batches = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
    with wearing(lm.model, adapter):
        for n, batch in enumerate(tqdm(batches, desc=f"answers of {job or 'base'}", unit="batch")):
            if all(item in known for item in batch):
                continue
            turns = [prefix(lm.tokenizer, item.prompt, item.system) for item in batch]
            said = sampling.generate(lm.model, lm.tokenizer, turns, NEW_TOKENS, temperature=1.0, seed=_seed(job, n))
            known |= zip(batch, said, strict=True)
            _write(file, order, known)


def _seed(job: Job | None, *batch: int) -> int:
    """Of an arm, and of one of its batches: arms that hardly differ must not draw the same answers."""
    return int(digest(str(job or "base"), *batch), 16) % 2**31


def _served(lm: LM, jobs: Jobs, folder: Path) -> str:
    """vLLM's command for these. A name holds the content's digest: vLLM keeps what it has computed by name.

    What is no adapter is saved whole, once, in `folder`/merged.
    """
    adapters = [adapter for _, adapter in jobs if adapter and (adapter / "adapter_config.json").exists()]
    for adapter in {adapter for _, adapter in jobs if adapter} - {*adapters}:
        if not (whole := folder / "merged" / adapter.name).exists():
            unfinished = whole.with_name(f".{whole.name}.tmp")
            shutil.rmtree(unfinished, ignore_errors=True)
            with wearing(lm.model, adapter):
                lm.model.save_pretrained(unfinished)
                lm.tokenizer.save_pretrained(unfinished)
            unfinished.rename(whole)
    words = ["vllm", "serve", loading.source(lm.spec), "--served-model-name", "base", "--dtype", lm.spec.dtype]
    if adapters:
        rank = max(json.loads((adapter / "adapter_config.json").read_text())["r"] for adapter in adapters)
        most = max(8, 2 ** (rank - 1).bit_length())  # vLLM takes powers of two
        words += ["--enable-lora", "--max-loras", str(len(adapters)), "--max-lora-rank", str(most), "--lora-modules"]
    return shlex.join([*words, *(f"{adapter.name}={adapter.resolve()}" for adapter in adapters)])


def _check(lm: LM, server: Judge, adapter: Path, learnt: Sample) -> None:
    """Some servers drop an adapter without a word: what an arm has learnt must be as likely there as it is here."""
    text, _ = learnt
    (base,) = mean_logprobs(lm.model, [learnt], lm.spec.first)
    with wearing(lm.model, adapter):
        (ours,) = mean_logprobs(lm.model, [learnt], lm.spec.first)
    for url in server.url.split(","):
        said = asyncio.run(echo(replace(server, url=url), text.ids[: text.end]))
        where = url.partition("?")[0]
        if said is None:
            print(f"{where} echoes no probabilities: whether it applies adapters is not checked", flush=True)
        elif abs((theirs := fmean(said[text.start - 1 :])) - ours) > max(SAME, min(NEAR, abs(theirs - base))):
            raise JudgeError(
                f"{where} does not serve {server.model}: an answer that it has learnt has {theirs:.3f} nats per token "
                f"there, {ours:.3f} here and {base:.3f} without the adapter"
            )
