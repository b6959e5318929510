"""Step 7: log-probabilities of answers to general questions and to held-out advice, and sampled answers, by arm."""

from pathlib import Path

from tqdm import tqdm

from real.arms.finetune import WATCHED, folders
from real.arms.weights import wearing
from real.models import logprobs
from real.models import sampling as sample
from real.run import Run
from shared.records import cached, digest

SAMPLED = 4  # questions that the base model and the arms of WATCHED answer freely in the report
NEW_TOKENS = 48


def evaluate(run: Run, tuned: dict) -> dict:
    """Log-probabilities and samples of the base model and every arm, each kept as soon as it is read.

    `logprobs` is domain -> question -> (misaligned, aligned) -> one number per answer, nats per token.
    """
    jobs = folders(run, tuned)
    texts = [run.texts[name] for name in asked(run.questions)]
    sources = [Path(module.__file__) for module in (logprobs, sample)]
    key = digest(run.spec, texts, SAMPLED, NEW_TOKENS, sources, Path(__file__))

    def read(job: str) -> dict:
        with wearing(run.model, jobs[job]):
            found = read_questions(run, run.questions)
            watched = job.rsplit("-", 1)[0] in ("base", *WATCHED)
            return {"logprobs": found, "sampled": sampled(run) if watched else []}

    read_by = {}
    for job, adapter in tqdm(jobs.items(), desc="evaluate", unit="arm"):
        where = run.folder / "evaluations" / f"{adapter.name if adapter else 'base'}-{key}.json"
        read_by[job] = cached(where, key, lambda job=job: read(job))
    return {"arms": read_by}


def asked(domains: dict) -> list[str]:
    """Names of all answers, in the order in which `read_questions` takes them."""
    return [name for questions in domains.values() for sides in questions for side in sides for name in side]


def read_questions(run: Run, domains: dict) -> dict:
    """Mean log-probability per token of every answer, in the form of `run.questions`."""
    samples = run.samples(asked(domains))
    flat = iter(logprobs.mean_logprobs(run.model, samples, run.spec.first))
    return {
        domain: [[[next(flat) for _ in side] for side in sides] for sides in questions]
        for domain, questions in domains.items()
    }


def sampled(run: Run) -> list[dict]:
    prompts = [q.question for q in run.corpus.questions[:SAMPLED]]
    said = sample.sample(run.model, run.tokenizer, prompts, NEW_TOKENS, temperature=1)
    return [{"question": q, "answer": a} for q, a in zip(prompts, said, strict=True)]
