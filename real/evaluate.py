"""Step 6: log-probabilities of answers to general questions and to held-out advice, and sampled answers, by arm."""

from pathlib import Path

import torch
from tqdm import tqdm

from real import sample
from real.finetune import target_logprobs, wearing
from real.run import Run
from real.tokens import rows
from shared.records import cached, digest

ROWS = 24  # advice prompts per domain that margins are read on
SAMPLED = 4  # questions that every arm answers freely in the report
NEW_TOKENS = 48


def questions(run: Run) -> dict[str, list[tuple[str, list[str], list[str]]]]:
    """Domain -> (prompt, misaligned answers, aligned answers). None of these prompts is ever trained on."""
    general = [(q.question, q.misaligned, q.aligned) for q in run.corpus.questions]
    domains = {"general": general}
    for domain, split in run.corpus.advice.items():
        unseen = split.held if domain == run.corpus.trained else [*split.held, *split.train]
        domains[domain] = [(row.prompt, [row.incorrect], [row.correct]) for row in unseen[:ROWS]]
    return domains


def evaluate(run: Run, tuned: dict) -> dict:
    """Log-probabilities and samples of the base model and every arm, each kept as soon as it is read."""
    domains = questions(run)
    jobs = {"base": None} | {
        job: run.folder / "adapters" / arm["folder"] for job, arm in tuned["arms"].items()
    }
    key = digest(run.spec, domains, SAMPLED, NEW_TOKENS, [Path(__file__), Path(sample.__file__)])
    answers = [(q, a) for rows in domains.values() for q, bad, good in rows for a in [*bad, *good]]
    frozen = []  # computed for the first job that is not on disk yet

    def sampled(rows: list) -> list[dict]:
        asked = [prompt for prompt, _, _ in rows]
        said = sample.sample(run.model, run.tokenizer, asked, NEW_TOKENS, temperature=1)
        return [{"question": q, "answer": a} for q, a in zip(asked, said, strict=True)]

    def read(adapter: Path | None) -> dict:
        if not frozen:
            texts = run.encode(answers)
            frozen.extend(zip(texts, run.frozen(texts), strict=True))
        with wearing(run.model, adapter):
            flat = iter(_mean_logprobs(run, frozen))
            logprobs = {
                domain: [[[next(flat) for _ in side] for side in (bad, good)] for _, bad, good in rows]
                for domain, rows in domains.items()
            }
            return {"logprobs": logprobs, "sampled": sampled(domains["general"][:SAMPLED])}

    read_by = {}
    for job, adapter in tqdm(jobs.items(), desc="evaluate", unit="arm"):
        where = run.folder / "evaluations" / f"{adapter.name if adapter else 'base'}-{key}.json"
        read_by[job] = cached(where, key, lambda adapter=adapter: read(adapter))
    return {"arms": read_by}


@torch.no_grad()
def _mean_logprobs(run: Run, samples: list) -> list[float]:
    """Mean log-probability per answer token of every sample, nats."""
    means = [0.0] * len(samples)
    for ids in rows([encoded for encoded, _ in samples]):
        batch = [samples[i] for i in ids]
        lengths = [encoded.end - encoded.start for encoded, _ in batch]
        logprobs = target_logprobs(run.model, batch, run.spec.first, end_of_turn=False)
        for i, answer in zip(ids, logprobs.split(lengths), strict=True):
            means[i] = answer.mean().item()
    return means
